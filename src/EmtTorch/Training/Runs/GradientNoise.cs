using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Training;

/// <summary>
/// Gaussian noise on the gradient, decreasing with the number t of earlier steps: g ← g + N(0, η / (1 + t)^0.55)
/// (Neelakantan et al. 2015, arXiv 1511.06807, Eq. 1). It is added after clipping. Before it, the noise's own norm,
/// σ√P for P parameters, would decide how much of the gradient is left.
/// </summary>
internal static class GradientNoise
{
    private const double Gamma = 0.55;

    /// <summary>
    /// Fills a row with the noise of one step. It depends only on the configuration's seed and the step, so that a
    /// resumed run draws the same.
    /// </summary>
    /// <param name="row">The row to fill, a number for each parameter (P).</param>
    /// <param name="configuration">The configuration with the seed and η > 0.</param>
    /// <param name="step">t.</param>
    public static void Fill(Tensor row, RunConfiguration configuration, long step)
    {
        // The constant makes the seed differ from those of batches, initial weights and tests.
        using var generator = new Generator(
            unchecked((ulong)configuration.Seed * 1_000_003 + (ulong)step + 0x2545F491)
        );
        using var noise = Draw.Normal(
            Math.Sqrt(configuration.Training.GradientNoise / Math.Pow(1 + step, Gamma)),
            row.shape,
            generator,
            row.device,
            row.dtype
        );
        row.copy_(noise);
    }
}
