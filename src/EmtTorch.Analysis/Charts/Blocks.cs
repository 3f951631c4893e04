namespace EmtTorch.Analysis.Charts;

/// <summary>A matrix made small enough to draw: the means of its blocks.</summary>
/// <param name="Values">The blocks' means over their finite entries; NaN where a block has none.</param>
/// <param name="Rows">Rows before.</param>
/// <param name="Columns">Columns before.</param>
/// <param name="RowBlock">Rows to a block.</param>
/// <param name="ColumnBlock">Columns to a block.</param>
internal sealed record Blocks(double[][] Values, int Rows, int Columns, int RowBlock, int ColumnBlock)
{
    /// <summary>A screen shows a larger matrix no better, and the file would grow with its square.</summary>
    public const int Limit = 192;

    /// <returns>Null where no entry is finite.</returns>
    public static Blocks? Of(double[][]? values, int rowLimit = Limit, int columnLimit = Limit)
    {
        if (values is null || !values.Any(row => row is not null && row.Any(double.IsFinite)))
            return null;
        int rows = values.Length,
            columns = values.Max(row => row?.Length ?? 0);
        int rowBlock = (rows + rowLimit - 1) / rowLimit,
            columnBlock = (columns + columnLimit - 1) / columnLimit;
        var sums = new double[(rows + rowBlock - 1) / rowBlock][];
        for (int i = 0; i < sums.Length; i++)
        {
            sums[i] = new double[(columns + columnBlock - 1) / columnBlock];
            var counts = new int[sums[i].Length];
            for (int r = i * rowBlock; r < Math.Min(rows, (i + 1) * rowBlock); r++)
            {
                for (int c = 0; c < (values[r]?.Length ?? 0); c++)
                {
                    if (double.IsFinite(values[r][c]))
                    {
                        sums[i][c / columnBlock] += values[r][c];
                        counts[c / columnBlock]++;
                    }
                }
            }

            for (int j = 0; j < counts.Length; j++)
                sums[i][j] = counts[j] == 0 ? double.NaN : sums[i][j] / counts[j];
        }
        return new(sums, rows, columns, rowBlock, columnBlock);
    }
}
