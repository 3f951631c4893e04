using EmtTorch.Training;
using Serilog;

namespace EmtTorch.Studies;

/// <summary>How long a run would take.</summary>
/// <param name="Run">The run.</param>
/// <param name="Seconds">From its last checkpoint to its end; 0 if it is done.</param>
public sealed record RunEstimate(SweepItem Run, double Seconds);

/// <summary>
/// How long the runs of a sweep would take on this machine. A network of each shape is trained for about a second.
/// </summary>
/// <param name="Runs">The estimate of each run.</param>
/// <param name="AtOnce">How many of them train at the same time.</param>
/// <param name="Seconds">The time of all of them, so many at a time.</param>
public sealed record SweepEstimate(IReadOnlyList<RunEstimate> Runs, int AtOnce, double Seconds)
{
    /// <summary>About how long a shape is measured.</summary>
    private const double MeasuredSeconds = 1;

    /// <summary>Measures how long runs would take.</summary>
    /// <param name="runs">The runs.</param>
    /// <param name="jobs">How many train at the same time; null: as <see cref="RunQueue"/> decides.</param>
    /// <param name="measuring">Told of a network of each shape before it is measured.</param>
    public static SweepEstimate Measure(
        IReadOnlyList<SweepItem> runs,
        int? jobs,
        Action<RunConfiguration>? measuring = null
    ) => Measure(runs, jobs, together: false, measuring);

    internal static SweepEstimate Measure(
        IReadOnlyList<SweepItem> runs,
        int? jobs,
        bool together,
        Action<RunConfiguration>? measuring
    )
    {
        var open = runs.Where(r => r.Result is null).ToList();
        var speeds = new Dictionary<RunConfiguration, double>();
        var first = runs[0].Configuration;
        int most = jobs ?? (RunQueue.IsOnCpu(first) && !together ? RunQueue.DefaultJobs(first) : open.Count);
        int atOnce = Math.Max(1, Math.Min(open.Count, most));
        foreach (var group in open.GroupBy(r => Shape(r.Configuration)))
        {
            measuring?.Invoke(group.First().Configuration);
            speeds[group.Key] = SecondsPerStep(group.First().Configuration, Math.Min(atOnce, group.Count()), together);
        }
        List<RunEstimate> estimates =
        [
            .. runs.Select(r => new RunEstimate(
                r,
                r.Result is null ? r.StepsLeft * speeds[Shape(r.Configuration)] : 0
            )),
        ];
        return new(estimates, atOnce, estimates.Sum(e => e.Seconds) / atOnce);
    }

    /// <summary>The settings on which the time of a step depends.</summary>
    private static RunConfiguration Shape(RunConfiguration run) =>
        new()
        {
            Task = run.Task.Own is null
                ? new()
                {
                    Name = "repeat_copy",
                    D = run.Task.D,
                    S = run.Task.S,
                }
                : run.Task,
            Model = run.Model.IsTransformer
                ? run.Model
                : new()
                {
                    HiddenSize = run.Model.HiddenSize,
                    Bias = run.Model.Bias,
                    Dtype = run.Model.Dtype,
                },
            Training = new()
            {
                BatchSize = run.Training.BatchSize,
                BpttSegments = run.Training.BpttSegments,
                Curriculum = new() { Horizons = [run.Training.Curriculum.Horizons[^1]] },
            },
            Device = run.Device,
        };

    /// <summary>
    /// The seconds of a step at the last horizon of the curriculum, while a number of such runs train side by side.
    /// </summary>
    private static double SecondsPerStep(RunConfiguration configuration, int copies, bool together)
    {
        var folder = Directory.CreateTempSubdirectory("emttorch-estimate-").FullName;
        try
        {
            double Train(int steps)
            {
                var probe = Probe(configuration, steps) with { Out = folder };
                var runs = Enumerable.Range(1, copies).Select(i => probe with { Seed = i }).ToList();
                new RunQueue
                {
                    Log = (_, _) => new LoggerConfiguration().CreateLogger(),
                    Jobs = copies,
                    Together = together,
                }.Train(runs, default);
                return runs.Max(r => RunFolder.Of(r).ReadResult()?.Seconds ?? double.NaN) / steps;
            }
            Train(2); // what is compiled and allocated at first
            double once = Train(4);
            return double.IsFinite(once) ? Train((int)Math.Clamp(MeasuredSeconds / once, 4, 2000)) : once;
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    /// <summary>A run of some steps at the last horizon, with nothing else that takes time.</summary>
    private static RunConfiguration Probe(RunConfiguration run, int steps)
    {
        int horizon = run.Training.Curriculum.Horizons[^1];
        return run with
        {
            Name = $"probe-{steps}",
            Training = run.Training with
            {
                Steps = steps,
                LogInterval = int.MaxValue,
                EarlyStop = null,
                Curriculum = new() { Horizons = [horizon] },
            },
            Evaluation = run.Evaluation with
            {
                Interval = int.MaxValue,
                Batches = 1,
                Horizon = run.Task.IsOnTokens ? horizon : 1,
            },
            Checkpoints = new() { Interval = int.MaxValue, KeepBest = false },
        };
    }
}
