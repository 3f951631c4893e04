using System.Numerics;
using static TorchSharp.torch;

namespace EmtTorch.Kernels;

/// <summary>
/// The arguments of a call of the kernel: sizes, and the addresses of tensors, each contiguous, with the shapes of
/// `FastWeights.Scan` (Memory).
/// </summary>
internal unsafe struct FastWeightCall
{
    /// <summary>B, the number of heads, T, d_k, d_v, and C, the number of tokens in a chunk.</summary>
    public int Batch,
        Heads,
        Tokens,
        KeySize,
        ValueSize,
        Size;

    /// <summary>The number of chunks from one kept state to the next.</summary>
    public int Stride;
    public bool Delta;
    public void* Q,
        K,
        V,
        Strength,
        Decay;

    /// <summary>Forward: F_0, read; r and F_T, written.</summary>
    public void* State,
        Read,
        After;

    /// <summary>
    /// The states before chunks 0, Stride, 2 Stride, … (B, heads, n, d_k, d_v): written by forward, read by backward.
    /// </summary>
    public void* Kept;

    /// <summary>Backward: the gradients in r and F_T, read.</summary>
    public void* OfRead,
        OfAfter;

    /// <summary>
    /// Backward: the gradients, written. γ's is for each head of each sequence (B, heads), in float64, and null if it
    /// is not wanted.
    /// </summary>
    public void* OfQ,
        OfK,
        OfV,
        OfStrength,
        OfState;
    public double* OfDecay;

    public readonly int Chunks => (Tokens + Size - 1) / Size;
    public readonly int Parts => (Chunks + Stride - 1) / Stride;
}

/// <summary>r, F_T, and the states that the gradients need.</summary>
internal readonly record struct FastWeightResult(Tensor Read, Tensor After, Tensor Kept);

/// <summary>
/// Computes `FastWeightScan` (Memory) on the CPU. Each head of each sequence is an item, which a thread takes through
/// all chunks (<see cref="FastWeightHead{S,V,T}"/>). Items are independent, and sums over items are in their order, so
/// that the number of threads changes no bit.
/// </summary>
internal static unsafe class FastWeightKernel
{
    // The most tokens in a chunk. With more, each token takes more operations; with fewer, products become small. With
    // 16 or 64 tokens, heads of 16 and 64 columns take up to a third longer.
    private const long MostTokens = 32;

    // The largest d_k and d_v; with more a thread's scratch memory would take hundreds of MB.
    private const long MostColumns = 1024;

    [ThreadStatic]
    private static byte[]? s_scratch;

    /// <summary>Whether the kernel can compute a scan of q, k, v, β, γ and F_0.</summary>
    public static bool Fits(IReadOnlyList<Tensor> arguments, long chunk)
    {
        long tokens = arguments[0].shape[2],
            keys = arguments[0].shape[3],
            values = arguments[2].shape[3];
        var (size, stride) = Sizes(tokens, keys, values, chunk);
        long kept = arguments[5].numel() * ((tokens + size * stride - 1) / (size * stride));
        return Math.Max(keys, values) <= MostColumns
            && kept is > 0 and <= int.MaxValue / 8
            && FusedTensors.Served([.. arguments]);
    }

    /// <summary>
    /// Computes r, F_T and the states that <see cref="Gradients"/> needs. <see cref="Fits"/> must hold.
    /// </summary>
    public static FastWeightResult Forward(IReadOnlyList<Tensor> arguments, bool delta, long chunk)
    {
        using var scope = NewDisposeScope();
        Tensor[] given = [.. arguments.Select(t => t.contiguous())];
        var call = Call(given, delta, chunk);
        Tensor v = given[2],
            state = given[5];
        Tensor read = empty_like(v),
            after = empty_like(state),
            kept = empty([call.Batch, call.Heads, call.Parts, call.KeySize, call.ValueSize], dtype: v.dtype);
        call.State = FusedTensors.Memory(state);
        call.Read = FusedTensors.Memory(read);
        call.After = FusedTensors.Memory(after);
        call.Kept = FusedTensors.Memory(kept);
        Run(v.dtype, new(call, back: false));
        GC.KeepAlive(given);
        return new(read.MoveToOuterDisposeScope(), after.MoveToOuterDisposeScope(), kept.MoveToOuterDisposeScope());
    }

    /// <summary>Computes the gradients in q, k, v, β, γ (null if not wanted) and F_0.</summary>
    /// <param name="saved">q, k, v, β, γ and the kept states.</param>
    /// <param name="ofRead">The gradient in r.</param>
    /// <param name="ofAfter">The gradient in F_T.</param>
    /// <param name="delta">As in <see cref="Forward"/>.</param>
    /// <param name="chunk">As in <see cref="Forward"/>.</param>
    /// <param name="wantsDecay">Whether γ's gradient is wanted.</param>
    public static Tensor[] Gradients(
        IEnumerable<Tensor> saved,
        Tensor ofRead,
        Tensor ofAfter,
        bool delta,
        long chunk,
        bool wantsDecay
    )
    {
        using var scope = NewDisposeScope();
        Tensor[] given = [.. saved.Append(ofRead).Append(ofAfter).Select(t => t.contiguous())];
        var call = Call(given, delta, chunk);
        call.Kept = FusedTensors.Memory(given[5]);
        call.OfRead = FusedTensors.Memory(given[6]);
        call.OfAfter = FusedTensors.Memory(given[7]);
        Tensor q = empty_like(given[0]),
            k = empty_like(given[1]),
            v = empty_like(given[2]),
            strength = empty_like(given[3]),
            state = empty_like(given[7]);
        call.OfQ = FusedTensors.Memory(q);
        call.OfK = FusedTensors.Memory(k);
        call.OfV = FusedTensors.Memory(v);
        call.OfStrength = FusedTensors.Memory(strength);
        call.OfState = FusedTensors.Memory(state);
        double[] each = new double[call.Batch * call.Heads],
            decays = new double[call.Heads];
        fixed (double* memory = each)
        {
            call.OfDecay = wantsDecay ? memory : null;
            Run(q.dtype, new(call, back: true));
        }
        for (int i = 0; i < each.Length; i++)
            decays[i % call.Heads] += each[i];
        GC.KeepAlive(given);
        Tensor?[] found = [q, k, v, strength, wantsDecay ? tensor(decays, dtype: q.dtype) : null, state];
        return [.. found.Select(t => t?.MoveToOuterDisposeScope()!)];
    }

    /// <summary>
    /// The number of tokens in a chunk, and of chunks from one kept state to the next, so that kept states take no more
    /// memory than keys and values even if chunks are short.
    /// </summary>
    private static (long Size, long Stride) Sizes(long tokens, long keys, long values, long chunk)
    {
        long size = Math.Min(Math.Min(chunk, MostTokens), tokens),
            numbers = Math.Max(1, (keys + values) * size);
        return (size, Math.Max(1, (keys * values + numbers - 1) / numbers));
    }

    private static FastWeightCall Call(Tensor[] tensors, bool delta, long chunk)
    {
        long[] shape = tensors[0].shape;
        long values = tensors[2].shape[3];
        var (size, stride) = Sizes(shape[2], shape[3], values, chunk);
        return new()
        {
            Batch = (int)shape[0],
            Heads = (int)shape[1],
            Tokens = (int)shape[2],
            KeySize = (int)shape[3],
            ValueSize = (int)values,
            Size = (int)size,
            Stride = (int)stride,
            Delta = delta,
            Q = FusedTensors.Memory(tensors[0]),
            K = FusedTensors.Memory(tensors[1]),
            V = FusedTensors.Memory(tensors[2]),
            Strength = FusedTensors.Memory(tensors[3]),
            Decay = FusedTensors.Memory(tensors[4]),
        };
    }

    private static void Run(ScalarType dtype, Work work) => Simd.Run(Simd.Path, dtype, ref work);

    private readonly struct Work(FastWeightCall call, bool back) : ISimdWork
    {
        // If all columns fit a tile of the narrower vectors, half of a wide tile would be empty.
        public void Run<S, V, N, W, T>()
            where S : struct, ISimd<V, T>
            where V : struct
            where N : struct, ISimd<W, T>
            where W : struct
            where T : unmanaged, IBinaryFloatingPointIeee754<T>
        {
            if (Math.Max(call.KeySize, call.ValueSize) > Tiles<N, W, T>.Width)
                RunHeads<S, V, T>(call, back);
            else
                RunHeads<N, W, T>(call, back);
        }
    }

    private static void RunHeads<S, V, T>(FastWeightCall call, bool back)
        where S : struct, ISimd<V, T>
        where V : struct
        where T : unmanaged, IBinaryFloatingPointIeee754<T> =>
        SliceWorkers.Run(
            call.Batch * call.Heads,
            get_num_threads(),
            (_, item) =>
            {
                var head = new FastWeightHead<S, V, T>(call, item, back);
                if (back)
                    head.Backward();
                else
                    head.Forward();
            }
        );

    /// <summary>
    /// This thread's scratch memory. It is kept from call to call: fresh pages would take longer than the arithmetic of
    /// a short sequence.
    /// </summary>
    public static byte* Scratch(nint bytes)
    {
        if (s_scratch is null || s_scratch.Length < bytes + 64)
            s_scratch = GC.AllocateUninitializedArray<byte>(checked((int)bytes + 64), pinned: true);
        fixed (byte* memory = s_scratch)
            return (byte*)((nint)(memory + 63) & ~63);
    }
}
