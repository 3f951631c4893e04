using static TorchSharp.torch;

namespace EmtTorch;

/// <summary>
/// Random numbers on any device. TorchSharp 0.107 makes every `Generator` one of the CPU, whatever device it is asked
/// for, and Torch refuses to draw with it on another. So numbers are drawn on the CPU and moved: the same seed gives
/// the same numbers everywhere.
/// </summary>
internal static class Draw
{
    /// <summary>Integers from low up to, and without, high.</summary>
    public static Tensor Integers(
        long low,
        long high,
        long[] shape,
        Generator generator,
        Device device,
        ScalarType dtype = ScalarType.Int64
    ) => On(device, randint(low, high, shape, dtype: dtype, generator: generator));

    /// <summary>Numbers from 0 up to, and without, 1.</summary>
    public static Tensor Uniform(long[] shape, Generator generator, Device device) =>
        On(device, rand(shape, generator: generator));

    /// <summary>1 with the probability p, else 0.</summary>
    public static Tensor Bernoulli(double p, long[] shape, Generator generator, Device device, ScalarType dtype) =>
        On(device, empty(shape, dtype: dtype).bernoulli_(p, generator));

    /// <summary>Gaussian numbers around 0.</summary>
    public static Tensor Normal(double deviation, long[] shape, Generator generator, Device device, ScalarType dtype) =>
        On(device, empty(shape, dtype: dtype).normal_(0, deviation, generator));

    /// <summary>Moves what was drawn on the CPU.</summary>
    public static Tensor On(Device device, Tensor drawn) =>
        device.type == drawn.device_type ? drawn : drawn.to(device, disposeAfter: true);
}
