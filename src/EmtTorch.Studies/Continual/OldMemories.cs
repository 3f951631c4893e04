using EmtTorch.Analysis;
using EmtTorch.Models;
using EmtTorch.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Studies;

/// <summary>
/// The variable memories Ψ of a task that was learned, while the same W_hh learns other tasks. Ψ and its dual Ψ* stay
/// as they were just after the task, and later W_hh are measured in their basis.
/// </summary>
public sealed class OldMemories : IDisposable
{
    private const double Threshold = 0.9;
    private readonly VariableMemories _memories;
    private readonly Tensor _span; // an orthonormal basis of Ψ's, (H, rank)

    private OldMemories(VariableMemories memories)
    {
        using var scope = NewDisposeScope();
        (_memories, _span) = (
            memories,
            Matrices.Range(memories.Basis, memories.PersistentRank).DetachFromDisposeScope()
        );
    }

    /// <summary>How Ψ was found.</summary>
    public Grounding Grounding => _memories.Grounding;

    /// <summary>
    /// The memories of a network that has just learned a task. Null if the task has no circuit, or if no variable
    /// memories can be read.
    /// </summary>
    public static OldMemories? Of(RunConfiguration task, SafetensorsFile weights)
    {
        if (!task.Task.IsLinearBinding || task.Model.IsTransformer)
            return null;
        using var scope = NewDisposeScope();
        using var network = NetworkWeights.Read(weights);
        try
        {
            var memories = VariableMemories.Find(network, task.Task.ToLinearBinding());
            memories.DetachFromDisposeScope();
            return new(memories);
        }
        catch (AnalysisException)
        {
            return null;
        }
    }

    /// <summary>A function that measures what becomes of the first task's memories while others are learned.</summary>
    /// <param name="task">The first stage's configuration.</param>
    /// <param name="weights">Its last checkpoint.</param>
    /// <returns>A function from a network to figures by name; null if there is nothing to measure.</returns>
    public static Func<nn.Module, IReadOnlyDictionary<string, double>>? Watch(
        RunConfiguration task,
        SafetensorsFile weights
    ) => Of(task, weights) is { } memories ? network => memories.Measure(((ElmanRnn)network).RecurrentWeights) : null;

    /// <summary>
    /// The directions that hold a task: the spans of Ψ and of Ψ*ᵀ. They are computed as the persistent invariant
    /// subspaces of W_hh and of W_hhᵀ, which also exist if a network holds several tasks, or memories that are not
    /// those of the circuit.
    /// </summary>
    /// <exception cref="TrainingException">Nothing persists, or it can't be separated from the rest.</exception>
    public static ProtectedDirections Directions(RunConfiguration task, SafetensorsFile weights)
    {
        using var scope = NewDisposeScope();
        using var network = NetworkWeights.Read(weights);
        try
        {
            var part = PersistentPart.Find(network.WeightHh, Threshold);
            return new(
                part.Basis.DetachFromDisposeScope(),
                Matrices.Range(part.Projector.t(), part.Rank).DetachFromDisposeScope(),
                part.Projector.DetachFromDisposeScope()
            );
        }
        catch (AnalysisException e)
        {
            throw new TrainingException($"{task.Name}: nothing can be protected: {e.Message}");
        }
    }

    /// <summary>
    /// Φ of the present W_hh in the old basis, (live, live): Ψ† W_hh Ψ / g, with the old gain g (<see
    /// cref="VariableMemories.Gain"/>).
    /// </summary>
    public double[][] Phi(Tensor recurrentWeights)
    {
        Require.Shape(recurrentWeights, [_memories.Basis.shape[0], _memories.Basis.shape[0]]);
        using var scope = NewDisposeScope();
        return Matrices.Rows(PhiTensor(recurrentWeights.detach().to(ScalarType.Float64).cpu()));
    }

    /// <summary>Φ of the circuit on the live entries, (live, live).</summary>
    public double[][] PhiTheory => Matrices.Rows(_memories.PhiTheory);

    /// <summary>Measures what has become of the memories.</summary>
    /// <param name="recurrentWeights">W_hh (H, H).</param>
    /// <returns>
    /// `phi_error`: ‖Ψ† W Ψ / g − Φ‖ / ‖Φ‖, how far the motion of the memories is from the circuit's. `leak`:
    /// ‖(I − ΨΨ†) W Ψ‖ / ‖W Ψ‖, the share of the motion that leads out of them. `intrusion`: ‖Ψ* W (I − ΨΨ*)‖ / ‖Ψ* W‖,
    /// what is written into them from elsewhere. `overlap`: the mean squared cosine between the span of Ψ and what
    /// persists in W now; 1 if all of the old span persists, missing if W has no persistent part. Empty if W is not
    /// finite.
    /// </returns>
    public IReadOnlyDictionary<string, double> Measure(Tensor recurrentWeights)
    {
        Require.Shape(recurrentWeights, [_memories.Basis.shape[0], _memories.Basis.shape[0]]);
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        var w = recurrentWeights.detach().to(ScalarType.Float64).cpu();
        if (!Matrices.IsFinite(w))
            return new Dictionary<string, double>();
        var moved = matmul(w, _memories.Basis);
        var written = matmul(_memories.Dual, w);
        var measures = new Dictionary<string, double>
        {
            ["phi_error"] = Matrices.Norm(PhiTensor(w) - _memories.PhiTheory) / Matrices.Norm(_memories.PhiTheory),
            ["leak"] = Matrices.Norm(moved - matmul(_span, matmul(_span.t(), moved))) / Matrices.Norm(moved),
            ["intrusion"] =
                Matrices.Norm(written - matmul(matmul(written, _memories.Basis), _memories.Dual))
                / Matrices.Norm(written),
        };
        try
        {
            var persistent = PersistentPart.Find(w, Threshold).Basis;
            measures["overlap"] = matmul(persistent.t(), _span).square().sum().ToDouble() / _memories.PersistentRank;
        }
        catch (AnalysisException) { }
        return measures;
    }

    private Tensor PhiTensor(Tensor w) => matmul(_memories.PseudoInverse, matmul(w, _memories.Basis)) / _memories.Gain;

    public void Dispose()
    {
        _memories.Dispose();
        _span.Dispose();
    }
}
