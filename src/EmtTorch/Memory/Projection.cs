using EmtTorch.Kernels;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace EmtTorch.Memory;

/// <summary>
/// W x + b. It is computed in bfloat16 if the block says so, and has the type of x. The first weights are those of
/// PyTorch's Linear: uniform within ±1/√inputs.
/// </summary>
internal sealed class Projection : nn.Module<Tensor, Tensor>
{
    public readonly Parameter weight; // (outputs, inputs)
    public readonly Parameter? bias; // (outputs)
    private readonly bool _autocast;

    public Projection(long inputs, long outputs, BlockShape block, bool? hasBias = null)
        : base(nameof(Projection))
    {
        _autocast = block.Autocast;
        double bound = 1 / Math.Sqrt(inputs);
        weight = new(empty([outputs, inputs], dtype: block.Dtype).uniform_(-bound, bound));
        bias = hasBias ?? block.Bias ? new(zeros(outputs, dtype: block.Dtype)) : null;
        RegisterComponents();
        this.KeepParameters();
    }

    public override Tensor forward(Tensor x) => Multiply(x, weight, bias, _autocast);

    /// <summary>r + W x + b, for r of the result's shape.</summary>
    public Tensor AddTo(Tensor r, Tensor x)
    {
        Require.Shape(r, [.. x.shape[..^1], weight.shape[0]]);
        if (!_autocast && bias is null && LinearKernel.Fits(x, weight, r))
            return LinearProduct.Apply(x, weight, r)[0];
        using var scope = NewDisposeScope();
        return (r + forward(x)).MoveToOuterDisposeScope();
    }

    /// <summary>W x + b for any weights.</summary>
    public static Tensor Multiply(Tensor x, Tensor weight, Tensor? bias, bool autocast)
    {
        if (!autocast)
        {
            if (!LinearKernel.Fits(x, weight, bias))
                return nn.functional.linear(x, weight, bias);
            return bias is null ? LinearProduct.Apply(x, weight)[0] : LinearProduct.Apply(x, weight, bias)[0];
        }
        using var scope = NewDisposeScope();
        return nn
            .functional.linear(x.to(ScalarType.BFloat16), weight.to(ScalarType.BFloat16), bias?.to(ScalarType.BFloat16))
            .to(x.dtype)
            .MoveToOuterDisposeScope();
    }
}
