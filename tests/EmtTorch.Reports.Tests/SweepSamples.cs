using System.Text.Json.Nodes;
using EmtTorch.Analysis.Runs;
using EmtTorch.Configuration;
using EmtTorch.Studies;
using EmtTorch.Training;

namespace EmtTorch.Reports.Tests;

/// <summary>
/// Runs of a sweep with figures of one's choice: what a folder would have after training, but the weights.
/// </summary>
internal static class SweepSamples
{
    private const string Base = """
        {
          "task": { "name": "t1" }, "model": { "hidden_size": 64 }, "training": { "steps": 300, "log_interval": 100 },
          "evaluation": { "interval": 100 }, "checkpoints": { "interval": 100 }
        }
        """;

    /// <summary>Two tasks, two thresholds of which the better counts, and two seeds: eight runs.</summary>
    public static string Sweep(string published = "null") =>
        $$"""
            {
              "name": "small", "description": "A small sweep.", "base": {{Base}},
              "axes": { "task.name": ["t1", "t2"], "training.curriculum.threshold": [0.9, 0.98] },
              "seeds": "1-2", "best_of": ["training.curriculum.threshold"]{{(
                published == "null" ? "" : $", \"published\": {published}"
            )}}
            }
            """;

    /// <summary>A finished run, tested every hundred steps.</summary>
    /// <param name="folder">The folder of all runs.</param>
    /// <param name="name">The run's name.</param>
    /// <param name="seed">The run's seed.</param>
    /// <param name="settings">Over the base configuration.</param>
    /// <param name="errors">The spectral error at each test; null: the counts differ.</param>
    /// <param name="accuracies">The accuracy at each test.</param>
    /// <param name="best">Which test had the lowest loss.</param>
    public static RunFolder Finish(
        string folder,
        string name,
        long seed,
        string[] settings,
        double?[] errors,
        double[] accuracies,
        int best
    )
    {
        var run = Begin(folder, name, seed, settings, errors, accuracies);
        run.WriteResult(
            new()
            {
                Name = name,
                Seed = seed,
                Outcome = "finished",
                TestAccuracy = accuracies[^1],
                TestLoss = 0.5,
                TestHorizon = 200,
                BestStep = 100 * (best + 1),
                BestTestAccuracy = accuracies[best],
                BestTestLoss = 0.1,
                Steps = 100 * errors.Length,
                Seconds = 10 * seed,
                Device = "cpu",
                Threads = 1,
                TorchVersion = "1",
                EmttorchVersion = "1",
                DotnetVersion = "10",
            }
        );
        AtomicFile.WriteText(
            Path.Combine(run.Path, "analysis.json"),
            new JsonObject
            {
                ["version"] = RunAnalysis.Version,
                ["step"] = 100 * (best + 1),
                ["test_accuracy"] = double.IsNaN(accuracies[best]) ? null : accuracies[best],
                ["spectral_error"] = errors[best],
                ["eigenvalues_theory"] = 64,
                ["eigenvalues_learned"] = errors[best] is null ? 60 : 64,
                ["phi_error"] = errors[best] is null ? null : 0.02,
                ["cycles_theory"] = 8,
                ["cycles_learned"] = errors[best] is null ? 7 : 8,
                ["gain"] = errors[best] is null ? null : 1.1,
                ["parameter_norm"] = 9,
                ["changed_bits_accuracy"] = errors[best] is null ? null : 0.98,
                ["ranges"] = new JsonObject { ["spectral_error"] = new JsonArray(0, null) },
            }.ToJsonString()
        );
        return run;
    }

    /// <summary>One that goes on.</summary>
    public static RunFolder Begin(
        string folder,
        string name,
        long seed,
        string[] settings,
        double?[] errors,
        double[] accuracies
    )
    {
        var configuration = ConfigurationFile.Parse(
            Base,
            [.. settings, $"name={name}", $"seed={seed}", $"out={folder}"]
        );
        var run = RunFolder.Of(configuration);
        Directory.CreateDirectory(run.Path);
        run.WriteConfiguration(configuration, null);
        using var metrics = run.OpenMetrics(0, _ => { });
        for (int i = 0; i < errors.Length; i++)
        {
            metrics.Write(
                new()
                {
                    Step = 100 * (i + 1),
                    Loss = 1,
                    Accuracy = 0.5,
                    Horizon = 10,
                    GradientNorm = 1,
                    TestLoss = 1,
                    TestAccuracy = accuracies[i],
                    SpectralError = errors[i],
                    EigenvaluesLearned = errors[i] is null ? 60 : 64,
                }
            );
        }

        return run;
    }

    /// <summary>Of the small sweep's runs the name, and the settings that make it.</summary>
    public static (string Name, string[] Settings) Of(string task, string threshold) =>
        ($"{task}-threshold_{threshold}", [$"task.name={task}", $"training.curriculum.threshold={threshold}"]);

    /// <summary>
    /// The small sweep with all runs finished. t1: seed 1 converges with both thresholds, to 0.004 and 0.002, seed 2
    /// with one, to 0.001.
    /// t2: seed 1 converges, to 0.003, seed 2 does not.
    /// </summary>
    public static void Full(string folder, string published = "null")
    {
        Directory.CreateDirectory(folder);
        File.WriteAllText(Path.Combine(folder, "sweep.json"), Sweep(published));
        void Run(string task, string threshold, long seed, double?[] errors, double[] accuracies, int best) =>
            Finish(folder, Of(task, threshold).Name, seed, Of(task, threshold).Settings, errors, accuracies, best);
        Run("t1", "0.9", 1, [null, 0.004, 0.005], [0.8, 1, 1], 1);
        Run("t1", "0.98", 1, [0.0015, 0.002, 0.006], [0.9, 0.99, 0.98], 1);
        Run("t1", "0.9", 2, [null, null, null], [0.6, 0.7, 0.75], 2);
        Run("t1", "0.98", 2, [null, 0.003, 0.001], [0.7, 0.995, 1], 2);
        Run("t2", "0.9", 1, [null, null, 0.003], [0.6, 0.9, 0.94], 2);
        Run("t2", "0.98", 1, [null, null, null], [0.6, 0.9, 0.96], 2);
        Run("t2", "0.9", 2, [null, null, null], [0.6, 0.8, 0.9], 2);
        Run("t2", "0.98", 2, [null, null, null], [0.6, 0.7, 0.8], 2);
    }
}
