using EmtTorch.Kernels;
using static TorchSharp.torch;

namespace EmtTorch.Memory;

/// <summary>
/// The recurrence of fast weights: token t reads r_t = F_{t−1}ᵀ q_t, then writes F_t = γF_{t−1} + β_t k_t u_tᵀ, with
/// u_t = v_t (Hebbian) or u_t = v_t − γF_{t−1}ᵀ k_t (delta; Gated DeltaNet, arXiv 2412.06464). For one token, or for a
/// whole sequence at once.
/// </summary>
/// <remarks>
/// γ is in [0, 1], one for each head. bfloat16 and float16 are computed in float32. Reads have the type of the queries,
/// and the state keeps its own.
/// </remarks>
/// <example><code>
/// var (read, state) = FastWeights.Scan(q, k, v, strength, decay, zeros([B, heads, dk, dv]), WriteRule.Delta);
/// (read, state) = FastWeights.Step(q1, k1, v1, strength1, decay, state, WriteRule.Delta);   // the next token
/// </code></example>
public static class FastWeights
{
    /// <summary>Reads and writes one token.</summary>
    /// <param name="q">The query (B, heads, d_k).</param>
    /// <param name="k">The key to write under (B, heads, d_k).</param>
    /// <param name="v">The value (B, heads, d_v).</param>
    /// <param name="strength">β = g·η (B, heads).</param>
    /// <param name="decay">γ (heads).</param>
    /// <param name="state">F_{t−1} (B, heads, d_k, d_v).</param>
    /// <param name="rule">What is written.</param>
    /// <returns>r_t (B, heads, d_v) and F_t, differentiable by autograd.</returns>
    /// <exception cref="ArgumentException">Shapes do not agree.</exception>
    public static (Tensor Read, Tensor State) Step(
        Tensor q,
        Tensor k,
        Tensor v,
        Tensor strength,
        Tensor decay,
        Tensor state,
        WriteRule rule
    )
    {
        Check(q, k, v, strength, decay, state, leading: 2);
        using var scope = NewDisposeScope();
        var (type, stateType) = (q.dtype, state.dtype);
        (q, k, v, strength, decay, state) = Computed(q, k, v, strength, decay, state);
        var read = matmul(q.unsqueeze(-2), state).squeeze(-2); // (B, heads, d_v)
        var kept = state * decay.view(-1, 1, 1); // γF
        var written = rule == WriteRule.Delta ? v - matmul(k.unsqueeze(-2), kept).squeeze(-2) : v;
        var after = kept + k.unsqueeze(-1) * (strength.unsqueeze(-1) * written).unsqueeze(-2);
        return (read.to(type).MoveToOuterDisposeScope(), after.to(stateType).MoveToOuterDisposeScope());
    }

    /// <summary>
    /// The same as <see cref="Scan"/>, by one <see cref="Step"/> for each token. It is slow, and the reference for the
    /// scan.
    /// </summary>
    /// <inheritdoc cref="Scan" path="/param"/>
    /// <inheritdoc cref="Scan" path="/returns"/>
    /// <inheritdoc cref="Scan" path="/exception"/>
    public static (Tensor Read, Tensor State) Sequential(
        Tensor q,
        Tensor k,
        Tensor v,
        Tensor strength,
        Tensor decay,
        Tensor state,
        WriteRule rule
    )
    {
        Check(q, k, v, strength, decay, state, leading: 3);
        if (q.shape[2] == 0)
            return (v.to(q.dtype, copy: true), state.alias());
        using var scope = NewDisposeScope();
        var type = state.dtype;
        state = state.to(Computed(q.dtype)); // what is carried is not rounded at every token
        Tensor[] queries = q.unbind(2),
            keys = k.unbind(2),
            values = v.unbind(2),
            strengths = strength.unbind(2);
        var reads = new Tensor[queries.Length];
        for (int t = 0; t < reads.Length; t++)
            (reads[t], state) = Step(queries[t], keys[t], values[t], strengths[t], decay, state, rule);
        return (stack(reads, 2).MoveToOuterDisposeScope(), state.to(type).MoveToOuterDisposeScope());
    }

    /// <summary>
    /// Reads and writes a whole sequence, chunk by chunk: by <see cref="FastWeightChunks"/>, or in float32 and float64
    /// on the CPU by <see cref="FastWeightHead{S,V,T}"/>. For the gradients it keeps the arguments and a state for
    /// every few chunks, and none for a token. Differentiable once, in every tensor.
    /// </summary>
    /// <param name="q">The query of each token (B, heads, T, d_k).</param>
    /// <param name="k">Keys (B, heads, T, d_k).</param>
    /// <param name="v">Values (B, heads, T, d_v).</param>
    /// <param name="strength">β = g·η (B, heads, T).</param>
    /// <param name="decay">γ (heads).</param>
    /// <param name="state">F_0 (B, heads, d_k, d_v).</param>
    /// <param name="rule">What is written.</param>
    /// <param name="chunk">The most tokens in a chunk, at least 1. Results differ by rounding only.</param>
    /// <returns>r (B, heads, T, d_v) and F_T (B, heads, d_k, d_v); for T = 0 an empty r and F_0.</returns>
    /// <exception cref="ArgumentException">Shapes do not agree, or the chunk is below 1.</exception>
    public static (Tensor Read, Tensor State) Scan(
        Tensor q,
        Tensor k,
        Tensor v,
        Tensor strength,
        Tensor decay,
        Tensor state,
        WriteRule rule,
        long chunk = 64
    )
    {
        Check(q, k, v, strength, decay, state, leading: 3);
        if (chunk < 1)
            throw new ArgumentException($"a chunk of {chunk} tokens", nameof(chunk));
        if (q.shape[2] == 0)
            return (v.to(q.dtype, copy: true), state.alias());
        using var scope = NewDisposeScope();
        var (type, stateType) = (q.dtype, state.dtype);
        (q, k, v, strength, decay, state) = Computed(q, k, v, strength, decay, state);
        var results = FastWeightScan.Apply(q, k, v, strength, decay, state, rule == WriteRule.Delta, chunk);
        return (results[0].to(type).MoveToOuterDisposeScope(), results[1].to(stateType).MoveToOuterDisposeScope());
    }

    /// <summary>The type to compute in: float32 for 16-bit types, in which sums over a sequence lose too
    /// much.</summary>
    internal static ScalarType Computed(ScalarType type) =>
        type is ScalarType.BFloat16 or ScalarType.Float16 ? ScalarType.Float32 : type;

    private static (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor) Computed(
        Tensor q,
        Tensor k,
        Tensor v,
        Tensor strength,
        Tensor decay,
        Tensor state
    )
    {
        var type = Computed(q.dtype);
        return (q.to(type), k.to(type), v.to(type), strength.to(type), decay.to(type), state.to(type));
    }

    private static void Check(Tensor q, Tensor k, Tensor v, Tensor strength, Tensor decay, Tensor state, int leading)
    {
        long[] shape = q.shape;
        Require.Shape(q, [.. Enumerable.Repeat(Require.Any, leading + 1)]);
        Require.Shape(k, shape);
        Require.Shape(v, [.. shape[..leading], Require.Any]);
        Require.Shape(strength, shape[..leading]);
        Require.Shape(decay, [shape[1]]);
        Require.Shape(state, [shape[0], shape[1], shape[^1], v.shape[^1]]);
        Require.FloatingTogether(
            (q, nameof(q)),
            (k, nameof(k)),
            (v, nameof(v)),
            (strength, nameof(strength)),
            (decay, nameof(decay)),
            (state, nameof(state))
        );
    }
}
