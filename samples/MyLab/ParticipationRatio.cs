using EmtTorch.Analysis;
using EmtTorch.Analysis.Runs;
using EmtTorch.Settings;
using TorchSharp;
using static TorchSharp.torch;

namespace MyLab;

/// <summary>
/// How many directions W_hh writes into: (Σ σ²)² / Σ σ⁴ of its singular values σ. The null is W_hh with its numbers
/// shuffled.
/// </summary>
[Named("participation_ratio")]
public sealed class ParticipationRatio : INetworkAnalysis
{
    public IEnumerable<Finding> Analyze(TrainedNetwork network, AnalysisOptions options)
    {
        if (network.Transformer is not null)
            yield break; // it has no W_hh
        var weights = network.Weights.WeightHh; // (H, H)
        using var generator = new Generator(1, CPU);
        var order = randperm(weights.numel(), generator: generator);
        var shuffled = weights.flatten().index_select(0, order).view(weights.shape);
        yield return new("directions", Of(weights))
        {
            Null = Of(shuffled),
            Below = true,
            Title = "directions of W_hh",
            Format = "F1",
            Meaning = "how many directions W_hh writes into, (Σ σ²)² / Σ σ⁴",
            Sentence = "W_hh writes into {0:0.0} directions; with its numbers shuffled it would be {1:0.0}.",
        };
    }

    private static double Of(Tensor matrix)
    {
        var squares = linalg.svdvals(matrix).square();
        return (squares.sum().square() / squares.square().sum()).ToDouble();
    }
}
