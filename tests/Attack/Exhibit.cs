namespace EmtTorch.Attack;

/// <summary>A command that reads an exhibit's files.</summary>
/// <param name="Arguments">Its arguments.</param>
/// <param name="Reads">The folder that it reads, below the exhibit's; empty: all of it.</param>
/// <param name="ComparesText">Whether what it prints is a result, without times.</param>
internal sealed record Use(string[] Arguments, string Reads = "", bool ComparesText = false)
{
    public string Line => string.Join(' ', Arguments);
}

/// <summary>A folder with files of many kinds, and the commands that read them.</summary>
internal sealed record Exhibit(Scenario Scenario, Use[] Uses)
{
    private const string First = "runs/run/seed-1",
        Half = "runs/run/seed-3",
        Last = "step-00000060.safetensors";

    private static Scenario Of(string name, string config, params string[][] before) =>
        new($"exhibit {name}", new Dictionary<string, string> { ["run.json"] = config }, []) { Before = before };

    private static readonly Exhibit Single = new(
        Of(
            "run",
            Scenarios.Elman.Replace("600", "60").Replace("\"interval\": 100", "\"interval\": 20"),
            ["run.json", "--seeds", "1-2"],
            ["analyze", First],
            ["run.json", "--seed", "3", "--set", "training.steps=40"]
        ) with
        {
            Copies = new Dictionary<string, string> { [$"{First}/checkpoints/{Last}"] = "weights.safetensors" },
        },
        [
            new(["run.json", "--seed", "3", "--resume"], Half),
            new(["run.json", "--seed", "3", "--resume"], Half),
            new(["run.json", "--seed", "1", "--resume"], First),
            new(["run.json", "--seed", "1"], First),
            new(["analyze", First], First, ComparesText: true),
            new(["analyze", Half, "--checkpoint", "latest"], Half, ComparesText: true),
            new(["analyze", First, "runs/run/seed-2", "--out", "shown"], First, ComparesText: true),
            new(["table", "runs"], First),
            new(["run.json", "--seed", "5", "--weights", "weights.safetensors"], "weights.safetensors"),
            new(
                ["analyze", "weights.safetensors", "--config", "run.json", "--out", "shown"],
                "weights.safetensors",
                ComparesText: true
            ),
        ]
    );

    private static readonly Exhibit Text = new(
        Scenarios.OfText with
        {
            Name = "exhibit text",
            Before =
            [
                ["run.json"],
                ["run.json", "--seed", "3", "--set", "training.steps=40"],
            ],
        },
        [
            new(["generate", First, "--tokens", "20"], First, ComparesText: true),
            new(["run.json", "--seed", "3", "--resume"], Half),
            new(["analyze", First], First, ComparesText: true),
        ]
    );

    private static readonly Exhibit Store = new(
        Of(
            "store",
            Scenarios.Transformer(""" "memories": { "retrieval": { "top_k": 2, "chunk": 4, "scope": "shared" } } """),
            ["run.json", "--seed", "3", "--set", "training.steps=40"]
        ),
        [
            new(["run.json", "--seed", "3", "--resume"], Half),
            new(["run.json", "--seed", "3", "--resume"], Half),
            new(["analyze", Half], Half, ComparesText: true),
        ]
    );

    private static readonly Exhibit Sweep = new(
        Scenarios.OfSweep with
        {
            Name = "exhibit sweep",
            Files = new Dictionary<string, string>
            {
                ["elman.json"] = Scenarios.Elman.Replace("600", "40"),
                ["sweep.json"] = Scenarios.Sweep,
            },
            Before =
            [
                ["sweep", "sweep.json", "--shard", "1/2"],
            ],
        },
        [
            new(["sweep", "sweep.json"]),
            new(["sweep", "sweep.json", "--dry-run"]),
            new(["table", "."]),
            new(["table", "runs"], "runs"),
        ]
    );

    private static readonly Exhibit Sequence = new(
        Scenarios.OfSequence with
        {
            Name = "exhibit continual",
            Before =
            [
                ["continual", "sequence.json"],
            ],
        },
        [new(["continual", "sequence.json"]), new(["continual", "sequence.json", "--table"])]
    );

    private static readonly Exhibit Consolidation = new(
        Scenarios.OfConsolidation with
        {
            Name = "exhibit consolidation",
            Before = [.. Scenarios.OfConsolidation.Before, Scenarios.OfConsolidation.Begin],
        },
        [
            new(Scenarios.OfConsolidation.Begin),
            new(["consolidate", "consolidation.json", "--threads", "1", "--set", "seed=5"]),
        ]
    );

    private static readonly Exhibit Gsemm = new(
        new("exhibit gsemm", new Dictionary<string, string> { ["gsemm.json"] = Scenarios.Gsemm }, []),
        [
            new(["gsemm", "gsemm.json"], ComparesText: true),
            new(["gsemm", "gsemm.json", "--grid", "seed=[1,2]"], ComparesText: true),
        ]
    );

    public static readonly Exhibit[] All = [Single, Single, Text, Store, Store, Sweep, Sequence, Consolidation, Gsemm];
}
