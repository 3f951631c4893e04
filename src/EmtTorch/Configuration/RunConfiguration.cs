using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using System.Numerics;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using EmtTorch.Tasks;
using static TorchSharp.torch;

namespace EmtTorch.Configuration;

// These records are the one place where settings are described. Names (in snake_case), types, defaults, ranges and
// descriptions are read off them by validation, by the messages and by configs/schema.json (SettingRule). On a list, Range
// and AllowedValues hold for each element. What may be left out but not be null is marked JsonIgnore WhenWritingNull.

/// <summary>All that a run depends on. `ConfigurationFile.Load` reads one and checks it.</summary>
public sealed record RunConfiguration
{
    private const string NameCharacters = "letters, digits, '.', '_' and '-', at most 100, not beginning with '.' or '-'";

    [Description("The run's name, and its folder OUT/NAME/seed-N; left out: the name of the configuration's file.")]
    [RegularExpression("^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$", ErrorMessage = NameCharacters)]
    public string Name { get; init; } = "";

    [Description("Where first weights and batches come from: the same seed, device and thread count give the same run.")]
    [Range(typeof(long), "0", "9223372036854775807")]
    public long Seed { get; init; } = 1;

    [Description("Where to compute: auto is CUDA where there is one and the CPU elsewhere.")]
    [RegularExpression("^(auto|cpu|cuda(:[0-9]{1,3})?)$", ErrorMessage = "auto, cpu, cuda or cuda:N")]
    public string Device { get; init; } = "auto";

    [Description("Threads on the CPU; null: the program decides.")]
    [Range(1, 1024)]
    public int? Threads { get; init; }

    [Description("The folder of all runs.")]
    [RegularExpression("^[^\\u0000]*[^\\u0000\\s][^\\u0000]*$", ErrorMessage = "a folder's path, not empty")]
    public string Out { get; init; } = "runs";

    [Description("What is to be learned: exactly one of name, id, matrix and terms, in a size.")]
    public required TaskConfiguration Task { get; init; }

    [Description("The network.")]
    public ModelConfiguration Model { get; init; } = new();

    [Description("The optimisation: Adam on the mean squared error of the output phase.")]
    public TrainingConfiguration Training { get; init; } = new();

    [Description("The test on fresh batches, while training and at its end.")]
    public EvaluationConfiguration Evaluation { get; init; } = new();

    [Description("What is saved to go on from.")]
    public CheckpointConfiguration Checkpoints { get; init; } = new();

    internal static readonly JsonSerializerOptions Json = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        WriteIndented = true,
        NewLine = "\n",
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        Converters = { new BigIntegerJson() },
    };

    /// <summary>The configuration with every default written out; it loads again to an equal one.</summary>
    public string ToJson() => JsonSerializer.Serialize(this, Json) + "\n";

    /// <summary>Equal settings: lists are compared by what they hold, which a record alone does not do.</summary>
    public bool Equals(RunConfiguration? other) => other is not null && ToJson() == other.ToJson();

    public override int GetHashCode() => ToJson().GetHashCode(StringComparison.Ordinal);

    /// <summary>The rules that tie several settings together, with the settings that they tie.</summary>
    internal IEnumerable<(string[] Keys, ConfigurationProblem Problem)> Check() =>
    [
        .. Training.Curriculum.Check().Select(p => (new[] { p.Path }, p)),
        .. Task.Check().Select(p => (new[] { "task" }, p)),
        .. Model.Check(Task).Select(p => (new[] { "task", "model" }, p)),
    ];

    private sealed class BigIntegerJson : JsonConverter<BigInteger>
    {
        public override BigInteger Read(ref Utf8JsonReader reader, Type type, JsonSerializerOptions options) => throw new NotSupportedException();

        // As a number, however long: JSON sets no limit.
        public override void Write(Utf8JsonWriter writer, BigInteger value, JsonSerializerOptions options) => writer.WriteRawValue(value.ToString());
    }
}

/// <summary>A linear variable binding task, y(t) = Fᵀ [y(t−s); …; y(t−1)], or xor, or flip_flop.</summary>
[ExactlyOne(nameof(Name), nameof(Id), nameof(Matrix), nameof(Terms))]
public sealed record TaskConfiguration
{
    private const int UsualS = 8;

    [Description("A task by name: t1 to t4 and compose_copy (T2) have d = s = 8; repeat_copy, y(t) = y(t - s), has any size; so has xor, the exclusive or of two delayed vectors; flip_flop keeps d bits and has no s.")]
    [AllowedValues("repeat_copy", "compose_copy", "t1", "t2", "t3", "t4", Xor.Name, FlipFlop.Name)]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Name { get; init; }

    [Description("A task by id: a bit mask of d history entries, their swaps in base d, their signs in binary.")]
    [Length(3, 3)]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public IReadOnlyList<BigInteger>? Id { get; init; }

    [Description("A task by its matrix F: s·d rows, one for each history entry, oldest variable first, of d numbers.")]
    [MinLength(1)]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public IReadOnlyList<IReadOnlyList<double>>? Matrix { get; init; }

    [Description("A task as a sum of delayed signed permutations: y_i(t) is the sum of sign_i · y_{permutation_i}(t - delay).")]
    [MinLength(1)]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public IReadOnlyList<DelayedPermutation>? Terms { get; init; }

    [Description("Of xor alone: the two delays a and b of y(t) = -y(t - a) · y(t - b), one of them s; left out: 1 and s.")]
    [Length(2, 2), Range(1, 1024)]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public IReadOnlyList<int>? Delays { get; init; }

    [Description("Numbers in a variable; bits in flip_flop.")]
    [Range(1, 1024)]
    public int D { get; init; } = 8;

    [Description("Variables in the history: steps of the input phase; to be left out in flip_flop.")]
    [Range(1, 1024)]
    public int S { get; init; } = UsualS;

    /// <summary>Whether this is the flip-flop task, which has no history.</summary>
    [JsonIgnore]
    internal bool IsFlipFlop => Name == FlipFlop.Name;

    /// <summary>Whether it is a <see cref="LinearBinding"/>, for which there is a circuit.</summary>
    [JsonIgnore]
    public bool IsLinearBinding => !IsFlipFlop && !IsXor;

    /// <summary>Whether this is <see cref="Tasks.Xor"/>, a variable binding task that is not linear.</summary>
    [JsonIgnore]
    internal bool IsXor => Name == Xor.Name;

    /// <summary>The task itself, where it is xor.</summary>
    /// <exception cref="ArgumentException">It is another, or a rule is broken; the latter never for a configuration that was loaded.</exception>
    public Xor ToXor(ScalarType dtype, Device device) => IsXor ? new(D, S, Delays, dtype, device) : throw new ArgumentException($"the task is not {Xor.Name}");

    /// <summary>The task itself, where it is a linear variable binding task.</summary>
    /// <exception cref="ArgumentException">It is xor or flip_flop, or a rule is broken; the latter never for a configuration that was loaded.</exception>
    public LinearBinding ToLinearBinding() => this switch
    {
        { IsXor: true } => throw new ArgumentException($"{Xor.Name} is not a linear variable binding task: its rule is a product of two variables"),
        { IsFlipFlop: true } => throw new ArgumentException($"{FlipFlop.Name} is not a linear variable binding task"),
        { Name: { } name } => LinearBinding.Named(name, D, S),
        { Id: [var id1, var id2, var id3] } => LinearBinding.FromId(id1, id2, id3, D, S),
        { Matrix: { } matrix } => LinearBinding.FromMatrix(matrix, D, S),
        { Terms: { } terms } => LinearBinding.FromTerms(terms, D, S),
        _ => throw new ArgumentException("the task has no name, id, matrix or terms"),
    };

    internal IEnumerable<ConfigurationProblem> Check()
    {
        var (key, broken) = this switch
        {
            { Delays: not null, IsXor: false } => ("delays", [$"only {Xor.Name} has delays: leave it out (a sum of delayed vectors is said by terms)"]),
            { IsXor: true } => (Delays is null ? "s" : "delays", Xor.Check(S, Delays)),
            { IsFlipFlop: true, S: UsualS } => ("", []),
            { IsFlipFlop: true } => ("s", [$"found {S}; {Name} has no history, so that s means nothing there: leave it out (d is the number of bits, training.curriculum.horizons are the lengths of sequences)"]),
            { Name: { } name } => ("name", LinearBinding.CheckNamed(name, D, S)),
            { Id: [var id1, var id2, var id3] } => ("id", LinearBinding.CheckId(id1, id2, id3, D, S)),
            { Matrix: { } matrix } => ("matrix", LinearBinding.CheckMatrix(matrix, D, S)),
            { Terms: { } terms } => ("terms", LinearBinding.CheckTerms(terms, D, S)),
            _ => ("", []),
        };
        return broken.Select(message => new ConfigurationProblem($"task.{key}", message));
    }
}

/// <summary>The network.</summary>
public sealed record ModelConfiguration
{
    [Description("The kind of network.")]
    [AllowedValues("elman_rnn")]
    public string Type { get; init; } = "elman_rnn";

    [Description("Hidden units, H.")]
    [Range(1, 65536)]
    public int HiddenSize { get; init; } = 128;

    [Description("Whether recurrence and readout have biases.")]
    public bool Bias { get; init; }

    [Description("The numbers to compute with.")]
    [AllowedValues("float32", "float64")]
    public string Dtype { get; init; } = "float32";

    [Description("First weights. uniform: within ±1/√H, PyTorch's; orthogonal: W_hh random orthogonal, the rest uniform; circuit: near the theory's circuit of the task, which takes H of s·d or more.")]
    [AllowedValues("uniform", "orthogonal", "circuit")]
    public string Initialization { get; init; } = "uniform";

    [Description("How far first weights are from the circuit: this times the uniform ones is added. For circuit alone.")]
    [Range(0, double.MaxValue)]
    public double InitializationNoise { get; init; } = 0.1;

    internal IEnumerable<ConfigurationProblem> Check(TaskConfiguration task)
    {
        if (task.IsXor && !Bias)
            yield return new("model.bias", $"found false; {Xor.Name} needs true: without a bias −u gives −y, but the exclusive or of two inputs is the same for both, so that no training could learn it");
        if (Initialization != "circuit") yield break;
        if (!task.IsLinearBinding)
            yield return new("model.initialization", $"found circuit; {task.Name} is no linear variable binding task, so that there is no circuit for it; allowed: uniform, orthogonal");
        else if (HiddenSize < task.S * task.D)
            yield return new("model.hidden_size", $"found {HiddenSize}; initialization circuit needs an orthonormal basis of s·d = {task.S} · {task.D} = {task.S * task.D} vectors: allowed are as many hidden units or more");
    }
}

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

    [Description("adam: L2, this times the weights is added to the gradient; adamw: beside the gradient, at each step the weights shrink by this times the learning rate.")]
    [Range(0, double.MaxValue)]
    public double WeightDecay { get; init; }

    [Description("The gradient's norm over all parameters is clipped to this.")]
    [Range(0, double.MaxValue, MinimumIsExclusive = true)]
    public double MaxGradNorm { get; init; } = 1;

    [Description("Gaussian noise on every gradient after clipping, of variance this / (1 + step)^0.55 (Neelakantan et al. 2015: 0.01, 0.3, 1).")]
    [Range(0, double.MaxValue)]
    public double GradientNoise { get; init; }

    [Description("What is minimised has this times ‖W_hhᵀ W_hh − I‖² added, which draws W_hh to an orthogonal matrix; the loss that is reported has not.")]
    [Range(0, double.MaxValue)]
    public double SpectralPenalty { get; init; }

    [Description("Output phases from short to long.")]
    public CurriculumConfiguration Curriculum { get; init; } = new();

    [Description("Steps between two lines of metrics.jsonl.")]
    [Range(1, int.MaxValue)]
    public int LogInterval { get; init; } = 50;

    [Description("Ends training before all steps are done, once the test accuracy is high enough; null: never.")]
    public EarlyStopConfiguration? EarlyStop { get; init; }

    /// <summary>Whether the decay is AdamW's, beside the gradient.</summary>
    [JsonIgnore]
    internal bool DecoupledDecay => Optimizer == "adamw";
}

/// <summary>Output phases from short to long.</summary>
public sealed record CurriculumConfiguration
{
    [Description("Steps of the output phase (in flip_flop of the whole sequence), strictly increasing; the last one is kept to the end.")]
    [MinLength(1), Range(1, 1_000_000)]
    public IReadOnlyList<int> Horizons { get; init; } = [10, 20, 40, 60, 100];

    [Description("The next horizon is taken when the accuracy of one training batch exceeds this.")]
    [Range(0.0, 1.0, MinimumIsExclusive = true)]
    public double Threshold { get; init; } = 0.98;

    internal IEnumerable<ConfigurationProblem> Check()
    {
        for (int i = 1; i < Horizons.Count; i++)
            if (Horizons[i] <= Horizons[i - 1])
                yield return new("training.curriculum.horizons", $"found {Horizons[i]} after {Horizons[i - 1]}; allowed: strictly increasing horizons");
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
    [Description("Steps of the output phase (in flip_flop of the whole sequence) in the test.")]
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

    [Description("Whether a checkpoint is written whenever the test loss is the lowest so far, and the last of these kept besides.")]
    public bool KeepBest { get; init; } = true;
}

/// <summary>Of these properties exactly one must be given.</summary>
[AttributeUsage(AttributeTargets.Class)]
internal sealed class ExactlyOneAttribute(params string[] properties) : Attribute
{
    public string[] Properties { get; } = properties;
}
