using System.Numerics;
using System.Runtime.CompilerServices;
using static TorchSharp.torch;

namespace EmtTorch.Kernels;

/// <summary>
/// gelu(x) = x Φ(x) as one function of autograd on the CPU in float32; Torch's operator for all else. With a = |x| and
/// q = Φ(−a):
/// <code>
/// gelu(x) = max(x, 0) − a q     gelu'(x) = Φ(x) + x exp(−x²/2)/√(2π)     q = exp(−a²/2) t p(t), t = 1/(1 + 0.35 a)
/// </code>
/// The form of q is that of Abramowitz and Stegun, 7.1.26. The polynomial p meets q at Chebyshev's nodes, to 4e-8 of
/// it.
/// </summary>
/// <remarks>Argument: x. Result: gelu(x).</remarks>
internal sealed unsafe class Gelu : TorchFunction<Gelu>
{
    // An item's numbers
    private const long Most = 1 << 16;

    /// <summary>gelu(x).</summary>
    public static Tensor Of(Tensor x) =>
        x.dtype == ScalarType.Float32 && x.numel() > 0 && FusedTensors.Served(x) ? Apply(x)[0] : x.gelu();

    protected override List<Tensor> Forward(ISavedForBackward ctx, object[] arguments)
    {
        var x = ((Tensor)arguments[0]).contiguous();
        var y = empty_like(x);
        Run(x, null, y);
        ctx.save_for_backward([x]);
        return [y];
    }

    protected override List<Tensor?> Backward(
        autograd.AutogradContext ctx,
        List<Tensor> saved,
        IReadOnlyList<Tensor?> gradients
    )
    {
        var given = gradients[0]!.contiguous();
        var ofX = empty_like(saved[0]);
        Run(saved[0], given, ofX);
        return [ofX];
    }

    private static void Run(Tensor x, Tensor? given, Tensor into)
    {
        var work = new Work(x.numel(), FusedTensors.Memory(x), FusedTensors.Memory(given), FusedTensors.Memory(into));
        Simd.Run(Simd.Path, x.dtype, ref work);
        GC.KeepAlive((x, given, into));
    }

    private readonly struct Work(long count, void* x, void* given, void* into) : ISimdWork
    {
        public void Run<S, V, N, W, T>()
            where S : struct, ISimd<V, T>
            where V : struct
            where N : struct, ISimd<W, T>
            where W : struct
            where T : unmanaged, IBinaryFloatingPointIeee754<T>
        {
            T* xs = (T*)x,
                gradients = (T*)given,
                results = (T*)into;
            long all = count;
            SliceWorkers.Run(
                (int)((all + Most - 1) / Most),
                item =>
                {
                    long from = item * Most;
                    nint numbers = (nint)Math.Min(Most, all - from);
                    Items<S, V, T>(xs + from, gradients == null ? null : gradients + from, results + from, numbers);
                }
            );
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Items<S, V, T>(T* x, T* given, T* into, nint count)
        where S : struct, ISimd<V, T>
        where V : struct
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        nint i = 0;
        for (; i + S.Count <= count; i += S.Count)
        {
            V y = Item<S, V, T>(S.Load(x + i), given != null);
            S.Store(given == null ? y : S.Multiply(y, S.Load(given + i)), into + i);
        }
        if (i == count)
            return;
        T* rest = stackalloc T[2 * S.Count];
        Tiles<S, V, T>.Copy(x + i, rest, count - i);
        S.Store(Item<S, V, T>(S.Load(rest), given != null), rest + S.Count);
        for (nint j = i; j < count; j++)
            into[j] = given == null ? rest[S.Count + j - i] : rest[S.Count + j - i] * given[j];
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V Item<S, V, T>(V x, bool slope)
        where S : struct, ISimd<V, T>
        where V : struct
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        // From 12 on q is 0 beside the other numbers; 2ⁿ of exp must not fall below the smallest.
        V a = S.Min(S.Abs(x), S.Constant(12)),
            t = S.Divide(S.Constant(1), S.MultiplyAdd(a, S.Constant(0.35), S.Constant(1))),
            e = Tiles<S, V, T>.Exp(S.Multiply(S.Multiply(a, a), S.Constant(-0.5)));
        V p = S.Constant(-0.0295586719);
        p = S.MultiplyAdd(p, t, S.Constant(0.145985261));
        p = S.MultiplyAdd(p, t, S.Constant(-0.259867355));
        p = S.MultiplyAdd(p, t, S.Constant(0.163884176));
        p = S.MultiplyAdd(p, t, S.Constant(-0.0263068301));
        p = S.MultiplyAdd(p, t, S.Constant(0.106830979));
        p = S.MultiplyAdd(p, t, S.Constant(0.119508676));
        p = S.MultiplyAdd(p, t, S.Constant(0.139904664));
        p = S.MultiplyAdd(p, t, S.Constant(0.139619083));
        V q = S.Multiply(e, S.Multiply(t, p));
        if (!slope)
            return S.Subtract(S.Max(x, S.All(T.Zero)), S.Multiply(a, q));
        V half = S.Constant(0.5),
            sum = S.Add(half, S.CopySign(S.Subtract(half, q), x)); // Φ(x)
        return S.MultiplyAdd(S.Multiply(S.CopySign(a, x), e), S.Constant(0.3989422804014327), sum);
    }
}
