namespace EmtTorch.Attack;

/// <summary>The work that attacks disturb: every kind of run, each a second of one processor or two.</summary>
internal static class Scenarios
{
    public const string Elman = """
        {
          "device": "cpu", "threads": 1, "task": { "name": "repeat_copy", "d": 2, "s": 2 },
          "model": { "hidden_size": 8 },
          "training": { "steps": 600, "batch_size": 4, "log_interval": 10,
            "curriculum": { "horizons": [2, 4], "threshold": 0.6 } },
          "evaluation": { "horizon": 5, "batches": 1, "batch_size": 8, "interval": 100 },
          "checkpoints": { "interval": 7 }
        }
        """;

    public const string Sweep = """
        {
          "name": "sweep", "base": "elman.json",
          "axes": { "training.weight_decay": [0, 0.001],
            "start": [ { "name": "uniform", "set": {} },
              { "name": "orthogonal", "set": { "model.initialization": "orthogonal" } } ] },
          "seeds": [1]
        }
        """;

    public const string Sequence = """
        {
          "base": {
            "device": "cpu", "threads": 1, "task": { "name": "repeat_copy", "d": 2, "s": 3 },
            "model": { "hidden_size": 8 },
            "training": { "steps": 60, "batch_size": 4, "log_interval": 5, "learning_rate": 0.01,
              "curriculum": { "horizons": [3], "threshold": 0.6 } },
            "evaluation": { "horizon": 4, "batches": 1, "batch_size": 8, "interval": 20 },
            "checkpoints": { "interval": 7 }
          },
          "tasks": [ { "name": "copy", "set": {} },
            { "name": "signs", "set": { "task": { "terms": [ { "delay": 3, "signs": [-1, 1] } ], "d": 2, "s": 3 } } } ],
          "own": ["rnn.weight_ih", "readout.weight"],
          "methods": [ { "method": "naive" }, { "method": "ewc", "strengths": [5] },
            { "method": "si", "strengths": [2] }, { "method": "project", "protect": "states" }, { "method": "joint" } ],
          "seeds": [1], "fisher_samples": 3
        }
        """;

    public const string Consolidation = """
        {
          "runs": ["runs/recall/seed-1"], "facts": [2, 4], "steps": 8, "test_answers": 16, "segment_length": 6,
          "facts_per_document": 2,
          "nights": [
            { "name": "distilled", "replay": "distilled", "rehearsal": "episodes", "moves": "all" },
            { "name": "literal", "replay": "literal", "rehearsal": "none", "moves": "query_and_feed_forward" } ]
        }
        """;

    public const string Gsemm = """
        {
          "memories": 3, "features": 12, "integration": { "step": 0.2, "length": 4, "record_every": 5 },
          "discrete_steps": 6
        }
        """;

    /// <summary>What a transformer's block has, by the name of its scenario.</summary>
    private static readonly (string Name, string Model)[] Blocks =
    [
        ("hebbian", """ "write": "hebbian" """),
        ("delta", """ "write": "delta", "decay": true """),
        ("hypernetwork", """ "write": "hypernetwork", "drift_cell": "elman" """),
        ("full hypernetwork", """ "write": "full_hypernetwork", "read": "softmax", "drift_cell": "gru" """),
        ("graph", """ "memories": { "fast_weights": {}, "graph": { "nodes": 4, "interval": 4, "relations": 2 } } """),
        ("retrieval", """ "memories": { "retrieval": { "top_k": 2, "chunk": 4 } } """),
        ("shared store", """ "memories": { "retrieval": { "top_k": 2, "chunk": 4, "scope": "shared" } } """),
        ("source retrieval", """ "memories": { "retrieval": { "top_k": 2, "chunk": 4, "form": "source" } } """),
        ("no memory", """ "memory": "none", "drift": false, "dtype": "float64" """),
    ];

    /// <summary>A transformer's configuration.</summary>
    public static string Transformer(string model, string training = "", string task = "") =>
        $$"""
            {
              "device": "cpu", "threads": 1,
              "task": { "segment_recall": { "pairs": 2, "segment_length": 6, "keys": 3, "values": 3,
                "noise": 2{{task}} } },
              "model": { "type": "episodic_transformer", "hidden_size": 8, "layers": 1, "heads": 2, "window": 4,
                {{model}} },
              "training": { "steps": 60, "batch_size": 3, "log_interval": 5{{training}},
                "curriculum": { "horizons": [1, 2], "threshold": 0.4 } },
              "evaluation": { "horizon": 2, "batches": 1, "batch_size": 3, "interval": 20 },
              "checkpoints": { "interval": 7 }
            }
            """;

    public static readonly string Text = """
        {
          "device": "cpu", "threads": 1, "task": { "text": { "path": "corpus.txt", "segment_length": 8 } },
          "model": { "type": "episodic_transformer", "hidden_size": 8, "layers": 1, "heads": 2, "window": 4 },
          "training": { "steps": 60, "batch_size": 3, "log_interval": 5, "curriculum": { "horizons": [2] } },
          "evaluation": { "horizon": 2, "batches": 1, "batch_size": 3, "interval": 20 },
          "checkpoints": { "interval": 7 }
        }
        """;

    public static readonly string Corpus = string.Concat(
        Enumerable.Range(0, 400).Select(i => $"The {i % 17}th of {i % 13} birds sang {i % 7} times.\n")
    );

    public static readonly string Recall = Transformer(""" "write": "delta" """)
        .Replace("\"keys\": 3, \"values\": 3", "\"keys\": 6, \"values\": 6");

    /// <summary>One network, or several in one process.</summary>
    private static Scenario Train(string name, string config, params string[] more) =>
        new(name, new Dictionary<string, string> { ["run.json"] = config }, ["run.json", .. more])
        {
            GoOn = ["run.json", .. more, "--resume"],
            Runs = ["runs/run/seed-1"],
        };

    public static readonly Scenario OfText = Train("text", Text) with
    {
        Files = new Dictionary<string, string> { ["run.json"] = Text, ["corpus.txt"] = Corpus },
    };

    public static readonly Scenario OfSweep = new(
        "sweep",
        new Dictionary<string, string>
        {
            ["elman.json"] = Elman.Replace("\"steps\": 600", "\"steps\": 150"),
            ["sweep.json"] = Sweep,
        },
        ["sweep", "sweep.json"]
    )
    {
        Runs = ["runs/weight_decay_0-uniform/seed-1"],
    };

    public static readonly Scenario OfSequence = new(
        "continual",
        new Dictionary<string, string> { ["sequence.json"] = Sequence },
        ["continual", "sequence.json"]
    );

    public static readonly Scenario OfConsolidation = new(
        "consolidate",
        new Dictionary<string, string> { ["recall.json"] = Recall, ["consolidation.json"] = Consolidation },
        ["consolidate", "consolidation.json", "--threads", "1"]
    )
    {
        Before =
        [
            ["recall.json"],
        ],
    };

    /// <summary>All that kills are tried on.</summary>
    public static readonly Scenario[] All =
    [
        Train("elman", Elman),
        Train("elman, noise", Elman.Replace("\"batch_size\": 4,", "\"batch_size\": 4, \"gradient_noise\": 0.1,")),
        Train("seeds", Elman.Replace("600", "300"), "--seeds", "1-4"),
        Train("seeds together", Elman.Replace("600", "200"), "--seeds", "1-3", "--together") with
        {
            OnlyNames = true,
        },
        .. Blocks.Select(b => Train(b.Name, Transformer(b.Model))),
        Train(
            "consolidation while training",
            Transformer(
                """ "write": "delta" """,
                ", \"consolidation\": { \"interval\": 9, \"writes\": 8, \"steps\": 2 }",
                ", \"persistent\": 1"
            )
        ),
        OfText,
        OfSweep,
        OfSequence,
        OfConsolidation,
    ];
}
