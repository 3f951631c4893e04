namespace EmtTorch.Tests;

/// <summary>Sequences of small tasks.</summary>
internal static class ContinualSamples
{
    public const string Rnn = """
        {
          "base": {
            "device": "cpu", "threads": 1, "task": { "name": "repeat_copy", "d": 2, "s": 3 },
            "model": { "hidden_size": 12 },
            "training": { "steps": 30, "batch_size": 8, "log_interval": 5, "learning_rate": 0.01,
              "curriculum": { "horizons": [3, 5], "threshold": 0.6 } },
            "evaluation": { "horizon": 6, "batches": 2, "batch_size": 8, "interval": 10 },
            "checkpoints": { "interval": 10 }
          },
          "tasks": [ { "name": "copy", "set": {} },
            { "name": "signs", "set": { "task": { "terms": [ { "delay": 3, "signs": [-1, 1] } ], "d": 2, "s": 3 } } },
            { "name": "swap",
              "set": { "task": { "terms": [ { "delay": 3, "permutation": [1, 0] } ], "d": 2, "s": 3 } } } ],
          "own": ["rnn.weight_ih", "readout.weight"],
          "methods": [
            { "method": "naive" }, { "method": "ewc", "strengths": [5] }, { "method": "si", "strengths": [2] }, { "method": "project", "protect": "states" }, { "method": "joint" } ],
          "seeds": [1], "fisher_samples": 5
        }
        """;

    public const string Transformer = """
        {
          "base": {
            "device": "cpu", "threads": 1,
            "task": { "segment_recall": { "pairs": 2, "segment_length": 6, "keys": 3, "values": 3, "noise": 2,
              "vocabularies": 2 } },
            "model": { "type": "episodic_transformer", "hidden_size": 8, "layers": 1, "heads": 2, "window": 4 },
            "training": { "steps": 12, "batch_size": 4, "log_interval": 3, "curriculum": { "horizons": [1] } },
            "evaluation": { "horizon": 2, "batches": 1, "batch_size": 4, "interval": 6 },
            "checkpoints": { "interval": 4 }
          },
          "tasks": [ { "name": "one", "set": { "task.segment_recall.vocabulary": 1 } },
            { "name": "two", "set": { "task.segment_recall.vocabulary": 2 } } ],
          "methods": [ { "method": "ewc", "strengths": [5] }, { "method": "si", "strengths": [2] } ],
          "seeds": [1], "fisher_samples": 3
        }
        """;
}
