using System.Text.Json.Nodes;
using EmtTorch.Analysis;
using Serilog.Core;

namespace EmtTorch.Trainer.Tests;

/// <summary>`Trainer table` as a user runs it: its exit codes, what it prints, and what it leaves on disk.</summary>
[Category(Layer.Process)]
public sealed class TableCommandTests
{
    private const string Small = """
        {
          "name": "small", "device": "cpu", "task": { "name": "repeat_copy", "d": 2, "s": 2 },
          "model": { "hidden_size": 12 },
          "training": { "steps": 60, "batch_size": 16, "log_interval": 20,
            "curriculum": { "horizons": [4], "threshold": 0.9 } },
          "evaluation": { "horizon": 20, "batches": 2, "batch_size": 16, "interval": 20 },
          "checkpoints": { "interval": 20 }
        }
        """;

    private string _folder = "";

    [OneTimeSetUp]
    public void Train()
    {
        _folder = Directory.CreateTempSubdirectory("emttorch-table-").FullName;
        var configuration = At("small.json");
        File.WriteAllText(configuration, Small);
        Assert.That(Command.RunTrainer(_folder, configuration, "--seeds", "1-2").Code, Is.Zero);
    }

    [OneTimeTearDown]
    public void RemoveFolder() => Directory.Delete(_folder, recursive: true);

    private string At(params string[] parts) => Path.Combine([_folder, .. parts]);

    /// <summary>Paths are those below the test's folder, which is the working directory.</summary>
    private (int Code, string Output, string Error) Table(params string[] arguments) =>
        Command.RunTrainer(_folder, ["table", .. arguments]);

    [Test]
    public void RunsWithoutAnalysisAreAnalysedAndTheTableIsPrintedAndWritten()
    {
        foreach (var file in Directory.GetFiles(_folder, "analysis.json", SearchOption.AllDirectories))
            File.Delete(file);
        var (code, output, error) = Table("runs", "--out", "told/here");
        using (Assert.EnterMultipleScope())
        {
            Assert.That(code, Is.Zero, error);
            Assert.That(
                error.Split('\n', StringSplitOptions.RemoveEmptyEntries).Order(),
                Is.EqualTo(new[] { "Analysing small/seed-1", "Analysing small/seed-2" })
            );
            Assert.That(
                output,
                Is.EqualTo(
                    File.ReadAllText(At("told", "here", "table.md")) + Path.Combine("told/here", "table.html") + "\n"
                )
            );
            Assert.That(output, Does.Contain("2 of 2 runs finished."));
            Assert.That(
                Directory.GetFiles(At("told", "here")).Select(Path.GetFileName).Order(),
                Is.EqualTo(new[] { "table.csv", "table.html", "table.json", "table.md" })
            );
            Assert.That(
                File.ReadAllText(At("runs", "small", "seed-1", "analysis.json")),
                Does.Contain("\"test_accuracy\"")
            );
        }

        // Again: nothing is left to do, but where a file is damaged.
        var table = File.ReadAllText(At("told", "here", "table.json"));
        File.WriteAllText(At("runs", "small", "seed-2", "analysis.json"), "{");
        (code, _, error) = Table("runs", "--out", "told/here");
        Assert.That(
            (code, error.Split('\n')[0], error.Split('\n')[1]),
            Is.EqualTo(
                (
                    0,
                    "Analysing small/seed-2",
                    $"Warning: {Path.Combine("runs", "small", "seed-2", "analysis.json")} is damaged. It is made again."
                )
            )
        );
        Assert.That(File.ReadAllText(At("told", "here", "table.json")), Is.EqualTo(table));
        Assert.That(JsonNode.Parse(table)!["runs"]!.AsArray(), Has.Count.EqualTo(2));
    }

    [TestCase("FOLDER is missing")]
    [TestCase("there is no such folder", "nowhere")]
    [TestCase("has no runs", "empty")]
    [TestCase(
        "--out: runs/small/seed-1/config.json can't be written to",
        "runs",
        "--out",
        "runs/small/seed-1/config.json"
    )]
    [TestCase("'--outt'", "runs", "--outt", "x")]
    public void WrongArgumentsAreSaidAndNothingIsWritten(string message, params string[] arguments)
    {
        Directory.CreateDirectory(At("empty"));
        var before = Directory.GetFileSystemEntries(_folder, "table.*", SearchOption.AllDirectories);
        var (code, output, error) = Table(arguments);
        Assert.That((code, output), Is.EqualTo((2, "")));
        Assert.That(error, Does.Contain(message));
        Assert.That(
            Directory.GetFileSystemEntries(_folder, "table.*", SearchOption.AllDirectories),
            Is.EqualTo(before)
        );
    }

    [Test]
    public void HelpSaysWhatItIs()
    {
        var (code, output, _) = Table("--help");
        Assert.That(code, Is.Zero);
        Assert.That(output, Does.Contain("table.csv").And.Contain("--out"));
    }
}
