using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using static TorchSharp.torch;

namespace EmtTorch.Kernels;

/// <summary>The vectors that the kernels use.</summary>
internal enum SimdPath
{
    /// <summary>Vector128 on any processor: ARM's NEON, x86 before AVX2, and others.</summary>
    Portable,

    /// <summary>Vector256 with fused multiply-add.</summary>
    Avx2,

    /// <summary>Vector512.</summary>
    Avx512,
}

/// <summary>Chooses the vectors that this processor has.</summary>
/// <remarks>.NET's own switches apply: DOTNET_EnableAVX512=0 (before .NET 10 DOTNET_EnableAVX512F) leads to AVX2,
/// DOTNET_EnableAVX2=0 to the portable path.</remarks>
internal static class Simd
{
    /// <summary>Whether the kernels are used, or Torch's operators in their place; for tests.</summary>
    public static bool Used { get; set; } = true;

    /// <summary>The widest path that this processor has; only tests set another.</summary>
    public static SimdPath Path { get; set; } =
        Has(SimdPath.Avx512) ? SimdPath.Avx512
        : Has(SimdPath.Avx2) ? SimdPath.Avx2
        : SimdPath.Portable;

    /// <summary>Whether this processor has a path.</summary>
    public static bool Has(SimdPath path) =>
        path switch
        {
            SimdPath.Avx512 => Vector512.IsHardwareAccelerated && Avx512F.IsSupported,
            SimdPath.Avx2 => Avx2.IsSupported && Fma.IsSupported,
            _ => true,
        };

    /// <summary>Does a work with the vectors of a path, on float32 or float64.</summary>
    public static void Run<K>(SimdPath path, ScalarType dtype, ref K work)
        where K : struct, ISimdWork
    {
        switch (path, dtype)
        {
            case (SimdPath.Avx512, ScalarType.Float32):
                work.Run<Simd512<float>, Vector512<float>, Simd256<float>, Vector256<float>, float>();
                break;
            case (SimdPath.Avx512, _):
                work.Run<Simd512<double>, Vector512<double>, Simd256<double>, Vector256<double>, double>();
                break;
            case (SimdPath.Avx2, ScalarType.Float32):
                work.Run<Simd256<float>, Vector256<float>, Simd256<float>, Vector256<float>, float>();
                break;
            case (SimdPath.Avx2, _):
                work.Run<Simd256<double>, Vector256<double>, Simd256<double>, Vector256<double>, double>();
                break;
            case (_, ScalarType.Float32):
                work.Run<Simd128<float>, Vector128<float>, Simd128<float>, Vector128<float>, float>();
                break;
            default:
                work.Run<Simd128<double>, Vector128<double>, Simd128<double>, Vector128<double>, double>();
                break;
        }
    }
}

/// <summary>A call of a kernel that is written once for all vectors and types.</summary>
internal interface ISimdWork
{
    /// <summary>Does the work with vectors V, or with W, at most 256 bits wide, where columns are few.</summary>
    void Run<S, V, N, W, T>()
        where S : struct, ISimd<V, T>
        where V : struct
        where N : struct, ISimd<W, T>
        where W : struct
        where T : unmanaged, IBinaryFloatingPointIeee754<T>;
}

/// <summary>
/// The operations of kernels on a vector V of numbers T, so that a kernel is written once for all widths. All are
/// static and on value types: the compiler makes a specialised copy for each width and type, without calls.
/// </summary>
internal unsafe interface ISimd<V, T>
    where V : struct
    where T : unmanaged
{
    /// <summary>
    /// R, the number of rows of a register tile. R × 2 vectors of sums, two of weights and one of a broadcast state fit
    /// the registers: 8 rows for the 32 registers of AVX-512, 4 for the 16 of AVX2 and SSE.
    /// </summary>
    static abstract int Rows { get; }

    /// <summary>The number of numbers in a vector.</summary>
    static abstract int Count { get; }
    static abstract V Load(T* from);
    static abstract void Store(V a, T* to);
    static abstract V All(T value);

    /// <summary>A constant in every place, rounded to T.</summary>
    static abstract V Constant(double value);

    /// <summary>a·b + c, with one rounding if the processor has such an instruction.</summary>
    static abstract V MultiplyAdd(V a, V b, V c);
    static abstract V Add(V a, V b);
    static abstract V Subtract(V a, V b);
    static abstract V Multiply(V a, V b);
    static abstract V Divide(V a, V b);

    /// <summary>The sum of all places: of halves, quarters and so on.</summary>
    static abstract T Sum(V a);

    /// <summary>The largest number of all places, if none is NaN.</summary>
    static abstract T Largest(V a);
    static abstract V Sqrt(V a);
    static abstract V Abs(V a);

    /// <summary>The smaller number; NaN where a is NaN.</summary>
    static abstract V Min(V a, V b);

    /// <summary>The larger number; NaN where a is NaN.</summary>
    static abstract V Max(V a, V b);

    /// <summary>The magnitude of the first with the sign of the second.</summary>
    static abstract V CopySign(V magnitude, V sign);

    /// <summary>The lowest bits of a number's pattern, moved to the place of its exponent.</summary>
    static abstract V BitsToExponent(V a);

    /// <summary>1 where both are ≥ 0 or neither is, else 0.</summary>
    static abstract V SameSign(V a, V b);

    /// <summary>a in the places before n, and 0 in the others, even where a is NaN.</summary>
    static abstract V Keep(V a, int n);
}

internal readonly unsafe struct Simd512<T> : ISimd<Vector512<T>, T>
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    public static int Rows => 8;
    public static int Count => Vector512<T>.Count;

    public static Vector512<T> Load(T* from) => Vector512.Load(from);

    public static void Store(Vector512<T> a, T* to) => a.Store(to);

    public static Vector512<T> All(T value) => Vector512.Create(value);

    public static Vector512<T> Constant(double value) =>
        typeof(T) == typeof(float)
            ? Vector512.Create((float)value).As<float, T>()
            : Vector512.Create(value).As<double, T>();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<T> MultiplyAdd(Vector512<T> a, Vector512<T> b, Vector512<T> c) =>
        typeof(T) == typeof(float)
            ? Vector512.FusedMultiplyAdd(a.As<T, float>(), b.As<T, float>(), c.As<T, float>()).As<float, T>()
            : Vector512.FusedMultiplyAdd(a.As<T, double>(), b.As<T, double>(), c.As<T, double>()).As<double, T>();

    public static Vector512<T> Add(Vector512<T> a, Vector512<T> b) => a + b;

    public static Vector512<T> Subtract(Vector512<T> a, Vector512<T> b) => a - b;

    public static Vector512<T> Multiply(Vector512<T> a, Vector512<T> b) => a * b;

    public static Vector512<T> Divide(Vector512<T> a, Vector512<T> b) => a / b;

    public static T Sum(Vector512<T> a) => Vector512.Sum(a);

    public static T Largest(Vector512<T> a) => Simd256<T>.Largest(Vector256.MaxNative(a.GetLower(), a.GetUpper()));

    public static Vector512<T> Sqrt(Vector512<T> a) => Vector512.Sqrt(a);

    public static Vector512<T> Abs(Vector512<T> a) => Vector512.Abs(a);

    // x86 returns the second operand if one is NaN.
    public static Vector512<T> Min(Vector512<T> a, Vector512<T> b) => Vector512.MinNative(b, a);

    public static Vector512<T> Max(Vector512<T> a, Vector512<T> b) => Vector512.MaxNative(b, a);

    public static Vector512<T> CopySign(Vector512<T> magnitude, Vector512<T> sign) =>
        Vector512.ConditionalSelect(Vector512.Create(-T.Zero), sign, magnitude);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<T> BitsToExponent(Vector512<T> a) =>
        typeof(T) == typeof(float)
            ? Vector512.ShiftLeft(a.As<T, int>(), 23).As<int, T>()
            : Vector512.ShiftLeft(a.As<T, long>(), 52).As<long, T>();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<T> SameSign(Vector512<T> a, Vector512<T> b) =>
        Vector512.AndNot(
            Vector512.Create(T.One),
            Vector512.GreaterThanOrEqual(a, Vector512<T>.Zero) ^ Vector512.GreaterThanOrEqual(b, Vector512<T>.Zero)
        );

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<T> Keep(Vector512<T> a, int n) =>
        a & Vector512.LessThan(Vector512<T>.Indices, Vector512.Create(T.CreateTruncating(n)));
}

internal readonly unsafe struct Simd256<T> : ISimd<Vector256<T>, T>
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    public static int Rows => 4;
    public static int Count => Vector256<T>.Count;

    public static Vector256<T> Load(T* from) => Vector256.Load(from);

    public static void Store(Vector256<T> a, T* to) => a.Store(to);

    public static Vector256<T> All(T value) => Vector256.Create(value);

    public static Vector256<T> Constant(double value) =>
        typeof(T) == typeof(float)
            ? Vector256.Create((float)value).As<float, T>()
            : Vector256.Create(value).As<double, T>();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<T> MultiplyAdd(Vector256<T> a, Vector256<T> b, Vector256<T> c) =>
        typeof(T) == typeof(float)
            ? Vector256.FusedMultiplyAdd(a.As<T, float>(), b.As<T, float>(), c.As<T, float>()).As<float, T>()
            : Vector256.FusedMultiplyAdd(a.As<T, double>(), b.As<T, double>(), c.As<T, double>()).As<double, T>();

    public static Vector256<T> Add(Vector256<T> a, Vector256<T> b) => a + b;

    public static Vector256<T> Subtract(Vector256<T> a, Vector256<T> b) => a - b;

    public static Vector256<T> Multiply(Vector256<T> a, Vector256<T> b) => a * b;

    public static Vector256<T> Divide(Vector256<T> a, Vector256<T> b) => a / b;

    public static T Sum(Vector256<T> a) => Vector256.Sum(a);

    public static T Largest(Vector256<T> a) => Simd128<T>.Largest(Simd128<T>.Max(a.GetLower(), a.GetUpper()));

    public static Vector256<T> Sqrt(Vector256<T> a) => Vector256.Sqrt(a);

    public static Vector256<T> Abs(Vector256<T> a) => Vector256.Abs(a);

    public static Vector256<T> Min(Vector256<T> a, Vector256<T> b) => Vector256.MinNative(b, a);

    public static Vector256<T> Max(Vector256<T> a, Vector256<T> b) => Vector256.MaxNative(b, a);

    public static Vector256<T> CopySign(Vector256<T> magnitude, Vector256<T> sign) =>
        Vector256.ConditionalSelect(Vector256.Create(-T.Zero), sign, magnitude);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<T> BitsToExponent(Vector256<T> a) =>
        typeof(T) == typeof(float)
            ? Vector256.ShiftLeft(a.As<T, int>(), 23).As<int, T>()
            : Vector256.ShiftLeft(a.As<T, long>(), 52).As<long, T>();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<T> SameSign(Vector256<T> a, Vector256<T> b) =>
        Vector256.AndNot(
            Vector256.Create(T.One),
            Vector256.GreaterThanOrEqual(a, Vector256<T>.Zero) ^ Vector256.GreaterThanOrEqual(b, Vector256<T>.Zero)
        );

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<T> Keep(Vector256<T> a, int n) =>
        a & Vector256.LessThan(Vector256<T>.Indices, Vector256.Create(T.CreateTruncating(n)));
}

internal readonly unsafe struct Simd128<T> : ISimd<Vector128<T>, T>
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    public static int Rows => 4;
    public static int Count => Vector128<T>.Count;

    public static Vector128<T> Load(T* from) => Vector128.Load(from);

    public static void Store(Vector128<T> a, T* to) => a.Store(to);

    public static Vector128<T> All(T value) => Vector128.Create(value);

    public static Vector128<T> Constant(double value) =>
        typeof(T) == typeof(float)
            ? Vector128.Create((float)value).As<float, T>()
            : Vector128.Create(value).As<double, T>();

    // The estimate has one rounding if there is an instruction for it, otherwise two; there FusedMultiplyAdd would be a
    // slow call.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<T> MultiplyAdd(Vector128<T> a, Vector128<T> b, Vector128<T> c) =>
        typeof(T) == typeof(float)
            ? Vector128.MultiplyAddEstimate(a.As<T, float>(), b.As<T, float>(), c.As<T, float>()).As<float, T>()
            : Vector128.MultiplyAddEstimate(a.As<T, double>(), b.As<T, double>(), c.As<T, double>()).As<double, T>();

    public static Vector128<T> Add(Vector128<T> a, Vector128<T> b) => a + b;

    public static Vector128<T> Subtract(Vector128<T> a, Vector128<T> b) => a - b;

    public static Vector128<T> Multiply(Vector128<T> a, Vector128<T> b) => a * b;

    public static Vector128<T> Divide(Vector128<T> a, Vector128<T> b) => a / b;

    public static T Sum(Vector128<T> a) => Vector128.Sum(a);

    public static T Largest(Vector128<T> a)
    {
        T largest = a[0];
        for (int i = 1; i < Count; i++)
            largest = a[i] > largest ? a[i] : largest;
        return largest;
    }

    public static Vector128<T> Sqrt(Vector128<T> a) => Vector128.Sqrt(a);

    public static Vector128<T> Abs(Vector128<T> a) => Vector128.Abs(a);

    public static Vector128<T> Min(Vector128<T> a, Vector128<T> b) =>
        Vector128.ConditionalSelect(Vector128.GreaterThan(a, b), b, a);

    public static Vector128<T> Max(Vector128<T> a, Vector128<T> b) =>
        Vector128.ConditionalSelect(Vector128.LessThan(a, b), b, a);

    public static Vector128<T> CopySign(Vector128<T> magnitude, Vector128<T> sign) =>
        Vector128.ConditionalSelect(Vector128.Create(-T.Zero), sign, magnitude);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<T> BitsToExponent(Vector128<T> a) =>
        typeof(T) == typeof(float)
            ? Vector128.ShiftLeft(a.As<T, int>(), 23).As<int, T>()
            : Vector128.ShiftLeft(a.As<T, long>(), 52).As<long, T>();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<T> SameSign(Vector128<T> a, Vector128<T> b) =>
        Vector128.AndNot(
            Vector128.Create(T.One),
            Vector128.GreaterThanOrEqual(a, Vector128<T>.Zero) ^ Vector128.GreaterThanOrEqual(b, Vector128<T>.Zero)
        );

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<T> Keep(Vector128<T> a, int n) =>
        a & Vector128.LessThan(Vector128<T>.Indices, Vector128.Create(T.CreateTruncating(n)));
}
