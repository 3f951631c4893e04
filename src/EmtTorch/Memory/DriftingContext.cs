using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace EmtTorch.Memory;

/// <summary>
/// A context that drifts from token to token, c_t = λ ⊙ c_{t−1} + U h_t, c_0 = 0, and joins the next token: h̃_t = h_t
/// + W_c c_{t−1}, or [h_t; c_{t−1}] (Polyn et al.; the source's 1.3). λ in (0, 1) is learned: one for each dimension,
/// or one for all, as in the source. The context depends on h and not on h̃, so that it is a linear scan: <see
/// cref="ContextDrift"/>.
/// </summary>
/// <remarks>
/// The first λ are spaced evenly from 0.01, where c is hardly more than the last token, to 0.99, where it reaches a
/// hundred tokens back. U = diag(1 − λ) makes c a moving average of h. With W_c = I a token sees those before it in its
/// own coordinates. A λ for all dimensions begins at 0.5, the middle of these.
/// </remarks>
internal sealed class DriftingContext : nn.Module
{
    private readonly Projection input; // U
    private readonly Projection? output; // W_c; null for concatenation
    public readonly Parameter logit_decay; // (d), or (1): λ is its sigmoid
    private readonly long _width;

    /// <param name="block">The sizes of the block.</param>
    /// <param name="sharesRate">Whether all dimensions have one λ.</param>
    public DriftingContext(BlockShape block, bool sharesRate = false)
        : base(nameof(DriftingContext))
    {
        long d = _width = block.Width;
        input = new(d, d, block, hasBias: false);
        output = ContextJoin.Create(block);
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        var decay = sharesRate
            ? full(1, 0.5, dtype: ScalarType.Float64)
            : linspace(0.01, 0.99, d, dtype: ScalarType.Float64);
        logit_decay = new(decay.logit().to(block.Dtype));
        logit_decay.DetachFromDisposeScope();
        input.weight.copy_((1 - decay).expand(d).diag());
        RegisterComponents();
        this.KeepParameters();
    }

    public Tensor FirstState(long batch, Device device) =>
        zeros(batch, _width, dtype: logit_decay.dtype, device: device);

    /// <param name="h">(B, T, d).</param>
    /// <param name="context">c before the first token (B, d).</param>
    /// <returns>h̃ (B, T, HiddenWidth), c of each token (B, T, d), and the last one (B, d).</returns>
    public (Tensor Coloured, Tensor Contexts, Tensor Last) forward(Tensor h, Tensor context)
    {
        using var scope = NewDisposeScope();
        long tokens = h.shape[1];
        var (driven, decay) = (input.forward(h), logit_decay.sigmoid());
        if (decay.shape[0] < _width)
            decay = decay.expand(_width);
        Tensor contexts,
            before,
            last;
        if (tokens == 1)
        {
            last = ContextDrift.Step(driven.squeeze(1), decay, context);
            (contexts, before) = (last.unsqueeze(1), context.unsqueeze(1));
        }
        else
        {
            (contexts, before, last) = ContextDrift.ScanTokens(driven, decay, context);
        }
        return (
            ContextJoin.Of(output, h, before).MoveToOuterDisposeScope(),
            contexts.MoveToOuterDisposeScope(),
            last.MoveToOuterDisposeScope()
        );
    }
}
