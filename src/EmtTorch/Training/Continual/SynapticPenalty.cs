using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Training;

/// <summary>
/// The penalty λ/2 Σ_i A_i (θ_i − c_i)² on changes of weights that were important to earlier tasks. EWC (Kirkpatrick et
/// al. 2017, Eq. 3) and SI (Zenke et al. 2017, Eq. 4) differ in the importance A.
/// </summary>
/// <remarks>
/// For several old tasks EWC adds such penalties, each with its own θ*. Their sum is one penalty and a constant:
/// Σ_k F_k (θ − θ*_k)² = A (θ − c)² + const with A = Σ F_k and c = Σ F_k θ*_k / A. So one A and one c are enough.
/// </remarks>
internal sealed class SynapticPenalty : IDisposable
{
    private const string ImportanceKey = "importance.",
        AnchorKey = "anchor.";
    private readonly Dictionary<string, (Tensor Importance, Tensor Anchor)> _terms = [];

    /// <summary>EWC: adds F (θ − θ*)² for one more task.</summary>
    /// <param name="fisher">F ≥ 0.</param>
    /// <param name="weights">θ*, after the task.</param>
    public void AddTask(string name, Tensor fisher, Tensor weights)
    {
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        if (!_terms.TryGetValue(name, out var before))
        {
            Set(name, fisher.clone(), weights.detach().clone());
        }
        else
        {
            var sum = before.Importance + fisher;
            // Where A = 0 any c will do; the weights themselves are taken.
            var share = where(sum.gt(0), fisher / sum, ones_like(sum));
            Set(name, sum, before.Anchor + share * (weights.detach() - before.Anchor));
        }
    }

    /// <summary>SI: adds to the importance, and takes the current weights as c.</summary>
    /// <param name="importance">2 Ω ≥ 0 (SI's penalty c Σ Ω (θ − θ̃)² has no ½).</param>
    /// <param name="weights">θ̃, after the task.</param>
    public void AddImportance(string name, Tensor importance, Tensor weights)
    {
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        Set(
            name,
            _terms.TryGetValue(name, out var before) ? before.Importance + importance : importance.clone(),
            weights.detach().clone()
        );
    }

    /// <summary>Adds λ A (θ − c) to the gradients, which must exist.</summary>
    /// <param name="network">The network with the parameters θ.</param>
    /// <param name="strength">λ.</param>
    public void AddGradient(nn.Module network, double strength)
    {
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        foreach (var (name, parameter) in network.named_parameters())
        {
            if (_terms.TryGetValue(name, out var term))
                parameter.grad!.addcmul_(term.Importance, parameter - term.Anchor, strength);
        }
    }

    /// <summary>The tensors that a safetensors file keeps.</summary>
    public Dictionary<string, SafetensorsTensor> Tensors()
    {
        var tensors = new Dictionary<string, SafetensorsTensor>();
        foreach (var (name, (importance, anchor)) in _terms)
        {
            tensors[ImportanceKey + name] = StoredTensors.Store(importance);
            tensors[AnchorKey + name] = StoredTensors.Store(anchor);
        }
        return tensors;
    }

    /// <summary>Loads a penalty from a safetensors file; it is 0 for parameters that the file does not have.</summary>
    /// <param name="network">The network with the parameters.</param>
    /// <exception cref="InvalidDataException">The file does not fit the network.</exception>
    public static SynapticPenalty Load(SafetensorsFile file, nn.Module network)
    {
        var penalty = new SynapticPenalty();
        using var scope = NewDisposeScope();
        foreach (var (name, parameter) in network.named_parameters())
        {
            if (file.Tensors.ContainsKey(ImportanceKey + name))
            {
                penalty.Set(
                    name,
                    StoredTensors.LoadLike(file, ImportanceKey + name, parameter),
                    StoredTensors.LoadLike(file, AnchorKey + name, parameter)
                );
            }
        }

        return penalty;
    }

    private void Set(string name, Tensor importance, Tensor anchor)
    {
        if (_terms.TryGetValue(name, out var before))
        {
            before.Importance.Dispose();
            before.Anchor.Dispose();
        }
        _terms[name] = (importance.DetachFromDisposeScope(), anchor.DetachFromDisposeScope());
    }

    public void Dispose()
    {
        foreach (var (importance, anchor) in _terms.Values)
        {
            importance.Dispose();
            anchor.Dispose();
        }
    }
}
