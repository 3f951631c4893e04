using static TorchSharp.torch;

namespace EmtTorch.Memory;

/// <summary>The sizes and switches of a transformer's block that all its parts share.</summary>
/// <param name="Width">d, the size of a token's vector.</param>
/// <param name="Dtype">The type of weights and states.</param>
public sealed record BlockShape(int Width, ScalarType Dtype)
{
    /// <summary>Whether projections have biases.</summary>
    public bool Bias { get; init; }

    /// <summary>Whether matrix products are computed in bfloat16.</summary>
    public bool Autocast { get; init; }

    /// <summary>Whether the block has a <see cref="DriftingContext"/>.</summary>
    public bool Drift { get; init; }

    /// <summary>Whether what tokens write is gated.</summary>
    public bool Gate { get; init; }

    /// <summary>
    /// Whether a token joins the context of those before it by concatenation, h̃ = [h; c₋₁], and not by addition.
    /// </summary>
    public bool Concatenates { get; init; }

    /// <summary>Heads of the block's attention; 0 without attention.</summary>
    public int AttentionHeads { get; init; }

    /// <summary>The size of h̃, which the block's projections read: d, or 2 d if contexts are concatenated.</summary>
    public int HiddenWidth => Concatenates ? 2 * Width : Width;

    /// <summary>
    /// The size of [h̃; c], a token with its context: that of h̃, and d more if there is a drifting context.
    /// </summary>
    public int WidthWithContext => Drift ? HiddenWidth + Width : HiddenWidth;
}
