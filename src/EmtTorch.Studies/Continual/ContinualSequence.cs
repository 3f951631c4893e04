using System.Globalization;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using EmtTorch.Analysis.Charts;
using EmtTorch.Configuration;
using EmtTorch.Settings;
using EmtTorch.Training;

namespace EmtTorch.Studies;

/// <summary>A way to learn one task after the other.</summary>
/// <param name="Name">What it is called, and the folder of its runs: naive, ewc-100.</param>
/// <param name="Kind">naive, ewc, si, project or joint.</param>
/// <param name="Strength">λ of EWC, c of SI; 0 for the others.</param>
/// <param name="Protect">Of project: what is protected.</param>
/// <param name="Group">Its name without the strength: methods of one group differ in that alone.</param>
public sealed record ContinualMethod(string Name, string Kind, double Strength, string? Protect, string Group);

/// <summary>
/// Tasks that one network learns one after the other, and the methods to compare: `Trainer continual` trains them.
/// </summary>
/// <example>
/// <code>
/// {
///   "base": "../../configs/t2.json",
///   "tasks": [ { "name": "t2", "set": {} }, { "name": "t3", "set": { "task.name": "t3" } } ],
///   "own": ["rnn.weight_ih", "readout.weight"],
///   "methods": [ { "method": "naive" }, { "method": "ewc", "strengths": [1, 10, 100] } ],
///   "seeds": "1-3", "sweep_seed": 100
/// }
/// </code>
/// </example>
public sealed partial class ContinualSequence
{
    /// <summary>The copy of a sequence in the folder of its runs.</summary>
    public const string FileName = "sequence.json";

    /// <summary>
    /// What project may protect: what W_hh does with variable memories (from), what it writes into them (into), both;
    /// both, with the old task's input and output restricted to its memories (memories); or what W_hh does with the
    /// directions that the old task's hidden states take (states).
    /// </summary>
    public static readonly string[] Protections = ["from", "into", "both", "memories", "states"];

    private const string Own = "seeds are in the sequence's file, names are those of methods, and the folder is --out";
    private const int LargestSeed = 1_000_000;
    private static readonly string[] Keys =
    [
        "$schema",
        "name",
        "description",
        "base",
        "tasks",
        "own",
        "methods",
        "seeds",
        "sweep_seed",
        "fisher_samples",
        "damping",
    ];
    private static readonly string[] MethodKeys = ["name", "method", "strengths", "protect"];
    private static readonly string[] Kinds = ["naive", "ewc", "si", "project", "joint"];

    private ContinualSequence() { }

    public required string Name { get; init; }
    public required string Description { get; init; }

    /// <summary>Each task's name and configuration; the seed and the folder are a stage's own.</summary>
    public required IReadOnlyList<(string Name, RunConfiguration Configuration)> Tasks { get; init; }

    /// <summary>
    /// Parameters that each task has for itself: they begin anew with each task, and a task is tested with its own.
    /// </summary>
    public required IReadOnlyList<string> OwnParameters { get; init; }

    public required IReadOnlyList<ContinualMethod> Methods { get; init; }
    public required IReadOnlyList<long> Seeds { get; init; }

    /// <summary>
    /// The seed by which a group's strength is chosen: none of <see cref="Seeds"/>, so that a choice is not tested on
    /// what it was made by.
    /// </summary>
    public required long SweepSeed { get; init; }

    /// <summary>Sequences, or documents, that the Fisher information is estimated from.</summary>
    public required int FisherSamples { get; init; }

    /// <summary>SI's ξ.</summary>
    public required double Damping { get; init; }

    /// <summary>The folder of all runs.</summary>
    public required string Runs { get; init; }

    /// <summary>Where tables and pages go.</summary>
    public required string Results { get; init; }

    private JsonObject Whole { get; init; } = [];

    /// <summary>The sequence by itself, with the base configuration in it.</summary>
    public string ToJson() => Whole.ToJsonString(SettingJson.Options) + "\n";

    /// <summary>
    /// In what a sequence is another experiment than one in the same folder: all but the methods and seeds, of which
    /// there may be more, and where it is computed.
    /// </summary>
    public static IEnumerable<string> Differences(string before, string now)
    {
        JsonNode? a = Experiment(before),
            b = Experiment(now);
        return Keys.Except(["base", "name", "description", "methods", "seeds", "sweep_seed"])
            .Where(key => !JsonNode.DeepEquals(a?[key], b?[key]));

        // Each task is there with all of its settings, the base's among them.
        static JsonNode? Experiment(string text)
        {
            var json = JsonNode.Parse(text);
            foreach (var task in json?["tasks"] as JsonArray ?? [])
            {
                foreach (var key in new[] { "device", "threads", "out" })
                    (task?["set"] as JsonObject)?.Remove(key);
            }

            return json;
        }
    }

    /// <summary>The configuration of a stage.</summary>
    /// <param name="task">From 0.</param>
    /// <param name="seed">Of the whole sequence; each stage has its own, so that batches and first weights are others:
    /// 1000 · seed + stage, from 1.</param>
    public RunConfiguration Stage(int task, long seed) =>
        Tasks[task].Configuration with
        {
            Seed = 1000 * seed + task + 1,
            Name = Tasks[task].Name,
        };

    /// <summary>Reads a sequence and checks all of it.</summary>
    /// <param name="path">The file.</param>
    /// <param name="overrides">Settings for every task, over the base configuration and under the task's own.</param>
    /// <param name="output">The folder in which runs/NAME and results/NAME are; null: the file's.</param>
    /// <param name="seeds">In place of the file's; null: those.</param>
    /// <exception cref="ConfigurationException">There are problems: all of them.</exception>
    public static ContinualSequence Load(
        string path,
        IReadOnlyList<string>? overrides = null,
        string? output = null,
        IReadOnlyList<long>? seeds = null
    )
    {
        var problems = new List<ConfigurationProblem>();
        var json = Sweep.Parse(path, "a sequence of tasks", problems);
        if (json is null)
            throw new ConfigurationException(problems);
        var here = Path.GetDirectoryName(Path.GetFullPath(path))!;
        foreach (var key in json.Select(p => p.Key).Except(Keys))
        {
            problems.Add(
                key,
                $"is no key of a sequence; {(NearestName.To(key, Keys) is { } near ? $"did you mean {near}? " : "")}allowed: {string.Join(", ", Keys[1..])}"
            );
        }

        var name = Sweep.Text(json, "name", problems) ?? Path.GetFileNameWithoutExtension(path);
        if (!FolderName().IsMatch(name))
            problems.Add("name", $"found {name}; allowed: letters, digits, '.', '_' and '-'");
        var basis = Sweep.Content(json, "base", here, "a configuration's file, or a configuration itself", problems);
        if (basis is null && !json.ContainsKey("base"))
            problems.Add("base", "is missing; allowed: a configuration's file, or a configuration itself");
        foreach (var given in overrides ?? [])
        {
            if (given.Split('=')[0] is "seed" or "name" or "out")
                problems.Add("--set", $"found {given}: {Own}");
        }

        var tasks = TasksOf(json, basis, overrides ?? [], problems);
        var own = Names(json, "own", problems);
        var methods = MethodsOf(json, problems);
        if (
            methods.Any(m => m.Kind == "project")
            && tasks.FirstOrDefault(t => t.Configuration.Model.IsTransformer) is { Name: { } transformer }
        )
        {
            problems.Add(
                "methods",
                $"project is for elman_rnn, whose W_hh it protects, and {transformer} is learned by a transformer"
            );
        }

        var fileSeeds = Sweep.SeedsOf(json, problems);
        seeds ??= fileSeeds;
        long sweepSeed = Integer(json, "sweep_seed", 100, 0, problems);
        foreach (var big in seeds.Append(sweepSeed).Where(s => s > LargestSeed).Distinct())
            problems.Add("seeds", $"found {big}; allowed: 0 to {LargestSeed}");
        if (seeds.Contains(sweepSeed) && methods.GroupBy(m => m.Group).Any(g => g.Count() > 1))
        {
            problems.Add(
                "sweep_seed",
                $"found {sweepSeed}, which is one of the seeds: a strength chosen by it would be tested on what it "
                    + "was chosen by"
            );
        }

        int samples = (int)Integer(json, "fisher_samples", 200, 1, problems);
        double damping = Number(json, "damping", 1e-3, problems);
        if (problems.Count > 0)
            throw new ConfigurationException(problems);

        var whole = (JsonObject)json.DeepClone();
        whole.Remove("$schema");
        whole["name"] = name;
        whole["base"] = basis!.DeepClone();
        // What --set says is part of what the runs are.
        whole["tasks"] = new JsonArray([
            .. tasks.Select(t =>
                (JsonNode)new JsonObject { ["name"] = t.Name, ["set"] = JsonNode.Parse(t.Configuration.ToJson()) }
            ),
        ]);
        output ??= Path.GetRelativePath(Environment.CurrentDirectory, here);
        return new()
        {
            Name = name,
            Description = Sweep.Text(json, "description", problems) ?? "",
            Tasks = tasks,
            OwnParameters = own,
            Methods = methods,
            Seeds = seeds,
            SweepSeed = sweepSeed,
            FisherSamples = samples,
            Damping = damping,
            Runs = Path.Combine(output, "runs", name),
            Results = Path.Combine(output, "results", name),
            Whole = whole,
        };
    }

    private static List<(string Name, RunConfiguration Configuration)> TasksOf(
        JsonObject json,
        JsonObject? basis,
        IReadOnlyList<string> overrides,
        List<ConfigurationProblem> problems
    )
    {
        const string allowed = "a list of two or more of { \"name\": …, \"set\": { setting: value, … } }";
        var tasks = new List<(string Name, RunConfiguration)>();
        if (
            json["tasks"] is not JsonArray { Count: > 1 } list
            || Sweep.Axis("tasks", list, problems, "") is not { } axis
        )
        {
            if (json["tasks"] is not JsonArray { Count: > 1 })
                problems.Add("tasks", $"found {json["tasks"]?.ToJsonString() ?? "none"}; allowed: {allowed}");
            return tasks;
        }
        if (basis is null)
            return tasks;
        foreach (var value in axis.Values)
        {
            if (!FolderName().IsMatch(value.Name))
                problems.Add("tasks", $"found the name {value.Name}; allowed: letters, digits, '.', '_' and '-'");
            try
            {
                tasks.Add(
                    (
                        value.Name,
                        ConfigurationFile.Parse(
                            basis.ToJsonString(),
                            [.. overrides, .. value.Overrides, "name=\"stage\""]
                        )
                    )
                );
            }
            catch (ConfigurationException e)
            {
                problems.AddRange(e.Problems.Except(problems));
            }
        }
        if (tasks.Select(t => (ModelOf(t.Item2), t.Item2.Device, t.Item2.Threads)).Distinct().Count() > 1)
            problems.Add("tasks", "differ in model, device or threads: one network learns them all");
        return tasks;
    }

    private static string ModelOf(RunConfiguration task) => JsonNode.Parse(task.ToJson())!["model"]!.ToJsonString();

    private static List<ContinualMethod> MethodsOf(JsonObject json, List<ConfigurationProblem> problems)
    {
        var methods = new List<ContinualMethod>();
        if (json["methods"] is not JsonArray { Count: > 0 } list)
        {
            problems.Add(
                "methods",
                $"found {json["methods"]?.ToJsonString() ?? "none"}; allowed: a list of {{ \"method\": {string.Join('|', Kinds)}, … }}"
            );
            return methods;
        }
        for (int i = 0; i < list.Count; i++)
        {
            var at = $"methods[{i}]";
            if (list[i] is not JsonObject entry)
            {
                problems.Add(
                    at,
                    $"found {list[i]?.ToJsonString() ?? "null"}; allowed: an object with the keys {string.Join(", ", MethodKeys)}"
                );
                continue;
            }
            foreach (var key in entry.Select(p => p.Key).Except(MethodKeys))
            {
                problems.Add(
                    $"{at}.{key}",
                    $"unknown key; {(NearestName.To(key, MethodKeys) is { } near ? $"did you mean {near}?" : $"allowed here: {string.Join(", ", MethodKeys)}")}"
                );
            }

            var kind = entry["method"] is JsonValue v && v.TryGetValue(out string? k) ? k : null;
            if (kind is null || !Kinds.Contains(kind))
            {
                problems.Add(
                    $"{at}.method",
                    $"found {entry["method"]?.ToJsonString() ?? "none"}; allowed: one of {string.Join(", ", Kinds)}"
                );
                continue;
            }
            var protect = entry["protect"] is JsonValue p && p.TryGetValue(out string? what) ? what : null;
            if (kind == "project" ? protect is null || !Protections.Contains(protect) : entry.ContainsKey("protect"))
            {
                problems.Add(
                    $"{at}.protect",
                    kind == "project"
                        ? $"found {entry["protect"]?.ToJsonString() ?? "none"}; allowed: one of {string.Join(", ", Protections)}"
                        : $"is for project only, and this is {kind}: leave it out"
                );
            }

            var group =
                entry["name"] is JsonValue n && n.TryGetValue(out string? own) ? own
                : kind == "project" ? $"project-{protect}"
                : kind;
            if (!FolderName().IsMatch(group) || group == ContinualFolders.First)
            {
                problems.Add(
                    $"{at}.name",
                    $"found {entry["name"]?.ToJsonString()}; allowed: letters, digits, '.', '_' and '-', but not {ContinualFolders.First}"
                );
            }

            bool takesStrength = kind is "ewc" or "si";
            if (!takesStrength && entry.ContainsKey("strengths"))
                problems.Add($"{at}.strengths", $"is for ewc and si only, and this is {kind}: leave it out");
            if (!takesStrength)
            {
                methods.Add(new(group, kind, 0, protect, group));
                continue;
            }
            if (
                entry["strengths"] is not JsonArray { Count: > 0 } strengths
                || !strengths.All(s =>
                    s is JsonValue number && number.TryGetValue(out double d) && double.IsFinite(d) && d > 0
                )
            )
            {
                problems.Add(
                    $"{at}.strengths",
                    $"found {entry["strengths"]?.ToJsonString() ?? "none"}; allowed: a list of numbers above 0, of which the best is chosen"
                );
                continue;
            }
            foreach (var strength in strengths.Select(s => s!.GetValue<double>()).Distinct())
            {
                methods.Add(
                    new(
                        strengths.Count == 1
                            ? group
                            : $"{group}-{strength.ToString("R", CultureInfo.InvariantCulture)}",
                        kind,
                        strength,
                        null,
                        group
                    )
                );
            }
        }
        foreach (var twice in methods.GroupBy(m => m.Name).Where(g => g.Count() > 1))
            problems.Add("methods", $"{twice.Count()} are called {twice.Key}: give them different names");
        return methods;
    }

    private static List<string> Names(JsonObject json, string key, List<ConfigurationProblem> problems)
    {
        if (!json.ContainsKey(key))
            return [];
        if (json[key] is JsonArray list && list.All(i => i is JsonValue v && v.TryGetValue<string>(out _)))
            return [.. list.Select(i => i!.GetValue<string>()).Distinct()];
        problems.Add(key, $"found {json[key]?.ToJsonString() ?? "null"}; allowed: a list of parameters' names");
        return [];
    }

    private static long Integer(
        JsonObject json,
        string key,
        long usual,
        long least,
        List<ConfigurationProblem> problems
    )
    {
        if (!json.ContainsKey(key))
            return usual;
        if (
            json[key] is JsonValue value
            && value.TryGetValue(out long number)
            && number >= least
            && number <= LargestSeed
        )
        {
            return number;
        }

        problems.Add(
            key,
            $"found {json[key]?.ToJsonString() ?? "null"}; allowed: a whole number from {least} to {LargestSeed}"
        );
        return usual;
    }

    private static double Number(JsonObject json, string key, double usual, List<ConfigurationProblem> problems)
    {
        if (!json.ContainsKey(key))
            return usual;
        if (
            json[key] is JsonValue value
            && value.TryGetValue(out double number)
            && double.IsFinite(number)
            && number > 0
        )
        {
            return number;
        }

        problems.Add(key, $"found {json[key]?.ToJsonString() ?? "null"}; allowed: a number above 0");
        return usual;
    }

    [GeneratedRegex("^[A-Za-z0-9_][A-Za-z0-9._-]{0,79}$")]
    private static partial Regex FolderName();
}

/// <summary>Where a sequence's runs are.</summary>
public static class ContinualFolders
{
    /// <summary>The folder of the first stage, which is the same for all methods.</summary>
    public const string First = "first";
}
