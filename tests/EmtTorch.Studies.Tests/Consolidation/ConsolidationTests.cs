using EmtTorch.Memory;
using EmtTorch.Models;
using EmtTorch.Settings;
using EmtTorch.Tasks;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Studies.Tests;

public sealed class ConsolidationTests
{
    private static readonly SegmentRecallConfiguration Task = new()
    {
        Pairs = 2,
        SegmentLength = 8,
        Keys = 4,
        Values = 3,
        Noise = 2,
    };
    private const int Vocabulary = 1 + 2 + 4 + 3;

    private static readonly ModelConfiguration Small = new()
    {
        Type = "episodic_transformer",
        HiddenSize = 8,
        Heads = 2,
        Layers = 2,
        FeedForwardSize = 6,
        Dtype = "float64",
    };

    // Any token is any write's cue, as the network is not trained.
    private static readonly ConsolidationConfiguration Settings = new()
    {
        Steps = 3,
        BatchSize = 3,
        SegmentLength = 8,
        LearningRate = 0.01,
        Recognized = -1,
    };

    private static EpisodicTransformer Network(ModelConfiguration? model = null)
    {
        manual_seed(3).Dispose();
        return new EpisodicTransformer(Vocabulary, model ?? Small);
    }

    private static Tensor Tokens(long batch, long length, ulong seed = 0)
    {
        using var generator = new Generator(seed);
        return randint(0, Vocabulary, [batch, length], dtype: ScalarType.Int64, generator: generator);
    }

    private static (WriteReservoir[] Reservoirs, EpisodicState State) Read(
        EpisodicTransformer network,
        Tensor tokens,
        int capacity
    )
    {
        var reservoirs = network.Memories.Select(_ => new WriteReservoir(capacity)).ToArray();
        for (int i = 0; i < reservoirs.Length; i++)
        {
            var reservoir = reservoirs[i];
            network.Memories[i].Observer = a => reservoir.Add(a, 0, 0);
        }
        using var quiet = no_grad();
        var state = network.Read(tokens).State;
        foreach (var memory in network.Memories)
            memory.Observer = null;
        return (reservoirs, state);
    }

    private static Dictionary<string, double[]> Weights(EpisodicTransformer network) =>
        network
            .named_parameters()
            .ToDictionary(p => p.name, p => p.parameter.detach().clone().flatten().data<double>().ToArray());

    private static Dictionary<string, double[]> AfterANight(
        NightConfiguration night,
        ConsolidationConfiguration? settings = null,
        ulong seed = 1
    )
    {
        using var scope = NewDisposeScope();
        using var network = Network();
        var (reservoirs, _) = Read(network, Tokens(3, 12), 10);
        using var generator = new Generator(seed);
        new Consolidation(network, Task, settings ?? Settings, generator).RunNight(night, reservoirs);
        foreach (var reservoir in reservoirs)
            reservoir.Dispose();
        return Weights(network);
    }

    [Test]
    public void TheReplayLossIsTheSumByHand()
    {
        using var scope = NewDisposeScope();
        using var network = Network(Small with { HiddenSize = 2, Heads = 1, FeedForwardSize = 2, Drift = false });
        using (no_grad())
        {
            var weights = network.named_parameters().ToDictionary(p => p.name, p => (Tensor)p.parameter);
            // W_Q = 2I, FFN(h) = gelu(20 h) / 20 = h for h of 1 and more.
            weights["blocks.1.memory.qkv.weight"].narrow(0, 0, 2).copy_(eye(2, dtype: float64) * 2);
            weights["blocks.1.expand.weight"].copy_(eye(2, dtype: float64) * 20);
            weights["blocks.1.contract.weight"].copy_(eye(2, dtype: float64) / 20);
        }
        StoredWrite Write(double[] h, double[] k, double[] v) =>
            new(1, 0, 0, tensor(h), tensor(k).view(1, 2), tensor(v).view(1, 2), ones(1, dtype: float64));
        // ‖(2, 4) − (1, 0)‖² + ‖(1, 2) − (0, 1)‖² = 17 + 2, and ‖(6, 2) − (0, 1)‖² + ‖(3, 1) − (1, 1)‖² = 37 + 4.
        StoredWrite[] writes = [Write([1, 2], [1, 0], [0, 1]), Write([3, 1], [0, 1], [1, 1])];
        Assert.That(
            Consolidation
                .ComputeReplayLoss(
                    network,
                    [
                        [],
                        writes,
                    ]
                )
                .item<double>(),
            Is.EqualTo((19 + 41) / 2.0).Within(1e-12)
        );
        Assert.That(
            Consolidation
                .ComputeReplayLoss(
                    network,
                    [
                        [],
                        [],
                    ]
                )
                .item<double>(),
            Is.Zero
        );
    }

    [TestCase("hebbian", 1)]
    [TestCase("hypernetwork", 2)]
    public void TheReplayLossesGradientsAgreeWithFiniteDifferences(string write, int rank)
    {
        using var scope = NewDisposeScope();
        using var network = Network(
            Small with
            {
                HiddenSize = 4,
                MemoryHeads = 2,
                Attention = false,
                FeedForwardSize = 3,
                Write = write,
                HypernetworkRank = rank,
            }
        );
        var (reservoirs, _) = Read(network, Tokens(2, 6), 4);
        // What it doesn't depend on has a gradient of 0.
        Tensor Loss() =>
            Consolidation.ComputeReplayLoss(network, [.. reservoirs.Select(r => r.Writes)])
            + network.parameters().Select(p => p.sum() * 0).Aggregate((x, y) => x + y);
        Loss().backward();
        FiniteDifferences.Check(
            network,
            () =>
            {
                using var inner = NewDisposeScope();
                using var quiet = no_grad();
                return Loss().item<double>();
            }
        );
        var moved = network
            .named_parameters()
            .Where(p => p.parameter.grad!.abs().max().item<double>() > 0)
            .Select(p => p.name)
            .ToArray();
        Assert.That(
            moved,
            Is.EquivalentTo(
                new[] { 0, 1 }.SelectMany(i =>
                    new[]
                    {
                        $"blocks.{i}.memory.qkv.weight",
                        $"blocks.{i}.expand.weight",
                        $"blocks.{i}.contract.weight",
                    }
                )
            )
        );
        foreach (var reservoir in reservoirs)
            reservoir.Dispose();
    }

    [Test]
    public void WhatIsWipedIsGone()
    {
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        using var network = Network(Small with { Attention = false, Drift = false });
        var question = Tokens(2, 4, seed: 9);
        var state = network.Read(Tokens(2, 9)).State;
        var wiped = Consolidation.Wipe(state);
        Assert.That(wiped.Layers.Select(l => l.Memories["fast_weights"]["F"].abs().max().item<double>()), Is.All.Zero);
        var fresh = network.Read(question).Hidden;
        Compared.AreEqual([network.Read(question, wiped).Hidden], [fresh], 1e-15);
        Assert.That(
            (network.Read(question, state).Hidden - fresh).abs().max().item<double>(),
            Is.GreaterThan(1e-3),
            "else there was nothing to wipe"
        );
        // Context and window stay.
        using var whole = Network(Small with { Window = 3 });
        var full = whole.Read(Tokens(2, 9)).State;
        foreach (var (before, after) in full.Layers.Zip(Consolidation.Wipe(full).Layers))
        {
            Compared.AreEqual(
                [after.Context!, after.Keys!, after.Values!],
                [before.Context!, before.Keys!, before.Values!],
                1e-15
            );
        }
    }

    [TestCase("hebbian", 1)]
    [TestCase("delta", 1)]
    [TestCase("hypernetwork", 3)]
    public void AllWritesPutBackAreTheFastWeights(string write, int rank)
    {
        using var scope = NewDisposeScope();
        using var network = Network(Small with { Write = write, HypernetworkRank = rank, MemoryHeads = 2 });
        var (reservoirs, state) = Read(network, Tokens(1, 11), 20);
        for (int block = 0; block < 2; block++)
        {
            var writes = reservoirs[block].Writes.OrderBy(w => w.Position).ToArray();
            Assert.That(writes, Has.Length.EqualTo(11));
            Tensor Together(Func<StoredWrite, Tensor> of) => stack(writes.Select(of).ToArray(), 1).unsqueeze(0);
            var again = network
                .Memories[block]
                .Rewritten(Together(w => w.Keys), Together(w => w.Values), Together(w => w.Strength));
            Compared.AreEqual([again], [state.Layers[block].Memories["fast_weights"]["F"]], 1e-12);
        }
        foreach (var reservoir in reservoirs)
            reservoir.Dispose();
    }

    [TestCase("literal", "none", "query_and_feed_forward")]
    [TestCase("literal", "episodes", "query_and_feed_forward")]
    [TestCase("distilled", "none", "feed_forward")]
    [TestCase("distilled", "noise", "query_and_feed_forward")]
    [TestCase("distilled", "episodes", "all")]
    public void ANightMovesWhatItSaysAndIsTheSameEachTime(string replay, string rehearsal, string moves)
    {
        var night = new NightConfiguration
        {
            Replay = replay,
            Rehearsal = rehearsal,
            Moves = moves,
        };
        using var unmoved = Network();
        var before = Weights(unmoved);
        var after = AfterANight(night);
        Assert.That(AfterANight(night), Is.EqualTo(after));
        if (replay == "distilled")
            Assert.That(AfterANight(night, seed: 2), Is.Not.EqualTo(after));
        foreach (var (name, values) in after)
        {
            bool feedForward = name.Contains(".expand.") || name.Contains(".contract.");
            if (name.EndsWith("memory.qkv.weight", StringComparison.Ordinal) && moves == "query_and_feed_forward")
            {
                Assert.That(values[..64], Is.Not.EqualTo(before[name][..64]), "W_Q");
                Assert.That(values[64..], Is.EqualTo(before[name][64..]), "W_K and W_V");
            }
            else if (feedForward || moves == "all")
            {
                Assert.That(values, Is.Not.EqualTo(before[name]), name);
            }
            else if (moves != "all")
            {
                Assert.That(values, Is.EqualTo(before[name]), name);
            }
        }
    }

    [Test]
    public void WithoutCuesOrStepsNothingMoves()
    {
        using var network = Network();
        var before = Weights(network);
        var night = new NightConfiguration { Replay = "distilled", Rehearsal = "none" };
        Assert.That(
            AfterANight(night, Settings with { Recognized = 1 }),
            Is.EqualTo(before),
            "no query is quite a key"
        );
        Assert.That(AfterANight(night, Settings with { Steps = 0 }), Is.EqualTo(before));
        Assert.That(AfterANight(night with { Replay = "none" }), Is.EqualTo(before));
    }

    [Test]
    public void WhatANightTakesOfMemoryItGivesBack()
    {
        using var scope = NewDisposeScope();
        using var network = Network();
        var (reservoirs, _) = Read(network, Tokens(3, 12), 10);
        using var generator = new Generator(1);
        var consolidation = new Consolidation(network, Task, Settings, generator);
        consolidation.RunNight(new(), reservoirs);
        int held = scope.DisposablesCount;
        for (int i = 0; i < 3; i++)
            consolidation.RunNight(new(), reservoirs);
        Assert.That(scope.DisposablesCount, Is.EqualTo(held));
        foreach (var reservoir in reservoirs)
            reservoir.Dispose();
    }

    [Test]
    public void WithoutFastWeightsThereIsNothingToConsolidate()
    {
        using var network = Network(Small with { Memory = "none" });
        using var generator = new Generator(1);
        Assert.That(
            () => new Consolidation(network, Task, Settings, generator),
            Throws.ArgumentException.With.Message.Contains("nothing to consolidate")
        );
    }

    [Test]
    public void AllProblemsOfAConfigurationAreSaid()
    {
        var file = Path.GetTempFileName();
        try
        {
            File.WriteAllText(
                file,
                """{ "facts": [4, 6], "nights": [{ "name": "a", "replay": "literal" }, { "name": "a" }], "stepps": 3, "capacity": 0 }"""
            );
            var problems = Assert.Throws<ConfigurationException>(() => ConsolidationConfiguration.Load(file))!.Problems;
            Assert.That(
                problems.Select(p => $"{p.Path}: {p.Message}"),
                Has.Some.Contains("stepps: unknown key; did you mean steps?")
                    .And.Some.Contains("capacity: found 0")
                    .And.Some.Contains("facts: found 6; allowed: multiples of facts_per_document, 4")
                    .And.Some.Contains("the name a 2 times")
                    .And.Some.Contains("literal replay moves query_and_feed_forward")
            );
        }
        finally
        {
            File.Delete(file);
        }
    }
}
