using static TorchSharp.torch;

namespace EmtTorch;

/// <summary>
/// Draws random numbers for any device. In TorchSharp 0.107 every `Generator` is one of the CPU, and Torch refuses to
/// draw with it on another device. So numbers are drawn on the CPU and moved; the same seed gives the same numbers on
/// every device.
/// </summary>
internal static class Draw
{
    /// <summary>Draws integers from low to high − 1.</summary>
    public static Tensor Integers(
        long low,
        long high,
        long[] shape,
        Generator generator,
        Device device,
        ScalarType dtype = ScalarType.Int64
    ) => On(device, randint(low, high, shape, dtype: dtype, generator: generator));

    /// <summary>Draws numbers from 0 to below 1.</summary>
    public static Tensor Uniform(long[] shape, Generator generator, Device device) =>
        On(device, rand(shape, generator: generator));

    /// <summary>Draws 1 with probability p and 0 otherwise.</summary>
    public static Tensor Bernoulli(double p, long[] shape, Generator generator, Device device, ScalarType dtype) =>
        On(device, empty(shape, dtype: dtype).bernoulli_(p, generator));

    /// <summary>Draws Gaussian numbers with mean 0.</summary>
    public static Tensor Normal(double deviation, long[] shape, Generator generator, Device device, ScalarType dtype) =>
        On(device, empty(shape, dtype: dtype).normal_(0, deviation, generator));

    /// <summary>Moves numbers that were drawn on the CPU to a device.</summary>
    public static Tensor On(Device device, Tensor drawn) =>
        device.type == drawn.device_type ? drawn : drawn.to(device, disposeAfter: true);
}
