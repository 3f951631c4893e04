using System.Text.RegularExpressions;

namespace EmtTorch.Settings;

/// <summary>One thing that is wrong with a configuration.</summary>
/// <param name="Path">The key, such as <c>training.curriculum.horizons[2]</c>, or the file.</param>
/// <param name="Message">What was found and what is allowed.</param>
public sealed record ConfigurationProblem(string Path, string Message)
{
    private const int Longest = 1000;

    /// <summary>
    /// The problem in a line, without the passwords of connection strings. Of a very long one the middle is left out.
    /// </summary>
    public override string ToString()
    {
        var text = Path.Length == 0 ? Message : $"{Path}: {Message}";
        text = Password.Replace(text, match => $"{match.Groups["kept"]}…{match.Groups["end"]}");
        return text.Length <= Longest ? text : $"{text[..(Longest / 2)]} … {text[^(Longest / 2)..]}";
    }

    /// <summary>A password in a connection string, as Npgsql reads it or as an address.</summary>
    private static readonly Regex Password = new(
        """(?<kept>(password|psw|pwd)\s*=\s*)('[^']*'?|\\?"[^"]*"?|[^;"'\n]+)"""
            + """|(?<kept>:/{1,2}[^:/@\s]*:)[^@\s]+(?<end>@)""",
        RegexOptions.IgnoreCase | RegexOptions.NonBacktracking // linear in the text's length
    );
}

/// <summary>A configuration that cannot be used. The message lists the problems, one on each line.</summary>
/// <param name="problems">What is wrong, one problem at least.</param>
public sealed class ConfigurationException(IReadOnlyList<ConfigurationProblem> problems)
    : Exception(
        $"The configuration has {(problems.Count == 1 ? "a problem" : $"{problems.Count} problems")}:"
            + string.Concat(ToLines(problems).Select(line => $"\n  {line}"))
    )
{
    /// <summary>What is wrong.</summary>
    public IReadOnlyList<ConfigurationProblem> Problems { get; } = problems;

    /// <summary>The problems, a line each. Of very many the first are named, and the others counted.</summary>
    internal IEnumerable<string> Lines => ToLines(Problems);

    private static IEnumerable<string> ToLines(IReadOnlyList<ConfigurationProblem> problems)
    {
        const int Most = 50;
        return problems.Count <= Most
            ? problems.Select(p => p.ToString())
            : problems.Take(Most - 1).Select(p => p.ToString()).Append($"… and {problems.Count - Most + 1} more");
    }
}
