using System.Diagnostics;
using System.Text.Json;
using System.Text.Json.Nodes;
using EmtTorch.Configuration;
using EmtTorch.Settings;
using EmtTorch.Training;

namespace EmtTorch.Tests;

/// <summary>Files that a person or a crash has touched, and files that are none.</summary>
public sealed class TouchedFilesTests : InTemporaryFolder
{
    private string Write(string text, string name = "file.json")
    {
        var path = Path.Combine(Folder, name);
        File.WriteAllText(path, text);
        return path;
    }

    [TestCase("{\"a\": 1, \"a\": 2}", "a is given twice")]
    [TestCase("{\"a\": [{\"b\": 1, \"b\": 2}]}", "a[0].b is given twice")]
    [TestCase("{\"a\": \"\\ud800\"}", "surrogate")]
    [TestCase("{\"\\ud800\": 1}", "surrogate")]
    [TestCase("{\"a\": 1,\n \"é\": ", "line 2, column 7")]
    [TestCase("{\"a\": 1", "line 1")]
    [TestCase("", "line 1")]
    [TestCase("null", "null")]
    [TestCase("[1]", "is not a thing")]
    public void WhatIsWrongIsNamed(string text, string gist)
    {
        var path = Write(text);
        Assert.That(
            () => JsonText.Read<JsonObject>(path, "a thing"),
            Throws
                .InstanceOf<InvalidDataException>()
                .With.Message.Contains($"{path} is not a thing: ")
                .And.Message.Contains(gist)
        );
    }

    [Test]
    public void ADamagedResultIsNamedAsOne(
        [Values("{}", "{\"name\": null}", "5", "{\"name\": \"a\", \"name\": \"a\"}")] string text
    )
    {
        var path = Write(text, "result.json");
        Assert.That(
            () => new RunFolder(Folder).ReadResult(),
            Throws.InstanceOf<InvalidDataException>().With.Message.Contains($"{path} is not a result: ")
        );
    }

    [Test]
    public void AFileWithCommentsIsRead() =>
        Assert.That((int?)JsonText.Read<JsonObject>(Write("{ // one\n \"a\": 3, }"), "a thing")["a"], Is.EqualTo(3));

    [Test, Platform(Exclude = "Win"), CancelAfter(10_000)]
    public void APipeAndADeviceAreAsEmptyFiles()
    {
        var pipe = Path.Combine(Folder, "pipe");
        Process.Start("mkfifo", [pipe])!.WaitForExit();
        var link = Path.Combine(Folder, "link");
        File.CreateSymbolicLink(link, pipe);
        foreach (var path in new[] { pipe, link, "/dev/zero", "/dev/null" })
        {
            Assert.That(InputFile.ReadText(path), Is.Empty);
            Assert.That(
                () => ConfigurationFile.Load(path),
                Throws.InstanceOf<ConfigurationException>().With.Message.Contains($"{path}: is empty (as a pipe")
            );
            Assert.That(() => SafetensorsFile.Read(path), Throws.InstanceOf<InvalidDataException>());
        }
    }

    [Test]
    public void ALinkIsReadAsItsFile()
    {
        var link = Path.Combine(Folder, "link");
        File.CreateSymbolicLink(link, Write("text of more letters than the link has in its path, which is long too"));
        Assert.That(InputFile.ReadText(link), Does.StartWith("text").And.EndsWith("too"));
        Assert.That(InputFile.Length(link), Is.EqualTo(InputFile.ReadText(link).Length));
    }

    [Test]
    public void AFolderIsNoFile() =>
        Assert.That(
            () => InputFile.ReadText(Folder),
            Throws.InstanceOf<IOException>().With.Message.Contains("is a folder")
        );

    // Each took from ten seconds to minutes.
    [TestCase("matrix"), TestCase("horizons"), TestCase("keys"), TestCase("key"), TestCase("folder")]
    public void LargeFilesAreReadInAShortTime(string kind)
    {
        static string Numbers(int count) => string.Join(',', Enumerable.Range(1, count));
        string Object(string key, string value) => $"{{ \"{key}\": {value} }}";
        var rows = string.Join(',', Enumerable.Repeat($"[{Numbers(128)}]", 1024));
        var text = kind switch
        {
            "matrix" => Object("task", $"{{ \"d\": 128, \"s\": 8, \"matrix\": [{rows}] }}"),
            "horizons" => Object("training", Object("curriculum", Object("horizons", $"[{Numbers(1_000_000)}]"))),
            "keys" => $"{{ {string.Join(',', Enumerable.Range(0, 100_000).Select(i => $"\"k{i}\": 1"))} }}",
            "key" => Object(new string('k', 1_000_000), "1"),
            _ => Object("out", $"\"{new string(' ', 100_000)}\""),
        };
        var path = Write(text);
        var clock = Stopwatch.StartNew();
        if (kind == "matrix")
        {
            var matrix = ConfigurationFile.Load(path).Task.Matrix!;
            Assert.That((matrix.Count, matrix[1023].Sum()), Is.EqualTo((1024, 128 * 129 / 2.0)));
        }
        else
        {
            var e = Assert.Throws<ConfigurationException>(() => ConfigurationFile.Load(path))!;
            Assert.That(e.Message.Split('\n'), Has.Length.LessThanOrEqualTo(51));
            Assert.That(e.Message.Split('\n'), Has.All.Length.LessThan(1100));
        }
        // Two seconds, on a machine that does much else.
        Assert.That(clock.Elapsed, Is.LessThan(TimeSpan.FromSeconds(8)));
    }

    [Test]
    public void OfManyProblemsTheFirstAreNamedAndTheOthersCounted()
    {
        var problems = Enumerable.Range(0, 1000).Select(i => new ConfigurationProblem($"k{i}", "is wrong"));
        var lines = new ConfigurationException([.. problems]).Message.Split('\n');
        Assert.That(lines[0], Does.Contain("1000 problems"));
        Assert.That(lines[49], Is.EqualTo("  k48: is wrong"));
        Assert.That(lines[^1], Is.EqualTo("  … and 951 more"));
    }

    [Test]
    public void WhatIsAllowedInASectionIsListedOnce()
    {
        var error = Assert.Throws<ConfigurationException>(() =>
            ConfigurationFile.Parse("""{ "task": { "name": "t1" }, "model": { "zzzzz": 1, "qqqqq": 2 } }""")
        )!;
        Assert.That(error.Problems.Select(p => p.Path), Is.EqualTo(new[] { "model.zzzzz", "model.qqqqq" }));
        Assert.That(error.Problems[0].Message, Does.Contain("allowed here: type, hidden_size"));
        Assert.That(error.Problems[1].Message, Is.EqualTo("unknown key"));
    }
}
