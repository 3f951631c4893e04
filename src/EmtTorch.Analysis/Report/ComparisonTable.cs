using System.Globalization;
using System.Text;

namespace EmtTorch.Analysis.Report;

/// <summary>A comparison as a Markdown table.</summary>
public static class ComparisonTable
{
    public static string Markdown(IReadOnlyList<ComparisonRow> rows)
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
