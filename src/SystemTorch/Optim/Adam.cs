using TorchSharp.Modules;

namespace TorchSharp
{
    using static torch;

    namespace Modules
    {
        /// <summary>Adam (Kingma and Ba 2015), weight decay as L2: added to the gradient.</summary>
        public sealed class Adam : OptimizerHelper
        {
            public class Options : OptimizerOptions
            {
                public double? beta1;
                public double? beta2;
                public double? weight_decay;
                public double? eps;
                public bool? amsgrad;
                public bool? maximize;

                public override void LoadStateDict(OptimizerOptions source)
                {
                    base.LoadStateDict(source);
                    var from = (Options)source;
                    (beta1, beta2, weight_decay, eps, amsgrad, maximize) = (from.beta1, from.beta2, from.weight_decay, from.eps, from.amsgrad, from.maximize);
                }
            }

            public class ParamGroup : ParamGroup<Options>
            {
                public ParamGroup() { }
                public ParamGroup(IEnumerable<Parameter> parameters, Options options) : base(parameters, options) { }
                public ParamGroup(IEnumerable<Parameter> parameters, double lr = 1e-3, double beta1 = 0.9, double beta2 = 0.999, double eps = 1e-8, double weight_decay = 0, bool amsgrad = false, bool maximize = false)
                    : base(parameters, new Options { LearningRate = lr, beta1 = beta1, beta2 = beta2, eps = eps, weight_decay = weight_decay, amsgrad = amsgrad, maximize = maximize }) { }
            }

            public class State(Parameter parameter) : OptimizerState
            {
                public long step;
                public Tensor exp_avg = Buffer(parameter);
                public Tensor exp_avg_sq = Buffer(parameter);
                public Tensor max_exp_avg_sq = null!;

                public override void Initialize(OptimizerOptions options)
                {
                    if (((Options)options).amsgrad == true) max_exp_avg_sq ??= Buffer(parameter);
                }

                public override void LoadStateDict(OptimizerState source)
                {
                    var from = (State)source;
                    step = from.step;
                    Copy(from.exp_avg, exp_avg);
                    Copy(from.exp_avg_sq, exp_avg_sq);
                    if (max_exp_avg_sq is not null) Copy(from.max_exp_avg_sq, max_exp_avg_sq);
                }

                public override void to(Device device)
                {
                    Move(ref exp_avg, device);
                    Move(ref exp_avg_sq, device);
                    if (max_exp_avg_sq is not null) Move(ref max_exp_avg_sq, device);
                }

                internal override void Free()
                {
                    exp_avg.Dispose();
                    exp_avg_sq.Dispose();
                    max_exp_avg_sq?.Dispose();
                }
            }

            private readonly Options _defaults;

            public Adam(IEnumerable<Parameter> parameters, double lr = 1e-3, double beta1 = 0.9, double beta2 = 0.999, double eps = 1e-8, double weight_decay = 0, bool amsgrad = false, bool maximize = false)
                : this([new ParamGroup(parameters, lr, beta1, beta2, eps, weight_decay, amsgrad, maximize)], lr, beta1, beta2, eps, weight_decay, amsgrad, maximize) { }

            public Adam(IEnumerable<ParamGroup> parameters, double lr = 1e-3, double beta1 = 0.9, double beta2 = 0.999, double eps = 1e-8, double weight_decay = 0, bool amsgrad = false, bool maximize = false)
            {
                if (lr < 0) throw new ArgumentException($"Invalid learning rate: {lr}");
                if (beta1 is < 0 or >= 1) throw new ArgumentException($"Invalid beta1 value: {beta1}");
                if (beta2 is < 0 or >= 1) throw new ArgumentException($"Invalid beta2 value: {beta2}");
                if (eps < 0) throw new ArgumentException($"Invalid eps value: {eps}");
                if (weight_decay < 0) throw new ArgumentException($"Invalid weight_decay value: {weight_decay}");
                _defaults = new() { LearningRate = lr, beta1 = beta1, beta2 = beta2, eps = eps, weight_decay = weight_decay, amsgrad = amsgrad, maximize = maximize };
                foreach (var group in parameters) add_param_group(group);
            }

            public void add_param_group(Modules.ParamGroup param_group)
            {
                var options = (Options)param_group.Options;
                options.LearningRate ??= _defaults.LearningRate;
                options.beta1 ??= _defaults.beta1;
                options.beta2 ??= _defaults.beta2;
                options.eps ??= _defaults.eps;
                options.weight_decay ??= _defaults.weight_decay;
                options.amsgrad ??= _defaults.amsgrad;
                options.maximize ??= _defaults.maximize;
                Add(param_group, p => new State(p));
            }

            public override Tensor step(Func<Tensor>? closure = null) => Step(closure, Update)!;

            private static void Update(Modules.ParamGroup group, Parameter parameter, Tensor grad, OptimizerState kept)
            {
                var o = (Options)group.Options;
                var state = (State)kept;
                double lr = group.LearningRate, decay = o.weight_decay!.Value;
                if (o.maximize == true) grad = grad.neg();
                if (decay != 0) grad = grad.add(parameter, decay);
                AdamStep(parameter, grad, ++state.step, state.exp_avg, state.exp_avg_sq, o.amsgrad == true ? state.max_exp_avg_sq : null, lr, o.beta1!.Value, o.beta2!.Value, o.eps!.Value);
            }
        }
    }

    public static partial class torch
    {
        public static partial class optim
        {
            public static Adam Adam(IEnumerable<Parameter> parameters, double lr = 1e-3, double beta1 = 0.9, double beta2 = 0.999, double eps = 1e-8, double weight_decay = 0, bool amsgrad = false, bool maximize = false) =>
                new(parameters, lr, beta1, beta2, eps, weight_decay, amsgrad, maximize);
            public static Adam Adam(IEnumerable<(string name, Parameter parameter)> parameters, double lr = 1e-3, double beta1 = 0.9, double beta2 = 0.999, double eps = 1e-8, double weight_decay = 0, bool amsgrad = false, bool maximize = false) =>
                new(parameters.Select(p => p.parameter), lr, beta1, beta2, eps, weight_decay, amsgrad, maximize);
            public static Adam Adam(IEnumerable<Adam.ParamGroup> parameters, double lr = 1e-3, double beta1 = 0.9, double beta2 = 0.999, double eps = 1e-8, double weight_decay = 0, bool amsgrad = false, bool maximize = false) =>
                new(parameters, lr, beta1, beta2, eps, weight_decay, amsgrad, maximize);
        }
    }
}
