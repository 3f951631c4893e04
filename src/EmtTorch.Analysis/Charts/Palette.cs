namespace EmtTorch.Analysis.Charts;

/// <summary>
/// Okabe and Ito's colours, which people with any of the common colour-vision deficiencies can tell apart.
/// </summary>
internal static class Palette
{
    public const string Blue = "#0072b2";
    public const string Vermilion = "#d55e00";
    public const string Green = "#009e73";
    public const string Purple = "#cc79a7";

    /// <summary>Rules, and dots on a heat map.</summary>
    public const string Ink = "#1b1f24";

    /// <summary>What stands behind the data.</summary>
    public const string Grey = "#8a929c";

    /// <summary>In the order in which series take them.</summary>
    public static readonly IReadOnlyList<string> Series =
    [
        Blue,
        Vermilion,
        Green,
        Purple,
        "#e69f00",
        "#56b4e9",
        "#000000",
        "#f0e442",
    ];
}
