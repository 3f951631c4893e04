using System.Globalization;
using System.Text.Json;
using EmtTorch.Configuration;
using EmtTorch.Training;

namespace EmtTorch.Trainer;

/// <summary>What `sweep --dry-run` prints: the runs, and how long they would take here by a short measurement.</summary>
internal static class SweepEstimate
{
    /// <summary>A shape is measured over about this many seconds.</summary>
    private const double Seconds = 1;

    /// <param name="Tokens">Of a transformer its task and all its settings, on which its speed depends; empty for an Elman network.</param>
    private sealed record Shape(int S, int D, int Hidden, bool Bias, string Dtype, int Batch, int Horizon, string Device, string Tokens);

    public static int Print(Sweep sweep, IReadOnlyList<(RunConfiguration Configuration, bool Done, long Step)> runs, int? jobs, bool together)
    {
        var open = runs.Where(r => !r.Done).ToList();
        var speeds = new Dictionary<Shape, double>();
        int atOnce = Math.Max(1, Math.Min(open.Count, jobs ?? (RunQueue.OnCpu(runs[0].Configuration) && !together ? RunQueue.DefaultJobs(runs[0].Configuration) : open.Count)));
        foreach (var group in open.GroupBy(r => Of(r.Configuration)))
        {
            if (!Console.IsErrorRedirected) Console.Error.WriteLine($"Measuring {Name(group.First().Configuration)} …");
            speeds[group.Key] = Measure(group.First().Configuration, Math.Min(atOnce, group.Count()), together);
        }
        Console.WriteLine("| run | seed | state | estimate |\n|:--|--:|:--|--:|");
        double total = 0;
        foreach (var (run, done, step) in runs)
        {
            double seconds = done ? 0 : (run.Training.Steps - step) * speeds[Of(run)];
            total += seconds;
            Console.WriteLine($"| {run.Name} | {run.Seed} | {(done ? "done" : step > 0 ? $"to go on with at step {step}" : "missing")} | {(done ? "" : Screen.Duration(TimeSpan.FromSeconds(seconds)))} |");
        }
        Console.WriteLine($"\n{sweep.Name}: {SweepCommand.Count(runs.Count, "run")}, {(open.Count == 0 ? "all done." : $"{runs.Count - open.Count} done; the others take about {Screen.Duration(TimeSpan.FromSeconds(total / atOnce))} on this machine, {atOnce} at a time.")}");
        return 0;
    }

    private static Shape Of(RunConfiguration c) => new(c.Task.S, c.Task.D, c.Model.HiddenSize, c.Model.Bias, c.Model.Dtype, c.Training.BatchSize, c.Training.Curriculum.Horizons[^1], c.Device,
        c.Model.IsTransformer ? JsonSerializer.Serialize((c.Task, c.Model, c.Training.BpttSegments), WithFields) : "");

    private static readonly JsonSerializerOptions WithFields = new() { IncludeFields = true };

    private static string Name(RunConfiguration c) => c.Model.IsTransformer ? $"{c.Task.Label}, d = {c.Model.HiddenSize}, {SweepCommand.Count(c.Model.Layers, "block")}" : $"H = {c.Model.HiddenSize}, s = {c.Task.S}, d = {c.Task.D}";

    /// <summary>Seconds a step takes of one of a number of runs, all at the last horizon of the curriculum.</summary>
    private static double Measure(RunConfiguration configuration, int copies, bool together)
    {
        var folder = Directory.CreateTempSubdirectory("emttorch-estimate-").FullName;
        try
        {
            using var screen = new Screen();
            double Train(int steps)
            {
                var runs = Enumerable.Range(1, copies).Select(i => configuration with
                {
                    Name = $"probe-{steps}", Seed = i, Out = folder,
                    Training = configuration.Training with { Steps = steps, LogInterval = int.MaxValue, EarlyStop = null, Curriculum = new() { Horizons = [configuration.Training.Curriculum.Horizons[^1]] } },
                    Evaluation = configuration.Evaluation with { Interval = int.MaxValue, Batches = 1, Horizon = configuration.Task.IsOnTokens ? configuration.Training.Curriculum.Horizons[^1] : 1 },
                    Checkpoints = new() { Interval = int.MaxValue, KeepBest = false },
                }).ToList();
                new RunQueue { Screen = screen, Label = SweepCommand.Label, Verbose = false, Jobs = copies, Together = together }.Train(runs, default);
                return runs.Max(r => RunFolder.Of(r).ReadResult()?.Seconds ?? double.NaN) / steps;
            }
            Train(2); // what is compiled and allocated at first
            double once = Train(4);
            return double.IsFinite(once) ? Train((int)Math.Clamp(Seconds / once, 4, 2000)) : once;
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }
}
