using EmtTorch.Tasks;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

public sealed class SegmentRecallTests
{
    // Tokens of the tasks below: 0 the question's, then noise, keys, values.
    private const int Noise = 5,
        Keys = 40,
        Values = 8,
        FirstKey = 1 + Noise,
        FirstValue = FirstKey + Keys;

    private static SegmentRecallConfiguration Settings(int pairs, int length, int distractors = 0) =>
        new()
        {
            Pairs = pairs,
            SegmentLength = length,
            Keys = Keys,
            Values = Values,
            Noise = Noise,
            Distractors = distractors,
        };

    /// <summary>The segments of one batch, each row by row.</summary>
    private static (long[][] Input, long[][] Target)[] Segments(
        SegmentRecallConfiguration settings,
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

    private static bool IsKey(long token) => token is >= FirstKey and < FirstValue;

    private static bool IsValue(long token) => token is >= FirstValue and < FirstValue + Values;

    /// <summary>The pairs of a segment; everything else in it must be noise.</summary>
    private static List<(long Key, long Value)> Pairs(long[] input)
    {
        var pairs = new List<(long, long)>();
        for (int t = 0; t < input.Length; t++)
        {
            if (IsKey(input[t]))
            {
                Assert.That(IsValue(input[t + 1]), $"a key at {t} has no value");
                pairs.Add((input[t], input[++t]));
            }
            else
            {
                Assert.That(input[t], Is.InRange(1, Noise));
            }
        }

        return pairs;
    }

    [
        TestCase(4, 2, 19, 3),
        TestCase(1, 0, 2, 0),
        TestCase(1, 0, 7, 0),
        TestCase(4, 1, 8, 4),
        TestCase(3, 3, 11, 0),
        TestCase(2, 1, 12, 5)
    ]
    public void QuestionsAskForThePairsOfTheFirstSegment(int pairs, int between, int length, int distractors)
    {
        var segments = Segments(Settings(pairs, length, distractors), between, 50);
        Assert.That(segments, Has.Length.EqualTo(between + 2));
        for (int b = 0; b < 50; b++)
        {
            var bound = Pairs(segments[0].Input[b]);
            var distracting = segments[1..^1].Select(s => Pairs(s.Input[b])).ToArray();
            Assert.That(bound, Has.Count.EqualTo(pairs));
            Assert.That(distracting.Select(d => d.Count), Is.All.EqualTo(distractors));
            Assert.That(bound.Concat(distracting.SelectMany(d => d)).Select(p => p.Key), Is.Unique);
            Assert.That(segments[..^1].SelectMany(s => s.Target[b]), Is.All.EqualTo(-100));

            var (input, target) = (segments[^1].Input[b], segments[^1].Target[b]);
            var asked = new List<(long, long)>();
            for (int t = 0; t < length; t++)
            {
                if (input[t] != 0)
                    Assert.That(input[t], Is.InRange(1, Noise));
                Assert.That(target[t], Is.EqualTo(-100));
                if (input[t] != 0)
                    continue;
                t++;
                asked.Add((input[t], target[t]));
            }
            Assert.That(asked, Is.EquivalentTo(bound));
        }
    }

    [TestCase(false)]
    [TestCase(true)]
    public void PersistentPairsAreToldInEveryDocumentAndAskedForIfItSaysSo(bool asked)
    {
        var settings = Settings(5, 12, distractors: 2) with { Persistent = 3, PersistentAsked = asked };
        var facts = new Dictionary<long, HashSet<(long, long)>>(); // by seed
        foreach (long seed in new[] { 1, 2 })
        {
            using var scope = NewDisposeScope();
            using var generator = new Generator(5);
            var task = (SegmentRecall)settings.ForRun(seed).Create(2, CPU);
            var segments = task.Batch(60, generator);
            long[][] Rows(Tensor x) => [.. x.data<long>().ToArray().Chunk(12)];
            var (told, questions, targets) = (
                Rows(segments[0].Input),
                Rows(segments[^1].Input),
                Rows(segments[^1].Target)
            );
            facts[seed] = [.. Pairs(told[0]).Where(p => p.Key < FirstKey + 3)];
            Assert.That(facts[seed], Has.Count.EqualTo(3));
            var places = new HashSet<string>();
            for (int b = 0; b < 60; b++)
            {
                var pairs = Pairs(told[b]);
                Assert.That(pairs.Where(p => p.Key < FirstKey + 3), Is.EquivalentTo(facts[seed]));
                Assert.That(pairs, Has.Count.EqualTo(5));
                places.Add(string.Concat(pairs.Select(p => p.Key < FirstKey + 3 ? 1 : 0)));
                foreach (var between in segments.Skip(1).SkipLast(1))
                    Assert.That(Pairs(Rows(between.Input)[b]).Select(p => p.Key), Is.All.GreaterThan(FirstKey + 2));
                var answers = Enumerable
                    .Range(0, 12)
                    .Where(t => targets[b][t] >= 0)
                    .Select(t => (questions[b][t], targets[b][t]));
                Assert.That(
                    answers,
                    Is.EquivalentTo(asked ? pairs : pairs.Where(p => p.Key >= FirstKey + 3)),
                    "each once"
                );
            }
            Assert.That(places, Has.Count.EqualTo(10), "anywhere among the others");

            var (input, target, _) = task.AskForFacts(40, generator);
            for (int b = 0; b < 40; b++)
            {
                var (one, wanted) = (Rows(input)[b], Rows(target)[b]);
                var found = Enumerable.Range(0, 12).Where(t => wanted[t] >= 0).Select(t => (one[t], wanted[t]));
                Assert.That(found, Is.EquivalentTo(facts[seed]));
                Assert.That(one.Count(t => t == 0), Is.EqualTo(3));
            }
        }
        Assert.That(facts[1].Order(), Is.Not.EqualTo(facts[2].Order()), "by the seed");
    }

    [Test]
    public void PlacesOrderAndValuesAreEvenlySpread()
    {
        // Two pairs in five tokens: six arrangements (0,2) (0,3) (1,3), as likely as each other: three.
        const int B = 6000;
        var segments = Segments(Settings(2, 5), 0, B);
        var arrangements = segments
            .SelectMany(
                (s, i) =>
                    s.Input.Select(row =>
                        (
                            i,
                            string.Concat(
                                row.Select(token => i == 0 ? IsKey(token) : token == 0).Select(x => x ? 1 : 0)
                            )
                        )
                    )
            )
            .CountBy(x => x)
            .ToDictionary();
        double sameOrder = Enumerable
            .Range(0, B)
            .Count(b => segments[0].Input[b].First(IsKey) == segments[1].Input[b].First(IsKey));
        var values = segments[1]
            .Target.SelectMany(row => row)
            .Where(token => token != -100)
            .CountBy(token => token)
            .ToDictionary();
        using (Assert.EnterMultipleScope())
        {
            Assert.That(
                arrangements.Keys,
                Is.EquivalentTo(new[] { 0, 1 }.SelectMany(i => new[] { (i, "10100"), (i, "10010"), (i, "01010") }))
            );
            // Four standard deviations.
            Assert.That(
                arrangements.Values,
                Is.All.InRange(B / 3 - 4 * Math.Sqrt(B * 2 / 9.0), B / 3 + 4 * Math.Sqrt(B * 2 / 9.0))
            );
            Assert.That(sameOrder, Is.EqualTo(B / 2).Within(4 * Math.Sqrt(B / 4.0)));
            Assert.That(
                values.Values,
                Has.Count.EqualTo(Values)
                    .And.All.InRange(1500 - 4 * Math.Sqrt(1500 * 7 / 8.0), 1500 + 4 * Math.Sqrt(1500 * 7 / 8.0))
            );
        }
    }

    [Test]
    public void BothWaysHalfOfTheQuestionsGiveTheValue()
    {
        const int B = 2000,
            N = 4;
        var segments = Segments(Settings(N, 12, 2) with { BothWays = true }, 1, B);
        int back = 0;
        for (int b = 0; b < B; b++)
        {
            var bound = Pairs(segments[0].Input[b]);
            Assert.That(bound.Concat(Pairs(segments[1].Input[b])).Select(p => p.Value), Is.Unique);
            var (input, target) = (segments[2].Input[b], segments[2].Target[b]);
            var asked = Enumerable
                .Range(0, 12)
                .Where(t => target[t] != -100)
                .Select(t => (Question: input[t - 1], Given: input[t], Wanted: target[t]))
                .ToList();
            Assert.That(asked.Select(a => a.Question), Is.All.EqualTo(0));
            Assert.That(
                asked.Select(a => IsKey(a.Given) ? (a.Given, a.Wanted) : (a.Wanted, a.Given)),
                Is.EquivalentTo(bound)
            );
            back += asked.Count(a => IsValue(a.Given));
        }
        Assert.That(back, Is.EqualTo(B * N / 2).Within(4 * Math.Sqrt(B * N / 4.0)));
        Assert.That(
            new SegmentRecall(Settings(2, 8) with { BothWays = true }, 1, CPU).ChanceAccuracy,
            Is.EqualTo((1 / 8.0 + 1 / 40.0) / 2)
        );
        Assert.That(
            (Settings(5, 12, 2) with { BothWays = true }).Check(2),
            Is.EqualTo(new[] { "there are 8 values: a document that is asked both ways needs 9 distinct ones" })
        );
        Assert.That((Settings(4, 12, 2) with { BothWays = true }).Check(2), Is.Empty);
    }

    [Test]
    public void ChanceIsOneInTheValues() =>
        Assert.That(new SegmentRecall(Settings(2, 8), 1, CPU).ChanceAccuracy, Is.EqualTo(0.125));

    [
        TestCase(0, 1, 8, 40, 8, 5, 0, "there are 0 pairs: at least one is needed"),
        TestCase(2, -1, 8, 40, 8, 5, 0, "there are -1 segments between pairs and questions"),
        TestCase(2, 1, 0, 40, 8, 5, 0, "a segment has 0 tokens: at least one is needed"),
        TestCase(4, 1, 7, 40, 8, 5, 0, "a segment has 7 tokens: 4 pairs need two each, 8"),
        TestCase(2, 1, 7, 40, 8, 5, 4, "a segment has 7 tokens: 4 pairs need two each, 8"),
        TestCase(2, 1, 8, 0, 8, 5, 0, "there are 0 keys: at least one is needed"),
        TestCase(2, 2, 8, 7, 8, 5, 3, "there are 7 keys: a document needs 8 distinct ones"),
        TestCase(2, 1, 8, 40, 0, 5, 0, "there are 0 values"),
        TestCase(2, 1, 8, 40, 8, 0, 0, "there are 0 noise tokens"),
        TestCase(2, 1, 8, 40, 8, 5, -1, "there are -1 distractors"),
        TestCase(
            2,
            1,
            8,
            1 << 19,
            1 << 19,
            5,
            0,
            "a question's token, 5 of noise, 524288 keys and 524288 values make more than 1048576 tokens"
        ),
        TestCase(2, 1, 8, int.MaxValue, int.MaxValue, 5, 0, "make more than 1048576 tokens")
    ]
    public void WhatMakesNoSenseIsSaid(
        int pairs,
        int between,
        int length,
        int keys,
        int values,
        int noise,
        int distractors,
        string gist
    )
    {
        var settings = Settings(pairs, length, distractors) with { Keys = keys, Values = values, Noise = noise };
        Assert.That(settings.Check(between), Has.Exactly(1).Items.And.One.Contains(gist));
        Assert.That(() => settings.Create(between, CPU), Throws.ArgumentException.With.Message.Contains(gist));
    }

    [Test]
    public void EveryProblemIsSaid() =>
        Assert.That((Settings(0, 0, -1) with { Keys = 0, Values = 0, Noise = 0 }).Check(-1), Has.Exactly(7).Items);

    [Test]
    public void OfSeveralVocabulariesADocumentHasTheKeysAndValuesOfOne([Values(1, 2, 3)] int vocabulary)
    {
        var settings = Settings(2, 6) with { Keys = 5, Values = 4, Noise = 3, Vocabularies = 3 };
        var task = (settings with { Vocabulary = vocabulary }).Create(1, CPU);
        int first = 4 + 9 * (vocabulary - 1);
        using var generator = new Generator(3);
        var document = task.Batch(200, generator);
        long[] tokens = [.. document.SelectMany(s => s.Input.data<long>().ToArray()).Distinct().Order()],
            asked = [.. document[^1].Target.data<long>().ToArray().Where(t => t >= 0).Distinct().Order()];
        using (Assert.EnterMultipleScope())
        {
            Assert.That(task.VocabularySize, Is.EqualTo(4 + 27));
            Assert.That(
                tokens,
                Is.EqualTo(new long[] { 0, 1, 2, 3 }.Concat(Enumerable.Range(first, 9).Select(t => (long)t)))
            );
            Assert.That(asked, Is.EqualTo(Enumerable.Range(first + 5, 4).Select(t => (long)t)));
            Assert.That((settings with { Vocabulary = 4 }).Check(1), Has.One.Contains("vocabulary 4 of 3"));
        }
    }
}
