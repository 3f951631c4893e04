using System.Numerics;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Analysis;

/// <summary>
/// A network's recurrence as memories and their interactions, (Ξ, Φ): W_hh = Ξ Φᵀ Ξ†, so Φᵀ = Ξ† W_hh Ξ (§3). Any basis
/// gives one:
/// the eigenbasis, the variable memories, or one's own; the spectrum of Φ is W_hh's in every invertible one.
/// </summary>
/// <example><code>
/// using var eigen = MemoryDecomposition.Eigenbasis(weights.WeightHh);
/// using var own = MemoryDecomposition.Of(weights.WeightHh, myBasis);
/// </code></example>
public sealed class MemoryDecomposition : IDisposable
{
    private MemoryDecomposition(Tensor basis, Tensor dual, Tensor interactions, double condition, double residual) =>
        (Basis, Dual, Interactions, Condition, Residual) = (basis, dual, interactions, condition, residual);

    /// <summary>Ξ (H, n): a memory a column.</summary>
    public Tensor Basis { get; }

    /// <summary>Ξ† (n, H).</summary>
    public Tensor Dual { get; }

    /// <summary>Φᵀ = Ξ† W_hh Ξ (n, n): column j is where memory j goes in one step.</summary>
    public Tensor Interactions { get; }

    /// <summary>Ξ's largest singular value over its smallest.</summary>
    public double Condition { get; }

    /// <summary>
    /// ‖W_hh Ξ − Ξ Φᵀ‖ / ‖W_hh Ξ‖: 0 where the span of Ξ is closed under W_hh, as it is for every invertible Ξ.
    /// </summary>
    public double Residual { get; }

    /// <summary>The eigenvalues of Φ: W_hh's, where the span is closed.</summary>
    public Complex[] Eigenvalues() => Spectrum.Eigenvalues(Interactions);

    /// <summary>The decomposition in a basis.</summary>
    /// <param name="weights">W_hh (H, H).</param>
    /// <param name="basis">Ξ (H, n).</param>
    /// <exception cref="ArgumentException">The shapes don't fit, or numbers are not finite.</exception>
    /// <exception cref="AnalysisException">The columns are dependent: there is no dual.</exception>
    public static MemoryDecomposition Of(Tensor weights, Tensor basis)
    {
        if (weights.shape is not [var h, var h2] || h != h2 || basis.shape is not [var rows, _] || rows != h)
        {
            throw new ArgumentException(
                $"W_hh is ({string.Join(", ", weights.shape)}) and the basis ({string.Join(", ", basis.shape)}): they should be (H, H) and (H, n)",
                nameof(basis)
            );
        }

        if (!Matrices.IsFinite(weights) || !Matrices.IsFinite(basis))
            throw new ArgumentException("there are numbers that are not finite", nameof(basis));
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
    /// In the eigenvectors of W_hh, real: a pair of complex ones v, v̄ gives the columns Re v and Im v, and the block
    /// [a b; −b a] for λ = a ± ib.
    /// </summary>
    /// <exception cref="AnalysisException">W_hh is defective: it has no basis of eigenvectors.</exception>
    public static MemoryDecomposition Eigenbasis(Tensor weights)
    {
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        if (!Matrices.IsFinite(weights))
            throw new ArgumentException("there are numbers that are not finite", nameof(weights));
        var (values, vectors) = linalg.eig(weights.to_type(ScalarType.Float64).cpu());
        var lambda = Matrices.ComplexValues(values);
        var columns = new List<Tensor>();
        for (int i = 0; i < lambda.Length; i++)
        {
            // LAPACK gives pairs next to each other, the positive imaginary part first.
            var v = vectors.select(1, i);
            if (lambda[i].Imaginary >= 0)
                columns.Add(v.real);
            if (lambda[i].Imaginary > 0)
                columns.Add(v.imag);
        }
        try
        {
            var result = Of(weights, stack(columns, 1));
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

    /// <summary>Keeps its tensors beyond the present dispose scope.</summary>
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
