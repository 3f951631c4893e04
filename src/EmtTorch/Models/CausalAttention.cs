using EmtTorch.Kernels;
using EmtTorch.Memory;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Models;

/// <summary>
/// Causal multi-head attention, softmax(QKᵀ/√d_h) V W_O. Each token sees itself and the tokens before it: all of them,
/// or those of a window. Positions are rotary (Su et al. 2021, arXiv 2104.09864): only differences of positions count,
/// so that documents can have any length. The state is the keys and values of the tokens that can still be seen.
/// Without rotation, without W_O and with one head it is the source's 1.1.
/// </summary>
internal sealed class CausalAttention : nn.Module
{
    private readonly Projection qkv;
    private readonly Projection? output; // W_O
    private readonly long _heads,
        _width;
    private readonly int? _window;

    public CausalAttention(ModelConfiguration model)
        : base(nameof(CausalAttention))
    {
        (_heads, _width, _window) = (model.Heads, model.HiddenSize, model.Window);
        qkv = new(model.Block.HiddenWidth, 3 * _width, model.Block);
        if (model.AttentionOutput)
        {
            output = new(_width, _width, model.Block);
            // Attention adds nothing at first. It would add the average of its window until it has learned where to
            // look.
            using (no_grad())
                output.weight.zero_();
        }
        RegisterComponents();
        this.KeepParameters();
    }

    /// <summary>Computes queries, keys and values side by side (B, T, 3d) of h̃ (B, T, HiddenWidth).</summary>
    public Tensor Project(Tensor h) => qkv.forward(h);

    /// <summary>W_Q, W_K and W_V (3 d, HiddenWidth).</summary>
    public TorchSharp.Modules.Parameter QueriesKeysAndValues => qkv.weight;

    /// <summary>Computes W_Q h̃ (…, d), without rotation.</summary>
    public Tensor Ask(Tensor h) =>
        nn.functional.linear(h, qkv.weight.narrow(0, 0, _width), qkv.bias?.narrow(0, 0, _width));

    /// <summary>Projects and attends.</summary>
    /// <param name="h">h̃ (B, T, HiddenWidth).</param>
    /// <inheritdoc cref="Attend" path="/param"/>
    public AttentionResult forward(
        Tensor h,
        Tensor? pastKeys,
        Tensor? pastValues,
        AttentionSpan span,
        IReadOnlyList<SeenEntries>? entries = null
    )
    {
        using var scope = NewDisposeScope();
        return Attend(Project(h), pastKeys, pastValues, span, entries).MoveToOuterDisposeScope();
    }

    /// <param name="projected">Queries, keys and values side by side (B, T, 3d).</param>
    /// <param name="pastKeys">Rotated keys of the tokens before (B, heads, P, d_h), or null if there are none.</param>
    /// <param name="pastValues">The values of the same tokens.</param>
    /// <param name="span">Rotations and masks for these T tokens after P.</param>
    /// <param name="entries">What is seen beside the tokens, in the same softmax; at most one.</param>
    /// <param name="onto">What the result is added to (B, T, d), or null.</param>
    public AttentionResult Attend(
        Tensor projected,
        Tensor? pastKeys,
        Tensor? pastValues,
        AttentionSpan span,
        IReadOnlyList<SeenEntries>? entries = null,
        Tensor? onto = null
    )
    {
        using var scope = NewDisposeScope();
        long batch = projected.shape[0],
            tokens = projected.shape[1];
        long size = _width / _heads,
            seen = (pastKeys?.shape[2] ?? 0) + tokens,
            kept = _window is { } window ? Math.Min(seen, window - 1) : seen;
        if (entries is not [_] && (tokens > 1 || !is_grad_enabled()) && span.Cos.device_type == DeviceType.CPU)
        {
            // Made only where needed: a document's beginning has no past.
            pastKeys ??= empty([batch, _heads, 0, size], dtype: projected.dtype);
            pastValues ??= empty([batch, _heads, 0, size], dtype: projected.dtype);
            Require.Shape(pastKeys, [batch, _heads, Require.Any, size]);
            Require.Shape(pastValues, pastKeys.shape);
            if (AttentionKernel.Fits(projected, pastKeys, _heads))
            {
                var found = RotaryAttention.Apply(
                    projected,
                    span.Cos,
                    span.Sin,
                    pastKeys,
                    pastValues,
                    _heads,
                    _window ?? long.MaxValue,
                    kept
                );
                return new AttentionResult(Output(found[0], onto), found[1], found[2]).MoveToOuterDisposeScope();
            }
        }
        // 3 × (B, heads, T, d_h)
        var parts = projected.view(batch, tokens, 3, _heads, size).permute(2, 0, 3, 1, 4).unbind(0);
        Tensor q = span.Rotate(parts[0]),
            k = span.Rotate(parts[1]),
            v = parts[2];
        if (pastKeys is not null)
            (k, v) = (cat([pastKeys, k], -2), cat([pastValues!, v], -2)); // (B, heads, P + T, d_h)
        var seenByHeads = entries is [var further] ? span.Attend(q, k, v, further) : span.Attend(q, k, v);
        var attended = seenByHeads.transpose(1, 2).reshape(batch, tokens, _width);
        // A copy: a view would keep the whole segment in memory.
        Tensor Last(Tensor x) => x.narrow(2, x.shape[2] - kept, kept).clone();
        return new AttentionResult(Output(attended, onto), Last(k), Last(v)).MoveToOuterDisposeScope();
    }

    private Tensor Output(Tensor attended, Tensor? onto) =>
        onto is null ? output?.forward(attended) ?? attended
        : output is null ? onto + attended
        : output.AddTo(onto, attended);
}

/// <summary>What attention gives for T tokens.</summary>
/// <param name="Attended">What is attended to (B, T, d).</param>
/// <param name="Keys">The keys that later tokens can see (B, heads, kept, d_h), rotated.</param>
/// <param name="Values">Their values.</param>
internal sealed record AttentionResult(Tensor Attended, Tensor Keys, Tensor Values)
{
    public AttentionResult MoveToOuterDisposeScope() =>
        new(Attended.MoveToOuterDisposeScope(), Keys.MoveToOuterDisposeScope(), Values.MoveToOuterDisposeScope());
}

/// <summary>
/// Rotations and masks for T tokens that follow P kept ones, the same for all blocks of a network. If the window W is
/// shorter than T, queries are put into bands of W tokens that see the keys of their own band and of the one before, so
/// that time and memory are linear in T.
/// </summary>
internal sealed class AttentionSpan : IDisposable
{
    private const double Base = 10_000; // the rotations' lowest frequency is 1/Base, as in the paper

    private readonly ScalarType _dtype;
    private readonly Device _device;
    private readonly int? _window;
    private readonly long _past,
        _tokens;
    private readonly bool _rotates;

    // For operators: 0 for keys that a query sees, −∞ for others (T, P + T); in bands (W, 2W), or (1, n, W, 2W) if the
    // first band differs from the rest; null if all is seen, or all before
    private readonly Lazy<Tensor?> _mask;

    private AttentionSpan(Tensor cos, Tensor sin, bool rotates, long past, long tokens, int? window)
    {
        (Cos, Sin, _rotates, _past, _tokens, _window) = (cos, sin, rotates, past, tokens, window);
        (_dtype, _device) = (cos.dtype, cos.device);
        _mask = new(Mask);
    }

    public static AttentionSpan Of(
        ModelConfiguration model,
        EpisodicState state,
        long tokens,
        ScalarType dtype,
        Device device
    )
    {
        long half = model.HiddenSize / model.Heads / 2,
            past = state.Layers[0].Keys?.shape[2] ?? 0;
        bool rotates = model.Positions == "rotary";
        // In float64 positions are exact in documents of any length. Without rotation all angles are 0.
        double[] cos = new double[tokens * half],
            sin = new double[tokens * half];
        for (long i = 0; i < half; i++)
        {
            double frequency = rotates ? Math.Pow(Base, i / -(double)half) : 0;
            for (long t = 0; t < tokens; t++)
                (sin[t * half + i], cos[t * half + i]) = Math.SinCos((state.Position + t) * frequency);
        }
        Tensor Table(double[] numbers) =>
            tensor(numbers, dtype: ScalarType.Float64).view(tokens, half).to(dtype).to(device);
        return new(Table(cos), Table(sin), rotates, past, tokens, model.Window);
    }

    /// <summary>The same for one of its tokens alone, which follows those before it.</summary>
    /// <param name="token">Its number, from 0.</param>
    public AttentionSpan Token(long token) =>
        new(
            Cos.narrow(0, token, 1),
            Sin.narrow(0, token, 1),
            _rotates,
            Math.Min(_past + token, _window - 1 ?? long.MaxValue),
            1,
            _window
        );

    /// <summary>Cosines of the tokens' angles (T, d_h/2).</summary>
    public Tensor Cos { get; }

    /// <summary>Sines of the tokens' angles (T, d_h/2).</summary>
    public Tensor Sin { get; }

    private bool IsBanded => _tokens > _window;

    // Without a mask: whether a query sees itself and the tokens before it. Half the work, and no mask.
    private bool IsCausal => !IsBanded && _past == 0;

    private Tensor? Mask()
    {
        using var scope = NewDisposeScope();
        Tensor Places(long from, long to) => arange(from, to, dtype: ScalarType.Int64, device: _device);
        Tensor hidden;
        if (IsBanded)
        {
            // How far back a key lies, (W, 2W)
            long window = _window!.Value;
            var behind = Places(0, window).unsqueeze(-1) + window - Places(0, 2 * window);
            hidden = behind.lt(0).logical_or(behind.ge(window));
            if (_past < window - 1)
            {
                hidden = hidden.expand((_tokens + window - 1) / window, -1, -1).clone(); // (n, W, 2W)
                hidden[0].narrow(1, 0, window - _past).fill_(true); // there is nothing before what is kept
                hidden = hidden.unsqueeze(0); // for three dimensions Torch would use its slow path
            }
        }
        else if (IsCausal || (_tokens == 1 && (_window is not { } w || _past < w)))
        {
            return null;
        }
        else
        {
            hidden = Hidden();
        }
        return zeros(hidden.shape, dtype: _dtype, device: _device)
            .masked_fill_(hidden, double.NegativeInfinity)
            .DetachFromDisposeScope(); // it outlives the block that asks for it first
    }

    /// <summary>The keys that a query does not see (T, P + T).</summary>
    private Tensor Hidden()
    {
        using var scope = NewDisposeScope();
        Tensor Places(long from, long to) => arange(from, to, dtype: ScalarType.Int64, device: _device);
        var back = Places(_past, _past + _tokens).unsqueeze(-1) - Places(0, _past + _tokens);
        var hidden = _window is { } limit ? back.lt(0).logical_or(back.ge(limit)) : back.lt(0);
        return hidden.MoveToOuterDisposeScope();
    }

    /// <summary>Frees the mask.</summary>
    public void Dispose()
    {
        if (_mask.IsValueCreated)
            _mask.Value?.Dispose();
    }

    /// <summary>Each pair (x_i, x_{i + d_h/2}) turned by position · Base^(−2i/d_h), or x without rotation.</summary>
    /// <param name="x">(B, heads, T, d_h).</param>
    public Tensor Rotate(Tensor x)
    {
        if (!_rotates)
            return x;
        using var scope = NewDisposeScope();
        var halves = x.chunk(2, -1);
        return cat([halves[0] * Cos - halves[1] * Sin, halves[1] * Cos + halves[0] * Sin], -1)
            .MoveToOuterDisposeScope();
    }

    /// <summary>softmax(q kᵀ/√d_h) v over the keys that a query sees.</summary>
    /// <param name="q">(B, heads, T, d_h).</param>
    /// <param name="k">(B, heads, P + T, d_h).</param>
    /// <param name="v">(B, heads, P + T, d_h).</param>
    public Tensor Attend(Tensor q, Tensor k, Tensor v)
    {
        using var scope = NewDisposeScope();
        if (!IsBanded)
            return Attend(q, k, v, _mask.Value, IsCausal).MoveToOuterDisposeScope();
        long band = _window!.Value,
            blocks = (_tokens + band - 1) / band,
            after = blocks * band - _tokens;
        Tensor Banded(Tensor x) // (B, heads, n, 2W, d_h)
        {
            var padded = nn.functional.pad(x, [0, 0, band - _past, after]);
            var before = padded.narrow(2, 0, blocks * band).unflatten(2, [blocks, band]);
            var own = padded.narrow(2, band, blocks * band).unflatten(2, [blocks, band]);
            return cat([before, own], -2);
        }
        var queries = nn.functional.pad(q, [0, 0, 0, after]).unflatten(2, [blocks, band]); // (B, heads, n, W, d_h)
        return Attend(queries.flatten(0, 1), Banded(k).flatten(0, 1), Banded(v).flatten(0, 1), _mask.Value)
            .view(queries.shape)
            .flatten(2, 3)
            .narrow(2, 0, _tokens)
            .MoveToOuterDisposeScope();
    }

    /// <summary>
    /// One softmax over the keys that a query sees and over K entries: softmax([q kᵀ/√d_h; s]) [v; e]. Time and memory
    /// grow with T (P + T), also with a window: there are no bands.
    /// </summary>
    /// <param name="q">(B, heads, T, d_h).</param>
    /// <param name="k">(B, heads, P + T, d_h).</param>
    /// <param name="v">(B, heads, P + T, d_h).</param>
    /// <param name="entries">s and e.</param>
    public Tensor Attend(Tensor q, Tensor k, Tensor v, SeenEntries entries)
    {
        using var scope = NewDisposeScope();
        long heads = q.shape[1],
            size = q.shape[3],
            seen = k.shape[2],
            found = entries.Scores.shape[2];
        var scores = (matmul(q, k.transpose(-2, -1)) / Math.Sqrt(size)).masked_fill(Hidden(), double.NegativeInfinity);
        var further = entries.Scores.unsqueeze(1).expand(-1, heads, -1, -1); // (B, heads, T, K)
        var weights = cat([scores, further], -1).softmax(-1); // (B, heads, T, P + T + K)
        var values = entries.Values.unflatten(3, [heads, size]).permute(0, 3, 1, 2, 4); // (B, heads, T, K, d_h)
        var ofEntries = matmul(weights.narrow(-1, seen, found).unsqueeze(-2), values).squeeze(-2);
        return (matmul(weights.narrow(-1, 0, seen), v) + ofEntries).MoveToOuterDisposeScope();
    }

    // Of (…, …, T, d_h), with a mask that is added to the scores.
    private static Tensor Attend(Tensor q, Tensor k, Tensor v, Tensor? mask, bool causal = false) =>
        q.numel() == 0
            ? v.narrow(-2, 0, q.shape[^2])
            : nn.functional.scaled_dot_product_attention(q, k, v, mask, is_casual: causal);
}
