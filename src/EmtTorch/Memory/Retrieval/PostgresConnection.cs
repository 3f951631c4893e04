using System.Diagnostics;
using System.Threading.Channels;
using Npgsql;

namespace EmtTorch.Memory.Retrieval;

/// <summary>
/// One connection to PostgreSQL for one run, with a queue: work is done in its order in the background. Where the
/// server is away, the work at hand waits and is tried again, up to a time.
/// </summary>
/// <remarks>
/// A run has a row in a table of its own with the number of its writes, which every transaction that writes counts up
/// from the number it knows. So a transaction whose commit was cut off is known to be done or not, a server that came
/// back with less than it had is found out, and of two programs that write for one run the second fails.
/// The connection string goes to Npgsql and nowhere else: no message holds it.
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
    private long _writes = -1; // of this run, as far as it is known; −1: it hasn't begun

    /// <param name="connectionString">As Npgsql takes it.</param>
    /// <param name="wait">How long a server may be away.</param>
    /// <param name="say">Told when it is, and when it is back.</param>
    /// <param name="stop">Ends the waiting.</param>
    /// <exception cref="StoreException">The connection string is none.</exception>
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
            // One connection that nobody else gets. A command that takes too long is not cancelled over a second
            // connection, which the server may not have.
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
                "the connection string of PostgreSQL can't be read; it is like "
                    + "Host=…;Port=5432;Database=…;Username=…;Password=…"
            ); // not the exception's words: they quote it
        }
    }

    /// <summary>
    /// What is wrong with a database, before anything is done; null where nothing is. One that is starting is waited
    /// for, a minute at most.
    /// </summary>
    internal static string? Problem(string connectionString, Func<NpgsqlConnection, string?> check)
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
                return $"PostgreSQL can't be used: {Reason(e)}";
            }
        }
    }

    /// <summary>The run whose writes are counted, and the table that counts them, quoted.</summary>
    internal (string Table, string Run) Counter { get; set; }

    /// <summary>SQL for every connection that is opened.</summary>
    internal string Session { get; set; } = "SET jit = off"; // just-in-time compilation takes longer than these queries

    /// <summary>Does something in the background that can be done again without harm.</summary>
    internal Task<T> Read<T>(Func<NpgsqlConnection, Task<T>> work) => Enqueue(() => Persist(work));

    /// <summary>Changes something, in a transaction of its own, once.</summary>
    internal Task Write(Func<NpgsqlConnection, Task> work) =>
        Enqueue(async () =>
        {
            long number = _writes + 1;
            await Persist(
                async connection =>
                {
                    if (_writes == number)
                        return true; // it was done when the connection broke
                    await using var transaction = await connection.BeginTransactionAsync();
                    await using (
                        var count = new NpgsqlCommand(
                            $"UPDATE {Counter.Table} SET writes = $1 WHERE run = $2 AND writes = $3",
                            connection
                        )
                        {
                            Parameters =
                            {
                                new() { Value = number },
                                new() { Value = Counter.Run },
                                new() { Value = number - 1 },
                            },
                        }
                    )
                    {
                        if (await count.ExecuteNonQueryAsync() != 1)
                            throw Differs();
                    }

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
                + "there, or the server has lost some. A run of this name is in progress elsewhere, or begin anew "
                + "or from a checkpoint (--resume)"
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
                    _failure ??= failure; // what comes later builds on this
                done.SetException(failure);
            }
        }
        lock (_failureLock)
        {
            if (_failure is { } earlier)
                throw earlier;
        }
        // Where it is full the caller waits: what is to be written is in memory meanwhile.
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
                        $"PostgreSQL is away: {Reason(e).TrimEnd('.')}. The run waits for it, "
                            + $"{_wait.TotalSeconds:0} s at most"
                    );
                }
                else if (away.Elapsed - reminded > Reminder)
                {
                    reminded = away.Elapsed;
                    _say($"PostgreSQL is away for {away.Elapsed.TotalSeconds:0} s now");
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
                    throw new StoreException("PostgreSQL is away, and the run was told to stop");
                }
            }
            catch
            {
                await Disconnect(); // out of whatever transaction it is in
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
            throw new StoreException("PostgreSQL is away, and the run was told to stop");
        }
        catch
        {
            await connection.DisposeAsync();
            throw;
        }
    }

    /// <summary>Begins to count: from here on the run's number of writes is known.</summary>
    internal async Task Begin(NpgsqlConnection connection)
    {
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

    // Server shut down or starting, connection lost, out of something, read-only for the time being, deadlock. What a
    // server says otherwise it will say again.
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

    /// <summary>Ends, after what is queued.</summary>
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
