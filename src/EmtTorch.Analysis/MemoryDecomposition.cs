using System.Numerics;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Analysis;

/// <summary>
/// A network's recurrence as memories and their interactions, (Ξ, Φ): W_hh = Ξ Φᵀ Ξ†, so Φᵀ = Ξ† W_hh Ξ (Karuvally et
/// al. 2023, section 3). Any basis Ξ gives one: the eigenvectors, the variable memories, or another. Φ has the spectrum
/// of W_hh in every invertible basis.
/// </summary>
/// <example><code>
/// using var eigen = MemoryDecomposition.ComputeInEigenbasis(weights.WeightHh);
/// using var own = MemoryDecomposition.Compute(weights.WeightHh, myBasis);
/// </code></example>
public sealed class MemoryDecomposition : IDisposable
{
    private MemoryDecomposition(Tensor basis, Tensor dual, Tensor interactions, double condition, double residual) =>
        (Basis, Dual, Interactions, Condition, Residual) = (basis, dual, interactions, condition, residual);

    /// <summary>Ξ (H, n). A column is a memory.</summary>
    public Tensor Basis { get; }

    /// <summary>Ξ† (n, H).</summary>
    public Tensor Dual { get; }

    /// <summary>Φᵀ = Ξ† W_hh Ξ (n, n). Column j is memory j after one step.</summary>
    public Tensor Interactions { get; }

    /// <summary>The condition number of Ξ.</summary>
    public double Condition { get; }

    /// <summary>
    /// ‖W_hh Ξ − Ξ Φᵀ‖ / ‖W_hh Ξ‖: 0 if the span of Ξ is invariant under W_hh, as for every invertible Ξ.
    /// </summary>
    public double Residual { get; }

    /// <summary>The eigenvalues of Φ. They are eigenvalues of W_hh if the span is invariant.</summary>
    public Complex[] Eigenvalues() => Spectra.Eigenvalues(Interactions);

    /// <summary>Computes the decomposition in a basis.</summary>
    /// <param name="weights">W_hh (H, H).</param>
    /// <param name="basis">Ξ (H, n), with independent columns.</param>
    /// <exception cref="ArgumentException">The shapes do not fit, or a number is not finite.</exception>
    /// <exception cref="AnalysisException">The columns are dependent: there is no dual.</exception>
    public static MemoryDecomposition Compute(Tensor weights, Tensor basis)
    {
        Require.Shape(basis, [Require.Any, Require.Any]);
        Require.Shape(weights, [basis.shape[0], basis.shape[0]]);
        Matrices.RequireFinite(weights);
        Matrices.RequireFinite(basis);
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        var w = weights.to_type(ScalarType.Float64).cpu();
        var xi = basis.to_type(ScalarType.Float64).cpu().clone();
        double condition = Matrices.Condition(xi);
        if (!(condition < 1e12))
        {
            throw new AnalysisException(
                $"the basis's {xi.shape[1]} columns are dependent (condition number {condition:G2}): it has no dual"
            );
        }

        var dual = linalg.pinv(xi);
        var moved = matmul(w, xi);
        var interactions = matmul(dual, moved);
        double size = Matrices.Norm(moved);
        var result = new MemoryDecomposition(
            xi,
            dual,
            interactions,
            condition,
            size == 0 ? 0 : Matrices.Norm(moved - matmul(xi, interactions)) / size
        );
        result.MoveToOuterDisposeScope();
        return result;
    }

    /// <summary>
    /// Computes the decomposition in the real eigenbasis of W_hh. A pair of complex eigenvectors v, v̄ gives the
    /// columns Re v and Im v, and the block [a b; −b a] for λ = a ± ib.
    /// </summary>
    /// <param name="weights">W_hh (H, H).</param>
    /// <exception cref="ArgumentException">A number is not finite.</exception>
    /// <exception cref="AnalysisException">W_hh is defective: its eigenvectors are no basis.</exception>
    public static MemoryDecomposition ComputeInEigenbasis(Tensor weights)
    {
        Matrices.RequireFinite(weights);
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        var (values, vectors) = linalg.eig(weights.to_type(ScalarType.Float64).cpu());
        var lambda = Matrices.ComplexValues(values);
        var columns = new List<Tensor>();
        for (int i = 0; i < lambda.Length; i++)
        {
            // LAPACK returns pairs next to each other, the positive imaginary part first.
            var v = vectors.select(1, i);
            if (lambda[i].Imaginary >= 0)
                columns.Add(v.real);
            if (lambda[i].Imaginary > 0)
                columns.Add(v.imag);
        }
        try
        {
            var result = Compute(weights, stack(columns, 1));
            result.MoveToOuterDisposeScope();
            return result;
        }
        catch (AnalysisException)
        {
            throw new AnalysisException(
                "W_hh is defective or nearly so: its eigenvectors are no basis of the hidden space"
            );
        }
    }

    /// <summary>Moves its tensors out of the current dispose scope.</summary>
    internal void MoveToOuterDisposeScope()
    {
        foreach (var tensor in (ReadOnlySpan<Tensor>)[Basis, Dual, Interactions])
            tensor.MoveToOuterDisposeScope();
    }

    public void Dispose()
    {
        Basis.Dispose();
        Dual.Dispose();
        Interactions.Dispose();
    }
}
