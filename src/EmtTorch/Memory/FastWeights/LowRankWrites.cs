using static TorchSharp.torch;

namespace EmtTorch.Memory;

/// <summary>
/// Fast weights to which each token writes a matrix of rank r: token t reads r_t = F_{t−1}ᵀ q_t, then writes F_t =
/// γF_{t−1} + β_t A_t B_tᵀ, A_t B_tᵀ = Σ_i a_ti b_tiᵀ: the source's 2.1, ΔF_t = G_φ(h_t), for a G_φ of low rank. For
/// one token, or for a whole sequence at once.
/// </summary>
/// <remarks>
/// F is linear in what is written. The r pairs of a token are therefore written by r Hebbian heads with the same query:
/// the first head begins with F and the others with 0, and reads and last states are summed. <see
/// cref="FastWeights.Scan"/> computes
/// that and its gradients, with r times the work of rank 1. With γ = 1 the pairs could also be r tokens in a row; that
/// is as much work, and with γ &lt; 1 it would divide by powers of γ.
/// </remarks>
public static class LowRankWrites
{
    /// <summary>Reads and writes one token.</summary>
    /// <param name="q">The query (B, heads, d_k).</param>
    /// <param name="a">Keys (B, heads · r, d_k), those of one head together.</param>
    /// <param name="b">Values (B, heads · r, d_v).</param>
    /// <param name="strength">β = g·η (B, heads).</param>
    /// <param name="decay">γ (heads).</param>
    /// <param name="state">F_{t−1} (B, heads, d_k, d_v).</param>
    /// <returns>r_t (B, heads, d_v) and F_t, differentiable by autograd.</returns>
    /// <exception cref="ArgumentException">Shapes do not agree.</exception>
    public static (Tensor Read, Tensor State) Step(
        Tensor q,
        Tensor a,
        Tensor b,
        Tensor strength,
        Tensor decay,
        Tensor state
    )
    {
        long rank = Check(q, a, b, strength, decay, state, leading: 2);
        using var scope = NewDisposeScope();
        var (type, stateType) = (q.dtype, state.dtype);
        var computed = FastWeights.Computed(type);
        long batch = q.shape[0],
            heads = q.shape[1];
        (q, strength, decay, state) = (q.to(computed), strength.to(computed), decay.to(computed), state.to(computed));
        var read = matmul(q.unsqueeze(-2), state).squeeze(-2); // (B, heads, d_v)
        var keys = a.to(computed).reshape(batch, heads, rank, a.shape[^1]).transpose(-2, -1); // A (B, heads, d_k, r)
        var values = b.to(computed).reshape(batch, heads, rank, b.shape[^1]) * strength.view(batch, heads, 1, 1);
        var after = state * decay.view(-1, 1, 1) + matmul(keys, values);
        return (read.to(type).MoveToOuterDisposeScope(), after.to(stateType).MoveToOuterDisposeScope());
    }

    /// <summary>Reads and writes a whole sequence.</summary>
    /// <param name="q">The query of each token (B, heads, T, d_k).</param>
    /// <param name="a">Keys (B, heads · r, T, d_k), those of one head together.</param>
    /// <param name="b">Values (B, heads · r, T, d_v).</param>
    /// <param name="strength">β = g·η (B, heads, T).</param>
    /// <param name="decay">γ (heads).</param>
    /// <param name="state">F_0 (B, heads, d_k, d_v).</param>
    /// <returns>r (B, heads, T, d_v) and F_T (B, heads, d_k, d_v); for T = 0 an empty r and F_0. Differentiable once,
    /// in every tensor.</returns>
    /// <exception cref="ArgumentException">Shapes do not agree.</exception>
    public static (Tensor Read, Tensor State) Scan(
        Tensor q,
        Tensor a,
        Tensor b,
        Tensor strength,
        Tensor decay,
        Tensor state
    )
    {
        long rank = Check(q, a, b, strength, decay, state, leading: 3);
        if (rank == 1)
            return FastWeights.Scan(q, a, b, strength, decay, state, WriteRule.Hebbian);
        using var scope = NewDisposeScope();
        long batch = q.shape[0],
            heads = q.shape[1];
        // (B, heads, r, d_k, d_v): F, then r − 1 empty ones.
        var states = cat(
            [
                state.unsqueeze(2),
                zeros([batch, heads, rank - 1, .. state.shape[2..]], dtype: state.dtype, device: state.device),
            ],
            2
        );
        var (reads, after) = FastWeights.Scan(
            q.repeat_interleave(rank, 1),
            a,
            b,
            strength.repeat_interleave(rank, 1),
            decay.repeat_interleave(rank, 0),
            states.flatten(1, 2),
            WriteRule.Hebbian
        );
        Tensor Summed(Tensor x) => x.unflatten(1, heads, rank).sum([2L]).MoveToOuterDisposeScope();
        return (Summed(reads), Summed(after));
    }

    /// <returns>The rank, r.</returns>
    private static long Check(Tensor q, Tensor a, Tensor b, Tensor strength, Tensor decay, Tensor state, int leading)
    {
        long[] shape = q.shape;
        foreach (var (tensor, name) in new[] { (q, nameof(q)), (a, nameof(a)), (b, nameof(b)) })
            Require.Shape(tensor, [.. Enumerable.Repeat(Require.Any, leading + 1)], name);
        long heads = shape[1],
            pairs = a.shape[1];
        if (pairs == 0 || pairs % heads != 0)
        {
            throw new ArgumentException(
                $"has {pairs} pairs a token for {heads} heads: as many for each are needed, one at least",
                nameof(a)
            );
        }

        Require.Shape(a, [shape[0], pairs, .. shape[2..]]);
        Require.Shape(b, [.. a.shape[..leading], Require.Any]);
        Require.Shape(strength, shape[..leading]);
        Require.Shape(decay, [heads]);
        Require.Shape(state, [shape[0], heads, shape[^1], b.shape[^1]]);
        Require.FloatingTogether(
            (q, nameof(q)),
            (a, nameof(a)),
            (b, nameof(b)),
            (strength, nameof(strength)),
            (decay, nameof(decay)),
            (state, nameof(state))
        );
        return pairs / heads;
    }
}
