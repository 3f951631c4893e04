using System.Numerics;
using System.Runtime.Intrinsics;
using static TorchSharp.torch;

namespace EmtTorch.Kernels;

/// <summary>
/// What a call of the kernel is given: sizes, and where the tensors' numbers are, each contiguous, shapes as for
/// `FastWeights.Scan` (Memory).
/// </summary>
internal unsafe struct FastWeightCall
{
    /// <summary>B, heads, T, d_k, d_v, and C, the tokens in a chunk.</summary>
    public int Batch,
        Heads,
        Tokens,
        KeySize,
        ValueSize,
        Size;

    /// <summary>Chunks from one kept state to the next.</summary>
    public int Stride;
    public bool Delta;
    public void* Q,
        K,
        V,
        Strength,
        Decay;

    /// <summary>The way there: F_0, read; r and F_T, written.</summary>
    public void* State,
        Read,
        After;

    /// <summary>
    /// The states before chunks 0, Stride, 2 Stride … (B, heads, n, d_k, d_v): written on the way there, read on the
    /// way back.
    /// </summary>
    public void* Kept;

    /// <summary>The way back: gradients in r and F_T, read.</summary>
    public void* OfRead,
        OfAfter;

    /// <summary>
    /// Gradients, written; γ's for each head of each sequence (B, heads) in float64, and null where it is not wanted.
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

/// <summary>
/// `FastWeightScan` (Memory) on the CPU: each head of each sequence is an item that a thread takes through all chunks,
/// <see cref="FastWeightHead{S,V,T}"/>.
/// No item knows of another, and what is summed over them is summed in their order: the number of threads changes no
/// bit.
/// </summary>
internal static unsafe class FastWeightKernel
{
    // The most tokens in a chunk: with more, the operations for each grow, with fewer, products become small. At 4 × 16
    // and at 64 columns 16 and 64 take up to a third longer.
    private const long MostTokens = 32;

    // The largest d_k and d_v. Beyond them a thread's scratch memory would be hundreds of MB.
    private const long MostColumns = 1024;

    [ThreadStatic]
    private static byte[]? s_scratch;

    /// <summary>Whether the kernel serves q, k, v, β, γ and F_0.</summary>
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
    /// r, F_T and the states that <see cref="Gradients"/> asks for, where <see cref="Fits"/> says so.
    /// </summary>
    public static (Tensor Read, Tensor After, Tensor Kept) Forward(
        IReadOnlyList<Tensor> arguments,
        bool delta,
        long chunk
    )
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
        Run(v.dtype, call, back: false);
        GC.KeepAlive(given);
        return (read.MoveToOuterDisposeScope(), after.MoveToOuterDisposeScope(), kept.MoveToOuterDisposeScope());
    }

    /// <summary>Gradients in q, k, v, β, γ (where it is wanted) and F_0.</summary>
    /// <param name="saved">q, k, v, β, γ and the states kept.</param>
    /// <param name="ofRead">The gradient in r.</param>
    /// <param name="ofAfter">And in F_T.</param>
    /// <param name="delta">As on the way there.</param>
    /// <param name="chunk">As on the way there.</param>
    /// <param name="wantsDecay">Whether γ's is wanted.</param>
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
            Run(q.dtype, call, back: true);
        }
        for (int i = 0; i < each.Length; i++)
            decays[i % call.Heads] += each[i];
        GC.KeepAlive(given);
        Tensor?[] found = [q, k, v, strength, wantsDecay ? tensor(decays, dtype: q.dtype) : null, state];
        return [.. found.Select(t => t?.MoveToOuterDisposeScope()!)];
    }

    /// <summary>
    /// Tokens in a chunk, and chunks from one kept state to the next: the states take no more than keys and values,
    /// however short the chunks.
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

    // Where all columns fit the half of a wide tile, the narrower one wastes nothing.
    private static void Run(ScalarType dtype, in FastWeightCall call, bool back)
    {
        int columns = Math.Max(call.KeySize, call.ValueSize);
        switch (Simd.Path, dtype)
        {
            case (SimdPath.Avx512, ScalarType.Float32)
                when columns > Tiles<Simd256<float>, Vector256<float>, float>.Width:
                Run<Simd512<float>, Vector512<float>, float>(call, back);
                break;
            case (SimdPath.Avx512, ScalarType.Float64)
                when columns > Tiles<Simd256<double>, Vector256<double>, double>.Width:
                Run<Simd512<double>, Vector512<double>, double>(call, back);
                break;
            case (SimdPath.Portable, ScalarType.Float32):
                Run<Simd128<float>, Vector128<float>, float>(call, back);
                break;
            case (SimdPath.Portable, _):
                Run<Simd128<double>, Vector128<double>, double>(call, back);
                break;
            case (_, ScalarType.Float32):
                Run<Simd256<float>, Vector256<float>, float>(call, back);
                break;
            default:
                Run<Simd256<double>, Vector256<double>, double>(call, back);
                break;
        }
    }

    private static void Run<S, V, T>(FastWeightCall call, bool back)
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
    /// This thread's memory, kept from call to call: fresh pages would cost more than the arithmetic of a short
    /// sequence.
    /// </summary>
    public static byte* Scratch(nint bytes)
    {
        if (s_scratch is null || s_scratch.Length < bytes + 64)
            s_scratch = GC.AllocateUninitializedArray<byte>(checked((int)bytes + 64), pinned: true);
        fixed (byte* memory = s_scratch)
            return (byte*)((nint)(memory + 63) & ~63);
    }
}
