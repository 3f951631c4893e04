using System.Numerics;
using System.Runtime.CompilerServices;
using static TorchSharp.torch;

namespace EmtTorch.Kernels;

/// <summary>The gradients in x (B, T, d), λ (d) and c_0 (B, d).</summary>
internal readonly record struct ContextGradients(Tensor Input, Tensor Decay, Tensor Before);

/// <summary>
/// The context's recurrence c_t = λ c_{t−1} + x_t on the CPU, there and back, in one pass over the memory. A document
/// is an item that one thread takes; what is summed over documents is summed in their order, so that the number of
/// threads changes no bit.
/// </summary>
internal static unsafe class ContextDriftKernel
{
    // Tokens whose part of λ's gradient is added up in the tensors' own type before it goes into a sum in float64.
    private const int Chunk = 32;

    /// <summary>Whether the kernel serves x, λ and c_0.</summary>
    public static bool Fits(Tensor x, Tensor decay, Tensor before) =>
        x.numel() > 0 && FusedTensors.Served(x, decay, before);

    /// <summary>All contexts.</summary>
    /// <param name="x">(B, T, d).</param>
    /// <param name="decay">λ (d).</param>
    /// <param name="before">c_0 (B, d).</param>
    /// <returns>c (B, T, d), and c before each token (B, T, d).</returns>
    public static (Tensor Contexts, Tensor Earlier) Forward(Tensor x, Tensor decay, Tensor before)
    {
        using var scope = NewDisposeScope();
        Tensor[] given = [x.contiguous(), decay.contiguous(), before.contiguous()];
        Tensor contexts = empty(x.shape, dtype: x.dtype),
            earlier = empty(x.shape, dtype: x.dtype);
        var call = new Call(x.shape)
        {
            Input = FusedTensors.Memory(given[0]),
            Decay = FusedTensors.Memory(given[1]),
            Before = FusedTensors.Memory(given[2]),
            Contexts = FusedTensors.Memory(contexts),
            Earlier = FusedTensors.Memory(earlier),
        };
        Run(x.dtype, call, back: false);
        GC.KeepAlive(given);
        return (contexts.MoveToOuterDisposeScope(), earlier.MoveToOuterDisposeScope());
    }

    /// <summary>δ_t = dc_t + λ δ_{t+1}: dx = δ, dλ = Σ δ_t c_{t−1}, dc_0 = λ δ_1.</summary>
    /// <param name="ofContexts">dc (B, T, d), or null for zeros.</param>
    /// <param name="ofEarlier">The gradient in c before each token (B, T, d), or null for zeros.</param>
    /// <param name="decay">λ (d).</param>
    /// <param name="before">c_0 (B, d).</param>
    /// <param name="contexts">c (B, T, d).</param>
    public static ContextGradients Gradients(
        Tensor? ofContexts,
        Tensor? ofEarlier,
        Tensor decay,
        Tensor before,
        Tensor contexts
    )
    {
        using var scope = NewDisposeScope();
        Tensor?[] given =
        [
            ofContexts?.contiguous(),
            decay.contiguous(),
            before.contiguous(),
            contexts.contiguous(),
            ofEarlier?.contiguous(),
        ];
        Tensor ofInput = empty(contexts.shape, dtype: decay.dtype),
            ofBefore = empty(before.shape, dtype: decay.dtype);
        var call = new Call(contexts.shape)
        {
            Decay = FusedTensors.Memory(given[1]),
            Before = FusedTensors.Memory(given[2]),
            Contexts = FusedTensors.Memory(given[3]),
            OfContexts = FusedTensors.Memory(given[0]),
            OfEarlier = FusedTensors.Memory(given[4]),
            OfInput = FusedTensors.Memory(ofInput),
            OfBefore = FusedTensors.Memory(ofBefore),
        };
        double[] sums = new double[(long)call.Batch * call.Width],
            ofDecay = new double[call.Width];
        fixed (double* memory = sums)
        {
            call.OfDecay = memory;
            Run(decay.dtype, call, back: true);
        }
        for (int i = 0; i < sums.Length; i++)
            ofDecay[i % call.Width] += sums[i];
        GC.KeepAlive(given);
        return new(
            ofInput.MoveToOuterDisposeScope(),
            tensor(ofDecay, dtype: decay.dtype).MoveToOuterDisposeScope(),
            ofBefore.MoveToOuterDisposeScope()
        );
    }

    private struct Call(long[] shape)
    {
        public readonly int Batch = (int)shape[0],
            Tokens = (int)shape[1],
            Width = (int)shape[2];
        public void* Input,
            Decay,
            Before,
            Contexts,
            Earlier,
            OfContexts,
            OfEarlier,
            OfInput,
            OfBefore;
        public double* OfDecay; // (B, d)
    }

    private static void Run(ScalarType dtype, in Call call, bool back)
    {
        var work = new Work(call, back);
        Simd.Run(Simd.Path, dtype, ref work);
    }

    private readonly struct Work(Call call, bool back) : ISimdWork
    {
        public void Run<S, V, N, W, T>()
            where S : struct, ISimd<V, T>
            where V : struct
            where N : struct, ISimd<W, T>
            where W : struct
            where T : unmanaged, IBinaryFloatingPointIeee754<T>
        {
            var (c, backwards) = (call, back);
            SliceWorkers.Run(
                c.Batch,
                item =>
                {
                    if (backwards)
                        Backward<S, V, T>(c, item);
                    else
                        Forward<S, V, T>(c, item);
                }
            );
        }
    }

    private static void Forward<S, V, T>(in Call c, int item)
        where S : struct, ISimd<V, T>
        where V : struct
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        T* decay = (T*)c.Decay;
        T* last = (T*)c.Before + (nint)item * c.Width;
        T* x = (T*)c.Input + (nint)item * c.Tokens * c.Width;
        T* context = (T*)c.Contexts + (nint)item * c.Tokens * c.Width;
        T* earlier = (T*)c.Earlier + (nint)item * c.Tokens * c.Width;
        for (int t = 0; t < c.Tokens; t++, x += c.Width, last = context, context += c.Width, earlier += c.Width)
        {
            Tiles<S, V, T>.Copy(last, earlier, c.Width);
            Step<S, V, T>(c.Width, decay, last, x, context);
        }
    }

    private static void Backward<S, V, T>(in Call c, int item)
        where S : struct, ISimd<V, T>
        where V : struct
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        int width = c.Width;
        nint start = (nint)item * c.Tokens * width;
        T* decay = (T*)c.Decay;
        T* before = (T*)c.Before + (nint)item * width;
        T* ofBefore = (T*)c.OfBefore + (nint)item * width;
        T* products = (T*)FastWeightKernel.Scratch(width * sizeof(T));
        new Span<T>(ofBefore, width).Clear(); // λ δ_{T+1}, and what c_t gets from the token after it
        new Span<T>(products, width).Clear();
        for (int t = c.Tokens - 1; t >= 0; t--)
        {
            nint at = start + (nint)t * width;
            T* slope = (T*)c.OfInput + at;
            T* last = t == 0 ? before : (T*)c.Contexts + at - width;
            Slope<S, V, T>(
                width,
                c.OfContexts == null ? null : (T*)c.OfContexts + at,
                c.OfEarlier == null ? null : (T*)c.OfEarlier + at,
                decay,
                last,
                slope,
                products,
                ofBefore
            );
            if (t % Chunk == 0)
            {
                for (int i = 0; i < width; i++)
                    c.OfDecay[(nint)item * width + i] += double.CreateTruncating(products[i]);
                new Span<T>(products, width).Clear();
            }
        }
    }

    /// <summary>A token's δ = dc + d, where d is what the token after it gives; products += δ ∘ c₋₁; and d for the
    /// token before it, λ δ + the gradient in c₋₁.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Slope<S, V, T>(
        int width,
        T* of,
        T* ofEarlier,
        T* decay,
        T* last,
        T* slope,
        T* products,
        T* given
    )
        where S : struct, ISimd<V, T>
        where V : struct
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        int i = 0;
        for (; i + S.Count <= width; i += S.Count)
        {
            V delta = S.Load(given + i);
            if (of != null)
                delta = S.Add(delta, S.Load(of + i));
            S.Store(delta, slope + i);
            S.Store(S.MultiplyAdd(delta, S.Load(last + i), S.Load(products + i)), products + i);
            V next = S.Multiply(delta, S.Load(decay + i));
            S.Store(ofEarlier == null ? next : S.Add(next, S.Load(ofEarlier + i)), given + i);
        }
        for (; i < width; i++)
        {
            T delta = given[i] + (of == null ? T.Zero : of[i]);
            slope[i] = delta;
            products[i] += delta * last[i];
            given[i] = delta * decay[i] + (ofEarlier == null ? T.Zero : ofEarlier[i]);
        }
    }

    /// <summary>into = a ∘ b + c.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Step<S, V, T>(int width, T* a, T* b, T* c, T* into)
        where S : struct, ISimd<V, T>
        where V : struct
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        int i = 0;
        for (; i + S.Count <= width; i += S.Count)
            S.Store(S.MultiplyAdd(S.Load(a + i), S.Load(b + i), S.Load(c + i)), into + i);
        for (; i < width; i++)
            into[i] = a[i] * b[i] + c[i];
    }
}
