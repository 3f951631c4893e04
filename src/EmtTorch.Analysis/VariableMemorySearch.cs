using System.Numerics;
using EmtTorch.Tasks;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Analysis;

/// <summary>The computations that all groundings of one network share. Its tensors are in the caller's scope.</summary>
internal sealed class VariableMemorySearch
{
    private readonly NetworkWeights _weights;
    private readonly LinearBinding _task;
    private readonly VariableMemoryOptions _options;
    private readonly LiveEntries _live;
    private readonly PersistentPart? _persistent;
    private readonly Tensor? _withoutGain; // W_hh without its gain, on its persistent subspace (m, m)
    private readonly string? _noGain; // why there is none

    /// <exception cref="ArgumentException">α is not between 0 and 1.</exception>
    /// <exception cref="AnalysisException">No grounding is possible.</exception>
    public VariableMemorySearch(NetworkWeights weights, LinearBinding task, VariableMemoryOptions options)
    {
        (_weights, _task, _options) = (weights, task, options);
        if (weights.WhyUnusable() is { } reason)
            throw new AnalysisException(reason);
        if (weights.Dimension != task.D)
        {
            throw new AnalysisException(
                $"the network's inputs have {weights.Dimension} numbers, the task's variables {task.D}"
            );
        }
        if (options.Alpha is not (>= 0 and <= 1))
            throw new ArgumentException($"α is {options.Alpha}: it must be between 0 and 1", nameof(options));
        _live = LiveEntries.Find(task);
        if (weights.HiddenSize < _live.Rank)
        {
            throw new AnalysisException(
                $"the network has {weights.HiddenSize} hidden units, and the task needs {_live.Rank} dimensions for "
                    + "its live entries: it cannot hold the circuit"
            );
        }

        Complex[] theory = [.. Spectra.Eigenvalues(_live.Phi).OrderByDescending(z => z.Magnitude).Take(_live.Rank)];
        try
        {
            _persistent = PersistentPart.Find(weights.WeightHh, options.SpectralThreshold);
            _withoutGain = _persistent.WithoutGain(theory);
        }
        catch (AnalysisException e)
        {
            _noGain = e.Message;
        }
    }

    /// <summary>Finds the variable memories by one grounding.</summary>
    /// <param name="problems">The problems known so far.</param>
    /// <exception cref="AnalysisException">The grounding is not possible.</exception>
    public VariableMemories Find(Grounding grounding, List<string> problems)
    {
        var persistent =
            grounding == Grounding.Realization
                ? _persistent ?? throw new AnalysisException(_noGain!)
                : PersistentPart.Find(_weights.WeightHh, _options.Persistence);
        var columns =
            grounding == Grounding.Realization
                ? Realize(persistent)
                : matmul(persistent.Projector, Propagate(grounding)); // (H, s·κ)
        var indices = tensor(_live.Indices.Select(i => (long)i).ToArray());
        var basis = columns.index_select(1, indices).contiguous(); // (H, live)
        RefuseOverflow(basis);
        var (inverse, condition) = Invert(basis, _live.Rank);
        if (!(condition < 1e10))
        {
            throw new AnalysisException(
                $"the {_live.Rank} directions of the {VariableMemories.Name(grounding)} basis are dependent: it has no "
                    + "dual, and the contents of variables cannot be told apart"
            );
        }
        if (condition > 100)
        {
            problems.Add(
                $"The basis is badly conditioned ({condition:G3}): the relative error of contents is up to that many "
                    + "times the relative error of the hidden state. Contents, Φ and interventions depend on it."
            );
        }
        if (_live.Rank < _live.Indices.Count)
        {
            problems.Add(
                $"{_live.Indices.Count} history entries are live, but only {_live.Rank} combinations of them persist: "
                    + "contents are known up to the part that decays."
            );
        }

        double norm = Matrices.Norm(_live.Reference);
        var raw = matmul(inverse, matmul(_weights.WeightHh, basis)); // (live, live)
        var phi = raw;
        if (_withoutGain is null)
        {
            problems.Add($"No Φ error: {_noGain}.");
        }
        else
        {
            var inward = matmul(_persistent!.Basis.t(), _persistent.Projector); // (m, H)
            var weights = matmul(_persistent.Basis, matmul(_withoutGain, inward)); // W̃_hh (H, H)
            phi = matmul(inverse, matmul(weights, basis));
        }
        return new(_task, _live, grounding, basis, inverse, persistent.Projector, condition, problems)
        {
            Phi = phi.clone(),
            PhiTheory = _live.Reference.clone(),
            PhiError = _withoutGain is null ? null : Matrices.Norm(phi - _live.Reference) / norm,
            PhiErrorUnscaled = Matrices.Norm(raw - _live.Reference) / norm,
            Gain = (raw * _live.Reference).sum().ToDouble() / (norm * norm),
        };
    }

    /// <summary>Ψ = O(W)† O(Φ), (H, s·κ).</summary>
    private Tensor Realize(PersistentPart persistent)
    {
        if (_withoutGain is null)
            throw new AnalysisException(_noGain!);
        int n = _task.S * _task.D,
            steps = _options.RealizationSteps ?? 2 * n;
        var network = Observability(matmul(_weights.Readout, persistent.Basis), _withoutGain, steps); // (n·κ, m)
        var readLast = eye(n, dtype: ScalarType.Float64).narrow(0, n - _task.D, _task.D); // (κ, s·κ)
        var circuit = Observability(readLast, _live.Phi, steps); // (n·κ, s·κ)
        RefuseOverflow(network);
        if (!(Matrices.Condition(network) < 1e10))
        {
            throw new AnalysisException(
                "the readout does not see all persistent directions of the hidden state: the outputs do not "
                    + "determine a basis"
            );
        }
        var inverse = Invert(network, _live.Rank).Inverse;
        return matmul(persistent.Basis, matmul(inverse, matmul(circuit, _live.Projector)));
    }

    /// <summary>O = [C; CA; …; CA^(n−1)].</summary>
    private static Tensor Observability(Tensor c, Tensor a, int steps)
    {
        var blocks = new List<Tensor>(steps) { c };
        for (int k = 1; k < steps; k++)
            blocks.Add(matmul(blocks[^1], a));
        return cat(blocks);
    }

    /// <summary>[Ψ_1, …, Ψ_s] by output or Eq. 14 and 15, with its decaying part: (H, s·κ).</summary>
    private Tensor Propagate(Grounding grounding)
    {
        var readout = linalg.pinv(_weights.Readout); // W_r† (H, κ)
        var variables = new Tensor[_task.S];
        double alpha = grounding == Grounding.Output ? 1 : _options.Alpha;
        var forward = grounding == Grounding.Output ? readout : _weights.WeightIh;
        var backward = readout;
        variables[^1] = alpha * forward + (1 - alpha) * readout; // Eq. 14
        for (int k = _task.S - 1; k >= 1; k--)
            variables[k - 1] = alpha * (forward = matmul(_weights.WeightHh, forward)); // Eq. 15
        for (int k = 1; k < _task.S; k++)
            variables[k - 1] += (1 - alpha) * (backward = matmul(_weights.WeightHh.t(), backward));
        return cat(variables, 1);
    }

    private static void RefuseOverflow(Tensor powers)
    {
        if (!Matrices.IsFinite(powers))
            throw new AnalysisException("the weights are so large that powers of W_hh overflow");
    }

    /// <summary>The pseudoinverse of a matrix whose rank is known, and its condition number.</summary>
    private static (Tensor Inverse, double Condition) Invert(Tensor matrix, int rank)
    {
        var (u, values, vh) = linalg.svd(matrix, fullMatrices: false);
        var kept = values.narrow(0, 0, rank);
        var singular = Matrices.Values(kept);
        var inverse = matmul(vh.narrow(0, 0, rank).t() / kept, u.narrow(1, 0, rank).t());
        return (inverse, singular[^1] > 0 ? singular[0] / singular[^1] : double.PositiveInfinity);
    }
}
