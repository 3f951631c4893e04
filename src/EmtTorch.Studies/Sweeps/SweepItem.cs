using EmtTorch.Training;

namespace EmtTorch.Studies;

/// <summary>A run of a sweep, and how far it has come.</summary>
/// <param name="Run">The run.</param>
/// <param name="Folder">Its folder.</param>
/// <param name="Result">Its result; null if it is not finished.</param>
/// <param name="Step">The step of its last checkpoint, or of its result.</param>
public sealed record SweepItem(SweepRun Run, RunFolder Folder, RunResult? Result, long Step)
{
    public RunConfiguration Configuration => Run.Configuration;

    /// <summary>Its name and seed, which tell it from the other runs.</summary>
    public string Label => LabelOf(Configuration);

    public long StepsLeft => Result is null ? Math.Max(0, Configuration.Training.Steps - Step) : 0;

    /// <summary>About how many multiplications are left to do, up to a factor that all runs have in common.</summary>
    internal double Work => WorkOf(Configuration, StepsLeft);

    /// <summary>Reads from a run's folder how far it has come.</summary>
    /// <param name="run">The run.</param>
    /// <param name="warn">Told of a damaged result.</param>
    public static SweepItem Read(SweepRun run, Action<string>? warn = null)
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

    internal static double WorkOf(RunConfiguration c, long steps)
    {
        double positions = (double)steps * c.Training.BatchSize * c.Task.LengthAt(c.Training.Curriculum.Horizons[^1]),
            width = c.Model.HiddenSize;
        // A block has about 12 d² weights.
        return positions * width * (c.Model.IsTransformer ? 12 * width * c.Model.Layers : width + 2 * c.Task.D);
    }
}
