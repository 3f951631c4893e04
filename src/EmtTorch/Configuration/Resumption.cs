using System.Text.Json.Nodes;
using EmtTorch.Settings;
using EmtTorch.Training;

namespace EmtTorch.Configuration;

/// <summary>A setting in which a configuration differs from an earlier one, with both values as JSON.</summary>
internal sealed record SettingDifference(string Path, string Before, string Now);

/// <summary>Whether a run can go on with another configuration than the one it was begun with.</summary>
internal static class Resumption
{
    // These may change between an interruption and the resumption. Another value of any other setting is another
    // experiment.
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

    /// <summary>
    /// The settings that make a configuration another experiment than the run in a folder; none if the folder holds no
    /// run.
    /// </summary>
    public static IEnumerable<SettingDifference> Differences(RunFolder folder, RunConfiguration configuration)
    {
        if (!folder.HoldsRun)
            return [];
        RunConfiguration before;
        try
        {
            // Read again, so that a setting that is newer than the run has its default.
            before = ConfigurationFile.Parse(InputFile.ReadText(folder.ConfigFile));
        }
        catch (ConfigurationException)
        {
            return []; // a damaged copy: the checkpoint itself decides
        }
        return Compare("", JsonNode.Parse(before.ToJson()), JsonNode.Parse(configuration.ToJson()));
    }

    private static IEnumerable<SettingDifference> Compare(string path, JsonNode? before, JsonNode? now)
    {
        if (MayChange.Contains(path))
            return [];
        if (before is JsonObject a && now is JsonObject b)
        {
            var keys = a.Select(p => p.Key).Union(b.Select(p => p.Key));
            return keys.SelectMany(key => Compare(SettingRule.Join(path, key), a[key], b[key]));
        }
        return JsonNode.DeepEquals(before, now)
            ? []
            : [new(path, before?.ToJsonString() ?? "null", now?.ToJsonString() ?? "null")];
    }
}
