using EmtTorch.Kernels;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

/// <summary>The kernel of gelu against Torch's in float64, on every path that this processor has.</summary>
public sealed class GeluTests : OnSimdPaths
{
    [TestCaseSource(nameof(Paths))]
    public void IsTorchsInFloat64(string path)
    {
        Use(path);
        using var scope = NewDisposeScope();
        // An odd number, of more than one item
        var x = linspace(-15, 15, 100_001, dtype: ScalarType.Float32);
        var found = Compared.ResultsAndGradients(a => [Gelu.Of(a[0])], [x]);
        var expected = Compared.ResultsAndGradients(a => [a[0].gelu()], [x.to(ScalarType.Float64)]);
        foreach (var (a, b) in found.Zip(expected))
        {
            var error = (a.to(ScalarType.Float64) - b).abs() / (b.abs() + 1);
            Assert.That(error.max().item<double>(), Is.LessThan(3e-7));
        }
    }

    [Test]
    public void FarFromZeroItIsTheNumberOrZero()
    {
        using var scope = NewDisposeScope();
        var found = Gelu.Of(tensor(new[] { -1e30f, -50f, 0f, 50f, 1e30f, float.NaN, float.PositiveInfinity }));
        Assert.That(
            found.data<float>().ToArray(),
            Is.EqualTo(new[] { 0f, 0f, 0f, 50f, 1e30f, float.NaN, float.PositiveInfinity }).Within(1e-3)
        );
    }
}
