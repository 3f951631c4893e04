using EmtTorch.Kernels;
using static TorchSharp.torch;

namespace EmtTorch.Memory;

/// <summary>
/// <see cref="FastWeightScan"/> from queries, keys and values side by side, as one projection makes them; queries and
/// keys are brought to length 1. On the CPU alone, where it saves nine passes over the memory.
/// </summary>
/// <remarks>
/// Arguments: [q, k, v] (B, T, 3d), β (B, heads, T), γ (heads), F_0 (B, heads, d/heads, d/heads), whether by delta as a
/// bool. Results: r (B, T, d), F_T. T ≥ 1.
/// </remarks>
internal sealed class ProjectedScan : TorchFunction<ProjectedScan>
{
    private const long Chunk = 64;

    /// <summary>Whether the function serves [q, k, v], β, γ and F_0.</summary>
    public static bool Fits(params Tensor[] arguments) => FastWeightKernel.Fits(arguments, Chunk);

    protected override List<Tensor> Forward(ISavedForBackward ctx, object[] arguments)
    {
        Tensor[] tensors = [.. arguments[..4].Cast<Tensor>()];
        bool delta = (bool)arguments[4];
        ctx.save_data("delta", delta);
        var found = FastWeightKernel.Forward(tensors, delta, Chunk);
        ctx.save_for_backward([.. tensors[..3], found.Kept]);
        return [found.Read, found.After];
    }

    protected override List<Tensor?> Backward(
        autograd.AutogradContext ctx,
        List<Tensor> saved,
        IReadOnlyList<Tensor?> ofResults
    )
    {
        Tensor projected = saved[0],
            kept = saved[3];
        long[] shape = projected.shape,
            states = kept.shape; // (B, heads, n, d_k, d_v)
        var ofRead = OrZeros(ofResults[0], [shape[0], shape[1], shape[2] / 3], projected);
        var ofState = OrZeros(ofResults[1], [states[0], states[1], states[3], states[4]], projected);
        return
        [
            .. FastWeightKernel.Gradients(
                saved,
                ofRead,
                ofState,
                (bool)ctx.get_data("delta"),
                Chunk,
                wantsDecay: saved[2].requires_grad
            ),
            null,
        ];
    }
}
