namespace EmtTorch.Settings;

/// <summary>One thing that is wrong with a configuration.</summary>
/// <param name="Path">The key, such as <c>training.curriculum.horizons[2]</c>, or the file.</param>
/// <param name="Message">What was found and what is allowed.</param>
public sealed record ConfigurationProblem(string Path, string Message)
{
    public override string ToString() => Path.Length == 0 ? Message : $"{Path}: {Message}";
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
