using static TorchSharp.torch;

namespace EmtTorch.Memory;

/// <summary>
/// n chunks of C tokens each and the fast weights through them. With F before a chunk and its tokens i, j = 0 … C−1:
/// <code>
/// r_i = γ^i Fᵀq_i + Σ_{j&lt;i} γ^{i−1−j} (q_i·k_j) u_j          F' = γ^C F + Σ_j γ^{C−1−j} k_j u_jᵀ
/// Hebbian: u_j = β_j v_j    delta: u_i = β_i (v_i − p_i),  p_i = γ^{i+1} Fᵀk_i + Σ_{j&lt;i} γ^{i−j} (k_i·k_j) u_j
/// </code>
/// The prediction p that delta corrects is a read by the keys, one decay later: keys stand below the queries, and all
/// that reads is done for both at once, X = [Q; K]. With L_ij = β_i γ^{i−j} (k_i·k_j) below the diagonal, u = (I + L)⁻¹
/// β(v − γ^{i+1} KF) = Ũ − W̃F: one triangular solve for all chunks (the UT transform, DeltaNet, arXiv 2406.06484), and
/// F' = A F + M with A = γ^C I − K̃ᵀW̃, M = K̃ᵀŨ, K̃_j = γ^{C−1−j} k_j.
/// Only F' goes from chunk to chunk, and backwards, with Aᵀ, for the gradients: Hebbian by one product with the powers
/// of γ between chunks, delta by <see cref="ChunkTransitions"/>.
/// Tokens that are missing in the last chunks have k = 0 and β = 0 and read and write nothing; <see
/// cref="FastWeightDecays"/> lets nothing decay for them.
/// </summary>
/// <remarks>All tensors belong to the surrounding dispose scope. Gradients must not be recorded.</remarks>
internal sealed class FastWeightChunks
{
    private readonly long _tokens,
        _size,
        _keySize,
        _valueSize;
    private readonly long[] _chunked; // B, h, n, C
    private readonly bool _delta;
    private readonly FastWeightDecays _decays;
    private readonly Tensor _k,
        _v,
        _strength; // (B, h, n, C, d_k), (B, h, n, C, d_v), (B, h, n, C, 1)
    private readonly Tensor _x; // [Q; K] or Q: (B, h, n, R, d_k), R = 2C or C
    private readonly Tensor _among,
        _fromState,
        _toState; // powers of γ, (h, 1, R, C), (h, 1, R, 1), (h, n, C, 1)
    private readonly Tensor _products,
        _weights; // X Kᵀ, and times γ: (B, h, n, R, C)
    private readonly Tensor _decayedX,
        _decayedK; // γ^i q (and γ^{i+1} k below), γ^{C−1−j} k
    private readonly Tensor? _system,
        _w; // delta: L (B, h, n, C, C), W̃ (B, h, n, C, d_k)
    private readonly ChunkTransitions? _transitions; // delta: A
    private readonly Tensor _u,
        _states; // u (B, h, n, C, d_v), F before each chunk (B, h, n, d_k, d_v)

    /// <summary>F after the last token (B, h, d_k, d_v).</summary>
    public Tensor After { get; }

    /// <summary>Shapes as for <see cref="FastWeights.Scan"/>, with at most n C tokens.</summary>
    public FastWeightChunks(
        Tensor q,
        Tensor k,
        Tensor v,
        Tensor strength,
        Tensor state,
        FastWeightDecays decays,
        bool delta
    )
    {
        long[] shape = q.shape;
        (_tokens, _size, _keySize, _valueSize) = (shape[2], decays.Size, shape[3], v.shape[3]);
        _chunked = [shape[0], shape[1], decays.Chunks, decays.Size];
        (_delta, _decays) = (delta, decays);
        _k = Chunked(k, _keySize);
        _v = Chunked(v, _valueSize);
        _strength = Chunked(strength, 1);
        _x = delta ? cat([Chunked(q, _keySize), _k], -2) : Chunked(q, _keySize);
        _fromState = decays.Reads.narrow(-1, 0, 1);
        _among = decays.Reads.narrow(-1, 1, _size);
        _toState = decays.Writes.narrow(-2, 1, _size);

        _products = matmul(_x, _k.mT);
        _weights = _products * _among;
        _decayedX = _x * _fromState;
        _decayedK = _k * _toState;
        if (delta)
        {
            _system = Keys(_weights) * _strength;
            var sides = cat([_v, Keys(_decayedX)], -1).mul_(_strength);
            var solved = linalg.solve_triangular(_system, sides, upper: false, unitriangular: true); // [Ũ, W̃]
            var written = matmul(_decayedK.mT, solved); // [M, K̃ᵀW̃]
            _w = solved.narrow(-1, _valueSize, _keySize);
            var transitions = written.narrow(-1, _valueSize, _keySize).neg();
            transitions.diagonal(0, -2, -1).add_(decays.Writes.select(-2, 0)); // A: γ^C (h, n, 1)
            _transitions = new(transitions);
            (_states, After) = _transitions.Carry(state, written.narrow(-1, 0, _valueSize), backwards: false);
            _u = solved.narrow(-1, 0, _valueSize) - matmul(_w, _states);
        }
        else
        {
            _u = _v * _strength;
            var written = matmul(_decayedK.mT, _u);
            var carried = AmongChunks(decays.Carried!, cat([state.unsqueeze(2), written], 2));
            _states = carried.narrow(2, 0, decays.Chunks);
            After = carried.select(2, decays.Chunks);
        }
    }

    /// <summary>r (B, h, T, d_v).</summary>
    public Tensor Read() => Tokens(matmul(Queries(_weights), _u).add_(matmul(Queries(_decayedX), _states)));

    /// <summary>
    /// Gradients of a loss, from its gradients in r and in the state after; that in γ is added to <paramref
    /// name="ofDecay"/>, where there is one.
    /// </summary>
    public (Tensor Q, Tensor K, Tensor V, Tensor Strength, Tensor State) Gradients(
        Tensor ofRead,
        Tensor ofAfter,
        Tensor? ofDecay
    )
    {
        var dr = Chunked(ofRead, _valueSize);
        var du = matmul(Queries(_weights).mT, dr);
        var toStates = matmul(Queries(_decayedX).mT, dr);
        if (_delta)
            toStates = toStates.sub_(matmul(_w!.mT, du));
        var (dAfter, dState) = CarryBack(ofAfter, toStates);
        du = du.add_(matmul(_decayedK, dAfter));

        Tensor dv,
            dStrength;
        var dOut = dr; // of [r; p], (B, h, n, R, d_v)
        if (_delta)
        {
            var dSide = linalg.solve_triangular(_system!.mT, du, upper: true, unitriangular: true);
            var prediction = matmul(Keys(_weights), _u).add_(matmul(Keys(_decayedX), _states));
            dv = dSide * _strength;
            dStrength = (_v - prediction).mul_(dSide).sum([-1L]);
            dOut = cat([dr, -dv], -2);
        }
        else
        {
            dv = du * _strength;
            dStrength = (du * _v).sum([-1L]);
        }
        var dWeights = matmul(dOut, _u.mT); // (B, h, n, R, C)
        var dDecayedX = matmul(dOut, _states.mT); // (B, h, n, R, d_k)
        var dDecayedK = matmul(_u, dAfter.mT); // (B, h, n, C, d_k)
        if (ofDecay is not null)
        {
            var fromState = (dDecayedX * _x).sum([0L, 2L, 4L], keepdim: true); // (1, h, 1, R, 1)
            var among = (dWeights * _products).sum([0L, 2L], keepdim: true); // (1, h, 1, R, C)
            var carried = (dAfter * _states).sum([0L, 3L, 4L], keepdim: true); // (1, h, n, 1, 1)
            var toState = (dDecayedK * _k).sum([0L, 4L], keepdim: true); // (1, h, n, C, 1)
            ofDecay.add_(_decays.Gradient(cat([fromState, among], -1), cat([carried, toState], -2)));
        }

        dWeights = dWeights.mul_(_among);
        var dx = matmul(dWeights, _k).add_(dDecayedX.mul_(_fromState));
        var dk = matmul(dWeights.mT, _x).add_(dDecayedK.mul_(_toState));
        if (_delta)
            dk = dk.add_(Keys(dx));
        return (Tokens(Queries(dx)), Tokens(dk), Tokens(dv), Tokens(dStrength), dState);
    }

    /// <summary>
    /// The gradients in the state after each chunk and in the state before the first, from those in the state after
    /// the last and, through reads and predictions, in the state before each chunk.
    /// </summary>
    private (Tensor After, Tensor First) CarryBack(Tensor ofAfter, Tensor ofStates)
    {
        if (_transitions is not null)
            return _transitions.Carry(ofAfter, ofStates, backwards: true);
        var carried = AmongChunks(_decays.Carried!.mT, cat([ofStates, ofAfter.unsqueeze(2)], 2));
        return (carried.narrow(2, 1, _decays.Chunks), carried.select(2, 0));
    }

    /// <summary>Sums of states (B, h, 1 + n, d_k, d_v) with the weights (h, 1 + n, 1 + n).</summary>
    private static Tensor AmongChunks(Tensor weights, Tensor states) =>
        matmul(weights, states.flatten(3)).view(states.shape);

    private Tensor Queries(Tensor x) => _delta ? x.narrow(-2, 0, _size) : x;

    private Tensor Keys(Tensor x) => x.narrow(-2, _size, _size);

    /// <summary>(B, h, n, C, width) of (B, h, T, width) or (B, h, T).</summary>
    private Tensor Chunked(Tensor tokens, long width)
    {
        long missing = _chunked[2] * _size - _tokens;
        if (missing > 0)
            tokens = nn.functional.pad(tokens, tokens.dim() == 4 ? [0, 0, 0, missing] : [0, missing]);
        return tokens.reshape([.. _chunked, width]);
    }

    private Tensor Tokens(Tensor chunked)
    {
        var tokens = chunked.flatten(2, 3);
        return tokens.shape[2] == _tokens ? tokens : tokens.narrow(2, 0, _tokens);
    }
}
