using System.Diagnostics;
using System.Text.Json.Nodes;
using EmtTorch;
using EmtTorch.Memory;
using TorchSharp;
using static TorchSharp.torch;

/// <summary>
/// This project beside libtorch's own parts, both through TorchSharp and in turn in one process; a process a number of
/// threads. On CUDA all is done in this process.
/// </summary>
internal sealed class Compare(Arguments arguments)
{
    private readonly string _device = arguments.Text("device", "cpu");
    private readonly int _processes = arguments.Number("processes", arguments.Full ? 7 : 3),
        _rounds = arguments.Number("rounds", 3);
    private readonly double _seconds = arguments.Real("seconds", 0.5);
    private readonly int[] _threads = arguments.Numbers("threads", 1, 2);

    private bool OnCpu => _device == "cpu";

    /// <summary>All parts, or one, each into files of its name.</summary>
    public int Run(string? only, string folder)
    {
        (string Name, Action<string, string> Measure)[] parts =
        [
            ("sweep", Sweep),
            ("run", WholeRun),
            ("steps", Steps),
            ("scan", Scan),
            ("transformer", Transformer),
            ("generation", Generation),
            ("mixing", MixingByLength),
        ];
        if (only is not null && !parts.Any(p => p.Name == only))
        {
            Console.Error.WriteLine($"'{only}' is not one of {string.Join(", ", parts.Select(p => p.Name))}");
            return 2;
        }
        foreach (var (name, measure) in parts.Where(p => only is null || only == p.Name))
        {
            measure(Path.Combine(folder, $"{name}.json"), Path.Combine(folder, $"{name}.md"));
            Console.WriteLine();
        }
        return 0;
    }

    /// <summary>One training step of T1 (d = s = 8, B = 64, 8 + 100 time steps).</summary>
    public void Steps(string? json, string? markdown)
    {
        Device(); // before a table is begun
        int batch = arguments.Number("batch", 64),
            horizon = arguments.Number("horizon", 100);
        int[] lockstep = arguments.Numbers("networks", OnCpu ? [] : [1, 20, 120, 480, 1440]);
        var table = new ResultTable(
            "steps",
            $"""
            Training steps a second: T1, B = {batch}, {horizon
                + 8} time steps, float32, with data, loss, clipping and Adam; the peer is nn.RNN.
            {(
                OnCpu ? "Each side at its best number of threads" : "On CUDA, without TF32"
            )}; medians of rounds in turn. Networks in lockstep are counted each: N times the steps that all of them make.
            """,
            [
                new("hidden", "H", "0"),
                new("networks", "in lockstep", "0"),
                new("emttorch", "EmtTorch", "0.0"),
                new("emttorch_threads", "threads", "0"),
                new("torch", "nn.RNN", "0.0"),
                new("torch_threads", "threads", "0"),
                new("ratio", "ratio", "0.00"),
                new("gflops", "GF/s", "0"),
                new("of_large_product", "of a large product", "P0"),
            ]
        )
        {
            Json = json,
            Markdown = markdown,
        };
        table.Begin();
        IEnumerable<(int Hidden, int? Networks)> rows = arguments
            .Numbers("hidden", 32, 64, 128, 256, 512)
            .Select(hidden => (hidden, (int?)null));
        if (lockstep.Length > 0 && arguments.Text("networks") is not null && arguments.Text("hidden") is null)
            rows = [];
        foreach (var (hidden, networks) in lockstep.Select(count => (128, (int?)count)).Concat(rows))
        {
            var byThreads = new Dictionary<int, List<StepRates>>();
            ForEachProcess(threads =>
            {
                List<string> command =
                [
                    "step-rates",
                    .. Common(threads),
                    "--hidden",
                    $"{hidden}",
                    "--batch",
                    $"{batch}",
                    "--horizon",
                    $"{horizon}",
                ];
                if (networks is { } count)
                    command.AddRange(["--networks", $"{count}"]);
                if (!byThreads.TryGetValue(threads, out var all))
                    byThreads[threads] = all = [];
                all.Add(
                    Measured(
                        command,
                        () => ElmanSteps.Measure(new(hidden, networks, batch, horizon, Device()), _rounds, _seconds)
                    )
                );
            });
            var (ours, ourThreads) = Best(byThreads, r => r.EmtTorch);
            var (theirs, theirThreads) = Best(byThreads, r => r.Torch);
            double flops = ours * ElmanSteps.Operations(hidden, batch, horizon);
            double? product = OnCpu ? Best(byThreads, r => r.LargeProduct).Rate : null;
            table.Add(
                new()
                {
                    ["hidden"] = hidden,
                    ["networks"] = networks,
                    ["emttorch"] = ours,
                    ["emttorch_threads"] = ourThreads,
                    ["torch"] = theirs,
                    ["torch_threads"] = theirThreads,
                    ["ratio"] = ours / theirs,
                    ["gflops"] = flops / 1e9,
                    ["large_product_gflops"] = product / 1e9,
                    ["of_large_product"] = flops / product,
                }
            );
        }
        table.Save();
    }

    /// <summary>Fast weights through a sequence, forward and backward.</summary>
    public void Scan(string? json, string? markdown)
    {
        Device(); // before a table is begun
        int batch = arguments.Number("batch", 1),
            heads = arguments.Number("heads", 4),
            width = arguments.Number("width", 64),
            chunk = arguments.Number("chunk", 64);
        var table = new ResultTable(
            "scan",
            $"""
            Tokens a second through fast weights, forward and backward, float32: B = {batch}, {heads} heads of {width} × {width}. Beside EmtTorch's scan, by chunks of {chunk} tokens in
            Torch's operators: its own chunk form, which goes back by hand{(
                OnCpu ? "" : " (here that is the scan; without TF32)"
            )}, and the form that autograd goes back through. The ratio is to the faster one; medians of rounds in turn.
            """,
            [
                new("rule", "rule"),
                new("tokens", "T", "0"),
                new("threads", "threads", "0"),
                new("emttorch", "EmtTorch", "0"),
                new("chunks", "chunk form", "0"),
                new("operators", "operators, autograd", "0"),
                new("ratio", "ratio", "0.0"),
            ]
        )
        {
            Json = json,
            Markdown = markdown,
        };
        table.Begin();
        foreach (string rule in arguments.Words("rule", "hebbian", "delta"))
        {
            foreach (int tokens in arguments.Numbers("tokens", 1024, 4096, 16384))
            {
                var byThreads = new Dictionary<int, List<Tokens>>();
                ForEachProcess(threads =>
                {
                    List<string> command =
                    [
                        "scan-rates",
                        .. Common(threads),
                        "--rule",
                        rule,
                        "--batch",
                        $"{batch}",
                        "--heads",
                        $"{heads}",
                        "--width",
                        $"{width}",
                        "--tokens",
                        $"{tokens}",
                        "--chunk",
                        $"{chunk}",
                    ];
                    if (!byThreads.TryGetValue(threads, out var all))
                        byThreads[threads] = all = [];
                    all.Add(
                        Measured(
                            command,
                            () =>
                                ScanRates.Measure(
                                    new(Rule(rule), batch, heads, width, tokens, chunk, Device()),
                                    _rounds,
                                    _seconds
                                )
                        )
                    );
                });
                foreach (var (threads, rates) in byThreads)
                {
                    double ours = InTurn.Median(rates.SelectMany(r => r.EmtTorch)),
                        operators = InTurn.Median(rates.SelectMany(r => r.Operators));
                    double? chunks = OnCpu ? InTurn.Median(rates.SelectMany(r => r.Chunks)) : null;
                    table.Add(
                        new()
                        {
                            ["rule"] = rule,
                            ["tokens"] = tokens,
                            ["threads"] = threads,
                            ["emttorch"] = ours,
                            ["chunks"] = chunks,
                            ["operators"] = operators,
                            ["ratio"] = ours / Math.Max(operators, chunks ?? 0),
                        }
                    );
                }
            }
        }
        table.Save();
    }

    /// <summary>
    /// How time and memory go with the length: attention over all tokens, attention in a window, fast weights.
    /// </summary>
    /// <summary>Training steps of transformers.</summary>
    private void Transformer(string json, string markdown)
    {
        var table = new ResultTable(
            "transformer",
            """
            Training steps a second of transformers with episodic memory, float32, with data, loss, clipping and Adam.
            The peer is the same network by TorchSharp's own modules, with scaled_dot_product_attention and chunks in
            operators; from the same weights both have the same losses. Each side at its best number of threads; medians
            of rounds in turn. GF/s are those of the projections alone. "Pages given back" is without the setting by
            which this project's programs keep the memory of freed tensors, as TorchSharp runs by itself.
            """,
            [
                new("network", "network"),
                new("tokens", "tokens a step", "0"),
                new("emttorch", "EmtTorch", "0.00"),
                new("emttorch_threads", "threads", "0"),
                new("one_thread", "with one", "0.00"),
                new("torch", "TorchSharp", "0.00"),
                new("torch_threads", "threads", "0"),
                new("ratio", "ratio", "0.00"),
                new("gflops", "GF/s", "0"),
                new("emttorch_given_back", "EmtTorch, pages given back", "0.00"),
                new("torch_given_back", "TorchSharp, pages given back", "0.00"),
            ]
        )
        {
            Json = json,
            Markdown = markdown,
        };
        table.Begin();
        foreach (string network in arguments.Words("network", [.. TransformerSteps.Networks.Keys]))
        {
            Dictionary<int, List<TransformerRates>> byThreads = [],
                givenBack = [];
            ForEachProcess(threads =>
            {
                void Add(Dictionary<int, List<TransformerRates>> to, Dictionary<string, string?>? environment)
                {
                    if (!to.TryGetValue(threads, out var all))
                        to[threads] = all = [];
                    string[] command = ["transformer-rates", .. Common(threads), "--network", network];
                    all.Add(Child.Measure<TransformerRates>(command, environment));
                }
                Add(byThreads, null);
                Add(givenBack, new() { ["GLIBC_TUNABLES"] = "glibc.malloc.perturb=0" }); // its default
            });
            var (ours, ourThreads) = Best(byThreads, r => r.EmtTorch);
            var (theirs, theirThreads) = Best(byThreads, r => r.Torch);
            var (tokens, products) = (byThreads.Values.First()[0].Tokens, byThreads.Values.First()[0].Products);
            table.Add(
                new()
                {
                    ["network"] = network,
                    ["tokens"] = tokens,
                    ["emttorch"] = ours,
                    ["emttorch_threads"] = ourThreads,
                    ["one_thread"] = byThreads.TryGetValue(1, out var one)
                        ? InTurn.Median(one.SelectMany(r => r.EmtTorch))
                        : null,
                    ["torch"] = theirs,
                    ["torch_threads"] = theirThreads,
                    ["ratio"] = ours / theirs,
                    ["gflops"] = ours * products / 1e9,
                    ["emttorch_given_back"] = Best(givenBack, r => r.EmtTorch).Rate,
                    ["torch_given_back"] = Best(givenBack, r => r.Torch).Rate,
                }
            );
        }
        table.Save();
    }

    /// <summary>Documents that a network goes on with.</summary>
    private void Generation(string json, string markdown)
    {
        var table = new ResultTable(
            "generation",
            """
            Generate, with state, of the network of segment recall, two threads: seconds to the first token after a
            prompt, then tokens a second of all documents.
            """,
            [
                new("documents", "documents", "0"),
                new("prompt", "tokens of the prompt", "0"),
                new("first", "first token, s", "0.000"),
                new("rate", "tokens/s", "0"),
            ]
        )
        {
            Json = json,
            Markdown = markdown,
        };
        table.Begin();
        foreach (var (documents, prompt) in new[] { (1, 64), (32, 64), (1, 16_384) })
        {
            string[] command =
            [
                "generation-rates",
                "--threads",
                "2",
                "--documents",
                $"{documents}",
                "--prompt",
                $"{prompt}",
            ];
            var rates = Enumerable.Range(0, _processes).Select(_ => Child.Measure<GenerationRate>(command)).ToList();
            table.Add(
                new()
                {
                    ["documents"] = documents,
                    ["prompt"] = prompt,
                    ["first"] = InTurn.Median(rates.Select(r => r.First)),
                    ["rate"] = InTurn.Median(rates.Select(r => r.TokensPerSecond)),
                }
            );
        }
        table.Save();
    }

    private void MixingByLength(string json, string markdown)
    {
        var table = new ResultTable(
            "mixing",
            """
            Tokens a second forward and backward, and the process's peak memory in MB, through one block of width 64 that mixes tokens in one way alone: attention over all
            tokens (4 heads), attention in a window of 64, fast weights (one head of 64 × 64) by either rule; B = 1, float32, two threads, medians of rounds in turn.
            """,
            [
                new("tokens", "T", "0"),
                .. Mixing.Mixers.SelectMany(m =>
                    new Column[] { new($"{m}_tokens_per_second", m, "0"), new($"{m}_peak_mb", "MB", "0") }
                ),
            ]
        )
        {
            Json = json,
            Markdown = markdown,
        };
        table.Begin();
        foreach (int tokens in arguments.Numbers("tokens", 256, 1024, 4096, 16384))
        {
            var measured = Mixing.Mixers.ToDictionary(m => m, _ => new List<MixingRate>());
            for (int round = 0; round < _processes; round++)
            {
                foreach (string mixer in Mixing.Mixers)
                {
                    // Attention over 16k tokens takes 4 GB for each of a few matrices, T × T × 4 heads, and minutes.
                    if (mixer == "attention" && tokens > 4096 && !arguments.Full)
                        continue;
                    int steps = mixer == "attention" && tokens > 1024 ? 2 : Math.Max(3, 65536 / tokens);
                    measured[mixer]
                        .Add(
                            Child.Measure<MixingRate>([
                                "mixing",
                                "--threads",
                                "2",
                                "--mixer",
                                mixer,
                                "--tokens",
                                $"{tokens}",
                                "--steps",
                                $"{steps}",
                            ])
                        );
                }
            }

            var row = new JsonObject { ["tokens"] = tokens };
            foreach (var (mixer, rates) in measured)
            {
                row[$"{mixer}_tokens_per_second"] =
                    rates.Count == 0 ? null : InTurn.Median(rates.Select(r => r.TokensPerSecond));
                row[$"{mixer}_peak_mb"] =
                    rates.Count == 0 ? null : InTurn.Median(rates.Select(r => (double)r.PeakMegabytes));
            }
            table.Add(row);
        }
        table.Save();
    }

    /// <summary>
    /// configs/t4.json from start to finish, processes and all; nn.RNN with the same curriculum and tests, without
    /// checkpoints.
    /// </summary>
    private void WholeRun(string json, string markdown)
    {
        int steps = arguments.Number("steps", arguments.Full ? 20_000 : 2_000);
        var table = Seconds(
            "run",
            "From start to finish, one process each: this project with its checkpoints, nn.RNN without; each side at "
                + "its best number of threads, medians of rounds in turn.",
            json,
            markdown
        );
        Dictionary<int, List<double>> ours = [],
            theirs = [];
        ForEachProcess(
            threads =>
            {
                Timed(
                    ours,
                    threads,
                    () =>
                        Child.Run(
                            "dotnet",
                            Train(
                                "configs/t4.json",
                                "--seed",
                                "1",
                                "--set",
                                $"training.steps={steps}",
                                "--set",
                                $"threads={threads}"
                            )
                        )
                );
                Timed(
                    theirs,
                    threads,
                    () => Child.Self(["train", "--threads", $"{threads}", "--steps", $"{steps}", "--seed", "1"])
                );
            },
            rounds: arguments.Full ? 1 : _processes
        );
        table.Add(SecondsRow($"T4, H = 128, {steps} steps with tests", Fastest(ours), Fastest(theirs)));

        foreach (string config in (string[])["repeat_copy", "segment_recall"])
        {
            List<double> seconds = [];
            for (int round = 0; round < (config == "repeat_copy" ? 3 : 1); round++)
                seconds.Add(Time(() => Child.Run("dotnet", Train($"configs/{config}.json"))));
            table.Add(SecondsRow($"configs/{config}.json", InTurn.Median(seconds), null));
        }
        table.Save();
    }

    /// <summary>
    /// 20 seeds of T4: one process here; nn.RNN as a process a seed, as many at a time as there are processors.
    /// </summary>
    private void Sweep(string json, string markdown)
    {
        int steps = arguments.Number("steps", arguments.Full ? 20_000 : 400),
            seeds = arguments.Number("seeds", 20);
        var table = Seconds(
            "sweep",
            $"{seeds} seeds of T4, H = 128: this project in one process, nn.RNN as {seeds} processes, "
                + $"{Environment.ProcessorCount} at a time with one thread each; medians of rounds in turn.",
            json,
            markdown
        );
        List<double> ours = [],
            theirs = [];
        for (int round = 0; round < (arguments.Full ? 1 : _processes); round++)
        {
            ours.Add(
                Time(() =>
                    Child.Run(
                        "dotnet",
                        Train("configs/t4.json", "--seeds", $"1-{seeds}", "--set", $"training.steps={steps}")
                    )
                )
            );
            theirs.Add(
                Time(() =>
                    Parallel.For(
                        1,
                        seeds + 1,
                        new() { MaxDegreeOfParallelism = Environment.ProcessorCount },
                        seed => Child.Self(["train", "--threads", "1", "--steps", $"{steps}", "--seed", $"{seed}"])
                    )
                )
            );
        }
        table.Add(SecondsRow($"{steps} steps each", InTurn.Median(ours), InTurn.Median(theirs)));
        table.Save();
    }

    private static ResultTable Seconds(string name, string caption, string json, string markdown)
    {
        var table = new ResultTable(
            name,
            caption,
            [
                new("what", "what"),
                new("emttorch_seconds", "EmtTorch, s", "0.0"),
                new("torch_seconds", "nn.RNN, s", "0.0"),
                new("ratio", "ratio", "0.00"),
            ]
        )
        {
            Json = json,
            Markdown = markdown,
        };
        table.Begin();
        return table;
    }

    private static JsonObject SecondsRow(string what, double ours, double? theirs) =>
        new()
        {
            ["what"] = what,
            ["emttorch_seconds"] = ours,
            ["torch_seconds"] = theirs,
            ["ratio"] = theirs / ours,
        };

    private static string[] Train(string config, params string[] options) =>
        [
            Path.Combine("Trainer", "bin", "Release", "net10.0", "Trainer.dll"),
            config,
            "--out",
            Directory.CreateTempSubdirectory("benchmark").FullName,
            .. options,
        ];

    private static double Time(Action action)
    {
        var watch = Stopwatch.StartNew();
        action();
        return watch.Elapsed.TotalSeconds;
    }

    private static void Timed(Dictionary<int, List<double>> seconds, int threads, Action action)
    {
        if (!seconds.TryGetValue(threads, out var all))
            seconds[threads] = all = [];
        all.Add(Time(action));
    }

    private static double Fastest(Dictionary<int, List<double>> seconds) => seconds.Values.Min(InTurn.Median);

    private static (double Rate, int Threads) Best<T>(Dictionary<int, List<T>> byThreads, Func<T, double[]> of) =>
        byThreads.Select(p => (InTurn.Median(p.Value.SelectMany(of)), p.Key)).Max();

    // Numbers of threads in turn, too.
    private void ForEachProcess(Action<int> measure, int? rounds = null)
    {
        for (int process = 0; process < (OnCpu ? rounds ?? _processes : 1); process++)
        {
            foreach (int threads in OnCpu ? _threads : [1])
                measure(threads);
        }
    }

    private T Measured<T>(List<string> command, Func<T> here) => OnCpu ? Child.Measure<T>(command) : here();

    private string[] Common(int threads) =>
        ["--threads", $"{threads}", "--rounds", $"{_rounds}", "--seconds", Child.Text(_seconds)];

    private Device Device()
    {
        var device = TorchRuntime.ResolveDevice(_device, out var problem);
        if (problem is not null)
            throw new ArgumentException(problem);
        if (device.type == DeviceType.CUDA)
            backends.cuda.matmul.allow_tf32 = backends.cudnn.allow_tf32 = false; // cuDNN's is on by itself
        return device;
    }

    internal static WriteRule Rule(string name) =>
        name switch
        {
            "hebbian" => WriteRule.Hebbian,
            "delta" => WriteRule.Delta,
            _ => throw new ArgumentException($"there is no rule '{name}'; there are hebbian and delta"),
        };
}
