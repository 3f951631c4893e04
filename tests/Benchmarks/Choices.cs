using System.Text.Json.Nodes;
using EmtTorch.Kernels;

/// <summary>
/// What this project has of its own beside what TorchSharp brings, and the settings of libtorch's threads: in turn,
/// medians and ratios. Where the ratio is below 1, what is of our own has no place.
/// </summary>
internal sealed class Choices(Arguments arguments)
{
    private readonly int _processes = arguments.Number("processes", 3),
        _rounds = arguments.Number("rounds", 3);
    private readonly double _seconds = arguments.Real("seconds", 0.3);
    private readonly int[] _threads = arguments.Numbers("threads", 1, 2);

    public int Run(string? only, string? folder)
    {
        (string Name, Action<string?, string?> Measure)[] parts =
        [
            ("attention", Attention),
            ("adam", Adam),
            ("threads", Threads),
        ];
        foreach (var (name, measure) in parts.Where(p => only is null || only == p.Name))
        {
            measure(
                folder is null ? null : Path.Combine(folder, $"{name}.json"),
                folder is null ? null : Path.Combine(folder, $"{name}.md")
            );
        }

        return 0;
    }

    private void Attention(string? json, string? markdown)
    {
        var table = new ResultTable(
            "attention",
            """
            Attention from an empty past, forward and backward, calls a second: 4 heads, float32. "EmtTorch" is what the project does now; then the operators in place of
            scaled_dot_product_attention (in bands where there is a window), that function with one T × T mask, the operators with it, in bands with a mask of four
            dimensions, and with its flag for causal attention. Medians of rounds in turn.
            """,
            [
                new("batch", "B", "0"),
                new("tokens", "T", "0"),
                new("window", "window", "0"),
                new("width", "d_h", "0"),
                new("threads", "threads", "0"),
                new("project", "EmtTorch", "0.00"),
                new("operators", "operators", "0.00"),
                new("whole", "whole mask", "0.00"),
                new("whole, operators", "whole, operators", "0.00"),
                new("bands, 4", "bands, 4-D", "0.00"),
                new("causal", "causal flag", "0.00"),
                new("ratio", "EmtTorch / operators", "0.00"),
            ]
        )
        {
            Json = json,
            Markdown = markdown,
        };
        table.Begin();
        (int? Window, int[] Tokens)[] spans = [(null, [256, 1024, 4096]), (64, [320, 4096])];
        foreach (var (window, lengths) in spans)
        {
            foreach (int tokens in arguments.Numbers("tokens", lengths).Intersect(lengths))
            {
                foreach (int batch in arguments.Numbers("batch", 32, 8, 1))
                {
                    foreach (int width in arguments.Numbers("width", 16, 64))
                    {
                        if (window is null && !AttentionChoice.FitsWhole(batch, tokens))
                            continue;
                        foreach (int threads in _threads)
                        {
                            List<string> command =
                            [
                                "--threads",
                                $"{threads}",
                                "--batch",
                                $"{batch}",
                                "--tokens",
                                $"{tokens}",
                                "--width",
                                $"{width}",
                            ];
                            if (window is not null)
                                command.AddRange(["--window", $"{window}"]);
                            var rates = Measured("attention", [.. command]);
                            var row = new JsonObject
                            {
                                ["batch"] = batch,
                                ["tokens"] = tokens,
                                ["window"] = window,
                                ["width"] = width,
                                ["threads"] = threads,
                            };
                            foreach (var (way, rate) in rates)
                                row[way] = rate;
                            row["ratio"] = rates["project"] / rates["operators"];
                            table.Add(row);
                        }
                    }
                }
            }
        }
        table.Save();
    }

    private void Adam(string? json, string? markdown)
    {
        var table = new ResultTable(
            "adam",
            """
            Clipping and Adam, steps a second: ClippedAdam, and clip_grad_norm_ with optim.Adam. Medians of rounds in turn.
            """,
            [
                new("network", "network"),
                new("tensors", "tensors", "0"),
                new("threads", "threads", "0"),
                new("project", "ClippedAdam", "0"),
                new("operators", "optim.Adam", "0"),
                new("ratio", "ratio", "0.0"),
            ]
        )
        {
            Json = json,
            Markdown = markdown,
        };
        table.Begin();
        foreach (
            string network in arguments.Words(
                "network",
                "elman-32",
                "elman-128",
                "elman-512",
                "transformer-2",
                "transformer-8"
            )
        )
        {
            foreach (int threads in _threads)
            {
                var rates = Measured("adam", ["--threads", $"{threads}", "--network", network]);
                table.Add(
                    new()
                    {
                        ["network"] = network,
                        ["tensors"] = rates["tensors"],
                        ["threads"] = threads,
                        ["project"] = rates["project"],
                        ["operators"] = rates["operators"],
                        ["ratio"] = rates["project"] / rates["operators"],
                    }
                );
            }
        }
        table.Save();
    }

    // libgomp's. "set" variables are set by this program itself, by libc's setenv, before libtorch is loaded.
    private static readonly (string Name, string? Variable, bool BySetenv)[] Settings =
    [
        ("default", null, false),
        ("OMP_WAIT_POLICY=passive", "OMP_WAIT_POLICY=passive", false),
        ("GOMP_SPINCOUNT=0", "GOMP_SPINCOUNT=0", false),
        ("GOMP_SPINCOUNT=1000", "GOMP_SPINCOUNT=1000", false),
        ("GOMP_SPINCOUNT=10000", "GOMP_SPINCOUNT=10000", false),
        ("setenv passive", "OMP_WAIT_POLICY=passive", true),
        ("setenv spin 1000", "GOMP_SPINCOUNT=1000", true),
    ];

    private void Threads(string? json, string? markdown)
    {
        var table = new ResultTable(
            "threads",
            """
            Settings of libtorch's OpenMP threads, each in processes of its own, in turn: calls a second with two threads, and the ratio to the default.
            """,
            [
                new("work", "work"),
                new("setting", "setting"),
                new("threads", "threads", "0"),
                new("rate", "calls a second", "0.00"),
                new("ratio", "ratio", "0.00"),
            ]
        )
        {
            Json = json,
            Markdown = markdown,
        };
        table.Begin();
        foreach (string work in arguments.Words("work", ThreadChoice.Works))
        {
            foreach (int threads in arguments.Numbers("threads", 2))
            {
                var rates = Settings.ToDictionary(s => s.Name, _ => new List<double>());
                for (int process = 0; process < _processes; process++)
                {
                    foreach (var (name, variable, bySetenv) in Settings)
                    {
                        List<string> command =
                        [
                            "choice-rates",
                            "--what",
                            "threads",
                            "--work",
                            work,
                            "--threads",
                            $"{threads}",
                            "--rounds",
                            $"{_rounds}",
                            "--seconds",
                            Child.Text(_seconds),
                        ];
                        if (bySetenv)
                            command.AddRange(["--setenv", variable!]);
                        var environment = new Dictionary<string, string?>
                        {
                            ["OMP_WAIT_POLICY"] = null,
                            ["GOMP_SPINCOUNT"] = null,
                        };
                        if (variable?.Split('=') is [var key, var value] && !bySetenv)
                            environment[key] = value;
                        rates[name]
                            .AddRange(
                                Child.Measure<Dictionary<string, double[]>>(command, environment).Values.Single()
                            );
                    }
                }

                double usual = InTurn.Median(rates["default"]);
                foreach (var (name, all) in rates)
                {
                    table.Add(
                        new()
                        {
                            ["work"] = work,
                            ["setting"] = name,
                            ["threads"] = threads,
                            ["rate"] = InTurn.Median(all),
                            ["ratio"] = InTurn.Median(all) / usual,
                        }
                    );
                }
            }
        }
        table.Save();
    }

    private Dictionary<string, double> Measured(string what, string[] command)
    {
        string[] all =
        [
            "choice-rates",
            "--what",
            what,
            "--rounds",
            $"{_rounds}",
            "--seconds",
            Child.Text(_seconds),
            .. command,
        ];
        return Enumerable
            .Range(0, _processes)
            .SelectMany(_ => Child.Measure<Dictionary<string, double[]>>(all))
            .GroupBy(p => p.Key, p => p.Value)
            .ToDictionary(g => g.Key, g => InTurn.Median(g.SelectMany(v => v)));
    }
}
