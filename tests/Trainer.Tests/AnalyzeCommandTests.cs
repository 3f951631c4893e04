using System.Text.Json;

namespace EmtTorch.Trainer.Tests;

/// <summary>`Trainer analyze` as a user runs it: its exit codes, what it prints, and what it leaves on disk.</summary>
[Category(Layer.Process)]
public sealed class AnalyzeCommandTests
{
    private const string Small = """
        {
          "name": "small", "device": "cpu", "task": { "name": "repeat_copy", "d": 2, "s": 2 },
          "model": { "hidden_size": 12 },
          "training": { "steps": 200, "batch_size": 16, "log_interval": 50, "learning_rate": 0.01,
            "curriculum": { "horizons": [4, 8], "threshold": 0.9 } },
          "evaluation": { "horizon": 20, "batches": 2, "batch_size": 16, "interval": 100 },
          "checkpoints": { "interval": 100 }
        }
        """;

    private string _folder = "";

    [OneTimeSetUp]
    public void Train()
    {
        _folder = Directory.CreateTempSubdirectory("emttorch-analyze-").FullName;
        File.WriteAllText(At("small.json"), Small);
        Assert.That(Command.RunTrainer(_folder, "small.json", "--seeds", "1-2", "--out", _folder).Code, Is.Zero);
        File.WriteAllText(At("other.json"), Small.Replace("\"d\": 2", "\"d\": 3"));
        var weights = SafetensorsFile
            .Read(Path.Combine(Run(1), "checkpoints", "step-00000200.safetensors"))
            .Tensors.Where(t =>
                !t.Key.StartsWith("optimizer", StringComparison.Ordinal)
                && !t.Key.StartsWith("random", StringComparison.Ordinal)
            )
            .ToDictionary();
        foreach (var name in (string[])["one", "two"])
        {
            Directory.CreateDirectory(At("bare"));
            SafetensorsFile.Write(At("bare", name + ".safetensors"), weights, new Dictionary<string, string>());
        }
        File.WriteAllText(At("text.safetensors"), "these are no weights, only text");
        weights.Remove("readout.weight");
        SafetensorsFile.Write(At("headless.safetensors"), weights, new Dictionary<string, string>());
    }

    [OneTimeTearDown]
    public void RemoveFolder() => Directory.Delete(_folder, recursive: true);

    private string At(params string[] parts) => Path.Combine([_folder, .. parts]);

    private string Run(int seed) => At("small", $"seed-{seed}");

    /// <summary>Paths are those below the test's folder, which is the working directory.</summary>
    private (int Code, string[] Output, string Error) Analyze(params string[] arguments)
    {
        var (code, output, error) = Command.RunTrainer(_folder, ["analyze", .. arguments]);
        return (code, output.Split('\n', StringSplitOptions.RemoveEmptyEntries), error);
    }

    private string[] Files() =>
        [
            .. Directory
                .EnumerateFiles(_folder, "*", SearchOption.AllDirectories)
                .Select(f => Path.GetRelativePath(_folder, f))
                .Order(),
        ];

    [Test]
    public void ARunIsToldInAFewLines()
    {
        var (code, output, error) = Analyze("small/seed-1", "--out", "told");
        var lines = output.Where(l => !l.StartsWith("Note: ", StringComparison.Ordinal)).ToArray();
        using (Assert.EnterMultipleScope())
        {
            Assert.That(code, Is.Zero, error);
            Assert.That(error, Is.Empty);
            Assert.That(lines, Has.Length.InRange(3, 7), "what it is, five lines or fewer, and where the report is");
            Assert.That(lines[0], Does.StartWith("small/seed-1, task repeat_copy, H = 12, step-00000"));
            Assert.That(lines[1], Does.Match(@"\d %"));
            Assert.That(lines[^1], Is.EqualTo(Path.Combine("told", "report.html")));
            Assert.That(
                JsonDocument
                    .Parse(File.ReadAllText(At("told", "analysis.json")))
                    .RootElement.GetProperty("name")
                    .GetString(),
                Is.EqualTo("small/seed-1")
            );
            Assert.That(File.ReadAllText(At("told", "report.html")), Does.Contain("small/seed-1"));
            Assert.That(Directory.GetFiles(At("told")), Has.Length.EqualTo(2));
        }
    }

    [Test]
    public void WithoutOutTheRunsFolderIsWrittenTo()
    {
        Assert.That(Analyze("small/seed-2", "--checkpoint", "latest").Code, Is.Zero);
        Assert.That(Analyze("small/seed-1/checkpoints/step-00000200.safetensors").Code, Is.Zero);
        foreach (int seed in (int[])[1, 2])
        {
            var json = JsonDocument.Parse(File.ReadAllText(Path.Combine(Run(seed), "analysis.json"))).RootElement;
            Assert.That(
                (json.GetProperty("seed").GetInt32(), json.GetProperty("step").GetInt32()),
                Is.EqualTo((seed, 200))
            );
            Assert.That(File.Exists(Path.Combine(Run(seed), "report.html")), Is.True);
        }
    }

    [Test]
    public void SeveralGiveOneTableAndAComparison()
    {
        var (code, output, error) = Analyze(
            "small/seed-1",
            "small/seed-2",
            "bare/one.safetensors",
            "--config",
            "small.json",
            "--out",
            "several"
        );
        using (Assert.EnterMultipleScope())
        {
            Assert.That(code, Is.Zero, error);
            Assert.That(output[0], Does.StartWith("| run | task | H |"));
            Assert.That(output[1], Does.StartWith("|:--|"));
            foreach (var (row, name) in output[2..5].Zip((string[])["small/seed-1", "small/seed-2", "one"]))
            {
                Assert.That(row, Does.StartWith($"| {name} | repeat_copy | 12 |"));
                Assert.That(row.Count(c => c == '|'), Is.EqualTo(output[0].Count(c => c == '|')));
            }
            Assert.That(output[^1], Is.EqualTo(Path.Combine("several", "comparison.html")));
            foreach (var name in (string[])["small-seed-1", "small-seed-2", "one"])
            {
                Assert.That(File.Exists(At("several", $"{name}.analysis.json")), Is.True, name);
                Assert.That(
                    File.ReadAllText(At("several", "comparison.html")),
                    Does.Contain($"href=\"{name}.report.html\"")
                );
            }
        }
    }

    [Test]
    public void RunsSideBySideAreComparedAboveThem()
    {
        var (code, output, error) = Analyze("small/seed-1", "small/seed-2");
        using (Assert.EnterMultipleScope())
        {
            Assert.That(code, Is.Zero, error);
            Assert.That(
                File.ReadAllText(At("small", "comparison.html")),
                Does.Contain("href=\"seed-1/report.html\"").And.Contain("href=\"seed-2/report.html\"")
            );
            Assert.That(output[^1], Does.EndWith(Path.Combine("small", "comparison.html")));
        }
    }

    [Test]
    public void BareWeightsInOneFolderDontTakeEachOthersPlace()
    {
        Assert.That(Analyze("bare/one.safetensors", "bare/two.safetensors", "--config", "small.json").Code, Is.Zero);
        foreach (var name in (string[])["one", "two"])
        {
            Assert.That(
                JsonDocument
                    .Parse(File.ReadAllText(At("bare", $"{name}.analysis.json")))
                    .RootElement.GetProperty("name")
                    .GetString(),
                Is.EqualTo(name)
            );
            Assert.That(File.Exists(At("bare", $"{name}.report.html")), Is.True);
        }
        Assert.That(File.Exists(At("bare", "analysis.json")), Is.False);
    }

    [Test]
    public void TheSameNetworkTwiceIsWrittenTwice()
    {
        Assert.That(
            Analyze("small/seed-1", "small/seed-1/checkpoints/step-00000200.safetensors", "--out", "twice").Code,
            Is.Zero
        );
        Assert.That(
            Directory.GetFiles(At("twice"), "*.analysis.json").Select(Path.GetFileName),
            Is.EquivalentTo(new[] { "small-seed-1.analysis.json", "small-seed-1-2.analysis.json" })
        );
    }

    [Test]
    public void ANetworkOfAnotherSizeIsNotedAndNoFailure()
    {
        var (code, output, _) = Analyze("bare/one.safetensors", "--config", "other.json", "--out", "mismatch");
        Assert.That(code, Is.Zero);
        Assert.That(output, Has.Some.Contains("the network's inputs have 2 numbers, the task's variables 3"));
    }

    private static IEnumerable<TestCaseData> Wrong()
    {
        TestCaseData Case(string name, string arguments, params string[] says) =>
            new TestCaseData(arguments.Split(' ', StringSplitOptions.RemoveEmptyEntries), says).SetArgDisplayNames(
                name
            );
        yield return Case("no path", "", "PATH");
        yield return Case("nothing there", "nowhere", "nowhere");
        yield return Case("no run", "bare", "bare is no run's folder");
        yield return Case("no configuration", "bare/one.safetensors", "--config", "bare/one.safetensors");
        yield return Case(
            "a configuration that is not there",
            "bare/one.safetensors --config nowhere.json",
            "nowhere.json"
        );
        yield return Case("an unknown option", "small/seed-1 --grouding output", "--grouding");
        yield return Case(
            "all at once",
            "small/seed-1 nowhere --grounding up --alpha 2 --persistence -1 --input xyz --checkpoint newest --time 1",
            "--grounding: 'up'",
            "--alpha: is 2",
            "--persistence: is -1",
            "--input",
            "xyz",
            "--checkpoint: 'newest'",
            "--time: is 1",
            "nowhere",
            "realization, output and algorithm1"
        );
        yield return Case("all at once, counted", "small/seed-1 --alpha 2 --input xyz", "There are 2 problems");
        yield return Case("grounding by number", "small/seed-1 --grounding 1", "--grounding: '1'");
        yield return Case("alpha is no number", "small/seed-1 --alpha NaN", "--alpha");
        yield return Case("a time too late", "small/seed-1 --time 2000000000", "--time");
        yield return Case("a step that is not there", "small/seed-1 --checkpoint 7", "no checkpoint of step 7");
        yield return Case(
            "a checkpoint of no kind, for weights",
            "bare/one.safetensors --config small.json --checkpoint newest",
            "--checkpoint: 'newest'"
        );
        yield return Case("--out is a file", "small/seed-1 --out small.json", "--out", "small.json");
        yield return Case("--out below a file", "small/seed-1 --out small.json/there", "--out", "small.json");
        yield return Case("--out can't be made", "small/seed-1 --out /proc/there", "--out", "/proc/there");
    }

    [TestCaseSource(nameof(Wrong))]
    public void WhatIsWrongIsExit2AndWritesNothing(string[] arguments, string[] says)
    {
        var before = Files();
        var (code, output, error) = Analyze(arguments);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(code, Is.EqualTo(2), error);
            foreach (var words in says)
                Assert.That(error, Does.Contain(words));
            Assert.That(output, Is.Empty);
            Assert.That(error, Does.Not.Contain("   at "), "a stack trace");
            Assert.That(Files(), Is.EqualTo(before));
        }
    }

    [TestCase("text.safetensors", "text.safetensors is not a whole safetensors file")]
    [TestCase("headless.safetensors", "the readout's, and has 0")]
    public void WhatIsDamagedIsExit1(string file, string says)
    {
        var before = Files();
        var (code, _, error) = Analyze(file, "--config", "small.json");
        using (Assert.EnterMultipleScope())
        {
            Assert.That(code, Is.EqualTo(1), error);
            Assert.That(error, Does.Contain(says).And.Not.Contain("   at "));
            Assert.That(Files(), Is.EqualTo(before));
        }
    }

    [Test]
    public void HelpNamesEveryOption()
    {
        var (code, output, _) = Analyze("--help");
        Assert.That(code, Is.Zero);
        foreach (
            var option in (string[])
                ["--config", "--checkpoint", "--grounding", "--alpha", "--persistence", "--input", "--time", "--out"]
        )
        {
            Assert.That(output, Has.Some.Contains(option));
        }
    }
}
