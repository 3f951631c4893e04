using EmtTorch.Kernels;
using static TorchSharp.torch;

namespace EmtTorch.Memory;

/// <summary>
/// c_t = λ c_{t−1} + x_t for all t as one function of autograd: by <see cref="ContextDriftKernel"/> on the CPU, else by
/// Torch's operators. These go token by token within chunks of C tokens, for all chunks at once, beginning with c = 0.
/// The chunks' last contexts are then carried from chunk to chunk by the same scan with λ^C, and λ^{i+1} times the
/// context before a chunk is added to its token i. With C = 32 that takes about a hundred calls for any length, and
/// three passes over the memory. The gradients are the same scan backwards: δ_t = dc_t + λ δ_{t+1}, dx = δ, dλ = Σ δ_t
/// c_{t−1}, dc_0 = λ δ_1.
/// </summary>
/// <remarks>Arguments: x (B, T, d), λ (d), c_0 (B, d). Results: c (B, T, d), and c before each token (B, T, d). T ≥
/// 1.</remarks>
internal sealed class ContextDriftScan : TorchFunction<ContextDriftScan>
{
    private const long Chunk = 32;

    protected override List<Tensor> Forward(ISavedForBackward ctx, object[] arguments)
    {
        Tensor x = (Tensor)arguments[0],
            decay = (Tensor)arguments[1],
            before = (Tensor)arguments[2];
        Tensor contexts,
            earlier;
        if (ContextDriftKernel.Fits(x, decay, before))
        {
            (contexts, earlier) = ContextDriftKernel.Forward(x, decay, before);
        }
        else
        {
            contexts = Scan(x, decay, before);
            earlier = cat([before.unsqueeze(1), contexts.narrow(1, 0, x.shape[1] - 1)], 1);
        }
        ctx.save_for_backward([decay, before, contexts]);
        return [contexts, earlier];
    }

    protected override List<Tensor?> Backward(
        autograd.AutogradContext ctx,
        List<Tensor> saved,
        IReadOnlyList<Tensor?> gradients
    )
    {
        Tensor decay = saved[0],
            before = saved[1],
            contexts = saved[2];
        if (ContextDriftKernel.Fits(contexts, decay, before))
        {
            var found = ContextDriftKernel.Gradients(gradients[0], gradients[1], decay, before, contexts);
            return [found.Input, found.Decay, found.Before];
        }
        long rest = contexts.shape[1] - 1;
        var ofContexts = OrZeros(gradients[0], contexts.shape, contexts);
        if (gradients[1] is { } ofEarlier)
        {
            var moved = ofContexts.narrow(1, 0, rest) + ofEarlier.narrow(1, 1, rest);
            ofContexts = cat([moved, ofContexts.narrow(1, rest, 1)], 1);
        }
        var ofInput = Scan(ofContexts.flip(1), decay, zeros_like(before)).flip(1); // δ, (B, T, d)
        var first = ofInput.select(1, 0);
        var ofDecay =
            (first * before).sum([0L]) + (ofInput.narrow(1, 1, rest) * contexts.narrow(1, 0, rest)).sum([0L, 1L]);
        var ofBefore = first * decay;
        return [ofInput, ofDecay, gradients[1] is { } given ? ofBefore + given.select(1, 0) : ofBefore];
    }

    private static Tensor Scan(Tensor x, Tensor decay, Tensor before)
    {
        using var scope = NewDisposeScope();
        long batch = x.shape[0],
            tokens = x.shape[1],
            width = x.shape[2],
            size = Math.Min(Chunk, tokens),
            chunks = (tokens + size - 1) / size;
        var contexts = zeros([batch, chunks, size, width], dtype: x.dtype, device: x.device);
        var flat = contexts.view(batch, chunks * size, width).narrow(1, 0, tokens);
        flat.copy_(x);
        var places = contexts.unbind(2); // C × (B, n, d)
        if (chunks == 1)
            places[0].add_((before * decay).unsqueeze(1));
        for (int i = 1; i < places.Length; i++)
            places[i].addcmul_(places[i - 1], decay, 1);
        if (chunks > 1)
        {
            // C after each chunk but the last
            var ends = Scan(places[^1].narrow(1, 0, chunks - 1), decay.pow(size), before);
            var starts = cat([before.unsqueeze(1), ends], 1).unsqueeze(2); // (B, n, 1, d)
            var exponents = arange(1, size + 1, dtype: x.dtype, device: x.device).unsqueeze(-1);
            contexts.addcmul_(starts, decay.pow(exponents), 1); // λ^{i+1}, (C, d)
        }
        return flat.contiguous().MoveToOuterDisposeScope();
    }
}
