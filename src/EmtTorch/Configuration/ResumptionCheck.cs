using EmtTorch.Settings;
using EmtTorch.Training;

namespace EmtTorch.Configuration;

/// <summary>Whether a run can go on with another configuration than the one it was begun with.</summary>
internal static class ResumptionCheck
{
    /// <summary>Why a configuration cannot go on with the run in a folder; none if the folder holds no run.</summary>
    /// <param name="ratesMayChange">Whether the learning rate and its like may be others from now on.</param>
    /// <param name="advice">What to do about it, a sentence without its point.</param>
    public static IEnumerable<ConfigurationProblem> FindProblems(
        RunFolder folder,
        RunConfiguration configuration,
        bool ratesMayChange,
        string advice
    )
    {
        if (!folder.HoldsRun)
            yield break;
        // All of a checkpoint is read for its metadata, so it is done only where config.json does not say enough.
        var before = Parse(folder.ReadConfiguration());
        var metadata =
            before is null || configuration.Task.Own?.DataFiles.Count > 0
                ? new CheckpointFolder(folder.Checkpoints, 1, true).FindMetadata()
                : null;
        before ??= Parse(metadata?.GetValueOrDefault("configuration"));
        var json = Resumption.Parse(before?.ToJson());
        foreach (var (path, old, now) in Resumption.Differences(json, configuration, ratesMayChange))
            yield return new(path, $"is {now}, but the run in {folder.Path} was begun with {old}. {advice}");
        if (metadata is not null && DataFile.FindChange(configuration, metadata) is { } change)
            yield return new(change.Path, $"{change.Message}. {advice}");
    }

    // Read again, so that a setting that is newer than the run has its default.
    private static RunConfiguration? Parse(string? json)
    {
        try
        {
            return json is null ? null : ConfigurationFile.Parse(json);
        }
        catch (ConfigurationException)
        {
            return null;
        }
    }
}
