using System.Text.Json.Nodes;
using EmtTorch.Configuration;
using EmtTorch.Models;
using EmtTorch.Settings;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

/// <summary>The built-in memories are found by their names, and by the short keys from before they had names.</summary>
public sealed class NamedMemoriesTests
{
    private const string Short = """
        "memory_heads": 2, "write": "hypernetwork", "hypernetwork_rank": 3, "read": "softmax", "decay": true,
        "graph_nodes": 5, "graph_interval": 4, "graph_read": "seed",
        "retrieval": { "top_k": 3, "chunk": 4, "entries": 2 }
        """;

    private const string Named = """
        "memories": {
          "retrieval": { "top_k": 3, "chunk": 4, "entries": 2 },
          "graph": { "nodes": 5, "interval": 4, "read": "seed" },
          "fast_weights": { "heads": 2, "write": "hypernetwork", "hypernetwork_rank": 3, "read": "softmax", "decay": true }
        }
        """;

    private static ModelConfiguration Parse(string memories) => ConfigurationFile.Parse(Text(memories)).Model;

    private static string Text(string memories) =>
        $$"""
            { "name": "m", "task": { "copy": {} },
              "model": { "type": "episodic_transformer", "hidden_size": 8, "heads": 2, "dtype": "float64", {{memories}} },
              "training": { "curriculum": { "horizons": [1] } }, "evaluation": { "horizon": 1 } }
            """;

    [Test]
    public void ByNameAndByShortKeysTheNetworkIsTheSameBitForBit()
    {
        using var scope = NewDisposeScope();
        var tokens = randint(0, 7, [2, 11], dtype: ScalarType.Int64);
        var (names, weights, logits) = Create(Parse(Short));
        var (sameNames, sameWeights, sameLogits) = Create(Parse(Named));
        Assert.That(sameNames, Is.EqualTo(names));
        Assert.That(sameWeights, Is.EqualTo(weights));
        Assert.That(sameLogits, Is.EqualTo(logits));

        (string[] Names, double[] Weights, double[] Logits) Create(ModelConfiguration model)
        {
            manual_seed(5).Dispose();
            using var network = new EpisodicTransformer(7, model);
            var all = network.named_parameters().ToArray();
            return (
                [.. all.Select(p => p.name)],
                [.. all.SelectMany(p => p.parameter.data<double>().ToArray())],
                network.forward(tokens).data<double>().ToArray()
            );
        }
    }

    [Test]
    public void ParametersKeepTheirNamesAndTheirOrder()
    {
        using var network = new EpisodicTransformer(7, Parse(Named));
        Assert.That(
            network
                .named_parameters()
                .Select(p => p.name.Split('.'))
                .Where(p => p is ["blocks", "1", ..])
                .Select(p => p[2])
                .Distinct(),
            Is.EqualTo(
                new[] { "norm1", "norm2", "drift", "attention", "memory", "graph", "retrieval", "expand", "contract" }
            )
        );
    }

    [Test]
    public void AMemoryByNameIsWrittenByNameAndWithoutItsShortKeys()
    {
        var configuration = ConfigurationFile.Parse(
            Text(
                """
                "memories": { "fast_weights": { "write": "delta" } }
                """
            )
        );
        var model = JsonNode.Parse(configuration.ToJson())!["model"]!.AsObject();
        Assert.That((string?)model["memories"]!["fast_weights"]!["write"], Is.EqualTo("delta"));
        Assert.That(
            model
                .Select(p => p.Key)
                .Intersect(["memory", "memory_heads", "write", "read", "decay", "hypernetwork_rank"]),
            Is.Empty
        );
        Assert.That(model.ContainsKey("graph_nodes"), Is.True, "the graph is not among the memories by name");
        Assert.That(ConfigurationFile.Parse(configuration.ToJson()), Is.EqualTo(configuration));
    }

    [TestCase(
        """ "write": "delta", "memories": { "fast_weights": {} } """,
        "model.write: is short for memories.fast_weights.write: give one of the two"
    )]
    [TestCase(
        """ "memory": "none", "memories": { "fast_weights": {} } """,
        "model.memory: is short for memories.fast_weights: give one of the two"
    )]
    [TestCase(
        """ "retrieval": {}, "memories": { "retrieval": {} } """,
        "model.retrieval: is short for memories.retrieval: give one of the two"
    )]
    [TestCase(
        """ "memories": { "fast_weights": { "heads": 3 } } """,
        "model.memories.fast_weights.heads: found 3; allowed: numbers that divide hidden_size, 8"
    )]
    [TestCase(""" "memory_heads": 3 """, "model.memory_heads: found 3; allowed: numbers that divide hidden_size, 8")]
    [TestCase(
        """ "memories": { "retrieval": { "chunk": 4, "entries": 5 } } """,
        "model.memories.retrieval.entries: found 5; a chunk has 4 tokens"
    )]
    [TestCase(
        """ "memories": { "fast_weights": { "write": "dleta" } } """,
        "model.memories.fast_weights.write: found the text \"dleta\"; allowed: one of hebbian, delta, hypernetwork, "
            + "full_hypernetwork; did you mean delta?"
    )]
    [TestCase(""" "graph_read": "sed" """, "model.graph_read: found the text \"sed\"; allowed: one of addressed, seed")]
    [TestCase(""" "memory_heads": 0 """, "model.memory_heads: found 0; allowed: a whole number from 1 to 1024")]
    public void WhatDoesNotGoTogetherIsRefused(string memories, string message) =>
        Assert.That(() => Parse(memories), Throws.InstanceOf<ConfigurationException>().With.Message.Contains(message));

    [Test]
    public void AStateOfOtherMemoriesIsRefused()
    {
        using var scope = NewDisposeScope();
        using var network = new EpisodicTransformer(7, Parse(Named));
        using var other = new EpisodicTransformer(7, Parse(""" "memory": "none" """));
        var tokens = zeros([1, 3], dtype: ScalarType.Int64);
        var state = other.Read(tokens).State;
        Assert.That(
            () => network.Read(tokens, state),
            Throws.ArgumentException.With.Message.Contains("other memories")
        );
    }
}
