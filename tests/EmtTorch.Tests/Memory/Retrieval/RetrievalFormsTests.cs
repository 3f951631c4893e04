using EmtTorch.Configuration;
using EmtTorch.Memory;
using EmtTorch.Memory.Retrieval;
using EmtTorch.Models;
using EmtTorch.Settings;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

/// <summary>The source's 2.2 to the letter, and the ways in which what is found enters the stream.</summary>
public sealed class RetrievalFormsTests
{
    private const int Vocabulary = 7,
        Width = 4,
        Length = 8,
        Chunk = 3,
        Best = 2;

    private static readonly ModelConfiguration Small = new()
    {
        Type = "episodic_transformer",
        HiddenSize = 8,
        Heads = 2,
        Layers = 2,
        Dtype = "float64",
        Memory = "none",
        Window = 2,
        Retrieval = new() { Chunk = 3, TopK = 4 },
    };

    private static IEnumerable<RetrievalConfiguration> Forms() =>
        from form in new[] { "context", "source" }
        from way in new[] { ("add", "cross"), ("concatenate", "cross"), ("add", "joint") }
        select Small.Retrieval! with
        {
            Form = form,
            Fuse = way.Item1,
            Attention = way.Item2,
        };

    [TestCase("float64", 1e-10)]
    [TestCase("float32", 1e-4)]
    public void OnePieceSegmentsAndSingleTokensAgree(string dtype, double relative)
    {
        int checkedOnes = 0;
        foreach (var form in Forms())
        {
            foreach (int? window in new int?[] { 2, null })
            {
                using var tensors = NewDisposeScope();
                using var network = Pieces.Network(
                    Vocabulary,
                    Small with
                    {
                        Dtype = dtype,
                        Window = window,
                        Retrieval = form,
                    },
                    random: "output.weight"
                );
                Pieces.CheckCuts(network, Pieces.Tokens(Vocabulary, 2, 11), relative, [1, 4, 6], Ones(11));
                checkedOnes++;
            }
        }
        Assert.That(checkedOnes, Is.EqualTo(12));
    }

    private static IEnumerable<long> Ones(int count) => Enumerable.Repeat(1L, count);

    private static RetrievalMemory Memory(RetrievalConfiguration settings, bool attention = false)
    {
        manual_seed(3).Dispose();
        var memory = new RetrievalMemory(
            new(Width, ScalarType.Float64)
            {
                Drift = true,
                Gate = true,
                AttentionHeads = attention ? 1 : 0,
            },
            settings with
            {
                Chunk = Chunk,
                TopK = Best,
            }
        );
        using var quiet = no_grad();
        foreach (var parameter in memory.parameters())
            parameter.normal_(0, 0.7);
        return memory;
    }

    private static double[] Times(double[] matrix, double[] x) =>
        [
            .. Enumerable
                .Range(0, matrix.Length / x.Length)
                .Select(i => x.Select((v, j) => v * matrix[i * x.Length + j]).Sum()),
        ];

    private static double Dot(double[] x, double[] y) => x.Zip(y, (a, b) => a * b).Sum();

    private static double[][] Rows(Tensor x) => [.. x.unbind(0).Select(r => r.contiguous().data<double>().ToArray())];

    private static double[] Weights(nn.Module module, string name) =>
        module.named_parameters().Single(p => p.name == name).parameter.data<double>().ToArray();

    /// <summary>The source's r: softmax(q k) over the best, q = W_q h, k = v = h; zeros with nothing before.</summary>
    private static double[] Found(double[] map, double[][] h, int t)
    {
        var q = Times(map, h[t]);
        int[] best = [.. Enumerable.Range(0, t / Chunk * Chunk).OrderByDescending(i => Dot(q, h[i])).Take(Best)];
        double[] a = [.. best.Select(i => Math.Exp(Dot(q, h[i])))];
        return [.. Enumerable.Range(0, Width).Select(j => best.Select((i, n) => a[n] / a.Sum() * h[i][j]).Sum())];
    }

    [TestCase("add")]
    [TestCase("concatenate")]
    public void TheSourcesFormIsItsEquationsTokenByToken(string fuse)
    {
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        using var memory = Memory(new() { Form = "source", Fuse = fuse });
        Assert.That(
            memory.named_parameters().Select(p => p.name),
            Is.EquivalentTo(new[] { "query.weight", "output.weight" }),
            "no keys, gates, τ"
        );
        Tensor Random() => randn([1, Length, Width], dtype: ScalarType.Float64);
        var (plain, stream) = (Random(), Random());
        var input = new BlockInput(Random(), Random(), 0)
        {
            Plain = plain,
            ContextBefore = randn([1, Width], dtype: ScalarType.Float64),
        };
        var read = memory.Read(input, memory.FirstState(1, CPU));
        Assert.That(read.Added is null, Is.EqualTo(fuse == "concatenate"));
        var found = Rows((read.Added ?? read.Leaving!(stream))[0]);
        var (h, x) = (Rows(plain[0]), Rows(stream[0]));
        for (int t = 0; t < Length; t++)
        {
            double[] before = fuse == "add" ? h[t] : x[t];
            var expected = Times(
                Weights(memory, "output.weight"),
                [.. before, .. Found(Weights(memory, "query.weight"), h, t)]
            );
            Assert.That(found[t], Is.EqualTo(expected).Within(1e-12), $"token {t}");
        }
    }

    [TestCase("context")]
    [TestCase("source")]
    public void JointAttentionIsOneSoftmaxOverTokensAndEntries(string form)
    {
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        const int heads = 2,
            size = 4,
            window = 3;
        var model = Small with { Layers = 1, Window = window, Drift = false, Retrieval = null };
        manual_seed(5).Dispose();
        using var attention = new CausalAttention(model);
        foreach (var parameter in attention.parameters())
            parameter.normal_(0, 0.5);
        using var network = new EpisodicTransformer(Vocabulary, model);
        using var span = AttentionSpan.Of(
            model,
            network.Read(Pieces.Tokens(7, 1, 0)).State,
            6,
            ScalarType.Float64,
            CPU
        );
        var h = randn([1, 6, 8], dtype: ScalarType.Float64);
        var entries = new SeenEntries(
            randn([1, 6, 3], dtype: ScalarType.Float64).masked_fill(eye(6, 3).to(ScalarType.Bool), -1e30),
            randn([1, 6, 3, 8], dtype: ScalarType.Float64)
        );
        var found = Rows(attention.forward(h, null, null, span, [entries]).Attended[0]);
        Tensor Heads(int part) =>
            attention.QueriesKeysAndValues.matmul(h[0].t()).t().view(6, 3, heads, size).select(1, part).transpose(0, 1);
        var (q, k, v) = (span.Rotate(Heads(0).unsqueeze(0))[0], span.Rotate(Heads(1).unsqueeze(0))[0], Heads(2));
        var (scores, values) = (Rows(entries.Scores[0]), entries.Values);
        for (int t = 0; t < 6; t++)
        {
            var all = new List<double>();
            for (int head = 0; head < heads; head++)
            {
                int[] seen = [.. Enumerable.Range(0, t + 1).Where(s => s > t - window)];
                double[] a =
                [
                    .. seen.Select(s => Math.Exp(Dot(Rows(q[head])[t], Rows(k[head])[s]) / Math.Sqrt(size))),
                    .. scores[t].Select(Math.Exp),
                ];
                double[][] read =
                [
                    .. seen.Select(s => Rows(v[head])[s]),
                    .. Rows(values[0, t].narrow(1, head * size, size)),
                ];
                all.AddRange(Enumerable.Range(0, size).Select(j => a.Select((w, i) => w / a.Sum() * read[i][j]).Sum()));
            }
            var expected = Times(Weights(attention, "output.weight"), [.. all]);
            Assert.That(found[t], Is.EqualTo(expected).Within(1e-12), $"token {t}");
        }

        // What the memory gives attention: the form's scores, and the stored tokens.
        using var memory = Memory(new() { Form = form, Attention = "joint" }, attention: true);
        var (hidden, plain, contexts) = (h.narrow(2, 0, 4), h.narrow(2, 4, 4), h.narrow(2, 2, 4));
        var input = new BlockInput(hidden, contexts, 0) { Plain = plain, ContextBefore = zeros(1, 4, dtype: h.dtype) };
        var given = memory.Read(input, memory.FirstState(1, CPU));
        Assert.That(given.Added, Is.Null);
        var last = Rows(given.Entries!.Values[0, 5]);
        double[][] stored = Rows((form == "source" ? plain : hidden)[0]);
        Assert.That(last.All(e => stored[..3].Any(s => s.SequenceEqual(e))), "tokens of the first chunk");
        if (form != "source")
            return;
        var asked = Times(Weights(memory, "query.weight"), stored[5]);
        double[] wanted = [.. last.Select(e => Dot(asked, e))];
        Assert.That(Rows(given.Entries.Scores[0])[5], Is.EqualTo(wanted).Within(1e-12));
    }

    [Test]
    public void GradientsAgreeWithFiniteDifferences()
    {
        foreach (var form in Forms())
        {
            using var scope = NewDisposeScope();
            using var network = Pieces.Network(
                Vocabulary,
                Small with
                {
                    HiddenSize = 4,
                    Heads = 1,
                    Layers = 1,
                    FeedForwardSize = 3,
                    Drift = false,
                    // Values that are stored have no gradient: what is before the block must not learn.
                    Retrieval = form,
                },
                random: "output.weight"
            );
            var tokens = Pieces.Tokens(Vocabulary, 1, 8);
            Tensor Loss()
            {
                var (hidden, state) = network.Read(tokens);
                network.Stores!.Close(state.Documents.Generation);
                return Compared.Loss([network.ReadOut(hidden)]);
            }
            Loss().backward();
            FiniteDifferences.Check(
                network,
                () =>
                {
                    using var inner = NewDisposeScope();
                    using var quiet = no_grad();
                    return Loss().item<double>();
                },
                name =>
                    name.Contains("retrieval", StringComparison.Ordinal)
                    || name.Contains("attention.output", StringComparison.Ordinal)
            );
        }
    }

    [TestCase(
        """{"attention": "joint"}""",
        "model.retrieval.attention: found joint beside model.attention false",
        false
    )]
    [TestCase("""{"attention": "joint", "fuse": "concatenate"}""", "model.retrieval.fuse: found concatenate", true)]
    [TestCase("""{"form": "source", "entries": 3}""", "model.retrieval.entries: found 3 beside form source", true)]
    [TestCase("""{"form": "literal"}""", "allowed: one of context, source", true)]
    public void WhatDoesNotGoTogetherIsRefused(string retrieval, string problem, bool attention) =>
        Assert.That(
            () =>
                ConfigurationFile.Parse(
                    """{ "name": "r", "task": { "copy": {} }, "model": { "type": "episodic_transformer" } }""",
                    [$"model.retrieval={retrieval}", $"model.attention={(attention ? "true" : "false")}"]
                ),
            Throws
                .InstanceOf<ConfigurationException>()
                .With.Property(nameof(ConfigurationException.Problems))
                .Some.Matches<ConfigurationProblem>(p =>
                    $"{p.Path}: {p.Message}".Contains(problem, StringComparison.Ordinal)
                )
        );
}
