using System.Numerics;
using EmtTorch.Settings;
using EmtTorch.Tasks;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Analysis;

/// <summary>How the basis of variable memories is found.</summary>
public enum Grounding
{
    /// <summary>
    /// The network and the circuit are two realizations of the same output sequence, so that the basis is the
    /// similarity transform between them: Ψ = O(W)† O(Φ), O(A) = [C; CA; CA²; …]. It needs the spectra to agree in
    /// count.
    /// </summary>
    Realization,

    /// <summary>
    /// Forward from the readout: Ψ_s = W_r†, Ψ_k = W_hh^{s−k} Ψ_s. Of exact circuits it gives back Φ for T1, and on the
    /// live entries of T2–T4 where Ψ is orthonormal, so that W_r† = Ψ_s.
    /// </summary>
    Output,

    /// <summary>
    /// The paper's Algorithm 1 (Eq. 14, 15): Ψ_s = α W_uh + (1−α) W_r†, Ψ_k = α W_hh^{s−k} W_uh + (1−α) (W_hhᵀ)^k W_r†.
    /// With α = 1 it gives back Φ of exact circuits where every output reads a single entry: T1, and the live entries
    /// of T2–T4 once what decays is removed. Its second term does so for T1 alone, in an orthonormal Ψ.
    /// </summary>
    Algorithm1,
}

/// <summary>How variable memories are read.</summary>
public sealed record VariableMemoryOptions
{
    /// <summary>Which grounding; null: realization where it can be had, else output.</summary>
    public Grounding? Grounding { get; init; }

    /// <summary>α of Algorithm 1: 1 grounds in the input, 0 in the output, going backward.</summary>
    public double Alpha { get; init; } = 1;

    /// <summary>The part of Ψ in eigenvectors of W_hh with |λ| below this is removed (Output and Algorithm1).</summary>
    public double Persistence { get; init; } = 0.99;

    /// <summary>Eigenvalues above are counted and compared (Realization, and the spectral error).</summary>
    public double SpectralThreshold { get; init; } = 0.9;

    /// <summary>Steps n in the observability matrices; null: 2·s·κ.</summary>
    public int? RealizationSteps { get; init; }
}

/// <summary>
/// The variable memories of a trained network (paper §6): a basis Ψ of its persistent hidden space in which W_hh is the
/// circuit's Φ, so that Ψ* h(t) is what each variable holds.
/// </summary>
/// <remarks>
/// Only the live entries of the history have a column in Ψ (see <see cref="LiveEntries"/>). Columns are not normalised:
/// that would rescale Φ's entries.
/// </remarks>
/// <example><code>
/// var memories = VariableMemories.Of(weights, LinearBinding.Named("t4"));
/// var contents = memories.Contents(network.HiddenStates(input, 108));   // (108, B, s·κ)
/// </code></example>
public sealed class VariableMemories : IDisposable
{
    private readonly int _s,
        _d;
    private readonly Tensor _scatter; // (live, s·κ)

    private VariableMemories(
        LinearBinding task,
        LiveEntries live,
        Grounding grounding,
        Tensor basis,
        Tensor inverse,
        Tensor projector,
        double condition,
        IReadOnlyList<string> problems
    )
    {
        (_s, _d, Live, PersistentRank) = (task.S, task.D, live.Indices, live.Rank);
        (Grounding, Basis, PseudoInverse, Dual, Condition, Problems) = (
            grounding,
            basis,
            inverse,
            matmul(inverse, projector),
            condition,
            problems
        );
        _scatter = zeros(live.Indices.Count, _s * _d, dtype: ScalarType.Float64);
        for (int j = 0; j < live.Indices.Count; j++)
            _scatter[j, live.Indices[j]] = 1;
    }

    /// <summary>How the basis was found.</summary>
    public Grounding Grounding { get; }

    /// <summary>The history entries that have a column, ascending; κ·k + i is component i of variable k + 1.</summary>
    public IReadOnlyList<int> Live { get; }

    /// <summary>The dimensions of the theory's persistent part, and of Ψ's span.</summary>
    public int PersistentRank { get; }

    /// <summary>Ψ (H, live).</summary>
    public Tensor Basis { get; }

    /// <summary>
    /// Ψ* = Ψ† P (live, H), P the projector on the persistent part of W_hh. Ψ† alone, the paper's, also takes in the
    /// shadow that decaying directions cast on Ψ where they are not orthogonal to it: in a trained T1 network variable
    /// s then seems to hold −0.64 u when it is written, and holds 1.02 u in what persists.
    /// </summary>
    public Tensor Dual { get; }

    /// <summary>Ψ† (live, H), the pseudoinverse.</summary>
    public Tensor PseudoInverse { get; }

    /// <summary>
    /// Ψ's largest singular value over its smallest: what an error in h is multiplied by, at most, relative to its
    /// contents.
    /// </summary>
    public double Condition { get; }

    /// <summary>
    /// Φ_learned = Ψ† W̃_hh Ψ (live, live), W̃ with tanh's gain taken out (see <see cref="PhiError"/>).
    /// </summary>
    public required Tensor Phi { get; init; }

    /// <summary>Φ on the live entries, from theory.</summary>
    public required Tensor PhiTheory { get; init; }

    /// <summary>
    /// ‖Φ_learned − Φ‖ / ‖Φ‖ (Frobenius), with the persistent eigenvalues of W_hh scaled to the magnitude that theory
    /// gives them: where |λ| > 1 the state grows until tanh holds it, and W_hh alone overstates what a step does. Null
    /// where the spectra differ in count.
    /// </summary>
    public required double? PhiError { get; init; }

    /// <summary>The same with W_hh as it is.</summary>
    public required double PhiErrorUnscaled { get; init; }

    /// <summary>The factor g that brings g Φ nearest to Ψ† W_hh Ψ: what tanh has to take back.</summary>
    public required double Gain { get; init; }

    /// <summary>What a reader has to know before trusting the numbers.</summary>
    public IReadOnlyList<string> Problems { get; }

    /// <summary>Finds the basis.</summary>
    /// <param name="weights">The network; linearised at its resting state where it has a bias.</param>
    /// <param name="task">What it was trained on.</param>
    /// <param name="options">Grounding, thresholds.</param>
    /// <exception cref="AnalysisException">The grounding can't be had; the message says why.</exception>
    public static VariableMemories Of(NetworkWeights weights, LinearBinding task, VariableMemoryOptions? options = null)
    {
        options ??= new();
        if (options.Grounding is { } grounding)
            return Of(weights, task, grounding, options, []);
        try
        {
            return Of(weights, task, Grounding.Realization, options, []);
        }
        catch (AnalysisException e)
        {
            try
            {
                return Of(
                    weights,
                    task,
                    Grounding.Output,
                    options,
                    [$"No realization grounding: {e.Message}. The output grounding is used instead."]
                );
            }
            catch (AnalysisException second) when (second.Message != e.Message)
            {
                throw new AnalysisException($"by realization, {e.Message}; by output, {second.Message}");
            }
        }
    }

    private static VariableMemories Of(
        NetworkWeights weights,
        LinearBinding task,
        Grounding grounding,
        VariableMemoryOptions options,
        List<string> problems
    )
    {
        if (weights.WhyUnusable() is { } reason)
            throw new AnalysisException(reason);
        if (weights.Dimension != task.D)
        {
            throw new AnalysisException(
                $"the network's inputs have {weights.Dimension} numbers, the task's variables {task.D}"
            );
        }

        if (weights.Dimension != task.D)
        {
            throw new AnalysisException(
                $"the network's inputs have {weights.Dimension} numbers, the task's variables {task.D}"
            );
        }

        if (options.Alpha is not (>= 0 and <= 1))
            throw new ArgumentException($"α is {options.Alpha}: it lies between 0 and 1", nameof(options));
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        using var live = LiveEntries.Of(task);
        if (weights.HiddenSize < live.Rank)
        {
            throw new AnalysisException(
                $"the network has {weights.HiddenSize} hidden units, and the task needs {live.Rank} dimensions for "
                    + "its live entries: it can't hold the circuit"
            );
        }

        Complex[] theory = [.. Spectrum.Eigenvalues(live.Phi).OrderByDescending(z => z.Magnitude).Take(live.Rank)];
        Tensor? restricted = null; // W without its gain, on its persistent subspace
        PersistentPart? persistent = null;
        string? noGain = null;
        try
        {
            persistent = PersistentPart.Of(weights.WeightHh, options.SpectralThreshold);
            restricted = persistent.WithoutGain(theory);
        }
        catch (AnalysisException e)
        {
            noGain = e.Message;
        }

        Tensor columns,
            onto;
        if (grounding == Grounding.Realization)
        {
            if (restricted is null)
                throw new AnalysisException(noGain!);
            int steps = options.RealizationSteps ?? 2 * task.S * task.D;
            var network = Observability(matmul(weights.Readout, persistent!.Basis), restricted, steps); // (n·κ, m)
            var circuit = Observability(
                eye(task.S * task.D, dtype: ScalarType.Float64).narrow(0, (task.S - 1) * task.D, task.D),
                live.Phi,
                steps
            );
            RefuseOverflow(network);
            if (Matrices.Condition(network) is var seen && !(seen < 1e10))
            {
                throw new AnalysisException(
                    "the readout does not see all of what persists in the hidden state: the outputs don't "
                        + "determine a basis"
                );
            }

            onto = persistent.Projector;
            columns = matmul(
                persistent.Basis,
                matmul(Invert(network, live.Rank).Inverse, matmul(circuit, live.Projector))
            );
        }
        else
        {
            onto = PersistentPart.Of(weights.WeightHh, options.Persistence).Projector;
            columns = matmul(onto, Chain(weights, task.S, grounding, options.Alpha));
        }
        var indices = tensor(live.Indices.Select(i => (long)i).ToArray());
        var basis = columns.index_select(1, indices).contiguous(); // (H, live)
        RefuseOverflow(basis);
        var (inverse, condition) = Invert(basis, live.Rank);
        if (!(condition < 1e10))
        {
            throw new AnalysisException(
                $"the {live.Rank} directions of the {Name(grounding)} basis are dependent: it has no dual, and the "
                    + "contents of variables can't be told apart"
            );
        }

        if (condition > 100)
        {
            problems.Add(
                $"The basis is badly conditioned ({condition:G3}): contents carry up to that many times the "
                    + "relative error of the hidden state. What depends on its dual (contents, Φ, interventions) "
                    + "is to be taken with care."
            );
        }

        if (live.Rank < live.Indices.Count)
        {
            problems.Add(
                $"{live.Indices.Count} history entries are live, but only {live.Rank} combinations of them "
                    + "persist: contents are known up to the part that decays."
            );
        }

        var raw = matmul(inverse, matmul(weights.WeightHh, basis));
        var reference = live.Reference;
        double norm = Matrices.Norm(reference);
        Tensor phi = raw;
        double? error = null;
        if (restricted is not null)
        {
            var without = matmul(
                persistent!.Basis,
                matmul(restricted, matmul(persistent.Basis.t(), persistent.Projector))
            );
            phi = matmul(inverse, matmul(without, basis));
            error = Matrices.Norm(phi - reference) / norm;
        }
        else
        {
            problems.Add($"No Φ error: {noGain}.");
        }

        var memories = new VariableMemories(task, live, grounding, basis, inverse, onto, condition, problems)
        {
            Phi = phi.clone(),
            PhiTheory = reference.clone(),
            PhiError = error,
            PhiErrorUnscaled = Matrices.Norm(raw - reference) / norm,
            Gain = (raw * reference).sum().ToDouble() / (norm * norm),
        };
        memories.MoveToOuterDisposeScope();
        return memories;
    }

    /// <summary>What the variables hold: Ψ* h, with zeros for entries that are not live.</summary>
    /// <param name="hidden">Hidden states, (…, H).</param>
    /// <returns>(…, s·κ), oldest variable first.</returns>
    /// <exception cref="ArgumentException">The states are not (…, H).</exception>
    public Tensor Contents(Tensor hidden)
    {
        Require.Ends(hidden, [Basis.shape[0]]);
        Require.SameDevice(hidden, Basis);
        using var scope = NewDisposeScope();
        return matmul(matmul(hidden.to_type(ScalarType.Float64), Dual.t()), _scatter).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// The hidden state that holds given contents: Ψ x; entries that are not live have no part in it.
    /// </summary>
    /// <param name="contents">(…, s·κ).</param>
    /// <returns>(…, H).</returns>
    /// <exception cref="ArgumentException">The contents are not (…, s·κ).</exception>
    public Tensor State(Tensor contents)
    {
        Require.Ends(contents, [_s * _d]);
        Require.SameDevice(contents, Basis);
        using var scope = NewDisposeScope();
        return matmul(matmul(contents.to_type(ScalarType.Float64), _scatter.t()), Basis.t()).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Ψ⊥: an orthonormal basis of what Ψ† does not see, its directions the principal components of the hidden states
    /// after their projection on the variable memories is taken out, the strongest first.
    /// </summary>
    /// <param name="hidden">Hidden states, (…, H).</param>
    /// <returns>(H, H − rank).</returns>
    /// <exception cref="ArgumentException">The states are not (…, H).</exception>
    public Tensor Complement(Tensor hidden)
    {
        Require.Ends(hidden, [Basis.shape[0]]);
        Require.SameDevice(hidden, Basis);
        using var scope = NewDisposeScope();
        long h = Basis.shape[0];
        var outside = linalg
            .svd(PseudoInverse, fullMatrices: true)
            .Vh.narrow(0, PersistentRank, h - PersistentRank)
            .t(); // Ψ†'s null space, (H, H − rank)
        var states = hidden.to_type(ScalarType.Float64).reshape(-1, h);
        var rest = states - matmul(matmul(states, PseudoInverse.t()), Basis.t());
        var coordinates = matmul(rest, outside);
        coordinates = coordinates - coordinates.mean([0L], keepdim: true);
        return matmul(outside, Matrices.PrincipalComponents(coordinates).Directions).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// How strongly each hidden unit takes part in each variable: the norm of its row in Ψ_k over the norm of Ψ_k.
    /// </summary>
    /// <returns>(H, s); a column's squares add up to 1, or it is 0 where the variable has no live entry.</returns>
    public double[][] Participation()
    {
        using var scope = NewDisposeScope();
        var shares = matmul(Basis, _scatter).reshape(-1, _s, _d).square().sum(2); // (H, s)
        return Matrices.Rows((shares / shares.sum([0L]).clamp_min(double.Epsilon)).sqrt());
    }

    /// <summary>Keeps its tensors beyond the present dispose scope.</summary>
    internal void MoveToOuterDisposeScope()
    {
        foreach (var tensor in (ReadOnlySpan<Tensor>)[Basis, PseudoInverse, Dual, Phi, PhiTheory, _scatter])
            tensor.MoveToOuterDisposeScope();
    }

    /// <summary>Keeps its tensors beyond all dispose scopes.</summary>
    internal void DetachFromDisposeScope()
    {
        foreach (var tensor in (ReadOnlySpan<Tensor>)[Basis, PseudoInverse, Dual, Phi, PhiTheory, _scatter])
            tensor.DetachFromDisposeScope();
    }

    public void Dispose()
    {
        foreach (var tensor in (ReadOnlySpan<Tensor>)[Basis, PseudoInverse, Dual, Phi, PhiTheory, _scatter])
            tensor.Dispose();
    }

    internal static string Name(Grounding grounding) => grounding.ToString().ToLowerInvariant();

    /// <summary>O = [C; CA; …; CA^(n−1)].</summary>
    private static Tensor Observability(Tensor c, Tensor a, int steps)
    {
        var blocks = new List<Tensor>(steps) { c };
        for (int k = 1; k < steps; k++)
            blocks.Add(matmul(blocks[^1], a));
        return cat(blocks);
    }

    /// <summary>[Ψ_1, …, Ψ_s] of Output and Algorithm1, before what decays is removed: (H, s·κ).</summary>
    private static Tensor Chain(NetworkWeights weights, int s, Grounding grounding, double alpha)
    {
        var readout = linalg.pinv(weights.Readout); // W_r† (H, κ)
        var variables = new Tensor[s];
        if (grounding == Grounding.Output)
            alpha = 1;
        var forward = grounding == Grounding.Output ? readout : weights.WeightIh;
        var backward = readout;
        variables[s - 1] = alpha * forward + (1 - alpha) * readout;
        for (int k = s - 1; k >= 1; k--)
            variables[k - 1] = alpha * (forward = matmul(weights.WeightHh, forward));
        for (int k = 1; k < s; k++)
            variables[k - 1] += (1 - alpha) * (backward = matmul(weights.WeightHh.t(), backward));
        return cat(variables, 1);
    }

    private static void RefuseOverflow(Tensor powers)
    {
        if (!Matrices.IsFinite(powers))
        {
            throw new AnalysisException(
                "the weights are so large that powers of W_hh overflow: nothing can be computed with them"
            );
        }
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
