using System.Text.RegularExpressions;

namespace EmtTorch.Settings;

/// <summary>One thing that is wrong with a configuration.</summary>
/// <param name="Path">The key, such as <c>training.curriculum.horizons[2]</c>, or the file.</param>
/// <param name="Message">What was found and what is allowed.</param>
public sealed partial record ConfigurationProblem(string Path, string Message)
{
    /// <summary>The problem in a line, without the passwords of connection strings.</summary>
    public override string ToString() =>
        Password().Replace(Path.Length == 0 ? Message : $"{Path}: {Message}", match => $"{match.Groups["kept"]}…");

    /// <summary>A password in a connection string, as Npgsql reads it or as an address.</summary>
    [GeneratedRegex(
        """(?<kept>(password|psw|pwd)\s*=\s*)('[^']*'?|\\?"[^"]*"?|[^;"'\n]+)|(?<kept>:/{1,2}[^:/@\s]*:)[^@\s]+(?=@)""",
        RegexOptions.IgnoreCase
    )]
    private static partial Regex Password();
}

/// <summary>A configuration that cannot be used. The message lists all problems, one on each line.</summary>
/// <param name="problems">What is wrong, one problem at least.</param>
public sealed class ConfigurationException(IReadOnlyList<ConfigurationProblem> problems)
    : Exception(
        $"The configuration has {(problems.Count == 1 ? "a problem" : $"{problems.Count} problems")}:"
            + string.Concat(problems.Select(p => $"\n  {p}"))
    )
{
    /// <summary>What is wrong.</summary>
    public IReadOnlyList<ConfigurationProblem> Problems { get; } = problems;
}
