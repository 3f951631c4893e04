using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using EmtTorch.Memory;
using EmtTorch.Models;
using EmtTorch.Settings;

namespace EmtTorch.Training;

/// <summary>The settings of <see cref="ReplayConsolidation"/>: consolidation while a network is trained.</summary>
public sealed record TrainingConsolidation
{
    [Description("Training steps between two consolidations.")]
    [Range(1, int.MaxValue)]
    public int Interval { get; init; } = 100;

    [Description("Writes that each block keeps between two consolidations, those with the highest gates.")]
    [Range(1, 1_048_576)]
    public int Writes { get; init; } = 256;

    [Description("Steps of Adam in a consolidation, each over all writes that are kept.")]
    [Range(1, 1_000_000)]
    public int Steps { get; init; } = 10;

    [Description("Adam's learning rate in a consolidation.")]
    [Range(0, double.MaxValue, MinimumIsExclusive = true)]
    public double LearningRate { get; init; } = 0.001;

    [Description("The loss ‖W_Q h - k‖² + ‖FFN(h) - v‖². source: its sum over the writes; mean: its mean.")]
    [AllowedValues("source", "mean")]
    public string Loss { get; init; } = "source";

    [Description("Whose W_Q is in the loss. attention: the source's, a slow weight; memory: the fast weights' own.")]
    [AllowedValues(OfAttention, OfMemory)]
    public string Queries { get; init; } = OfAttention;

    internal const string OfAttention = "attention",
        OfMemory = "memory";

    /// <summary>Finds what the network lacks.</summary>
    internal IEnumerable<ConfigurationProblem> Check(ModelConfiguration model)
    {
        if (!model.IsTransformer || model.Find<FastWeightSettings>() is null)
        {
            yield return new(
                "training.consolidation",
                "found beside a network without fast weights: there is nothing to consolidate; leave it out"
            );
            yield break;
        }

        var fast = model.Find<FastWeightSettings>()!;
        bool isPlain = model.DriftJoin == "add" && model.DriftCell == "linear";
        if (fast.Read == "source" || fast.Write == "full_hypernetwork" || !isPlain)
        {
            yield return new(
                "training.consolidation",
                "found beside fast weights without W_Q, W_K and W_V of their own, or contexts that are concatenated or "
                    + "recurrent; leave it out"
            );
        }

        if (!model.Gate)
        {
            yield return new(
                "training.consolidation",
                "found beside model.gate false: without gates no write is the strongest; leave it out"
            );
        }

        if (Queries == OfAttention && !model.Attention)
        {
            yield return new(
                "training.consolidation.queries",
                $"found {OfAttention} beside model.attention false; allowed: {OfMemory}"
            );
        }
    }
}
