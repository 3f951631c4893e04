using System.Text;

namespace EmtTorch.Trainer;

/// <summary>
/// Writes text so that no terminal obeys it: control characters, which names and files may hold, as their codes.
/// </summary>
internal sealed class PlainWriter(TextWriter inner) : TextWriter
{
    private static TextWriter? s_terminal;

    /// <summary>The standard output as it is, for the program's own control characters.</summary>
    public static TextWriter Terminal => s_terminal ?? Console.Out;

    /// <summary>Makes the console's output and errors plain.</summary>
    public static void Install()
    {
        s_terminal = Console.Out;
        Console.SetOut(new PlainWriter(Console.Out));
        Console.SetError(new PlainWriter(Console.Error));
    }

    public override Encoding Encoding => inner.Encoding;

    public override void Write(char value) => Write(value.ToString());

    public override void Write(char[] buffer, int index, int count) => Write(new string(buffer, index, count));

    public override void Write(string? value) => inner.Write(Plain(value ?? ""));

    public override void Flush() => inner.Flush();

    /// <summary>A text whose control characters, but for ends of lines and tabs, are codes such as \u001b.</summary>
    public static string Plain(string text)
    {
        bool IsPlain(char c, int i) =>
            !char.IsControl(c) || c is '\n' or '\t' || (c == '\r' && i + 1 < text.Length && text[i + 1] == '\n');
        if (text.Select(IsPlain).All(plain => plain))
            return text;
        return string.Concat(text.Select((c, i) => IsPlain(c, i) ? $"{c}" : $"\\u{(int)c:x4}"));
    }
}
