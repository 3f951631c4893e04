using EmtTorch.Memory;
using static TorchSharp.torch;

namespace EmtTorch.Training;

/// <summary>
/// What a stage of continual learning does at each step beside training, for the tasks before it and for those after
/// it.
/// </summary>
internal sealed class KeptTasks : IDisposable
{
    public SynapticPenalty? Penalty { get; init; }

    /// <summary>λ.</summary>
    public double Strength { get; init; }
    public GradientProjection? Projection { get; init; }

    /// <summary>SI's sum over this stage.</summary>
    public PathIntegral? Path { get; init; }

    /// <summary>
    /// Between the gradient of the loss and the optimizer's step, which clips: what is clipped is the gradient of the
    /// loss and the penalty together.
    /// </summary>
    public void BeforeStep(nn.Module network)
    {
        Path?.BeforeStep();
        Penalty?.AddGradient(network, Strength);
        Projection?.BeforeStep();
    }

    public void AfterStep()
    {
        Projection?.AfterStep();
        Path?.AfterStep();
    }

    /// <summary>What a checkpoint must hold besides.</summary>
    public IReadOnlyDictionary<string, Tensor> Tensors =>
        Path?.Sums.ToDictionary(p => PathKey + p.Key, p => p.Value) ?? [];

    /// <summary>What these tensors' names begin with, behind `optimizer.`.</summary>
    public const string PathKey = "path_integral.";

    public void Dispose()
    {
        Penalty?.Dispose();
        Projection?.Dispose();
        Path?.Dispose();
    }
}
