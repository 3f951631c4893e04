using System.Text.Json.Nodes;
using EmtTorch.Analysis;
using EmtTorch.Studies;
using EmtTorch.Training;

namespace EmtTorch.Trainer.Tests;

/// <summary>
/// `Trainer sweep` as a user runs it: interrupted, killed, failing, and in several processes at once.
/// </summary>
[Category(Layer.Process)]
public sealed class SweepCommandTests : InTemporaryFolder
{
    private const string Base = """
        { "device": "cpu", "task": { "name": "repeat_copy", "d": 2, "s": 3 }, "model": { "hidden_size": 16 },
          "training": { "steps": 60, "batch_size": 8, "log_interval": 10,
            "curriculum": { "horizons": [3, 5], "threshold": 0.6 } },
          "evaluation": { "horizon": 9, "batches": 2, "batch_size": 8, "interval": 20 },
          "checkpoints": { "interval": 10 } }
        """;

    private const string Rates = """{ "training.learning_rate": [0.001, 0.01] }""";

    private string Sweep(string axes = Rates, string seeds = "1-2")
    {
        var path = Path.Combine(Folder, "sweep.json");
        File.WriteAllText(path, $$"""{ "name": "small", "base": {{Base}}, "axes": {{axes}}, "seeds": "{{seeds}}" }""");
        return path;
    }

    private Command Start(params string[] arguments) => Command.StartTrainer(Folder, ["sweep", .. arguments]);

    private (int Code, string Output, string Error) Run(params string[] arguments) =>
        Command.RunTrainer(Folder, ["sweep", .. arguments]);

    /// <summary>All that training leaves, without what the clock says: file by file.</summary>
    private static SortedDictionary<string, string> Figures(string runs)
    {
        var figures = new SortedDictionary<string, string>();
        foreach (var file in Directory.GetFiles(runs, "*", SearchOption.AllDirectories))
        {
            var name = Path.GetRelativePath(runs, file);
            if (name.EndsWith("log.jsonl", StringComparison.Ordinal))
                continue;
            figures[name] = Path.GetExtension(file) switch
            {
                ".jsonl" => string.Concat(
                    File.ReadLines(file)
                        .Select(line => line[..line.IndexOf(",\"steps_per_second\"", StringComparison.Ordinal)] + "\n")
                ),
                ".json" when JsonNode.Parse(File.ReadAllText(file)) is JsonObject json => Without(
                        json,
                        "seconds",
                        "out"
                    )
                    .ToJsonString(),
                ".safetensors" => Convert.ToHexString(SafetensorsFile.Read(file).Tensors["rnn.weight_hh"].ToArray()),
                _ => File.ReadAllText(file),
            };
        }
        return figures;

        static JsonObject Without(JsonObject json, params string[] keys)
        {
            foreach (var key in keys)
                json.Remove(key);
            return json;
        }
    }

    private static string[] RunsOf(string folder) =>
        [
            .. Directory
                .GetFiles(folder, "result.json", SearchOption.AllDirectories)
                .Select(f => Path.GetRelativePath(folder, Path.GetDirectoryName(f)!))
                .Order(),
        ];

    [Test]
    public void ASecondTimeOnlyWhatIsMissingIsDone()
    {
        var sweep = Sweep();
        var first = Run(sweep);
        Assert.That(first.Code, Is.Zero, first.Output + first.Error);
        var runs = Path.Combine(Folder, "runs");
        string[] all =
        [
            "learning_rate_0.001/seed-1",
            "learning_rate_0.001/seed-2",
            "learning_rate_0.01/seed-1",
            "learning_rate_0.01/seed-2",
        ];
        Assert.That(RunsOf(runs), Is.EqualTo(all));
        foreach (var run in all)
        {
            Assert.That(
                JsonNode.Parse(File.ReadAllText(Path.Combine(runs, run, "analysis.json")))!["eigenvalues_theory"],
                Is.Not.Null
            );
        }

        Directory.Delete(Path.Combine(runs, all[1]), recursive: true);
        File.Delete(Path.Combine(runs, all[2], "analysis.json"));
        var before = File.GetLastWriteTimeUtc(Path.Combine(runs, all[0], "result.json"));

        var second = Run(Sweep(seeds: "1-3"));
        using (Assert.EnterMultipleScope())
        {
            Assert.That(second.Code, Is.Zero, second.Output + second.Error);
            Assert.That(second.Output, Does.StartWith("small: 6 runs, 3 done, 0 to go on with"));
            Assert.That(File.GetLastWriteTimeUtc(Path.Combine(runs, all[0], "result.json")), Is.EqualTo(before));
            Assert.That(RunsOf(runs), Has.Length.EqualTo(6));
            Assert.That(Path.Combine(runs, all[2], "analysis.json"), Does.Exist);
        }
    }

    [Test]
    public void ADryRunListsTheRunsAndWritesNothing()
    {
        var sweep = Sweep();
        Assert.That(Run(sweep, "--shard", "1/4").Code, Is.Zero);
        var before = Figures(Folder);
        var (code, output, error) = Run(sweep, "--dry-run");
        using (Assert.EnterMultipleScope())
        {
            Assert.That(code, Is.Zero, error);
            Assert.That(
                output,
                Does.Contain("| learning_rate_0.001 | 1 | done |")
                    .And.Contain("| learning_rate_0.01 | 2 | missing |")
                    .And.Match(@"small: 4 runs, 1 done; the others take about .* on this machine")
            );
            Assert.That(Figures(Folder), Is.EqualTo(before));
            Assert.That(Run(sweep, "--dry-run", "--shard", "1/4").Output, Does.EndWith("\nsmall: 1 run, all done.\n"));
            Assert.That(
                Run(sweep, "--dry-run", "--shard", "5/5").Output,
                Is.EqualTo("small: no run is in part 5/5, since there are only 4.\n")
            );
        }
    }

    [Test]
    public void AFailedRunIsTriedOnceMoreAndSaidInTheEnd()
    {
        // A finite rate that no weight survives.
        var (code, output, error) = Run(
            Sweep(
                """{ "rate": [ { "name": "wild", "set": { "training.learning_rate": 1e30, "training.max_grad_norm": 1e30 } }, { "name": "tame", "set": {} } ] }""",
                "1"
            )
        );
        var failures = File.ReadAllLines(Path.Combine(Folder, "runs", "wild", "seed-1", "failures.jsonl"));
        using (Assert.EnterMultipleScope())
        {
            Assert.That(code, Is.EqualTo(1), output + error);
            Assert.That(failures, Has.Length.EqualTo(2));
            Assert.That((string?)JsonNode.Parse(failures[0])!["message"], Does.Contain("diverged"));
            Assert.That(output, Does.Contain("1 run failed and is tried once more").And.Contain("1 of 2 runs done"));
            Assert.That(error, Does.Contain("failed: wild, seed 1: The loss is"));
            Assert.That(RunsOf(Path.Combine(Folder, "runs")), Is.EqualTo(new[] { "tame/seed-1" }));
        }
    }

    [Test]
    public void KilledFiveTimesItComesToTheSameFigures()
    {
        string[] settings = [Sweep(seeds: "1-3"), "--set", "training.steps=1500", "--set", "checkpoints.interval=7"];
        string whole = Path.Combine(Folder, "whole"),
            killed = Path.Combine(Folder, "killed");
        Assert.That(Run([.. settings, "--out", whole]).Code, Is.Zero);
        for (int i = 0; i < 5; i++)
        {
            using var process = Start([.. settings, "--out", killed]);
            // Past the start of the program, so that the kill meets training, analyses and the writing of files.
            for (var before = Newest(); Newest() == before && !process.HasEnded; )
                Thread.Sleep(1);
            Thread.Sleep(Random.Shared.Next(0, 300));
            process.Kill();
            Assert.That(process.End().Code, Is.EqualTo(Command.Killed), "the kill came after the end");
        }
        var last = Run([.. settings, "--out", killed]);
        Assert.That(last.Code, Is.Zero, last.Output + last.Error);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(Figures(killed), Is.EqualTo(Figures(whole)));
            Assert.That(Table(killed), Is.EqualTo(Table(whole)).And.Contain("6 of 6 runs finished"));
        }

        // All but the time, which is in the last line.
        string Table(string runs)
        {
            var (code, _, error) = Command.RunTrainer(Folder, "table", runs);
            Assert.That(code, Is.Zero, error);
            return string.Concat(File.ReadAllLines(Path.Combine(runs, "table.md"))[..^1].Select(line => line + "\n"))
                + File.ReadAllText(Path.Combine(runs, "table.csv"));
        }

        DateTime Newest() =>
            Directory.Exists(killed)
                ? Directory
                    .GetFiles(killed, "latest", SearchOption.AllDirectories)
                    .Select(File.GetLastWriteTimeUtc)
                    .DefaultIfEmpty()
                    .Max()
                : default;
    }

    [Test]
    public void ProcessesThatShareASweepLoseAndMixNothing()
    {
        string[] settings = [Sweep(seeds: "1-4"), "--set", "training.steps=400"];
        string alone = Path.Combine(Folder, "alone"),
            shared = Path.Combine(Folder, "shared");
        Assert.That(Run([.. settings, "--out", alone]).Code, Is.Zero);
        // Two shards that are the whole, and one process that wants all of it besides.
        Command[] processes =
        [
            Start([.. settings, "--out", shared, "--shard", "1/2"]),
            Start([.. settings, "--out", shared, "--shard", "2/2"]),
            Start([.. settings, "--out", shared]),
        ];
        var ends = processes.Select(p => p.End()).ToArray();
        foreach (var process in processes)
            process.Dispose();
        using (Assert.EnterMultipleScope())
        {
            foreach (var (code, output, error) in ends)
                Assert.That(code, Is.Zero, output + error);
            Assert.That(Figures(shared), Is.EqualTo(Figures(alone)));
        }
    }

    [Test]
    public void ARunThatAnotherProcessTrainsIsLeftToIt()
    {
        var sweep = Sweep(axes: "{}", seeds: "1");
        var folder = new RunFolder(Path.Combine(Folder, "runs", "small", "seed-1"));
        using (folder.TryLock())
        {
            var (code, output, _) = Run(sweep);
            using (Assert.EnterMultipleScope())
            {
                Assert.That(code, Is.Zero);
                Assert.That(output, Does.Contain("0 of 1 runs done; 1 being trained by another process"));
                Assert.That(folder.HoldsRun, Is.False);
            }
        }
        Assert.That(Run(sweep).Output, Does.Contain("1 of 1 runs done"));
    }

    [Test]
    public void AnInterruptLeavesCheckpointsAnd130([Values("INT", "TERM")] string signal)
    {
        using var process = Start(Sweep(), "--set", "training.steps=1000000");
        string[] Begun() =>
            Directory.Exists(Path.Combine(Folder, "runs"))
                ? Directory.GetFiles(Path.Combine(Folder, "runs"), "latest", SearchOption.AllDirectories)
                : [];
        while (Begun().Length < 1 && !process.HasEnded)
            Thread.Sleep(20);
        process.Signal(signal);
        var (code, output, _) = process.End();
        using (Assert.EnterMultipleScope())
        {
            Assert.That(code, Is.EqualTo(130), output);
            Assert.That(
                output,
                Does.Contain("Stopping: each run writes a checkpoint first.")
                    .And.Contain("0 of 4 runs done; 4 not, for it was interrupted")
            );
        }
    }

    [TestCase("--shard=3/2", "--shard")]
    [TestCase("--shard=0/2", "--shard")]
    [TestCase("--jobs=0", "--jobs")]
    [TestCase("--set=training.step=5", "training.step: unknown key; did you mean steps? (in --set training.step=5)")]
    [TestCase("--set=seed=5", "--set: found seed=5: seeds are in the file")]
    [TestCase("--out=/dev/null/runs", "/dev/null")]
    public void WhatIsWrongIsExit2AndWritesNothing(string option, string says)
    {
        var (code, output, error) = Run(Sweep(), option);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(code, Is.EqualTo(2), output + error);
            Assert.That(error, Does.Contain(says).And.Not.Contain("   at "));
            Assert.That(
                Directory.GetFileSystemEntries(Folder).Select(Path.GetFileName),
                Is.EqualTo(new[] { "sweep.json" })
            );
        }
    }

    [Test]
    public void RunsOfOtherSettingsAreNotGoneOnWith()
    {
        var sweep = Sweep();
        Assert.That(Run(sweep).Code, Is.Zero);
        var (code, _, error) = Run(sweep, "--set", "training.batch_size=16");
        using (Assert.EnterMultipleScope())
        {
            Assert.That(code, Is.EqualTo(2));
            Assert.That(
                error,
                Does.Contain("training.batch_size: is 16, but the run in").And.Contain("was begun with 8")
            );
        }
    }
}
