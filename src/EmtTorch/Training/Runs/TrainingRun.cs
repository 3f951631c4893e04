using EmtTorch.Kernels;
using EmtTorch.Memory.Retrieval;
using EmtTorch.Settings;
using Serilog;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Training;

/// <summary>The progress of a run, reported every log interval.</summary>
/// <param name="Metrics">The line just written to metrics.jsonl.</param>
/// <param name="Steps">The steps that the run has in all.</param>
/// <param name="TimeLeft">The time to the last step at the current speed.</param>
public sealed record TrainingProgress(Metrics Metrics, long Steps, TimeSpan? TimeLeft)
{
    /// <summary>
    /// The time to the last step if all were at the last horizon, and took longer as their sequences are longer. The
    /// time that is really left lies between the two.
    /// </summary>
    public TimeSpan? LongestTimeLeft { get; init; } = TimeLeft;
}

/// <summary>A run cannot go on: it has diverged, or the device or a store cannot be used.</summary>
public sealed class TrainingException(string message) : Exception(message);

/// <summary>
/// Trains one network as its configuration says: fresh batches of the task at each step, Adam or AdamW after clipping
/// the gradient's norm, a schedule of learning rates, horizons from short to long, tests at a horizon of their own.
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

    /// <summary>Prepares a run. Nothing is written before <see cref="Train"/>.</summary>
    /// <param name="configuration">The configuration, from `ConfigurationFile.Load`.</param>
    /// <param name="folder">The folder that the run writes to.</param>
    /// <param name="log">Takes messages about the course of training.</param>
    public TrainingRun(RunConfiguration configuration, RunFolder folder, ILogger log) =>
        (_configuration, _folder, _log) = (configuration, folder, log);

    /// <summary>The file of initial weights, a checkpoint or weights written by Python; null for random ones.</summary>
    public string? InitialWeights { get; init; }

    /// <summary>Called every log interval.</summary>
    public Action<TrainingProgress>? Progress { get; init; }

    /// <summary>Reads the network's eigenvalues at each test, for metrics.jsonl.</summary>
    internal SpectrumReader? Spectrum { get; init; }

    /// <summary>Measures the network at each test, for `measures` in metrics.jsonl.</summary>
    internal Func<nn.Module, IReadOnlyDictionary<string, double>>? Measure { get; init; }

    /// <summary>Makes what is learned, in place of the configuration's own task.</summary>
    internal Func<Device, Learner>? Learns { get; init; }

    /// <summary>Makes what protects other tasks at each step, given the network.</summary>
    internal Func<nn.Module, KeptTasks>? Keeps { get; init; }

    /// <summary>
    /// Why the configured store of episodes cannot be used, or null if it can. Nothing is written.
    /// </summary>
    internal static ConfigurationProblem? FindStoreProblem(RunConfiguration configuration) =>
        StoredEpisodes.FindProblem(configuration);

    /// <summary>Why a file cannot give a run its first weights, or null if it can. The file is named.</summary>
    internal static string? FindWeightsProblem(RunConfiguration configuration, string file)
    {
        using var scope = NewDisposeScope();
        using var network = Learner.CreateNetwork(configuration);
        try
        {
            Models.InitialWeights.Load(network, file);
            return null;
        }
        catch (Exception e) when (e is InvalidDataException or IOException or UnauthorizedAccessException)
        {
            return e.Message;
        }
    }

    /// <summary>
    /// Trains to the end, or until it is told to stop. A run that is in the folder already, and is not resumed, is
    /// moved to `earlier` beside the folder; a log that is open in the folder goes with it.
    /// </summary>
    /// <param name="resume">Whether to go on from the newest good checkpoint, if there is one.</param>
    /// <param name="stop">Makes training write a checkpoint and return null.</param>
    /// <returns>The content of result.json, or null if training was stopped.</returns>
    /// <exception cref="TrainingException">The loss is not finite, or the device or a store cannot be used.</exception>
    /// <exception cref="CheckpointException">There are checkpoints, and all are damaged.</exception>
    /// <exception cref="InvalidDataException">A checkpoint or the initial weights do not fit the network.</exception>
    public RunResult? Train(bool resume = false, CancellationToken stop = default)
    {
        try
        {
            return Run(resume, stop);
        }
        catch (Exception e) when (StoredEpisodes.FindFailure(e) is { } failure)
        {
            throw new TrainingException(failure.Message);
        }
    }

    private RunResult? Run(bool resume, CancellationToken stop)
    {
        var training = _configuration.Training;
        var device = TorchRuntime.ResolveDevice(_configuration.Device, out var problem);
        problem ??= RunMemory.FindProblem(_configuration)?.ToString();
        if (problem is not null)
            throw new TrainingException(problem);

        using var everything = NewDisposeScope();
        using var learner = Learns?.Invoke(device) ?? Learner.Create(_configuration, device, _log, stop);
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
            Others = (kept?.Tensors ?? new Dictionary<string, Tensor>()).Concat(learner.Tensors).ToDictionary(),
            Curriculum = new Curriculum(training.Curriculum.Horizons, training.Curriculum.Threshold),
        };

        using var course = new RunCourse(_configuration, _folder, _log, state, resume, InitialWeights)
        {
            Progress = Progress,
            Spectrum = Spectrum,
            Measure = Measure,
        };
        TestScore Test() => learner.Test(state.Step);
        return TakeSteps(course, () => TrainStep(state, learner, clipped, kept), Test, stop)
            ? course.Finish(device, Test)
            : null;
    }

    /// <summary>Takes steps to the end.</summary>
    /// <returns>Whether it got there: false if it was told to stop.</returns>
    private bool TakeSteps(RunCourse course, Func<StepScore> step, Func<TestScore> test, CancellationToken stop)
    {
        bool storeMayFail =
            _configuration.Model.Find<RetrievalConfiguration>() is { Store: RetrievalConfiguration.Postgres };
        while (!course.Over)
        {
            if (stop.IsCancellationRequested)
            {
                course.Interrupt();
                return false;
            }
            var mark = storeMayFail ? course.SetMark() : null;
            try
            {
                course.Take(step());
                course.Record(course.TestDue ? test() : null);
            }
            catch (Exception e) when (mark is not null && StoredEpisodes.FindFailure(e) is { } failure)
            {
                Abandon(course, mark, failure);
                if (stop.IsCancellationRequested)
                    return false;
                throw;
            }
        }
        return true;
    }

    private void Abandon(RunCourse course, RunCourse.Mark mark, StoreException failure)
    {
        course.SaveMark(mark);
        _log.Warning(
            "Step {Step} was abandoned: {Reason}. A checkpoint of step {Before} was written",
            mark.Step + 1,
            failure.Message,
            mark.Step
        );
    }

    private StepScore TrainStep(TrainingState state, Learner learner, ClippedAdam optimizer, KeptTasks? kept)
    {
        using var scope = NewDisposeScope();
        var (loss, accuracy) = learner.ComputeGradients(state.Curriculum.Horizon, state.Data);
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
        learner.AfterStep(state.Step + 1);
        return new(loss, accuracy, norm);
    }
}
