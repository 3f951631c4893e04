using EmtTorch.Configuration;
using EmtTorch.Training;
using Serilog;
using TorchSharp;

/// <summary>
/// What a process holds while it trains: it should be the same after thousands of steps as after some.
/// </summary>
internal static class TrainingMemory
{
    /// <summary>Trains in a temporary folder and prints a line now and then.</summary>
    /// <param name="path">The configuration's file. Early stopping is off.</param>
    /// <param name="steps">How many steps.</param>
    /// <param name="every">Steps from one line to the next.</param>
    /// <param name="threads">Torch's threads, for the record.</param>
    /// <param name="overrides">Further settings, as of `--set`.</param>
    public static void Run(string path, int steps, int every, int threads, IEnumerable<string> overrides)
    {
        var folder = Directory.CreateTempSubdirectory("emttorch-").FullName;
        Console.WriteLine($"{path}, {threads} threads");
        Console.WriteLine("  step  horizon  resident MB  peak MB  managed MB  nodes  tensors");
        Print(0, 0);
        try
        {
            var configuration = ConfigurationFile.Load(
                path,
                [
                    $"out={folder}",
                    $"training.steps={steps}",
                    $"training.log_interval={every}",
                    "training.early_stop=null",
                    "device=cpu",
                    .. overrides,
                ]
            );
            new TrainingRun(configuration, RunFolder.Of(configuration), Log.Logger)
            {
                Progress = p =>
                {
                    // A test has a line of its own.
                    if (p.Metrics.Step % every == 0)
                        Print(p.Metrics.Step, p.Metrics.Horizon);
                },
            }.Train();
            Print(steps, 0);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static void Print(long step, long horizon)
    {
        var memory = ProcessMemory.Now;
        Console.WriteLine(
            FormattableString.Invariant(
                $"{step, 6}{horizon, 9}{memory.Resident / 1e6, 13:0.0}{memory.Peak / 1e6, 9:0.0}{GC.GetTotalMemory(false) / 1e6, 12:0.0}{AutogradNodes.Count, 7}{torch.Tensor.TotalCount, 9}"
            )
        );
    }
}
