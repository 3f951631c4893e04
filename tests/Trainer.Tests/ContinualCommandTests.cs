namespace EmtTorch.Trainer.Tests;

/// <summary>`Trainer continual` as a user runs it.</summary>
[Category(Layer.Process)]
public sealed class ContinualCommandTests : InTemporaryFolder
{
    private (int Code, string Output, string Error) Run(params string[] arguments) =>
        Command.RunTrainer(Folder, ["continual", .. arguments]);

    private string Sequence(string json, string name = "small.json")
    {
        File.WriteAllText(Path.Combine(Folder, name), json);
        return name;
    }

    private static string Sweeping =>
        ContinualSamples
            .Rnn.Replace("\"strengths\": [5]", "\"strengths\": [0.5, 5]")
            .Replace(
                "{ \"method\": \"joint\" }",
                "{ \"method\": \"joint\" }, { \"method\": \"project\", \"protect\": \"both\" }, { \"method\": "
                    + "\"project\", \"protect\": \"memories\" }"
            );

    [Test]
    public void ItTrainsAllMethodsChoosesAStrengthAndWritesTables()
    {
        var (code, output, error) = Run(Sequence(Sweeping), "--jobs", "2");
        Assert.That(code, Is.Zero, output + error);
        var results = Path.Combine(Folder, "results", "small");
        var table = File.ReadAllText(Path.Combine(results, "table.md"));
        using (Assert.EnterMultipleScope())
        {
            foreach (var file in new[] { "table.csv", "table.json", "table.html" })
                Assert.That(File.Exists(Path.Combine(results, file)), Is.True, file);
            foreach (
                var text in new[]
                {
                    "| naive |",
                    "| si, 2 |",
                    "| project-states |",
                    "| project-both |",
                    "| joint |",
                    "## The strength of ewc, by seed 100",
                    "after swap",
                }
            )
            {
                Assert.That(table, Does.Contain(text));
            }

            Assert.That(output, Does.Contain(table));
            Assert.That(
                Directory.GetDirectories(Path.Combine(Folder, "runs", "small")).Select(Path.GetFileName),
                Is.SupersetOf(new[] { "first", "naive", "ewc-0.5", "ewc-5", "si", "joint" })
            );
            Assert.That(
                File.ReadAllText(Path.Combine(results, "table.html")),
                Does.Contain("What becomes of copy").Or.Not.Contain("phi_error")
            );
        }
        // Again: nothing is trained, and the tables are the same.
        var before = Directory
            .GetFiles(Path.Combine(Folder, "runs"), "*.safetensors", SearchOption.AllDirectories)
            .ToDictionary(f => f, File.GetLastWriteTimeUtc);
        Assert.That(Run("small.json").Code, Is.Zero);
        Assert.That(before.All(f => File.GetLastWriteTimeUtc(f.Key) == f.Value), Is.True);
        Assert.That(File.ReadAllText(Path.Combine(results, "table.md")), Is.EqualTo(table));
        // Another experiment in the same folder is refused.
        var (other, _, why) = Run("small.json", "--set", "training.steps=40");
        Assert.That((other, why), Is.EqualTo((2, why)));
        Assert.That(why, Does.Contain("tasks: is another"));
    }

    [Test]
    public void KilledItGoesOnToTheSameBits()
    {
        var json = ContinualSamples
            .Rnn.Replace("\"steps\": 30", "\"steps\": 100")
            .Replace("{ \"method\": \"naive\" }, ", "")
            .Replace(", { \"method\": \"project\", \"protect\": \"states\" }, { \"method\": \"joint\" }", "");
        Assert.That(Run(Sequence(json, "whole.json"), "--jobs", "1").Code, Is.Zero);
        Sequence(json, "parts.json");
        string runs = Path.Combine(Folder, "runs", "parts");
        string[] Begun(string files) =>
            Directory.Exists(runs) ? Directory.GetFiles(runs, files, SearchOption.AllDirectories) : [];
        foreach (var signal in new[] { "KILL", "TERM" })
        {
            // First in a stage that keeps something of the one before, then soon after going on.
            string files = signal == "KILL" ? "kept.safetensors" : "step-*.safetensors";
            string[] before = Begun(files);
            using var trainer = Command.StartTrainer(Folder, "continual", "parts.json", "--jobs", "1");
            while (!trainer.HasEnded && Begun(files).All(before.Contains))
                Thread.Sleep(5);
            trainer.Signal(signal);
            var (code, output, error) = trainer.End();
            Assert.That(code, Is.EqualTo(signal == "KILL" ? Command.Killed : 130), output + error);
        }
        Assert.That(Run("parts.json", "--jobs", "2").Code, Is.Zero);
        Assert.That(
            File.ReadAllText(Path.Combine(Folder, "results", "parts", "table.csv")),
            Is.EqualTo(File.ReadAllText(Path.Combine(Folder, "results", "whole", "table.csv")))
        );
        string[] last = Directory.GetFiles(
            Path.Combine(Folder, "runs", "whole"),
            "step-00000100.safetensors",
            SearchOption.AllDirectories
        );
        Assert.That(last, Is.Not.Empty);
        foreach (var file in last)
        {
            SafetensorsFile one = SafetensorsFile.Read(file),
                two = SafetensorsFile.Read(file.Replace("/whole/", "/parts/"));
            foreach (var (name, tensor) in one.Tensors)
                Assert.That(two.Tensors[name].ToArray(), Is.EqualTo(tensor.ToArray()), $"{file}: {name}");
        }
    }

    [Test]
    public void AllThatIsWrongIsSaidAtOnceAndNothingIsWritten()
    {
        Sequence(
            """
            {
              "base": { "task": { "name": "t2" }, "training": { "steps": 0 } }, "taks": [],
              "tasks": [ { "name": "t2", "set": {} }, { "name": "t3", "set": { "task.nam": "t3" } } ],
              "methods": [ { "method": "nave" }, { "method": "ewc" }, { "method": "si", "strengths": [0] },
                { "method": "project", "protect": "all" }, { "method": "naive", "strengths": [1] }, 3 ],
              "own": "readout.weight", "seeds": "x", "sweep_seed": -1, "fisher_samples": 0, "damping": 0
            }
            """
        );
        var (code, output, error) = Run("small.json", "--jobs", "0", "--set", "seed=3");
        Assert.That(code, Is.EqualTo(2), output + error);
        using (Assert.EnterMultipleScope())
        {
            foreach (
                var text in new[]
                {
                    "taks: unknown key; did you mean tasks?",
                    "unknown key; did you mean name?",
                    "methods[0].method",
                    "methods[1].strengths",
                    "methods[2].strengths",
                    "methods[3].protect",
                    "methods[4].strengths",
                    "methods[5]",
                    "own:",
                    "seeds:",
                    "sweep_seed:",
                    "fisher_samples:",
                    "damping:",
                    "--jobs",
                    "--set",
                }
            )
            {
                Assert.That(error, Does.Contain(text));
            }

            Assert.That(Directory.GetFileSystemEntries(Folder), Has.Length.EqualTo(1), "nothing is written");
        }
    }

    [Test]
    public void TasksThatNeedOtherNetworksAreRefused()
    {
        Sequence(
            ContinualSamples
                .Transformer.Replace(
                    "\"task.segment_recall.vocabulary\": 2",
                    "\"task.segment_recall.vocabulary\": 2, \"task.segment_recall.keys\": 5"
                )
                .Replace(
                    "{ \"method\": \"si\"",
                    "{ \"method\": \"project\", \"protect\": \"from\" }, { \"method\": \"si\""
                )
        );
        var (code, _, error) = Run("small.json");
        Assert.That((code, error), Is.EqualTo((2, error)));
        Assert.That(error, Does.Contain("project is for elman_rnn"));
        Sequence(
            ContinualSamples.Transformer.Replace(
                "\"task.segment_recall.vocabulary\": 2",
                "\"task.segment_recall.vocabulary\": 2, \"task.segment_recall.keys\": 5"
            )
        );
        (code, _, error) = Run("small.json");
        Assert.That((code, error, Directory.GetFileSystemEntries(Folder).Length), Is.EqualTo((2, error, 1)));
        Assert.That(error, Does.Contain("two needs embedding.weight to be (19, 8), and one (15, 8)"));
    }

    [Test]
    public void HelpAndAMissingFileSayWhatToGive()
    {
        var (code, output, _) = Run("--help");
        Assert.That((code, output), Is.EqualTo((0, output)));
        foreach (var option in new[] { "SEQUENCE", "--seeds", "--jobs", "--set", "--out", "--table" })
            Assert.That(output, Does.Contain(option));
        var (none, _, error) = Run();
        Assert.That((none, error), Is.EqualTo((2, error)));
        Assert.That(error, Does.Contain("SEQUENCE is missing"));
        Assert.That(Run("no.json").Code, Is.EqualTo(2));
    }
}
