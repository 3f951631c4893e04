using EmtTorch.Configuration;
using EmtTorch.Memory;
using EmtTorch.Memory.Retrieval;
using EmtTorch.Models;
using EmtTorch.Settings;
using EmtTorch.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

public sealed class RetrievalMemoryTests
{
    private const int Vocabulary = 7;

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

    private static EpisodicTransformer Network(ModelConfiguration model) =>
        Pieces.Network(Vocabulary, model, random: "output.weight");

    private static Tensor Tokens(long batch, long length, ulong seed = 0) =>
        Pieces.Tokens(Vocabulary, batch, length, seed);

    [TestCase("float64", 1e-9)]
    [TestCase("float32", 1e-4)]
    public void OnePieceSegmentsAndSingleTokensAgree(string dtype, double relative)
    {
        int checkedOnes = 0;
        foreach (var memory in new[] { "none", "fast_weights" })
        {
            foreach (var scope in new[] { "document", "shared" })
            {
                foreach (int? entries in new int?[] { null, 2 })
                {
                    foreach (var residual in new[] { "pre_norm", "seed" })
                    {
                        using var tensors = NewDisposeScope();
                        using var network = Network(
                            Small with
                            {
                                Dtype = dtype,
                                Memory = memory,
                                Residual = residual,
                                Retrieval = Small.Retrieval! with { Scope = scope, Entries = entries },
                            }
                        );
                        if (scope == "shared")
                            network.Read(Tokens(3, 10, seed: 9)); // what all see
                        var whole = Pieces.CheckCuts(
                            network,
                            Tokens(2, 11),
                            relative,
                            [1, 4, 6],
                            Enumerable.Repeat(1L, 11)
                        );
                        Assert.That(
                            whole.Last(t => t.shape.SequenceEqual([8L, 16L])).abs().max().ToDouble(),
                            Is.GreaterThan(1e-6),
                            "something is retrieved and learned from"
                        );
                        checkedOnes++;
                    }
                }
            }
        }

        Assert.That(checkedOnes, Is.EqualTo(16));
    }

    [TestCase(null)]
    [TestCase(2)]
    public void GradientsAgreeWithFiniteDifferences(int? entries)
    {
        using var scope = NewDisposeScope();
        // Values that are stored have no gradient: with nothing before the block that learns, that is the whole truth,
        // so only what reads is compared.
        using var network = Network(
            Small with
            {
                HiddenSize = 4,
                Heads = 1,
                Attention = false,
                Drift = false,
                Layers = 1,
                FeedForwardSize = 3,
                Retrieval = new()
                {
                    Chunk = 3,
                    TopK = 3,
                    Entries = entries,
                },
            }
        );
        var tokens = Tokens(2, 11);
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
                || name.StartsWith("readout", StringComparison.Ordinal)
        );
        Assert.That(
            network
                .named_parameters()
                .Where(p => p.name.Contains("retrieval", StringComparison.Ordinal))
                .Select(p => p.name[(p.name.LastIndexOf("retrieval", StringComparison.Ordinal) + 10)..]),
            Is.EquivalentTo(
                new[] { "query.weight", "key.weight", "output.weight", "gate.weight", "gate.bias", "scale" }
            )
        );
    }

    [TestCase(false)]
    [TestCase(true)]
    public void WhatIsReadIsWhatTheEquationsSayTokenByToken(bool drift)
    {
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        const int d = 4,
            length = 8,
            chunk = 3,
            best = 2;
        manual_seed(3).Dispose();
        using var memory = new RetrievalMemory(
            new(d, ScalarType.Float64) { Drift = drift, Gate = true },
            new() { Chunk = chunk, TopK = best }
        );
        foreach (var parameter in memory.parameters())
            parameter.normal_(0, 0.7);
        var h = randn([1, length, d], dtype: ScalarType.Float64);
        Tensor contexts = randn([1, length, d], dtype: ScalarType.Float64),
            context = randn([1, d], dtype: ScalarType.Float64);
        var input = new BlockInput(h, drift ? contexts : null, 0) { ContextBefore = drift ? context : null };
        var found = memory.Read(input, memory.FirstState(1, CPU)).Added!;

        var weights = memory.named_parameters().ToDictionary(p => p.name, p => p.parameter.data<double>().ToArray());
        double[] Times(double[] matrix, double[] x) =>
            [
                .. Enumerable
                    .Range(0, matrix.Length / x.Length)
                    .Select(i => x.Select((v, j) => v * matrix[i * x.Length + j]).Sum()),
            ];
        double[] Unit(double[] x) => [.. x.Select(v => v / Math.Sqrt(x.Sum(w => w * w)))];
        double[] Rounded(double[] x) => [.. x.Select(v => Math.Round(v * 2048, MidpointRounding.ToEven) / 2048)];
        double Dot(double[] x, double[] y) => x.Zip(y, (a, b) => a * b).Sum();
        double[][] Rows(Tensor x) => [.. Enumerable.Range(0, length).Select(t => x[0, t].data<double>().ToArray())];
        var tokens = Rows(h);
        var after = drift ? Rows(contexts) : tokens;
        double[][] before = drift ? [context[0].data<double>().ToArray(), .. after[..^1]] : tokens;
        double Gate(int i) =>
            1
            / (
                1
                + Math.Exp(
                    -Dot(weights["gate.weight"], drift ? [.. tokens[i], .. before[i]] : tokens[i])
                        - weights["gate.bias"][0]
                )
            );
        for (int t = 0; t < length; t++)
        {
            var q = Unit(Times(weights["query.weight"], after[t]));
            double[] Key(int i) => Times(weights["key.weight"], before[i]);
            var nearest = Enumerable
                .Range(0, t / chunk * chunk)
                .OrderByDescending(i => Dot(Rounded(q), Rounded(Unit(Key(i)))))
                .ThenBy(i => i)
                .Take(best)
                .ToArray();
            var a = nearest.Select(i => Math.Exp(Math.Exp(weights["scale"][0]) * Dot(q, Key(i))) * Gate(i)).ToArray();
            var r = Enumerable
                .Range(0, d)
                .Select(j => nearest.Select((i, n) => a[n] / a.Sum() * tokens[i][j]).Sum())
                .ToArray();
            var expected = Times(weights["output.weight"], [.. tokens[t], .. r]);
            Assert.That(found[0, t].data<double>().ToArray(), Is.EqualTo(expected).Within(1e-12), $"token {t}");
        }
    }

    [Test]
    public void KeysAreSuchThatProductsAreTheSameInWhateverOrderTheyAreSummedUp()
    {
        using var scope = NewDisposeScope();
        var store = new Recording();
        using var memory = new RetrievalMemory(new(256, ScalarType.Float32) { Gate = true }, Small.Retrieval!)
        {
            Store = store,
        };
        var h = randn([1, 64, 256]);
        memory.Begin(new(h, null, 0), memory.FirstState(1, CPU));
        var (keys, queries) = (
            store.Written!.Keys[0].data<float>().ToArray(),
            store.Query!.Keys[0].data<float>().ToArray()
        );
        var random = new Random(0);
        for (int trial = 0; trial < 1000; trial++)
        {
            int k = random.Next(63),
                q = random.Next(64);
            double exact = 0;
            float forwards = 0,
                shuffled = 0,
                fused = 0;
            var order = Enumerable.Range(0, 256).ToArray();
            random.Shuffle(order);
            for (int i = 0; i < 256; i++)
            {
                exact += (double)keys[k * 256 + i] * queries[q * 256 + i];
                forwards += keys[k * 256 + i] * queries[q * 256 + i];
                shuffled += keys[k * 256 + order[i]] * queries[q * 256 + order[i]];
                fused = MathF.FusedMultiplyAdd(keys[k * 256 + 255 - i], queries[q * 256 + 255 - i], fused);
            }
            Assert.That((forwards, shuffled, fused), Is.EqualTo(((float)exact, (float)exact, (float)exact)));
        }
    }

    /// <summary>Keeps what it is told, and finds nothing.</summary>
    private sealed class Recording : IEpisodicStore
    {
        public EpisodicEntries? Written;
        public EpisodicQuery? Query;
        public bool IsShared => true;
        public long Count => 0;

        public void Write(EpisodicEntries entries) => Written = entries;

        public Func<Neighbours> Search(EpisodicQuery query)
        {
            Query = query;
            return () => Neighbours.None(1, 1, 1, ScalarType.Float32, CPU);
        }

        public byte[]? ReadText(long generation, long document, long position) => null;

        public void Forget(long generation) { }

        public void ForgetFrom(long generation) { }

        public void Flush() { }

        public void Dispose() { }
    }

    [Test]
    public void ATokenSeesEarlierChunksOfItsOwnDocumentAndNoMore()
    {
        using var scope = NewDisposeScope();
        using var network = Network(
            Small with
            {
                Attention = false,
                Drift = false,
                Layers = 1,
                Retrieval = Small.Retrieval! with { TopK = 100 },
            }
        );
        var tokens = Tokens(2, 9);
        var other = tokens.clone();
        other[0, 4] = (tokens[0, 4] + 1) % Vocabulary;
        var different = (network.forward(tokens) - network.forward(other)).abs().amax([2L]).gt(0);
        // Itself, and from the next chunk on; not the rest of its chunk, and not the other document.
        Assert.That(
            different[0].data<bool>().ToArray(),
            Is.EqualTo(new[] { false, false, false, false, true, false, true, true, true })
        );
        Assert.That(different[1].any().item<bool>(), Is.False);
        Assert.That(network.Stores!.Blocks[0].Count, Is.Zero);
    }

    [Test]
    public void ASharedStoreIsSeenByLaterDocumentsAndTheGatesChooseWhatGoesThere()
    {
        using var scope = NewDisposeScope();
        using var network = Network(
            Small with
            {
                Attention = false,
                Drift = false,
                Layers = 1,
                Retrieval = Small.Retrieval! with { Scope = "shared", Entries = 1 },
            }
        );
        var tokens = Tokens(1, 9);
        var alone = network.forward(tokens);
        Assert.That(network.Stores!.Blocks[0].Count, Is.EqualTo(3));
        Assert.That((network.forward(tokens) - alone).abs().max().item<double>(), Is.GreaterThan(1e-6));
        Assert.That(network.Stores.Blocks[0].Count, Is.EqualTo(6));
        // A retrieval of the strongest alone: the gates are those of the tokens themselves.
        var gate = network
            .named_parameters()
            .Single(p => p.name.EndsWith("retrieval.gate.weight", StringComparison.Ordinal))
            .parameter.flatten();
        var store = (MemoryStore)network.Stores.Blocks[0];
        var (_, values, sources, _) = store.Content(from: 0)!;
        Assert.That(sources.select(1, 0).data<long>().ToArray().Distinct(), Is.EqualTo(new[] { 0L, 1L }));
        Assert.That(values.shape, Is.EqualTo(new long[] { 6, 8 }));
        Assert.That(gate.shape, Is.EqualTo(new long[] { 8 }));
    }

    [Test]
    public void EmptyBatchesAndSegmentsAreRead()
    {
        using var scope = NewDisposeScope();
        using var network = Network(Small);
        foreach (var (batch, length) in new (int, int)[] { (0, 0), (0, 5), (3, 0), (1, 1) })
        {
            var (hidden, state) = network.Read(Tokens(batch, length));
            Assert.That(hidden.shape, Is.EqualTo(new long[] { batch, length, 8 }));
            var next = Tokens(batch, 7, seed: 3);
            var (after, _) = network.Read(next, network.Read(zeros(batch, 0, dtype: ScalarType.Int64), state).State);
            // The second reading goes on from there, too
            Compared.AreEqual([after], [network.Read(next, state).Hidden], 1e-12);
        }
    }

    [Test]
    public void ImpossibleSettingsAreRefusedAndTheRestIsWrittenOut()
    {
        const string text =
            """{ "name": "r", "task": { "copy": {} }, "model": { "type": "episodic_transformer", "gate": false, "retrieval": RETRIEVAL }, "training": { "curriculum": { "horizons": [1] } }, "evaluation": { "horizon": 1 } }""";
        RunConfiguration Parse(string retrieval) =>
            ConfigurationFile.Parse(text.Replace("RETRIEVAL", retrieval, StringComparison.Ordinal));
        Assert.That(Parse("{}").Model.Retrieval, Is.EqualTo(new RetrievalConfiguration()));
        Assert.That(Parse("null").Model.Retrieval, Is.Null);
        Assert.That(
            ConfigurationFile.Parse(Parse("""{ "store": "postgres", "top_k": 3 }""").ToJson()).Model.Retrieval,
            Is.EqualTo(new RetrievalConfiguration { Store = "postgres", TopK = 3 })
        );
        Assert.That(Parse("{}").ToJson(), Does.Not.Contain("episodic_entries"));
        foreach (
            var (retrieval, problem) in new[]
            {
                ("""{ "table": "x" }""", "model.retrieval.table: is for store postgres only"),
                ("""{ "store": "postgres", "table": "x; drop table y" }""", "model.retrieval.table: found the text"),
                ("""{ "entries": 8 }""", "model.retrieval.entries: found 8 beside model.gate false"),
                ("""{ "entries": 80 }""", "model.retrieval.entries: found 80; a chunk has 64 tokens"),
                (
                    """{ "store": "postgres", "index": "hnsw" }""",
                    "model.retrieval.index: found hnsw beside scope document"
                ),
                ("""{ "store": "sqlite" }""", "allowed: one of memory, postgres"),
                ("""{ "top_k": 0 }""", "model.retrieval.top_k: found 0"),
            }
        )
        {
            Assert.That(
                () => Parse(retrieval),
                Throws.InstanceOf<ConfigurationException>().With.Message.Contains(problem)
            );
        }
    }
}
