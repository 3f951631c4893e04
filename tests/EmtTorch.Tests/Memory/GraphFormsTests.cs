using EmtTorch.Configuration;
using EmtTorch.Memory;
using EmtTorch.Models;
using EmtTorch.Settings;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

/// <summary>The source's 2.3 to the letter, several relations, and the graph before the feed-forward network.</summary>
public sealed class GraphFormsTests
{
    private const int Vocabulary = 16,
        Width = 3,
        Length = 7,
        Count = 4,
        Interval = 2;

    private static GraphMemory Memory(GraphSettings settings, bool random = true)
    {
        manual_seed(3).Dispose();
        var memory = new GraphMemory(
            new(Width, ScalarType.Float64) { Drift = true, Gate = true },
            settings with
            {
                Nodes = Count,
                Interval = Interval,
            }
        );
        using var quiet = no_grad();
        foreach (var parameter in random ? memory.parameters() : [])
            parameter.normal_(0, 0.7);
        return memory;
    }

    private static Tensor Random(ulong seed, params long[] shape)
    {
        using var generator = new Generator(seed);
        return randn(shape, dtype: ScalarType.Float64, generator: generator);
    }

    private static double[] Times(double[] matrix, double[] x) =>
        [
            .. Enumerable
                .Range(0, matrix.Length / x.Length)
                .Select(i => x.Select((v, j) => v * matrix[i * x.Length + j]).Sum()),
        ];

    private static double Dot(double[] x, double[] y) => x.Zip(y, (a, b) => a * b).Sum();

    private static double[] Sum(IEnumerable<double[]> all, int size) =>
        all.Aggregate(new double[size], (a, b) => [.. a.Zip(b, (x, y) => x + y)]);

    private static double[][] Rows(Tensor x) => [.. x.unbind(0).Select(r => r.contiguous().data<double>().ToArray())];

    private static double Sigmoid(double x) => 1 / (1 + Math.Exp(-x));

    private static Dictionary<string, double[]> Weights(GraphMemory memory) =>
        memory.named_parameters().ToDictionary(p => p.name, p => p.parameter.data<double>().ToArray());

    [TestCase(1)]
    [TestCase(3)]
    public void TheSourcesFormIsItsEquationsTokenByToken(int relations)
    {
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        using var memory = Memory(
            new()
            {
                Form = "source",
                Relations = relations,
                FeedForward = true,
            }
        );
        var weights = Weights(memory);
        Assert.That(
            weights.Keys,
            Is.EquivalentTo(new[] { "content.weight", "edge", "neighbour.weight", "feed_forward_query.weight" }),
            "no b_e, g, τ, W_o"
        );
        var (plain, hidden, y) = (
            Random(1, 1, Length, Width),
            Random(2, 1, Length, Width),
            Random(3, 1, Length, Width)
        );
        var read = memory.Read(new(hidden, hidden, 0) { Plain = plain }, memory.FirstState(1, CPU));
        var (found, further) = (Rows(read.Added![0]), Rows(read.FeedForward!(y)[0]));
        var (h, input) = (Rows(hidden[0]), Rows(y[0]));
        for (int t = 0; t < Length; t++)
        {
            // The last tokens before the interval.
            int end = t / Interval * Interval;
            double[][] n = h[Math.Max(0, end - Count)..end];
            double[] Joined(double[] one) =>
                Sum(
                    Enumerable
                        .Range(0, relations)
                        .Select(r =>
                            Times(
                                Map(weights["neighbour.weight"], r, relations),
                                Sum(
                                    n.Select(other =>
                                        other
                                            .Select(o =>
                                                o
                                                * Sigmoid(Dot(one, Times(weights["edge"][(r * 9)..(r * 9 + 9)], other)))
                                            )
                                            .ToArray()
                                    ),
                                    Width
                                )
                            )
                        ),
                    Width
                );
            double[][] joined = [.. n.Select(Joined)];
            double[] Read(double[] q)
            {
                double[] a = [.. joined.Select(j => Math.Exp(Dot(q, j)))];
                return Sum(joined.Select((j, i) => j.Select(v => v * a[i] / a.Sum()).ToArray()), Width);
            }
            Assert.That(found[t], Is.EqualTo(Read(Times(weights["content.weight"], h[t]))).Within(1e-12), $"token {t}");
            Assert.That(
                further[t],
                Is.EqualTo(Read(Times(weights["feed_forward_query.weight"], input[t]))).Within(1e-12)
            );
        }
    }

    // W_g^r: columns of the whole (n, R n).
    private static double[] Map(double[] whole, int relation, int relations) =>
        [.. Enumerable.Range(0, whole.Length).Where(i => i / Width % relations == relation).Select(i => whole[i])];

    [Test]
    public void SeveralRelationsAreTheSumOfTheirOwnGraphsAndTheFeedForwardNetworkReadsTheSameNodes()
    {
        // With R relations n' is the sum of what each alone would bring: read with W_o = I and n taken off.
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        const int relations = 2;
        using var both = Memory(new() { Relations = relations, Read = "seed" });
        GraphMemory[] alone = [Memory(new() { Read = "seed" }), Memory(new() { Read = "seed" })];
        double[][] nodes = [];
        Tensor? edges = null;
        both.Observer = a => edges = a.Edges.clone().MoveToOtherDisposeScope(scope);
        Tensor h = Random(1, 1, Length, Width),
            brought = Random(2, 1, Length, Width);
        var first = both.FirstState(1, CPU);
        both.forward(h, brought, first["nodes"], first["gates"]);
        var sum = zeros_like(edges!);
        foreach (var (r, one) in alone.Index())
        {
            using var held = one;
            var own = both.named_parameters().ToDictionary(p => p.name, p => p.parameter);
            foreach (var (name, parameter) in one.named_parameters())
            {
                parameter.copy_(
                    name switch
                    {
                        "edge" or "edge_bias" => own[name][r],
                        "neighbour.weight" => own[name].narrow(1, r * 2 * Width, 2 * Width),
                        _ => own[name],
                    }
                );
            }
            one.Observer = a => sum.add_(a.Edges);
            one.forward(h, brought, first["nodes"], first["gates"]);
        }
        Compared.AreEqual([edges!], [sum], 1e-12);
    }

    [Test]
    public void EveryNodeOfSeveralRelationsIsTheEquationByHand()
    {
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        const int relations = 2,
            size = 2 * Width;
        using var memory = Memory(new() { Relations = relations, FeedForward = true });
        var weights = Weights(memory);
        Tensor plain = Random(1, 1, Length, Width),
            hidden = Random(2, 1, Length, Width),
            y = Random(3, 1, Length, Width);
        double[][] softmax = [];
        memory.Observer = a => softmax = Rows(a.Weights[0]);
        var read = memory.Read(new(hidden, hidden, 0) { Plain = plain }, memory.FirstState(1, CPU));
        // At the last token, from the nodes and gates of the state, which hold the last interval's tokens too.
        var (n, g) = (Rows(read.State["nodes"][0])[..Count], Rows(read.State["gates"])[0][..Count]);
        double[] Read(double[] a) =>
            Sum(
                n.Select(
                    (one, i) =>
                    {
                        var joined = Sum(
                            Enumerable
                                .Range(0, relations)
                                .Select(r =>
                                    Times(
                                        [
                                            .. Enumerable
                                                .Range(0, size * size * relations)
                                                .Where(at => at / size % relations == r)
                                                .Select(at => weights["neighbour.weight"][at]),
                                        ],
                                        Sum(
                                            n.Select((other, j) => Scaled(other, Edge(r, one, other) * Math.Exp(g[j]))),
                                            size
                                        )
                                    )
                                ),
                            size
                        );
                        return Scaled([.. one.Zip(joined, (x, z) => x + z)], a[i]);
                    }
                ),
                size
            );
        double Edge(int r, double[] one, double[] other) =>
            Sigmoid(
                Dot(one, Times(weights["edge"][(r * size * size)..((r + 1) * size * size)], other))
                    + weights["edge_bias"][r]
            );
        Assert.That(
            Rows(read.Added![0])[^1],
            Is.EqualTo(Times(weights["output.weight"], Read(softmax[^1]))).Within(1e-12)
        );
        var q = Times(weights["feed_forward_query.weight"], Rows(y[0])[^1]);
        double length = Math.Sqrt(Dot(q, q)),
            sharpness = Math.Exp(weights["log_sharpness"][0]);
        double[] open = [.. n.Select((one, i) => Math.Exp(sharpness * Dot(q, one[..Width]) / length + g[i]))];
        Assert.That(
            Rows(read.FeedForward!(y)[0])[^1],
            Is.EqualTo(Times(weights["feed_forward_output.weight"], Read([.. open.Select(w => w / open.Sum())])))
                .Within(1e-12)
        );
    }

    private static double[] Scaled(double[] x, double by) => [.. x.Select(v => v * by)];

    private static IEnumerable<ModelConfiguration> Networks(string dtype) =>
        from graph in new GraphSettings[]
        {
            new() { Form = "source" },
            new()
            {
                Form = "source",
                Relations = 2,
                FeedForward = true,
            },
            new() { Relations = 3 },
            new() { FeedForward = true },
            new()
            {
                Read = "seed",
                Relations = 2,
                FeedForward = true,
            },
        }
        from residual in new[] { "pre_norm", "seed" }
        select new ModelConfiguration
        {
            Type = "episodic_transformer",
            HiddenSize = 8,
            Heads = 2,
            Layers = 2,
            Window = 3,
            Dtype = dtype,
            Residual = residual,
            Memories = [graph with { Nodes = 3, Interval = 2 }],
        };

    [TestCase("float64", 1e-10)]
    [TestCase("float32", 1e-4)]
    public void OnePieceSegmentsAndSingleTokensAgree(string dtype, double relative)
    {
        // No token twice: without a drift their gates would be equal but for rounding.
        Tensor Tokens()
        {
            using var generator = new Generator(5);
            return rand([2, Vocabulary], generator: generator).argsort(1).narrow(1, 0, 9);
        }
        int found = Pieces.CheckCuts(
            Networks(dtype),
            m => Pieces.Network(Vocabulary, m),
            Tokens,
            relative,
            [1, 5, 3],
            Enumerable.Repeat(1L, 9)
        );
        Assert.That(found, Is.EqualTo(10));
    }

    [TestCase("source", 1)]
    [TestCase("source", 2)]
    [TestCase("keyed", 2)]
    public void GradientsAgreeWithFiniteDifferences(string form, int relations)
    {
        using var scope = NewDisposeScope();
        using var memory = Memory(
            new()
            {
                Form = form,
                Relations = relations,
                FeedForward = true,
            }
        );
        Tensor h = Random(1, 1, Length, Width),
            hidden = Random(2, 1, Length, Width),
            y = Random(3, 1, Length, Width);
        Tensor Loss()
        {
            var read = memory.Read(new(hidden, hidden, 0) { Plain = h }, memory.FirstState(1, CPU));
            return Compared.Loss([read.Added!, read.FeedForward!(y)]);
        }
        Loss().backward();
        FiniteDifferences.Check(
            memory,
            () =>
            {
                using var inner = NewDisposeScope();
                using var quiet = no_grad();
                return Loss().item<double>();
            }
        );
    }

    [Test]
    public void FirstWeightsOfOneRelationAreWhatTheyWere()
    {
        // A second relation starts at random: two equal ones would stay equal.
        using var one = Memory(new(), random: false);
        using var two = Memory(new() { Relations = 2 }, random: false);
        var (first, both) = (Weights(one), Weights(two));
        int size = first["edge"].Length;
        Assert.That(both["edge"][..size], Is.EqualTo(first["edge"]));
        Assert.That(both["edge"][size..], Is.Not.EqualTo(first["edge"]));
        Assert.That(both["edge_bias"], Is.EqualTo(new[] { first["edge_bias"][0], first["edge_bias"][0] }));
    }

    [TestCase("""{"form": "source", "read": "seed"}""", "model.memories.graph.read: found seed beside form source")]
    [TestCase(
        """{"relations": 2, "read": "no_edges"}""",
        "model.memories.graph.relations: found 2 beside read no_edges"
    )]
    [TestCase("""{"relations": 0}""", "model.memories.graph.relations: found 0; allowed: a whole number from 1 to 64")]
    public void WhatDoesNotGoTogetherIsRefused(string graph, string problem) =>
        Assert.That(
            () =>
                ConfigurationFile.Parse(
                    """{ "name": "r", "task": { "copy": {} }, "model": { "type": "episodic_transformer" } }""",
                    [$"model.memories={{\"graph\": {graph}}}"]
                ),
            Throws
                .InstanceOf<ConfigurationException>()
                .With.Property(nameof(ConfigurationException.Problems))
                .Some.Matches<ConfigurationProblem>(p =>
                    $"{p.Path}: {p.Message}".Contains(problem, StringComparison.Ordinal)
                )
        );
}
