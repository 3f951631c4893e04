using System.Diagnostics;
using EmtTorch.Studies;

namespace EmtTorch.Trainer.Tests;

/// <summary>Paths that lead nowhere, or to what is no file: exit code 2 at once, and the path in the message.</summary>
[Category(Layer.Process)]
public sealed class PathsTests : InTemporaryFolder
{
    private const string Task = """{ "task": { "name": "repeat_copy", "d": 2, "s": 2 }, "device": "cpu" }""";

    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    private (int Code, string Output, string Error) Run(params string[] arguments)
    {
        using var trainer = Command.StartTrainer(Folder, arguments);
        return trainer.End(Limit);
    }

    [SetUp]
    public void Write()
    {
        File.WriteAllText(Path.Combine(Folder, "task.json"), Task);
        File.Copy(
            Path.Combine(Repository.Root, "experiments/gsemm/retrieval.json"),
            Path.Combine(Folder, "gsemm.json")
        );
        Process.Start("mkfifo", [Path.Combine(Folder, "pipe")])!.WaitForExit();
    }

    [TestCase("is empty", "consolidate", "")]
    [TestCase("is empty", "gsemm", "")]
    [TestCase("is empty", "table", "")]
    [TestCase("pipe: is empty", "pipe")]
    [TestCase("pipe: is empty", "sweep", "pipe")]
    [TestCase("/dev/zero: is empty", "continual", "/dev/zero")]
    [TestCase("task.json is a file, not a folder", "gsemm", "gsemm.json", "--out", "task.json")]
    [TestCase("task.json is a file, not a folder", "consolidate", "task.json", "--out", "task.json")]
    [TestCase("task.json is a file, not a folder", "task.json", "--out", "task.json", "--seeds", "9223372036854775807")]
    [TestCase("task.json is a file", "task.json", "--out", "task.json", "--seeds", "1-33333,33334-66666,66667-100000")]
    [TestCase("there are more than 100000 of them", "task.json", "--seeds", "1-100000,200000-299999")]
    [TestCase(
        "memory of this machine",
        "task.json",
        "--set",
        "evaluation.batch_size=1048576",
        "--set",
        "evaluation.horizon=1000000"
    )]
    public void TheyAreNamedAtOnce(string message, params string[] arguments)
    {
        var (code, output, error) = Run(arguments);
        Assert.That((code, error), Is.EqualTo((2, error)), output + error);
        Assert.That(error, Does.Contain(message).And.Not.Contains("   at "));
        Assert.That(Directory.GetDirectories(Folder), Is.Empty, "nothing is written");
    }

    [Test]
    public void ALongPathIsCutInTheMessage()
    {
        var (code, _, error) = Run("task.json", "--out", new string('x', 100_000));
        Assert.That((code, error.Length), Is.EqualTo((2, error.Length)));
        Assert.That(error, Has.Length.LessThan(2000).And.Contains("out: "));
    }

    [Test, Platform("Linux")]
    public void ACurrentFolderThatIsGoneIsSaid()
    {
        var gone = Directory.CreateDirectory(Path.Combine(Folder, "gone")).FullName;
        using var shell = Command.Start(gone, "sh", ["-c", $"rmdir ../gone; exec dotnet {Command.TrainerFile} schema"]);
        var (code, _, error) = shell.End(Limit);
        Assert.That((code, error.Trim()), Is.EqualTo((2, "The current folder is gone: change to one that is there.")));
    }

    [TestCase("{ \"tasks\": [")]
    [TestCase("[]")]
    [TestCase("{ \"tasks\": [], \"tasks\": [] }")]
    public void ADamagedCopyOfASequenceIsNamed(string text)
    {
        File.WriteAllText(Path.Combine(Folder, "small.json"), ContinualSamples.Rnn);
        var copy = Path.Combine("runs", "small", "sequence.json");
        Directory.CreateDirectory(Path.Combine(Folder, "runs", "small"));
        File.WriteAllText(Path.Combine(Folder, copy), text);
        var (code, output, error) = Run("continual", "small.json");
        Assert.That(code, Is.EqualTo(2), output + error);
        Assert.That(error, Does.Contain($"{copy}: says what the runs beside it are, and is damaged"));
        Assert.That(File.ReadAllText(Path.Combine(Folder, copy)), Is.EqualTo(text));
    }
}
