using TorchSharp.Modules;

namespace TorchSharp
{
    using static torch;

    namespace Modules
    {
        /// <summary>What an optimizer keeps for one parameter between its steps.</summary>
        public abstract class OptimizerState
        {
            public virtual void to(Device device) { }
            public virtual void Initialize(OptimizerOptions options) { }
            public abstract void LoadStateDict(OptimizerState source);
            internal abstract void Free();

            /// <summary>A buffer of the parameter's shape, that outlives the scope it is made in.</summary>
            private protected static Tensor Buffer(Parameter parameter)
            {
                using var quiet = no_grad();
                return zeros_like(parameter).DetachFromDisposeScope();
            }

            private protected static void Copy(Tensor from, Tensor into)
            {
                using var quiet = no_grad();
                into.copy_(from);
            }

            private protected static void Move(ref Tensor tensor, Device device)
            {
                var moved = tensor.to(device);
                if (moved.Handle == tensor.Handle) return;
                tensor.Dispose();
                tensor = moved.DetachFromDisposeScope();
            }
        }

        public class OptimizerOptions
        {
            public double? LearningRate { get; set; }
            public double InitialLearningRate { get; set; }
            public virtual void LoadStateDict(OptimizerOptions source) => (LearningRate, InitialLearningRate) = (source.LearningRate, source.InitialLearningRate);
        }

        /// <summary>Parameters that share their options.</summary>
        public class ParamGroup : optim.ILearningRateController
        {
            public IEnumerable<Parameter> Parameters { get; set; } = [];
            public OptimizerOptions Options { get; set; } = new();

            public double LearningRate
            {
                get => Options.LearningRate!.Value;
                set => Options.LearningRate = value;
            }

            public double InitialLearningRate
            {
                get => Options.InitialLearningRate;
                set => Options.InitialLearningRate = value;
            }
        }

        public class ParamGroup<TOptions> : ParamGroup where TOptions : OptimizerOptions, new()
        {
            public ParamGroup() => Options = new();

            public ParamGroup(IEnumerable<Parameter> parameters, TOptions? options = null)
            {
                Parameters = parameters;
                Options = options ?? new();
            }

            public new TOptions Options
            {
                get => (TOptions)base.Options;
                set => base.Options = value;
            }
        }

        /// <summary>What the optimizers share: groups, states by parameter, and going over them.</summary>
        public abstract class OptimizerHelper : optim.Optimizer
        {
            private protected readonly Dictionary<Parameter, OptimizerState> States = new(ReferenceEqualityComparer.Instance);

            public override IEnumerable<Parameter> parameters() => Groups.SelectMany(g => g.Parameters);

            public override void zero_grad()
            {
                foreach (var parameter in parameters()) parameter.grad = null;
            }

            /// <summary>The states in the order of the parameters, and the groups' options: the objects themselves, not copies.</summary>
            public virtual StateDictionary state_dict()
            {
                var all = new StateDictionary();
                foreach (var group in Groups)
                {
                    all.Options.Add(group.Options);
                    all.StateIndexRef.Add([.. group.Parameters.Select((_, i) => all.State.Count + i)]);
                    all.State.AddRange(group.Parameters.Select(p => States[p]));
                }
                return all;
            }

            public virtual void load_state_dict(StateDictionary state_dict)
            {
                var own = this.state_dict();
                if (own.State.Count != state_dict.State.Count || own.Options.Count != state_dict.Options.Count)
                    throw new InvalidOperationException("loaded state dict has a different number of parameter groups or parameters");
                for (int i = 0; i < own.Options.Count; i++) own.Options[i].LoadStateDict(state_dict.Options[i]);
                for (int i = 0; i < own.State.Count; i++) own.State[i].LoadStateDict(state_dict.State[i]);
            }

            public virtual void to(Device device)
            {
                foreach (var state in States.Values) state.to(device);
            }

            private protected void Add(ParamGroup group, Func<Parameter, OptimizerState> state)
            {
                group.Parameters = [.. group.Parameters];
                group.Options.InitialLearningRate = group.LearningRate;
                Groups.Add(group);
                foreach (var parameter in group.Parameters)
                {
                    if (!States.TryAdd(parameter, state(parameter))) throw new ArgumentException("a parameter appears in more than one parameter group");
                    States[parameter].Initialize(group.Options);
                }
            }

            private protected Tensor? Step(Func<Tensor>? closure, Action<ParamGroup, Parameter, Tensor, OptimizerState> update)
            {
                Tensor? loss;
                using (enable_grad()) loss = closure?.Invoke();
                using var quiet = no_grad();
                foreach (var group in Groups)
                    foreach (var parameter in group.Parameters)
                    {
                        using var scope = NewDisposeScope();
                        if (parameter.grad is { } grad) update(group, parameter, grad, States[parameter]);
                    }
                return loss;
            }

            /// <summary>One step of Adam, the operations in the order of PyTorch's _single_tensor_adam.</summary>
            private protected static void AdamStep(Parameter parameter, Tensor grad, long step, Tensor average, Tensor squares, Tensor? largest, double lr, double beta1, double beta2, double eps)
            {
                average.mul_(beta1).add_(grad, 1 - beta1);
                squares.mul_(beta2).addcmul_(grad, grad, 1 - beta2);
                var second = largest is null ? squares : largest.copy_(maximum(largest, squares));
                var denominator = second.sqrt().div_(Math.Sqrt(1 - Math.Pow(beta2, step))).add_(eps);
                parameter.addcdiv_(average, denominator, -lr / (1 - Math.Pow(beta1, step)));
            }

            protected override void Dispose(bool disposing)
            {
                if (disposing) foreach (var state in States.Values) state.Free();
            }
        }
    }

    public static partial class torch
    {
        public static partial class optim
        {
            public interface ILearningRateController
            {
                double LearningRate { get; set; }
                double InitialLearningRate { get; set; }
            }

            public abstract class Optimizer : IDisposable
            {
                public class StateDictionary
                {
                    internal StateDictionary() { }

                    public List<OptimizerOptions> Options { get; } = [];
                    public List<OptimizerState> State { get; } = [];
                    public List<List<int>> StateIndexRef { get; } = [];
                }

                private protected readonly List<ParamGroup> Groups = [];

                public IEnumerable<ILearningRateController> ParamGroups => Groups;
                public abstract IEnumerable<Parameter> parameters();
                public abstract void zero_grad();
                public abstract Tensor step(Func<Tensor>? closure = null);

                public void Dispose()
                {
                    Dispose(true);
                    GC.SuppressFinalize(this);
                }

                protected virtual void Dispose(bool disposing) { }
            }
        }
    }
}
