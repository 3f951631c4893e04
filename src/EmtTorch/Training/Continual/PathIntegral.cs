using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace EmtTorch.Training;

/// <summary>
/// Synaptic Intelligence's running sum (Zenke et al. 2017, Eq. 3): ω_i ← ω_i − g_i Δθ_i at each step, g the gradient of
/// the task's own loss, without penalty and before clipping, Δθ what the step then did. Over small steps Σ_i ω_i is
/// what the loss has fallen by.
/// </summary>
internal sealed class PathIntegral : IDisposable
{
    private readonly List<(string Name, Parameter Parameter, Tensor Sum)> _paths = [];
    private readonly List<(Tensor Gradient, Tensor Weights)> _before = []; // of the step under way

    /// <param name="network">Whose parameters move.</param>
    /// <param name="names">Which of them count.</param>
    public PathIntegral(nn.Module network, IReadOnlyCollection<string> names)
    {
        foreach (var (name, parameter) in network.named_parameters())
        {
            if (names.Contains(name))
                _paths.Add((name, parameter, zeros_like(parameter).detach().DetachFromDisposeScope()));
        }
    }

    /// <summary>ω by parameter.</summary>
    public IReadOnlyDictionary<string, Tensor> Sums => _paths.ToDictionary(p => p.Name, p => p.Sum);

    /// <summary>Remembers the gradient and the weights; in the step's dispose scope.</summary>
    public void BeforeStep()
    {
        using var quiet = no_grad();
        _before.Clear();
        foreach (var (_, parameter, _) in _paths)
            _before.Add((parameter.grad!.clone(), parameter.detach().clone()));
    }

    /// <summary>Adds the step.</summary>
    public void AfterStep()
    {
        using var quiet = no_grad();
        for (int i = 0; i < _paths.Count; i++)
        {
            _paths[i]
                .Sum.addcmul_(
                    _before[i].Gradient,
                    _paths[i].Parameter - _before[i].Weights,
                    TorchSharpDefects.MinusOne
                );
        }
        _before.Clear();
    }

    /// <summary>Ω = max(ω, 0) / (Δ² + ξ), Δ what a weight has moved by over the task (Eq. 5).</summary>
    /// <remarks>Where ω is below 0 the loss rose along that weight's way; a negative Ω would push the weight away, so
    /// it counts as 0.</remarks>
    /// <param name="sum">ω.</param>
    /// <param name="start">The weight at the task's start.</param>
    /// <param name="end">And at its end.</param>
    /// <param name="damping">ξ.</param>
    public static Tensor Importance(Tensor sum, Tensor start, Tensor end, double damping)
    {
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        return (sum.clamp_min(0) / ((end - start).square() + damping)).MoveToOuterDisposeScope();
    }

    public void Dispose()
    {
        foreach (var (_, _, sum) in _paths)
            sum.Dispose();
    }
}
