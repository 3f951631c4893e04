using System.Numerics;
using System.Text;

namespace TorchSharp;

using static torch;
using Tag = Native.Tag;

/// <summary>
/// One ATen operator, `aten::name.overload`, found in the dispatcher when it is first called. Arguments are positional, in
/// the order of its schema; those left out at the end, and <see cref="Arg.Default"/>, take the schema's default.
/// </summary>
/// <example><code>internal static readonly Operator add_Tensor = new("add", "Tensor");
/// Tensor sum = add_Tensor.Call(a, b, alpha);</code></example>
internal sealed unsafe class Operator(string name, string overload = "")
{
    private nint _handle;

    private nint Handle => _handle != 0 ? _handle : Find();

    private nint Find()
    {
        nint found;
        fixed (byte* n = Encoding.UTF8.GetBytes($"aten::{name}\0"), o = Encoding.UTF8.GetBytes(overload + '\0'))
            Native.Check(Native.st_find_operator(n, o, &found));
        return _handle = found;
    }

    /// <summary>The operator's only result, a tensor.</summary>
    public Tensor Call(params ReadOnlySpan<Arg> arguments)
    {
        Native.Value result;
        Invoke(arguments, &result, 1);
        return new Tensor((nint)result.Bits);
    }

    /// <summary>The same for an operator whose tensor may be undefined.</summary>
    public Tensor? CallOptional(params ReadOnlySpan<Arg> arguments)
    {
        Native.Value result;
        Invoke(arguments, &result, 1);
        return Wrap(result);
    }

    public (Tensor, Tensor) Call2(params ReadOnlySpan<Arg> arguments)
    {
        var results = stackalloc Native.Value[2];
        Invoke(arguments, results, 2);
        return (new((nint)results[0].Bits), new((nint)results[1].Bits));
    }

    public (Tensor, Tensor, Tensor) Call3(params ReadOnlySpan<Arg> arguments)
    {
        var results = stackalloc Native.Value[3];
        Invoke(arguments, results, 3);
        return (new((nint)results[0].Bits), new((nint)results[1].Bits), new((nint)results[2].Bits));
    }

    public (Tensor, Tensor, Tensor, Tensor) Call4(params ReadOnlySpan<Arg> arguments)
    {
        var results = stackalloc Native.Value[4];
        Invoke(arguments, results, 4);
        return (new((nint)results[0].Bits), new((nint)results[1].Bits), new((nint)results[2].Bits), new((nint)results[3].Bits));
    }

    public Tensor[] CallList(params ReadOnlySpan<Arg> arguments)
    {
        Native.Value result;
        Invoke(arguments, &result, 1);
        var tensors = new Tensor[result.Count];
        for (int i = 0; i < tensors.Length; i++) tensors[i] = new Tensor(((nint*)result.Bits)[i]);
        Native.st_free((nint)result.Bits);
        return tensors;
    }

    public Scalar CallScalar(params ReadOnlySpan<Arg> arguments)
    {
        Native.Value result;
        Invoke(arguments, &result, 1);
        switch (result.Tag)
        {
            case Tag.Int: return result.Bits;
            case Tag.Bool: return result.Bits != 0;
            case Tag.Complex:
                var parts = (double*)result.Bits;
                var complex = new Complex(parts[0], parts[1]);
                Native.st_free((nint)result.Bits);
                return complex;
            default: return BitConverter.Int64BitsToDouble(result.Bits);
        }
    }

    public bool CallBool(params ReadOnlySpan<Arg> arguments)
    {
        Native.Value result;
        Invoke(arguments, &result, 1);
        return result.Bits != 0;
    }

    public long CallInt(params ReadOnlySpan<Arg> arguments)
    {
        Native.Value result;
        Invoke(arguments, &result, 1);
        return result.Bits;
    }

    /// <summary>For operators called for their effect: the in-place ones, whose result is their first argument.</summary>
    public void Run(params ReadOnlySpan<Arg> arguments) => Invoke(arguments, null, 0);

    /// <summary>Runs an operator that changes its first argument, and returns that.</summary>
    public Tensor InPlace(params ReadOnlySpan<Arg> arguments)
    {
        Invoke(arguments, null, 0);
        return (Tensor)arguments[0].Reference!;
    }

    private static Tensor? Wrap(in Native.Value value) => value.Bits == 0 ? null : new Tensor((nint)value.Bits);

    private void Invoke(ReadOnlySpan<Arg> arguments, Native.Value* results, int capacity)
    {
        int words = 0;
        foreach (ref readonly var argument in arguments) words += argument.Words;
        long* scratch = stackalloc long[Math.Min(words, 128)];
        if (words <= 128)
        {
            Invoke(arguments, results, capacity, scratch);
            return;
        }
        fixed (long* large = new long[words]) Invoke(arguments, results, capacity, large);
    }

    private void Invoke(ReadOnlySpan<Arg> arguments, Native.Value* results, int capacity, long* scratch)
    {
        var values = stackalloc Native.Value[arguments.Length];
        for (int i = 0; i < arguments.Length; i++) arguments[i].Write(ref values[i], ref scratch);
        int failed = Native.st_call(Handle, values, arguments.Length, results, capacity);
        // The caller's span keeps every tensor of the arguments reachable until here.
        GC.KeepAlive(arguments.Length > 0 ? arguments[0].Reference : null);
        Native.Check(failed);
    }
}

/// <summary>One argument of an <see cref="Operator"/>; made by implicit conversion.</summary>
internal readonly struct Arg
{
    private readonly Tag _tag;
    private readonly long _bits;
    internal readonly object? Reference;

    private Arg(Tag tag, long bits, object? reference = null) => (_tag, _bits, Reference) = (tag, bits, reference);

    public static Arg None => default;
    public static Arg Default => new(Tag.Default, 0);

    public static implicit operator Arg(Tensor? tensor) => tensor is null ? default : new(Tag.Tensor, 0, tensor);
    public static implicit operator Arg(long value) => new(Tag.Int, value);
    public static implicit operator Arg(int value) => new(Tag.Int, value);
    public static implicit operator Arg(long? value) => value is { } v ? new(Tag.Int, v) : default;
    public static implicit operator Arg(double value) => new(Tag.Double, BitConverter.DoubleToInt64Bits(value));
    public static implicit operator Arg(double? value) => value is { } v ? (Arg)v : default;
    public static implicit operator Arg(bool value) => new(Tag.Bool, value ? 1 : 0);
    public static implicit operator Arg(bool? value) => value is { } v ? (Arg)v : default;
    public static implicit operator Arg(ScalarType value) => new(Tag.Int, (long)value);
    public static implicit operator Arg(ScalarType? value) => value is { } v ? (Arg)v : default;
    public static implicit operator Arg(Scalar? value) => value is null ? default : value.ToArg();
    public static implicit operator Arg(long[]? value) => value is null ? default : new(Tag.IntList, 0, value);
    public static implicit operator Arg(double[]? value) => value is null ? default : new(Tag.DoubleList, 0, value);
    public static implicit operator Arg(Tensor?[]? value) => value is null ? default : new(Tag.TensorList, 0, value);
    public static implicit operator Arg(string? value) => value is null ? default : new(Tag.String, 0, Encoding.UTF8.GetBytes(value));
    public static implicit operator Arg(Device? value) => value is null ? default : new(Tag.Device, 0, value);
    public static implicit operator Arg(Generator? value) => value is null ? default : new(Tag.Generator, 0, value);
    public static Arg Complex(Complex value) => new(Tag.Complex, 0, new[] { value.Real, value.Imaginary });

    /// <summary>64-bit words that the argument needs beside its value.</summary>
    internal int Words => Reference switch
    {
        Array when _tag == Tag.String => (((byte[])Reference).Length + 7) / 8,
        Array array => array.Length,
        _ => 0,
    };

    internal unsafe void Write(ref Native.Value value, ref long* scratch)
    {
        value.Tag = _tag;
        value.Count = 1;
        value.Bits = _bits;
        switch (_tag)
        {
            case Tag.Tensor: value.Bits = ((Tensor)Reference!).Handle; return;
            case Tag.Generator: value.Bits = ((Generator)Reference!).Handle; return;
            case Tag.Device:
                var device = (Device)Reference!;
                (value.Bits, value.Count) = ((long)device.type, device.index);
                return;
        }
        if (Reference is null) return;
        value.Bits = (long)scratch;
        switch (Reference)
        {
            case long[] integers: integers.CopyTo(new Span<long>(scratch, integers.Length)); value.Count = integers.Length; break;
            case double[] reals: reals.CopyTo(new Span<double>(scratch, reals.Length)); value.Count = reals.Length; break;
            case byte[] text: text.CopyTo(new Span<byte>(scratch, text.Length)); value.Count = text.Length; break;
            case Tensor?[] tensors:
                for (int i = 0; i < tensors.Length; i++) scratch[i] = tensors[i]?.Handle ?? 0;
                value.Count = tensors.Length;
                break;
        }
        scratch += Words;
    }
}
