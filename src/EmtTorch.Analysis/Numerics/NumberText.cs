using System.Globalization;

namespace EmtTorch.Analysis;

/// <summary>Numbers as people read them.</summary>
internal static class NumberText
{
    /// <summary>Four significant digits; a dash where there is none.</summary>
    public static string Number(double? value) =>
        value switch
        {
            null => "–",
            double v when double.IsNaN(v) => "NaN",
            double v when double.IsInfinity(v) => v > 0 ? "∞" : "−∞",
            double v => v.ToString(Math.Abs(v) is >= 1e4 and < 1e15 ? "0" : "G4", CultureInfo.InvariantCulture)
                .Replace('-', '−')
                .Replace("E−0", "E−")
                .Replace("E+0", "E"),
        };

    /// <summary>A share from 0 to 1.</summary>
    public static string Percent(double? share) =>
        share is double v && double.IsFinite(v)
            ? (100 * v).ToString("0.00", CultureInfo.InvariantCulture) + " %"
            : Number(share);
}
