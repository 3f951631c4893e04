using EmtTorch.Tasks;
using static TorchSharp.torch;

namespace EmtTorch.Analysis;

/// <summary>
/// The entries of a task's history [u(t−s); …; u(t−1)] that matter for ever: those on which the persistent part of Φ
/// depends, P e_j ≠ 0, P the projector on the eigenvalues |λ| above a threshold. Of T2–T4's 64 entries 28 are never
/// read again.
/// </summary>
public sealed class LiveEntries : IDisposable
{
    private LiveEntries(Tensor phi, Tensor projector, Tensor reference, int rank, int[] indices) =>
        (Phi, Projector, Reference, Rank, Indices) = (phi, projector, reference, rank, indices);

    /// <summary>Which ones, ascending: entry k·κ + i is component i of variable k + 1, the oldest first.</summary>
    public IReadOnlyList<int> Indices { get; }

    /// <summary>
    /// The dimensions of the persistent part. Fewer than the live entries where only sums of them persist.
    /// </summary>
    public int Rank { get; }

    /// <summary>Φ (s·κ, s·κ).</summary>
    internal Tensor Phi { get; }

    /// <summary>P (s·κ, s·κ).</summary>
    internal Tensor Projector { get; }

    /// <summary>
    /// What is left of Φ on the live entries when decaying directions are taken out: (P† P) Φ. Φ itself where the rank
    /// is the number of live entries.
    /// </summary>
    internal Tensor Reference { get; }

    /// <param name="task">The task.</param>
    /// <param name="threshold">Eigenvalues of Φ of greater magnitude are persistent.</param>
    /// <exception cref="AnalysisException">An eigenvalue of Φ lies on the threshold, or none is above.</exception>
    public static LiveEntries Of(LinearBinding task, double threshold = 0.8)
    {
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        var phi = Circuit.Phi(task);
        if (SpectralProjector.Of(phi, threshold, out var problem) is not var (projector, rank))
            throw new AnalysisException($"the task's own operator Φ can't be read: {problem}");
        if (rank == 0)
        {
            throw new AnalysisException(
                $"no eigenvalue of the task's operator Φ is above {threshold} in magnitude: whatever the network "
                    + "stores decays, and there are no variables to look for"
            );
        }
        // P's row space: the complement of what decays.
        var rows = Matrices.Range(projector.t(), rank); // (s·κ, rank)
        var onto = matmul(rows, rows.t()); // P† P
        var weights = Matrices.Values(onto.diagonal());
        int[] indices = [.. Enumerable.Range(0, weights.Length).Where(j => weights[j] > 1e-9)];
        var live = tensor(Array.ConvertAll(indices, i => (long)i));
        var reference = matmul(onto, phi).index_select(0, live).index_select(1, live);
        return new(
            phi.MoveToOuterDisposeScope(),
            projector.MoveToOuterDisposeScope(),
            reference.MoveToOuterDisposeScope(),
            rank,
            indices
        );
    }

    public void Dispose()
    {
        Phi.Dispose();
        Projector.Dispose();
        Reference.Dispose();
    }
}
