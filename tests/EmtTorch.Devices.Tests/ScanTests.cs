using EmtTorch.Kernels;
using EmtTorch.Memory;
using TorchSharp;
using static EmtTorch.Devices.Tests.TestDevice;
using static TorchSharp.torch;

namespace EmtTorch.Devices.Tests;

/// <summary>The functions with a backward of their own.</summary>
public sealed class ScanTests
{
    [Test]
    public void TheElmanRecurrence(
        [Values(ScalarType.Float32, ScalarType.Float64)] ScalarType dtype,
        [Values] bool bias,
        [Values(1, 33)] int batch,
        [Values(5, 128)] int hidden
    )
    {
        using var scope = NewDisposeScope();
        const int Inputs = 3,
            InputSteps = 4;
        double size = 1 / Math.Sqrt(hidden);
        Tensor[] arguments =
        [
            Random(1, dtype, InputSteps, batch, Inputs),
            Random(2, dtype, hidden, Inputs),
            Random(3, dtype, hidden, hidden) * size,
            .. bias ? new[] { Random(4, dtype, hidden) } : [],
        ];
        Compare(a => [ElmanRecurrence.Apply([a[0], a[1], a[2], 20L, .. a[3..]])[0]], arguments, Rounding(dtype));
    }

    [Test]
    public void TheDriftingContext(
        [Values(ScalarType.Float32, ScalarType.Float64)] ScalarType dtype,
        [Values(1, 31, 32, 33, 200, 1100)] int tokens
    )
    {
        using var scope = NewDisposeScope();
        Tensor[] arguments = [Random(1, dtype, 3, tokens, 6), Random(2, dtype, 6).sigmoid(), Random(3, dtype, 3, 6)];
        Compare(
            a =>
            {
                var (contexts, last) = ContextDrift.Scan(a[0], a[1], a[2]);
                return [contexts, last];
            },
            arguments,
            Rounding(dtype)
        );
    }

    [Test]
    public void FastWeightsOfAnyLength(
        [Values(ScalarType.Float32, ScalarType.Float64)] ScalarType dtype,
        [Values] WriteRule rule,
        [Values(1, 63, 64, 65, 300, 1100)] int tokens,
        [Values(16, 64)] int chunk
    )
    {
        using var scope = NewDisposeScope();
        const int Batch = 2,
            Heads = 3,
            Keys = 7,
            Values = 5;
        Tensor[] arguments =
        [
            Random(1, dtype, Batch, Heads, tokens, Keys),
            nn.functional.normalize(Random(2, dtype, Batch, Heads, tokens, Keys)),
            Random(3, dtype, Batch, Heads, tokens, Values),
            Random(4, dtype, Batch, Heads, tokens).sigmoid(),
            Random(5, dtype, Heads).sigmoid() * 0.1 + 0.9,
            Random(6, dtype, Batch, Heads, Keys, Values),
        ];
        Compare(
            a =>
            {
                var (read, state) = FastWeights.Scan(a[0], a[1], a[2], a[3], a[4], a[5], rule, chunk);
                return [read, state];
            },
            arguments,
            Rounding(dtype)
        );
    }

    [Test]
    public void FastWeightsAsLargeAsANetworkHasThem([Values] WriteRule rule)
    {
        using var scope = NewDisposeScope();
        Tensor[] arguments =
        [
            Random(1, float32, 4, 4, 1000, 64),
            nn.functional.normalize(Random(2, float32, 4, 4, 1000, 64)),
            Random(3, float32, 4, 4, 1000, 64),
            Random(4, float32, 4, 4, 1000).sigmoid(),
            ones(4),
            zeros(4, 4, 64, 64),
        ];
        Compare(
            a =>
            {
                var (read, state) = FastWeights.Scan(a[0], a[1], a[2], a[3], a[4], a[5], rule);
                return [read, state];
            },
            arguments,
            1e-3
        );
    }
}
