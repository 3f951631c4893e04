using System.Numerics;
using static EmtTorch.Analysis.Charts.Channel;

namespace EmtTorch.Analysis.Charts;

/// <summary>Eigenvalues on the complex plane with the unit circle (Fig. 3B).</summary>
internal static class SpectrumChart
{
    /// <returns>Null where no eigenvalue is finite.</returns>
    public static Figure? Of(SpectralComparison spectrum)
    {
        var theory = Finite(spectrum.Theory);
        var learned = Finite(spectrum.Learned);
        if (theory.Count + learned.Count == 0)
            return null;
        int dropped = spectrum.Theory.Count + spectrum.Learned.Count - theory.Count - learned.Count;
        double limit = Math.Max(
            1.1,
            1.05 * theory.Concat(learned).Max(z => Math.Max(Math.Abs(z.Real), Math.Abs(z.Imaginary)))
        );
        Channel Part(string field, string title) =>
            new(field, title) { Scale = Scale.Tight with { Domain = new[] { -limit, limit } }, Axis = Axis.Few };
        return new Chart
        {
            Usermeta = new { height = new[] { 1, -22 } },
            X = Part("re", "real part"),
            Y = Part("im", "imaginary part"),
            Layers =
            [
                Circle(1, []),
                Circle(spectrum.Threshold, [4, 3]),
                Points("network", learned, new("point", Filled: true, Size: 26, Color: Palette.Blue, Opacity: 0.9)),
                Points(
                    "theory",
                    theory,
                    new("point", Filled: false, Size: 110, Color: Palette.Vermilion, StrokeWidth: 1.4, Opacity: 1)
                ),
            ],
        }.Figure(
            "spectrum",
            "Eigenvalues",
            "Open circles: Φ, what the theory predicts. Dots: the network. Solid: the unit circle; dashed: the "
                + "magnitude above which eigenvalues are counted and matched."
                + (dropped == 0 ? "" : $" {dropped} are not finite and not drawn.")
        );
    }

    private static List<Complex> Finite(IEnumerable<Complex> values) => [.. values.Where(Complex.IsFinite)];

    private static Chart Circle(double radius, int[] dash)
    {
        if (!double.IsFinite(radius) || radius <= 0)
            radius = 1;
        return new()
        {
            Rows = Enumerable
                .Range(0, 121)
                .Select(i => 2 * Math.PI * i / 120)
                .Select(angle => new
                {
                    re = radius * Math.Cos(angle),
                    im = radius * Math.Sin(angle),
                    i = angle,
                }),
            Mark = new("line", Color: Palette.Grey, StrokeWidth: 1, StrokeDash: dash, Aria: false),
            Order = new("i"),
        };
    }

    private static Chart Points(string kind, List<Complex> values, Mark mark) =>
        new()
        {
            Rows = values.Select(z => new
            {
                re = z.Real,
                im = z.Imaginary,
                of = kind,
                abs = z.Magnitude,
            }),
            Mark = mark,
            Tooltip = [Tip("of"), Tip("re", "real", ".4"), Tip("im", "imaginary", ".4"), Tip("abs", "magnitude", ".4")],
        };
}
