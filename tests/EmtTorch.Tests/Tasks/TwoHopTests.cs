using EmtTorch.Tasks;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

public sealed class TwoHopTests
{
    // Tokens of the tasks below: 0 the question's, then noise, names.
    private const int Noise = 5,
        Names = 40,
        FirstName = 1 + Noise;

    private static TwoHopConfiguration Settings(int chains, int hops, int length, int distractors = 0) =>
        new()
        {
            Chains = chains,
            Hops = hops,
            SegmentLength = length,
            Names = Names,
            Noise = Noise,
            Distractors = distractors,
        };

    /// <summary>The segments of one batch, each row by row.</summary>
    private static (long[][] Input, long[][] Target)[] Segments(
        TwoHopConfiguration settings,
        int between,
        int batchSize
    )
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator(5);
        return
        [
            .. settings.Create(between, CPU).Batch(batchSize, generator).Select(s => (Rows(s.Input), Rows(s.Target))),
        ];

        static long[][] Rows(Tensor tokens) => [.. tokens.data<long>().ToArray().Chunk((int)tokens.shape[1])];
    }

    private static bool IsName(long token) => token is >= FirstName and < FirstName + Names;

    /// <summary>
    /// The facts of a segment in their order; everything else in it must be noise, and noise must follow each.
    /// </summary>
    private static List<(long Key, long Value)> Facts(long[] input)
    {
        var facts = new List<(long, long)>();
        for (int t = 0; t < input.Length; t++)
        {
            if (IsName(input[t]))
            {
                facts.Add((input[t], input[t + 1]));
                Assert.That(IsName(input[t + 1]) && !IsName(input[t + 2]), $"no two names and noise at {t}");
                t += 2;
            }
            else
            {
                Assert.That(input[t], Is.InRange(1, Noise));
            }
        }

        return facts;
    }

    [
        TestCase(4, 2, 2, 33, 3),
        TestCase(1, 2, 0, 6, 0),
        TestCase(3, 1, 1, 20, 0),
        TestCase(2, 3, 1, 24, 2),
        TestCase(4, 2, 1, 24, 0),
        TestCase(2, 5, 0, 30, 0)
    ]
    public void QuestionsGoAlongTheFactsOfTheFirstSegment(
        int chains,
        int hops,
        int between,
        int length,
        int distractors
    )
    {
        var segments = Segments(Settings(chains, hops, length, distractors), between, 50);
        Assert.That(segments, Has.Length.EqualTo(between + 2));
        int links = Math.Max(2, hops);
        for (int b = 0; b < 50; b++)
        {
            var facts = segments[..^1].Select(s => Facts(s.Input[b])).ToArray();
            Assert.That(
                facts.Select(f => f.Count),
                Is.EqualTo(Enumerable.Range(0, between + 1).Select(s => distractors + (s == 0 ? chains * links : 0)))
            );
            Assert.That(segments[..^1].SelectMany(s => s.Target[b]), Is.All.EqualTo(-100));
            var all = facts.SelectMany(f => f).ToList();
            Assert.That(all.Select(f => f.Key), Is.Unique);
            Assert.That(all.Select(f => f.Value), Is.Unique);
            var to = facts[0].ToDictionary(f => f.Key, f => f.Value);
            // Those that begin a chain: nothing leads to them, and they lead further than one fact.
            var begins = facts[0]
                .Where(f => to.ContainsKey(f.Value) && !to.ContainsValue(f.Key))
                .Select(f => f.Key)
                .ToList();
            Assert.That(begins, Has.Count.EqualTo(chains));
            Assert.That(
                all.SelectMany(f => new[] { f.Key, f.Value }).Distinct().Count(),
                Is.EqualTo(chains * (links + 1) + 2 * distractors * (between + 1))
            );

            var (input, target) = (segments[^1].Input[b], segments[^1].Target[b]);
            var asked = new List<long>();
            for (int t = 0; t < length; t++)
            {
                if (input[t] != 0)
                    Assert.That(input[t], Is.InRange(1, Noise));
                Assert.That(target[t], Is.EqualTo(-100));
                if (input[t] != 0)
                    continue;
                t++;
                asked.Add(input[t]);
                Assert.That(
                    target[t],
                    Is.EqualTo(Enumerable.Range(0, hops).Aggregate(input[t], (name, _) => to[name]))
                );
            }
            Assert.That(asked, Is.EquivalentTo(begins));
        }
    }

    [Test]
    public void NeitherOrderNorPlaceNorNameSaysWhichEndIsAskedFor()
    {
        // Of two chains, the right end of the first question: told before the other, told after its first fact, the
        // lesser name: half the time each.
        const int B = 6000;
        var segments = Segments(Settings(2, 2, 14), 0, B);
        int[] agree = new int[4];
        var ends = new Dictionary<long, int>();
        for (int b = 0; b < B; b++)
        {
            var facts = Facts(segments[0].Input[b]);
            var to = facts.ToDictionary(f => f.Key, f => f.Value);
            var input = segments[1].Input[b];
            int at = Array.IndexOf(input, 0) + 1;
            long begin = input[at],
                end = segments[1].Target[b][at],
                other = facts.Select(f => f.Value).Single(v => v != end && !to.ContainsKey(v));
            int Place(long value) => facts.FindIndex(f => f.Value == value);
            if (Place(end) < Place(other))
                agree[0]++; // the first question asks for the end told first
            if (Place(to[begin]) < Place(end))
                agree[1]++; // a → b comes before b → c
            if (end < other)
                agree[2]++;
            long[] begins = [.. facts.Where(f => !to.ContainsValue(f.Key)).Select(f => f.Key)];
            int First(long key) => facts.FindIndex(f => f.Key == key);
            if ((First(begin) < First(begins.Single(x => x != begin))) == (Place(end) < Place(other)))
                agree[3]++; // beginnings and ends come in the same order
            ends[end] = ends.GetValueOrDefault(end) + 1;
        }
        Assert.That(agree[..3], Is.All.InRange(B / 2 - 4 * Math.Sqrt(B / 4.0), B / 2 + 4 * Math.Sqrt(B / 4.0)));
        // And beginnings come in the order of their ends in as many of the 24 orders of four facts as there are: half.
        double expected = Orders().Average(o => (o.A < o.C) == (o.B < o.D) ? 1.0 : 0);
        Assert.That(agree[3], Is.EqualTo(B * expected).Within(4 * Math.Sqrt(B / 4.0)));
        Assert.That(
            ends.Values,
            Has.Count.EqualTo(Names).And.All.InRange(150 - 4 * Math.Sqrt(150), 150 + 4 * Math.Sqrt(150))
        );

        static IEnumerable<(int A, int B, int C, int D)> Orders() =>
            from a in Enumerable.Range(0, 4)
            from b in Enumerable.Range(0, 4)
            from c in Enumerable.Range(0, 4)
            from d in Enumerable.Range(0, 4)
            where new[] { a, b, c, d }.Distinct().Count() == 4
            select (a, b, c, d);
    }

    [Test]
    public void FactsLieAnywhere()
    {
        // Two facts of three tokens with their noise in eight: first and second at (0,3) (0,4) (0,5) (1,4) (1,5) (2,5).
        const int B = 6000;
        var arrangements = Segments(Settings(1, 2, 8), 0, B)[0]
            .Input.Select(row => string.Concat(row.Select(t => IsName(t) ? 1 : 0)))
            .CountBy(x => x)
            .ToDictionary();
        Assert.That(
            arrangements.Keys,
            Is.EquivalentTo(new[] { "11011000", "11001100", "11000110", "01101100", "01100110", "00110110" })
        );
        Assert.That(
            arrangements.Values,
            Is.All.InRange(1000 - 4 * Math.Sqrt(1000 * 5 / 6.0), 1000 + 4 * Math.Sqrt(1000 * 5 / 6.0))
        );
    }

    [Test]
    public void ChanceIsOneInTheNames() =>
        Assert.That(new TwoHop(Settings(2, 2, 16), 1, CPU).ChanceAccuracy, Is.EqualTo(1.0 / Names));

    [
        TestCase(0, 2, 1, 24, 40, 5, 0, "there are 0 chains: at least one is needed"),
        TestCase(2, 0, 1, 24, 40, 5, 0, "there are 0 hops: at least one is needed"),
        TestCase(2, 2, -1, 24, 40, 5, 0, "there are -1 segments between facts and questions"),
        TestCase(2, 2, 1, 0, 40, 5, 0, "a segment has 0 tokens: at least one is needed"),
        TestCase(2, 2, 1, 11, 40, 5, 0, "a segment has 11 tokens: 4 facts need three each, 12"),
        TestCase(2, 3, 1, 23, 40, 5, 2, "a segment has 23 tokens: 8 facts need three each, 24"),
        TestCase(2, 2, 1, 24, 0, 5, 0, "there are 0 names: at least one is needed"),
        TestCase(2, 2, 2, 24, 17, 5, 2, "there are 17 names: a document needs 18 distinct ones"),
        TestCase(2, 2, 1, 24, 40, 0, 0, "there are 0 noise tokens"),
        TestCase(2, 2, 1, 24, 40, 5, -1, "there are -1 distractors"),
        TestCase(
            2,
            2,
            1,
            24,
            1 << 20,
            5,
            0,
            "a question's token, 5 of noise and 1048576 names make more than 1048576 tokens"
        ),
        TestCase(2, 2, 1, 24, int.MaxValue, int.MaxValue, 0, "make more than 1048576 tokens")
    ]
    public void WhatMakesNoSenseIsSaid(
        int chains,
        int hops,
        int between,
        int length,
        int names,
        int noise,
        int distractors,
        string gist
    )
    {
        var settings = Settings(chains, hops, length, distractors) with { Names = names, Noise = noise };
        Assert.That(settings.Check(between), Has.Exactly(1).Items.And.One.Contains(gist));
        Assert.That(() => settings.Create(between, CPU), Throws.ArgumentException.With.Message.Contains(gist));
    }

    [Test]
    public void EveryProblemIsSaid() =>
        Assert.That((Settings(0, 0, 0, -1) with { Names = 0, Noise = 0 }).Check(-1), Has.Exactly(7).Items);
}
