using EmtTorch.Analysis;

namespace EmtTorch.Studies;

/// <summary>The runs of one seed in a cell: one for each value of the axes over which the best counts.</summary>
public sealed record SeedFigures(long Seed, IReadOnlyList<RunFigures> Runs)
{
    /// <summary>
    /// The run that stands for the seed: of the finished ones that with the lowest spectral error, and with none
    /// converged that with the highest accuracy. Null: none is finished.
    /// </summary>
    public RunFigures? Best { get; } =
        Runs.Where(r => r.Converged).MinBy(r => r.Analysis["spectral_error"])
        ?? Runs.Where(r => r.Finished).MaxBy(r => r.Accuracy ?? 0);

    /// <summary>The highest accuracy of its runs, which may be another's than <see cref="Best"/>'s.</summary>
    public double? Accuracy => Runs.Max(r => r.Accuracy);
}

/// <summary>A row of the table: a value of each axis over which no best is taken, with all seeds.</summary>
public sealed class SweepCell
{
    /// <param name="values">The values, in the order of <see cref="SweepTable.Axes"/>.</param>
    /// <param name="seeds">All seeds, begun or not.</param>
    /// <param name="published">The published row of the same network.</param>
    internal SweepCell(IReadOnlyList<string> values, IReadOnlyList<SeedFigures> seeds, PublishedRow? published)
    {
        (Values, Seeds, Published) = (values, seeds, published);
        Runs = [.. seeds.SelectMany(s => s.Runs)];
        Best = [.. seeds.Select(s => s.Best).OfType<RunFigures>()];
        SpectralErrors = Find("spectral_error");
        SpectralErrorsLast = Sample.Of(Best.Select(r => r.SpectralErrorLast), least: 0);
        SpectralErrorsLowest = Sample.Of(Best.Select(r => r.Lowest?.SpectralError), least: 0);
        Accuracies = Sample.Of(seeds.Select(s => s.Accuracy), least: 0, greatest: 1);
        AccuraciesLast = Sample.Of(Best.Select(r => r.AccuracyLast), least: 0, greatest: 1);
        Losses = Sample.Of(Best.Select(r => r.Loss), least: 0);
    }

    private readonly Dictionary<string, Sample?> _found = [];

    /// <summary>A number of analysis.json over the runs that stand for their seeds; null if none has it.</summary>
    /// <param name="key">As <see cref="AnalysisFigures"/> has it.</param>
    public Sample? Find(string key)
    {
        if (!_found.TryGetValue(key, out var sample))
        {
            var (least, greatest) = Best.Select(r => r.Analysis.RangeOf(key)).FirstOrDefault(r => r is not null) ?? Any;
            _found[key] = sample = Sample.Of(Best.Select(r => r.Analysis[key]), least, greatest);
        }
        return sample;
    }

    private static readonly (double Least, double Greatest) Any = (double.NegativeInfinity, double.PositiveInfinity);

    public IReadOnlyList<string> Values { get; }
    public IReadOnlyList<SeedFigures> Seeds { get; }
    public PublishedRow? Published { get; }
    public IReadOnlyList<RunFigures> Runs { get; }
    public int FinishedCount => Runs.Count(r => r.Finished);
    public bool Complete => FinishedCount == Runs.Count;

    /// <summary>The run that stands for each seed that has a finished one.</summary>
    public IReadOnlyList<RunFigures> Best { get; }

    /// <summary>Seeds of which a run has converged.</summary>
    public int ConvergedCount => Best.Count(r => r.Converged);

    /// <summary>
    /// The mean over seeds of each seed's lowest spectral error; null where some seed has none, as in the published
    /// table. Of the seeds with a finished run while the sweep goes on.
    /// </summary>
    public double? SpectralError => ConvergedCount == Best.Count ? SpectralErrors?.Mean : null;

    /// <summary>The mean over seeds of each seed's highest accuracy.</summary>
    public double? Accuracy => Accuracies?.Mean;

    public Verdict SpectralErrorVerdict =>
        Complete
            ? PublishedTable.OfError(SpectralError, Published?.SpectralError, Best.Count, SpectralErrors)
            : Verdict.NotComparable;
    public Verdict AccuracyVerdict =>
        Complete
            ? PublishedTable.OfAccuracy(Accuracy, Published?.Accuracy, Best.Count, Accuracies)
            : Verdict.NotComparable;

    /// <summary>Of the seeds that have converged.</summary>
    public Sample? SpectralErrors { get; }

    /// <summary>Of the same runs' last weights.</summary>
    public Sample? SpectralErrorsLast { get; }

    /// <summary>The lowest at any test of the same runs.</summary>
    public Sample? SpectralErrorsLowest { get; }

    /// <summary>At which step that was, the median.</summary>
    public double? LowestStep => Sample.Median(Best.Select(r => (double?)r.Lowest?.Step));

    /// <summary>Each seed's highest.</summary>
    public Sample? Accuracies { get; }

    /// <summary>Of the last weights of the runs that stand for their seeds.</summary>
    public Sample? AccuraciesLast { get; }

    /// <summary>The lowest test losses of the runs that stand for their seeds.</summary>
    public Sample? Losses { get; }

    /// <summary>How many of the runs that stand for their seeds had a test of this accuracy.</summary>
    public int ReachedCount(double accuracy) => Best.Count(r => r.StepTo(accuracy) is not null);

    /// <summary>At which step they first had it, the median.</summary>
    public double? StepTo(double accuracy) => Sample.Median(Best.Select(r => (double?)r.StepTo(accuracy)));

    /// <summary>How many of them lost it again (<see cref="RunFigures.Lost"/>).</summary>
    public int LostCount => Best.Count(r => r.Lost);
}

/// <summary>
/// The table of a sweep: a row for each combination of the axes' values, but for those over which a seed's best run
/// counts.
/// </summary>
/// <example><code>
/// var table = SweepTable.Of(SweepFolder.Read("experiments/table1"));
/// Console.Write(SweepTableText.Markdown(table));
/// </code></example>
public sealed record SweepTable
{
    public required SweepFolder Folder { get; init; }

    /// <summary>The axes of the rows.</summary>
    public required IReadOnlyList<SweepAxis> Axes { get; init; }

    public required IReadOnlyList<SweepCell> Cells { get; init; }

    public IReadOnlyList<RunFigures> Runs => Folder.Runs;

    /// <summary>Whether theory has a spectrum for some run, so that there are spectral errors.</summary>
    internal bool HasSpectra => Runs.Any(r => r.Configuration.Task.IsLinearBinding || r.Analysis.Has("spectral_error"));

    /// <summary>Whether the analysis of some run has a key.</summary>
    internal bool Has(string key) => Runs.Any(r => r.Analysis.Has(key));

    /// <summary>The numbers that findings made columns, in the order of the runs' files.</summary>
    public IReadOnlyList<FigureColumn> Found => [.. Runs.SelectMany(r => r.Analysis.Columns).DistinctBy(c => c.Key)];

    /// <summary>The keys of the numbers that runs have from lists of their analyses.</summary>
    internal IReadOnlyList<string> Details =>
        [.. Runs.SelectMany(r => r.Analysis.Details).Select(d => d.Key).Distinct().Except(Found.Select(f => f.Key))];

    public int FinishedCount => Runs.Count(r => r.Finished);

    /// <summary>
    /// The axes that the published table lacks: rows that differ in one of them alone stand beside one and the same
    /// published row.
    /// </summary>
    public IReadOnlyList<SweepAxis> Unpublished =>
        [
            .. Axes.Where(
                (_, i) =>
                    Cells
                        .Where(c => c.Published is not null)
                        .GroupBy(c => c.Published, ReferenceEqualityComparer.Instance)
                        .Any(row =>
                            row.GroupBy(c => string.Join('\n', c.Values.Where((_, j) => j != i)))
                                .Any(g => g.Count() > 1)
                        )
            ),
        ];

    /// <summary>Seconds of training of all finished runs.</summary>
    public double Seconds => Runs.Sum(r => r.Result?.Seconds ?? 0);

    public static SweepTable Of(SweepFolder folder)
    {
        var kept = Enumerable
            .Range(0, folder.Axes.Count)
            .Where(i => !folder.BestOf.Contains(folder.Axes[i].Key))
            .ToArray();
        return new()
        {
            Folder = folder,
            Axes = [.. kept.Select(i => folder.Axes[i])],
            Cells =
            [
                .. folder
                    .Runs.GroupBy(r => string.Join('\n', kept.Select(i => r.Values[i])))
                    .Select(g => new SweepCell(
                        [.. kept.Select(i => g.First().Values[i])],
                        [.. g.GroupBy(r => r.Seed).OrderBy(s => s.Key).Select(s => new SeedFigures(s.Key, [.. s]))],
                        folder.Published?.Find(g.First().Configuration)
                    )),
            ],
        };
    }

    /// <summary>How far the sweep is: 17 of 96 runs finished; 3 failed twice.</summary>
    public string Progress
    {
        get
        {
            var parts = new List<string> { $"{FinishedCount} of {Runs.Count} runs finished" };
            if (Runs.Count(r => r.Failed && r.Failures >= 2) is > 0 and var twice)
                parts.Add($"{twice} failed twice");
            if (Runs.Count(r => r.Failed && r.Failures == 1) is > 0 and var once)
                parts.Add($"{once} failed once");
            return string.Join("; ", parts);
        }
    }

    /// <summary>
    /// What an axis is called: the last part of its key, the one before where that is only `name`, and the whole key
    /// where two would be the same.
    /// </summary>
    public string Title(SweepAxis axis)
    {
        static string Short(SweepAxis a) =>
            a.Key.EndsWith(".name", StringComparison.Ordinal) ? a.Key[..^".name".Length] : a.Title;
        return Folder.Axes.Count(a => Short(a) == Short(axis)) == 1 ? Short(axis) : axis.Key;
    }

    /// <summary>A cell in a few words: t1, 64, 0.001.</summary>
    public string Label(SweepCell cell) =>
        cell.Values.Any(v => v.Length > 0) ? string.Join(", ", cell.Values.Where(v => v.Length > 0)) : Folder.Name;
}
