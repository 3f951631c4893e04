using EmtTorch.Memory;
using static TorchSharp.torch;

namespace EmtTorch.Models;

/// <summary>
/// The loss by which stored writes move the slow weights (the source's 1.5), over all blocks:
/// <code>
/// Σ_i ‖W_Q h_i − k_i‖² + ‖FFN(h_i) − v_i‖²
/// </code>
/// h is h̃ at the place of the write, k and v are what was written there, and W_Q is attention's (the source's) or the
/// memory's own query map. k and v are numbers: nothing of the loss depends on W_K and W_V.
/// </summary>
internal static class ReplayLoss
{
    /// <param name="network">The network.</param>
    /// <param name="writes">The writes of each block; null where there are none.</param>
    /// <param name="ofAttention">Whether W_Q is attention's.</param>
    /// <param name="isMean">Whether each block's loss is the mean over its writes, and not their sum.</param>
    /// <returns>A scalar that depends on the network's parameters.</returns>
    public static Tensor Compute(
        EpisodicTransformer network,
        IReadOnlyList<ReplayWrites?> writes,
        bool ofAttention,
        bool isMean
    )
    {
        using var scope = NewDisposeScope();
        var loss = zeros([], dtype: network.Dtype, device: network.parameters().First().device);
        foreach (var (block, memory, stored) in network.Blocks.Zip(network.Memories, writes))
        {
            if (stored is null)
                continue;
            var asked = ofAttention ? block.AskAttention(stored.Hidden) : memory.Ask(stored.Hidden); // (n, d)
            var keyErrors = (asked - stored.Keys).pow(2).sum([-1L]);
            var valueErrors = (block.FeedForward(stored.Hidden) - stored.Values).pow(2).sum([-1L]);
            var errors = keyErrors + valueErrors;
            loss = loss + (isMean ? errors.mean() : errors.sum());
        }
        return loss.MoveToOuterDisposeScope();
    }
}
