using System.Globalization;
using System.Text.Json.Nodes;

namespace EmtTorch.Analysis.Charts;

/// <summary>The states of a network that learned flip_flop.</summary>
internal static class FlipFlopFigure
{
    /// <summary>Visited states as thin lines on the first two principal components, and the fixed points over them.</summary>
    /// <remarks>The third component is the colour, by viridis, which the colour-blind can read; stable or not is told by filled or open and by the shape.</remarks>
    public static Figure Of(FlipFlopStates states)
    {
        var lines = new JsonArray();
        for (int k = 0; k < states.Trajectories.Length; k++)
        {
            for (int t = 0; t < states.Trajectories[k].Length; t++)
            {
                lines.Add(
                    new JsonObject
                    {
                        ["sequence"] = k,
                        ["step"] = t + 1,
                        ["x"] = At(states.Trajectories[k][t], 0),
                        ["y"] = At(states.Trajectories[k][t], 1),
                    }
                );
            }
        }

        var points = new JsonArray();
        for (int i = 0; i < states.Projected.Count; i++)
        {
            var point = states.FixedPoints.Points[i];
            points.Add(
                new JsonObject
                {
                    ["x"] = At(states.Projected[i], 0),
                    ["y"] = At(states.Projected[i], 1),
                    ["z"] = At(states.Projected[i], 2),
                    ["outputs"] = states.Signs[i],
                    ["kind"] = point.IsStable ? "stable" : "unstable",
                    ["unstable directions"] = point.UnstableDirections,
                    ["starts"] = point.Count,
                }
            );
        }
        JsonObject Axis(string field, int component) =>
            new()
            {
                ["field"] = field,
                ["type"] = "quantitative",
                ["title"] = Title(component),
            };
        JsonObject Colour() =>
            new()
            {
                ["field"] = "z",
                ["type"] = "quantitative",
                ["title"] = Title(2),
                // Without viridis's brightest yellow, which is faint on white.
                ["scale"] = new JsonObject
                {
                    ["scheme"] = new JsonObject { ["name"] = "viridis", ["extent"] = new JsonArray(0, 0.85) },
                },
            };
        JsonObject Shape() =>
            new()
            {
                ["field"] = "kind",
                ["type"] = "nominal",
                ["title"] = "fixed point",
                ["scale"] = new JsonObject
                {
                    ["domain"] = new JsonArray("stable", "unstable"),
                    ["range"] = new JsonArray("circle", "diamond"),
                },
            };
        JsonObject Marks(string kind, bool filled) =>
            new()
            {
                ["transform"] = new JsonArray(new JsonObject { ["filter"] = $"datum.kind === '{kind}'" }),
                ["mark"] = new JsonObject
                {
                    ["type"] = "point",
                    ["filled"] = filled,
                    ["size"] = filled ? 140 : 70,
                    ["strokeWidth"] = 1.8,
                    ["opacity"] = 1,
                },
                ["encoding"] = new JsonObject
                {
                    ["x"] = Axis("x", 0),
                    ["y"] = Axis("y", 1),
                    ["color"] = Colour(),
                    ["shape"] = Shape(),
                    ["tooltip"] = new JsonArray([
                        .. new[] { "outputs", "kind", "unstable directions", "starts" }.Select(f => new JsonObject
                        {
                            ["field"] = f,
                        }),
                    ]),
                },
            };
        var spec = new JsonObject
        {
            ["$schema"] = "https://vega.github.io/schema/vega-lite/v6.json",
            ["width"] = 420,
            ["height"] = 420,
            ["layer"] = new JsonArray(
                new JsonObject
                {
                    ["data"] = new JsonObject { ["values"] = lines },
                    ["mark"] = new JsonObject
                    {
                        ["type"] = "line",
                        ["strokeWidth"] = 0.6,
                        ["opacity"] = 0.45,
                        ["color"] = "#888888",
                    },
                    ["encoding"] = new JsonObject
                    {
                        ["x"] = Axis("x", 0),
                        ["y"] = Axis("y", 1),
                        ["order"] = new JsonObject { ["field"] = "step" },
                        ["detail"] = new JsonObject { ["field"] = "sequence" },
                    },
                },
                new JsonObject
                {
                    ["data"] = new JsonObject { ["values"] = points },
                    ["layer"] = new JsonArray(Marks("unstable", filled: false), Marks("stable", filled: true)),
                }
            ),
        };
        int stable = states.FixedPoints.Stable.Count();
        return new(
            "fixed-points",
            $"{stable} stable and {states.FixedPoints.Points.Count - stable} unstable fixed points; {states.Patterns.Count} of {states.PatternCount:0} patterns are kept",
            "Grey lines are hidden states on task data, on their first two principal components (with each one's share of the variance). A filled circle is a stable fixed point, which keeps one pattern of bits; an open diamond is an unstable one, between patterns. The colour is the third component.",
            spec
        );

        string Title(int component) =>
            component < states.Variance.Count
                ? string.Create(
                    CultureInfo.InvariantCulture,
                    $"component {component + 1} ({states.Variance[component]:P0})"
                )
                : $"component {component + 1} (none)";
    }

    /// <summary>Five digits are more than a screen shows; a network of fewer units than axes has none of the last ones.</summary>
    private static double At(IReadOnlyList<double> numbers, int i) => i < numbers.Count ? Math.Round(numbers[i], 5) : 0;
}
