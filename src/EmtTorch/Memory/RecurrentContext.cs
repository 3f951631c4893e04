using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace EmtTorch.Memory;

/// <summary>
/// A context that a small recurrent cell keeps, fed by the block's feed-forward network (the first part of the source):
/// <code>
/// elman:  c_t = tanh(W c_{t−1} + U f_t)                   f_t = FFN(…) of token t, c_0 = 0
/// gru:    c_t = (1 − z) ⊙ n + z ⊙ c_{t−1},  z, r = σ(W_z,r c_{t−1} + U_z,r f_t + b),
///         n = tanh(U_n f_t + b_n + r ⊙ (W_n c_{t−1} + b'_n))                           PyTorch's GRUCell
/// h̃_{t+1} = h_{t+1} + W_c c_t, or [h_{t+1}; c_t]
/// </code>
/// Since f_t depends on c_{t−1} through attention and memories, there is no scan: the block reads token by token.
/// </summary>
/// <remarks>First weights: those of PyTorch's cells, and W_c = I.</remarks>
internal sealed class RecurrentContext : nn.Module
{
    private readonly RNNCell? elman;
    private readonly GRUCell? gru;
    private readonly Projection? output; // W_c; null for concatenation
    private readonly long _width;
    private readonly ScalarType _dtype;

    /// <param name="block">The sizes of the block.</param>
    /// <param name="gated">Whether the cell is a GRU and not Elman's.</param>
    public RecurrentContext(BlockShape block, bool gated)
        : base(nameof(RecurrentContext))
    {
        (_width, _dtype) = (block.Width, block.Dtype);
        if (gated)
            gru = nn.GRUCell(_width, _width, dtype: _dtype);
        else
            elman = nn.RNNCell(_width, _width, bias: false, dtype: _dtype);
        output = ContextJoin.Create(block);
        RegisterComponents();
        this.KeepParameters();
    }

    public Tensor FirstState(long batch, Device device) => zeros(batch, _width, dtype: _dtype, device: device);

    /// <summary>Brings tokens into their context.</summary>
    /// <param name="h">(B, T, d).</param>
    /// <param name="before">c₋₁ of each token (B, T, d).</param>
    /// <returns>h̃ (B, T, HiddenWidth).</returns>
    public Tensor Join(Tensor h, Tensor before) => ContextJoin.Of(output, h, before);

    /// <summary>The context after a token.</summary>
    /// <param name="fed">f_t, what the feed-forward network gave for the token (B, d).</param>
    /// <param name="context">c_{t−1} (B, d).</param>
    /// <returns>c_t (B, d).</returns>
    public Tensor Next(Tensor fed, Tensor context) =>
        gru is null ? elman!.forward(fed, context) : gru.forward(fed, context);
}
