using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Kernels;

/// <summary>The weights of an Elman network.</summary>
/// <param name="Input">W_uh (H, κ).</param>
/// <param name="Recurrent">W_hh (H, H).</param>
/// <param name="Bias">b (H).</param>
/// <param name="Readout">W_r (κ, H).</param>
/// <param name="ReadoutBias">(κ).</param>
internal readonly record struct ElmanWeights(
    Tensor Input,
    Tensor Recurrent,
    Tensor? Bias,
    Tensor Readout,
    Tensor? ReadoutBias
);

/// <summary>
/// ∂L/∂u (null if not wanted), ∂L/∂W_uh, ∂L/∂W_hh, and ∂L/∂b (null without a bias), with the shapes of the arguments.
/// </summary>
internal readonly record struct ElmanGradients(
    Tensor? Input,
    Tensor InputWeights,
    Tensor RecurrentWeights,
    Tensor? Bias
);

/// <summary>Calls <see cref="FusedElman"/> on tensors, whose memory it reads and writes in place.</summary>
internal static unsafe class FusedTensors
{
    /// <summary>
    /// The address of a contiguous CPU tensor; null for no tensor. The tensor must be kept alive while it is used.
    /// </summary>
    public static void* Memory(Tensor? tensor) =>
        tensor is null ? null : Unsafe.AsPointer(ref MemoryMarshal.GetReference(tensor.bytes));

    /// <summary>Whether all are contiguous and <see cref="Served"/>.</summary>
    public static bool Fits(params ReadOnlySpan<Tensor> tensors)
    {
        foreach (var tensor in tensors)
        {
            if (!tensor.is_contiguous())
                return false;
        }

        return Served(tensors);
    }

    /// <summary>
    /// Whether all are on the CPU, of one dtype that the kernels have, and no larger than a span can be.
    /// </summary>
    public static bool Served(params ReadOnlySpan<Tensor> tensors)
    {
        var dtype = tensors[0].dtype;
        if (!Simd.Used || !FusedElman.Covers(dtype))
            return false;
        foreach (var tensor in tensors)
        {
            if (tensor.device_type != DeviceType.CPU || tensor.dtype != dtype || tensor.numel() * 8 > int.MaxValue)
                return false;
        }

        return true;
    }

    /// <summary>Whether the kernel can compute the recurrence. Without any state there is nothing to compute.</summary>
    public static bool Fit(long states, params ReadOnlySpan<Tensor> tensors) =>
        states is > 0 and <= int.MaxValue / 8 && Fits(tensors);

    /// <summary>Computes h(1) … h(T), (T, B, H).</summary>
    public static Tensor States(Tensor input, Tensor inputWeights, Tensor recurrentWeights, Tensor? bias, long steps)
    {
        var states = empty([steps, input.shape[1], recurrentWeights.shape[0]], dtype: input.dtype);
        var call = Call(input, inputWeights, recurrentWeights, steps);
        call.Bias = Memory(bias);
        call.States = Memory(states);
        FusedElman.Run(Simd.Path, input.dtype, call, get_num_threads());
        Keep(input, inputWeights, recurrentWeights, bias);
        return states;
    }

    /// <summary>Computes the gradients from ∂L/∂h (T, B, H).</summary>
    public static ElmanGradients Gradients(
        Tensor input,
        Tensor inputWeights,
        Tensor recurrentWeights,
        Tensor states,
        Tensor given,
        bool wantsInput,
        bool hasBias
    )
    {
        var call = Call(input, inputWeights, recurrentWeights, states.shape[0]);
        Tensor Like(Tensor other) => empty(other.shape, dtype: other.dtype);
        Tensor? u = wantsInput ? Like(input) : null,
            b = hasBias ? empty(recurrentWeights.shape[0], dtype: input.dtype) : null;
        Tensor ih = Like(inputWeights),
            hh = Like(recurrentWeights);
        call.KnownStates = Memory(states);
        call.StatesGradient = Memory(given);
        call.InputGradient = Memory(u);
        call.InputWeightsGradient = Memory(ih);
        call.RecurrentWeightsGradient = Memory(hh);
        call.BiasGradient = Memory(b);
        FusedElman.Run(Simd.Path, input.dtype, call, get_num_threads());
        Keep(input, inputWeights, recurrentWeights, states);
        GC.KeepAlive(given);
        return new(u, ih, hh, b);
    }

    /// <summary>
    /// Computes a batch's loss and accuracy, and writes the gradients to the weights' grads; null if the kernel cannot.
    /// </summary>
    /// <param name="weights">The network's weights.</param>
    /// <param name="input">u (S, B, κ); after step S the input is zero.</param>
    /// <param name="target">y* (T − from, B, κ).</param>
    /// <param name="from">The first step whose output counts.</param>
    /// <param name="gradients">Whether the gradients are wanted.</param>
    /// <param name="times">The times that those of this call are added to, or null.</param>
    public static (double Loss, double Accuracy)? Score(
        ElmanWeights weights,
        Tensor input,
        Tensor target,
        long from,
        bool gradients,
        PhaseTimes? times
    )
    {
        var (ih, hh, bias, readout, readoutBias) = weights;
        long steps = from + target.shape[0];
        ElmanRecurrence.Check(input, ih, hh, bias, steps);
        long batch = input.shape[1],
            hidden = hh.shape[0];
        Require.Shape(target, [Require.Any, batch, readout.shape[0]]);
        if (target.numel() == 0 || !Fit(steps * batch * hidden, ih, hh, readout, input, target))
            return null;

        var call = Call(input, ih, hh, steps);
        call.From = (int)from;
        call.Outputs = (int)readout.shape[0];
        call.Bias = Memory(bias);
        call.Readout = Memory(readout);
        call.ReadoutBias = Memory(readoutBias);
        call.Target = Memory(target);
        if (gradients)
        {
            call.InputWeightsGradient = Grad(ih);
            call.RecurrentWeightsGradient = Grad(hh);
            call.BiasGradient = Grad(bias);
            call.ReadoutGradient = Grad(readout);
            call.ReadoutBiasGradient = Grad(readoutBias);
        }
        var score = FusedElman.Run(Simd.Path, input.dtype, call, get_num_threads(), times);
        Keep(input, target, ih, hh);
        Keep(readout, readout, bias, readoutBias);
        double count = target.numel();
        return (score.SquaredError / count, score.RightSigns / count);
    }

    private static ElmanCall Call(Tensor input, Tensor inputWeights, Tensor recurrentWeights, long steps) =>
        new()
        {
            Steps = checked((int)steps),
            InputSteps = (int)input.shape[0],
            Batch = (int)input.shape[1],
            Inputs = (int)inputWeights.shape[1],
            Hidden = (int)recurrentWeights.shape[0],
            Input = Memory(input),
            InputWeights = Memory(inputWeights),
            RecurrentWeights = Memory(recurrentWeights),
        };

    // The memory of the gradient. A missing gradient is created, and then used at every step.
    private static void* Grad(Tensor? parameter)
    {
        if (parameter is null)
            return null;
        if (parameter.grad is { } grad && Fits(grad, parameter))
            return Memory(grad);
        using var quiet = no_grad();
        using var made = zeros_like(parameter);
        parameter.grad = made;
        return Memory(parameter.grad);
    }

    private static void Keep(Tensor a, Tensor b, Tensor? c, Tensor? d)
    {
        GC.KeepAlive(a);
        GC.KeepAlive(b);
        GC.KeepAlive(c);
        GC.KeepAlive(d);
    }
}
