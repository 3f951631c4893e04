using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace EmtTorch.Memory;

/// <summary>
/// A context that drifts from token to token, c_t = λ ⊙ c_{t−1} + U h_t, c_0 = 0, and is added to the next token:
/// h̃_t = h_t + W_c c_{t−1} (Polyn et al.; the source's 1.3). λ in (0, 1) is learned for each dimension. The context
/// depends on h and not on h̃, so that it is a linear scan: <see cref="ContextDrift"/>.
/// </summary>
/// <remarks>
/// The first λ are spaced evenly from 0.01, where c is hardly more than the last token, to 0.99, where it reaches a
/// hundred tokens back. U = diag(1 − λ) makes c a moving average of h. With W_c = I a token sees those before it in its
/// own coordinates.
/// </remarks>
internal sealed class DriftingContext : nn.Module
{
    private readonly Projection input,
        output; // U, W_c
    public readonly Parameter logit_decay; // (d): λ is its sigmoid

    public DriftingContext(BlockShape block)
        : base(nameof(DriftingContext))
    {
        long d = block.Width;
        input = new(d, d, block, hasBias: false);
        output = new(d, d, block, hasBias: false);
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        var decay = linspace(0.01, 0.99, d, dtype: ScalarType.Float64);
        logit_decay = new(decay.logit().to(block.Dtype));
        logit_decay.DetachFromDisposeScope();
        input.weight.copy_((1 - decay).diag());
        output.weight.copy_(eye(d));
        RegisterComponents();
        this.KeepParameters();
    }

    public Tensor FirstState(long batch, Device device) =>
        zeros(batch, logit_decay.shape[0], dtype: logit_decay.dtype, device: device);

    /// <param name="h">(B, T, d).</param>
    /// <param name="context">c before the first token (B, d).</param>
    /// <returns>h̃ (B, T, d), c of each token (B, T, d), and the last one (B, d).</returns>
    public (Tensor Coloured, Tensor Contexts, Tensor Last) forward(Tensor h, Tensor context)
    {
        using var scope = NewDisposeScope();
        long tokens = h.shape[1];
        var (driven, decay) = (input.forward(h), logit_decay.sigmoid());
        Tensor contexts,
            last;
        if (tokens == 1)
        {
            last = ContextDrift.Step(driven.squeeze(1), decay, context);
            contexts = last.unsqueeze(1);
        }
        else
        {
            (contexts, last) = ContextDrift.Scan(driven, decay, context);
        }

        var before =
            tokens <= 1
                ? context.unsqueeze(1).narrow(1, 0, tokens)
                : cat([context.unsqueeze(1), contexts.narrow(1, 0, tokens - 1)], 1);
        return (
            (h + output.forward(before)).MoveToOuterDisposeScope(),
            contexts.MoveToOuterDisposeScope(),
            last.MoveToOuterDisposeScope()
        );
    }
}
