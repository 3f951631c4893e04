using System.Numerics;
using static TorchSharp.torch;

namespace EmtTorch.Kernels;

/// <summary>Where each token's numbers are: the distances from one sequence, head and token to the next.</summary>
internal readonly unsafe struct TokenRows(void* at, nint batch, nint head, nint row)
{
    /// <summary>The distance from a token to the next.</summary>
    public nint Row => row;

    /// <summary>The numbers of the first token of a head.</summary>
    public T* First<T>(nint sequence, nint itsHead)
        where T : unmanaged => (T*)at + sequence * batch + itsHead * head;

    /// <summary>A contiguous tensor (B, heads, T, columns).</summary>
    public static TokenRows Of(Tensor tensor)
    {
        long[] shape = tensor.shape;
        return new(
            FusedTensors.Memory(tensor),
            (nint)(shape[1] * shape[2] * shape[3]),
            (nint)(shape[2] * shape[3]),
            (nint)shape[3]
        );
    }

    /// <summary>One of the parts of a contiguous tensor (B, T, parts · heads · columns).</summary>
    public static TokenRows Of(Tensor tensor, long heads, long parts, long part)
    {
        long[] shape = tensor.shape;
        long size = shape[2] / parts;
        long bytes = part * size * tensor.ElementSize;
        return new(
            (byte*)FusedTensors.Memory(tensor) + bytes,
            (nint)(shape[1] * shape[2]),
            (nint)(size / heads),
            (nint)shape[2]
        );
    }
}

/// <summary>
/// The arguments of a call of the kernel: sizes, and the addresses of tensors with the shapes of `FastWeights.Scan`
/// (Memory), contiguous where nothing else is said.
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

    /// <summary>Whether q and k are brought to length 1 first, x / max(|x|, 10⁻¹²) as by Torch's normalize.</summary>
    public bool Unit;
    public TokenRows Q,
        K,
        V;
    public void* Strength,
        Decay;

    /// <summary>Forward: F_0, read; r and F_T, written.</summary>
    public void* State,
        After;
    public TokenRows Read;

    /// <summary>
    /// The states before chunks 0, Stride, 2 Stride, … (B, heads, n, d_k, d_v): written by forward, read by backward.
    /// </summary>
    public void* Kept;

    /// <summary>Backward: the gradients in r and F_T, read.</summary>
    public TokenRows OfRead;
    public void* OfAfter;

    /// <summary>
    /// Backward: the gradients, written. γ's is for each head of each sequence (B, heads), in float64, and null if it
    /// is not wanted.
    /// </summary>
    public TokenRows OfQ,
        OfK,
        OfV;
    public void* OfStrength,
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

    /// <summary>Whether the kernel can compute a scan of q, k and v (or [q, k, v]), β, γ and F_0.</summary>
    public static bool Fits(IReadOnlyList<Tensor> arguments, long chunk)
    {
        long[] state = arguments[^1].shape;
        long tokens = arguments[^3].shape[2],
            keys = state[2],
            values = state[3];
        var (size, stride) = Sizes(tokens, keys, values, chunk);
        long kept = arguments[^1].numel() * ((tokens + size * stride - 1) / (size * stride));
        return Math.Max(keys, values) <= MostColumns
            && kept is > 0 and <= int.MaxValue / 8
            && FusedTensors.Served([.. arguments]);
    }

    /// <summary>
    /// Computes r, F_T and the states that <see cref="Gradients"/> needs. <see cref="Fits"/> must hold.
    /// </summary>
    /// <param name="arguments">q, k, v, β, γ and F_0, as for `FastWeights.Scan` (Memory). In place of q, k and v also
    /// all three side by side, as they are projected, [q, k, v] (B, T, 3d); then q and k are brought to length
    /// 1.</param>
    /// <param name="delta">Whether by the delta rule.</param>
    /// <param name="chunk">The most tokens in a chunk.</param>
    /// <returns>r is (B, heads, T, d_v), or (B, T, d).</returns>
    public static FastWeightResult Forward(IReadOnlyList<Tensor> arguments, bool delta, long chunk)
    {
        using var scope = NewDisposeScope();
        Tensor[] given = [.. arguments.Select(t => t.contiguous())];
        var call = Call(given, tokens: given.Length - 3, delta, chunk);
        Tensor state = given[^1],
            read = call.Unit
                ? empty([call.Batch, call.Tokens, call.Heads * call.ValueSize], dtype: state.dtype)
                : empty_like(given[2]),
            after = empty_like(state),
            kept = empty([call.Batch, call.Heads, call.Parts, call.KeySize, call.ValueSize], dtype: state.dtype);
        call.Read = Rows([read], call.Heads, parts: 1)[0];
        call.State = FusedTensors.Memory(state);
        call.After = FusedTensors.Memory(after);
        call.Kept = FusedTensors.Memory(kept);
        Run(state.dtype, new(call, back: false));
        GC.KeepAlive(given);
        return new(read.MoveToOuterDisposeScope(), after.MoveToOuterDisposeScope(), kept.MoveToOuterDisposeScope());
    }

    /// <summary>Computes the gradients in q, k and v (or [q, k, v]), β, γ (null if not wanted) and F_0.</summary>
    /// <param name="saved">q, k, v (or [q, k, v]), β, γ and the kept states.</param>
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
        int tokens = given.Length - 5;
        var call = Call(given, tokens, delta, chunk);
        Tensor[] ofTokens = [.. given[..tokens].Select(t => empty_like(t))];
        Tensor ofStrength = empty_like(given[tokens]),
            ofState = empty_like(given[^1]);
        var rows = Rows(ofTokens, call.Heads, parts: 3);
        (call.OfQ, call.OfK, call.OfV) = (rows[0], rows[1], rows[2]);
        call.OfRead = Rows([given[^2]], call.Heads, parts: 1)[0];
        call.Kept = FusedTensors.Memory(given[^3]);
        call.OfAfter = FusedTensors.Memory(given[^1]);
        call.OfStrength = FusedTensors.Memory(ofStrength);
        call.OfState = FusedTensors.Memory(ofState);
        double[] each = new double[call.Batch * call.Heads],
            decays = new double[call.Heads];
        fixed (double* memory = each)
        {
            call.OfDecay = wantsDecay ? memory : null;
            Run(ofState.dtype, new(call, back: true));
        }
        for (int i = 0; i < each.Length; i++)
            decays[i % call.Heads] += each[i];
        GC.KeepAlive(given);
        Tensor?[] found = [.. ofTokens, ofStrength, wantsDecay ? tensor(decays, dtype: ofState.dtype) : null, ofState];
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

    private static FastWeightCall Call(Tensor[] given, int tokens, bool delta, long chunk)
    {
        bool projected = tokens == 1;
        Tensor strength = given[tokens],
            decay = given[tokens + 1];
        long[] shape = strength.shape; // (B, heads, T)
        long keys = projected ? given[0].shape[2] / 3 / shape[1] : given[0].shape[3],
            values = projected ? keys : given[2].shape[3];
        var (size, stride) = Sizes(shape[2], keys, values, chunk);
        var rows = Rows(given[..tokens], shape[1], parts: 3);
        return new()
        {
            Batch = (int)shape[0],
            Heads = (int)shape[1],
            Tokens = (int)shape[2],
            KeySize = (int)keys,
            ValueSize = (int)values,
            Size = (int)size,
            Stride = (int)stride,
            Delta = delta,
            Unit = projected,
            Q = rows[0],
            K = rows[1],
            V = rows[2],
            Strength = FusedTensors.Memory(strength),
            Decay = FusedTensors.Memory(decay),
        };
    }

    /// <summary>The rows of tensors (B, heads, T, columns), or of the parts of one (B, T, parts · d).</summary>
    private static TokenRows[] Rows(Tensor[] tensors, long heads, int parts) =>
        tensors[0].dim() == 4
            ? [.. tensors.Select(t => TokenRows.Of(t))]
            : [.. Enumerable.Range(0, parts).Select(part => TokenRows.Of(tensors[0], heads, parts, part))];

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
            item =>
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
