using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace EmtTorch;

/// <summary>
/// Going back through a graph that has functions of ours (<see cref="TorchFunction{T}"/>): an exception in their
/// backward is thrown as it is, and what they saved is freed on the way, so that the graph cannot be used again.
/// </summary>
/// <remarks>
/// There is one object for each thread. A function's forward keeps its thread's, for the case that backward runs on a
/// thread of the engine (CUDA): there what is said here holds if <see cref="Run"/> is called by the thread that called
/// forward. By another thread an exception is Torch's, and what was saved lives as long as the loss.
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

    /// <summary>This thread's.</summary>
    internal static BackwardCall OfThisThread => s_ofThisThread ??= new();

    /// <summary>Whether nothing asks for the graph's gradients again.</summary>
    internal bool IsLastUse => _kind != Kind.None;

    /// <summary>Whether an error of the engine would end the process.</summary>
    internal bool IsQuiet => _kind == Kind.Grad;

    /// <summary>Adds ∂loss/∂θ to the grad of every parameter.</summary>
    /// <param name="loss">One number that depends on parameters.</param>
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
    /// ∂loss/∂θ for each of the parameters; null for one that the loss does not depend on. Their grads stay as they
    /// are.
    /// </summary>
    /// <param name="loss">One number that depends on parameters.</param>
    /// <param name="parameters">The parameters.</param>
    /// <param name="alone">
    /// Whether no other thread uses the parameters' grads meanwhile. Then an error of Torch, such as a want of memory,
    /// is an exception.
    /// Otherwise it ends the process, since TorchSharp's `autograd.grad` catches none.
    /// </param>
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

    /// <summary>Keeps the first exception of this call, to be thrown when the engine is done.</summary>
    internal void Note(Exception exception)
    {
        if (_kind != Kind.None)
            Interlocked.CompareExchange(ref _failure, ExceptionDispatchInfo.Capture(exception), null);
    }

    /// <summary>
    /// A gradient that the engine takes for no argument, whatever its shape: complex numbers for real ones.
    /// </summary>
    internal static Tensor InvalidGradient()
    {
        var invalid = zeros(1, dtype: ScalarType.ComplexFloat32).DetachFromDisposeScope();
        FreeLater([invalid]);
        return invalid;
    }

    /// <summary>
    /// Takes care of gradients that are returned to the engine, which has them when this thread comes here again or its
    /// call is over.
    /// TorchSharp's handles would keep them until the caller's scope ends or, on the engine's own threads, where there
    /// is none, until the garbage collector comes by.
    /// </summary>
    internal static void FreeLater(IReadOnlyList<Tensor> gradients)
    {
        FreeReturned();
        foreach (var tensor in gradients)
            tensor.DetachFromDisposeScope();
        s_returned = gradients;
    }

    /// <summary>Frees what the last backward on this thread returned.</summary>
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
