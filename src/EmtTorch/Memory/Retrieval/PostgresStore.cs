using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.RegularExpressions;
using Npgsql;
using NpgsqlTypes;
using static TorchSharp.torch;

namespace EmtTorch.Memory.Retrieval;

/// <summary>
/// Entries in a table of PostgreSQL with pgvector: keys as vector(d), values and texts as their bytes. Written by COPY
/// in the background, a transaction for each call; searched exactly, by products in the database, or in a shared store
/// by an HNSW index. One table holds many runs, each with its blocks.
/// </summary>
/// <example><code>
/// using var connection = new PostgresConnection(connectionString, wait: TimeSpan.FromMinutes(5));
/// using var store = new PostgresStore(connection, "episodic_entries", "my_run/seed-1", block: 0, keySize: 64, valueSize: 64, ScalarType.Float32, shared: false, hnsw: false);
/// </code></example>
public sealed partial class PostgresStore : IEpisodicStore
{
    private const string TableName = "letters, digits and '_', at most 50, not beginning with a digit";

    // Rows that one statement looks at, so that none takes as long as a server that is away.
    private const long RowsAtOnce = 1 << 22,
        QueriesAtOnce = 4096,
        QueriesOfAnIndex = 256;

    private readonly PostgresConnection _connection;
    private readonly string _table,
        _run,
        _search;
    private readonly int _block,
        _keySize,
        _valueSize;
    private readonly ScalarType _valueType;
    private readonly List<Task> _writing = [];
    private readonly bool _hnsw;
    private bool _copies;
    private long _rows; // about as many as there are

    /// <summary>
    /// Opens a run's entries of one block; makes the table, its index, and the extension where they are missing.
    /// </summary>
    /// <param name="connection">The connection of the run; it may have other blocks' stores.</param>
    /// <param name="table">The table's name.</param>
    /// <param name="run">Whose entries these are.</param>
    /// <param name="block">Which block's.</param>
    /// <param name="keySize">d_k, 1 to 16,000; with an HNSW index to 2,000.</param>
    /// <param name="valueSize">d_v.</param>
    /// <param name="valueType">The values' type.</param>
    /// <param name="shared">Whether earlier generations' entries are found too.</param>
    /// <param name="hnsw">Whether these are found by an HNSW index: fast, and now and then not the nearest.</param>
    /// <exception cref="ArgumentException">The table's name is none.</exception>
    /// <exception cref="StoreException">The database can't be used: it can't be reached, is read-only, has no pgvector,
    /// or has another table of this name.</exception>
    public PostgresStore(
        PostgresConnection connection,
        string table,
        string run,
        int block,
        int keySize,
        int valueSize,
        ScalarType valueType,
        bool shared,
        bool hnsw
    )
    {
        var counter = Quoted(table + "_runs");
        (_connection, _table, _run, _block, _keySize, _valueSize, _valueType, IsShared) = (
            connection,
            Quoted(table),
            run,
            block,
            keySize,
            valueSize,
            valueType,
            shared
        );
        _hnsw = hnsw;
        _connection.Counter = (counter, run);
        // The index gives candidates until there are enough among them that may be seen. A server that has no
        // statistics of the table yet takes it for small and would rather sort all of it.
        if (hnsw)
        {
            _connection.Session =
                "SET jit = off; SET enable_sort = off; SET hnsw.iterative_scan = strict_order; SET hnsw.ef_search "
                + "= 100";
        }

        Wait(
            _connection.Read(async c =>
            {
                if (Problem(c, table, keySize) is { } problem)
                    throw new StoreException(problem);
                // An earlier run of this name may have had an index, and a search that has one would use it.
                var name = $"\"hnsw_{Hash($"{table}/{run}/{block}"):x16}\"";
                var index = hnsw
                    ? $"CREATE INDEX IF NOT EXISTS {name} ON {_table} USING hnsw (key vector_ip_ops) WHERE run = {Literal(run)} AND block = {block};"
                    : $"DROP INDEX IF EXISTS {name};";
                var make = $"""
                    CREATE EXTENSION IF NOT EXISTS vector;
                    CREATE TABLE IF NOT EXISTS {counter} (run text PRIMARY KEY, writes bigint NOT NULL);
                    CREATE TABLE IF NOT EXISTS {_table} (run text NOT NULL, block integer NOT NULL, generation bigint NOT NULL, document bigint NOT NULL, position bigint NOT NULL,
                        key vector({keySize}) NOT NULL, value bytea NOT NULL, text bytea, PRIMARY KEY (run, block, generation, document, position));
                    {index}
                    """;
                for (int left = 5; ; left--)
                {
                    try
                    {
                        await using var command = new NpgsqlCommand(make, c) { CommandTimeout = 0 };
                        await command.ExecuteNonQueryAsync();
                        break;
                    }
                    // Another run makes it at the same moment
                    catch (PostgresException e) when (left > 0 && e.SqlState is "23505" or "42P07" or "42710") { }
                }
                await _connection.Begin(c);
                await using (var session = new NpgsqlCommand(_connection.Session, c))
                    await session.ExecuteNonQueryAsync(); // it may have been another when the connection was opened
                // PGlite, a PostgreSQL inside Node, answers to no COPY FROM STDIN and is lost after one; where it does,
                // it says so by this setting.
                await using var copies = new NpgsqlCommand(
                    "SELECT coalesce(nullif(current_setting('emttorch.copy', true), ''), CASE WHEN version() LIKE "
                        + "'%PGlite%' THEN 'off' ELSE 'on' END) = 'on'",
                    c
                );
                _copies = (bool)(await copies.ExecuteScalarAsync())!;
                return true;
            })
        );
        const string product = "(key <#> q.key)";
        // A sum is what the index is not of: an order by it is exact.
        string exactly = $"{product} + 0, generation, document, position";
        string Arm(string which, string by) =>
            $"(SELECT generation, document, position, value, {product} AS distance FROM {_table} WHERE run = $1 "
            + $"AND block = $2 AND {which} ORDER BY {by} LIMIT $7)";
        var arms = Arm("generation = $3 AND document = q.document AND position < q.before", exactly);
        if (shared)
            arms += $" UNION ALL {Arm("generation < $3", hnsw ? product : exactly)}";
        // A partial index serves where the statement itself says of which part it is about.
        if (hnsw)
        {
            arms = arms.Replace(
                "run = $1 AND block = $2",
                $"run = {Literal(run)} AND block = {block}",
                StringComparison.Ordinal
            );
        }
        // $1 and $2 are named once more below, since PostgreSQL takes no parameter that a statement doesn't use.
        _search = $"""
            SELECT q.i, e.generation, e.document, e.position, e.value, e.distance
            FROM (SELECT i, document, before, (($6::real[])[((i - 1) * {keySize} + 1)::integer : (i * {keySize})::integer])::vector AS key
                  FROM unnest($4::bigint[], $5::bigint[]) WITH ORDINALITY AS u(document, before, i) OFFSET 0) AS q
            CROSS JOIN LATERAL (SELECT * FROM ({arms}) AS found ORDER BY distance, generation, document, position LIMIT $7) AS e
            WHERE $1 <> '' AND $2 >= 0 ORDER BY q.i, e.distance, e.generation, e.document, e.position
            """;
        _rows = Count;
    }

    /// <summary>Whether a name is one that a table may have here.</summary>
    internal static bool IsTableName(string name) => Name().IsMatch(name);

    [GeneratedRegex(@"\A[A-Za-z_][A-Za-z0-9_]{0,49}\z")]
    private static partial Regex Name();

    private static string Quoted(string name) =>
        IsTableName(name.EndsWith("_runs", StringComparison.Ordinal) ? name[..^5] : name)
            ? $"\"{name}\""
            : throw new ArgumentException($"'{name}' is no name for a table; allowed: {TableName}");

    private static string Literal(string text) => $"'{text.Replace("'", "''", StringComparison.Ordinal)}'";

    // FNV-1a: an index's name, the same in every process.
    private static ulong Hash(string text) =>
        Encoding
            .UTF8.GetBytes(text)
            .Aggregate(14695981039346656037UL, (hash, b) => unchecked((hash ^ b) * 1099511628211UL));

    /// <summary>Why a database can't hold these entries; null where it can. Nothing is changed.</summary>
    /// <param name="connectionString">As Npgsql takes it.</param>
    /// <param name="table">The table's name.</param>
    /// <param name="keySize">d_k.</param>
    public static string? Problem(string connectionString, string table, int keySize) =>
        IsTableName(table)
            ? PostgresConnection.Problem(connectionString, c => Problem(c, table, keySize))
            : $"'{table}' is no name for a table; allowed: {TableName}";

    private static string? Problem(NpgsqlConnection connection, string table, int keySize)
    {
        object? Ask(string sql, params object[] parameters)
        {
            using var command = new NpgsqlCommand(sql, connection);
            foreach (var value in parameters)
                command.Parameters.Add(new() { Value = value });
            return command.ExecuteScalar() is var found and not DBNull ? found : null;
        }
        if ((string?)Ask("SELECT current_setting('transaction_read_only')") == "on")
            return "the database is read-only";
        if (Ask("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'") is null)
        {
            return "PostgreSQL has no pgvector: its package must be installed on the server "
                + "(https://github.com/pgvector/pgvector)";
        }
        foreach (var name in new[] { table, table + "_runs" })
        {
            if (Ask("SELECT to_regclass($1)::oid::bigint", $"\"{name}\"") is not { } id)
            {
                if (Ask("SELECT has_schema_privilege(current_schema(), 'CREATE')") is not true)
                    return $"there is no table {name}, and this user may not make one";
                continue;
            }
            if (name != table)
                continue;
            var columns = (string)
                Ask(
                    "SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum) "
                        + "FROM pg_attribute WHERE attrelid = $1::oid AND attnum > 0 AND NOT attisdropped",
                    id
                )!;
            string Wanted(string key) =>
                $"run text, block integer, generation bigint, document bigint, position bigint, key {key}, value "
                + "bytea, text bytea";
            if (columns != Wanted($"vector({keySize})"))
            {
                return
                    Regex.Match(columns, @"key (vector\((\d+)\))") is { Success: true } key
                    && columns == Wanted(key.Groups[1].Value)
                    ? $"the table {table} has keys of {key.Groups[2].Value} numbers, these have {keySize}: give another model.retrieval.table"
                    : $"there is a table {table} that holds no episodic entries ({columns}): give another model.retrieval.table";
            }

            foreach (var right in new[] { "SELECT", "INSERT", "DELETE" })
            {
                if (Ask("SELECT has_table_privilege($1::oid, $2)", id, right) is not true)
                    return $"this user may not {right} in the table {table}";
            }
        }
        return null;
    }

    public bool IsShared { get; }

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
        var command = new NpgsqlCommand(sql, connection)
        {
            Parameters =
            {
                new() { Value = _run },
                new() { Value = _block },
            },
        };
        foreach (var value in more)
            command.Parameters.Add(new() { Value = value });
        return command;
    }

    public void Write(EpisodicEntries entries)
    {
        entries.Check();
        long batch = entries.Keys.shape[0],
            count = entries.Keys.shape[1];
        if (entries.Keys.shape[2] != _keySize)
            throw new ArgumentException($"keys have {entries.Keys.shape[2]} numbers, those that are stored {_keySize}");
        if (entries.Values.shape[2] != _valueSize || entries.Values.dtype != _valueType)
        {
            throw new ArgumentException(
                $"values are {entries.Values.shape[2]} of {entries.Values.dtype}, those that are stored "
                    + $"{_valueSize} of {_valueType}"
            );
        }

        var (keys, values, positions) = (Bytes(entries.Keys), Bytes(entries.Values), Longs(entries.Positions));
        var (generation, first, from, texts) = (entries.Generation, entries.FirstDocument, entries.From, entries.Texts);
        int valueBytes = count * batch == 0 ? 0 : values.Length / (int)(count * batch);
        Later(
            _connection.Write(async c =>
            {
                await using (
                    var delete = Command(
                        c,
                        $"DELETE FROM {_table} WHERE run = $1 AND block = $2 AND generation = $3 AND document "
                            + "BETWEEN $4 AND $5 AND position >= $6",
                        generation,
                        first,
                        first + batch - 1,
                        from
                    )
                )
                {
                    await delete.ExecuteNonQueryAsync();
                }

                if (positions.Length == 0)
                    return;
                Row RowAt(int i) =>
                    new(
                        first + i / count,
                        positions[i],
                        keys.AsMemory(i * _keySize * 4, _keySize * 4),
                        values.AsMemory(i * valueBytes, valueBytes),
                        texts?[i]
                    );
                if (_copies)
                    await CopyAsync(c, generation, positions.Length, RowAt);
                else
                    await InsertAsync(c, generation, positions.Length, RowAt);
            })
        );
        Interlocked.Add(ref _rows, batch * count);
    }

    private readonly record struct Row(
        long Document,
        long Position,
        Memory<byte> Key,
        Memory<byte> Value,
        byte[]? Text
    );

    /// <summary>Rows as arrays of parameters, where there is no COPY.</summary>
    private async Task InsertAsync(NpgsqlConnection connection, long generation, int count, Func<int, Row> row)
    {
        const int atOnce = 1024;
        for (int from = 0; from < count; from += atOnce)
        {
            var rows = Enumerable.Range(from, Math.Min(atOnce, count - from)).Select(row).ToArray();
            await using var insert = Command(
                connection,
                $"""
                INSERT INTO {_table} (run, block, generation, document, position, key, value, text)
                SELECT $1, $2, $3, document, position, (($4::real[])[((i - 1) * {_keySize} + 1)::integer : (i * {_keySize})::integer])::vector, value, text
                FROM unnest($5::bigint[], $6::bigint[], $7::bytea[], $8::bytea[]) WITH ORDINALITY AS u(document, position, value, text, i)
                """,
                generation,
                rows.SelectMany(r => MemoryMarshal.Cast<byte, float>(r.Key.Span).ToArray()).ToArray(),
                rows.Select(r => r.Document).ToArray(),
                rows.Select(r => r.Position).ToArray(),
                rows.Select(r => r.Value.ToArray()).ToArray(),
                rows.Select(r => r.Text).ToArray()
            );
            await insert.ExecuteNonQueryAsync();
        }
    }

    /// <summary>Rows in PostgreSQL's binary form for COPY; a vector is its size and big-endian floats.</summary>
    private async Task CopyAsync(NpgsqlConnection connection, long generation, int count, Func<int, Row> row)
    {
        await using var copy = await connection.BeginRawBinaryCopyAsync(
            $"COPY {_table} (run, block, generation, document, position, key, value, text) FROM STDIN (FORMAT BINARY)"
        );
        var run = Encoding.UTF8.GetBytes(_run);
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
        void Add(Row added)
        {
            var (document, position, key, value, text) = added;
            Number(8, 2);
            Field(run);
            Number(4, 4);
            Number(_block, 4);
            foreach (long number in stackalloc[] { generation, document, position })
            {
                Number(8, 4);
                Number(number, 8);
            }
            Number(4 + key.Length, 4);
            Number(_keySize, 2);
            Number(0, 2);
            foreach (int bits in MemoryMarshal.Cast<byte, int>(key.Span))
                Number(bits, 4);
            Field(value.Span);
            if (text is null)
                Number(-1, 4);
            else
                Field(text);
        }
        buffer.Write([.. "PGCOPY\n"u8, 0xff, .. "\r\n\0"u8]);
        Number(0, 8); // no flags, no extension
        for (int i = 0; i < count; i++)
        {
            Add(row(i));
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
        if (query.Keys.shape[2] != _keySize)
        {
            throw new ArgumentException(
                $"queries have {query.Keys.shape[2]} numbers, the keys that are stored {_keySize}"
            );
        }

        long batch = query.Keys.shape[0],
            tokens = query.Keys.shape[1];
        int k = query.Count,
            all = (int)(batch * tokens),
            valueBytes = _valueSize * (int)ElementSize();
        var device = query.Keys.device;
        var keys = MemoryMarshal.Cast<byte, float>(Bytes(query.Keys)).ToArray();
        var before = Longs(query.Before);
        var values = new byte[(long)all * k * valueBytes];
        var (sources, found, products) = (new long[all * k * 3], new bool[all * k], new float[all * k]);
        int atOnce = _hnsw
            ? (int)QueriesOfAnIndex
            : (int)Math.Clamp(RowsAtOnce / Math.Max(1, IsShared ? Interlocked.Read(ref _rows) : 1), 1, QueriesAtOnce);
        var searching = _connection.Read(async c =>
        {
            Array.Clear(found);
            for (int from = 0; from < all; from += atOnce)
            {
                int size = Math.Min(atOnce, all - from),
                    last = -1,
                    rank = 0;
                await using var command = Command(
                    c,
                    _search,
                    query.Generation,
                    Enumerable.Range(from, size).Select(i => query.FirstDocument + i / tokens).ToArray(),
                    Enumerable.Range(from, size).Select(i => before[i % tokens]).ToArray(),
                    keys.AsSpan(from * _keySize, size * _keySize).ToArray(),
                    (long)k
                );
                await using var reader = await command.ExecuteReaderAsync();
                while (await reader.ReadAsync())
                {
                    int i = from + (int)reader.GetInt64(0) - 1;
                    rank = i == last ? rank + 1 : 0;
                    last = i;
                    int at = i * k + rank;
                    (found[at], sources[3 * at], sources[3 * at + 1], sources[3 * at + 2]) = (
                        true,
                        reader.GetInt64(1),
                        reader.GetInt64(2),
                        reader.GetInt64(3)
                    );
                    reader.GetBytes(4, 0, values, at * valueBytes, valueBytes);
                    products[at] = -(float)reader.GetDouble(5);
                }
            }
            return true;
        });
        return () =>
        {
            Wait(searching);
            using var scope = NewDisposeScope();
            Tensor Of(Tensor tensor) => tensor.to(device).MoveToOuterDisposeScope();
            var stored = empty([batch, tokens, k, _valueSize], dtype: _valueType);
            values.CopyTo(stored.bytes);
            return new(
                Of(tensor(found, [batch, tokens, k])),
                Of(stored),
                Of(tensor(sources, [batch, tokens, k, 3])),
                Of(tensor(products, [batch, tokens, k]))
            );
        };
    }

    private long ElementSize()
    {
        using var one = empty(1, dtype: _valueType);
        return one.element_size();
    }

    public byte[]? TextOf(long generation, long document, long position) =>
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

    // What fails in the background fails whatever comes next.
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

    /// <summary>Waits for what is being written. The connection stays.</summary>
    public void Dispose()
    {
        try
        {
            Flush();
        }
        catch (StoreException) { } // said already to whoever waited for it
    }
}
