using EmtTorch.Training;

namespace EmtTorch.Trainer.Tests;

/// <summary>What goes wrong in one run before its first step, among several runs.</summary>
[Category(Layer.Process)]
public sealed class FailingRunsTests : InTemporaryFolder
{
    private const string Small = """
        {
          "name": "small", "device": "cpu", "threads": 1, "task": { "name": "repeat_copy", "d": 2, "s": 2 },
          "model": { "hidden_size": 8 }, "training": { "steps": 3, "batch_size": 4 },
          "evaluation": { "horizon": 3, "batches": 1, "batch_size": 4 }
        }
        """;

    [SetUp]
    public void WriteFiles()
    {
        File.WriteAllText(Path.Combine(Folder, "small.json"), Small);
        File.WriteAllText(
            Path.Combine(Folder, "sweep.json"),
            $$"""{ "name": "small", "base": {{Small.Replace("\"name\": \"small\",", "")}}, "seeds": "1-3" }"""
        );
    }

    private string In(params string[] path) => Path.Combine([Folder, "runs", "small", .. path]);

    private (int Code, string Output, string Error) Run(params string[] arguments) =>
        Command.RunTrainer(Folder, arguments);

    private bool IsDone(int seed) => File.Exists(In($"seed-{seed}", "result.json"));

    [TestCase("small.json", "--seeds", "1-3")]
    [TestCase("small.json", "--seeds", "1-3", "--jobs", "1")]
    [TestCase("small.json", "--seeds", "1-3", "--together")]
    [TestCase("sweep", "sweep.json")]
    [TestCase("sweep", "sweep.json", "--together")]
    public void ALockThatCannotBeTakenStopsNoOther(params string[] command)
    {
        Directory.CreateDirectory(In(".seed-2.lock"));
        var (code, output, error) = Run(command);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(code, Is.EqualTo(1), output + error);
            Assert.That(error, Does.Contain(".seed-2.lock is a folder").And.Not.Contain("   at "));
            Assert.That(
                output + error,
                Does.Contain(command[0] == "sweep" ? "2 of 3 runs done" : "1 of 3 runs failed: seed 2")
            );
            Assert.That((IsDone(1), IsDone(2), IsDone(3)), Is.EqualTo((true, false, true)));
        }
    }

    [TestCase("--jobs", "2")]
    [TestCase("--together")]
    public void ARunThatCannotBeSetAsideStopsNoOtherAndIsKept(params string[] how)
    {
        Assert.That(Run("small.json", "--seed", "2").Code, Is.Zero);
        var before = File.ReadAllText(In("seed-2", "result.json"));
        File.WriteAllText(In("earlier"), "a file");
        var (code, output, error) = Run(["small.json", "--seeds", "1-3", .. how]);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(code, Is.EqualTo(1), output + error);
            Assert.That(error, Does.Contain("earlier is a file").And.Not.Contain("   at "));
            Assert.That((IsDone(1), IsDone(3)), Is.EqualTo((true, true)));
            Assert.That(File.ReadAllText(In("seed-2", "result.json")), Is.EqualTo(before));
        }
    }

    [Test]
    public void OfTooManySeedsTogetherAsManyTrainAsFilesCanBeOpen()
    {
        if (!OperatingSystem.IsLinux())
            Assert.Ignore("the limit is read from /proc");
        var arguments = "small.json --seeds 1-60 --together";
        using var shell = Command.Start(
            Folder,
            "bash",
            ["-c", $"ulimit -n 200; exec dotnet '{Command.TrainerFile}' {arguments}"]
        );
        var (code, output, error) = shell.End();
        using (Assert.EnterMultipleScope())
        {
            Assert.That(code, Is.Zero, output + error);
            Assert.That(error, Does.Contain("at a time, not 60"));
            Assert.That(Enumerable.Range(1, 60).All(IsDone), Is.True);
        }
    }

    [Test]
    public void ASeedWithoutAFirstStageStopsNoOtherSeedOfASequence()
    {
        File.WriteAllText(
            Path.Combine(Folder, "small.json"),
            ContinualSamples.Rnn.Replace("\"seeds\": [1]", "\"seeds\": [1, 2]")
        );
        Directory.CreateDirectory(In("first"));
        File.WriteAllText(In("first", "seed-1"), "a file");
        var (code, output, error) = Run("continual", "small.json", "--jobs", "2");
        using (Assert.EnterMultipleScope())
        {
            Assert.That(code, Is.EqualTo(1), output + error);
            Assert.That(error, Does.Contain("failed: first, seed 1").And.Not.Contain("   at "));
            Assert.That(File.Exists(In("naive", "seed-2", "3-swap", "tests.json")), Is.True);
            Assert.That(File.Exists(In("joint", "seed-1", "all", "tests.json")), Is.True);
            Assert.That(File.Exists(Path.Combine(Folder, "results", "small", "table.md")), Is.True);
        }
    }

    [TestCase("none", "none.safetensors")]
    [TestCase("damaged", "damaged.safetensors is not a whole safetensors file")]
    [TestCase("another size", "other.safetensors, rnn.weight_ih is (9, 2), the network's is (8, 2)")]
    public void WeightsThatCannotBeUsedAreExit2AndMoveNothing(string kind, string says)
    {
        Assert.That(Run("small.json").Code, Is.Zero);
        File.WriteAllText(Path.Combine(Folder, "damaged.safetensors"), "damaged");
        if (kind == "another size")
        {
            Assert.That(Run("small.json", "--out", "other", "--set", "model.hidden_size=9").Code, Is.Zero);
            File.Copy(
                Path.Combine(Folder, "other", "small", "seed-1", "checkpoints", "step-00000003.safetensors"),
                Path.Combine(Folder, "other.safetensors")
            );
        }
        var file = kind == "another size" ? "other" : kind;
        foreach (var seeds in (string[])["1", "1-2"])
        {
            var (code, output, error) = Run("small.json", "--weights", $"{file}.safetensors", "--seeds", seeds);
            using (Assert.EnterMultipleScope())
            {
                Assert.That(code, Is.EqualTo(2), output + error);
                Assert.That(error, Does.Contain("--weights: ").And.Contain(says));
                Assert.That(
                    Directory.GetFileSystemEntries(In()).Select(Path.GetFileName),
                    Is.EquivalentTo(new[] { "seed-1", ".seed-1.lock" })
                );
            }
        }
        Assert.That(new RunFolder(In("seed-1")).ReadResult()!.Steps, Is.EqualTo(3));
    }
}
