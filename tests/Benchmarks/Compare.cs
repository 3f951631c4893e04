using System.Diagnostics;
using System.Globalization;
using System.Reflection;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json.Nodes;

/// <summary>
/// This project and PyTorch on the same work, in turn, round by round: medians and their ratios, as Markdown and JSON.
/// </summary>
internal sealed class Compare(string python, string? only, bool full)
{
    private readonly StringBuilder _text = new();
    private readonly JsonObject _json = [];
    private readonly string _here = Path.GetDirectoryName(Assembly.GetExecutingAssembly().Location)!;
    private readonly bool _hasPython = Runs(python, "-c", "import torch");

    public int Run(string folder)
    {
        (string Name, Action Measure)[] parts = [("sweep", Sweep), ("run", WholeRun), ("steps", Steps), ("scan", Scan), ("mixing", MixingAt)];
        if (only is not null && !parts.Any(p => p.Name == only))
        {
            Console.Error.WriteLine($"'{only}' is not one of {string.Join(", ", parts.Select(p => p.Name))}");
            return 2;
        }
        Directory.CreateDirectory(folder);
        foreach (var (name, measure) in parts)
        {
            if (only is not null && only != name) continue;
            _text.Clear();
            _json.Clear();
            Machine();
            if (!_hasPython) Say($"{python} has no torch: only this project is measured.\n");
            measure();
            File.WriteAllText(Path.Combine(folder, $"{name}.md"), _text.ToString());
            File.WriteAllText(Path.Combine(folder, $"{name}.json"), _json.ToJsonString(new() { WriteIndented = true, NewLine = "\n" }) + "\n");
        }
        return 0;
    }

    private void Machine()
    {
        string model = File.Exists("/proc/cpuinfo")
            ? File.ReadLines("/proc/cpuinfo").FirstOrDefault(l => l.StartsWith("model name", StringComparison.Ordinal))?.Split(':', 2)[1].Trim() ?? "unknown" : "unknown";
        string torch = _hasPython ? Output(python, ["-c", "import torch; print(torch.__version__)"]).Trim() : "none";
        var facts = new JsonObject
        {
            ["date"] = DateTime.UtcNow.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture),
            ["processor"] = model,
            ["processors"] = Environment.ProcessorCount,
            ["system"] = RuntimeInformation.OSDescription,
            ["dotnet"] = Environment.Version.ToString(),
            ["vector_bits"] = System.Runtime.Intrinsics.Vector512.IsHardwareAccelerated ? 512 : System.Runtime.Intrinsics.Vector256.IsHardwareAccelerated ? 256 : 128,
            ["pytorch"] = torch,
        };
        _json["machine"] = facts;
        Say($"Machine: {model}, {Environment.ProcessorCount} processors, {facts["vector_bits"]} bit vectors; .NET {facts["dotnet"]}; PyTorch {torch}; {facts["date"]}.\n");
    }

    /// <summary>One training step of T1 (d = s = 8, B = 64, 8 + 100 time steps), best thread count of each side.</summary>
    private void Steps()
    {
        Say("""
            Training steps a second: T1, B = 64, 108 time steps, with data, loss, clipping and Adam; the best thread count of each side, medians of rounds in turn.

            | H | EmtTorch | PyTorch | ratio | GF/s | of a large product |
            |--:|--:|--:|--:|--:|--:|
            """);
        var rows = new JsonArray();
        foreach (int hidden in (int[])[32, 64, 128, 256, 512])
        {
            int steps = hidden switch { 32 => 1000, 64 => 400, 128 => 150, 256 => 40, _ => 10 };
            var ours = new Dictionary<int, List<double>> { [1] = [], [2] = [] };
            var theirs = new Dictionary<int, List<double>> { [1] = [], [2] = [] };
            var product = new List<double>();
            for (int round = 0; round < (full ? 7 : 3); round++)
                foreach (int threads in (int[])[1, 2])
                {
                    string[] arguments = ["steps", "--hidden", $"{hidden}", "--threads", $"{threads}", "--steps", $"{steps}"];
                    ours[threads].Add(Rate(Output("dotnet", [Path.Combine(_here, "Benchmarks.dll"), .. arguments])));
                    if (_hasPython) theirs[threads].Add(Rate(Output(python, [Path.Combine(_here, "elman.py"), .. arguments[..^1], $"{Math.Max(5, steps / 4)}"])));
                    product.Add(Rate(Output("dotnet", [Path.Combine(_here, "Benchmarks.dll"), "matmul", "--threads", $"{threads}"], blasThreads: threads)));
                }
            double our = ours.Values.Max(Median), their = _hasPython ? theirs.Values.Max(Median) : double.NaN;
            // Forward, back, and the weights' gradient: 3 products of 2 H (H + κ) a time step and sequence, and the readout's.
            double rate = our * 64 * 108 * (3 * 2.0 * hidden * hidden + 3 * 2.0 * hidden * 8 * (8 + 100) / 108) / 1e9, large = product.Max();
            Say(string.Create(CultureInfo.InvariantCulture, $"| {hidden} | {our:0.0} | {their:0.0} | {our / their:0.00} | {rate:0} | {rate / large:P0} |"));
            rows.Add(new JsonObject { ["hidden"] = hidden, ["emttorch"] = our, ["pytorch"] = Finite(their), ["ratio"] = Finite(our / their), ["gflops"] = rate, ["large_product_gflops"] = large });
        }
        _json["steps"] = rows;
        Say("");
    }

    /// <summary>Fast weights through a sequence, forward and backward; PyTorch's side is the loop over tokens.</summary>
    private void Scan()
    {
        Say("""
            Tokens a second through fast weights, forward and backward, float32; the best thread count of each side, medians of rounds in turn. PyTorch's side
            is the loop over tokens.

            | rule | B | heads × width | T | EmtTorch | PyTorch | ratio |
            |---|--:|--:|--:|--:|--:|--:|
            """);
        var rows = new JsonArray();
        foreach (string rule in (string[])["hebbian", "delta"])
            foreach (var (batch, heads, width) in ((int, int, int)[])[(1, 4, 16), (4, 4, 16), (1, 1, 64), (4, 1, 64)])
            {
                const int tokens = 4096;
                var ours = new Dictionary<int, List<double>> { [1] = [], [2] = [] };
                var theirs = new Dictionary<int, List<double>> { [1] = [], [2] = [] };
                for (int round = 0; round < (full ? 7 : 3); round++)
                    foreach (int threads in (int[])[1, 2])
                    {
                        string[] arguments = ["scan", "--threads", $"{threads}", "--rule", rule, "--batch", $"{batch}", "--heads", $"{heads}", "--width", $"{width}", "--tokens", $"{tokens}"];
                        ours[threads].Add(Rate(Output("dotnet", [Path.Combine(_here, "Benchmarks.dll"), .. arguments, "--steps", "20"])));
                        if (_hasPython) theirs[threads].Add(Rate(Output(python, [Path.Combine(_here, "scan.py"), .. arguments[1..], "--steps", "1"])));
                    }
                double our = ours.Values.Max(Median), their = _hasPython ? theirs.Values.Max(Median) : double.NaN;
                Say(string.Create(CultureInfo.InvariantCulture, $"| {rule} | {batch} | {heads} × {width} | {tokens} | {our:0} | {their:0} | {our / their:0.0} |"));
                rows.Add(new JsonObject
                {
                    ["rule"] = rule, ["batch"] = batch, ["heads"] = heads, ["width"] = width, ["tokens"] = tokens,
                    ["emttorch"] = our, ["pytorch"] = Finite(their), ["ratio"] = Finite(our / their),
                });
            }
        _json["scan"] = rows;
        Say("");
    }

    /// <summary>How time and memory go with the length: attention over all tokens, attention in a window, fast weights.</summary>
    private void MixingAt()
    {
        Say("""
            Tokens a second forward and backward, and the process's peak memory in MB, through one block of width 64 that mixes tokens in one way alone: attention over all
            tokens (4 heads), attention in a window of 64, fast weights (one head of 64 × 64) by either rule; B = 1, float32, two threads, medians of rounds in turn.

            | T | attention | | window | | hebbian | | delta | |
            |--:|--:|--:|--:|--:|--:|--:|--:|--:|
            """);
        var rows = new JsonArray();
        foreach (int tokens in (int[])[256, 1024, 4096, 16384])
        {
            var rates = Mixing.Mixers.ToDictionary(m => m, _ => new List<double>());
            var peaks = Mixing.Mixers.ToDictionary(m => m, _ => new List<double>());
            for (int round = 0; round < (full ? 7 : 3); round++)
                foreach (string mixer in Mixing.Mixers)
                {
                    // Attention over 16k tokens takes 4 GB for each of a few matrices, T × T × 4 heads, and minutes.
                    if (mixer == "attention" && tokens > 4096 && !full) continue;
                    var output = Output("dotnet", [Path.Combine(_here, "Benchmarks.dll"), "mixing", "--threads", "2", "--mixer", mixer, "--tokens", $"{tokens}", "--steps", $"{(mixer == "attention" && tokens > 1024 ? 2 : Math.Max(3, 65536 / tokens))}"]);
                    rates[mixer].Add(Rate(output));
                    peaks[mixer].Add(Rate(output.Split(',')[1]));
                }
            string Cell(string mixer) => rates[mixer].Count == 0 ? "– | –" : string.Create(CultureInfo.InvariantCulture, $"{Median(rates[mixer]):0} | {Median(peaks[mixer]):0}");
            Say($"| {tokens} | {string.Join(" | ", Mixing.Mixers.Select(Cell))} |");
            rows.Add(new JsonObject(Mixing.Mixers.Where(m => rates[m].Count > 0).SelectMany(m => new KeyValuePair<string, JsonNode?>[] { new($"{m}_tokens_per_second", Median(rates[m])), new($"{m}_peak_mb", Median(peaks[m])) }).Prepend(new("tokens", tokens))));
        }
        _json["mixing"] = rows;
        Say("");
    }

    /// <summary>configs/t4.json from start to finish, processes and all.</summary>
    private void WholeRun()
    {
        int steps = full ? 20_000 : 2_000;
        var (ours, theirs) = (new List<double>(), new List<double>());
        for (int round = 0; round < (full ? 1 : 3); round++)
        {
            ours.Add(Seconds("dotnet", Train("configs/t4.json", "--seed", "1", "--set", $"training.steps={steps}")));
            if (_hasPython) theirs.Add(Seconds(python, [Path.Combine(_here, "elman.py"), "run", "--task", "t4", "--steps", $"{steps}"]));
        }
        Report("run", $"T4, H = 128, {steps} steps with tests and checkpoints, one process", ours, theirs);

        ours.Clear();
        for (int round = 0; round < 3; round++) ours.Add(Seconds("dotnet", Train("configs/repeat_copy.json")));
        Report("repeat_copy", "configs/repeat_copy.json, start to finish", ours, []);
    }

    /// <summary>20 seeds of T4: one process here, 20 processes of PyTorch, as many at a time as there are processors.</summary>
    private void Sweep()
    {
        int steps = full ? 20_000 : 400;
        double ours = Seconds("dotnet", Train("configs/t4.json", "--seeds", "1-20", "--set", $"training.steps={steps}"));
        var theirs = new List<double>();
        if (_hasPython)
        {
            long start = Stopwatch.GetTimestamp();
            Parallel.For(1, 21, new() { MaxDegreeOfParallelism = Environment.ProcessorCount }, seed =>
                Output(python, [Path.Combine(_here, "elman.py"), "run", "--task", "t4", "--steps", $"{steps}", "--seed", $"{seed}"]));
            theirs.Add(Stopwatch.GetElapsedTime(start).TotalSeconds);
        }
        Report("sweep", $"20 seeds of T4, H = 128, {steps} steps each; PyTorch as 20 processes, {Environment.ProcessorCount} at a time", [ours], theirs);
    }

    private void Report(string name, string what, List<double> ours, List<double> theirs)
    {
        double our = Median(ours), their = theirs.Count > 0 ? Median(theirs) : double.NaN;
        Say(string.Create(CultureInfo.InvariantCulture, $"{what}: {our:0.0} s") + (theirs.Count > 0 ? string.Create(CultureInfo.InvariantCulture, $", PyTorch {their:0.0} s: {their / our:0.00} times.\n") : ".\n"));
        _json[name] = new JsonObject { ["what"] = what, ["emttorch_seconds"] = our, ["pytorch_seconds"] = Finite(their), ["ratio"] = Finite(their / our) };
    }

    private string[] Train(string config, params string[] arguments)
    {
        var output = Path.Combine(Path.GetTempPath(), $"emttorch-benchmark-{Environment.ProcessId}");
        if (Directory.Exists(output)) Directory.Delete(output, recursive: true);
        return [Path.Combine("Trainer", "bin", "Release", "net10.0", "Trainer.dll"), config, "--device", "cpu", "--out", output, .. arguments];
    }

    private void Say(string line)
    {
        Console.WriteLine(line);
        _text.Append(line).Append('\n');
    }

    private static JsonNode? Finite(double value) => double.IsFinite(value) ? JsonValue.Create(value) : null;

    private static double Median(List<double> values) => values.Order().ElementAt(values.Count / 2);

    /// <summary>The number that a line begins with.</summary>
    private static double Rate(string output) => double.Parse(output.Trim().Split(' ')[0], CultureInfo.InvariantCulture);

    private static double Seconds(string program, string[] arguments)
    {
        long start = Stopwatch.GetTimestamp();
        Output(program, arguments);
        return Stopwatch.GetElapsedTime(start).TotalSeconds;
    }

    private static bool Runs(string program, params string[] arguments)
    {
        try
        {
            Output(program, arguments);
            return true;
        }
        catch (Exception e) when (e is InvalidOperationException or System.ComponentModel.Win32Exception)
        {
            return false;
        }
    }

    private static string Output(string program, string[] arguments, int blasThreads = 1)
    {
        var start = new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        // OpenBLAS's own threads would slow PyTorch's training down; a large product alone is faster with them.
        start.Environment["OPENBLAS_NUM_THREADS"] = $"{blasThreads}";
        using var process = Process.Start(start)!;
        var error = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return process.ExitCode == 0 ? output : throw new InvalidOperationException($"{program} {string.Join(' ', arguments)} ended with exit code {process.ExitCode}: {error.Result}");
    }
}
