using System.Text.Json.Nodes;
using EmtTorch.Settings;
using EmtTorch.Training;

namespace EmtTorch.Configuration;

/// <summary>Whether a run can go on with another configuration than it was begun with.</summary>
public static class Resumption
{
    // What may change between an interruption and the resumption; all else would make it another experiment.
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
    /// In what a configuration is another experiment than the one that was begun in its folder; nothing where none was.
    /// </summary>
    public static IEnumerable<ConfigurationProblem> Differences(RunFolder folder, RunConfiguration configuration)
    {
        if (!folder.HoldsRun)
            return [];
        RunConfiguration before;
        // A setting that came later than the run has its default in it.
        try
        {
            before = ConfigurationFile.Parse(File.ReadAllText(folder.ConfigFile));
        }
        catch (ConfigurationException)
        {
            return [];
        } // a damaged copy: the checkpoint itself decides
        return Compare("", JsonNode.Parse(before.ToJson()), JsonNode.Parse(configuration.ToJson()))
            .Select(d => new ConfigurationProblem(
                d.Path,
                $"is {d.New}, but the run in {folder.Path} was begun with {d.Old}: --resume goes on with the same "
                    + "experiment. Without --resume it is begun anew, and the old folder is kept under earlier/"
            ));
    }

    private static IEnumerable<(string Path, string Old, string New)> Compare(
        string path,
        JsonNode? before,
        JsonNode? now
    )
    {
        if (MayChange.Contains(path))
            yield break;
        if (before is JsonObject a && now is JsonObject b)
        {
            foreach (var key in a.Select(p => p.Key).Union(b.Select(p => p.Key)))
            {
                foreach (var difference in Compare(path.Length == 0 ? key : $"{path}.{key}", a[key], b[key]))
                    yield return difference;
            }
        }
        else if (!JsonNode.DeepEquals(before, now))
        {
            yield return (path, before?.ToJsonString() ?? "null", now?.ToJsonString() ?? "null");
        }
    }
}
