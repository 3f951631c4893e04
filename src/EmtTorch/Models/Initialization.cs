using EmtTorch.Tasks;
using static TorchSharp.torch;

namespace EmtTorch.Models;

/// <summary>
/// First weights of an Elman network other than its own, which are uniform within ±1/√H. Both come from the default
/// generator.
/// </summary>
internal static class Initialization
{
    /// <summary>Makes W_hh a random orthogonal matrix (Saxe et al. 2014). The other weights stay.</summary>
    public static void Orthogonal(ElmanRnn network)
    {
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        network.RecurrentWeights.copy_(
            Orthonormal(network.RecurrentWeights.shape[0], network.RecurrentWeights.shape[0])
        );
    }

    /// <summary>
    /// Puts the weights near the theory's circuit (Eq. 9–13) in a random orthonormal basis Ψ (H, s·κ): W_hh = Ψ Φ Ψᵀ +
    /// U, W_uh = Ψ_s + U, W_r = Ψ_sᵀ + U, b = U, where U is the network's uniform weights times the noise.
    /// </summary>
    /// <param name="network">A network with uniform weights.</param>
    /// <param name="task">The task of the network, with s·κ ≤ H.</param>
    /// <param name="noise">The factor of the uniform weights; 0 gives the circuit itself.</param>
    /// <exception cref="ArgumentException">H is smaller than s·κ, so that there is no such basis.</exception>
    public static void Circuit(ElmanRnn network, LinearBinding task, double noise)
    {
        long hidden = network.RecurrentWeights.shape[0],
            n = task.S * task.D;
        if (hidden < n)
        {
            throw new ArgumentException(
                $"{hidden} hidden units have no orthonormal basis of s·d = {n} vectors",
                nameof(network)
            );
        }

        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        var psi = Orthonormal(hidden, n).to(network.RecurrentWeights.dtype); // (H, s·κ)
        var newest = psi.narrow(1, n - task.D, task.D); // Ψ_s (H, κ)
        foreach (var parameter in network.parameters())
            parameter.mul_(noise);
        network.RecurrentWeights.add_(matmul(psi, matmul(tensor(task.Phi(), psi.dtype), psi.t())));
        network.InputWeights.add_(newest);
        network.ReadoutWeights.add_(newest.t());
    }

    /// <summary>
    /// Draws orthonormal columns, uniform over all such matrices: Q from the QR decomposition of a Gaussian matrix,
    /// each column with the sign of R's diagonal. Without that the signs of Q would be the algorithm's choice (Mezzadri
    /// 2007).
    /// </summary>
    internal static Tensor Orthonormal(long rows, long columns, Generator? generator = null)
    {
        using var scope = NewDisposeScope();
        var (q, r) = linalg.qr(randn([rows, columns], dtype: ScalarType.Float64, generator: generator));
        return (q * r.diagonal().sign()).MoveToOuterDisposeScope();
    }
}
