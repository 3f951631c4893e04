using static TorchSharp.torch;

namespace EmtTorch.Kernels;

/// <summary>y = x Wᵀ + b or r + x Wᵀ as one function of autograd on the CPU, by <see cref="LinearKernel"/>.</summary>
/// <remarks>Arguments: x (…, I), W (O, I), and b (O) or r (…, O) where there is one. Result: y (…, O).</remarks>
internal sealed unsafe class LinearProduct : TorchFunction<LinearProduct>
{
    protected override List<Tensor> Forward(ISavedForBackward ctx, object[] arguments)
    {
        Tensor x = ((Tensor)arguments[0]).contiguous(),
            weights = ((Tensor)arguments[1]).contiguous();
        var added = arguments.Length > 2 ? ((Tensor)arguments[2]).contiguous() : null;
        var call = Call(x, weights);
        var output = empty([.. x.shape[..^1], call.Outputs], dtype: x.dtype);
        if (added?.dim() == 1)
            call.Bias = FusedTensors.Memory(added);
        else
            call.Onto = FusedTensors.Memory(added);
        call.Output = FusedTensors.Memory(output);
        LinearKernel.Run(x.dtype, call, back: false);
        GC.KeepAlive((x, weights, added));
        ctx.save_data("bias", call.Bias != null);
        ctx.save_data("wanted", Array.ConvertAll(arguments, a => ((Tensor)a).requires_grad));
        ctx.save_for_backward([x, weights]);
        return [output];
    }

    protected override List<Tensor?> Backward(
        autograd.AutogradContext ctx,
        List<Tensor> saved,
        IReadOnlyList<Tensor?> gradients
    )
    {
        var (x, weights, ofOutput) = (saved[0], saved[1], gradients[0]!.contiguous());
        var wanted = (bool[])ctx.get_data("wanted");
        var call = Call(x, weights);
        Tensor? ofInput = wanted[0] ? empty_like(x) : null,
            ofWeights = wanted[1] ? empty_like(weights) : null,
            ofAdded = wanted.Length < 3 || !wanted[2] ? null
            : (bool)ctx.get_data("bias") ? empty(call.Outputs, dtype: x.dtype)
            : gradients[0]!.alias();
        call.OfOutput = FusedTensors.Memory(ofOutput);
        call.OfInput = FusedTensors.Memory(ofInput);
        call.OfWeights = FusedTensors.Memory(ofWeights);
        if (ofAdded?.dim() == 1)
            call.OfBias = FusedTensors.Memory(ofAdded);
        LinearKernel.Run(x.dtype, call, back: true);
        GC.KeepAlive((x, weights, ofOutput));
        return wanted.Length > 2 ? [ofInput, ofWeights, ofAdded] : [ofInput, ofWeights];
    }

    private static LinearCall Call(Tensor x, Tensor weights) =>
        new()
        {
            Rows = (int)(x.numel() / weights.shape[1]),
            Inputs = (int)weights.shape[1],
            Outputs = (int)weights.shape[0],
            Input = FusedTensors.Memory(x),
            Weights = FusedTensors.Memory(weights),
        };
}
