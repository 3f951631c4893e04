using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Memory;

/// <summary>
/// How a token joins the context of those before it: h̃ = h + W_c c₋₁, or h̃ = [h; c₋₁] (the two ways of the source's
/// 1.3).
/// </summary>
internal static class ContextJoin
{
    /// <param name="output">W_c (d, d), or null for concatenation.</param>
    /// <param name="h">h (B, T, d).</param>
    /// <param name="before">c₋₁ of each token (B, T, d).</param>
    /// <returns>h̃ (B, T, d), or (B, T, 2d).</returns>
    public static Tensor Of(Projection? output, Tensor h, Tensor before) =>
        output is null ? cat([h, before], -1) : output.AddTo(h, before);

    /// <summary>Creates W_c = I, with which a token sees those before it in its own coordinates; null for
    /// concatenation.</summary>
    /// <param name="block">The sizes of the block.</param>
    public static Projection? Create(BlockShape block)
    {
        if (block.Concatenates)
            return null;
        var output = new Projection(block.Width, block.Width, block, hasBias: false);
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        output.weight.copy_(eye(block.Width));
        return output;
    }
}
