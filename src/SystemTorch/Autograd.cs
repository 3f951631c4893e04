using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace TorchSharp;

public static partial class torch
{
    /// <summary>No gradients are recorded until the result is disposed.</summary>
    public static IDisposable no_grad() => new GradMode(false);
    public static IDisposable enable_grad(bool enabled = true) => new GradMode(enabled);
    public static IDisposable set_grad_enabled(bool mode = true) => new GradMode(mode);
    public static bool is_grad_enabled() => Native.st_grad_mode() != 0;
    public static IDisposable inference_mode(bool mode = true) => new InferenceMode(mode);
    public static bool is_inference_mode_enabled() => Native.st_is_inference_mode() != 0;

    private sealed class GradMode : IDisposable
    {
        private readonly int _before = Native.st_grad_mode();
        public GradMode(bool enabled) => Native.st_set_grad_mode(enabled ? 1 : 0);
        public void Dispose() => Native.st_set_grad_mode(_before);
    }

    private sealed class InferenceMode(bool mode) : IDisposable
    {
        private nint _guard = Native.st_inference_mode_enter(mode ? 1 : 0);

        public void Dispose()
        {
            if (_guard != 0) Native.st_inference_mode_leave(_guard);
            _guard = 0;
        }
    }

    private static nint[] Handles(IList<Tensor>? tensors)
    {
        var handles = new nint[tensors?.Count ?? 0];
        for (int i = 0; i < handles.Length; i++) handles[i] = tensors![i] is { } t ? t.Handle : 0;
        return handles;
    }

    public static class autograd
    {
        /// <summary>Adds the gradients of the tensors to the `grad` of the leaves they depend on, or of `inputs` only.</summary>
        public static unsafe void backward(IList<Tensor> tensors, IList<Tensor>? grad_tensors = null, bool? retain_graph = null, bool create_graph = false, IList<Tensor>? inputs = null)
        {
            nint[] t = Handles(tensors), g = Handles(grad_tensors), i = Handles(inputs);
            fixed (nint* pt = t, pg = g, pi = i)
                Native.Check(Native.st_backward(pt, t.Length, pg, g.Length, retain_graph is { } keep ? (keep ? 1 : 0) : -1, create_graph ? 1 : 0, pi, i.Length));
            GC.KeepAlive((tensors, grad_tensors, inputs));
        }

        public static void backward(Tensor tensor, IList<Tensor>? grad_tensors = null, bool? retain_graph = null, bool create_graph = false, IList<Tensor>? inputs = null) =>
            backward([tensor], grad_tensors, retain_graph, create_graph, inputs);

        public static void backward(Tensor tensor, Tensor grad_tensor, bool? retain_graph = null, bool create_graph = false, IList<Tensor>? inputs = null) =>
            backward([tensor], [grad_tensor], retain_graph, create_graph, inputs);

        /// <summary>The gradients of the outputs' sum with respect to the inputs; null where one is unused and that is allowed.</summary>
        public static unsafe IList<Tensor> grad(IList<Tensor> outputs, IList<Tensor> inputs, IList<Tensor>? grad_outputs = null, bool retain_graph = false, bool create_graph = false, bool allow_unused = false)
        {
            nint[] o = Handles(outputs), i = Handles(inputs), g = Handles(grad_outputs), results = new nint[inputs.Count];
            fixed (nint* po = o, pi = i, pg = g, pr = results)
                Native.Check(Native.st_grad(po, o.Length, pi, i.Length, pg, g.Length, retain_graph ? 1 : 0, create_graph ? 1 : 0, allow_unused ? 1 : 0, pr));
            GC.KeepAlive((outputs, inputs, grad_outputs));
            return results.Select(r => r == 0 ? null! : new Tensor(r)).ToList();
        }

        /// <summary>What a custom function's forward leaves for its backward.</summary>
        public class AutogradContext : IDisposable
        {
            internal List<Tensor> Saved = [], Dirty = [], NonDifferentiable = [];
            internal bool Materialize = true;
            internal nint Node;
            private readonly Dictionary<string, object> _data = [];

            internal AutogradContext() { }

            public bool MaterializeGrads => Materialize;

            /// <summary>Keeps tensors, inputs or outputs among them, without making a cycle of references.</summary>
            public void save_for_backward(List<Tensor> tensors) => Saved = tensors;

            public unsafe List<Tensor> get_saved_variables()
            {
                if (Node == 0) return Saved;
                var tensors = new List<Tensor>(Saved.Count);
                for (int i = 0; i < SavedCount; i++)
                {
                    nint handle;
                    Native.Check(Native.st_function_saved(Node, i, &handle));
                    tensors.Add(handle == 0 ? null! : new Tensor(handle));
                }
                return tensors;
            }

            internal int SavedCount;

            public void save_data(string key, object value) => _data[key] = value;
            public object get_data(string key) => _data[key];
            public void mark_dirty(List<Tensor> tensors) => Dirty = tensors;
            public void mark_non_differentiable(List<Tensor> tensors) => NonDifferentiable = tensors;
            public void set_materialize_grads(bool value) => Materialize = value;

            public void Dispose()
            {
                Saved = [];
                _data.Clear();
                GC.SuppressFinalize(this);
            }
        }

        /// <summary>The part that custom functions with one result and with several share.</summary>
        public abstract class Function<T> where T : Function<T>, new()
        {
            public abstract string Name { get; }

            internal abstract List<Tensor> Forward(AutogradContext ctx, object[] vars);
            internal abstract List<Tensor> Backward(AutogradContext ctx, List<Tensor> grads);

            /// <summary>Runs forward without recording, then makes its results depend on the tensors among `vars` through backward.</summary>
            public static unsafe List<Tensor> apply_internal(params object[] vars)
            {
                var function = new T();
                var ctx = new AutogradContext();
                var inputs = vars.OfType<Tensor>().ToList();
                List<Tensor> outputs;
                using (no_grad()) outputs = function.Forward(ctx, vars);

                // Backward returns one gradient for each of vars; those of the tensors are passed on.
                var places = Enumerable.Range(0, vars.Length).Where(i => vars[i] is Tensor).ToArray();
                var call = new BackwardCall(ctx, grads => function.Backward(ctx, grads), places, vars.Length);
                nint[] i = Handles(inputs), o = Handles(outputs), s = Handles(ctx.Saved), results = new nint[outputs.Count];
                var flags = new int[outputs.Count];
                for (int k = 0; k < flags.Length; k++)
                    flags[k] = (Has(ctx.NonDifferentiable, outputs[k]) ? 1 : 0) | (Has(ctx.Dirty, outputs[k]) ? 2 : 0);
                var context = GCHandle.Alloc(call);
                int made, failed;
                fixed (nint* pi = i, po = o, ps = s, pr = results)
                fixed (int* pf = flags)
                    failed = Native.st_function(pi, i.Length, po, pf, o.Length, ps, s.Length, ctx.Materialize ? 1 : 0,
                        GCHandle.ToIntPtr(context), &BackwardCall.Run, &BackwardCall.Free, pr, &made);
                GC.KeepAlive((inputs, outputs, ctx.Saved));
                if (made == 0) context.Free();
                Native.Check(failed);
                ctx.SavedCount = ctx.Saved.Count;
                ctx.Saved = [];
                ctx.Dirty = ctx.NonDifferentiable = [];
                var wrapped = new List<Tensor>(results.Length);
                for (int k = 0; k < results.Length; k++)
                {
                    wrapped.Add(new Tensor(results[k]));
                    // The result is a new object for the same native tensor; forward's own is not needed any more.
                    if (!Has(inputs, outputs[k])) outputs[k].Dispose();
                }
                return wrapped;
            }

            private static bool Has(List<Tensor> list, Tensor tensor) => list.Exists(t => ReferenceEquals(t, tensor));
        }

        public abstract class SingleTensorFunction<T> : Function<T> where T : SingleTensorFunction<T>, new()
        {
            public abstract Tensor forward(AutogradContext ctx, params object[] vars);
            public abstract List<Tensor> backward(AutogradContext ctx, Tensor grad_output);
            public static Tensor apply(params object[] vars) => apply_internal(vars)[0];

            internal sealed override List<Tensor> Forward(AutogradContext ctx, object[] vars) => [forward(ctx, vars)];
            internal sealed override List<Tensor> Backward(AutogradContext ctx, List<Tensor> grads) => backward(ctx, grads[0]);
        }

        public abstract class MultiTensorFunction<T> : Function<T> where T : MultiTensorFunction<T>, new()
        {
            public abstract List<Tensor> forward(AutogradContext ctx, params object[] vars);
            public abstract List<Tensor> backward(AutogradContext ctx, List<Tensor> grad_outputs);
            public static List<Tensor> apply(params object[] vars) => apply_internal(vars);

            internal sealed override List<Tensor> Forward(AutogradContext ctx, object[] vars) => forward(ctx, vars);
            internal sealed override List<Tensor> Backward(AutogradContext ctx, List<Tensor> grads) => backward(ctx, grads);
        }
    }

    /// <summary>What the native node calls back: one application of a custom function.</summary>
    private sealed unsafe class BackwardCall(autograd.AutogradContext ctx, Func<List<Tensor>, List<Tensor>> backward, int[] places, int count)
    {
        [UnmanagedCallersOnly]
        public static int Run(nint context, nint node, nint* grads, int gradCount, nint* results, int resultCount)
        {
            var call = (BackwardCall)GCHandle.FromIntPtr(context).Target!;
            try
            {
                return call.Apply(node, new(grads, gradCount), new(results, resultCount));
            }
            catch (Exception e)
            {
                Native.SetError($"{e.GetType().Name} in backward: {e.Message}");
                return 1;
            }
        }

        [UnmanagedCallersOnly]
        public static void Free(nint context) => GCHandle.FromIntPtr(context).Free();

        private int Apply(nint node, Span<nint> grads, Span<nint> results)
        {
            using var scope = NewDisposeScope();
            var given = new List<Tensor>(grads.Length);
            foreach (nint grad in grads) given.Add(grad == 0 ? null! : new Tensor(grad));
            ctx.Node = node;
            var found = backward(given);
            ctx.Node = 0;
            if (found.Count != count && found.Count != places.Length)
                throw new InvalidOperationException($"backward returned {found.Count} gradients for {count} arguments of forward");
            bool every = found.Count == count;
            for (int i = 0; i < results.Length; i++)
                results[i] = found[every ? places[i] : i] is { } gradient ? Native.st_tensor_alias(gradient.Handle) : 0;
            return 0;
        }
    }
}
