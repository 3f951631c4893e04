using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace EmtTorch;

/// <summary>
/// Goes back through a graph that contains a <see cref="TorchFunction{T}"/>. An exception in its backward is thrown as
/// it is, and what it saved is freed at once, so that the graph cannot be used again.
/// </summary>
/// <remarks>
/// There is one object for each thread. A function's forward keeps that of its thread, since backward may run on a
/// thread of the engine (on CUDA). Then <see cref="Run"/> must be called by the thread that called forward; otherwise
/// Torch's own exception is thrown, and what was saved lives as long as the loss.
/// </remarks>
internal sealed class BackwardCall
{
    private enum Kind
    {
        None,
        Backward,
        Grad,
    }

    [ThreadStatic]
    private static BackwardCall? s_ofThisThread;

    [ThreadStatic]
    private static IReadOnlyList<Tensor>? s_returned;

    private volatile Kind _kind;
    private ExceptionDispatchInfo? _failure;

    /// <summary>The object of this thread.</summary>
    internal static BackwardCall OfThisThread => s_ofThisThread ??= new();

    /// <summary>Whether the graph is not used again.</summary>
    internal bool IsLastUse => _kind != Kind.None;

    /// <summary>Whether an error in the engine would end the process.</summary>
    internal bool IsQuiet => _kind == Kind.Grad;

    /// <summary>Adds ∂loss/∂θ to the grads of all parameters.</summary>
    /// <param name="loss">A single number that depends on parameters.</param>
    public static void Run(Tensor loss) =>
        OfThisThread.Guarded(
            Kind.Backward,
            () =>
            {
                loss.backward();
                return true;
            }
        );

    /// <summary>
    /// Computes ∂loss/∂θ for each parameter; null if the loss does not depend on it. The parameters' grads stay
    /// unchanged.
    /// </summary>
    /// <param name="loss">A single number that depends on parameters.</param>
    /// <param name="parameters">The parameters.</param>
    /// <param name="alone">Whether no other thread uses the parameters' grads at the same time. Then an error of Torch,
    /// such as a lack of memory, is an exception; otherwise it ends the process, since TorchSharp's `autograd.grad`
    /// catches none.</param>
    /// <exception cref="ArgumentException">The loss is not a single number, or something needs no gradient.</exception>
    public static Tensor?[] Gradients(Tensor loss, IReadOnlyList<Parameter> parameters, bool alone)
    {
        if (alone)
            return WithOwnGrads(loss, parameters);
        if (loss.numel() != 1 || !loss.requires_grad)
            throw new ArgumentException("must be one number that depends on parameters", nameof(loss));
        if (parameters.Count == 0 || parameters.Any(p => !p.requires_grad))
            throw new ArgumentException("must all require gradients", nameof(parameters));
        return OfThisThread.Guarded(
            Kind.Grad,
            () =>
                autograd
                    .grad([loss], [.. parameters], allow_unused: true)
                    .Select(g => g is null || g.IsInvalid ? null : g)
                    .ToArray()
        );
    }

    private static Tensor?[] WithOwnGrads(Tensor loss, IReadOnlyList<Parameter> parameters)
    {
        var before = parameters.Select(p => p.grad).ToArray();
        try
        {
            foreach (var parameter in parameters)
                parameter.grad = null;
            Run(loss);
            return [.. parameters.Select(p => p.grad)];
        }
        finally
        {
            for (int i = 0; i < before.Length; i++)
            {
                parameters[i].grad = before[i];
                before[i]?.Dispose();
            }
        }
    }

    /// <summary>Keeps the first exception of this call, which is thrown when the engine is done.</summary>
    internal void Note(Exception exception)
    {
        if (_kind != Kind.None)
            Interlocked.CompareExchange(ref _failure, ExceptionDispatchInfo.Capture(exception), null);
    }

    /// <summary>
    /// Makes a gradient that the engine rejects for every argument: complex numbers for real ones.
    /// </summary>
    internal static Tensor InvalidGradient()
    {
        var invalid = zeros(1, dtype: ScalarType.ComplexFloat32).DetachFromDisposeScope();
        FreeLater([invalid]);
        return invalid;
    }

    /// <summary>
    /// Frees the handles of gradients returned to the engine when this thread comes here again or its call ends; the
    /// engine has taken them by then. TorchSharp would keep them until the end of the caller's scope, or, on threads of
    /// the engine, until a garbage collection.
    /// </summary>
    internal static void FreeLater(IReadOnlyList<Tensor> gradients)
    {
        FreeReturned();
        foreach (var tensor in gradients)
            tensor.DetachFromDisposeScope();
        s_returned = gradients;
    }

    /// <summary>Frees the gradients that the last backward on this thread returned.</summary>
    internal static void FreeReturned()
    {
        foreach (var tensor in s_returned ?? [])
            tensor.Dispose();
        s_returned = null;
    }

    private R Guarded<R>(Kind kind, Func<R> back)
    {
        var (kindBefore, failureBefore) = (_kind, Interlocked.Exchange(ref _failure, null));
        _kind = kind;
        R result;
        try
        {
            result = back();
        }
        catch (ExternalException) when (_failure is not null)
        {
            result = default!;
        }
        finally
        {
            _kind = kindBefore;
            FreeReturned();
        }
        Interlocked.Exchange(ref _failure, failureBefore)?.Throw();
        return result;
    }
}
