using System.Globalization;
using EmtTorch.Analysis;
using EmtTorch.Studies;

namespace EmtTorch.Reports;

/// <summary>One of the tables that a sweep's results are told in.</summary>
/// <param name="Title">Its heading.</param>
/// <param name="Columns">The columns after those of the axes.</param>
/// <param name="Captions">What the columns mean, a paragraph each.</param>
internal sealed record SweepTablePart(string Title, IReadOnlyList<Column<SweepCell>> Columns, params string[] Captions)
{
    private const string Bracketed = "The number of seeds is in brackets if it is not all.";

    /// <summary>In words, which interval of the mean a table or a figure has.</summary>
    /// <param name="samples">What it shows.</param>
    public static string IntervalIn(IEnumerable<Sample?> samples) =>
        Kinds(samples) switch
        {
            ["bootstrap"] => "95 % bootstrap interval of the mean (percentile, 10,000 resamples of the seeds)",
            [_, _] => $"95 % interval of the mean (Student's t below {Sample.BootstrapFrom} seeds, from then on the "
                + "percentile bootstrap, 10,000 resamples)",
            _ => "95 % t interval of the mean (Student's, n − 1 degrees of freedom for n seeds; none for one)",
        };

    private static string CutIntervalIn(IEnumerable<Sample?> samples) =>
        $"the {IntervalIn(samples)}, cut where an accuracy or an error cannot be";

    private static List<string> Kinds(IEnumerable<Sample?> samples) =>
        [.. samples.Select(s => s?.IntervalKind).OfType<string>().Distinct()];

    /// <summary>All tables of a sweep.</summary>
    public static IEnumerable<SweepTablePart> Create(SweepTable table) =>
        FoundElse(table) is { Count: > 0 } found ? Own(table).Append(FindingsOf(found)) : Own(table);

    private static IEnumerable<SweepTablePart> Own(SweepTable table) =>
        table.HasSpectra
            ? [CircuitResults(table), WhichWeights(table), CircuitSpread(table), Learned()]
            : [Results(table), Spread(table)];

    /// <summary>The numbers that findings made columns and that no other table shows.</summary>
    public static List<FigureColumn> FoundElse(SweepTable table)
    {
        var told = Own(table).SelectMany(p => p.Columns).Select(c => c.Key).ToHashSet();
        return [.. table.Found.Where(f => !told.Contains(f.Key))];
    }

    private static SweepTablePart FindingsOf(List<FigureColumn> found) =>
        new(
            "Findings",
            [
                .. found.Select(f => new Column<SweepCell>(
                    f.Title,
                    c => Mean(c, c.Find(f.Key), f.Format),
                    c => c.Find(f.Key)?.Mean
                )),
            ],
            [
                $"Means over the runs that stand for their seeds of what analyses found. {Bracketed}",
                .. found.Where(f => f.Meaning is not null).Select(f => $"{f.Title}: {f.Meaning}."),
            ]
        );

    // ---- Any task

    private static SweepTablePart Results(SweepTable table)
    {
        bool text = table.Has("bits_per_character");
        Column<SweepCell>[] bits = text
            ?
            [
                MeanOf("bits per character", "bits_per_character", "F4"),
                Interval(table, c => c.Find("bits_per_character"), "F4"),
                MeanOf("new words", "bits_new_words", "F4"),
                MeanOf("seen words", "bits_seen_words", "F4"),
            ]
            : [];
        return new(
            "Results",
            [
                Finished,
                Accuracy,
                Interval(table, c => c.Accuracies, "F4"),
                MeanOf("test loss", c => c.Losses, "F5"),
                .. bits,
            ],
            "Means over seeds of each seed's accuracy and test loss, at the test's horizon, of the weights with the "
                + $"lowest test loss; and {CutIntervalIn(table.Cells.Select(c => c.Accuracies))}."
                + (
                    Best(table) is { } best
                        ? $" Of each seed the run with the highest accuracy over all values of {best}."
                        : ""
                )
                + (
                    text
                        ? " Bits per character are measured on the part of the text that is kept for the test, with "
                            + "their interval: of all characters, of those in words that are new in their document, "
                            + $"and in words seen there before. {Bracketed}"
                        : ""
                )
        );
    }

    private static SweepTablePart Spread(SweepTable table)
    {
        bool reads = table.Has("reads_right"),
            state = table.Has("state_bytes_end");
        return new(
            "Spread over seeds",
            [
                .. SpreadOf("accuracy", c => c.Accuracies, "F4"),
                MeanOf("accuracy of the last", c => c.AccuraciesLast, "F4"),
                .. reads ? [MeanOf("reads right", "reads_right", "F4")] : Array.Empty<Column<SweepCell>>(),
                .. state ? [MeanOf("state, bytes", "state_bytes_end", "F0")] : Array.Empty<Column<SweepCell>>(),
                Reached(RunFigures.Learned),
                Reached(1),
                Lost,
            ],
            "The least accuracy and the greatest, and the standard deviation (n − 1); the accuracy of the last "
                + "weights; "
                + (
                    reads
                        ? "the share of questions at which the asked pair gives the most of what the fast weights "
                            + "return, in the best head (reads right); "
                        : ""
                )
                + (state ? "the bytes that a document's state takes at its end; " : "")
                + "the median step of the first test with an accuracy of 0.99 and of 1; and how many seeds had 0.99 "
                + $"at a test and not at the last. {Bracketed}"
        );
    }

    // ---- Tasks that theory has a spectrum for

    private static SweepTablePart CircuitResults(SweepTable table)
    {
        var error = new Column<SweepCell>("spectral error", c => c.SpectralError, "F4") { Key = "spectral_error" };
        var figures =
            $"Means over seeds of each seed's lowest spectral error, in radians, and highest accuracy{Over(table)}, at "
            + "the test's horizon. They are of the weights with the lowest test loss. A run has converged if it has as "
            + "many persistent eigenvalues as the circuit; if a seed has no run that did, there is no error.";
        if (table.Folder.Published is not { } published)
            return new("Results", [Finished, error, Accuracy], figures);
        return new(
            "Beside the published results",
            [
                Finished,
                error,
                new("published", c => c.Published?.SpectralError, $"F{PublishedTable.ErrorDecimals}"),
                new("", c => Mark(c, c.SpectralErrorVerdict), c => (double)c.SpectralErrorVerdict),
                Accuracy,
                new("published", c => c.Published?.Accuracy, $"F{PublishedTable.AccuracyDecimals}"),
                new("", c => Mark(c, c.AccuracyVerdict), c => (double)c.AccuracyVerdict),
            ],
            [
                figures,
                $"✓: rounded as the published figure is (to {PublishedTable.ErrorDecimals} decimals, and "
                    + $"{PublishedTable.AccuracyDecimals}), as good or better. ≈: worse, but the published figure lies "
                    + "within the 95 % interval of ours below. ✗: worse, or no error although one is published. "
                    + $"n < {PublishedTable.SeedsForAVerdict}: not as good, but of too few seeds to be called ≈ or ✗. "
                    + "–: nothing to compare. …: runs are missing.",
                .. Unpublished(table),
                $"Published: {published.Source ?? "no source is given"}",
            ]
        );
    }

    private static SweepTablePart WhichWeights(SweepTable table) =>
        new(
            "Which weights",
            [
                MeanOf("lowest test loss", c => c.SpectralErrors, "F5"),
                MeanOf("last", c => c.SpectralErrorsLast, "F5"),
                MeanOf("lowest error", c => c.SpectralErrorsLowest, "F5"),
                new("at step", c => c.LowestStep, "F0"),
                MeanOf("accuracy of the last", c => c.AccuraciesLast, "F4"),
            ],
            $"Each seed's run is the one with the lowest spectral error{Over(table)}, or with none converged the one "
                + "with the highest accuracy. Of these the mean spectral error: of the weights with the lowest test "
                + "loss, of the last, and the lowest at any test, known only afterwards, with the median of its step. "
                + Bracketed
        );

    private static SweepTablePart CircuitSpread(SweepTable table) =>
        new(
            "Spread over seeds",
            [
                new(
                    "converged",
                    c => c.Best.Count == 0 ? NumberText.Nothing : $"{c.ConvergedCount} of {c.Best.Count}",
                    c => c.ConvergedCount
                )
                {
                    Key = "eigenvalues_learned",
                },
                .. SpreadOf("error", c => c.SpectralErrors, "F5"),
                Interval(table, c => c.SpectralErrors, "F5"),
                .. SpreadOf("accuracy", c => c.Accuracies, "F4"),
                Interval(table, c => c.Accuracies, "F4"),
            ],
            "How many seeds converged, and of these the spectral error; of all the accuracy. The least and the "
                + "greatest, the standard deviation (n − 1), and "
                + CutIntervalIn(table.Cells.SelectMany(c => new[] { c.SpectralErrors, c.Accuracies }))
                + "."
        );

    private static SweepTablePart Learned() =>
        new(
            "What was learned, and when",
            [
                new(
                    "cycles",
                    c =>
                        (c.Find("cycles_learned"), c.Find("cycles_theory")) is ({ } learned, { } all)
                            ? $"{NumberText.Fixed(learned.Mean, "F1")} of {NumberText.Fixed(all.Mean, "F0")}"
                            : NumberText.Nothing,
                    c => c.Find("cycles_learned")?.Mean
                ),
                MeanOf("Φ error", "phi_error", "F4"),
                MeanOf("changed bits", "changed_bits_accuracy", "F4"),
                Reached(RunFigures.Learned),
                Reached(1),
                Lost,
            ],
            "Of each seed's run: how many of the circuit's cycles it has; how far W_hh in the basis of variables is "
                + "from the circuit's Φ; of the output bits that interventions change, the share as predicted; the "
                + "median step of the first test with an accuracy of 0.99 and of 1; and how many seeds had 0.99 at a "
                + $"test and not at the last. {Bracketed}"
        );

    /// <summary>The axes over which a seed's best run counts; null if there are none.</summary>
    private static string? Best(SweepTable table) =>
        table.Folder.Axes.Where(a => table.Folder.BestOf.Contains(a.Key)).Select(table.Title).ToList()
            is { Count: > 0 } best
            ? string.Join(" and ", best)
            : null;

    private static string Over(SweepTable table) => Best(table) is { } best ? $" over all values of {best}" : "";

    private static IEnumerable<string> Unpublished(SweepTable table) =>
        table.Unpublished.Select(table.Title).ToList() is { Count: > 0 } axes
            ?
            [
                $"The published table has no {string.Join(" and no ", axes)}: rows that differ in nothing else stand "
                    + "beside the same figures, which are of one of them at most.",
            ]
            : [];

    // ---- Columns

    private static Column<SweepCell> Finished =>
        new("runs", c => $"{c.FinishedCount} of {c.Runs.Count}", c => c.FinishedCount);

    private static Column<SweepCell> Accuracy => new("accuracy", c => c.Accuracy, "F4") { Key = "test_accuracy" };

    private static Column<SweepCell> Lost =>
        new(
            "lost again",
            c => c.Best.Count == 0 ? NumberText.Nothing : $"{c.LostCount} of {c.Best.Count}",
            c => c.LostCount
        );

    private static Column<SweepCell> MeanOf(string title, Func<SweepCell, Sample?> of, string format) =>
        new(title, c => Mean(c, of(c), format), c => of(c)?.Mean);

    private static Column<SweepCell> MeanOf(string title, string key, string format) =>
        MeanOf(title, c => c.Find(key), format) with
        {
            Key = key,
        };

    private static Column<SweepCell>[] SpreadOf(string what, Func<SweepCell, Sample?> of, string format) =>
        [
            new($"{what}, mean", c => of(c)?.Mean, format),
            new("min", c => of(c)?.Min, format),
            new("max", c => of(c)?.Max, format),
            new("sd", c => of(c)?.Deviation, format),
        ];

    private static Column<SweepCell> Interval(SweepTable table, Func<SweepCell, Sample?> of, string format) =>
        new(
            Kinds(table.Cells.Select(of)) is [var kind] ? $"95 % {kind}" : "95 %",
            c =>
                of(c)?.Interval is var (low, high)
                    ? $"{NumberText.Fixed(low, format)} to {NumberText.Fixed(high, format)}"
                    : NumberText.Nothing,
            c => of(c)?.Interval?.Low
        );

    private static Column<SweepCell> Reached(double accuracy) =>
        new(
            $"step to {accuracy.ToString(CultureInfo.InvariantCulture)}",
            c =>
                NumberText.Fixed(c.StepTo(accuracy), "F0")
                + (c.ReachedCount(accuracy) is > 0 and var n && n < c.Best.Count ? $" ({n})" : ""),
            c => c.StepTo(accuracy)
        );

    private static string Mean(SweepCell cell, Sample? sample, string format) =>
        sample is null
            ? NumberText.Nothing
            : NumberText.Fixed(sample.Mean, format) + (sample.Count < cell.Best.Count ? $" ({sample.Count})" : "");

    private static string Mark(SweepCell cell, Verdict verdict) =>
        !cell.Complete
            ? "…"
            : verdict switch
            {
                Verdict.EqualOrBetter => "✓",
                Verdict.WithinInterval => "≈",
                Verdict.Worse => "✗",
                Verdict.TooFewSeeds => $"n < {PublishedTable.SeedsForAVerdict}",
                _ => NumberText.Nothing,
            };
}
