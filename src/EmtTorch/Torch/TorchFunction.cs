using System.Runtime.ExceptionServices;
using static TorchSharp.torch;

namespace EmtTorch;

/// <summary>
/// A function of autograd with a backward of its own, over TorchSharp's. It keeps from its subclasses what TorchSharp
/// 0.107 does wrong there; each workaround below names the defect, so that it can go when that is mended.
/// </summary>
/// <typeparam name="T">The function itself.</typeparam>
/// <remarks>
/// Differentiable once: backward runs without a graph of its own, and with `create_graph` it fails.
/// A subclass is used through <see cref="Apply"/>, never through TorchSharp's `apply`. An exception in forward comes
/// out of Apply as it is. One in backward comes out of <see cref="BackwardCall"/> as it is, and out of
/// `Tensor.backward` as Torch's exception of an invalid gradient. TorchSharp's `autograd.grad` lets no error of Torch
/// through and ends the process:
/// <see cref="BackwardCall.Gradients"/>
/// is there in its place.
/// </remarks>
internal abstract class TorchFunction<T> : autograd.MultiTensorFunction<T>
    where T : TorchFunction<T>, new()
{
    [ThreadStatic]
    private static ExceptionDispatchInfo? s_forwardFailure;

    public override string Name => typeof(T).Name;

    /// <summary>The function's results.</summary>
    /// <param name="ctx">Takes what backward needs, with `save_for_backward` and `save_data`.</param>
    /// <param name="arguments">As they were given to <see cref="Apply"/>.</param>
    protected abstract List<Tensor> Forward(autograd.AutogradContext ctx, object[] arguments);

    /// <summary>The gradients in the arguments, in their order; null for what is not a tensor or needs none.</summary>
    /// <param name="ctx">What forward saved.</param>
    /// <param name="saved">The tensors that forward saved.</param>
    /// <param name="gradients">Those in the results; null is a gradient of zeros. One of them at least is not
    /// null.</param>
    protected abstract List<Tensor?> Backward(
        autograd.AutogradContext ctx,
        List<Tensor> saved,
        IReadOnlyList<Tensor?> gradients
    );

    /// <summary>Calls the function.</summary>
    /// <param name="arguments">Tensors and whatever else forward takes.</param>
    public static List<Tensor> Apply(params object[] arguments)
    {
        // TorchSharp makes an `empty_like` of each result in the caller's scope, to be used as a gradient that is not
        // there. In a scope of its own it is gone at once; materialize_grads(false) keeps it from being used.
        using var scope = NewDisposeScope();
        var results = apply(arguments);
        var failure = s_forwardFailure;
        s_forwardFailure = null;
        failure?.Throw();
        foreach (var result in results)
            result.MoveToOuterDisposeScope();
        return results;
    }

    public sealed override List<Tensor> forward(autograd.AutogradContext ctx, params object[] vars)
    {
        ctx.set_materialize_grads(false);
        ctx.save_data("tensors", Array.ConvertAll(vars, v => v is Tensor { IsInvalid: false }));
        ctx.save_data("call", BackwardCall.OfThisThread);
        try
        {
            return Forward(ctx, vars);
        }
        catch (Exception e)
        {
            // An exception that leaves here keeps the node and its arguments alive for ever. Apply throws it.
            s_forwardFailure = ExceptionDispatchInfo.Capture(e);
            ctx.save_for_backward([]);
            return [zeros(1)];
        }
    }

    public sealed override List<Tensor> backward(autograd.AutogradContext ctx, List<Tensor> grad_outputs)
    {
        BackwardCall.FreeReturned();
        var isTensor = (bool[])ctx.get_data("tensors");
        var given = grad_outputs.ConvertAll(g => g is null || g.IsInvalid ? null : g);
        // On the CPU backward runs on the thread that asks for it. Other devices have a thread of the engine's own.
        bool onCpu = given.All(g => g is null || g.device_type == TorchSharp.DeviceType.CPU);
        var call = onCpu ? BackwardCall.OfThisThread : (BackwardCall)ctx.get_data("call");
        try
        {
            if (given.TrueForAll(g => g is null))
                return [.. isTensor.Select(_ => (Tensor)null!)];
            // The engine turns it on for create_graph, and off otherwise.
            if (is_grad_enabled())
                throw new NotSupportedException($"{Name} is differentiable once: create_graph cannot be used with it");
            using var scope = NewDisposeScope();
            var found = Backward(ctx, ctx.get_saved_variables(), given);
            // A wrong number of gradients, or one where there is no tensor, ends the process.
            if (found.Count != isTensor.Length || found.Where((g, i) => g is not null && !isTensor[i]).Any())
            {
                throw new InvalidOperationException(
                    $"{Name} returned {found.Count} gradients for {isTensor.Length} arguments, or one for an "
                        + "argument that is no tensor"
                );
            }

            BackwardCall.FreeLater([.. found.OfType<Tensor>()]);
            // Torch's own nodes give up what they saved here; TorchSharp's keep it as long as the loss lives.
            if (call.IsLastUse)
                ctx.Dispose();
            return found.ConvertAll(g => g!);
        }
        catch (Exception e)
        {
            // An exception that leaves here crosses native frames and ends the process.
            call.Note(e);
            if (call.IsQuiet)
                return [.. isTensor.Select(_ => (Tensor)null!)];
            var invalid = BackwardCall.InvalidGradient();
            return [.. isTensor.Select(t => t ? invalid : null!)];
        }
        finally
        {
            foreach (var gradient in grad_outputs)
                gradient?.Dispose();
        }
    }

    /// <summary>Zeros for a gradient that is not there.</summary>
    protected static Tensor OrZeros(Tensor? gradient, long[] shape, Tensor like) =>
        gradient ?? zeros(shape, dtype: like.dtype, device: like.device);
}
