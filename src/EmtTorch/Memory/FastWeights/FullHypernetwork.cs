using EmtTorch.Kernels;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Memory;

/// <summary>
/// A small network that makes the matrix a token writes, of full rank: ΔF = G_φ(h̃), G_φ(h̃) = W₂ gelu(W₁ h̃ + b₁) as a
/// matrix of each head (the source's 2.1). W₂ has d · heads · (d/heads)² numbers, so that heads are to be narrow.
/// </summary>
internal sealed class FullHypernetwork : nn.Module
{
    /// <summary>The widest head, d/heads: G_φ gives 4,096 numbers for each token then.</summary>
    public const int WidestHead = 64;

    private readonly Projection hidden,
        output; // W₁, W₂
    private readonly long _heads,
        _size; // d/heads

    public FullHypernetwork(BlockShape block, int heads)
        : base(nameof(FullHypernetwork))
    {
        (_heads, _size) = (heads, block.Width / heads);
        hidden = new(block.HiddenWidth, block.Width, block, hasBias: true);
        output = new(block.Width, _heads * _size * _size, block, hasBias: false);
        RegisterComponents();
        this.KeepParameters();
    }

    /// <param name="h">h̃ (B, T, HiddenWidth).</param>
    /// <returns>G (B, heads, T, d/heads, d/heads).</returns>
    public Tensor forward(Tensor h)
    {
        using var scope = NewDisposeScope();
        return output
            .forward(Gelu.Of(hidden.forward(h)))
            .view(h.shape[0], h.shape[1], _heads, _size, _size)
            .transpose(1, 2)
            .MoveToOuterDisposeScope();
    }
}
