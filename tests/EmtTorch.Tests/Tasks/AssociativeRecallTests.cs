using EmtTorch.Tasks;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

public sealed class AssociativeRecallTests
{
    private static AssociativeRecallConfiguration Settings(
        int pairs,
        int vocabulary,
        double power = 0.01,
        bool randomNonQueries = true
    ) =>
        new()
        {
            Pairs = pairs,
            Vocabulary = vocabulary,
            Power = power,
            RandomNonQueries = randomNonQueries,
        };

    /// <summary>One batch, row by row.</summary>
    private static (long[] Input, long[] Target)[] Rows(
        AssociativeRecallConfiguration settings,
        int length,
        int batchSize,
        ulong seed = 5
    )
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator(seed);
        var (input, target, _) = settings.Create(length, CPU).Batch(batchSize, generator)[0];
        return
        [
            .. input
                .data<long>()
                .ToArray()
                .Chunk((int)input.shape[1])
                .Zip(target.data<long>().ToArray().Chunk((int)input.shape[1])),
        ];
    }

    [
        TestCase(64, 4, 8192, 0.01),
        TestCase(512, 64, 8192, 0.01),
        TestCase(128, 8, 8192, 1),
        TestCase(16, 2, 17, 0.5),
        TestCase(16, 4, 18, 0.01),
        TestCase(4, 1, 5, 0.01)
    ]
    public void PairsThenEachKeyOnceMoreWithItsValueAsTarget(int length, int pairs, int vocabulary, double power)
    {
        foreach (var (input, target) in Rows(Settings(pairs, vocabulary, power, randomNonQueries: false), length, 200))
        {
            var keys = input.Take(2 * pairs).Where((_, i) => i % 2 == 0).ToArray();
            var values = input.Take(2 * pairs).Where((_, i) => i % 2 == 1).ToArray();
            Assert.That(keys, Is.Unique.And.All.InRange(1, vocabulary / 2 - 1));
            Assert.That(values, Is.Unique.And.All.InRange(vocabulary / 2, vocabulary - 1));
            Assert.That(target.Take(2 * pairs), Is.All.EqualTo(-100));
            var asked = Enumerable.Range(0, length).Where(t => target[t] != -100).ToArray();
            Assert.That(asked.Select(t => t % 2), Is.All.Zero);
            Assert.That(asked.Select(t => input[t]), Is.EquivalentTo(keys));
            foreach (int t in asked)
                Assert.That(target[t], Is.EqualTo(values[Array.IndexOf(keys, input[t])]));
            Assert.That(
                Enumerable.Range(2 * pairs, length - 2 * pairs).Except(asked).Select(t => input[t]),
                Is.All.Zero
            );
        }
    }

    [Test]
    public void RandomTokensOfTheWholeVocabularyFillTheRest()
    {
        const int V = 70;
        var rows = Rows(Settings(4, V), 64, 2000);
        var counts = new int[V];
        foreach (var (input, target) in rows)
        {
            for (int t = 8; t < 64; t++)
            {
                if (target[t] == -100)
                    counts[input[t]]++;
            }
        }

        double expected = 2000 * 52.0 / V;
        // Chi-square with 69 degrees of freedom: 111 is its 99.9 % quantile.
        Assert.That(counts.Sum(n => (n - expected) * (n - expected) / expected), Is.LessThan(111));
    }

    [Test]
    public void KeysAndValuesAreUniform()
    {
        const int V = 66;
        var rows = Rows(Settings(3, V), 32, 4000);
        int[] keys = new int[32],
            values = new int[33];
        foreach (var (input, _) in rows)
        {
            for (int i = 0; i < 3; i++)
            {
                keys[input[2 * i] - 1]++;
                values[input[2 * i + 1] - 33]++;
            }
        }

        using (Assert.EnterMultipleScope())
        {
            // 99.9 % quantiles with 31 and 32 degrees of freedom (distinct within a row: a little less than
            // independent).
            Assert.That(keys.Sum(n => Math.Pow(n - 12000.0 / 32, 2) / (12000.0 / 32)), Is.LessThan(61.1));
            Assert.That(values.Sum(n => Math.Pow(n - 12000.0 / 33, 2) / (12000.0 / 33)), Is.LessThan(62.5));
        }
    }

    [TestCase(0.01), TestCase(0.5), TestCase(1.0)]
    public void GapsFollowThePowerLaw(double power)
    {
        // Two pairs, ten slots: the first pair's slot has p itself; the second's what is left after the first was
        // taken.
        const int B = 20000,
            Slots = 10;
        var p = Enumerable.Range(1, Slots).Select(i => Math.Pow(i, power - 1)).ToArray();
        p = [.. p.Select(x => x / p.Sum())];
        var later = Enumerable
            .Range(0, Slots)
            .Select(i => Enumerable.Range(0, Slots).Where(j => j != i).Sum(j => p[j] * p[i] / (1 - p[j])))
            .ToArray();
        double[] first = new double[Slots],
            second = new double[Slots];
        foreach (var (input, target) in Rows(Settings(2, 200, power, randomNonQueries: false), 24, B))
        {
            first[(Array.IndexOf(input, input[0], 4) - 4) / 2]++;
            second[(Array.IndexOf(input, input[2], 4) - 4) / 2]++;
        }
        using (Assert.EnterMultipleScope())
        {
            // 99.9 % quantile with 9 degrees of freedom.
            Assert.That(first.Zip(p, (n, q) => Math.Pow(n - B * q, 2) / (B * q)).Sum(), Is.LessThan(27.9));
            Assert.That(second.Zip(later, (n, q) => Math.Pow(n - B * q, 2) / (B * q)).Sum(), Is.LessThan(27.9));
        }
    }

    [Test]
    public void ChanceIsOneInTheValues() =>
        Assert.That(
            (
                new AssociativeRecall(new(), 64, CPU).ChanceAccuracy,
                new AssociativeRecall(Settings(1, 5), 4, CPU).ChanceAccuracy
            ),
            Is.EqualTo((1.0 / 4096, 1.0 / 3))
        );

    [
        TestCase(65, 4, 8192, 0.01, "the length is 65: it must be even"),
        TestCase(64, 0, 8192, 0.01, "there are 0 pairs: at least one is needed"),
        TestCase(64, 17, 8192, 0.01, "the length is 64: 17 pairs and their queries need four tokens each, 68"),
        TestCase(64, 4, 64, 0.01, "the vocabulary has 64 tokens: it must be larger than the length, 64"),
        TestCase(64, 4, 1048577, 0.01, "the vocabulary has 1048577 tokens: at most 1048576 are allowed"),
        TestCase(64, 4, 8192, 0, "the power is 0: it must be above 0, up to 1"),
        TestCase(64, 4, 8192, 1.5, "the power is 1.5: it must be above 0, up to 1"),
        TestCase(64, 4, 8192, double.NaN, "the power is NaN: it must be above 0, up to 1")
    ]
    public void WhatMakesNoSenseIsSaid(int length, int pairs, int vocabulary, double power, string problem)
    {
        var settings = Settings(pairs, vocabulary, power);
        Assert.That(settings.Check(length), Is.EqualTo(new[] { problem }));
        Assert.That(() => settings.Create(length, CPU), Throws.ArgumentException.With.Message.EqualTo(problem));
    }

    [Test]
    public void EveryProblemIsSaid() => Assert.That(Settings(16, 3, -1).Check(63), Has.Exactly(4).Items);
}
