using EmtTorch.Training;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

public sealed class GradientNoiseTests
{
    private static Tensor Noise(double eta, long seed, long step, int count = 40_000)
    {
        var row = empty(count, dtype: ScalarType.Float64);
        GradientNoise.Fill(
            row,
            new()
            {
                Task = new() { Name = "t1" },
                Seed = seed,
                Training = new() { GradientNoise = eta },
            },
            step
        );
        return row;
    }

    // η / (1 + t)^0.55 by hand: 0.3; 1 / 2^0.55 = 0.6830; 0.01 / 1000^0.55 = 0.01 / 44.668.
    [TestCase(0.3, 0, 0.3)]
    [TestCase(1, 1, 0.683020)]
    [TestCase(0.01, 999, 0.000223872)]
    public void ItsVarianceIsThePapers(double eta, long step, double variance)
    {
        using var scope = NewDisposeScope();
        var noise = Noise(eta, 1, step);
        using (Assert.EnterMultipleScope())
        {
            // The deviation of a variance from n normal numbers is √(2/n) of it, of their mean σ/√n: 0.7 and 0.5 %.
            Assert.That(noise.var().item<double>(), Is.EqualTo(variance).Within(3).Percent);
            Assert.That(noise.mean().item<double>(), Is.Zero.Within(0.02 * Math.Sqrt(variance)));
        }
    }

    [Test]
    public void ItDependsOnSeedAndStepAlone()
    {
        using var scope = NewDisposeScope();
        double Correlation(Tensor a, Tensor b) =>
            (a * b).mean().item<double>() / Math.Sqrt(a.var().item<double>() * b.var().item<double>());
        var noise = Noise(1, 5, 12);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(noise.eq(Noise(1, 5, 12)).all().item<bool>(), Is.True);
            Assert.That(Correlation(noise, Noise(1, 5, 13)), Is.Zero.Within(0.025));
            Assert.That(Correlation(noise, Noise(1, 6, 12)), Is.Zero.Within(0.025));
        }
    }
}
