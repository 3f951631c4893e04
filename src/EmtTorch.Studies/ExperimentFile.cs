using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using System.Globalization;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using EmtTorch.Configuration;
using EmtTorch.Settings;
using EmtTorch.Training;

namespace EmtTorch.Studies;

/// <summary>What the file of a sweep and the file of a sequence of tasks have in common.</summary>
internal abstract record ExperimentFile
{
    protected const string BaseInWords = "a configuration, or the file of one";
    private static readonly string[] OwnSettings = ["seed", "name", "out"];

    [Description("What it is for, in a sentence.")]
    public string Description { get; init; } = "";

    [Description("The configuration of every run, or its file; the other keys change some of its settings.")]
    [Required, InWords(BaseInWords)]
    public JsonObject Base { get; init; } = [];

    [Description("A run for each seed.")]
    [MinLength(1), Range(typeof(long), "0", "9223372036854775807")]
    [InWords("a whole number from 0, or all of them as one text, \"1-20\" or \"1,2,5\"")]
    public IReadOnlyList<long> Seeds { get; init; } = [1];

    /// <summary>Puts the objects of other files in place of these files' names.</summary>
    /// <param name="json">The file's own JSON.</param>
    /// <param name="folder">Where the names are looked for.</param>
    /// <param name="keys">The keys that may give a name.</param>
    /// <param name="problems">Told of files that can't be used; an empty object stands for these.</param>
    public static void ReadFiles(JsonObject json, string folder, string[] keys, List<ConfigurationProblem> problems)
    {
        foreach (var key in keys)
        {
            if (json[key] is not JsonValue value || !value.TryGetValue(out string? name))
                continue;
            var ofFile = new List<ConfigurationProblem>();
            json[key] = ConfigurationFile.ReadObject(Path.Combine(folder, name), ofFile) ?? [];
            problems.AddRange(ofFile.Select(p => new ConfigurationProblem(key, p.ToString())));
        }
    }

    /// <summary>Puts a list of numbers in place of seeds that are given as a text.</summary>
    public static void ExpandSeeds(JsonObject json, List<ConfigurationProblem> problems)
    {
        if (json["seeds"] is not JsonValue value || !value.TryGetValue(out string? text))
            return;
        var seeds = ParseSeeds(text, out var problem);
        json["seeds"] = new JsonArray([.. seeds.Select(s => (JsonNode)s)]);
        if (problem is null)
            return;
        problems.Add("seeds", problem);
        json.Remove("seeds");
    }

    /// <summary>The seeds of a text.</summary>
    /// <param name="text">Numbers and ranges, with commas between them: 1-20, or 1,2,5.</param>
    /// <param name="problem">What is wrong with the text, or null.</param>
    /// <returns>Each seed once, since two runs can't share a folder.</returns>
    public static IReadOnlyList<long> ParseSeeds(string text, out string? problem)
    {
        const int Most = 100_000;
        problem = null;
        var seeds = new HashSet<long>();
        foreach (var part in text.Split(','))
        {
            var ends = part.Split('-');
            if (
                ends.Length <= 2
                && long.TryParse(ends[0], NumberStyles.None, CultureInfo.InvariantCulture, out long first)
                && long.TryParse(ends[^1], NumberStyles.None, CultureInfo.InvariantCulture, out long last)
                && first <= last
                && last - first < Most
            )
            {
                for (long i = 0; i <= last - first; i++)
                    seeds.Add(first + i);
            }
            else
            {
                problem ??= $"'{part}' is not a range of seeds; 1-20 or 1,2,5 is";
            }
            if (seeds.Count > Most)
            {
                problem ??= $"there are more than {Most} of them";
                break;
            }
        }
        return [.. seeds];
    }

    /// <summary>Why there are too many combinations of the values of some axes, to end a sentence; or null.</summary>
    public static string? FindTooMany(IEnumerable<int> values)
    {
        const int Most = 10_000;
        var counts = values.ToList();
        return counts.Aggregate(1.0, (n, count) => n * count) is > Most and var all
            ? $"make {string.Join(" · ", counts)} = {all:0} combinations; allowed: at most {Most}"
            : null;
    }

    /// <summary>Refuses the settings that the runs of an experiment have by themselves.</summary>
    /// <param name="overrides">`key=value`, for all runs.</param>
    /// <param name="problems">Told of them.</param>
    public static void CheckOverrides(IReadOnlyList<string> overrides, List<ConfigurationProblem> problems)
    {
        foreach (var given in overrides.Where(o => OwnSettings.Contains(o.Split('=')[0])))
            problems.Add("--set", $"found {given}: {WhyOwn}");
    }

    /// <summary>The settings of a list of choices that a run's configuration does not have, or has by itself.</summary>
    /// <param name="path">The key of the list.</param>
    /// <param name="single">The setting that a plain value stands for; null if there are no plain values.</param>
    protected static IEnumerable<ConfigurationProblem> CheckSettings(
        IEnumerable<NamedSettings> choices,
        string path,
        string? single = null
    )
    {
        foreach (var setting in choices.SelectMany(c => c.Set.Select(p => p.Key)).Distinct())
        {
            if (OwnSettings.Contains(setting))
            {
                yield return new(path, $"can't set {setting}: {WhyOwn}");
            }
            else if (RunConfiguration.Rule.Find(setting, out var unknown) is null)
            {
                var where = setting == single ? "axes" : path;
                yield return unknown! with
                {
                    Message = $"{unknown.Message} (in {where})",
                };
            }
        }
    }

    private const string WhyOwn = "seeds are in the file, runs are named after their values, and their folder is --out";
}

/// <summary>Settings that change together, under a name.</summary>
internal sealed record NamedSettings
{
    [Description("What they are called in tables and in the names of folders.")]
    [Required]
    public string Name { get; init; } = "";

    [Description("Each setting's path, training.steps for example, with its value.")]
    [Required]
    public JsonObject Set { get; init; } = [];

    public SweepValue ToSweepValue() => new(Name, Overrides);

    /// <summary>Each setting as `key=value`.</summary>
    [JsonIgnore]
    public IReadOnlyList<string> Overrides => [.. Set.Select(p => $"{p.Key}={p.Value?.ToJsonString() ?? "null"}")];
}
