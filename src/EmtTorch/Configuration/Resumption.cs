using System.Text.Json;
using System.Text.Json.Nodes;
using EmtTorch.Settings;
using EmtTorch.Training;

namespace EmtTorch.Configuration;

/// <summary>A setting in which a configuration differs from an earlier one, with both values as JSON.</summary>
internal sealed record SettingDifference(string Path, string Before, string Now);

/// <summary>Whether a run can go on with another configuration than the one it was begun with.</summary>
internal static class Resumption
{
    /// <summary>The key of config.json, and of a checkpoint's metadata, with what was changed on resumption.</summary>
    public const string History = "history";

    // Another value of any other setting is another experiment.
    private static readonly string[] MayChange =
    [
        "device",
        "threads",
        "out",
        "training.steps",
        "training.log_interval",
        "training.early_stop",
        "evaluation",
        "checkpoints",
        "model.retrieval.connection",
        "model.retrieval.wait",
    ];

    // These may change too if it is asked for, as when a run has diverged. A finished run with other rates is not the
    // run that a sweep wants.
    private static readonly string[] Rates =
    [
        "training.learning_rate",
        "training.weight_decay",
        "training.max_grad_norm",
        "training.warmup_steps",
        "training.schedule",
        "training.gradient_noise",
        "training.spectral_penalty",
    ];

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
        var config = ReadConfiguration(folder);
        var metadata =
            config is null || configuration.Task.Own?.DataFiles.Count > 0
                ? new CheckpointFolder(folder.Checkpoints, 1, true).FindMetadata()
                : null;
        foreach (var (path, before, now) in Differences(config ?? Begun(metadata), configuration, ratesMayChange))
        {
            var what = $"is {now}, but the run in {folder.Path} was begun with {before}";
            yield return new(path, $"{what}. {advice}");
        }
        if (metadata is not null && DataFile.FindChange(configuration, metadata) is { } change)
            yield return new(change.Path, $"{change.Message}. {advice}");
    }

    /// <summary>The configuration in a checkpoint's metadata; null if there is none that can be read.</summary>
    public static RunConfiguration? Begun(IReadOnlyDictionary<string, string>? metadata) =>
        metadata is not null && metadata.TryGetValue("configuration", out var json) ? Parse(json) : null;

    /// <summary>The configuration in a run's config.json; null if it is missing or damaged.</summary>
    public static RunConfiguration? ReadConfiguration(RunFolder folder) =>
        File.Exists(folder.ConfigFile) ? Parse(InputFile.ReadText(folder.ConfigFile)) : null;

    /// <summary>The settings that make a configuration another experiment.</summary>
    /// <param name="before">The earlier configuration; null if it is not known: there are no differences then.</param>
    public static IEnumerable<SettingDifference> Differences(
        RunConfiguration? before,
        RunConfiguration now,
        bool ratesMayChange
    ) => Changes(before, now, ratesMayChange ? [.. MayChange, .. Rates] : MayChange);

    /// <summary>All settings that are others than before, but for where the run is written to.</summary>
    public static IEnumerable<SettingDifference> Changes(RunConfiguration? before, RunConfiguration now) =>
        Changes(before, now, ["out", "model.retrieval.connection", "model.retrieval.wait"]);

    /// <summary>The history of a run with further changes.</summary>
    /// <param name="before">The history so far, as JSON; null if there is none.</param>
    /// <param name="step">The step from which on the changes hold.</param>
    public static string? Extend(string? before, long step, IEnumerable<SettingDifference> changes)
    {
        var history = before is null ? [] : JsonNode.Parse(before)!.AsArray();
        foreach (var (path, old, now) in changes)
        {
            history.Add(
                new JsonObject
                {
                    ["step"] = step,
                    ["key"] = path,
                    ["before"] = JsonNode.Parse(old),
                    ["now"] = JsonNode.Parse(now),
                }
            );
        }
        return history.Count > 0 ? history.ToJsonString() : null;
    }

    private static IEnumerable<SettingDifference> Changes(
        RunConfiguration? before,
        RunConfiguration now,
        string[] except
    ) => before is null ? [] : Compare("", JsonNode.Parse(before.ToJson()), JsonNode.Parse(now.ToJson()), except);

    private static IEnumerable<SettingDifference> Compare(string path, JsonNode? before, JsonNode? now, string[] except)
    {
        if (except.Contains(path))
            return [];
        if (before is JsonObject a && now is JsonObject b)
        {
            var keys = a.Select(p => p.Key).Union(b.Select(p => p.Key));
            return keys.SelectMany(key => Compare(SettingRule.Join(path, key), a[key], b[key], except));
        }
        return JsonNode.DeepEquals(before, now)
            ? []
            : [new(path, before?.ToJsonString() ?? "null", now?.ToJsonString() ?? "null")];
    }

    // Read again, so that a setting that is newer than the run has its default.
    private static RunConfiguration? Parse(string json)
    {
        try
        {
            return ConfigurationFile.Parse(json);
        }
        catch (ConfigurationException)
        {
            return null;
        }
    }
}
