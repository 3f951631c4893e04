using System.Diagnostics;
using TorchSharp;
using static EmtTorch.Devices.Tests.TestDevice;
using static TorchSharp.torch;

namespace EmtTorch.Devices.Tests;

/// <summary>Whether Torch is there and works at all. What is measured is printed; it is no test.</summary>
public sealed class LoadTests
{
    [Test]
    public void TorchIsThere()
    {
        Print(
            $"TorchSharp {TorchRuntime.TorchSharpVersion}, built for libtorch {TorchRuntime.TorchVersion}; CUDA: "
                + $"{cuda.is_available()}, {cuda.device_count()} devices; cuDNN: {cuda.is_cudnn_available()}"
        );
        Assert.That(ones(3, device: Tested).sum().ToDouble(), Is.EqualTo(3));
    }

    [Test]
    public void AMatrixProduct([Values(ScalarType.Float32, ScalarType.Float64, ScalarType.BFloat16)] ScalarType dtype)
    {
        using var scope = NewDisposeScope();
        int size = Tested.type == DeviceType.CPU ? 512 : 8192;
        Tensor a = Random(1, float32, size, size).to(dtype).to(Tested),
            b = a.mm(a);
        Synchronize();
        var watch = Stopwatch.StartNew();
        for (int i = 0; i < 10; i++)
            a.mm(a).Dispose();
        Synchronize();
        Print($"{dtype}: {10 * 2 * Math.Pow(size, 3) / watch.Elapsed.TotalSeconds / 1e12:0.00} TFLOP/s");
        double expected = a[0].to(Tested).to(float64).cpu().dot(a.select(1, 0).to(float64).cpu()).ToDouble();
        Assert.That(
            b[0, 0].to(float64).ToDouble(),
            Is.EqualTo(expected).Within(dtype == ScalarType.BFloat16 ? 2 : 1e-2)
        );
    }

    [Test]
    public void Eigenvalues()
    {
        using var scope = NewDisposeScope();
        var a = Random(1, float64, 64, 64);
        var found = linalg.eigvals(a.to(Tested)).abs().cpu().sort().Values;
        Assert.That((found - linalg.eigvals(a).abs().sort().Values).abs().max().ToDouble(), Is.LessThan(1e-9));
    }

    [Test]
    public void AnErrorIsAnException()
    {
        using var scope = NewDisposeScope();
        Assert.That(
            () => ones(3, 4, device: Tested).mm(ones(3, 4, device: Tested)),
            Throws
                .InstanceOf<System.Runtime.InteropServices.ExternalException>()
                .With.Message.Contains("shapes cannot be multiplied")
        );
        Assert.That(ones(3, device: Tested).sum().ToDouble(), Is.EqualTo(3));
    }

    [Test]
    public void LaunchesAreCounted()
    {
        using var scope = NewDisposeScope();
        var a = ones(10, device: Tested);
        for (int i = 0; i < 1000; i++)
            a.add_(1);
        Synchronize();
        // Tensors that earlier tests left behind die here, not between the two counts.
        GC.Collect();
        GC.WaitForPendingFinalizers();
        var watch = Stopwatch.StartNew();
        long before = Tensor.TotalCount;
        for (int i = 0; i < 10_000; i++)
            a.add_(1);
        Synchronize();
        Print($"an operator on ten numbers: {watch.Elapsed.TotalMicroseconds / 10_000:0.0} µs");
        Assert.That(Tensor.TotalCount, Is.EqualTo(before));
    }

    private static void Synchronize()
    {
        if (Tested.type == DeviceType.CUDA)
            cuda.synchronize();
    }

    private static void Print(string line) => TestContext.Progress.WriteLine(line);
}
