using EmtTorch.Kernels;
using EmtTorch.Memory;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

public sealed class ContextDriftTests
{
    private static Tensor[] Arguments(
        long tokens,
        ScalarType type,
        long batch = 2,
        long width = 5,
        double? decay = null
    ) =>
        (
            (Tensor[])
                [
                    randn([batch, tokens, width], dtype: float64),
                    decay is { } same
                        ? full([width], same, dtype: float64)
                        : linspace(0.01, 0.999, width, dtype: float64),
                    randn([batch, width], dtype: float64),
                ]
        )
            .Select(t => t.to(type))
            .ToArray();

    private static Tensor[] Scan(Tensor[] t)
    {
        var (contexts, last) = ContextDrift.Scan(t[0], t[1], t[2]);
        return [contexts, last];
    }

    private static Tensor[] Steps(Tensor[] t)
    {
        var context = t[2];
        return [stack(t[0].unbind(1).Select(x => context = ContextDrift.Step(x, t[1], context)), 1), context];
    }

    [Test]
    public void ScanIsTheSequenceOfSteps([Values(1, 2, 31, 32, 33, 64, 65, 1024, 1025, 3000)] int tokens)
    {
        using var scope = NewDisposeScope();
        using var seed = manual_seed(tokens);
        var arguments = Arguments(tokens, ScalarType.Float64);
        var expected = Compared.ResultsAndGradients(Steps, arguments);
        Compared.AreEqual(Compared.ResultsAndGradients(Scan, arguments), expected, 1e-9);
        var single = Compared.ResultsAndGradients(Scan, arguments.Select(t => t.to(float32)).ToArray());
        Compared.AreEqual(single.Select(t => t.to(float64)).ToArray(), expected, 1e-4);
    }

    [TestCase(0.0)]
    [TestCase(1e-30)]
    [TestCase(1.0)]
    public void DecaysAtTheEnds(double decay)
    {
        using var scope = NewDisposeScope();
        using var seed = manual_seed(2);
        var arguments = Arguments(200, ScalarType.Float32, decay: decay);
        Compared.AreEqual(
            Compared.ResultsAndGradients(Scan, arguments),
            Compared.ResultsAndGradients(Steps, arguments),
            1e-4
        );
    }

    [Test]
    public void GradientsAgreeWithFiniteDifferences()
    {
        using var scope = NewDisposeScope();
        using var seed = manual_seed(1);
        Compared.AgreeWithFiniteDifferences(Scan, Arguments(40, ScalarType.Float64, batch: 1, width: 2));
    }

    [TestCase(1)]
    [TestCase(32)]
    [TestCase(77)]
    public void CarriedOverACutItIsTheSame(int cut)
    {
        using var scope = NewDisposeScope();
        using var seed = manual_seed(cut);
        var arguments = Arguments(100, ScalarType.Float64);
        Tensor[] Cut(Tensor[] t)
        {
            var first = Scan([t[0].narrow(1, 0, cut), t[1], t[2]]);
            var second = Scan([t[0].narrow(1, cut, 100 - cut), t[1], first[1]]);
            return [cat([first[0], second[0]], 1), second[1]];
        }
        Compared.AreEqual(
            Compared.ResultsAndGradients(Cut, arguments),
            Compared.ResultsAndGradients(Scan, arguments),
            1e-9
        );
    }

    [TestCase(0, 2)]
    [TestCase(5, 0)]
    [TestCase(50, 0)]
    public void NothingInNothingOut(int tokens, int batch)
    {
        using var scope = NewDisposeScope();
        var arguments = Arguments(tokens, ScalarType.Float32, batch);
        var found = Compared.ResultsAndGradients(Scan, arguments);
        Assert.That(found[0].shape, Is.EqualTo((long[])[batch, tokens, 5]));
        Assert.That(found[1].Equals(arguments[2]));
    }

    [Test]
    public void SixteenBitsAreSummedInFloat32()
    {
        using var scope = NewDisposeScope();
        using var seed = manual_seed(8);
        var half = Arguments(100, ScalarType.BFloat16);
        half[2] = half[2].to(float32);
        var (contexts, last) = ContextDrift.Scan(half[0], half[1], half[2]);
        Assert.That((contexts.dtype, last.dtype), Is.EqualTo((ScalarType.BFloat16, ScalarType.Float32)));
        Assert.That(last.Equals(ContextDrift.Scan(half[0].to(float32), half[1].to(float32), half[2]).Last));
    }

    [Test]
    public void ShapesThatDoNotAgreeAreNamed()
    {
        using var scope = NewDisposeScope();
        var good = Arguments(6, ScalarType.Float32);
        string[] names = ["x", "decay", "context"];
        for (int i = 0; i < 3; i++)
        {
            var bad = good.ToArray();
            bad[i] = i == 0 ? bad[i][0][0] : bad[i].narrow(0, 0, 1);
            string name = names[i];
            Assert.That(() => Scan(bad), Throws.ArgumentException.With.Property("ParamName").EqualTo(name));
            bad[0] = bad[0].dim() == 3 ? bad[0][TensorIndex.Colon, 0] : bad[0];
            Assert.That(
                () => ContextDrift.Step(bad[0], bad[1], bad[2]),
                Throws.ArgumentException.With.Property("ParamName").EqualTo(name)
            );
        }
    }

    [Test]
    public void TheOperatorsGradientsAreTheKernels()
    {
        using var scope = NewDisposeScope();
        Tensor Random(params long[] shape) => randn(shape, dtype: ScalarType.Float64);
        Tensor[] arguments = [Random(2, 70, 3), Random(3).sigmoid(), Random(2, 3)];
        Tensor[] Found() => Compared.ResultsAndGradients(t => [.. ContextDriftScan.Apply(t[0], t[1], t[2])], arguments);
        var byKernel = Found();
        Simd.Used = false;
        try
        {
            Compared.AreEqual(Found(), byKernel, 1e-12);
        }
        finally
        {
            Simd.Used = true;
        }
    }
}
