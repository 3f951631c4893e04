using EmtTorch.Tasks;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

public sealed class RebindingTests
{
    private const int Noise = 4,
        Keys = 30,
        Values = 8,
        FirstKey = 1 + Noise,
        FirstValue = FirstKey + Keys;

    /// <summary>A sequence's events in their order, a binding with its value and a question with its target.</summary>
    private sealed record Event(bool IsQuestion, int At, long Key, long Value);

    private static RebindingConfiguration Settings(int pairs, int rebindings, int questions) =>
        new()
        {
            Pairs = pairs,
            Rebindings = rebindings,
            Questions = questions,
            Keys = Keys,
            Values = Values,
            Noise = Noise,
        };

    private static List<Event>[] Sequences(int length, int pairs, int rebindings, int questions, int batchSize)
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator(5);
        var task = Settings(pairs, rebindings, questions).Create(length, CPU);
        var (input, target, _) = task.Batch(batchSize, generator)[0];
        return [.. input.data<long>().ToArray().Chunk(length).Zip(target.data<long>().ToArray().Chunk(length), Read)];
    }

    private static List<Event> Read(long[] input, long[] target)
    {
        var events = new List<Event>();
        for (int t = 0; t < input.Length; t++)
        {
            Assert.That(target[t], Is.EqualTo(-100));
            if (input[t] == 0)
            {
                events.Add(new(true, t, input[t + 1], target[++t]));
            }
            else if (input[t] is >= FirstKey and < FirstValue)
            {
                events.Add(new(false, t, input[t], input[++t]));
                Assert.That(target[t], Is.EqualTo(-100));
            }
            else
            {
                Assert.That(input[t], Is.InRange(1, Noise));
            }

            Assert.That(events is [] || events[^1].Value >= FirstValue);
        }
        return events;
    }

    [
        TestCase(101, 5, 7, 9),
        TestCase(5, 1, 0, 1),
        TestCase(4, 1, 0, 1),
        TestCase(36, 3, 6, 9),
        TestCase(64, 8, 0, 8),
        TestCase(64, 1, 12, 12)
    ]
    public void TheNewestValueCounts(int length, int pairs, int rebindings, int questions)
    {
        foreach (var events in Sequences(length, pairs, rebindings, questions, 200))
        {
            var bound = new Dictionary<long, long>();
            foreach (var e in events)
            {
                if (e.IsQuestion)
                    Assert.That(e.Value, Is.EqualTo(bound[e.Key]));
                else
                    bound[e.Key] = e.Value;
            }

            Assert.That(
                (bound.Count, events.Count(e => !e.IsQuestion), events.Count(e => e.IsQuestion)),
                Is.EqualTo((pairs, pairs + rebindings, questions))
            );
        }
    }

    [Test]
    public void WhatIsDrawnIsEvenlySpread()
    {
        const int B = 8000;
        var sequences = Sequences(12, 2, 1, 2, B);
        var kinds = sequences
            .CountBy(events => string.Concat(events.Select(e => e.IsQuestion ? 'q' : 'b')))
            .ToDictionary();
        var places = sequences.CountBy(events => string.Join(",", events.Select(e => e.At))).ToDictionary();
        // Two keys, one of them bound twice: A A' B, A B A', B A A', and the key bound twice may be either.
        var twice = sequences
            .CountBy(events =>
                events.Where(e => !e.IsQuestion).ToArray() is var b && b[0].Key == b[1].Key ? 2
                : b[1].Key == b[2].Key ? 0
                : 1
            )
            .ToDictionary();
        // Behind all three bindings, a question asks with 2/3 for the key that was bound twice.
        var last = sequences
            .Select(events => (events[^1], Bindings: events.Where(e => !e.IsQuestion).ToArray()))
            .Where(x => x.Item1.IsQuestion)
            .ToArray();
        double asksTwice = last.Count(x => x.Bindings.Count(b => b.Key == x.Item1.Key) == 2);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(kinds.Keys, Is.EquivalentTo(new[] { "bbbqq", "bbqbq", "bbqqb", "bqbbq", "bqbqb", "bqqbb" }));
            Assert.That(kinds.Values, Is.All.InRange(Low(1 / 6.0), High(1 / 6.0)));
            // Five events of two tokens in twelve: 7 over 5 arrangements.
            Assert.That(places.Values, Has.Count.EqualTo(21).And.All.InRange(Low(1 / 21.0), High(1 / 21.0)));
            Assert.That(twice.Values, Has.Count.EqualTo(3).And.All.InRange(Low(1 / 3.0), High(1 / 3.0)));
            Assert.That(asksTwice / last.Length, Is.EqualTo(2 / 3.0).Within(4 * Math.Sqrt(2 / 9.0 / last.Length)));
        }

        // Four standard deviations.
        static double Low(double p) => B * p - 4 * Math.Sqrt(B * p * (1 - p));
        static double High(double p) => B * p + 4 * Math.Sqrt(B * p * (1 - p));
    }

    [Test]
    public void ChanceIsOneInTheValues() =>
        Assert.That(new Rebinding(Settings(4, 4, 4), 64, CPU).ChanceAccuracy, Is.EqualTo(0.125));

    [
        TestCase(64, 0, 4, 4, 30, 8, 4, "there are 0 pairs"),
        TestCase(64, 4, -1, 4, 30, 8, 4, "there are -1 rebindings"),
        TestCase(64, 4, 4, 0, 30, 8, 4, "there are 0 questions"),
        TestCase(23, 4, 4, 4, 30, 8, 4, "the length is 23: 12 bindings and questions need two tokens each, 24"),
        TestCase(64, 4, 4, 4, 3, 8, 4, "there are 3 keys: a document needs 4 distinct ones"),
        TestCase(64, 4, 4, 4, 30, 0, 4, "there are 0 values"),
        TestCase(64, 4, 4, 4, 30, 8, 0, "there are 0 noise tokens"),
        TestCase(64, 4, int.MaxValue, 4, 30, 8, 4, "the length is 64: 2147483655 bindings"),
        TestCase(64, 4, 4, 4, 30, 1 << 20, 4, "make more than 1048576 tokens")
    ]
    public void WhatMakesNoSenseIsSaid(
        int length,
        int pairs,
        int rebindings,
        int questions,
        int keys,
        int values,
        int noise,
        string gist
    )
    {
        var settings = Settings(pairs, rebindings, questions) with { Keys = keys, Values = values, Noise = noise };
        Assert.That(settings.Check(length), Has.Exactly(1).Items.And.One.Contains(gist));
        Assert.That(() => settings.Create(length, CPU), Throws.ArgumentException.With.Message.Contains(gist));
    }

    [Test]
    public void EveryProblemIsSaid() =>
        Assert.That((Settings(0, -1, 0) with { Keys = 0, Values = 0, Noise = 0 }).Check(-1), Has.Exactly(7).Items);
}
