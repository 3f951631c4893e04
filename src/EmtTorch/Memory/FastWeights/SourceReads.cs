using static TorchSharp.torch;

namespace EmtTorch.Memory;

/// <summary>
/// Hebbian fast weights that are read as the source's 1.2 writes it: F_t = γF_{t−1} + β_t k_t v_tᵀ, and then r_t = F_t
/// q_t = γF_{t−1} q_t + β_t k_t (v_t · q_t). The query meets values and gives back keys, and a token reads its own
/// write. F_{t−1} q_t is what <see cref="FastWeights"/> reads of Fᵀ, with keys and values exchanged.
/// </summary>
internal static class SourceReads
{
    /// <summary>Writes and reads a sequence.</summary>
    /// <param name="q">The query of each token (B, heads, T, d_v).</param>
    /// <param name="k">Keys (B, heads, T, d_k); d_k = d_v.</param>
    /// <param name="v">Values (B, heads, T, d_v).</param>
    /// <param name="strength">β = g·η (B, heads, T).</param>
    /// <param name="decay">γ (heads).</param>
    /// <param name="state">F_0 (B, heads, d_k, d_v).</param>
    /// <returns>r (B, heads, T, d_k) and F_T. T ≥ 1.</returns>
    public static (Tensor Read, Tensor State) Scan(
        Tensor q,
        Tensor k,
        Tensor v,
        Tensor strength,
        Tensor decay,
        Tensor state
    )
    {
        using var scope = NewDisposeScope();
        var swapped = state.transpose(-2, -1); // Fᵀ (B, heads, d_v, d_k)
        Tensor before,
            after;
        if (q.shape[2] == 1)
        {
            (before, after) = FastWeights.Step(
                q.squeeze(2),
                v.squeeze(2),
                k.squeeze(2),
                strength.squeeze(2),
                decay,
                swapped,
                WriteRule.Hebbian
            );
            before = before.unsqueeze(2);
        }
        else
        {
            (before, after) = FastWeights.Scan(q, v, k, strength, decay, swapped, WriteRule.Hebbian);
        }
        var own = k * (strength * (v * q).sum(-1)).unsqueeze(-1); // (B, heads, T, d_k)
        var read = before * decay.view(-1, 1, 1) + own;
        // A copy: the state of a document is contiguous.
        return (read.MoveToOuterDisposeScope(), after.transpose(-2, -1).contiguous().MoveToOuterDisposeScope());
    }
}
