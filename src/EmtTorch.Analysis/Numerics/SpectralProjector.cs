using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Analysis;

/// <summary>
/// The projector P on the persistent part of a linear map A: along the invariant subspace of its eigenvalues |λ| &lt;
/// r, onto that of its eigenvalues |λ| &gt; r. A P = P A, P² = P.
/// </summary>
/// <remarks>
/// By the matrix sign function (Roberts 1980; Higham, Functions of Matrices, ch. 5): z → (z − r)/(z + r) takes the
/// outside of the circle to the right half plane, so P = (I + sign((A + rI)⁻¹(A − rI)))/2, the sign by Newton's S ← (S
/// + S⁻¹)/2.
/// Unlike
/// a sum over eigenvectors it is exact for a defective A too: the operators of T2–T4 have Jordan blocks at 0.
/// </remarks>
internal static class SpectralProjector
{
    private const int MostIterations = 100;

    /// <param name="matrix">A (n, n), float64.</param>
    /// <param name="radius">r.</param>
    /// <param name="problem">Why there is none, or null.</param>
    /// <returns>P (n, n) and its rank, or null.</returns>
    public static (Tensor Projector, int Rank)? Of(Tensor matrix, double radius, out string? problem)
    {
        problem =
            $"an eigenvalue lies on the circle |λ| = {radius}, or so near that rounding decides, so that what "
            + "persists can't be told from what decays; another threshold may do";
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
                // Newton's method squares the error: after 1e-9 the next is at rounding.
                if (change > 1e-9)
                    continue;
                sign = ((sign + linalg.inv(sign)) * 0.5).MoveToOuterDisposeScope();
                var projector = (sign + identity) / 2;
                double trace = projector.trace().ToDouble(); // its rank, by P² = P
                if (Math.Abs(trace - Math.Round(trace)) > 1e-3)
                    return null;
                // Where rounding decides (a Jordan block near the circle) Newton's method can end in another involution
                // than A's sign: a projector, but not one of A's.
                if (
                    !(
                        Matrices.Norm(matmul(projector, matrix) - matmul(matrix, projector))
                        <= 1e-6 * Matrices.Norm(matrix)
                    )
                )
                {
                    return null;
                }

                problem = null;
                return (projector.MoveToOuterDisposeScope().MoveToOuterDisposeScope(), (int)Math.Round(trace));
            }
        }
        catch (Exception e) when (e is System.Runtime.InteropServices.ExternalException or InvalidOperationException)
        {
            // Singular: an eigenvalue is r or −r itself.
        }
        return null;
    }
}
