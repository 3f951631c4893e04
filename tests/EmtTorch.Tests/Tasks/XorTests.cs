using EmtTorch.Models;
using EmtTorch.Tasks;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

public sealed class XorTests
{
    private static Xor Task(int d, int s, params int[] delays) =>
        new(d, s, delays.Length == 0 ? null : delays, ScalarType.Float32, CPU);

    [Test]
    public void ItIsTheExclusiveOr()
    {
        using var scope = NewDisposeScope();
        using var task = Task(4, 2);
        // All four pairs, one in each component: true is 1, false −1.
        var y = task.Continue(
            tensor(
                new[,]
                {
                    { -1f, -1, 1, 1 },
                    { -1, 1, -1, 1 },
                }
            ),
            1
        );
        Assert.That(y.data<float>().ToArray(), Is.EqualTo(new float[] { -1, 1, 1, -1 }));
    }

    [Test]
    public void AHandMadeHistoryGoesOn()
    {
        using var scope = NewDisposeScope();
        using var task = Task(1, 3, 1, 3);
        // y(t) = −y(t−1) y(t−3), by hand; a register of full length, so that + − − is back after 7.
        var y = task.Continue(tensor(new float[] { 1, -1, -1 }).view(3, 1), 10);
        Assert.That(y.data<float>().ToArray(), Is.EqualTo(new float[] { 1, 1, 1, -1, 1, -1, -1, 1, 1, 1 }));
    }

    [Test]
    public void TargetsFollowTheRuleStepByStep(
        [Values("1,2", "2,1", "2,4", "5,3", "1,9")] string delays,
        [Values(ScalarType.Float32, ScalarType.Float64)] ScalarType dtype
    )
    {
        using var scope = NewDisposeScope();
        int[] ab = [.. delays.Split(',').Select(int.Parse)];
        int s = ab.Max();
        using var task = new Xor(3, s, ab, dtype, CPU);
        using var generator = new Generator(3);
        foreach (int horizon in new[] { 7, 60, 1 })
        {
            var (input, target) = task.Batch(5, horizon, generator);
            Assert.That(
                (input.shape, target.shape, target.dtype),
                Is.EqualTo((new long[] { s, 5, 3 }, new long[] { horizon, 5, 3 }, dtype))
            );
            Assert.That(input.abs().eq(1).all().item<bool>(), Is.True);
            double[] all = [.. cat([input, target]).to(float64).data<double>()];
            for (int i = s * 15; i < all.Length; i++)
                Assert.That(all[i], Is.EqualTo(-all[i - 15 * ab[0]] * all[i - 15 * ab[1]]));
        }
    }

    [Test]
    public void InputsAreDrawnAsThoseOfLinearTasks()
    {
        using var scope = NewDisposeScope();
        using var task = Task(3, 4);
        using var copy = new VariableBinding(LinearBinding.RepeatCopy(3, 4), ScalarType.Float32, CPU);
        using Generator one = new(5),
            other = new(5);
        Assert.That(task.Batch(6, 2, one).Input.Equals(copy.Batch(6, 2, other).Input), Is.True);
    }

    /// <summary>
    /// Periods of x^s = x^(s−a) + x^(s−b) over GF(2): primitive ones have 2^s − 1; x^5 + x^4 + 1 = (x² + x + 1)(x³ + x
    /// + 1) has 3 · 7, and x^4 + x² + 1 = (x² + x + 1)² has 2 · 3.
    /// </summary>
    [
        TestCase(1, 2, 3),
        TestCase(1, 3, 7),
        TestCase(2, 3, 7),
        TestCase(1, 4, 15),
        TestCase(3, 4, 15),
        TestCase(2, 4, 6),
        TestCase(1, 5, 21),
        TestCase(2, 5, 31),
        TestCase(1, 6, 63)
    ]
    public void TheRegisterComesAgainAfterItsPeriod(int a, int b, int period)
    {
        using var scope = NewDisposeScope();
        using var task = Task(1, b, a, b);
        Assert.That(
            (task.Period(100), task.Period(period), task.Period(period - 1)),
            Is.EqualTo(((int?)period, (int?)period, (int?)null))
        );
        // All histories side by side, by the rule: the period is the first time that all are back.
        var histories = Enumerable
            .Range(0, 1 << b)
            .Select(h => Enumerable.Range(0, b).Select(k => (h >> k & 1) == 1).ToList())
            .ToList();
        int steps = 0;
        do
        {
            steps++;
            foreach (var history in histories)
                history.Add(history[^a] ^ history[^b]);
        } while (!histories.All(h => h.Take(b).SequenceEqual(h.TakeLast(b))));
        Assert.That(steps, Is.EqualTo(period));
    }

    /// <summary>
    /// A network without a bias is odd; where the rule takes a product of an even number of inputs, it has half of u's
    /// and −u's bits right, exactly.
    /// </summary>
    [TestCase(1, 3), TestCase(2, 4), TestCase(1, 2)]
    public void WithoutABiasHalfOfTheEvenBitsAreRight(int a, int b)
    {
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        using var seed = manual_seed(1);
        using var task = new Xor(3, b, [a, b], ScalarType.Float64, CPU);
        using var generator = new Generator(1);
        var (input, target) = task.Batch(50, 20, generator);
        var mirrored = task.Continue(-input, 20);
        using ElmanRnn without = new(3, 40, bias: false, ScalarType.Float64),
            with = new(3, 40, bias: true, ScalarType.Float64);
        Tensor Outputs(ElmanRnn network, Tensor u) => network.forward(u, b + 20, b);
        Assert.That((Outputs(without, -input) + Outputs(without, input)).abs().max().item<double>(), Is.Zero);
        Assert.That((Outputs(with, -input) + Outputs(with, input)).abs().max().item<double>(), Is.GreaterThan(0.01));
        int even = 0;
        for (int t = 0; t < 20; t++)
        {
            bool isEven = Enumerable.Range(0, b).Sum(k => task.Unroll(20)[t, k]) % 2 == 0;
            Assert.That((target[t] * (isEven ? 1 : -1)).Equals(mirrored[t]), Is.True, $"step {t}");
            if (!isEven)
                continue;
            even++;
            double Right(Tensor u, Tensor y) =>
                Outputs(without, u)[t].ge(0).eq(y[t].ge(0)).to_type(ScalarType.Float64).mean().item<double>();
            Assert.That(
                (Right(input, target) + Right(-input, mirrored)) / 2,
                Is.EqualTo(0.5).Within(1e-12),
                $"step {t}"
            );
        }
        Assert.That(even, Is.GreaterThan(5));
    }

    [
        TestCase(1, null, "s is 1: two different delays"),
        TestCase(4, "1,3", "one of them must be s = 4"),
        TestCase(4, "4,4", "different ones"),
        TestCase(4, "4", "there must be two"),
        TestCase(4, "0,4", "a delay is 0: it must be from 1 to s = 4"),
        TestCase(4, "4,5", "a delay is 5")
    ]
    public void WhatMakesNoSenseIsRefused(int s, string? delays, string gist)
    {
        int[]? given = delays?.Split(',').Select(int.Parse).ToArray();
        Assert.That(Xor.Check(s, given), Has.One.Contains(gist));
        Assert.That(
            () => new Xor(2, s, given, ScalarType.Float32, CPU),
            Throws.ArgumentException.With.Message.Contains(gist)
        );
    }

    [Test]
    public void AVariableHasANumber() =>
        Assert.That(() => Task(0, 3), Throws.ArgumentException.With.Message.Contains("d is 0"));
}
