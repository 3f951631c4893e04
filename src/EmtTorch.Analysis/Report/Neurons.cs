using System.Text;

namespace EmtTorch.Analysis.Report;

/// <summary>Which units take part in which variable.</summary>
internal static class Neurons
{
    private const int Listed = 5;

    /// <param name="participation">(H, s), not negative.</param>
    public static Figure? Chart(double[][] participation)
    {
        int[] units = [.. Enumerable.Range(0, participation.Length).Where(i => participation[i] is { Length: > 0 })];
        // By the variable in which a unit is strongest, then by how strong it is there.
        int[] order = [.. units.OrderBy(i => Strongest(participation[i])).ThenByDescending(i => Value(participation[i], Strongest(participation[i])))];
        return new HeatMap
        {
            Values = [.. order.Select(i => participation[i])],
            Rows = new("unit, sorted by its strongest variable") { Names = [.. order.Select(i => $"{i + 1}")] },
            Columns = new("variable") { Groups = [.. Enumerable.Range(1, units.Select(i => participation[i].Length).DefaultIfEmpty(0).Max()).Select(k => ($"{k}", 1))] },
            RowsAcross = true,
            Value = "participation",
            Diverging = false,
            Height = (0.12, 190),
        }.Figure("participation", "Units of each variable", "How much each unit takes part in each variable. Point at a cell to see the unit's number.");
    }

    /// <summary>The five units that take part most, by variable.</summary>
    public static string Table(double[][] participation)
    {
        var html = new StringBuilder($"""<div class="scroll"><table><caption>The {Listed} units that take part most, with their participation</caption><thead><tr><th scope="col">Variable</th><th scope="col">Units</th></tr></thead><tbody>""").Append('\n');
        int variables = participation.Max(row => row?.Length ?? 0);
        for (int k = 0; k < variables; k++)
        {
            var top = Enumerable.Range(0, participation.Length)
                .Where(i => participation[i] is { } row && k < row.Length && double.IsFinite(row[k]))
                .OrderByDescending(i => participation[i][k]).Take(Listed)
                .Select(i => $"<strong>{i + 1}</strong> ({participation[i][k]:0.000})");
            html.Append($"""<tr><th scope="row">{k + 1}</th><td>{string.Join(", ", top)}</td></tr>""").Append('\n');
        }
        return html.Append("</tbody></table></div>").ToString();
    }

    private static int Strongest(double[] row) => Enumerable.Range(0, row.Length).MaxBy(k => Value(row, k));

    private static double Value(double[] row, int k) => double.IsFinite(row[k]) ? row[k] : double.NegativeInfinity;
}
