namespace EmtTorch.Analysis;

/// <summary>The linear assignment problem: a different column for each row, with the smallest sum of costs.</summary>
internal static class Assignment
{
    /// <summary>
    /// Shortest augmenting paths with dual variables (Jonker and Volgenant 1987; the algorithm of scipy's
    /// linear_sum_assignment), O(n³).
    /// </summary>
    /// <param name="cost">(n, n), finite.</param>
    /// <returns>The column of each row.</returns>
    public static int[] Solve(double[,] cost)
    {
        int n = cost.GetLength(0);
        var (rowPotential, columnPotential) = (new double[n], new double[n]);
        var (rowOf, columnOf) = (Enumerable.Repeat(-1, n).ToArray(), Enumerable.Repeat(-1, n).ToArray());
        for (int start = 0; start < n; start++)
        {
            // Dijkstra from the free row over reduced costs, to the nearest free column.
            var distance = Enumerable.Repeat(double.PositiveInfinity, n).ToArray();
            var from = new int[n]; // the row before each column on its path
            var done = new bool[n];
            int row = start,
                column = -1;
            double reached = 0;
            do
            {
                int nearest = -1;
                for (int j = 0; j < n; j++)
                {
                    if (done[j])
                        continue;
                    double through = reached + cost[row, j] - rowPotential[row] - columnPotential[j];
                    if (through < distance[j])
                        (distance[j], from[j]) = (through, row);
                    if (nearest < 0 || distance[j] < distance[nearest])
                        nearest = j;
                }
                reached = distance[nearest];
                done[nearest] = true;
                column = nearest;
                row = rowOf[column];
            } while (row >= 0);

            rowPotential[start] += reached;
            for (int j = 0; j < n; j++)
            {
                if (done[j] && j != column)
                {
                    columnPotential[j] -= reached - distance[j];
                    rowPotential[rowOf[j]] += reached - distance[j];
                }
            }
            // The rows on the path exchange their columns.
            while (true)
            {
                int previous = from[column];
                rowOf[column] = previous;
                (columnOf[previous], column) = (column, columnOf[previous]);
                if (previous == start)
                    break;
            }
        }
        return columnOf;
    }
}
