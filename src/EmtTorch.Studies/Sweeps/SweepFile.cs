using System.ComponentModel;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using EmtTorch.Settings;

namespace EmtTorch.Studies;

/// <summary>A sweep's file, sweep.json, in the form that <see cref="Expand"/> gives it.</summary>
internal sealed record SweepFile : ExperimentFile
{
    [Description("What the sweep is called; left out: the name of its folder.")]
    public string Name { get; init; } = "";

    [Description("Settings, each with a list of values. Every combination of values is a run for each seed.")]
    [InWords("a number, a text, true, false, or { \"name\": …, \"set\": { setting: value, … } }")]
    public OrderedDictionary<string, IReadOnlyList<NamedSettings>> Axes { get; init; } = [];

    [Description("Axes over which only a seed's best run counts in the table.")]
    public IReadOnlyList<string> BestOf { get; init; } = [];

    [Description("Published results to put beside one's own, or their file.")]
    [InWords("an object with columns and rows, or the file of one")]
    public JsonObject? Published { get; init; }

    /// <summary>
    /// Writes seeds and the plain values of axes out: "1-2" as [1, 2], and 5 on the axis training.steps as
    /// { "name": "5", "set": { "training.steps": 5 } }.
    /// </summary>
    public static void Expand(JsonObject json, List<ConfigurationProblem> problems)
    {
        ExpandSeeds(json, problems);
        foreach (var (key, values) in json["axes"] as JsonObject ?? [])
        {
            if (values is not JsonArray list)
                continue;
            for (int i = 0; i < list.Count; i++)
            {
                if (list[i] is null or JsonValue)
                {
                    var setting = new JsonObject { [key] = list[i]?.DeepClone() };
                    list[i] = new JsonObject { ["name"] = Name(list[i]), ["set"] = setting };
                }
            }
        }

        // 1e-3 and 0.001 are one number, and have one name.
        static string Name(JsonNode? value) =>
            value?.GetValueKind() switch
            {
                JsonValueKind.String => value.GetValue<string>(),
                JsonValueKind.Number => value.GetValue<double>().ToString("R", CultureInfo.InvariantCulture),
                _ => value?.ToJsonString() ?? "null",
            };
    }

    /// <summary>The rules that tie keys together, with the keys that they tie.</summary>
    public IEnumerable<(string[] Keys, ConfigurationProblem Problem)> Check()
    {
        foreach (var (key, values) in Axes)
        {
            foreach (var problem in CheckAxis(key, values))
                yield return ([$"axes.{key}"], problem);
        }
        foreach (var key in BestOf.Except(Axes.Keys))
        {
            var axes = Axes.Count > 0 ? $"the axes are {string.Join(", ", Axes.Keys)}" : "there are none";
            yield return (["best_of", $"axes.{key}"], new("best_of", $"found {key}, which is no axis; {axes}"));
        }
    }

    /// <summary>What is wrong with an axis, its values taken one by one.</summary>
    public static IEnumerable<ConfigurationProblem> CheckAxis(string key, IReadOnlyList<NamedSettings> values)
    {
        var at = $"axes.{key}";
        if (key is "seed" or "seeds" or "name" or "out")
        {
            var why = key is "seed" or "seeds" ? "seeds have a key of their own" : "it is made of the others' values";
            return [new(at, $"can't be an axis: {why}")];
        }
        var twice = values.CountBy(v => v.Name).Where(v => v.Value > 1);
        return
        [
            .. twice.Select(v => new ConfigurationProblem(at, $"has {v.Key} {v.Value} times")),
            .. CheckSettings(values, at, single: key),
        ];
    }
}
