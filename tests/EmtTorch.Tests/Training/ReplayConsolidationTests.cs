using EmtTorch.Configuration;
using EmtTorch.Memory;
using EmtTorch.Models;
using EmtTorch.Settings;
using EmtTorch.Training;
using Serilog.Core;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

/// <summary>Consolidation while a network is trained, and facts that persist over documents.</summary>
public sealed class ReplayConsolidationTests : InTemporaryFolder
{
    private const string Small = """
        {
          "name": "small", "device": "cpu",
          "task": { "segment_recall": { "pairs": 3, "segment_length": 9, "keys": 6, "values": 3, "noise": 2,
            "persistent": 1 } },
          "model": { "type": "episodic_transformer", "hidden_size": 8, "heads": 2, "window": 4, "write": "delta",
            "feed_forward_size": 6 },
          "training": { "steps": 8, "batch_size": 5, "log_interval": 1, "learning_rate": 0.01,
            "curriculum": { "horizons": [1], "threshold": 1 },
            "consolidation": { "interval": 3, "writes": 7, "steps": 2, "learning_rate": 0.01 } },
          "evaluation": { "horizon": 1, "batches": 1, "batch_size": 4, "interval": 4 }, "checkpoints": { "interval": 4 }
        }
        """;

    private RunConfiguration Configuration(params string[] overrides) =>
        ConfigurationFile.Parse(Small, [$"out={Folder}", .. overrides]);

    private static RunResult? Train(
        RunConfiguration configuration,
        bool resume = false,
        Action<TrainingProgress>? progress = null,
        CancellationToken stop = default
    ) =>
        new TrainingRun(configuration, RunFolder.Of(configuration), Logger.None) { Progress = progress }.Train(
            resume,
            stop
        );

    private static string[] Lines(RunConfiguration configuration) =>
        [
            .. RunFolder
                .Of(configuration)
                .ReadMetrics()
                .Select(m =>
                    $"{m.Step} {m.Loss:R} {m.GradientNorm:R} {m.TestLoss:R} {m.Measures?["persistent_accuracy"]:R}"
                ),
        ];

    private static Dictionary<string, byte[]> LastTensors(RunConfiguration configuration)
    {
        var folder = RunFolder.Of(configuration).Checkpoints;
        var file = SafetensorsFile.Read(Path.Combine(folder, File.ReadAllText(Path.Combine(folder, "latest")).Trim()));
        return file.Tensors.ToDictionary(t => t.Key, t => t.Value.ToArray());
    }

    [Test]
    public void ARunThatIsBrokenOffBetweenTwoConsolidationsGoesOnToTheSameBits(
        [Values("attention", "memory")] string queries
    )
    {
        string[] settings = [$"training.consolidation.queries={queries}"];
        var whole = Configuration(["name=whole", .. settings]);
        Train(whole);
        var broken = Configuration(["name=broken", .. settings]);
        // After step 5 the buffer holds the writes of two steps.
        foreach (int at in new[] { 1, 5 })
        {
            using var stop = new CancellationTokenSource();
            void Progress(TrainingProgress p)
            {
                if (p.Metrics.Step == at)
                    stop.Cancel();
            }
            Assert.That(Train(broken, resume: at > 1, Progress, stop.Token), Is.Null);
        }
        var kept = LastTensors(broken);
        Assert.That(
            kept.Keys.Where(k => k.Contains("consolidation", StringComparison.Ordinal)),
            Has.Exactly(8).Items,
            "gates, h, k and v of two blocks"
        );
        Assert.That(kept["optimizer.consolidation.0.hidden"].Any(b => b != 0));
        Train(broken, resume: true);
        Assert.That(Lines(broken), Is.EqualTo(Lines(whole)));
        var expected = LastTensors(whole);
        foreach (var (name, bytes) in LastTensors(broken))
            Assert.That(bytes, Is.EqualTo(expected[name]), name);
    }

    [Test]
    public void TheBufferHoldsTheStrongestWritesAndTheThreadsDoNotChangeABit()
    {
        int before = get_num_threads();
        var found = new List<Tensor[]>();
        using var scope = NewDisposeScope();
        try
        {
            foreach (int threads in new[] { 1, 2, 3 })
            {
                set_num_threads(threads);
                using var learner = new TokenLearner(Configuration(), CPU);
                using var data = new Generator(7);
                learner.ComputeGradients(1, data);
                learner.ComputeGradients(1, data);
                found.Add([.. learner.Tensors.OrderBy(t => t.Key).Select(t => t.Value.clone())]);
            }
        }
        finally
        {
            set_num_threads(before);
        }
        foreach (var other in found.Skip(1))
        {
            foreach (var (one, expected) in other.Zip(found[0]))
                Assert.That(one.equal(expected).all().ToBoolean());
        }

        // By hand: all writes of the first block in both batches, by an observer.
        using var again = new TokenLearner(Configuration("training.consolidation=null"), CPU);
        using var same = new Generator(7);
        var network = (EpisodicTransformer)again.Network;
        var all = new List<(double Gate, double[] Keys)>();
        network.Memories[0].Observer = a =>
        {
            for (int b = 0; b < a.Gate!.shape[0]; b++)
            {
                for (int t = 0; t < a.Gate.shape[2]; t++)
                {
                    double[] keys =
                    [
                        .. a.Keys[b]
                            .select(1, t)
                            .reshape(-1)
                            .detach()
                            .contiguous()
                            .data<float>()
                            .Select(x => (double)x),
                    ];
                    all.Add((a.Gate[b][0][t].item<float>(), keys));
                }
            }
        };
        set_num_threads(1);
        again.ComputeGradients(1, same);
        again.ComputeGradients(1, same);
        set_num_threads(before);
        var strongest = all.OrderByDescending(w => w.Gate).Take(7).ToArray();
        var gates = found[0][0]; // consolidation.0.gates, hidden, keys, values
        Assert.That(
            gates.data<float>().Select(g => (double)g).ToArray(),
            Is.EqualTo(strongest.Select(w => w.Gate)).Within(1e-6)
        );
        for (int i = 0; i < 7; i++)
        {
            Assert.That(
                found[0][2][i].data<float>().Select(x => (double)x).ToArray(),
                Is.EqualTo(strongest[i].Keys).Within(1e-5)
            );
        }
    }

    [TestCase(true, false)]
    [TestCase(false, false)]
    [TestCase(true, true)]
    public void TheLossIsTheSumByHandAndMovesWhatItSays(bool ofAttention, bool isMean)
    {
        using var scope = NewDisposeScope();
        using var network = Pieces.Network(
            5,
            new()
            {
                Type = "episodic_transformer",
                HiddenSize = 4,
                Heads = 1,
                Layers = 2,
                FeedForwardSize = 3,
                Dtype = "float64",
            }
        );
        Tensor Random(ulong seed)
        {
            using var generator = new Generator(seed);
            return randn([3, 4], dtype: ScalarType.Float64, generator: generator);
        }
        var writes = new ReplayWrites(Random(1), Random(2), Random(3));
        var loss = ReplayLoss.Compute(network, [null, writes], ofAttention, isMean);
        var weights = network.named_parameters().ToDictionary(p => p.name, p => (Tensor)p.parameter);
        double[] Row(Tensor x, int i) => x[i].data<double>().ToArray();
        double[] Times(Tensor matrix, double[] x, int rows) =>
            [.. Enumerable.Range(0, rows).Select(i => Row(matrix.detach(), i).Zip(x, (a, b) => a * b).Sum())];
        double Square(double[] x, double[] y) => x.Zip(y, (a, b) => (a - b) * (a - b)).Sum();
        // GELU by the error function, here from its series.
        static double Gelu(double x)
        {
            double term = x / Math.Sqrt(2),
                sum = term,
                z = term;
            for (int n = 1; n < 60; n++)
            {
                term *= -z * z / n;
                sum += term / (2 * n + 1);
            }
            return x * (0.5 + sum / Math.Sqrt(Math.PI));
        }
        double expected = 0;
        for (int i = 0; i < 3; i++)
        {
            var h = Row(writes.Hidden, i);
            var q = Times(weights[$"blocks.1.{(ofAttention ? "attention" : "memory")}.qkv.weight"], h, 4);
            double[] inner = [.. Times(weights["blocks.1.expand.weight"], h, 3).Select(Gelu)];
            expected +=
                Square(q, Row(writes.Keys, i))
                + Square(Times(weights["blocks.1.contract.weight"], inner, 4), Row(writes.Values, i));
        }
        Assert.That(loss.item<double>(), Is.EqualTo(isMean ? expected / 3 : expected).Within(1e-12));

        loss.backward();
        var moved = weights.Where(w => w.Value.grad is { } g && g.abs().max().item<double>() > 0).Select(w => w.Key);
        Assert.That(
            moved,
            Is.EquivalentTo(
                new[]
                {
                    "blocks.1.expand.weight",
                    "blocks.1.contract.weight",
                    $"blocks.1.{(ofAttention ? "attention" : "memory")}.qkv.weight",
                }
            )
        );
        var qkv = weights[$"blocks.1.{(ofAttention ? "attention" : "memory")}.qkv.weight"].grad!;
        Assert.That(qkv.narrow(0, 0, 4).abs().min().item<double>(), Is.GreaterThan(0));
        Assert.That(qkv.narrow(0, 4, 8).abs().max().item<double>(), Is.Zero, "W_K and W_V are not in the loss");
    }

    [Test]
    public void AConsolidationBringsTheLossDownAndLeavesTheRestOfTheNetwork()
    {
        using var scope = NewDisposeScope();
        using var learner = new TokenLearner(Configuration("training.consolidation.steps=30"), CPU);
        var network = (EpisodicTransformer)learner.Network;
        using var data = new Generator(7);
        learner.ComputeGradients(1, data);
        var kept = learner.Tensors;
        ReplayWrites Block(int i) =>
            new(
                kept[$"consolidation.{i}.hidden"].clone(),
                kept[$"consolidation.{i}.keys"].clone(),
                kept[$"consolidation.{i}.values"].clone()
            );
        ReplayWrites[] writes = [Block(0), Block(1)];
        double Loss() => ReplayLoss.Compute(network, writes, ofAttention: true, isMean: false).item<float>();
        var before = network.named_parameters().ToDictionary(p => p.name, p => p.parameter.clone());
        double first = Loss();
        learner.AfterStep(1);
        Assert.That(Loss(), Is.EqualTo(first), "it is not time");
        learner.AfterStep(3);
        Assert.That(Loss(), Is.LessThan(0.8 * first));
        Assert.That(kept["consolidation.0.gates"].isneginf().all().item<bool>(), "the buffer is empty");
        foreach (var (name, parameter) in network.named_parameters())
        {
            bool moves =
                name.Contains("expand", StringComparison.Ordinal)
                || name.Contains("contract", StringComparison.Ordinal)
                || name.Contains("attention.qkv", StringComparison.Ordinal);
            var change = (parameter - before[name]).abs();
            Assert.That(change.max().item<float>() > 0, Is.EqualTo(moves), name);
            if (name.Contains("qkv", StringComparison.Ordinal))
                Assert.That(change.narrow(0, 8, 16).max().item<float>(), Is.Zero, $"W_K and W_V of {name}");
        }
    }

    [Test]
    public void AnsweringWithoutMemoryIsWhatTheSlowWeightsAnswer()
    {
        // Facts that are asked for in training are learned by the slow weights alone.
        var configuration = Configuration(
            "training.consolidation=null",
            "task.segment_recall.persistent_asked=true",
            "task.segment_recall.persistent=3",
            "training.steps=150",
            "training.learning_rate=0.02",
            "evaluation.interval=150"
        );
        Train(configuration);
        var tests = RunFolder.Of(configuration).ReadMetrics().Where(m => m.Measures is not null);
        Assert.That(tests.Last().Measures!["persistent_accuracy"], Is.EqualTo(1));
    }

    [Test]
    public void AnObjectWithoutKeysHasAllDefaults()
    {
        var configuration = Configuration("training.consolidation={}");
        Assert.That(configuration.Training.Consolidation, Is.EqualTo(new TrainingConsolidation()));
        Assert.That(
            ConfigurationFile.Parse(configuration.ToJson()).Training.Consolidation,
            Is.EqualTo(new TrainingConsolidation())
        );
        Assert.That(Configuration("training.consolidation=null").Training.Consolidation, Is.Null);
    }

    [TestCase("model.gate=false", "training.consolidation: found beside model.gate false")]
    [TestCase("model.memory=none", "training.consolidation: found beside a network without fast weights")]
    [TestCase("model.attention=false", "training.consolidation.queries: found attention beside model.attention false")]
    [TestCase("training.consolidation.steps=0", "training.consolidation.steps: found 0")]
    [TestCase("task.segment_recall.persistent=3", "at least one other is needed, to be asked for")]
    [TestCase("task.segment_recall.both_ways=true", "they are not asked both ways")]
    public void WhatDoesNotGoTogetherIsRefused(string setting, string problem) =>
        Assert.That(
            () => Configuration(setting),
            Throws
                .InstanceOf<ConfigurationException>()
                .With.Property(nameof(ConfigurationException.Problems))
                .Some.Matches<ConfigurationProblem>(p =>
                    $"{p.Path}: {p.Message}".Contains(problem, StringComparison.Ordinal)
                )
        );
}
