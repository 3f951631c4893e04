namespace TorchSharp;

public static partial class torch
{
    public static partial class optim
    {
        public static class lr_scheduler
        {
            /// <summary>Sets the groups' learning rates from how many steps it has made.</summary>
            public abstract class LRScheduler
            {
                private readonly Optimizer _optimizer;
                private readonly double[] _base;
                private int _epoch;

                private protected LRScheduler(Optimizer optimizer, int last_epoch)
                {
                    _optimizer = optimizer;
                    _base = [.. optimizer.ParamGroups.Select(g => g.InitialLearningRate)];
                    _epoch = last_epoch;
                }

                public virtual void step() => step(_epoch + 1);

                public virtual void step(int? epoch)
                {
                    _epoch = epoch ?? _epoch + 1;
                    int i = 0;
                    foreach (var group in _optimizer.ParamGroups) group.LearningRate = At(_epoch, _base[i++]);
                }

                public IEnumerable<double> get_last_lr() => _optimizer.ParamGroups.Select(g => g.LearningRate);

                /// <summary>The learning rate after so many steps, in closed form.</summary>
                private protected abstract double At(int epoch, double initial);
            }

            private sealed class Formula : LRScheduler
            {
                private readonly Func<int, double, double> _at;

                public Formula(Optimizer optimizer, int last_epoch, Func<int, double, double> at) : base(optimizer, last_epoch)
                {
                    _at = at;
                    step(); // as PyTorch: the rate of epoch 0 holds from the start
                }

                private protected override double At(int epoch, double initial) => _at(epoch, initial);
            }

            /// <summary>The initial rate times lr_lambda(epoch).</summary>
            public static LRScheduler LambdaLR(Optimizer optimizer, Func<int, double> lr_lambda, int last_epoch = -1, bool verbose = false) =>
                new Formula(optimizer, last_epoch, (epoch, initial) => initial * lr_lambda(epoch));

            /// <summary>From the initial rate to eta_min along half a cosine of T_max epochs (Loshchilov and Hutter 2017, without restarts).</summary>
            public static LRScheduler CosineAnnealingLR(Optimizer optimizer, double T_max, double eta_min = 0, int last_epoch = -1, bool verbose = false) =>
                new Formula(optimizer, last_epoch, (epoch, initial) => eta_min + (initial - eta_min) * (1 + Math.Cos(Math.PI * epoch / T_max)) / 2);

            /// <summary>Times gamma every step_size epochs.</summary>
            public static LRScheduler StepLR(Optimizer optimizer, int step_size, double gamma = 0.1, int last_epoch = -1, bool verbose = false) =>
                new Formula(optimizer, last_epoch, (epoch, initial) => initial * Math.Pow(gamma, epoch / step_size));

            /// <summary>From start_factor to end_factor of the initial rate in total_iters epochs, along a line.</summary>
            public static LRScheduler LinearLR(Optimizer optimizer, double start_factor = 1.0 / 3, double end_factor = 1, int total_iters = 5, int last_epoch = -1, bool verbose = false) =>
                new Formula(optimizer, last_epoch, (epoch, initial) => initial * (start_factor + (end_factor - start_factor) * Math.Min(epoch, total_iters) / total_iters));
        }
    }
}
