using EmtTorch.Memory;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

public sealed class WriteReservoirTests
{
    /// <summary>A segment of documents with these gates; h̃, k and v say whose they are.</summary>
    private static MemoryActivity Activity(double[][] gates, bool hasGate = true)
    {
        long batch = gates.Length,
            tokens = gates[0].Length;
        var g = tensor(gates.SelectMany(row => row).ToArray()).view(batch, 1, tokens);
        var number = arange(batch * tokens, dtype: float64).view(batch, tokens);
        Tensor Of(double factor) => (number * factor).unsqueeze(-1).expand(batch, tokens, 2);
        return new(
            zeros(batch, 1, tokens, 2),
            Of(10).unsqueeze(1),
            Of(100).unsqueeze(1),
            g * 2,
            hasGate ? g : null,
            ones(1),
            WriteRule.Hebbian,
            zeros(0),
            zeros(0),
            zeros(0),
            Of(1)
        );
    }

    private static (double, long, long)[] Places(WriteReservoir reservoir) =>
        [.. reservoir.Writes.Select(w => (w.Gate, w.Episode, w.Position))];

    [Test]
    public void TheHighestGatesAreKeptInOrderAndNoMoreThanThereIsRoomFor()
    {
        using var scope = NewDisposeScope();
        using var reservoir = new WriteReservoir(3);
        reservoir.Add(
            Activity([
                [0.1, 0.5],
                [0.4, 0.2],
            ]),
            episode: 7,
            position: 10
        );
        Assert.That(Places(reservoir), Is.EqualTo(new[] { (0.5, 7L, 11L), (0.4, 8L, 10L), (0.2, 8L, 11L) }));
        reservoir.Add(
            Activity([
                [0.3, 0.1, 0.9],
            ]),
            episode: 9,
            position: 0
        );
        Assert.That(Places(reservoir), Is.EqualTo(new[] { (0.9, 9L, 2L), (0.5, 7L, 11L), (0.4, 8L, 10L) }));
        Assert.That((reservoir.Count, reservoir.Capacity), Is.EqualTo((3, 3)));
    }

    [Test]
    public void AmongEqualsTheEarlierStay()
    {
        using var scope = NewDisposeScope();
        using var reservoir = new WriteReservoir(2);
        reservoir.Add(
            Activity([
                [0.5, 0.5, 0.5],
            ]),
            0,
            0
        );
        reservoir.Add(
            Activity([
                [0.5, 0.5],
            ]),
            1,
            0
        );
        Assert.That(Places(reservoir), Is.EqualTo(new[] { (0.5, 0L, 0L), (0.5, 0L, 1L) }));
        // The later of the equals goes first.
        reservoir.Add(
            Activity([
                [0.6],
            ]),
            2,
            0
        );
        Assert.That(Places(reservoir), Is.EqualTo(new[] { (0.6, 2L, 0L), (0.5, 0L, 0L) }));
    }

    [Test]
    public void WhatIsKeptIsACopyOfTheRightTokenAndOutlivesTheScope()
    {
        using var reservoir = new WriteReservoir(1);
        using (NewDisposeScope())
        {
            reservoir.Add(
                Activity([
                    [0.1, 0.2],
                    [0.9, 0.3],
                ]),
                0,
                0
            );
        }

        var write = reservoir.Writes.Single();
        Assert.That(write.Hidden.data<double>().ToArray(), Is.EqualTo(new[] { 2.0, 2 }));
        Assert.That(write.Keys.data<double>().ToArray(), Is.EqualTo(new[] { 20.0, 20 }));
        Assert.That(write.Values.data<double>().ToArray(), Is.EqualTo(new[] { 200.0, 200 }));
        Assert.That(write.Strength.data<double>().ToArray(), Is.EqualTo(new[] { 1.8 }));
        Assert.That((write.Keys.shape, write.Hidden.shape), Is.EqualTo((new long[] { 1, 2 }, new long[] { 2 })));
    }

    [Test]
    public void WithoutAGateTheStrengthCountsAndOfSeveralHeadsTheHighest()
    {
        using var scope = NewDisposeScope();
        using var plain = new WriteReservoir(1);
        plain.Add(
            Activity(
                [
                    [0.1, 0.3],
                ],
                hasGate: false
            ),
            0,
            0
        );
        Assert.That(Places(plain), Is.EqualTo(new[] { (0.6, 0L, 1L) }));

        var two = Activity([
            [0.1, 0.3],
        ]);
        two = two with
        {
            Gate = tensor(new[] { 0.2, 0.3, 0.7, 0.1 }).view(1, 2, 2),
            Keys = zeros(1, 2, 2, 1),
            Values = zeros(1, 2, 2, 1),
            Strength = zeros(1, 2, 2),
        };
        using var heads = new WriteReservoir(5);
        heads.Add(two, 0, 0);
        Assert.That(Places(heads), Is.EqualTo(new[] { (0.7, 0L, 0L), (0.3, 0L, 1L) }));
    }

    [Test]
    public void NoRoomAndNoNumberAreRefused()
    {
        using var scope = NewDisposeScope();
        Assert.That(() => new WriteReservoir(0), Throws.InstanceOf<ArgumentOutOfRangeException>());
        using var reservoir = new WriteReservoir(2);
        Assert.That(
            () =>
                reservoir.Add(
                    Activity([
                        [0.1, double.NaN],
                    ]),
                    0,
                    0
                ),
            Throws.ArgumentException.With.Message.Contains("not a number")
        );
        Assert.That(reservoir.Count, Is.Zero);
    }
}
