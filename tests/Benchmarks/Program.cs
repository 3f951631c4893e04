// Timings, each printed as one number a line, for scripts/benchmark.sh to set beside PyTorch's.
//   Benchmarks calls                                   nanoseconds for one small operator call, forward and with its backward
//   Benchmarks steps [--threads N] [--hidden N] [--batch N] [--horizon N] [--steps N]    training steps a second of task T1
//   Benchmarks phases [the same]                       microseconds of each phase of such a step, the kernel's of the first thread;
//                                                      the clock itself is some 50 of them, most of it in "rest"
//   Benchmarks matmul [--threads N] [--size N]         the rate of one large float32 matrix product
//   Benchmarks scan [--threads N] [--rule hebbian|delta] [--batch N] [--heads N] [--width N] [--tokens N] [--steps N]
//                                                      tokens a second through fast weights of heads × (width × width), forward and backward
//   Benchmarks mixing [--threads N] [--mixer attention|window|hebbian|delta] [--batch N] [--width N] [--tokens N] [--steps N]
//                                                      tokens a second through a transformer's block that mixes tokens in that way alone, forward and backward,
//                                                      and the most memory that the process had
//   Benchmarks retrieval [--threads N] [--store memory|exact|hnsw] [--keys N] [--width N] [--seconds N]
//                                                      of keys in memory or in PostgreSQL (EMTTORCH_POSTGRES): seconds to write and to index them, queries a second, recall of the nearest 10
//   Benchmarks across RUN…                             of runs that learned segment recall with retrieval: how many questions about another document are answered
//   Benchmarks compare [--full] [--only steps|scan|mixing|run|sweep] [--python PYTHON] [--out FOLDER]      all of it beside PyTorch: scripts/benchmark.sh
using System.Diagnostics;
using EmtTorch;
using EmtTorch.Memory;
using EmtTorch.Models;
using EmtTorch.Models.Fused;
using EmtTorch.Tasks;
using TorchSharp;
using static TorchSharp.torch;

string? Text(string name) => Array.IndexOf(args, "--" + name) is var i and >= 0 && i + 1 < args.Length ? args[i + 1] : null;
int Option(string name, int otherwise) => Array.IndexOf(args, "--" + name) is var i and >= 0 ? int.Parse(args[i + 1]) : otherwise;

TorchRuntime.Start(Option("threads", 1));
switch (args.FirstOrDefault())
{
    case "calls": Calls(); return 0;
    case "steps": Steps(Option("hidden", 128), Option("batch", 64), Option("horizon", 100), Option("steps", 100), phases: false); return 0;
    case "phases": Steps(Option("hidden", 128), Option("batch", 64), Option("horizon", 100), Option("steps", 100), phases: true); return 0;
    case "matmul": MatrixProduct(Option("size", 2048)); return 0;
    case "scan": Scan(Text("rule") ?? "delta", Option("batch", 1), Option("heads", 4), Option("width", 16), Option("tokens", 4096), Option("steps", 5)); return 0;
    case "mixing": Mixing.Run(Text("mixer") ?? "delta", Option("batch", 1), Option("width", 64), Option("tokens", 4096), Option("steps", 5)); return 0;
    case "retrieval": Retrieval.Run(Text("store") ?? "memory", Option("keys", 100_000), Option("width", 64), Option("seconds", 20)); return 0;
    case "across": AcrossDocuments.Run(args[1..]); return 0;
    case "compare": return new Compare(Text("python") ?? "python3", Text("only"), args.Contains("--full")).Run(Text("out") ?? Path.Combine("experiments", "benchmarks"));
    default:
        Console.Error.WriteLine("usage: Benchmarks compare | across RUN… | calls | matmul [--threads N] [--size N] | steps | phases [--threads N] [--hidden N] [--batch N] [--horizon N] [--steps N] | scan [--threads N] [--rule hebbian|delta] [--batch N] [--heads N] [--width N] [--tokens N] [--steps N] | mixing [--threads N] [--mixer attention|window|hebbian|delta] [--batch N] [--width N] [--tokens N] [--steps N] | retrieval [--threads N] [--store memory|exact|hnsw] [--keys N] [--width N] [--seconds N]");
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

// One step as TrainingRun does it; with times, what each phase of it took.
static void Steps(int hidden, int batch, int horizon, int steps, bool phases)
{
    using var everything = NewDisposeScope();
    using var task = new VariableBinding(LinearBinding.RepeatCopy(8, 8), ScalarType.Float32, CPU);
    using var network = new ElmanRnn(8, hidden);
    using var optimizer = optim.Adam(network.parameters(), lr: 1e-3);
    using var generator = new Generator(0);
    var clipped = new ClippedAdam(optimizer, network.parameters());
    var kernel = phases ? new PhaseTimes() : null;
    long data = 0, score = 0, adam = 0;
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
    for (long start = Stopwatch.GetTimestamp(); Stopwatch.GetElapsedTime(start).TotalSeconds < 0.5;) Step();
    data = score = adam = 0;
    if (kernel is not null) kernel.Packing = kernel.Forward = kernel.Readout = kernel.Backward = kernel.WeightGradients = kernel.Sums = 0;
    long begin = Stopwatch.GetTimestamp();
    for (int i = 0; i < steps; i++) Step();
    long all = Stopwatch.GetTimestamp() - begin;
    if (kernel is null)
    {
        Console.WriteLine($"{steps / Stopwatch.GetElapsedTime(begin, begin + all).TotalSeconds:0.00} steps/s");
        return;
    }
    // Products of the recurrence, there and back and for the weights, of the input and of the readout.
    double operations = 6.0 * batch * hidden * ((double)(horizon + 8) * hidden + 8 * (8 * 2 / 3.0 + horizon));
    (string Name, long Ticks)[] rows =
    [
        ("data", data), ("packing", kernel.Packing), ("forward", kernel.Forward), ("readout and loss", kernel.Readout), ("backward", kernel.Backward),
        ("weight gradients", kernel.WeightGradients), ("sums", kernel.Sums), ("clip and Adam", adam),
    ];
    foreach (var (name, ticks) in rows.Append(("rest", all - rows.Sum(r => r.Ticks))).Append(("all", all)))
        Console.WriteLine($"{name,-18}{ticks * 1e6 / Stopwatch.Frequency / steps,10:0.0} us{100.0 * ticks / all,7:0.0} %");
    Console.WriteLine($"{"rate",-18}{operations * steps * Stopwatch.Frequency / all / 1e9,10:0.0} GF/s");
}

static void Scan(string rule, int batch, int heads, int width, int tokens, int steps)
{
    using var everything = NewDisposeScope();
    Tensor Leaf(Tensor values) => values.detach().requires_grad_();
    Tensor k = randn([batch, heads, tokens, width]);
    Tensor q = Leaf(randn([batch, heads, tokens, width])), v = Leaf(randn([batch, heads, tokens, width])), strength = Leaf(rand([batch, heads, tokens]));
    Tensor decay = Leaf(1 - 0.1 * rand([heads])), state = Leaf(randn([batch, heads, width, width]));
    k = Leaf(k / k.norm(-1, keepdim: true));
    var writes = rule switch { "hebbian" => WriteRule.Hebbian, "delta" => WriteRule.Delta, _ => throw new ArgumentException($"no rule '{rule}'") };
    void Step()
    {
        using var scope = NewDisposeScope();
        var (read, after) = FastWeights.Scan(q, k, v, strength, decay, state, writes);
        (read.sum() + after.sum()).backward();
    }
    for (long start = Stopwatch.GetTimestamp(); Stopwatch.GetElapsedTime(start).TotalSeconds < 0.5;) Step();
    long begin = Stopwatch.GetTimestamp();
    for (int i = 0; i < steps; i++) Step();
    Console.WriteLine($"{(double)steps * batch * tokens / Stopwatch.GetElapsedTime(begin).TotalSeconds:0} tokens/s");
}

static void MatrixProduct(int size)
{
    using var everything = NewDisposeScope();
    using var quiet = no_grad();
    Tensor a = randn(size, size), b = randn(size, size);
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
