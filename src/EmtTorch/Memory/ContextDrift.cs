using static TorchSharp.torch;

namespace EmtTorch.Memory;

/// <summary>c of each token (B, T, d), c before each token (B, T, d), and the last c (B, d).</summary>
internal readonly record struct DriftedContexts(Tensor Contexts, Tensor Earlier, Tensor Last);

/// <summary>
/// The recurrence of a drifting context, c_t = λ ⊙ c_{t−1} + x_t, with λ in (0, 1) for each dimension: for one token,
/// or for a whole sequence at once.
/// </summary>
/// <remarks>
/// bfloat16 and float16 are computed in float32. The contexts have the type of x, and the last one has the type of c_0.
/// </remarks>
/// <example><code>
/// var (contexts, last) = ContextDrift.Scan(x, decay, zeros([B, d]));   // (B, T, d), (B, d)
/// last = ContextDrift.Step(next, decay, last);                        // one more token
/// </code></example>
public static class ContextDrift
{
    /// <summary>Computes c after one token.</summary>
    /// <param name="x">The input, U h_t (B, d).</param>
    /// <param name="decay">λ (d).</param>
    /// <param name="context">c_{t−1} (B, d).</param>
    /// <returns>c_t (B, d), of c_{t−1}'s type, differentiable by autograd.</returns>
    /// <exception cref="ArgumentException">Shapes do not agree.</exception>
    public static Tensor Step(Tensor x, Tensor decay, Tensor context)
    {
        Require.Shape(x, [Require.Any, Require.Any]);
        Check(x, decay, context);
        using var scope = NewDisposeScope();
        var type = FastWeights.Computed(x.dtype);
        return (decay.to(type) * context.to(type) + x.to(type)).to(context.dtype).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Computes c after each token of a sequence. Differentiable once, in every tensor; only c is kept for that.
    /// </summary>
    /// <param name="x">The input at each token, U h (B, T, d).</param>
    /// <param name="decay">λ (d).</param>
    /// <param name="context">c_0 (B, d).</param>
    /// <returns>c (B, T, d) and c_T (B, d); for T = 0 an empty c and c_0.</returns>
    /// <exception cref="ArgumentException">Shapes do not agree.</exception>
    public static (Tensor Contexts, Tensor Last) Scan(Tensor x, Tensor decay, Tensor context)
    {
        var (contexts, earlier, last) = ScanTokens(x, decay, context);
        earlier.Dispose();
        return (contexts, last);
    }

    /// <summary>The same with c before each token (B, T, d).</summary>
    internal static DriftedContexts ScanTokens(Tensor x, Tensor decay, Tensor context)
    {
        Require.Shape(x, [Require.Any, Require.Any, Require.Any]);
        Check(x, decay, context);
        long tokens = x.shape[1];
        if (tokens == 0)
            return new(x.clone(), x.clone(), context.alias());
        using var scope = NewDisposeScope();
        var type = FastWeights.Computed(x.dtype);
        var found = ContextDriftScan.Apply(x.to(type), decay.to(type), context.to(type));
        var last = found[0].select(1, tokens - 1).to(context.dtype, copy: true); // a view would keep all of c alive
        return new(
            found[0].to(x.dtype).MoveToOuterDisposeScope(),
            found[1].to(x.dtype).MoveToOuterDisposeScope(),
            last.MoveToOuterDisposeScope()
        );
    }

    private static void Check(Tensor x, Tensor decay, Tensor context)
    {
        Require.Shape(decay, [x.shape[^1]]);
        Require.Shape(context, [x.shape[0], x.shape[^1]]);
        Require.FloatingTogether((x, nameof(x)), (decay, nameof(decay)), (context, nameof(context)));
    }
}
