using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Memory;

/// <summary>
/// Decides how much of each token is written: g_t = σ(w_gᵀ [h̃_t; c_t] + b_g), one g for each head of the fast weights
/// (the source's 1.4). Without a drifting context it depends on h̃ alone.
/// </summary>
internal sealed class WriteGate : nn.Module
{
    private readonly Projection gate;

    public WriteGate(BlockShape block, int heads)
        : base(nameof(WriteGate))
    {
        gate = new(block.WidthWithContext, heads, block, hasBias: true);
        RegisterComponents();
        this.KeepParameters();
    }

    /// <param name="h">h̃ (B, T, d).</param>
    /// <param name="contexts">c (B, T, d), or null without a drifting context.</param>
    /// <returns>g (B, heads, T).</returns>
    public Tensor forward(Tensor h, Tensor? contexts)
    {
        using var scope = NewDisposeScope();
        return gate.forward(contexts is null ? h : cat([h, contexts], -1))
            .sigmoid()
            .transpose(1, 2)
            .MoveToOuterDisposeScope();
    }
}
