using EmtTorch.Kernels;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

/// <summary>
/// The kernel of x Wᵀ + b and r + x Wᵀ against Torch's linear, on every path that this processor has.
/// </summary>
public sealed class LinearProductTests : OnSimdPaths
{
    // N, I, O beside the sizes of tiles (4 to 32), of a block (64) and of an item (2048)
    private static readonly long[][] Sizes =
    [
        [64, 1, 16],
        [65, 3, 17],
        [71, 32, 32],
        [127, 64, 192],
        [129, 33, 31],
        [300, 100, 65],
        [2049, 16, 16],
        [4099, 5, 19],
    ];

    private const string Nothing = "nothing",
        Bias = "bias",
        Rows = "rows";

    private static IEnumerable<TestCaseData> Cases() =>
        from path in Paths
        from size in Sizes
        from added in new[] { Nothing, Bias, Rows }
        select new TestCaseData(path, size, added);

    private static Tensor[] Arguments(long[] size, string added, ScalarType dtype = ScalarType.Float64)
    {
        using var generator = new Generator(5, CPU);
        Tensor Normal(params long[] shape) => randn(shape, dtype: ScalarType.Float64, generator: generator).to(dtype);
        Tensor[] arguments = [Normal(size[0], size[1]), Normal(size[2], size[1])];
        return added switch
        {
            Bias => [.. arguments, Normal(size[2])],
            Rows => [.. arguments, Normal(size[0], size[2])],
            _ => arguments,
        };
    }

    private static Tensor[] ByKernel(Tensor[] a)
    {
        Assert.That(LinearKernel.Fits(a[0], a[1], a.ElementAtOrDefault(2)));
        return [.. LinearProduct.Apply([.. a])];
    }

    private static Tensor[] ByTorch(Tensor[] a)
    {
        var product = nn.functional.linear(a[0], a[1]);
        return [a.Length > 2 ? product + a[2] : product];
    }

    [TestCaseSource(nameof(Cases))]
    public void IsTorchsLinear(string path, long[] size, string added)
    {
        Use(path);
        using var scope = NewDisposeScope();
        var arguments = Arguments(size, added);
        var expected = Compared.ResultsAndGradients(ByTorch, arguments);
        Compared.AreEqual(Compared.ResultsAndGradients(ByKernel, arguments), expected, 1e-13);
        var single = Compared.ResultsAndGradients(ByKernel, Arguments(size, added, ScalarType.Float32));
        Compared.AreEqual([.. single.Select(t => t.to(ScalarType.Float64))], expected, 1e-5);
    }

    [TestCaseSource(nameof(Paths))]
    public void GradientsAreThoseOfFiniteDifferences(string path)
    {
        Use(path);
        using var scope = NewDisposeScope();
        foreach (string added in (string[])[Bias, Rows])
            Compared.AgreeWithFiniteDifferences(a => [.. LinearProduct.Apply([.. a])], Arguments([9, 3, 17], added));
    }

    [Test]
    public void TakesRowsOfAnyShapeAndOrder()
    {
        using var scope = NewDisposeScope();
        var given = Arguments([120, 24, 40], Bias);
        Tensor[] arguments = [given[0].view(5, 24, 24), given[1], given[2]];
        var expected = Compared.ResultsAndGradients(a => ByTorch([a[0].transpose(0, 1), .. a[1..]]), arguments);
        var found = Compared.ResultsAndGradients(a => ByKernel([a[0].transpose(0, 1), .. a[1..]]), arguments);
        Compared.AreEqual(found, expected, 1e-13);
    }

    [Test]
    public void OnlyWantedGradientsAreComputed()
    {
        using var scope = NewDisposeScope();
        var arguments = Arguments([70, 8, 24], Bias);
        for (int wanted = 0; wanted < 3; wanted++)
        {
            var leaves = arguments.Select((t, i) => t.detach().requires_grad_(i == wanted)).ToArray();
            Compared.Loss(ByKernel(leaves)).backward();
            var alone = leaves[wanted].grad!.clone();
            Assert.That(leaves.Count(t => t.grad is { IsInvalid: false }), Is.EqualTo(1));
            var all = arguments.Select(t => t.detach().clone().requires_grad_()).ToArray();
            Compared.Loss(ByKernel(all)).backward();
            Assert.That(alone.equal(all[wanted].grad!).all().ToBoolean());
        }
    }

    [Test]
    public void AnyNumberOfThreadsGivesTheSameBits()
    {
        using var scope = NewDisposeScope();
        var arguments = Arguments([5000, 20, 33], Bias, ScalarType.Float32);
        Tensor[]? first = null;
        foreach (int threads in (int[])[1, 2, 3, 4])
        {
            set_num_threads(threads);
            var found = Compared.ResultsAndGradients(ByKernel, arguments);
            first ??= found;
            foreach (var (a, b) in found.Zip(first))
                Assert.That(a.equal(b).all().ToBoolean(), $"{threads} threads");
        }
    }
}
