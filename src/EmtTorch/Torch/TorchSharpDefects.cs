using System.Buffers.Binary;
using System.Runtime.InteropServices;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch;

/// <summary>
/// Replacements for what TorchSharp 0.107 does wrong. Each member names its defect, so that it can be removed when that
/// is fixed. Others are in <see cref="TorchFunction{T}"/> (autograd), <see cref="NativeTorch"/> (loading), <see
/// cref="LateScalars"/> (numbers freed too early) and <see cref="Draw"/> (random numbers on a device). Two more are
/// avoided everywhere: `baddbmm` and `addbmm` compute b2 + input b1, so a sum and `bmm` replace them; `from_array`
/// shares the array's memory, so `tensor` replaces it, which copies.
/// </summary>
internal static class TorchSharpDefects
{
    /// <summary>
    /// Takes a module's parameters out of all dispose scopes; the last line of a module's constructor. A `new
    /// Parameter` made in a scope is disposed of with it, and `state_dict` then lacks it silently.
    /// </summary>
    public static void KeepParameters(this nn.Module module)
    {
        foreach (var parameter in module.parameters())
            parameter.DetachFromDisposeScope();
    }

    /// <summary>
    /// Makes a tensor of complex numbers. `tensor(Complex[])` assumes an alignment that the array does not have, and
    /// ends the process.
    /// </summary>
    public static Tensor ComplexTensor(IReadOnlyCollection<System.Numerics.Complex> values)
    {
        using var scope = NewDisposeScope();
        return complex(tensor(values.Select(z => z.Real).ToArray()), tensor(values.Select(z => z.Imaginary).ToArray()))
            .MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Sets the state of a generator on the CPU. `Generator.set_state` ends the process if the state is invalid.
    /// </summary>
    /// <exception cref="InvalidDataException">The tensor is no state of this libtorch's CPU generator.</exception>
    public static void SetState(this Generator generator, Tensor state)
    {
        using var own = generator.get_state();
        if (state.dtype != own.dtype || state.numel() != own.numel())
        {
            throw new InvalidDataException(
                $"the random state has {state.numel()} numbers of {state.dtype}; this libtorch's has {own.numel()} "
                    + $"of {own.dtype}"
            );
        }
        // The Mersenne twister's seed, how many of its 624 numbers are left, whether it is seeded, the next number's
        // place.
        using var local = state.cpu().contiguous();
        var bytes = local.bytes;
        int left = BinaryPrimitives.ReadInt32LittleEndian(bytes[8..]),
            seeded = BinaryPrimitives.ReadInt32LittleEndian(bytes[12..]);
        long next = BinaryPrimitives.ReadInt64LittleEndian(bytes[16..]);
        if (seeded != 1 || left is < 1 or > 624 || next is < 0 or > 624)
            throw new InvalidDataException("the random state is not that of a Mersenne twister");
        generator.set_state(local);
    }

    /// <summary>
    /// The message of an exception, without the lines of C++ frames (up to twenty) that an error of libtorch has.
    /// </summary>
    public static string Message(Exception error) =>
        error is ExternalException
            ? error.Message.Split(["Exception raised from", "\nframe #"], 2, StringSplitOptions.None)[0].TrimEnd()
            : error.Message;
}
