using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using EmtTorch.Analysis.Charts;
using EmtTorch.Configuration;
using EmtTorch.Settings;
using EmtTorch.Training;

namespace EmtTorch.Studies;

/// <summary>
/// One of the runs of a sweep: its configuration, and which value of each axis it has, in the axes' order.
/// </summary>
public sealed record SweepRun(RunConfiguration Configuration, IReadOnlyList<SweepValue> Values);

/// <summary>A value on an axis.</summary>
/// <param name="Name">What it is called in a table: 64, 0.001, t1, or the name given to several settings
/// together.</param>
/// <param name="Overrides">The settings that it stands for, `key=value`.</param>
public sealed record SweepValue(string Name, IReadOnlyList<string> Overrides);

/// <summary>A setting, or several together, that takes one value after another.</summary>
/// <param name="Key">The setting's path, training.weight_decay say; for named values any word.</param>
/// <param name="Values">Its values, in the order of the table.</param>
public sealed record SweepAxis(string Key, IReadOnlyList<SweepValue> Values)
{
    /// <summary>The last part of the key: weight_decay.</summary>
    public string Title => Key[(Key.LastIndexOf('.') + 1)..];
}

/// <summary>
/// A sweep: a base configuration and axes, whose every combination is a run for each seed. Runs are named after their
/// values, so that another value on an axis renames none of the others.
/// </summary>
/// <example>
/// <code>
/// {
///   "base": "../../configs/t1.json",
///   "axes": {
///     "task.name": ["t1", "t2"],
///     "training.weight_decay": [0, 0.001],
///     "optimizer": [ { "name": "adam", "set": {} }, { "name": "adamw", "set": { "training.optimizer": "adamw" } } ]
///   },
///   "seeds": "1-20"
/// }
/// </code>
/// gives OUT/t1-weight_decay_0-adam/seed-1 and so on.
/// </example>
public sealed partial class Sweep
{
    /// <summary>
    /// The copy of a sweep in the folder of its runs, with which the folder can be read without the original.
    /// </summary>
    public const string FileName = "sweep.json";

    private const string Own = "seeds are in the sweep's file, names are made of values, and the folder is --out";

    private static readonly string[] Keys =
    [
        "$schema",
        "name",
        "description",
        "base",
        "axes",
        "seeds",
        "best_of",
        "published",
    ];

    private Sweep() { }

    /// <summary>What the sweep is called: its own `name`, or that of the folder it is in.</summary>
    public required string Name { get; init; }

    /// <summary>What it is for, in a sentence.</summary>
    public required string Description { get; init; }

    public required IReadOnlyList<SweepAxis> Axes { get; init; }
    public required IReadOnlyList<long> Seeds { get; init; }

    /// <summary>Keys of axes over which a seed's best run counts, in place of each.</summary>
    public required IReadOnlyList<string> BestOf { get; init; }

    /// <summary>Published results to put beside one's own, as they were given; null: none.</summary>
    public required JsonNode? Published { get; init; }

    /// <summary>The folder of all runs.</summary>
    public required string Out { get; init; }

    /// <summary>All of them: the first axis changes slowest, the seed fastest.</summary>
    public required IReadOnlyList<SweepRun> Runs { get; init; }

    private JsonObject Whole { get; init; } = [];

    /// <summary>
    /// The sweep by itself, with the base configuration and the published results in it in place of their files' names.
    /// </summary>
    public string ToJson() => Whole.ToJsonString(SettingJson.Options) + "\n";

    /// <summary>Reads a sweep and checks all of its runs.</summary>
    /// <param name="path">The file.</param>
    /// <param name="overrides">Settings for every run, over the base configuration and under the axes.</param>
    /// <param name="folder">The folder of all runs; null: `runs` beside the file.</param>
    /// <exception cref="ConfigurationException">There are problems: all of them.</exception>
    public static Sweep Load(string path, IReadOnlyList<string>? overrides = null, string? folder = null)
    {
        var problems = new List<ConfigurationProblem>();
        var json = Parse(path, "a sweep", problems);
        if (json is null)
            throw new ConfigurationException(problems);
        var here = Path.GetDirectoryName(Path.GetFullPath(path))!;

        foreach (var key in json.Select(p => p.Key).Except(Keys))
        {
            problems.Add(
                key,
                $"is no key of a sweep; {(NearestName.To(key, Keys) is { } near ? $"did you mean {near}? " : "")}allowed: {string.Join(", ", Keys[1..])}"
            );
        }

        var name = Text(json, "name", problems) ?? Path.GetFileName(here);
        var description = Text(json, "description", problems) ?? "";
        var basis = Content(json, "base", here, "a configuration's file, or a configuration itself", problems);
        if (basis is null && !json.ContainsKey("base"))
            problems.Add("base", "is missing; allowed: a configuration's file, or a configuration itself");
        var published = Content(json, "published", here, "a file's name, or an object", problems);
        var axes = json["axes"] is JsonObject each
            ? each.Select(p => Axis(p.Key, p.Value, problems)).OfType<SweepAxis>().ToList()
            : [];
        if (json.ContainsKey("axes") && json["axes"] is not JsonObject)
        {
            problems.Add(
                "axes",
                $"found {json["axes"]?.ToJsonString() ?? "null"}; allowed: an object of settings, each with a list of values"
            );
        }

        var seeds = SeedsOf(json, problems);
        var bestOf = Strings(json, "best_of", problems);
        string[] keys = [.. (json["axes"] as JsonObject ?? []).Select(p => p.Key)];
        foreach (var key in bestOf.Except(keys))
        {
            problems.Add(
                "best_of",
                $"found {key}, which is no axis; {(keys.Length > 0 ? $"the axes are {string.Join(", ", keys)}" : "there are none")}"
            );
        }

        foreach (var given in overrides ?? [])
        {
            if (given.Split('=')[0] is "seed" or "name" or "out")
                problems.Add("--set", $"found {given}: {Own}");
        }

        var runs = new List<SweepRun>();
        // Even where something is wrong already, so that all of it is said at once.
        if (basis is not null)
        {
            folder ??= Path.GetRelativePath(Environment.CurrentDirectory, Path.Combine(here, "runs"));
            foreach (var values in Combinations(axes))
            {
                var parts = axes.Zip(values, Part).Where(p => p.Length > 0).ToList();
                foreach (var seed in seeds.Count > 0 ? seeds : [1])
                {
                    string[] all =
                    [
                        .. overrides ?? [],
                        .. values.SelectMany(v => v.Overrides),
                        $"name={JsonValue.Create(parts.Count == 0 ? name : string.Join('-', parts)).ToJsonString()}",
                        $"seed={seed.ToString(CultureInfo.InvariantCulture)}",
                        $"out={JsonValue.Create(folder).ToJsonString()}",
                    ];
                    try
                    {
                        runs.Add(new(ConfigurationFile.Parse(basis!.ToJsonString(), all), values));
                    }
                    catch (ConfigurationException e)
                    {
                        // What is wrong with the base is wrong with every run.
                        problems.AddRange(e.Problems.Except(problems));
                        break;
                    }
                }
            }
            if (problems.Count == 0)
            {
                foreach (
                    var twice in runs.GroupBy(r => (r.Configuration.Name, r.Configuration.Seed))
                        .Where(g => g.Count() > 1)
                )
                {
                    problems.Add(
                        "axes",
                        $"{twice.Count()} runs are called {twice.Key.Name}, seed {twice.Key.Seed}: give their "
                            + "values different names"
                    );
                }
            }
        }
        if (problems.Count > 0)
            throw new ConfigurationException(problems);

        var whole = (JsonObject)json.DeepClone();
        whole.Remove("$schema");
        whole["name"] = name;
        whole["base"] = basis!.DeepClone();
        if (published is not null)
            whole["published"] = published.DeepClone();
        return new()
        {
            Name = name,
            Description = description,
            Axes = axes,
            Seeds = seeds,
            BestOf = bestOf,
            Published = published,
            Out = folder!,
            Runs = runs,
            Whole = whole,
        };
    }

    /// <summary>Seeds as they are given on a command line: 1-20, or 1,2,5.</summary>
    /// <param name="text">Numbers and ranges, with commas between.</param>
    /// <param name="problem">What is wrong with it, or null.</param>
    public static IReadOnlyList<long> ParseSeeds(string text, out string? problem)
    {
        problem = null;
        var seeds = new List<long>();
        foreach (var part in text.Split(','))
        {
            var ends = part.Split('-');
            if (
                ends.Length <= 2
                && long.TryParse(ends[0], NumberStyles.None, CultureInfo.InvariantCulture, out long first)
                && long.TryParse(ends[^1], NumberStyles.None, CultureInfo.InvariantCulture, out long last)
                && first <= last
                && last - first < 100_000
            )
            {
                for (long s = first; s <= last; s++)
                    seeds.Add(s);
            }
            else
            {
                problem ??= $"'{part}' is not a range of seeds; 1-20 or 1,2,5 is";
            }
        }
        // Two runs can't share a folder.
        return [.. seeds.Distinct()];
    }

    internal static JsonObject? Parse(string path, string what, List<ConfigurationProblem> problems)
    {
        try
        {
            if (Directory.Exists(path))
            {
                problems.Add(path, $"is a folder; {what} is a JSON file");
            }
            else if (
                JsonNode.Parse(
                    File.ReadAllText(path),
                    documentOptions: new() { CommentHandling = JsonCommentHandling.Skip, AllowTrailingCommas = true }
                )
                is JsonObject json
            )
            {
                _ = json.Count; // a key given twice is found out here
                return json;
            }
            else
            {
                problems.Add(path, "is not a JSON object {…}");
            }
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            problems.Add(path, $"there is no such file (looked for {Path.GetFullPath(path)})");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            problems.Add(path, $"can't be read: {e.Message}");
        }
        catch (Exception e) when (e is JsonException or ArgumentException)
        {
            problems.Add(path, $"is not JSON: {e.Message}");
        }
        return null;
    }

    /// <summary>An object that is given itself or by its file's name.</summary>
    internal static JsonObject? Content(
        JsonObject json,
        string key,
        string here,
        string allowed,
        List<ConfigurationProblem> problems
    )
    {
        switch (json[key])
        {
            case null when !json.ContainsKey(key):
                return null;
            case JsonObject given:
                return given;
            case JsonValue value when value.TryGetValue(out string? file):
                return Parse(Path.Combine(here, file), "this", problems);
            default:
                problems.Add(key, $"found {json[key]?.ToJsonString() ?? "null"}; allowed: {allowed}");
                return null;
        }
    }

    internal static string? Text(JsonObject json, string key, List<ConfigurationProblem> problems)
    {
        if (!json.ContainsKey(key))
            return null;
        if (json[key] is JsonValue value && value.TryGetValue(out string? text))
            return text;
        problems.Add(key, $"found {json[key]?.ToJsonString() ?? "null"}; allowed: text");
        return null;
    }

    private static List<string> Strings(JsonObject json, string key, List<ConfigurationProblem> problems)
    {
        if (!json.ContainsKey(key))
            return [];
        if (json[key] is JsonArray list && list.All(i => i is JsonValue v && v.TryGetValue<string>(out _)))
            return [.. list.Select(i => i!.GetValue<string>())];
        problems.Add(key, $"found {json[key]?.ToJsonString() ?? "null"}; allowed: a list of the axes' keys");
        return [];
    }

    internal static IReadOnlyList<long> SeedsOf(JsonObject json, List<ConfigurationProblem> problems)
    {
        const string allowed = "\"1-20\", \"1,2,5\" or a list of numbers from 0 on";
        if (!json.ContainsKey("seeds"))
            return [1];
        switch (json["seeds"])
        {
            case JsonValue value when value.TryGetValue(out string? text):
                var seeds = ParseSeeds(text, out var problem);
                if (problem is not null)
                    problems.Add("seeds", problem);
                return seeds;
            case JsonArray { Count: > 0 } list
                when list.All(i => i is JsonValue v && v.TryGetValue(out long seed) && seed >= 0):
                return [.. list.Select(i => i!.GetValue<long>()).Distinct()];
            default:
                problems.Add("seeds", $"found {json["seeds"]?.ToJsonString() ?? "null"}; allowed: {allowed}");
                return [];
        }
    }

    /// <param name="key">The axis.</param>
    /// <param name="node">Its values.</param>
    /// <param name="problems">What is wrong with them is added.</param>
    /// <param name="parent">What the key's path begins with.</param>
    internal static SweepAxis? Axis(
        string key,
        JsonNode? node,
        List<ConfigurationProblem> problems,
        string parent = "axes."
    )
    {
        var at = $"{parent}{key}";
        if (key is "seed" or "seeds" or "name" or "out")
        {
            problems.Add(
                at,
                key is "seed" or "seeds"
                    ? "can't be an axis; the seeds have a key of their own, seeds"
                    : "can't be an axis; it is made of the others' values"
            );
            return null;
        }
        if (node is not JsonArray { Count: > 0 } list)
        {
            problems.Add(at, $"found {node?.ToJsonString() ?? "null"}; allowed: a list of values");
            return null;
        }
        int before = problems.Count;
        var values = new List<SweepValue>();
        for (int i = 0; i < list.Count; i++)
        {
            switch (list[i])
            {
                case JsonObject item
                    when item["name"] is JsonValue n
                        && n.TryGetValue(out string? name)
                        && item["set"] is JsonObject set
                        && item.Count == 2:
                    values.Add(new(name, [.. set.Select(p => $"{p.Key}={p.Value?.ToJsonString() ?? "null"}")]));
                    break;
                case JsonObject or JsonArray:
                    problems.Add(
                        $"{at}[{i}]",
                        $"found {list[i]!.ToJsonString()}; allowed: a number, a text, true, false, or {{ \"name\": …, \"set\": {{ setting: value, … }} }}, since runs are named after their values"
                    );
                    break;
                case JsonValue text when text.TryGetValue(out string? s):
                    values.Add(new(s, [$"{key}={text.ToJsonString()}"]));
                    break;
                case var value:
                    // 1e-3 and 0.001 are one number and have one name.
                    var shown =
                        value is JsonValue v && v.TryGetValue(out double number)
                            ? number.ToString("R", CultureInfo.InvariantCulture)
                            : value?.ToJsonString() ?? "null";
                    values.Add(new(shown, [$"{key}={value?.ToJsonString() ?? "null"}"]));
                    break;
            }
        }

        foreach (var twice in values.GroupBy(v => v.Name).Where(g => g.Count() > 1))
            problems.Add(at, $"has {twice.Key} {twice.Count()} times");
        foreach (
            var setting in values
                .SelectMany(v => v.Overrides)
                .Select(o => o[..o.IndexOf('=', StringComparison.Ordinal)])
                .Distinct()
        )
        {
            if (setting is "seed" or "name" or "out")
            {
                problems.Add(at, $"can't set {setting}: {Own}");
            }
            else if (RunConfiguration.Rule.Find(setting, out var unknown) is null)
            {
                problems.Add(
                    unknown! with
                    {
                        Message = $"{unknown.Message} (in {(setting == key ? parent.TrimEnd('.') : at)})",
                    }
                );
            }
        }

        return problems.Count == before ? new(key, values) : null;
    }

    private static IEnumerable<IReadOnlyList<SweepValue>> Combinations(IEnumerable<SweepAxis> axes) =>
        axes.Aggregate(
            (IEnumerable<IReadOnlyList<SweepValue>>)
                [
                    [],
                ],
            (some, axis) =>
                some.SelectMany(one => axis.Values, (one, value) => (IReadOnlyList<SweepValue>)[.. one, value])
        );

    /// <summary>What a value adds to a run's name: a text is a name by itself, a number needs its setting's.</summary>
    private static string Part(SweepAxis axis, SweepValue value) =>
        NotInNames()
            .Replace(
                Number().IsMatch(value.Name) || value.Name is "true" or "false" or "null"
                    ? $"{axis.Title}_{value.Name}"
                    : value.Name,
                "_"
            );

    [GeneratedRegex("[^A-Za-z0-9._-]")]
    private static partial Regex NotInNames();

    [GeneratedRegex(@"^[-+]?[0-9.]+([eE][-+]?[0-9]+)?$")]
    private static partial Regex Number();
}
