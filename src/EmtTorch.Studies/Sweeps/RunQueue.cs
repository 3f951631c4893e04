using System.Runtime.ExceptionServices;
using EmtTorch.Analysis;
using EmtTorch.Configuration;
using EmtTorch.Training;
using Serilog;
using Serilog.Core;

namespace EmtTorch.Studies;

/// <summary>How a run ended.</summary>
public enum RunEnd
{
    /// <summary>It has a result.</summary>
    Done,

    /// <summary>It ended with an error.</summary>
    Failed,

    /// <summary>It was stopped, and wrote a checkpoint.</summary>
    Interrupted,

    /// <summary>Another process is training it.</summary>
    Elsewhere,
}

/// <summary>How a run ended.</summary>
/// <param name="End">How.</param>
/// <param name="Failure">Why it failed; null if it did not.</param>
public sealed record RunOutcome(RunEnd End, string? Failure = null);

/// <summary>
/// Trains runs, several at a time. On the CPU each worker takes the next run when it has finished one. On a GPU all
/// runs of one shape share each launch. Each run gives the same result as if it had been trained alone. No two
/// processes train the same run.
/// </summary>
/// <example><code>
/// var queue = new RunQueue
/// {
///     Log = (run, folder) => new LoggerConfiguration().WriteTo.File(folder.LogFile).CreateLogger(),
/// };
/// var first = ConfigurationFile.Load("configs/t1.json");
/// var second = ConfigurationFile.Load("configs/t2.json");
/// RunOutcome[] outcomes = queue.Train([first, second]);
/// </code></example>
public sealed record RunQueue
{
    /// <summary>Makes a run's log.</summary>
    public required Func<RunConfiguration, RunFolder, Logger> Log { get; init; }

    /// <summary>Told how far a run is, at each log interval; from several threads.</summary>
    public Action<RunConfiguration, TrainingProgress>? Progress { get; init; }

    /// <summary>Told that a run takes no more steps, whatever the reason; from several threads.</summary>
    public Action<RunConfiguration>? Over { get; init; }

    /// <summary>Told of a run that another process trains, or that is finished already; from several threads.</summary>
    public Action<string>? Skipped { get; init; }

    /// <summary>Told of damaged files that can be made again.</summary>
    public Action<string>? Warn { get; init; }

    /// <summary>Whether runs go on from their checkpoints, and finished runs are passed over.</summary>
    public bool Resume { get; init; }

    /// <summary>A safetensors file with the first weights; null: they are drawn at random.</summary>
    public string? Weights { get; init; }

    /// <summary>How many runs train at the same time; null: one for each processor, on a GPU all.</summary>
    public int? Jobs { get; init; }

    /// <summary>Whether runs train together on the CPU too, as on a GPU: for tests.</summary>
    internal bool Together { get; init; }

    /// <summary>Told how a run ended, with its place among the runs; from several threads.</summary>
    public Action<int, RunOutcome>? Ended { get; init; }

    /// <summary>Trains runs.</summary>
    /// <param name="runs">The runs.</param>
    /// <param name="stop">Interrupts them; each writes a checkpoint first.</param>
    /// <returns>How each ended, in their order.</returns>
    public RunOutcome[] Train(IReadOnlyList<RunConfiguration> runs, CancellationToken stop = default)
    {
        var outcomes = new RunOutcome[runs.Count];
        Exception? thrown = null;
        void End(int i, RunOutcome outcome)
        {
            outcomes[i] = outcome;
            try
            {
                Ended?.Invoke(i, outcome);
            }
            catch (Exception e)
            {
                thrown ??= e; // the other runs come first
            }
        }
        if (runs.Count == 0)
            return outcomes;
        bool together = runs.Count > 1 && (Together || !IsOnCpu(runs[0])) && runs.All(EnsembleRun.CanTrain);
        int wanted = Math.Min(runs.Count, Jobs ?? (together ? runs.Count : DefaultJobs(runs[0]))),
            jobs = Math.Min(wanted, MostWithFilesOpen());
        if (jobs < wanted)
            Warn?.Invoke($"Runs train {jobs} at a time, not {wanted}: no more files can be open (ulimit -n).");
        if (together)
        {
            foreach (var some in OfOneShape(runs).SelectMany(indices => indices.Chunk(jobs)))
                TrainTogether(runs, some, outcomes, End, stop);
        }
        else
        {
            int next = -1;
            void Work()
            {
                for (int i; (i = Interlocked.Increment(ref next)) < runs.Count; )
                    End(i, stop.IsCancellationRequested ? new(RunEnd.Interrupted) : TrainAlone(runs[i], stop));
            }
            var workers = Enumerable.Range(1, jobs - 1).Select(_ => new Thread(Work)).ToList();
            workers.ForEach(w => w.Start());
            Work();
            workers.ForEach(w => w.Join());
        }
        if (thrown is not null)
            ExceptionDispatchInfo.Throw(thrown);
        return outcomes;
    }

    /// <summary>
    /// How many runs can have their lock, log and metrics open at the same time. Other files, such as checkpoints, need
    /// some room too.
    /// </summary>
    private static int MostWithFilesOpen()
    {
        const string Limits = "/proc/self/limits";
        const int OfARun = 3,
            Others = 32;
        if (!File.Exists(Limits))
            return int.MaxValue;
        var limit = File.ReadLines(Limits).First(l => l.StartsWith("Max open files", StringComparison.Ordinal));
        if (!long.TryParse(limit.Split(' ', StringSplitOptions.RemoveEmptyEntries)[3], out long most))
            return int.MaxValue; // unlimited
        long free = most - Directory.EnumerateFileSystemEntries("/proc/self/fd").Count() - Others;
        return (int)Math.Clamp(free / OfARun, 1, int.MaxValue);
    }

    internal static bool IsOnCpu(RunConfiguration run) =>
        TorchRuntime.ResolveDevice(run.Device, out _).type == TorchSharp.DeviceType.CPU;

    /// <summary>
    /// How many runs train at the same time if nothing else is asked for. On the CPU one for each processor, fewer if
    /// each has several threads. On a GPU one, if runs do not share launches.
    /// </summary>
    internal static int DefaultJobs(RunConfiguration run) =>
        IsOnCpu(run) ? Math.Max(1, Environment.ProcessorCount / (run.Threads ?? 1)) : 1;

    /// <summary>Groups of runs that can share launches, by their places.</summary>
    private static List<List<int>> OfOneShape(IReadOnlyList<RunConfiguration> runs)
    {
        var groups = new List<List<int>>();
        for (int i = 0; i < runs.Count; i++)
        {
            if (groups.Find(g => EnsembleRun.CanJoin(runs[g[0]], runs[i])) is { } group)
                group.Add(i);
            else
                groups.Add([i]);
        }

        return groups;
    }

    private RunOutcome TrainAlone(RunConfiguration configuration, CancellationToken stop)
    {
        var folder = RunFolder.Of(configuration);
        using var begun = TryBegin(configuration, folder, out var ended);
        if (begun is null)
            return ended!;
        try
        {
            var run = new TrainingRun(configuration, folder, begun.Log)
            {
                InitialWeights = Weights,
                Progress = Report(configuration),
                Spectrum = Reader(configuration),
            };
            return Close(run.Train(Resume, stop), folder, begun.Log);
        }
        catch (Exception e)
        {
            return Fail(begun.Log, e);
        }
        finally
        {
            Over?.Invoke(configuration);
        }
    }

    private static RunOutcome Fail(ILogger log, Exception error)
    {
        log.Error(error, "{Message}", error.Explain());
        return new(RunEnd.Failed, error.Explain());
    }

    private Action<TrainingProgress> Report(RunConfiguration configuration) =>
        progress => Progress?.Invoke(configuration, progress);

    /// <summary>Trains runs with shared launches: see <see cref="EnsembleRun"/>.</summary>
    /// <param name="runs">All runs.</param>
    /// <param name="some">The places of those to train.</param>
    /// <param name="outcomes">How runs ended, by their places.</param>
    /// <param name="end">Told how a run ended.</param>
    private void TrainTogether(
        IReadOnlyList<RunConfiguration> runs,
        int[] some,
        RunOutcome?[] outcomes,
        Action<int, RunOutcome> end,
        CancellationToken stop
    )
    {
        var held = new Dictionary<int, BegunRun>();
        var members = new List<EnsembleMember>();
        try
        {
            foreach (int index in some)
            {
                var configuration = runs[index];
                var folder = RunFolder.Of(configuration);
                RunOutcome? ended = new(RunEnd.Interrupted);
                if (
                    stop.IsCancellationRequested
                    || TryBegin(configuration, folder, out ended) is not { Log: var log } begun
                )
                {
                    end(index, ended!);
                    continue;
                }
                held.Add(index, begun);
                members.Add(
                    new(configuration, folder, log)
                    {
                        InitialWeights = Weights,
                        Progress = Report(configuration),
                        Spectrum = Reader(configuration),
                        Ended = outcome =>
                        {
                            Over?.Invoke(configuration);
                            end(
                                index,
                                outcome.Failure is { } failure
                                    ? new(RunEnd.Failed, failure.Explain())
                                    : Close(outcome.Result, folder, log)
                            );
                        },
                    }
                );
            }
            if (members.Count > 0)
                new EnsembleRun(members).Train(Resume, stop);
        }
        catch (Exception e)
        {
            foreach (var (index, begun) in held.Where(h => outcomes[h.Key] is null))
                end(index, Fail(begun.Log, e));
        }
        finally
        {
            foreach (var begun in held.Values)
                begun.Dispose();
        }
    }

    private static SpectrumReader? Reader(RunConfiguration configuration) =>
        configuration.Task.IsLinearBinding ? Spectra.CreateReader(configuration.Task.ToLinearBinding()) : null;

    /// <summary>A run that this process trains: its folder's lock, and its log.</summary>
    private sealed record BegunRun(IDisposable Lock, Logger Log) : IDisposable
    {
        public void Dispose()
        {
            Log.Close();
            Lock.Dispose();
        }
    }

    /// <summary>
    /// Takes a run's folder for this process, moves an earlier run in it out of the way, and opens its log.
    /// </summary>
    /// <param name="folder">Its folder.</param>
    /// <param name="ended">How the run ended, if there is nothing to train.</param>
    /// <returns>Null if there is nothing to train.</returns>
    private BegunRun? TryBegin(RunConfiguration configuration, RunFolder folder, out RunOutcome? ended)
    {
        IDisposable? held = null;
        Logger? log = null;
        ended = null;
        try
        {
            held = folder.TryLock();
            if (held is null)
            {
                Skipped?.Invoke($"{folder.Path} is being trained by another process.");
                ended = new(RunEnd.Elsewhere);
            }
            else if (IsFinished(configuration, folder))
            {
                ended = new(RunEnd.Done);
            }
            else
            {
                log = OpenLog(configuration, folder);
            }
        }
        catch (Exception e)
        {
            Warn?.Invoke($"{folder.Path} cannot be trained: {e.Explain()}");
            ended = new(RunEnd.Failed, e.Explain());
        }
        if (log is not null)
            return new(held!, log);
        held?.Dispose();
        return null;
    }

    private bool IsFinished(RunConfiguration configuration, RunFolder folder)
    {
        if (!Resume || Finished(folder, configuration, Warn) is not { } finished)
            return false;
        Skipped?.Invoke(
            $"{folder.Path} is finished: test accuracy {finished.TestAccuracy:0.0000} after {finished.Steps} "
                + "steps. Nothing to do."
        );
        return true;
    }

    private Logger OpenLog(RunConfiguration configuration, RunFolder folder)
    {
        // What can be wrong is found out before a run is moved.
        if (!Resume && Weights is { } file && TrainingRun.FindWeightsProblem(configuration, file) is { } problem)
            throw new InvalidDataException(problem);
        var setAside = Resume ? null : folder.SetAside();
        Directory.CreateDirectory(folder.Path);
        var log = Log(configuration, folder);
        if (setAside is not null)
        {
            log.Information(
                "The run that was in {Folder} is now in {Earlier}; --resume would have gone on with it",
                folder.Path,
                setAside
            );
        }

        log.Information(
            "Training {Name}, seed {Seed}, on {Device}; libtorch {Version}",
            configuration.Name,
            configuration.Seed,
            TorchRuntime.ResolveDevice(configuration.Device, out _).ToString(),
            TorchRuntime.TorchVersion
        );
        return log;
    }

    /// <summary>
    /// The result of a run; null if it is not finished. A damaged result counts as none, and is made again from the
    /// last checkpoint.
    /// </summary>
    /// <param name="warn">Told of a damaged result.</param>
    internal static RunResult? Finished(RunFolder folder, RunConfiguration configuration, Action<string>? warn)
    {
        try
        {
            return folder.ReadFinished(configuration.Training.Steps);
        }
        catch (Exception e) when (e.IsOfRun())
        {
            warn?.Invoke($"{e.Message}. It is made again.");
            return null;
        }
    }

    /// <summary>Logs how a run ended that did not fail.</summary>
    private static RunOutcome Close(RunResult? result, RunFolder folder, ILogger log)
    {
        if (result is null)
        {
            log.Information("To go on, give the same command with {Option}", "--resume");
            return new(RunEnd.Interrupted);
        }
        log.Information(
            "Test accuracy {TestAccuracy:0.0000} at horizon {TestHorizon} after {Steps} steps in {Seconds:0.0} s; "
                + "everything is in {Folder}",
            result.TestAccuracy,
            result.TestHorizon,
            result.Steps,
            result.Seconds,
            folder.Path
        );
        // A smaller difference is the noise of the test.
        if (result.BestTestAccuracy > result.TestAccuracy + 0.005)
        {
            log.Warning(
                "The test accuracy was {Best:0.0000} at step {BestStep}, and was lost again",
                result.BestTestAccuracy,
                result.BestStep
            );
        }

        return new(RunEnd.Done);
    }
}
