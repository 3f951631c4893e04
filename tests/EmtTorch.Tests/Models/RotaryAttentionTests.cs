using EmtTorch.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

/// <summary>The attention kernel against attention written out with whole matrices of scores.</summary>
public sealed class RotaryAttentionTests : OnSimdPaths
{
    private sealed record Case(long Tokens, long Past, long Heads, long Size, long Window)
    {
        public long Kept => Math.Min(Past + Tokens, Window - 1);

        public override string ToString() => $"T {Tokens}, P {Past}, {Heads} heads of {Size}, W {Window}";
    }

    // Sizes beside those of tiles (4 to 32), of a block of queries (32) and of backward's keys (256)
    private static readonly Case[] Cases =
    [
        new(1, 0, 2, 4, 100),
        new(1, 7, 1, 16, 5),
        new(2, 0, 1, 2, 1),
        new(2, 3, 2, 6, 2),
        new(7, 0, 3, 4, 100),
        new(31, 5, 1, 16, 6),
        new(32, 63, 2, 16, 64),
        new(33, 1, 1, 10, 33),
        new(65, 64, 1, 34, 64),
        new(100, 0, 2, 8, 17),
        new(300, 0, 1, 16, 1000),
        new(70, 300, 1, 8, 290),
        new(40, 0, 1, 64, 1),
        new(64, 0, 1, 16, 16), // tiles of eight keys from key 17 on end behind the last key
    ];

    private static IEnumerable<TestCaseData> OnAllPaths() =>
        from path in Paths
        from size in Cases
        select new TestCaseData(path, size).SetArgDisplayNames(path, size.ToString());

    private sealed record Inputs(Tensor Projected, Tensor Cos, Tensor Sin, Tensor PastKeys, Tensor PastValues)
    {
        public static Inputs Draw(object size, ScalarType dtype)
        {
            var (tokens, past, heads, width) = size is Case c ? (c.Tokens, c.Past, c.Heads, c.Size) : default;
            using var generator = new Generator(3, CPU);
            Tensor Normal(params long[] shape) => randn(shape, dtype: ScalarType.Float64, generator: generator);
            var angles = Normal(tokens, width / 2) * 3;
            var kept = Normal(2, heads, past, width);
            Tensor[] all =
            [
                Normal(2, tokens, 3 * heads * width),
                angles.cos(),
                angles.sin(),
                kept,
                Normal(2, heads, past, width),
            ];
            all = [.. all.Select(t => t.to(dtype))];
            foreach (int i in (int[])[0, 3, 4])
                all[i].requires_grad_(true);
            return new(all[0], all[1], all[2], all[3], all[4]);
        }

        public Tensor[] Differentiated => [Projected, PastKeys, PastValues];
    }

    /// <summary>The same by Torch's operators, with a matrix of scores.</summary>
    private static List<Tensor> Plain(Inputs x, Case size)
    {
        long batch = x.Projected.shape[0];
        var parts = x.Projected.view(batch, size.Tokens, 3, size.Heads, size.Size).permute(2, 0, 3, 1, 4).unbind(0);
        Tensor Rotate(Tensor t)
        {
            var halves = t.chunk(2, -1);
            return cat([halves[0] * x.Cos - halves[1] * x.Sin, halves[1] * x.Cos + halves[0] * x.Sin], -1);
        }
        Tensor k = cat([x.PastKeys, Rotate(parts[1])], 2),
            v = cat([x.PastValues, parts[2]], 2);
        var scores = Rotate(parts[0]).matmul(k.transpose(-1, -2)) / Math.Sqrt(size.Size);
        var back = arange(size.Past, size.Past + size.Tokens).unsqueeze(-1) - arange(0, size.Past + size.Tokens);
        var weights = scores
            .masked_fill(back.lt(0).logical_or(back.ge(size.Window)), double.NegativeInfinity)
            .softmax(-1);
        var attended = weights.matmul(v).transpose(1, 2).reshape(batch, size.Tokens, size.Heads * size.Size);
        Tensor Last(Tensor t) => t.narrow(2, t.shape[2] - size.Kept, size.Kept);
        return [attended, Last(k), Last(v)];
    }

    private static List<Tensor> ByKernel(Inputs x, Case size) =>
        RotaryAttention.Apply(x.Projected, x.Cos, x.Sin, x.PastKeys, x.PastValues, size.Heads, size.Window, size.Kept);

    /// <summary>Results, and gradients of a loss in which all results count.</summary>
    private static (Tensor[] Results, Tensor[] Gradients) Differentiate(
        Func<Inputs, Case, List<Tensor>> attention,
        Inputs x,
        Case size
    )
    {
        var results = attention(x, size);
        var loss = results
            .Select((r, i) => (r * (arange(r.numel(), dtype: r.dtype) + i).sin().view(r.shape)).sum())
            .Aggregate((a, b) => a + b);
        foreach (var tensor in x.Differentiated)
            tensor.grad = null;
        BackwardCall.Run(loss);
        return ([.. results], [.. x.Differentiated.Select(t => t.grad ?? zeros_like(t))]);
    }

    [TestCaseSource(nameof(OnAllPaths))]
    public void IsWhatTheMatricesGive(string path, object size)
    {
        Use(path);
        var dims = (Case)size;
        using var scope = NewDisposeScope();
        var x = Inputs.Draw(size, ScalarType.Float64);
        var (expected, gradients) = Differentiate(Plain, x, dims);
        var (found, ofFound) = Differentiate(ByKernel, x, dims);
        using (Assert.EnterMultipleScope())
        {
            for (int i = 0; i < 3; i++)
            {
                AssertNear(found[i], expected[i], 1e-13, $"result {i}");
                AssertNear(ofFound[i], gradients[i], 1e-12, $"gradient {i}");
            }
        }
        var single = Inputs.Draw(size, ScalarType.Float32);
        (found, ofFound) = Differentiate(ByKernel, single, dims);
        using (Assert.EnterMultipleScope())
        {
            for (int i = 0; i < 3; i++)
            {
                AssertNear(found[i], expected[i], 5e-6, $"result {i} in float32");
                AssertNear(ofFound[i], gradients[i], 5e-5, $"gradient {i} in float32");
            }
        }
    }

    /// <summary>Largest difference, in units of the largest number, or of 1 where that is less.</summary>
    private static void AssertNear(Tensor found, Tensor expected, double tolerance, string what)
    {
        Assert.That(found.shape, Is.EqualTo(expected.shape), what);
        if (expected.numel() == 0)
            return;
        double size = Math.Max(1, expected.abs().max().ToDouble());
        Assert.That(
            (found.to(ScalarType.Float64) - expected).abs().max().ToDouble() / size,
            Is.LessThan(tolerance),
            what
        );
    }

    [Test]
    public void LargeScoresDoNotOverflow()
    {
        using var scope = NewDisposeScope();
        var size = new Case(40, 0, 1, 8, 40);
        var x = Inputs.Draw(size, ScalarType.Float64);
        using (no_grad())
            x.Projected.mul_(100);
        var (expected, gradients) = Differentiate(Plain, x, size);
        var (found, ofFound) = Differentiate(ByKernel, x, size);
        AssertNear(found[0], expected[0], 1e-12, "attended");
        AssertNear(ofFound[0], gradients[0], 1e-10, "gradient");
    }

    [Test]
    public void AnyNumberOfThreadsGivesTheSameBits()
    {
        using var scope = NewDisposeScope();
        var size = new Case(77, 20, 3, 16, 40);
        var x = Inputs.Draw(size, ScalarType.Float32);
        (Tensor[] Results, Tensor[] Gradients)? first = null;
        foreach (int threads in (int[])[1, 2, 3, 4])
        {
            set_num_threads(threads);
            var found = Differentiate(ByKernel, x, size);
            first ??= found;
            for (int i = 0; i < 3; i++)
            {
                Assert.That(found.Results[i].equal(first.Value.Results[i]).all().ToBoolean(), $"{threads} threads");
                Assert.That(found.Gradients[i].equal(first.Value.Gradients[i]).all().ToBoolean(), $"{threads} threads");
            }
        }
    }

    [TestCaseSource(nameof(Paths))]
    public void GradientsAreThoseOfFiniteDifferences(string path)
    {
        Use(path);
        using var scope = NewDisposeScope();
        var size = new Case(5, 2, 1, 4, 3);
        var x = Inputs.Draw(size, ScalarType.Float64);
        var (_, gradients) = Differentiate(ByKernel, x, size);
        double Loss()
        {
            using var quiet = no_grad();
            return ByKernel(x, size)
                .Select((r, i) => (r * (arange(r.numel(), dtype: r.dtype) + i).sin().view(r.shape)).sum().ToDouble())
                .Sum();
        }
        for (int i = 0; i < 3; i++)
        {
            using var quiet = no_grad();
            var numbers = x.Differentiated[i].detach().view(-1);
            for (long j = 0; j < numbers.numel(); j++)
            {
                const double step = 1e-6;
                double before = numbers[j].ToDouble();
                numbers[j] = before + step;
                double up = Loss();
                numbers[j] = before - step;
                double down = Loss();
                numbers[j] = before;
                Assert.That(
                    gradients[i].flatten()[j].ToDouble(),
                    Is.EqualTo((up - down) / (2 * step)).Within(1e-8),
                    $"argument {i}, number {j}"
                );
            }
        }
    }
}
