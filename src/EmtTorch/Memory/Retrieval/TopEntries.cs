using static TorchSharp.torch;

namespace EmtTorch.Memory.Retrieval;

/// <summary>The largest K of many numbers in each row, equal ones in the order of their places, which Torch's topk doesn't promise.</summary>
/// <remarks>
/// The K largest lie in the K groups of neighbours with the largest maxima, if of equal maxima the first groups count: so groups are chosen by the same rule, and only what is in them is sorted.
/// </remarks>
internal static class TopEntries
{
    private const int Group = 16;

    /// <param name="rows">(N, M).</param>
    /// <param name="count">K.</param>
    /// <returns>The numbers and their places, both (N, min(K, M)), the largest first.</returns>
    public static (Tensor Values, Tensor Places) Of(Tensor rows, int count)
    {
        using var scope = NewDisposeScope();
        long all = rows.shape[0], width = rows.shape[1], kept = Math.Min(count, width);
        long groups = (width + Group - 1) / Group;
        Tensor values, places;
        if (groups <= count) (values, places) = rows.sort(-1, descending: true, stable: true);
        else
        {
            if (width % Group != 0) rows = cat([rows, full([all, groups * Group - width], double.NegativeInfinity, dtype: rows.dtype, device: rows.device)], 1);
            var best = Of(rows.view(all, groups, Group).amax([2L]), count).Places.sort(-1).Values;        // in order again, (N, K)
            var candidates = (best.unsqueeze(-1) * Group + arange(Group, dtype: ScalarType.Int64, device: rows.device)).view(all, (long)count * Group);
            (values, var order) = rows.gather(1, candidates).sort(-1, descending: true, stable: true);
            places = candidates.gather(1, order.narrow(1, 0, kept));
        }
        return (values.narrow(1, 0, kept).MoveToOuterDisposeScope(), places.narrow(1, 0, kept).MoveToOuterDisposeScope());
    }
}
