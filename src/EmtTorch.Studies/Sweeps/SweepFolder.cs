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
/// sweep. Otherwise they are those in folders called seed-N, at any depth, and the axes are the task and the settings
/// in which runs of one task differ.
/// </summary>
/// <example><code>
/// var table = SweepTable.Of(SweepFolder.Read("experiments/table1"));
/// </code></example>
public sealed record SweepFolder
{
    /// <summary>What a section's own key has if the section is not null.</summary>
    private const string Given = "given";

    /// <summary>Settings that are no axis, except the name if runs cannot be told apart without it.</summary>
    private static readonly string[] NoAxes = ["name", "seed", "out", "device", "threads", "task", "folder"];

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
            var why =
                folder.Length == 0 ? "the folder's name is empty"
                : File.Exists(folder) ? "is a file; the folder of a sweep's runs is needed"
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
                ? "has no runs: neither a sweep.json nor a seed-N/config.json, at any depth, is there"
                : $"none of the {found.Count} runs of the sweep has begun there. scripts/sweep.sh "
                    + $"{ShellWord.Quote(file!)} trains them. If they are elsewhere (--out), give that folder";
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
            BestOf = sweep?.BestOf ?? [],
            Published = published,
            Runs = figures,
            Warnings = warnings,
        };
    }

    /// <summary>A run with its folder, and the path of that from the folder of all runs.</summary>
    private sealed record FoundRun(string Name, RunFolder Folder, SweepRun Run)
    {
        /// <summary>Every setting by its path, as text; and the task's name, and where the run lies.</summary>
        public Dictionary<string, string> Settings { get; } = SettingsOf(Name, Run.Configuration);
    }

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
                var (name, folder, run) = found[i];
                figures[i] = RunFigures.Read(name, folder, run, said[i].Add, () => progress?.Invoke(name));
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

    /// <summary>
    /// The runs in a folder and, by their folders' name seed-N, those below it. A run that was set aside has its time
    /// in its folder's name, so that it counts only in the very folder that is asked for.
    /// </summary>
    private static List<RunFolder> RunsIn(string folder)
    {
        var (runs, seen) = (new List<RunFolder>(), new HashSet<string>());
        void Search(string at)
        {
            // A link may lead back to a folder above it.
            if (!seen.Add(Directory.ResolveLinkTarget(at, returnFinalTarget: true)?.FullName ?? Path.GetFullPath(at)))
                return;
            foreach (
                var below in Directory.GetDirectories(at, "*", new EnumerationOptions()).Order(StringComparer.Ordinal)
            )
            {
                var name = Path.GetFileName(below);
                bool isSeed =
                    name.StartsWith(Seed, StringComparison.Ordinal)
                    && (at == folder || long.TryParse(name[Seed.Length..], NumberStyles.None, null, out _));
                if (isSeed && new RunFolder(below) is { HoldsRun: true } run)
                    runs.Add(run);
                else
                    Search(below);
            }
        }
        Search(folder);
        return runs;
    }

    private const string Seed = "seed-";

    /// <summary>A run's path from the folder of all runs, which tells it from the others.</summary>
    private static string NameIn(string folder, RunFolder run) =>
        Path.GetRelativePath(folder, run.Path).Replace('\\', '/');

    /// <summary>The runs of a folder without a sweep.json.</summary>
    private static List<FoundRun> FindRuns(string folder, List<string> warnings) =>
        [
            .. RunsIn(folder)
                .Select(run => (Folder: run, Configuration: Configuration(run, warnings)))
                .Where(run => run.Configuration is not null)
                .Select(run => new FoundRun(NameIn(folder, run.Folder), run.Folder, new(run.Configuration!, []))),
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
            found.Add(new(NameIn(sweep.Out, folder), folder, run with { Configuration = configuration }));
        }
        return found;
    }

    /// <summary>Runs with their values on the axes, in the order that a sweep would have.</summary>
    private static List<FoundRun> InOrder(List<FoundRun> found, IReadOnlyList<SweepAxis> axes)
    {
        var ordered = found.Select(f => f with { Run = f.Run with { Values = ValuesOf(f, axes) } }).OrderBy(_ => 0);
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
            .Select(p => NameIn(folder, new(p)))
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
    /// The task, if there are several, and the settings in which runs of one task differ, with their values in
    /// ascending order. If two runs could not be told apart so, their names are an axis too, and if these are the
    /// same their folders.
    /// </summary>
    private static List<SweepAxis> Differences(List<FoundRun> runs)
    {
        SweepAxis Axis(string key)
        {
            var names = runs.Select(r => r.Settings.GetValueOrDefault(key, "")).Distinct();
            var ascending = names.OrderBy(n => Number(n) ?? double.MaxValue).ThenBy(n => n, StringComparer.Ordinal);
            return new(key, [.. ascending.Select(n => new SweepValue(n, []))]);
        }
        bool AllDiffer(IReadOnlyList<SweepAxis> axes) =>
            runs.CountBy(r => (r.Run.Configuration.Seed, Values(r, axes))).All(r => r.Value == 1);
        var byTask = runs.GroupBy(r => r.Settings["task"]).ToList();
        var keys = runs.SelectMany(r => r.Settings.Keys).Distinct().Except(NoAxes);
        var axes = keys.Where(key => byTask.Any(task => Differ(task, key))).Select(Axis).ToList();
        if (byTask.Count > 1)
            axes.Insert(0, Axis(runs.All(r => r.Settings.ContainsKey("task.name")) ? "task.name" : "task"));
        if (!AllDiffer(axes))
        {
            var name = Axis("name");
            axes.Insert(0, AllDiffer([name, .. axes]) ? name : Axis("folder"));
        }
        return axes;
    }

    /// <summary>
    /// Whether runs differ in a setting. One that some have not, since it lies in a section that they have not, makes
    /// no difference beside that section's.
    /// </summary>
    private static bool Differ(IEnumerable<FoundRun> runs, string key)
    {
        var values = runs.Select(r => r.Settings.GetValueOrDefault(key)).Distinct().ToList();
        return values.Count > (values.Contains(null) && !values.Contains(Given) ? 2 : 1);
    }

    private static string Values(FoundRun run, IReadOnlyList<SweepAxis> axes) =>
        string.Join('\n', ValuesOf(run, axes).Select(v => v.Name));

    private static List<SweepValue> ValuesOf(FoundRun run, IReadOnlyList<SweepAxis> axes) =>
        [.. axes.Select(a => new SweepValue(run.Settings.GetValueOrDefault(a.Key, ""), []))];

    private static double? Number(string text) =>
        double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double number) ? number : null;

    private static Dictionary<string, string> SettingsOf(string name, RunConfiguration configuration)
    {
        // Seeds of one run lie side by side.
        var usual = $"{Seed}{configuration.Seed.ToString(CultureInfo.InvariantCulture)}";
        var settings = new Dictionary<string, string>();
        void Add(string path, JsonNode? node)
        {
            settings[path] = node switch
            {
                JsonObject => Given,
                JsonValue value when value.TryGetValue(out string? text) => text,
                _ => node?.ToJsonString() ?? "null",
            };
            foreach (var (key, value) in node as JsonObject ?? [])
                Add(path.Length == 0 ? key : $"{path}.{key}", value);
        }
        Add("", JsonNode.Parse(configuration.ToJson()));
        settings["task"] = configuration.Task.Label;
        settings["folder"] =
            Path.GetFileName(name) == usual
                ? Path.GetDirectoryName(name) is { Length: > 0 } at
                    ? at
                    : "."
                : name;
        return settings;
    }

    private static ConfigurationException Problem(string path, string message) => new([new(path, message)]);
}
