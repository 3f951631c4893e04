using System.Text.Json.Nodes;
using EmtTorch.Studies;

namespace EmtTorch.Trainer.Tests;

/// <summary>`Trainer sweep`, `table` and `analyze` of transformers, as a user runs them.</summary>
[Category(Layer.Process)]
public sealed class TransformerCommandsTests
{
    private const string Sweep = """
        {
          "name": "small", "base": {
            "device": "cpu", "task": { "segment_recall": { "pairs": 2, "segment_length": 7, "keys": 4, "values": 3,
              "noise": 2 } },
            "model": { "type": "episodic_transformer", "hidden_size": 8, "heads": 2, "layers": 1 },
            "training": { "steps": 8, "batch_size": 5, "log_interval": 4, "curriculum": { "horizons": [1, 2] } },
            "evaluation": { "horizon": 3, "batches": 2, "batch_size": 3, "interval": 4 },
            "checkpoints": { "interval": 4 }
          },
          "axes": { "model.memory": ["fast_weights", "none"] }, "seeds": "1-2"
        }
        """;

    [Test]
    public void ASweepIsEstimatedTrainedTabledAndLookedInto()
    {
        var folder = Directory.CreateTempSubdirectory("emttorch-transformers-").FullName;
        try
        {
            (int Code, string Output, string Error) Run(params string[] arguments) =>
                Command.RunTrainer(folder, arguments);
            File.WriteAllText(Path.Combine(folder, "sweep.json"), Sweep);
            var estimate = Run("sweep", "sweep.json", "--dry-run");
            Assert.That((estimate.Code, estimate.Output), Is.EqualTo((0, estimate.Output)), estimate.Error);
            Assert.That(estimate.Output, Does.Match("small: 4 runs, 0 done; the others take about .* on this machine"));
            var trained = Run("sweep", "sweep.json");
            Assert.That(trained.Code, Is.Zero, trained.Output + trained.Error);
            Assert.That(trained.Output, Does.Contain("4 of 4 runs done").And.Not.Contain("cannot be analysed"));
            var table = Run("table", "runs");
            Assert.That(table.Code, Is.Zero, table.Error);
            Assert.That(
                table.Output,
                Does.Contain("| memory | runs | accuracy | 95 % t | test loss |").And.Not.Contain("pectral")
            );

            var one = Run("analyze", "runs/fast_weights/seed-1");
            Assert.That(one.Code, Is.Zero, one.Error);
            Assert.That(
                one.Output,
                Does.StartWith("fast_weights/seed-1, task segment_recall, d = 8, step-0000000")
                    .And.Contain("It does not do the task: ")
                    .And.Contain("So nothing is said of what it stores.")
            );
            var json = JsonNode.Parse(
                File.ReadAllText(Path.Combine(folder, "runs", "fast_weights", "seed-1", "analysis.json"))
            )!;
            Assert.That(
                ((string?)json["task"], (int?)json["hidden_size"], json["gate"]!.AsArray().Count),
                Is.EqualTo(("segment_recall", 8, 1))
            );
            var all = Run("analyze", "runs/fast_weights/seed-1", "runs/none/seed-1", "--out", "both");
            Assert.That(all.Code, Is.Zero, all.Error);
            Assert.That(
                all.Output,
                Does.StartWith(
                    "| run | task | H | test accuracy | reads right | effective rank | state, bytes | notes |"
                )
            );
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Test]
    public void ConsolidationIsMeasuredAndMistakesAreSaid()
    {
        var folder = Directory.CreateTempSubdirectory("emttorch-consolidation-").FullName;
        try
        {
            (int Code, string Output, string Error) Run(params string[] arguments) =>
                Command.RunTrainer(folder, arguments);
            File.WriteAllText(
                Path.Combine(folder, "small.json"),
                System.Text.Json.Nodes.JsonNode.Parse(Sweep)!["base"]!.ToJsonString()
            );
            Assert.That(Run("small.json").Code, Is.Zero);
            File.WriteAllText(
                Path.Combine(folder, "night.json"),
                """{ "runs": ["runs/small/seed-1"], "facts": [4], "facts_per_document": 2, "steps": 2, "batch_size": 2, "segment_length": 8, "test_answers": 8 }"""
            );
            var done = Run("consolidate", "night.json", "--threads", "1");
            Assert.That(done.Code, Is.Zero, done.Error);
            Assert.That(
                done.Output,
                Does.Contain("1 of 1: small/seed-1, night, 4 facts:").And.Contain("| night | facts |")
            );
            Assert.That(
                Directory.GetFiles(Path.Combine(folder, "results")).Select(Path.GetFileName),
                Is.EquivalentTo(new[] { "night.json", "night.md", "night.html" })
            );

            var results = Path.Combine(folder, "results", "night.json");
            string whole = File.ReadAllText(results);
            File.WriteAllText(results, whole[..^20]);
            Assert.That(
                Run("consolidate", "night.json", "--threads", "1") is (0, _, var damaged) ? damaged : "",
                Does.Contain("night.json is damaged")
            );
            Assert.That(File.ReadAllText(results), Is.EqualTo(whole));

            var wrong = Run(
                "consolidate",
                "night.json",
                "--set",
                "steps=-1",
                "--set",
                "nights=[{\"replay\": \"rumour\"}]",
                "--out",
                "other"
            );
            Assert.That((wrong.Code, wrong.Output), Is.EqualTo((2, "")));
            Assert.That(
                wrong.Error,
                Does.Contain("steps: found -1").And.Contain("nights[0].replay: found the text \"rumour\"")
            );
            Assert.That(
                Run("consolidate", "night.json", "--set", "runs=[\"nowhere\"]", "--out", "other")
                    is (2, "", var nowhere)
                    ? nowhere
                    : "",
                Does.Contain("runs[0]")
            );
            Assert.That(Run("consolidate", "night.json", "--threads", "0").Code, Is.EqualTo(2));
            Assert.That(
                Run(
                    "consolidate",
                    "night.json",
                    "--threads",
                    "0",
                    "--out",
                    "/dev/null/other",
                    "--set",
                    "runs=[\"nowhere\"]"
                )
                    is (2, "", var several)
                    ? several
                    : "",
                Does.Contain("--threads").And.Contain("--out").And.Contain("runs[0]")
            );
            Assert.That(Run("consolidate").Code, Is.EqualTo(2));
            Assert.That(Run("consolidate").Error, Does.StartWith("CONFIG is missing"));
            Assert.That(Directory.Exists(Path.Combine(folder, "other")), Is.False);
            Assert.That(
                Run("small.json", "--set", "model.hypernetwork_rank=2") is (2, _, var rank) ? rank : "",
                Does.Contain("model.hypernetwork_rank: found 2 beside write hebbian")
            );
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }
}
