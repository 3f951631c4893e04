using System.Collections.Concurrent;
using EmtTorch.Memory.Retrieval;
using Npgsql;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

/// <summary>
/// Against a real PostgreSQL with pgvector, over a socket: PGlite, and the system's own where it has one.
/// </summary>
[Category(Layer.External)]
[TestFixture(false)]
[TestFixture(true)]
public sealed class PostgresStoreTests(bool native)
{
    private PgvectorServer _server = null!;

    [OneTimeSetUp]
    public void StartServer() => _server = new(native);

    [OneTimeTearDown]
    public void StopServer() => _server?.Dispose();

    private PostgresConnection Connection(double seconds = 60, Action<string>? say = null) =>
        new(_server.ConnectionString, TimeSpan.FromSeconds(seconds), say);

    private static PostgresStore Store(
        PostgresConnection connection,
        string run,
        bool shared = false,
        string table = "entries",
        bool hnsw = false
    ) => new(connection, new(table, run, Block: 0, KeySize: 4, ValueSize: 2, ScalarType.Float64, shared, hnsw));

    [TestCase(false)]
    [TestCase(true)]
    public void FindsTheSameAsMemoryBitForBitTiesIncluded(bool shared)
    {
        using var scope = NewDisposeScope();
        using var connection = Connection();
        using var store = Store(connection, $"same/{shared}", shared);
        using var memory = new MemoryStore(shared);
        foreach (
            var e in new[]
            {
                MemoryStoreTests.Entries(0, 0, 2, 0, 30, 4, 1),
                MemoryStoreTests.Entries(1, 0, 3, 0, 40, 4, 2),
                MemoryStoreTests.Entries(2, 0, 2, 0, 60, 4, 3),
                MemoryStoreTests.Entries(2, 0, 2, 60, 20, 4, 4),
                MemoryStoreTests.Entries(2, 0, 2, 60, 10, 4, 5), // written again
            }
        )
        {
            store.Write(e);
            memory.Write(e);
        }
        foreach (int k in new[] { 1, 7, 300 })
        {
            var query = MemoryStoreTests.Query(2, 0, 2, [0, 1, 20, 65, long.MaxValue], 4, 6, k);
            var (found, expected) = (store.Search(query)(), memory.Search(query)());
            var there = expected.Found;
            Assert.That(found.Found.eq(there).all().item<bool>(), Is.True, $"K = {k}");
            Assert.That(
                (found.Sources * there.unsqueeze(-1)).eq(expected.Sources * there.unsqueeze(-1)).all().item<bool>(),
                Is.True
            );
            Assert.That(
                (found.Values * there.unsqueeze(-1)).eq(expected.Values * there.unsqueeze(-1)).all().item<bool>(),
                Is.True
            );
            Assert.That((found.Products * there).eq(expected.Products * there).all().item<bool>(), Is.True);
        }
        Assert.That(store.Count, Is.EqualTo(memory.Count));
        store.Forget(2);
        Assert.That(store.Count, Is.EqualTo(60 + 120));
        store.ForgetFrom(0);
        Assert.That(store.Count, Is.Zero);
    }

    [Test]
    public void AnIndexFindsNeighboursOfEarlierGenerations()
    {
        using var scope = NewDisposeScope();
        using var connection = Connection();
        using var store = Store(connection, "it's indexed", shared: true, hnsw: true);
        var entries = MemoryStoreTests.Entries(0, 0, 1, 0, 200, 4, 1);
        store.Write(entries);
        var query = MemoryStoreTests.Query(1, 0, 1, [.. Enumerable.Repeat(0L, 20)], 4, 2, 5);
        var found = store.Search(query)();
        Assert.That(found.Found.all().item<bool>(), Is.True);
        var best = matmul(query.Keys[0], entries.Keys[0].t()).topk(5).values;
        // A document's own are found exactly, index or not.
        var own = MemoryStoreTests.Entries(1, 0, 1, 0, 50, 4, 7);
        store.Write(own);
        var nearest = store.Search(query with { Before = full(20, 50, dtype: ScalarType.Int64), Count = 250 })();
        Assert.That(
            nearest.Sources[0].select(-1, 0).eq(1).logical_and(nearest.Found[0]).sum(-1).data<long>().ToArray(),
            Is.All.EqualTo(50)
        );
        // A graph of 200 entries is searched nearly whole.
        Assert.That(found.Products[0].eq(best).to(ScalarType.Float32).mean().item<float>(), Is.GreaterThan(0.9));
        Assert.That(
            _server.Ask(
                "SELECT count(*) FROM pg_indexes WHERE indexdef LIKE '%USING hnsw (key vector_ip_ops) WHERE %it''''s "
                    + "indexed%'"
            ),
            Is.EqualTo(1L)
        );
        // It was used, by every query.
        connection.Dispose();
        _server.Ask("SELECT pg_stat_force_next_flush()");
        Assert.That(
            () => _server.Ask("SELECT sum(idx_scan)::bigint FROM pg_stat_user_indexes WHERE indexrelname LIKE 'hnsw%'"),
            Is.GreaterThanOrEqualTo(40L).After(5).Seconds.PollEvery(100).MilliSeconds
        );
    }

    [Test]
    public void TextsAreStoredExactlyWhateverTheirBytesAndHoweverLong()
    {
        using var scope = NewDisposeScope();
        using var connection = Connection();
        using var store = Store(connection, "texts");
        var large = new byte[10 << 20];
        new Random(1).NextBytes(large);
        byte[] any = [.. Enumerable.Range(0, 256).Select(i => (byte)i)],
            sql = [.. "'; DROP TABLE entries; -- \\x00 \\. \u00e9"u8];
        store.Write(MemoryStoreTests.Entries(0, 0, 1, 0, 5, 4, 1, [any, sql, null, [], large]));
        Assert.That(store.ReadText(0, 0, 0), Is.EqualTo(any));
        Assert.That(store.ReadText(0, 0, 1), Is.EqualTo(sql));
        Assert.That(store.ReadText(0, 0, 2), Is.Null);
        Assert.That(store.ReadText(0, 0, 3), Is.Empty);
        Assert.That(store.ReadText(0, 0, 4)!.AsSpan().SequenceEqual(large), Is.True);
    }

    [Test]
    public void WhatIsNotAsItShouldBeIsRefusedAndSaysNoPassword()
    {
        using var connection = Connection();
        foreach (var name in new[] { "x\"; DROP TABLE entries; --", "a b", "", "1x", "x\n", new string('x', 51) })
        {
            Assert.That(
                () => Store(connection, "r", table: name),
                Throws.ArgumentException.With.Message.Contains("is no name for a table"),
                name
            );
            Assert.That(
                PostgresStore.FindProblem(_server.ConnectionString, name, 4),
                Does.Contain("is no name for a table")
            );
        }
        using (Store(connection, "'; DROP TABLE entries; --")) { } // a run's name is data
        connection.Dispose();
        Assert.That(PostgresStore.FindProblem(_server.ConnectionString, "entries", 4), Is.Null);
        Assert.That(
            PostgresStore.FindProblem(_server.ConnectionString, "entries", 5),
            Does.StartWith("the table entries has keys of 4 numbers, these have 5")
        );
        _server.Ask("CREATE TABLE IF NOT EXISTS foreign_one (a int)");
        Assert.That(
            PostgresStore.FindProblem(_server.ConnectionString, "foreign_one", 4),
            Does.StartWith("there is a table foreign_one that holds no episodic entries (a integer)")
        );
        Assert.That(
            PostgresStore.FindProblem(
                _server.ConnectionString + ";Options=-c default_transaction_read_only=on",
                "entries",
                4
            ) ?? ReadOnly(),
            Is.EqualTo("the database is read-only")
        );
        foreach (
            var bad in new[]
            {
                "Host=127.0.0.1;Port=1;Username=u;Password=not-to-be-seen",
                "Host=x;not-to-be-seen=y",
                "not-to-be-seen",
                "Host=127.0.0.1;Port=not-to-be-seen",
            }
        )
        {
            Assert.That(
                PostgresStore.FindProblem(bad, "entries", 4),
                Is.Not.Null.And.Not.Contain("not-to-be-seen"),
                bad
            );
        }

        // The server for tests passes no options on.
        string? ReadOnly()
        {
            _server.Set("default_transaction_read_only", "on");
            try
            {
                return PostgresStore.FindProblem(_server.ConnectionString, "entries", 4);
            }
            finally
            {
                _server.Ask("SET default_transaction_read_only = off");
                _server.Ask("ALTER DATABASE postgres SET default_transaction_read_only = off");
            }
        }
    }

    [Test]
    public void AServerThatComesBackFindsEverythingOnceAndOneThatDoesNotIsGivenUp()
    {
        using var scope = NewDisposeScope();
        var said = new ConcurrentQueue<string>();
        using (var connection = Connection(120, said.Enqueue))
        using (var store = Store(connection, "away"))
        {
            store.Write(MemoryStoreTests.Entries(0, 0, 1, 0, 10, 4, 1));
            store.Flush();
            _server.Kill();
            store.Write(MemoryStoreTests.Entries(0, 0, 1, 10, 10, 4, 2)); // doesn't wait
            var search = store.Search(MemoryStoreTests.Query(0, 0, 1, [100], 4, 3, 50));
            Assert.That(() => said.IsEmpty, Is.False.After(120).Seconds.PollEvery(20).MilliSeconds);
            _server.Start();
            var found = search();
            Assert.That(found.Found.to(ScalarType.Int64).sum().item<long>(), Is.EqualTo(20));
            Assert.That(store.Count, Is.EqualTo(20));
            Assert.That(
                said.First(),
                Does.StartWith("PostgreSQL is away: ").And.EndsWith("The run waits for it, 120 s at most")
            );
            Assert.That(said.Last(), Does.StartWith("PostgreSQL is back after "));

            // What comes back with less than it had is found out.
            _server.Ask("UPDATE entries_runs SET writes = writes - 1 WHERE run = 'away'");
            store.Write(MemoryStoreTests.Entries(0, 0, 1, 20, 10, 4, 2));
            Assert.That(
                store.Flush,
                Throws.InstanceOf<StoreException>().With.Message.Contains("are not those that this run wrote")
            );
            Assert.That(() => store.Count, Throws.InstanceOf<StoreException>());
        }
        using (var connection = Connection(0.7))
        using (var store = Store(connection, "away"))
        {
            _server.Kill();
            store.Write(MemoryStoreTests.Entries(0, 0, 1, 20, 10, 4, 2));
            Assert.That(
                store.Flush,
                Throws
                    .InstanceOf<StoreException>()
                    .With.Message.Contains("PostgreSQL has been away for")
                    .And.Message.Not.Contain("not-to-be-seen")
            );
            _server.Start();
        }
    }
}

/// <summary>Against one that has no pgvector.</summary>
[Category(Layer.External)]
public sealed class PostgresWithoutPgvectorTests
{
    [Test]
    public void APostgresWithoutPgvectorIsRefused()
    {
        using var server = new PgvectorServer(withoutVector: true);
        Assert.That(
            PostgresStore.FindProblem(server.ConnectionString, "entries", 4),
            Does.StartWith("PostgreSQL has no pgvector")
        );
    }
}
