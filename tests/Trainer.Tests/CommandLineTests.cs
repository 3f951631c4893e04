using System.Text.Json;
using System.Text.Json.Nodes;
using EmtTorch.Training;

namespace EmtTorch.Trainer.Tests;

/// <summary>The program as a user runs it: its exit codes, its messages, and what it leaves on disk.</summary>
[Category(Layer.Process)]
public sealed class CommandLineTests : InTemporaryFolder
{
    private const string Small = """
        {
          "name": "small", "device": "cpu", "threads": 1, "task": { "name": "repeat_copy", "d": 3, "s": 3 },
          "model": { "hidden_size": 16 },
          "training": { "steps": 60, "batch_size": 8, "log_interval": 5,
            "curriculum": { "horizons": [3, 5], "threshold": 0.6 } },
          "evaluation": { "horizon": 9, "batches": 2, "batch_size": 8, "interval": 20 },
          "checkpoints": { "interval": 10 }
        }
        """;

    private const string Transformer = """
        {
          "name": "small", "device": "cpu", "threads": 2, "task": { "segment_recall": { "pairs": 2,
            "segment_length": 7, "keys": 4, "values": 3, "noise": 2 } },
          "model": { "type": "episodic_transformer", "hidden_size": 8, "heads": 2, "window": 4, "write": "delta" },
          "training": { "steps": 60, "batch_size": 5, "log_interval": 5,
            "curriculum": { "horizons": [1, 2], "threshold": 0.4 } },
          "evaluation": { "horizon": 3, "batches": 2, "batch_size": 3, "interval": 20 },
          "checkpoints": { "interval": 10 }
        }
        """;

    private string Config(string text = Small, string name = "small.json")
    {
        var path = Path.Combine(Folder, name);
        File.WriteAllText(path, text);
        return path;
    }

    private string Out => Path.Combine(Folder, "runs");

    private Command Start(params string[] arguments) => Command.StartTrainer(Folder, arguments);

    private (int Code, string Output, string Error) Run(params string[] arguments) =>
        Command.RunTrainer(Folder, arguments);

    private static string[] MetricsOf(string run) =>
        [
            .. File.ReadLines(Path.Combine(run, "metrics.jsonl"))
                .Select(line => line[..line.IndexOf(",\"steps_per_second\"", StringComparison.Ordinal)]),
        ];

    [Test]
    public void ARunLeavesTheFolderOfTheContract()
    {
        var (code, output, error) = Run(Config(), "--out", Out, "--seed", "3");
        Assert.That(code, Is.Zero, output + error);
        var run = Path.Combine(Out, "small", "seed-3");
        using (Assert.EnterMultipleScope())
        {
            foreach (
                var file in new[]
                {
                    "config.json",
                    "metrics.jsonl",
                    "log.jsonl",
                    "result.json",
                    "checkpoints/latest",
                    "checkpoints/step-00000060.safetensors",
                }
            )
            {
                Assert.That(File.Exists(Path.Combine(run, file)), Is.True, file);
            }

            Assert.That(
                File.ReadAllText(Path.Combine(run, "checkpoints/latest")).Trim(),
                Is.EqualTo("step-00000060.safetensors")
            );
            var result = JsonDocument.Parse(File.ReadAllText(Path.Combine(run, "result.json"))).RootElement;
            Assert.That(result.GetProperty("seed").GetInt64(), Is.EqualTo(3));
            Assert.That(result.GetProperty("steps").GetInt64(), Is.EqualTo(60));
            Assert.That(result.GetProperty("test_accuracy").GetDouble(), Is.InRange(0, 1));
            Assert.That(result.GetProperty("device").GetString(), Is.EqualTo("cpu"));
            foreach (var key in new[] { "seconds", "torch_version", "torchsharp_version" })
                Assert.That(result.TryGetProperty(key, out _), Is.True, key);
            foreach (var line in File.ReadLines(Path.Combine(run, "log.jsonl")))
                Assert.That(() => JsonDocument.Parse(line), Throws.Nothing);
        }
        // The resolved configuration runs again as it is, and comes to the same.
        var again = Run(Path.Combine(run, "config.json"), "--out", Path.Combine(Folder, "again"));
        Assert.That(again.Code, Is.Zero, again.Error);
        Assert.That(MetricsOf(Path.Combine(Folder, "again", "small", "seed-3")), Is.EqualTo(MetricsOf(run)));
    }

    [TestCase(1)]
    [TestCase(3)]
    public void SeveralSeedsAreEachWhatTheyAreAlone(int jobs)
    {
        Assert.That(Run(Config(), "--out", Out, "--seeds", "1-4", "--jobs", $"{jobs}").Code, Is.Zero);
        Assert.That(
            Directory.GetDirectories(Path.Combine(Out, "small")).Select(Path.GetFileName),
            Is.EquivalentTo(new[] { "seed-1", "seed-2", "seed-3", "seed-4" })
        );
        var alone = Path.Combine(Folder, "alone");
        Run(Config(), "--out", alone, "--seed", "3");
        Assert.That(
            MetricsOf(Path.Combine(Out, "small", "seed-3")),
            Is.EqualTo(MetricsOf(Path.Combine(alone, "small", "seed-3")))
        );
        var last = Path.Combine("small", "seed-3", "checkpoints", "step-00000060.safetensors");
        Assert.That(
            SafetensorsFile.Read(Path.Combine(Out, last)).Tensors["rnn.weight_hh"].ToArray(),
            Is.EqualTo(SafetensorsFile.Read(Path.Combine(alone, last)).Tensors["rnn.weight_hh"].ToArray())
        );
    }

    [TestCase("")]
    [TestCase("--together")] // as on a GPU: networks of one shape in each launch, the others after them
    public void SeveralConfigurationsTrainSideBySide(string option)
    {
        string a = Config(name: "a.json"),
            b = Config(
                Small
                    .Replace("\"small\"", "\"decay\"")
                    .Replace("\"steps\": 60", "\"steps\": 60, \"weight_decay\": 0.01"),
                "b.json"
            ),
            c = Config(
                Small.Replace("\"small\"", "\"wide\"").Replace("\"hidden_size\": 16", "\"hidden_size\": 24"),
                "c.json"
            );
        string[] options = option.Length == 0 ? [] : [option];
        var (code, output, error) = Run([a, b, c, "--out", Out, "--seeds", "1-2", .. options]);
        Assert.That(code, Is.Zero, error);
        Assert.That(output, Does.Contain("decay, seed 2: "));
        foreach (var name in (string[])["small", "decay", "wide"])
        {
            foreach (var seed in (string[])["seed-1", "seed-2"])
                Assert.That(File.Exists(Path.Combine(Out, name, seed, "result.json")), Is.True, $"{name} {seed}");
        }

        var alone = Path.Combine(Folder, "alone");
        Run(b, "--out", alone, "--seed", "2");
        var expected = MetricsOf(Path.Combine(alone, "decay", "seed-2"));
        // Networks trained together are equal to rounding: EnsembleRunTests compares their numbers.
        Assert.That(
            MetricsOf(Path.Combine(Out, "decay", "seed-2")),
            option.Length == 0 ? Is.EqualTo(expected) : Has.Length.EqualTo(expected.Length)
        );
    }

    [TestCase("")]
    [TestCase("--together")] // a GPU takes Elman networks alone in one launch
    public void TransformersOfSeveralSeedsAreEachWhatTheyAreAlone(string option)
    {
        var config = Config(Transformer);
        string[] one = ["--set", "threads=1"];
        var (code, output, error) = Run([
            config,
            "--out",
            Out,
            "--seeds",
            "1-2",
            .. one,
            .. option.Length > 0 ? new[] { option } : [],
        ]);
        Assert.That(code, Is.Zero, output + error);
        Assert.That(Run([config, "--out", Path.Combine(Folder, "alone"), "--seed", "2", .. one]).Code, Is.Zero);
        Assert.That(
            MetricsOf(Path.Combine(Out, "small", "seed-2")),
            Is.EqualTo(MetricsOf(Path.Combine(Folder, "alone", "small", "seed-2")))
        );
        Assert.That(
            MetricsOf(Path.Combine(Out, "small", "seed-1")),
            Is.Not.EqualTo(MetricsOf(Path.Combine(Out, "small", "seed-2")))
        );
    }

    [Test]
    public void TwoConfigurationsOfOneNameAreRefused()
    {
        var (code, _, error) = Run(Config(name: "a.json"), Config(name: "b.json"), "--out", Out);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(code, Is.EqualTo(2));
            Assert.That(error, Does.Contain("2 runs would write to").And.Contain("seed-1"));
            Assert.That(Directory.Exists(Out), Is.False);
        }
    }

    [Test]
    public void ProblemsOfSeveralConfigurationsSayWhose()
    {
        string a = Config(Small.Replace("\"steps\": 60", "\"steps\": -1"), "a.json"),
            b = Config(Small.Replace("hidden_size", "hiden_size"), "b.json");
        var (code, _, error) = Run(a, b, "--out", Out);
        Assert.That(code, Is.EqualTo(2));
        Assert.That(error, Does.Contain("a.json: training.steps").And.Contain("b.json: model.hiden_size"));
    }

    [Test]
    public void ASeedThatFailsDoesNotStopTheOthers()
    {
        Run(Config(), "--out", Out, "--seed", "2", "--set", "training.steps=20");
        foreach (
            var checkpoint in Directory.GetFiles(Path.Combine(Out, "small", "seed-2", "checkpoints"), "*.safetensors")
        )
        {
            File.WriteAllBytes(checkpoint, [1, 2, 3]);
        }

        var (code, _, error) = Run(Config(), "--out", Out, "--seeds", "1-4", "--resume");
        using (Assert.EnterMultipleScope())
        {
            Assert.That(code, Is.EqualTo(1));
            Assert.That(error, Does.Contain("1 of 4 runs failed: seed 2"));
            foreach (int seed in (int[])[1, 3, 4])
            {
                Assert.That(
                    File.ReadAllText(Path.Combine(Out, "small", $"seed-{seed}", "result.json")),
                    Does.Contain("\"steps\": 60")
                );
            }
        }
    }

    [Test]
    public void SeedsTogetherLeaveWhatSeedsAloneLeave()
    {
        var config = Config(Small.Replace("\"hidden_size\": 16", "\"hidden_size\": 16, \"dtype\": \"float64\""));
        var (code, output, error) = Run(config, "--out", Out, "--seeds", "1-3", "--together", "--jobs", "2");
        Assert.That(code, Is.Zero, output + error);
        Assert.That(Run(config, "--out", Path.Combine(Folder, "alone"), "--seeds", "1-3", "--jobs", "1").Code, Is.Zero);
        using (Assert.EnterMultipleScope())
        {
            foreach (var seed in new[] { "seed-1", "seed-2", "seed-3" })
            {
                var (these, those) = (
                    new RunFolder(Path.Combine(Out, "small", seed)),
                    new RunFolder(Path.Combine(Folder, "alone", "small", seed))
                );
                string[] Files(RunFolder folder) =>
                    [
                        .. Directory
                            .EnumerateFiles(folder.Path, "*", SearchOption.AllDirectories)
                            .Select(f => Path.GetRelativePath(folder.Path, f))
                            .Order(StringComparer.Ordinal),
                    ];
                Assert.That(Files(these), Is.EqualTo(Files(those)));
                Assert.That(
                    these.ReadMetrics().Select(m => (m.Step, m.Horizon, Math.Round(m.Loss, 9))),
                    Is.EqualTo(those.ReadMetrics().Select(m => (m.Step, m.Horizon, Math.Round(m.Loss, 9))))
                );
                Assert.That(File.ReadAllText(these.LogFile), Does.Contain("Test accuracy"));
                Assert.That(output, Does.Contain($"seed {seed[^1]}: Test accuracy"));
            }
        }
        Assert.That(
            Run(config, "--out", Out, "--seeds", "1-3", "--together", "--resume").Output,
            Does.Contain("Nothing to do")
        );
    }

    [Test]
    public void AnInterruptOfSeedsTogetherGivesACheckpointForEachAnd130()
    {
        using var process = Start(
            Config(),
            "--out",
            Out,
            "--seeds",
            "1,2",
            "--together",
            "--set",
            "training.steps=1000000"
        );
        while (!File.Exists(Path.Combine(Out, "small", "seed-2", "checkpoints", "latest")) && !process.HasEnded)
            Thread.Sleep(20);
        process.Signal("INT");
        var (interrupted, output, _) = process.End();
        Assert.That(interrupted, Is.EqualTo(130), output);
        var (code, _, error) = Run(
            Config(),
            "--out",
            Out,
            "--seeds",
            "1,2",
            "--together",
            "--resume",
            "--set",
            "training.steps=20"
        );
        Assert.That(code, Is.Zero, error);
    }

    [Test]
    public void ASeedThatFailsAmongSeedsTogetherIsNamedAndStopsNoOther()
    {
        Run(Config(), "--out", Out, "--seeds", "1,2", "--together", "--set", "training.steps=20");
        foreach (
            var file in Directory.EnumerateFiles(Path.Combine(Out, "small", "seed-1", "checkpoints"), "*.safetensors")
        )
        {
            File.WriteAllText(file, "damaged");
        }

        var (code, _, error) = Run(
            Config(),
            "--out",
            Out,
            "--seeds",
            "1,2",
            "--together",
            "--set",
            "training.steps=40",
            "--resume"
        );
        using (Assert.EnterMultipleScope())
        {
            Assert.That(code, Is.EqualTo(1));
            Assert.That(error, Does.Contain("1 of 2 runs failed: seed 1"));
            Assert.That(
                File.ReadAllText(Path.Combine(Out, "small", "seed-1", "log.jsonl")),
                Does.Contain("can be used")
            );
            Assert.That(new RunFolder(Path.Combine(Out, "small", "seed-2")).ReadResult()!.Steps, Is.EqualTo(40));
        }
    }

    [Test]
    public void AnEarlierRunIsKept()
    {
        Run(Config(), "--out", Out, "--set", "training.steps=5");
        var (code, output, _) = Run(Config(), "--out", Out, "--set", "training.steps=6");
        using (Assert.EnterMultipleScope())
        {
            Assert.That(code, Is.Zero);
            Assert.That(output, Does.Contain("earlier"));
            Assert.That(Directory.GetDirectories(Path.Combine(Out, "small", "earlier")), Has.Length.EqualTo(1));
        }
    }

    [Test]
    public void AFinishedRunIsNotRunAgainByResume()
    {
        Run(Config(), "--out", Out);
        var before = File.GetLastWriteTimeUtc(Path.Combine(Out, "small", "seed-1", "result.json"));
        var (code, output, _) = Run(Config(), "--out", Out, "--resume");
        using (Assert.EnterMultipleScope())
        {
            Assert.That(code, Is.Zero);
            Assert.That(output, Does.Contain("finished"));
            Assert.That(
                File.GetLastWriteTimeUtc(Path.Combine(Out, "small", "seed-1", "result.json")),
                Is.EqualTo(before)
            );
        }
    }

    [Test]
    public void ResumingAnotherExperimentIsRefused()
    {
        Run(Config(), "--out", Out);
        var (code, _, error) = Run(
            Config(),
            "--out",
            Out,
            "--resume",
            "--set",
            "model.hidden_size=32",
            "--set",
            "training.optimizer=adamw",
            "--set",
            "training.steps=70"
        );
        using (Assert.EnterMultipleScope())
        {
            Assert.That(code, Is.EqualTo(2));
            Assert.That(
                error,
                Does.Contain("model.hidden_size").And.Contain("training.optimizer").And.Not.Contain("training.steps")
            );
        }
    }

    [Test]
    public void WithoutItsConfigurationARunIsStillThatExperiment([Values] bool emptied)
    {
        Run(Config(), "--out", Out);
        var config = Path.Combine(Out, "small", "seed-1", "config.json");
        File.Delete(config);
        if (emptied)
            File.WriteAllText(config, "");
        var (code, _, error) = Run(Config(), "--out", Out, "--resume", "--set", "training.batch_size=2");
        Assert.That((code, File.Exists(config)), Is.EqualTo((2, emptied)), error);
        Assert.That(error, Does.Contain("training.batch_size"));
    }

    [Test]
    public void AnotherLearningRateGoesOnAndIsRecorded()
    {
        Run(Config(), "--out", Out);
        var config = Path.Combine(Out, "small", "seed-1", "config.json");
        string[] more = ["--set", "training.steps=70", "--set", "training.learning_rate=0.5"];
        var (code, output, error) = Run([Config(), "--out", Out, "--resume", .. more]);
        Assert.That(code, Is.Zero, error);
        Assert.That(output, Does.Contain("training.learning_rate is 0.5 from step 60 on; it was"));
        var (begun, _, _) = Run(config, "--set", "name=anew");
        using (Assert.EnterMultipleScope())
        {
            Assert.That(File.ReadAllText(config), Does.Contain("history"));
            Assert.That(begun, Is.Zero);
            var anew = File.ReadAllText(Path.Combine(Out, "anew", "seed-1", "config.json"));
            Assert.That(anew, Does.Contain("\"learning_rate\": 0.5").And.Not.Contain("history"));
        }
    }

    [Test]
    public void ARunFromBeforeASettingCameIsGoneOnWith()
    {
        Run(Config(), "--out", Out);
        var config = Path.Combine(Out, "small", "seed-1", "config.json");
        var json = JsonNode.Parse(File.ReadAllText(config))!;
        json["training"]!.AsObject().Remove("optimizer");
        File.WriteAllText(config, json.ToJsonString());
        var (code, _, error) = Run(Config(), "--out", Out, "--resume", "--set", "training.steps=70");
        Assert.That(code, Is.Zero, error);
    }

    [Test]
    public void AnInterruptGivesACheckpointAnd130([Values("INT", "TERM")] string signal)
    {
        using var process = Start(Config(), "--out", Out, "--set", "training.steps=1000000");
        while (!File.Exists(Path.Combine(Out, "small", "seed-1", "checkpoints", "latest")) && !process.HasEnded)
            Thread.Sleep(20);
        process.Signal(signal);
        var (code, output, _) = process.End();
        using (Assert.EnterMultipleScope())
        {
            Assert.That(code, Is.EqualTo(130), output);
            Assert.That(output, Does.Contain("--resume"));
        }
        Assert.That(Run(Config(), "--out", Out, "--resume", "--set", "training.steps=20").Code, Is.Zero);
    }

    [Test]
    public void SigtermTwiceIsSigterm()
    {
        using var process = Start(Config(), "--out", Out, "--set", "training.steps=1000000");
        while (!File.Exists(Path.Combine(Out, "small", "seed-1", "checkpoints", "latest")) && !process.HasEnded)
            Thread.Sleep(20);
        process.Signal("TERM", "TERM");
        var (code, output, _) = process.End();
        Assert.That(code, Is.EqualTo(130), output);
    }

    /// <summary>A run that is killed again and again, at moments that no seed fixes, gives the same figures.</summary>
    /// <remarks>
    /// More kills: scripts/test.sh --filter Name~Killed -- 'TestRunParameters.Parameter(name="kills", value="20")'
    /// </remarks>
    [TestCase(Small, 400, TestName = "KilledAndResumedRunsComeToTheSameBits")]
    [TestCase(Transformer, 60, TestName = "KilledAndResumedTransformersComeToTheSameBits")]
    public void KilledAndResumed(string config, int stepsForAKill)
    {
        int kills = TestContext.Parameters.Get("kills", 5),
            steps = kills * stepsForAKill;
        string[] settings =
        [
            "--set",
            $"training.steps={steps}",
            "--set",
            "training.log_interval=10",
            "--set",
            "checkpoints.interval=7",
            "--set",
            "evaluation.interval=100",
        ];
        Assert.That(Run([Config(config), "--out", Path.Combine(Folder, "whole"), .. settings]).Code, Is.Zero);

        for (int i = 0; i < kills; i++)
        {
            using var process = Start([Config(config), "--out", Out, "--resume", .. settings]);
            // Past the start of the program, so that the kill meets training and the writing of checkpoints.
            long before = LatestWrite();
            for (int checkpoints = Random.Shared.Next(1, 5); checkpoints > 0 && !process.HasEnded; Thread.Sleep(1))
            {
                if (LatestWrite() is var latest && latest != before)
                    (before, checkpoints) = (latest, checkpoints - 1);
            }
            Thread.Sleep(Random.Shared.Next(0, 30));
            process.Kill();
            Assert.That(process.End().Code, Is.EqualTo(Command.Killed), "the kill came after the end");
        }
        var (code, output, error) = Run([Config(config), "--out", Out, "--resume", .. settings]);
        Assert.That(code, Is.Zero, output + error);
        string whole = Path.Combine(Folder, "whole", "small", "seed-1"),
            killed = Path.Combine(Out, "small", "seed-1");
        using (Assert.EnterMultipleScope())
        {
            Assert.That(MetricsOf(killed), Is.EqualTo(MetricsOf(whole)));
            Assert.That(Weights(killed), Is.EqualTo(Weights(whole)));
            Assert.That(
                Directory
                    .GetFiles(killed, "*", SearchOption.AllDirectories)
                    .Select(f => Path.GetRelativePath(killed, f)),
                Is.EquivalentTo(
                    Directory
                        .GetFiles(whole, "*", SearchOption.AllDirectories)
                        .Select(f => Path.GetRelativePath(whole, f))
                )
            );
        }

        long LatestWrite()
        {
            var file = Path.Combine(Out, "small", "seed-1", "checkpoints", "latest");
            return File.Exists(file) ? File.GetLastWriteTimeUtc(file).Ticks : 0;
        }
        byte[] Weights(string run) =>
            [
                .. SafetensorsFile
                    .Read(Path.Combine(run, "checkpoints", $"step-{steps:D8}.safetensors"))
                    .Tensors.OrderBy(t => t.Key)
                    .SelectMany(t => t.Value.ToArray()),
            ];
    }

    private static readonly (string Name, string[] Arguments, string[] Says)[] Wrong =
    [
        ("no arguments", [], ["CONFIG"]),
        ("unknown option", ["CONFIG", "--sed", "1"], ["--sed"]),
        ("missing file", ["nowhere.json"], ["nowhere.json"]),
        ("a name that begins with @", ["@nowhere"], ["@nowhere: there is no such file"]),
        ("not JSON", ["BROKEN"], ["broken.json", "line"]),
        ("seed and seeds", ["CONFIG", "--seed", "1", "--seeds", "1-2"], ["--seeds"]),
        ("bad seeds", ["CONFIG", "--seeds", "5-1"], ["5-1"]),
        ("no jobs", ["CONFIG", "--seeds", "1-2", "--jobs", "0"], ["--jobs"]),
        ("misspelt key", ["CONFIG", "--set", "training.step=5"], ["training.step", "mean steps?"]),
        (
            "several at once",
            ["CONFIG", "--set", "training.steps=-1", "--set", "model.hidden_size=\"x\"", "--set", "nonsense=1"],
            ["training.steps", "model.hidden_size", "nonsense"]
        ),
        (
            "no room for a circuit",
            ["CONFIG", "--set", "model.initialization=circuit", "--set", "model.hidden_size=8"],
            ["model.hidden_size", "s·d = 3 · 3 = 9"]
        ),
        ("unwritable output", ["CONFIG", "--out", "/proc/runs"], ["/proc/runs"]),
        ("output below a file", ["CONFIG", "--out", "/dev/null/runs"], ["/dev/null"]),
        ("missing weights", ["CONFIG", "--weights", "none.safetensors"], ["none.safetensors"]),
    ];

    private static IEnumerable<TestCaseData> WrongCases =>
        Wrong.Select(w => new TestCaseData(w.Arguments, w.Says).SetArgDisplayNames(w.Name));

    [TestCaseSource(nameof(WrongCases))]
    public void WhatIsWrongIsExit2AndWritesNothing(string[] arguments, string[] says)
    {
        var config = Config();
        var broken = Config("{ \"task\": ", "broken.json");
        var (code, output, error) = Run([
            .. arguments.Select(a =>
                a switch
                {
                    "CONFIG" => config,
                    "BROKEN" => broken,
                    _ => a,
                }
            ),
        ]);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(code, Is.EqualTo(2), output + error);
            foreach (var word in says)
                Assert.That(error, Does.Contain(word));
            Assert.That(error + output, Does.Not.Contain("   at "), "a stack trace");
            Assert.That(
                Directory.GetFileSystemEntries(Folder).Select(Path.GetFileName),
                Is.EquivalentTo(new[] { "small.json", "broken.json" })
            );
        }
    }

    [Test]
    public void CudaWhereThereIsNoneIsExit2()
    {
        if (TorchSharp.torch.cuda.is_available())
            Assert.Ignore("this machine has CUDA");
        var (code, _, error) = Run(Config(), "--device", "cuda", "--out", Out);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(code, Is.EqualTo(2));
            Assert.That(error, Does.Contain("device").And.Contain("cuda"));
            Assert.That(Directory.Exists(Out), Is.False);
        }
    }

    [Test]
    public void WhenEveryCheckpointIsDamagedTheRunFailsAndSaysWhatToDo()
    {
        Run(Config(), "--out", Out);
        var run = Path.Combine(Out, "small", "seed-1");
        File.Delete(Path.Combine(run, "result.json"));
        foreach (var file in Directory.GetFiles(Path.Combine(run, "checkpoints"), "*.safetensors"))
            File.WriteAllBytes(file, []);
        var (code, output, error) = Run(Config(), "--out", Out, "--resume");
        using (Assert.EnterMultipleScope())
        {
            Assert.That(code, Is.EqualTo(1));
            Assert.That(
                output + error,
                Does.Contain("step-00000060.safetensors").And.Contain("checkpoints").And.Not.Contain("   at ")
            );
        }
    }

    [TestCase("--help")]
    [TestCase("--help", "--extensions")]
    [TestCase("/?", "--extensions")]
    public void HelpSaysWhatThereIs(params string[] arguments)
    {
        var (code, output, _) = Run(arguments);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(code, Is.Zero);
            foreach (var option in new[] { "--seed", "--seeds", "--jobs", "--device", "--set", "--out", "--resume" })
                Assert.That(output, Does.Contain(option));
        }
    }
}
