using TorchSharp.Modules;

namespace TorchSharp
{
    using static torch;

    namespace Modules
    {
        /// <summary>Gradient descent, with momentum where it is asked for.</summary>
        public sealed class SGD : OptimizerHelper
        {
            public class Options : OptimizerOptions
            {
                public double? momentum;
                public double? dampening;
                public double? weight_decay;
                public bool? nesterov;
                public bool? maximize;

                public override void LoadStateDict(OptimizerOptions source)
                {
                    base.LoadStateDict(source);
                    var from = (Options)source;
                    (momentum, dampening, weight_decay, nesterov, maximize) = (from.momentum, from.dampening, from.weight_decay, from.nesterov, from.maximize);
                }
            }

            public class ParamGroup : ParamGroup<Options>
            {
                public ParamGroup() { }
                public ParamGroup(IEnumerable<Parameter> parameters, Options options) : base(parameters, options) { }
                public ParamGroup(IEnumerable<Parameter> parameters, double lr = 1e-3, double momentum = 0, double dampening = 0, double weight_decay = 0, bool nesterov = false, bool maximize = false)
                    : base(parameters, new Options { LearningRate = lr, momentum = momentum, dampening = dampening, weight_decay = weight_decay, nesterov = nesterov, maximize = maximize }) { }
            }

            public class State(Parameter parameter) : OptimizerState
            {
                /// <summary>The running gradient; null until the first step with momentum.</summary>
                public Tensor momentum_buffer = null!;

                public override void LoadStateDict(OptimizerState source)
                {
                    if (((State)source).momentum_buffer is not { } from) return;
                    momentum_buffer ??= Buffer(parameter);
                    Copy(from, momentum_buffer);
                }

                public override void to(Device device)
                {
                    if (momentum_buffer is not null) Move(ref momentum_buffer, device);
                }

                internal override void Free() => momentum_buffer?.Dispose();
            }

            private readonly Options _defaults;

            public SGD(IEnumerable<Parameter> parameters, double lr, double momentum = 0, double dampening = 0, double weight_decay = 0, bool nesterov = false, bool maximize = false)
                : this([new ParamGroup(parameters, lr, momentum, dampening, weight_decay, nesterov, maximize)], lr, momentum, dampening, weight_decay, nesterov, maximize) { }

            public SGD(IEnumerable<ParamGroup> parameters, double lr, double momentum = 0, double dampening = 0, double weight_decay = 0, bool nesterov = false, bool maximize = false)
            {
                if (lr < 0) throw new ArgumentException($"Invalid learning rate: {lr}");
                if (nesterov && (momentum <= 0 || dampening != 0)) throw new ArgumentException("Nesterov momentum requires a momentum and zero dampening");
                _defaults = new() { LearningRate = lr, momentum = momentum, dampening = dampening, weight_decay = weight_decay, nesterov = nesterov, maximize = maximize };
                foreach (var group in parameters) add_param_group(group);
            }

            public void add_param_group(Modules.ParamGroup param_group)
            {
                var options = (Options)param_group.Options;
                options.LearningRate ??= _defaults.LearningRate;
                options.momentum ??= _defaults.momentum;
                options.dampening ??= _defaults.dampening;
                options.weight_decay ??= _defaults.weight_decay;
                options.nesterov ??= _defaults.nesterov;
                options.maximize ??= _defaults.maximize;
                Add(param_group, p => new State(p));
            }

            public override Tensor step(Func<Tensor>? closure = null) => Step(closure, Update)!;

            private static void Update(Modules.ParamGroup group, Parameter parameter, Tensor grad, OptimizerState kept)
            {
                var o = (Options)group.Options;
                var state = (State)kept;
                if (o.maximize == true) grad = grad.neg();
                if (o.weight_decay is { } decay and not 0) grad = grad.add(parameter, decay);
                if (o.momentum is { } momentum and not 0)
                {
                    if (state.momentum_buffer is null) state.momentum_buffer = grad.clone().DetachFromDisposeScope();
                    else state.momentum_buffer.mul_(momentum).add_(grad, 1 - o.dampening!.Value);
                    grad = o.nesterov == true ? grad.add(state.momentum_buffer, momentum) : state.momentum_buffer;
                }
                parameter.add_(grad, -group.LearningRate);
            }
        }
    }

    public static partial class torch
    {
        public static partial class optim
        {
            public static SGD SGD(IEnumerable<Parameter> parameters, double learningRate, double momentum = 0, double dampening = 0, double weight_decay = 0, bool nesterov = false, bool maximize = false) =>
                new(parameters, learningRate, momentum, dampening, weight_decay, nesterov, maximize);
            public static SGD SGD(IEnumerable<(string name, Parameter parameter)> parameters, double learningRate, double momentum = 0, double dampening = 0, double weight_decay = 0, bool nesterov = false, bool maximize = false) =>
                new(parameters.Select(p => p.parameter), learningRate, momentum, dampening, weight_decay, nesterov, maximize);
            public static SGD SGD(IEnumerable<SGD.ParamGroup> parameters, double learningRate, double momentum = 0, double dampening = 0, double weight_decay = 0, bool nesterov = false, bool maximize = false) =>
                new(parameters, learningRate, momentum, dampening, weight_decay, nesterov, maximize);
        }
    }
}
