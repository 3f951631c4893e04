using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Training;

/// <summary>
/// Gaussian noise on the gradients that fades out: g ← g + N(0, η / (1 + t)^0.55), t the steps taken before
/// (Neelakantan et al.
/// 2015, arXiv 1511.06807, Eq. 1). It is added after clipping: before it, the noise itself, of norm σ√P, would be
/// clipped away and the gradient with it.
/// </summary>
internal static class GradientNoise
{
    private const double Gamma = 0.55;

    /// <summary>
    /// Fills a row with the noise of one step; it depends on the configuration's seed and the step alone, so that a
    /// resumed run draws the same.
    /// </summary>
    /// <param name="row">One number for each parameter (P).</param>
    /// <param name="configuration">The seed, and η above 0.</param>
    /// <param name="step">t.</param>
    public static void Fill(Tensor row, RunConfiguration configuration, long step)
    {
        // Another seed than that of the batches, of the first weights and of the tests.
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
