using System.Numerics;

namespace EmtTorch.Analysis.Charts;

/// <summary>The figures of a network that learned xor.</summary>
internal static class XorFigures
{
    /// <summary>What can be read off linearly, what follows interventions, and the spectrum.</summary>
    public static IReadOnlyList<Figure> Of(XorVariables xor)
    {
        var values = xor.Readings.SelectMany(r =>
            new[] { ("R²", r.Explained), ("sign right", r.SignRight) }.Select(v =>
                $$"""{"k":{{r.Ahead}},"of":"{{v.Item1}}","v":{{CompactJson.Number(v.Item2)}}}"""
            )
        );
        var figures = new List<Figure>
        {
            new(
                "linear-readings",
                "What can be read off the hidden state linearly",
                "At step t, the output y(t + k) by least squares from h(t), on sequences that were not fitted: the s variables of the circuit are k ≤ 0, left of the dashed line; "
                    + "k > 0 are outputs that come later. By chance R² is 0 and the sign right in half.",
                CompactJson.Object(
                    $$"""
                    {
                      "width": "container", "height": 220,
                      "layer": [
                        {"data": {"values": {{CompactJson.Array(values)}}},
                         "mark": {"type": "line", "point": {"size": 50}, "tooltip": true, "clip": true},
                         "encoding": {
                           "x": {"field": "k", "type": "quantitative", "title": "k, steps ahead", "axis": {"tickMinStep": 1, "format": "d"} },
                           "y": {"field": "v", "type": "quantitative", "title": "share", "scale": {"domain": [0, 1]} },
                           "color": {"field": "of", "type": "nominal", "scale": {"domain": ["R²", "sign right"], "range": ["#0072b2", "#d55e00"]}, "legend": {"title": null, "orient": "bottom"} },
                           "strokeDash": {"field": "of", "type": "nominal", "scale": {"domain": ["R²", "sign right"], "range": [[], [5, 3]]}, "legend": {"title": null, "orient": "bottom"} }
                         } },
                        {"data": {"values": [{"k": 0.5}]}, "mark": {"type": "rule", "strokeDash": [4, 3], "color": "#8a929c"}, "encoding": {"x": {"field": "k", "type": "quantitative"} } }
                      ]
                    }
                    """
                )
            ),
        };
        IEnumerable<Intervention> Of(SuperpositionResult? result, string through) =>
            (result?.Interventions ?? [])
                .Where(i => i.Kind != InterventionKind.None)
                .Select(i => new Intervention(
                    $"{i.Kind.ToString().ToLowerInvariant()}, {through}",
                    i.Variable,
                    i.AffectedAccuracy
                ));
        if (InterventionChart.Of([.. Of(xor.Variables, "s variables"), .. Of(xor.Unrolled, "unrolled")]) is { } changed)
        {
            figures.Add(
                changed with
                {
                    Title = "Interventions, over the bits that they change",
                    Caption =
                        "A variable is written or swapped with the next, through the superposition of the circuit's s variables or of the unrolled register's: share of the output bits that then change, by the circuit, that are as it says.",
                }
            );
        }

        if (
            xor.Spectrum is { } spectrum
            && SpectrumChart.Of(
                new()
                {
                    Theory = Pairs(spectrum.Theory),
                    Learned = Pairs(spectrum.Learned),
                    Threshold = spectrum.Threshold,
                }
            )
                is { } eigenvalues
        )
        {
            figures.Add(
                eigenvalues with
                {
                    Title = "Eigenvalues, linearised over the visited states",
                    Caption =
                        "Dots: W_hh with each unit's tanh replaced by its best linear form over the states that the network visits. Open circles: the unrolled register, p-th roots of 1. Dashed: above this eigenvalues are counted. The circuit that multiplies, linearised at 0, has all of its own there.",
                }
            );
        }

        return figures;

        static double[][] Pairs(IEnumerable<Complex> values) => [.. values.Select(z => new[] { z.Real, z.Imaginary })];
    }
}
