using EmtTorch.Tasks;
using EmtTorch.Training;
using TorchSharp;

namespace EmtTorch.Analysis.Charts;

/// <summary>What a network reaches without having learned anything.</summary>
internal static class Guessing
{
    /// <summary>The accuracy of guessing: 0.5 for signs of outputs, the task's own for tokens.</summary>
    /// <returns>Null for a task that does not know it, such as text.</returns>
    public static double? MeasureAccuracy(RunConfiguration configuration)
    {
        var task = configuration.Task;
        if (!task.IsOnTokens)
            return 0.5;
        if (task.Own is TextConfiguration)
            return null;
        double chance = task.ToTokenTask(configuration.Training.Curriculum.Horizons[0], torch.CPU).ChanceAccuracy;
        return chance > 0 ? chance : null;
    }
}
