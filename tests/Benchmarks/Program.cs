// Speed beside libtorch's own parts, and what a step is spent on.
//
//   Benchmarks compare [--only steps|scan|transformer|generation|mixing|run|sweep] [--out FOLDER]
//                                     all parts, or one, as Markdown and JSON: scripts/benchmark.sh
//   Benchmarks steps [--hidden N,…] [--networks N,…] [--batch N] [--horizon N]
//                                     training steps of T1 a second, beside nn.RNN; networks in lockstep, H = 128, as a
// sweep trains them on CUDA
//   Benchmarks scan [--rule hebbian,delta] [--tokens N,…] [--batch N] [--heads N] [--width N] [--chunk N]
//                                     tokens a second through fast weights, beside chunks in Torch's operators
//     These three take [--device cpu|cuda] [--threads 1,2] [--processes N] [--rounds N] [--seconds S] [--json FILE]
// [--markdown FILE] [--full]:
//     processes of each number of threads (on CUDA none), rounds in each, about how long each side is timed in a round.
//
//   Benchmarks choices [--only attention|adam|threads] [--out FOLDER] [--threads 1,2] [--processes N] [--rounds N]
// [--seconds S]
//                                     what this project has of its own beside what TorchSharp brings, and settings of
// libtorch's threads
//
//   Benchmarks phases [--threads N] [--hidden N] [--batch N] [--horizon N] [--steps N]
//                                     microseconds of each phase of a training step, the kernel's of the first thread;
// the clock itself is some 50
//                                     of them, most of it in "rest"
//   Benchmarks phases --network "segment recall|associative recall|copy" [--seconds S]
//                                     milliseconds of each part of a transformer's step, its products and their rate
//   Benchmarks calls                  nanoseconds for one small operator call, forward and with its backward
//   Benchmarks matmul [--threads N] [--size N]       the rate of one large float32 matrix product
//   Benchmarks mixing [--threads N] [--mixer attention|window|hebbian|delta] [--batch N] [--width N] [--tokens N]
// [--steps N]
//                                     tokens a second through a transformer's block that mixes tokens in that way
// alone, forward and backward, and the
//                                     most memory that the process had
//   Benchmarks retrieval [--threads N] [--store memory|exact|hnsw] [--keys N] [--width N] [--seconds N]
//                                     of keys in memory or in PostgreSQL (EMTTORCH_POSTGRES): seconds to write and to
// index them, queries a second,
//                                     recall of the nearest 10
//   Benchmarks memory [--config FILE] [--threads N] [--steps N] [--every N] [KEY=VALUE…]
//                                     what the process holds while it trains: resident memory, live autograd nodes,
// tensors
//   Benchmarks across RUN…            of runs that learned segment recall with retrieval: how many questions about
// another document are answered
//
//   Benchmarks step-rates, scan-rates, transformer-rates, generation-rates, choice-rates, train
//                                     one process's part of the comparisons
using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text.Json;
using EmtTorch;
using EmtTorch.Kernels;
using EmtTorch.Models;
using EmtTorch.Tasks;
using EmtTorch.Training;
using TorchSharp;
using static TorchSharp.torch;

try
{
    return Run(args.FirstOrDefault(), new Arguments(args.Skip(1).ToArray()));
}
catch (ExternalException e)
{
    Console.Error.WriteLine(TorchSharpDefects.Message(e));
    return 1;
}
catch (Exception e)
    when (e is ArgumentException or FormatException or InvalidOperationException or TorchNotLoadedException)
{
    Console.Error.WriteLine(e.Message);
    return e is ArgumentException or FormatException ? 2 : 1;
}

static int Run(string? command, Arguments options)
{
    if (options.Text("setenv") is { } variable)
        Environ.Set(variable);
    TorchRuntime.Start(1);
    switch (command)
    {
        case "choices":
            return new Choices(options).Run(options.Text("only"), options.Text("out"));
        case "compare":
            return new Compare(options).Run(
                options.Text("only"),
                options.Text("out", Path.Combine("experiments", "benchmarks"))
            );
        case "steps":
            new Compare(options).Steps(options.Text("json"), options.Text("markdown"));
            return 0;
        case "scan":
            new Compare(options).Scan(options.Text("json"), options.Text("markdown"));
            return 0;
    }
    set_num_threads(options.Number("threads", 1));
    int hidden = options.Number("hidden", 128),
        batch = options.Number("batch", 64),
        horizon = options.Number("horizon", 100),
        steps = options.Number("steps", 100);
    int rounds = options.Number("rounds", 3);
    double seconds = options.Real("seconds", 0.5);
    switch (command)
    {
        case "step-rates":
            int? networks = options.Text("networks") is null ? null : options.Number("networks", 1);
            Print(ElmanSteps.Measure(new(hidden, networks, batch, horizon, CPU), rounds, seconds));
            return 0;
        case "scan-rates":
            var scan = new ScanSettings(
                Compare.Rule(options.Text("rule", "delta")),
                options.Number("batch", 1),
                options.Number("heads", 4),
                options.Number("width", 64),
                options.Number("tokens", 4096),
                options.Number("chunk", 64),
                CPU
            );
            Print(ScanRates.Measure(scan, rounds, seconds));
            return 0;
        case "choice-rates":
            Print(
                options.Text("what") switch
                {
                    "attention" => AttentionChoice.Measure(
                        options.Number("batch", 8),
                        options.Number("tokens", 256),
                        options.Number("width", 16),
                        options.Text("window") is null ? null : options.Number("window", 64),
                        rounds,
                        seconds
                    ),
                    "adam" => AdamChoice.Measure(options.Text("network", "elman-128"), rounds, seconds),
                    _ => ThreadChoice.Measure(options.Text("work", "elman"), rounds, seconds),
                }
            );
            return 0;
        case "transformer-rates":
            Print(TransformerSteps.Measure(options.Text("network", "segment recall"), rounds, seconds));
            return 0;
        case "generation-rates":
            Print(
                TransformerSteps.Generate(
                    options.Number("documents", 1),
                    options.Number("prompt", 64),
                    options.Number("tokens", 256)
                )
            );
            return 0;
        case "train":
            TorchTraining.Run(options.Number("seed", 1), steps);
            return 0;
        case "phases":
            if (options.Text("network") is { } named)
                TransformerPhases.Run(named, seconds);
            else
                Phases(hidden, batch, horizon, steps);
            return 0;
        case "calls":
            Calls();
            return 0;
        case "matmul":
            MatrixProduct(options.Number("size", 2048));
            return 0;
        case "mixing":
            Print(
                Mixing.Measure(
                    options.Text("mixer", "delta"),
                    options.Number("batch", 1),
                    options.Number("width", 64),
                    options.Number("tokens", 4096),
                    options.Number("steps", 5)
                )
            );
            return 0;
        case "retrieval":
            Retrieval.Run(
                options.Text("store", "memory"),
                options.Number("keys", 100_000),
                options.Number("width", 64),
                options.Number("seconds", 20)
            );
            return 0;
        case "memory":
            TrainingMemory.Run(
                options.Text("config", Path.Combine("configs", "repeat_copy.json")),
                options.Number("steps", 10_000),
                options.Number("every", 500),
                get_num_threads(),
                options.Rest
            );
            return 0;
        case "across":
            AcrossDocuments.Run(options.Rest);
            return 0;
        default:
            Console.Error.WriteLine(
                "usage: Benchmarks compare | steps | scan | phases | calls | matmul | mixing | retrieval | memory | "
                    + "across; their options are at the top of tests/Benchmarks/Program.cs"
            );
            return 2;
    }
}

static void Print<T>(T measured) => Console.WriteLine(JsonSerializer.Serialize(measured));

static void Calls()
{
    using var everything = NewDisposeScope();
    Tensor a = randn(4, 4),
        b = randn(4, 4),
        w = randn([4, 4], requires_grad: true);
    // The code is compiled for speed only after it has run for a while.
    for (long start = Stopwatch.GetTimestamp(); Stopwatch.GetElapsedTime(start).TotalSeconds < 1; )
    {
        using var scope = NewDisposeScope();
        ((a + b).mm(b)[1] * w).sum().backward();
    }
    Report("add", 200_000, () => a + b);
    Report("matmul", 200_000, () => a.mm(b));
    Report("select", 200_000, () => a[1]);
    Report("add_, in place", 200_000, () => a.add_(b, 1e-9));
    Report(
        "mul + sum + backward",
        20_000,
        () =>
        {
            var loss = (w * a).sum();
            loss.backward();
            return loss;
        }
    );

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

// One step as TrainingRun does it; with times, what each phase of it took.
static void Phases(int hidden, int batch, int horizon, int steps)
{
    using var everything = NewDisposeScope();
    using var task = new VariableBinding(LinearBinding.RepeatCopy(8, 8), ScalarType.Float32, CPU);
    using var network = new ElmanRnn(8, hidden);
    using var optimizer = optim.Adam(network.parameters(), lr: 1e-3);
    using var generator = new Generator(0);
    var clipped = new ClippedAdam(optimizer, network.parameters());
    var kernel = new PhaseTimes();
    long data = 0,
        score = 0,
        adam = 0;
    void Step()
    {
        using var scope = NewDisposeScope();
        long start = Stopwatch.GetTimestamp();
        var (input, target) = task.Batch(batch, horizon, generator);
        long then = Stopwatch.GetTimestamp();
        data += then - start;
        network.Score(input, target, from: 8, gradients: true, kernel);
        start = Stopwatch.GetTimestamp();
        score += start - then;
        clipped.Step(1.0);
        adam += Stopwatch.GetTimestamp() - start;
    }
    for (long start = Stopwatch.GetTimestamp(); Stopwatch.GetElapsedTime(start).TotalSeconds < 0.5; )
        Step();
    data = score = adam = 0;
    kernel.Packing = kernel.Forward = kernel.Readout = kernel.Backward = kernel.WeightGradients = kernel.Sums = 0;
    long begin = Stopwatch.GetTimestamp();
    for (int i = 0; i < steps; i++)
        Step();
    long all = Stopwatch.GetTimestamp() - begin;
    double operations = ElmanSteps.Operations(hidden, batch, horizon);
    (string Name, long Ticks)[] rows =
    [
        ("data", data),
        ("packing", kernel.Packing),
        ("forward", kernel.Forward),
        ("readout and loss", kernel.Readout),
        ("backward", kernel.Backward),
        ("weight gradients", kernel.WeightGradients),
        ("sums", kernel.Sums),
        ("clip and Adam", adam),
    ];
    foreach (var (name, ticks) in rows.Append(("rest", all - rows.Sum(r => r.Ticks))).Append(("all", all)))
    {
        Console.WriteLine(
            $"{name, -18}{ticks * 1e6 / Stopwatch.Frequency / steps, 10:0.0} us{100.0 * ticks / all, 7:0.0} %"
        );
    }

    Console.WriteLine($"{"rate", -18}{operations * steps * Stopwatch.Frequency / all / 1e9, 10:0.0} GF/s");
}

static void MatrixProduct(int size)
{
    using var everything = NewDisposeScope();
    using var quiet = no_grad();
    Tensor a = randn(size, size),
        b = randn(size, size);
    double best = double.MaxValue;
    for (int i = 0; i < 12; i++)
    {
        using var scope = NewDisposeScope();
        long start = Stopwatch.GetTimestamp();
        a.mm(b);
        best = Math.Min(best, Stopwatch.GetElapsedTime(start).TotalSeconds);
    }
    Console.WriteLine($"{2.0 * size * size * size / best / 1e9:0.0} GF/s");
}
