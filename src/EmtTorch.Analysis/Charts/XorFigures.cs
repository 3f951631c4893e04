using static EmtTorch.Analysis.Charts.Channel;

namespace EmtTorch.Analysis.Charts;

/// <summary>The figures of a network that learned xor.</summary>
internal static class XorFigures
{
    /// <summary>What can be read off linearly, what follows interventions, and the spectrum.</summary>
    public static IReadOnlyList<Figure> Of(XorVariables xor) =>
        [.. new[] { Readings(xor), Interventions(xor), Spectrum(xor) }.OfType<Figure>()];

    private static Figure Readings(XorVariables xor)
    {
        string[] names = ["R²", "sign right"];
        var readings = new Chart
        {
            Rows = xor.Readings.SelectMany(r =>
                names.Zip(
                    [r.Explained, r.SignRight],
                    (of, v) =>
                        new
                        {
                            k = r.Ahead,
                            of,
                            v,
                        }
                )
            ),
            Mark = Mark.Line(pointSize: 50),
            X = new("k", "k, steps ahead") { Axis = Axis.Whole },
            Y = new("v", "share") { Scale = Scale.Share },
            Color = Coloured("of", names),
            StrokeDash = Told("of", names, Dashes),
        };
        return new Chart
        {
            Height = 220,
            Layers = [readings, Chart.Rule(x: At(0.5), color: Palette.Grey, dash: [4, 3])],
        }.Figure(
            "linear-readings",
            "What can be read off the hidden state linearly",
            "At step t, the output y(t + k) by least squares from h(t), on sequences that were not fitted: the "
                + "s variables of the circuit are k ≤ 0, left of the dashed line; k > 0 are outputs that come "
                + "later. By chance R² is 0 and the sign right in half."
        );
    }

    private static Figure? Interventions(XorVariables xor)
    {
        IEnumerable<Intervention> Through(SuperpositionResult? result, string what) =>
            Intervention
                .From([.. (result?.Interventions ?? []).Where(i => i.Kind != InterventionKind.None)])
                .Select(i => i with { Kind = $"{i.Kind}, {what}" });
        return
            InterventionChart.Of([.. Through(xor.Variables, "s variables"), .. Through(xor.Unrolled, "unrolled")])
                is { } figure
            ? figure with
            {
                Title = "Interventions, over the bits that they change",
                Caption =
                    "A variable is written or swapped with the next, through the superposition of the circuit's "
                    + "s variables or of the unrolled register's: share of the output bits that then change, by "
                    + "the circuit, that are as it says. Random directions: the state was moved as far.",
            }
            : null;
    }

    private static Figure? Spectrum(XorVariables xor) =>
        xor.Spectrum is { } spectrum && SpectrumChart.Of(spectrum) is { } figure
            ? figure with
            {
                Title = "Eigenvalues, linearised over the visited states",
                Caption =
                    "Dots: W_hh with each unit's tanh replaced by its best linear form over the states that the "
                    + "network visits. Open circles: the unrolled register, p-th roots of 1. Dashed: above this "
                    + "eigenvalues are counted. The circuit that multiplies, linearised at 0, has all of its "
                    + "own there.",
            }
            : null;
}
