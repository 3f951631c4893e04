using System.Text.Json;
using EmtTorch.Models;
using EmtTorch.Settings;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

public sealed class EpisodicTransformerTests
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
    };

    /// <summary>Every combination of the switches that changes what is computed.</summary>
    private static IEnumerable<ModelConfiguration> Combinations()
    {
        foreach (
            var (memory, write, read) in new[]
            {
                ("none", "hebbian", "linear"),
                ("fast_weights", "hebbian", "linear"),
                ("fast_weights", "hebbian", "softmax"),
                ("fast_weights", "delta", "linear"),
                ("fast_weights", "delta", "softmax"),
                ("fast_weights", "hypernetwork", "linear"),
            }
        )
        {
            foreach (bool gate in memory == "none" ? new[] { false } : [false, true])
            {
                foreach (bool decay in memory == "none" ? new[] { false } : [false, true])
                {
                    foreach (bool drift in new[] { false, true })
                    {
                        foreach (
                            var (attention, window) in new (bool, int?)[]
                            {
                                (false, null),
                                (true, null),
                                (true, 1),
                                (true, 3),
                            }
                        )
                        {
                            foreach (var residual in new[] { "pre_norm", "seed" })
                            {
                                yield return Small with
                                {
                                    Memory = memory,
                                    Write = write,
                                    HypernetworkRank = write == "hypernetwork" ? 3 : 1,
                                    Read = read,
                                    Gate = gate,
                                    Decay = decay,
                                    Drift = drift,
                                    Attention = attention,
                                    Window = window,
                                    Residual = residual,
                                };
                            }
                        }
                    }
                }
            }
        }
    }

    private static EpisodicTransformer Network(ModelConfiguration model, long seed = 1) =>
        Pieces.Network(Vocabulary, model, seed, "attention.output.weight", "hypernetwork.output.weight");

    private static Tensor Tokens(long batch, long length, ulong seed = 0) =>
        Pieces.Tokens(Vocabulary, batch, length, seed);

    // Every fifth combination: any two settings of two switches are in one of them. Fewer for the other dtype.
    [TestCase("float64", 1e-9, 5, 68)]
    [TestCase("float32", 1e-4, 25, 14)]
    public void OnePieceSegmentsAndSingleTokensAgree(string dtype, double relative, int every, int count) =>
        Assert.That(
            CheckCuts(Combinations().Where((_, i) => i % every == 0).Select(m => m with { Dtype = dtype }), relative),
            Is.EqualTo(count)
        );

    [Test, Category(Layer.Slow)] // 336 networks
    public void OnePieceSegmentsAndSingleTokensAgreeForEveryCombinationOfSwitches() =>
        Assert.That(CheckCuts(Combinations(), 1e-9), Is.EqualTo((1 + 5 * 2 * 2) * 2 * 4 * 2));

    private static int CheckCuts(IEnumerable<ModelConfiguration> models, double relative) =>
        Pieces.CheckCuts(models, m => Network(m), () => Tokens(2, 6), relative, [1, 3, 2], Enumerable.Repeat(1L, 6));

    [Test, Category(Layer.Reference)]
    public void LogitsAreThoseOfTheEquationsTokenByTokenInPyTorch()
    {
        using var recorded = JsonDocument.Parse(
            File.ReadAllText(
                Path.Combine(TestContext.CurrentContext.TestDirectory, "Models/Reference/transformer.json")
            )
        );
        var root = recorded.RootElement;
        int cases = 0;
        foreach (var one in root.GetProperty("cases").EnumerateArray())
        {
            using var scope = NewDisposeScope();
            var given = one.GetProperty("model");
            var model = JsonSerializer.Deserialize<ModelConfiguration>(given.GetRawText(), SettingJson.Options)! with
            {
                Type = "episodic_transformer",
                Dtype = "float64",
                HiddenSize = root.GetProperty("hidden_size").GetInt32(),
                Layers = root.GetProperty("layers").GetInt32(),
            };
            using var network = new EpisodicTransformer(root.GetProperty("vocabulary").GetInt32(), model);
            var weights = one.GetProperty("weights");
            using (no_grad())
            {
                foreach (var (name, parameter) in network.named_parameters())
                {
                    parameter.copy_(
                        tensor(Doubles(weights.GetProperty(name).GetProperty("values"))).view(parameter.shape)
                    );
                }
            }

            Assert.That(
                weights.EnumerateObject().Select(w => w.Name),
                Is.EquivalentTo(network.named_parameters().Select(p => p.name)),
                given.GetRawText()
            );
            long[][] tokens =
            [
                .. one.GetProperty("tokens")
                    .EnumerateArray()
                    .Select(row => row.EnumerateArray().Select(t => t.GetInt64()).ToArray()),
            ];
            var logits = network.forward(stack(tokens.Select(row => tensor(row))));
            var expected = tensor(Doubles(one.GetProperty("logits"))).view(logits.shape);
            Assert.That((logits - expected).abs().max().item<double>(), Is.LessThan(1e-10), given.GetRawText());
            cases++;
        }
        Assert.That(cases, Is.EqualTo(5));
    }

    private static double[] Doubles(JsonElement element) =>
        element.ValueKind == JsonValueKind.Array
            ? [.. element.EnumerateArray().SelectMany(Doubles)]
            : [element.GetDouble()];

    [TestCase("hebbian", "linear", "pre_norm")]
    [TestCase("delta", "softmax", "seed")]
    [TestCase("hypernetwork", "linear", "pre_norm")]
    public void GradientsAgreeWithFiniteDifferences(string write, string read, string residual)
    {
        using var scope = NewDisposeScope();
        using var network = Network(
            Small with
            {
                HiddenSize = 4,
                Heads = 1,
                Write = write,
                HypernetworkRank = write == "hypernetwork" ? 2 : 1,
                Read = read,
                Residual = residual,
                Decay = true,
                Window = 3,
                FeedForwardSize = 3,
                Layers = 1,
            }
        );
        // So far from 0 that norming them is smooth over a difference's step.
        using (no_grad())
            network.named_parameters().Single(p => p.name == "embedding.weight").parameter.mul_(4);
        var tokens = Tokens(2, 7);
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
    public void NoTokenSeesALaterOne()
    {
        using var scope = NewDisposeScope();
        using var network = Network(Small with { Window = 4 });
        var tokens = Tokens(1, 9);
        var other = tokens.clone();
        other[0, 6] = (tokens[0, 6] + 1) % Vocabulary;
        var different = (network.forward(tokens) - network.forward(other))
            .abs()
            .amax([0L, 2L])
            .gt(0)
            .data<bool>()
            .ToArray();
        Assert.That(different, Is.EqualTo(new[] { false, false, false, false, false, false, true, true, true }));
    }

    [Test]
    public void AttentionAloneSeesNoFurtherThanItsWindowsAndTheMemoryDoes()
    {
        using var scope = NewDisposeScope();
        var tokens = Tokens(1, 9);
        var other = tokens.clone();
        other[0, 0] = (tokens[0, 0] + 1) % Vocabulary;
        bool[] Different(ModelConfiguration model)
        {
            using var network = Network(model);
            return [.. (network.forward(tokens) - network.forward(other)).abs().amax([0L, 2L]).gt(1e-12).data<bool>()];
        }
        // A window of 3 in each of two blocks: 2 tokens back twice.
        var alone = Different(Small with { Window = 3, Memory = "none", Drift = false });
        Assert.That(alone, Is.EqualTo(new[] { true, true, true, true, true, false, false, false, false }));
        Assert.That(Different(Small with { Window = 3, Drift = false }), Is.All.True);
        Assert.That(Different(Small with { Window = 3, Memory = "none" }), Is.All.True);
    }

    [TestCase(0, 0)]
    [TestCase(0, 5)]
    [TestCase(3, 0)]
    [TestCase(1, 1)]
    public void EmptyBatchesAndSegmentsAreRead(int batch, int length)
    {
        using var scope = NewDisposeScope();
        foreach (int? window in new int?[] { null, 2 })
        {
            using var network = Network(Small with { Window = window });
            Pieces.CheckEmpty(network, Vocabulary, 8, batch, length);
        }
    }

    [Test]
    public void WhatCanNotBeReadIsRefused()
    {
        using var scope = NewDisposeScope();
        using var network = Network(Small);
        Assert.That(
            () => network.forward(tensor(new long[] { 0, Vocabulary }).unsqueeze(0)),
            Throws.ArgumentException.With.Message.Contains("has the token 7: the vocabulary has 0 to 6")
        );
        Assert.That(
            () => network.forward(tensor(new long[] { 0, -1 }).unsqueeze(0)),
            Throws.ArgumentException.With.Message.Contains("has the token -1")
        );
        Assert.That(() => network.forward(zeros(2, 3)), Throws.ArgumentException.With.Message.Contains("is Float32"));
        Assert.That(
            () => network.forward(tensor(new long[] { 1, 2 })),
            Throws.ArgumentException.With.Message.Contains("shape (2)")
        );
        var (_, state) = network.Read(Tokens(2, 3));
        Assert.That(
            () => network.Read(Tokens(3, 3), state),
            Throws.ArgumentException.With.Message.Contains("of 2 documents, the tokens of 3")
        );
        Assert.That(
            () => network.Generate(zeros(1, 0, dtype: ScalarType.Int64), 3),
            Throws.ArgumentException.With.Message.Contains("is empty")
        );
        Assert.That(() => network.Generate(Tokens(1, 1), -1), Throws.InstanceOf<ArgumentOutOfRangeException>());
        Assert.That(() => network.Generate(Tokens(1, 1), 1, double.NaN), Throws.ArgumentException);
    }

    [Test]
    public void GenerationIsWhatReadingTheWholeTextAnewGives()
    {
        using var scope = NewDisposeScope();
        using var network = Network(Small with { Window = 3, Write = "delta" });
        var prompt = Tokens(2, 4);
        var text = prompt;
        for (int i = 0; i < 10; i++)
            text = cat([text, network.forward(text).select(1, -1).argmax(-1, keepdim: true)], 1);
        Assert.That(
            network.Generate(prompt, 10, temperature: 0).data<long>().ToArray(),
            Is.EqualTo(text.narrow(1, 4, 10).contiguous().data<long>().ToArray())
        );
        Assert.That(network.Generate(prompt, 0).shape, Is.EqualTo(new long[] { 2, 0 }));

        using Generator one = new(5),
            same = new(5),
            other = new(6);
        long[] Drawn(Generator generator) => network.Generate(prompt, 40, 1.5, generator).data<long>().ToArray();
        var drawn = Drawn(one);
        Assert.That(Drawn(same), Is.EqualTo(drawn));
        Assert.That(Drawn(other), Is.Not.EqualTo(drawn));
    }

    [Test]
    public void TheStateStaysAsLargeAsItIsUnderAWindow()
    {
        using var scope = NewDisposeScope();
        using var network = Network(Small with { Window = 5 });
        EpisodicState? state = null;
        var sizes = new List<long>();
        for (int i = 0; i < 6; i++)
        {
            (_, state) = network.Read(Tokens(2, 7), state);
            sizes.Add(state.BytesPerDocument);
        }
        // 2 blocks, float64: 4 keys and values of 8, 2 heads of 4 × 4, a context of 8.
        Assert.That(sizes, Is.All.EqualTo(2 * 8 * (2 * 4 * 8 + 2 * 16 + 8)));
        Assert.That(state!.Position, Is.EqualTo(42));
    }

    [Test]
    public void PositionsFarIntoADocumentAreExact()
    {
        using var scope = NewDisposeScope();
        using var network = Network(Small with { Window = 4, Memory = "none", Drift = false, Dtype = "float32" });
        var tokens = Tokens(1, 8);
        var near = network.Read(tokens).Hidden;
        var far = network
            .Read(
                tokens,
                new EpisodicState(100_000_000, 1, [.. Enumerable.Repeat(new LayerState(null, null, null), 2)])
            )
            .Hidden;
        Compared.AreEqual([far], [near], 1e-5); // only differences of positions count
    }

    [Test]
    public void TiedWeightsAreOneParameter()
    {
        using var network = Network(Small with { TieWeights = true });
        Assert.That(network.named_parameters().Select(p => p.name), Has.None.StartsWith("readout"));
        using var scope = NewDisposeScope();
        network.forward(Tokens(2, 5)).sum().backward();
        Assert.That(
            network
                .named_parameters()
                .Single(p => p.name == "embedding.weight")
                .parameter.grad!.abs()
                .sum()
                .item<double>(),
            Is.Positive
        );
    }

    [Test]
    public void Bfloat16ComesNearAndLeavesWeightsAndStatesInFloat32()
    {
        using var scope = NewDisposeScope();
        var model = Small with { Dtype = "float32", Window = 4, HiddenSize = 32 };
        using var exact = Network(model);
        using var rounded = Network(model with { Autocast = "bfloat16" });
        var tokens = Tokens(2, 21);
        var (hidden, state) = rounded.Read(tokens);
        var logits = rounded.ReadOut(hidden);
        var difference = (logits - exact.forward(tokens)).abs().max().item<float>();
        Assert.That(difference, Is.InRange(1e-5, 0.1)); // 8 bits: about 0.4 % of what is near 1
        Assert.That(
            state.Tensors.Append(logits).Concat(rounded.parameters()).Select(t => t.dtype),
            Is.All.EqualTo(ScalarType.Float32)
        );
        logits.sum().backward();
        Assert.That(rounded.parameters().All(p => p.grad is { } g && g.isfinite().all().item<bool>()));
    }

    [Test]
    public void ANewHypernetworkOfAnyRankWritesWhatTheHebbianRuleDoes()
    {
        using var scope = NewDisposeScope();
        var tokens = Tokens(2, 9);
        using var plain = Network(Small);
        foreach (int rank in new[] { 1, 3 })
        {
            manual_seed(1).Dispose();
            using var network = new EpisodicTransformer(
                Vocabulary,
                Small with
                {
                    Write = "hypernetwork",
                    HypernetworkRank = rank,
                }
            );
            var weights = plain.named_parameters().ToDictionary(p => p.name, p => p.parameter);
            using (no_grad())
            {
                foreach (var (name, parameter) in network.named_parameters())
                {
                    if (weights.TryGetValue(name, out var same))
                        parameter.copy_(same);
                }
            }

            Compared.AreEqual([network.forward(tokens)], [plain.forward(tokens)], 1e-12);
            // And yet it can begin to learn.
            network.forward(tokens).cos().sum().backward();
            var slope = network
                .named_parameters()
                .Single(p => p.name == "blocks.0.memory.hypernetwork.output.weight")
                .parameter.grad!.view(2, rank, -1);
            Assert.That(slope[1].abs().amax([1L]).data<double>().ToArray(), Is.All.Positive);
        }
    }

    [Test]
    public void AnObserverSeesWhatIsWrittenAndRead()
    {
        using var scope = NewDisposeScope();
        using var network = Network(Small with { MemoryHeads = 1 });
        var seen = new List<double>();
        network.Memories[1].Observer = a =>
        {
            Assert.That(a.Keys.norm(-1).sub(1).abs().max().item<double>(), Is.LessThan(1e-9));
            Assert.That(a.Gate!.shape, Is.EqualTo(new long[] { 2, 1, 5 }));
            // F after is what was there and Σ β k vᵀ: no decay, Hebbian.
            var written = matmul((a.Keys * a.Strength.unsqueeze(-1)).transpose(-2, -1), a.Values);
            seen.Add((a.After - a.Before - written).abs().max().item<double>());
        };
        var (_, state) = network.Read(Tokens(2, 5));
        network.Read(Tokens(2, 5, seed: 2), state);
        Assert.That(seen, Has.Count.EqualTo(2).And.All.LessThan(1e-12));
    }
}
