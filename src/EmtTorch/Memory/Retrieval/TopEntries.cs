using static TorchSharp.torch;

namespace EmtTorch.Memory.Retrieval;

/// <summary>
/// The K largest numbers of each row, equal ones in the order of their places, which Torch's `topk` does not promise.
/// </summary>
/// <remarks>
/// To break ties each number is reduced, in float64, by its place times 2⁻⁵¹ of the row's largest: at most 2⁻²⁵ of it,
/// half of the error of rounding a product to float32. A long row is cut into groups, and only the groups with the K
/// largest maxima are looked at (of equal maxima the first): no other can hold one of the K largest.
/// </remarks>
internal static class TopEntries
{
    private const int Group = 16,
        Long = 1024;

    /// <summary>Finds the K largest of each row.</summary>
    /// <param name="rows">(N, M), float32 or less exact, M below 2²⁶; −∞ marks what is not there.</param>
    /// <param name="count">K.</param>
    /// <returns>The numbers and their places in the row, both (N, min(K, M)), the largest first.</returns>
    public static (Tensor Values, Tensor Places) Find(Tensor rows, int count)
    {
        using var scope = NewDisposeScope();
        long all = rows.shape[0],
            width = rows.shape[1],
            groups = (width + Group - 1) / Group;
        Tensor places;
        if (width <= Long || groups <= count)
        {
            var largest = rows.masked_fill(rows.eq(double.NegativeInfinity), 0)
                .abs()
                .amax([-1L], keepdim: true)
                .to(ScalarType.Float64);
            var place = arange(width, dtype: ScalarType.Float64, device: rows.device) * Math.Pow(2, -51);
            places = (rows.to(ScalarType.Float64) - largest * place).topk((int)Math.Min(count, width)).indexes;
        }
        else
        {
            if (width % Group != 0)
            {
                long[] missing = [all, groups * Group - width];
                rows = cat([rows, rows.new_full(missing, double.NegativeInfinity)], 1);
            }

            // (N, K), in ascending order
            var best = Find(rows.view(all, groups, Group).amax([2L]), count).Places.sort(-1).Values;
            var candidates = (
                best.unsqueeze(-1) * Group + arange(Group, dtype: ScalarType.Int64, device: rows.device)
            ).view(all, (long)count * Group);
            places = candidates.gather(1, Find(rows.gather(1, candidates), count).Places);
        }
        return (rows.gather(1, places).MoveToOuterDisposeScope(), places.MoveToOuterDisposeScope());
    }
}
