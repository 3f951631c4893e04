using System.Globalization;

namespace EmtTorch.Analysis;

/// <summary>Numbers as text for people.</summary>
internal static class NumberText
{
    /// <summary>The text of a missing number.</summary>
    public const string Nothing = "–";

    /// <summary>Four significant digits, or a dash for a missing number.</summary>
    public static string Number(double? value) =>
        value switch
        {
            null => Nothing,
            double v when double.IsNaN(v) => "NaN",
            double v when double.IsInfinity(v) => v > 0 ? "∞" : "−∞",
            double v => v.ToString(Math.Abs(v) is >= 1e4 and < 1e15 ? "0" : "G4", CultureInfo.InvariantCulture)
                .Replace('-', '−')
                .Replace("E−0", "E−")
                .Replace("E+0", "E"),
        };

    /// <summary>A share from 0 to 1, in percent.</summary>
    public static string Percent(double? share) =>
        share is double v && double.IsFinite(v) ? Fixed(100 * v, "0.00") + " %" : Number(share);

    /// <summary>
    /// A number in a format of .NET, or a dash if it is missing or not finite. Numbers that round to 0 have no sign.
    /// </summary>
    public static string Fixed(double? value, string format)
    {
        if (value is not { } v || !double.IsFinite(v))
            return Nothing;
        var text = v.ToString(format, CultureInfo.InvariantCulture);
        return text.AsSpan().IndexOfAnyInRange('1', '9') < 0 ? text.TrimStart('-') : text.Replace('-', '−');
    }
}
