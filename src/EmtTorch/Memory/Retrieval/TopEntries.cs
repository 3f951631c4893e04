using static TorchSharp.torch;

namespace EmtTorch.Memory.Retrieval;

/// <summary>
/// The largest K of many numbers in each row, equal ones in the order of their places, which Torch's topk doesn't
/// promise.
/// </summary>
/// <remarks>
/// In float64 a place is taken off each number that is too small to matter otherwise: by 2⁻²⁵ of the row's largest at
/// most, half of what rounding a product to float32 does. Of long rows only groups are looked at in which one
/// of the K largest can be: those with the K largest maxima, if of equal maxima the first count.
/// </remarks>
internal static class TopEntries
{
    private const int Group = 16,
        Long = 1024;

    /// <param name="rows">(N, M), float32 or less exact, M below 2²⁶; −∞ for what is not there.</param>
    /// <param name="count">K.</param>
    /// <returns>The numbers and their places, both (N, min(K, M)), the largest first.</returns>
    public static (Tensor Values, Tensor Places) Of(Tensor rows, int count)
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
                rows = cat(
                    [
                        rows,
                        full(
                            [all, groups * Group - width],
                            double.NegativeInfinity,
                            dtype: rows.dtype,
                            device: rows.device
                        ),
                    ],
                    1
                );
            }

            // In order again, (N, K)
            var best = Of(rows.view(all, groups, Group).amax([2L]), count).Places.sort(-1).Values;
            var candidates = (
                best.unsqueeze(-1) * Group + arange(Group, dtype: ScalarType.Int64, device: rows.device)
            ).view(all, (long)count * Group);
            places = candidates.gather(1, Of(rows.gather(1, candidates), count).Places);
        }
        return (rows.gather(1, places).MoveToOuterDisposeScope(), places.MoveToOuterDisposeScope());
    }
}
