using EmtTorch.Training;

namespace EmtTorch.Studies;

/// <summary>A run of a sweep with what is there of it.</summary>
/// <param name="Run">The run.</param>
/// <param name="Folder">Its folder.</param>
/// <param name="Result">Its result; null: it is not finished.</param>
/// <param name="Step">Where it would go on.</param>
public sealed record SweepItem(SweepRun Run, RunFolder Folder, RunResult? Result, long Step)
{
    public RunConfiguration Configuration => Run.Configuration;

    /// <summary>What tells the run from the others.</summary>
    public string Label => LabelOf(Configuration);

    public long StepsLeft => Result is null ? Math.Max(0, Configuration.Training.Steps - Step) : 0;

    /// <summary>How much there is to do, in no unit: multiplications.</summary>
    internal double Work => WorkOf(Configuration, StepsLeft);

    /// <summary>Looks into a run's folder.</summary>
    /// <param name="run">The run.</param>
    /// <param name="warn">Told of a damaged result.</param>
    public static SweepItem Of(SweepRun run, Action<string>? warn = null)
    {
        var folder = RunFolder.Of(run.Configuration);
        var result = RunQueue.Finished(folder, run.Configuration, warn);
        return new(
            run,
            folder,
            result,
            result is null ? new CheckpointFolder(folder.Checkpoints, 1, false).LastStep ?? 0 : result.Steps
        );
    }

    internal static string LabelOf(RunConfiguration run) => $"{run.Name}, seed {run.Seed}";

    internal static double WorkOf(RunConfiguration c, long steps) =>
        c.Model.IsTransformer
            // A block has three d × 4d's worth of weights, more or less.
            ? (double)steps
                * c.Training.BatchSize
                * c.Task.TokensAt(c.Training.Curriculum.Horizons[^1])
                * c.Model.HiddenSize
                * c.Model.HiddenSize
                * 12
                * c.Model.Layers
            : (double)steps
                * c.Training.BatchSize
                * (c.Task.S + c.Training.Curriculum.Horizons[^1])
                * c.Model.HiddenSize
                * (c.Model.HiddenSize + 2 * c.Task.D);
}
