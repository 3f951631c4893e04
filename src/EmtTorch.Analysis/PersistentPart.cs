using System.Numerics;
using static TorchSharp.torch;

namespace EmtTorch.Analysis;

/// <summary>The persistent part of a learned W: its invariant subspace of eigenvalues |λ| above a threshold.</summary>
/// <param name="Projector">P (H, H).</param>
/// <param name="Basis">Q (H, m), orthonormal columns that span P's range.</param>
/// <param name="Restricted">Qᵀ W Q (m, m): W there.</param>
internal sealed record PersistentPart(Tensor Projector, Tensor Basis, Tensor Restricted)
{
    public int Rank => (int)Basis.shape[1];

    /// <exception cref="AnalysisException">Nothing persists, or it can't be told apart.</exception>
    public static PersistentPart Of(Tensor weights, double threshold)
    {
        using var scope = NewDisposeScope();
        if (SpectralProjector.Of(weights, threshold, out var problem) is not var (projector, rank))
            throw new AnalysisException(problem!);
        if (rank == 0)
        {
            throw new AnalysisException(
                $"no eigenvalue of W_hh is above {threshold} in magnitude: the network forgets everything, so "
                    + "there are no variable memories"
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
    /// W on the subspace with each eigenvalue's magnitude that of the theory's eigenvalue it is matched with (1, for
    /// the paper's tasks). tanh holds back what grows: |λ| > 1 ends in a limit cycle, where the effective gain is 1.
    /// </summary>
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
        foreach (var (i, j) in Spectrum.Compare(theory, learned, threshold: 0).Pairs)
            factors[j] = theory[i].Magnitude / learned[j].Magnitude;
        // Nothing to change, and no need for eigenvectors, which repeated eigenvalues may not have.
        if (factors.All(f => Math.Abs(f.Real - 1) < 1e-9))
            return Restricted.clone().MoveToOuterDisposeScope();
        double condition = Condition(vectors);
        if (!(condition < 1e8))
        {
            throw new AnalysisException(
                $"the persistent eigenvectors of W_hh are nearly dependent (condition number {condition:G2}): its "
                    + "gain can't be told from its structure"
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
