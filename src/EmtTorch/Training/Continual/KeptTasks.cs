using EmtTorch.Memory;
using static TorchSharp.torch;

namespace EmtTorch.Training;

/// <summary>
/// The additions to each training step of a continual stage: they protect earlier tasks, and collect what later stages
/// need to protect this one.
/// </summary>
internal sealed class KeptTasks : IDisposable
{
    public SynapticPenalty? Penalty { get; init; }

    /// <summary>λ, the strength of the penalty.</summary>
    public double Strength { get; init; }
    public GradientProjection? Projection { get; init; }

    /// <summary>The sum of synaptic intelligence over this stage.</summary>
    public PathIntegral? Path { get; init; }

    /// <summary>
    /// Called after the gradients of the loss and before the optimizer's step, so that the gradient of loss and penalty
    /// together is clipped.
    /// </summary>
    public void BeforeStep(nn.Module network)
    {
        Path?.BeforeStep();
        Penalty?.AddGradient(network, Strength);
        Projection?.BeforeStep();
    }

    /// <summary>Called after the optimizer's step.</summary>
    public void AfterStep()
    {
        Projection?.AfterStep();
        Path?.AfterStep();
    }

    /// <summary>Further tensors of a checkpoint, by name.</summary>
    public IReadOnlyDictionary<string, Tensor> Tensors =>
        Path?.Sums.ToDictionary(p => PathKey + p.Key, p => p.Value) ?? [];

    /// <summary>The beginning of these names; in a checkpoint `optimizer.` stands before it.</summary>
    public const string PathKey = "path_integral.";

    public void Dispose()
    {
        Penalty?.Dispose();
        Projection?.Dispose();
        Path?.Dispose();
    }
}
