using System.Numerics;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.Arm;
using System.Runtime.Intrinsics.X86;
using EmtTorch.Kernels;

namespace EmtTorch.Tests;

/// <summary>
/// The kernel's tanh, in units in the last place of the exact result. Over all floats (the explicit test) the largest
/// error is 1.45 with fused multiply-add and 2.2 without; in float64 below 1.5 and 2 on the points tried.
/// </summary>
public sealed unsafe class FusedTanhTests
{
    private static readonly string[] Paths = Enum.GetNames<SimdPath>();
    private static readonly bool Fused = Fma.IsSupported || AdvSimd.IsSupported;

    private static void Tanh<T>(string path, T[] x)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        switch (Enum.Parse<SimdPath>(path))
        {
            case SimdPath.Avx512:
                Each<Simd512<T>, Vector512<T>, T>(x, SimdPath.Avx512);
                break;
            case SimdPath.Avx2:
                Each<Simd256<T>, Vector256<T>, T>(x, SimdPath.Avx2);
                break;
            default:
                Each<Simd128<T>, Vector128<T>, T>(x, SimdPath.Portable);
                break;
        }
    }

    private static void Each<S, V, T>(T[] x, SimdPath path)
        where S : struct, ISimd<V, T>
        where V : struct
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        if (!Simd.Has(path))
            Assert.Ignore($"this processor has no {path}");
        Assert.That(x.Length % S.Count, Is.Zero);
        fixed (T* p = x)
        {
            for (int i = 0; i < x.Length; i += S.Count)
                S.Store(Tiles<S, V, T>.Tanh(S.Load(p + i)), p + i);
        }
    }

    /// <summary>The largest error over every stride-th float from 2^-126 to 12, in ulp.</summary>
    private static double LargestError(string path, uint stride)
    {
        double largest = 0;
        const int Block = 1 << 16;
        float[] x = new float[Block],
            y = new float[Block];
        uint end = BitConverter.SingleToUInt32Bits(12);
        for (ulong from = BitConverter.SingleToUInt32Bits(1.17549435e-38f); from < end; from += (ulong)Block * stride)
        {
            for (int i = 0; i < Block; i++)
                x[i] = BitConverter.UInt32BitsToSingle((uint)Math.Min(from + (ulong)i * stride, end));
            x.CopyTo(y, 0);
            Tanh(path, y);
            for (int i = 0; i < Block; i++)
            {
                double exact = Math.Tanh(x[i]);
                float nearest = (float)exact;
                double error = Math.Abs(y[i] - exact) / (nearest - MathF.BitDecrement(nearest));
                if (!(error <= largest))
                    largest = error;
                if (y[i] > 1)
                    return double.PositiveInfinity;
            }
        }
        return largest;
    }

    [TestCaseSource(nameof(Paths))]
    public void InFloat32ItIsWithinTwoUlp(string path)
    {
        double largest = LargestError(path, 997);
        TestContext.Out.WriteLine($"{largest:0.000} ulp");
        Assert.That(largest, Is.LessThan(Fused ? 2 : 2.5));
    }

    [TestCaseSource(nameof(Paths)), Explicit("a minute: every positive float from 2^-126 to 12")]
    public void OverAllFloats(string path)
    {
        double largest = LargestError(path, 1);
        TestContext.Out.WriteLine($"{largest:0.000} ulp");
        Assert.That(largest, Is.LessThan(Fused ? 2 : 2.5));
    }

    [TestCaseSource(nameof(Paths))]
    public void InFloat64ItIsWithinTwoUlp(string path)
    {
        var random = new Random(1);
        var x = Enumerable
            .Range(0, 20_000)
            .Select(i => i % 2 == 0 ? 20 * random.NextDouble() : Math.Pow(2, -24 * random.NextDouble()))
            .ToArray();
        var y = (double[])x.Clone();
        Tanh(path, y);
        double largest = 0;
        for (int i = 0; i < x.Length; i++)
        {
            decimal exact = Exact(x[i]);
            double nearest = (double)exact;
            largest = Math.Max(
                largest,
                (double)Math.Abs((decimal)(y[i] - nearest) + ((decimal)Wide(nearest) - exact))
                    / (nearest - Math.BitDecrement(nearest))
            );
        }
        TestContext.Out.WriteLine($"{largest:0.000} ulp");
        Assert.That(largest, Is.LessThan(Fused ? 2 : 2.5));

        // (decimal)double keeps 15 digits only; through its integer significand it is exact.
        static decimal Wide(double a)
        {
            int exponent = Math.ILogB(a) - 52;
            decimal value = (decimal)(long)Math.ScaleB(a, -exponent);
            for (; exponent < 0; exponent++)
                value /= 2;
            return value;
        }

        // In 28 digits: (e − 1) / (e + 1) with e = exp(2x), its series on 2x / 256.
        static decimal Exact(double a)
        {
            decimal r = Wide(a) / 128,
                term = 1,
                e = 1;
            for (int k = 1; k < 30; k++)
                e += term *= r / k;
            for (int k = 0; k < 8; k++)
                e *= e;
            return (e - 1) / (e + 1);
        }
    }

    [TestCaseSource(nameof(Paths))]
    public void ItsEdgesAreTanhs(string path)
    {
        float[] x =
        [
            0,
            -0f,
            float.NaN,
            float.PositiveInfinity,
            float.NegativeInfinity,
            float.Epsilon,
            -1e-40f,
            100,
            -100,
            9.1f,
            -9.1f,
            float.MaxValue,
            float.MinValue,
            1e-20f,
            -1e-20f,
            20,
        ];
        var y = (float[])x.Clone();
        Tanh(path, y);
        for (int i = 0; i < x.Length; i++)
            Assert.That(y[i], Is.EqualTo(MathF.Tanh(x[i])), $"{x[i]}");
        Assert.That(float.IsNegative(y[1]), Is.True);

        double[] z = [0, -0.0, double.NaN, double.PositiveInfinity, double.NegativeInfinity, 1e-200, -1e-200, 1e300];
        var w = (double[])z.Clone();
        Tanh(path, w);
        for (int i = 0; i < z.Length; i++)
            Assert.That(w[i], Is.EqualTo(Math.Tanh(z[i])), $"{z[i]}");
    }
}
