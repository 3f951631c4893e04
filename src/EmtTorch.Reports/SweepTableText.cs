using System.Globalization;
using System.Text;
using System.Text.Json;
using EmtTorch.Analysis;
using EmtTorch.Analysis.Charts;
using EmtTorch.Settings;
using EmtTorch.Studies;

namespace EmtTorch.Reports;

/// <summary>A sweep's table as Markdown, CSV and JSON. The same runs give the same text.</summary>
public static class SweepTableText
{
    /// <summary>One of the tables.</summary>
    /// <param name="Title">Its heading.</param>
    /// <param name="Columns">After the axes' own.</param>
    /// <param name="Captions">What the columns mean, a paragraph each.</param>
    internal sealed record Part(string Title, IReadOnlyList<Column<SweepCell>> Columns, params string[] Captions);

    /// <summary>All tables, the axes in front and the time in the last line.</summary>
    public static string Markdown(SweepTable table)
    {
        var text = new StringBuilder($"# {Table.Plain(table.Folder.Name)}\n\n");
        if (table.Folder.Description.Length > 0)
            text.Append($"{Table.Plain(table.Folder.Description)}\n\n");
        text.Append($"{table.Progress}.\n");
        var axes = Axes(table);
        foreach (var part in Parts(table))
        {
            text.Append($"\n## {part.Title}\n\n{string.Concat(part.Captions.Select(c => Table.Plain(c) + "\n\n"))}");
            text.Append(Table.Markdown([.. axes, .. part.Columns], table.Cells));
        }
        return text.Append($"\n{Time(table)}\n").ToString();
    }

    /// <summary>All that depends on the clock.</summary>
    internal static string Time(SweepTable table) =>
        $"Training of the finished runs took {(table.Seconds >= 3600
            ? $"{NumberText.Fixed(table.Seconds / 3600, "0.0")} hours" : $"{NumberText.Fixed(table.Seconds, "0")} seconds")} in all.";

    internal static IReadOnlyList<Column<SweepCell>> Axes(SweepTable table) =>
        table.Axes.Count == 0
            ? [new("runs of", _ => table.Folder.Name)]
            :
            [
                .. table.Axes.Select(
                    (axis, i) =>
                        new Column<SweepCell>(
                            table.Title(axis),
                            cell => cell.Values[i],
                            table.Axes[i].Values.All(v => Number(v.Name) is not null)
                                ? cell => Number(cell.Values[i])
                                : null
                        )
                        {
                            Left = true,
                        }
                ),
            ];

    internal static IEnumerable<Part> Parts(SweepTable table) =>
        table.OnTokens ? PartsOnTokens(table) : PartsOfCircuits(table);

    private static IEnumerable<Part> PartsOnTokens(SweepTable table)
    {
        Column<SweepCell> Of(string title, Func<SweepCell, Sample?> of, int digits) =>
            new(title, c => Mean(c, of(c), digits), c => of(c)?.Mean);
        Column<SweepCell> Interval(Func<SweepCell, Sample?> of, int digits) => Spread("", of, digits)[^1];
        Column<SweepCell>[] bits = table.OnText
            ?
            [
                Of("bits per character", c => c.Bits, 4),
                Interval(c => c.Bits, 4),
                Of("new words", c => c.BitsNewWords, 4),
                Of("seen words", c => c.BitsSeenWords, 4),
            ]
            : [];
        yield return new(
            "Results",
            [
                new("runs", c => $"{c.FinishedCount} of {c.Runs.Count}", c => c.FinishedCount),
                new("accuracy", c => Fixed(c.Accuracy, 4), c => c.Accuracy),
                Interval(c => c.Accuracies, 4),
                Of("test loss", c => c.Losses, 5),
                .. bits,
            ],
            "Means over seeds of each seed's accuracy and test loss, at the test's horizon, of the weights with the "
                + "lowest test loss; and a 95 % interval of the mean accuracy (percentile bootstrap, 10,000 "
                + $"resamples; too narrow where seeds are few).{Over(table)}"
                + (
                    table.OnText
                        ? " Bits per character are those of the part of the text that is kept for the test, with their interval: of all characters, of those in words that are new in their document, and in words that were in it before. In brackets of how many seeds, where not of all."
                        : ""
                )
        );
        yield return new(
            "Spread over seeds",
            [
                .. Spread("accuracy", c => c.Accuracies, 4)[..^1],
                Of("accuracy of the last", c => c.AccuraciesLast, 4),
                Of("reads right", c => c.ReadsRight, 4),
                Of("state, bytes", c => c.StateBytes, 0),
                Reached(RunFigures.Learned),
                Reached(1),
                new("lost again", c => c.Best.Count == 0 ? "–" : $"{c.LostCount} of {c.Best.Count}", c => c.LostCount),
            ],
            "The least accuracy and the greatest, and the standard deviation (n − 1); the accuracy of the last "
                + "weights; the share of questions at which the asked pair gives the most of what the fast weights "
                + "return, in the best head (reads right); the bytes that a document's state takes at its end; the "
                + "median step of the first test with an accuracy of 0.99 and of 1; and how many seeds had 0.99 at "
                + "a test and not at the last. In brackets of how many seeds, where not of all."
        );
    }

    private static string Over(SweepTable table) =>
        table.Folder.Axes.Where(a => table.Folder.BestOf.Contains(a.Key)).Select(table.Title).ToList()
            is { Count: > 0 } best
            ? $" Of each seed the run with the highest accuracy over all values of {string.Join(" and ", best)}."
            : "";

    private static IEnumerable<Part> PartsOfCircuits(SweepTable table)
    {
        var best = table.Folder.Axes.Where(a => table.Folder.BestOf.Contains(a.Key)).Select(table.Title).ToList();
        var over = best.Count == 0 ? "" : $" over all values of {string.Join(" and ", best)}";
        var published = table.Folder.Published;
        Column<SweepCell>[] runs = [new("runs", c => $"{c.FinishedCount} of {c.Runs.Count}", c => c.FinishedCount)];
        Column<SweepCell>[] own =
        [
            new("spectral error", c => Fixed(c.SpectralError, 4), c => c.SpectralError),
            new("accuracy", c => Fixed(c.Accuracy, 4), c => c.Accuracy),
        ];
        Column<SweepCell>[] other =
        [
            new(
                "published",
                c => Fixed(c.Published?.SpectralError, PublishedTable.ErrorDecimals),
                c => c.Published?.SpectralError
            ),
            new("", c => Mark(c, c.SpectralErrorVerdict), c => (double)c.SpectralErrorVerdict),
            new(
                "published",
                c => Fixed(c.Published?.Accuracy, PublishedTable.AccuracyDecimals),
                c => c.Published?.Accuracy
            ),
            new("", c => Mark(c, c.AccuracyVerdict), c => (double)c.AccuracyVerdict),
        ];
        var figures =
            $"Means over seeds of each seed's lowest spectral error, in radians, and highest accuracy{over}, at the "
            + "test's horizon. They are of the weights with the lowest test loss. A run has converged where it has "
            + "as many persistent eigenvalues as the circuit; where a seed has no run that did, there is no error.";
        if (published is null)
        {
            yield return new("Results", [.. runs, .. own], figures);
        }
        else
        {
            yield return new(
                "Beside the published results",
                [.. runs, own[0], .. other[..2], own[1], .. other[2..]],
                [
                    figures,
                    $"✓: rounded as the published figure is (to {PublishedTable.ErrorDecimals} decimals, and "
                        + $"{PublishedTable.AccuracyDecimals}), as good or better. ≈: worse, but the published "
                        + "figure lies within the 95 % interval of ours below. ✗: worse, or no error where there is "
                        + "a published one. –: nothing to compare. …: runs are missing.",
                    .. Unpublished(table),
                    $"Published: {published.Source ?? "no source is given"}",
                ]
            );
        }

        yield return new(
            "Which weights",
            [
                new("lowest test loss", c => Mean(c, c.SpectralErrors, 5), c => c.SpectralErrors?.Mean),
                new("last", c => Mean(c, c.SpectralErrorsLast, 5), c => c.SpectralErrorsLast?.Mean),
                new("lowest error", c => Mean(c, c.SpectralErrorsLowest, 5), c => c.SpectralErrorsLowest?.Mean),
                new("at step", c => Fixed(c.LowestStep, 0), c => c.LowestStep),
                new("accuracy of the last", c => Mean(c, c.AccuraciesLast, 4), c => c.AccuraciesLast?.Mean),
            ],
            $"Each seed's run is the one with the lowest spectral error{over}, or with none converged the one with "
                + "the highest accuracy. Of these the mean spectral error: of the weights with the lowest test "
                + "loss, of the last, and the lowest at any test, known only afterwards, with the median of its "
                + "step. In brackets of how many seeds, where not of all."
        );
        yield return new(
            "Spread over seeds",
            [
                new(
                    "converged",
                    c => c.Best.Count == 0 ? "–" : $"{c.ConvergedCount} of {c.Best.Count}",
                    c => c.ConvergedCount
                ),
                .. Spread("error", c => c.SpectralErrors, 5),
                .. Spread("accuracy", c => c.Accuracies, 4),
            ],
            "How many seeds converged, and of these the spectral error; of all the accuracy. The least and the "
                + "greatest, the standard deviation (n − 1), and a 95 % interval of the mean (percentile bootstrap, "
                + "10,000 resamples; too narrow where seeds are few)."
        );
        yield return new(
            "What was learned, and when",
            [
                new(
                    "cycles",
                    c => c.Cycles is var (learned, all) ? $"{Fixed(learned, 1)} of {Fixed(all, 0)}" : "–",
                    c => c.Cycles?.Learned
                ),
                new("Φ error", c => Mean(c, c.PhiErrors, 4), c => c.PhiErrors?.Mean),
                new("interventions", c => Mean(c, c.InterventionAccuracies, 4), c => c.InterventionAccuracies?.Mean),
                Reached(RunFigures.Learned),
                Reached(1),
                new("lost again", c => c.Best.Count == 0 ? "–" : $"{c.LostCount} of {c.Best.Count}", c => c.LostCount),
            ],
            "Of each seed's run: how many of the circuit's cycles it has; how far W_hh in the basis of variables is "
                + "from the circuit's Φ; the share of output bits as predicted after interventions; the median step "
                + "of the first test with an accuracy of 0.99 and of 1; and how many seeds had 0.99 at a test and "
                + "not at the last. In brackets of how many seeds, where not of all."
        );
    }

    private static IEnumerable<string> Unpublished(SweepTable table) =>
        table.Unpublished.Select(table.Title).ToList() is { Count: > 0 } axes
            ?
            [
                $"The published table has no {string.Join(" and no ", axes)}: rows that differ in nothing else stand "
                    + "beside the same figures, which are of one of them at most.",
            ]
            : [];

    private static Column<SweepCell>[] Spread(string what, Func<SweepCell, Sample?> of, int digits) =>
        [
            new($"{what}, mean", c => Fixed(of(c)?.Mean, digits), c => of(c)?.Mean),
            new("min", c => Fixed(of(c)?.Min, digits), c => of(c)?.Min),
            new("max", c => Fixed(of(c)?.Max, digits), c => of(c)?.Max),
            new("sd", c => Fixed(of(c)?.Deviation, digits), c => of(c)?.Deviation),
            new(
                "95 %",
                c => of(c)?.Interval is var (low, high) ? $"{Fixed(low, digits)} to {Fixed(high, digits)}" : "–",
                c => of(c)?.Interval?.Low
            ),
        ];

    private static Column<SweepCell> Reached(double accuracy) =>
        new(
            $"step to {accuracy.ToString(CultureInfo.InvariantCulture)}",
            c =>
                Fixed(c.StepTo(accuracy), 0)
                + (c.ReachedCount(accuracy) is > 0 and var n && n < c.Best.Count ? $" ({n})" : ""),
            c => c.StepTo(accuracy)
        );

    private static string Mean(SweepCell cell, Sample? sample, int digits) =>
        sample is null
            ? "–"
            : Fixed(sample.Mean, digits) + (sample.Count < cell.Best.Count ? $" ({sample.Count})" : "");

    private static string Mark(SweepCell cell, Verdict verdict) =>
        !cell.Complete
            ? "…"
            : verdict switch
            {
                Verdict.EqualOrBetter => "✓",
                Verdict.WithinInterval => "≈",
                Verdict.Worse => "✗",
                _ => "–",
            };

    private static string Fixed(double? value, int digits) => NumberText.Fixed(value, "F" + digits);

    private static double? Number(string text) =>
        double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double number)
        && double.IsFinite(number)
            ? number
            : null;

    /// <summary>
    /// A line a run (RFC 4180, with line feeds), numbers unrounded and nothing where there is none; without times.
    /// </summary>
    public static string Csv(SweepTable table) =>
        Table.Csv([
            [
                .. table.Folder.Axes.Select(table.Title),
                "seed",
                .. OfRun(table, table.Runs.FirstOrDefault()).Select(f => f.Key),
            ],
            .. table.Runs.Select(run =>
                (string[])[.. run.Values, $"{run.Seed}", .. OfRun(table, run).Select(f => Table.Exact(f.Value))]
            ),
        ]);

    /// <summary>
    /// Cells and runs, numbers unrounded, null where there is none; what depends on the clock under `time`.
    /// </summary>
    public static string Json(SweepTable table)
    {
        static OrderedDictionary<string, object?> Object(IEnumerable<Entry> entries) =>
            new(entries.Select(e => KeyValuePair.Create(e.Key, e.Value)));
        static OrderedDictionary<string, object?> Values(IEnumerable<SweepAxis> axes, IReadOnlyList<string> values) =>
            Object(axes.Zip(values, (axis, v) => new Entry(axis.Key, Number(v) is { } number ? number : v)));
        var finished = table.Runs.Where(r => r.Finished);
        return JsonSerializer.Serialize(
                Object([
                    new("name", table.Folder.Name),
                    new("description", table.Folder.Description),
                    new("axes", table.Axes.Select(a => a.Key)),
                    new("best_of", table.Folder.BestOf),
                    new("published", table.Folder.Published?.Source),
                    new("runs_total", table.Runs.Count),
                    new("runs_finished", table.FinishedCount),
                    new("runs_failed", table.Runs.Count(r => r.Failed)),
                    new(
                        "cells",
                        table.Cells.Select(c =>
                            Object([new("values", Values(table.Axes, c.Values)), .. OfCell(table, c)])
                        )
                    ),
                    new(
                        "runs",
                        table.Runs.Select(r =>
                            Object([
                                new("name", r.Name),
                                new("values", Values(table.Folder.Axes, r.Values)),
                                new("seed", r.Seed),
                                .. OfRun(table, r),
                            ])
                        )
                    ),
                    new(
                        "time",
                        Object([
                            new("seconds", table.Seconds),
                            new("runs", Object(finished.Select(r => new Entry(r.Name, r.Result!.Seconds)))),
                        ])
                    ),
                ]),
                OutputJson.Options
            ) + "\n";
    }

    /// <summary>A figure by the name that CSV and JSON share.</summary>
    private sealed record Entry(string Key, object? Value);

    private static IEnumerable<Entry> OfCell(SweepTable table, SweepCell c)
    {
        Entry[] Circuits(params Entry[] entries) => table.OnTokens ? [] : entries;
        Entry[] Tokens(params Entry[] entries) => table.OnTokens ? entries : [];
        return
        [
            new("runs", c.Runs.Count),
            new("finished", c.FinishedCount),
            new("seeds", c.Seeds.Count),
            new("seeds_finished", c.Best.Count),
            .. Circuits(
                new("seeds_converged", c.ConvergedCount),
                new("spectral_error", c.SpectralError),
                new("spectral_error_published", c.Published?.SpectralError),
                new("spectral_error_verdict", Name(c.SpectralErrorVerdict))
            ),
            new("accuracy", c.Accuracy),
            .. Circuits(
                new("accuracy_published", c.Published?.Accuracy),
                new("accuracy_verdict", Name(c.AccuracyVerdict)),
                new("spectral_error_over_seeds", Of(c.SpectralErrors)),
                new("spectral_error_last", Of(c.SpectralErrorsLast)),
                new("spectral_error_lowest", Of(c.SpectralErrorsLowest)),
                new("spectral_error_lowest_step", c.LowestStep)
            ),
            new("accuracy_over_seeds", Of(c.Accuracies)),
            new("accuracy_last", Of(c.AccuraciesLast)),
            .. Circuits(
                new("cycles_learned", c.Cycles?.Learned),
                new("cycles_theory", c.Cycles?.All),
                new("phi_error", Of(c.PhiErrors)),
                new("intervention_accuracy", Of(c.InterventionAccuracies))
            ),
            .. Tokens(
                new("test_loss", Of(c.Losses)),
                new("bits_per_character", Of(c.Bits)),
                new("bits_new_words", Of(c.BitsNewWords)),
                new("bits_seen_words", Of(c.BitsSeenWords)),
                new("reads_right", Of(c.ReadsRight)),
                new("state_bytes", Of(c.StateBytes))
            ),
            new("step_to_0.99", c.StepTo(RunFigures.Learned)),
            new("seeds_to_0.99", c.ReachedCount(RunFigures.Learned)),
            new("step_to_1", c.StepTo(1)),
            new("seeds_to_1", c.ReachedCount(1)),
            new("seeds_lost", c.LostCount),
            new("best_runs", c.Best.Select(r => r.Name)),
        ];
    }

    private static string Name(Verdict verdict) =>
        verdict == Verdict.NotComparable ? "not_comparable" : JsonNamingPolicy.SnakeCaseLower.ConvertName($"{verdict}");

    private static object? Of(Sample? sample) =>
        sample is null
            ? null
            : new
            {
                N = sample.Count,
                sample.Mean,
                sample.Min,
                sample.Max,
                Sd = sample.Deviation,
                sample.Interval?.Low,
                sample.Interval?.High,
            };

    private static IEnumerable<Entry> OfRun(SweepTable table, RunFigures? run)
    {
        Entry[] Circuits(params Entry[] entries) => table.OnTokens ? [] : entries;
        Entry[] Tokens(params Entry[] entries) => table.OnTokens ? entries : [];
        var (found, loss) = (run?.Analysis, run?.Result?.BestTestLoss);
        return
        [
            new(
                "state",
                run is null ? null
                    : run.Finished ? "finished"
                    : run.Failed ? "failed"
                    : run.Step > 0 ? "begun"
                    : "not_begun"
            ),
            new("failures", run?.Failures),
            new("steps", run?.Step),
            new("horizon", run?.Configuration.Evaluation.Horizon),
            new("accuracy_last", run?.AccuracyLast),
            new("accuracy_best", run?.Accuracy),
            new("best_step", run?.Result?.BestStep),
            new("analysis_step", found?.Step),
            new("analysis_accuracy", found?.TestAccuracy),
            .. Circuits(
                new("spectral_error", found?.SpectralError),
                new("spectral_error_last", run?.SpectralErrorLast),
                new("spectral_error_lowest", run?.Lowest?.SpectralError),
                new("spectral_error_lowest_step", run?.Lowest?.Step),
                new("eigenvalues_theory", found?.EigenvaluesTheory),
                new("eigenvalues_learned", found?.EigenvaluesLearned),
                new("cycles_theory", found?.CyclesTheory),
                new("cycles_learned", found?.CyclesLearned),
                new("phi_error", found?.PhiError),
                new("gain", found?.Gain)
            ),
            new("parameter_norm", found?.ParameterNorm),
            new("test_loss_best", loss is { } l && double.IsFinite(l) ? l : null),
            .. Circuits(new Entry("intervention_accuracy", found?.InterventionAccuracy)),
            new("step_to_0.99", run?.StepTo(RunFigures.Learned)),
            new("step_to_1", run?.StepTo(1)),
            new("lost", run?.Lost),
            .. Tokens(
                new("bits_per_character", found?.BitsPerCharacter),
                new("bits_new_words", found?.BitsNewWords),
                new("bits_seen_words", found?.BitsSeenWords),
                new("reads_right", found?.ReadsRight),
                new("state_bytes", found?.StateBytesEnd)
            ),
        ];
    }
}
