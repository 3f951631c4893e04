namespace EmtTorch.Trainer.Tests;

/// <summary>Numbers in documents are those of recorded files.</summary>
public sealed class RecordedNumbersTests : InTemporaryFolder
{
    private static IEnumerable<string> Studies() =>
        DocumentsTests.Documents().Where(d => d.StartsWith("experiments/", StringComparison.Ordinal));

    private static IEnumerable<string> Others() => DocumentsTests.Documents().Except(Studies());

    [TestCaseSource(nameof(Studies))]
    public void EachTableOfAStudyIsThatOfItsRecord(string document) => Check(document, strict: true);

    [TestCaseSource(nameof(Others))]
    public void NumbersThatNameARecordAreItsNumbers(string document) => Check(document, strict: false);

    private static void Check(string document, bool strict)
    {
        var folder = Path.GetDirectoryName(DocumentsTests.In(document))!;
        Assert.That(new RecordedNumbers(folder).Problems(DocumentsTests.Read(document), strict), Is.Empty);
    }

    private IEnumerable<string> Problems(string text)
    {
        File.WriteAllText(
            Path.Combine(Folder, "t.csv"),
            "form,seed,x,y\na,1,0.9904,3\na,2,0.9696,\n\"b, c\",1,0.5,7\n"
        );
        File.WriteAllText(Path.Combine(Folder, "t.json"), """{ "runs": [ { "form": "a", "final": [1, 0.25] } ] }""");
        File.WriteAllText(Path.Combine(Folder, "t.md"), "| form | x |\n|:--|--:|\n| a | 99.00 % (98) |\n");
        foreach (int seed in (int[])[1, 2])
            File.WriteAllText(Path.Combine(Folder, $"a-{seed}.one.json"), $$"""{ "x": { "y": {{seed}}.5 } }""");
        return new RecordedNumbers(Folder).Problems(text, strict: true);
    }

    private static string Table(string cells, string record) =>
        $"| form | x, seeds 1, 2 |\n|:--|--:|\n| a | {cells} |\n\n<!-- record: {record} -->\n";

    [TestCase("0.990 0.970", "t.csv\nrows: form=a\nx, seeds 1, 2: x")]
    [TestCase("**0.980** ± 0.015", "t.csv\nrows: form=a\nx, seeds 1, 2: mean x; sd x")]
    [TestCase("97.0 to 99.0 %", "t.csv\nrows: form=a\nx, seeds 1, 2: range x*100")]
    [TestCase("3", "t.csv\nrows: form=a\nx, seeds 1, 2: median y")]
    [TestCase("0.5", "t.csv\nrows: form=b, c & seed=1\nx, seeds 1, 2: x")]
    [TestCase("–", "t.csv\nrows: form=a & seed=2\nx, seeds 1, 2: y")]
    [TestCase("0.3", "t.json#runs\nrows: form=a\nx, seeds 1, 2: final.1")]
    [TestCase("99.0 %", "t.md\nrows: form=a\nx, seeds 1, 2: first x")]
    [TestCase("99.0 % (98)", "t.md\nrows: form=a\nx, seeds 1, 2: x")]
    [TestCase("1.5, 2.5", "*.one.json\nrows: file=a-*\nx, seeds 1, 2: x.y")]
    public void ARightTablePasses(string cells, string record) => Assert.That(Problems(Table(cells, record)), Is.Empty);

    [TestCase(
        "0.990 0.971",
        "t.csv\nrows: form=a\nx, seeds 1, 2: x",
        "found 0.990 0.971; the record has 0.9904 0.9696"
    )]
    [TestCase("0.990", "t.csv\nrows: form=a\nx, seeds 1, 2: x", "found 0.990; the record has 0.9904 0.9696")]
    [TestCase("0.990 0.970", "t.csv\nrows: form=a\nz: x", "there is no such column")]
    [TestCase(
        "0.990 0.970",
        "t.csv\nrows: form=a | form=b\nx, seeds 1, 2: x",
        "1 rows, of which t.csv is said to have 2"
    )]
    [TestCase("0.990 0.970", "t.csv\nrows: form=a", "the column x, seeds 1, 2 names no record")]
    public void AWrongTableIsFound(string cells, string record, string problem) =>
        Assert.That(Problems(Table(cells, record)), Has.Some.Contains(problem));

    [Test]
    public void ARecordThatIsNotThereIsAnError()
    {
        Assert.That(
            () => Problems(Table("0.9", "t.csv\nrows: form=z\nx, seeds 1, 2: x")).ToList(),
            Throws.InstanceOf<AssertionException>().With.Message.Contains("no such record")
        );
        Assert.That(
            () => Problems(Table("0.9", "t.csv\nrows: form=a\nx, seeds 1, 2: z")).ToList(),
            Throws.InstanceOf<AssertionException>().With.Message.Contains("t.csv has no z")
        );
    }

    [Test]
    public void ATableWithoutARecordIsFound()
    {
        const string table = "| form | x |\n|:--|--:|\n| a | 0.5 |\n";
        Assert.That(Problems(table), Has.One.Contains("the column x names no record"));
        Assert.That(Problems($"{table}\n<!-- no record: from the paper -->\n"), Is.Empty);
        Assert.That(Problems(table.Replace("0.5", "5")), Is.Empty, "a setting");
    }

    [TestCase("From 0.97 to 0.99<!-- = min x; max x of t.csv where form=a -->.", 0)]
    [TestCase("From 0.96 to 0.99<!-- = min x; max x of t.csv where form=a -->.", 1)]
    [TestCase("`0.96<!-- = x of t.csv where form=a -->` is how a comment looks.", 0)]
    [TestCase("A 7<!-- = y of t.csv where form=b, c --> and 0.51<!-- = x of t.csv where form=b, c -->.", 1)]
    public void ANumberInATextIsThatOfItsRecord(string text, int problems) =>
        Assert.That(Problems(text).Count(), Is.EqualTo(problems));
}
