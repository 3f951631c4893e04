using System.Diagnostics;
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
/// over the whole sequence), Adam with the gradient's norm clipped, horizons by curriculum, evaluation at a horizon of its own.
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

    /// <summary>Trains to the end, or until it is told to stop.</summary>
    /// <param name="resume">Go on from the newest good checkpoint, if there is one.</param>
    /// <param name="stop">When set, a checkpoint is written and null returned.</param>
    /// <returns>What result.json says, or null when stopped.</returns>
    /// <exception cref="TrainingException">The loss is not a number any more, or no device.</exception>
    /// <exception cref="CheckpointException">There are checkpoints, and all are damaged.</exception>
    public RunResult? Train(bool resume = false, CancellationToken stop = default)
    {
        var (training, evaluation) = (_configuration.Training, _configuration.Evaluation);
        var device = TorchRuntime.ResolveDevice(_configuration.Device, out var problem);
        if (problem is not null) throw new TrainingException(problem);
        var dtype = _configuration.Model.Dtype == "float64" ? ScalarType.Float64 : ScalarType.Float32;

        using var everything = NewDisposeScope();
        using var binding = _configuration.Task.IsFlipFlop ? null : new VariableBinding(_configuration.Task.ToLinearBinding(), dtype, device);
        var task = binding is null ? SequenceTask.Of(new FlipFlop(_configuration.Task.D, dtype, device)) : SequenceTask.Of(binding);
        using var network = FirstNetwork(task.Dimension, dtype).to(device);
        using var optimizer = optim.Adam(network.parameters(), lr: training.LearningRate, weight_decay: training.WeightDecay);
        var clipped = new ClippedAdam(optimizer, network.parameters());
        using var data = new Generator((ulong)_configuration.Seed, device);
        var state = new TrainingState
        {
            Network = network,
            Optimizer = optimizer,
            Data = data,
            Curriculum = new Curriculum(training.Curriculum.Horizons, training.Curriculum.Threshold),
        };
        var checkpoints = new CheckpointFolder(_folder.Checkpoints, _configuration.Checkpoints.KeepLast, _configuration.Checkpoints.KeepBest);
        Begin(state, checkpoints, resume);

        using var metrics = _folder.OpenMetrics(state.Step);
        var clock = Stopwatch.StartNew();
        double secondsBefore = state.Seconds, intervalStart = 0;
        long intervalStep = state.Step;
        bool stoppedEarly = EnoughStreak();
        (double Loss, double Accuracy)? test = null;

        while (state.Step < training.Steps && !stoppedEarly)
        {
            if (stop.IsCancellationRequested)
            {
                Save();
                _log.Information("Interrupted at step {Step}; a checkpoint was written", state.Step);
                return null;
            }

            int horizon = state.Curriculum.Horizon;
            var (loss, accuracy, norm) = TrainStep(state, task, network, clipped, horizon);
            state.Step++;
            state.Seconds = secondsBefore + clock.Elapsed.TotalSeconds;
            if (state.Curriculum.Advance(accuracy))
                _log.Information("Step {Step}: accuracy {Accuracy:0.000} at horizon {Horizon}; on to horizon {Next}", state.Step, accuracy, horizon, state.Curriculum.Horizon);

            bool last = state.Step == training.Steps;
            test = null;
            if (last || state.Step % evaluation.Interval == 0)
            {
                test = Evaluate(task, network, state.Step);
                bool reached = training.EarlyStop is { } target && test.Value.Accuracy >= target.Accuracy;
                state.Streak = reached ? state.Streak + 1 : 0;
                stoppedEarly = EnoughStreak();
                if (test.Value.Loss < state.Best.Loss) state.Best = (state.Step, test.Value.Loss, test.Value.Accuracy);
            }
            if (!double.IsFinite(loss)) throw new TrainingException(
                $"The loss is {loss} at step {state.Step}: training has diverged. Try a smaller training.learning_rate or training.max_grad_norm. The checkpoints before it are kept.");

            if (last || stoppedEarly || state.Step % training.LogInterval == 0 || test is not null)
            {
                double now = clock.Elapsed.TotalSeconds, speed = (state.Step - intervalStep) / (now - intervalStart);
                var line = new Metrics
                {
                    Step = state.Step, Loss = loss, Accuracy = accuracy, Horizon = horizon, GradientNorm = norm,
                    TestLoss = test?.Loss, TestAccuracy = test?.Accuracy, StepsPerSecond = Math.Round(speed, 2), Seconds = Math.Round(state.Seconds, 3),
                };
                (intervalStart, intervalStep) = (now, state.Step);
                metrics.Write(line);
                Progress?.Invoke(new(line, training.Steps, TimeSpan.FromSeconds((training.Steps - state.Step) / speed)));
                if (test is not null)
                    _log.Information("Step {Step}: test accuracy {TestAccuracy:0.0000} at horizon {TestHorizon}, training loss {Loss:0.00000}", state.Step, test.Value.Accuracy, evaluation.Horizon, loss);
            }
            bool newBest = _configuration.Checkpoints.KeepBest && state.Best.Step == state.Step;
            if (last || stoppedEarly || newBest || state.Step % _configuration.Checkpoints.Interval == 0) Save();
        }

        test ??= Evaluate(task, network, state.Step);
        var result = new RunResult
        {
            Name = _configuration.Name, Seed = _configuration.Seed, Outcome = stoppedEarly ? "early_stop" : "finished",
            TestAccuracy = test.Value.Accuracy, TestLoss = test.Value.Loss, TestHorizon = evaluation.Horizon,
            BestStep = state.Best.Step, BestTestAccuracy = state.Best.Accuracy, BestTestLoss = state.Best.Loss,
            Steps = state.Step, Seconds = Math.Round(state.Seconds, 3), Device = device.ToString(), Threads = get_num_threads(),
            TorchProvider = TorchRuntime.Provider, TorchVersion = TorchRuntime.TorchVersion,
            EmttorchVersion = typeof(TrainingRun).Assembly.GetName().Version!.ToString(3), DotnetVersion = Environment.Version.ToString(),
        };
        _folder.WriteResult(result);
        return result;

        bool EnoughStreak() => training.EarlyStop is { } rule && state.Streak >= rule.Evaluations;

        void Save()
        {
            metrics.Flush();
            // The best is the one with the lowest test loss: accuracy is 1 long before a network is as clean as it gets.
            checkpoints.Save(state.Step, state.Tensors(), state.Metadata(_configuration.ToJson()), score: -test?.Loss);
        }
    }

    /// <summary>The network with its first weights: drawn on the CPU, so that they are the same on every device.</summary>
    private ElmanRnn FirstNetwork(int dimension, ScalarType dtype)
    {
        // The generator that modules draw from is the process's one, and runs may go on side by side.
        lock (FirstWeights)
        {
            using var initial = manual_seed(_configuration.Seed);
            return new(dimension, _configuration.Model.HiddenSize, _configuration.Model.Bias, dtype);
        }
    }

    private static readonly Lock FirstWeights = new();

    /// <summary>Where training begins: at a checkpoint, at given weights, or at the random ones.</summary>
    private void Begin(TrainingState state, CheckpointFolder checkpoints, bool resume)
    {
        Directory.CreateDirectory(_folder.Path);
        _folder.RemoveUnfinished();
        _folder.WriteConfiguration(_configuration);
        void Warn(string message) => _log.Warning("{Message}", message);
        if (resume && checkpoints.LoadLatest(Warn) is { } checkpoint)
        {
            state.Restore(checkpoint.File, Warn);
            _log.Information("Going on from {Checkpoint}, step {Step}", checkpoint.Path, state.Step);
        }
        else if (InitialWeights is { } weights)
        {
            TrainingState.RestoreWeights(state.Network, SafetensorsFile.Read(weights));
            _log.Information("Starting from the weights in {Weights}", weights);
        }
    }

    private (double Loss, double Accuracy, double GradientNorm) TrainStep(TrainingState state, SequenceTask task, ElmanRnn network, ClippedAdam optimizer, int horizon)
    {
        using var scope = NewDisposeScope();
        var (input, target) = task.Batch(_configuration.Training.BatchSize, horizon, state.Data); // (s, B, d), (horizon, B, d)
        var (loss, accuracy) = network.Score(input, target, from: task.InputSteps, gradients: true);
        return (loss, accuracy, optimizer.Step(_configuration.Training.MaxGradNorm));
    }

    /// <summary>Mean loss and accuracy over fresh batches, which depend on the seed and the step alone.</summary>
    private (double Loss, double Accuracy) Evaluate(SequenceTask task, ElmanRnn network, long step)
    {
        using var quiet = no_grad();
        var settings = _configuration.Evaluation;
        using var generator = new Generator(unchecked((ulong)_configuration.Seed * 1_000_003 + (ulong)step + 0x5DEECE66D), TorchRuntime.ResolveDevice(_configuration.Device, out _));
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

        // Every output counts, so that the horizon is the whole sequence.
        public static SequenceTask Of(FlipFlop flipFlop) => new(flipFlop.Dimension, 0, flipFlop.Batch);
    }
}
