using System.Text.Json.Nodes;
using EmtTorch.Analysis.Charts;
using EmtTorch.Settings;
using EmtTorch.Tasks;
using static EmtTorch.Analysis.Runs.Finding;
using static TorchSharp.torch;

namespace EmtTorch.Analysis.Runs;

/// <summary>
/// Networks on <see cref="Xor"/>, compared with the circuit that multiplies and with the unrolled register, which is
/// linear (<see cref="XorVariables"/>).
/// </summary>
[Named("xor_variables")]
internal sealed class XorAnalysis : INetworkAnalysis
{
    public IEnumerable<Finding> Analyze(TrainedNetwork network, AnalysisOptions options)
    {
        if (network.Configuration.Task.Name != Xor.Name || network.Weights.WhyUnusable() is not null)
            yield break;
        using var task = (Xor)network.Configuration.Task.ToSequenceTask(ScalarType.Float64, CPU);
        if (network.Weights.Dimension != task.Dimension)
        {
            yield return new("test_accuracy", double.NaN)
            {
                Problems = [NetworkAnalysis.OtherDimension(network.Weights, task.Dimension)],
            };
            yield break;
        }
        using var trained = network.Weights.ToNetwork();
        var xor = XorVariables.Measure(trained, task, options);
        bool able = Ability.IsEnough(xor.Accuracy, chance: 0.5);
        // XorVariables says a sentence of each of these, in this order.
        string?[] said =
        [
            "test_accuracy",
            "variables",
            xor.Unrolled is null ? null : "unrolled",
            "error_growth",
            xor.Spectrum is null ? null : "eigenvalues_learned",
        ];
        var sentences = able
            ? said.OfType<string>().Zip(xor.Summary()).ToDictionary(s => s.First, s => s.Second)
            : new() { ["test_accuracy"] = Ability.Lacking(xor.Accuracy, 0.5, "output bits") };
        foreach (var finding in Findings(xor, network.Weights, task, options))
        {
            yield return finding with
            {
                Sentence = sentences.GetValueOrDefault(finding.Key),
            };
        }
    }

    private static IEnumerable<Finding> Findings(
        XorVariables xor,
        NetworkWeights weights,
        Xor task,
        AnalysisOptions options
    ) =>
        [
            new("test_accuracy", xor.Accuracy)
            {
                Least = 0,
                Greatest = 1,
                Title = "test accuracy",
                Format = "P2",
                Meaning = "the share of output bits with the right sign",
                Figures = XorFigures.Of(xor),
                Problems = [.. WithoutBias(weights), .. xor.Problems],
            },
            Fact("test_horizon", options.TestHorizon),
            Fact("delays", ToJson(task.Delays, delay => (JsonNode)delay)),
            Fact(
                "readings",
                ToJson(
                    xor.Readings,
                    r => new JsonObject
                    {
                        ["ahead"] = r.Ahead,
                        ["explained"] = ToJson(r.Explained),
                        ["sign_right"] = ToJson(r.SignRight),
                    }
                )
            ),
            Fact("period", xor.Period),
            Fact("variables", Through(xor.Variables)),
            Fact("unrolled", Through(xor.Unrolled)),
            Fact("error_growth", ToJson(xor.Growth)),
            Fact("error_growth_circuit", xor.CircuitEigenvalues.Max(z => z.Magnitude)),
            Fact("fixed_points", xor.FixedPoints.Points.Count),
            Fact("stable_fixed_points", xor.FixedPoints.Stable.Count()),
            Fact("rest_largest_eigenvalue", xor.Rest?.Eigenvalues[0].Magnitude),
            BindingAnalysis.SpectralError(xor.Spectrum, xor.SpectrumNull),
            BindingAnalysis.SpectralErrorNull(xor.SpectrumNull),
            Fact("eigenvalues_unrolled", xor.Spectrum?.CountTheory),
            BindingAnalysis.Eigenvalues(xor.Spectrum),
            Fact("spectrum_learned", BindingAnalysis.Points(xor.Spectrum?.Learned)),
        ];

    private static IEnumerable<string> WithoutBias(NetworkWeights weights) =>
        weights.Bias is null
            ?
            [
                "The network has no bias: its outputs are odd functions of its inputs, and the exclusive or of two "
                    + "inputs is an even one, which it cannot give.",
            ]
            : [];

    private static JsonObject? Through(SuperpositionResult? result) =>
        result is null
            ? null
            : new()
            {
                ["superposition"] = ToJson(result.Superposition),
                ["superposition_null"] = ToJson(result.SuperpositionNull),
                ["intervention_accuracy"] = ToJson(result.Accuracy),
                ["affected_accuracy"] = ToJson(result.AffectedAccuracy),
                ["affected_null"] = ToJson(result.AffectedNull),
                ["interventions"] = BindingAnalysis.ListInterventions(result.Interventions),
            };
}
