using EmtTorch.Tasks;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

public sealed class FlipFlopTests
{
    [TestCase(1, 0.5), TestCase(3, 0.5), TestCase(3, 0.05), TestCase(2, 1.0)]
    public void EachBitIsKeptUntilItsNextPulse(int bits, double probability)
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator(3);
        var (input, target) = new FlipFlop(bits, ScalarType.Float32, CPU, probability).Batch(7, 40, generator);
        Assert.That(input.shape, Is.EqualTo(new long[] { 40, 7, bits }));
        Assert.That(target.shape, Is.EqualTo(input.shape));
        var (pulses, kept) = (input.data<float>(), target.data<float>());
        for (int b = 0; b < 7; b++)
        {
            for (int i = 0; i < bits; i++)
            {
                float bit = 0;
                for (int t = 0; t < 40; t++)
                {
                    float pulse = pulses[(t * 7 + b) * bits + i];
                    Assert.That(pulse, t == 0 || probability == 1 ? Is.AnyOf(-1f, 1f) : Is.AnyOf(-1f, 0f, 1f));
                    if (pulse != 0)
                        bit = pulse;
                    Assert.That(kept[(t * 7 + b) * bits + i], Is.EqualTo(bit), $"sequence {b}, bit {i}, step {t}");
                }
            }
        }
    }

    [TestCase(0.5), TestCase(0.2), TestCase(1.0)]
    public void PulsesComeAtTheirRateAndAreFair(double probability)
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator(1);
        var input = new FlipFlop(3, ScalarType.Float64, CPU, probability).Batch(500, 65, generator).Input;
        const double N = 64 * 500 * 3;
        var later = input.narrow(0, 1, 64);
        using (Assert.EnterMultipleScope())
        {
            // Four standard deviations of the means.
            Assert.That(
                later.abs().mean().item<double>(),
                Is.EqualTo(probability).Within(4 * Math.Sqrt(probability * (1 - probability) / N))
            );
            Assert.That(later.mean().item<double>(), Is.EqualTo(0).Within(4 * Math.Sqrt(probability / N)));
            Assert.That(input[0].mean().item<double>(), Is.EqualTo(0).Within(4 / Math.Sqrt(1500)));
            // Channels and steps are independent of each other.
            Assert.That(
                (later.select(2, 0) * later.select(2, 1)).mean().item<double>(),
                Is.EqualTo(0).Within(4 * probability / Math.Sqrt(N / 3))
            );
            Assert.That(
                (later.narrow(0, 0, 63) * later.narrow(0, 1, 63)).mean().item<double>(),
                Is.EqualTo(0).Within(4 * probability / Math.Sqrt(N))
            );
        }
    }

    [Test]
    public void ASequenceOfOneStepIsItsPulses()
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator(1);
        var (input, target) = new FlipFlop(3, ScalarType.Float32, CPU).Batch(4, 1, generator);
        Assert.That(target.Equals(input));
    }

    [TestCase(ScalarType.Float32), TestCase(ScalarType.Float64)]
    public void TheSameGeneratorStateGivesTheSameBatch(ScalarType dtype)
    {
        using var scope = NewDisposeScope();
        var task = new FlipFlop(3, dtype, CPU);
        using var generator = new Generator(9);
        var state = generator.get_state();
        var first = task.Batch(4, 20, generator).Input;
        var second = task.Batch(4, 20, generator).Input;
        generator.set_state(state);
        var again = task.Batch(4, 20, generator).Input;
        using (Assert.EnterMultipleScope())
        {
            Assert.That((first.dtype, again.Equals(first), second.Equals(first)), Is.EqualTo((dtype, true, false)));
        }
    }

    [
        TestCase(0, 0.5, "bits", "there are 0 bits"),
        TestCase(3, 0, "pulseProbability", "is 0: it must be above 0"),
        TestCase(3, 1.1, "pulseProbability", "is 1.1"),
        TestCase(3, -0.5, "pulseProbability", "is -0.5"),
        TestCase(3, double.NaN, "pulseProbability", "is NaN")
    ]
    public void WhatMakesNoSenseIsRefused(int bits, double probability, string parameter, string gist) =>
        Assert.That(
            () => new FlipFlop(bits, ScalarType.Float32, CPU, probability),
            Throws
                .ArgumentException.With.Property(nameof(ArgumentException.ParamName))
                .EqualTo(parameter)
                .And.Message.Contains(gist)
        );
}
