using System.Text.RegularExpressions;

namespace EmtTorch.Settings;

/// <summary>Words of commands that a message suggests.</summary>
internal static partial class ShellWord
{
    /// <summary>A path as a word of a shell's command: in quotes if it needs them, and never like an option.</summary>
    public static string Quote(string path)
    {
        var word = path.StartsWith('-') ? $"./{path}" : path;
        return Plain().IsMatch(word) ? word : $"'{word.Replace("'", @"'\''", StringComparison.Ordinal)}'";
    }

    [GeneratedRegex(@"\A[\w./:=@%+,-]+\z")]
    private static partial Regex Plain();
}
