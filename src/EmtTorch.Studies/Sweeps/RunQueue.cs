using System.Runtime.InteropServices;
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

    /// <summary>It was told to stop, and wrote a checkpoint.</summary>
    Interrupted,

    /// <summary>Another process trains it.</summary>
    Elsewhere,
}

/// <summary>What became of a run, and why, where it failed.</summary>
public sealed record RunOutcome(RunEnd End, string? Failure = null);

/// <summary>
/// Trains runs, several at a time: on the CPU each of a number of workers takes the next one when it is done; on a GPU
/// all of one shape are in each launch. A run's result is what it would be alone. No two processes train the same run.
/// </summary>
/// <example><code>
/// var queue = new RunQueue { Log = (run, folder) => new LoggerConfiguration().WriteTo.File(folder.LogFile).CreateLogger() };
/// RunOutcome[] outcomes = queue.Train([ConfigurationFile.Load("configs/t1.json"), ConfigurationFile.Load("configs/t2.json")]);
/// </code></example>
public sealed record RunQueue
{
    /// <summary>Makes a run's log.</summary>
    public required Func<RunConfiguration, RunFolder, Logger> Log { get; init; }

    /// <summary>Told how far a run is, every log interval; from several threads.</summary>
    public Action<RunConfiguration, TrainingProgress>? Progress { get; init; }

    /// <summary>Told that a run takes no more steps, for whatever reason; from several threads.</summary>
    public Action<RunConfiguration>? Over { get; init; }

    /// <summary>Told of a run that another process trains, or that is finished already; from several threads.</summary>
    public Action<string>? Skipped { get; init; }

    /// <summary>Told of what is wrong with files, but can be mended.</summary>
    public Action<string>? Warn { get; init; }

    /// <summary>Go on from checkpoints, and leave out runs that are finished.</summary>
    public bool Resume { get; init; }

    /// <summary>Where first weights come from in place of random ones.</summary>
    public string? Weights { get; init; }

    /// <summary>How many runs train at a time; null: one for each processor, on a GPU all.</summary>
    public int? Jobs { get; init; }

    /// <summary>Train as a GPU does, on the CPU too: for tests.</summary>
    internal bool Together { get; init; }

    /// <summary>Told what became of a run, with its place among the runs; from several threads.</summary>
    public Action<int, RunOutcome>? Ended { get; init; }

    /// <summary>Trains them.</summary>
    /// <returns>What became of each, in their order.</returns>
    public RunOutcome[] Train(IReadOnlyList<RunConfiguration> runs, CancellationToken stop = default)
    {
        var outcomes = new RunOutcome[runs.Count];
        void End(int i, RunOutcome outcome)
        {
            outcomes[i] = outcome;
            Ended?.Invoke(i, outcome);
        }
        if (runs.Count == 0)
            return outcomes;
        bool together = runs.Count > 1 && (Together || !OnCpu(runs[0])) && runs.All(EnsembleRun.CanTrain);
        int jobs = Math.Min(runs.Count, Jobs ?? (together ? runs.Count : DefaultJobs(runs[0])));
        if (together)
        {
            foreach (var some in OfOneShape(runs).SelectMany(indices => indices.Chunk(jobs)))
            {
                if (stop.IsCancellationRequested)
                {
                    foreach (int i in some)
                        End(i, new(RunEnd.Interrupted));
                }
                else
                {
                    TrainTogether([.. some.Select(i => (runs[i], i))], End, stop);
                }
            }

            return outcomes;
        }
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
        return outcomes;
    }

    public static bool OnCpu(RunConfiguration run) =>
        TorchRuntime.ResolveDevice(run.Device, out _).type == TorchSharp.DeviceType.CPU;

    /// <summary>
    /// On the CPU a network for each processor, with one thread each; a GPU takes all of them in each launch, in place
    /// of this.
    /// </summary>
    public static int DefaultJobs(RunConfiguration run) =>
        OnCpu(run) ? Math.Max(1, Environment.ProcessorCount / (run.Threads ?? 1)) : 1;

    /// <summary>The runs that can be in one launch, by their places.</summary>
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
        var (ended, held, log) = Begin(configuration, folder);
        using (held)
        using (log)
        {
            if (ended is not null)
                return ended;
            try
            {
                var run = new TrainingRun(configuration, folder, log!)
                {
                    InitialWeights = Weights,
                    Progress = Report(configuration),
                    Spectrum = Reader(configuration),
                };
                return Close(run.Train(Resume, stop), folder, log!);
            }
            catch (Exception e) when (e.IsOfRun())
            {
                log!.Error("{Message}", TorchSharpDefects.Message(e));
                return new(RunEnd.Failed, TorchSharpDefects.Message(e));
            }
            finally
            {
                Over?.Invoke(configuration);
            }
        }
    }

    private Action<TrainingProgress> Report(RunConfiguration configuration) =>
        progress => Progress?.Invoke(configuration, progress);

    /// <summary>All of these at once: see <see cref="EnsembleRun"/>.</summary>
    private void TrainTogether(
        (RunConfiguration Configuration, int Index)[] runs,
        Action<int, RunOutcome> end,
        CancellationToken stop
    )
    {
        var held = new List<IDisposable>();
        var members = new List<EnsembleMember>();
        try
        {
            foreach (var (configuration, index) in runs)
            {
                var folder = RunFolder.Of(configuration);
                var (ended, taken, log) = Begin(configuration, folder);
                if (ended is not null)
                {
                    end(index, ended);
                    continue;
                }
                held.AddRange([log!, taken!]);
                members.Add(
                    new(configuration, folder, log!)
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
                                    ? new(RunEnd.Failed, TorchSharpDefects.Message(failure))
                                    : Close(outcome.Result, folder, log!)
                            );
                        },
                    }
                );
            }
            if (members.Count > 0)
                new EnsembleRun(members).Train(Resume, stop);
        }
        finally
        {
            held.ForEach(h => h.Dispose());
        }
    }

    private static SpectrumReader? Reader(RunConfiguration configuration) =>
        configuration.Task.IsLinearBinding ? Spectrum.Reader(configuration.Task.ToLinearBinding()) : null;

    /// <summary>
    /// The run's folder, held for this process, with what was in it before out of the way, and its log; or how the run
    /// has ended already.
    /// </summary>
    private (RunOutcome? Ended, IDisposable? Held, Logger? Log) Begin(RunConfiguration configuration, RunFolder folder)
    {
        if (folder.TryLock() is not { } held)
        {
            Skipped?.Invoke($"{folder.Path} is being trained by another process.");
            return (new(RunEnd.Elsewhere), null, null);
        }
        if (Resume && Finished(folder, configuration, Warn) is { } finished)
        {
            held.Dispose();
            Skipped?.Invoke(
                $"{folder.Path} is finished: test accuracy {finished.TestAccuracy:0.0000} after {finished.Steps} "
                    + "steps. Nothing to do."
            );
            return (new(RunEnd.Done), null, null);
        }
        var setAside = !Resume && folder.HoldsRun ? folder.SetAside() : null;
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
        return (null, held, log);
    }

    /// <summary>
    /// The result of a run that is finished; a damaged one is named, and made again from the last checkpoint.
    /// </summary>
    /// <param name="folder">The run's folder.</param>
    /// <param name="configuration">The run.</param>
    /// <param name="warn">Told of a damaged result.</param>
    public static RunResult? Finished(RunFolder folder, RunConfiguration configuration, Action<string>? warn)
    {
        try
        {
            return folder.ReadFinished(configuration.Training.Steps);
        }
        catch (InvalidDataException e)
        {
            warn?.Invoke($"{e.Message}. It is made again.");
            return null;
        }
    }

    /// <summary>Says how a run ended that did not fail.</summary>
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
        // A bit more or less in the last digit is the test's own noise.
        if (result.BestTestAccuracy > result.TestAccuracy + 0.005)
        {
            log.Warning(
                "The test accuracy was {Best:0.0000} at step {BestStep}, and was lost again; that checkpoint is kept",
                result.BestTestAccuracy,
                result.BestStep
            );
        }

        return new(RunEnd.Done);
    }
}
