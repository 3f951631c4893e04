using EmtTorch.Configuration;
using EmtTorch.Models;
using EmtTorch.Settings;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

/// <summary>The forms of the source inside the block, against its equations written out.</summary>
public sealed class SourceFormsTests
{
    private const int Vocabulary = 7;

    private static readonly ModelConfiguration Small = new()
    {
        Type = "episodic_transformer",
        HiddenSize = 8,
        Heads = 2,
        Layers = 2,
        Dtype = "float64",
        MemoryHeads = 2,
        FeedForwardSize = 5,
    };

    private static readonly Dictionary<string, ModelConfiguration> Forms = new()
    {
        ["block"] = Small with
        {
            Heads = 1,
            MemoryHeads = 1,
            Positions = "none",
            AttentionOutput = false,
            Residual = "seed",
        },
        ["to the letter"] = Small with
        {
            Heads = 1,
            MemoryHeads = 1,
            Positions = "none",
            AttentionOutput = false,
            Residual = "seed",
            Read = "source",
            UnitKeys = false,
            GateInput = "plain",
            DriftRate = "shared",
        },
        ["three numbers a head"] = Small with { HiddenSize = 6, Positions = "none", Window = 3 },
        ["source read"] = Small with { Read = "source", Decay = true },
        ["any keys"] = Small with { UnitKeys = false, Decay = true, Window = 3 },
        ["concatenated"] = Small with { DriftJoin = "concatenate", DriftRate = "shared", Read = "softmax" },
        ["concatenated, plain gate"] = Small with
        {
            DriftJoin = "concatenate",
            GateInput = "plain",
            Read = "source",
            Window = 2,
        },
        ["plain gate without drift"] = Small with { GateInput = "plain", Drift = false },
        ["full rank"] = Small with { Write = "full_hypernetwork", Decay = true },
        ["full rank, source read"] = Small with
        {
            Write = "full_hypernetwork",
            Read = "source",
            DriftJoin = "concatenate",
        },
        ["elman"] = Small with { DriftCell = "elman", Window = 3 },
        ["elman, seed"] = Small with { DriftCell = "elman", Residual = "seed", Read = "source", Decay = true },
        ["gru"] = Small with { DriftCell = "gru", Write = "full_hypernetwork", Attention = false },
        ["gru, concatenated"] = Small with { DriftCell = "gru", DriftJoin = "concatenate", GateInput = "plain" },
    };

    private static IEnumerable<string> Names => Forms.Keys;

    private static EpisodicTransformer Network(ModelConfiguration model) =>
        Pieces.Network(
            Vocabulary,
            model,
            1,
            "attention.output.weight",
            "drift.output.weight",
            "recurrence.output.weight"
        );

    [TestCaseSource(nameof(Names))]
    public void LogitsAreThoseOfTheEquationsTokenByToken(string form)
    {
        using var scope = NewDisposeScope();
        using var network = Network(Forms[form]);
        using var quiet = no_grad();
        var tokens = Pieces.Tokens(Vocabulary, 1, 9);
        var expected = new LiteralTransformer(Forms[form], network).Logits(tokens.data<long>().ToArray());
        var logits = network.forward(tokens).data<double>().ToArray();
        Assert.That(logits, Is.EqualTo(expected.SelectMany(row => row)).Within(1e-10));
        Assert.That(logits.Max() - logits.Min(), Is.GreaterThan(0.1));
    }

    [TestCaseSource(nameof(Names))]
    public void OnePieceSegmentsAndSingleTokensAgree(string form)
    {
        foreach (var (dtype, relative) in new[] { ("float64", 1e-9), ("float32", 1e-4) })
        {
            using var scope = NewDisposeScope();
            using var network = Network(Forms[form] with { Dtype = dtype });
            var tokens = Pieces.Tokens(Vocabulary, 2, 6);
            Pieces.CheckCuts(network, tokens, relative, [1, 3, 2], Enumerable.Repeat(1L, 6));
            Pieces.CheckEmpty(network, Vocabulary, Forms[form].HiddenSize, 2, 0);
        }
    }

    [TestCase("to the letter")]
    [TestCase("full rank, source read")]
    [TestCase("gru, concatenated")]
    public void GradientsAgreeWithFiniteDifferences(string form)
    {
        using var scope = NewDisposeScope();
        using var network = Network(
            Forms[form] with
            {
                HiddenSize = 4,
                Heads = 1,
                MemoryHeads = 1,
                Layers = 1,
                FeedForwardSize = 3,
            }
        );
        using (no_grad())
            network.named_parameters().Single(p => p.name == "embedding.weight").parameter.mul_(4);
        var tokens = Pieces.Tokens(Vocabulary, 2, 5);
        Tensor Loss() => Compared.Loss([network.forward(tokens)]);
        Loss().backward();
        FiniteDifferences.Check(
            network,
            () =>
            {
                using var inner = NewDisposeScope();
                using var quiet = no_grad();
                return Loss().item<double>();
            }
        );
    }

    [Test]
    public void EveryParameterOfAFormLearns()
    {
        foreach (var (form, model) in Forms)
        {
            using var scope = NewDisposeScope();
            using var network = Network(model);
            network.forward(Pieces.Tokens(Vocabulary, 2, 6)).cos().sum().backward();
            foreach (var (name, parameter) in network.named_parameters())
                Assert.That(parameter.grad?.abs().sum().item<double>(), Is.Positive, $"{form}: {name}");
        }
    }

    [TestCase(
        """ "heads": 3, "positions": "none" """,
        "model.heads: found 3; allowed: numbers that divide hidden_size, 8"
    )]
    [TestCase(
        """ "read": "source", "write": "delta", "memory_heads": 2 """,
        "model.read: found source beside write delta"
    )]
    [TestCase(
        """ "read": "source", "attention": false """,
        "model.read: found source, which takes attention's queries, beside no attention"
    )]
    [TestCase(
        """ "memories": { "fast_weights": { "read": "source" } } """,
        "model.memories.fast_weights.read: found source, which takes attention's queries; allowed: as many heads of "
            + "the memory as of attention (found 1 and 2)"
    )]
    [TestCase(""" "unit_keys": false, "write": "delta" """, "model.unit_keys: found false beside write delta")]
    [TestCase(""" "gate_input": "plain", "gate": false """, "model.gate_input: found plain beside gate false")]
    [TestCase(
        """ "write": "full_hypernetwork", "hidden_size": 68 """,
        "model.write: found full_hypernetwork for heads of 68 numbers; allowed: heads of 64 at most"
    )]
    [TestCase(""" "drift_cell": "gru", "drift": false """, "model.drift_cell: found gru beside drift false")]
    [TestCase(
        """ "drift_cell": "gru", "drift_rate": "shared" """,
        "model.drift_rate: found shared beside drift_cell gru"
    )]
    [TestCase(
        """ "drift_join": "concatenate", "graph_nodes": 4 """,
        "model.drift_join: found concatenate beside graph"
    )]
    [TestCase(
        """ "drift_join": "concatenate", "attention": false, "memory": "none" """,
        "model.drift_join: found concatenate beside neither attention nor fast weights"
    )]
    [TestCase(
        """ "drift_cell": "lstm" """,
        "model.drift_cell: found the text \"lstm\"; allowed: one of linear, elman, gru"
    )]
    public void WhatDoesNotGoTogetherIsRefused(string settings, string message)
    {
        string size = settings.Contains("hidden_size", StringComparison.Ordinal) ? "" : """ "hidden_size": 8, """,
            heads = settings.Contains("\"heads\"", StringComparison.Ordinal) ? "" : """ "heads": 2, """;
        Assert.That(
            () =>
                ConfigurationFile.Parse(
                    $$"""
                    { "name": "m", "task": { "copy": {} },
                      "model": { "type": "episodic_transformer", {{size}} {{heads}} {{settings}} },
                      "training": { "curriculum": { "horizons": [1] } }, "evaluation": { "horizon": 1 } }
                    """
                ),
            Throws.InstanceOf<ConfigurationException>().With.Message.Contains(message)
        );
    }
}
