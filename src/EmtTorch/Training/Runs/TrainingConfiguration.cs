using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using System.Text.Json.Serialization;
using EmtTorch.Models;
using EmtTorch.Settings;
using EmtTorch.Tasks;

namespace EmtTorch.Training;

/// <summary>Settings of the optimisation.</summary>
public sealed record TrainingConfiguration
{
    [Description("The most training steps.")]
    [Range(1, int.MaxValue)]
    public int Steps { get; init; } = 20_000;

    [Description("Sequences in a training batch.")]
    [Range(1, 1_048_576)]
    public int BatchSize { get; init; } = 64;

    [Description("The optimizer; adam and adamw differ in the meaning of weight_decay.")]
    [AllowedValues("adam", "adamw")]
    public string Optimizer { get; init; } = "adam";

    [Description("Adam's learning rate.")]
    [Range(0, double.MaxValue, MinimumIsExclusive = true)]
    public double LearningRate { get; init; } = 0.001;

    [Description("The number of first steps over which the learning rate rises linearly.")]
    [Range(0, int.MaxValue)]
    public int WarmupSteps { get; init; }

    [Description("The learning rate afterwards: constant, or falling along a cosine to a tenth at the last step.")]
    [AllowedValues("constant", "cosine")]
    public string Schedule { get; init; } = "constant";

    [Description(
        "adam: L2, this times the weights is added to the gradient; adamw: apart from the gradient, weights shrink at "
            + "each step by this times the learning rate."
    )]
    [Range(0, double.MaxValue)]
    public double WeightDecay { get; init; }

    [Description("The gradient's norm over all parameters is clipped to this.")]
    [Range(0, double.MaxValue, MinimumIsExclusive = true)]
    public double MaxGradNorm { get; init; } = 1;

    [Description(
        "Gaussian noise on every gradient after clipping, of variance this / (1 + step)^0.55 (Neelakantan et al. "
            + "2015: 0.01, 0.3, 1)."
    )]
    [Range(0, double.MaxValue)]
    public double GradientNoise { get; init; }

    [Description(
        "This times ‖W_hhᵀ W_hh − I‖² is added to the loss that is minimised, which pulls W_hh towards an orthogonal "
            + "matrix; the loss that is reported is without it."
    )]
    [Range(0, double.MaxValue)]
    public double SpectralPenalty { get; init; }

    [Description(
        "The number of segments that gradients go back through; null: all. The state is carried on all the same. For "
            + "tasks on tokens."
    )]
    [Range(1, 1_048_576)]
    public int? BpttSegments { get; init; }

    [Description("Horizons from short to long.")]
    public CurriculumConfiguration Curriculum { get; init; } = new();

    [Description("Steps between two lines of metrics.jsonl.")]
    [Range(1, int.MaxValue)]
    public int LogInterval { get; init; } = 50;

    [Description(
        "Moves the strongest writes of fast weights into the slow weights every so many steps; null: never. For "
            + "networks with fast weights and gates."
    )]
    public TrainingConsolidation? Consolidation { get; init; }

    [Description("Ends training before all steps are done, once the test accuracy is high enough; null: never.")]
    public EarlyStopConfiguration? EarlyStop { get; init; }

    internal IEnumerable<ConfigurationProblem> Check(TaskConfiguration task)
    {
        if (task.IsOnTokens && SpectralPenalty > 0)
        {
            yield return new(
                "training.spectral_penalty",
                $"found {SpectralPenalty}; a transformer has no W_hh: leave it out"
            );
        }

        if (!task.IsOnTokens && BpttSegments is { } n)
        {
            yield return new(
                "training.bptt_segments",
                $"found {n}; {task.Label} has no segments, gradients go back through all steps: leave it out"
            );
        }
    }

    /// <summary>
    /// The learning rate at a step t, from 0: r (t + 1) / w in the w steps of the warm-up; after it r, or with `cosine`
    /// r (0.55 + 0.45 cos(π (t − w) / (T − w))), which falls to r / 10 at the last step T.
    /// </summary>
    internal double RateAt(long step)
    {
        if (step < WarmupSteps)
            return LearningRate * (step + 1) / WarmupSteps;
        if (Schedule == "constant")
            return LearningRate;
        double done = Math.Min(1, (step - WarmupSteps) / Math.Max(1.0, Steps - WarmupSteps));
        return LearningRate * (0.55 + 0.45 * Math.Cos(Math.PI * done));
    }

    /// <summary>Whether weights decay as in AdamW, apart from the gradient.</summary>
    [JsonIgnore]
    internal bool DecoupledDecay => Optimizer == "adamw";
}

/// <summary>Settings of <see cref="Curriculum"/>: horizons from short to long.</summary>
public sealed record CurriculumConfiguration
{
    [Description(
        "Steps of the output phase (in flip_flop of the whole sequence; on tokens what the task says), strictly "
            + "increasing. The last one stays to the end."
    )]
    [Length(1, 10_000), Range(1, 1_000_000)]
    public IReadOnlyList<int> Horizons { get; init; } = [10, 20, 40, 60, 100];

    [Description("The next horizon follows when the accuracy of one training batch exceeds this.")]
    [Range(0.0, 1.0, MinimumIsExclusive = true)]
    public double Threshold { get; init; } = 0.98;

    internal IEnumerable<ConfigurationProblem> Check()
    {
        for (int i = 1; i < Horizons.Count; i++)
        {
            if (Horizons[i] <= Horizons[i - 1])
            {
                yield return new(
                    "training.curriculum.horizons",
                    $"found {Horizons[i]} after {Horizons[i - 1]}; allowed: strictly increasing horizons"
                );
            }
        }
    }
}

/// <summary>The rule by which training ends before all steps are done.</summary>
public sealed record EarlyStopConfiguration
{
    [Description("The test accuracy to reach.")]
    [Range(0.0, 1.0, MinimumIsExclusive = true)]
    public double Accuracy { get; init; } = 1;

    [Description("The number of tests in a row that must reach it.")]
    [Range(1, int.MaxValue)]
    public int Evaluations { get; init; } = 3;
}

/// <summary>Settings of the tests on fresh batches.</summary>
public sealed record EvaluationConfiguration
{
    [Description(
        "Steps of the output phase (in flip_flop of the whole sequence; on tokens what the task says) in the test."
    )]
    [Range(1, 1_000_000)]
    public int Horizon { get; init; } = 200;

    [Description("Batches in a test.")]
    [Range(1, 1_000_000)]
    public int Batches { get; init; } = 10;

    [Description("Sequences in a test batch.")]
    [Range(1, 1_048_576)]
    public int BatchSize { get; init; } = 64;

    [Description("Training steps between two tests.")]
    [Range(1, int.MaxValue)]
    public int Interval { get; init; } = 500;
}

/// <summary>Settings of checkpoints.</summary>
public sealed record CheckpointConfiguration
{
    [Description("Training steps between two checkpoints.")]
    [Range(1, int.MaxValue)]
    public int Interval { get; init; } = 500;

    [Description("The number of newest checkpoints that are kept.")]
    [Range(1, int.MaxValue)]
    public int KeepLast { get; init; } = 3;

    [Description(
        "Whether a checkpoint is also written whenever the test loss is the lowest so far, and the last such one is "
            + "kept."
    )]
    public bool KeepBest { get; init; } = true;
}
