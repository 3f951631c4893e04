using System.Diagnostics;
using System.Threading.Channels;
using Npgsql;

namespace EmtTorch.Memory.Retrieval;

/// <summary>
/// One connection to PostgreSQL for one run. Work is queued and done in order in the background. While the server is
/// away, the work at hand is tried again, up to a time limit.
/// </summary>
/// <remarks>
/// A second table counts each run's writes. Every transaction that writes raises the count from the number that this
/// connection knows. So it can tell whether a transaction was committed whose answer was lost, and whether a server
/// came back with less than it had; and if two programs write for one run, the second fails.
/// No message contains the connection string.
/// </remarks>
public sealed class PostgresConnection : IDisposable
{
    private static readonly TimeSpan Pause = TimeSpan.FromSeconds(0.5),
        Reminder = TimeSpan.FromMinutes(1);

    private const string StartingUp = "57P03"; // cannot_connect_now

    private readonly NpgsqlConnectionStringBuilder _settings;
    private readonly TimeSpan _wait;
    private readonly Action<string> _say;
    private readonly CancellationTokenSource _stop;
    private readonly Channel<Func<Task>> _queue = Channel.CreateBounded<Func<Task>>(64);
    private readonly Task _worker;
    private readonly Lock _failureLock = new();
    private StoreException? _failure;
    private NpgsqlConnection? _connection;
    private long _writes = -1; // the count of this run's writes that is known to be committed; −1 before Begin

    /// <summary>Makes a connection. It is opened when it is first used.</summary>
    /// <param name="connectionString">In Npgsql's form.</param>
    /// <param name="wait">How long the server may be away before the run fails.</param>
    /// <param name="say">Takes messages that the server is away, and that it is back.</param>
    /// <param name="stop">Ends the waiting.</param>
    /// <exception cref="StoreException">The connection string cannot be read.</exception>
    public PostgresConnection(
        string connectionString,
        TimeSpan wait,
        Action<string>? say = null,
        CancellationToken stop = default
    )
    {
        _settings = Settings(connectionString);
        (_wait, _say, _stop) = (wait, say ?? (_ => { }), CancellationTokenSource.CreateLinkedTokenSource(stop));
        _worker = Task.Run(async () =>
        {
            await foreach (var work in _queue.Reader.ReadAllAsync())
                await work();
        });
    }

    private static NpgsqlConnectionStringBuilder Settings(string connectionString)
    {
        try
        {
            // No pool: nobody else uses this connection. To cancel a command Npgsql would open a second connection,
            // which the server may not accept.
            return new(connectionString)
            {
                Pooling = false,
                CancellationTimeout = -1,
                ApplicationName = "EmtTorch",
            };
        }
        catch (Exception e) when (e is ArgumentException or FormatException or KeyNotFoundException)
        {
            throw new StoreException(
                "the connection string of PostgreSQL cannot be read; it should look like "
                    + "Host=…;Port=5432;Database=…;Username=…;Password=…"
            ); // without the exception's message, which quotes the string
        }
    }

    /// <summary>
    /// Opens a connection and checks it: the problem found, or null. A server that is starting gets a minute.
    /// </summary>
    internal static string? FindProblem(string connectionString, Func<NpgsqlConnection, string?> check)
    {
        for (var clock = Stopwatch.StartNew(); ; Thread.Sleep(Pause))
        {
            try
            {
                using var connection = new NpgsqlConnection(Settings(connectionString).ConnectionString);
                connection.Open();
                return check(connection);
            }
            catch (StoreException e)
            {
                return e.Message;
            }
            catch (PostgresException e) when (e.SqlState == StartingUp && clock.Elapsed < Reminder) { }
            catch (Exception e) when (IsOfTheServer(e))
            {
                return $"PostgreSQL cannot be used: {Reason(e)}";
            }
        }
    }

    /// <summary>The table that counts writes, quoted for SQL, and the run.</summary>
    internal (string Table, string Run) Counter { get; set; }

    /// <summary>SQL that is run whenever the connection is opened.</summary>
    internal string Session { get; set; } = "SET jit = off"; // compiling these queries takes longer than running them

    /// <summary>Queues work that can safely be repeated.</summary>
    internal Task<T> Read<T>(Func<NpgsqlConnection, Task<T>> work) => Enqueue(() => Persist(work));

    /// <summary>Queues a change that is made exactly once, in a transaction of its own.</summary>
    internal Task Write(Func<NpgsqlConnection, Task> work) =>
        Enqueue(async () =>
        {
            long number = _writes + 1;
            await Persist(
                async connection =>
                {
                    if (_writes == number)
                        return true; // the transaction was committed before the connection broke
                    await using var transaction = await connection.BeginTransactionAsync();
                    await using var count = new NpgsqlCommand(
                        $"UPDATE {Counter.Table} SET writes = writes + 1 WHERE run = $1 AND writes = $2",
                        connection
                    )
                    {
                        Parameters =
                        {
                            new() { Value = Counter.Run },
                            new() { Value = number - 1 },
                        },
                    };
                    if (await count.ExecuteNonQueryAsync() != 1)
                        throw Differs();
                    await work(connection);
                    await transaction.CommitAsync();
                    _writes = number;
                    return true;
                },
                number
            );
            return true;
        });

    private StoreException Differs() =>
        new(
            $"the entries of {Counter.Run} in PostgreSQL are not those that this run wrote: another program writes "
                + "there, or the server has lost some. If no other run of this name is in progress, start again or go "
                + "on from a checkpoint (--resume)"
        );

    private Task<T> Enqueue<T>(Func<Task<T>> work)
    {
        var done = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
        async Task Do()
        {
            try
            {
                lock (_failureLock)
                {
                    if (_failure is { } earlier)
                        throw earlier;
                }

                done.SetResult(await work());
            }
            catch (Exception e)
            {
                var failure =
                    e as StoreException
                    ?? new StoreException(IsOfTheServer(e) ? $"PostgreSQL refuses: {Reason(e)}" : e.Message, e);
                lock (_failureLock)
                    _failure ??= failure; // later work depends on this one, so it fails too
                done.SetException(failure);
            }
        }
        lock (_failureLock)
        {
            if (_failure is { } earlier)
                throw earlier;
        }
        // A full queue makes the caller wait: queued writes take memory.
        if (!_queue.Writer.TryWrite(Do))
            _queue.Writer.WriteAsync(Do).AsTask().GetAwaiter().GetResult();
        return done.Task;
    }

    private async Task<T> Persist<T>(Func<NpgsqlConnection, Task<T>> work, long? writing = null)
    {
        Stopwatch? away = null;
        var reminded = TimeSpan.Zero;
        while (true)
        {
            try
            {
                if (_connection is not { State: System.Data.ConnectionState.Open })
                    await Connect(writing);
                var result = await work(_connection!);
                if (away is not null)
                    _say($"PostgreSQL is back after {away.Elapsed.TotalSeconds:0.0} s");
                return result;
            }
            catch (Exception e) when (MayPass(e))
            {
                await Disconnect();
                if (away is null)
                {
                    _say(
                        $"PostgreSQL is away: {Reason(e).TrimEnd('.')}. The run waits for it, {_wait.TotalSeconds:0} s "
                            + "at most"
                    );
                }
                else if (away.Elapsed - reminded > Reminder)
                {
                    reminded = away.Elapsed;
                    _say($"PostgreSQL has been away for {away.Elapsed.TotalSeconds:0} s");
                }
                away ??= Stopwatch.StartNew();
                if (away.Elapsed >= _wait)
                {
                    throw new StoreException(
                        $"PostgreSQL has been away for {away.Elapsed.TotalSeconds:0} s, and model.retrieval.wait "
                            + $"is {_wait.TotalSeconds:0}: {Reason(e)}"
                    );
                }

                try
                {
                    await Task.Delay(Pause, _stop.Token);
                }
                catch (OperationCanceledException)
                {
                    throw Stopped();
                }
            }
            catch
            {
                await Disconnect(); // a transaction may be open
                throw;
            }
        }
    }

    private async Task Connect(long? writing)
    {
        await Disconnect();
        var connection = new NpgsqlConnection(_settings.ConnectionString);
        try
        {
            await connection.OpenAsync(_stop.Token);
            await using (var settings = new NpgsqlCommand(Session, connection))
                await settings.ExecuteNonQueryAsync();
            if (_writes >= 0)
            {
                await using var count = new NpgsqlCommand(
                    $"SELECT writes FROM {Counter.Table} WHERE run = $1",
                    connection
                )
                {
                    Parameters = { new() { Value = Counter.Run } },
                };
                if (await count.ExecuteScalarAsync() is not long number || number != _writes && number != writing)
                    throw Differs();
                _writes = number;
            }
            _connection = connection;
        }
        catch (OperationCanceledException)
        {
            await connection.DisposeAsync();
            throw Stopped();
        }
        catch
        {
            await connection.DisposeAsync();
            throw;
        }
    }

    private static StoreException Stopped() => new("PostgreSQL is away, and the run was told to stop");

    /// <summary>
    /// Reads the count of the run's writes, or starts it, and runs <see cref="Session"/>, which may have been another
    /// when the connection was opened.
    /// </summary>
    internal async Task Begin(NpgsqlConnection connection)
    {
        await using (var session = new NpgsqlCommand(Session, connection))
            await session.ExecuteNonQueryAsync();
        await using var begin = new NpgsqlCommand(
            $"INSERT INTO {Counter.Table} (run, writes) VALUES ($1, 0) ON CONFLICT (run) DO UPDATE SET writes = "
                + $"{Counter.Table}.writes RETURNING writes",
            connection
        )
        {
            Parameters = { new() { Value = Counter.Run } },
        };
        _writes = (long)(await begin.ExecuteScalarAsync())!;
    }

    private async Task Disconnect()
    {
        if (_connection is not { } old)
            return;
        _connection = null;
        try
        {
            await old.DisposeAsync();
        }
        catch (Exception e) when (IsOfTheServer(e)) { } // it is gone already
    }

    private static bool IsOfTheServer(Exception e) =>
        e
            is NpgsqlException
                or IOException
                or System.Net.Sockets.SocketException
                or TimeoutException
                or ObjectDisposedException;

    // The server is shut down or starting, the connection is lost, a resource is used up, the server is read-only for
    // now, a deadlock. Any other answer would be the same the next time.
    private static bool MayPass(Exception e) =>
        e is PostgresException p
            ? p.SqlState
                is ['0', '8', ..]
                    or ['5', '3', ..]
                    or "57P01"
                    or "57P02"
                    or StartingUp
                    or "57P05"
                    or "25006"
                    or "40001"
                    or "40P01"
            : IsOfTheServer(e);

    private static string Reason(Exception e) =>
        e is PostgresException p ? p.MessageText
        : e.InnerException is { } inner && e is NpgsqlException
            ? $"{e.Message.TrimEnd('.')}: {inner.Message}".ReplaceLineEndings(" ")
        : e.Message;

    /// <summary>Closes the connection after all queued work is done.</summary>
    public void Dispose()
    {
        lock (_failureLock)
        {
            if (_failure is not null)
                _stop.Cancel();
        }

        _queue.Writer.TryComplete();
        _worker.Wait();
        Disconnect().Wait();
        _stop.Dispose();
    }
}
