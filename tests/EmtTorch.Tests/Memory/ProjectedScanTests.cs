using EmtTorch.Kernels;
using EmtTorch.Memory;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

/// <summary>The scan from projections against the projections taken apart, on every path.</summary>
public sealed class ProjectedScanTests : OnSimdPaths
{
    // B, T, heads, d/heads
    private static readonly long[][] Sizes =
    [
        [1, 1, 1, 3],
        [2, 5, 2, 4],
        [2, 65, 1, 33],
        [1, 130, 3, 16],
        [1, 70, 1, 64],
    ];

    private static IEnumerable<TestCaseData> Cases() =>
        from path in Paths
        from size in Sizes
        from rule in Enum.GetValues<WriteRule>()
        select new TestCaseData(path, size, rule);

    private static Tensor[] Arguments(long[] size)
    {
        using var generator = new Generator(5, CPU);
        Tensor Normal(params long[] shape) => randn(shape, dtype: ScalarType.Float64, generator: generator);
        var (batch, tokens, heads, width) = (size[0], size[1], size[2], size[3]);
        return
        [
            Normal(batch, tokens, 3 * heads * width),
            Normal(batch, heads, tokens).sigmoid(),
            Normal(heads).sigmoid(),
            Normal(batch, heads, width, width),
        ];
    }

    private static Tensor[] Projected(Tensor[] a, WriteRule rule)
    {
        Assert.That(ProjectedScan.Fits(a));
        return [.. ProjectedScan.Apply(a[0], a[1], a[2], a[3], rule == WriteRule.Delta)];
    }

    /// <summary>By normalize, step by step.</summary>
    private static Tensor[] Apart(Tensor[] a, WriteRule rule)
    {
        long[] shape = a[0].shape;
        long heads = a[2].shape[0];
        var parts = a[0].view(shape[0], shape[1], 3, heads, shape[2] / 3 / heads).permute(2, 0, 3, 1, 4).unbind(0);
        var (q, k) = (nn.functional.normalize(parts[0], dim: -1), nn.functional.normalize(parts[1], dim: -1));
        var (read, state) = FastWeights.Sequential(q, k, parts[2], a[1], a[2], a[3], rule);
        return [read.transpose(1, 2).reshape(shape[0], shape[1], shape[2] / 3), state];
    }

    [TestCaseSource(nameof(Cases))]
    public void IsTheScanOfTheParts(string path, long[] size, WriteRule rule)
    {
        Use(path);
        using var scope = NewDisposeScope();
        var arguments = Arguments(size);
        var expected = Compared.ResultsAndGradients(a => Apart(a, rule), arguments);
        Compared.AreEqual(Compared.ResultsAndGradients(a => Projected(a, rule), arguments), expected, 1e-11);
        Tensor[] single = [.. arguments.Select(t => t.to(ScalarType.Float32))];
        var found = Compared.ResultsAndGradients(a => Projected(a, rule), single);
        Compared.AreEqual([.. found.Select(t => t.to(ScalarType.Float64))], expected, 2e-5, ofAll: 1);
    }

    [TestCaseSource(nameof(Paths))]
    public void GradientsAreThoseOfFiniteDifferences(string path)
    {
        Use(path);
        foreach (var rule in Enum.GetValues<WriteRule>())
            Compared.AgreeWithFiniteDifferences(a => Projected(a, rule), Arguments([1, 6, 2, 3]));
    }

    [Test]
    public void ZeroKeysAndQueriesStayZeroAsByNormalize()
    {
        using var scope = NewDisposeScope();
        var arguments = Arguments([1, 4, 1, 3]);
        arguments[0][0, 1].zero_();
        arguments[0][0, 2].mul_(1e-14);
        foreach (var rule in Enum.GetValues<WriteRule>())
        {
            var expected = Compared.ResultsAndGradients(a => Apart(a, rule), arguments);
            Compared.AreEqual(Compared.ResultsAndGradients(a => Projected(a, rule), arguments), expected, 1e-11);
        }
    }

    [Test]
    public void AMemoryGivesTheSameWithoutTheKernel([Values("hebbian", "delta")] string write)
    {
        using var scope = NewDisposeScope();
        var block = new BlockShape(12, ScalarType.Float64) { Gate = true };
        using var memory = new FastWeightMemory(
            block,
            new()
            {
                Write = write,
                Heads = 3,
                Decay = true,
            }
        );
        var hidden = randn(2, 40, 12, dtype: ScalarType.Float64);
        Tensor[] Found()
        {
            foreach (var parameter in memory.parameters())
                parameter.grad = null;
            var (added, state) = memory.forward(hidden, null, memory.FirstState(2, CPU)["F"]);
            Compared.Loss([added, state]).backward();
            return [added, state, .. memory.parameters().Select(p => p.grad!.clone())];
        }
        var byKernel = Found();
        Simd.Used = false;
        Compared.AreEqual(Found(), byKernel, 1e-11);
    }
}
