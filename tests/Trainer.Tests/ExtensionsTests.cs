using System.Text.Json.Nodes;

namespace EmtTorch.Trainer.Tests;

/// <summary>
/// The sample of docs/extending.md, as a user runs it: a task, a memory and an analysis from another assembly.
/// </summary>
[Category(Layer.Process)]
public sealed class ExtensionsTests : InTemporaryFolder
{
    private static readonly string MyLab = Built("samples", "MyLab");
    private static readonly string FaultyLab = Built("tests", "FaultyLab");

    private static string Built(string folder, string project) =>
        Path.Combine(
            Repository.Root,
            folder,
            project,
            Path.GetRelativePath(
                Path.Combine(Repository.Root, "tests", "Trainer.Tests"),
                TestContext.CurrentContext.TestDirectory
            ),
            $"{project}.dll"
        );

    private const string Task = """
        { "name": "negation", "task": { "delayed_negation": { "size": 3, "delay": 4 } }, "model": { "hidden_size": 32 },
          "training": { "steps": 300, "curriculum": { "horizons": [5] } },
          "evaluation": { "horizon": 5, "interval": 150 } }
        """;

    private const string Memory = """
        { "name": "average",
          "task": { "segment_recall": { "pairs": 2, "segment_length": 8, "keys": 4, "values": 4, "noise": 2 } },
          "model": { "type": "episodic_transformer", "hidden_size": 16, "layers": 1, "heads": 2,
                     "memories": { "leaky_average": { "rho": 0.8 } } },
          "training": { "steps": 20, "batch_size": 8, "curriculum": { "horizons": [1] } },
          "evaluation": { "horizon": 1, "batches": 1, "interval": 20 } }
        """;

    private string Write(string name, string json)
    {
        var path = Path.Combine(Folder, name);
        File.WriteAllText(path, json);
        return path;
    }

    private string Run(params string[] arguments)
    {
        var (code, output, error) = Command.RunTrainer(Folder, arguments);
        Assert.That(code, Is.Zero, error);
        return output;
    }

    [Test]
    public void ATaskAndAnAnalysisComeFromAnotherAssembly()
    {
        Run(Write("negation.json", Task), "--extensions", MyLab);
        var folder = Path.Combine(Folder, "runs", "negation", "seed-1");
        var result = JsonNode.Parse(File.ReadAllText(Path.Combine(folder, "result.json")))!;
        Assert.That((double)result["test_accuracy"]!, Is.GreaterThan(0.99));
        // The run remembers the assembly.
        Assert.That(
            Run("analyze", folder),
            Does.Contain("task delayed_negation").And.Match("W_hh writes into [0-9.]+ directions")
        );
        var finding = JsonNode.Parse(File.ReadAllText(Path.Combine(folder, "analysis.json")))!["findings"]![
            "participation_ratio"
        ]!["directions"]!;
        Assert.That((double)finding["value"]!, Is.LessThan((double)finding["null"]!));
        Run(Path.Combine(folder, "config.json"), "--resume");
    }

    [Test]
    public void AFindingIsAColumnOfTheComparisonAndOfASweepsTable()
    {
        const string Column = "| directions of W_hh |";
        Run(Write("negation.json", Task), "--extensions", MyLab, "--seeds", "1-2", "--set", "training.steps=50");
        var folder = Path.Combine(Folder, "runs", "negation");
        Assert.That(
            Run("analyze", Path.Combine(folder, "seed-1"), Path.Combine(folder, "seed-2")).Split('\n')[0],
            Does.Contain(Column)
        );
        Assert.That(File.ReadAllText(Path.Combine(folder, "comparison.html")), Does.Contain("Directions of W_hh"));
        Assert.That(
            Run("table", Path.Combine(Folder, "runs")),
            Does.Contain(Column).And.Contain("directions of W_hh: how many directions W_hh writes into")
        );
        Assert.That(
            File.ReadLines(Path.Combine(Folder, "runs", "table.csv")).First(),
            Does.EndWith(",participation_ratio.directions")
        );
    }

    [Test]
    public void AMemoryComesFromAnotherAssembly()
    {
        var config = Write("average.json", Memory);
        Run(config, "--extensions", MyLab);
        var folder = Path.Combine(Folder, "runs", "average", "seed-1");
        var model = JsonNode.Parse(File.ReadAllText(Path.Combine(folder, "config.json")))!["model"]!;
        Assert.That((double)model["memories"]!["leaky_average"]!["rho"]!, Is.EqualTo(0.8));
        Run(config, "--extensions", MyLab, "--resume", "--set", "training.steps=25");
        Run("analyze", folder);
    }

    [TestCase("nothing.dll", "there is no file nothing.dll")]
    [TestCase("negation.json", "is not an assembly that can be loaded")]
    public void WhatIsNoAssemblyIsRefused(string file, string message)
    {
        Write("negation.json", Task);
        var (code, _, error) = Command.RunTrainer(Folder, "negation.json", "--extensions", file);
        Assert.That((code, error), Is.EqualTo((2, error)));
        Assert.That(error, Does.Contain(message));
        Assert.That(Directory.Exists(Path.Combine(Folder, "runs")), Is.False);
    }

    [Test]
    public void SettingsOfAnExtensionAreCheckedAsOurs()
    {
        Write("negation.json", Task);
        var (code, _, error) = Command.RunTrainer(
            Folder,
            "negation.json",
            "--extensions",
            MyLab,
            "--set",
            "task.delayed_negation.delay=-1"
        );
        Assert.That((code, error), Is.EqualTo((2, error)));
        Assert.That(
            error,
            Does.Contain("task.delayed_negation.delay: found -1; allowed: a whole number from 0 to 1000")
        );
    }

    [TestCase("check", 2, "extensions: FaultyLab.FaultySettings threw KeyNotFoundException: no such delay")]
    [TestCase("constructor", 1, "FaultyLab.FaultyTask threw NotSupportedException: an odd number of bits")]
    [TestCase("batch", 1, "FaultyLab.FaultyTask threw DivideByZeroException: no bits to draw")]
    public void WhatAnExtensionThrowsIsNamedWithItsClass(string where, int code, string message)
    {
        Write(
            "faulty.json",
            $$"""{ "name": "faulty", "task": { "faulty": { "where": "{{where}}" } }, "model": { "hidden_size": 4 } }"""
        );
        var (ended, output, error) = Command.RunTrainer(Folder, "faulty.json", "--extensions", FaultyLab);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(ended, Is.EqualTo(code), output + error);
            Assert.That(error, Does.Contain(message).And.Not.Contain("   at "));
            Assert.That(Directory.Exists(Path.Combine(Folder, "runs")), Is.EqualTo(code == 1));
        }
    }

    [TestCase("DelayedNegation.cs")]
    [TestCase("LeakyAverage.cs")]
    [TestCase("ParticipationRatio.cs")]
    public void TheDocumentShowsTheSample(string file)
    {
        var document = File.ReadAllText(Path.Combine(Repository.Root, "docs", "extending.md"));
        Assert.That(
            document,
            Does.Contain(File.ReadAllText(Path.Combine(Repository.Root, "samples", "MyLab", file)).Trim())
        );
    }
}
