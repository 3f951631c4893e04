using System.Globalization;
using System.Text;

namespace EmtTorch.Analysis.Report;

/// <summary>A comparison as Markdown tables.</summary>
public static class ComparisonTable
{
    /// <summary>A line a run: <see cref="Runs"/>, and below it how each grounding does, and how each network loads.</summary>
    public static string Markdown(IReadOnlyList<RunAnalysis> analyses)
    {
        var tables = new StringBuilder(Runs([.. analyses.Select(a => a.Row)]));
        if (analyses.Any(a => a.Groundings.Count > 0))
        {
            tables.Append("""

                Groundings. Φ error with tanh's gain taken out, and in brackets of W_hh as it is; the condition number of Ψ; the share of bits as predicted after interventions.

                | run | grounding | Φ error | condition | interventions |
                |:--|:--|--:|--:|--:|

                """);
            foreach (var analysis in analyses)
                foreach (var g in analysis.Groundings)
                    tables.AppendLine(CultureInfo.InvariantCulture, $"| {analysis.Row.Name} | {VariableMemories.Name(g.Grounding)} | {Text(g.PhiError, "P2")} ({Text(g.PhiErrorUnscaled, "P2")}) | {Text(g.Condition, "G3")} | {Text(g.InterventionAccuracy, "P2")} |");
        }
        if (analyses.Any(a => a.Loading is not null))
        {
            tables.Append("""

                Loading, at the last input step. What enters the newest variable is a u + b f; its contents times u where f agrees with u and where it does not; a linear network of one phase has 1, 1, 2 and 0.

                | run | a | b | R² | agree | disagree | right sign | saturated units |
                |:--|--:|--:|--:|--:|--:|--:|--:|

                """);
            foreach (var analysis in analyses)
                if (analysis.Loading is { Steps: [.., var last] })
                    tables.AppendLine(CultureInfo.InvariantCulture, $"| {analysis.Row.Name} | {Text(last.InputWeight, "F2")} | {Text(last.FeedbackWeight, "F2")} | {Text(last.Explained, "F2")} | {Text(last.Agree, "F2")} | {Text(last.Disagree, "F2")} | {Text(last.SignRight, "P1")} | {Text(last.Saturated, "P1")} |");
        }
        return tables.ToString();
    }

    /// <summary>A line a run.</summary>
    public static string Runs(IReadOnlyList<ComparisonRow> rows)
    {
        var table = new StringBuilder("""
            | run | task | H | test accuracy | spectral error | eigenvalues (theory, learned) | live entries | grounding | Φ error | interventions | notes |
            |:--|:--|--:|--:|--:|--:|--:|:--|--:|--:|--:|

            """);
        foreach (var row in rows)
            table.AppendLine(CultureInfo.InvariantCulture, $"""
                | {row.Name} | {row.Task} | {row.HiddenSize} | {Text(row.TestAccuracy, "P2")} | {Text(row.SpectralError, "F5")} | {row.CountTheory?.ToString(CultureInfo.InvariantCulture) ?? "–"}, {row.CountLearned?.ToString(CultureInfo.InvariantCulture) ?? "–"} | {Text(row.LiveEntries, "F0")} | {row.Grounding ?? "–"} | {Text(row.PhiError, "P2")} | {Text(row.InterventionAccuracy, "P2")} | {row.Problems} |
                """);
        return table.ToString();
    }

    private static string Text(double? value, string format) => value is { } v && double.IsFinite(v) ? v.ToString(format, CultureInfo.InvariantCulture) : "–";
}
