using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using Npgsql;

namespace EmtTorch.Tests;

/// <summary>
/// A real PostgreSQL with pgvector on loopback. Its data is in a folder, so that it can be stopped and started again.
/// Both kinds are from tests/pgvector-server: PGlite, whose packages npm installs once, or the system's own.
/// </summary>
internal sealed class PgvectorServer : IDisposable
{
    private static readonly Lock Installing = new();

    private readonly string _data;
    private readonly bool _native,
        _withoutVector;
    private Process? _process;
    private int _port;

    /// <param name="native">The system's PostgreSQL; the test is skipped where there is none with pgvector.</param>
    /// <param name="withoutVector">A PGlite that has no pgvector.</param>
    public PgvectorServer(bool native = false, bool withoutVector = false)
    {
        (_native, _withoutVector) = (native, withoutVector);
        _data = Directory.CreateTempSubdirectory("emttorch-pg-").FullName;
        Start();
    }

    public string ConnectionString =>
        $"Host=127.0.0.1;Port={_port};Username=postgres;Password=not-to-be-seen;Database=postgres;SSL Mode=Disable;No "
        + "Reset On Close=true;Pooling=false;Timeout=60";

    private static readonly string Folder = Path.Combine(Repository.Root, "tests", "pgvector-server");

    private static void Install()
    {
        lock (Installing)
        {
            if (Directory.Exists(Path.Combine(Folder, "node_modules", "@electric-sql", "pglite-pgvector")))
                return;
            try
            {
                using var npm = Command.Start(
                    Folder,
                    "npm",
                    ["install", "--no-audit", "--no-fund", "--no-package-lock"]
                );
                var (code, _, error) = npm.End(TimeSpan.FromMinutes(5));
                if (code != 0)
                    Requirement.IsMissing($"npm could not install the PostgreSQL for tests: {error}");
            }
            catch (System.ComponentModel.Win32Exception)
            {
                Requirement.IsMissing("there is no npm, which installs the PostgreSQL for tests");
            }
        }
    }

    /// <summary>Starts it, on the port that it had before, and waits until it answers.</summary>
    public void Start()
    {
        if (_native)
            StartNative();
        else
            StartPglite();
    }

    private void StartPglite()
    {
        Install();
        var start = new ProcessStartInfo("node", [Path.Combine(Folder, "server.mjs"), $"{_port}", _data])
        {
            RedirectStandardOutput = true,
        };
        if (_withoutVector)
            start.Environment["WITHOUT_VECTOR"] = "1";
        _process = Process.Start(start)!;
        while (_process.StandardOutput.ReadLine() is { } line)
        {
            if (line.StartsWith("ready ", StringComparison.Ordinal))
            {
                _port = int.Parse(line[6..]);
                return;
            }
        }

        Assert.Fail("the PostgreSQL for tests does not start");
    }

    private void StartNative()
    {
        if (_port == 0)
        {
            using var free = new TcpListener(IPAddress.Loopback, 0);
            free.Start();
            _port = ((IPEndPoint)free.LocalEndpoint).Port;
        }
        _process = Process.Start(
            new ProcessStartInfo(Path.Combine(Folder, "native.sh"), ["run", _data, $"{_port}"])
            {
                RedirectStandardError = true,
            }
        )!;
        for (var clock = Stopwatch.StartNew(); ; Thread.Sleep(20))
        {
            if (_process.HasExited && _process.ExitCode == 3)
            {
                Directory.Delete(_data, recursive: true);
                Requirement.IsMissing(_process.StandardError.ReadToEnd());
            }
            if (_process.HasExited || clock.Elapsed > TimeSpan.FromMinutes(1))
                Assert.Fail("PostgreSQL does not start");
            try
            {
                Ask("SELECT 1");
                return;
            }
            catch (NpgsqlException) { } // not yet
        }
    }

    /// <summary>Ends it at once, as a crash does.</summary>
    public void Kill()
    {
        // Killed, PostgreSQL would leave its children to find out; at SIGQUIT it takes them along, and writes nothing
        // more.
        if (_native)
        {
            using var kill = Command.Start("/", "kill", ["-QUIT", $"{_process!.Id}"]);
            kill.End();
        }
        else
        {
            _process!.Kill();
        }

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

    /// <summary>Sets something for every connection: those to PGlite are all one session.</summary>
    public void Set(string name, string value)
    {
        Ask($"ALTER DATABASE postgres SET {name} = {value}");
        Ask($"SET {name} = {value}");
    }

    public void Dispose()
    {
        if (_process is not null)
            Kill();
        Directory.Delete(_data, recursive: true);
    }
}
