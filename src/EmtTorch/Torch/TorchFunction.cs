using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;
using static TorchSharp.torch;

namespace EmtTorch;

/// <summary>
/// A function of autograd with a backward of its own, over TorchSharp's. It keeps from its subclasses what TorchSharp 0.107 does
/// wrong there; each workaround below names the defect, so that it can go when that is mended.
/// </summary>
/// <typeparam name="T">The function itself.</typeparam>
/// <remarks>
/// Differentiable once: with `create_graph` the gradients come back without a graph, since backward runs without one.
/// A subclass is used through <see cref="Apply"/>, never through TorchSharp's `apply`.
/// </remarks>
internal abstract class TorchFunction<T> : autograd.MultiTensorFunction<T> where T : TorchFunction<T>, new()
{
    // What the last backward on this thread returned. See Backward.
    [ThreadStatic] private static List<Tensor>? s_returned;
    [ThreadStatic] private static ExceptionDispatchInfo? s_forwardFailure;

    public override string Name => typeof(T).Name;

    /// <summary>The function's results.</summary>
    /// <param name="ctx">Takes what backward needs, with `save_for_backward` and `save_data`.</param>
    /// <param name="arguments">As they were given to <see cref="Apply"/>.</param>
    protected abstract List<Tensor> Forward(autograd.AutogradContext ctx, object[] arguments);

    /// <summary>The gradients in the arguments, in their order; null for what is not a tensor or needs none.</summary>
    /// <param name="ctx">What forward saved.</param>
    /// <param name="saved">The tensors that forward saved.</param>
    /// <param name="gradients">Those in the results; null is a gradient of zeros.</param>
    protected abstract List<Tensor?> Backward(autograd.AutogradContext ctx, List<Tensor> saved, IReadOnlyList<Tensor?> gradients);

    /// <summary>Calls the function.</summary>
    /// <param name="arguments">Tensors and whatever else forward takes.</param>
    public static List<Tensor> Apply(params object[] arguments)
    {
        // TorchSharp makes an `empty_like` of each result in the caller's scope, to be used as a gradient that is not there. In a scope of
        // its own it is gone at once; materialize_grads(false) keeps it from being used.
        using var scope = NewDisposeScope();
        var results = apply(arguments);
        var failure = s_forwardFailure;
        s_forwardFailure = null;
        failure?.Throw();
        foreach (var result in results) result.MoveToOuterDisposeScope();
        return results;
    }

    public sealed override List<Tensor> forward(autograd.AutogradContext ctx, params object[] vars)
    {
        ctx.set_materialize_grads(false);
        ctx.save_data("tensors", Array.ConvertAll(vars, v => v is Tensor { IsInvalid: false }));
        ctx.save_data("backward", BackwardCall.OfThisThread);
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
        // The engine holds what it was given by now. A handle that stays would keep each gradient until the caller's scope ends, or, on the
        // engine's own threads (CUDA), where there is none, until the garbage collector comes by.
        foreach (var tensor in s_returned ?? []) tensor.Dispose();
        s_returned = null;
        var isTensor = (bool[])ctx.get_data("tensors");
        var call = (BackwardCall)ctx.get_data("backward");
        try
        {
            using var quiet = no_grad();
            using var scope = NewDisposeScope();
            var saved = ctx.get_saved_variables();
            var found = Backward(ctx, saved, [.. grad_outputs.Select(g => g is null || g.IsInvalid ? null : g)]);
            // A wrong number of gradients, or one where there is no tensor, ends the process.
            if (found.Count != isTensor.Length || found.Where((g, i) => g is not null && !isTensor[i]).Any())
                throw new InvalidOperationException($"{Name} returned {found.Count} gradients for {isTensor.Length} arguments, or one for an argument that is no tensor");
            s_returned = [.. found.OfType<Tensor>()];
            foreach (var tensor in s_returned) tensor.DetachFromDisposeScope();
            if (call.LastUse) ctx.Dispose(); // Torch's own nodes give up what they saved here; TorchSharp's keep it as long as the loss lives.
            return found.ConvertAll(g => g!);
        }
        catch (Exception e)
        {
            // An exception that leaves here crosses native frames and ends the process. A gradient on a device that no argument is on
            // makes the engine fail in its own way; autograd.grad would abort then, and gets no gradient.
            call.Failure ??= ExceptionDispatchInfo.Capture(e);
            var none = call.CannotFail ? null : empty([1], device: META).DetachFromDisposeScope();
            return [.. isTensor.Select(tensor => tensor ? none! : null!)];
        }
        finally
        {
            foreach (var gradient in grad_outputs) gradient?.Dispose();
        }
    }

    /// <summary>Zeros for a gradient that is not there.</summary>
    protected static Tensor OrZeros(Tensor? gradient, long[] shape, Tensor like) => gradient ?? zeros(shape, dtype: like.dtype, device: like.device);
}

/// <summary>
/// Going back through a graph that has functions of ours: an exception in their backward is thrown as it is, and what they
/// saved is freed on the way. `Tensor.backward` works too: then the exception is Torch's, of an invalid gradient.
/// </summary>
internal sealed class BackwardCall
{
    [ThreadStatic] private static BackwardCall? s_ofThisThread;

    /// <summary>Shared by the forward calls of a thread and the backward that the thread asks for, which on CUDA runs on another.</summary>
    internal static BackwardCall OfThisThread => s_ofThisThread ??= new();

    /// <summary>What a backward threw.</summary>
    internal ExceptionDispatchInfo? Failure;

    /// <summary>Whether nothing asks for this graph's gradients again.</summary>
    internal volatile bool LastUse;

    /// <summary>Whether an error of the engine would end the process: in TorchSharp's autograd.grad.</summary>
    internal volatile bool CannotFail;

    /// <summary>Adds ∂loss/∂θ to the grad of every parameter. The graph cannot be used again.</summary>
    public static void Run(Tensor loss) => OfThisThread.Guarded(loss, lastUse: true, cannotFail: false, () =>
    {
        loss.backward();
        return true;
    });

    /// <summary>∂loss/∂θ for each of the parameters; null for one that the loss does not depend on. The graph cannot be used again.</summary>
    public static Tensor?[] Gradients(Tensor loss, IList<Tensor> parameters) => OfThisThread.Guarded(loss, lastUse: true, cannotFail: true, () =>
        autograd.grad([loss], parameters, allow_unused: true).Select(g => g is null || g.IsInvalid ? null : g).ToArray());

    private R Guarded<R>(Tensor loss, bool lastUse, bool cannotFail, Func<R> back)
    {
        (Failure, LastUse, CannotFail) = (null, lastUse, cannotFail);
        R result;
        try
        {
            result = back();
        }
        catch (ExternalException) when (Failure is not null)
        {
            result = default!;
        }
        finally
        {
            (LastUse, CannotFail) = (false, false);
        }
        if (Interlocked.Exchange(ref Failure, null) is { } failure) failure.Throw();
        return result;
    }
}
