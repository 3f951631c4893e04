using EmtTorch.Memory;
using EmtTorch.Models;
using EmtTorch.Settings;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

/// <summary>A memory of a user's own in the blocks: it is read and carried on, and its state stays its
/// owner's.</summary>
public sealed class FurtherMemoriesTests
{
    private const int Vocabulary = 5;

    private static readonly ModelConfiguration Model = new()
    {
        Type = "episodic_transformer",
        HiddenSize = 8,
        Heads = 2,
        Layers = 2,
        Memory = "none",
        Drift = false,
        Dtype = "float64",
        Memories = [new SumSettings()],
    };

    /// <summary>A token reads the sum of those before it.</summary>
    [Named("test_sum")]
    private sealed record SumSettings : MemorySettings
    {
        public override BlockMemory Create(BlockShape block) => new Sum(block);
    }

    private sealed class Sum(BlockShape block) : BlockMemory(nameof(Sum))
    {
        public override MemoryState FirstState(long batch, Device device) =>
            new() { ["sum"] = zeros([batch, block.Width], dtype: block.Dtype, device: device) };

        public override MemoryRead Read(BlockInput input, MemoryState state)
        {
            var sums = state["sum"].unsqueeze(1) + input.Hidden.cumsum(1); // (B, T, d)
            return new(sums - input.Hidden, new() { ["sum"] = sums.select(1, -1) });
        }
    }

    private sealed class Unchanged(BlockShape block) : BlockMemory(nameof(Unchanged))
    {
        public override MemoryState FirstState(long batch, Device device) =>
            new() { ["one"] = ones([batch, 1], dtype: block.Dtype, device: device) };

        public override MemoryRead Read(BlockInput input, MemoryState state) =>
            new(input.Hidden * state["one"].unsqueeze(1), state);
    }

    [Named("test_unchanged")]
    private sealed record UnchangedSettings : MemorySettings
    {
        public override BlockMemory Create(BlockShape block) => new Unchanged(block);
    }

    [Test]
    public void ADocumentGivesTheSameHoweverItIsCut()
    {
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        manual_seed(1).Dispose();
        using var network = new EpisodicTransformer(Vocabulary, Model);
        using var without = new EpisodicTransformer(Vocabulary, Model with { Memories = [] });
        foreach (var (name, parameter) in without.named_parameters())
            parameter.copy_(network.named_parameters().First(p => p.name == name).parameter);
        var tokens = randint(0, Vocabulary, [2, 6], dtype: ScalarType.Int64);
        var (whole, _) = network.Read(tokens);
        EpisodicState? state = null;
        var parts = new List<Tensor>();
        foreach (var (from, length) in new[] { (0, 2), (2, 0), (2, 1), (3, 3) })
        {
            (var hidden, state) = network.Read(tokens.narrow(1, from, length), state);
            parts.Add(hidden);
        }
        Assert.That((cat(parts, 1) - whole).abs().max().ToDouble(), Is.LessThan(1e-12));
        Assert.That((without.Read(tokens).Hidden - whole).abs().max().ToDouble(), Is.GreaterThan(1e-3));
    }

    [TestCase(0)]
    [TestCase(3)]
    public void TheStateThatWasGivenStaysItsOwners(int length)
    {
        using var network = new EpisodicTransformer(
            Vocabulary,
            Model with
            {
                Memories = [new SumSettings(), new UnchangedSettings()],
            }
        );
        using var outer = NewDisposeScope();
        long before;
        using (var inner = NewDisposeScope())
        {
            var (_, state) = network.Read(zeros([1, 2], dtype: ScalarType.Int64));
            before = outer.DisposablesCount;
            using (NewDisposeScope())
                network.Read(zeros([1, length], dtype: ScalarType.Int64), state);
            Assert.That(outer.DisposablesCount, Is.EqualTo(before));
            Assert.That(state.Layers[0].Memories["test_unchanged"]["one"].IsInvalid, Is.False);
        }
        Assert.That(outer.DisposablesCount, Is.EqualTo(before));
    }
}
