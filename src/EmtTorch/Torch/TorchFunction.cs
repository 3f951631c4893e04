using System.Runtime.ExceptionServices;
using static TorchSharp.torch;

namespace EmtTorch;

/// <summary>
/// A function of autograd with its own backward. It works around the defects of TorchSharp 0.107 in such functions;
/// each workaround names its defect, so that it can be removed when that is fixed.
/// </summary>
/// <typeparam name="T">The function itself.</typeparam>
/// <remarks>
/// The function is differentiable once: with `create_graph` backward fails. It is called by <see cref="Apply"/>, never
/// by TorchSharp's `apply`. Apply throws an exception of forward as it is. <see cref="BackwardCall"/> throws an
/// exception of backward as it is; `Tensor.backward` throws Torch's exception of an invalid gradient in its place.
/// TorchSharp's `autograd.grad` ends the process on any error of Torch; <see cref="BackwardCall.Gradients"/> replaces
/// it.
/// </remarks>
internal abstract class TorchFunction<T> : autograd.MultiTensorFunction<T>
    where T : TorchFunction<T>, new()
{
    [ThreadStatic]
    private static ExceptionDispatchInfo? s_forwardFailure;

    private static readonly T s_alone = new();

    public override string Name => typeof(T).Name;

    /// <summary>Computes the function's results.</summary>
    /// <param name="ctx">Keeps what backward needs.</param>
    /// <param name="arguments">The arguments of <see cref="Apply"/>.</param>
    protected abstract List<Tensor> Forward(ISavedForBackward ctx, object[] arguments);

    /// <summary>
    /// Computes the gradient for each argument; null if the argument is not a tensor or needs none.
    /// </summary>
    /// <param name="ctx">The data that forward saved.</param>
    /// <param name="saved">The tensors that forward saved.</param>
    /// <param name="gradients">The gradient for each result; null stands for zeros. At least one is not null.</param>
    protected abstract List<Tensor?> Backward(
        autograd.AutogradContext ctx,
        List<Tensor> saved,
        IReadOnlyList<Tensor?> gradients
    );

    /// <summary>Calls the function.</summary>
    /// <param name="arguments">Tensors and other arguments of forward.</param>
    public static List<Tensor> Apply(params object[] arguments)
    {
        // For each result TorchSharp makes an `empty_like` in the caller's scope, to use it for a missing gradient. In
        // this scope it is disposed of at once, and materialize_grads(false) prevents its use.
        using var scope = NewDisposeScope();
        if (!Array.Exists(arguments, a => a is Tensor { requires_grad: true }) || !is_grad_enabled())
        {
            // Autograd has nothing to do here, and takes longer than a short function.
            using var quiet = no_grad();
            var alone = s_alone.Forward(NothingIsSaved.ForBackward, arguments);
            return alone.ConvertAll(r => r.MoveToOuterDisposeScope());
        }
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
            return Forward(new SavedByTorch(ctx), vars);
        }
        catch (Exception e)
        {
            // An exception that leaves this method would keep the node and its arguments alive for ever. Apply throws
            // it.
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
        // On the CPU backward runs on the thread that asks for it; for other devices the engine has threads of its own.
        bool onCpu = given.All(g => g is null || g.device_type == TorchSharp.DeviceType.CPU);
        var call = onCpu ? BackwardCall.OfThisThread : (BackwardCall)ctx.get_data("call");
        try
        {
            if (given.TrueForAll(g => g is null))
                return [.. isTensor.Select(_ => (Tensor)null!)];
            // The engine enables gradients only for create_graph.
            if (is_grad_enabled())
                throw new NotSupportedException($"{Name} is differentiable once: create_graph cannot be used with it");
            using var scope = NewDisposeScope();
            var found = Backward(ctx, ctx.get_saved_variables(), given);
            // A wrong number of gradients, or one for an argument that is no tensor, would end the process.
            if (found.Count != isTensor.Length || found.Where((g, i) => g is not null && !isTensor[i]).Any())
            {
                throw new InvalidOperationException(
                    $"{Name} returned {found.Count} gradients for {isTensor.Length} arguments, or one for an "
                        + "argument that is no tensor"
                );
            }

            BackwardCall.FreeLater([.. found.OfType<Tensor>()]);
            // Torch's own nodes free what they saved at this point; TorchSharp's would keep it as long as the loss.
            if (call.IsLastUse)
                ctx.Dispose();
            return found.ConvertAll(g => g!);
        }
        catch (Exception e)
        {
            // An exception that leaves this method would cross native frames and end the process.
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

    /// <summary>The gradient, or zeros in place of null.</summary>
    protected static Tensor OrZeros(Tensor? gradient, long[] shape, Tensor like) =>
        gradient ?? zeros(shape, dtype: like.dtype, device: like.device);
}

/// <summary>What a function's forward keeps for its backward; the names are Torch's.</summary>
internal interface ISavedForBackward
{
    /// <summary>Keeps tensors. Called at most once.</summary>
    void save_for_backward(List<Tensor> tensors);

    /// <summary>Keeps anything else under a name.</summary>
    void save_data(string key, object data);
}

internal sealed class SavedByTorch(autograd.AutogradContext ctx) : ISavedForBackward
{
    public void save_for_backward(List<Tensor> tensors) => ctx.save_for_backward(tensors);

    public void save_data(string key, object data) => ctx.save_data(key, data);
}

/// <summary>There is no backward.</summary>
internal sealed class NothingIsSaved : ISavedForBackward
{
    public static readonly NothingIsSaved ForBackward = new();

    public void save_for_backward(List<Tensor> tensors) { }

    public void save_data(string key, object data) { }
}
