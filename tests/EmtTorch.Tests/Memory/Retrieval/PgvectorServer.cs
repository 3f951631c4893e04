using System.Diagnostics;
using Npgsql;

namespace EmtTorch.Tests.Memory.Retrieval;

/// <summary>A real PostgreSQL with pgvector on loopback: tests/pgvector-server, whose packages npm installs once. Its data are in a folder, so that it can be stopped and started again.</summary>
internal sealed class PgvectorServer : IDisposable
{
    private static readonly Lock Installing = new();

    private readonly string _data;
    private readonly string? _settings;
    private Process? _process;
    private int _port;

    /// <param name="withoutVector">A PostgreSQL that has no pgvector.</param>
    public PgvectorServer(bool withoutVector = false)
    {
        _data = Directory.CreateTempSubdirectory("emttorch-pg-").FullName;
        _settings = withoutVector ? "1" : null;
        Start();
    }

    public string ConnectionString => $"Host=127.0.0.1;Port={_port};Username=postgres;Password=not-to-be-seen;Database=postgres;SSL Mode=Disable;No Reset On Close=true;Pooling=false;Timeout=60";

    private static string Folder
    {
        get
        {
            var at = TestContext.CurrentContext.TestDirectory;
            while (!File.Exists(Path.Combine(at, "EmtTorch.sln"))) at = Path.GetDirectoryName(at)!;
            return Path.Combine(at, "tests", "pgvector-server");
        }
    }

    private static void Install()
    {
        lock (Installing)
        {
            if (Directory.Exists(Path.Combine(Folder, "node_modules", "@electric-sql", "pglite-pgvector"))) return;
            try
            {
                using var npm = Command.Start(Folder, "npm", ["install", "--no-audit", "--no-fund", "--no-package-lock"]);
                var (code, _, error) = npm.End(TimeSpan.FromMinutes(5));
                if (code != 0) Assert.Ignore($"npm could not install the PostgreSQL for tests: {error}");
            }
            catch (System.ComponentModel.Win32Exception)
            {
                Assert.Ignore("there is no npm, which installs the PostgreSQL for tests");
            }
        }
    }

    public void Start()
    {
        Install();
        var start = new ProcessStartInfo("node", [Path.Combine(Folder, "server.mjs"), $"{_port}", _data]) { RedirectStandardOutput = true };
        if (_settings is not null) start.Environment["WITHOUT_VECTOR"] = _settings;
        _process = Process.Start(start)!;
        while (_process.StandardOutput.ReadLine() is { } line)
            if (line.StartsWith("ready ", StringComparison.Ordinal))
            {
                _port = int.Parse(line[6..]);
                return;
            }
        Assert.Fail("the PostgreSQL for tests does not start");
    }

    /// <summary>Ends it at once, as a crash does.</summary>
    public void Kill()
    {
        _process!.Kill();
        _process.WaitForExit();
        _process.Dispose();
        _process = null;
    }

    public object? Ask(string sql)
    {
        using var connection = new NpgsqlConnection(ConnectionString);
        connection.Open();
        using var command = new NpgsqlCommand(sql, connection);
        return command.ExecuteScalar();
    }

    public void Dispose()
    {
        if (_process is not null) Kill();
        Directory.Delete(_data, recursive: true);
    }
}
