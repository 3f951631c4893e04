using System.Text.Json;
using System.Text.Json.Nodes;
using EmtTorch.Analysis.Runs;
using EmtTorch.Configuration;
using EmtTorch.Reports;
using EmtTorch.Settings;
using EmtTorch.Training;
using Serilog.Core;

namespace EmtTorch.Analysis.Tests;

/// <summary>
/// From a run's folder to analysis.json and report.html: which weights are taken, what is written, and what is left
/// alone.
/// </summary>
public sealed class RunAnalysisTests : InTemporaryFolder
{
    private const string Small = """
        {
          "name": "small", "device": "cpu", "task": { "name": "repeat_copy", "d": 2, "s": 2 },
          "model": { "hidden_size": 12 },
          "training": { "steps": 400, "batch_size": 16, "log_interval": 50, "learning_rate": 0.01,
            "curriculum": { "horizons": [4, 8], "threshold": 0.9 } },
          "evaluation": { "horizon": 20, "batches": 2, "batch_size": 16, "interval": 100 },
          "checkpoints": { "interval": 100, "keep_last": 3 }
        }
        """;

    private static readonly AnalysisOptions Quick = new() { TestHorizon = 20, TestSequences = 64 };

    private static string _trained = "";
    private readonly List<string> _warnings = [];

    [OneTimeSetUp]
    public static void Train()
    {
        _trained = Directory.CreateTempSubdirectory("emttorch-trained-").FullName;
        var configuration = ConfigurationFile.Parse(Small, [$"out={_trained}"]);
        new TrainingRun(configuration, RunFolder.Of(configuration), Logger.None).Train();
    }

    [OneTimeTearDown]
    public static void RemoveTrained() => Directory.Delete(_trained, recursive: true);

    [SetUp]
    public void CopyRun()
    {
        _warnings.Clear();
        foreach (var file in Directory.EnumerateFiles(_trained, "*", SearchOption.AllDirectories))
        {
            var copy = Path.Combine(Folder, Path.GetRelativePath(_trained, file));
            Directory.CreateDirectory(Path.GetDirectoryName(copy)!);
            File.Copy(file, copy);
        }
    }

    /// <summary>
    /// The exact circuit of repeat copy (d = 2, s = 2) for ReLU: a bit is held as 1 or 0. With tanh what is held
    /// shrinks until it is read as 0.
    /// </summary>
    private string ReluCircuit()
    {
        double[] ih = new double[4 * 2],
            hh = new double[4 * 4],
            readout = new double[2 * 4];
        for (int bit = 0; bit < 2; bit++)
        {
            int second = 2 + bit; // the unit of the second variable, where bits come in and are read
            ih[second * 2 + bit] = readout[bit * 4 + second] = 1;
            hh[bit * 4 + second] = hh[second * 4 + bit] = 1;
        }
        SafetensorsTensor Stored(double[] numbers, params long[] shape) =>
            new("F64", shape, System.Runtime.InteropServices.MemoryMarshal.AsBytes<double>(numbers).ToArray());
        var path = Path.Combine(Folder, "relu.safetensors");
        SafetensorsFile.Write(
            path,
            new Dictionary<string, SafetensorsTensor>
            {
                ["rnn.weight_ih_l0"] = Stored(ih, 4, 2),
                ["rnn.weight_hh_l0"] = Stored(hh, 4, 4),
                ["out.weight"] = Stored(readout, 2, 4),
                ["out.bias"] = Stored([-0.5, -0.5], 2),
            },
            new Dictionary<string, string>()
        );
        return path;
    }

    [Test]
    public void AReluNetworkIsNamedAndNotReadAsTanh()
    {
        var configuration = Path.Combine(Folder, "task.json");
        File.WriteAllText(configuration, Small);
        using var network = Load(ReluCircuit(), configuration: configuration);
        var analysis = RunAnalysis.Of(network, Quick);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(analysis.Problems, Has.Count.EqualTo(1));
            Assert.That(analysis.Problems[0], Does.Contain("with ReLU 100.0").And.Contains("only tanh networks"));
            Assert.That(analysis.Lines, Is.Empty);
            Assert.That(analysis.Findings, Does.Not.ContainKey("test_accuracy"));
        }
    }

    [Test]
    public void BareWeightsSayThatTheyAreReadAsTanhAndHowWellThatDoes()
    {
        var (weights, configuration) = (Path.Combine(Folder, "bare.safetensors"), Path.Combine(Folder, "task.json"));
        File.WriteAllText(configuration, Small);
        var trained = SafetensorsFile.Read(Checkpoint(400));
        SafetensorsFile.Write(
            weights,
            trained
                .Tensors.Where(t => t.Key.StartsWith("rnn", StringComparison.Ordinal) || t.Key == "readout.weight")
                .ToDictionary(),
            new Dictionary<string, string>()
        );
        using var network = Load(weights, configuration: configuration);
        using var run = Load();
        using (Assert.EnterMultipleScope())
        {
            Assert.That(RunAnalysis.Of(network, Quick).Lines[0], Does.Contain("It is read as a tanh network"));
            Assert.That(RunAnalysis.Of(run, Quick).Lines, Has.None.Contains("activation"));
        }
    }

    [Test]
    public void NothingIsSaidOfANetworkThatCannotDoItsTask()
    {
        var configuration = ConfigurationFile.Parse(Small, [$"out={Folder}", "name=untrained", "training.steps=1"]);
        new TrainingRun(configuration, RunFolder.Of(configuration), Logger.None).Train();
        using var network = Load(RunFolder.Of(configuration).Path);
        var analysis = RunAnalysis.Of(network, Quick);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(analysis.Lines, Has.Count.EqualTo(1));
            Assert.That(analysis.Lines[0], Does.StartWith("It does not do the task"));
            Assert.That(analysis.Findings, Does.ContainKey("eigenvalues_learned"), "the numbers are there");
        }
    }

    private string Run => Path.Combine(Folder, "small", "seed-1");

    private string Checkpoint(int step) => Path.Combine(Run, "checkpoints", $"step-{step:D8}.safetensors");

    private TrainedNetwork Load(string? path = null, string checkpoint = "best", string? configuration = null) =>
        TrainedNetwork.Load(path ?? Run, configuration, checkpoint, _warnings.Add);

    private string Bare(string name = "bare.safetensors", IReadOnlyDictionary<string, string>? metadata = null)
    {
        var file = SafetensorsFile.Read(Checkpoint(400));
        var path = Path.Combine(Folder, name);
        SafetensorsFile.Write(
            path,
            file.Tensors.Where(t => t.Key is "rnn.weight_ih" or "rnn.weight_hh" or "readout.weight").ToDictionary(),
            metadata ?? new Dictionary<string, string>()
        );
        return path;
    }

    private string Config()
    {
        var path = Path.Combine(Folder, "small.json");
        File.WriteAllText(path, Small);
        return path;
    }

    private static void Damage(string path)
    {
        var bytes = File.ReadAllBytes(path);
        bytes[bytes.Length / 2] ^= 1;
        File.WriteAllBytes(path, bytes);
    }

    /// <summary>Another checkpoint, with the weights of the last, that says which one was best.</summary>
    private void Rewrite(int step, long best)
    {
        var file = SafetensorsFile.Read(Checkpoint(400));
        var metadata = file.Metadata.Where(m => m.Key != "sha256").ToDictionary();
        (metadata["step"], metadata["best_step"]) = ($"{step}", $"{best}");
        SafetensorsFile.Write(Checkpoint(step), file.Tensors, metadata);
        File.WriteAllText(Path.Combine(Run, "checkpoints", "latest"), $"step-{step:D8}.safetensors\n");
    }

    private static IEnumerable<string> Everything(string folder) =>
        Directory
            .EnumerateFiles(folder, "*", SearchOption.AllDirectories)
            .Select(f => Path.GetRelativePath(folder, f))
            .Order();

    [Test]
    public void BestLatestAndAStepAreTakenAsAsked()
    {
        Rewrite(500, best: 300);
        using var best = Load();
        using var latest = Load(checkpoint: "latest");
        using var step = Load(checkpoint: "400");
        using (Assert.EnterMultipleScope())
        {
            Assert.That((best.Step, Path.GetFullPath(best.File)), Is.EqualTo((300L, Checkpoint(300))));
            Assert.That((latest.Step, Path.GetFullPath(latest.File)), Is.EqualTo((500L, Checkpoint(500))));
            Assert.That(step.Step, Is.EqualTo(400));
            Assert.That((best.Name, best.IsRun, best.Folder), Is.EqualTo(("small/seed-1", true, Run)));
            Assert.That(best.Metrics.Select(m => m.Step), Is.EqualTo(Enumerable.Range(1, 8).Select(i => 50 * i)));
            Assert.That(_warnings, Is.Empty);
        }
    }

    [Test]
    public void AnAnalysisOfAnEarlierVersionIsMadeAgainWhereItCanBe()
    {
        var file = Path.Combine(Run, RunAnalysis.FileName);
        int made = 0;
        JsonObject OfRun() => RunAnalysis.OfRun(Run, _warnings.Add, () => made++);
        OfRun();
        Assert.That((OfRun()["cycles_learned"] is null, made), Is.EqualTo((false, 1)));
        void Age()
        {
            var json = JsonNode.Parse(File.ReadAllText(file))!.AsObject();
            foreach (var key in (string[])["version", "cycles_learned"])
                json.Remove(key);
            File.WriteAllText(file, json.ToJsonString());
        }
        Age();
        Assert.That((OfRun()["cycles_learned"] is null, made), Is.EqualTo((false, 2)));
        Assert.That((int?)JsonNode.Parse(File.ReadAllText(file))!["version"], Is.EqualTo(RunAnalysis.Version));
        Assert.That(_warnings, Is.Empty);
        Age();
        Directory.Delete(Path.Combine(Run, "checkpoints"), recursive: true);
        Assert.That((OfRun()["cycles_learned"] is null, made), Is.EqualTo((true, 2)));
        Assert.That(_warnings, Has.Count.EqualTo(1).And.Some.Contains("is of another version"));
    }

    [Test]
    public void ADamagedBestIsNamedAndTheNewestUsed()
    {
        Rewrite(500, best: 300);
        Damage(Checkpoint(300));
        using var network = Load();
        Assert.That(network.Step, Is.EqualTo(500));
        Assert.That(_warnings, Has.Count.EqualTo(1));
        Assert.That(_warnings[0], Does.Contain("step-00000300.safetensors").And.Contain("newest"));
    }

    [Test]
    public void ADamagedNewestIsNamedAndTheOneBeforeUsed([Values("best", "latest")] string checkpoint)
    {
        Rewrite(500, best: 500);
        Damage(Checkpoint(500));
        using var network = Load(checkpoint: checkpoint);
        Assert.That(network.Step, Is.EqualTo(400));
        Assert.That(_warnings, Has.Some.Contains("step-00000500.safetensors"));
    }

    [Test]
    public void ABestThatIsNotThereIsSaid()
    {
        Rewrite(500, best: 250);
        using var network = Load();
        Assert.That(network.Step, Is.EqualTo(500));
        Assert.That(_warnings, Has.Some.Contains("250"));
    }

    [Test]
    public void ADamagedStepThatWasAskedForIsAnError()
    {
        Damage(Checkpoint(400));
        Assert.That(
            () => Load(checkpoint: "400"),
            Throws.TypeOf<InvalidDataException>().With.Message.Contains("step-00000400.safetensors")
        );
    }

    [Test]
    public void WhereAllAreDamagedAllAreNamed()
    {
        foreach (var file in Directory.GetFiles(Path.Combine(Run, "checkpoints"), "*.safetensors"))
            Damage(file);
        Assert.That(
            () => Load(),
            Throws
                .TypeOf<CheckpointException>()
                .With.Message.Contains("step-00000400")
                .And.Message.Contains("step-00000200")
        );
    }

    [TestCase("250", "no checkpoint of step 250")]
    [TestCase("-1", "no checkpoint of step -1")]
    [TestCase("newest", "'newest' is not one of best, latest")]
    [TestCase("", "'' is not one of best, latest")]
    public void ACheckpointThatIsNotThereIsRefused(string checkpoint, string said) =>
        Assert.That(
            () => Load(checkpoint: checkpoint),
            Throws.TypeOf<ConfigurationException>().With.Message.Contains(said)
        );

    [Test]
    public void ARunThatGoesOnIsNotTouched()
    {
        // As another process has it: a checkpoint half written, a line half written.
        var unfinished = Checkpoint(500) + ".tmp";
        File.WriteAllBytes(unfinished, [1, 2, 3]);
        File.WriteAllBytes(Path.Combine(Run, "result.json.tmp"), [1]);
        File.Delete(Path.Combine(Run, "result.json"));
        using var growing = new FileStream(
            Path.Combine(Run, "metrics.jsonl"),
            FileMode.Append,
            FileAccess.Write,
            FileShare.Read
        );
        growing.Write("{\"step\":450,\"lo"u8);
        growing.Flush();
        var before = Everything(Run).ToDictionary(f => f, f => File.GetLastWriteTimeUtc(Path.Combine(Run, f)));
        using var network = Load(checkpoint: "latest");
        RunReport.Write(RunAnalysis.Of(network, Quick), network.Folder);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(network.Step, Is.EqualTo(400));
            Assert.That(network.Metrics, Has.Count.EqualTo(8));
            Assert.That(Everything(Run), Is.EquivalentTo(before.Keys.Concat(["analysis.json", "report.html"])));
            foreach (var (file, time) in before)
                Assert.That(File.GetLastWriteTimeUtc(Path.Combine(Run, file)), Is.EqualTo(time), file);
        }
    }

    [Test]
    public void ARunWithoutACheckpointSaysSo([Values] bool folder)
    {
        Directory.Delete(Path.Combine(Run, "checkpoints"), recursive: true);
        if (folder)
            Directory.CreateDirectory(Path.Combine(Run, "checkpoints"));
        Assert.That(() => Load(), Throws.TypeOf<ConfigurationException>().With.Message.Contains("no checkpoint yet"));
        Assert.That(
            () => Load(checkpoint: "400"),
            Throws.TypeOf<ConfigurationException>().With.Message.Contains("no checkpoint of step 400")
        );
    }

    [Test]
    public void APathThatIsNothingIsRefused()
    {
        Assert.That(
            () => Load(Path.Combine(Folder, "nothing")),
            Throws.TypeOf<ConfigurationException>().With.Message.Contains("there is no")
        );
        Assert.That(() => Load(Folder), Throws.TypeOf<ConfigurationException>().With.Message.Contains("checkpoints"));
        Assert.That(
            () => Load(Path.Combine(Run, "config.json")),
            Throws.TypeOf<InvalidDataException>().With.Message.Contains("config.json")
        );
    }

    [Test]
    public void ACheckpointInsideARunBelongsToTheRun()
    {
        using var network = Load(Checkpoint(300));
        Assert.That((network.IsRun, Path.GetFullPath(network.Folder), network.Step), Is.EqualTo((true, Run, 300L)));
        Assert.That(network.Metrics, Has.Count.EqualTo(8));
    }

    [Test]
    public void ACheckpointThatWasCopiedAwayStandsAlone()
    {
        var copy = Path.Combine(Folder, "copy.safetensors");
        File.Copy(Checkpoint(300), copy);
        using var network = Load(copy);
        Assert.That(
            (network.IsRun, network.Folder, network.Step, network.Name),
            Is.EqualTo((false, Folder, 300L, "small/seed-1"))
        );
    }

    [Test]
    public void BareWeightsNeedAConfiguration()
    {
        Assert.That(
            () => Load(Bare()),
            Throws
                .TypeOf<ConfigurationException>()
                .With.Message.Contains("--config")
                .And.Message.Contains("bare.safetensors")
        );
        using var network = Load(Bare(), configuration: Config());
        Assert.That(
            (network.Name, network.Folder, network.IsRun, network.Step),
            Is.EqualTo(("bare", Folder, false, (long?)null))
        );
    }

    [Test]
    public void AnotherTaskMayBeAskedAboutAndTheNameStaysTheRuns()
    {
        var path = Path.Combine(Folder, "other.json");
        File.WriteAllText(path, Small.Replace("\"d\": 2, \"s\": 2", "\"d\": 2, \"s\": 3"));
        using var network = Load(configuration: path);
        Assert.That((network.Name, network.Configuration.Task.S), Is.EqualTo(("small/seed-1", 3)));
    }

    [Test]
    public void MetadataOfAnotherProgramIsNoObstacle()
    {
        // PyTorch users put what they like there; a step that is no number says nothing.
        using var network = Load(
            Bare(
                metadata: new Dictionary<string, string>
                {
                    ["format"] = "pt",
                    ["step"] = "final",
                    ["best_step"] = "x",
                }
            ),
            configuration: Config()
        );
        Assert.That(network.Step, Is.Null);
    }

    [Test]
    public void AnalysisJsonHasTheKeysOfTheContract()
    {
        using var network = Load();
        var analysis = RunAnalysis.Of(network, Quick);
        RunReport.Write(analysis, network.Folder);
        var text = File.ReadAllText(Path.Combine(Run, "analysis.json"));
        var json = JsonDocument.Parse(text).RootElement;
        using (Assert.EnterMultipleScope())
        {
            foreach (
                var key in (string[])
                    [
                        "spectral_error",
                        "spectral_error_greedy",
                        "eigenvalues_theory",
                        "eigenvalues_learned",
                        "live_entries",
                        "phi_error",
                        "name",
                        "task",
                        "seed",
                        "step",
                        "weights",
                        "hidden_size",
                        "test_accuracy",
                        "test_horizon",
                        "grounding",
                        "condition",
                        "intervention_accuracy",
                        "groundings",
                        "interventions",
                        "problems",
                        "seconds",
                    ]
            )
            {
                Assert.That(json.TryGetProperty(key, out _), Is.True, key);
            }

            Assert.That(
                json.GetProperty("eigenvalues_theory").GetInt32(),
                Is.EqualTo(4),
                "Φ² = 1: 1 and −1, each for two components"
            );
            Assert.That(json.GetProperty("name").GetString(), Is.EqualTo("small/seed-1"));
            Assert.That(json.GetProperty("task").GetString(), Is.EqualTo("repeat_copy"));
            Assert.That(
                (
                    json.GetProperty("seed").GetInt64(),
                    json.GetProperty("hidden_size").GetInt32(),
                    json.GetProperty("test_horizon").GetInt32()
                ),
                Is.EqualTo((1L, 12, 20))
            );
            Assert.That(json.GetProperty("step").GetInt64(), Is.EqualTo(network.Step));
            Assert.That(
                json.GetProperty("groundings").EnumerateArray().Select(g => g.GetProperty("grounding").GetString()),
                Is.EqualTo(new[] { "realization", "output", "algorithm1" })
            );
            Assert.That(json.GetProperty("spectrum_learned").GetArrayLength(), Is.EqualTo(12));
            Assert.That(json.GetProperty("spectrum_theory").GetArrayLength(), Is.EqualTo(4));
            Assert.That(text, Does.Not.Contain("NaN").And.Not.Contain("Infinity").And.EndsWith("}\n"));
            Assert.That(analysis.Lines, Has.Count.InRange(2, 5));
        }
    }

    [Test]
    public void TheSameAnalysisTwiceGivesTheSameBytes()
    {
        string[] Files()
        {
            using var network = Load();
            RunReport.Write(RunAnalysis.Of(network, Quick), Run);
            return
            [
                string.Join(
                    '\n',
                    File.ReadLines(Path.Combine(Run, "analysis.json"))
                        .Where(l => !l.StartsWith("  \"seconds\"", StringComparison.Ordinal))
                ),
                File.ReadAllText(Path.Combine(Run, "report.html")),
            ];
        }
        var first = Files();
        Assert.That(Files(), Is.EqualTo(first));
    }

    [Test]
    public void TheAnalysisDependsOnTheWeightsAlone()
    {
        JsonElement Analyze(TrainedNetwork network)
        {
            using (network)
                return JsonDocument.Parse(RunAnalysis.Of(network, Quick).Json.ToJsonString()).RootElement;
        }
        JsonElement run = Analyze(Load(checkpoint: "latest")),
            bare = Analyze(Load(Bare(), configuration: Config()));
        foreach (
            var key in (string[])
                [
                    "test_accuracy",
                    "spectral_error",
                    "phi_error",
                    "condition",
                    "intervention_accuracy",
                    "spectrum_learned",
                    "interventions",
                    "groundings",
                ]
        )
        {
            Assert.That(bare.GetProperty(key).GetRawText(), Is.EqualTo(run.GetProperty(key).GetRawText()), key);
        }
    }

    [Test]
    public void AnInputThatFitsNotIsRefused()
    {
        using var network = Load();
        Assert.That(
            () => RunAnalysis.Of(network, Quick with { Input = "[[1, 1]]" }),
            Throws.ArgumentException.With.Message.Contains("2 vectors of 2 numbers")
        );
    }

    [Test]
    public void FlipFlopsAreReadByTheirFixedPoints()
    {
        var configuration = ConfigurationFile.Parse(
            """
            {
              "name": "bit", "device": "cpu", "task": { "name": "flip_flop", "d": 1 },
              "model": { "hidden_size": 8, "bias": true },
              "training": { "steps": 300, "batch_size": 16, "learning_rate": 0.01,
                "curriculum": { "horizons": [32] } }, "evaluation": { "horizon": 32, "interval": 300 }
            }
            """,
            [$"out={Folder}"]
        );
        new TrainingRun(configuration, RunFolder.Of(configuration), Logger.None).Train();
        using var network = Load(RunFolder.Of(configuration).Path);
        var analysis = RunAnalysis.Of(network);
        RunReport.Write(analysis, network.Folder);
        var json = JsonDocument.Parse(File.ReadAllText(Path.Combine(network.Folder, "analysis.json"))).RootElement;
        using (Assert.EnterMultipleScope())
        {
            Assert.That(analysis.Lines, Has.Count.LessThanOrEqualTo(5).And.Some.Contains("fixed points"));
            Assert.That(
                json.GetProperty("fixed_points").GetProperty("stable").GetInt32(),
                Is.EqualTo(
                    json.GetProperty("fixed_points")
                        .GetProperty("points")
                        .EnumerateArray()
                        .Count(p => p.GetProperty("stable").GetBoolean())
                )
            );
        }
    }
}
