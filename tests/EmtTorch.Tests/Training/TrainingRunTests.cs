using EmtTorch.Configuration;
using EmtTorch.Kernels;
using EmtTorch.Training;
using Serilog;
using Serilog.Core;
using Serilog.Events;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

public sealed class TrainingRunTests : InTemporaryFolder
{
    private const string Small = """
        {
          "name": "small", "device": "cpu", "task": { "name": "repeat_copy", "d": 3, "s": 3 },
          "model": { "hidden_size": 16 },
          "training": { "steps": 60, "batch_size": 8, "log_interval": 5, "learning_rate": 0.01,
            "curriculum": { "horizons": [3, 5], "threshold": 0.6 } },
          "evaluation": { "horizon": 9, "batches": 2, "batch_size": 8, "interval": 20 },
          "checkpoints": { "interval": 10 }
        }
        """;

    private RunConfiguration Configuration(params string[] overrides) =>
        ConfigurationFile.Parse(Small, [$"out={Folder}", .. overrides]);

    private static RunResult? Train(
        RunConfiguration configuration,
        bool resume = false,
        CancellationToken stop = default,
        ILogger? log = null,
        Action<TrainingProgress>? progress = null
    ) =>
        new TrainingRun(configuration, RunFolder.Of(configuration), log ?? Logger.None) { Progress = progress }.Train(
            resume,
            stop
        );

    /// <summary>metrics.jsonl without what a clock decides.</summary>
    private static string[] MetricsOf(RunConfiguration configuration) =>
        [
            .. File.ReadLines(RunFolder.Of(configuration).MetricsFile)
                .Select(line => line[..line.IndexOf(",\"steps_per_second\"", StringComparison.Ordinal)]),
        ];

    private static byte[] WeightsOf(RunConfiguration configuration) =>
        SafetensorsFile
            .Read(Path.Combine(RunFolder.Of(configuration).Checkpoints, "step-00000060.safetensors"))
            .Tensors["rnn.weight_hh"]
            .ToArray();

    [Test]
    public void TheTimeLeftIsARangeUntilTheLastHorizon()
    {
        var ratios = new Dictionary<long, double>();
        // S = 3: sequences of 6 steps, then of 12.
        string[] settings = ["training.curriculum.horizons=[3,9]", "training.curriculum.threshold=0.95"];
        Train(
            Configuration(settings),
            progress: p => ratios.TryAdd(p.Metrics.Horizon, p.LongestTimeLeft!.Value / p.TimeLeft!.Value)
        );
        Assert.That(ratios[3], Is.EqualTo(2).Within(0.01));
        Assert.That(ratios.GetValueOrDefault(9, 1), Is.EqualTo(1));
    }

    [Test]
    public void TheSameSeedGivesTheSameBitsAndAnotherSeedOthers()
    {
        var (one, two, other) = (
            Configuration("name=one"),
            Configuration("name=two"),
            Configuration("name=other", "seed=2")
        );
        foreach (var run in new[] { one, two, other })
            Train(run);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(MetricsOf(two), Is.EqualTo(MetricsOf(one)));
            Assert.That(WeightsOf(two), Is.EqualTo(WeightsOf(one)));
            Assert.That(WeightsOf(other), Is.Not.EqualTo(WeightsOf(one)));
            Assert.That(MetricsOf(one), Has.Length.EqualTo(12));
        }
    }

    [Test]
    public void TheNumberOfThreadsChangesNoBit()
    {
        int before = get_num_threads();
        try
        {
            var runs = new[] { 1, 2, 3 }
                .Select(threads =>
                {
                    set_num_threads(threads);
                    var run = Configuration($"name=threads-{threads}", "training.batch_size=40");
                    Train(run);
                    return run;
                })
                .ToArray();
            foreach (var run in runs[1..])
                Assert.That((MetricsOf(run), WeightsOf(run)), Is.EqualTo((MetricsOf(runs[0]), WeightsOf(runs[0]))));
        }
        finally
        {
            set_num_threads(before);
        }
    }

    [Test]
    public void AnInterruptedRunGoesOnToTheSameBits([Values(1, 7, 10, 19, 33, 59)] int interruptedAfter)
    {
        var (whole, parts) = (
            Configuration("name=whole", "training.log_interval=1"),
            Configuration("name=parts", "training.log_interval=1")
        );
        Train(whole);
        using var stop = new CancellationTokenSource();
        var interrupted = Train(
            parts,
            stop: stop.Token,
            progress: p =>
            {
                if (p.Metrics.Step == interruptedAfter)
                    stop.Cancel();
            }
        );
        Assert.That(interrupted, Is.Null);
        var result = Train(parts, resume: true);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(result!.Steps, Is.EqualTo(60));
            Assert.That(MetricsOf(parts), Is.EqualTo(MetricsOf(whole)));
            Assert.That(WeightsOf(parts), Is.EqualTo(WeightsOf(whole)));
        }
    }

    private static readonly string[][] Options =
    [
        ["training.optimizer=adamw", "training.weight_decay=0.1"],
        ["training.gradient_noise=0.01"],
        ["training.spectral_penalty=0.02"],
        ["model.initialization=orthogonal"],
        ["model.initialization=circuit"],
        [
            "training.optimizer=adamw",
            "training.weight_decay=0.3",
            "training.gradient_noise=0.003",
            "training.spectral_penalty=0.01",
            "model.initialization=circuit",
            "model.initialization_noise=0.2",
            "model.bias=true",
        ],
    ];

    [TestCaseSource(nameof(Options))]
    public void WithAnyOptionAnInterruptedRunGoesOnToTheSameBits(params string[] options)
    {
        var (plain, whole, parts) = (
            Configuration("name=plain"),
            Configuration(["name=whole", .. options]),
            Configuration(["name=parts", .. options])
        );
        Train(plain);
        Train(whole);
        using var stop = new CancellationTokenSource();
        Assert.That(
            Train(
                parts,
                stop: stop.Token,
                progress: p =>
                {
                    if (p.Metrics.Step == 35)
                        stop.Cancel();
                }
            ),
            Is.Null
        );
        Train(parts, resume: true);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(MetricsOf(parts), Is.EqualTo(MetricsOf(whole)));
            Assert.That(WeightsOf(parts), Is.EqualTo(WeightsOf(whole)));
            Assert.That(WeightsOf(whole), Is.Not.EqualTo(WeightsOf(plain)), "the option has an effect");
        }
    }

    [TestCaseSource(nameof(Options))]
    public void WithAnyOptionTorchsOperatorsComeToTheSame(params string[] options)
    {
        var (kernel, operators) = (
            Configuration(["name=kernel", "model.dtype=float64", .. options]),
            Configuration(["name=operators", "model.dtype=float64", .. options])
        );
        Train(kernel);
        try
        {
            Simd.Used = false;
            Train(operators);
        }
        finally
        {
            Simd.Used = true;
        }
        var (these, those) = (RunFolder.Of(kernel).ReadMetrics(), RunFolder.Of(operators).ReadMetrics());
        Assert.That(these.Select(m => m.Step), Is.Not.Empty.And.EqualTo(those.Select(m => m.Step)));
        foreach (var (a, b) in these.Zip(those))
        {
            Assert.That(a.Loss, Is.EqualTo(b.Loss).Within(1e-7).Percent, $"step {a.Step}");
            Assert.That(a.GradientNorm, Is.EqualTo(b.GradientNorm).Within(1e-7).Percent, $"step {a.Step}");
        }
    }

    [Test]
    public void TheLossThatIsReportedIsWithoutThePenalty()
    {
        var (plain, penalised) = (
            Configuration("name=plain", "training.log_interval=1"),
            Configuration("name=penalised", "training.log_interval=1", "training.spectral_penalty=10")
        );
        Train(plain);
        Train(penalised);
        var (a, b) = (RunFolder.Of(plain).ReadMetrics()[0], RunFolder.Of(penalised).ReadMetrics()[0]);
        Assert.That(b.Loss, Is.EqualTo(a.Loss));
        Assert.That(b.GradientNorm, Is.GreaterThan(10 * a.GradientNorm));
    }

    [Test]
    public void OneBitOfFlipFlopIsLearned()
    {
        var configuration = ConfigurationFile.Parse(
            """
            {
              "name": "bit", "device": "cpu", "task": { "name": "flip_flop", "d": 1 },
              "model": { "hidden_size": 16, "bias": true },
              "training": { "steps": 600, "batch_size": 16, "learning_rate": 0.01, "curriculum": { "horizons": [32] },
                "early_stop": { "accuracy": 1, "evaluations": 2 } },
              "evaluation": { "horizon": 64, "interval": 50 }
            }
            """,
            [$"out={Folder}"]
        );
        var result = Train(configuration)!;
        using (Assert.EnterMultipleScope())
        {
            Assert.That((result.Outcome, result.TestAccuracy), Is.EqualTo(("early_stop", 1.0)));
            Assert.That(result.TestLoss, Is.LessThan(0.3)); // an output that says nothing has 1
        }
    }

    [Test]
    public void TheExclusiveOrOfTwoBitsIsLearned()
    {
        var configuration = ConfigurationFile.Parse(
            """
            {
              "name": "xor", "device": "cpu", "task": { "name": "xor", "d": 1, "s": 2 },
              "model": { "hidden_size": 32, "bias": true },
              "training": { "steps": 2000, "batch_size": 32, "learning_rate": 0.005,
                "curriculum": { "horizons": [5, 20] }, "early_stop": { "accuracy": 1, "evaluations": 2 } },
              "evaluation": { "horizon": 100, "interval": 100 }
            }
            """,
            [$"out={Folder}"]
        );
        var result = Train(configuration)!;
        Assert.That((result.Outcome, result.TestAccuracy), Is.EqualTo(("early_stop", 1.0)));
    }

    [Test]
    public void LinesBehindTheCheckpointAreWrittenAgainAndNotTwice()
    {
        var (whole, killed) = (Configuration("name=whole"), Configuration("name=killed"));
        Train(whole);
        Train(killed, resume: false);
        var folder = RunFolder.Of(killed);
        // As after a kill at step 57, in the middle of a line: checkpoints up to 50, metrics beyond.
        File.Delete(Path.Combine(folder.Checkpoints, "step-00000060.safetensors"));
        File.Delete(folder.ResultFile);
        File.WriteAllLines(
            folder.MetricsFile,
            File.ReadAllLines(folder.MetricsFile).Where(l => !l.Contains("\"step\":60,"))
        );
        File.AppendAllText(folder.MetricsFile, "{\"step\":60,\"lo");
        Train(killed, resume: true);
        Assert.That(MetricsOf(killed), Is.EqualTo(MetricsOf(whole)));
    }

    [Test]
    public void ADamagedNewestCheckpointIsNamedAndTheOneBeforeUsed()
    {
        var (whole, damaged) = (Configuration("name=whole"), Configuration("name=damaged"));
        Train(whole);
        Train(damaged);
        var newest = Path.Combine(RunFolder.Of(damaged).Checkpoints, "step-00000060.safetensors");
        var bytes = File.ReadAllBytes(newest);
        bytes[bytes.Length / 2] ^= 1;
        File.WriteAllBytes(newest, bytes);
        var warnings = new Warnings();
        Train(damaged, resume: true, log: new LoggerConfiguration().WriteTo.Sink(warnings).CreateLogger());
        using (Assert.EnterMultipleScope())
        {
            Assert.That(warnings.Lines, Has.Some.Contains("step-00000060.safetensors"));
            Assert.That(MetricsOf(damaged), Is.EqualTo(MetricsOf(whole)));
            Assert.That(WeightsOf(damaged), Is.EqualTo(WeightsOf(whole)));
        }
    }

    [Test]
    public void TheCurriculumGoesOnWhenABatchIsGoodEnough()
    {
        var curriculum = new Curriculum([10, 20, 40], 0.9);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(curriculum.Advance(0.9), Is.False, "exceeds, not reaches");
            Assert.That(curriculum.Advance(0.91), Is.True);
            Assert.That(curriculum.Horizon, Is.EqualTo(20));
            Assert.That(curriculum.Advance(1), Is.True);
            Assert.That(curriculum.Advance(1), Is.False, "the last horizon is kept");
            Assert.That(curriculum.Horizon, Is.EqualTo(40));
        }
    }

    [Test]
    public void TrainingStopsEarlyOnceTheTestAccuracyHolds()
    {
        var configuration = Configuration(
            "training.steps=5000",
            "training.early_stop.accuracy=0.75",
            "training.early_stop.evaluations=2"
        );
        var result = Train(configuration)!;
        using (Assert.EnterMultipleScope())
        {
            Assert.That(result.Outcome, Is.EqualTo("early_stop"));
            Assert.That(result.Steps, Is.LessThan(5000));
            Assert.That(result.TestAccuracy, Is.GreaterThanOrEqualTo(0.75));
        }
    }

    [Test]
    public void ADivergedRunSaysSo()
    {
        var configuration = Configuration("training.learning_rate=1e30", "training.steps=200");
        Assert.That(() => Train(configuration), Throws.TypeOf<TrainingException>().With.Message.Contains("diverged"));
    }

    [Test]
    public void WeightsAloneAreTakenOver()
    {
        var (first, second) = (Configuration("name=first"), Configuration("name=second", "training.steps=1"));
        Train(first);
        var trained = SafetensorsFile.Read(Path.Combine(RunFolder.Of(first).Checkpoints, "step-00000060.safetensors"));
        var weights = Path.Combine(Folder, "weights.safetensors");
        SafetensorsFile.Write(
            weights,
            trained
                .Tensors.Where(t => !t.Key.Contains("optimizer") && !t.Key.Contains("random"))
                .ToDictionary(t => t.Key, t => t.Value),
            new Dictionary<string, string>()
        );
        var after = new TrainingRun(second, RunFolder.Of(second), Logger.None) { InitialWeights = weights }.Train()!;
        Assert.That(after.TestAccuracy, Is.GreaterThan(0.6), "one step from random weights would be at one half");
    }

    [Test]
    public void ARunThatIsBegunAnewIsSetAside([Values] bool together, [Values] bool lostItsConfiguration)
    {
        void Run(RunConfiguration configuration)
        {
            if (together)
                new EnsembleRun([new(configuration, RunFolder.Of(configuration), Logger.None)]).Train();
            else
                Train(configuration);
        }
        var (first, second) = (Configuration(), Configuration("training.steps=20", "training.learning_rate=0.001"));
        var folder = RunFolder.Of(first);
        Run(first);
        var before = File.ReadAllText(folder.MetricsFile);
        if (lostItsConfiguration)
            File.Delete(folder.ConfigFile);
        Run(second);
        var earlier = Directory.GetDirectories(Path.Combine(Folder, "small", "earlier"));
        using (Assert.EnterMultipleScope())
        {
            Assert.That(File.ReadAllText(Path.Combine(earlier.Single(), "metrics.jsonl")), Is.EqualTo(before));
            Assert.That(folder.ReadMetrics()[^1].Step, Is.EqualTo(20));
            Assert.That(
                Directory.GetFiles(folder.Checkpoints).Select(Path.GetFileName),
                Is.EquivalentTo(new[] { "latest", "step-00000010.safetensors", "step-00000020.safetensors" })
            );
        }
    }

    private static IEnumerable<TestCaseData> UnusableWeights()
    {
        const string Transformer = """
            { "name": "small", "device": "cpu", "task": { "copy": { "length": 2, "symbols": 3 } },
              "model": { "type": "episodic_transformer", "hidden_size": 8, "heads": 2 }, "training": { "steps": 1 },
              "evaluation": { "batches": 1, "batch_size": 2 } }
            """;
        foreach (var (json, name) in new[] { (Small, "readout.weight"), (Transformer, "embedding.weight") })
        {
            TestCaseData Case(string kind, Func<SafetensorsTensor, SafetensorsTensor> change, string says) =>
                new TestCaseData(json, name, change, says).SetArgDisplayNames(name, kind);
            yield return Case(
                "NaN",
                t => t with { Data = new(Filled(t, 0xFF)) },
                $"{name} has numbers that are not finite"
            );
            yield return Case("integers", t => t with { DType = "I32" }, $"{name} is of dtype I32: it should be F64");
            var other = json == Small ? "and should be (3, 16)" : "the network's is";
            yield return Case("shape", t => t with { Shape = [t.Shape[1], t.Shape[0]] }, other);
        }
        static byte[] Filled(SafetensorsTensor tensor, byte value)
        {
            var bytes = new byte[tensor.Data.Length];
            Array.Fill(bytes, value);
            return bytes;
        }
    }

    [TestCaseSource(nameof(UnusableWeights))]
    public void UnusableWeightsAreNamedBeforeARunIsSetAside(
        string json,
        string name,
        Func<SafetensorsTensor, SafetensorsTensor> change,
        string says
    )
    {
        var configuration = ConfigurationFile.Parse(json, [$"out={Folder}", "training.steps=1"]);
        var folder = RunFolder.Of(configuration);
        Train(configuration);
        var trained = SafetensorsFile.Read(Path.Combine(folder.Checkpoints, "step-00000001.safetensors"));
        var weights = Path.Combine(Folder, "weights.safetensors");
        SafetensorsFile.Write(
            weights,
            trained.Tensors.ToDictionary(t => t.Key, t => t.Key == name ? change(t.Value) : t.Value),
            new Dictionary<string, string>()
        );
        var run = new TrainingRun(configuration, folder, Logger.None) { InitialWeights = weights };
        using (Assert.EnterMultipleScope())
        {
            Assert.That(
                () => run.Train(),
                Throws.TypeOf<InvalidDataException>().With.Message.Contains(weights).And.Message.Contains(says)
            );
            Assert.That(folder.ReadResult()!.Steps, Is.EqualTo(1));
            Assert.That(Directory.Exists(Path.Combine(Folder, "small", "earlier")), Is.False);
        }
    }

    private static readonly Dictionary<string, string> PyTorchsNames = new()
    {
        ["rnn.weight_ih"] = "net.weight_ih_l0",
        ["rnn.weight_hh"] = "net.weight_hh_l0",
        ["readout.weight"] = "out.weight",
    };

    [Test]
    public void WeightsUnderPyTorchsNamesTrainAsUnderOurs()
    {
        var first = Configuration("name=first");
        Train(first);
        var trained = SafetensorsFile.Read(Path.Combine(RunFolder.Of(first).Checkpoints, "step-00000060.safetensors"));
        double TestLoss(string name, Func<string, string> naming, params string[] overrides)
        {
            var weights = Path.Combine(Folder, $"{name}.safetensors");
            SafetensorsFile.Write(
                weights,
                PyTorchsNames.Keys.ToDictionary(naming, key => trained.Tensors[key]),
                new Dictionary<string, string>()
            );
            var configuration = Configuration([$"name={name}", "training.steps=1", .. overrides]);
            var run = new TrainingRun(configuration, RunFolder.Of(configuration), Logger.None)
            {
                InitialWeights = weights,
            };
            return run.Train()!.TestLoss;
        }
        double ours = TestLoss("ours", key => key);
        Assert.That(TestLoss("pytorch", key => PyTorchsNames[key]), Is.EqualTo(ours));
        Assert.That(
            () => TestLoss("small", key => PyTorchsNames[key], "model.hidden_size=5"),
            Throws.TypeOf<InvalidDataException>().With.Message.Contains("small.safetensors")
        );
    }

    [Test]
    public void NoTensorOutlivesItsStep()
    {
        var alive = new List<long>();
        var configuration = Configuration("training.log_interval=20");
        Train(
            configuration,
            progress: _ =>
            {
                GC.Collect();
                GC.WaitForPendingFinalizers();
                alive.Add(Tensor.TotalCount);
            }
        );
        Assert.That(alive, Has.Count.EqualTo(3).And.All.EqualTo(alive[0]), "tensors after 20, 40 and 60 steps");
    }

    private sealed class Warnings : ILogEventSink
    {
        public List<string> Lines { get; } = [];

        public void Emit(LogEvent logEvent)
        {
            if (logEvent.Level >= LogEventLevel.Warning)
                Lines.Add(logEvent.RenderMessage());
        }
    }
}
