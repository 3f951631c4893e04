using System.Globalization;
using System.Text;
using EmtTorch.Analysis;
using EmtTorch.Analysis.Charts;
using EmtTorch.Analysis.Runs;

namespace EmtTorch.Reports;

/// <summary>A comparison as Markdown tables.</summary>
public static class ComparisonTable
{
    /// <summary>A line a run: <see cref="Runs"/>, and below it how each grounding does, and how each network loads.</summary>
    public static string Markdown(IReadOnlyList<RunAnalysis> analyses)
    {
        var tables = new StringBuilder(Runs([.. analyses.Select(a => a.Row)]));
        if (analyses.Any(a => a.Groundings.Count > 0))
        {
            tables.Append(
                """

                Groundings. Φ error with tanh's gain taken out, and in brackets of W_hh as it is; the condition number of Ψ; the share of bits as predicted after interventions.

                | run | grounding | Φ error | condition | interventions |
                |:--|:--|--:|--:|--:|

                """
            );
            foreach (var analysis in analyses)
            {
                foreach (var g in analysis.Groundings)
                {
                    tables.AppendLine(
                        CultureInfo.InvariantCulture,
                        $"| {analysis.Row.Name} | {VariableMemories.Name(g.Grounding)} | {Text(g.PhiError, "P2")} ({Text(g.PhiErrorUnscaled, "P2")}) | {Text(g.Condition, "G3")} | {Text(g.InterventionAccuracy, "P2")} |"
                    );
                }
            }
        }
        if (analyses.Any(a => a.Loading is not null))
        {
            tables.Append(
                """

                Loading, at the last input step. What enters the newest variable is a u + b f; its contents times u where f agrees with u and where it does not; a linear network of one phase has 1, 1, 2 and 0.

                | run | a | b | R² | agree | disagree | right sign | saturated units |
                |:--|--:|--:|--:|--:|--:|--:|--:|

                """
            );
            foreach (var analysis in analyses)
            {
                if (analysis.Loading is { Steps: [.., var last] })
                {
                    tables.AppendLine(
                        CultureInfo.InvariantCulture,
                        $"| {analysis.Row.Name} | {Text(last.InputWeight, "F2")} | {Text(last.FeedbackWeight, "F2")} | {Text(last.Explained, "F2")} | {Text(last.Agree, "F2")} | {Text(last.Disagree, "F2")} | {Text(last.SignRight, "P1")} | {Text(last.Saturated, "P1")} |"
                    );
                }
            }
        }
        return tables.ToString();
    }

    private sealed record Column(string Title, bool Numeric, Func<ComparisonRow, string?> Shown);

    private static readonly Column[] Columns =
    [
        new("run", false, row => row.Name),
        new("task", false, row => row.Task),
        new("H", true, row => row.HiddenSize?.ToString(CultureInfo.InvariantCulture)),
        new("test accuracy", true, row => Figure(row.TestAccuracy, "P2")),
        new("spectral error", true, row => Figure(row.SpectralError, "F5")),
        new(
            "eigenvalues (theory, learned)",
            true,
            row =>
                row is { CountTheory: null, CountLearned: null }
                    ? null
                    : $"{row.CountTheory?.ToString(CultureInfo.InvariantCulture) ?? "–"}, {row.CountLearned?.ToString(CultureInfo.InvariantCulture) ?? "–"}"
        ),
        new("live entries", true, row => Figure(row.LiveEntries, "F0")),
        new("grounding", false, row => row.Grounding),
        new("Φ error", true, row => Figure(row.PhiError, "P2")),
        new("interventions", true, row => Figure(row.InterventionAccuracy, "P2")),
        new("bits per character", true, row => Figure(row.BitsPerCharacter, "F3")),
        new("reads right", true, row => Figure(row.ReadsRight, "P2")),
        new("effective rank", true, row => Figure(row.EffectiveRank, "F1")),
        new("state, bytes", true, row => row.StateBytes?.ToString(CultureInfo.InvariantCulture)),
        new("notes", true, row => row.Problems?.ToString(CultureInfo.InvariantCulture)),
    ];

    /// <summary>A line a run; what no run has is left out.</summary>
    public static string Runs(IReadOnlyList<ComparisonRow> rows)
    {
        var columns = Columns.Where(c => rows.Any(row => c.Shown(row) is not null)).ToList();
        var table = new StringBuilder(
            $"| {string.Join(" | ", columns.Select(c => c.Title))} |\n|{string.Join('|', columns.Select(c => c.Numeric ? "--:" : ":--"))}|\n"
        );
        foreach (var row in rows)
            table.Append($"| {string.Join(" | ", columns.Select(c => c.Shown(row) ?? "–"))} |\n");
        return table.ToString();
    }

    private static string? Figure(double? value, string format) =>
        value is { } v && double.IsFinite(v) ? v.ToString(format, CultureInfo.InvariantCulture) : null;

    private static string Text(double? value, string format) =>
        value is { } v && double.IsFinite(v) ? v.ToString(format, CultureInfo.InvariantCulture) : "–";
}
