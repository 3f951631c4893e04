using EmtTorch.Kernels;
using EmtTorch.Settings;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Memory;

/// <summary>
/// The reads of all tokens and the last fast weights as one function of autograd: by <see cref="FastWeightKernel"/>
/// where it serves, otherwise by Torch's operators. The operators go through the sequence in parts of several chunks,
/// so that the intermediates of a part stay small. Both ways save only the state before each part, and compute each
/// part again for the gradients.
/// </summary>
/// <remarks>Arguments: q, k, v, β, γ, F_0 as for <see cref="FastWeights.Scan"/>, whether by delta as a bool, tokens in
/// a chunk as a long. Results: r, F_T. T ≥ 1.</remarks>
internal sealed class FastWeightScan : TorchFunction<FastWeightScan>
{
    // How many numbers an intermediate of a part has, (B, heads, n, C, C), unless a single chunk has more. On the CPU
    // 1 MB in float32: smaller parts cost calls, and larger ones fresh pages, which at 4 MB took a third of the time.
    // On a GPU calls are what costs: 64 MB.
    private static long PartSize(Tensor tensor) => tensor.device_type == DeviceType.CPU ? 1 << 18 : 1 << 24;

    protected override List<Tensor> Forward(ISavedForBackward ctx, object[] arguments)
    {
        Tensor q = (Tensor)arguments[0],
            v = (Tensor)arguments[2],
            state = (Tensor)arguments[5];
        var (delta, chunk) = ((bool)arguments[6], (long)arguments[7]);
        ctx.save_data("delta", delta);
        ctx.save_data("chunk", chunk);
        var saved = arguments[..5].Cast<Tensor>().ToList();
        Tensor[] tensors = [.. saved, state];
        bool byKernel = FastWeightKernel.Fits(tensors, chunk);
        ctx.save_data("by kernel", byKernel);
        if (byKernel)
        {
            var found = FastWeightKernel.Forward(tensors, delta, chunk);
            ctx.save_for_backward([.. saved, found.Kept]);
            return [found.Read, found.After];
        }
        var read = empty(v.shape, dtype: v.dtype, device: v.device);
        foreach (var part in Parts(q, chunk))
        {
            saved.Add(state);
            using var scope = NewDisposeScope();
            var chunks = part.Of(saved, state, delta);
            part.In(read).copy_(chunks.Read());
            state = chunks.After.MoveToOuterDisposeScope();
        }
        ctx.save_for_backward(saved);
        return [read, state];
    }

    protected override List<Tensor?> Backward(
        autograd.AutogradContext ctx,
        List<Tensor> saved,
        IReadOnlyList<Tensor?> ofResults
    )
    {
        long[] q = saved[0].shape,
            v = saved[2].shape;
        var ofRead = OrZeros(ofResults[0], v, saved[2]);
        var ofState = OrZeros(ofResults[1], [q[0], q[1], q[3], v[3]], saved[2]);
        var (delta, chunk) = ((bool)ctx.get_data("delta"), (long)ctx.get_data("chunk"));
        bool ofDecayWanted = saved[4].requires_grad;
        if ((bool)ctx.get_data("by kernel"))
            return [.. FastWeightKernel.Gradients(saved, ofRead, ofState, delta, chunk, ofDecayWanted), null, null];
        var parts = Parts(saved[0], chunk);
        // Q, k, v, β
        var gradients = saved[..4].Select(t => empty(t.shape, dtype: t.dtype, device: t.device)).ToArray();
        var ofDecay = ofDecayWanted ? zeros_like(saved[4]) : null;
        for (int i = parts.Count - 1; i >= 0; i--)
        {
            using var scope = NewDisposeScope();
            var found = parts[i].Of(saved, saved[5 + i], delta).Gradients(parts[i].In(ofRead), ofState, ofDecay);
            Tensor[] ofPart = [found.Q, found.K, found.V, found.Strength];
            for (int j = 0; j < ofPart.Length; j++)
                parts[i].In(gradients[j]).copy_(ofPart[j]);
            ofState = found.State.MoveToOuterDisposeScope();
        }
        return [.. gradients, ofDecay, ofState, null, null];
    }

    /// <summary>Cuts the sequence into parts of whole chunks, and a last part with the remaining tokens.</summary>
    private static List<Part> Parts(Tensor queries, long chunk)
    {
        long[] shape = queries.shape;
        long tokens = shape[2],
            whole = tokens - tokens % chunk;
        long length = chunk * Math.Max(1, PartSize(queries) / Math.Max(1, chunk * chunk * shape[0] * shape[1]));
        var parts = new List<Part>();
        for (long start = 0; start < whole; start += length)
            parts.Add(new(start, Math.Min(length, whole - start), chunk));
        if (tokens > whole)
            parts.Add(new(whole, tokens - whole, tokens - whole));
        return parts;
    }

    private readonly record struct Part(long Start, long Length, long Chunk)
    {
        public Tensor In(Tensor tokens) => tokens.narrow(2, Start, Length);

        public FastWeightChunks Of(List<Tensor> arguments, Tensor state, bool delta) =>
            new(
                In(arguments[0]),
                In(arguments[1]),
                In(arguments[2]),
                In(arguments[3]),
                arguments[4],
                state,
                Chunk,
                delta
            );
    }
}
