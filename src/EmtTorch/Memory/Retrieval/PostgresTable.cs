using System.Text;
using System.Text.RegularExpressions;
using Npgsql;

namespace EmtTorch.Memory.Retrieval;

/// <summary>
/// The table that holds entries, a row each, and beside it the table that counts each run's writes; the index of one
/// run's block; and the statement that searches. Both tables serve many runs.
/// </summary>
internal sealed partial class PostgresTable
{
    private const string Product = "(key <#> q.key)"; // pgvector's <#> is −q·k

    // What another connection's CREATE leads to if it runs at the same moment: unique_violation, duplicate_table,
    // duplicate_object.
    private static readonly string[] MadeMeanwhile = ["23505", "42P07", "42710"];

    private readonly PostgresStoreSettings _settings;

    /// <exception cref="ArgumentException">The table's name is not allowed.</exception>
    public PostgresTable(PostgresStoreSettings settings)
    {
        if (FindNameProblem(settings.Table) is { } problem)
            throw new ArgumentException(problem);
        _settings = settings;
    }

    /// <summary>The table's name, quoted for SQL.</summary>
    public string Name => $"\"{_settings.Table}\"";

    /// <summary>The name of the table that counts writes, quoted for SQL.</summary>
    public string Counter => $"\"{_settings.Table}_runs\"";

    [GeneratedRegex(@"\A[A-Za-z_][A-Za-z0-9_]{0,49}\z")]
    private static partial Regex AllowedName();

    private static string? FindNameProblem(string table) =>
        AllowedName().IsMatch(table)
            ? null
            : $"'{table}' is no name for a table; allowed: letters, digits and '_', at most 50, not beginning with a "
                + "digit";

    /// <summary>Why a database cannot hold these entries, or null if it can. Nothing is changed.</summary>
    public static string? FindProblem(string connectionString, string table, int keySize) =>
        FindNameProblem(table) ?? PostgresConnection.FindProblem(connectionString, c => FindProblem(c, table, keySize));

    private static string? FindProblem(NpgsqlConnection connection, string table, int keySize)
    {
        if ((string?)Ask(connection, "SELECT current_setting('transaction_read_only')") == "on")
            return "the database is read-only";
        if (Ask(connection, "SELECT 1 FROM pg_available_extensions WHERE name = 'vector'") is null)
        {
            return "PostgreSQL has no pgvector: its package must be installed on the server "
                + "(https://github.com/pgvector/pgvector)";
        }
        foreach (var name in new[] { table, table + "_runs" })
        {
            if (Ask(connection, "SELECT to_regclass($1)::oid::bigint", $"\"{name}\"") is not { } id)
            {
                if (Ask(connection, "SELECT has_schema_privilege(current_schema(), 'CREATE')") is not true)
                    return $"there is no table {name}, and this user may not create one";
            }
            else if (name == table && FindProblemOfTable(connection, table, id, keySize) is { } problem)
            {
                return problem;
            }
        }
        return null;
    }

    private static string? FindProblemOfTable(NpgsqlConnection connection, string table, object id, int keySize)
    {
        const string sql =
            "SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum) "
            + "FROM pg_attribute WHERE attrelid = $1::oid AND attnum > 0 AND NOT attisdropped";
        var columns = Ask(connection, sql, id) as string ?? "no columns";
        var match = Regex.Match(
            columns,
            @"\Arun text, block integer, generation bigint, document bigint, position bigint, "
                + @"key vector\((\d+)\), value bytea, text bytea\z"
        );
        if (!match.Success)
        {
            return $"there is a table {table} that holds no episodic entries ({columns}): "
                + "give another model.retrieval.table";
        }
        if (match.Groups[1].Value is var size && size != $"{keySize}")
        {
            return $"the table {table} has keys of {size} numbers, these have {keySize}: "
                + "give another model.retrieval.table";
        }
        foreach (var right in new[] { "SELECT", "INSERT", "DELETE" })
        {
            if (Ask(connection, "SELECT has_table_privilege($1::oid, $2)", id, right) is not true)
                return $"this user may not {right} in the table {table}";
        }
        return null;
    }

    private static object? Ask(NpgsqlConnection connection, string sql, params object[] parameters)
    {
        using var command = new NpgsqlCommand(sql, connection);
        foreach (var value in parameters)
            command.Parameters.Add(new() { Value = value });
        return command.ExecuteScalar() is var found and not DBNull ? found : null;
    }

    /// <summary>Creates the extension, the tables and the index where they are missing.</summary>
    /// <exception cref="StoreException">The database cannot hold these entries.</exception>
    public async Task Create(NpgsqlConnection connection)
    {
        if (FindProblem(connection, _settings.Table, _settings.KeySize) is { } problem)
            throw new StoreException(problem);
        // An earlier run of this name may have had an index, and a search would use it.
        var index = $"\"hnsw_{Hash($"{_settings.Table}/{_settings.Run}/{_settings.Block}"):x16}\"";
        var ofIndex = _settings.HasIndex
            ? $"CREATE INDEX IF NOT EXISTS {index} ON {Name} USING hnsw (key vector_ip_ops) WHERE {OwnRows};"
            : $"DROP INDEX IF EXISTS {index};";
        var sql = $"""
            CREATE EXTENSION IF NOT EXISTS vector;
            CREATE TABLE IF NOT EXISTS {Counter} (run text PRIMARY KEY, writes bigint NOT NULL);
            CREATE TABLE IF NOT EXISTS {Name} (
                run text NOT NULL, block integer NOT NULL,
                generation bigint NOT NULL, document bigint NOT NULL, position bigint NOT NULL,
                key vector({_settings.KeySize}) NOT NULL, value bytea NOT NULL, text bytea,
                PRIMARY KEY (run, block, generation, document, position));
            {ofIndex}
            """;
        for (int left = 5; ; left--)
        {
            try
            {
                await using var command = new NpgsqlCommand(sql, connection) { CommandTimeout = 0 };
                await command.ExecuteNonQueryAsync();
                return;
            }
            catch (PostgresException e) when (left > 0 && MadeMeanwhile.Contains(e.SqlState)) { }
        }
    }

    /// <summary>
    /// The statement that searches. Parameters: $1 run, $2 block, $3 generation; for each query $4 its document, $5 the
    /// position that the document's entries lie before, $6 its numbers, one query after the other; $7 K. Rows: query
    /// from 1, generation, document, position, value, −product; each query's best first.
    /// </summary>
    public string SearchSql()
    {
        // An index is on the product, not on a sum, so that ordering by a sum is exact.
        const string exactly = $"{Product} + 0, generation, document, position";
        // PostgreSQL uses a partial index only if the statement itself names the part.
        string own = _settings.HasIndex ? OwnRows : "run = $1 AND block = $2";
        string Select(string which, string order) =>
            $"(SELECT generation, document, position, value, {Product} AS distance FROM {Name} WHERE {own} "
            + $"AND {which} ORDER BY {order} LIMIT $7)";
        var found = Select("generation = $3 AND document = q.document AND position < q.before", exactly);
        if (_settings.IsShared)
            found += $" UNION ALL {Select("generation < $3", _settings.HasIndex ? Product : exactly)}";
        // PostgreSQL accepts no parameter that a statement does not use, hence the last WHERE.
        int d = _settings.KeySize;
        return $"""
            SELECT q.i, e.generation, e.document, e.position, e.value, e.distance
            FROM (SELECT i, document, before,
                    (($6::real[])[((i - 1) * {d} + 1)::integer : (i * {d})::integer])::vector AS key
                  FROM unnest($4::bigint[], $5::bigint[]) WITH ORDINALITY AS u(document, before, i) OFFSET 0) AS q
            CROSS JOIN LATERAL
                (SELECT * FROM ({found}) AS found ORDER BY distance, generation, document, position LIMIT $7) AS e
            WHERE $1 <> '' AND $2 >= 0 ORDER BY q.i, e.distance, e.generation, e.document, e.position
            """;
    }

    private string OwnRows =>
        $"run = '{_settings.Run.Replace("'", "''", StringComparison.Ordinal)}' AND block = {_settings.Block}";

    // FNV-1a: unlike .NET's own, the same in every process.
    private static ulong Hash(string text) =>
        Encoding
            .UTF8.GetBytes(text)
            .Aggregate(14695981039346656037UL, (hash, b) => unchecked((hash ^ b) * 1099511628211UL));
}
