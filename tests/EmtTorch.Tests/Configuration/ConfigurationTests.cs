using System.Numerics;
using System.Text.Json;
using System.Text.Json.Nodes;
using EmtTorch.Configuration;
using EmtTorch.Models;
using EmtTorch.Settings;
using EmtTorch.Tasks;
using EmtTorch.Training;
using FsCheck;
using FsCheck.Fluent;
using TorchSharp;

namespace EmtTorch.Tests;

public class ConfigurationTests
{
    private const string Good = """{"task": {"name": "t1"}}""";

    /// <summary>Every kind of mistake: the text, the path that is told, and the gist of what is told.</summary>
    private static readonly (string Json, string Path, string Gist)[] Bad =
    [
        // Unknown keys
        ("""{"task": {"name": "t1"}, "sead": 3}""", "sead", "did you mean seed?"),
        ("""{"task": {"name": "t1"}, "Seed": 3}""", "Seed", "did you mean seed?"),
        ("""{"task": {"name": "t1"}, "xyz": 3}""", "xyz", "allowed here: name, seed, device"),
        (
            """{"task": {"name": "t1"}, "training": {"batchSize": 3}}""",
            "training.batchSize",
            "did you mean batch_size?"
        ),
        (
            """{"task": {"name": "t1"}, "training": {"curriculum": {"treshold": 0.9}}}""",
            "training.curriculum.treshold",
            "did you mean threshold?"
        ),
        ("""{"task": {"name": "t1", "$schema": "x"}}""", "task.$schema", "unknown key"),
        ("""{"task": {"terms": [{"delay": 1, "sings": [1]}]}}""", "task.terms[0].sings", "did you mean signs?"),
        // Wrong types
        ("""{"task": {"name": "t1"}, "seed": "3"}""", "seed", "found the text \"3\"; allowed: a whole number from 0"),
        ("""{"task": {"name": "t1"}, "seed": 1.5}""", "seed", "found 1.5"),
        ("""{"task": {"name": "t1"}, "name": 5}""", "name", "found 5; allowed: letters, digits"),
        (
            """{"task": {"name": "t1"}, "training": 5}""",
            "training",
            "found 5; allowed: an object with the keys steps, batch_size"
        ),
        ("""{"task": {"name": "t1"}, "training": null}""", "training", "found null; allowed: an object"),
        (
            """{"task": {"name": "t1"}, "model": {"bias": "true"}}""",
            "model.bias",
            "found the text \"true\"; allowed: true or false"
        ),
        ("""{"task": {"name": "t1"}, "model": {"bias": 1}}""", "model.bias", "found 1; allowed: true or false"),
        (
            """{"task": {"name": "t1"}, "training": {"learning_rate": true}}""",
            "training.learning_rate",
            "found true; allowed: a number above 0"
        ),
        (
            """{"task": {"name": "t1"}, "training": {"learning_rate": [0.1]}}""",
            "training.learning_rate",
            "found a list of 1"
        ),
        ("""{"task": {"name": "t1"}, "training": {"steps": null}}""", "training.steps", "found null"),
        (
            """{"task": {"name": "t1"}, "training": {"curriculum": {"horizons": 100}}}""",
            "training.curriculum.horizons",
            "found 100; allowed: a list of 1 to 10000"
        ),
        (
            """{"task": {"name": "t1"}, "training": {"curriculum": {"horizons": [10, "20"]}}}""",
            "training.curriculum.horizons[1]",
            "found the text \"20\""
        ),
        ("""{"task": "t1"}""", "task", "found the text \"t1\"; allowed: an object"),
        ("""{"task": {"name": null}}""", "task.name", "found null"),
        ("""{"task": {"matrix": [[1], 2]}}""", "task.matrix[1]", "found 2; allowed: a list"),
        ("""{"task": {"name": "t1"}, "threads": "all"}""", "threads", "or null"),
        // Out of range
        ("""{"task": {"name": "t1"}, "seed": -1}""", "seed", "found -1; allowed: a whole number from 0"),
        ("""{"task": {"name": "t1"}, "seed": 9223372036854775808}""", "seed", "to 9223372036854775807"),
        ("""{"task": {"name": "t1"}, "threads": 0}""", "threads", "found 0; allowed: a whole number from 1"),
        ("""{"task": {"name": "t1"}, "training": {"steps": 0}}""", "training.steps", "found 0"),
        (
            """{"task": {"name": "t1"}, "training": {"steps": 2147483648}}""",
            "training.steps",
            "found 2147483648; allowed: a whole number from 1 to 2147483647"
        ),
        ("""{"task": {"name": "t1"}, "training": {"steps": 1e300}}""", "training.steps", "found 1e300"),
        (
            """{"task": {"name": "t1"}, "training": {"batch_size": -64}}""",
            "training.batch_size",
            "found -64; allowed: a whole number from 1 to 1048576"
        ),
        (
            """{"task": {"name": "t1"}, "training": {"learning_rate": 0}}""",
            "training.learning_rate",
            "a number above 0"
        ),
        ("""{"task": {"name": "t1"}, "training": {"learning_rate": 1e999}}""", "training.learning_rate", "found 1e999"),
        (
            """{"task": {"name": "t1"}, "training": {"learning_rate": "NaN"}}""",
            "training.learning_rate",
            "found the text \"NaN\""
        ),
        (
            """{"task": {"name": "t1"}, "training": {"weight_decay": -0.1}}""",
            "training.weight_decay",
            "a number from 0"
        ),
        (
            """{"task": {"name": "t1"}, "training": {"max_grad_norm": 0}}""",
            "training.max_grad_norm",
            "a number above 0"
        ),
        ("""{"task": {"name": "t1"}, "training": {"log_interval": 0}}""", "training.log_interval", "found 0"),
        (
            """{"task": {"name": "t1"}, "training": {"curriculum": {"horizons": []}}}""",
            "training.curriculum.horizons",
            "found a list of 0; allowed: a list of 1 to 10000"
        ),
        (
            """{"task": {"name": "t1"}, "training": {"curriculum": {"horizons": [10, 0]}}}""",
            "training.curriculum.horizons[1]",
            "found 0"
        ),
        (
            """{"task": {"name": "t1"}, "training": {"curriculum": {"horizons": [10, 10]}}}""",
            "training.curriculum.horizons",
            "found 10 after 10; allowed: strictly increasing"
        ),
        (
            """{"task": {"name": "t1"}, "training": {"curriculum": {"horizons": [10, 40, 20]}}}""",
            "training.curriculum.horizons",
            "found 20 after 40"
        ),
        (
            """{"task": {"name": "t1"}, "training": {"curriculum": {"threshold": 0}}}""",
            "training.curriculum.threshold",
            "found 0; allowed: a number above 0, up to 1"
        ),
        (
            """{"task": {"name": "t1"}, "training": {"curriculum": {"threshold": 1.01}}}""",
            "training.curriculum.threshold",
            "found 1.01"
        ),
        (
            """{"task": {"name": "t1"}, "training": {"early_stop": {"accuracy": 1.5}}}""",
            "training.early_stop.accuracy",
            "found 1.5"
        ),
        (
            """{"task": {"name": "t1"}, "training": {"early_stop": {"evaluations": 0}}}""",
            "training.early_stop.evaluations",
            "found 0"
        ),
        ("""{"task": {"name": "t1"}, "model": {"hidden_size": 0}}""", "model.hidden_size", "found 0"),
        ("""{"task": {"name": "t1"}, "evaluation": {"horizon": 0}}""", "evaluation.horizon", "found 0"),
        ("""{"task": {"name": "t1"}, "evaluation": {"batches": 0.5}}""", "evaluation.batches", "found 0.5"),
        ("""{"task": {"name": "t1"}, "checkpoints": {"keep_last": 0}}""", "checkpoints.keep_last", "found 0"),
        // Texts
        (
            """{"task": {"name": "t1"}, "model": {"type": "lstm"}}""",
            "model.type",
            "found the text \"lstm\"; allowed: one of elman_rnn, episodic_transformer"
        ),
        ("""{"task": {"name": "t1"}, "model": {"dtype": "flaot32"}}""", "model.dtype", "did you mean float32?"),
        ("""{"task": {"name": "t1"}, "device": "gpu"}""", "device", "allowed: auto, cpu, cuda or cuda:N"),
        ("""{"task": {"name": "t1"}, "device": "cpu\n"}""", "device", "allowed: auto, cpu"),
        ("""{"task": {"name": "t1"}, "name": "../x"}""", "name", "letters, digits"),
        ("""{"task": {"name": "t1"}, "name": ".."}""", "name", "not beginning with '.'"),
        ("""{"task": {"name": "t1"}, "name": ""}""", "name", "found the text \"\""),
        ("""{"task": {"name": "t1"}, "out": " "}""", "out", "not empty"),
        // The task
        ("{}", "task", "is missing"),
        (
            """{"task": {}}""",
            "task",
            "found none of name, id, matrix, terms, associative_recall, copy, rebinding, segment_recall, text, "
                + "two_hop; allowed: exactly one"
        ),
        ("""{"task": {"name": "t1", "id": [255, 0, 0]}}""", "task", "found name and id of"),
        ("""{"task": {"name": "repaet_copy"}}""", "task.name", "did you mean repeat_copy?"),
        ("""{"task": {"name": "t3", "s": 4}}""", "task.name", "d is 8 and s is 4"),
        ("""{"task": {"name": "repeat_copy", "s": 0}}""", "task.s", "found 0; allowed: a whole number from 1"),
        ("""{"task": {"id": [255, 0]}}""", "task.id", "found a list of 2; allowed: a list of 3"),
        ("""{"task": {"id": [255, 0, 0, 0]}}""", "task.id", "found a list of 4; allowed: a list of 3"),
        ("""{"task": {"id": [127, 0, 0]}}""", "task.id", "id1 chooses 7 history entries"),
        (
            """{"task": {"id": [18446744073709551617, 0, 0], "d": 2, "s": 32}}""",
            "task.id",
            "id1 has its highest bit at 64"
        ),
        ("""{"task": {"id": [3, 2, 0], "d": 2, "s": 2}}""", "task.id", "id2's digit 1 in base 2"),
        ("""{"task": {"id": [3, 4, 0], "d": 2, "s": 2}}""", "task.id", "id2 has more than d = 2 digits"),
        ("""{"task": {"id": [3, 0, 4], "d": 2, "s": 2}}""", "task.id", "id3 has its highest bit at 2"),
        ("""{"task": {"id": [-3, 0, 0], "d": 2, "s": 2}}""", "task.id", "id1 is -3"),
        (
            """{"task": {"matrix": [[1, 0], [0, 1], [0, 0]], "d": 2, "s": 2}}""",
            "task.matrix",
            "3 rows: it must be s·d = 2 · 2 = 4"
        ),
        (
            """{"task": {"matrix": [[1], [0, 1], [0, 0], [0, 0]], "d": 2, "s": 2}}""",
            "task.matrix",
            "row 0 has 1 numbers"
        ),
        ("""{"task": {"matrix": []}}""", "task.matrix", "found a list of 0"),
        ("""{"task": {"terms": [{"permutation": [0]}]}}""", "task.terms[0].delay", "is missing"),
        ("""{"task": {"terms": [{"delay": 9}]}}""", "task.terms", "delay is 9: it must be from 1 to s = 8"),
        (
            """{"task": {"terms": [{"delay": 1, "permutation": [1, 1]}], "d": 2}}""",
            "task.terms",
            "permutation is [1, 1]"
        ),
        (
            """{"task": {"terms": [{"delay": 1, "signs": [1, 2]}], "d": 2}}""",
            "task.terms[0].signs[1]",
            "found 2; allowed: one of 1, -1"
        ),
        ("""{"task": {"terms": [{"delay": 1, "signs": [1]}], "d": 2}}""", "task.terms", "signs are [1]"),
        ("""{"task": {"name": "flip_flop", "s": 4}}""", "task.s", "found 4; flip_flop has no history"),
        ("""{"task": {"name": "flip_flop", "d": 0}}""", "task.d", "found 0; allowed: a whole number from 1"),
        ("""{"task": {"name": "flip_flop", "id": [255, 0, 0]}}""", "task", "found name and id of"),
        ("""{"task": {"name": "flipflop"}}""", "task.name", "did you mean flip_flop?"),
        ("""{"task": {"name": "flip_flop", "bits": 3}}""", "task.bits", "unknown key"),
        (
            """{"task": {"name": "t1"}, "training": {"optimizer": "adamW"}}""",
            "training.optimizer",
            "did you mean adamw?"
        ),
        (
            """{"task": {"name": "t1"}, "training": {"gradient_noise": -1}}""",
            "training.gradient_noise",
            "a number from 0"
        ),
        (
            """{"task": {"name": "t1"}, "training": {"spectral_penalty": -1}}""",
            "training.spectral_penalty",
            "a number from 0"
        ),
        (
            """{"task": {"name": "t1"}, "model": {"initialization": "orthogonl"}}""",
            "model.initialization",
            "did you mean orthogonal?"
        ),
        (
            """{"task": {"name": "t1"}, "model": {"initialization": "circuit", "initialization_noise": -1}}""",
            "model.initialization_noise",
            "a number from 0"
        ),
        (
            """{"task": {"name": "t1"}, "model": {"initialization": "circuit", "hidden_size": 63}}""",
            "model.hidden_size",
            "found 63; initialization circuit needs an orthonormal basis of s·d = 8 · 8 = 64 vectors"
        ),
        (
            """{"task": {"name": "t1"}, "model": {"initialization": "circuit", "hidden_size": 0}}""",
            "model.hidden_size",
            "found 0; allowed"
        ),
        (
            """{"task": {"name": "flip_flop", "d": 3}, "model": {"initialization": "circuit"}}""",
            "model.initialization",
            "flip_flop is no linear variable binding task"
        ),
        (
            """{"task": {"name": "xor", "s": 4}, "model": {"bias": true, "initialization": "circuit"}}""",
            "model.initialization",
            "xor is no linear variable binding task"
        ),
        ("""{"task": {"name": "xor", "s": 1}, "model": {"bias": true}}""", "task.s", "two different delays, 1 and s"),
        (
            """{"task": {"name": "xor", "s": 4, "delays": [1, 3]}, "model": {"bias": true}}""",
            "task.delays",
            "one of them must be s = 4"
        ),
        (
            """{"task": {"name": "xor", "s": 4, "delays": [4, 4]}, "model": {"bias": true}}""",
            "task.delays",
            "different ones"
        ),
        (
            """{"task": {"name": "xor", "s": 4, "delays": [1, 5]}, "model": {"bias": true}}""",
            "task.delays",
            "a delay is 5: it must be from 1 to s = 4"
        ),
        (
            """{"task": {"name": "xor", "s": 4, "delays": [4]}, "model": {"bias": true}}""",
            "task.delays",
            "found a list of 1; allowed: a list of 2"
        ),
        ("""{"task": {"name": "xor", "s": 4}}""", "model.bias", "found false; xor needs true"),
        ("""{"task": {"name": "repeat_copy", "delays": [1, 8]}}""", "task.delays", "only xor has delays"),
        // The text itself
        ("""{"task": {"name": "t1"}, "seed": 1, "seed": 2}""", "seed", "more than once"),
        ("""{"task": {"name": "t1"}, "model": {"bias": true, "bias": true}}""", "model.bias", "more than once"),
        ("""{"task": {"terms": [{"delay": 1, "delay": 2}]}}""", "task.terms[0].delay", "more than once"),
        ("{\n  \"name\": \"é\", seed: 3}", "", "is not JSON: line 2, column 16"),
        ("""{"task": {"name": "t1"}, "seed": NaN}""", "", "is not JSON: line 1, column 34"),
        ("""{"task": {"name": "t1"}""", "", "is not JSON: line 1"),
        ("""{"name": "\ud800"}""", "", "is not JSON"),
        ("", "", "is empty"),
        (" \n", "", "is empty"),
        ("[1]", "", "found array at the top; allowed: an object"),
        ("null", "", "found null at the top"),
    ];

    private static IEnumerable<TestCaseData> BadCases => Bad.Select(b => new TestCaseData(b.Json, b.Path, b.Gist));

    [TestCaseSource(nameof(BadCases))]
    public void ABadConfigurationIsRefusedWithItsPathAndOneProblem(string json, string path, string gist)
    {
        var problems = Problems(() => ConfigurationFile.Parse(json));
        Assert.That(problems, Has.Count.EqualTo(1), string.Join('\n', problems));
        Assert.That(problems[0].Path, Is.EqualTo(path));
        Assert.That(problems[0].Message, Does.Contain(gist));
    }

    [Test]
    public void AllProblemsComeAtOnce()
    {
        var problems = Problems(() =>
            ConfigurationFile.Parse(
                """
                {
                  "seed": -1, "seed": 2, "colour": "red",
                  "task": {"id": [7, 2, 4], "d": 2, "s": 3},
                  "training": {"batch_size": "many", "curriculum": {"horizons": [20, 10], "threshold": 2},
                    "early_stop": {"acuracy": 1}},
                  "model": []
                }
                """,
                ["training.stepz=5", "steps", "evaluation.horizon=-2"]
            )
        );
        string[] expected =
        [
            "seed: the key is given more than once",
            "training.stepz: unknown key; did you mean steps?",
            "--set: found 'steps'; allowed: key=value",
            "seed: found -1",
            "colour: unknown key",
            "training.batch_size: found the text \"many\"",
            "training.curriculum.threshold: found 2",
            "training.early_stop.acuracy: unknown key; did you mean accuracy?",
            "model: found a list of 0",
            "evaluation.horizon: found -2",
            "training.curriculum.horizons: found 10 after 20",
            "task.id: id1 chooses 3",
            "task.id: id2's digit 1",
            "task.id: id3 has its highest bit at 2",
        ];
        Assert.That(problems, Has.Count.EqualTo(expected.Length), string.Join('\n', problems));
        var message = new ConfigurationException(problems).Message;
        Assert.That(message.Split('\n'), Has.Length.EqualTo(1 + expected.Length));
        foreach (var text in expected)
            Assert.That(message, Does.Contain(text));
    }

    /// <summary>
    /// Whatever one does to the text, it is refused in words or it loads, and what loads is written and loads again.
    /// </summary>
    [Test]
    public void DamagedTextIsRefusedOrLoads() =>
        Assert.That(
            () =>
                Check.One(
                    Config.QuickThrowOnFailure.WithMaxTest(1000),
                    Prop.ForAll(
                        Gen.Choose(0, int.MaxValue).ToArbitrary(),
                        seed =>
                        {
                            var random = new System.Random(seed);
                            var text = new System.Text.StringBuilder(Everything);
                            const string Junk = "{}[],:\"\\0123456789eE.-+ntfu_ \n\0é";
                            for (int edits = random.Next(1, 4); edits > 0; edits--)
                            {
                                int at = random.Next(text.Length);
                                if (random.Next(2) == 0)
                                    text.Remove(at, Math.Min(random.Next(1, 12), text.Length - at));
                                if (random.Next(2) == 0)
                                    text.Insert(at, Junk[random.Next(Junk.Length)]);
                            }
                            try
                            {
                                var loaded = ConfigurationFile.Parse(
                                    text.ToString(),
                                    ["training.steps=" + Junk[random.Next(Junk.Length)]]
                                );
                                return ConfigurationFile.Parse(loaded.ToJson()) == loaded;
                            }
                            catch (ConfigurationException e)
                            {
                                return e.Problems.Count > 0 && e.Problems.All(p => p.Message.Length > 0);
                            }
                        }
                    )
                ),
            Throws.Nothing
        );

    [Test]
    public void WhatIsLeftOutHasItsDefault()
    {
        var c = ConfigurationFile.Parse(Good, name: "here");
        Assert.That((c.Name, c.Seed, c.Device, c.Threads, c.Out), Is.EqualTo(("here", 1L, "auto", (int?)null, "runs")));
        Assert.That(
            (c.Task.D, c.Task.S, c.Model.Type, c.Model.HiddenSize, c.Model.Bias, c.Model.Dtype),
            Is.EqualTo((8, 8, "elman_rnn", 128, false, "float32"))
        );
        Assert.That(
            (
                c.Training.Steps,
                c.Training.BatchSize,
                c.Training.LearningRate,
                c.Training.WeightDecay,
                c.Training.MaxGradNorm
            ),
            Is.EqualTo((20000, 64, 0.001, 0.0, 1.0))
        );
        Assert.That(c.Training.Curriculum.Horizons, Is.EqualTo(new[] { 10, 20, 40, 60, 100 }));
        Assert.That(
            (c.Model.Initialization, c.Training.Optimizer, c.Training.GradientNoise, c.Training.SpectralPenalty),
            Is.EqualTo(("uniform", "adam", 0.0, 0.0))
        );
        Assert.That(
            (c.Training.Curriculum.Threshold, c.Training.LogInterval, c.Training.EarlyStop),
            Is.EqualTo((0.98, 50, (EarlyStopConfiguration?)null))
        );
        Assert.That(
            (c.Evaluation.Horizon, c.Evaluation.Batches, c.Evaluation.BatchSize, c.Evaluation.Interval),
            Is.EqualTo((200, 10, 64, 500))
        );
        Assert.That(
            (c.Checkpoints.Interval, c.Checkpoints.KeepLast, c.Checkpoints.KeepBest),
            Is.EqualTo((500, 3, true))
        );
    }

    /// <summary>No value is a default, so that a key that is not bound is seen.</summary>
    private const string Everything = """
        {
          "name": "n-1", "seed": 9223372036854775807, "device": "cuda:3", "threads": 2, "out": "elsewhere",
          "task": {"terms": [{"delay": 3, "permutation": [1, 0], "signs": [1, -1]}, {"delay": 1}], "d": 2, "s": 3},
          "model": {"type": "elman_rnn", "hidden_size": 32, "bias": true, "dtype": "float64",
            "initialization": "orthogonal", "initialization_noise": 0.3},
          "training": {"steps": 7, "batch_size": 5, "optimizer": "adamw", "learning_rate": 0.01, "weight_decay": 0.1,
            "max_grad_norm": 2.5, "gradient_noise": 0.2, "spectral_penalty": 0.4,
            "warmup_steps": 3, "schedule": "cosine", "bptt_segments": null,
            "curriculum": {"horizons": [3, 5], "threshold": 1}, "log_interval": 2,
            "consolidation": null, "early_stop": {"accuracy": 0.5, "evaluations": 4}},
          "evaluation": {"horizon": 11, "batches": 3, "batch_size": 6, "interval": 8},
          "checkpoints": {"interval": 9, "keep_last": 1, "keep_best": false}
        }
        """;

    [Test]
    public void EveryKeyIsBoundAndWritten()
    {
        var c = ConfigurationFile.Parse(Everything);
        // What ToJson writes is what was read: key for key, value for value.
        Assert.That(JsonNode.DeepEquals(JsonNode.Parse(c.ToJson()), JsonNode.Parse(Everything)), c.ToJson());
        Assert.That(c.Training.Curriculum.Horizons, Is.EqualTo(new[] { 3, 5 }));
        Assert.That(c.Training.EarlyStop, Is.EqualTo(new EarlyStopConfiguration { Accuracy = 0.5, Evaluations = 4 }));
        Assert.That(c.Task.ToLinearBinding().F[1, 0], Is.EqualTo(1)); // oldest variable's component 1
    }

    private const string Transformer = """
        {
          "name": "t", "seed": 1, "device": "auto", "threads": null, "out": "runs",
          "task": {"segment_recall": {"pairs": 2, "segment_length": 9, "keys": 5, "values": 6, "noise": 7,
            "distractors": 1, "both_ways": true, "vocabularies": 3, "vocabulary": 2,
            "persistent": 0, "persistent_asked": true}},
          "model": {"type": "episodic_transformer", "hidden_size": 24, "bias": true, "dtype": "float32", "layers": 3,
            "attention": false, "heads": 2, "window": 5, "positions": "none", "attention_output": false,
            "feed_forward_size": 31,
            "residual": "seed", "tie_weights": true, "memory": "none", "memory_heads": 3, "write": "delta",
            "hypernetwork_rank": 1, "read": "softmax", "unit_keys": true, "gate": false, "gate_input": "in_context",
            "decay": true, "drift": false, "drift_cell": "linear", "drift_join": "add", "drift_rate": "dimension",
            "graph_nodes": 11, "graph_interval": 13, "graph_read": "seed", "autocast": "bfloat16",
            "retrieval": {"store": "postgres", "scope": "shared", "form": "source", "fuse": "concatenate",
              "attention": "cross", "top_k": 3, "chunk": 32, "entries": null,
              "table": "elsewhere", "connection": "PG", "index": "hnsw", "wait": 5}},
          "training": {"steps": 7, "batch_size": 5, "optimizer": "adamw", "learning_rate": 0.01, "weight_decay": 0.1,
            "max_grad_norm": 2.5, "gradient_noise": 0.2, "spectral_penalty": 0,
            "warmup_steps": 3, "schedule": "cosine", "bptt_segments": 2,
            "curriculum": {"horizons": [1, 2], "threshold": 1}, "log_interval": 2,
            "consolidation": null, "early_stop": null},
          "evaluation": {"horizon": 2, "batches": 3, "batch_size": 6, "interval": 8},
          "checkpoints": {"interval": 9, "keep_last": 1, "keep_best": false}
        }
        """;

    [Test]
    public void EveryKeyOfATransformerIsBoundAndWritten()
    {
        var c = ConfigurationFile.Parse(Transformer);
        Assert.That(JsonNode.DeepEquals(JsonNode.Parse(c.ToJson()), JsonNode.Parse(Transformer)), c.ToJson());
    }

    private static readonly string[] TokenTasks =
    [
        """{"associative_recall": {}}""",
        """{"associative_recall": {"pairs": 3, "vocabulary": 1000, "power": 0.5, "random_non_queries": false}}""",
        """{"segment_recall": {}}""",
        """{"rebinding": {"questions": 2}}""",
        """{"two_hop": {}}""",
        """{"two_hop": {"chains": 3, "hops": 3, "segment_length": 50, "names": 600, "noise": 2, "distractors": 4}}""",
        """{"copy": {}}""",
    ];

    [TestCaseSource(nameof(TokenTasks))]
    public void AResolvedConfigurationOnTokensLoadsAgainToAnEqualOne(string task)
    {
        var first = ConfigurationFile.Parse(
            $$"""{"task": {{task}}, "model": {"type": "episodic_transformer"} }""",
            ["training.curriculum.horizons=[40]", "evaluation.horizon=60"]
        );
        Assert.That(first.Task.IsOnTokens);
        Assert.That(ConfigurationFile.Parse(first.ToJson()), Is.EqualTo(first));
    }

    [TestCase(
        """{"task": {"segment_recall": {"pairs": 40}}, "model": {"type": "episodic_transformer"}}""",
        "task.segment_recall",
        "40 pairs need two each"
    )]
    [TestCase(
        """{"task": {"segment_recall": {"distractors": 9}}, "model": {"type": "episodic_transformer"}}""",
        "task.segment_recall",
        "at horizon 10"
    )]
    [TestCase(
        """{"task": {"segment_recall": {"pair": 4}}, "model": {"type": "episodic_transformer"}}""",
        "task.segment_recall.pair",
        "did you mean pairs?"
    )]
    [TestCase(
        """{"task": {"two_hop": {"chains": 22}}, "model": {"type": "episodic_transformer"}}""",
        "task.two_hop",
        "44 facts need three each, 132"
    )]
    [TestCase(
        """{"task": {"two_hop": {"distractors": 3}}, "model": {"type": "episodic_transformer"}}""",
        "task.two_hop",
        "a document needs 78 distinct ones (at horizon 10)"
    )]
    [TestCase(
        """{"task": {"two_hop": {"hop": 4}}, "model": {"type": "episodic_transformer"}}""",
        "task.two_hop.hop",
        "did you mean hops?"
    )]
    [TestCase(
        """{"task": {"two_hop": {}}, "model": {"type": "episodic_transformer", "graph_nodes": 0}}""",
        "model.graph_nodes",
        "found 0; allowed: a whole number from 1"
    )]
    [TestCase(
        """{"task": {"two_hop": {}}, "model": {"type": "episodic_transformer", "graph_read": "adressed"}}""",
        "model.graph_read",
        "did you mean addressed?"
    )]
    [TestCase(
        """{"task": {"name": "t1"}, "model": {"graph_nodes": 8}}""",
        "model.graph_nodes",
        "is for type episodic_transformer only"
    )]
    [TestCase(
        """{"task": {"associative_recall": {}}, "model": {"type": "episodic_transformer"}, "evaluation": {"horizon": 201}}""",
        "task.associative_recall",
        "must be even (at horizon 201)"
    )]
    [TestCase("""{"task": {"text": {}}, "model": {"type": "episodic_transformer"}}""", "task.text.path", "is missing")]
    [TestCase(
        """{"task": {"text": {"path": "no-such-file.txt"}}, "model": {"type": "episodic_transformer"}}""",
        "task.text",
        "there is no file no-such-file.txt"
    )]
    [TestCase(
        """{"task": {"copy": {}, "d": 5}, "model": {"type": "episodic_transformer"}}""",
        "task",
        "leave them out"
    )]
    [TestCase("""{"task": {"copy": {}}}""", "model.type", "copy is learned by episodic_transformer")]
    [TestCase(
        """{"task": {"name": "t1"}, "model": {"type": "episodic_transformer"}}""",
        "model.type",
        "t1 is learned by elman_rnn"
    )]
    [TestCase(
        """{"task": {"copy": {}}, "model": {"type": "episodic_transformer", "heads": 3}}""",
        "model.heads",
        "twice as many divide hidden_size, 128"
    )]
    [TestCase(
        """{"task": {"copy": {}}, "model": {"type": "episodic_transformer", "memory_heads": 3}}""",
        "model.memory_heads",
        "divide hidden_size, 128"
    )]
    [TestCase(
        """{"task": {"copy": {}}, "model": {"type": "episodic_transformer", "dtype": "float64", "autocast": "bfloat16"}}""",
        "model.autocast",
        "null, or float32"
    )]
    [TestCase(
        """{"task": {"copy": {}}, "model": {"type": "episodic_transformer", "initialization": "uniform"}}""",
        "model.initialization",
        "is for type elman_rnn only"
    )]
    [TestCase(
        """{"task": {"name": "t1"}, "model": {"window": 64}}""",
        "model.window",
        "is for type episodic_transformer only, and this is elman_rnn"
    )]
    [TestCase(
        """{"task": {"copy": {}}, "model": {"type": "episodic_transformer"}, "training": {"spectral_penalty": 1}}""",
        "training.spectral_penalty",
        "has no W_hh"
    )]
    [TestCase(
        """{"task": {"name": "t1"}, "training": {"bptt_segments": 1}}""",
        "training.bptt_segments",
        "has no segments"
    )]
    public void WhatATransformerCanNotBeIsRefused(string json, string path, string message)
    {
        var e = Assert.Throws<ConfigurationException>(() =>
            ConfigurationFile.Parse(
                json,
                json.Contains("horizon", StringComparison.Ordinal)
                    ? []
                    : ["training.curriculum.horizons=[10]", "evaluation.horizon=10"]
            )
        )!;
        Assert.That(
            e.Problems.Where(p => p.Path == path).Select(p => p.Message),
            Has.Some.Contains(message),
            e.Message
        );
    }

    private static readonly string[] Tasks =
    [
        """{"name": "compose_copy"}""",
        """{"id": [9241421688590303745, 262676, 189]}""",
        """{"id": [18446744073709551617, 0, 3], "d": 2, "s": 33}""",
        """{"matrix": [[0.1, -1], [1e-300, 0], [2, 3], [4, 0.30000000000000004]], "d": 2, "s": 2}""",
        """{"terms": [{"delay": 2}], "d": 1, "s": 2}""",
    ];

    [TestCaseSource(nameof(Tasks))]
    public void TheResolvedConfigurationLoadsAgainToAnEqualOne(string task)
    {
        var first = ConfigurationFile.Parse($$"""{"task": {{task}}}""");
        var second = ConfigurationFile.Parse(first.ToJson());
        Assert.That(second, Is.EqualTo(first));
        Assert.That(second.GetHashCode(), Is.EqualTo(first.GetHashCode()));
        Assert.That(second.ToJson(), Is.EqualTo(first.ToJson()));
        Assert.That(second.Task.ToLinearBinding().F, Is.EqualTo(first.Task.ToLinearBinding().F));
        Assert.That(second with { Seed = 2 }, Is.Not.EqualTo(first));
    }

    [Test]
    public void XorLoadsAgainAndIsNoLinearBindingTask()
    {
        var first = ConfigurationFile.Parse(
            """{"task": {"name": "xor", "d": 3, "s": 5, "delays": [5, 2]}, "model": {"bias": true}}"""
        );
        Assert.That(ConfigurationFile.Parse(first.ToJson()), Is.EqualTo(first));
        Assert.That(
            first.Task.ToLinearBinding,
            Throws.ArgumentException.With.Message.Contains("xor is not a linear variable binding task")
        );
        using var task = (Xor)first.Task.ToSequenceTask(torch.ScalarType.Float32, torch.CPU);
        Assert.That((task.Dimension, task.InputSteps, task.Delays), Is.EqualTo((3, 5, new[] { 5, 2 })));
        using var usual = (Xor)(first.Task with { Delays = null }).ToSequenceTask(torch.ScalarType.Float32, torch.CPU);
        Assert.That(usual.Delays, Is.EqualTo(new[] { 1, 5 }));
    }

    [Test]
    public void FlipFlopLoadsAgainAndIsNoBindingTask()
    {
        var first = ConfigurationFile.Parse("""{"task": {"name": "flip_flop", "d": 3}}""");
        Assert.That(ConfigurationFile.Parse(first.ToJson()), Is.EqualTo(first));
        Assert.That(
            first.Task.ToLinearBinding,
            Throws.ArgumentException.With.Message.Contains("flip_flop is not a linear variable binding task")
        );
    }

    [Test]
    public void LargeIdsLoseNothing()
    {
        var id = ConfigurationFile
            .Parse("""{"task": {"id": [18446744073709551617, 0, 3], "d": 2, "s": 33}}""")
            .Task.Id!;
        Assert.That(id, Is.EqualTo(new[] { BigInteger.Pow(2, 64) + 1, BigInteger.Zero, 3 }));
    }

    [Test]
    public void AnyNumberInRangeSurvivesTheRoundTrip() =>
        Assert.That(
            () =>
                Check.QuickThrowOnFailure(
                    Prop.ForAll(
                        ArbMap
                            .Default.GeneratorFor<NormalFloat>()
                            .Select(f => Math.Abs(f.Get))
                            .Where(f => f > 0)
                            .Zip(Gen.Choose(0, int.MaxValue))
                            .ToArbitrary(),
                        drawn =>
                        {
                            var first = new RunConfiguration
                            {
                                Name = "x",
                                Task = new() { Name = "t1" },
                                Seed = drawn.Item2,
                                Training = new() { LearningRate = drawn.Item1 },
                            };
                            var second = ConfigurationFile.Parse(first.ToJson());
                            return second == first
                                && second.Training.LearningRate == drawn.Item1
                                && second.Seed == drawn.Item2;
                        }
                    )
                ),
            Throws.Nothing
        );

    [Test]
    public void WholeNumbersMayBeWrittenAsAnyNumber() =>
        Assert.That(
            ConfigurationFile
                .Parse("""{"task": {"name": "t1"}, "training": {"steps": 2e4, "batch_size": 32.0}}""")
                .Training,
            Has.Property("Steps").EqualTo(20000).And.Property("BatchSize").EqualTo(32)
        );

    [Test]
    public void CommentsTrailingCommasAndTheSchemaKeyAreAllowed() =>
        Assert.That(
            ConfigurationFile
                .Parse(
                    """{"$schema": "schema.json", "task": {"name": "t1",}, /* as in the paper */ "seed": 4, // four"""
                        + "\n}"
                )
                .Seed,
            Is.EqualTo(4)
        );

    [Test]
    public void OverridesWin()
    {
        var c = ConfigurationFile.Parse(
            Everything,
            [
                "training.steps=500",
                "training.curriculum.horizons=[100]",
                "training.early_stop.accuracy=0.9",
                "device=cuda:1",
                "threads=null",
                "task={\"id\": [9241421688590303745, 0, 0]}",
                "seed=1",
                "seed=3",
                "out=a=b",
                "model.bias=false",
                "training.learning_rate=1e-4",
            ]
        );
        Assert.That(c.Training.Curriculum.Horizons, Is.EqualTo(new[] { 100 }));
        Assert.That(c.Training.EarlyStop, Is.EqualTo(new EarlyStopConfiguration { Accuracy = 0.9, Evaluations = 4 }));
        Assert.That(
            (c.Training.Steps, c.Device, c.Threads, c.Seed, c.Out, c.Model.Bias, c.Training.LearningRate),
            Is.EqualTo((500, "cuda:1", (int?)null, 3L, "a=b", false, 1e-4))
        );
        Assert.That((c.Task.Terms, c.Task.Id![0]), Is.EqualTo((default(object), (BigInteger)9241421688590303745)));
        Assert.That(c.Training.Curriculum.Threshold, Is.EqualTo(1));
        Assert.That(
            ConfigurationFile.Parse(Good, ["training.early_stop.accuracy=0.9"]).Training.EarlyStop,
            Is.EqualTo(new EarlyStopConfiguration { Accuracy = 0.9 })
        );
        Assert.That(ConfigurationFile.Parse(Everything, ["training.early_stop=null"]).Training.EarlyStop, Is.Null);
    }

    [TestCase("training.batchsize=3", "training.batchsize", "did you mean batch_size?")]
    [TestCase("trainin.steps=3", "trainin", "did you mean training?")]
    [TestCase("training.steps.more=3", "training.steps.more", "no keys in a whole number")]
    [TestCase("training.curriculum.horizons.0=3", "training.curriculum.horizons.0", "no keys in a list")]
    [TestCase("seed", "--set", "found 'seed'; allowed: key=value")]
    [TestCase("=5", "--set", "found '=5'")]
    [TestCase("", "--set", "found ''")]
    [TestCase("training.=5", "training.", "unknown key")]
    [TestCase("training.steps=many", "training.steps", "found the text \"many\"")]
    [TestCase("training.steps=", "training.steps", "found the text \"\"")]
    [TestCase("training.learning_rate=NaN", "training.learning_rate", "found the text \"NaN\"")]
    [TestCase("training.curriculum.horizons=[10,20", "training.curriculum.horizons", "found the text \"[10,20\"")]
    [TestCase("name=12", "name", "found 12")]
    [TestCase("model={\"bias\":true,\"bias\":true}", "model.bias", "more than once")]
    [TestCase(
        "task.id=[255,0,0]",
        "task",
        "found name and id of name, id, matrix, terms, associative_recall, copy, rebinding, segment_recall, text, "
            + "two_hop; allowed: exactly one (--set task={…} replaces"
    )]
    public void ABadOverrideIsRefused(string text, string path, string gist)
    {
        var problems = Problems(() => ConfigurationFile.Parse(Good, [text]));
        Assert.That(problems, Has.Count.EqualTo(1), string.Join('\n', problems));
        Assert.That(
            (problems[0].Path, problems[0].Message.Contains(gist, StringComparison.Ordinal)),
            Is.EqualTo((path, true)),
            problems[0].Message
        );
    }

    [Test]
    public void AnOverrideInsideSomethingThatIsNoObjectLeavesThatToBeRefused()
    {
        var problems = Problems(() =>
            ConfigurationFile.Parse("""{"task": {"name": "t1"}, "training": 5}""", ["training.steps=3"])
        );
        Assert.That(problems.Select(p => p.Path), Is.EqualTo(new[] { "training" }));
    }

    [Test]
    public void FilesThatCannotBeReadAreToldTogetherWithBadOverrides()
    {
        var folder = Directory.CreateTempSubdirectory().FullName;
        try
        {
            var missing = Path.Combine(folder, "missing.json");
            var problems = Problems(() => ConfigurationFile.Load(missing, ["sede=1"]));
            Assert.That(problems.Select(p => p.Path), Is.EqualTo(new[] { missing, "sede" }));
            Assert.That(problems[0].Message, Does.Contain("no such file"));
            Assert.That(Problems(() => ConfigurationFile.Load(folder))[0].Message, Does.Contain("is a folder"));
            Assert.That(
                Problems(() => ConfigurationFile.Load(Path.Combine(folder, "no", "such.json")))[0].Message,
                Does.Contain("no such file")
            );
            Assert.That(Problems(() => ConfigurationFile.Load(""))[0].Message, Does.Contain("can't be read"));
            File.WriteAllText(missing, "");
            Assert.That(
                Problems(() => ConfigurationFile.Load(missing))[0],
                Is.EqualTo(
                    new ConfigurationProblem(
                        missing,
                        "is empty (as a pipe and a device are); a JSON object {…} is needed"
                    )
                )
            );
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [TestCase("my_run.json", "my_run")]
    [TestCase("my run (2).json", "my_run__2_")]
    [TestCase(".json", "run")]
    [TestCase("a.b.json", "a.b")]
    [TestCase(".-x.json", "x")]
    public void ARunIsNamedAfterItsFile(string file, string name)
    {
        var folder = Directory.CreateTempSubdirectory().FullName;
        try
        {
            var path = Path.Combine(folder, file);
            File.WriteAllText(path, Good, new System.Text.UTF8Encoding(encoderShouldEmitUTF8Identifier: true));
            Assert.That(ConfigurationFile.Load(path).Name, Is.EqualTo(name));
            Assert.That(ConfigurationFile.Load(path, ["name=other"]).Name, Is.EqualTo("other"));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [TestCase("seed", "seed", 0)]
    [TestCase("sede", "seed", 1)]
    [TestCase("sed", "seed", 1)]
    [TestCase("seeed", "seed", 1)]
    [TestCase("kitten", "sitting", 3)]
    [TestCase("", "abc", 3)]
    public void EditDistance(string a, string b, int expected) =>
        Assert.That(NearestName.Distance(a, b), Is.EqualTo(expected));

    [TestCase("weigth_decay", "weight_decay")]
    [TestCase("Weight-Decay", "weight_decay")]
    [TestCase("momentum", null)]
    [TestCase("z", null)]
    public void TheNearestNameIsOfferedOnlyIfNear(string name, string? expected) =>
        Assert.That(NearestName.To(name, ["steps", "weight_decay", "max_grad_norm", "d", "s"]), Is.EqualTo(expected));

    [Test]
    public void TheSchemaIsUpToDate() =>
        Assert.That(
            File.Exists(SchemaFile) ? File.ReadAllText(SchemaFile) : "",
            Is.EqualTo(ConfigurationSchema.Generate()),
            "configs/schema.json is generated from the configuration's records: dotnet run --project Trainer -- schema "
                + "> configs/schema.json"
        );

    [Test, Explicit("Writes configs/schema.json anew.")]
    public void WriteTheSchema() => File.WriteAllText(SchemaFile, ConfigurationSchema.Generate());

    [Test]
    public void TheSchemaSaysWhatTheRecordsSay()
    {
        var schema = JsonNode.Parse(ConfigurationSchema.Generate())!;
        var training = schema["properties"]!["training"]!;
        Assert.That(training["additionalProperties"]!.GetValue<bool>(), Is.False);
        Assert.That(
            Compact(training["properties"]!["batch_size"]!),
            Is.EqualTo(
                """{"description":"Sequences in a training batch.","type":"integer","minimum":1,"maximum":1048576,"default":64}"""
            )
        );
        var threshold = training["properties"]!["curriculum"]!["properties"]!["threshold"]!;
        Assert.That(
            (threshold["exclusiveMinimum"]!.GetValue<double>(), threshold["maximum"]!.GetValue<double>()),
            Is.EqualTo((0.0, 1.0))
        );
        Assert.That(Compact(training["properties"]!["early_stop"]!["type"]!), Is.EqualTo("""["object","null"]"""));
        Assert.That(
            Compact(training["properties"]!["curriculum"]!["properties"]!["horizons"]!["default"]!),
            Is.EqualTo("[10,20,40,60,100]")
        );
        Assert.That(Compact(schema["required"]!), Is.EqualTo("""["task"]"""));
        Assert.That(
            Compact(schema["properties"]!["model"]!["properties"]!["dtype"]!["enum"]!),
            Is.EqualTo("""["float32","float64"]""")
        );
        Assert.That(schema["properties"]!["task"]!["oneOf"]!.AsArray(), Has.Count.EqualTo(10));

        static string Compact(JsonNode node) => node.ToJsonString(new JsonSerializerOptions());
    }

    private static IEnumerable<string> ConfigurationFiles =>
        Directory
            .GetFiles(Path.GetDirectoryName(SchemaFile)!, "*.json")
            .Select(f => Path.GetFileName(f))
            .Where(f => f != "schema.json")
            .Order();

    [Test]
    public void EveryConfigurationOfTheRepositoryLoads()
    {
        Assert.That(
            ConfigurationFiles,
            Is.SupersetOf(
                new[]
                {
                    "repeat_copy.json",
                    "repeat_copy_paper.json",
                    "t1.json",
                    "t2.json",
                    "t3.json",
                    "t4.json",
                    "xor.json",
                    "flip_flop.json",
                    "segment_recall.json",
                    "associative_recall.json",
                    "rebinding.json",
                    "two_hop.json",
                    "copy.json",
                    "text.json",
                }
            )
        );
        foreach (var file in ConfigurationFiles)
        {
            // A text is looked for from where the program is started, the repository's root.
            var c = ConfigurationFile.Load(
                Path.Combine(Repository.Root, "configs", file),
                file == "text.json" ? [$"task.text.path={SchemaFile}"] : []
            );
            Assert.That(c.Name, Is.EqualTo(Path.GetFileNameWithoutExtension(file)));
            if (c.Task.IsLinearBinding)
                Assert.That(c.Task.ToLinearBinding().D, Is.EqualTo(c.Task.D));
        }
    }

    private static IReadOnlyList<ConfigurationProblem> Problems(Func<RunConfiguration> load)
    {
        try
        {
            load();
        }
        catch (ConfigurationException e)
        {
            return e.Problems;
        }
        Assert.Fail("the configuration was accepted");
        return [];
    }

    private static string SchemaFile => Path.Combine(Repository.Root, "configs", "schema.json");
}
