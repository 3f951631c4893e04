using EmtTorch.Configuration;
using EmtTorch.Training;
using Serilog.Core;
using TorchSharp;
using static EmtTorch.Devices.Tests.TestDevice;
using static TorchSharp.torch;

namespace EmtTorch.Devices.Tests;

/// <summary>Tasks, and runs that are broken off and go on, on the device and from one device to another.</summary>
public sealed class TrainingTests : InTemporaryFolder
{
    private const string Binding = """
        {
          "name": "binding", "task": { "name": "repeat_copy", "d": 3, "s": 3 },
          "model": { "hidden_size": 16, "dtype": "float64" },
          "training": { "steps": 60, "batch_size": 8, "log_interval": 5, "learning_rate": 0.01,
            "curriculum": { "horizons": [3, 5], "threshold": 0.6 } },
          "evaluation": { "horizon": 9, "batches": 2, "batch_size": 8, "interval": 20 },
          "checkpoints": { "interval": 10 }
        }
        """;

    private const string Recall = """
        {
          "name": "recall", "task": { "segment_recall": { "pairs": 2, "segment_length": 10, "keys": 4, "values": 4,
            "noise": 3 } },
          "model": { "type": "episodic_transformer", "hidden_size": 16, "layers": 2, "window": 8, "dtype": "float64" },
          "training": { "steps": 20, "batch_size": 8, "log_interval": 5,
            "curriculum": { "horizons": [1, 2], "threshold": 0.9 } },
          "evaluation": { "horizon": 2, "batches": 2, "batch_size": 8, "interval": 10 },
          "checkpoints": { "interval": 4 }
        }
        """;

    private RunConfiguration Configuration(string json, string name, string device, params string[] overrides) =>
        ConfigurationFile.Parse(json, [$"out={Folder}", $"name={name}", $"device={device}", .. overrides]);

    private static RunResult? Train(RunConfiguration configuration, bool resume = false, long stopAt = -1)
    {
        using var stop = new CancellationTokenSource();
        return new TrainingRun(configuration, RunFolder.Of(configuration), Logger.None)
        {
            Progress = p =>
            {
                if (p.Metrics.Step == stopAt)
                    stop.Cancel();
            },
        }.Train(resume, stop.Token);
    }

    /// <summary>The same losses, accuracies and horizons at the same steps.</summary>
    private static void AreNear(RunConfiguration found, RunConfiguration expected, double relative)
    {
        var (these, those) = (RunFolder.Of(found).ReadMetrics(), RunFolder.Of(expected).ReadMetrics());
        Assert.That(these.Select(m => (m.Step, m.Horizon)), Is.EqualTo(those.Select(m => (m.Step, m.Horizon))));
        Assert.That(these, Has.Some.Property(nameof(Metrics.TestLoss)).Not.Null);
        foreach (var (one, other) in these.Zip(those))
        {
            Assert.That(one.Loss, Is.EqualTo(other.Loss).Within(relative * Math.Abs(other.Loss)), $"step {one.Step}");
            Assert.That(
                one.TestLoss,
                other.TestLoss is { } loss ? Is.EqualTo(loss).Within(relative * Math.Abs(loss)) : Is.Null,
                $"step {one.Step}"
            );
        }
    }

    [TestCase(Binding, TestName = "AnElmanRunIsWhatItIsOnTheCpu")]
    [TestCase(Recall, TestName = "ATransformersRunIsWhatItIsOnTheCpu")]
    public void ARunIsWhatItIsOnTheCpu(string json)
    {
        var (here, cpu) = (Configuration(json, "here", Name), Configuration(json, "cpu", "cpu"));
        Train(cpu);
        Run(_ => Train(here));
        AreNear(here, cpu, 1e-6);
    }

    [TestCase(Binding, 25, TestName = "AnElmanRunBrokenOffGoesOn")]
    [TestCase(Recall, 10, TestName = "ATransformersRunBrokenOffGoesOn")]
    public void ARunBrokenOffGoesOn(string json, long step)
    {
        var (whole, parts, moved) = (
            Configuration(json, "whole", Name),
            Configuration(json, "parts", Name),
            Configuration(json, "moved", "cpu")
        );
        Run(_ => Train(whole));
        Assert.That(Run(_ => Train(parts, stopAt: step)), Is.Null);
        Run(_ => Train(parts, resume: true));
        AreNear(parts, whole, 1e-9);
        // From the CPU to the device: the batches that follow are the same.
        Assert.That(Train(moved, stopAt: step), Is.Null);
        Run(_ => Train(Configuration(json, "moved", Name), resume: true));
        AreNear(moved, whole, 1e-6);
    }

    [Test]
    public void AnEnsembleBrokenOffGoesOn()
    {
        List<RunConfiguration> Seeds(string name) =>
            [.. new[] { 1, 2, 3 }.Select(seed => Configuration(Binding, name, Name, $"seed={seed}"))];
        void Together(List<RunConfiguration> runs, bool resume = false, long stopAt = -1)
        {
            using var stop = new CancellationTokenSource();
            var outcomes = new EnsembleRun([
                .. runs.Select(c => new EnsembleMember(c, RunFolder.Of(c), Logger.None)
                {
                    Progress = p =>
                    {
                        if (p.Metrics.Step == stopAt)
                            stop.Cancel();
                    },
                }),
            ]).Train(resume, stop.Token);
            Assert.That(outcomes.Select(o => o.Failure), Is.All.Null);
            Assert.That(outcomes.Select(o => o.Result is null), Is.All.EqualTo(stopAt >= 0), "stopped early");
        }
        List<RunConfiguration> whole = Seeds("together"),
            parts = Seeds("parts");
        Run(_ =>
        {
            Together(whole);
            Together(parts, stopAt: 25);
            Together(parts, resume: true);
            return true;
        });
        for (int i = 0; i < whole.Count; i++)
        {
            AreNear(parts[i], whole[i], 1e-9);
            var alone = Configuration(Binding, "alone", "cpu", $"seed={whole[i].Seed}");
            Train(alone);
            AreNear(whole[i], alone, 1e-6);
        }
    }

    [TestCase("""{ "segment_recall": { "pairs": 3, "both_ways": true } }""", 2)]
    [TestCase("""{ "associative_recall": { "random_non_queries": true } }""", 32)]
    [TestCase("""{ "rebinding": {} }""", 48)]
    [TestCase("""{ "copy": {} }""", 10)]
    [TestCase("""{ "two_hop": {} }""", 48)]
    public void ATasksBatchesAreTheSameOnEveryDevice(string task, int horizon)
    {
        using var scope = NewDisposeScope();
        var configuration = ConfigurationFile.Parse(
            $$"""{ "name": "task", "task": {{task}}, "model": { "type": "episodic_transformer" } }""",
            [$"out={Folder}", $"training.curriculum.horizons=[{horizon}]", $"evaluation.horizon={horizon}"]
        );
        Tensor[] On(torch.Device device)
        {
            using var generator = new Generator(4);
            return
            [
                .. configuration
                    .Task.ToTokenTask(horizon, device)
                    .Batch(6, generator)
                    .SelectMany(b => new[] { b.Input.cpu(), b.Target.cpu() }),
            ];
        }
        foreach (var (a, b) in On(Tested).Zip(On(CPU)))
            Assert.That(a.equal(b).all().item<bool>(), Is.True);
    }
}
