using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using System.Reflection;
using System.Text.Json.Serialization;
using EmtTorch.Memory;
using EmtTorch.Memory.Retrieval;
using EmtTorch.Settings;
using EmtTorch.Tasks;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Models;

/// <summary>The settings of the network, an Elman network or a transformer with episodic memories.</summary>
/// <example><code>
/// var model = new ModelConfiguration
/// {
///     Type = "episodic_transformer",
///     HiddenSize = 64,
///     Memories = [new FastWeightSettings { Write = "delta" }, new GraphSettings { Nodes = 64 }],
/// };
/// </code></example>
[KeysOf(nameof(Type))]
public sealed record ModelConfiguration
{
    internal const string ElmanRnn = "elman_rnn",
        EpisodicTransformer = "episodic_transformer";

    [Description(
        "The kind of network: elman_rnn for variable binding, xor and flip_flop, episodic_transformer for tasks on "
            + "tokens."
    )]
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

    [Description(
        "First weights. uniform: within ±1/√H, PyTorch's; orthogonal: W_hh random orthogonal, the rest uniform; "
            + "circuit: near the theory's circuit of the task, which takes H of s·d or more."
    )]
    [AllowedValues("uniform", "orthogonal", "circuit")]
    [OnlyFor(ElmanRnn)]
    public string Initialization { get; init; } = "uniform";

    [Description(
        "How far first weights are from the circuit: this times the uniform ones is added. For circuit alone."
    )]
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

    [Description("Heads of attention; hidden_size is a multiple of twice as many, or with positions none of as many.")]
    [Range(1, 1024)]
    [OnlyFor(EpisodicTransformer)]
    public int Heads { get; init; } = 4;

    [Description("Tokens that attention sees, itself among them; null: all before it, also those of earlier segments.")]
    [Range(1, 1_048_576)]
    [OnlyFor(EpisodicTransformer)]
    public int? Window { get; init; }

    [Description(
        "What attention knows of positions. rotary: queries and keys are rotated by them; none: nothing (the source's "
            + "form)."
    )]
    [AllowedValues("rotary", "none")]
    [OnlyFor(EpisodicTransformer)]
    public string Positions { get; init; } = "rotary";

    [Description("Whether attention has an output projection W_O; false: the source's form.")]
    [OnlyFor(EpisodicTransformer)]
    public bool AttentionOutput { get; init; } = true;

    [Description("Width of the feed-forward network; null: four times hidden_size.")]
    [Range(1, 1_048_576)]
    [OnlyFor(EpisodicTransformer)]
    public int? FeedForwardSize { get; init; }

    [Description(
        "The residual stream. pre_norm: x + Attention(LN x), then x + FFN(LN x); seed: H + FFN(H_att), without norms, "
            + "which is the source's block if heads is 1, positions none and attention_output false."
    )]
    [AllowedValues("pre_norm", "seed")]
    [OnlyFor(EpisodicTransformer)]
    public string Residual { get; init; } = "pre_norm";

    [Description("Whether the readout's weights are the embedding's.")]
    [OnlyFor(EpisodicTransformer)]
    public bool TieWeights { get; init; }

    [Description("The episodic memory in each block: fast_weights, or none.")]
    [AllowedValues("fast_weights", "none")]
    [ShortFor(nameof(Memories), typeof(FastWeightSettings))]
    [OnlyFor(EpisodicTransformer)]
    public string Memory { get; init; } = "fast_weights";

    [ShortFor(nameof(Memories), typeof(FastWeightSettings), nameof(FastWeightSettings.Heads))]
    [OnlyFor(EpisodicTransformer)]
    public int MemoryHeads { get; init; } = 1;

    [ShortFor(nameof(Memories), typeof(FastWeightSettings), nameof(FastWeightSettings.Write))]
    [OnlyFor(EpisodicTransformer)]
    public string Write { get; init; } = "hebbian";

    [ShortFor(nameof(Memories), typeof(FastWeightSettings), nameof(FastWeightSettings.HypernetworkRank))]
    [OnlyFor(EpisodicTransformer)]
    public int HypernetworkRank { get; init; } = 1;

    [ShortFor(nameof(Memories), typeof(FastWeightSettings), nameof(FastWeightSettings.Read))]
    [OnlyFor(EpisodicTransformer)]
    public string Read { get; init; } = "linear";

    [ShortFor(nameof(Memories), typeof(FastWeightSettings), nameof(FastWeightSettings.UnitKeys))]
    [OnlyFor(EpisodicTransformer)]
    public bool UnitKeys { get; init; } = true;

    [Description("Whether each token's writing is gated, g = σ(w [h̃; c] + b); false: g = 1.")]
    [OnlyFor(EpisodicTransformer)]
    public bool Gate { get; init; } = true;

    [ShortFor(nameof(Memories), typeof(FastWeightSettings), nameof(FastWeightSettings.GateInput))]
    [OnlyFor(EpisodicTransformer)]
    public string GateInput { get; init; } = "in_context";

    [ShortFor(nameof(Memories), typeof(FastWeightSettings), nameof(FastWeightSettings.Decay))]
    [OnlyFor(EpisodicTransformer)]
    public bool Decay { get; init; }

    [Description("Whether blocks have a drifting context, c = λ c + U h, seen by the next token.")]
    [OnlyFor(EpisodicTransformer)]
    public bool Drift { get; init; } = true;

    [Description(
        "What the context is. linear: c = λ c + U h; elman: c = tanh(W c + U f), gru: a gated cell of f, with the "
            + "block's feed-forward output f, token by token (the source's first part)."
    )]
    [AllowedValues("linear", "elman", "gru")]
    [OnlyFor(EpisodicTransformer)]
    public string DriftCell { get; init; } = "linear";

    [Description(
        "How the context joins the next token. add: h + W_c c; concatenate: queries, keys, values and gates read "
            + "[h; c]."
    )]
    [AllowedValues("add", "concatenate")]
    [OnlyFor(EpisodicTransformer)]
    public string DriftJoin { get; init; } = "add";

    [Description("The λ of a linear context. dimension: one for each; shared: one for all (the source's form).")]
    [AllowedValues("dimension", "shared")]
    [OnlyFor(EpisodicTransformer)]
    public string DriftRate { get; init; } = "dimension";

    [Description(
        "Nodes of the graph memory in each block, the tokens that were written most strongly so far; null: there "
            + "is none. It goes with any memory, also none."
    )]
    [ShortFor(nameof(Memories), typeof(GraphSettings), nameof(GraphSettings.Nodes))]
    [OnlyFor(EpisodicTransformer)]
    public int? GraphNodes { get; init; }

    [ShortFor(nameof(Memories), typeof(GraphSettings), nameof(GraphSettings.Interval))]
    [OnlyFor(EpisodicTransformer)]
    public int GraphInterval { get; init; } = 32;

    [ShortFor(nameof(Memories), typeof(GraphSettings), nameof(GraphSettings.Read))]
    [OnlyFor(EpisodicTransformer)]
    public string GraphRead { get; init; } = "addressed";

    [Description(
        "The type that matrix products are computed in: bfloat16, or null for dtype's. Weights, sums over the "
            + "sequence and the loss keep theirs."
    )]
    [AllowedValues("bfloat16")]
    [OnlyFor(EpisodicTransformer)]
    public string? Autocast { get; init; }

    [Description("A store of tokens of earlier chunks in each block, searched by every token; null: none.")]
    [ShortFor(nameof(Memories), typeof(RetrievalConfiguration))]
    [OnlyFor(EpisodicTransformer)]
    public RetrievalConfiguration? Retrieval { get; init; }

    [Description("The memories in each block, by their names: ours, and those of extensions.")]
    [Part, JsonIgnore]
    [OnlyFor(EpisodicTransformer)]
    public IReadOnlyList<MemorySettings> Memories { get; init; } = [];

    /// <summary>Of a transformer: the sizes and switches that the parts of its blocks share.</summary>
    [JsonIgnore]
    internal BlockShape Block =>
        new(HiddenSize, ScalarType)
        {
            Bias = Bias,
            Autocast = Autocast is not null,
            Drift = Drift,
            Gate = Gate,
            Concatenates = Drift && DriftJoin == "concatenate",
            AttentionHeads = Attention ? Heads : 0,
        };

    /// <summary>
    /// Of a transformer: the memories of each block, in the order in which their reads are added. Those of the short
    /// keys are among them, unless <see cref="Memories"/> has one of the same name.
    /// </summary>
    [JsonIgnore]
    internal IReadOnlyList<MemorySettings> BlockMemories =>
        [.. Short.Where(s => Memories.All(m => m.Name != s.Name)).Concat(Memories).OrderBy(m => m.Place)];

    /// <summary>Of a transformer: the settings of a memory of the blocks, or null if there is none of this
    /// class.</summary>
    internal T? Find<T>()
        where T : MemorySettings => BlockMemories.OfType<T>().FirstOrDefault();

    // The memories that the short keys ask for.
    private IEnumerable<MemorySettings> Short
    {
        get
        {
            if (Memory != "none")
            {
                yield return new FastWeightSettings
                {
                    Heads = MemoryHeads,
                    Write = Write,
                    Read = Read,
                    Decay = Decay,
                    HypernetworkRank = HypernetworkRank,
                    UnitKeys = UnitKeys,
                    GateInput = GateInput,
                };
            }
            if (GraphNodes is { } nodes)
            {
                yield return new GraphSettings
                {
                    Nodes = nodes,
                    Interval = GraphInterval,
                    Read = GraphRead,
                };
            }
            if (Retrieval is not null)
                yield return Retrieval;
        }
    }

    // The path of a memory's setting, or of the short key that it comes from.
    private string PathOf(MemorySettings memory, string setting)
    {
        var path = SettingRule.Join($"memories.{memory.Name}", setting);
        if (Memories.Contains(memory))
            return $"model.{path}";
        var (property, whole) = typeof(ModelConfiguration)
            .GetProperties()
            .Select(p => (p.Name, p.GetCustomAttribute<ShortForAttribute>()?.Path))
            .Where(p => p.Path is not null && path.StartsWith(p.Path, StringComparison.Ordinal))
            .MaxBy(p => p.Path!.Length);
        return $"model.{SettingRule.KeyOf(property)}{path[whole!.Length..]}";
    }

    /// <summary>The type of numbers to compute with.</summary>
    [JsonIgnore]
    internal ScalarType ScalarType => Dtype == "float64" ? torch.ScalarType.Float64 : torch.ScalarType.Float32;

    /// <summary>Whether the network is an <see cref="Models.EpisodicTransformer"/>.</summary>
    [JsonIgnore]
    public bool IsTransformer => Type == EpisodicTransformer;

    internal IEnumerable<ConfigurationProblem> Check(TaskConfiguration task)
    {
        if (task.IsOnTokens != IsTransformer)
        {
            yield return new(
                "model.type",
                $"found {Type}; {task.Label} is learned by {(task.IsOnTokens ? EpisodicTransformer : ElmanRnn)}"
            );
        }

        foreach (var problem in IsTransformer ? CheckTransformer() : CheckElman(task))
            yield return problem;
    }

    private IEnumerable<ConfigurationProblem> CheckTransformer()
    {
        if (Attention && HiddenSize % (Positions == "rotary" ? 2 * Heads : Heads) != 0)
        {
            yield return new(
                "model.heads",
                $"found {Heads}; allowed: numbers "
                    + (
                        Positions == "rotary"
                            ? $"of which twice as many divide hidden_size, {HiddenSize} (a head's numbers are rotated "
                                + "two by two)"
                            : $"that divide hidden_size, {HiddenSize}"
                    )
            );
        }

        if (HypernetworkRank > 1 && Memory == "none")
        {
            yield return new(
                "model.hypernetwork_rank",
                $"found {HypernetworkRank} beside memory none; allowed: 1, or write hypernetwork"
            );
        }

        foreach (var memory in BlockMemories)
        {
            foreach (var (path, message) in memory.Check(Block))
                yield return new(PathOf(memory, path), message);
        }
        foreach (var problem in CheckDrift())
            yield return problem;

        if (Autocast is not null && Dtype != "float32")
            yield return new("model.autocast", $"found {Autocast} beside dtype {Dtype}; allowed: null, or float32");
    }

    private IEnumerable<ConfigurationProblem> CheckDrift()
    {
        var other = BlockMemories.FirstOrDefault(m => m is not FastWeightSettings)?.Name;
        foreach (
            var (key, value, usual) in new[]
            {
                ("drift_cell", DriftCell, "linear"),
                ("drift_join", DriftJoin, "add"),
                ("drift_rate", DriftRate, "dimension"),
            }
        )
        {
            if (value == usual)
                continue;
            if (!Drift)
            {
                yield return new($"model.{key}", $"found {value} beside drift false; allowed: {usual}, or drift true");
            }
            else if (key != "drift_rate" && other is not null)
            {
                yield return new(
                    $"model.{key}",
                    $"found {value} beside {other}; allowed: {usual}, or fast weights alone"
                );
            }
        }
        if (DriftRate == "shared" && DriftCell != "linear")
        {
            yield return new(
                "model.drift_rate",
                $"found shared beside drift_cell {DriftCell}, which has no λ; allowed: dimension, or drift_cell linear"
            );
        }
        if (Block.Concatenates && !Attention && BlockMemories.Count == 0)
        {
            yield return new(
                "model.drift_join",
                "found concatenate beside neither attention nor fast weights, which would read [h; c]; allowed: add"
            );
        }
    }

    private IEnumerable<ConfigurationProblem> CheckElman(TaskConfiguration task)
    {
        if (task.Other?.WhyBias is { } why && !Bias)
            yield return new("model.bias", $"found false; {task.Label} needs true: {why}");

        if (Initialization != "circuit")
            yield break;
        if (!task.IsLinearBinding)
        {
            yield return new(
                "model.initialization",
                $"found circuit; {task.Name} is no linear variable binding task, so that there is no circuit for "
                    + "it; allowed: uniform, orthogonal"
            );
        }
        else if (HiddenSize < task.S * task.D)
        {
            yield return new(
                "model.hidden_size",
                $"found {HiddenSize}; initialization circuit needs an orthonormal basis of s·d = {task.S} · "
                    + $"{task.D} = {task.S * task.D} vectors: allowed are as many hidden units or more"
            );
        }
    }
}
