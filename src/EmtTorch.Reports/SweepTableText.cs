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
    /// <summary>All tables, the axes in front and the time in the last line.</summary>
    public static string Markdown(SweepTable table)
    {
        var text = new StringBuilder($"# {Table.Plain(table.Folder.Name)}\n\n");
        if (table.Folder.Description.Length > 0)
            text.Append($"{Table.Plain(table.Folder.Description)}\n\n");
        text.Append($"{table.Progress}.\n");
        var axes = Axes(table);
        foreach (var part in SweepTablePart.Create(table))
        {
            text.Append($"\n## {part.Title}\n\n{string.Concat(part.Captions.Select(c => Table.Plain(c) + "\n\n"))}");
            text.Append(Table.Markdown([.. axes, .. part.Columns], table.Cells));
        }
        return text.Append($"\n{Time(table)}\n").ToString();
    }

    /// <summary>All that depends on the clock.</summary>
    internal static string Time(SweepTable table)
    {
        var time =
            table.Seconds >= 3600
                ? $"{NumberText.Fixed(table.Seconds / 3600, "0.0")} hours"
                : $"{NumberText.Fixed(table.Seconds, "0")} seconds";
        return $"Training of the finished runs took {time} in all.";
    }

    internal static IReadOnlyList<Column<SweepCell>> Axes(SweepTable table) =>
        table.Axes.Count == 0
            ? [new("runs of", _ => table.Folder.Name)]
            :
            [
                .. table.Axes.Select(
                    (axis, i) =>
                        new Column<SweepCell>(
                            table.Title(axis),
                            cell => cell.Values[i] is { Length: > 0 } value ? value : null,
                            table.Axes[i].Values.All(v => v.Name.Length == 0 || Number(v.Name) is not null)
                                ? cell => Number(cell.Values[i])
                                : null
                        )
                        {
                            Left = true,
                        }
                ),
            ];

    private static double? Number(string text) =>
        double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double number)
        && double.IsFinite(number)
            ? number
            : null;

    /// <summary>
    /// A line a run (RFC 4180, with line feeds), numbers unrounded, empty if there is none; without times.
    /// </summary>
    public static string Csv(SweepTable table)
    {
        string[] keys = ["seed", .. OfRun(table, table.Runs.FirstOrDefault()).Select(f => f.Key)];
        string Title(SweepAxis axis) => keys.Contains(table.Title(axis)) ? axis.Key : table.Title(axis);
        return Table.Csv([
            [.. table.Folder.Axes.Select(Title), .. keys],
            .. table.Runs.Select(run =>
                (string[])[.. run.Values, $"{run.Seed}", .. OfRun(table, run).Select(f => Table.Exact(f.Value))]
            ),
        ]);
    }

    /// <summary>
    /// Cells and runs, numbers unrounded, null if there is none; what depends on the clock under `time`.
    /// </summary>
    public static string Json(SweepTable table)
    {
        static OrderedDictionary<string, object?> Object(IEnumerable<Entry> entries) =>
            new(entries.Select(e => KeyValuePair.Create(e.Key, e.Value)));
        static OrderedDictionary<string, object?> Values(IEnumerable<SweepAxis> axes, IReadOnlyList<string> values) =>
            Object(
                axes.Zip(
                    values,
                    (axis, v) =>
                        new Entry(
                            axis.Key,
                            Number(v) is { } number ? number
                                : v.Length > 0 ? v
                                : null
                        )
                )
            );
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

    /// <summary>Entries that a table has only if there is something to fill them.</summary>
    private static Entry[] If(bool some, params Entry[] entries) => some ? entries : [];

    /// <summary>The findings of transformers that have a place of their own, by the name that they have here.</summary>
    private static readonly (string Name, string Key)[] OfTokens =
    [
        ("bits_per_character", "bits_per_character"),
        ("bits_new_words", "bits_new_words"),
        ("bits_seen_words", "bits_seen_words"),
        ("reads_right", "reads_right"),
        ("state_bytes", "state_bytes_end"),
    ];

    private static IEnumerable<FigureColumn> FoundElse(SweepTable table) =>
        SweepTablePart.FoundElse(table).ExceptBy(OfTokens.Select(f => f.Key), f => f.Key);

    /// <summary>A sweep without spectra has the same keys whatever its task is, be they empty.</summary>
    private static bool IsShown(SweepTable table, string key) => !table.HasSpectra || table.Has(key);

    private static IEnumerable<Entry> OfCell(SweepTable table, SweepCell c)
    {
        Entry[] Spectra(params Entry[] entries) => If(table.HasSpectra, entries);
        Entry[] Found(string name, string key) => If(IsShown(table, key), new Entry(name, Of(c.Find(key))));
        return
        [
            new("runs", c.Runs.Count),
            new("finished", c.FinishedCount),
            new("seeds", c.Seeds.Count),
            new("seeds_finished", c.Best.Count),
            .. Spectra(
                new("seeds_converged", c.ConvergedCount),
                new("spectral_error", c.SpectralError),
                new("spectral_error_published", c.Published?.SpectralError),
                new("spectral_error_verdict", Name(c.SpectralErrorVerdict))
            ),
            new("accuracy", c.Accuracy),
            .. Spectra(
                new("accuracy_published", c.Published?.Accuracy),
                new("accuracy_verdict", Name(c.AccuracyVerdict)),
                new("spectral_error_over_seeds", Of(c.SpectralErrors)),
                new("spectral_error_last", Of(c.SpectralErrorsLast)),
                new("spectral_error_lowest", Of(c.SpectralErrorsLowest)),
                new("spectral_error_lowest_step", c.LowestStep)
            ),
            new("accuracy_over_seeds", Of(c.Accuracies)),
            new("accuracy_last", Of(c.AccuraciesLast)),
            .. Spectra(
                new("cycles_learned", c.Find("cycles_learned")?.Mean),
                new("cycles_theory", c.Find("cycles_theory")?.Mean),
                new("phi_error", Of(c.Find("phi_error"))),
                new("changed_bits_accuracy", Of(c.Find("changed_bits_accuracy")))
            ),
            .. If(!table.HasSpectra, new Entry("test_loss", Of(c.Losses))),
            .. OfTokens.SelectMany(f => Found(f.Name, f.Key)),
            new("step_to_0.99", c.StepTo(RunFigures.Learned)),
            new("seeds_to_0.99", c.ReachedCount(RunFigures.Learned)),
            new("step_to_1", c.StepTo(1)),
            new("seeds_to_1", c.ReachedCount(1)),
            new("seeds_lost", c.LostCount),
            new("best_runs", c.Best.Select(r => r.Name)),
            .. FoundElse(table).SelectMany(f => Found(f.Key, f.Key)),
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
                Interval = sample.IntervalKind,
            };

    private static IEnumerable<Entry> OfRun(SweepTable table, RunFigures? run)
    {
        Entry[] Spectra(params Entry[] entries) => If(table.HasSpectra, entries);
        Entry Analysis(string key) => new(key, run?.Analysis[key]);
        Entry[] Found(string name, string key) => If(IsShown(table, key), new Entry(name, run?.Analysis[key]));
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
            new("analysis_step", run?.Analysis["step"]),
            new("analysis_accuracy", run?.Analysis["test_accuracy"]),
            .. Spectra(
                Analysis("spectral_error"),
                new("spectral_error_last", run?.SpectralErrorLast),
                new("spectral_error_lowest", run?.Lowest?.SpectralError),
                new("spectral_error_lowest_step", run?.Lowest?.Step),
                Analysis("eigenvalues_theory"),
                Analysis("eigenvalues_learned"),
                Analysis("cycles_theory"),
                Analysis("cycles_learned"),
                Analysis("phi_error"),
                Analysis("gain")
            ),
            Analysis("parameter_norm"),
            new("test_loss_best", run?.Loss),
            .. Spectra(Analysis("changed_bits_accuracy")),
            new("step_to_0.99", run?.StepTo(RunFigures.Learned)),
            new("step_to_1", run?.StepTo(1)),
            new("lost", run?.Lost),
            .. OfTokens.SelectMany(f => Found(f.Name, f.Key)),
            .. FoundElse(table).SelectMany(f => Found(f.Key, f.Key)),
            .. table.Details.Select(Analysis),
        ];
    }
}
