using System.Numerics;
using static TorchSharp.torch;

namespace EmtTorch.Kernels;

/// <summary>The arguments of one call of the attention kernel: sizes, and where each contiguous tensor's numbers
/// are.</summary>
internal unsafe struct AttentionCall
{
    /// <summary>B, heads, T, P (tokens before these), d_h.</summary>
    public int Batch,
        Heads,
        Tokens,
        Past,
        Size;

    /// <summary>How many keys a query sees: its own and those right before it.</summary>
    public int Window;

    /// <summary>How many of the last keys and values are given back.</summary>
    public int Kept;

    /// <summary>Read: queries, keys and values (B, T, 3, heads, d_h), and the rotations (T, d_h/2).</summary>
    public void* Projected,
        Cos,
        Sin;

    /// <summary>Read: rotated keys and values of the tokens before (B, heads, P, d_h).</summary>
    public void* PastKeys,
        PastValues;

    /// <summary>o (B, T, heads, d_h) and ln Σ exp of each query's scores (B, heads, T): written, and read by
    /// backward.</summary>
    public void* Attended,
        LogSums;

    /// <summary>Written by forward: the last rotated keys and values (B, heads, Kept, d_h).</summary>
    public void* Keys,
        Values;

    /// <summary>Read by backward: gradients in o and in the kept keys and values, or null for zeros.</summary>
    public void* OfAttended,
        OfKeys,
        OfValues;

    /// <summary>Written by backward: gradients, in the shapes of what they belong to.</summary>
    public void* OfProjected,
        OfPastKeys,
        OfPastValues;
}

/// <summary>
/// Causal attention within a window on the CPU, rotary positions included: one head of one document is an item that one
/// thread takes from its queries to its output, <see cref="AttentionHead{S,V,N,W,T}"/>. No item adds to what another
/// writes, so the number of threads changes no bit.
/// </summary>
internal static unsafe class AttentionKernel
{
    // The largest d_h. Beyond it a thread's scratch memory would be hundreds of MB.
    private const long MostColumns = 1024;

    // Backward's scratch memory has at most so many rows of numbers for a token, each padded to a tile's width.
    private const long ScratchNumbers = 10,
        MostWidth = 32;

    /// <summary>Whether the kernel serves these projections and these past keys.</summary>
    public static bool Fits(Tensor projected, Tensor pastKeys, long heads)
    {
        long size = projected.shape[2] / 3 / heads;
        return size is > 0 and <= MostColumns
            && size % 2 == 0
            && projected.numel() > 0
            && (pastKeys.shape[2] + projected.shape[1]) * Math.Max(size, MostWidth) * ScratchNumbers <= int.MaxValue / 8
            && FusedTensors.Served(projected, pastKeys);
    }

    /// <summary>Runs all heads of all documents.</summary>
    /// <param name="dtype">The tensors' type.</param>
    /// <param name="call">The arguments.</param>
    /// <param name="back">Whether to compute gradients, from what forward left.</param>
    public static void Run(ScalarType dtype, in AttentionCall call, bool back)
    {
        var work = new Work(call, back);
        Simd.Run(Simd.Path, dtype, ref work);
    }

    private readonly struct Work(AttentionCall call, bool back) : ISimdWork
    {
        public void Run<S, V, N, W, T>()
            where S : struct, ISimd<V, T>
            where V : struct
            where N : struct, ISimd<W, T>
            where W : struct
            where T : unmanaged, IBinaryFloatingPointIeee754<T>
        {
            var (c, backwards) = (call, back);
            SliceWorkers.Run(
                c.Batch * c.Heads,
                item =>
                {
                    var head = new AttentionHead<S, V, N, W, T>(c, item, backwards);
                    if (backwards)
                        head.Backward();
                    else
                        head.Forward();
                }
            );
        }
    }
}
