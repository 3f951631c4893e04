using EmtTorch.Kernels;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Memory;

/// <summary>
/// A small network that makes what a token writes, A(h̃) B(h̃)ᵀ of rank r. The source's 2.1 asks for G_φ(h) of any
/// rank, which is <see cref="FullHypernetwork"/>. This one adds to the plain write k vᵀ, k = W_K h̃, v = W_V h̃:
/// <code>
/// [A'; B'] = W₂ gelu(W₁ h̃ + b₁)          a_i = (k + a'_i) / ‖k + a'_i‖          b_1 = v + b'_1,  b_i = b'_i
/// </code>
/// It is trained with the rest of the network, through what later tokens read.
/// </summary>
/// <remarks>
/// First weights: a'_1 = 0 and all b'_i = 0. The first pair is then the plain write, and the other pairs write nothing,
/// under keys near to the first. With random writes a network would not begin to bind, since reads would not return
/// what was written.
/// </remarks>
internal sealed class HypernetworkWrite : nn.Module
{
    private readonly Projection hidden,
        output; // W₁, W₂
    private readonly long _rank,
        _heads,
        _size; // d/heads

    public HypernetworkWrite(BlockShape block, FastWeightSettings settings)
        : base(nameof(HypernetworkWrite))
    {
        long d = block.Width;
        (_rank, _heads, _size) = (settings.HypernetworkRank, settings.Heads, d / settings.Heads);
        hidden = new(block.HiddenWidth, d, block, hasBias: true);
        output = new(d, 2 * _rank * d, block, hasBias: false);
        using (no_grad())
        {
            output.weight.narrow(0, 0, d).zero_();
            output.weight.narrow(0, _rank * d, _rank * d).zero_();
        }
        RegisterComponents();
        this.KeepParameters();
    }

    /// <param name="h">h̃ (B, T, HiddenWidth).</param>
    /// <param name="k">k before it is brought to length 1 (B, heads, T, d_k).</param>
    /// <param name="v">v (B, heads, T, d_v).</param>
    /// <returns>a and b (B, heads · r, T, d/heads), the pairs of one head together.</returns>
    public (Tensor A, Tensor B) forward(Tensor h, Tensor k, Tensor v)
    {
        using var scope = NewDisposeScope();
        long batch = h.shape[0],
            tokens = h.shape[1];
        var parts = output
            .forward(Gelu.Of(hidden.forward(h)))
            .view(batch, tokens, 2, _rank, _heads, _size)
            .permute(2, 0, 4, 3, 1, 5)
            .unbind(0); // 2 × (B, heads, r, T, d/heads)
        var a = nn.functional.normalize(parts[0] + k.unsqueeze(2), dim: -1);
        var first = v.unsqueeze(2) + parts[1].narrow(2, 0, 1);
        var b = _rank == 1 ? first : cat([first, parts[1].narrow(2, 1, _rank - 1)], 2);
        return (a.flatten(1, 2).MoveToOuterDisposeScope(), b.flatten(1, 2).MoveToOuterDisposeScope());
    }
}
