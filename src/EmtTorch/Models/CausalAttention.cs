using EmtTorch.Kernels;
using EmtTorch.Memory;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Models;

/// <summary>
/// Causal multi-head attention, softmax(QKᵀ/√d_h) V. Each token sees itself and the tokens before it: all of them, or
/// those of a window. Positions are rotary (Su et al. 2021, arXiv 2104.09864): only differences of positions count, so
/// that documents can have any length. The state is the keys and values of the tokens that can still be seen.
/// </summary>
internal sealed class CausalAttention : nn.Module
{
    private readonly Projection qkv,
        output;
    private readonly long _heads;
    private readonly int? _window;

    public CausalAttention(ModelConfiguration model)
        : base(nameof(CausalAttention))
    {
        (_heads, _window) = (model.Heads, model.Window);
        qkv = new(model.HiddenSize, 3L * model.HiddenSize, model.Block);
        output = new(model.HiddenSize, model.HiddenSize, model.Block);
        // Attention adds nothing at first. It would add the average of its window until it has learned where to look.
        using (no_grad())
            output.weight.zero_();
        RegisterComponents();
        this.KeepParameters();
    }

    /// <param name="h">(B, T, d).</param>
    /// <param name="pastKeys">Rotated keys of the tokens before (B, heads, P, d_h), or null if there are none.</param>
    /// <param name="pastValues">The values of the same tokens.</param>
    /// <param name="span">Rotations and masks for these T tokens after P.</param>
    /// <returns>What is attended to (B, T, d), and the keys and values that later tokens can see.</returns>
    public (Tensor Attended, Tensor Keys, Tensor Values) forward(
        Tensor h,
        Tensor? pastKeys,
        Tensor? pastValues,
        AttentionSpan span
    )
    {
        using var scope = NewDisposeScope();
        long batch = h.shape[0],
            tokens = h.shape[1],
            width = h.shape[2];
        long size = width / _heads,
            seen = (pastKeys?.shape[2] ?? 0) + tokens,
            kept = _window is { } window ? Math.Min(seen, window - 1) : seen;
        var projected = qkv.forward(h); // (B, T, 3d)
        if (tokens > 1 && span.Cos.device_type == DeviceType.CPU)
        {
            // Made only where needed: a document's beginning has no past.
            pastKeys ??= empty([batch, _heads, 0, size], dtype: h.dtype);
            pastValues ??= empty([batch, _heads, 0, size], dtype: h.dtype);
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
                return (
                    output.forward(found[0]).MoveToOuterDisposeScope(),
                    found[1].MoveToOuterDisposeScope(),
                    found[2].MoveToOuterDisposeScope()
                );
            }
        }
        // 3 × (B, heads, T, d_h)
        var parts = projected.view(batch, tokens, 3, _heads, size).permute(2, 0, 3, 1, 4).unbind(0);
        Tensor q = span.Rotate(parts[0]),
            k = span.Rotate(parts[1]),
            v = parts[2];
        if (pastKeys is not null)
            (k, v) = (cat([pastKeys, k], -2), cat([pastValues!, v], -2)); // (B, heads, P + T, d_h)
        var attended = span.Attend(q, k, v).transpose(1, 2).reshape(batch, tokens, width);
        // A copy: a view would keep the whole segment in memory.
        Tensor Last(Tensor x) => x.narrow(2, x.shape[2] - kept, kept).clone().MoveToOuterDisposeScope();
        return (output.forward(attended).MoveToOuterDisposeScope(), Last(k), Last(v));
    }
}

/// <summary>
/// Rotations and masks for T tokens that follow P kept ones, the same for all blocks of a network. If the window W is
/// shorter than T, queries are put into bands of W tokens that see the keys of their own band and of the one before, so
/// that time and memory are linear in T.
/// </summary>
internal sealed class AttentionSpan
{
    private const double Base = 10_000; // the rotations' lowest frequency is 1/Base, as in the paper

    private readonly Tensor _cos,
        _sin; // (T, d_h/2)

    // 0 for keys that a query sees, −∞ for others: (T, P + T); in bands (W, 2W), or (1, n, W, 2W) if the first band
    // differs from the rest
    private readonly Tensor? _mask;

    // Without a mask: whether a query sees itself and the tokens before it, or all tokens
    private readonly bool _causal;
    private readonly long _past,
        _tokens,
        _band;

    private AttentionSpan(
        Tensor cos,
        Tensor sin,
        Tensor? hidden,
        ScalarType dtype,
        long past,
        long tokens,
        long band,
        bool causal = false
    )
    {
        (_cos, _sin, _past, _tokens, _band, _causal) = (cos.to(dtype), sin.to(dtype), past, tokens, band, causal);
        if (hidden is not null)
        {
            _mask = zeros(hidden.shape, dtype: dtype, device: hidden.device)
                .masked_fill_(hidden, double.NegativeInfinity);
        }
    }

    public static AttentionSpan Of(
        ModelConfiguration model,
        EpisodicState state,
        long tokens,
        ScalarType dtype,
        Device device
    )
    {
        // In float64 positions are exact in documents of any length.
        long half = model.HiddenSize / model.Heads / 2,
            past = state.Layers[0].Keys?.shape[2] ?? 0;
        var angles =
            arange(state.Position, state.Position + tokens, dtype: ScalarType.Float64, device: device).unsqueeze(-1)
            * pow(Base, arange(0, half, dtype: ScalarType.Float64, device: device) / -(double)half);
        Tensor cos = angles.cos(),
            sin = angles.sin();
        Tensor Places(long from, long to) => arange(from, to, dtype: ScalarType.Int64, device: device);
        if (model.Window is { } window && tokens > window)
        {
            // How far back a key lies, (W, 2W)
            var behind = Places(0, window).unsqueeze(-1) + window - Places(0, 2 * window);
            var hidden = behind.lt(0).logical_or(behind.ge(window));
            if (past < window - 1)
            {
                hidden = hidden.expand((tokens + window - 1) / window, -1, -1).clone(); // (n, W, 2W)
                hidden[0].narrow(1, 0, window - past).fill_(true); // there is nothing before what is kept
                hidden = hidden.unsqueeze(0); // for three dimensions Torch would use its slow path
            }
            return new(cos, sin, hidden, dtype, past, tokens, window);
        }
        if (past == 0)
            return new(cos, sin, null, dtype, past, tokens, 0, causal: true); // half the work, and no mask
        if (tokens == 1 && (model.Window is not { } w || past < w))
            return new(cos, sin, null, dtype, past, tokens, 0);
        var back = Places(past, past + tokens).unsqueeze(-1) - Places(0, past + tokens); // (T, P + T)
        return new(
            cos,
            sin,
            model.Window is { } limit ? back.lt(0).logical_or(back.ge(limit)) : back.lt(0),
            dtype,
            past,
            tokens,
            0
        );
    }

    /// <summary>Cosines of the tokens' angles (T, d_h/2).</summary>
    public Tensor Cos => _cos;

    /// <summary>Sines of the tokens' angles (T, d_h/2).</summary>
    public Tensor Sin => _sin;

    /// <summary>Each pair (x_i, x_{i + d_h/2}) turned by position · Base^(−2i/d_h).</summary>
    /// <param name="x">(B, heads, T, d_h).</param>
    public Tensor Rotate(Tensor x)
    {
        using var scope = NewDisposeScope();
        var halves = x.chunk(2, -1);
        return cat([halves[0] * _cos - halves[1] * _sin, halves[1] * _cos + halves[0] * _sin], -1)
            .MoveToOuterDisposeScope();
    }

    /// <summary>softmax(q kᵀ/√d_h) v over the keys that a query sees.</summary>
    /// <param name="q">(B, heads, T, d_h).</param>
    /// <param name="k">(B, heads, P + T, d_h).</param>
    /// <param name="v">(B, heads, P + T, d_h).</param>
    public Tensor Attend(Tensor q, Tensor k, Tensor v)
    {
        using var scope = NewDisposeScope();
        if (_band == 0)
            return Attend(q, k, v, _mask, _causal).MoveToOuterDisposeScope();
        long blocks = (_tokens + _band - 1) / _band,
            after = blocks * _band - _tokens;
        Tensor Banded(Tensor x) // (B, heads, n, 2W, d_h)
        {
            var padded = nn.functional.pad(x, [0, 0, _band - _past, after]);
            var before = padded.narrow(2, 0, blocks * _band).unflatten(2, [blocks, _band]);
            var own = padded.narrow(2, _band, blocks * _band).unflatten(2, [blocks, _band]);
            return cat([before, own], -2);
        }
        var queries = nn.functional.pad(q, [0, 0, 0, after]).unflatten(2, [blocks, _band]); // (B, heads, n, W, d_h)
        return Attend(queries.flatten(0, 1), Banded(k).flatten(0, 1), Banded(v).flatten(0, 1), _mask)
            .view(queries.shape)
            .flatten(2, 3)
            .narrow(2, 0, _tokens)
            .MoveToOuterDisposeScope();
    }

    // Of (…, …, T, d_h), with a mask that is added to the scores.
    private static Tensor Attend(Tensor q, Tensor k, Tensor v, Tensor? mask, bool causal = false) =>
        q.numel() == 0
            ? v.narrow(-2, 0, q.shape[^2])
            : nn.functional.scaled_dot_product_attention(q, k, v, mask, is_casual: causal);
}
