using System.Runtime.InteropServices;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Analysis;

/// <summary>
/// The projector P on the persistent part of a linear map A: onto the invariant subspace of its eigenvalues |λ| &gt; r,
/// along that of |λ| &lt; r. A P = P A, P² = P.
/// </summary>
/// <remarks>
/// By the matrix sign function (Roberts 1980; Higham, Functions of Matrices, ch. 5): z → (z − r)/(z + r) maps the
/// outside of the circle to the right half plane, so P = (I + sign((A + rI)⁻¹(A − rI)))/2. Newton's iteration S ← (S +
/// S⁻¹)/2 gives the sign. Unlike a sum over eigenvectors it is exact for a defective A too: the operators of T2–T4 have
/// Jordan blocks at 0.
/// </remarks>
internal static class SpectralProjector
{
    private const int MostIterations = 100;

    /// <param name="matrix">A (n, n), float64.</param>
    /// <param name="radius">r.</param>
    /// <param name="name">The name of A in messages.</param>
    /// <returns>P (n, n) and its rank.</returns>
    /// <exception cref="AnalysisException">An eigenvalue lies on the circle |λ| = r.</exception>
    public static (Tensor Projector, int Rank) Compute(Tensor matrix, double radius, string name) =>
        TryCompute(matrix, radius)
        ?? throw new AnalysisException(
            $"an eigenvalue of {name} lies on the circle |λ| = {radius}, or so near that rounding decides: persistent "
                + "and decaying parts cannot be separated; try another threshold"
        );

    private static (Tensor Projector, int Rank)? TryCompute(Tensor matrix, double radius)
    {
        using var scope = NewDisposeScope();
        long n = matrix.shape[0];
        var identity = eye(n, dtype: ScalarType.Float64);
        try
        {
            var sign = linalg.solve(matrix + radius * identity, matrix - radius * identity);
            for (int i = 0; i < MostIterations; i++)
            {
                using var step = NewDisposeScope();
                var next = (sign + linalg.inv(sign)).mul_(0.5);
                double change = Matrices.Norm(next - sign) / Matrices.Norm(next);
                if (!double.IsFinite(change))
                    return null;
                sign = next.MoveToOuterDisposeScope();
                // Newton's method squares the error: 1e-9 is followed by rounding errors.
                if (change > 1e-9)
                    continue;
                sign = ((sign + linalg.inv(sign)) * 0.5).MoveToOuterDisposeScope();
                var projector = (sign + identity) / 2;
                double trace = projector.trace().ToDouble(); // its rank, by P² = P
                if (Math.Abs(trace - Math.Round(trace)) > 1e-3)
                    return null;
                // If rounding decides (a Jordan block near the circle), Newton's method can converge to another
                // involution than the sign of A: a projector, but not one of A.
                var commutator = matmul(projector, matrix) - matmul(matrix, projector);
                if (!(Matrices.Norm(commutator) <= 1e-6 * Matrices.Norm(matrix)))
                    return null;
                return (projector.MoveToOuterDisposeScope().MoveToOuterDisposeScope(), (int)Math.Round(trace));
            }
        }
        catch (Exception e) when (e is ExternalException or InvalidOperationException)
        {
            // Singular: r or −r is an eigenvalue.
        }
        return null;
    }
}
