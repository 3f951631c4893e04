using System.Globalization;
using System.Text.Json;
using EmtTorch.Training;
using Serilog;

namespace EmtTorch.Studies;

/// <summary>How long a run would take.</summary>
/// <param name="Run">The run.</param>
/// <param name="Seconds">From where it is to its end; 0 where it is done.</param>
public sealed record RunEstimate(SweepItem Run, double Seconds);

/// <summary>
/// How long the runs of a sweep would take on this machine, by a short measurement of each shape of network.
/// </summary>
/// <param name="Runs">Each run.</param>
/// <param name="AtOnce">How many of them train at the same time.</param>
/// <param name="Seconds">All of them together, so many at a time.</param>
public sealed record SweepEstimate(IReadOnlyList<RunEstimate> Runs, int AtOnce, double Seconds)
{
    /// <summary>A shape is measured over about this many seconds.</summary>
    private const double MeasuredSeconds = 1;

    // Tokens is a transformer's task with all its settings, on which its speed depends; empty for an Elman network.
    private sealed record Shape(
        int S,
        int D,
        int Hidden,
        bool Bias,
        string Dtype,
        int Batch,
        int Horizon,
        string Device,
        string Tokens
    );

    /// <summary>Measures.</summary>
    /// <param name="runs">The runs.</param>
    /// <param name="jobs">How many train at a time; null: as <see cref="RunQueue"/> decides.</param>
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
        var speeds = new Dictionary<Shape, double>();
        int atOnce = Math.Max(
            1,
            Math.Min(
                open.Count,
                jobs
                    ?? (
                        RunQueue.OnCpu(runs[0].Configuration) && !together
                            ? RunQueue.DefaultJobs(runs[0].Configuration)
                            : open.Count
                    )
            )
        );
        foreach (var group in open.GroupBy(r => Of(r.Configuration)))
        {
            measuring?.Invoke(group.First().Configuration);
            speeds[group.Key] = SecondsPerStep(group.First().Configuration, Math.Min(atOnce, group.Count()), together);
        }
        List<RunEstimate> estimates =
        [
            .. runs.Select(r => new RunEstimate(r, r.Result is null ? r.StepsLeft * speeds[Of(r.Configuration)] : 0)),
        ];
        return new(estimates, atOnce, estimates.Sum(e => e.Seconds) / atOnce);
    }

    private static Shape Of(RunConfiguration c) =>
        new(
            c.Task.S,
            c.Task.D,
            c.Model.HiddenSize,
            c.Model.Bias,
            c.Model.Dtype,
            c.Training.BatchSize,
            c.Training.Curriculum.Horizons[^1],
            c.Device,
            c.Model.IsTransformer
                ? JsonSerializer.Serialize((c.Task, c.Model, c.Training.BpttSegments), WithFields)
                : ""
        );

    private static readonly JsonSerializerOptions WithFields = new() { IncludeFields = true };

    /// <summary>Seconds a step takes of one of a number of runs, all at the last horizon of the curriculum.</summary>
    private static double SecondsPerStep(RunConfiguration configuration, int copies, bool together)
    {
        var folder = Directory.CreateTempSubdirectory("emttorch-estimate-").FullName;
        try
        {
            double Train(int steps)
            {
                var runs = Enumerable
                    .Range(1, copies)
                    .Select(i =>
                        configuration with
                        {
                            Name = $"probe-{steps}",
                            Seed = i,
                            Out = folder,
                            Training = configuration.Training with
                            {
                                Steps = steps,
                                LogInterval = int.MaxValue,
                                EarlyStop = null,
                                Curriculum = new() { Horizons = [configuration.Training.Curriculum.Horizons[^1]] },
                            },
                            Evaluation = configuration.Evaluation with
                            {
                                Interval = int.MaxValue,
                                Batches = 1,
                                Horizon = configuration.Task.IsOnTokens
                                    ? configuration.Training.Curriculum.Horizons[^1]
                                    : 1,
                            },
                            Checkpoints = new() { Interval = int.MaxValue, KeepBest = false },
                        }
                    )
                    .ToList();
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
}
