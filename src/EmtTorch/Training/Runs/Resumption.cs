using System.Text.Json;
using System.Text.Json.Nodes;
using EmtTorch.Settings;

namespace EmtTorch.Training;

/// <summary>A setting in which a configuration differs from an earlier one, with both values as JSON.</summary>
internal sealed record SettingDifference(string Path, string Before, string Now);

/// <summary>In what a configuration differs from that which a run was begun with, and what may change.</summary>
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

    /// <summary>The settings that make a configuration another experiment.</summary>
    /// <param name="before">The earlier configuration's <see cref="RunConfiguration.ToJson"/>, also of an earlier
    /// version of this program: a setting that one of the two does not have is passed over, but for the task's. Null:
    /// it is not known, and there are no differences.</param>
    /// <param name="ratesMayChange">Whether the learning rate and its like may be others from now on.</param>
    public static IEnumerable<SettingDifference> Differences(
        JsonObject? before,
        RunConfiguration now,
        bool ratesMayChange
    ) => Compare(before, now, ratesMayChange ? [.. MayChange, .. Rates] : MayChange);

    /// <summary>All settings that are others than before, but for where the run is written to.</summary>
    public static IEnumerable<SettingDifference> Changes(JsonObject? before, RunConfiguration now) =>
        Compare(before, now, ["out", "model.retrieval.connection", "model.retrieval.wait"]);

    /// <summary>The JSON object in a text; null if it holds none.</summary>
    public static JsonObject? Parse(string? text)
    {
        try
        {
            return text is null ? null : JsonText.Parse(text) as JsonObject;
        }
        catch (JsonException)
        {
            return null;
        }
    }

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

    private static IEnumerable<SettingDifference> Compare(JsonObject? before, RunConfiguration now, string[] except) =>
        before is null ? [] : Compare("", before, JsonNode.Parse(now.ToJson()), except);

    private static IEnumerable<SettingDifference> Compare(string path, JsonNode? before, JsonNode? now, string[] except)
    {
        if (except.Contains(path))
            return [];
        if (before is JsonObject a && now is JsonObject b)
        {
            var keys =
                path == "task"
                    ? a.Select(p => p.Key).Union(b.Select(p => p.Key))
                    : a.Select(p => p.Key).Where(b.ContainsKey);
            return keys.SelectMany(key => Compare(SettingRule.Join(path, key), a[key], b[key], except));
        }
        return JsonNode.DeepEquals(before, now)
            ? []
            : [new(path, before?.ToJsonString() ?? "null", now?.ToJsonString() ?? "null")];
    }
}
