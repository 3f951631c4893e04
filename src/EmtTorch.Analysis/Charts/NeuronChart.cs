using System.Text;

namespace EmtTorch.Analysis.Charts;

/// <summary>Which units take part in which variable.</summary>
internal static class NeuronChart
{
    /// <param name="participation">(H, s), not negative.</param>
    public static Figure? Of(double[][] participation)
    {
        int[] units = [.. Enumerable.Range(0, participation.Length).Where(i => participation[i] is { Length: > 0 })];
        // By the variable in which a unit is strongest, then by how strong it is there.
        int[] order =
        [
            .. units
                .OrderBy(i => Strongest(participation[i]))
                .ThenByDescending(i => Value(participation[i], Strongest(participation[i]))),
        ];
        return new HeatMap
        {
            Values = [.. order.Select(i => participation[i])],
            Rows = new("unit, sorted by its strongest variable") { Names = [.. order.Select(i => $"{i + 1}")] },
            Columns = new("variable")
            {
                Groups =
                [
                    .. Enumerable
                        .Range(1, units.Select(i => participation[i].Length).DefaultIfEmpty(0).Max())
                        .Select(k => ($"{k}", 1)),
                ],
            },
            RowsAcross = true,
            Value = "participation",
            Diverging = false,
            Height = (0.12, 190),
        }.Figure(
            "participation",
            "Units of each variable",
            "How much each unit takes part in each variable. Point at a cell to see the unit's number."
        );
    }

    private static int Strongest(double[] row) => Enumerable.Range(0, row.Length).MaxBy(k => Value(row, k));

    private static double Value(double[] row, int k) => double.IsFinite(row[k]) ? row[k] : double.NegativeInfinity;
}
