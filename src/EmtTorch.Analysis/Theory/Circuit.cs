using EmtTorch.Tasks;
using static TorchSharp.torch;

namespace EmtTorch.Analysis.Theory;

/// <summary>The circuit that the theory predicts for a linear variable binding task (Eq. 9–13).</summary>
public static class Circuit
{
    /// <summary>
    /// Φ, what one step does to the history x = [u(t−s); …; u(t−1)]: block i receives block i+1, and the last block f(x) = Fᵀ x.
    /// </summary>
    /// <param name="task">The task, with s variables of κ = d numbers.</param>
    /// <returns>(s·κ, s·κ), float64.</returns>
    public static Tensor Phi(LinearBinding task)
    {
        int d = task.D, n = task.S * d;
        var phi = new double[n, n];
        for (int i = 0; i < n - d; i++) phi[i, i + d] = 1;
        for (int i = 0; i < d; i++)
            for (int j = 0; j < n; j++) phi[n - d + i, j] = task.F[j, i];
        return from_array(phi);
    }
}
