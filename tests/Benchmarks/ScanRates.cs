using EmtTorch.Kernels;
using EmtTorch.Memory;
using TorchSharp;
using static TorchSharp.torch;

/// <summary>
/// Fast weights through a sequence, forward and backward, in float32, three ways in turn in this process: as
/// <see cref="FastWeights.Scan"/> does it on the device; by this project's chunk form in Torch's operators, which on
/// CUDA is the same; and by a chunk form in Torch's operators alone, with autograd through them.
/// </summary>
internal static class ScanRates
{
    // Rounding, in float32 and through 16,000 tokens; another rule differs by 1.
    private const double Tolerance = 2e-3;

    /// <param name="settings">Sizes.</param>
    /// <param name="rounds">Stretches of each side.</param>
    /// <param name="seconds">How long a stretch is.</param>
    /// <returns>Tokens a second by round, all sequences' together.</returns>
    /// <exception cref="InvalidOperationException">The sides do not give the same.</exception>
    public static Tokens Measure(ScanSettings settings, int rounds, double seconds)
    {
        using var everything = NewDisposeScope();
        var inputs = Inputs(settings);
        long[] tokens = [settings.Batch, settings.Heads, settings.Tokens, settings.Width];
        Tensor ofRead = randn(tokens, device: settings.Device),
            ofAfter = randn_like(inputs[5]);
        Action Side(bool kernels, Func<Tensor[], (Tensor Read, Tensor After)> scan) =>
            () =>
            {
                using var scope = NewDisposeScope();
                Simd.Used = kernels;
                var (read, after) = scan(inputs);
                autograd.backward([read, after], [ofRead, ofAfter]);
                Simd.Used = true;
            };
        (Tensor, Tensor) Ours(Tensor[] x) => FastWeights.Scan(x[0], x[1], x[2], x[3], x[4], x[5], settings.Rule);
        (Tensor, Tensor) Chunks(Tensor[] x) =>
            FastWeights.Scan(x[0], x[1], x[2], x[3], x[4], x[5], settings.Rule, settings.Chunk);
        (Tensor, Tensor) Operators(Tensor[] x) =>
            OperatorScan.Run(x[0], x[1], x[2], x[3], x[4], x[5], settings.Rule, settings.Chunk);
        Action[] sides =
            settings.Device.type == DeviceType.CPU
                ? [Side(true, Ours), Side(false, Chunks), Side(false, Operators)]
                : [Side(true, Ours), Side(true, Operators)];
        Agreement.Check("fast weights", inputs, sides, Tolerance);
        var rates = InTurn
            .Rates(sides, rounds, seconds, settings.Device)
            .Select(side => side.Select(r => r * settings.Batch * settings.Tokens).ToArray())
            .ToArray();
        return new(rates[0], rates.Length > 2 ? rates[1] : [], rates[^1]);
    }

    // q, k, v (B, h, T, d), β (B, h, T), γ (h), F (B, h, d, d)
    internal static Tensor[] Inputs(ScanSettings settings)
    {
        using var generator = manual_seed(1);
        long[] shape = [settings.Batch, settings.Heads, settings.Tokens, settings.Width];
        Tensor Leaf(Tensor values) => values.to(settings.Device).detach().requires_grad_();
        var keys = randn(shape);
        return
        [
            Leaf(randn(shape)),
            Leaf(keys / keys.norm(-1, keepdim: true)),
            Leaf(randn(shape)),
            Leaf(rand(shape[..3])),
            Leaf(1 - 0.1 * rand(settings.Heads)),
            Leaf(randn(settings.Batch, settings.Heads, settings.Width, settings.Width)),
        ];
    }
}

/// <summary>
/// The recurrence of <see cref="FastWeights"/> in Torch's operators alone, chunk by chunk as DeltaNet's authors write
/// it (arXiv 2406.06484, with decay 2412.06464): what a user of Torch would write, and autograd goes back through it.
/// </summary>
internal static class OperatorScan
{
    /// <summary>Shapes as for <see cref="FastWeights.Scan"/>; T is a multiple of the chunk's size.</summary>
    public static (Tensor Read, Tensor After) Run(
        Tensor q,
        Tensor k,
        Tensor v,
        Tensor strength,
        Tensor decay,
        Tensor state,
        WriteRule rule,
        long size
    )
    {
        Tensor Chunked(Tensor x) => x.unflatten(2, [-1, size]); // (B, h, n, C, …)
        (q, k, v) = (Chunked(q), Chunked(k), Chunked(v));
        var beta = Chunked(strength).unsqueeze(-1); // (B, h, n, C, 1)
        var gamma = decay.view(-1, 1, 1, 1);
        var place = arange(size, dtype: q.dtype, device: q.device).unsqueeze(-1); // i (C, 1)
        var between = place - place.t(); // i − j (C, C)
        var earlier = between.gt(0).to(q.dtype);
        // γ^(i − j) for j < i: written, decayed up to the prediction of i; a read comes one decay earlier.
        var kept = gamma.pow(between * earlier) * earlier; // (h, 1, C, C)
        var reads = gamma.pow((between - 1) * earlier) * earlier;
        var toEnd = k * gamma.pow(size - 1 - place); // γ^(C−1−j) k_j
        var transposed = toEnd.transpose(-2, -1);
        var whole = gamma.pow(size); // (h, 1, 1, 1)

        if (rule == WriteRule.Hebbian)
        {
            var values = v * beta;
            // F before chunk c and after the last: Σ γ^(C(c − j)) over what is before it, in one product.
            var all = cat([state.unsqueeze(2), matmul(transposed, values)], 2); // (B, h, 1 + n, d, d)
            var count = arange(all.shape[2], dtype: q.dtype, device: q.device);
            var apart = (count.unsqueeze(-1) - count).clamp_min(0);
            var carried = matmul(whole.view(-1, 1, 1).pow(apart).tril(), all.flatten(3)).view(all.shape);
            return (Read(values, carried.narrow(2, 0, all.shape[2] - 1)), carried.select(2, all.shape[2] - 1));
        }
        // (I + L) u = β (v − γ^(i+1) k F): all chunks' triangles at once, without F and for what F is multiplied by.
        var triangle = matmul(k, k.transpose(-2, -1)) * kept * beta;
        var sides = cat([v, k * gamma.pow(place + 1)], -1) * beta;
        var solved = linalg
            .solve_triangular(triangle, sides, upper: false, unitriangular: true)
            .split([v.shape[^1], k.shape[^1]], -1);
        var added = matmul(transposed, solved[0]).unbind(2); // n × (B, h, d, d)
        var through = (
            eye(k.shape[^1], dtype: q.dtype, device: q.device) * whole - matmul(transposed, solved[1])
        ).unbind(2);
        var before = new Tensor[added.Length];
        for (int c = 0; c < added.Length; c++)
        {
            before[c] = state;
            state = added[c] + matmul(through[c], state);
        }
        var states = stack(before, 2); // F before each chunk (B, h, n, d, d)
        return (Read(solved[0] - matmul(solved[1], states), states), state);

        Tensor Read(Tensor written, Tensor from) =>
            (matmul(matmul(q, k.transpose(-2, -1)) * reads, written) + matmul(q * gamma.pow(place), from)).flatten(
                2,
                3
            );
    }
}

/// <summary>Sizes of a scan.</summary>
/// <param name="Rule">What is written.</param>
/// <param name="Batch">Sequences.</param>
/// <param name="Heads">Heads of each.</param>
/// <param name="Width">d of a head's d × d fast weights.</param>
/// <param name="Tokens">Tokens, a multiple of the chunk.</param>
/// <param name="Chunk">Tokens in a chunk of the operators' forms.</param>
/// <param name="Device">Where.</param>
internal sealed record ScanSettings(
    WriteRule Rule,
    int Batch,
    int Heads,
    int Width,
    int Tokens,
    int Chunk,
    Device Device
);

/// <summary>Tokens a second by round.</summary>
internal sealed record Tokens(double[] EmtTorch, double[] Chunks, double[] Operators);
