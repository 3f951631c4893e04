using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;
using Npgsql;
using static TorchSharp.torch;

namespace EmtTorch.Memory.Retrieval;

/// <summary>What a <see cref="PostgresStore"/> holds, and where.</summary>
/// <param name="Table">The table's name: letters, digits and '_', at most 50, not beginning with a digit.</param>
/// <param name="Run">The name of the run that the entries belong to.</param>
/// <param name="Block">The number of the network's block that they belong to.</param>
/// <param name="KeySize">d_k, from 1 to 16,000; with an index at most 2,000.</param>
/// <param name="ValueSize">d_v.</param>
/// <param name="ValueType">The values' type.</param>
/// <param name="IsShared">Whether a search also finds entries of earlier generations.</param>
/// <param name="HasIndex">
/// Whether entries of earlier generations are found by an HNSW index (Malkov and Yashunin 2018), which is fast and
/// sometimes misses one of the nearest.
/// </param>
public sealed record PostgresStoreSettings(
    string Table,
    string Run,
    int Block,
    int KeySize,
    int ValueSize,
    ScalarType ValueType,
    bool IsShared = false,
    bool HasIndex = false
);

/// <summary>
/// Entries in a table of PostgreSQL with pgvector: keys as vector(d), values and texts as their bytes. Each call of
/// <see cref="Write"/> is a transaction with one COPY, in the background. Searches compute all products in the
/// database, or use an HNSW index. One table holds the entries of many runs and blocks.
/// </summary>
/// <example><code>
/// using var connection = new PostgresConnection(connectionString, wait: TimeSpan.FromMinutes(5));
/// var settings = new PostgresStoreSettings(
///     "episodic_entries", "my_run/seed-1", Block: 0, KeySize: 64, ValueSize: 64, ScalarType.Float32);
/// using var store = new PostgresStore(connection, settings);
/// </code></example>
public sealed class PostgresStore : IEpisodicStore
{
    // One statement looks at so many rows at most: a longer one would look like a server that is away.
    private const long RowsAtOnce = 1 << 22;

    private const int QueriesAtOnce = 4096,
        QueriesOfAnIndex = 256;

    // The index offers candidates until enough of them may be seen. A server without statistics of the table takes it
    // for small and would sort all of it.
    private const string IndexSession =
        "SET jit = off; SET enable_sort = off; SET hnsw.iterative_scan = strict_order; SET hnsw.ef_search = 100";

    private readonly PostgresConnection _connection;
    private readonly PostgresStoreSettings _settings;
    private readonly string _table,
        _search;
    private readonly List<Task> _writing = [];
    private long _rows; // an estimate: deletions that replace rows are not counted

    /// <summary>
    /// Opens the entries of one block. The table, its index and the extension are created where they are missing.
    /// </summary>
    /// <param name="connection">The run's connection; the stores of a run's blocks share one.</param>
    /// <param name="settings">What is stored, and where.</param>
    /// <exception cref="ArgumentException">The table's name is not allowed.</exception>
    /// <exception cref="StoreException">The database cannot be reached, is read-only, has no pgvector, or has another
    /// table of this name.</exception>
    public PostgresStore(PostgresConnection connection, PostgresStoreSettings settings)
    {
        var table = new PostgresTable(settings);
        (_connection, _settings, _table, _search) = (connection, settings, table.Name, table.SearchSql());
        _connection.Counter = (table.Counter, settings.Run);
        if (settings.HasIndex)
            _connection.Session = IndexSession;
        Wait(
            _connection.Read(async c =>
            {
                await table.Create(c);
                await _connection.Begin(c);
                return true;
            })
        );
        _rows = Count;
    }

    /// <summary>Why a database cannot hold these entries, or null if it can. Nothing is changed.</summary>
    /// <param name="connectionString">In Npgsql's form.</param>
    /// <param name="table">The table's name.</param>
    /// <param name="keySize">d_k.</param>
    public static string? FindProblem(string connectionString, string table, int keySize) =>
        PostgresTable.FindProblem(connectionString, table, keySize);

    public bool IsShared => _settings.IsShared;

    public long Count =>
        Wait(
            _connection.Read(async c =>
            {
                await using var command = Command(c, $"SELECT count(*) FROM {_table} WHERE run = $1 AND block = $2");
                return (long)(await command.ExecuteScalarAsync())!;
            })
        );

    private NpgsqlCommand Command(NpgsqlConnection connection, string sql, params object[] more)
    {
        var command = new NpgsqlCommand(sql, connection);
        foreach (var value in (object[])[_settings.Run, _settings.Block, .. more])
            command.Parameters.Add(new() { Value = value });
        return command;
    }

    public void Write(EpisodicEntries entries)
    {
        entries.Check();
        Require.Ends(entries.Keys, [_settings.KeySize]);
        Require.Ends(entries.Values, [_settings.ValueSize]);
        Require.Type(entries.Values, _settings.ValueType);
        long batch = entries.Keys.shape[0];
        var rows = new Rows(
            entries.Generation,
            entries.FirstDocument,
            (int)entries.Keys.shape[1],
            Longs(entries.Positions),
            Bytes(entries.Keys),
            Bytes(entries.Values),
            entries.Texts
        );
        long from = entries.From;
        Later(
            _connection.Write(async c =>
            {
                await using (
                    var delete = Command(
                        c,
                        $"DELETE FROM {_table} WHERE run = $1 AND block = $2 AND generation = $3 AND document "
                            + "BETWEEN $4 AND $5 AND position >= $6",
                        rows.Generation,
                        rows.FirstDocument,
                        rows.FirstDocument + batch - 1,
                        from
                    )
                )
                {
                    await delete.ExecuteNonQueryAsync();
                }

                if (rows.Positions.Length > 0)
                    await Copy(c, rows);
            })
        );
        Interlocked.Add(ref _rows, rows.Positions.Length);
    }

    // The entries of one call: of each document PerDocument, one document after the other.
    private sealed record Rows(
        long Generation,
        long FirstDocument,
        int PerDocument,
        long[] Positions,
        byte[] Keys,
        byte[] Values,
        IReadOnlyList<byte[]?>? Texts
    );

    /// <summary>
    /// Sends rows in PostgreSQL's binary form of COPY: each row its number of fields, each field its length and its
    /// bytes, numbers big-endian. A vector is its size, two bytes of zeros, and its numbers.
    /// </summary>
    private async Task Copy(NpgsqlConnection connection, Rows rows)
    {
        await using var copy = await connection.BeginRawBinaryCopyAsync(
            $"COPY {_table} (run, block, generation, document, position, key, value, text) FROM STDIN (FORMAT BINARY)"
        );
        var run = Encoding.UTF8.GetBytes(_settings.Run);
        int count = rows.Positions.Length,
            keyBytes = rows.Keys.Length / count,
            valueBytes = rows.Values.Length / count;
        using var buffer = new MemoryStream();
        void Number(long number, int bytes)
        {
            Span<byte> span = stackalloc byte[8];
            BinaryPrimitives.WriteInt64BigEndian(span, number);
            buffer.Write(span[(8 - bytes)..]);
        }
        void Field(ReadOnlySpan<byte> bytes)
        {
            Number(bytes.Length, 4);
            buffer.Write(bytes);
        }
        void Row(int i)
        {
            Number(8, 2); // fields
            Field(run);
            Number(4, 4);
            Number(_settings.Block, 4);
            long document = rows.FirstDocument + i / rows.PerDocument;
            foreach (long number in stackalloc[] { rows.Generation, document, rows.Positions[i] })
            {
                Number(8, 4);
                Number(number, 8);
            }
            Number(4 + keyBytes, 4);
            Number(_settings.KeySize, 2);
            Number(0, 2);
            foreach (int bits in MemoryMarshal.Cast<byte, int>(rows.Keys.AsSpan(i * keyBytes, keyBytes)))
                Number(bits, 4);
            Field(rows.Values.AsSpan(i * valueBytes, valueBytes));
            if (rows.Texts?[i] is { } text)
                Field(text);
            else
                Number(-1, 4); // null
        }
        buffer.Write([.. "PGCOPY\n"u8, 0xff, .. "\r\n\0"u8]);
        Number(0, 8); // no flags, no extension of the header
        for (int i = 0; i < count; i++)
        {
            Row(i);
            if (buffer.Length < 1 << 16 && i + 1 < count)
                continue;
            await copy.WriteAsync(buffer.GetBuffer().AsMemory(0, (int)buffer.Length));
            buffer.SetLength(0);
        }
        await copy.WriteAsync(new byte[] { 0xff, 0xff });
    }

    public Func<Neighbours> Search(EpisodicQuery query)
    {
        query.Check();
        Require.Ends(query.Keys, [_settings.KeySize]);
        var found = new FoundRows((int)(query.Keys.shape[0] * query.Keys.shape[1]), query.Count, ValueBytes());
        var keys = MemoryMarshal.Cast<byte, float>(Bytes(query.Keys)).ToArray();
        var before = Longs(query.Before);
        int atOnce = _settings.HasIndex
            ? QueriesOfAnIndex
            : (int)Math.Clamp(RowsAtOnce / Math.Max(1, IsShared ? Interlocked.Read(ref _rows) : 1), 1, QueriesAtOnce);
        var searching = _connection.Read(async c =>
        {
            Array.Clear(found.Found); // it may be the second try
            for (int from = 0; from < found.Queries; from += atOnce)
                await Search(c, query, from, Math.Min(atOnce, found.Queries - from), keys, before, found);
            return true;
        });
        var device = query.Keys.device;
        long[] shape = [.. query.Keys.shape[..2], query.Count]; // (B, T, K)
        return () =>
        {
            Wait(searching);
            using var scope = NewDisposeScope();
            Tensor OnDevice(Tensor tensor) => tensor.to(device).MoveToOuterDisposeScope();
            var values = empty([.. shape, _settings.ValueSize], dtype: _settings.ValueType);
            found.Values.CopyTo(values.bytes);
            return new(
                OnDevice(tensor(found.Found, shape)),
                OnDevice(values),
                OnDevice(tensor(found.Sources, [.. shape, 3])),
                OnDevice(tensor(found.Products, shape))
            );
        };
    }

    // What is found for each of a search's queries: up to K rows, the best first.
    private sealed record FoundRows(int Queries, int Count, int ValueBytes)
    {
        public readonly bool[] Found = new bool[Queries * Count];
        public readonly byte[] Values = new byte[(long)Queries * Count * ValueBytes];
        public readonly long[] Sources = new long[Queries * Count * 3];
        public readonly float[] Products = new float[Queries * Count];
    }

    private async Task Search(
        NpgsqlConnection connection,
        EpisodicQuery query,
        int from,
        int size,
        float[] keys,
        long[] before,
        FoundRows found
    )
    {
        int d = _settings.KeySize;
        var queries = Enumerable.Range(from, size);
        await using var command = Command(
            connection,
            _search,
            query.Generation,
            queries.Select(i => query.FirstDocument + i / before.Length).ToArray(),
            queries.Select(i => before[i % before.Length]).ToArray(),
            keys.AsSpan(from * d, size * d).ToArray(),
            (long)found.Count
        );
        await using var reader = await command.ExecuteReaderAsync();
        for (int last = -1, rank = 0; await reader.ReadAsync(); )
        {
            int i = from + (int)reader.GetInt64(0) - 1;
            rank = i == last ? rank + 1 : 0;
            last = i;
            int at = i * found.Count + rank;
            found.Found[at] = true;
            for (int n = 0; n < 3; n++)
                found.Sources[3 * at + n] = reader.GetInt64(1 + n);
            reader.GetBytes(4, 0, found.Values, at * found.ValueBytes, found.ValueBytes);
            found.Products[at] = -(float)reader.GetDouble(5);
        }
    }

    private int ValueBytes()
    {
        using var one = empty(1, dtype: _settings.ValueType);
        return _settings.ValueSize * (int)one.element_size();
    }

    public byte[]? ReadText(long generation, long document, long position) =>
        Wait(
            _connection.Read(async c =>
            {
                await using var command = Command(
                    c,
                    $"SELECT text FROM {_table} WHERE run = $1 AND block = $2 AND generation = $3 AND document = "
                        + "$4 AND position = $5",
                    generation,
                    document,
                    position
                );
                return await command.ExecuteScalarAsync() as byte[];
            })
        );

    public void Forget(long generation) => Delete("generation = $3", generation);

    public void ForgetFrom(long generation) => Delete("generation >= $3", generation);

    private void Delete(string which, long generation) =>
        Later(
            _connection.Write(async c =>
            {
                await using var delete = Command(
                    c,
                    $"DELETE FROM {_table} WHERE run = $1 AND block = $2 AND {which}",
                    generation
                );
                delete.CommandTimeout = 0;
                Interlocked.Add(ref _rows, -await delete.ExecuteNonQueryAsync());
            })
        );

    public void Flush()
    {
        Task[] writing;
        lock (_writing)
        {
            writing = [.. _writing];
            _writing.Clear();
        }
        Wait(Task.WhenAll(writing));
    }

    // A failure in the background is thrown by the next call.
    private void Later(Task task)
    {
        if (task.IsFaulted)
            Wait(task);
        lock (_writing)
        {
            _writing.RemoveAll(t => t.IsCompletedSuccessfully);
            _writing.Add(task);
        }
    }

    private static T Wait<T>(Task<T> task) => task.GetAwaiter().GetResult();

    private static void Wait(Task task) => task.GetAwaiter().GetResult();

    private static byte[] Bytes(Tensor tensor)
    {
        using var scope = NewDisposeScope();
        return tensor.detach().cpu().contiguous().bytes.ToArray();
    }

    private static long[] Longs(Tensor tensor) => MemoryMarshal.Cast<byte, long>(Bytes(tensor)).ToArray();

    /// <summary>Waits until everything is written. The connection stays open.</summary>
    public void Dispose()
    {
        try
        {
            Flush();
        }
        catch (StoreException) { } // whoever waited for the write has been told
    }
}
