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
/// Only F' is a loop over chunks; it runs backwards, with Aᵀ, for the gradients. Powers of γ have exponents ≥ 0 and
/// never divide.
/// </summary>
/// <remarks>All tensors belong to the surrounding dispose scope. Gradients must not be recorded.</remarks>
internal sealed class FastWeightChunks
{
    private readonly long _batch,
        _heads,
        _chunks,
        _size,
        _keySize,
        _valueSize;
    private readonly bool _delta;
    private readonly Tensor _k,
        _v,
        _strength,
        _decay; // (B, h, n, C, d_k), (B, h, n, C, d_v), (B, h, n, C, 1), (h)
    private readonly Tensor _x; // [Q; K] or Q: (B, h, n, R, d_k), R = 2C or C
    private readonly Tensor _amongExponents,
        _earlier; // i−1−j (and i−j below) where it counts, and 1 there: (R, C)
    private readonly Tensor _fromStateExponents,
        _toStateExponents; // i (and i+1 below): (R, 1); C−1−j: (C, 1)
    private readonly Tensor _among,
        _fromState,
        _toState; // γ to these, (h, 1, R, C), (h, 1, R, 1), (h, 1, C, 1)
    private readonly Tensor _products,
        _weights; // X Kᵀ, and times γ: (B, h, n, R, C)
    private readonly Tensor _decayedX,
        _decayedK; // γ^i q (and γ^{i+1} k below), γ^{C−1−j} k
    private readonly Tensor? _system,
        _w,
        _transition; // delta: L (B, h, n, C, C), W̃ (B, h, n, C, d_k), A (B, h, n, d_k, d_k)
    private readonly Tensor _u,
        _states; // u (B, h, n, C, d_v), F before each chunk (B, h, n, d_k, d_v)

    /// <summary>F after the last chunk (B, h, d_k, d_v).</summary>
    public Tensor After { get; }

    /// <summary>Shapes as for <see cref="FastWeights.Scan"/>, with T a multiple of the chunk's size.</summary>
    public FastWeightChunks(
        Tensor q,
        Tensor k,
        Tensor v,
        Tensor strength,
        Tensor decay,
        Tensor state,
        long size,
        bool delta
    )
    {
        (_batch, _heads, _chunks, _size, _keySize, _valueSize) = (
            q.shape[0],
            q.shape[1],
            q.shape[2] / size,
            size,
            q.shape[3],
            v.shape[3]
        );
        (_delta, _decay) = (delta, decay);
        _k = Chunked(k);
        _v = Chunked(v);
        _strength = Chunked(strength.unsqueeze(-1));
        _x = delta ? cat([Chunked(q), _k], -2) : Chunked(q);

        var place = arange(size, dtype: q.dtype, device: q.device).unsqueeze(-1); // i, (C, 1)
        var distance = place - place.t() - 1; // i−1−j
        var earlier = distance.ge(0).to(q.dtype);
        _earlier = delta ? cat([earlier, earlier]) : earlier;
        _amongExponents = (delta ? cat([distance, distance + 1]) : distance) * _earlier;
        _fromStateExponents = delta ? cat([place, place + 1]) : place;
        _toStateExponents = size - 1 - place;
        _among = Power(_amongExponents) * _earlier;
        _fromState = Power(_fromStateExponents);
        _toState = Power(_toStateExponents);

        _products = matmul(_x, _k.transpose(-2, -1));
        _weights = _products * _among;
        _decayedX = _x * _fromState;
        _decayedK = _k * _toState;
        if (delta)
        {
            _system = Keys(_weights) * _strength;
            var sides = cat([_v, Keys(_decayedX)], -1) * _strength;
            var solved = linalg.solve_triangular(_system, sides, upper: false, unitriangular: true); // [Ũ, W̃]
            var written = matmul(_decayedK.transpose(-2, -1), solved); // [M, K̃ᵀW̃]
            _w = solved.narrow(-1, _valueSize, _keySize).contiguous();
            var identity = eye(_keySize, dtype: q.dtype, device: q.device);
            _transition = identity * decay.pow(size).view(-1, 1, 1, 1) - written.narrow(-1, _valueSize, _keySize);
            (_states, After) = Carry(state, written.narrow(-1, 0, _valueSize), backwards: false);
            _u = solved.narrow(-1, 0, _valueSize) - matmul(_w, _states);
        }
        else
        {
            _u = _v * _strength;
            (_states, After) = Carry(state, matmul(_decayedK.transpose(-2, -1), _u), backwards: false);
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
        var dr = Chunked(ofRead);
        var du = matmul(Queries(_weights).transpose(-2, -1), dr);
        var toStates = matmul(Queries(_decayedX).transpose(-2, -1), dr);
        if (_delta)
            toStates = toStates - matmul(_w!.transpose(-2, -1), du);
        var (dAfter, dState) = Carry(ofAfter, toStates, backwards: true); // of the state after each chunk; of F_0
        du = du.add_(matmul(_decayedK, dAfter));

        Tensor dv,
            dStrength;
        var dOut = dr; // of [r; p], (B, h, n, R, d_v)
        if (_delta)
        {
            var dSide = linalg.solve_triangular(_system!.transpose(-2, -1), du, upper: true, unitriangular: true);
            var error = _v - matmul(Keys(_weights), _u) - matmul(Keys(_decayedX), _states); // v − p
            dv = dSide * _strength;
            dStrength = (dSide * error).sum([-1L]);
            dOut = cat([dr, -dv], -2);
        }
        else
        {
            dv = du * _strength;
            dStrength = (du * _v).sum([-1L]);
        }
        var dWeights = matmul(dOut, _u.transpose(-2, -1)); // (B, h, n, R, C)
        var dDecayedX = matmul(dOut, _states.transpose(-2, -1)); // (B, h, n, R, d_k)
        var dDecayedK = matmul(_u, dAfter.transpose(-2, -1)); // (B, h, n, C, d_k)
        ofDecay?.add_(
            Along((dWeights * _products).sum([0L, 2L]), _amongExponents, _earlier)
                + Along((dDecayedX * _x).sum([0L, 2L, 4L]).unsqueeze(-1), _fromStateExponents)
                + Along((dDecayedK * _k).sum([0L, 2L, 4L]).unsqueeze(-1), _toStateExponents)
                + (dAfter * _states).sum([0L, 2L, 3L, 4L]) * _decay.pow(_size - 1) * _size
        );

        dWeights = dWeights.mul_(_among);
        var dx = matmul(dWeights, _k).add_(dDecayedX.mul_(_fromState));
        var dk = matmul(dWeights.transpose(-2, -1), _x).add_(dDecayedK.mul_(_toState));
        if (_delta)
            dk = dk.add_(Keys(dx));
        return (Tokens(Queries(dx)), Tokens(dk), Tokens(dv), Tokens(dStrength), dState);
    }

    /// <summary>
    /// What each chunk starts from and what the last one leaves, of S ← A S + added; backwards with Aᵀ, from the last
    /// chunk to the first.
    /// </summary>
    private (Tensor Each, Tensor Last) Carry(Tensor first, Tensor added, bool backwards)
    {
        if (_transition is null)
        {
            // All chunks at once: Σ γ^{C(c − j)} over what is before chunk c, in one product. A loop would be one call
            // after another.
            var all = cat([first.unsqueeze(2), backwards ? added.flip(2) : added], 2); // (B, h, 1 + n, d_k, d_v)
            var places = arange(_chunks + 1, dtype: added.dtype, device: added.device);
            var apart = (places.unsqueeze(1) - places).clamp_min(0);
            var weights = _decay.pow(_size).view(-1, 1, 1).pow(apart).tril(); // (h, 1 + n, 1 + n)
            var states = matmul(weights, all.flatten(3)).view(all.shape);
            var before = states.narrow(2, 0, _chunks);
            return (backwards ? before.flip(2) : before, states.select(2, _chunks));
        }
        var steps = added.flatten(0, 1).unbind(1); // n × (B h, d_k, d_v)
        var transitions = (backwards ? _transition.transpose(-2, -1) : _transition).flatten(0, 1).unbind(1);
        var each = new Tensor[_chunks];
        var state = first.flatten(0, 1);
        for (long step = 0; step < _chunks; step++)
        {
            long c = backwards ? _chunks - 1 - step : step;
            each[c] = state;
            state = steps[c] + bmm(transitions[c], state);
        }
        return (
            stack(each, 1).view(_batch, _heads, _chunks, _keySize, _valueSize),
            state.view(_batch, _heads, _keySize, _valueSize)
        );
    }

    private Tensor Queries(Tensor x) => x.narrow(-2, 0, _size);

    private Tensor Keys(Tensor x) => x.narrow(-2, _size, _size);

    private Tensor Chunked(Tensor tokens) => tokens.contiguous().view(_batch, _heads, _chunks, _size, tokens.shape[3]);

    private Tensor Tokens(Tensor chunked) => chunked.flatten(2, 3);

    /// <summary>γ^e (h, 1, …, …).</summary>
    private Tensor Power(Tensor exponents) => _decay.view(-1, 1, 1, 1).pow(exponents);

    /// <summary>What a gradient in γ^e (h, R, …) is in γ, with dγ^e = e γ^{e−1} dγ.</summary>
    private Tensor Along(Tensor gradient, Tensor exponents, Tensor? where = null)
    {
        var slope = Power((exponents - 1).clamp_min(0)) * exponents;
        return (gradient.unsqueeze(1) * (where is null ? slope : slope * where)).sum([1L, 2L, 3L]);
    }
}
