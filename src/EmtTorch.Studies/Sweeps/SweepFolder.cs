using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using EmtTorch.Analysis.Charts;
using EmtTorch.Configuration;
using EmtTorch.Settings;
using EmtTorch.Training;

namespace EmtTorch.Studies;

/// <summary>
/// The runs of a sweep, finished or not, read from their folder. With a sweep.json there they are the sweep's. Without,
/// they are those in FOLDER/NAME/seed-N or FOLDER/seed-N, and the axes are the settings in which they differ.
/// </summary>
public sealed record SweepFolder
{
    private const string Threshold = "training.curriculum.threshold";

    /// <summary>Settings that make no other experiment.</summary>
    private static readonly string[] NoAxes = ["name", "seed", "out", "device", "threads"];

    public required string Name { get; init; }

    /// <summary>What the sweep is for; may be empty.</summary>
    public required string Description { get; init; }

    public required IReadOnlyList<SweepAxis> Axes { get; init; }

    /// <summary>Keys of axes over which a seed's best run counts.</summary>
    public required IReadOnlyList<string> BestOf { get; init; }

    /// <summary>Published results to compare with.</summary>
    public PublishedTable? Published { get; init; }

    /// <summary>In the sweep's order: the first axis changes slowest, the seed fastest.</summary>
    public required IReadOnlyList<RunFigures> Runs { get; init; }

    /// <summary>What was damaged, left out or made anew, in the order of the runs.</summary>
    public IReadOnlyList<string> Warnings { get; init; } = [];

    /// <summary>Reads a folder. A finished run without analysis.json is analysed, and it is written.</summary>
    /// <param name="folder">The folder of the runs, or the one that holds sweep.json and runs/.</param>
    /// <param name="progress">Told a run's name when it is analysed; from several threads.</param>
    /// <exception cref="ConfigurationException">The folder is not there, has no run, or its sweep.json is
    /// wrong.</exception>
    public static SweepFolder Read(string folder, Action<string>? progress = null)
    {
        if (!Directory.Exists(folder))
        {
            throw Problem(
                folder,
                File.Exists(folder)
                    ? "is a file; the folder of a sweep's runs is needed"
                    : $"there is no such folder (looked for {Path.GetFullPath(folder)})"
            );
        }

        var (runs, file) = Places(folder);
        var warnings = new List<string>();
        var sweep = file is null ? null : Sweep.Load(file, folder: runs);
        // A sweep may have been begun with other settings than its file's; a run's own are beside it.
        var found = sweep is null
            ? Found(runs, warnings)
            :
            [
                .. sweep
                    .Runs.Select(r => (Folder: RunFolder.Of(r.Configuration), Run: r))
                    .Select(f =>
                        (
                            f.Folder,
                            f.Run with
                            {
                                Configuration = Configuration(f.Folder, warnings) ?? f.Run.Configuration,
                            }
                        )
                    ),
            ];
        if (!found.Any(f => f.Folder.HoldsRun))
        {
            throw Problem(
                folder,
                sweep is null
                    ? "has no runs: neither a sweep.json nor NAME/seed-N/config.json is there"
                    : $"none of the {found.Count} runs of the sweep has begun there. scripts/sweep.sh {file} trains them; where they are elsewhere (--out), give that folder"
            );
        }

        if (sweep is not null)
            LeftOut(runs, found.Select(f => f.Folder), warnings);
        var published = sweep?.Published is { } given ? PublishedTable.Of(given) : null;
        if (published is not null && found.All(f => f.Run.Configuration.Task.IsOnTokens))
            warnings.Add("published results are those of networks on variable binding: this table leaves them out");
        var axes = sweep?.Axes ?? Differences(found);

        var figures = new RunFigures[found.Count];
        var said = found.Select(_ => new List<string>()).ToArray();
        Parallel.For(
            0,
            found.Count,
            new() { MaxDegreeOfParallelism = Environment.ProcessorCount },
            i =>
            {
                var (at, run) = found[i];
                if (sweep is null)
                    run = run with { Values = ValuesOf(run.Configuration, axes) };
                figures[i] = RunFigures.Read(
                    at,
                    run,
                    said[i].Add,
                    () => progress?.Invoke($"{run.Configuration.Name}, seed {run.Configuration.Seed}")
                );
            }
        );
        // As a sweep has them: by the axes' order, not the folders'.
        if (sweep is null)
        {
            figures =
            [
                .. Enumerable
                    .Range(0, axes.Count + 1)
                    .Reverse()
                    .Aggregate(
                        figures.AsEnumerable(),
                        (some, a) =>
                            a == axes.Count
                                ? some.OrderBy(r => r.Seed)
                                : some.OrderBy(r => axes[a].Values.Select(v => v.Name).ToList().IndexOf(r.Values[a]))
                    ),
            ];
        }

        return new()
        {
            Name = sweep?.Name ?? Path.GetFileName(Path.GetFullPath(runs).TrimEnd(Path.DirectorySeparatorChar)),
            Description = sweep?.Description ?? "",
            Axes = axes,
            BestOf = sweep?.BestOf ?? [.. axes.Select(a => a.Key).Where(k => k == Threshold)],
            Published = published,
            Runs = figures,
            Warnings = [.. warnings, .. said.SelectMany(s => s)],
        };
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
    private static List<(RunFolder Folder, SweepRun Run)> Found(string folder, List<string> warnings)
    {
        var found = new List<(RunFolder, SweepRun)>();
        foreach (var run in RunsIn(folder))
        {
            if (Configuration(run, warnings) is { } configuration)
                found.Add((run, new(configuration, [])));
        }

        return found;
    }

    /// <summary>
    /// Says which runs lie in a sweep's folder and are none of its own: of values or seeds that it had before, say.
    /// </summary>
    private static void LeftOut(string folder, IEnumerable<RunFolder> own, List<string> warnings)
    {
        const int Named = 3;
        var others = RunsIn(folder)
            .Select(r => Path.GetFullPath(r.Path))
            .Except(own.Select(r => Path.GetFullPath(r.Path)))
            .Select(p => Path.GetRelativePath(folder, p))
            .ToList();
        if (others.Count == 0)
            return;
        var rest = others.Count > Named ? $" and {others.Count - Named} more" : "";
        warnings.Add(
            $"{(others.Count == 1 ? "1 run" : $"{others.Count} runs")} in {folder} {(others.Count == 1 ? "is" : "are")} not of the sweep and left out: {string.Join(", ", others.Take(Named))}{rest}"
        );
    }

    private static RunConfiguration? Configuration(RunFolder folder, List<string> warnings)
    {
        if (!folder.HoldsRun)
            return null;
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
    /// The settings in which runs differ, with their values ascending; the name too, where two runs would be one
    /// otherwise.
    /// </summary>
    private static List<SweepAxis> Differences(IReadOnlyList<(RunFolder Folder, SweepRun Run)> runs)
    {
        var settings = runs.Select(r => Settings(r.Run.Configuration)).ToList();
        SweepAxis Axis(string key)
        {
            var names = settings.Select(s => s.GetValueOrDefault(key, "null")).Distinct();
            return new(
                key,
                [
                    .. names
                        .OrderBy(n => Number(n) ?? double.MaxValue)
                        .ThenBy(n => n, StringComparer.Ordinal)
                        .Select(n => new SweepValue(n, [])),
                ]
            );
        }
        var axes = settings
            .SelectMany(s => s.Keys)
            .Distinct()
            .Except(NoAxes)
            .Select(Axis)
            .Where(a => a.Values.Count > 1)
            .ToList();
        if (
            runs.GroupBy(r =>
                    (
                        r.Run.Configuration.Seed,
                        string.Join('\n', ValuesOf(r.Run.Configuration, axes).Select(v => v.Name))
                    )
                )
                .Any(g => g.Count() > 1)
        )
        {
            axes.Insert(0, Axis("name"));
        }

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
