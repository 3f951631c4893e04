using EmtTorch.Configuration;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace EmtTorch.Models;

/// <summary>W x + b, computed in the model's autocast type and given back in x's own. First weights are PyTorch's of a Linear: uniform within ±1/√inputs.</summary>
internal sealed class Projection : nn.Module<Tensor, Tensor>
{
    public readonly Parameter weight;  // (outputs, inputs)
    public readonly Parameter? bias;   // (outputs)
    private readonly ModelConfiguration _model;

    public Projection(long inputs, long outputs, ModelConfiguration model, ScalarType dtype, bool? hasBias = null) : base(nameof(Projection))
    {
        _model = model;
        double bound = 1 / Math.Sqrt(inputs);
        weight = new(empty([outputs, inputs], dtype: dtype).uniform_(-bound, bound));
        bias = hasBias ?? model.Bias ? new(zeros(outputs, dtype: dtype)) : null;
        RegisterComponents();
        this.KeepParameters();
    }

    public override Tensor forward(Tensor x) => Multiply(x, weight, bias, _model);

    /// <summary>W x + b for any weights.</summary>
    public static Tensor Multiply(Tensor x, Tensor weight, Tensor? bias, ModelConfiguration model)
    {
        if (model.Autocast is null) return nn.functional.linear(x, weight, bias);
        using var scope = NewDisposeScope();
        return nn.functional.linear(x.to(ScalarType.BFloat16), weight.to(ScalarType.BFloat16), bias?.to(ScalarType.BFloat16)).to(x.dtype).MoveToOuterDisposeScope();
    }
}
