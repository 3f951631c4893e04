using EmtTorch.Models;
using TorchSharp;
using static TorchSharp.torch;

/// <summary>
/// Attention from an empty past, forward and backward, float32, 4 heads: by scaled_dot_product_attention, as
/// <see cref="AttentionSpan"/> does it, and by the operators that it is made of.
/// </summary>
internal static class AttentionChoice
{
    private const int Heads = 4;

    /// <param name="batch">Sequences, B.</param>
    /// <param name="tokens">T.</param>
    /// <param name="width">d_h.</param>
    /// <param name="window">Tokens that a token sees, itself included; null: all before it.</param>
    /// <param name="rounds">Stretches of each side.</param>
    /// <param name="seconds">How long a stretch is.</param>
    /// <returns>Calls a second of each way, by round.</returns>
    public static Dictionary<string, double[]> Measure(
        int batch,
        int tokens,
        int width,
        int? window,
        int rounds,
        double seconds
    )
    {
        using var everything = NewDisposeScope();
        var model = new ModelConfiguration
        {
            Type = "episodic_transformer",
            HiddenSize = Heads * width,
            Heads = Heads,
            Window = window,
        };
        var first = new EpisodicState(0, batch, [new LayerState(null, null, null)]);
        using var span = AttentionSpan.Of(model, first, tokens, ScalarType.Float32, CPU);
        Tensor[] inputs = [.. Enumerable.Range(0, 3).Select(_ => randn(batch, Heads, tokens, width).requires_grad_())];
        var ofResult = randn(batch, Heads, tokens, width);

        var ways = new Dictionary<string, Func<Tensor, Tensor, Tensor, Tensor>> { ["project"] = span.Attend };
        if (FitsWhole(batch, tokens))
        {
            var mask = zeros(tokens, tokens).masked_fill_(Hidden(tokens, window), double.NegativeInfinity);
            ways["whole"] = (q, k, v) => nn.functional.scaled_dot_product_attention(q, k, v, mask);
            ways["operators"] = ways["whole, operators"] = (q, k, v) => Operators(q, k, v, mask);
            if (window is null)
                ways.Remove("whole, operators");
        }
        if (window is null)
            ways["causal"] = (q, k, v) => nn.functional.scaled_dot_product_attention(q, k, v, is_casual: true);
        if (window is { } limit && tokens > limit)
        {
            var bands = Bands(tokens, limit);
            ways["operators"] = (q, k, v) => Banded(q, k, v, limit, (a, b, c) => Operators(a, b, c, bands));
            ways["bands, 4"] = (q, k, v) =>
                Banded(
                    q,
                    k,
                    v,
                    limit,
                    (a, b, c) =>
                        nn
                            .functional.scaled_dot_product_attention(
                                a.flatten(0, 1),
                                b.flatten(0, 1),
                                c.flatten(0, 1),
                                bands.unsqueeze(0)
                            )
                            .view(a.shape)
                );
        }
        Action Side(Func<Tensor, Tensor, Tensor, Tensor> way) =>
            () =>
            {
                using var scope = NewDisposeScope();
                autograd.backward(way(inputs[0], inputs[1], inputs[2]), ofResult);
            };
        Action[] sides = [.. ways.Values.Select(Side)];
        Agreement.Check("attention", inputs, sides, 1e-4);
        return ways.Keys.Zip(InTurn.Rates(sides, rounds, seconds, CPU)).ToDictionary(p => p.First, p => p.Second);
    }

    /// <summary>Whether T × T scores a head are not too many: in all a quarter of a GB.</summary>
    public static bool FitsWhole(int batch, int tokens) => (long)batch * tokens * tokens * Heads <= 64L << 20;

    // (T, T)
    private static Tensor Hidden(long tokens, int? window)
    {
        var back = arange(tokens).unsqueeze(-1) - arange(tokens);
        return window is { } limit ? back.lt(0).logical_or(back.ge(limit)) : back.lt(0);
    }

    // 0 or −∞ (n, W, 2W): a band's queries see the keys of their own block of W tokens and of the one before.
    private static Tensor Bands(long tokens, long window)
    {
        var behind = arange(window).unsqueeze(-1) + window - arange(2 * window);
        var hidden = behind.lt(0).logical_or(behind.ge(window)).expand((tokens + window - 1) / window, -1, -1).clone();
        hidden[0].narrow(1, 0, window).fill_(true);
        return zeros(hidden.shape).masked_fill_(hidden, double.NegativeInfinity);
    }

    /// <summary>Attention within a window by scaled_dot_product_attention, in bands.</summary>
    public static Tensor BandedAttention(Tensor q, Tensor k, Tensor v, long window)
    {
        var bands = Bands(q.shape[2], window).unsqueeze(0);
        return Banded(
            q,
            k,
            v,
            window,
            (a, b, c) =>
                nn
                    .functional.scaled_dot_product_attention(a.flatten(0, 1), b.flatten(0, 1), c.flatten(0, 1), bands)
                    .view(a.shape)
        );
    }

    private static Tensor Banded(Tensor q, Tensor k, Tensor v, long window, Func<Tensor, Tensor, Tensor, Tensor> attend)
    {
        long tokens = q.shape[2],
            blocks = (tokens + window - 1) / window,
            after = blocks * window - tokens;
        Tensor Pairs(Tensor x)
        {
            var padded = nn.functional.pad(x, [0, 0, window, after]);
            var before = padded.narrow(2, 0, blocks * window).unflatten(2, [blocks, window]);
            return cat([before, padded.narrow(2, window, blocks * window).unflatten(2, [blocks, window])], -2);
        }
        var queries = nn.functional.pad(q, [0, 0, 0, after]).unflatten(2, [blocks, window]); // (B, heads, n, W, d_h)
        return attend(queries, Pairs(k), Pairs(v)).flatten(2, 3).narrow(2, 0, tokens);
    }

    // TorchSharp 0.107 has no right baddbmm, with which the mask would cost no pass of its own.
    private static Tensor Operators(Tensor q, Tensor k, Tensor v, Tensor mask) =>
        matmul((matmul(q * Math.Pow(q.shape[^1], -0.5), k.transpose(-2, -1)) + mask).softmax(-1), v);
}

/// <summary>Whether several ways give the same.</summary>
internal static class Agreement
{
    /// <summary>
    /// Compares the gradients that the sides add to what they are given, which come from the results.
    /// </summary>
    /// <exception cref="InvalidOperationException">They differ.</exception>
    public static void Check(string what, Tensor[] inputs, IEnumerable<Action> sides, double tolerance)
    {
        using var scope = NewDisposeScope();
        Tensor[]? first = null;
        foreach (var side in sides)
        {
            foreach (var input in inputs)
                input.grad?.zero_();
            side();
            Tensor[] found = [.. inputs.Select(input => input.grad!.clone())];
            first ??= found;
            foreach (var (expected, gradient) in first.Zip(found))
            {
                double off = ((gradient - expected).norm() / expected.norm()).item<float>();
                if (!(off < tolerance))
                    throw new InvalidOperationException($"two ways of {what} differ by {off:g2} in a gradient");
            }
        }
    }
}
