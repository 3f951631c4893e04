using static TorchSharp.torch;

namespace EmtTorch.Memory;

/// <summary>
/// Fast weights to which each token writes a matrix, F_t = γF_{t−1} + β_t G_t (the source's 2.1). F is a drifting
/// context of d_k · d_v numbers, so that <see cref="ContextDrift"/> computes it for all tokens at once, and for one. It
/// keeps F of every token: T · d_k · d_v numbers for each head.
/// </summary>
internal static class FullRankWrites
{
    /// <summary>Reads and writes a sequence.</summary>
    /// <param name="q">The query of each token (B, heads, T, d_k), or (B, heads, T, d_v) if it reads as the source
    /// does.</param>
    /// <param name="written">G (B, heads, T, d_k, d_v).</param>
    /// <param name="strength">β = g·η (B, heads, T).</param>
    /// <param name="decay">γ (heads).</param>
    /// <param name="state">F_0 (B, heads, d_k, d_v).</param>
    /// <param name="asSource">Whether a token reads F_t q_t, and not F_{t−1}ᵀ q_t.</param>
    /// <returns>r (B, heads, T, d_v) or (B, heads, T, d_k), and F_T. T ≥ 1.</returns>
    public static (Tensor Read, Tensor State) Scan(
        Tensor q,
        Tensor written,
        Tensor strength,
        Tensor decay,
        Tensor state,
        bool asSource
    )
    {
        using var scope = NewDisposeScope();
        long[] shape = state.shape; // (B, heads, d_k, d_v)
        // (B, T, heads · d_k · d_v)
        var writes = (written * strength.unsqueeze(-1).unsqueeze(-1)).transpose(1, 2).flatten(2);
        var (states, last) = ContextDrift.Scan(
            writes,
            decay.repeat_interleave(shape[2] * shape[3], 0),
            state.flatten(1)
        );
        long tokens = written.shape[2];
        var seen = asSource ? states : cat([state.flatten(1).unsqueeze(1), states.narrow(1, 0, tokens - 1)], 1);
        seen = seen.view(shape[0], tokens, shape[1], shape[2], shape[3]).transpose(1, 2); // (B, heads, T, d_k, d_v)
        var read = asSource ? matmul(seen, q.unsqueeze(-1)).squeeze(-1) : matmul(q.unsqueeze(-2), seen).squeeze(-2);
        return (read.MoveToOuterDisposeScope(), last.view(shape).MoveToOuterDisposeScope());
    }

    /// <summary>The same writes as pairs of keys and values: row i of G under the key e_i.</summary>
    /// <param name="written">G (B, heads, T, d_k, d_v).</param>
    /// <returns>Keys (B, heads · d_k, T, d_k) and values (B, heads · d_k, T, d_v), those of one head
    /// together.</returns>
    public static (Tensor Keys, Tensor Values) Pairs(Tensor written)
    {
        using var scope = NewDisposeScope();
        long[] shape = written.shape;
        var keys = eye(shape[3], dtype: written.dtype, device: written.device)
            .view(1, 1, shape[3], 1, shape[3])
            .expand(shape[0], shape[1], shape[3], shape[2], shape[3])
            .flatten(1, 2);
        return (keys.MoveToOuterDisposeScope(), written.transpose(2, 3).flatten(1, 2).MoveToOuterDisposeScope());
    }
}
