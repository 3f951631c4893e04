namespace EmtTorch.Trainer.Tests;

/// <summary>A small attack on the command line. CONTRIBUTING.md says how a large one is made.</summary>
[Category(Layer.Process)]
public sealed class AttackTests : InTemporaryFolder
{
    private static readonly string Program = Path.Combine(
        Repository.Root,
        "tests",
        "Attack",
        "bin",
        Path.GetFileName(Path.GetDirectoryName(Path.GetDirectoryName(typeof(AttackTests).Assembly.Location))!),
        "net10.0",
        "Attack.dll"
    );

    [TestCase("kills", 3)]
    [TestCase("files", 4)]
    [TestCase("configurations", 300)]
    [TestCase("commands", 8)]
    public void AnAttackFindsNothing(string kind, int count)
    {
        // Other tests run beside this one, so that a process may have to wait for its turn.
        string[] arguments = ["--kind", kind, "--count", $"{count}", "--jobs", "1", "--limit", "30", "--out", Folder];
        using var attack = Command.Start(Folder, "dotnet", [Program, .. arguments]);
        var (code, output, error) = attack.End();
        Assert.That(code, Is.Zero, output + error);
    }

    [Test]
    public void EachOracleFindsADeliberateDefect()
    {
        using var attack = Command.Start(Folder, "dotnet", [Program, "--check", "--out", Folder]);
        var (code, output, error) = attack.End();
        Assert.That(code, Is.Zero, output + error);
    }
}
