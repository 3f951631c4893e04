using EmtTorch.Kernels;
using EmtTorch.Memory.Retrieval;
using EmtTorch.Settings;
using Serilog;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Training;

/// <summary>How far a run is; reported every log interval.</summary>
public sealed record TrainingProgress(Metrics Metrics, long Steps, TimeSpan? TimeLeft);

/// <summary>A run stopped before its end, for a reason that is not a mistake in the program.</summary>
public sealed class TrainingException(string message) : Exception(message);

/// <summary>
/// Trains one network from its configuration: batches from the task and their loss (<see cref="Learner"/>), Adam or
/// AdamW with the gradient's norm clipped, the learning rate by its schedule, horizons by curriculum, evaluation at a
/// horizon of its own.
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

    public TrainingRun(RunConfiguration configuration, RunFolder folder, ILogger log) =>
        (_configuration, _folder, _log) = (configuration, folder, log);

    /// <summary>Where weights come from in place of random ones: a checkpoint, or weights that Python wrote.</summary>
    public string? InitialWeights { get; init; }

    /// <summary>Told how far the run is, every log interval.</summary>
    public Action<TrainingProgress>? Progress { get; init; }

    /// <summary>Reads the network's eigenvalues at each test, for metrics.jsonl.</summary>
    public SpectrumReader? Spectrum { get; init; }

    /// <summary>Figures of the network at each test, for metrics.jsonl.</summary>
    public Func<nn.Module, IReadOnlyDictionary<string, double>>? Measure { get; init; }

    /// <summary>What to learn in place of the configuration's own task.</summary>
    internal Func<Device, Learner>? Learns { get; init; }

    /// <summary>What is done at each step for other tasks, given the network.</summary>
    internal Func<nn.Module, KeptTasks>? Keeps { get; init; }

    /// <summary>
    /// Why what a run's network stores can't be stored, before anything is written; null where it can, or where nothing
    /// is.
    /// </summary>
    public static ConfigurationProblem? StoreProblem(RunConfiguration configuration) =>
        StoredEpisodes.Problem(configuration);

    /// <summary>Trains to the end, or until it is told to stop.</summary>
    /// <param name="resume">Go on from the newest good checkpoint, if there is one.</param>
    /// <param name="stop">When set, a checkpoint is written and null returned.</param>
    /// <returns>What result.json says, or null when stopped.</returns>
    /// <exception cref="TrainingException">The loss is not a number any more, or no device.</exception>
    /// <exception cref="CheckpointException">There are checkpoints, and all are damaged.</exception>
    public RunResult? Train(bool resume = false, CancellationToken stop = default)
    {
        try
        {
            return Run(resume, stop);
        }
        catch (Exception e) when (StoredEpisodes.Failure(e) is { } failure)
        {
            throw new TrainingException(failure.Message);
        }
    }

    private RunResult? Run(bool resume, CancellationToken stop)
    {
        var training = _configuration.Training;
        var device = TorchRuntime.ResolveDevice(_configuration.Device, out var problem);
        if (problem is not null)
            throw new TrainingException(problem);

        using var everything = NewDisposeScope();
        using var learner = Learns?.Invoke(device) ?? Learner.Of(_configuration, device, _log, stop);
        var network = learner.Network;
        using var optimizer = optim.Adam(
            network.parameters(),
            lr: training.LearningRate,
            weight_decay: training.DecoupledDecay ? 0 : training.WeightDecay
        );
        var clipped = new ClippedAdam(
            optimizer,
            network.parameters(),
            training.DecoupledDecay ? training.WeightDecay : 0
        );
        using var kept = Keeps?.Invoke(network);
        using var data = new Generator((ulong)_configuration.Seed);
        var state = new TrainingState
        {
            Network = network,
            Optimizer = optimizer,
            Data = data,
            Beside = kept?.Tensors ?? new Dictionary<string, Tensor>(),
            Curriculum = new Curriculum(training.Curriculum.Horizons, training.Curriculum.Threshold),
        };

        using var course = new RunCourse(_configuration, _folder, _log, state, resume, InitialWeights)
        {
            Progress = Progress,
            Spectrum = Spectrum,
            Measure = Measure,
        };
        while (!course.Over)
        {
            if (stop.IsCancellationRequested)
            {
                course.Interrupt();
                return null;
            }
            var mark = _configuration.Model.Find<RetrievalConfiguration>() is { Store: RetrievalConfiguration.Postgres }
                ? course.Here()
                : null;
            try
            {
                course.Take(TrainStep(state, learner, clipped, kept));
                course.Record(course.TestDue ? learner.Test(state.Step) : null);
            }
            catch (Exception e) when (mark is not null && StoredEpisodes.Failure(e) is { } failure)
            {
                course.BackTo(mark);
                _log.Warning(
                    "Step {Step} was broken off: {Reason}. A checkpoint of step {Before} was written",
                    mark.Step + 1,
                    failure.Message,
                    mark.Step
                );
                if (stop.IsCancellationRequested)
                    return null;
                throw;
            }
        }
        return course.Finish(device, () => learner.Test(state.Step));
    }

    private StepScore TrainStep(TrainingState state, Learner learner, ClippedAdam optimizer, KeptTasks? kept)
    {
        using var scope = NewDisposeScope();
        var (loss, accuracy) = learner.Gradients(state.Curriculum.Horizon, state.Data);
        var training = _configuration.Training;
        Tensor? noise = null;
        if (training.GradientNoise > 0)
        {
            var first = learner.Network.parameters().First();
            noise = empty(learner.Network.parameters().Sum(p => p.numel()), dtype: first.dtype, device: first.device);
            GradientNoise.Fill(noise, _configuration, state.Step);
        }
        state.Optimizer.ParamGroups.First().LearningRate = training.RateAt(state.Step);
        kept?.BeforeStep(learner.Network);
        double norm = optimizer.Step(training.MaxGradNorm, noise);
        kept?.AfterStep();
        return new(loss, accuracy, norm);
    }
}
