using System.Text.Json;
using EmtTorch.Memory;
using EmtTorch.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

public sealed class GraphMemoryTests
{
    private const int Vocabulary = 16;

    private static readonly ModelConfiguration Small = new()
    {
        Type = "episodic_transformer",
        HiddenSize = 4,
        Dtype = "float64",
        GraphNodes = 3,
        GraphInterval = 2,
    };

    private static GraphMemory Memory(ModelConfiguration model, bool random = true)
    {
        manual_seed(3).Dispose();
        var memory = new GraphMemory(model.Block, model.Find<GraphSettings>()!);
        if (!random)
            return memory;
        using var quiet = no_grad();
        foreach (var parameter in memory.parameters())
            parameter.normal_(0, 0.7);
        return memory;
    }

    private static Tensor Random(ulong seed, ScalarType dtype, params long[] shape)
    {
        using var generator = new Generator(seed);
        return randn(shape, dtype: dtype, generator: generator);
    }

    /// <summary>Reads, nodes and gates (0 where a place is empty) of tokens read in pieces of these lengths.</summary>
    private static Tensor[] InPieces(GraphMemory memory, Tensor h, Tensor? brought, IEnumerable<long> lengths)
    {
        var first = memory.FirstState(h.shape[0], CPU);
        var (nodes, gates) = (first["nodes"], first["gates"]);
        var reads = new List<Tensor>();
        long at = 0;
        foreach (long length in lengths)
        {
            (var added, nodes, gates) = memory.forward(
                h.narrow(1, at, length),
                brought?.narrow(1, at, length),
                nodes,
                gates
            );
            reads.Add(added);
            at += length;
        }
        return [cat(reads, 1), nodes, gates.exp()];
    }

    private static IEnumerable<ModelConfiguration> Combinations() =>
        from read in new[] { "addressed", "seed", "no_edges" }
        from other in new[]
        {
            (Gate: true, Drift: true, Nodes: 3, Interval: 2),
            (Gate: false, Drift: true, Nodes: 2, Interval: 3),
            (Gate: true, Drift: false, Nodes: 5, Interval: 1),
        }
        select Small with
        {
            GraphRead = read,
            Gate = other.Gate,
            Drift = other.Drift,
            GraphNodes = other.Nodes,
            GraphInterval = other.Interval,
        };

    [TestCase("float64", 1e-9)]
    [TestCase("float32", 1e-4)]
    public void EverySplitIntoSegmentsGivesTheSameReadsNodesAndGradients(string dtype, double relative)
    {
        const int T = 6;
        foreach (var model in Combinations())
        {
            using var scope = NewDisposeScope();
            using var memory = Memory(model with { Dtype = dtype });
            var type = dtype == "float64" ? ScalarType.Float64 : ScalarType.Float32;
            Tensor[] arguments = model.Drift
                ? [Random(1, type, 2, T, 4), Random(2, type, 2, T, 4)]
                : [Random(1, type, 2, T, 4)];
            Tensor[] Found(IEnumerable<long> lengths)
            {
                memory.zero_grad();
                var found = Compared.ResultsAndGradients(
                    x => InPieces(memory, x[0], x.ElementAtOrDefault(1), lengths),
                    arguments
                );
                return [.. found, .. memory.parameters().Select(p => p.grad!.clone())];
            }
            var whole = Found([T]);
            // A bit of the number: the document is cut after this token.
            for (int cuts = 1; cuts < 1 << (T - 1); cuts++)
            {
                using var inner = NewDisposeScope();
                var lengths = new List<long> { 1 };
                for (int t = 0; t < T - 1; t++)
                {
                    if ((cuts >> t & 1) == 1)
                        lengths.Add(1);
                    else
                        lengths[^1]++;
                }

                try
                {
                    Compared.AreEqual(Found(lengths), whole, relative);
                }
                catch (AssertionException e)
                {
                    throw new AssertionException($"{model} in {string.Join(", ", lengths)}: {e.Message}");
                }
            }
        }
    }

    [Test, Category(Layer.Reference)]
    public void ReadsAndNodesAreThoseOfTheEquationsTokenByTokenInPyTorch()
    {
        using var recorded = JsonDocument.Parse(
            File.ReadAllText(Path.Combine(TestContext.CurrentContext.TestDirectory, "Memory/graph.json"))
        );
        var root = recorded.RootElement;
        int width = root.GetProperty("width").GetInt32(),
            tokens = root.GetProperty("tokens").GetInt32(),
            batch = root.GetProperty("batch").GetInt32(),
            cases = 0;
        foreach (var one in root.GetProperty("cases").EnumerateArray())
        {
            using var scope = NewDisposeScope();
            var settings = one.GetProperty("settings");
            using var memory = Memory(
                Small with
                {
                    HiddenSize = width,
                    GraphNodes = settings.GetProperty("nodes").GetInt32(),
                    GraphInterval = settings.GetProperty("interval").GetInt32(),
                    Gate = settings.GetProperty("gate").GetBoolean(),
                    Drift = settings.GetProperty("drift").GetBoolean(),
                    GraphRead = settings.GetProperty("read").GetString()!,
                }
            );
            Tensor Of(JsonElement from, string name, params long[] shape) =>
                tensor(
                        from.GetProperty(name).ValueKind == JsonValueKind.Array
                            ? [.. from.GetProperty(name).EnumerateArray().Select(x => x.GetDouble())]
                            : new[] { from.GetProperty(name).GetDouble() }
                    )
                    .view(shape);
            var weights = one.GetProperty("weights");
            Assert.That(
                weights.EnumerateObject().Select(w => w.Name),
                Is.EquivalentTo(memory.named_parameters().Select(p => p.name))
            );
            using (no_grad())
            {
                foreach (var (name, parameter) in memory.named_parameters())
                    parameter.copy_(Of(weights, name, parameter.shape));
            }

            long[] shape = [batch, tokens, width];
            var written = zeros(batch, tokens, dtype: ScalarType.Float64);
            memory.Observer = a => written.copy_(a.Written);
            var found = InPieces(
                memory,
                Of(one, "h", shape),
                settings.GetProperty("drift").GetBoolean() ? Of(one, "brought", shape) : null,
                [tokens]
            );
            Assert.That(
                (found[0] - Of(one, "reads", shape)).abs().max().item<double>(),
                Is.LessThan(1e-12),
                settings.GetRawText()
            );
            for (int b = 0; b < batch; b++)
            {
                var nodes = one.GetProperty("nodes")[b]
                    .EnumerateArray()
                    .Select(n => n.EnumerateArray().Select(x => x.GetDouble()).ToArray())
                    .ToArray();
                double[] gates = [.. one.GetProperty("gates")[b].EnumerateArray().Select(x => x.GetDouble())];
                long empty = found[1].shape[1] - nodes.Length;
                Assert.That(
                    found[1][b].narrow(0, 0, empty).abs().sum().item<double>()
                        + found[2][b].narrow(0, 0, empty).sum().item<double>(),
                    Is.Zero
                );
                for (int i = 0; i < nodes.Length; i++)
                {
                    Assert.That(
                        found[1][b][empty + i].data<double>().ToArray(),
                        Is.EqualTo(nodes[i]).Within(1e-12),
                        settings.GetRawText()
                    );
                    Assert.That(found[2][b][empty + i].item<double>(), Is.EqualTo(gates[i]).Within(1e-12));
                    Assert.That(
                        written[b][one.GetProperty("tokens")[b][i].GetInt64()].item<double>(),
                        Is.EqualTo(gates[i]).Within(1e-12)
                    );
                }
            }
            cases++;
        }
        Assert.That(cases, Is.EqualTo(7));
    }

    [TestCase("addressed")]
    [TestCase("seed")]
    [TestCase("no_edges")]
    public void GradientsAgreeWithFiniteDifferences(string read)
    {
        using var scope = NewDisposeScope();
        using var memory = Memory(Small with { HiddenSize = 3, GraphRead = read });
        Tensor h = Random(1, ScalarType.Float64, 2, 7, 3),
            brought = Random(2, ScalarType.Float64, 2, 7, 3);
        // From nodes that were there before, too.
        var nodes = Random(3, ScalarType.Float64, 2, 4, 6);
        var gates = -Random(4, ScalarType.Float64, 2, 4).abs();
        Tensor[] All(Tensor[] x)
        {
            var (added, after, strength) = memory.forward(x[0], x[1], x[2], x[3]);
            return [added, after, strength];
        }
        Compared.AgreeWithFiniteDifferences(All, [h, brought, nodes, gates]);
        memory.zero_grad();
        Compared.Loss(All([h, brought, nodes, gates])).backward();
        FiniteDifferences.Check(
            memory,
            () =>
            {
                using var inner = NewDisposeScope();
                using var quiet = no_grad();
                return Compared.Loss(All([h, brought, nodes, gates])).item<double>();
            }
        );
    }

    [Test]
    public void TwoFactsAreJoinedByHand()
    {
        // Names a, b, c, x, y of unit vectors 0 to 4; the tokens noise b c y with what was before them: nothing, a, b,
        // x. At a the first weights find a → b, and its edge b → c.
        using var scope = NewDisposeScope();
        using var memory = Memory(
            Small with
            {
                HiddenSize = 5,
                GraphNodes = 4,
                GraphInterval = 4,
                Gate = false,
            },
            random: false
        );
        var names = eye(5, dtype: ScalarType.Float64);
        var none = zeros(5, dtype: ScalarType.Float64);
        var h = stack([none, names[1], names[2], names[4], names[0]]).unsqueeze(0);
        var brought = stack([none, names[0], names[1], names[3], none]).unsqueeze(0);
        using (no_grad())
        {
            // What is read comes out as it is: the value's half of n, and of n' what W_g = I leaves of it.
            memory
                .named_parameters()
                .Single(p => p.name == "neighbour.weight")
                .parameter.copy_(eye(10, dtype: ScalarType.Float64));
            memory
                .named_parameters()
                .Single(p => p.name == "output.weight")
                .parameter.copy_(cat([zeros(5, 5, dtype: ScalarType.Float64), names], 1));
        }
        double[]? edges = null,
            weights = null;
        memory.Observer = a =>
            (edges, weights) = (
                a.Edges[0][^1].contiguous().data<double>().ToArray(),
                a.Weights[0][4].contiguous().data<double>().ToArray()
            );
        var read = InPieces(memory, h, brought, [5])[0][0];
        Assert.That(read.narrow(0, 0, 4).abs().max().item<double>(), Is.Zero, "no node yet");
        double high = 1 / (1 + Math.Exp(3.2 - 8)),
            low = 1 / (1 + Math.Exp(3.2));
        // Rows: noise, a → b, b → c, x → y.
        double[] expected = [low, low, low, low, low, low, high, low, low, low, low, low, low, low, low, low];
        Assert.That(edges, Is.EqualTo(expected).Within(1e-12));
        double found = Math.Exp(8) / (Math.Exp(8) + 3),
            other = 1 / (Math.Exp(8) + 3);
        Assert.That(weights, Is.EqualTo(new[] { other, found, other, other }).Within(1e-12));
        // b: of itself, and low of each of the four rows' sums; c: high from a → b's edge.
        double b = found + low,
            c = other + found * high + (1 - found) * low,
            y = other + low;
        Assert.That(read[4].data<double>().ToArray(), Is.EqualTo(new[] { 0, b, c, 0, y }).Within(1e-12));
    }

    [TestCase(true)]
    [TestCase(false)]
    public void NodesAreTheStrongestWritesBeforeTheIntervalAndOfEqualsTheLater(bool gate)
    {
        const int T = 23,
            N = 4,
            R = 3,
            B = 3;
        using var scope = NewDisposeScope();
        using var memory = Memory(Small with { GraphNodes = N, GraphInterval = R, Gate = gate });
        int looked = 0;
        memory.Observer = a =>
        {
            Assert.That(a.Origins.shape, Is.EqualTo(new long[] { B, (T + R - 1) / R, N }));
            for (int b = 0; b < B; b++)
            {
                for (int m = 0; m * R < T; m++)
                {
                    double[] g = a.Written[b].data<double>().ToArray();
                    long[] strongest =
                    [
                        .. Enumerable
                            .Range(0, m * R)
                            .OrderByDescending(t => g[t])
                            .ThenByDescending(t => t)
                            .Take(N)
                            .Order()
                            .Select(t => (long)t),
                    ];
                    long[] nodes = a.Origins[b][m].contiguous().data<long>().ToArray();
                    Assert.That(nodes.Where(t => t >= 0), Is.EqualTo(strongest));
                    Assert.That(
                        a.Gates[b][m].contiguous().data<double>().ToArray(),
                        Is.EqualTo(nodes.Select(t => t < 0 ? 0 : g[t])).Within(1e-15)
                    );
                    if (!gate && m * R >= N)
                        Assert.That(nodes, Is.EqualTo(Enumerable.Range(m * R - N, N).Select(t => (long)t)));
                    looked++;
                }
            }
        };
        InPieces(memory, Random(1, ScalarType.Float64, B, T, 4), Random(2, ScalarType.Float64, B, T, 4), [T]);
        Assert.That(looked, Is.EqualTo(B * 8));
    }

    [Test]
    public void TheGateLearnsThroughReadsAndSums()
    {
        using var scope = NewDisposeScope();
        foreach (var read in new[] { "addressed", "seed", "no_edges" })
        {
            using var memory = Memory(Small with { GraphRead = read });
            InPieces(memory, Random(1, ScalarType.Float64, 2, 8, 4), Random(2, ScalarType.Float64, 2, 8, 4), [8])[0]
                .square()
                .sum()
                .backward();
            Assert.That(
                memory
                    .named_parameters()
                    .Single(p => p.name == "gate.weight")
                    .parameter.grad!.abs()
                    .min()
                    .item<double>(),
                Is.GreaterThan(1e-6),
                read
            );
        }
    }

    [Test]
    public void OnlyItsResultsAreLeft()
    {
        using var memory = Memory(Small);
        using var scope = NewDisposeScope();
        Tensor h = Random(1, ScalarType.Float64, 2, 7, 4),
            brought = Random(2, ScalarType.Float64, 2, 7, 4);
        var first = memory.FirstState(2, CPU);
        var (nodes, gates) = (first["nodes"], first["gates"]);
        long before = scope.DisposablesCount;
        for (int i = 0; i < 20; i++)
            memory.forward(h, brought, nodes, gates);
        Assert.That(scope.DisposablesCount - before, Is.EqualTo(3 * 20));
    }

    // In the whole network, beside every other part.

    private static IEnumerable<ModelConfiguration> Networks() =>
        from memory in new[] { "none", "fast_weights" }
        from drift in new[] { true, false }
        from gate in new[] { true, false }
        from attention in new[] { true, false }
        from residual in new[] { "pre_norm", "seed" }
        from read in new[] { "addressed", "seed" }
        select Small with
        {
            HiddenSize = 8,
            Heads = 2,
            Window = 3,
            Layers = 2,
            Memory = memory,
            Drift = drift,
            Gate = gate,
            Attention = attention,
            Residual = residual,
            GraphRead = read,
        };

    private static EpisodicTransformer Network(ModelConfiguration model) => Pieces.Network(Vocabulary, model);

    private static Tensor Tokens(long batch, long length) => Pieces.Tokens(Vocabulary, batch, length, seed: 5);

    /// <summary>
    /// No token twice in a document: without a drift their gates would be equal but for rounding, and either could be
    /// the node.
    /// </summary>
    private static Tensor Distinct(long batch, long length)
    {
        using var generator = new Generator(5);
        return rand([batch, Vocabulary], generator: generator).argsort(1).narrow(1, 0, length);
    }

    // Every fifth combination: any two settings of two switches are in one of them.
    [TestCase("float64", 1e-9)]
    [TestCase("float32", 1e-4)]
    public void InANetworkOnePieceSegmentsAndSingleTokensAgree(string dtype, double relative) =>
        Assert.That(
            CheckCuts(Networks().Where((_, i) => i % 5 == 0).Select(m => m with { Dtype = dtype }), relative),
            Is.EqualTo(13)
        );

    [Test, Category(Layer.Slow)] // 64 networks
    public void InANetworkOnePieceSegmentsAndSingleTokensAgreeForEveryCombinationOfSwitches() =>
        Assert.That(CheckCuts(Networks(), 1e-9), Is.EqualTo(64));

    private static int CheckCuts(IEnumerable<ModelConfiguration> models, double relative) =>
        Pieces.CheckCuts(models, Network, () => Distinct(2, 9), relative, [1, 5, 3], Enumerable.Repeat(1L, 9));

    [Test]
    public void NoTokenSeesALaterOneAndEveryLaterIntervalSeesIt()
    {
        using var scope = NewDisposeScope();
        using var network = Network(
            Small with
            {
                HiddenSize = 8,
                Layers = 1,
                Memory = "none",
                Attention = false,
                Gate = false,
                Drift = false,
                GraphNodes = 20,
                GraphInterval = 3,
            }
        );
        var tokens = Tokens(1, 10);
        var other = tokens.clone();
        other[0, 4] = (tokens[0, 4] + 1) % Vocabulary;
        var different = (network.forward(tokens) - network.forward(other))
            .abs()
            .amax([0L, 2L])
            .gt(1e-12)
            .data<bool>()
            .ToArray();
        Assert.That(different, Is.EqualTo(new[] { false, false, false, false, true, false, true, true, true, true }));
    }

    [TestCase(0, 0)]
    [TestCase(0, 5)]
    [TestCase(3, 0)]
    [TestCase(1, 1)]
    public void EmptyBatchesAndSegmentsAreRead(int batch, int length)
    {
        using var scope = NewDisposeScope();
        using var network = Network(Small with { HiddenSize = 8, Heads = 2 });
        Pieces.CheckEmpty(network, Vocabulary, 8, batch, length);
    }

    [Test]
    public void TheStateHasItsNodesAndWhatWaits()
    {
        using var scope = NewDisposeScope();
        using var network = Network(
            Small with
            {
                HiddenSize = 8,
                Attention = false,
                Memory = "none",
                Drift = false,
                Layers = 2,
                GraphNodes = 5,
                GraphInterval = 4,
            }
        );
        EpisodicState? state = null;
        var sizes = new List<long>();
        for (int i = 0; i < 7; i++)
        {
            (_, state) = network.Read(Tokens(2, 3), state);
            sizes.Add(state.BytesPerDocument);
        }
        // 2 blocks, float64, 5 nodes and as many tokens as are over from fours, each n of 16 and a gate.
        Assert.That(sizes, Is.EqualTo(Enumerable.Range(1, 7).Select(i => 2L * 8 * 17 * (5 + 3 * i % 4))));
        Assert.That(state!.Detach().Tensors.Select(t => (t.requires_grad, t.shape[1])), Is.All.EqualTo((false, 6L)));
        Assert.That(state.Tensors.Any(t => t.requires_grad));
    }

    [Test]
    public void Bfloat16ComesNear()
    {
        using var scope = NewDisposeScope();
        var model = Small with { HiddenSize = 32, Dtype = "float32", Gate = false, GraphNodes = 20 };
        using var exact = Network(model);
        using var rounded = Network(model with { Autocast = "bfloat16" });
        var tokens = Tokens(2, 13);
        var logits = rounded.forward(tokens);
        Assert.That((logits - exact.forward(tokens)).abs().max().item<float>(), Is.InRange(1e-5, 0.1));
        logits.sum().backward();
        Assert.That(
            rounded
                .parameters()
                .All(p => p.grad is { } g && g.dtype == ScalarType.Float32 && g.isfinite().all().item<bool>())
        );
    }
}
