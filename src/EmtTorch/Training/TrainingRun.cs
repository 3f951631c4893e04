using EmtTorch.Configuration;
using EmtTorch.Models;
using EmtTorch.Models.Fused;
using EmtTorch.Tasks;
using Serilog;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Training;

/// <summary>How far a run is; reported every log interval.</summary>
public sealed record TrainingProgress(Metrics Metrics, long Steps, TimeSpan? TimeLeft);

/// <summary>A run stopped before its end, for a reason that is not a mistake in the program.</summary>
public sealed class TrainingException(string message) : Exception(message);

/// <summary>
/// Trains one network from its configuration: batches from the task, mean squared error over the output phase (in flip_flop
/// over the whole sequence), Adam or AdamW with the gradient's norm clipped, horizons by curriculum, evaluation at a horizon of its own.
/// </summary>
/// <example><code>
/// var configuration = ConfigurationFile.Load("configs/t1.json", ["training.steps=1000"]);
/// var result = new TrainingRun(configuration, RunFolder.Of(configuration), Log.Logger).Train();
/// </code></example>
public sealed class TrainingRun
{
    private readonly RunConfiguration _configuration;
    private readonly RunFolder _folder;
    private readonly ILogger _log;

    public TrainingRun(RunConfiguration configuration, RunFolder folder, ILogger log) => (_configuration, _folder, _log) = (configuration, folder, log);

    /// <summary>Where weights come from in place of random ones: a checkpoint, or weights that Python wrote.</summary>
    public string? InitialWeights { get; init; }

    /// <summary>Told how far the run is, every log interval.</summary>
    public Action<TrainingProgress>? Progress { get; init; }

    /// <summary>Reads the network's eigenvalues at each test, for metrics.jsonl.</summary>
    public SpectrumReader? Spectrum { get; init; }

    /// <summary>Trains to the end, or until it is told to stop.</summary>
    /// <param name="resume">Go on from the newest good checkpoint, if there is one.</param>
    /// <param name="stop">When set, a checkpoint is written and null returned.</param>
    /// <returns>What result.json says, or null when stopped.</returns>
    /// <exception cref="TrainingException">The loss is not a number any more, or no device.</exception>
    /// <exception cref="CheckpointException">There are checkpoints, and all are damaged.</exception>
    public RunResult? Train(bool resume = false, CancellationToken stop = default)
    {
        var training = _configuration.Training;
        var device = TorchRuntime.ResolveDevice(_configuration.Device, out var problem);
        if (problem is not null) throw new TrainingException(problem);
        var dtype = DtypeOf(_configuration);

        using var everything = NewDisposeScope();
        using var xor = _configuration.Task.IsXor ? _configuration.Task.ToXor(dtype, device) : null;
        using var binding = _configuration.Task.IsFlipFlop || xor is not null ? null : new VariableBinding(_configuration.Task.ToLinearBinding(), dtype, device);
        var task = xor is not null ? SequenceTask.Of(xor) : binding is not null ? SequenceTask.Of(binding) : SequenceTask.Of(new FlipFlop(_configuration.Task.D, dtype, device));
        using var network = FirstNetwork(_configuration, task.Dimension).to(device);
        using var optimizer = optim.Adam(network.parameters(), lr: training.LearningRate, weight_decay: training.DecoupledDecay ? 0 : training.WeightDecay);
        var clipped = new ClippedAdam(optimizer, network.parameters(), training.DecoupledDecay ? training.WeightDecay : 0);
        using var data = new Generator((ulong)_configuration.Seed, device);
        var state = new TrainingState
        {
            Network = network,
            Optimizer = optimizer,
            Data = data,
            Curriculum = new Curriculum(training.Curriculum.Horizons, training.Curriculum.Threshold),
        };

        using var course = new RunCourse(_configuration, _folder, _log, state, resume, InitialWeights) { Progress = Progress, Spectrum = Spectrum };
        while (!course.Over)
        {
            if (stop.IsCancellationRequested)
            {
                course.Interrupt();
                return null;
            }
            course.Take(TrainStep(state, task, network, clipped));
            course.Record(course.TestDue ? Evaluate(task, network, state.Step) : null);
        }
        return course.Finish(device, () => Evaluate(task, network, state.Step));
    }

    internal static ScalarType DtypeOf(RunConfiguration configuration) => configuration.Model.Dtype == "float64" ? ScalarType.Float64 : ScalarType.Float32;

    /// <summary>The network with its first weights: drawn on the CPU, so that they are the same on every device.</summary>
    internal static ElmanRnn FirstNetwork(RunConfiguration configuration, int dimension)
    {
        // The generator that modules draw from is the process's one, and runs may go on side by side.
        lock (FirstWeights)
        {
            using var initial = manual_seed(configuration.Seed);
            var model = configuration.Model;
            var network = new ElmanRnn(dimension, model.HiddenSize, model.Bias, DtypeOf(configuration));
            if (model.Initialization == "orthogonal") Initialization.Orthogonal(network);
            if (model.Initialization == "circuit") Initialization.Circuit(network, configuration.Task.ToLinearBinding(), model.InitializationNoise);
            return network;
        }
    }

    private static readonly Lock FirstWeights = new();

    /// <summary>Where a test's batches come from, which depend on the seed and the step alone.</summary>
    internal static Generator TestData(RunConfiguration configuration, long step, Device device) => new(unchecked((ulong)configuration.Seed * 1_000_003 + (ulong)step + 0x5DEECE66D), device);

    private StepScore TrainStep(TrainingState state, SequenceTask task, ElmanRnn network, ClippedAdam optimizer)
    {
        using var scope = NewDisposeScope();
        var (input, target) = task.Batch(_configuration.Training.BatchSize, state.Curriculum.Horizon, state.Data); // (s, B, d), (horizon, B, d)
        var (loss, accuracy) = network.Score(input, target, from: task.InputSteps, gradients: true);
        var training = _configuration.Training;
        if (training.SpectralPenalty > 0) network.AddSpectralPenalty(training.SpectralPenalty);
        Tensor? noise = null;
        if (training.GradientNoise > 0)
        {
            noise = empty(network.parameters().Sum(p => p.numel()), dtype: network.RecurrentWeights.dtype, device: input.device);
            GradientNoise.Fill(noise, _configuration, state.Step);
        }
        return new(loss, accuracy, optimizer.Step(training.MaxGradNorm, noise));
    }

    /// <summary>Mean loss and accuracy over fresh batches.</summary>
    private (double Loss, double Accuracy) Evaluate(SequenceTask task, ElmanRnn network, long step)
    {
        using var quiet = no_grad();
        var settings = _configuration.Evaluation;
        using var generator = TestData(_configuration, step, TorchRuntime.ResolveDevice(_configuration.Device, out _));
        double loss = 0, accuracy = 0;
        for (int i = 0; i < settings.Batches; i++)
        {
            using var scope = NewDisposeScope();
            var (input, target) = task.Batch(settings.BatchSize, settings.Horizon, generator);
            var (mse, right) = network.Score(input, target, from: task.InputSteps, gradients: false);
            loss += mse;
            accuracy += right;
        }
        return (loss / settings.Batches, accuracy / settings.Batches);
    }

    /// <summary>What training needs of a task: sequences whose first outputs that count come after the input phase.</summary>
    private sealed record SequenceTask(int Dimension, int InputSteps, Func<long, long, Generator, (Tensor Input, Tensor Target)> Batch)
    {
        public static SequenceTask Of(VariableBinding binding) => new(binding.Dimension, binding.InputSteps, binding.Batch);

        public static SequenceTask Of(Xor xor) => new(xor.Dimension, xor.InputSteps, xor.Batch);

        // Every output counts, so that the horizon is the whole sequence.
        public static SequenceTask Of(FlipFlop flipFlop) => new(flipFlop.Dimension, 0, flipFlop.Batch);
    }
}
