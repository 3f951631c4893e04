using System.Runtime.InteropServices;
using TorchSharp;
using static EmtTorch.Devices.Tests.TestDevice;
using static TorchSharp.torch;

namespace EmtTorch.Devices.Tests;

/// <summary>What does not fit.</summary>
public sealed class MemoryTests
{
    [Test]
    public void AnAllocationThatIsTooLargeIsAnException()
    {
        using var scope = NewDisposeScope();
        long numbers = Tested.type == DeviceType.CPU ? 1L << 50 : 1L << 38; // 4 PiB, 1 TiB
        Assert.That(() => empty(numbers, device: Tested), Throws.InstanceOf<ExternalException>());
        Assert.That(ones(3, device: Tested).sum().ToDouble(), Is.EqualTo(3));
    }
}
