using System.Text.Json.Nodes;
using EmtTorch.Analysis.Charts;
using EmtTorch.Settings;
using EmtTorch.Tasks;
using TorchSharp;
using static EmtTorch.Analysis.Runs.Finding;
using static TorchSharp.torch;

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
        int shuffled = PatternsOfShuffled(network.Weights);
        bool able = Ability.IsEnough(states.Accuracy, chance: 0.5);
        var found = states.FixedPoints;
        yield return new("test_accuracy", states.Accuracy)
        {
            Least = 0,
            Greatest = 1,
            Title = "test accuracy",
            Format = "P2",
            Meaning = "the share of output bits with the right sign",
            Sentence = able
                ? "It has {0:P2} of output bits right."
                : Ability.Lacking(states.Accuracy, 0.5, "output bits"),
        };
        yield return new("patterns_kept", states.Patterns.Count)
        {
            Null = shuffled,
            Title = "patterns kept",
            Format = "0",
            Meaning = "how many patterns of bits have a stable fixed point",
        };
        yield return Fact("patterns_kept_null", shuffled);
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
            Sentence = able && states.Patterns.Count > shuffled ? Describe(states, shuffled) : null,
            Figures = [FlipFlopFigure.Of(states)],
            Problems = found.Problems,
        };
    }

    private static string Describe(FlipFlopStates states, int shuffled)
    {
        var found = states.FixedPoints;
        return $"It has {found.Points.Count} fixed points, {found.Stable.Count()} of them stable; "
            + $"{found.Unconverged} of {found.Starts} searches found none. "
            + (
                states.IsComplete
                    ? $"Each of the {states.PatternCount} patterns of its bits is kept in one stable fixed point"
                    : $"{states.Patterns.Count} of the {states.PatternCount} patterns of bits have a stable one"
            )
            + $" ({shuffled} with the numbers of W_hh shuffled).";
    }

    /// <summary>
    /// The null: the most patterns with a stable fixed point in three draws that shuffle the numbers of W_hh.
    /// </summary>
    private static int PatternsOfShuffled(NetworkWeights weights) =>
        Enumerable.Range(1, 3).Max(seed => PatternsOfShuffled(weights, (ulong)seed));

    private static int PatternsOfShuffled(NetworkWeights weights, ulong seed)
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator(seed, CPU);
        var order = randperm(weights.WeightHh.numel(), generator: generator);
        var shuffled = weights.WeightHh.flatten().index_select(0, order).view(weights.WeightHh.shape);
        using var network = (weights with { WeightHh = shuffled }).ToNetwork();
        return FlipFlopStates.Find(network).Patterns.Count;
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
