using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace EmtTorch.Training;

/// <summary>
/// The running sum of synaptic intelligence (Zenke et al. 2017, Eq. 3): ω_i ← ω_i − g_i Δθ_i at each step, where g is
/// the gradient of the task's loss without penalty and before clipping, and Δθ the change that the step made. If steps
/// are small, Σ_i ω_i is the decrease of the loss.
/// </summary>
internal sealed class PathIntegral : IDisposable
{
    private sealed record Path(string Name, Parameter Parameter, Tensor Sum);

    private readonly List<Path> _paths = [];
    private readonly List<(Tensor Gradient, Tensor Weights)> _before = []; // before the current step

    /// <summary>Starts the sums at 0.</summary>
    /// <param name="network">The network that is trained.</param>
    /// <param name="names">The names of the parameters to sum for.</param>
    public PathIntegral(nn.Module network, IReadOnlyCollection<string> names)
    {
        foreach (var (name, parameter) in network.named_parameters())
        {
            if (names.Contains(name))
                _paths.Add(new(name, parameter, zeros_like(parameter).detach().DetachFromDisposeScope()));
        }
    }

    /// <summary>ω by parameter.</summary>
    public IReadOnlyDictionary<string, Tensor> Sums => _paths.ToDictionary(p => p.Name, p => p.Sum);

    /// <summary>Copies gradients and weights, into the step's dispose scope.</summary>
    public void BeforeStep()
    {
        using var quiet = no_grad();
        _before.Clear();
        foreach (var path in _paths)
            _before.Add((path.Parameter.grad!.clone(), path.Parameter.detach().clone()));
    }

    /// <summary>Adds the step to the sums.</summary>
    public void AfterStep()
    {
        using var quiet = no_grad();
        foreach (var (path, before) in _paths.Zip(_before))
            path.Sum.addcmul_(before.Gradient, path.Parameter - before.Weights, -1);
        _before.Clear();
    }

    /// <summary>
    /// Computes the importance Ω = max(ω, 0) / (Δ² + ξ) (Eq. 5), where Δ is the change of a weight over the task.
    /// </summary>
    /// <remarks>ω is negative where the loss rose with the weight's change. A negative Ω would push the weight away
    /// from its value, so it is 0 there.</remarks>
    /// <param name="sum">ω.</param>
    /// <param name="start">The weights at the task's start.</param>
    /// <param name="end">The weights at its end.</param>
    /// <param name="damping">ξ.</param>
    public static Tensor Importance(Tensor sum, Tensor start, Tensor end, double damping)
    {
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        return (sum.clamp_min(0) / ((end - start).square() + damping)).MoveToOuterDisposeScope();
    }

    public void Dispose()
    {
        foreach (var path in _paths)
            path.Sum.Dispose();
    }
}
