using System.Numerics;
using System.Runtime.CompilerServices;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace EmtTorch.Kernels;

/// <summary>
/// Clips the gradient's norm and takes a step of Adam (Kingma and Ba 2015), in two passes over the parameters' memory:
/// with ‖g‖ over all parameters,
/// <code>
/// c = min(1, max / (‖g‖ + 1e-6)),  g ← c g,  θ ← θ − lr · decoupled · θ,  g' = g + decay · θ
/// m ← β₁ m + (1 − β₁) g',  v ← β₂ v + (1 − β₂) g'²,  θ ← θ − lr / (1 − β₁ⁿ) · m / (√v / √(1 − β₂ⁿ) + ε)
/// </code>
/// With decoupled &gt; 0 it is AdamW (Loshchilov and Hutter 2019). m, v and n are the optimizer's own state.
/// </summary>
/// <remarks>On a GPU it is one launch (<see cref="CudaAdam"/>). Tensors that neither kernel can use take
/// `clip_grad_norm_` and the optimizer's own step, whose results are equal to rounding.</remarks>
internal sealed unsafe class ClippedAdam
{
    private readonly Adam _optimizer;
    private readonly Parameter[] _parameters;
    private readonly Adam.State[] _states;
    private readonly Adam.Options _options;
    private readonly double _decoupled;

    /// <summary>Takes over the steps of an optimizer.</summary>
    /// <param name="optimizer">The optimizer, with one group of parameters. Its own weight decay is L2.</param>
    /// <param name="parameters">The optimizer's parameters, in their order.</param>
    /// <param name="decoupledDecay">AdamW's weight decay.</param>
    public ClippedAdam(Adam optimizer, IEnumerable<Parameter> parameters, double decoupledDecay = 0)
    {
        (_optimizer, _decoupled) = (optimizer, decoupledDecay);
        _parameters = [.. parameters];
        var kept = optimizer.state_dict();
        _states = [.. kept.State.Cast<Adam.State>()];
        _options = (Adam.Options)kept.Options.Single();
    }

    /// <summary>Clips the gradients and moves the parameters.</summary>
    /// <param name="largestNorm">The norm that ‖g‖ is clipped to.</param>
    /// <param name="noise">Noise to add to the clipped gradients, a number for each parameter in their order
    /// (P).</param>
    /// <returns>‖g‖ before clipping.</returns>
    public double Step(double largestNorm, Tensor? noise = null)
    {
        using var scope = NewDisposeScope();
        if (noise is null && StepOnGpu(largestNorm) is { } found)
            return found;
        if (_decoupled != 0)
            Shrink();
        var gradients = new Tensor[_parameters.Length];
        bool fits = _options.amsgrad != true && _options.maximize != true;
        for (int i = 0; i < gradients.Length && fits; i++)
        {
            fits =
                _parameters[i].grad is { } grad
                && FusedTensors.Fits(_parameters[i], gradients[i] = grad, _states[i].exp_avg, _states[i].exp_avg_sq);
        }

        if (!fits)
        {
            double before = nn.utils.clip_grad_norm_(_parameters, largestNorm);
            if (noise is not null)
                Add(noise, 1);
            _optimizer.step();
            return before;
        }
        var squares = new SumOfSquares();
        foreach (var gradient in gradients)
        {
            squares.Gradient = gradient;
            Simd.Run(Simd.Path, gradient.dtype, ref squares);
        }

        double norm = Math.Sqrt(squares.Sum),
            factor = largestNorm / (norm + 1e-6);
        if (factor > 1)
            factor = 1; // NaN stays
        if (noise is not null)
        {
            Add(noise, factor);
            factor = 1;
        }
        for (int i = 0; i < gradients.Length; i++)
        {
            _states[i].step++;
            var move = new Move(this, i, gradients[i], factor);
            Simd.Run(Simd.Path, gradients[i].dtype, ref move);
        }
        return norm;
    }

    private struct SumOfSquares : ISimdWork
    {
        public Tensor Gradient;
        public double Sum;

        public void Run<S, V, N, W, T>()
            where S : struct, ISimd<V, T>
            where V : struct
            where N : struct, ISimd<W, T>
            where W : struct
            where T : unmanaged, IBinaryFloatingPointIeee754<T> => Sum += Squares<S, V, T>(Gradient);
    }

    private readonly struct Move(ClippedAdam adam, int parameter, Tensor gradient, double factor) : ISimdWork
    {
        public void Run<S, V, N, W, T>()
            where S : struct, ISimd<V, T>
            where V : struct
            where N : struct, ISimd<W, T>
            where W : struct
            where T : unmanaged, IBinaryFloatingPointIeee754<T> =>
            adam.MoveParameter<S, V, T>(parameter, gradient, factor);
    }

    /// <summary>Takes the step by <see cref="CudaAdam"/>; null if it cannot, and then nothing is changed.</summary>
    private double? StepOnGpu(double largestNorm)
    {
        double rate = _optimizer.ParamGroups.First().LearningRate;
        if (_options is not { beta1: 0.9, beta2: 0.999, amsgrad: not true, maximize: not true } || rate == 0)
            return null;
        if (_states.Any(s => s.step != _states[0].step))
            return null;
        var pieces = new AdamPiece[_parameters.Length];
        for (int i = 0; i < pieces.Length; i++)
        {
            if (_parameters[i].grad is not { } grad)
                return null;
            pieces[i] = new(_parameters[i], grad, _states[i].exp_avg, _states[i].exp_avg_sq);
        }
        long step = _states[0].step + 1;
        double share = rate / (1 - Math.Pow(0.9, step));
        double a = -1 / (share * Math.Sqrt(1 - Math.Pow(0.999, step))),
            b = -_options.eps!.Value / share;
        if (
            CudaAdam.Step(pieces, largestNorm, _options.weight_decay!.Value, 1 - rate * _decoupled, a, b)
            is not { } norm
        )
        {
            return null;
        }
        foreach (var state in _states)
            state.step = step;
        return norm.ToDouble();
    }

    // A parameter without a gradient does not shrink, as in AdamW.
    private void Shrink()
    {
        using var quiet = no_grad();
        double kept = 1 - _optimizer.ParamGroups.First().LearningRate * _decoupled;
        foreach (var parameter in _parameters)
        {
            if (parameter.grad is not null)
                parameter.mul_(kept);
        }
    }

    /// <summary>g ← factor · g + noise.</summary>
    private void Add(Tensor noise, double factor)
    {
        using var quiet = no_grad();
        long at = 0;
        foreach (var parameter in _parameters)
        {
            long count = parameter.numel();
            parameter.grad?.mul_(factor).add_(noise.narrow(0, at, count).view(parameter.shape));
            at += count;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static double Squares<S, V, T>(Tensor gradient)
        where S : struct, ISimd<V, T>
        where V : struct
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        T* g = (T*)FusedTensors.Memory(gradient),
            parts = stackalloc T[S.Count];
        long n = gradient.numel(),
            i = 0;
        double sum = 0;
        while (i + S.Count <= n)
        {
            // Sums of blocks are added in float64; one long sum in float32 would lose digits.
            V block = S.All(T.Zero);
            for (long end = Math.Min(i + 128 * S.Count, n); i + S.Count <= end; i += S.Count)
            {
                V x = S.Load(g + i);
                block = S.MultiplyAdd(x, x, block);
            }
            S.Store(block, parts);
            for (int j = 0; j < S.Count; j++)
                sum += double.CreateTruncating(parts[j]);
        }
        for (; i < n; i++)
            sum += double.CreateTruncating(g[i] * g[i]);
        GC.KeepAlive(gradient);
        return sum;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void MoveParameter<S, V, T>(int i, Tensor gradient, double factor)
        where S : struct, ISimd<V, T>
        where V : struct
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        var state = _states[i];
        T* p = (T*)FusedTensors.Memory(_parameters[i]),
            g = (T*)FusedTensors.Memory(gradient),
            m = (T*)FusedTensors.Memory(state.exp_avg),
            v = (T*)FusedTensors.Memory(state.exp_avg_sq);
        double beta1 = _options.beta1!.Value,
            beta2 = _options.beta2!.Value,
            decay = _options.weight_decay!.Value;
        double rate = _optimizer.ParamGroups.First().LearningRate / (1 - Math.Pow(beta1, state.step)),
            root = Math.Sqrt(1 - Math.Pow(beta2, state.step));
        V f = S.Constant(factor),
            b1 = S.Constant(beta1),
            c1 = S.Constant(1 - beta1),
            b2 = S.Constant(beta2),
            c2 = S.Constant(1 - beta2);
        V d = S.Constant(decay),
            r = S.Constant(root),
            epsilon = S.Constant(_options.eps!.Value),
            lr = S.Constant(-rate);
        // The numbers left over at the end are copied to whole vectors, for the same arithmetic.
        int width = S.Count;
        T* rest = stackalloc T[4 * width];
        long n = gradient.numel();
        for (long k = 0; k < n; k += width)
        {
            int there = (int)Math.Min(width, n - k);
            T* pk = p + k,
                gk = g + k,
                mk = m + k,
                vk = v + k;
            if (there < width)
            {
                new Span<T>(rest, 4 * width).Clear();
                for (int j = 0; j < there; j++)
                    (rest[j], rest[width + j], rest[2 * width + j], rest[3 * width + j]) = (pk[j], gk[j], mk[j], vk[j]);
                pk = rest;
                gk = rest + width;
                mk = rest + 2 * width;
                vk = rest + 3 * width;
            }
            V theta = S.Load(pk),
                grad = S.Multiply(S.Load(gk), f);
            S.Store(grad, gk);
            if (decay != 0)
                grad = S.MultiplyAdd(theta, d, grad);
            V mean = S.MultiplyAdd(grad, c1, S.Multiply(S.Load(mk), b1)),
                square = S.MultiplyAdd(S.Multiply(grad, grad), c2, S.Multiply(S.Load(vk), b2));
            S.Store(mean, mk);
            S.Store(square, vk);
            S.Store(S.MultiplyAdd(lr, S.Divide(mean, S.Add(S.Divide(S.Sqrt(square), r), epsilon)), theta), pk);
            if (there < width)
            {
                for (int j = 0; j < there; j++)
                    (p[k + j], g[k + j], m[k + j], v[k + j]) = (pk[j], gk[j], mk[j], vk[j]);
            }
        }
        GC.KeepAlive(gradient);
    }
}
