using System.Numerics;
using System.Runtime.CompilerServices;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Analysis;

/// <summary>Linear algebra beyond `torch.linalg`, and tensors as plain values.</summary>
internal static class Matrices
{
    /// <summary>A matrix as an array of rows.</summary>
    public static double[][] Rows(Tensor matrix)
    {
        using var scope = NewDisposeScope();
        int columns = (int)matrix.shape[1];
        var flat = Values(matrix);
        return [.. Enumerable.Range(0, (int)matrix.shape[0]).Select(i => flat[(i * columns)..((i + 1) * columns)])];
    }

    /// <summary>All numbers of a tensor in row-major order.</summary>
    public static double[] Values(Tensor tensor)
    {
        using var scope = NewDisposeScope();
        return tensor.detach().to_type(ScalarType.Float64).cpu().contiguous().data<double>().ToArray();
    }

    /// <summary>All numbers of a complex tensor in row-major order.</summary>
    public static Complex[] ComplexValues(Tensor tensor)
    {
        using var scope = NewDisposeScope();
        var complex = tensor.detach().cpu();
        double[] real = Values(complex.real),
            imaginary = Values(complex.imag);
        return [.. real.Zip(imaginary, (a, b) => new Complex(a, b))];
    }

    /// <summary>Whether every number is finite.</summary>
    public static bool IsFinite(Tensor tensor)
    {
        using var scope = NewDisposeScope();
        return tensor.isfinite().all().ToBoolean();
    }

    /// <exception cref="ArgumentException">A number is not finite.</exception>
    public static void RequireFinite(Tensor tensor, [CallerArgumentExpression(nameof(tensor))] string name = "")
    {
        if (!IsFinite(tensor))
            throw new ArgumentException("has numbers that are not finite", name);
    }

    /// <summary>The Frobenius norm.</summary>
    public static double Norm(Tensor tensor)
    {
        using var scope = NewDisposeScope();
        if (tensor.numel() == 0)
            return 0;
        // Divided by the largest number, since its square may overflow.
        double largest = tensor.abs().max().ToDouble();
        return largest == 0 || !double.IsFinite(largest)
            ? largest
            : largest * Math.Sqrt((tensor / largest).square().sum().ToDouble());
    }

    /// <summary>
    /// The ratio of the largest singular value to the smallest. It is infinite if there are fewer rows than columns.
    /// </summary>
    public static double Condition(Tensor matrix)
    {
        using var scope = NewDisposeScope();
        if (matrix.shape[1] == 0)
            return 1;
        if (matrix.shape[0] < matrix.shape[1])
            return double.PositiveInfinity;
        var values = Values(linalg.svdvals(matrix));
        // LAPACK returns rounding errors in place of 0.
        return values[^1] <= values[0] * 1e-15 ? double.PositiveInfinity : values[0] / values[^1];
    }

    /// <summary>An orthonormal basis of the columns' span.</summary>
    /// <param name="matrix">(m, n).</param>
    /// <param name="rank">The dimension of the span.</param>
    /// <returns>(m, rank).</returns>
    public static Tensor Range(Tensor matrix, long rank)
    {
        using var scope = NewDisposeScope();
        return linalg.svd(matrix, fullMatrices: false).U.narrow(1, 0, rank).contiguous().MoveToOuterDisposeScope();
    }

    /// <summary>The principal directions of states, strongest first, and the sum of squares along each.</summary>
    /// <param name="states">(N, H), float64. Subtract the mean first, unless the directions shall start at 0.</param>
    /// <returns>The directions (H, H), one per column, and their sums of squares (H).</returns>
    public static (Tensor Directions, double[] Squares) PrincipalComponents(Tensor states)
    {
        using var scope = NewDisposeScope();
        var (values, vectors) = linalg.eigh(matmul(states.t(), states)); // ascending
        return (vectors.flip(1).contiguous().MoveToOuterDisposeScope(), Values(values.flip(0)));
    }
}
