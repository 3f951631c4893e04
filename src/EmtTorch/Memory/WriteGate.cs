using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Memory;

/// <summary>
/// Decides how much of each token is written: g_t = σ(w_gᵀ [h̃_t; c_t] + b_g), one g for each head of the fast weights.
/// Without a drifting context it depends on h̃ alone. With plain input it reads [h_t; c_t], as the source's 1.4 does.
/// </summary>
internal sealed class WriteGate : nn.Module
{
    private readonly Projection gate;
    private readonly bool _autocast;

    /// <param name="block">The sizes of the block.</param>
    /// <param name="heads">The number of gates.</param>
    /// <param name="plain">Whether it is given h in place of h̃.</param>
    public WriteGate(BlockShape block, int heads, bool plain)
        : base(nameof(WriteGate))
    {
        long read = block.WidthWithContext - (plain ? block.HiddenWidth - block.Width : 0);
        gate = new(read, heads, block, hasBias: true);
        _autocast = block.Autocast;
        RegisterComponents();
        this.KeepParameters();
    }

    /// <param name="h">h̃ (B, T, HiddenWidth), or h (B, T, d).</param>
    /// <param name="contexts">c (B, T, d), or null without a drifting context.</param>
    /// <returns>g (B, heads, T).</returns>
    public Tensor forward(Tensor h, Tensor? contexts)
    {
        using var scope = NewDisposeScope();
        Tensor read;
        if (contexts is null)
        {
            read = gate.forward(h);
        }
        else
        {
            // Two products in place of one of [h; c], which would be as large as both together.
            long width = h.shape[2];
            read =
                Of(h, gate.weight.narrow(1, 0, width), gate.bias)
                + Of(contexts, gate.weight.narrow(1, width, contexts.shape[2]), null);
        }
        return read.sigmoid().transpose(1, 2).MoveToOuterDisposeScope();
    }

    private Tensor Of(Tensor x, Tensor weights, Tensor? bias) => Projection.Multiply(x, weights, bias, _autocast);
}
