namespace EmtTorch.Settings;

/// <summary>One thing that is wrong with a configuration.</summary>
/// <param name="Path">Where: `training.batch_size`, `training.curriculum.horizons[2]`, or the file.</param>
/// <param name="Message">What was found and what is allowed.</param>
public sealed record ConfigurationProblem(string Path, string Message)
{
    public override string ToString() => Path.Length == 0 ? Message : $"{Path}: {Message}";
}

/// <summary>A configuration that can't be used; the message lists every problem, one a line.</summary>
public sealed class ConfigurationException(IReadOnlyList<ConfigurationProblem> problems)
    : Exception(
        $"The configuration has {(problems.Count == 1 ? "a problem" : $"{problems.Count} problems")}:{string.Concat(problems.Select(p => $"\n  {p}"))}"
    )
{
    public IReadOnlyList<ConfigurationProblem> Problems { get; } = problems;
}
