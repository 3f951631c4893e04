using System.Reflection;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace TorchSharp.Modules
{
    public class Parameter : Tensor
    {
        public Parameter(Tensor data, bool requires_grad = true) : base(Native.st_tensor_alias(data.detach().Handle)) => this.requires_grad = requires_grad;
    }

    public sealed class Linear : nn.Module<Tensor, Tensor>
    {
        private Parameter _weight; private Parameter? _bias;
        internal Linear(long i, long o, bool b, ScalarType? t) : base("Linear")
        {
            double bound = 1 / Math.Sqrt(i);
            _weight = new(empty([o, i], dtype: t).uniform_(-bound, bound));
            _bias = b ? new(empty([o], dtype: t).uniform_(-bound, bound)) : null;
            register_parameter("weight", _weight); if (_bias is not null) register_parameter("bias", _bias);
        }
        public Parameter? weight => _weight;
        public override Tensor forward(Tensor input) { var y = matmul(input, _weight.t()); return _bias is null ? y : y + _bias; }
    }

    public sealed class Adam : optim.Optimizer
    {
        public sealed class State { public long step; public Tensor exp_avg = null!, exp_avg_sq = null!; }
        private readonly List<Parameter> _p; private readonly List<State> _s; private readonly double lr, wd;
        internal Adam(IEnumerable<Parameter> p, double lr, double wd)
        {
            _p = [.. p]; (this.lr, this.wd) = (lr, wd);
            _s = [.. _p.Select(x => new State { exp_avg = zeros_like(x).DetachFromDisposeScope(), exp_avg_sq = zeros_like(x).DetachFromDisposeScope() })];
        }
        public override StateDictionary state_dict() => new() { State = [.. _s] };
        public void zero_grad() { foreach (var p in _p) p.grad = null; }
        public void step()
        {
            using var g = no_grad(); using var sc = NewDisposeScope();
            for (int i = 0; i < _p.Count; i++)
            {
                var (p, s) = (_p[i], _s[i]); var grad = p.grad!; s.step++;
                if (wd != 0) grad = grad.add(p, wd);
                s.exp_avg.mul_(0.9).add_(grad, 1 - 0.9);
                s.exp_avg_sq.mul_(0.999).addcmul_(grad, grad, 1 - 0.999);
                double b1 = 1 - Math.Pow(0.9, s.step), b2 = 1 - Math.Pow(0.999, s.step);
                p.addcdiv_(s.exp_avg, s.exp_avg_sq.sqrt().div_(Math.Sqrt(b2)).add_(1e-8), -lr / b1);
            }
        }
        public override void Dispose() { foreach (var s in _s) { s.exp_avg.Dispose(); s.exp_avg_sq.Dispose(); } }
    }
}

namespace TorchSharp
{
    public static class ModuleExtensionMethods
    {
        public static T to<T>(this T module, Device device, bool non_blocking = false) where T : nn.Module => module;
    }

    public static partial class torch
    {
        public static class optim
        {
            public abstract class Optimizer : IDisposable
            {
                public class StateDictionary { public List<Adam.State> State = []; }
                public abstract StateDictionary state_dict();
                public abstract void Dispose();
            }
            public static Adam Adam(IEnumerable<Parameter> parameters, double lr = 1e-3, double weight_decay = 0) => new(parameters, lr, weight_decay);
        }

        public static class nn
        {
            public class Module(string name) : IDisposable
            {
                private readonly List<(string, Parameter)> _p = []; private readonly List<(string, Module)> _m = [];
                protected void RegisterComponents()
                {
                    foreach (var f in GetType().GetFields(BindingFlags.Instance | BindingFlags.NonPublic | BindingFlags.Public))
                        if (f.GetValue(this) is Module m) _m.Add((f.Name, m)); else if (f.GetValue(this) is Parameter p) register_parameter(f.Name, p);
                }
                public void register_parameter(string n, Parameter p) => _p.Add((n, (Parameter)p.DetachFromDisposeScope()));
                public IEnumerable<(string name, Parameter parameter)> named_parameters(bool recurse = true) => _p.Concat(_m.SelectMany(m => m.Item2.named_parameters().Select(p => ($"{m.Item1}.{p.name}", p.parameter))));
                public IEnumerable<Parameter> parameters(bool recurse = true) => named_parameters().Select(p => p.parameter);
                public void Dispose() { foreach (var p in parameters()) p.Dispose(); }
                public string GetName() => name;
            }
            public abstract class Module<T, TResult>(string name) : Module(name) { public abstract TResult forward(T input); }
            public abstract class Module<T1, T2, TResult>(string name) : Module(name) { public abstract TResult forward(T1 input1, T2 input2); }
            public static Linear Linear(long inputSize, long outputSize, bool hasBias = true, Device? device = null, ScalarType? dtype = null) => new(inputSize, outputSize, hasBias, dtype);
            public static class functional { public static Tensor mse_loss(Tensor x, Tensor y) => Ops.mse_loss.Call(x, y); }
            public static class utils
            {
                public static double clip_grad_norm_(IEnumerable<Parameter> tensors, double max_norm, double norm_type = 2)
                {
                    using var sc = NewDisposeScope(); var g = tensors.Select(t => t.grad!).ToArray();
                    var total = linalg.vector_norm(stack(g.Select(x => linalg.vector_norm(x))));
                    double n = total.ToScalar().ToDouble(), c = max_norm / (n + 1e-6); if (c < 1) foreach (var x in g) x.mul_(c); return n;
                }
            }
        }
    }
    internal static partial class Ops { internal static readonly Operator mse_loss = new("mse_loss"); }
}
