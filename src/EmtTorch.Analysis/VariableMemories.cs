using EmtTorch.Tasks;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Analysis;

/// <summary>
/// The variable memories of a trained network (Karuvally et al. 2023, section 6): a basis Ψ of the persistent hidden
/// space in which W_hh is the circuit's Φ. Ψ* h(t) is the content of the variables at time t.
/// </summary>
/// <remarks>
/// Only the live entries of the history have a column in Ψ (see <see cref="LiveEntries"/>). Columns are not normalised:
/// that would rescale the entries of Φ.
/// </remarks>
/// <example><code>
/// using var memories = VariableMemories.Find(weights, LinearBinding.Named("t4"));
/// var contents = memories.Contents(network.HiddenStates(input, 108));   // (108, B, s·κ)
/// </code></example>
public sealed class VariableMemories : IDisposable
{
    private readonly int _s,
        _d;
    private readonly Tensor _scatter; // (live, s·κ)

    internal VariableMemories(
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
        (Grounding, Basis, PseudoInverse, Condition, Problems) = (grounding, basis, inverse, condition, problems);
        Dual = matmul(inverse, projector);
        _scatter = zeros(live.Indices.Count, _s * _d, dtype: ScalarType.Float64);
        for (int j = 0; j < live.Indices.Count; j++)
            _scatter[j, live.Indices[j]] = 1;
    }

    /// <summary>The way in which the basis was found.</summary>
    public Grounding Grounding { get; }

    /// <summary>The history entries that have a column, ascending; κ·k + i is component i of variable k + 1.</summary>
    public IReadOnlyList<int> Live { get; }

    /// <summary>The dimension of the theory's persistent part, and of the span of Ψ.</summary>
    public int PersistentRank { get; }

    /// <summary>Ψ (H, live).</summary>
    public Tensor Basis { get; }

    /// <summary>
    /// Ψ* = Ψ† P (live, H), with P the projector on the persistent part of W_hh. The paper has Ψ† alone. But decaying
    /// directions that are not orthogonal to Ψ have a component along it, which Ψ† includes: in a trained T1 network
    /// variable s then seems to hold −0.64 u when it is written, while its persistent content is 1.02 u.
    /// </summary>
    public Tensor Dual { get; }

    /// <summary>Ψ† (live, H), the pseudoinverse.</summary>
    public Tensor PseudoInverse { get; }

    /// <summary>
    /// The condition number of Ψ: the largest factor by which a relative error of h grows in the contents.
    /// </summary>
    public double Condition { get; }

    /// <summary>
    /// Φ_learned = Ψ† W̃_hh Ψ (live, live). W̃_hh is W_hh without the gain (see <see cref="PhiError"/>).
    /// </summary>
    public required Tensor Phi { get; init; }

    /// <summary>Φ of the circuit on the live entries (live, live).</summary>
    public required Tensor PhiTheory { get; init; }

    /// <summary>
    /// ‖Φ_learned − Φ‖ / ‖Φ‖ (Frobenius norm), with the persistent eigenvalues of W_hh scaled to the magnitudes of
    /// theory: if |λ| > 1, the state grows until tanh limits it, and W_hh alone overstates a step. Null if the spectra
    /// differ in count.
    /// </summary>
    public required double? PhiError { get; init; }

    /// <summary>The same with W_hh as it is.</summary>
    public required double PhiErrorUnscaled { get; init; }

    /// <summary>The factor g with the smallest ‖Ψ† W_hh Ψ − g Φ‖, which tanh compensates.</summary>
    public required double Gain { get; init; }

    /// <summary>Sentences that a reader must know before trusting the numbers.</summary>
    public IReadOnlyList<string> Problems { get; }

    /// <summary>Finds the variable memories of a network.</summary>
    /// <param name="weights">The network. If it has a bias, linearise it at its resting state first.</param>
    /// <param name="task">The task that it was trained on.</param>
    /// <param name="options">Grounding and thresholds. Null: the defaults.</param>
    /// <exception cref="ArgumentException">α is not between 0 and 1.</exception>
    /// <exception cref="AnalysisException">The grounding is not possible; the message says why.</exception>
    public static VariableMemories Find(
        NetworkWeights weights,
        LinearBinding task,
        VariableMemoryOptions? options = null
    )
    {
        options ??= new();
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        var search = new VariableMemorySearch(weights, task, options);
        var memories = options.Grounding is { } grounding ? search.Find(grounding, []) : FindAny(search);
        memories.MoveToOuterDisposeScope();
        return memories;
    }

    private static VariableMemories FindAny(VariableMemorySearch search)
    {
        try
        {
            return search.Find(Grounding.Realization, []);
        }
        catch (AnalysisException first)
        {
            try
            {
                return search.Find(
                    Grounding.Output,
                    [$"No realization grounding: {first.Message}. The output grounding is used instead."]
                );
            }
            catch (AnalysisException second) when (second.Message != first.Message)
            {
                throw new AnalysisException($"by realization, {first.Message}; by output, {second.Message}");
            }
        }
    }

    /// <summary>The contents of the variables, Ψ* h. Entries that are not live are 0.</summary>
    /// <param name="hidden">Hidden states, (…, H).</param>
    /// <returns>(…, s·κ), oldest variable first, float64.</returns>
    /// <exception cref="ArgumentException">The states are not (…, H).</exception>
    public Tensor Contents(Tensor hidden)
    {
        Require.Ends(hidden, [Basis.shape[0]]);
        Require.SameDevice(hidden, Basis);
        using var scope = NewDisposeScope();
        return matmul(matmul(hidden.to_type(ScalarType.Float64), Dual.t()), _scatter).MoveToOuterDisposeScope();
    }

    /// <summary>The hidden state with the given contents, Ψ x. Entries that are not live are ignored.</summary>
    /// <param name="contents">x (…, s·κ).</param>
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
    /// Ψ⊥ (Algorithm 1): an orthonormal basis of the null space of Ψ†. Its directions are the principal components of
    /// the hidden states without their projection on the variable memories, strongest first.
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
    /// The share of each hidden unit in each variable: the norm of its row in Ψ_k over the norm of Ψ_k.
    /// </summary>
    /// <returns>(H, s). The squares of a column add up to 1, or to 0 if the variable has no live entry.</returns>
    public double[][] Participation()
    {
        using var scope = NewDisposeScope();
        var shares = matmul(Basis, _scatter).reshape(-1, _s, _d).square().sum(2); // (H, s)
        return Matrices.Rows((shares / shares.sum([0L]).clamp_min(double.Epsilon)).sqrt());
    }

    /// <summary>The name of a grounding in files and tables.</summary>
    internal static string Name(Grounding grounding) => grounding.ToString().ToLowerInvariant();

    private Tensor[] Tensors => [Basis, PseudoInverse, Dual, Phi, PhiTheory, _scatter];

    /// <summary>Moves its tensors out of the current dispose scope.</summary>
    internal void MoveToOuterDisposeScope()
    {
        foreach (var tensor in Tensors)
            tensor.MoveToOuterDisposeScope();
    }

    /// <summary>Takes its tensors out of all dispose scopes.</summary>
    internal void DetachFromDisposeScope()
    {
        foreach (var tensor in Tensors)
            tensor.DetachFromDisposeScope();
    }

    public void Dispose()
    {
        foreach (var tensor in Tensors)
            tensor.Dispose();
    }
}
