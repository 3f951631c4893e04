using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using EmtTorch.Analysis.Charts;
using EmtTorch.Configuration;
using EmtTorch.Settings;
using EmtTorch.Training;

namespace EmtTorch.Studies;

/// <summary>
/// The runs of a sweep, finished or not, read from their folder. If a sweep.json is there, they are the runs of that
/// sweep. Otherwise they are those in FOLDER/NAME/seed-N and FOLDER/seed-N, and the axes are the settings in which they
/// differ.
/// </summary>
/// <example><code>
/// var table = SweepTable.Of(SweepFolder.Read("experiments/table1"));
/// </code></example>
public sealed record SweepFolder
{
    private const string Threshold = "training.curriculum.threshold";

    /// <summary>Settings that never are an axis.</summary>
    private static readonly string[] NoAxes = ["name", "seed", "out", "device", "threads"];

    public required string Name { get; init; }

    /// <summary>What the sweep is for; may be empty.</summary>
    public required string Description { get; init; }

    public required IReadOnlyList<SweepAxis> Axes { get; init; }

    /// <summary>Keys of axes over which a seed's best run counts.</summary>
    public required IReadOnlyList<string> BestOf { get; init; }

    /// <summary>Published results to compare with.</summary>
    public PublishedTable? Published { get; init; }

    /// <summary>All runs. The first axis changes slowest, the seed fastest.</summary>
    public required IReadOnlyList<RunFigures> Runs { get; init; }

    /// <summary>What was damaged, left out or made again, in the order of the runs.</summary>
    public IReadOnlyList<string> Warnings { get; init; } = [];

    /// <summary>
    /// Reads a folder. If a finished run has no analysis.json, it is analysed and the file is written.
    /// </summary>
    /// <param name="folder">The folder of the runs, or the one that holds sweep.json and runs/.</param>
    /// <param name="progress">Told the name of a run that is analysed; from several threads.</param>
    /// <exception cref="ConfigurationException">
    /// The folder is not there, has no run, or its sweep.json is wrong.
    /// </exception>
    public static SweepFolder Read(string folder, Action<string>? progress = null)
    {
        if (!Directory.Exists(folder))
        {
            var why = File.Exists(folder)
                ? "is a file; the folder of a sweep's runs is needed"
                : $"there is no such folder (looked for {Path.GetFullPath(folder)})";
            throw Problem(folder, why);
        }

        var (runs, file) = Places(folder);
        var warnings = new List<string>();
        var sweep = file is null ? null : Sweep.Load(file, folder: runs);
        var found = sweep is null ? FindRuns(runs, warnings) : RunsOf(sweep, warnings);
        if (!found.Any(f => f.Folder.HoldsRun))
        {
            var why = sweep is null
                ? "has no runs: neither a sweep.json nor NAME/seed-N/config.json is there"
                : $"none of the {found.Count} runs of the sweep has begun there. scripts/sweep.sh {file} trains them. "
                    + "If they are elsewhere (--out), give that folder";
            throw Problem(folder, why);
        }

        var axes = sweep?.Axes ?? Differences(found);
        if (sweep is null)
            found = InOrder(found, axes);
        else
            WarnOfOthers(runs, found, warnings);
        var published = sweep?.Published is { } given ? PublishedTable.Of(given) : null;
        if (published is not null && found.All(f => f.Run.Configuration.Task.IsOnTokens))
            warnings.Add("published results are those of networks on variable binding: this table leaves them out");
        var figures = ReadFigures(found, warnings, progress);
        return new()
        {
            Name = sweep?.Name ?? Path.GetFileName(Path.GetFullPath(runs).TrimEnd(Path.DirectorySeparatorChar)),
            Description = sweep?.Description ?? "",
            Axes = axes,
            BestOf = sweep?.BestOf ?? [.. axes.Select(a => a.Key).Where(k => k == Threshold)],
            Published = published,
            Runs = figures,
            Warnings = warnings,
        };
    }

    /// <summary>A run with its folder.</summary>
    private sealed record FoundRun(RunFolder Folder, SweepRun Run);

    /// <summary>Reads what each run came to, several at a time; warnings are added in the order of the runs.</summary>
    private static RunFigures[] ReadFigures(List<FoundRun> found, List<string> warnings, Action<string>? progress)
    {
        var figures = new RunFigures[found.Count];
        var said = found.Select(_ => new List<string>()).ToArray();
        Parallel.For(
            0,
            found.Count,
            new() { MaxDegreeOfParallelism = Environment.ProcessorCount },
            i =>
            {
                var (folder, run) = found[i];
                var label = SweepItem.LabelOf(run.Configuration);
                figures[i] = RunFigures.Read(folder, run, said[i].Add, () => progress?.Invoke(label));
            }
        );
        warnings.AddRange(said.SelectMany(s => s));
        return figures;
    }

    /// <summary>Where the runs are, and what describes the sweep.</summary>
    private static (string Runs, string? File) Places(string folder)
    {
        var file = Path.Combine(folder, Sweep.FileName);
        var below = Path.Combine(folder, "runs");
        if (!File.Exists(file))
            return (folder, null);
        if (!Directory.Exists(below))
            return (folder, file);
        var copy = Path.Combine(below, Sweep.FileName);
        return (below, File.Exists(copy) ? copy : file);
    }

    /// <summary>FOLDER/seed-N and FOLDER/NAME/seed-N, where a run has begun.</summary>
    private static IEnumerable<RunFolder> RunsIn(string folder)
    {
        string[] places =
        [
            folder,
            .. Directory
                .GetDirectories(folder)
                .Where(d => Path.GetFileName(d) != "earlier")
                .Order(StringComparer.Ordinal),
        ];
        return places
            .SelectMany(p => Directory.GetDirectories(p, "seed-*").Order(StringComparer.Ordinal))
            .Select(path => new RunFolder(path))
            .Where(run => run.HoldsRun);
    }

    /// <summary>The runs of a folder without a sweep.json.</summary>
    private static List<FoundRun> FindRuns(string folder, List<string> warnings) =>
        [
            .. RunsIn(folder)
                .Select(run => (Folder: run, Configuration: Configuration(run, warnings)))
                .Where(run => run.Configuration is not null)
                .Select(run => new FoundRun(run.Folder, new(run.Configuration!, []))),
        ];

    /// <summary>
    /// The runs of a sweep, each with the configuration in its folder: a sweep may have been begun with other settings
    /// than those of its file.
    /// </summary>
    private static List<FoundRun> RunsOf(Sweep sweep, List<string> warnings)
    {
        var found = new List<FoundRun>();
        foreach (var run in sweep.Runs)
        {
            var folder = RunFolder.Of(run.Configuration);
            var configuration = Configuration(folder, warnings) ?? run.Configuration;
            found.Add(new(folder, run with { Configuration = configuration }));
        }
        return found;
    }

    /// <summary>Runs with their values on the axes, in the order that a sweep would have.</summary>
    private static List<FoundRun> InOrder(List<FoundRun> found, IReadOnlyList<SweepAxis> axes)
    {
        var ordered = found
            .Select(f => f with { Run = f.Run with { Values = ValuesOf(f.Run.Configuration, axes) } })
            .OrderBy(_ => 0);
        for (int i = 0; i < axes.Count; i++)
        {
            var (axis, names) = (i, axes[i].Values.Select(v => v.Name).ToList());
            ordered = ordered.ThenBy(f => names.IndexOf(f.Run.Values[axis].Name));
        }
        return [.. ordered.ThenBy(f => f.Run.Configuration.Seed)];
    }

    /// <summary>
    /// Warns of runs that lie in a sweep's folder but do not belong to it, for example of a value that it had before.
    /// </summary>
    private static void WarnOfOthers(string folder, List<FoundRun> own, List<string> warnings)
    {
        const int Named = 3;
        var others = RunsIn(folder)
            .Select(r => Path.GetFullPath(r.Path))
            .Except(own.Select(r => Path.GetFullPath(r.Folder.Path)))
            .Select(p => Path.GetRelativePath(folder, p))
            .ToList();
        if (others.Count == 0)
            return;
        var subject = others.Count == 1 ? $"1 run in {folder} is" : $"{others.Count} runs in {folder} are";
        var rest = others.Count > Named ? $" and {others.Count - Named} more" : "";
        warnings.Add($"{subject} not of the sweep and left out: {string.Join(", ", others.Take(Named))}{rest}");
    }

    private static RunConfiguration? Configuration(RunFolder folder, List<string> warnings)
    {
        if (!File.Exists(folder.ConfigFile))
        {
            if (folder.HoldsRun)
                warnings.Add($"{folder.Path} has no config.json. --resume writes it anew from its checkpoints");
            return null;
        }
        try
        {
            return ConfigurationFile.Load(folder.ConfigFile);
        }
        catch (ConfigurationException e)
        {
            warnings.Add($"{folder.ConfigFile} is damaged: {string.Join("; ", e.Problems)}");
            return null;
        }
    }

    /// <summary>
    /// The settings in which runs differ, with their values in ascending order. The name is one of them if two runs
    /// could not be told apart without it.
    /// </summary>
    private static List<SweepAxis> Differences(List<FoundRun> runs)
    {
        var settings = runs.Select(r => Settings(r.Run.Configuration)).ToList();
        SweepAxis Axis(string key)
        {
            var names = settings.Select(s => s.GetValueOrDefault(key, "null")).Distinct();
            var ascending = names.OrderBy(n => Number(n) ?? double.MaxValue).ThenBy(n => n, StringComparer.Ordinal);
            return new(key, [.. ascending.Select(n => new SweepValue(n, []))]);
        }
        var keys = settings.SelectMany(s => s.Keys).Distinct().Except(NoAxes);
        var axes = keys.Select(Axis).Where(a => a.Values.Count > 1).ToList();
        string Values(RunConfiguration run) => string.Join('\n', ValuesOf(run, axes).Select(v => v.Name));
        if (runs.CountBy(r => (r.Run.Configuration.Seed, Values(r.Run.Configuration))).Any(r => r.Value > 1))
            axes.Insert(0, Axis("name"));
        return axes;
    }

    private static List<SweepValue> ValuesOf(RunConfiguration configuration, IReadOnlyList<SweepAxis> axes)
    {
        var settings = Settings(configuration);
        return [.. axes.Select(a => new SweepValue(settings.GetValueOrDefault(a.Key, "null"), []))];
    }

    private static double? Number(string text) =>
        double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double number) ? number : null;

    /// <summary>Every setting by its path, as text.</summary>
    private static Dictionary<string, string> Settings(RunConfiguration configuration)
    {
        var settings = new Dictionary<string, string>();
        void Add(string path, JsonNode? node)
        {
            if (node is not JsonObject section)
            {
                settings[path] =
                    node is JsonValue value && value.TryGetValue(out string? text)
                        ? text
                        : node?.ToJsonString() ?? "null";
            }
            else
            {
                foreach (var (key, value) in section)
                    Add(path.Length == 0 ? key : $"{path}.{key}", value);
            }
        }
        Add("", JsonNode.Parse(configuration.ToJson()));
        return settings;
    }

    private static ConfigurationException Problem(string path, string message) => new([new(path, message)]);
}
