using System.Globalization;
using EmtTorch.Settings;
using static EmtTorch.Analysis.Charts.Channel;

namespace EmtTorch.Analysis.Charts;

/// <summary>The states of a network that learned flip_flop.</summary>
internal static class FlipFlopFigure
{
    /// <summary>More stable points than this are not labelled with their bits: the labels would overlap.</summary>
    private const int LabelLimit = 32;

    /// <summary>
    /// Visited states as thin lines and the fixed points over them: the first two principal components and, beside
    /// them, the third against the second.
    /// </summary>
    /// <remarks>Stable or not is told by filled or open, by the shape and by the colour.</remarks>
    public static Figure Of(FlipFlopStates states)
    {
        int stable = states.FixedPoints.Stable.Count();
        int[] across = states.Variance.Count > 2 ? [0, 2] : [0];
        return new Chart
        {
            Rows = states.Trajectories.SelectMany(
                (states, k) =>
                    states.Select(
                        (h, t) =>
                            new
                            {
                                sequence = k,
                                step = t + 1,
                                c0 = At(h, 0),
                                c1 = At(h, 1),
                                c2 = At(h, 2),
                            }
                    )
            ),
            Beside = across.Select(c => Panel(states, c, labelled: stable <= LabelLimit)),
        }.Figure(
            "fixed-points",
            $"{stable} stable and {states.FixedPoints.Points.Count - stable} unstable fixed points; "
                + $"{states.Patterns.Count} of {states.PatternCount:0} patterns are kept",
            "Grey lines are hidden states on task data, on their principal components (with each one's share of the "
                + "variance). A filled circle is a stable fixed point, which keeps the pattern of bits beside it "
                + "(to its right if the component that the panel does not show is positive); an open diamond is an "
                + "unstable one, between patterns."
        );
    }

    /// <summary>One component across and the second one up.</summary>
    private static Chart Panel(FlipFlopStates states, int across, bool labelled)
    {
        var axes = new Chart { X = new($"c{across}", Title(states, across)), Y = new("c1", Title(states, 1)) };
        // Points that differ only in the component that a panel does not show lie over each other.
        var hidden = $"datum.c{2 - across}";
        return new()
        {
            Width = 370,
            Height = 370,
            Layers =
            [
                axes with
                {
                    Mark = new("line", StrokeWidth: 0.6, Opacity: 0.45, Color: Palette.Grey),
                    Order = new("step"),
                    Detail = Named("sequence"),
                },
                new()
                {
                    Rows = FixedPoints(states),
                    Layers =
                    [
                        Points(axes, "unstable", new("point", Filled: false, Size: 60)),
                        Points(axes, "stable", new("point", Filled: true, Size: 110)),
                        .. labelled
                            ?
                            [
                                Labels(axes, $"{hidden} >= 0", new("text", Align: "left", Dx: 9)),
                                Labels(axes, $"{hidden} < 0", new("text", Align: "right", Dx: -9)),
                            ]
                            : Array.Empty<Chart>(),
                    ],
                },
            ],
        };
    }

    private static IEnumerable<object> FixedPoints(FlipFlopStates states) =>
        states
            .Projected.Zip(states.Signs, states.FixedPoints.Points)
            .Select(p => new
            {
                c0 = At(p.First, 0),
                c1 = At(p.First, 1),
                c2 = At(p.First, 2),
                outputs = p.Second,
                kind = p.Third.IsStable ? "stable" : "unstable",
                directions = p.Third.UnstableDirections,
                starts = p.Third.Count,
            });

    private static Chart Points(Chart axes, string kind, Mark mark)
    {
        string[] kinds = ["unstable", "stable"];
        return axes with
        {
            Transform = [new { filter = $"datum.kind === '{kind}'" }],
            Mark = mark with { StrokeWidth = 1.8, Opacity = 1 },
            Color = Told("kind", kinds, [Palette.Vermilion, Palette.Blue], title: "fixed point"),
            Shape = Told("kind", kinds, ["diamond", "circle"], title: "fixed point"),
            Tooltip = [Tip("outputs"), Tip("kind"), Tip("directions", "unstable directions"), Tip("starts")],
        };
    }

    private static Chart Labels(Chart axes, string condition, Mark mark) =>
        axes with
        {
            Transform = [new { filter = $"datum.kind === 'stable' && {condition}" }],
            Mark = mark with { FontSize = 12 },
            Text = new("outputs") { Type = "nominal" },
        };

    private static string Title(FlipFlopStates states, int component) =>
        component < states.Variance.Count
            ? string.Create(
                CultureInfo.InvariantCulture,
                $"component {component + 1} ({states.Variance[component]:P0})"
            )
            : $"component {component + 1} (none)";

    /// <summary>A component, or 0 of a network that has fewer units than axes.</summary>
    private static double At(IReadOnlyList<double> components, int i) => i < components.Count ? components[i] : 0;
}
