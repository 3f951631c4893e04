using EmtTorch.Configuration;
using EmtTorch.Training;
using Serilog;
using Serilog.Core;
using Serilog.Events;

namespace EmtTorch.Tests;

/// <summary>Networks trained together against the same networks trained one by one.</summary>
public sealed class EnsembleRunTests : InTemporaryFolder
{
    private const string Small = """
        {
          "name": "small", "device": "cpu", "task": { "name": "repeat_copy", "d": 3, "s": 3 },
          "model": { "hidden_size": 16, "dtype": "float64" },
          "training": { "steps": 150, "batch_size": 8, "log_interval": 5, "learning_rate": 0.01,
            "curriculum": { "horizons": [3, 5, 8], "threshold": 0.7 } },
          "evaluation": { "horizon": 9, "batches": 2, "batch_size": 8, "interval": 20 },
          "checkpoints": { "interval": 30, "keep_last": 100 }
        }
        """;

    private RunConfiguration Configuration(string name, int seed, params string[] overrides) =>
        ConfigurationFile.Parse(Small, [$"out={Folder}", $"name={name}", $"seed={seed}", .. overrides]);

    private List<RunConfiguration> Seeds(string name, params string[] overrides) =>
        [.. new[] { 1, 2, 3 }.Select(seed => Configuration(name, seed, overrides))];

    private static RunResult? Alone(
        RunConfiguration configuration,
        bool resume = false,
        CancellationToken stop = default,
        Action<TrainingProgress>? progress = null
    ) =>
        new TrainingRun(configuration, RunFolder.Of(configuration), Logger.None) { Progress = progress }.Train(
            resume,
            stop
        );

    private static IReadOnlyList<MemberOutcome> Together(
        IEnumerable<RunConfiguration> configurations,
        bool resume = false,
        CancellationToken stop = default,
        Action<TrainingProgress>? progress = null,
        ILogger? log = null
    ) =>
        new EnsembleRun([
            .. configurations.Select(c => new EnsembleMember(c, RunFolder.Of(c), log ?? Logger.None)
            {
                Progress = progress,
            }),
        ]).Train(resume, stop);

    private static IReadOnlyList<Metrics> MetricsOf(RunConfiguration configuration) =>
        RunFolder.Of(configuration).ReadMetrics();

    /// <summary>The same lines at the same steps, with the same numbers up to a relative tolerance.</summary>
    private static void AssertEqual(RunConfiguration together, RunConfiguration alone, double tolerance)
    {
        var (these, those) = (MetricsOf(together), MetricsOf(alone));
        Assert.That(these.Select(m => (m.Step, m.Horizon)), Is.EqualTo(those.Select(m => (m.Step, m.Horizon))));
        foreach (var (one, other) in these.Zip(those))
        {
            var about = $"seed {together.Seed}, step {one.Step}";
            void Near(double? a, double? b) =>
                Assert.That(
                    a,
                    b is { } number ? Is.EqualTo(number).Within(tolerance * Math.Max(Math.Abs(number), 1e-3)) : Is.Null,
                    about
                );
            Near(one.Loss, other.Loss);
            Near(one.GradientNorm, other.GradientNorm);
            Near(one.Accuracy, other.Accuracy);
            Near(one.TestLoss, other.TestLoss);
            Near(one.TestAccuracy, other.TestAccuracy);
        }
    }

    private static SafetensorsFile Checkpoint(RunConfiguration configuration, int step) =>
        SafetensorsFile.Read(Path.Combine(RunFolder.Of(configuration).Checkpoints, $"step-{step:D8}.safetensors"));

    [Test]
    public void EachMemberIsWhatItIsAlone([Values] bool bias)
    {
        var (together, alone) = (
            Seeds("together", $"model.bias={(bias ? "true" : "false")}"),
            Seeds("alone", $"model.bias={(bias ? "true" : "false")}")
        );
        var outcomes = Together(together);
        foreach (var run in alone)
            Alone(run);
        using (Assert.EnterMultipleScope())
        {
            var changes = together.Select(r => string.Join(" ", MetricsOf(r).Select(m => m.Horizon))).Distinct();
            Assert.That(
                changes.Count(),
                Is.GreaterThan(1),
                "the test is about horizons that change at different steps"
            );
            for (int i = 0; i < 3; i++)
            {
                AssertEqual(together[i], alone[i], 1e-9);
                var (mine, its) = (outcomes[i].Result!, RunFolder.Of(alone[i]).ReadResult()!);
                Assert.That(RunFolder.Of(together[i]).ReadResult(), Is.EqualTo(mine));
                Assert.That(
                    (
                        mine.Seed,
                        mine.Outcome,
                        mine.Steps,
                        mine.TestAccuracy,
                        mine.BestStep,
                        mine.Device,
                        mine.TestHorizon
                    ),
                    Is.EqualTo(
                        (its.Seed, its.Outcome, its.Steps, its.TestAccuracy, its.BestStep, its.Device, its.TestHorizon)
                    )
                );
                string[] Files(RunConfiguration run) =>
                    [
                        .. Directory
                            .EnumerateFiles(RunFolder.Of(run).Path, "*", SearchOption.AllDirectories)
                            .Select(f => Path.GetRelativePath(RunFolder.Of(run).Path, f))
                            .Order(StringComparer.Ordinal),
                    ];
                Assert.That(Files(together[i]), Is.EqualTo(Files(alone[i])));
                var (these, those) = (Checkpoint(together[i], 150), Checkpoint(alone[i], 150));
                Assert.That(
                    these.Tensors.Select(t => (t.Key, t.Value.DType, string.Join(",", t.Value.Shape))),
                    Is.EquivalentTo(those.Tensors.Select(t => (t.Key, t.Value.DType, string.Join(",", t.Value.Shape))))
                );
                foreach (var key in new[] { "optimizer.step", "random.data" })
                    Assert.That(these.Tensors[key].ToArray(), Is.EqualTo(those.Tensors[key].ToArray()), key);
                Assert.That(these.Metadata["curriculum_position"], Is.EqualTo(those.Metadata["curriculum_position"]));
            }
        }
    }

    [Test]
    public void InFloat32EachMemberIsWhatItIsAloneToRounding()
    {
        // Rounding grows with training: over these 150 steps losses and norms were seen to differ by up to 7e-7.
        string[] single = ["model.dtype=float32"];
        var (together, alone) = (Seeds("together", single), Seeds("alone", single));
        Together(together);
        foreach (var run in alone)
            Alone(run);
        for (int i = 0; i < 3; i++)
            AssertEqual(together[i], alone[i], 1e-5);
    }

    [Test]
    public void OtherTasksAreTrainedTogetherToo([Values("flip_flop", "xor")] string task)
    {
        string bits = $$"""
            {
              "name": "bits", "device": "cpu", "task": { "name": "{{task}}", "d": 2 },
              "model": { "hidden_size": 12, "bias": true, "dtype": "float64" },
              "training": { "steps": 120, "batch_size": 8, "learning_rate": 0.02, "log_interval": 10,
                "curriculum": { "horizons": [4, 7, 12], "threshold": 0.8 } },
              "evaluation": { "horizon": 20, "batches": 2, "batch_size": 8, "interval": 40 }
            }
            """;
        var (together, alone) = (Runs("together"), Runs("alone"));
        List<RunConfiguration> Runs(string name) =>
            [
                .. new[] { 4, 5, 6 }.Select(s =>
                    ConfigurationFile.Parse(bits, [$"out={Folder}", $"name={name}", $"seed={s}"])
                ),
            ];
        Together(together);
        foreach (var run in alone)
            Alone(run);
        for (int i = 0; i < 3; i++)
            AssertEqual(together[i], alone[i], 1e-9);
    }

    [Test]
    public void EachMemberHasItsOwnLearningRateDecayAndClipping()
    {
        string[][] own =
        [
            ["training.learning_rate=0.003"],
            ["training.weight_decay=0.1", "training.max_grad_norm=0.2"],
            ["training.learning_rate=0.02", "training.weight_decay=0.001"],
        ];
        RunConfiguration[] Runs(string name) => [.. own.Select((o, i) => Configuration(name, i + 1, o))];
        var (together, alone) = (Runs("together"), Runs("alone"));
        Together(together);
        foreach (var run in alone)
            Alone(run);
        for (int i = 0; i < 3; i++)
            AssertEqual(together[i], alone[i], 1e-9);
    }

    private RunConfiguration[] WithOptions(string name) =>
        [
            Configuration(
                name,
                1,
                "training.optimizer=adamw",
                "training.weight_decay=0.1",
                "model.initialization=orthogonal"
            ),
            Configuration(name, 2, "training.gradient_noise=0.01", "training.weight_decay=0.01"),
            Configuration(
                name,
                3,
                "training.spectral_penalty=0.05",
                "model.initialization=circuit",
                "training.gradient_noise=0.001"
            ),
        ];

    [Test]
    public void EachMemberHasItsOwnOptions()
    {
        var (together, alone) = (WithOptions("together"), WithOptions("alone"));
        Together(together);
        foreach (var run in alone)
            Alone(run);
        for (int i = 0; i < 3; i++)
            AssertEqual(together[i], alone[i], 1e-9);
    }

    [Test]
    public void WithOptionsAnInterruptedEnsembleGoesOnAlone()
    {
        var (whole, parts) = (WithOptions("whole"), WithOptions("parts"));
        Together(whole);
        using var stop = new CancellationTokenSource();
        var stopped = Together(
            parts,
            stop: stop.Token,
            progress: p =>
            {
                if (p.Metrics.Step == 35)
                    stop.Cancel();
            }
        );
        Assert.That(stopped, Is.All.EqualTo(new MemberOutcome(null, null)));
        foreach (var run in parts)
            Alone(run, resume: true);
        for (int i = 0; i < 3; i++)
            AssertEqual(parts[i], whole[i], 1e-9);
    }

    [Test]
    public void AnInterruptedEnsembleGoesOnToTheSameBits()
    {
        const int steps = 60;
        string[] overrides = [$"training.steps={steps}", "training.log_interval=1"];
        var whole = Seeds("whole", overrides);
        Together(whole);
        foreach (int after in new[] { 7, 33, steps - 1 })
        {
            var parts = Seeds($"parts-{after}", overrides);
            using var stop = new CancellationTokenSource();
            var outcomes = Together(
                parts,
                stop: stop.Token,
                progress: p =>
                {
                    if (p.Metrics.Step == after)
                        stop.Cancel();
                }
            );
            Assert.That(outcomes, Is.All.EqualTo(new MemberOutcome(null, null)));
            var resumed = Together(parts, resume: true);
            using (Assert.EnterMultipleScope())
            {
                for (int i = 0; i < 3; i++)
                {
                    Assert.That(resumed[i].Result!.Steps, Is.EqualTo(steps));
                    AssertEqual(parts[i], whole[i], 0);
                    var expected = Checkpoint(whole[i], steps).Tensors;
                    foreach (var (name, tensor) in Checkpoint(parts[i], steps).Tensors)
                    {
                        Assert.That(
                            tensor.ToArray(),
                            Is.EqualTo(expected[name].ToArray()),
                            $"after step {after}: {name}"
                        );
                    }
                }
            }
        }
    }

    [Test]
    public void CheckpointsAreInterchangeable()
    {
        var (whole, parts) = (Seeds("whole"), Seeds("parts"));
        foreach (var run in whole)
            Alone(run);
        // Members stop at different steps alone, go on together, are stopped, and go on alone.
        for (int i = 0; i < 3; i++)
        {
            using var early = new CancellationTokenSource();
            int end = 10 + 25 * i;
            var result = Alone(
                parts[i],
                stop: early.Token,
                progress: p =>
                {
                    if (p.Metrics.Step == end)
                        early.Cancel();
                }
            );
            Assert.That(result, Is.Null, "stopped early");
        }
        using var stop = new CancellationTokenSource();
        var stopped = Together(
            parts,
            resume: true,
            stop: stop.Token,
            progress: p =>
            {
                if (p.Metrics.Step == 110)
                    stop.Cancel();
            }
        );
        Assert.That(stopped, Is.All.EqualTo(new MemberOutcome(null, null)));
        foreach (var run in parts)
            Alone(run, resume: true);
        for (int i = 0; i < 3; i++)
        {
            AssertEqual(parts[i], whole[i], 1e-9);
            Assert.That(
                Checkpoint(parts[i], 150).Tensors["optimizer.step"].ToArray(),
                Is.EqualTo(Checkpoint(whole[i], 150).Tensors["optimizer.step"].ToArray())
            );
        }
    }

    [Test]
    public void AMemberThatDivergesIsRecordedAndTheOthersGoOn([Values] bool curriculum)
    {
        // Without a curriculum scores are read late; the step that is named is the same.
        string[] common = curriculum ? [] : ["training.curriculum.horizons=[6]"];
        RunConfiguration[] Runs(string name) =>
            [
                Configuration(name, 1, common),
                Configuration(name, 2, [.. common, "training.learning_rate=1e200"]),
                Configuration(name, 3, common),
            ];
        var (together, alone) = (Runs("together"), Runs("alone"));
        var lines = new Lines();
        var outcomes = Together(together, log: new LoggerConfiguration().WriteTo.Sink(lines).CreateLogger());
        var failure = Assert.Throws<TrainingException>(() => Alone(alone[1]))!;
        Alone(alone[0]);
        Alone(alone[2]);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(outcomes[1].Result, Is.Null);
            Assert.That(outcomes[1].Failure, Is.TypeOf<TrainingException>().With.Message.EqualTo(failure.Message));
            Assert.That(lines.Errors, Is.EqualTo(new[] { failure.Message }));
            Assert.That(File.Exists(RunFolder.Of(together[1]).ResultFile), Is.False);
            Assert.That(
                MetricsOf(together[1]).Select(m => m.Step),
                Is.EqualTo(MetricsOf(alone[1]).Select(m => m.Step))
            );
            AssertEqual(together[0], alone[0], 1e-9);
            AssertEqual(together[2], alone[2], 1e-9);
        }
    }

    [Test]
    public void AMemberThatCannotBeginIsRecordedAndTheOthersGoOn()
    {
        var runs = Seeds("runs");
        Together(runs.Take(1), stop: new CancellationToken(canceled: true));
        foreach (var file in Directory.EnumerateFiles(RunFolder.Of(runs[0]).Checkpoints, "*.safetensors"))
            File.WriteAllText(file, "damaged");
        var outcomes = Together(runs, resume: true);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(outcomes[0].Failure, Is.TypeOf<CheckpointException>());
            Assert.That(outcomes.Skip(1).Select(o => o.Result?.Steps), Is.All.EqualTo(150));
        }
    }

    [Test]
    public void AMemberThatIsGoodEnoughEndsAndTheOthersGoOn()
    {
        string[] stop =
        [
            "training.steps=400",
            "training.early_stop.accuracy=0.75",
            "training.early_stop.evaluations=2",
        ];
        // One learns next to nothing, and goes on to the end.
        RunConfiguration[] Runs(string name) =>
            [
                Configuration(name, 1, stop),
                Configuration(name, 2, [.. stop, "training.learning_rate=1e-7"]),
                Configuration(name, 3, stop),
            ];
        var (together, alone) = (Runs("together"), Runs("alone"));
        var outcomes = Together(together);
        foreach (var run in alone)
            Alone(run);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(
                outcomes.Select(o => o.Result!.Outcome),
                Is.EqualTo(new[] { "early_stop", "finished", "early_stop" })
            );
            Assert.That(
                outcomes.Select(o => o.Result!.Steps),
                Is.EqualTo(alone.Select(r => RunFolder.Of(r).ReadResult()!.Steps))
            );
            for (int i = 0; i < 3; i++)
                AssertEqual(together[i], alone[i], 1e-8);
        }
    }

    [Test]
    public void AFinishedEnsembleIsTestedAgainAndNotTrained()
    {
        var runs = Seeds("runs");
        var first = Together(runs);
        foreach (var run in runs)
            File.Delete(RunFolder.Of(run).ResultFile);
        var again = Together(runs, resume: true);
        Assert.That(
            again.Select(o => (o.Result!.Steps, o.Result.TestAccuracy, o.Result.TestLoss)),
            Is.EqualTo(first.Select(o => (o.Result!.Steps, o.Result.TestAccuracy, o.Result.TestLoss)))
        );
    }

    [Test]
    public void OnlyNetworksOfOneShapeTrainTogether() =>
        Assert.That(
            () => Together([Configuration("a", 1), Configuration("b", 2, "model.hidden_size=17")]),
            Throws.ArgumentException
        );

    [Test]
    public void TwoMembersCannotShareAFolder() =>
        Assert.That(
            () => Together([Configuration("a", 1), Configuration("a", 1, "training.learning_rate=0.5")]),
            Throws.ArgumentException
        );

    private sealed class Lines : ILogEventSink
    {
        public List<string> Errors { get; } = [];

        public void Emit(LogEvent logEvent)
        {
            if (logEvent.Level >= LogEventLevel.Error)
                Errors.Add(logEvent.RenderMessage().Trim('"'));
        }
    }
}
