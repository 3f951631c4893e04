using System.Numerics;
using static TorchSharp.torch;

namespace EmtTorch.Analysis;

/// <summary>The persistent part of W_hh: the invariant subspace of its eigenvalues with |λ| above a
/// threshold.</summary>
/// <param name="Projector">P (H, H).</param>
/// <param name="Basis">Q (H, m), orthonormal columns that span the range of P.</param>
/// <param name="Restricted">Qᵀ W_hh Q (m, m), the map on the subspace.</param>
internal sealed record PersistentPart(Tensor Projector, Tensor Basis, Tensor Restricted)
{
    public int Rank => (int)Basis.shape[1];

    /// <exception cref="AnalysisException">No eigenvalue persists, or one lies on the threshold.</exception>
    public static PersistentPart Find(Tensor weights, double threshold)
    {
        using var scope = NewDisposeScope();
        var (projector, rank) = SpectralProjector.Compute(weights, threshold, "W_hh");
        if (rank == 0)
        {
            throw new AnalysisException(
                $"no eigenvalue of W_hh is above {threshold} in magnitude: the network forgets everything, and has no "
                    + "variable memories"
            );
        }

        var basis = Matrices.Range(projector, rank);
        return new(
            projector.MoveToOuterDisposeScope(),
            basis.MoveToOuterDisposeScope(),
            matmul(basis.t(), matmul(weights, basis)).MoveToOuterDisposeScope()
        );
    }

    /// <summary>
    /// The map on the subspace, with the magnitude of each eigenvalue replaced by that of the matched eigenvalue of
    /// theory (1 for the paper's tasks). tanh limits growth: |λ| > 1 ends in a limit cycle of gain 1.
    /// </summary>
    /// <param name="theory">The persistent eigenvalues of Φ.</param>
    /// <returns>(m, m).</returns>
    /// <exception cref="AnalysisException">The counts differ, or the eigenvectors are nearly dependent.</exception>
    public Tensor WithoutGain(IReadOnlyList<Complex> theory)
    {
        using var scope = NewDisposeScope();
        var (values, vectors) = linalg.eig(Restricted);
        var learned = Matrices.ComplexValues(values);
        if (learned.Length != theory.Count)
        {
            throw new AnalysisException(
                $"the spectra differ in count: theory has {theory.Count} persistent eigenvalues, the network "
                    + $"{learned.Length}; the circuit is not (or not only) what was learned"
            );
        }

        var factors = new Complex[learned.Length];
        foreach (var (i, j) in Spectra.Compare(theory, learned, threshold: 0).Pairs)
            factors[j] = theory[i].Magnitude / learned[j].Magnitude;
        // Nothing to change. Eigenvectors are not needed; repeated eigenvalues may have too few.
        if (factors.All(f => Math.Abs(f.Real - 1) < 1e-9))
            return Restricted.clone().MoveToOuterDisposeScope();
        double condition = Condition(vectors);
        if (!(condition < 1e8))
        {
            throw new AnalysisException(
                $"the persistent eigenvectors of W_hh are nearly dependent (condition number {condition:G2}): its "
                    + "gain cannot be told from its structure"
            );
        }

        var scaled = TorchSharpDefects.ComplexTensor([.. learned.Zip(factors, (z, f) => z * f)]);
        return matmul(vectors * scaled, linalg.inv(vectors)).real.clone().MoveToOuterDisposeScope();
    }

    private static double Condition(Tensor complex)
    {
        var values = Matrices.Values(linalg.svdvals(complex));
        return values[0] / values[^1];
    }
}
