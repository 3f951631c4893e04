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
/// <param name="Queries">q (B, heads, T, d_k), of length 1.</param>
/// <param name="Keys">k (B, heads, T, d_k), of length 1; with a hypernetwork of rank r, a (B, heads · r, T, d_k), the
/// pairs of one head together.</param>
/// <param name="Values">v (B, heads, T, d_v), or b (B, heads · r, T, d_v).</param>
/// <param name="Strength">β = g·η (B, heads, T): by how much each token was written.</param>
/// <param name="Gate">g (B, heads, T), or null without a gate.</param>
/// <param name="Decay">γ (heads).</param>
/// <param name="Rule">What is written.</param>
/// <param name="Reads">r (B, heads, T, d_v).</param>
/// <param name="Before">F before the segment (B, heads, d_k, d_v).</param>
/// <param name="After">F after it.</param>
/// <param name="Hidden">h̃ (B, T, d), from which all these are computed.</param>
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
);

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
            + "key; hypernetwork: F + g η A Bᵀ, with A and B by a small network from the token."
    )]
    [AllowedValues("hebbian", "delta", "hypernetwork")]
    public string Write { get; init; } = "hebbian";

    [Description("The rank r of what a token writes, A Bᵀ = Σ a_i b_iᵀ. For write hypernetwork; 1 otherwise.")]
    [Range(1, 64)]
    public int HypernetworkRank { get; init; } = 1;

    [Description(
        "How a read r = Fᵀ q enters the stream. linear: W_o r; softmax: softmax(r / √d) V with a learned table V, "
            + "the source's form."
    )]
    [AllowedValues("linear", "softmax")]
    public string Read { get; init; } = "linear";

    [Description("Whether fast weights decay, with a learned γ for each head; false: γ = 1.")]
    public bool Decay { get; init; }

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
    }
}

/// <summary>
/// Fast weights F as a block's memory. Every token reads r_t = F_{t−1}ᵀ q_t and then writes F_t = γ F_{t−1} + g_t η k_t
/// v_tᵀ, or by the delta rule, or by a hypernetwork. q, k, v are projections of h̃; keys and queries have length 1;
/// each head has its own η and γ. A read adds to the stream
/// <code>
/// linear:   W_o r                    softmax:  softmax(r / √d) V^fast, with V^fast a learned d × d table
/// </code>
/// (the source's 1.2). <see cref="FastWeights"/> has the recurrence itself, token by token and in parallel.
/// </summary>
/// <remarks>
/// First weights: W_Q = W_K, so that a token asks for what tokens like it have written. The softmax over d numbers is
/// nearly uniform then, and a read changes it by about |r|/d^1.5; V^fast is drawn from N(0, d), so that reads have an
/// effect. η is learned as its logarithm and begins at 1. The delta rule overshoots for
/// η &gt; 1 and diverges for η &gt; 2, so there η is a sigmoid and begins at 0.88. γ is 1, or a sigmoid that begins
/// at 0.98.
/// </remarks>
public sealed class FastWeightMemory : BlockMemory
{
    private readonly Projection qkv;
    private readonly Projection? output; // W_o, where reads are linear
    private readonly Parameter? table; // V^fast (d, d), where they go through a softmax
    private readonly WriteGate? gate;
    private readonly HypernetworkWrite? hypernetwork;
    private readonly Parameter rate; // (heads): ln η, or η's logit
    private readonly Parameter? logit_decay; // (heads): γ's logit
    private readonly WriteRule _rule;
    private readonly long _heads;

    internal FastWeightMemory(BlockShape block, FastWeightSettings settings)
        : base(nameof(FastWeightMemory))
    {
        long d = block.Width;
        var dtype = block.Dtype;
        (_heads, _rule) = (settings.Heads, settings.Write == "delta" ? WriteRule.Delta : WriteRule.Hebbian);
        qkv = new(d, 3 * d, block, hasBias: false);
        using (no_grad())
            qkv.weight.narrow(0, 0, d).copy_(qkv.weight.narrow(0, d, d));
        if (settings.Read == "linear")
            output = new(d, d, block);
        else
            table = new((randn(d, d, dtype: dtype) * Math.Sqrt(d)).DetachFromDisposeScope());
        if (block.Gate)
            gate = new(block, settings.Heads);
        rate = new(full(_heads, _rule == WriteRule.Delta ? 2 : 0, dtype: dtype));
        if (settings.Decay)
            logit_decay = new(full(_heads, 4, dtype: dtype));
        if (settings.Write == "hypernetwork")
            hypernetwork = new(block, settings);
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

    /// <summary>Computes W_Q h̃ (…, d), not brought to length 1.</summary>
    internal Tensor Ask(Tensor h) => nn.functional.linear(h, qkv.weight.narrow(0, 0, qkv.weight.shape[1]));

    /// <summary>W_Q, W_K and W_V (3 d, d). <see cref="Ask"/> uses the first d rows.</summary>
    internal Parameter QueriesKeysAndValues => qkv.weight;

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
        var after = hypernetwork is null
            ? FastWeights.Scan(q, k, v, strength, decay, empty, _rule).State
            : LowRankWrites.Scan(q, k, v, strength, decay, empty).State;
        return after.MoveToOuterDisposeScope();
    }

    /// <returns>F = 0 (B, heads, d_k, d_v).</returns>
    public override MemoryState FirstState(long batch, Device device)
    {
        long width = qkv.weight.shape[1] / _heads;
        return new() { [StateName] = zeros(batch, _heads, width, width, dtype: rate.dtype, device: device) };
    }

    public override MemoryRead Read(BlockInput input, MemoryState state)
    {
        var (added, after) = forward(input.Hidden, input.Contexts, state[StateName], input.Documents);
        return new(added, new() { [StateName] = after });
    }

    /// <param name="h">h̃ (B, T, d).</param>
    /// <param name="contexts">c (B, T, d), or null without a drifting context.</param>
    /// <param name="state">F before the first token (B, heads, d_k, d_v).</param>
    /// <param name="documents">Which documents these are.</param>
    /// <returns>What the reads add to the stream (B, T, d), and F after the last token.</returns>
    internal (Tensor Added, Tensor State) forward(
        Tensor h,
        Tensor? contexts,
        Tensor state,
        DocumentNumbers documents = default
    )
    {
        using var scope = NewDisposeScope();
        long batch = h.shape[0],
            tokens = h.shape[1],
            width = h.shape[2];
        Require.Shape(state, [batch, _heads, width / _heads, width / _heads]);
        var projected = qkv.forward(h); // (B, T, 3d)
        var rates = Rate.unsqueeze(-1); // (heads, 1)
        var g = gate?.forward(h, contexts); // (B, heads, T)
        var strength = g is null ? rates.expand(batch, _heads, tokens) : g * rates;
        Written?.Invoke(WritesOf(h, projected, g ?? strength, documents));
        var decay = DecayFactor;
        Tensor r,
            after;
        if (
            hypernetwork is null
            && Observer is null
            && (tokens > 1 || !is_grad_enabled())
            && ProjectedScan.Fits(projected, strength, decay, state)
        )
        {
            var results = ProjectedScan.Apply(projected, strength, decay, state, _rule == WriteRule.Delta);
            (r, after) = (results[0], results[1]);
        }
        else
        {
            (var read, after) = Scan(h, projected, strength, g, decay, state);
            r = read.transpose(1, 2).reshape(batch, tokens, width);
        }
        var added = output is null ? matmul((r / Math.Sqrt(width)).softmax(-1), table!) : output.forward(r);
        return (added.MoveToOuterDisposeScope(), after.MoveToOuterDisposeScope());
    }

    /// <summary>What tokens write, without gradients.</summary>
    private TokenWrites WritesOf(Tensor h, Tensor projected, Tensor gates, DocumentNumbers documents)
    {
        using var quiet = no_grad();
        using var scope = NewDisposeScope();
        long batch = h.shape[0],
            tokens = h.shape[1],
            width = h.shape[2];
        var parts = projected.detach().view(batch, tokens, 3, _heads, width / _heads); // (B, T, 3, heads, d_k)
        var (k, v) = (nn.functional.normalize(parts.select(2, 1), dim: -1), parts.select(2, 2)); // (B, T, heads, d_k)
        if (hypernetwork is not null)
        {
            var (a, b) = hypernetwork.forward(h, parts.select(2, 1).transpose(1, 2), v.transpose(1, 2));
            // The first pair of each head.
            Tensor First(Tensor pairs) => pairs.unflatten(1, [_heads, -1]).select(2, 0).transpose(1, 2);
            (k, v) = (First(a), First(b));
        }
        return new(
            documents.FirstDocument,
            gates.detach().amax([1L]).MoveToOuterDisposeScope(),
            h.detach().alias().MoveToOuterDisposeScope(),
            k.reshape(batch, tokens, width).MoveToOuterDisposeScope(),
            v.reshape(batch, tokens, width).MoveToOuterDisposeScope()
        );
    }

    /// <summary>Reads and writes by <see cref="FastWeights"/>, and tells the observer.</summary>
    /// <returns>r (B, heads, T, d_v), and F after the last token.</returns>
    private (Tensor Read, Tensor State) Scan(
        Tensor h,
        Tensor projected,
        Tensor strength,
        Tensor? g,
        Tensor decay,
        Tensor state
    )
    {
        using var scope = NewDisposeScope();
        long batch = h.shape[0],
            tokens = h.shape[1];
        // 3 × (B, heads, T, d_k)
        var parts = projected.view(batch, tokens, 3, _heads, h.shape[2] / _heads).permute(2, 0, 3, 1, 4).unbind(0);
        var q = nn.functional.normalize(parts[0], dim: -1);
        var (k, v) = hypernetwork is null
            ? (nn.functional.normalize(parts[1], dim: -1), parts[2])
            : hypernetwork.forward(h, parts[1], parts[2]);
        Tensor read,
            after;
        if (tokens == 1)
        {
            var (q1, k1, v1, strength1) = (q.squeeze(2), k.squeeze(2), v.squeeze(2), strength.squeeze(2));
            (read, after) = hypernetwork is null
                ? FastWeights.Step(q1, k1, v1, strength1, decay, state, _rule)
                : LowRankWrites.Step(q1, k1, v1, strength1, decay, state);
            read = read.unsqueeze(2);
        }
        else
        {
            (read, after) = hypernetwork is null
                ? FastWeights.Scan(q, k, v, strength, decay, state, _rule)
                : LowRankWrites.Scan(q, k, v, strength, decay, state);
        }
        Observer?.Invoke(new(q, k, v, strength, g, decay, _rule, read, state, after, h));
        return (read.MoveToOuterDisposeScope(), after.MoveToOuterDisposeScope());
    }
}
