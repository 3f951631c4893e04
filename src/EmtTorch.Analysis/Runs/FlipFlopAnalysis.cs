using System.Text.Json.Nodes;
using EmtTorch.Analysis.Charts;
using EmtTorch.Settings;
using EmtTorch.Tasks;
using static EmtTorch.Analysis.Runs.Finding;

namespace EmtTorch.Analysis.Runs;

/// <summary>Networks on <see cref="FlipFlop"/>, read by their fixed points (<see cref="FlipFlopStates"/>).</summary>
[Named("flip_flop_states")]
internal sealed class FlipFlopAnalysis : INetworkAnalysis
{
    public IEnumerable<Finding> Analyze(TrainedNetwork network, AnalysisOptions options)
    {
        if (network.Configuration.Task.Name != FlipFlop.Name || network.Weights.WhyUnusable() is not null)
            yield break;
        using var trained = network.Weights.ToNetwork();
        var states = FlipFlopStates.Find(trained);
        var found = states.FixedPoints;
        yield return new("fixed_points")
        {
            Data = new JsonObject
            {
                ["starts"] = found.Starts,
                ["unconverged"] = found.Unconverged,
                ["stable"] = found.Stable.Count(),
                ["complete"] = states.IsComplete,
                ["points"] = ToJson(found.Points.Zip(states.Signs), p => DescribePoint(p.First, p.Second)),
            },
            Sentence =
                $"It has {found.Points.Count} fixed points, {found.Stable.Count()} of them stable; "
                + $"{found.Unconverged} of {found.Starts} searches found none. "
                + (
                    states.IsComplete
                        ? $"Each of the {states.PatternCount} patterns of its bits is kept in one stable fixed point."
                        : $"{states.Patterns.Count} of the {states.PatternCount} patterns of bits have a stable one."
                ),
            Figures = [FlipFlopFigure.Of(states)],
            Problems = found.Problems,
        };
    }

    private static JsonObject DescribePoint(FixedPoint point, string outputs) =>
        new()
        {
            ["outputs"] = outputs,
            ["stable"] = point.IsStable,
            ["unstable_directions"] = point.UnstableDirections,
            ["isolated"] = point.IsIsolated,
            ["starts"] = point.Count,
            ["residual"] = point.Residual,
            ["largest_eigenvalue"] = point.Eigenvalues[0].Magnitude,
            ["state"] = ToJson(point.State, x => (JsonNode)x),
        };
}
