using static TorchSharp.torch;

namespace EmtTorch.Kernels;

/// <summary>
/// All steps of h(t+1) = tanh(W_hh h(t) + W_uh u(t) + b), h(0) = 0, as one function of autograd. A graph of single
/// steps would take three products for weight gradients at each step. Here each weight's gradient is one product over
/// all steps:
/// <code>
/// δ(t) = (1 − h(t)²) ∘ (∂L/∂h(t) + W_hhᵀ δ(t+1))
/// dW_hh = Σ δ(t+1) h(t)ᵀ,  dW_uh = Σ δ(t+1) u(t)ᵀ,  db = Σ δ(t),  du(t) = W_uhᵀ δ(t+1)
/// </code>
/// In float32 and float64 <see cref="FusedElman"/> computes both directions on the CPU, and <see cref="CudaElman"/> the
/// recurrence on a GPU. Otherwise Torch's operators compute it step by step.
/// </summary>
/// <remarks>Arguments: input (S, B, κ), W_uh (H, κ), W_hh (H, H), steps T ≥ S as a long, and optionally b (H). Result:
/// (T, B, H). Differentiable once.</remarks>
internal sealed class ElmanRecurrence : TorchFunction<ElmanRecurrence>
{
    protected override List<Tensor> Forward(ISavedForBackward ctx, object[] arguments)
    {
        Tensor input = (Tensor)arguments[0],
            weightIh = (Tensor)arguments[1],
            weightHh = (Tensor)arguments[2];
        var bias = arguments.Length > 4 ? (Tensor)arguments[4] : null;
        long steps = (long)arguments[3];
        Check(input, weightIh, weightHh, bias, steps);

        long batch = input.shape[1],
            hidden = weightHh.shape[0];
        var dense = input.contiguous();
        Tensor[] given = bias is null ? [dense, weightIh, weightHh] : [dense, weightIh, weightHh, bias];
        Tensor states; // (T, B, H)
        if (FusedTensors.Fit(steps * batch * hidden, given))
        {
            states = FusedTensors.States(dense, weightIh, weightHh, bias, steps);
        }
        else
        {
            using var scope = NewDisposeScope();
            // The part that does not depend on h, for all steps at once.
            var drive = matmul(input, weightIh.t()); // (S, B, H)
            if (bias is not null)
                drive.add_(bias);
            states = (
                CudaElman
                    .States(drive.unsqueeze(0), weightHh.unsqueeze(0), bias?.unsqueeze(0), steps, lengths: null)
                    ?.squeeze(0)
                ?? States(drive, weightHh, bias, steps)
            ).MoveToOuterDisposeScope();
        }
        ctx.save_for_backward([input, weightIh, weightHh, states]);
        ctx.save_data("bias", bias is not null);
        return [states];
    }

    /// <summary>Computes h(1) … h(T) by Torch's operators, from W_uh u + b of the first steps (S, B, H).</summary>
    private static Tensor States(Tensor drive, Tensor weightHh, Tensor? bias, long steps)
    {
        long inputSteps = drive.shape[0];
        var states = empty([steps, .. drive.shape[1..]], dtype: drive.dtype, device: drive.device); // (T, B, H)
        var transposed = weightHh.t();
        // First the drive, to which the recurrence is then added in place.
        if (inputSteps > 0)
            states.narrow(0, 0, inputSteps).copy_(drive);
        if (bias is not null)
            states.narrow(0, inputSteps, steps - inputSteps).copy_(bias);
        var h = states.unbind(0); // T × (B, H)
        for (int t = 0; t < h.Length; t++)
        {
            // After the input and without a bias there is no drive: beta = 0 overwrites the uninitialized memory.
            if (t > 0)
                h[t].addmm_(h[t - 1], transposed, beta: t < inputSteps || bias is not null ? 1 : 0);
            else if (inputSteps == 0 && bias is null)
                h[t].zero_();
            h[t].tanh_();
        }
        return states;
    }

    /// <summary>Checks the arguments.</summary>
    /// <exception cref="ArgumentException">Shapes, types or devices do not fit, or there are fewer steps than
    /// inputs.</exception>
    internal static void Check(Tensor input, Tensor weightIh, Tensor weightHh, Tensor? bias, long steps)
    {
        Require.Floating(input);
        Require.Shape(weightIh, [Require.Any, Require.Any]);
        long hidden = weightIh.shape[0];
        Require.Shape(input, [Require.Any, Require.Any, weightIh.shape[1]]);
        Require.Shape(weightHh, [hidden, hidden]);
        foreach (var weight in (ReadOnlySpan<Tensor>)[weightIh, weightHh])
            Require.Like(input, weight);
        if (bias is not null)
        {
            Require.Shape(bias, [hidden]);
            Require.Like(bias, input);
        }
        if (steps < input.shape[0])
            throw new ArgumentException($"has {steps} steps, fewer than the input's {input.shape[0]}", nameof(steps));
    }

    protected override List<Tensor?> Backward(
        autograd.AutogradContext ctx,
        List<Tensor> saved,
        IReadOnlyList<Tensor?> gradients
    )
    {
        var ofStates = gradients[0]!; // not null, since it belongs to the only result
        Tensor input = saved[0],
            weightIh = saved[1],
            weightHh = saved[2],
            states = saved[3];
        long steps = states.shape[0],
            inputSteps = input.shape[0];
        bool hasBias = (bool)ctx.get_data("bias");
        var dense = input.contiguous();
        if (FusedTensors.Fit(states.numel(), [dense, weightIh, weightHh, states]))
        {
            var (du, dIh, dHh, db) = FusedTensors.Gradients(
                dense,
                weightIh,
                weightHh,
                states,
                ofStates.contiguous(),
                input.requires_grad,
                hasBias
            );
            return hasBias ? [du, dIh, dHh, null, db] : [du, dIh, dHh, null];
        }

        var delta =
            CudaElman
                .Deltas(ofStates.unsqueeze(0), weightHh.unsqueeze(0), states.unsqueeze(0), lengths: null)
                ?.squeeze(0)
            ?? Deltas(ofStates, weightHh, states); // (T, B, H)
        var after = delta.narrow(0, 1, steps - 1).flatten(0, 1); // δ(2) … δ(T), all sequences' in one dimension
        var before = states.narrow(0, 0, steps - 1).flatten(0, 1); // h(1) … h(T−1)
        var first = delta.narrow(0, 0, inputSteps).flatten(0, 1); // δ(1) … δ(S)
        List<Tensor?> found =
        [
            input.requires_grad ? matmul(first, weightIh).view(input.shape) : null,
            matmul(first.t(), input.flatten(0, 1)),
            matmul(after.t(), before),
            null, // steps
        ];
        if (hasBias)
            found.Add(delta.sum([0L, 1L]));
        return found;
    }

    /// <summary>Computes δ(1) … δ(T) by Torch's operators, from ∂L/∂h (T, B, H).</summary>
    private static Tensor Deltas(Tensor ofStates, Tensor weightHh, Tensor states)
    {
        var squares = states.square(); // h², (T, B, H)
        var delta = ofStates.contiguous().clone(); // becomes δ, (T, B, H)
        Tensor[] d = delta.unbind(0),
            h2 = squares.unbind(0); // T × (B, H)
        for (int t = d.Length - 1; t >= 0; t--)
        {
            if (t < d.Length - 1)
                d[t].addmm_(d[t + 1], weightHh);
            d[t].addcmul_(d[t], h2[t], -1); // times 1 − h²
        }
        return delta;
    }
}
