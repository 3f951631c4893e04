using System.Globalization;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using EmtTorch.Analysis;
using EmtTorch.Settings;
using EmtTorch.Studies;

namespace EmtTorch.Reports;

/// <summary>A sweep's table as Markdown, CSV and JSON. The same runs give the same text.</summary>
public static class SweepTableText
{
    private static readonly JsonSerializerOptions Indented = new()
    {
        WriteIndented = true,
        NewLine = "\n",
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    /// <summary>A column of one of the tables.</summary>
    /// <param name="Title">Its heading.</param>
    /// <param name="Text">What a cell's row shows.</param>
    /// <param name="Key">What it is sorted by; null: the text.</param>
    internal sealed record Column(string Title, Func<SweepCell, string> Text, Func<SweepCell, double?>? Key = null);

    /// <summary>One of the tables.</summary>
    /// <param name="Title">Its heading.</param>
    /// <param name="Columns">After the axes' own.</param>
    /// <param name="Captions">What the columns mean, a paragraph each.</param>
    internal sealed record Part(string Title, IReadOnlyList<Column> Columns, params string[] Captions);

    /// <summary>All tables, the axes in front and the time in the last line.</summary>
    public static string Markdown(SweepTable table)
    {
        var text = new StringBuilder($"# {Plain(table.Folder.Name)}\n\n");
        if (table.Folder.Description.Length > 0)
            text.Append($"{Plain(table.Folder.Description)}\n\n");
        text.Append($"{table.Progress}.\n");
        var axes = Axes(table);
        foreach (var part in Parts(table))
        {
            text.Append($"\n## {part.Title}\n\n{string.Concat(part.Captions.Select(c => Plain(c) + "\n\n"))}");
            text.Append($"| {string.Join(" | ", axes.Concat(part.Columns).Select(c => Plain(c.Title)))} |\n");
            text.Append($"|{string.Join('|', axes.Select(_ => ":--").Concat(part.Columns.Select(_ => "--:")))}|\n");
            foreach (var cell in table.Cells)
                text.Append($"| {string.Join(" | ", axes.Concat(part.Columns).Select(c => Plain(c.Text(cell))))} |\n");
        }
        return text.Append($"\n{Time(table)}\n").ToString();

        // A line, and what would end a table's cell.
        static string Plain(string s) =>
            s.Replace("\r", "", StringComparison.Ordinal)
                .Replace('\n', ' ')
                .Replace("|", "\\|", StringComparison.Ordinal);
    }

    /// <summary>All that depends on the clock.</summary>
    internal static string Time(SweepTable table) =>
        table.Seconds switch
        {
            >= 3600 and var s => string.Create(
                CultureInfo.InvariantCulture,
                $"Training of the finished runs took {s / 3600:0.0} hours in all."
            ),
            var s => string.Create(
                CultureInfo.InvariantCulture,
                $"Training of the finished runs took {s:0} seconds in all."
            ),
        };

    internal static IReadOnlyList<Column> Axes(SweepTable table) =>
        table.Axes.Count == 0
            ? [new("runs of", _ => table.Folder.Name)]
            :
            [
                .. table.Axes.Select(
                    (axis, i) =>
                        new Column(
                            table.Title(axis),
                            cell => cell.Values[i],
                            table.Axes[i].Values.All(v => Number(v.Name) is not null)
                                ? cell => Number(cell.Values[i])
                                : null
                        )
                ),
            ];

    internal static IEnumerable<Part> Parts(SweepTable table) =>
        table.OnTokens ? PartsOnTokens(table) : PartsOfCircuits(table);

    private static IEnumerable<Part> PartsOnTokens(SweepTable table)
    {
        Column Of(string title, Func<SweepCell, Sample?> of, int digits) =>
            new(title, c => Mean(c, of(c), digits), c => of(c)?.Mean);
        Column Interval(Func<SweepCell, Sample?> of, int digits) => Spread("", of, digits)[^1];
        Column[] bits = table.OnText
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
            $"Means over seeds of each seed's accuracy and test loss, at the test's horizon, of the weights with the lowest test loss; and a 95 % interval of the mean accuracy (percentile bootstrap, 10,000 resamples; too narrow where seeds are few).{Over(table)}"
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
            "The least accuracy and the greatest, and the standard deviation (n − 1); the accuracy of the last weights; the share of questions at which the asked pair gives the most of what the fast weights return, in the best head (reads right); the bytes that a document's state takes at its end; the median step of the first test with an accuracy of 0.99 and of 1; and how many seeds had 0.99 at a test and not at the last. In brackets of how many seeds, where not of all."
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
        Column[] runs = [new("runs", c => $"{c.FinishedCount} of {c.Runs.Count}", c => c.FinishedCount)];
        Column[] own =
        [
            new("spectral error", c => Fixed(c.SpectralError, 4), c => c.SpectralError),
            new("accuracy", c => Fixed(c.Accuracy, 4), c => c.Accuracy),
        ];
        Column[] other =
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
            $"Means over seeds of each seed's lowest spectral error, in radians, and highest accuracy{over}, at the test's horizon. They are of the weights with the lowest test loss. A run has converged where it has as many persistent eigenvalues as the circuit; where a seed has no run that did, there is no error.";
        if (published is null)
            yield return new("Results", [.. runs, .. own], figures);
        else
        {
            yield return new(
                "Beside the published results",
                [.. runs, own[0], .. other[..2], own[1], .. other[2..]],
                [
                    figures,
                    $"✓: rounded as the published figure is (to {PublishedTable.ErrorDecimals} decimals, and {PublishedTable.AccuracyDecimals}), as good or better. ≈: worse, but the published figure lies within the 95 % interval of ours below. ✗: worse, or no error where there is a published one. –: nothing to compare. …: runs are missing.",
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
            $"Each seed's run is the one with the lowest spectral error{over}, or with none converged the one with the highest accuracy. Of these the mean spectral error: of the weights with the lowest test loss, of the last, and the lowest at any test, known only afterwards, with the median of its step. In brackets of how many seeds, where not of all."
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
            "How many seeds converged, and of these the spectral error; of all the accuracy. The least and the greatest, the standard deviation (n − 1), and a 95 % interval of the mean (percentile bootstrap, 10,000 resamples; too narrow where seeds are few)."
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
            "Of each seed's run: how many of the circuit's cycles it has; how far W_hh in the basis of variables is from the circuit's Φ; the share of output bits as predicted after interventions; the median step of the first test with an accuracy of 0.99 and of 1; and how many seeds had 0.99 at a test and not at the last. In brackets of how many seeds, where not of all."
        );
    }

    private static IEnumerable<string> Unpublished(SweepTable table) =>
        table.Unpublished.Select(table.Title).ToList() is { Count: > 0 } axes
            ?
            [
                $"The published table has no {string.Join(" and no ", axes)}: rows that differ in nothing else stand beside the same figures, which are of one of them at most.",
            ]
            : [];

    private static Column[] Spread(string what, Func<SweepCell, Sample?> of, int digits) =>
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

    private static Column Reached(double accuracy) =>
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

    private static string Fixed(double? value, int digits) =>
        value is { } v && double.IsFinite(v) ? v.ToString("F" + digits, CultureInfo.InvariantCulture) : "–";

    private static double? Number(string text) =>
        double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double number)
        && double.IsFinite(number)
            ? number
            : null;

    /// <summary>A line a run (RFC 4180, with line feeds), numbers unrounded and nothing where there is none; without times.</summary>
    public static string Csv(SweepTable table)
    {
        var text = new StringBuilder();
        void Line(IEnumerable<string> fields) =>
            text.AppendJoin(
                    ',',
                    fields.Select(f =>
                        f.AsSpan().IndexOfAny(",\"\r\n") < 0
                            ? f
                            : $"\"{f.Replace("\"", "\"\"", StringComparison.Ordinal)}\""
                    )
                )
                .Append('\n');
        Line([
            .. table.Folder.Axes.Select(table.Title),
            "seed",
            .. Figures(table, table.Runs.FirstOrDefault()).Select(f => f.Key),
        ]);
        foreach (var run in table.Runs)
        {
            Line([
                .. run.Values,
                run.Seed.ToString(CultureInfo.InvariantCulture),
                .. Figures(table, run).Select(f => f.Value?.ToString() ?? ""),
            ]);
        }

        return text.ToString();
    }

    /// <summary>Cells and runs, numbers unrounded, null where there is none; what depends on the clock under `time`.</summary>
    public static string Json(SweepTable table)
    {
        var published = table.Folder.Published;
        JsonObject Values(IEnumerable<SweepAxis> axes, IReadOnlyList<string> values) =>
            new(
                axes.Zip(
                    values,
                    (a, v) =>
                        KeyValuePair.Create(
                            a.Key,
                            Number(v) is { } number ? JsonValue.Create(number) : (JsonNode?)JsonValue.Create(v)
                        )
                )
            );
        var json = new JsonObject
        {
            ["name"] = table.Folder.Name,
            ["description"] = table.Folder.Description,
            ["axes"] = new JsonArray([.. table.Axes.Select(a => (JsonNode)a.Key)]),
            ["best_of"] = new JsonArray([.. table.Folder.BestOf.Select(k => (JsonNode)k)]),
            ["published"] = published?.Source,
            ["runs_total"] = table.Runs.Count,
            ["runs_finished"] = table.FinishedCount,
            ["runs_failed"] = table.Runs.Count(r => r.Failed),
            ["cells"] = new JsonArray([
                .. table.Cells.Select(c =>
                    table.OnTokens
                        ? CellOnTokens(c)
                        : new JsonObject
                        {
                            ["values"] = Values(table.Axes, c.Values),
                            ["runs"] = c.Runs.Count,
                            ["finished"] = c.FinishedCount,
                            ["seeds"] = c.Seeds.Count,
                            ["seeds_finished"] = c.Best.Count,
                            ["seeds_converged"] = c.ConvergedCount,
                            ["spectral_error"] = c.SpectralError,
                            ["spectral_error_published"] = c.Published?.SpectralError,
                            ["spectral_error_verdict"] = Name(c.SpectralErrorVerdict),
                            ["accuracy"] = c.Accuracy,
                            ["accuracy_published"] = c.Published?.Accuracy,
                            ["accuracy_verdict"] = Name(c.AccuracyVerdict),
                            ["spectral_error_over_seeds"] = Of(c.SpectralErrors),
                            ["spectral_error_last"] = Of(c.SpectralErrorsLast),
                            ["spectral_error_lowest"] = Of(c.SpectralErrorsLowest),
                            ["spectral_error_lowest_step"] = c.LowestStep,
                            ["accuracy_over_seeds"] = Of(c.Accuracies),
                            ["accuracy_last"] = Of(c.AccuraciesLast),
                            ["cycles_learned"] = c.Cycles?.Learned,
                            ["cycles_theory"] = c.Cycles?.All,
                            ["phi_error"] = Of(c.PhiErrors),
                            ["intervention_accuracy"] = Of(c.InterventionAccuracies),
                            ["step_to_0.99"] = c.StepTo(RunFigures.Learned),
                            ["seeds_to_0.99"] = c.ReachedCount(RunFigures.Learned),
                            ["step_to_1"] = c.StepTo(1),
                            ["seeds_to_1"] = c.ReachedCount(1),
                            ["seeds_lost"] = c.LostCount,
                            ["best_runs"] = new JsonArray([.. c.Best.Select(r => (JsonNode)r.Name)]),
                        }
                ),
            ]),
            ["runs"] = new JsonArray([
                .. table.Runs.Select(r =>
                {
                    var run = new JsonObject
                    {
                        ["name"] = r.Name,
                        ["values"] = Values(table.Folder.Axes, r.Values),
                        ["seed"] = r.Seed,
                    };
                    foreach (var (key, value) in Figures(table, r))
                        run[key] = value;
                    return run;
                }),
            ]),
            ["time"] = new JsonObject
            {
                ["seconds"] = table.Seconds,
                ["runs"] = new JsonObject(
                    table
                        .Runs.Where(r => r.Finished)
                        .Select(r => KeyValuePair.Create(r.Name, (JsonNode?)r.Result!.Seconds))
                ),
            },
        };
        return json.ToJsonString(Indented) + "\n";

        JsonObject CellOnTokens(SweepCell c) =>
            new()
            {
                ["values"] = Values(table.Axes, c.Values),
                ["runs"] = c.Runs.Count,
                ["finished"] = c.FinishedCount,
                ["seeds"] = c.Seeds.Count,
                ["seeds_finished"] = c.Best.Count,
                ["accuracy"] = c.Accuracy,
                ["accuracy_over_seeds"] = Of(c.Accuracies),
                ["accuracy_last"] = Of(c.AccuraciesLast),
                ["test_loss"] = Of(c.Losses),
                ["bits_per_character"] = Of(c.Bits),
                ["bits_new_words"] = Of(c.BitsNewWords),
                ["bits_seen_words"] = Of(c.BitsSeenWords),
                ["reads_right"] = Of(c.ReadsRight),
                ["state_bytes"] = Of(c.StateBytes),
                ["step_to_0.99"] = c.StepTo(RunFigures.Learned),
                ["seeds_to_0.99"] = c.ReachedCount(RunFigures.Learned),
                ["step_to_1"] = c.StepTo(1),
                ["seeds_to_1"] = c.ReachedCount(1),
                ["seeds_lost"] = c.LostCount,
                ["best_runs"] = new JsonArray([.. c.Best.Select(r => (JsonNode)r.Name)]),
            };

        static string Name(Verdict verdict) =>
            verdict switch
            {
                Verdict.EqualOrBetter => "equal_or_better",
                Verdict.WithinInterval => "within_interval",
                Verdict.Worse => "worse",
                _ => "not_comparable",
            };
    }

    private static JsonObject? Of(Sample? sample) =>
        sample is null
            ? null
            : new()
            {
                ["n"] = sample.Count,
                ["mean"] = sample.Mean,
                ["min"] = sample.Min,
                ["max"] = sample.Max,
                ["sd"] = sample.Deviation,
                ["low"] = sample.Interval?.Low,
                ["high"] = sample.Interval?.High,
            };

    private static readonly string[] OfCircuits =
    [
        "spectral_error",
        "spectral_error_last",
        "spectral_error_lowest",
        "spectral_error_lowest_step",
        "eigenvalues_theory",
        "eigenvalues_learned",
        "cycles_theory",
        "cycles_learned",
        "phi_error",
        "gain",
        "intervention_accuracy",
    ];

    /// <summary>What a run comes to in a table: where all are on tokens without what only circuits have, and with what they have themselves.</summary>
    private static IEnumerable<KeyValuePair<string, JsonNode?>> Figures(SweepTable table, RunFigures? run) =>
        !table.OnTokens
            ? Figures(run)
            :
            [
                .. Figures(run).Where(f => !OfCircuits.Contains(f.Key)),
                .. new JsonObject
                {
                    ["bits_per_character"] = run?.Analysis.BitsPerCharacter,
                    ["bits_new_words"] = run?.Analysis.BitsNewWords,
                    ["bits_seen_words"] = run?.Analysis.BitsSeenWords,
                    ["reads_right"] = run?.Analysis.ReadsRight,
                    ["state_bytes"] = run?.Analysis.StateBytesEnd,
                }.Select(p => KeyValuePair.Create(p.Key, p.Value?.DeepClone())),
            ];

    /// <summary>What a run comes to, by the names that CSV and JSON share.</summary>
    private static IEnumerable<KeyValuePair<string, JsonNode?>> Figures(RunFigures? run) =>
        new JsonObject
        {
            ["state"] =
                run is null ? null
                : run.Finished ? "finished"
                : run.Failed ? "failed"
                : run.Step > 0 ? "begun"
                : "not_begun",
            ["failures"] = run?.Failures,
            ["steps"] = run?.Step,
            ["horizon"] = run?.Configuration.Evaluation.Horizon,
            ["accuracy_last"] = run?.AccuracyLast,
            ["accuracy_best"] = run?.Accuracy,
            ["best_step"] = run?.Result?.BestStep,
            ["analysis_step"] = run?.Analysis.Step,
            ["analysis_accuracy"] = run?.Analysis.TestAccuracy,
            ["spectral_error"] = run?.Analysis.SpectralError,
            ["spectral_error_last"] = run?.SpectralErrorLast,
            ["spectral_error_lowest"] = run?.Lowest?.SpectralError,
            ["spectral_error_lowest_step"] = run?.Lowest?.Step,
            ["eigenvalues_theory"] = run?.Analysis.EigenvaluesTheory,
            ["eigenvalues_learned"] = run?.Analysis.EigenvaluesLearned,
            ["cycles_theory"] = run?.Analysis.CyclesTheory,
            ["cycles_learned"] = run?.Analysis.CyclesLearned,
            ["phi_error"] = run?.Analysis.PhiError,
            ["gain"] = run?.Analysis.Gain,
            ["parameter_norm"] = run?.Analysis.ParameterNorm,
            ["test_loss_best"] =
                run?.Result is { } result && double.IsFinite(result.BestTestLoss) ? result.BestTestLoss : null,
            ["intervention_accuracy"] = run?.Analysis.InterventionAccuracy,
            ["step_to_0.99"] = run?.StepTo(RunFigures.Learned),
            ["step_to_1"] = run?.StepTo(1),
            ["lost"] = run?.Lost,
        }
            .ToList()
            .Select(p => KeyValuePair.Create(p.Key, p.Value?.DeepClone()));
}
