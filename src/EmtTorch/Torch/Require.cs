using System.Runtime.CompilerServices;
using static TorchSharp.torch;

namespace EmtTorch;

/// <summary>
/// Checks of the tensors that public functions are given. TorchSharp's `matmul` ends the process if shapes, types or
/// devices do not fit, and this library's kernels trust the shapes when they read memory.
/// </summary>
internal static class Require
{
    /// <summary>Any size, in an expected shape.</summary>
    public const long Any = -1;

    /// <summary>Requires exactly this shape.</summary>
    /// <exception cref="ArgumentException">The tensor has another shape.</exception>
    public static void Shape(
        Tensor tensor,
        ReadOnlySpan<long> shape,
        [CallerArgumentExpression(nameof(tensor))] string name = ""
    )
    {
        if (!Fits(tensor.shape, shape))
            throw new ArgumentException($"has shape {Text(tensor.shape)}, not {Text(shape)}", name);
    }

    /// <summary>Requires that the last dimensions have these sizes.</summary>
    /// <exception cref="ArgumentException">They have other sizes.</exception>
    public static void Ends(
        Tensor tensor,
        ReadOnlySpan<long> shape,
        [CallerArgumentExpression(nameof(tensor))] string name = ""
    )
    {
        long[] found = tensor.shape;
        if (found.Length < shape.Length || !Fits(found.AsSpan()[^shape.Length..], shape))
            throw new ArgumentException($"has shape {Text(found)}, not {Text(shape, "…, ")}", name);
    }

    /// <summary>Requires this type.</summary>
    /// <exception cref="ArgumentException">The tensor has another type.</exception>
    public static void Type(Tensor tensor, ScalarType type, [CallerArgumentExpression(nameof(tensor))] string name = "")
    {
        if (tensor.dtype != type)
            throw new ArgumentException($"is {tensor.dtype}, not {type}", name);
    }

    /// <summary>Requires the type and the device of another tensor.</summary>
    /// <exception cref="ArgumentException">One of them differs.</exception>
    public static void Like(Tensor tensor, Tensor other, [CallerArgumentExpression(nameof(tensor))] string name = "")
    {
        Type(tensor, other.dtype, name);
        SameDevice(tensor, other, name);
    }

    /// <summary>Requires the device of another tensor.</summary>
    /// <exception cref="ArgumentException">The tensor is on another device.</exception>
    public static void SameDevice(
        Tensor tensor,
        Tensor other,
        [CallerArgumentExpression(nameof(tensor))] string name = ""
    )
    {
        if (tensor.device_type != other.device_type || tensor.device_index != other.device_index)
            throw new ArgumentException($"is on {tensor.device}, not on {other.device}", name);
    }

    /// <summary>Requires a floating type.</summary>
    /// <exception cref="ArgumentException">The tensor is of integers, complex numbers or booleans.</exception>
    public static void Floating(Tensor tensor, [CallerArgumentExpression(nameof(tensor))] string name = "")
    {
        if (!tensor.is_floating_point())
            throw new ArgumentException($"is {tensor.dtype}, not of a floating type", name);
    }

    /// <summary>Requires floating types, which may differ, and one device.</summary>
    /// <exception cref="ArgumentException">A tensor has no floating type, or devices differ.</exception>
    public static void FloatingTogether(params ReadOnlySpan<(Tensor Tensor, string Name)> tensors)
    {
        foreach (var (tensor, name) in tensors)
        {
            Floating(tensor, name);
            SameDevice(tensor, tensors[0].Tensor, name);
        }
    }

    private static bool Fits(ReadOnlySpan<long> found, ReadOnlySpan<long> expected)
    {
        if (found.Length != expected.Length)
            return false;
        for (int i = 0; i < found.Length; i++)
        {
            if (expected[i] != Any && found[i] != expected[i])
                return false;
        }

        return true;
    }

    private static string Text(ReadOnlySpan<long> shape, string before = "") =>
        before.Length == 0 && shape.Length > 0 && !shape.ContainsAnyExcept(Any)
            ? $"{shape.Length} dimensions"
            : $"({before}{string.Join(", ", shape.ToArray().Select(size => size == Any ? "any" : $"{size}"))})";
}
