using System.Numerics;
using static TorchSharp.torch;

namespace EmtTorch.Kernels;

/// <summary>The arguments of one call: N rows of I numbers become N rows of O numbers.</summary>
internal unsafe struct LinearCall
{
    /// <summary>N, I, O.</summary>
    public int Rows,
        Inputs,
        Outputs;

    /// <summary>Read: x (N, I), W (O, I), and b (O) or null. By forward also r (N, O), or null: then b is
    /// null.</summary>
    public void* Input,
        Weights,
        Bias,
        Onto;

    /// <summary>y (N, O): written by forward.</summary>
    public void* Output;

    /// <summary>The gradient in y (N, O): read by backward.</summary>
    public void* OfOutput;

    /// <summary>Written by backward: the gradients in x, W and b; null where not wanted.</summary>
    public void* OfInput,
        OfWeights,
        OfBias;
}

/// <summary>
/// y = x Wᵀ + b, or r + x Wᵀ, on the CPU, and back dx = dy W, dW = dyᵀ x, db = Σ dy, in one pass over the rows. An
/// item is a range of rows; the items' parts of dW and db are added in their order, so that the number of threads
/// changes no bit.
/// </summary>
/// <remarks>
/// libtorch's library for matrices (MKL) copies both factors before it multiplies, and uses vectors of 256 bits on
/// processors that are not Intel's. With W as small as those of a block, that is half of the time.
/// </remarks>
internal static unsafe class LinearKernel
{
    private const int RowsOfItem = 2048;

    // The most numbers in all items' parts of dW.
    private const long MostOfParts = 1 << 24;

    // With fewer rows or columns most of a tile would be empty, or a call would take longer than its arithmetic.
    private const int FewestRows = 64,
        FewestOutputs = 16;

    // The largest I and O: beyond it a block of rows leaves the second cache, and MKL is faster.
    private const int MostColumns = 4096;

    /// <summary>Whether the kernel serves x (…, I), W (O, I) and b.</summary>
    public static bool Fits(Tensor x, Tensor weights, Tensor? bias)
    {
        long inputs = weights.shape[1],
            outputs = weights.shape[0];
        return inputs is > 0 and <= MostColumns
            && outputs is >= FewestOutputs and <= MostColumns
            && x.numel() / inputs is >= FewestRows and <= int.MaxValue
            && (bias is null ? FusedTensors.Served(x, weights) : FusedTensors.Served(x, weights, bias));
    }

    // By sizes alone. Each item has a part as large as W.
    private static int Items(in LinearCall call)
    {
        long most = Math.Max(1, MostOfParts / ((long)call.Inputs * call.Outputs));
        return (int)Math.Min(most, (call.Rows + RowsOfItem - 1) / RowsOfItem);
    }

    /// <summary>Computes y, or the gradients.</summary>
    public static void Run(ScalarType dtype, in LinearCall call, bool back)
    {
        var work = new Work(call, back);
        Simd.Run(Simd.Path, dtype, ref work);
    }

    private readonly struct Work(LinearCall call, bool back) : ISimdWork
    {
        public void Run<S, V, N, W, T>()
            where S : struct, ISimd<V, T>
            where V : struct
            where N : struct, ISimd<W, T>
            where W : struct
            where T : unmanaged, IBinaryFloatingPointIeee754<T>
        {
            var rows = new LinearRows<S, V, T>(call, Items(call), back);
            try
            {
                SliceWorkers.Run(
                    rows.Items,
                    item =>
                    {
                        if (rows.Back)
                            rows.Backward(item);
                        else
                            rows.Forward(item);
                    }
                );
                if (back)
                    rows.AddParts();
            }
            finally
            {
                rows.Free();
            }
        }
    }
}
