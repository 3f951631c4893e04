using EmtTorch.Kernels;
using static TorchSharp.torch;

namespace EmtTorch.Models;

/// <summary>
/// Causal attention with rotary positions within a window, as one function of autograd on the CPU
/// (<see cref="AttentionKernel"/>): softmax(QKᵀ/√d_h) V, where query t sees the keys t − W + 1 … t.
/// </summary>
/// <remarks>
/// Arguments: queries, keys and values side by side (B, T, 3d); cos and sin of the tokens' angles (T, d_h/2); rotated
/// keys and values of the tokens before (B, heads, P, d_h); heads, W and the number of keys to keep, as longs. Results:
/// o (B, T, d), and the last keys and values (B, heads, kept, d_h). T ≥ 1.
/// </remarks>
internal sealed unsafe class RotaryAttention : TorchFunction<RotaryAttention>
{
    protected override List<Tensor> Forward(ISavedForBackward ctx, object[] arguments)
    {
        Tensor[] given = [.. arguments[..5].Cast<Tensor>().Select(t => t.contiguous())];
        var (heads, window, kept) = ((long)arguments[5], (long)arguments[6], (long)arguments[7]);
        ctx.save_data("heads", heads);
        ctx.save_data("window", window);
        ctx.save_data("kept", kept);
        var call = Call(given, heads, window, kept);
        Tensor projected = given[0],
            attended = empty([call.Batch, call.Tokens, projected.shape[2] / 3], dtype: projected.dtype),
            logSums = empty([call.Batch, heads, call.Tokens], dtype: projected.dtype),
            keys = empty([call.Batch, heads, kept, call.Size], dtype: projected.dtype),
            values = empty_like(keys);
        call.Attended = FusedTensors.Memory(attended);
        call.LogSums = FusedTensors.Memory(logSums);
        call.Keys = FusedTensors.Memory(keys);
        call.Values = FusedTensors.Memory(values);
        AttentionKernel.Run(projected.dtype, call, back: false);
        GC.KeepAlive(given);
        ctx.save_for_backward([.. given, attended, logSums]);
        return [attended, keys, values];
    }

    protected override List<Tensor?> Backward(
        autograd.AutogradContext ctx,
        List<Tensor> saved,
        IReadOnlyList<Tensor?> gradients
    )
    {
        var call = Call(saved, (long)ctx.get_data("heads"), (long)ctx.get_data("window"), (long)ctx.get_data("kept"));
        Tensor? ofKeys = gradients[1]?.contiguous(),
            ofValues = gradients[2]?.contiguous();
        Tensor ofAttended = OrZeros(gradients[0], saved[5].shape, saved[5]).contiguous(),
            ofProjected = empty_like(saved[0]),
            ofPastKeys = empty_like(saved[3]),
            ofPastValues = empty_like(saved[4]);
        call.Attended = FusedTensors.Memory(saved[5]);
        call.LogSums = FusedTensors.Memory(saved[6]);
        call.OfAttended = FusedTensors.Memory(ofAttended);
        call.OfKeys = FusedTensors.Memory(ofKeys);
        call.OfValues = FusedTensors.Memory(ofValues);
        call.OfProjected = FusedTensors.Memory(ofProjected);
        call.OfPastKeys = FusedTensors.Memory(ofPastKeys);
        call.OfPastValues = FusedTensors.Memory(ofPastValues);
        AttentionKernel.Run(ofProjected.dtype, call, back: true);
        GC.KeepAlive((saved, ofAttended, ofKeys, ofValues));
        return [ofProjected, null, null, ofPastKeys, ofPastValues, null, null, null];
    }

    private static AttentionCall Call(IReadOnlyList<Tensor> given, long heads, long window, long kept)
    {
        long[] shape = given[0].shape;
        return new()
        {
            Batch = (int)shape[0],
            Heads = (int)heads,
            Tokens = (int)shape[1],
            Past = (int)given[3].shape[2],
            Size = (int)(shape[2] / 3 / heads),
            Window = (int)Math.Min(window, int.MaxValue),
            Kept = (int)kept,
            Projected = FusedTensors.Memory(given[0]),
            Cos = FusedTensors.Memory(given[1]),
            Sin = FusedTensors.Memory(given[2]),
            PastKeys = FusedTensors.Memory(given[3]),
            PastValues = FusedTensors.Memory(given[4]),
        };
    }
}
