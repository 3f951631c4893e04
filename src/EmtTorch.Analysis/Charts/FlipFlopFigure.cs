using System.Globalization;
using EmtTorch.Settings;
using static EmtTorch.Analysis.Charts.Channel;

namespace EmtTorch.Analysis.Charts;

/// <summary>The states of a network that learned flip_flop.</summary>
internal static class FlipFlopFigure
{
    /// <summary>
    /// Visited states as thin lines on the first two principal components, and the fixed points over them.
    /// </summary>
    /// <remarks>The third component is the colour, by viridis, which the colour-blind can read; stable or not is told
    /// by filled or open and by the shape.</remarks>
    public static Figure Of(FlipFlopStates states)
    {
        var points = states
            .Projected.Zip(states.Signs, states.FixedPoints.Points)
            .Select(p => new
            {
                x = At(p.First, 0),
                y = At(p.First, 1),
                z = At(p.First, 2),
                outputs = p.Second,
                kind = p.Third.IsStable ? "stable" : "unstable",
                directions = p.Third.UnstableDirections,
                starts = p.Third.Count,
            });
        Chart Points(string kind, bool filled) =>
            new()
            {
                Transform = [new { filter = $"datum.kind === '{kind}'" }],
                Mark = new("point", Filled: filled, Size: filled ? 140 : 70, StrokeWidth: 1.8, Opacity: 1),
                X = new("x", Title(0)),
                Y = new("y", Title(1)),
                // Without viridis's brightest yellow, which is faint on white.
                Color = new("z", Title(2))
                {
                    Scale = new(Scheme: new { name = "viridis", extent = new[] { 0, 0.85 } }),
                },
                Shape = Named("kind", "fixed point") with
                {
                    Scale = new(Domain: new[] { "stable", "unstable" }, Range: new[] { "circle", "diamond" }),
                },
                Tooltip = [Tip("outputs"), Tip("kind"), Tip("directions", "unstable directions"), Tip("starts")],
            };
        var visited = new Chart
        {
            Rows = states.Trajectories.SelectMany(
                (states, k) =>
                    states.Select(
                        (h, t) =>
                            new
                            {
                                sequence = k,
                                step = t + 1,
                                x = At(h, 0),
                                y = At(h, 1),
                            }
                    )
            ),
            Mark = new("line", StrokeWidth: 0.6, Opacity: 0.45, Color: Palette.Grey),
            X = new("x", Title(0)),
            Y = new("y", Title(1)),
            Order = new("step"),
            Detail = Named("sequence"),
        };
        int stable = states.FixedPoints.Stable.Count();
        return new Chart
        {
            Width = 420,
            Height = 420,
            Layers =
            [
                visited,
                new() { Rows = points, Layers = [Points("unstable", filled: false), Points("stable", filled: true)] },
            ],
        }.Figure(
            "fixed-points",
            $"{stable} stable and {states.FixedPoints.Points.Count - stable} unstable fixed points; "
                + $"{states.Patterns.Count} of {states.PatternCount:0} patterns are kept",
            "Grey lines are hidden states on task data, on their first two principal components (with each one's "
                + "share of the variance). A filled circle is a stable fixed point, which keeps one pattern of "
                + "bits; an open diamond is an unstable one, between patterns. The colour is the third component."
        );

        string Title(int component) =>
            component < states.Variance.Count
                ? string.Create(
                    CultureInfo.InvariantCulture,
                    $"component {component + 1} ({states.Variance[component]:P0})"
                )
                : $"component {component + 1} (none)";
    }

    /// <summary>A component, or 0 of a network that has fewer units than axes.</summary>
    private static double At(IReadOnlyList<double> components, int i) => i < components.Count ? components[i] : 0;
}
