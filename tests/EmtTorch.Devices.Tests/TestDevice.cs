using EmtTorch.Kernels;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Devices.Tests;

/// <summary>The device under test, from one place; and the CPU in float64 or the test's type beside it.</summary>
internal static class TestDevice
{
    public static torch.Device Tested { get; } =
        TorchRuntime.ResolveDevice(
            Environment.GetEnvironmentVariable("EMTTORCH_TEST_DEVICE") is { Length: > 0 } name ? name : "cpu",
            out var problem
        )
            is var device
        && problem is null
            ? device
            : throw new InvalidOperationException(problem);

    /// <summary>As a configuration names it.</summary>
    public static string Name => Tested.type == DeviceType.CUDA ? "cuda" : "cpu";

    /// <summary>
    /// What is computed on the device under test. Where that is the CPU, this project's kernels are off: it is Torch's
    /// operators against the kernels then, as it is on a GPU.
    /// </summary>
    public static T Run<T>(Func<torch.Device, T> work)
    {
        bool used = Simd.Used;
        Simd.Used = Tested.type != DeviceType.CPU;
        try
        {
            return work(Tested);
        }
        finally
        {
            Simd.Used = used;
        }
    }

    /// <summary>
    /// What a function of tensors gives, then the gradients of Σ cos(0, 1, 2, …) · result in its arguments, all on the
    /// CPU.
    /// </summary>
    public static Tensor[] ResultsAndGradients(
        Func<Tensor[], Tensor[]> function,
        Tensor[] arguments,
        torch.Device device
    )
    {
        Tensor[] leaves = [.. arguments.Select(t => t.detach().to(device).clone().requires_grad_())];
        var results = function(leaves);
        Loss(results).backward();
        return [.. results.Select(t => t.detach().cpu()), .. leaves.Select(t => (t.grad ?? zeros_like(t)).cpu())];
    }

    public static Tensor Loss(IEnumerable<Tensor> results) =>
        results
            .Where(t => t.numel() > 0)
            .Select(t => (t * arange(t.numel(), dtype: t.dtype, device: t.device).cos().view(t.shape)).sum())
            .Aggregate((a, b) => a + b);

    /// <summary>A function of tensors on the device and on the CPU: results and gradients.</summary>
    public static void Compare(Func<Tensor[], Tensor[]> function, Tensor[] arguments, double relative)
    {
        var expected = ResultsAndGradients(function, arguments, CPU);
        var found = Run(device => ResultsAndGradients(function, arguments, device));
        AreNear(found, expected, relative);
    }

    /// <summary>
    /// Each tensor within a share of the largest number in it, or of a hundredth of the largest of all.
    /// </summary>
    public static void AreNear(IReadOnlyList<Tensor> found, IReadOnlyList<Tensor> expected, double relative)
    {
        Assert.That(found, Has.Count.EqualTo(expected.Count));
        double least = 0.01 * expected.Where(t => t.numel() > 0).Max(t => t.abs().max().ToDouble());
        for (int i = 0; i < found.Count; i++)
        {
            Assert.That(found[i].shape, Is.EqualTo(expected[i].shape), $"shape of {i}");
            if (found[i].numel() == 0)
                continue;
            double scale = Math.Max(expected[i].abs().max().ToDouble(), least);
            Assert.That(
                (found[i].cpu() - expected[i]).abs().max().ToDouble() / scale,
                Is.LessThan(relative),
                $"tensor {i}"
            ); // NaN is not less
        }
    }

    /// <summary>Gaussian numbers on the CPU, the same for the same seed.</summary>
    public static Tensor Random(ulong seed, ScalarType dtype, params long[] shape)
    {
        using var generator = new Generator(seed);
        return randn(shape, dtype: dtype, generator: generator);
    }

    /// <summary>What rounding of a type may change.</summary>
    public static double Rounding(ScalarType dtype) => dtype == ScalarType.Float64 ? 1e-9 : 2e-4;
}
