namespace EmtTorch.Tests;

/// <summary>Tests that write files: each has an empty folder of its own, which is gone after it.</summary>
public abstract class InTemporaryFolder
{
    protected string Folder { get; private set; } = "";

    [SetUp]
    public void MakeFolder() => Folder = Directory.CreateTempSubdirectory("emttorch-").FullName;

    [TearDown]
    public void RemoveFolder() => Directory.Delete(Folder, recursive: true);
}
