using System.Diagnostics;
using EmtTorch.Configuration;
using EmtTorch.Kernels;
using EmtTorch.Models;
using EmtTorch.Tasks;
using EmtTorch.Training;
using TorchSharp;
using static TorchSharp.torch;

/// <summary>
/// A transformer's training step, with its batch, loss, clipping and Adam: this project's and
/// <see cref="TorchTransformer"/>'s, in turn in this process; and tokens a second of generation.
/// </summary>
internal static class TransformerSteps
{
    /// <summary>What is trained: a configuration in the words of `configs/`, and the horizon of its task.</summary>
    public static readonly Dictionary<string, (string Configuration, int Horizon)> Networks = new()
    {
        ["segment recall"] = (
            """
            { "task": { "segment_recall": { "pairs": 4, "segment_length": 64, "keys": 64, "values": 64, "noise": 16 } },
              "model": { "type": "episodic_transformer", "hidden_size": 64, "layers": 2, "heads": 4, "window": 64,
                "feed_forward_size": 64, "memory": "fast_weights", "write": "delta", "gate": true, "drift": true },
              "training": { "batch_size": 32 } }
            """,
            3
        ),
        ["associative recall"] = (
            """
            { "task": { "associative_recall": { "pairs": 8, "vocabulary": 8192 } },
              "model": { "type": "episodic_transformer", "hidden_size": 128, "layers": 2, "heads": 4, "window": 32,
                "memory": "fast_weights", "memory_heads": 2, "write": "delta", "gate": true, "drift": true },
              "training": { "batch_size": 32 } }
            """,
            128
        ),
        ["copy"] = (
            """
            { "task": { "copy": { "symbols": 64 } },
              "model": { "type": "episodic_transformer", "hidden_size": 256, "layers": 4, "heads": 8,
                "memory": "fast_weights", "memory_heads": 4, "write": "hebbian", "drift": false },
              "training": { "batch_size": 8 } }
            """,
            235
        ),
    };

    /// <param name="name">One of <see cref="Networks"/>.</param>
    /// <param name="rounds">Stretches of each side.</param>
    /// <param name="seconds">How long a stretch is.</param>
    /// <returns>Steps a second by round, and tokens and products of a step.</returns>
    /// <exception cref="InvalidOperationException">The sides do not give the same.</exception>
    public static TransformerRates Measure(string name, int rounds, double seconds)
    {
        using var everything = NewDisposeScope();
        var (json, horizon) = Networks[name];
        var configuration = ConfigurationFile.Parse(json, ["device=cpu", "name=benchmark", .. AtHorizon(horizon)]);
        using var learner = new TokenLearner(configuration, CPU);
        var network = (EpisodicTransformer)learner.Network;
        var task = configuration.Task.ToTokenTask(horizon, CPU);
        using var theirs = new TorchTransformer(
            network,
            configuration.Model,
            task.VocabularySize,
            configuration.Training.LearningRate
        );
        using var optimizer = optim.Adam(network.parameters(), lr: configuration.Training.LearningRate);
        var clipped = new ClippedAdam(optimizer, network.parameters());
        double Ours(Generator data)
        {
            double loss = learner.ComputeGradients(horizon, data).Loss;
            clipped.Step(1);
            return loss;
        }
        double Theirs(Generator data)
        {
            using var scope = NewDisposeScope();
            var document = task.Batch(configuration.Training.BatchSize, data);
            Tensor input = cat([.. document.Select(s => s.Input)], 1),
                target = cat([.. document.Select(s => s.Target)], 1);
            return theirs.Step(input, target, TokenBatch.Ignored, 1).item<float>();
        }
        using (
            Generator a = new(3),
                b = new(3)
        )
        {
            for (int step = 0; step < 3; step++)
            {
                double loss = Ours(a),
                    their = Theirs(b);
                if (!(Math.Abs(loss - their) < 1e-5 * Math.Abs(their)))
                    throw new InvalidOperationException($"the losses of step {step + 1} differ: {loss} and {their}");
            }
        }
        using var generator = new Generator(5);
        var rates = InTurn.Rates([() => Ours(generator), () => Theirs(generator)], rounds, seconds, CPU);
        var one = task.Batch(1, generator);
        long tokens = configuration.Training.BatchSize * one.Sum(s => s.Input.shape[1]);
        return new(rates[0], rates[1], tokens, Products(network, tokens));
    }

    public static IEnumerable<string> AtHorizon(int horizon) =>
        [$"training.curriculum.horizons=[{horizon}]", $"evaluation.horizon={horizon}"];

    /// <summary>
    /// The arithmetic of a step's projections: there, and back for what they are given and for their weights.
    /// </summary>
    private static double Products(EpisodicTransformer network, long tokens) =>
        network
            .named_parameters()
            .Where(p => p.name.StartsWith("blocks", StringComparison.Ordinal) && p.parameter.dim() == 2)
            .Sum(p => 6.0 * tokens * p.parameter.numel());

    /// <summary>Tokens a second of `Generate` with state, and seconds to the first token after a prompt.</summary>
    public static GenerationRate Generate(int documents, int prompt, int tokens)
    {
        using var everything = NewDisposeScope();
        var (json, horizon) = Networks["segment recall"];
        var configuration = ConfigurationFile.Parse(json, ["device=cpu", "name=benchmark", .. AtHorizon(horizon)]);
        using var learner = new TokenLearner(configuration, CPU);
        var network = (EpisodicTransformer)learner.Network;
        using var quiet = no_grad();
        double Time(int length, int count)
        {
            using var scope = NewDisposeScope();
            var given = randint(0, 64, [documents, length], dtype: ScalarType.Int64);
            long start = Stopwatch.GetTimestamp();
            network.Generate(given, count, temperature: 0);
            return Stopwatch.GetElapsedTime(start).TotalSeconds;
        }
        Time(64, 4 * tokens); // .NET compiles for speed what has run for a while
        Time(prompt, 1);
        // One token of a step comes from the prompt itself.
        double rate = InTurn.Median(
            Enumerable.Range(0, 5).Select(_ => documents * tokens / (Time(2, tokens + 1) - Time(2, 1)))
        );
        return new(rate, InTurn.Median(Enumerable.Range(0, 5).Select(_ => Time(prompt, 1))));
    }
}

/// <summary>How fast documents are gone on with.</summary>
/// <param name="TokensPerSecond">Of all documents together.</param>
/// <param name="First">Seconds to the first token after the prompt.</param>
internal sealed record GenerationRate(double TokensPerSecond, double First);

/// <summary>Steps a second by round.</summary>
/// <param name="EmtTorch">This project's.</param>
/// <param name="Torch">The peer's.</param>
/// <param name="Tokens">Tokens in a batch.</param>
/// <param name="Products">Floating-point operations of a step's projections.</param>
internal sealed record TransformerRates(double[] EmtTorch, double[] Torch, long Tokens, double Products);
