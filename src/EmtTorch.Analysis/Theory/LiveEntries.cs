using EmtTorch.Tasks;
using static TorchSharp.torch;

namespace EmtTorch.Analysis;

/// <summary>
/// The entries of a task's history [u(t−s); …; u(t−1)] that are read again: those on which the persistent part of Φ
/// depends, P e_j ≠ 0, with P the projector on the eigenvalues of Φ with |λ| above a threshold. In T2–T4 28 of the 64
/// entries are never read again.
/// </summary>
public sealed class LiveEntries : IDisposable
{
    private LiveEntries(Tensor phi, Tensor projector, Tensor reference, int rank, int[] indices) =>
        (Phi, Projector, Reference, Rank, Indices) = (phi, projector, reference, rank, indices);

    /// <summary>The entries, ascending: entry k·κ + i is component i of variable k + 1, oldest first.</summary>
    public IReadOnlyList<int> Indices { get; }

    /// <summary>
    /// The dimension of the persistent part. It is below the number of live entries if only sums of them persist.
    /// </summary>
    public int Rank { get; }

    /// <summary>Φ (s·κ, s·κ).</summary>
    internal Tensor Phi { get; }

    /// <summary>P (s·κ, s·κ).</summary>
    internal Tensor Projector { get; }

    /// <summary>
    /// (P† P) Φ on the live entries: Φ without decaying directions, Φ itself if all live entries persist.
    /// </summary>
    internal Tensor Reference { get; }

    /// <summary>Finds the live entries of a task.</summary>
    /// <param name="task">The task.</param>
    /// <param name="threshold">Eigenvalues of Φ of greater magnitude are persistent.</param>
    /// <exception cref="AnalysisException">An eigenvalue of Φ lies on the threshold, or none is above.</exception>
    public static LiveEntries Find(LinearBinding task, double threshold = 0.8)
    {
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        var phi = Circuit.Phi(task);
        var (projector, rank) = SpectralProjector.Compute(phi, threshold, "the task's operator Φ");
        if (rank == 0)
        {
            throw new AnalysisException(
                $"no eigenvalue of the task's operator Φ is above {threshold} in magnitude: all contents decay, and "
                    + "there are no variables to look for"
            );
        }
        // The row space of P: the complement of the decaying directions.
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
