using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using System.Text.Json.Serialization;
using EmtTorch.Models;
using EmtTorch.Settings;
using EmtTorch.Tasks;

namespace EmtTorch.Training;

/// <summary>The optimisation.</summary>
public sealed record TrainingConfiguration
{
    [Description("Training batches, at most.")]
    [Range(1, int.MaxValue)]
    public int Steps { get; init; } = 20_000;

    [Description("Sequences in a training batch.")]
    [Range(1, 1_048_576)]
    public int BatchSize { get; init; } = 64;

    [Description("What moves the weights; they differ in what weight_decay is.")]
    [AllowedValues("adam", "adamw")]
    public string Optimizer { get; init; } = "adam";

    [Description("Adam's learning rate.")]
    [Range(0, double.MaxValue, MinimumIsExclusive = true)]
    public double LearningRate { get; init; } = 0.001;

    [Description("The learning rate rises linearly over the first steps, this many.")]
    [Range(0, int.MaxValue)]
    public int WarmupSteps { get; init; }

    [Description(
        "What becomes of the learning rate afterwards: constant, or down to a tenth of it along a cosine that ends "
            + "with the last step."
    )]
    [AllowedValues("constant", "cosine")]
    public string Schedule { get; init; } = "constant";

    [Description(
        "adam: L2, this times the weights is added to the gradient; adamw: beside the gradient, at each step the "
            + "weights shrink by this times the learning rate."
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
        "What is minimised has this times ‖W_hhᵀ W_hh − I‖² added, which draws W_hh to an orthogonal matrix; the "
            + "loss that is reported has not."
    )]
    [Range(0, double.MaxValue)]
    public double SpectralPenalty { get; init; }

    [Description(
        "Segments of a document that gradients go back through; null: all. What is carried goes on beyond. For "
            + "tasks on tokens."
    )]
    [Range(1, 1_048_576)]
    public int? BpttSegments { get; init; }

    [Description("Output phases from short to long.")]
    public CurriculumConfiguration Curriculum { get; init; } = new();

    [Description("Steps between two lines of metrics.jsonl.")]
    [Range(1, int.MaxValue)]
    public int LogInterval { get; init; } = 50;

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
    /// The learning rate of a step, from 0: the first ones rise, the others keep it or follow half a cosine down to its
    /// tenth.
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

    /// <summary>Whether the decay is AdamW's, beside the gradient.</summary>
    [JsonIgnore]
    internal bool DecoupledDecay => Optimizer == "adamw";
}

/// <summary>Output phases from short to long.</summary>
public sealed record CurriculumConfiguration
{
    [Description(
        "Steps of the output phase (in flip_flop of the whole sequence; on tokens what the task says), strictly "
            + "increasing; the last one is kept to the end."
    )]
    [MinLength(1), Range(1, 1_000_000)]
    public IReadOnlyList<int> Horizons { get; init; } = [10, 20, 40, 60, 100];

    [Description("The next horizon is taken when the accuracy of one training batch exceeds this.")]
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

/// <summary>When training ends before all steps are done.</summary>
public sealed record EarlyStopConfiguration
{
    [Description("The test accuracy that is high enough: this or more.")]
    [Range(0.0, 1.0, MinimumIsExclusive = true)]
    public double Accuracy { get; init; } = 1;

    [Description("How many evaluations in a row must reach it.")]
    [Range(1, int.MaxValue)]
    public int Evaluations { get; init; } = 3;
}

/// <summary>The test on fresh batches.</summary>
public sealed record EvaluationConfiguration
{
    [Description(
        "Steps of the output phase (in flip_flop of the whole sequence; on tokens what the task says) in the test."
    )]
    [Range(1, 1_000_000)]
    public int Horizon { get; init; } = 200;

    [Description("Fresh batches in a test.")]
    [Range(1, 1_000_000)]
    public int Batches { get; init; } = 10;

    [Description("Sequences in a test batch.")]
    [Range(1, 1_048_576)]
    public int BatchSize { get; init; } = 64;

    [Description("Training steps between two tests.")]
    [Range(1, int.MaxValue)]
    public int Interval { get; init; } = 500;
}

/// <summary>What is saved to go on from.</summary>
public sealed record CheckpointConfiguration
{
    [Description("Training steps between two checkpoints.")]
    [Range(1, int.MaxValue)]
    public int Interval { get; init; } = 500;

    [Description("How many of the newest checkpoints are kept.")]
    [Range(1, int.MaxValue)]
    public int KeepLast { get; init; } = 3;

    [Description(
        "Whether a checkpoint is written whenever the test loss is the lowest so far, and the last of these kept "
            + "besides."
    )]
    public bool KeepBest { get; init; } = true;
}
