using System.Text.Json;
using System.Text.Json.Nodes;
using EmtTorch.Configuration;
using EmtTorch.Training;
using Serilog;
using Serilog.Core;
using Serilog.Events;

namespace EmtTorch.Tests;

/// <summary>A run goes on as the run that it was, or says what is not there any more.</summary>
public sealed class ResumptionTests : InTemporaryFolder
{
    private const string Binding = """
        {
          "device": "cpu", "task": { "name": "repeat_copy", "d": 3, "s": 3 }, "model": { "hidden_size": 16 },
          "training": { "steps": 30, "batch_size": 8, "log_interval": 5, "learning_rate": 0.01,
            "curriculum": { "horizons": [3] } },
          "evaluation": { "horizon": 9, "batches": 2, "batch_size": 8, "interval": 10 },
          "checkpoints": { "interval": 10 }
        }
        """;

    private RunConfiguration Configuration(params string[] overrides) =>
        ConfigurationFile.Parse(Binding, [$"out={Folder}", .. overrides]);

    private static List<string> Train(RunConfiguration configuration, bool resume = false, string? weights = null)
    {
        var lines = new Lines();
        using var log = new LoggerConfiguration().WriteTo.Sink(lines).CreateLogger();
        new TrainingRun(configuration, RunFolder.Of(configuration), log) { InitialWeights = weights }.Train(resume);
        return lines.Said;
    }

    private static byte[] Weights(RunConfiguration configuration, int step = 30) =>
        SafetensorsFile
            .Read(Path.Combine(RunFolder.Of(configuration).Checkpoints, $"step-{step:D8}.safetensors"))
            .Tensors["rnn.weight_hh"]
            .ToArray();

    private static void Unfinish(RunFolder folder, params int[] without)
    {
        File.Delete(folder.ResultFile);
        foreach (int step in without)
            File.Delete(Path.Combine(folder.Checkpoints, $"step-{step:D8}.safetensors"));
    }

    [Test]
    public void ACheckpointOfAnotherExperimentIsNotGoneOnWith()
    {
        Train(Configuration());
        var other = Configuration("task.s=4");
        var folder = RunFolder.Of(other);
        Unfinish(folder);
        File.Delete(folder.ConfigFile);
        Assert.That(
            () => Train(other, resume: true),
            Throws.TypeOf<TrainingException>().With.Message.Contains("task").And.Message.Contains("another experiment")
        );
        Assert.That(
            ResumptionCheck.FindProblems(folder, other, true, "Advice").Select(p => p.Path),
            Has.Some.Contains("task")
        );
    }

    [Test]
    public void AMissingOrDamagedConfigurationIsSaidAndWrittenAnew([Values(null, "", "{ \"task\": ")] string? text)
    {
        var (whole, damaged) = (Configuration("name=whole"), Configuration("name=damaged"));
        Train(whole);
        Train(damaged);
        var folder = RunFolder.Of(damaged);
        Unfinish(folder, 30);
        var before = File.ReadAllText(folder.ConfigFile);
        File.Delete(folder.ConfigFile);
        if (text is not null)
            File.WriteAllText(folder.ConfigFile, text);
        var said = Train(damaged, resume: true);
        Assert.That(said, Has.Some.Contains("config.json is missing or damaged"));
        Assert.That(File.ReadAllText(folder.ConfigFile), Is.EqualTo(before));
        Assert.That(Weights(damaged), Is.EqualTo(Weights(whole)));
    }

    [Test]
    public void WithoutCheckpointsItSaysThatItBeginsAgain()
    {
        var configuration = Configuration();
        Train(configuration);
        var before = Weights(configuration);
        Directory.Delete(RunFolder.Of(configuration).Checkpoints, recursive: true);
        Assert.That(
            Train(configuration, resume: true),
            Has.Some.Contains("begins again at step 0").And.Some.Contains("up to step 30")
        );
        Assert.That(Weights(configuration), Is.EqualTo(before));
    }

    [Test]
    public void DamagedLinesOfMetricsAreNamed()
    {
        var configuration = Configuration();
        Train(configuration);
        var folder = RunFolder.Of(configuration);
        Unfinish(folder, 30);
        var lines = File.ReadAllLines(folder.MetricsFile);
        lines[1] = lines[1][..20] + "\0" + lines[1][21..];
        File.WriteAllText(folder.MetricsFile, string.Join('\n', lines) + "\n{\"step\":3");
        Assert.That(Train(configuration, resume: true), Has.Some.Contains("metrics.jsonl: line 2 is damaged"));
        Assert.That(folder.ReadMetrics().Select(m => m.Step), Is.EqualTo(new[] { 5, 15, 20, 25, 30 }));
    }

    [Test]
    public void WhatARunWasBegunWithIsStillThereBeforeItsFirstInterval()
    {
        var (first, whole, stopped) = (
            Configuration("name=first"),
            Configuration("name=whole", "checkpoints.interval=100"),
            Configuration("name=stopped", "checkpoints.interval=100", "evaluation.interval=100")
        );
        Train(first);
        var weights = Path.Combine(RunFolder.Of(first).Checkpoints, "step-00000020.safetensors");
        Train(whole, weights: weights);
        Train(stopped, weights: weights);
        // As after a kill before the first checkpoint of a training step.
        Unfinish(RunFolder.Of(stopped), 30);
        Train(stopped, resume: true);
        Assert.That(Weights(stopped), Is.EqualTo(Weights(whole)));
    }

    [Test]
    public void OtherRatesAreRecordedWithTheirStep()
    {
        Train(Configuration());
        var now = Configuration("training.learning_rate=0.001", "training.steps=40", "training.max_grad_norm=0.5");
        var folder = RunFolder.Of(now);
        Assert.That(ResumptionCheck.FindProblems(folder, now, ratesMayChange: true, "").Count(), Is.Zero);
        Assert.That(
            ResumptionCheck.FindProblems(folder, now, ratesMayChange: false, "").Select(p => p.Path),
            Is.EquivalentTo(new[] { "training.learning_rate", "training.max_grad_norm" })
        );
        Assert.That(
            Train(now, resume: true),
            Has.Some.EqualTo("training.learning_rate is 0.001 from step 30 on; it was 0.01")
        );
        Train(now with { Training = now.Training with { Steps = 50 } }, resume: true);
        var config = JsonNode.Parse(File.ReadAllText(folder.ConfigFile))!;
        Assert.That(
            config["history"]!.AsArray().Select(c => $"{c!["step"]} {c["key"]} {c["before"]} {c["now"]}"),
            Is.EquivalentTo(
                new[]
                {
                    "30 training.steps 30 40",
                    "30 training.learning_rate 0.01 0.001",
                    "30 training.max_grad_norm 1 0.5",
                    "40 training.steps 40 50",
                }
            )
        );
        // A run that is begun from the file takes the last values.
        var anew = ConfigurationFile.Load(folder.ConfigFile);
        Assert.That((anew.Training.LearningRate, anew.Training.Steps), Is.EqualTo((0.001, 50)));
        Train(anew);
        Assert.That(File.ReadAllText(folder.ConfigFile), Does.Not.Contain("history"));
    }

    [Test]
    public void AChangedTextIsNotGoneOnWith([Values] bool longer)
    {
        var text = Path.Combine(Folder, "text.txt");
        var content = string.Concat(Enumerable.Repeat("a text that is long enough for four segments. ", 100));
        File.WriteAllText(text, content);
        var configuration = ConfigurationFile.Parse(
            $$"""
            {
              "device": "cpu", "out": {{JsonSerializer.Serialize(Folder)}},
              "task": { "text": { "path": {{JsonSerializer.Serialize(text)}}, "segment_length": 16 } },
              "model": { "type": "episodic_transformer", "hidden_size": 8, "layers": 1, "heads": 1 },
              "training": { "steps": 4, "batch_size": 2, "curriculum": { "horizons": [2] } },
              "evaluation": { "horizon": 2, "batches": 1, "batch_size": 2 }, "checkpoints": { "interval": 2 }
            }
            """
        );
        Train(configuration);
        var folder = RunFolder.Of(configuration);
        Unfinish(folder, 4);
        Assert.That(ResumptionCheck.FindProblems(folder, configuration, true, "").Count(), Is.Zero);
        File.WriteAllText(text, longer ? content + "x" : content.Replace('f', 'g'));
        var what = longer ? "it had 4600 bytes and has 4601" : "its length is the same, its content is not";
        Assert.That(
            ResumptionCheck.FindProblems(folder, configuration, true, "Advice").Select(p => p.ToString()),
            Has.One.StartsWith("task.text").And.One.Contains(what)
        );
        Assert.That(
            () => Train(configuration, resume: true),
            Throws.TypeOf<TrainingException>().With.Message.Contains(what)
        );
        File.WriteAllText(text, content);
        Train(configuration, resume: true);
    }

    private sealed class Lines : ILogEventSink
    {
        public List<string> Said { get; } = [];

        public void Emit(LogEvent logEvent) => Said.Add(logEvent.RenderMessage());
    }
}
