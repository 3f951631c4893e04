using System.Globalization;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using EmtTorch.Configuration;
using EmtTorch.Settings;
using EmtTorch.Training;

namespace EmtTorch.Studies;

/// <summary>One run of a sweep.</summary>
/// <param name="Configuration">Its configuration.</param>
/// <param name="Values">Its value on each axis, in the order of the axes.</param>
public sealed record SweepRun(RunConfiguration Configuration, IReadOnlyList<SweepValue> Values);

/// <summary>A value on an axis.</summary>
/// <param name="Name">
/// What tables call it: 64, 0.001, t1, or the name that several settings have together.
/// </param>
/// <param name="Overrides">The settings that it stands for, each as `key=value`.</param>
public sealed record SweepValue(string Name, IReadOnlyList<string> Overrides);

/// <summary>A setting, or several together, that takes one value after another.</summary>
/// <param name="Key">The setting's path, for example training.weight_decay; for named values any word.</param>
/// <param name="Values">Its values, in the order of the table.</param>
public sealed record SweepAxis(string Key, IReadOnlyList<SweepValue> Values)
{
    /// <summary>The last part of the key: weight_decay.</summary>
    public string Title => Key[(Key.LastIndexOf('.') + 1)..];
}

/// <summary>
/// A sweep: a base configuration and axes. Each combination of the axes' values is a run for each seed. A run is named
/// after its values, so that another value on an axis renames no other run. Of a name of more than 100 characters the
/// end is a hash of the whole.
/// </summary>
/// <example>
/// This file gives OUT/t1-weight_decay_0-adam/seed-1 and so on:
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
/// <code>
/// var sweep = Sweep.Load("experiments/table1/sweep.json");
/// Console.WriteLine($"{sweep.Name}: {sweep.Runs.Count} runs, in {sweep.Out}");
/// </code>
/// </example>
public sealed partial class Sweep
{
    /// <summary>The name of the sweep's copy in the folder of its runs. With it the folder can be read alone.</summary>
    internal const string FileName = "sweep.json";

    private Sweep() { }

    /// <summary>The sweep's own name, or the name of its folder.</summary>
    public required string Name { get; init; }

    /// <summary>What the sweep is for, in a sentence; may be empty.</summary>
    public required string Description { get; init; }

    public required IReadOnlyList<SweepAxis> Axes { get; init; }
    public required IReadOnlyList<long> Seeds { get; init; }

    /// <summary>Keys of axes over which only a seed's best run counts.</summary>
    public required IReadOnlyList<string> BestOf { get; init; }

    /// <summary>Published results to put beside one's own, as they were given; or null.</summary>
    public required JsonNode? Published { get; init; }

    /// <summary>The folder of all runs.</summary>
    public required string Out { get; init; }

    /// <summary>All runs. The first axis changes slowest, the seed fastest.</summary>
    public IReadOnlyList<SweepRun> Runs => _runs;

    private readonly List<SweepRun> _runs = [];

    private JsonObject Whole { get; init; } = [];

    /// <summary>The sweep's file, with the base configuration and the published results in it.</summary>
    public string ToJson() => Whole.ToJsonString(SettingJson.Options) + "\n";

    /// <summary>Reads a sweep and checks all of its runs.</summary>
    /// <param name="path">The file.</param>
    /// <param name="overrides">
    /// Settings for every run, as `key=value`. They win over the base configuration; the axes win over them.
    /// </param>
    /// <param name="folder">The folder of all runs; null: `runs` beside the file.</param>
    /// <exception cref="ConfigurationException">There are problems: all of them.</exception>
    public static Sweep Load(string path, IReadOnlyList<string>? overrides = null, string? folder = null)
    {
        overrides ??= [];
        var problems = new List<ConfigurationProblem>();
        var json = ConfigurationFile.ReadObject(path, problems) ?? throw new ConfigurationException(problems);
        var here = Path.GetDirectoryName(Path.GetFullPath(path))!;
        ExperimentFile.ReadFiles(json, here, ["base", "published"], problems);
        var whole = json.DeepClone().AsObject();

        SweepFile.Expand(json, problems);
        Extensions.Load(json["base"] as JsonObject, overrides, problems);
        var file = ConfigurationFile.Bind<SweepFile>(json, f => f.Check(), problems);
        ExperimentFile.CheckOverrides(overrides, problems);
        var sweep = new Sweep
        {
            Name = file.Name.Length > 0 ? file.Name : Path.GetFileName(here),
            Description = file.Description,
            Axes =
            [
                .. file
                    .Axes.Where(a => !SweepFile.CheckAxis(a.Key, a.Value).Any())
                    .Select(a => new SweepAxis(a.Key, [.. a.Value.Select(v => v.ToSweepValue())])),
            ],
            Seeds = [.. file.Seeds.Distinct()],
            BestOf = file.BestOf,
            Published = file.Published,
            Out = folder ?? Path.GetRelativePath(Environment.CurrentDirectory, Path.Combine(here, "runs")),
            Whole = whole,
        };
        // Also if something else is wrong, so that all of it is said at once.
        if (problems.All(p => p.Path != "base"))
            sweep.AddRuns(file.Base.ToJsonString(), overrides, problems);
        if (problems.Count > 0)
            throw new ConfigurationException(problems);
        whole.Remove("$schema");
        whole["name"] = sweep.Name;
        return sweep;
    }

    private const int MostRuns = 100_000;

    private void AddRuns(string basis, IReadOnlyList<string> overrides, List<ConfigurationProblem> problems)
    {
        double all = Axes.Aggregate((double)Seeds.Count, (n, axis) => n * axis.Values.Count);
        var many =
            ExperimentFile.FindTooMany(Axes.Select(a => a.Values.Count))
            ?? (all > MostRuns ? $"make {all:0} runs with {Seeds.Count} seeds; allowed: at most {MostRuns}" : null);
        if (many is not null)
        {
            problems.Add("axes", many);
            return;
        }
        foreach (var values in Combinations(Axes))
        {
            var parts = Axes.Zip(values, NamePart).Where(p => p.Length > 0).ToList();
            var name = RunConfiguration.Shorten(
                parts.Count == 0 ? NotInNames().Replace(Name, "_") : string.Join('-', parts)
            );
            string[] settings =
            [
                .. overrides,
                .. values.SelectMany(v => v.Overrides),
                $"name={JsonValue.Create(name).ToJsonString()}",
                $"out={JsonValue.Create(Out).ToJsonString()}",
            ];
            try
            {
                var run = ConfigurationFile.Parse(basis, settings);
                _runs.AddRange(Seeds.Select(seed => new SweepRun(run with { Seed = seed }, values)));
            }
            catch (ConfigurationException e)
            {
                // Problems of the base configuration are those of every run.
                problems.AddRange(e.Problems.Except(problems));
            }
        }
        if (problems.Count > 0)
            return;
        foreach (var twice in _runs.CountBy(r => (r.Configuration.Name, r.Configuration.Seed)).Where(r => r.Value > 1))
        {
            var (name, seed) = twice.Key;
            problems.Add("axes", $"{twice.Value} runs are called {name}, seed {seed}: give their values other names");
        }
    }

    private static IEnumerable<IReadOnlyList<SweepValue>> Combinations(IEnumerable<SweepAxis> axes)
    {
        IEnumerable<IReadOnlyList<SweepValue>> none =
        [
            [],
        ];
        return axes.Aggregate(
            none,
            (shorter, axis) => shorter.SelectMany(_ => axis.Values, IReadOnlyList<SweepValue> (s, v) => [.. s, v])
        );
    }

    /// <summary>What a value adds to a run's name: a text stands alone, a number follows its setting's name.</summary>
    private static string NamePart(SweepAxis axis, SweepValue value)
    {
        bool bare = Number().IsMatch(value.Name) || value.Name is "true" or "false" or "null";
        return NotInNames().Replace(bare ? $"{axis.Title}_{value.Name}" : value.Name, "_");
    }

    [GeneratedRegex("[^A-Za-z0-9._-]")]
    private static partial Regex NotInNames();

    [GeneratedRegex(@"^[-+]?[0-9.]+([eE][-+]?[0-9]+)?\z")]
    private static partial Regex Number();
}
