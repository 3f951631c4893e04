namespace EmtTorch.Reports.Tests;

/// <summary>
/// Lines of C# have at most 120 characters. CSharpier sees to code; comments and strings it leaves alone.
/// </summary>
public sealed class LineLengthTests
{
    private const int Most = 120;

    /// <summary>Lines that were longer when this test was written. The numbers may only go down.</summary>
    private static readonly TestCaseData[] Longer = [new("src", 102), new("Trainer", 13), new("tests", 155)];

    [TestCaseSource(nameof(Longer))]
    public void NoLineIsAddedThatIsTooLong(string folder, int known)
    {
        var files = Sources(Path.Combine(Repository.Root, folder)).ToList();
        Assert.That(files, Is.Not.Empty);
        string[] tooLong =
        [
            .. from file in files
            from line in File.ReadLines(file).Index()
            where line.Item.EnumerateRunes().Count() > Most
            select $"{Path.GetRelativePath(Repository.Root, file)}:{line.Index + 1}",
        ];
        Assert.That(
            tooLong,
            Has.Length.AtMost(known),
            $"Lines in {folder} of more than {Most} characters; the new ones are among them:\n{string.Join('\n', tooLong)}"
        );
        if (tooLong.Length < known)
        {
            TestContext.Out.WriteLine(
                $"{tooLong.Length} lines in {folder} are too long: write that in place of {known}."
            );
        }
    }

    /// <summary>The C# files below a folder, without what a build makes.</summary>
    private static IEnumerable<string> Sources(string folder) =>
        Directory
            .EnumerateFiles(folder, "*.cs", SearchOption.AllDirectories)
            .Where(f => !Path.GetRelativePath(folder, f).Split('/', '\\').Any(part => part is "bin" or "obj"));
}
