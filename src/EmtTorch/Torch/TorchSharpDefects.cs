using System.Buffers.Binary;
using System.Runtime.InteropServices;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch;

/// <summary>
/// What TorchSharp 0.107 does wrong, and what is done instead; each member names its defect, so that it can go when
/// that is mended. Functions of autograd have theirs in <see cref="TorchFunction{T}"/>, loading in
/// <see cref="NativeTorch"/>.
/// Random numbers on a device in <see cref="Draw"/>. And two have nothing here
/// but a rule: `baddbmm` and `addbmm` compute b2 + input b1, so a sum and `bmm` stand for them; and `from_array` shares
/// the array's memory, so `tensor` is used, which copies.
/// </summary>
internal static class TorchSharpDefects
{
    // A number given to an operator becomes a Scalar that nothing holds while libtorch reads it: a collection of
    // garbage at that moment frees it under libtorch's hands. These are held, for what is called at every step from
    // several threads.
    public static readonly Scalar One = 1,
        MinusOne = -1;

    /// <summary>
    /// Takes a module's parameters out of every dispose scope: `new Parameter` in one dies with it, and `state_dict`
    /// then lacks it without a word.
    /// The last line of a module's constructor.
    /// </summary>
    public static void KeepParameters(this nn.Module module)
    {
        foreach (var parameter in module.parameters())
            parameter.DetachFromDisposeScope();
    }

    /// <summary>`tensor(Complex[])` reads memory as aligned that is not, and ends the process.</summary>
    public static Tensor ComplexTensor(IReadOnlyCollection<System.Numerics.Complex> values)
    {
        using var scope = NewDisposeScope();
        return complex(tensor(values.Select(z => z.Real).ToArray()), tensor(values.Select(z => z.Imaginary).ToArray()))
            .MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Sets a generator of the CPU to what `get_state` gave. `Generator.set_state` ends the process for a state that is
    /// not one.
    /// </summary>
    /// <exception cref="InvalidDataException">It is none of this libtorch's CPU generator.</exception>
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
        // Of the Mersenne twister: the seed, then how many of its 624 numbers are left, whether it is seeded, and the
        // next one's place.
        using var local = state.cpu().contiguous();
        var bytes = local.bytes;
        int left = BinaryPrimitives.ReadInt32LittleEndian(bytes[8..]),
            seeded = BinaryPrimitives.ReadInt32LittleEndian(bytes[12..]);
        long next = BinaryPrimitives.ReadInt64LittleEndian(bytes[16..]);
        if (seeded != 1 || left is < 1 or > 624 || next is < 0 or > 624)
            throw new InvalidDataException("the random state is none of a Mersenne twister's");
        generator.set_state(local);
    }

    /// <summary>
    /// What an exception says. An error of libtorch comes with up to twenty lines of C++ frames, which are cut off.
    /// </summary>
    public static string Message(Exception error) =>
        error is ExternalException
            ? error.Message.Split(["Exception raised from", "\nframe #"], 2, StringSplitOptions.None)[0].TrimEnd()
            : error.Message;
}
