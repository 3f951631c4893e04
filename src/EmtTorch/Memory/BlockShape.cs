using static TorchSharp.torch;

namespace EmtTorch.Memory;

/// <summary>What the parts of a transformer's block have in common.</summary>
/// <param name="Width">d, the numbers that a token is.</param>
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

    /// <summary>The numbers of a token together with its context, where there is one.</summary>
    public int WidthWithContext => Drift ? 2 * Width : Width;
}
