using System.Numerics;

namespace TorchSharp;

using static torch;

/// <summary>A number of any dtype, as an argument of an operator.</summary>
public sealed class Scalar : IDisposable
{
    private readonly ScalarType _type;
    private readonly double _real, _imaginary;
    private readonly long _integer;

    private Scalar(double value, ScalarType type) => (_real, _integer, _type) = (value, (long)value, type);
    private Scalar(long value, ScalarType type) => (_real, _integer, _type) = (value, value, type);
    private Scalar(Complex value, ScalarType type) => (_real, _imaginary, _integer, _type) = (value.Real, value.Imaginary, (long)value.Real, type);

    public ScalarType Type => _type;

    public static implicit operator Scalar(byte value) => new(value, ScalarType.Byte);
    public static implicit operator Scalar(sbyte value) => new(value, ScalarType.Int8);
    public static implicit operator Scalar(short value) => new(value, ScalarType.Int16);
    public static implicit operator Scalar(int value) => new(value, ScalarType.Int32);
    public static implicit operator Scalar(long value) => new(value, ScalarType.Int64);
    public static implicit operator Scalar(float value) => new((double)value, ScalarType.Float32);
    public static implicit operator Scalar(double value) => new(value, ScalarType.Float64);
    public static implicit operator Scalar(bool value) => new(value ? 1L : 0L, ScalarType.Bool);
    public static implicit operator Scalar((float, float) value) => new(new Complex(value.Item1, value.Item2), ScalarType.ComplexFloat32);
    public static implicit operator Scalar(Complex value) => new(value, ScalarType.ComplexFloat64);

    /// <summary>Nothing to do: the value is managed. TorchSharp's is native, so callers may dispose it.</summary>
    public void Dispose() { }

    internal Arg ToArg() => _type switch
    {
        ScalarType.Bool => _integer != 0,
        ScalarType.Float16 or ScalarType.BFloat16 or ScalarType.Float32 or ScalarType.Float64 => _real,
        ScalarType.ComplexFloat32 or ScalarType.ComplexFloat64 => Arg.Complex(new Complex(_real, _imaginary)),
        _ => _integer,
    };

    internal double Real => _real;
    internal long Integer => _integer;
    internal double Imaginary => _imaginary;
}

public static class ScalarExtensionMethods
{
    public static Scalar ToScalar(this byte value) => value;
    public static Scalar ToScalar(this sbyte value) => value;
    public static Scalar ToScalar(this short value) => value;
    public static Scalar ToScalar(this int value) => value;
    public static Scalar ToScalar(this long value) => value;
    public static Scalar ToScalar(this float value) => value;
    public static Scalar ToScalar(this double value) => value;
    public static Scalar ToScalar(this bool value) => value;
    public static Scalar ToScalar(this Complex value) => value;

    public static float ToSingle(this Scalar value) => (float)value.Real;
    public static double ToDouble(this Scalar value) => value.Real;
    public static sbyte ToSByte(this Scalar value) => (sbyte)value.Integer;
    public static byte ToByte(this Scalar value) => (byte)value.Integer;
    public static short ToInt16(this Scalar value) => (short)value.Integer;
    public static int ToInt32(this Scalar value) => (int)value.Integer;
    public static long ToInt64(this Scalar value) => value.Integer;
    public static bool ToBoolean(this Scalar value) => value.Real != 0;
    public static (float Real, float Imaginary) ToComplexFloat32(this Scalar value) => ((float)value.Real, (float)value.Imaginary);
    public static Complex ToComplexFloat64(this Scalar value) => new(value.Real, value.Imaginary);
}
