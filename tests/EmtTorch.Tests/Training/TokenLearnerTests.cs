using EmtTorch.Configuration;
using EmtTorch.Models;
using EmtTorch.Tasks;
using EmtTorch.Training;
using Serilog.Core;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

public sealed class TokenLearnerTests : InTemporaryFolder
{
    private const string Small = """
        {
          "name": "small", "device": "cpu",
          "task": { "segment_recall": { "pairs": 2, "segment_length": 7, "keys": 4, "values": 3, "noise": 2 } },
          "model": { "type": "episodic_transformer", "hidden_size": 8, "heads": 2, "window": 4, "write": "delta" },
          "training": { "steps": 24, "batch_size": 5, "log_interval": 4, "learning_rate": 0.01, "warmup_steps": 3,
            "schedule": "cosine", "curriculum": { "horizons": [1, 2], "threshold": 0.4 } },
          "evaluation": { "horizon": 3, "batches": 2, "batch_size": 3, "interval": 8 }, "checkpoints": { "interval": 6 }
        }
        """;

    private RunConfiguration Configuration(params string[] overrides) =>
        ConfigurationFile.Parse(Small, [$"out={Folder}", .. overrides]);

    private static Tensor[] GradientsOf(Learner learner) =>
        [.. learner.Network.parameters().Select(p => p.grad!.clone())];

    /// <summary>A batch's gradients with a number of threads; its loss and accuracy first.</summary>
    private static Tensor[] Gradients(RunConfiguration configuration, int threads, int horizon = 2)
    {
        int before = get_num_threads();
        try
        {
            set_num_threads(threads);
            using var learner = new TokenLearner(configuration, CPU);
            using var data = new Generator(7);
            var (loss, accuracy) = learner.ComputeGradients(horizon, data);
            return [tensor(loss), tensor(accuracy), .. GradientsOf(learner)];
        }
        finally
        {
            set_num_threads(before);
        }
    }

    [Test]
    public void LossAndGradientsAreTheMeanOverAllThatIsAskedWhateverTheSlices()
    {
        using var scope = NewDisposeScope();
        var configuration = Configuration("model.dtype=float64");
        var found = Gradients(configuration, 1);

        // By hand: the whole document at once, the mean of all questions of all documents.
        using var learner = new TokenLearner(configuration, CPU);
        using var data = new Generator(7);
        var document = configuration.Task.ToTokenTask(2, CPU).Batch(5, data);
        var network = (EpisodicTransformer)learner.Network;
        var logits = network.forward(cat(document.Select(s => s.Input).ToArray(), 1));
        var target = cat(document.Select(s => s.Target).ToArray(), 1);
        var loss = nn.functional.cross_entropy(
            logits.view(-1, logits.shape[2]),
            target.view(-1),
            ignore_index: TokenBatch.Ignored
        );
        network.zero_grad();
        loss.backward();
        var asked = target.ne(TokenBatch.Ignored);
        var right = logits.argmax(-1).eq(target).logical_and(asked).sum().to(ScalarType.Float64) / asked.sum();
        Compared.AreEqual(found, [loss.detach(), right, .. network.parameters().Select(p => p.grad!)], 1e-10);
    }

    [Test]
    public void AnyNumberOfThreadsGivesTheSameBits(
        [Values(
            "model.write=hebbian",
            "model.write=delta",
            "model.write=hypernetwork",
            "model.memory=none",
            "model.retrieval={}",
            "model.memories={\"graph\": {}}"
        )]
            string memory
    )
    {
        using var scope = NewDisposeScope();
        // One slice, and eight
        foreach (int batch in new[] { 1, 24 })
        {
            var configuration = Configuration(
                memory,
                "model.drift=true",
                $"training.batch_size={batch}",
                "model.hidden_size=64",
                "task.segment_recall.segment_length=80"
            );
            var first = Gradients(configuration, 1);
            foreach (int threads in new[] { 2, 3, 4, 16 })
            {
                foreach (var (found, expected) in Gradients(configuration, threads).Zip(first))
                    Assert.That(found.equal(expected).all().ToBoolean(), $"{batch} documents, {threads} threads");
            }
        }
    }

    [Test]
    public void TruncatedGradientsGoBackSoManySegmentsAndTheStateFurther()
    {
        using var scope = NewDisposeScope();
        var all = Gradients(Configuration("model.dtype=float64"), 1);
        var four = Gradients(Configuration("model.dtype=float64", "training.bptt_segments=4"), 1);
        var one = Gradients(Configuration("model.dtype=float64", "training.bptt_segments=1"), 1);
        Compared.AreEqual(four, all, 1e-10); // the document has four
        Compared.AreEqual(one[..2], all[..2], 1e-10); // the forward pass is the same
        Assert.That((one[2] - all[2]).abs().max().item<double>(), Is.GreaterThan(1e-4));

        // By hand: what the first three segments leave, without its history, then the last.
        using var learner = new TokenLearner(Configuration("model.dtype=float64"), CPU);
        using var data = new Generator(7);
        var document = Configuration().Task.ToTokenTask(2, CPU).Batch(5, data);
        var network = (EpisodicTransformer)learner.Network;
        EpisodicState? state = null;
        foreach (var segment in document.Take(3))
            state = network.Read(segment.Input, state).State.Detach();
        var logits = network.ReadOut(network.Read(document[3].Input, state).Hidden);
        network.zero_grad();
        nn.functional.cross_entropy(logits.view(-1, logits.shape[2]), document[3].Target.view(-1)).backward();
        Compared.AreEqual(one[2..], [.. network.parameters().Select(p => p.grad ?? zeros_like(p))], 1e-10);
    }

    private RunResult? Train(
        RunConfiguration configuration,
        bool resume = false,
        CancellationToken stop = default,
        Action<TrainingProgress>? progress = null
    ) =>
        new TrainingRun(configuration, RunFolder.Of(configuration), Logger.None) { Progress = progress }.Train(
            resume,
            stop
        );

    private static string[] MetricsOf(RunConfiguration configuration) =>
        [
            .. File.ReadLines(RunFolder.Of(configuration).MetricsFile)
                .Select(line => line[..line.IndexOf(",\"steps_per_second\"", StringComparison.Ordinal)]),
        ];

    private static byte[] WeightsOf(RunConfiguration configuration) =>
        [
            .. SafetensorsFile
                .Read(Path.Combine(RunFolder.Of(configuration).Checkpoints, "step-00000024.safetensors"))
                .Tensors.OrderBy(t => t.Key)
                .SelectMany(t => t.Value.ToArray()),
        ];

    [TestCase]
    [TestCase("model.graph_nodes=4", "model.graph_interval=3")]
    public void AnInterruptedRunComesToTheSameBits(params string[] settings)
    {
        var (whole, cut) = (Configuration([.. settings, "name=whole"]), Configuration([.. settings, "name=cut"]));
        var result = Train(whole)!;
        Assert.That(result.Steps, Is.EqualTo(24));
        foreach (int at in new[] { 4, 12, 20 })
        {
            using var stop = new CancellationTokenSource();
            Assert.That(
                Train(
                    cut,
                    resume: true,
                    stop.Token,
                    progress =>
                    {
                        if (progress.Metrics.Step >= at)
                            stop.Cancel();
                    }
                ),
                Is.Null
            );
        }
        Assert.That(Train(cut, resume: true), Is.Not.Null);
        Assert.That(MetricsOf(cut), Is.EqualTo(MetricsOf(whole)));
        Assert.That(WeightsOf(cut), Is.EqualTo(WeightsOf(whole)));
    }

    [Test]
    public void LearningRatesRiseAndFallAsTheirScheduleSays()
    {
        var training = new TrainingConfiguration
        {
            LearningRate = 1,
            WarmupSteps = 4,
            Steps = 104,
            Schedule = "cosine",
        };
        Assert.That(
            new long[] { 0, 1, 3, 4, 54, 104 }.Select(training.RateAt),
            Is.EqualTo(new[] { 0.25, 0.5, 1, 1, 0.55, 0.1 }).Within(1e-12)
        );
        Assert.That(
            new long[] { 3, 4, 1000 }.Select((training with { Schedule = "constant" }).RateAt),
            Is.All.EqualTo(1)
        );
    }

    [Test]
    public void ALossThatIsNoNumberEndsTheRunAndKeepsTheCheckpoints()
    {
        var configuration = Configuration(
            "training.learning_rate=1e30",
            "training.warmup_steps=0",
            "training.steps=40"
        );
        var e = Assert.Throws<TrainingException>(() => Train(configuration))!;
        Assert.That(e.Message, Does.Contain("training has diverged"));
    }

    [Test]
    public void ATextIsLearnedAndTestedInBitsPerCharacter()
    {
        var file = Path.Combine(Folder, "text.txt");
        File.WriteAllText(
            file,
            string.Concat(Enumerable.Range(0, 600).Select(i => $"{(i * i % 7 == 0 ? "red" : "blue")} fox {i % 3} "))
        );
        var configuration = ConfigurationFile.Parse(
            Small.Replace(
                """{ "segment_recall": { "pairs": 2, "segment_length": 7, "keys": 4, "values": 3, "noise": 2 } }""",
                $$"""{ "text": { "path": {{System.Text.Json.JsonSerializer.Serialize(file)}}, "segment_length": 16 } }""",
                StringComparison.Ordinal
            ),
            [$"out={Folder}", "training.steps=80", "evaluation.interval=40", "training.batch_size=16"]
        );
        var result = Train(configuration)!;
        var tests = RunFolder.Of(configuration).ReadMetrics().Where(m => m.TestLoss is not null).ToList();
        Assert.That(tests, Has.Count.EqualTo(2));
        Assert.That(
            tests[1].TestBitsPerCharacter,
            Is.EqualTo(tests[1].TestLoss / Math.Log(2)).Within(1e-12).And.LessThan(tests[0].TestBitsPerCharacter!.Value)
        );
        Assert.That(tests[1].TestBitsPerCharacter, Is.LessThan(2.5)); // of 16 characters: 4 bits without learning
        Assert.That(
            (tests[1].TestBitsNewWords, tests[1].TestBitsSeenWords),
            Is.Not.EqualTo((default(double?), default(double?)))
        );
        Assert.That(result.TestAccuracy, Is.GreaterThan(0.3));
    }

    [Test, Category(Layer.Slow)] // trains until it has learned
    public void OneShotBindingIsLearnedWithFastWeightsAndNotWithout()
    {
        // Two of two keys and values in a window of one token: what was bound can only be in the memory.
        string[] settings =
        [
            "task.segment_recall={\"pairs\": 2, \"segment_length\": 4, \"keys\": 2, \"values\": 2, \"noise\": 1}",
            "model.window=2",
            "model.hidden_size=16",
            "training.batch_size=32",
            "training.steps=300",
            "training.learning_rate=0.01",
            "training.curriculum.horizons=[1]",
            "evaluation.horizon=2",
            "evaluation.interval=300",
            "evaluation.batch_size=64",
            "model.layers=1",
            "training.schedule=constant",
        ];
        var with = Train(Configuration([.. settings, "name=with"]))!;
        var without = Train(Configuration([.. settings, "name=without", "model.memory=none", "model.drift=false"]))!;
        Assert.That(with.TestAccuracy, Is.GreaterThan(0.95));
        Assert.That(without.TestAccuracy, Is.LessThan(0.65));
    }

    [Test, Category(Layer.Slow)] // trains until it has learned
    public void TwoHopsAreLearnedWithAGraphAndNotByFastWeightsAlone()
    {
        var text = Small.Replace(
            "\"segment_recall\": { \"pairs\": 2, \"segment_length\": 7, \"keys\": 4, \"values\": 3, \"noise\": 2 }",
            "\"two_hop\": { \"chains\": 3, \"segment_length\": 18, \"names\": 16, \"noise\": 4 }",
            StringComparison.Ordinal
        );
        string[] settings =
        [
            $"out={Folder}",
            "model.attention=false",
            "model.hidden_size=48",
            "model.feed_forward_size=48",
            "model.layers=1",
            "training.batch_size=32",
            "training.steps=100",
            "training.learning_rate=0.005",
            "training.schedule=constant",
            "training.curriculum.horizons=[1]",
            "evaluation.horizon=2",
            "evaluation.interval=100",
            "evaluation.batch_size=64",
            "evaluation.batches=4",
        ];
        var with = Train(
            ConfigurationFile.Parse(text, [.. settings, "name=with", "model.graph_nodes=24", "model.graph_interval=18"])
        )!;
        var without = Train(ConfigurationFile.Parse(text, [.. settings, "name=without"]))!;
        Assert.That(with.TestAccuracy, Is.GreaterThan(0.9));
        // One of three ends.
        Assert.That(without.TestAccuracy, Is.LessThan(0.5));
    }
}
