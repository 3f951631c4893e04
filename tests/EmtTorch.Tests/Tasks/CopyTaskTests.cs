using EmtTorch.Tasks;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

public sealed class CopyTaskTests
{
    private static CopyConfiguration Settings(int symbols, int length, int segmentLength) =>
        new()
        {
            Symbols = symbols,
            Length = length,
            SegmentLength = segmentLength,
        };

    [TestCase(8, 5, 20, 9), TestCase(2, 1, 0, 1), TestCase(3, 7, 13, 7), TestCase(3, 7, 13, 1000), TestCase(3, 4, 7, 8)]
    public void TheStringIsAskedForAfterTheSeparator(int symbols, int length, int delay, int segmentLength)
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator(5);
        var segments = Settings(symbols, length, segmentLength).Create(delay, CPU).Batch(10, generator);
        int total = 2 * length + delay + 1;
        Assert.That(
            segments.Select(s => s.Input.shape[1]),
            Is.EqualTo(Enumerable.Range(0, total).Chunk(segmentLength).Select(part => part.Length))
        );
        var inputs = cat(segments.Select(s => s.Input).ToArray(), 1).data<long>().ToArray().Chunk(total);
        var targets = cat(segments.Select(s => s.Target).ToArray(), 1).data<long>().ToArray().Chunk(total);
        foreach (var (input, target) in inputs.Zip(targets))
        {
            var text = input[..length];
            Assert.That(text, Is.All.InRange(2, symbols + 1));
            Assert.That(
                input[length..],
                Is.EqualTo(Enumerable.Repeat(0L, delay).Append(1).Concat(Enumerable.Repeat(0L, length)))
            );
            Assert.That(target, Is.EqualTo(Enumerable.Repeat(-100L, length + delay + 1).Concat(text)));
        }
    }

    [Test]
    public void SymbolsAreUniform()
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator(5);
        var task = new CopyTask(Settings(4, 10, 100), 3, CPU);
        var counts = task.Batch(1000, generator)[0]
            .Input.narrow(1, 0, 10)
            .flatten()
            .bincount(null, 6)
            .data<long>()
            .ToArray();
        using (Assert.EnterMultipleScope())
        {
            Assert.That(counts[2..], Is.All.InRange(2500 - 4 * Math.Sqrt(1875), 2500 + 4 * Math.Sqrt(1875)));
            Assert.That((task.ChanceAccuracy, task.VocabularySize), Is.EqualTo((0.25, 6)));
        }
    }

    [
        TestCase(1, 5, 20, 9, "there are 1 symbols: at least two"),
        TestCase((1 << 20) + 1, 5, 20, 9, "at most 1048576 are allowed"),
        TestCase(8, 0, 20, 9, "the string has 0 symbols"),
        TestCase(8, 5, -1, 9, "the delay is -1"),
        TestCase(8, 5, 20, 0, "a segment has 0 tokens")
    ]
    public void WhatMakesNoSenseIsSaid(int symbols, int length, int delay, int segmentLength, string gist)
    {
        var settings = Settings(symbols, length, segmentLength);
        Assert.That(settings.Check(delay), Has.Exactly(1).Items.And.One.Contains(gist));
        Assert.That(() => settings.Create(delay, CPU), Throws.ArgumentException.With.Message.Contains(gist));
    }

    [Test]
    public void EveryProblemIsSaid() => Assert.That(Settings(0, 0, 0).Check(-1), Has.Exactly(4).Items);
}
