using EmtTorch.Memory.Retrieval;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

public sealed class MemoryStoreTests
{
    /// <summary>
    /// Entries of documents, N of each at positions from <paramref name="from"/> on, with keys of these few numbers, so
    /// that many products are the same.
    /// </summary>
    internal static EpisodicEntries Entries(
        long generation,
        long first,
        long batch,
        long from,
        long count,
        int width,
        ulong seed,
        IReadOnlyList<byte[]?>? texts = null
    )
    {
        using var generator = new Generator(seed);
        var keys = randint(-3, 4, [batch, count, width], dtype: ScalarType.Float32, generator: generator) / 8;
        var values =
            arange(batch * count * 2, dtype: ScalarType.Float64).view(batch, count, 2) + generation * 1000 + from;
        return new(
            generation,
            first,
            from,
            arange(from, from + count, dtype: ScalarType.Int64).expand(batch, count),
            keys,
            values,
            texts
        );
    }

    internal static EpisodicQuery Query(
        long generation,
        long first,
        long batch,
        long[] before,
        int width,
        ulong seed,
        int k
    )
    {
        using var generator = new Generator(seed);
        return new(
            generation,
            first,
            randint(-3, 4, [batch, before.Length, width], dtype: ScalarType.Float32, generator: generator) / 8,
            tensor(before),
            k
        );
    }

    /// <summary>
    /// By plain loops, in float64: of the entries that may be seen those with the largest products, then of the lowest
    /// generation, document, position.
    /// </summary>
    private static List<(double Product, long Generation, long Document, long Position, double Value)>[] BruteForce(
        IEnumerable<EpisodicEntries> entries,
        EpisodicQuery query,
        bool shared
    )
    {
        var all = new List<(float[] Key, long Generation, long Document, long Position, double Value)>();
        foreach (var e in entries)
        {
            for (long b = 0; b < e.Keys.shape[0]; b++)
            {
                for (long n = 0; n < e.Keys.shape[1]; n++)
                {
                    all.Add(
                        (
                            e.Keys[b, n].data<float>().ToArray(),
                            e.Generation,
                            e.FirstDocument + b,
                            e.Positions[b, n].item<long>(),
                            e.Values[b, n, 0].item<double>()
                        )
                    );
                }
            }
        }

        var found = new List<List<(double, long, long, long, double)>>();
        for (long b = 0; b < query.Keys.shape[0]; b++)
        {
            for (long t = 0; t < query.Keys.shape[1]; t++)
            {
                var q = query.Keys[b, t].data<float>().ToArray();
                long before = query.Before[t].item<long>();
                found.Add([
                    .. all.Where(e =>
                            e.Generation == query.Generation
                                ? e.Document == query.FirstDocument + b && e.Position < before
                                : shared && e.Generation < query.Generation
                        )
                        .Select(e =>
                            (
                                Product: e.Key.Zip(q, (x, y) => (double)x * y).Sum(),
                                e.Generation,
                                e.Document,
                                e.Position,
                                e.Value
                            )
                        )
                        .OrderByDescending(e => e.Product)
                        .ThenBy(e => e.Generation)
                        .ThenBy(e => e.Document)
                        .ThenBy(e => e.Position)
                        .Take(query.Count),
                ]);
            }
        }

        return [.. found];
    }

    internal static void AreThose(
        Neighbours found,
        List<(double Product, long Generation, long Document, long Position, double Value)>[] expected
    )
    {
        long k = found.Found.shape[2];
        var (there, sources, values, products) = (
            found.Found.view(-1, k),
            found.Sources.reshape(-1, k, 3),
            found.Values.view(-1, k, 2),
            found.Products.view(-1, k)
        );
        for (int i = 0; i < expected.Length; i++)
        {
            Assert.That(there[i].to(ScalarType.Int64).sum().item<long>(), Is.EqualTo(expected[i].Count), $"query {i}");
            for (int j = 0; j < expected[i].Count; j++)
            {
                var (product, generation, document, position, value) = expected[i][j];
                Assert.That(
                    (
                        there[i, j].item<bool>(),
                        sources[i, j, 0].item<long>(),
                        sources[i, j, 1].item<long>(),
                        sources[i, j, 2].item<long>()
                    ),
                    Is.EqualTo((true, generation, document, position)),
                    $"query {i}, {j}"
                );
                Assert.That(
                    (products[i, j].item<float>(), values[i, j, 0].item<double>()),
                    Is.EqualTo(((float)product, value))
                );
            }
        }
    }

    [TestCase(false)]
    [TestCase(true)]
    public void FindsWhatLoopsOverAllEntriesFindTiesIncluded(bool shared)
    {
        using var scope = NewDisposeScope();
        using var store = new MemoryStore(shared);
        // 340 of 4 numbers each, 7 different ones: many products are equal. Three generations, the last read in two
        // parts.
        EpisodicEntries[] entries =
        [
            Entries(0, 0, 2, 0, 90, 4, 1),
            Entries(1, 0, 3, 0, 170, 4, 2),
            Entries(2, 0, 2, 0, 300, 4, 3),
            Entries(2, 0, 2, 300, 40, 4, 4),
        ];
        foreach (var e in entries)
            store.Write(e);
        foreach (int k in new[] { 1, 5, 40, 400 })
        {
            var query = Query(2, 0, 2, [0, 1, 20, 299, 320, long.MaxValue], 4, 5, k);
            AreThose(store.Search(query)(), BruteForce(entries, query, shared));
        }
        Assert.That(store.Count, Is.EqualTo(2 * 90 + 3 * 170 + 2 * 340));
    }

    [Test]
    public void BlocksOfKeysAreSearchedAsOne()
    {
        using var scope = NewDisposeScope();
        using var store = new MemoryStore();
        var written = new List<Tensor>();
        // More than a block of 65,536, in parts that don't fit into it evenly; any float32, seldom equal.
        for (int i = 0; i < 3; i++)
        {
            using var generator = new Generator((ulong)i);
            var keys = randn([1, 30_001, 3], generator: generator);
            written.Add(keys);
            store.Write(
                new(
                    0,
                    0,
                    i * 30_001L,
                    arange(i * 30_001L, (i + 1) * 30_001L, dtype: ScalarType.Int64).unsqueeze(0),
                    keys,
                    keys
                )
            );
        }
        var all = cat(written.ToArray(), 1)[0].data<float>().ToArray();
        var q = new[] { 0.5f, -1, 0.25f };
        var expected = Enumerable
            .Range(0, 90_003)
            .Select(i =>
                (Product: (double)all[3 * i] * q[0] + (double)all[3 * i + 1] * q[1] + (double)all[3 * i + 2] * q[2], i)
            )
            .OrderByDescending(e => e.Product)
            .Take(20)
            .Select(e => (long)e.i);
        var found = store.Search(new(0, 0, tensor(q).view(1, 1, 3), tensor(new[] { long.MaxValue }), 20))();
        Assert.That(found.Sources.select(-1, 2).contiguous().data<long>().ToArray(), Is.EqualTo(expected));
    }

    [Test]
    public void DocumentsAreReadAgainForgottenAndClosed()
    {
        using var scope = NewDisposeScope();
        using var store = new MemoryStore(shared: true);
        EpisodicEntries old = Entries(0, 0, 1, 0, 20, 4, 1),
            first = Entries(1, 0, 1, 0, 16, 4, 2),
            dropped = Entries(1, 0, 1, 16, 10, 4, 3),
            then = Entries(1, 0, 1, 16, 7, 4, 4);
        foreach (var e in new[] { old, first, dropped, then })
            store.Write(e);
        var query = Query(1, 0, 1, [100], 4, 5, 50);
        AreThose(store.Search(query)(), BruteForce([old, first, then], query, shared: true));
        Assert.That(
            () => store.Write(Entries(0, 0, 1, 20, 1, 4, 5)),
            Throws.InvalidOperationException.With.Message.Contains("generation 0 are closed")
        );
        store.Forget(EpisodicStores.Tests);
        store.ForgetFrom(1);
        Assert.That(store.Count, Is.EqualTo(20));
        store.ForgetFrom(0);
        Assert.That(store.Count, Is.Zero);
        Assert.That(store.Search(query)().Found.shape, Is.EqualTo(new long[] { 1, 1, 0 }));
        store.Write(old); // and it begins anew
    }

    [Test]
    public void TextsAndMistakes()
    {
        using var scope = NewDisposeScope();
        using var store = new MemoryStore();
        byte[] any = [.. Enumerable.Range(0, 256).Select(i => (byte)i)];
        store.Write(Entries(0, 3, 1, 0, 2, 4, 1, [any, null]));
        Assert.That(store.ReadText(0, 3, 0), Is.EqualTo(any));
        Assert.That((store.ReadText(0, 3, 1), store.ReadText(0, 2, 0)), Is.EqualTo((default(byte[]), default(byte[]))));
        Assert.That(
            () => store.Write(Entries(0, 3, 1, 2, 2, 5, 1)),
            Throws.ArgumentException.With.Message.Contains("has shape (2, 5), not (…, 4)")
        );
        Assert.That(
            () => store.Search(Query(0, 3, 1, [2], 3, 1, 1)),
            Throws.ArgumentException.With.Message.Contains("has shape (1, 3), not (…, 4)")
        );
        Assert.That(
            () => store.Write(Entries(0, 3, 1, 2, 2, 4, 1, [any])),
            Throws.ArgumentException.With.Message.Contains("1 texts for 2 entries")
        );
        Assert.That(
            () => store.Write(Entries(0, 3, 1, 2, 2, 4, 1) with { Positions = zeros(1, 3, dtype: ScalarType.Int64) }),
            Throws.ArgumentException
        );
        store.Forget(0);
        Assert.That(store.ReadText(0, 3, 0), Is.Null);
    }
}
