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

    [Description("What is to be learned. Variable binding: exactly one of name, id, matrix and terms, in a size d, s. On tokens, for a transformer: one of associative_recall, segment_recall, rebinding, two_hop, copy and text.")]
    public required TaskConfiguration Task { get; init; }

    [Description("The network.")]
    public ModelConfiguration Model { get; init; } = new();

    [Description("The optimisation: Adam on the mean squared error of the output phase; on tokens, on the cross entropy of what is asked.")]
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
    public string ToJson()
    {
        var json = JsonSerializer.SerializeToNode(this, Json)!.AsObject();
        // What means nothing for this task and this network is not said.
        if (Task.IsOnTokens) foreach (var key in new[] { "d", "s" }) json["task"]!.AsObject().Remove(key);
        SettingRule.Root.RemoveForeign(json);
        return json.ToJsonString(Json) + "\n";
    }

    /// <summary>Equal settings: lists are compared by what they hold, which a record alone does not do.</summary>
    public bool Equals(RunConfiguration? other) => other is not null && ToJson() == other.ToJson();

    public override int GetHashCode() => ToJson().GetHashCode(StringComparison.Ordinal);

    /// <summary>The rules that tie several settings together, with the settings that they tie.</summary>
    internal IEnumerable<(string[] Keys, ConfigurationProblem Problem)> Check() =>
    [
        .. Training.Curriculum.Check().Select(p => (new[] { p.Path }, p)),
        .. Task.Check([.. Training.Curriculum.Horizons.Append(Evaluation.Horizon).Distinct()]).Select(p => (Task.IsOnTokens ? new[] { "task", "training.curriculum.horizons", "evaluation.horizon" } : ["task"], p)),
        .. Model.Check(Task).Select(p => (new[] { "task", "model" }, p)),
        .. Training.Check(Task).Select(p => (new[] { "task", p.Path }, p)),
    ];

    private sealed class BigIntegerJson : JsonConverter<BigInteger>
    {
        public override BigInteger Read(ref Utf8JsonReader reader, Type type, JsonSerializerOptions options) => throw new NotSupportedException();

        // As a number, however long: JSON sets no limit.
        public override void Write(Utf8JsonWriter writer, BigInteger value, JsonSerializerOptions options) => writer.WriteRawValue(value.ToString());
    }
}

/// <summary>A linear variable binding task, y(t) = Fᵀ [y(t−s); …; y(t−1)], or xor, or flip_flop; or a task on tokens.</summary>
[ExactlyOne(nameof(Name), nameof(Id), nameof(Matrix), nameof(Terms), nameof(AssociativeRecall), nameof(SegmentRecall), nameof(Rebinding), nameof(TwoHop), nameof(Copy), nameof(Text))]
public sealed record TaskConfiguration
{
    private const int UsualD = 8, UsualS = 8;

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

    [Description("Multi-query associative recall as Zoology publishes it; horizons are lengths of sequences.")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public AssociativeRecallConfiguration? AssociativeRecall { get; init; }

    [Description("Pairs in a document's first segment, questions in its last; horizons are segments between them.")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public SegmentRecallConfiguration? SegmentRecall { get; init; }

    [Description("Keys bound once and some of them again, a key's newest value counts; horizons are lengths of sequences.")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public RebindingConfiguration? Rebinding { get; init; }

    [Description("Facts a → b and b → c in a document's first segment, in its last a is asked for c; horizons are segments between them.")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public TwoHopConfiguration? TwoHop { get; init; }

    [Description("A random string, to be reproduced after a delay; horizons are delays.")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public CopyConfiguration? Copy { get; init; }

    [Description("A language model of a text file's characters; horizons are segments of a document.")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public TextConfiguration? Text { get; init; }

    [Description("Numbers in a variable; bits in flip_flop. Not for tasks on tokens.")]
    [Range(1, 1024)]
    public int D { get; init; } = UsualD;

    [Description("Variables in the history: steps of the input phase; to be left out in flip_flop. Not for tasks on tokens.")]
    [Range(1, 1024)]
    public int S { get; init; } = UsualS;

    /// <summary>Whether this is the flip-flop task, which has no history.</summary>
    [JsonIgnore]
    internal bool IsFlipFlop => Name == FlipFlop.Name;

    /// <summary>Whether it is a <see cref="LinearBinding"/>, for which there is a circuit.</summary>
    [JsonIgnore]
    public bool IsLinearBinding => !IsFlipFlop && !IsXor && !IsOnTokens;

    /// <summary>Whether it is a task on tokens, an <see cref="ITokenTask"/>.</summary>
    [JsonIgnore]
    public bool IsOnTokens => AssociativeRecall is not null || SegmentRecall is not null || Rebinding is not null || TwoHop is not null || Copy is not null || Text is not null;

    /// <summary>What people call it.</summary>
    [JsonIgnore]
    public string Label => this switch
    {
        { Name: { } name } => name,
        { AssociativeRecall: not null } => "associative_recall",
        { SegmentRecall: not null } => "segment_recall",
        { Rebinding: not null } => "rebinding",
        { TwoHop: not null } => "two_hop",
        { Copy: not null } => "copy",
        { Text: not null } => "text",
        { Id: not null } => "of an id",
        { Matrix: not null } => "of a matrix",
        _ => "of terms",
    };

    /// <summary>The task itself, where it is one on tokens.</summary>
    /// <param name="horizon">Segments between pairs or facts and questions, the copy's delay, a sequence's tokens, or a document's segments of text.</param>
    /// <param name="device">Where batches are made.</param>
    /// <exception cref="ArgumentException">It is another, or a rule is broken; the latter never for a configuration that was loaded.</exception>
    public ITokenTask ToTokenTask(int horizon, Device device) => this switch
    {
        { AssociativeRecall: { } a } => new AssociativeRecall(horizon, a.Pairs, device, a.Vocabulary, a.Power, a.RandomNonQueries),
        { SegmentRecall: { } r } => new SegmentRecall(r.Pairs, horizon, r.SegmentLength, r.Keys, r.Values, r.Noise, device, r.Distractors, r.BothWays, r.Vocabularies, r.Vocabulary),
        { Rebinding: { } b } => new Rebinding(horizon, b.Pairs, b.Rebindings, b.Questions, b.Keys, b.Values, b.Noise, device),
        { TwoHop: { } h } => new TwoHop(h.Chains, h.Hops, horizon, h.SegmentLength, h.Names, h.Noise, device, h.Distractors),
        { Copy: { } c } => new CopyTask(c.Symbols, c.Length, horizon, c.SegmentLength, device),
        { Text: { } t } => new TextCorpus(t.Path, t.SegmentLength, horizon, device),
        _ => throw new ArgumentException("the task is not one on tokens"),
    };

    /// <summary>Tokens of a document at a horizon, where the task is one on tokens; 0 elsewhere.</summary>
    public long TokensAt(int horizon) => this switch
    {
        { AssociativeRecall: not null } or { Rebinding: not null } => horizon,
        { SegmentRecall: { } r } => (horizon + 2L) * r.SegmentLength,
        { TwoHop: { } h } => (horizon + 2L) * h.SegmentLength,
        { Copy: { } c } => 2L * c.Length + horizon + 1,
        { Text: { } t } => (long)horizon * t.SegmentLength,
        _ => 0,
    };

    private (string Key, IReadOnlyList<string> Broken) CheckTokens(int horizon) => this switch
    {
        { AssociativeRecall: { } a } => ("associative_recall", Tasks.AssociativeRecall.Check(horizon, a.Pairs, a.Vocabulary, a.Power)),
        { SegmentRecall: { } r } => ("segment_recall", Tasks.SegmentRecall.Check(r.Pairs, horizon, r.SegmentLength, r.Keys, r.Values, r.Noise, r.Distractors, r.BothWays, r.Vocabularies, r.Vocabulary)),
        { Rebinding: { } b } => ("rebinding", Tasks.Rebinding.Check(horizon, b.Pairs, b.Rebindings, b.Questions, b.Keys, b.Values, b.Noise)),
        { TwoHop: { } h } => ("two_hop", Tasks.TwoHop.Check(h.Chains, h.Hops, horizon, h.SegmentLength, h.Names, h.Noise, h.Distractors)),
        { Copy: { } c } => ("copy", CopyTask.Check(c.Symbols, c.Length, horizon, c.SegmentLength)),
        { Text: { } t } => ("text", TextCorpus.Check(t.Path, t.SegmentLength, horizon)),
        _ => ("", []),
    };

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

    /// <param name="horizons">The run's horizons, on which a task on tokens depends.</param>
    internal IEnumerable<ConfigurationProblem> Check(IReadOnlyList<int> horizons)
    {
        if (IsOnTokens)
        {
            if (D != UsualD || S != UsualS) yield return new("task", $"{Label} has no d and no s: leave them out");
            if (Delays is not null) yield return new("task.delays", $"only {Xor.Name} has delays: leave it out");
            var said = new HashSet<string>();
            foreach (int horizon in horizons)
            {
                var (at, rules) = CheckTokens(horizon);
                foreach (var message in rules.Where(said.Add)) yield return new($"task.{at}", $"{message} (at horizon {horizon})");
            }
            yield break;
        }
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
        foreach (var message in broken) yield return new($"task.{key}", message);
    }
}

/// <summary>The network.</summary>
[KeysOf(nameof(Type))]
public sealed record ModelConfiguration
{
    internal const string ElmanRnn = "elman_rnn", EpisodicTransformer = "episodic_transformer";

    [Description("The kind of network: elman_rnn for variable binding, xor and flip_flop, episodic_transformer for tasks on tokens.")]
    [AllowedValues(ElmanRnn, EpisodicTransformer)]
    public string Type { get; init; } = ElmanRnn;

    [Description("Hidden units, H; in a transformer the width d of what a token is.")]
    [Range(1, 65536)]
    public int HiddenSize { get; init; } = 128;

    [Description("Whether recurrence and readout, or a transformer's projections, have biases.")]
    public bool Bias { get; init; }

    [Description("The numbers to compute with.")]
    [AllowedValues("float32", "float64")]
    public string Dtype { get; init; } = "float32";

    [Description("First weights. uniform: within ±1/√H, PyTorch's; orthogonal: W_hh random orthogonal, the rest uniform; circuit: near the theory's circuit of the task, which takes H of s·d or more.")]
    [AllowedValues("uniform", "orthogonal", "circuit")]
    [OnlyFor(ElmanRnn)]
    public string Initialization { get; init; } = "uniform";

    [Description("How far first weights are from the circuit: this times the uniform ones is added. For circuit alone.")]
    [Range(0, double.MaxValue)]
    [OnlyFor(ElmanRnn)]
    public double InitializationNoise { get; init; } = 0.1;

    [Description("Blocks, one after the other.")]
    [Range(1, 1024)]
    [OnlyFor(EpisodicTransformer)]
    public int Layers { get; init; } = 2;

    [Description("Whether blocks have causal attention.")]
    [OnlyFor(EpisodicTransformer)]
    public bool Attention { get; init; } = true;

    [Description("Heads of attention; hidden_size is a multiple of twice as many.")]
    [Range(1, 1024)]
    [OnlyFor(EpisodicTransformer)]
    public int Heads { get; init; } = 4;

    [Description("Tokens that attention sees, itself among them; null: all before it, also those of earlier segments.")]
    [Range(1, 1_048_576)]
    [OnlyFor(EpisodicTransformer)]
    public int? Window { get; init; }

    [Description("Width of the feed-forward network; null: four times hidden_size.")]
    [Range(1, 1_048_576)]
    [OnlyFor(EpisodicTransformer)]
    public int? FeedForwardSize { get; init; }

    [Description("The residual stream. pre_norm: x + Attention(LN x), then x + FFN(LN x); seed: the source's H + FFN(H_att), without norms.")]
    [AllowedValues("pre_norm", "seed")]
    [OnlyFor(EpisodicTransformer)]
    public string Residual { get; init; } = "pre_norm";

    [Description("Whether the readout's weights are the embedding's.")]
    [OnlyFor(EpisodicTransformer)]
    public bool TieWeights { get; init; }

    [Description("The episodic memory in each block: fast_weights, or none.")]
    [AllowedValues("fast_weights", "none")]
    [OnlyFor(EpisodicTransformer)]
    public string Memory { get; init; } = "fast_weights";

    [Description("Heads of the fast weights, each a matrix of hidden_size / memory_heads on both sides.")]
    [Range(1, 1024)]
    [OnlyFor(EpisodicTransformer)]
    public int MemoryHeads { get; init; } = 1;

    [Description("What is written. hebbian: F + g η k vᵀ; delta: F + g η k (v - Fᵀ k)ᵀ, which replaces the value under a key; hypernetwork: F + g η A Bᵀ, with A and B by a small network from the token.")]
    [AllowedValues("hebbian", "delta", "hypernetwork")]
    [OnlyFor(EpisodicTransformer)]
    public string Write { get; init; } = "hebbian";

    [Description("The rank r of what a token writes, A Bᵀ = Σ a_i b_iᵀ. For write hypernetwork; 1 otherwise.")]
    [Range(1, 64)]
    [OnlyFor(EpisodicTransformer)]
    public int HypernetworkRank { get; init; } = 1;

    [Description("How a read r = Fᵀ q enters the stream. linear: W_o r; softmax: softmax(r / √d) V with a learned table V, the source's form.")]
    [AllowedValues("linear", "softmax")]
    [OnlyFor(EpisodicTransformer)]
    public string Read { get; init; } = "linear";

    [Description("Whether each token's writing is gated, g = σ(w [h; c] + b); false: g = 1.")]
    [OnlyFor(EpisodicTransformer)]
    public bool Gate { get; init; } = true;

    [Description("Whether fast weights decay, with a learned γ for each head; false: γ = 1.")]
    [OnlyFor(EpisodicTransformer)]
    public bool Decay { get; init; }

    [Description("Whether blocks have a drifting context, c = λ c + U h, seen by the next token.")]
    [OnlyFor(EpisodicTransformer)]
    public bool Drift { get; init; } = true;

    [Description("Nodes of the graph memory in each block, the tokens that were written most strongly so far; null: there is none. It goes with any memory, also none.")]
    [Range(1, 65536)]
    [OnlyFor(EpisodicTransformer)]
    public int? GraphNodes { get; init; }

    [Description("Tokens after which the graph memory takes in new nodes; tokens read those from before.")]
    [Range(1, 1_048_576)]
    [OnlyFor(EpisodicTransformer)]
    public int GraphInterval { get; init; } = 32;

    [Description("How the graph memory is read. addressed: softmax(q N)(N + N'), N' what edges bring to nodes N; seed: softmax(q N') N', the source's form; no_edges: softmax(q N) N.")]
    [AllowedValues("addressed", "seed", "no_edges")]
    [OnlyFor(EpisodicTransformer)]
    public string GraphRead { get; init; } = "addressed";

    [Description("The type that matrix products are computed in: bfloat16, or null for dtype's. Weights, sums over the sequence and the loss keep theirs.")]
    [AllowedValues("bfloat16")]
    [OnlyFor(EpisodicTransformer)]
    public string? Autocast { get; init; }

    [Description("A store of tokens of earlier chunks in each block, searched by every token; null: none.")]
    [OnlyFor(EpisodicTransformer)]
    public RetrievalConfiguration? Retrieval { get; init; }

    /// <summary>Whether it is an <see cref="Models.EpisodicTransformer"/>.</summary>
    [JsonIgnore]
    public bool IsTransformer => Type == EpisodicTransformer;

    internal IEnumerable<ConfigurationProblem> Check(TaskConfiguration task)
    {
        if (task.IsOnTokens != IsTransformer)
            yield return new("model.type", $"found {Type}; {task.Label} is learned by {(task.IsOnTokens ? EpisodicTransformer : ElmanRnn)}");
        if (IsTransformer)
        {
            if (Attention && HiddenSize % (2 * Heads) != 0)
                yield return new("model.heads", $"found {Heads}; allowed: numbers of which twice as many divide hidden_size, {HiddenSize} (a head's numbers are rotated two by two)");
            if (Memory != "none" && HiddenSize % MemoryHeads != 0)
                yield return new("model.memory_heads", $"found {MemoryHeads}; allowed: numbers that divide hidden_size, {HiddenSize}");
            if (HypernetworkRank > 1 && (Memory == "none" || Write != "hypernetwork"))
                yield return new("model.hypernetwork_rank", $"found {HypernetworkRank} beside {(Memory == "none" ? "memory none" : $"write {Write}")}; allowed: 1, or write hypernetwork");
            foreach (var problem in Retrieval?.Check(this) ?? []) yield return problem;
            if (Autocast is not null && Dtype != "float32")
                yield return new("model.autocast", $"found {Autocast} beside dtype {Dtype}; allowed: null, or float32");
            yield break;
        }
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

    [Description("The learning rate rises linearly over the first steps, this many.")]
    [Range(0, int.MaxValue)]
    public int WarmupSteps { get; init; }

    [Description("What becomes of the learning rate afterwards: constant, or down to a tenth of it along a cosine that ends with the last step.")]
    [AllowedValues("constant", "cosine")]
    public string Schedule { get; init; } = "constant";

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

    [Description("Segments of a document that gradients go back through; null: all. What is carried goes on beyond. For tasks on tokens.")]
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
        if (task.IsOnTokens && SpectralPenalty > 0) yield return new("training.spectral_penalty", $"found {SpectralPenalty}; a transformer has no W_hh: leave it out");
        if (!task.IsOnTokens && BpttSegments is { } n) yield return new("training.bptt_segments", $"found {n}; {task.Label} has no segments, gradients go back through all steps: leave it out");
    }

    /// <summary>The learning rate of a step, from 0: the first ones rise, the others keep it or follow half a cosine down to its tenth.</summary>
    internal double RateAt(long step)
    {
        if (step < WarmupSteps) return LearningRate * (step + 1) / WarmupSteps;
        if (Schedule == "constant") return LearningRate;
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
    [Description("Steps of the output phase (in flip_flop of the whole sequence; on tokens what the task says), strictly increasing; the last one is kept to the end.")]
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
    [Description("Steps of the output phase (in flip_flop of the whole sequence; on tokens what the task says) in the test.")]
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

/// <summary>On a record: its properties may be for some kinds only, which this other property says.</summary>
[AttributeUsage(AttributeTargets.Class)]
internal sealed class KeysOfAttribute(string property) : Attribute
{
    public string Property { get; } = property;
}

/// <summary>This property is for one kind only: given for another it is refused, and it is not written.</summary>
[AttributeUsage(AttributeTargets.Property)]
internal sealed class OnlyForAttribute(string kind) : Attribute
{
    public string Kind { get; } = kind;
}
