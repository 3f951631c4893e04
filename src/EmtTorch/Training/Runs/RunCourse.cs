using System.Diagnostics;
using EmtTorch.Models;
using Serilog;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Training;

/// <summary>What one training step came to.</summary>
/// <param name="Loss">The loss of the step's batch, as in <see cref="TestScore"/>.</param>
/// <param name="Accuracy">Its share of right outputs.</param>
/// <param name="GradientNorm">‖g‖ before clipping.</param>
internal readonly record struct StepScore(double Loss, double Accuracy, double GradientNorm);

/// <summary>
/// The persistent eigenvalues of a network that is being trained: how far they are from theory's, in radians (null
/// where they differ in number), and how many there are; null where that says nothing.
/// </summary>
public delegate (double? Error, int Count)? SpectrumReader(ElmanRnn network);

/// <summary>
/// A run beside its arithmetic: where it is, what horizon comes next, when it is tested, written down, saved and over.
/// <see cref="TrainingRun"/> has one, <see cref="EnsembleRun"/> one for each member.
/// </summary>
internal sealed class RunCourse : IDisposable
{
    private readonly RunConfiguration _configuration;
    private readonly RunFolder _folder;
    private readonly ILogger _log;
    private readonly CheckpointFolder _checkpoints;
    private readonly MetricsWriter _metrics;
    private readonly Stopwatch _clock = Stopwatch.StartNew();
    private readonly double _secondsBefore;
    private double _intervalStart;
    private long _intervalStep;
    private StepScore _score;
    private long _horizon;
    private TestScore? _test;

    /// <summary>
    /// Begins: at the newest good checkpoint, at given weights, or at the random ones that the state holds.
    /// </summary>
    /// <exception cref="CheckpointException">There are checkpoints, and all are damaged.</exception>
    public RunCourse(
        RunConfiguration configuration,
        RunFolder folder,
        ILogger log,
        TrainingState state,
        bool resume,
        string? initialWeights
    )
    {
        (_configuration, _folder, _log, State) = (configuration, folder, log, state);
        _checkpoints = new(folder.Checkpoints, configuration.Checkpoints.KeepLast, configuration.Checkpoints.KeepBest);
        Directory.CreateDirectory(folder.Path);
        folder.RemoveUnfinished();
        folder.WriteConfiguration(configuration);
        void Warn(string message) => log.Warning("{Message}", message);
        if (resume && _checkpoints.LoadLatest(Warn) is { } checkpoint)
        {
            state.Restore(checkpoint.File, Warn);
            log.Information("Going on from {Checkpoint}, step {Step}", checkpoint.Path, state.Step);
        }
        else if (initialWeights is { } weights)
        {
            StoredTensors.RestoreWeights(state.Network, SafetensorsFile.Read(weights));
            log.Information("Starting from the weights in {Weights}", weights);
        }
        if (state.Step == 0 && state.Stores is not null)
            StoredEpisodes.Clear(state.Stores);
        _metrics = folder.OpenMetrics(state.Step);
        (_secondsBefore, _intervalStep) = (state.Seconds, state.Step);
        _clock.Restart();
    }

    public TrainingState State { get; }

    /// <summary>Told how far the run is, every log interval.</summary>
    public Action<TrainingProgress>? Progress { get; init; }

    /// <summary>Called before the state is read, where the numbers are kept elsewhere meanwhile.</summary>
    public Action? Collect { get; init; }

    /// <summary>Reads a network's persistent eigenvalues at each test.</summary>
    public SpectrumReader? Spectrum { get; init; }

    /// <summary>Figures of the network at each test.</summary>
    public Func<nn.Module, IReadOnlyDictionary<string, double>>? Measure { get; init; }

    /// <summary>Whether all steps are done, or enough tests in a row were good enough.</summary>
    public bool Over => State.Step >= _configuration.Training.Steps || StoppedEarly;

    /// <summary>Whether a test belongs to the step just taken.</summary>
    public bool TestDue => TestAt(State.Step);

    /// <summary>
    /// Whether something comes of a step: a line, a test, a checkpoint, the end, or maybe another horizon.
    /// </summary>
    public bool Matters(long step) =>
        !State.Curriculum.AtEnd
        || TestAt(step)
        || step % _configuration.Training.LogInterval == 0
        || step % _configuration.Checkpoints.Interval == 0;

    private bool TestAt(long step) =>
        step == _configuration.Training.Steps || step % _configuration.Evaluation.Interval == 0;

    private bool StoppedEarly => _configuration.Training.EarlyStop is { } rule && State.Streak >= rule.Evaluations;

    /// <summary>Counts a step, and takes the next horizon if its batch was good enough.</summary>
    /// <exception cref="TrainingException">The loss is not a number any more.</exception>
    public void Take(StepScore score)
    {
        (_score, _horizon, _test) = (score, State.Curriculum.Horizon, null);
        State.Step++;
        State.Seconds = _secondsBefore + _clock.Elapsed.TotalSeconds;
        if (!double.IsFinite(score.Loss))
        {
            throw new TrainingException(
                $"The loss is {score.Loss} at step {State.Step}: training has diverged. Try a smaller "
                    + "training.learning_rate or training.max_grad_norm. The checkpoints before it are kept."
            );
        }

        if (State.Curriculum.Advance(score.Accuracy))
        {
            _log.Information(
                "Step {Step}: accuracy {Accuracy:0.000} at horizon {Horizon}; on to horizon {Next}",
                State.Step,
                score.Accuracy,
                _horizon,
                State.Curriculum.Horizon
            );
        }
    }

    /// <summary>Writes down what is due after the step just taken: its line, its test, its checkpoint.</summary>
    /// <param name="test">The test, where one was due.</param>
    public void Record(TestScore? test)
    {
        _test = test;
        if (test is { } tested)
        {
            bool reached = _configuration.Training.EarlyStop is { } target && tested.Accuracy >= target.Accuracy;
            State.Streak = reached ? State.Streak + 1 : 0;
            if (tested.Loss < State.Best.Loss)
                State.Best = (State.Step, tested.Loss, tested.Accuracy);
            if (Spectrum is not null)
                Collect?.Invoke();
        }
        var spectrum = test is null ? null : Spectrum?.Invoke((ElmanRnn)State.Network);
        if (Over || test is not null || State.Step % _configuration.Training.LogInterval == 0)
        {
            double now = _clock.Elapsed.TotalSeconds,
                speed = (State.Step - _intervalStep) / (now - _intervalStart);
            var line = new Metrics
            {
                Step = State.Step,
                Loss = _score.Loss,
                Accuracy = _score.Accuracy,
                Horizon = _horizon,
                GradientNorm = _score.GradientNorm,
                TestLoss = test?.Loss,
                TestAccuracy = test?.Accuracy,
                TestBitsPerCharacter = test?.Text?.All,
                TestBitsNewWords = test?.Text?.NewWords,
                TestBitsSeenWords = test?.Text?.SeenWords,
                Measures = test is null ? null : Measure?.Invoke(State.Network),
                SpectralError = spectrum?.Error,
                EigenvaluesLearned = spectrum?.Count,
                StepsPerSecond = Math.Round(speed, 2),
                Seconds = Math.Round(State.Seconds, 3),
            };
            (_intervalStart, _intervalStep) = (now, State.Step);
            _metrics.Write(line);
            Progress?.Invoke(
                new(
                    line,
                    _configuration.Training.Steps,
                    TimeSpan.FromSeconds((_configuration.Training.Steps - State.Step) / speed)
                )
            );
            if (test is not null)
            {
                _log.Information(
                    "Step {Step}: test accuracy {TestAccuracy:0.0000} at horizon {TestHorizon}, training loss "
                        + "{Loss:0.00000}",
                    State.Step,
                    test.Value.Accuracy,
                    _configuration.Evaluation.Horizon,
                    _score.Loss
                );
            }
        }
        bool newBest = _configuration.Checkpoints.KeepBest && State.Best.Step == State.Step;
        if (Over || newBest || State.Step % _configuration.Checkpoints.Interval == 0)
            Save();
    }

    /// <summary>Leaves a checkpoint to go on from.</summary>
    public void Interrupt()
    {
        Save();
        _log.Information("Interrupted at step {Step}; a checkpoint was written", State.Step);
    }

    /// <summary>Where the run is before a step, for one that may be broken off: by a store that is away.</summary>
    /// <param name="Step">Steps done.</param>
    /// <param name="Random">Where batches come from.</param>
    /// <param name="Generation">The next generation of documents that are stored.</param>
    /// <param name="Whole">All of the state, where the step may be broken off after the weights have moved: in its
    /// test, or when it is saved.</param>
    internal sealed record Mark(
        long Step,
        SafetensorsTensor Random,
        long Generation,
        (Dictionary<string, SafetensorsTensor> Tensors, Dictionary<string, string> Metadata)? Whole
    );

    /// <summary>Marks this place.</summary>
    public Mark Here()
    {
        long next = State.Step + 1;
        bool whole = TestAt(next) || next % _configuration.Checkpoints.Interval == 0;
        using var random = State.Data.get_state();
        return new(
            State.Step,
            StoredTensors.Store(random),
            State.Stores!.Next,
            whole ? (State.Tensors(), State.Metadata(_configuration.ToJson(), storesAreThere: false)) : null
        );
    }

    /// <summary>Leaves a checkpoint of a place that was marked, after the step from it was broken off.</summary>
    public void BackTo(Mark mark)
    {
        _metrics.Flush();
        if (_checkpoints.LastStep == mark.Step)
            return;
        var (tensors, metadata) =
            mark.Whole ?? (State.Tensors(), State.Metadata(_configuration.ToJson(), storesAreThere: false));
        tensors["random.data"] = mark.Random;
        StoredEpisodes.Save(mark.Generation, metadata);
        _checkpoints.Save(mark.Step, tensors, metadata, score: null);
    }

    /// <summary>Writes result.json.</summary>
    /// <param name="device">Where it was trained.</param>
    /// <param name="evaluate">The test of the last weights, for a run that was over before it was resumed.</param>
    public RunResult Finish(Device device, Func<TestScore> evaluate)
    {
        var test = _test ?? evaluate();
        var result = new RunResult
        {
            Name = _configuration.Name,
            Seed = _configuration.Seed,
            Outcome = StoppedEarly ? "early_stop" : "finished",
            TestAccuracy = test.Accuracy,
            TestLoss = test.Loss,
            TestHorizon = _configuration.Evaluation.Horizon,
            BestStep = State.Best.Step,
            BestTestAccuracy = State.Best.Accuracy,
            BestTestLoss = State.Best.Loss,
            Steps = State.Step,
            Seconds = Math.Round(State.Seconds, 3),
            Device = device.ToString(),
            Threads = get_num_threads(),
            TorchVersion = TorchRuntime.TorchVersion,
            TorchsharpVersion = TorchRuntime.TorchSharpVersion,
            EmttorchVersion = typeof(RunCourse).Assembly.GetName().Version!.ToString(3),
            DotnetVersion = Environment.Version.ToString(),
        };
        _folder.WriteResult(result);
        return result;
    }

    private void Save()
    {
        _metrics.Flush();
        Collect?.Invoke();
        // The best is the one with the lowest test loss: accuracy is 1 long before a network is as clean as it gets.
        _checkpoints.Save(State.Step, State.Tensors(), State.Metadata(_configuration.ToJson()), score: -_test?.Loss);
    }

    public void Dispose() => _metrics.Dispose();
}
