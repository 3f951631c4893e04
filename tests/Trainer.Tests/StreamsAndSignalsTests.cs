namespace EmtTorch.Trainer.Tests;

/// <summary>Trainer whose output nobody takes, and whose connection is lost.</summary>
[Category(Layer.Process)]
public sealed class StreamsAndSignalsTests : InTemporaryFolder
{
    private const string Small = """
        {
          "name": "small", "device": "cpu", "threads": 1, "task": { "name": "repeat_copy", "d": 2, "s": 2 },
          "model": { "hidden_size": 8 }, "training": { "steps": 20, "batch_size": 4, "log_interval": 1 },
          "evaluation": { "horizon": 3, "batches": 1, "batch_size": 4, "interval": 10 },
          "checkpoints": { "interval": 5 }
        }
        """;

    [SetUp]
    public void WriteFiles()
    {
        File.WriteAllText(Path.Combine(Folder, "small.json"), Small);
        File.WriteAllText(
            Path.Combine(Folder, "sweep.json"),
            $$"""{ "name": "small", "base": {{Small.Replace("\"name\": \"small\",", "")}}, "seeds": "1-2" }"""
        );
        File.WriteAllText(Path.Combine(Folder, "sequence.json"), ContinualSamples.Rnn);
        if (OperatingSystem.IsWindows())
            Assert.Ignore("streams are closed by a POSIX shell");
    }

    /// <summary>Runs Trainer with its streams redirected, as a shell does.</summary>
    private (int Code, string Output, string Error) Run(string arguments, string redirection)
    {
        using var shell = Command.Start(
            Folder,
            "bash",
            ["-c", $"dotnet '{Command.TrainerFile}' {arguments} {redirection}; exit ${{PIPESTATUS[0]}}"]
        );
        return shell.End(TimeSpan.FromMinutes(2));
    }

    [TestCase("small.json", ">&-")]
    [TestCase("small.json", "2>&-")]
    [TestCase("small.json", "<&- >&- 2>&-")] // the runtime's own pipes get the numbers of the streams
    [TestCase("small.json", ">/dev/full")]
    [TestCase("small.json", ">/dev/full 2>/dev/full")]
    [TestCase("small.json", "| head -1")]
    [TestCase("small.json --seeds 1-2", ">/dev/full 2>&-")]
    [TestCase("small.json --seeds 1-2 --together", ">&- 2>&-")]
    [TestCase("sweep sweep.json", ">&- 2>&-")]
    [TestCase("sweep sweep.json", "| head -1")]
    public void TrainingGoesOnWhereNobodyListens(string arguments, string redirection)
    {
        var (code, _, error) = Run(arguments, redirection);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(code, Is.Zero, error);
            Assert.That(error, Does.Not.Contain("   at "));
            Assert.That(File.Exists(Path.Combine(Folder, "runs", "small", "seed-1", "result.json")), Is.True);
        }
    }

    [TestCase("--help", ">&-", 0)]
    [TestCase("--help", ">/dev/full", 0)]
    [TestCase("--help", "| head -1", 0)]
    [TestCase("--nonsense", "2>&-", 2)]
    [TestCase("nowhere.json", ">&- 2>&-", 2)]
    [TestCase("schema", ">&-", 0)]
    [TestCase("schema", ">/dev/full", 1)] // the schema is lost
    [TestCase("sweep sweep.json --dry-run", ">&- 2>&-", 0)]
    [TestCase("continual sequence.json --jobs 2", ">&- 2>&-", 0)]
    [TestCase("continual sequence.json --table", ">/dev/full", 0)]
    [TestCase("gsemm nowhere.json", "2>&-", 2)]
    public void NoCommandEndsInAStackTrace(string arguments, string redirection, int expected)
    {
        var (code, _, error) = Run(arguments, redirection);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(code, Is.EqualTo(expected), error);
            Assert.That(error, Does.Not.Contain("   at "));
        }
    }

    [Test]
    public void OutputThatCannotBeWrittenIsToldOnce()
    {
        var (_, _, error) = Run("small.json", ">/dev/full");
        Assert.That(error.Split("Standard output cannot be written: No space left on device"), Has.Length.EqualTo(2));
    }

    [Test]
    public void ALostConnectionGivesACheckpointAnd130UnlessItIsToBeIgnored([Values] bool ignored)
    {
        // A shell or a test may itself have been started with the signal ignored.
        string[] start =
        [
            ignored ? "--ignore-signal=HUP" : "--default-signal=HUP",
            "dotnet",
            Command.TrainerFile,
            "small.json",
            "--set",
            "training.steps=10000000",
        ];
        using var process = Command.Start(Folder, "env", start);
        var latest = Path.Combine(Folder, "runs", "small", "seed-1", "checkpoints", "latest");
        string Latest() => File.Exists(latest) ? File.ReadAllText(latest) : "";
        void WaitForAnother(string than)
        {
            while (Latest() == than && !process.HasEnded)
                Thread.Sleep(20);
        }
        WaitForAnother("");
        process.Signal("HUP");
        if (ignored)
        {
            Thread.Sleep(500);
            WaitForAnother(Latest());
            Assert.That(process.HasEnded, Is.False);
            process.Signal("TERM");
        }
        var (code, output, error) = process.End(TimeSpan.FromMinutes(1));
        using (Assert.EnterMultipleScope())
        {
            Assert.That(code, Is.EqualTo(130), output + error);
            Assert.That(output, Does.Contain("a checkpoint was written"));
        }
    }
}
