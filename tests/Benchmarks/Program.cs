// Timings, each printed as one number a line, for scripts/benchmark.sh to set beside PyTorch's.
//   Benchmarks calls                                   nanoseconds for one small operator call, forward and with its backward
//   Benchmarks steps [--threads N] [--hidden N] [--batch N] [--horizon N] [--steps N]    training steps a second of task T1
using System.Diagnostics;
using EmtTorch;
using EmtTorch.Models;
using EmtTorch.Tasks;
using TorchSharp;
using static TorchSharp.torch;

int Option(string name, int otherwise) => Array.IndexOf(args, "--" + name) is var i and >= 0 ? int.Parse(args[i + 1]) : otherwise;

TorchRuntime.Start(Option("threads", 1));
switch (args.FirstOrDefault())
{
    case "calls": Calls(); return 0;
    case "steps": Steps(Option("hidden", 128), Option("batch", 64), Option("horizon", 100), Option("steps", 100)); return 0;
    default:
        Console.Error.WriteLine("usage: Benchmarks calls | steps [--threads N] [--hidden N] [--batch N] [--horizon N] [--steps N]");
        return 2;
}

static void Calls()
{
    using var everything = NewDisposeScope();
    Tensor a = randn(4, 4), b = randn(4, 4), w = randn([4, 4], requires_grad: true);
    // The code is compiled for speed only after it has run for a while.
    for (long start = Stopwatch.GetTimestamp(); Stopwatch.GetElapsedTime(start).TotalSeconds < 1;)
    {
        using var scope = NewDisposeScope();
        ((a + b).mm(b)[1] * w).sum().backward();
    }
    Report("add", 200_000, () => a + b);
    Report("matmul", 200_000, () => a.mm(b));
    Report("select", 200_000, () => a[1]);
    Report("add_, in place", 200_000, () => a.add_(b, 1e-9));
    Report("mul + sum + backward", 20_000, () =>
    {
        var loss = (w * a).sum();
        loss.backward();
        return loss;
    });

    static void Report(string name, int count, Func<Tensor> call)
    {
        double best = double.MaxValue;
        for (int repeat = 0; repeat < 7; repeat++)
        {
            long start = Stopwatch.GetTimestamp();
            for (int i = 0; i < count / 7; i++)
            {
                using var scope = NewDisposeScope();
                call();
            }
            best = Math.Min(best, Stopwatch.GetElapsedTime(start).TotalNanoseconds / (count / 7));
        }
        Console.WriteLine($"{name}: {best:0} ns");
    }
}

static void Steps(int hidden, int batch, int horizon, int steps)
{
    using var everything = NewDisposeScope();
    using var task = new VariableBinding(LinearBinding.RepeatCopy(8, 8), ScalarType.Float32, CPU);
    using var network = new ElmanRnn(8, hidden);
    using var optimizer = optim.Adam(network.parameters(), lr: 1e-3);
    using var generator = new Generator(0);
    void Step()
    {
        using var scope = NewDisposeScope();
        var (input, target) = task.Batch(batch, horizon, generator);
        var output = network.forward(input, 8 + horizon, from: 8);
        var loss = nn.functional.mse_loss(output, target);
        optimizer.zero_grad();
        loss.backward();
        nn.utils.clip_grad_norm_(network.parameters(), 1.0);
        optimizer.step();
        loss.item<float>();
        output.ge(0).eq(target.ge(0)).to_type(ScalarType.Float32).mean().item<float>();
    }
    for (int i = 0; i < 10; i++) Step();
    long start = Stopwatch.GetTimestamp();
    for (int i = 0; i < steps; i++) Step();
    Console.WriteLine($"{steps / Stopwatch.GetElapsedTime(start).TotalSeconds:0.00} steps/s");
}
