using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using EmtTorch.Settings;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace EmtTorch.Memory;

/// <summary>
/// What a <see cref="FastWeightMemory"/> computed for a segment. The tensors are valid during the observer's call only.
/// </summary>
/// <param name="Queries">q (B, heads, T, d_k), of length 1 unless attention's queries are read or keys have any
/// length.</param>
/// <param name="Keys">k (B, heads, T, d_k), of length 1 if unit_keys; with a hypernetwork of rank r, a (B, heads · r,
/// T, d_k), the pairs of one head together. A hypernetwork of full rank writes the rows of its matrix as values under
/// the keys e_i.</param>
/// <param name="Values">v (B, heads, T, d_v), or b (B, heads · r, T, d_v).</param>
/// <param name="Strength">β = g·η (B, heads, T): by how much each token was written.</param>
/// <param name="Gate">g (B, heads, T), or null without a gate.</param>
/// <param name="Decay">γ (heads).</param>
/// <param name="Rule">What is written.</param>
/// <param name="Reads">r (B, heads, T, d_v).</param>
/// <param name="Before">F before the segment (B, heads, d_k, d_v).</param>
/// <param name="After">F after it.</param>
/// <param name="Hidden">h̃ (B, T, HiddenWidth), from which all these are computed.</param>
public sealed record MemoryActivity(
    Tensor Queries,
    Tensor Keys,
    Tensor Values,
    Tensor Strength,
    Tensor? Gate,
    Tensor Decay,
    WriteRule Rule,
    Tensor Reads,
    Tensor Before,
    Tensor After,
    Tensor Hidden
)
{
    /// <summary>Whether r_t = F_t q_t, the source's read, and not F_{t−1}ᵀ q_t.</summary>
    public bool ReadsAsSource { get; init; }
}

/// <summary>The settings of a <see cref="FastWeightMemory"/>.</summary>
[Named(FastWeightMemory.SettingsName)]
[Description("Fast weights: a matrix F that every token reads, Fᵀ q, and then writes, F + g η k vᵀ.")]
public sealed record FastWeightSettings : MemorySettings
{
    [Description("Heads of the fast weights, each a matrix of hidden_size / heads on both sides.")]
    [Range(1, 1024)]
    public int Heads { get; init; } = 1;

    [Description(
        "What is written. hebbian: F + g η k vᵀ; delta: F + g η k (v - Fᵀ k)ᵀ, which replaces the value under a "
            + "key; hypernetwork: F + g η A Bᵀ, with A and B by a small network from the token; full_hypernetwork: "
            + "F + g η G, with a small network that gives the whole matrix G (the source's form), for heads of at "
            + "most 64 numbers."
    )]
    [AllowedValues("hebbian", "delta", "hypernetwork", "full_hypernetwork")]
    public string Write { get; init; } = "hebbian";

    [Description("The rank r of what a token writes, A Bᵀ = Σ a_i b_iᵀ. For write hypernetwork; 1 otherwise.")]
    [Range(1, 64)]
    public int HypernetworkRank { get; init; } = 1;

    [Description(
        "How fast weights are read, and the read enters the stream. linear: W_o r, r = Fᵀ q, before the token writes; "
            + "softmax: softmax(r / √d) V with a learned table V; source: the source's form, softmax(F q / √d) V after "
            + "the token has written, with attention's query q."
    )]
    [AllowedValues("linear", "softmax", "source")]
    public string Read { get; init; } = "linear";

    [Description("Whether fast weights decay, with a learned γ for each head; false: γ = 1.")]
    public bool Decay { get; init; }

    [Description("Whether keys and queries are brought to length 1; false: the source's form, for write hebbian.")]
    public bool UnitKeys { get; init; } = true;

    [Description(
        "What the gate reads beside the context c. in_context: h̃, the token in its context; plain: h, the block's "
            + "input (the source's form)."
    )]
    [AllowedValues("in_context", "plain")]
    public string GateInput { get; init; } = "in_context";

    /// <summary>Whether it takes attention's queries.</summary>
    internal bool ReadsAsSource => Read == "source";

    internal override string ModuleName => "memory";

    internal override MemoryPlace Place => MemoryPlace.First;

    public override BlockMemory Create(BlockShape block) => new FastWeightMemory(block, this);

    public override string Summary =>
        $"fast weights ({Write}"
        + (HypernetworkRank > 1 ? $", rank {HypernetworkRank}" : "")
        + (Heads > 1 ? $", {Heads} heads)" : ")");

    public override IEnumerable<ConfigurationProblem> Check(BlockShape block)
    {
        if (block.Width % Heads != 0)
            yield return new("heads", $"found {Heads}; allowed: numbers that divide hidden_size, {block.Width}");
        if (HypernetworkRank > 1 && Write != "hypernetwork")
        {
            yield return new(
                "hypernetwork_rank",
                $"found {HypernetworkRank} beside write {Write}; allowed: 1, or write hypernetwork"
            );
        }
        foreach (var problem in CheckSourceForms(block))
            yield return problem;
    }

    private IEnumerable<ConfigurationProblem> CheckSourceForms(BlockShape block)
    {
        if (ReadsAsSource && Write is not ("hebbian" or "full_hypernetwork"))
            yield return new("read", $"found source beside write {Write}; allowed: write hebbian or full_hypernetwork");
        if (ReadsAsSource && block.AttentionHeads != Heads)
        {
            yield return new(
                "read",
                block.AttentionHeads == 0
                    ? "found source, which takes attention's queries, beside no attention; allowed: linear, softmax"
                    : "found source, which takes attention's queries; allowed: as many heads of the memory as of "
                        + $"attention (found {Heads} and {block.AttentionHeads})"
            );
        }
        if (!UnitKeys && Write != "hebbian")
            yield return new("unit_keys", $"found false beside write {Write}; allowed: true, or write hebbian");
        if (Write == "full_hypernetwork" && block.Width / Heads > FullHypernetwork.WidestHead)
        {
            yield return new(
                "write",
                $"found full_hypernetwork for heads of {block.Width / Heads} numbers; allowed: heads of "
                    + $"{FullHypernetwork.WidestHead} at most (hidden_size / heads)"
            );
        }
        if (GateInput == "plain" && !block.Gate)
            yield return new("gate_input", "found plain beside gate false; allowed: in_context, or gate true");
    }
}

/// <summary>
/// Fast weights F as a block's memory. Every token reads r_t = F_{t−1}ᵀ q_t and then writes F_t = γ F_{t−1} + g_t η k_t
/// v_tᵀ, or by the delta rule, or by a hypernetwork. q, k, v are projections of h̃; keys and queries have length 1;
/// each head has its own η and γ. A read adds to the stream
/// <code>
/// linear:   W_o r                    softmax:  softmax(r / √d) V^fast, with V^fast a learned d × d table
/// source:   softmax(F_t q / √d) V^fast, with attention's q, after the token's own write
/// </code>
/// The last is the source's 1.2, softmax(Q F_tᵀ/√d) V^fast: it meets values with the query and gives back keys, where
/// Fᵀ q meets keys and gives back values. A softmax runs over the d numbers of all heads. <see cref="FastWeights"/> has
/// the recurrence itself, token by token and in parallel, <see cref="SourceReads"/> the source's read of it, and <see
/// cref="FullRankWrites"/> that of a hypernetwork of full rank.
/// </summary>
/// <remarks>
/// First weights: W_Q = W_K, so that a token asks for what tokens like it have written. The softmax over d numbers is
/// nearly uniform then, and a read changes it by about |r|/d^1.5; V^fast is drawn from N(0, d), so that reads have an
/// effect. η is learned as its logarithm and begins at 1. The delta rule overshoots for
/// η &gt; 1 and diverges for η &gt; 2, so there η is a sigmoid and begins at 0.88. Keys of any length have ‖k‖² = d_k/3
/// at first, and η begins at 3/d_k. γ is 1, or a sigmoid that begins at 0.98.
/// </remarks>
public sealed class FastWeightMemory : BlockMemory
{
    private readonly Projection? qkv; // W_Q, W_K, W_V: those of them that are needed, one below the other
    private readonly Projection? output; // W_o, where reads are linear
    private readonly Parameter? table; // V^fast (d, d), where they go through a softmax
    private readonly WriteGate? gate;
    private readonly HypernetworkWrite? hypernetwork;
    private readonly FullHypernetwork? full_hypernetwork;
    private readonly Parameter rate; // (heads): ln η, or η's logit
    private readonly Parameter? logit_decay; // (heads): γ's logit
    private readonly WriteRule _rule;
    private readonly long _heads,
        _width;
    private readonly bool _asSource, // reads F_t q_t, with attention's q
        _unitKeys,
        _plainGate;

    internal FastWeightMemory(BlockShape block, FastWeightSettings settings)
        : base(nameof(FastWeightMemory))
    {
        long d = block.Width;
        var dtype = block.Dtype;
        (_heads, _width, _rule) = (settings.Heads, d, settings.Write == "delta" ? WriteRule.Delta : WriteRule.Hebbian);
        (_asSource, _unitKeys) = (settings.ReadsAsSource, settings.UnitKeys);
        _plainGate = settings.GateInput == "plain";
        bool isFull = settings.Write == "full_hypernetwork"; // writes without keys and values
        int projections = (_asSource ? 0 : 1) + (isFull ? 0 : 2);
        if (projections > 0)
            qkv = new(block.HiddenWidth, projections * d, block, hasBias: false);
        if (projections == 3)
        {
            using (no_grad())
                qkv!.weight.narrow(0, 0, d).copy_(qkv.weight.narrow(0, d, d));
        }
        if (settings.Read == "linear")
            output = new(d, d, block);
        else
            table = new((randn(d, d, dtype: dtype) * Math.Sqrt(d)).DetachFromDisposeScope());
        if (block.Gate)
            gate = new(block, settings.Heads, _plainGate);
        double firstRate =
            _rule == WriteRule.Delta ? 2
            : _unitKeys ? 0
            : Math.Log(3.0 * _heads / d);
        rate = new(full(_heads, firstRate, dtype: dtype));
        if (settings.Decay)
            logit_decay = new(full(_heads, 4, dtype: dtype));
        if (settings.Write == "hypernetwork")
            hypernetwork = new(block, settings);
        if (isFull)
            full_hypernetwork = new(block, settings.Heads);
        RegisterComponents();
        this.KeepParameters();
    }

    /// <summary>The name in configurations, and the name of F among the tensors of the state.</summary>
    internal const string SettingsName = "fast_weights",
        StateName = "F";

    /// <summary>Called for every segment that is read; for analyses.</summary>
    public Action<MemoryActivity>? Observer { get; set; }

    /// <summary>Called with what the tokens of a segment write, maybe from several threads; for replay.</summary>
    internal Action<TokenWrites>? Written { get; set; }

    /// <summary>η (heads).</summary>
    public Tensor Rate => _rule == WriteRule.Delta ? rate.sigmoid() : rate.exp();

    /// <summary>γ (heads).</summary>
    public Tensor DecayFactor => logit_decay is null ? ones_like(rate) : logit_decay.sigmoid();

    /// <summary>
    /// Whether it has W_Q, W_K and W_V: not if it reads attention's queries, or a hypernetwork gives the whole write.
    /// </summary>
    internal bool HasQueriesKeysAndValues => !_asSource && full_hypernetwork is null;

    /// <summary>Computes W_Q h̃ (…, d), not brought to length 1.</summary>
    internal Tensor Ask(Tensor h) => nn.functional.linear(h, qkv!.weight.narrow(0, 0, _width));

    /// <summary>W_Q, W_K and W_V (3 d, HiddenWidth). <see cref="Ask"/> uses the first d rows.</summary>
    internal Parameter QueriesKeysAndValues => qkv!.weight;

    /// <summary>Computes F from stored writes, one after the other without decay.</summary>
    /// <param name="k">(B, heads, n, d_k), or (B, heads · r, n, d_k) with a hypernetwork.</param>
    /// <param name="v">(B, heads, n, d_v), or (B, heads · r, n, d_v).</param>
    /// <param name="strength">(B, heads, n); 0 writes nothing.</param>
    internal Tensor Rewritten(Tensor k, Tensor v, Tensor strength)
    {
        using var scope = NewDisposeScope();
        var (q, decay) = (
            zeros([strength.shape[0], _heads, k.shape[2], k.shape[3]], dtype: k.dtype, device: k.device),
            ones_like(rate)
        );
        var empty = FirstState(strength.shape[0], k.device)[StateName];
        var after =
            hypernetwork is null && full_hypernetwork is null
                ? FastWeights.Scan(q, k, v, strength, decay, empty, _rule).State
                : LowRankWrites.Scan(q, k, v, strength, decay, empty).State;
        return after.MoveToOuterDisposeScope();
    }

    /// <returns>F = 0 (B, heads, d_k, d_v).</returns>
    public override MemoryState FirstState(long batch, Device device)
    {
        long width = _width / _heads;
        return new() { [StateName] = zeros(batch, _heads, width, width, dtype: rate.dtype, device: device) };
    }

    public override MemoryRead Read(BlockInput input, MemoryState state)
    {
        var (added, after) = forward(input, state[StateName]);
        return new(added, new() { [StateName] = after });
    }

    /// <param name="h">h̃ (B, T, HiddenWidth), also the tokens without context.</param>
    /// <param name="contexts">c (B, T, d), or null without a drifting context.</param>
    /// <param name="state">F before the first token (B, heads, d_k, d_v).</param>
    /// <returns>What the reads add to the stream (B, T, d), and F after the last token.</returns>
    internal (Tensor Added, Tensor State) forward(Tensor h, Tensor? contexts, Tensor state) =>
        forward(new BlockInput(h, contexts, 0), state);

    private (Tensor Added, Tensor State) forward(BlockInput input, Tensor state)
    {
        using var scope = NewDisposeScope();
        var h = input.Hidden;
        long batch = h.shape[0],
            tokens = h.shape[1];
        Require.Shape(state, [batch, _heads, _width / _heads, _width / _heads]);
        var projected = qkv?.forward(h); // (B, T, 3d), or those of q, k, v that are needed
        var rates = Rate.unsqueeze(-1); // (heads, 1)
        var g = gate?.forward(_plainGate ? input.Plain : h, input.Contexts); // (B, heads, T)
        var strength = g is null ? rates.expand(batch, _heads, tokens) : g * rates;
        Written?.Invoke(WritesOf(input, projected!, g ?? strength));
        var decay = DecayFactor;
        Tensor r,
            after;
        if (
            HasQueriesKeysAndValues
            && _unitKeys
            && hypernetwork is null
            && Observer is null
            && (tokens > 1 || !is_grad_enabled())
            && ProjectedScan.Fits(projected!, strength, decay, state)
        )
        {
            var results = ProjectedScan.Apply(projected!, strength, decay, state, _rule == WriteRule.Delta);
            (r, after) = (results[0], results[1]);
        }
        else
        {
            (var read, after) = Scan(input, projected, strength, g, decay, state);
            r = read.transpose(1, 2).reshape(batch, tokens, _width);
        }
        var added = output is null ? matmul((r / Math.Sqrt(_width)).softmax(-1), table!) : output.forward(r);
        return (added.MoveToOuterDisposeScope(), after.MoveToOuterDisposeScope());
    }

    /// <summary>What tokens write, without gradients.</summary>
    private TokenWrites WritesOf(BlockInput input, Tensor projected, Tensor gates)
    {
        using var quiet = no_grad();
        using var scope = NewDisposeScope();
        var h = input.Hidden;
        long batch = h.shape[0],
            tokens = h.shape[1];
        var parts = projected.detach().view(batch, tokens, 3, _heads, _width / _heads); // (B, T, 3, heads, d_k)
        var (k, v) = (parts.select(2, 1), parts.select(2, 2)); // (B, T, heads, d_k)
        if (hypernetwork is null)
        {
            k = _unitKeys ? nn.functional.normalize(k, dim: -1) : k;
        }
        else
        {
            var (a, b) = hypernetwork.forward(h, k.transpose(1, 2), v.transpose(1, 2));
            // The first pair of each head.
            Tensor First(Tensor pairs) => pairs.unflatten(1, [_heads, -1]).select(2, 0).transpose(1, 2);
            (k, v) = (First(a), First(b));
        }
        return new(
            input.Documents.FirstDocument,
            gates.detach().amax([1L]).MoveToOuterDisposeScope(),
            h.detach().alias().MoveToOuterDisposeScope(),
            k.reshape(batch, tokens, _width).MoveToOuterDisposeScope(),
            v.reshape(batch, tokens, _width).MoveToOuterDisposeScope()
        );
    }

    /// <summary>Reads and writes by <see cref="FastWeights"/>, and tells the observer.</summary>
    /// <returns>r (B, heads, T, d_v), and F after the last token.</returns>
    private (Tensor Read, Tensor State) Scan(
        BlockInput input,
        Tensor? projected,
        Tensor strength,
        Tensor? g,
        Tensor decay,
        Tensor state
    )
    {
        using var scope = NewDisposeScope();
        var parts = projected is null ? [] : OfHeads(projected);
        var q = _asSource ? OfHeads(input.Queries!)[0] : parts[0];
        if (_unitKeys && !_asSource)
            q = nn.functional.normalize(q, dim: -1);
        Tensor read,
            after,
            k,
            v;
        if (full_hypernetwork is not null)
        {
            var written = full_hypernetwork.forward(input.Hidden);
            (read, after) = FullRankWrites.Scan(q, written, strength, decay, state, _asSource);
            if (Observer is null)
                return (read.MoveToOuterDisposeScope(), after.MoveToOuterDisposeScope());
            (k, v) = FullRankWrites.Pairs(written);
        }
        else
        {
            (k, v) = (parts[^2], parts[^1]);
            if (hypernetwork is not null)
                (k, v) = hypernetwork.forward(input.Hidden, k, v);
            else if (_unitKeys)
                k = nn.functional.normalize(k, dim: -1);
            (read, after) = _asSource
                ? SourceReads.Scan(q, k, v, strength, decay, state)
                : ReadThenWrite(q, k, v, strength, decay, state);
        }
        Observer?.Invoke(
            new(q, k, v, strength, g, decay, _rule, read, state, after, input.Hidden) { ReadsAsSource = _asSource }
        );
        return (read.MoveToOuterDisposeScope(), after.MoveToOuterDisposeScope());
    }

    /// <summary>The parts of d numbers that a projection (B, T, n d) has, each (B, heads, T, d_k).</summary>
    private Tensor[] OfHeads(Tensor projected) =>
        projected
            .view(projected.shape[0], projected.shape[1], projected.shape[2] / _width, _heads, _width / _heads)
            .permute(2, 0, 3, 1, 4)
            .unbind(0);

    /// <summary>Each token reads F before it, and then writes a pair, or the pairs of a hypernetwork.</summary>
    private (Tensor Read, Tensor State) ReadThenWrite(
        Tensor q,
        Tensor k,
        Tensor v,
        Tensor strength,
        Tensor decay,
        Tensor state
    )
    {
        if (q.shape[2] != 1)
        {
            return hypernetwork is null
                ? FastWeights.Scan(q, k, v, strength, decay, state, _rule)
                : LowRankWrites.Scan(q, k, v, strength, decay, state);
        }
        using var scope = NewDisposeScope();
        var (q1, k1, v1, strength1) = (q.squeeze(2), k.squeeze(2), v.squeeze(2), strength.squeeze(2));
        var (read, after) = hypernetwork is null
            ? FastWeights.Step(q1, k1, v1, strength1, decay, state, _rule)
            : LowRankWrites.Step(q1, k1, v1, strength1, decay, state);
        return (read.unsqueeze(2).MoveToOuterDisposeScope(), after.MoveToOuterDisposeScope());
    }
}
