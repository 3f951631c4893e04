using EmtTorch.Kernels;
using EmtTorch.Settings;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Memory;

/// <summary>
/// The reads of all tokens and the last fast weights as one function of autograd: by <see cref="FastWeightKernel"/>
/// where it serves, otherwise by Torch's operators. The operators go through the sequence in parts of several chunks,
/// so that the intermediates of a part stay small. Both ways save only the state before each part, and compute each
/// part again for the gradients. The operators also save the powers of γ.
/// </summary>
/// <remarks>Arguments: q, k, v, β, γ, F_0 as for <see cref="FastWeights.Scan"/>, whether by delta as a bool, tokens in
/// a chunk as a long. Results: r, F_T. T ≥ 1.</remarks>
internal sealed class FastWeightScan : TorchFunction<FastWeightScan>
{
    // The number of arguments that are saved, before the powers of γ and the states.
    private const int Arguments = 5;

    protected override List<Tensor> Forward(ISavedForBackward ctx, object[] arguments)
    {
        Tensor q = (Tensor)arguments[0],
            state = (Tensor)arguments[5];
        var (delta, chunk) = ((bool)arguments[6], (long)arguments[7]);
        ctx.save_data("delta", delta);
        ctx.save_data("chunk", chunk);
        var saved = arguments[..Arguments].Cast<Tensor>().ToList();
        Tensor[] tensors = [.. saved, state];
        bool byKernel = FastWeightKernel.Fits(tensors, chunk);
        ctx.save_data("by kernel", byKernel);
        if (byKernel)
        {
            var found = FastWeightKernel.Forward(tensors, delta, chunk);
            ctx.save_for_backward([.. saved, found.Kept]);
            return [found.Read, found.After];
        }
        var cut = new Cut(q, chunk);
        var decays = new FastWeightDecays[cut.Lengths.Length];
        for (int i = 0; i < decays.Length; i++)
        {
            decays[i] = new(saved[4], cut.Lengths[i], cut.Size, delta);
            saved.AddRange(decays[i].Saved);
        }
        var reads = new Tensor[cut.Parts];
        for (int part = 0; part < reads.Length; part++)
        {
            saved.Add(state);
            using var scope = NewDisposeScope();
            var chunks = cut.Chunks(part, saved, state, decays, delta);
            reads[part] = chunks.Read().MoveToOuterDisposeScope();
            state = chunks.After.MoveToOuterDisposeScope();
        }
        ctx.save_for_backward(saved);
        return [Joined(reads), state];
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
        var cut = new Cut(saved[0], chunk);
        int powers = FastWeightDecays.SavedCount(delta);
        var decays = cut
            .Lengths.Select((_, i) => new FastWeightDecays(saved[4], saved.GetRange(Arguments + i * powers, powers)))
            .ToArray();
        var states = saved[(Arguments + decays.Length * powers)..];
        var ofDecay = ofDecayWanted ? zeros_like(saved[4]) : null;
        Tensor[] ofQ = new Tensor[cut.Parts],
            ofK = new Tensor[cut.Parts],
            ofV = new Tensor[cut.Parts],
            ofStrength = new Tensor[cut.Parts];
        for (int i = cut.Parts - 1; i >= 0; i--)
        {
            using var scope = NewDisposeScope();
            var found = cut.Chunks(i, saved, states[i], decays, delta).Gradients(cut.In(ofRead, i), ofState, ofDecay);
            ofQ[i] = found.Q.MoveToOuterDisposeScope();
            ofK[i] = found.K.MoveToOuterDisposeScope();
            ofV[i] = found.V.MoveToOuterDisposeScope();
            ofStrength[i] = found.Strength.MoveToOuterDisposeScope();
            ofState = found.State.MoveToOuterDisposeScope();
        }
        return [Joined(ofQ), Joined(ofK), Joined(ofV), Joined(ofStrength), ofDecay, ofState, null, null];
    }

    private static Tensor Joined(Tensor[] parts)
    {
        if (parts.Length > 1)
            return cat(parts, 2);
        return parts[0].is_contiguous() ? parts[0] : parts[0].contiguous();
    }

    /// <summary>A sequence cut into parts of as many chunks each; the last part takes the rest.</summary>
    private sealed class Cut
    {
        private readonly long _tokens,
            _length;

        public Cut(Tensor q, long chunk)
        {
            long[] shape = q.shape;
            (_tokens, Size) = (shape[2], Math.Min(chunk, shape[2]));
            long most = MostNumbers(q),
                heads = Math.Max(1, shape[1]),
                sequences = heads * Math.Max(1, shape[0]),
                chunks = (_tokens + Size - 1) / Size;
            // (B, heads, n, C, C), and (heads, n, n) for the powers of γ between chunks.
            long fit = Math.Max(1, Math.Min(most / (Size * Size * sequences), (long)Math.Sqrt(most / heads)));
            long parts = (chunks + fit - 1) / fit;
            _length = (chunks + parts - 1) / parts * Size;
            Parts = (int)((_tokens + _length - 1) / _length);
            long last = _tokens - (Parts - 1) * _length;
            Lengths = Parts == 1 || last == _length ? [last] : [_length, last];
        }

        /// <summary>The number of tokens in a chunk, and of parts.</summary>
        public long Size { get; }
        public int Parts { get; }

        /// <summary>The number of tokens in a part: in each; or in all but the last, and in the last.</summary>
        public long[] Lengths { get; }

        /// <summary>Tokens (B, h, T, …) of a part.</summary>
        public Tensor In(Tensor tokens, int part) =>
            Parts == 1 ? tokens : tokens.narrow(2, part * _length, Length(part));

        public FastWeightChunks Chunks(
            int part,
            List<Tensor> arguments,
            Tensor state,
            FastWeightDecays[] decays,
            bool delta
        ) =>
            new(
                In(arguments[0], part),
                In(arguments[1], part),
                In(arguments[2], part),
                In(arguments[3], part),
                state,
                part < Parts - 1 ? decays[0] : decays[^1],
                delta
            );

        private long Length(int part) => part < Parts - 1 ? Lengths[0] : Lengths[^1];

        // How many numbers an intermediate of a part has, unless a single chunk has more. On the CPU 1 MB in float32:
        // smaller parts cost calls, and larger ones fresh pages, which at 4 MB took a third of the time. On a GPU calls
        // are what costs: 64 MB.
        private static long MostNumbers(Tensor tensor) => tensor.device_type == DeviceType.CPU ? 1 << 18 : 1 << 24;
    }
}
