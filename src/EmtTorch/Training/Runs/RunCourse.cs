using System.Diagnostics;
using EmtTorch.Memory.Retrieval;
using EmtTorch.Models;
using Serilog;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Training;

/// <summary>The result of one training step.</summary>
/// <param name="Loss">The loss of the batch, as in <see cref="TestScore"/>.</param>
/// <param name="Accuracy">The accuracy of the batch, as in <see cref="TestScore"/>.</param>
/// <param name="GradientNorm">‖g‖ before clipping.</param>
internal readonly record struct StepScore(double Loss, double Accuracy, double GradientNorm);

/// <summary>
/// Reads the persistent eigenvalues of a network that is being trained: their distance to theory's in radians (null if
/// their numbers differ), and their number. The result is null if the task has no such theory.
/// </summary>
internal delegate (double? Error, int Count)? SpectrumReader(ElmanRnn network);

/// <summary>
/// The course of a run around its steps: counts them, moves to the next horizon, says when a test is due, writes
/// metrics and checkpoints, and knows when the run is over. <see cref="TrainingRun"/> has one, <see
/// cref="EnsembleRun"/> one for each member.
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
    private readonly Dictionary<string, string> _additions = [],
        _data = [];
    private string? _history;
    private long _added = long.MinValue; // the first generation of entries that is in no file yet
    private double _intervalStart;
    private long _intervalStep;
    private StepScore _score;
    private long _horizon;
    private TestScore? _test;

    /// <summary>Starts or resumes a run, and writes its config.json.</summary>
    /// <param name="folder">The folder that is written to.</param>
    /// <param name="log">Takes messages about the course of training.</param>
    /// <param name="state">The state with its random initial weights.</param>
    /// <param name="resume">Whether to go on from the newest good checkpoint, if there is one.</param>
    /// <param name="initialWeights">The file of weights to start from otherwise, or null.</param>
    /// <exception cref="CheckpointException">There are checkpoints, and all are damaged.</exception>
    /// <exception cref="InvalidDataException">The file does not fit the network.</exception>
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
        DataFile.Save(configuration, _data);
        void Warn(string message) => log.Warning("{Message}", message);
        if (resume && _checkpoints.LoadLatest(Warn) is { } checkpoint)
        {
            GoOn(checkpoint, Warn);
        }
        else if (initialWeights is { } weights)
        {
            InitialWeights.Load(state.Network, weights);
            log.Information("Starting from the weights in {Weights}", weights);
        }
        else if (resume && folder.ReadMetrics() is [.., var last])
        {
            Warn(
                $"There is no checkpoint in {folder.Checkpoints}: training begins again at step 0, and writes the "
                    + $"lines of metrics.jsonl up to step {last.Step} anew."
            );
        }
        // What can be wrong is known now.
        if (!resume && folder.SetAside() is { } earlier)
            log.Information("The run that was in {Folder} is now in {Earlier}", folder.Path, earlier);
        Directory.CreateDirectory(folder.Path);
        folder.RemoveUnfinished();
        folder.WriteConfiguration(configuration, _history);
        if (state.Step == 0 && state.Stores is not null)
            StoredEpisodes.Clear(state.Stores);
        _metrics = folder.OpenMetrics(state.Step, Warn);
        if (state.Step == 0 && initialWeights is not null)
            Save(); // --resume needs no --weights
        (_secondsBefore, _intervalStep) = (state.Seconds, state.Step);
        _clock.Restart();
    }

    /// <summary>Takes over a checkpoint, if it is of the same experiment and was trained on the same data.</summary>
    private void GoOn(LoadedCheckpoint checkpoint, Action<string> warn)
    {
        var metadata = checkpoint.File.Metadata;
        var before = Resumption.Parse(metadata.GetValueOrDefault("configuration"));
        if (Resumption.Differences(before, _configuration, ratesMayChange: true).FirstOrDefault() is { } other)
        {
            throw new TrainingException(
                $"{checkpoint.Path} is of another experiment: its {other.Path} is {other.Before}, not {other.Now}. "
                    + "Resume with the same settings, or begin anew without --resume."
            );
        }
        if (DataFile.FindChange(_configuration, metadata) is { } data)
            throw new TrainingException($"{data}. Put that file back, or begin anew without --resume.");
        if (before is not null && Resumption.Parse(_folder.ReadConfiguration()) is null)
            warn($"{_folder.ConfigFile} is missing or damaged. It is written anew as {checkpoint.Path} has it.");
        State.Restore(checkpoint, warn);
        KeepAdditions(checkpoint);
        _log.Information("Going on from {Checkpoint}, step {Step}", checkpoint.Path, State.Step);
        var changes = Resumption.Changes(before, _configuration).ToList();
        foreach (var change in changes)
        {
            var what = $"{change.Path} is {change.Now} from step {State.Step} on; it was {change.Before}";
            _log.Information("{Change:l}", what);
        }
        _history = Resumption.Extend(metadata.GetValueOrDefault(Resumption.History), State.Step, changes);
    }

    public TrainingState State { get; }

    /// <summary>Called every log interval.</summary>
    public Action<TrainingProgress>? Progress { get; init; }

    /// <summary>Called before the state is read, to update it if the numbers are kept elsewhere.</summary>
    public Action? Collect { get; init; }

    /// <summary>Reads the network's persistent eigenvalues at each test.</summary>
    public SpectrumReader? Spectrum { get; init; }

    /// <summary>Measures the network at each test.</summary>
    public Func<nn.Module, IReadOnlyDictionary<string, double>>? Measure { get; init; }

    /// <summary>Whether all steps are done, or the rule of the early stop is met.</summary>
    public bool Over => State.Step >= _configuration.Training.Steps || StoppedEarly;

    /// <summary>Whether a test is due after the last step.</summary>
    public bool TestDue => TestAt(State.Step);

    /// <summary>
    /// Whether a step's score is needed at once: for a line of metrics, a test, a checkpoint, the end, or because the
    /// horizon may change.
    /// </summary>
    public bool Matters(long step) =>
        !State.Curriculum.AtEnd
        || TestAt(step)
        || step % _configuration.Training.LogInterval == 0
        || step % _configuration.Checkpoints.Interval == 0;

    private bool TestAt(long step) =>
        step == _configuration.Training.Steps || step % _configuration.Evaluation.Interval == 0;

    private bool StoppedEarly => _configuration.Training.EarlyStop is { } rule && State.Streak >= rule.Evaluations;

    /// <summary>Counts a step, and goes to the next horizon if its batch was good enough.</summary>
    /// <exception cref="TrainingException">The loss is not finite.</exception>
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
                "Step {Step}: accuracy {Accuracy:0.000} at horizon {Horizon}; the next horizon is {Next}",
                State.Step,
                score.Accuracy,
                _horizon,
                State.Curriculum.Horizon
            );
        }
    }

    /// <summary>Writes what is due after the last step: its line of metrics, its checkpoint.</summary>
    /// <param name="test">The result of the test if one was due, or null.</param>
    public void Record(TestScore? test)
    {
        _test = test;
        if (test is { } tested)
        {
            bool reached = _configuration.Training.EarlyStop is { } target && tested.Accuracy >= target.Accuracy;
            State.Streak = reached ? State.Streak + 1 : 0;
            if (tested.Loss < State.Best.Loss)
                State.Best = new(State.Step, tested.Loss, tested.Accuracy);
            if (Spectrum is not null)
                Collect?.Invoke();
        }
        if (Over || test is not null || State.Step % _configuration.Training.LogInterval == 0)
            WriteMetrics(test);
        bool newBest = _configuration.Checkpoints.KeepBest && State.Best.Step == State.Step;
        if (Over || newBest || State.Step % _configuration.Checkpoints.Interval == 0)
            Save();
    }

    private void WriteMetrics(TestScore? test)
    {
        var spectrum = test is null ? null : Spectrum?.Invoke((ElmanRnn)State.Network);
        long steps = _configuration.Training.Steps;
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
            Measures = test is null ? null : Measure?.Invoke(State.Network) ?? test.Value.Measures,
            SpectralError = spectrum?.Error,
            EigenvaluesLearned = spectrum?.Count,
            StepsPerSecond = Math.Round(speed, 2),
            Seconds = Math.Round(State.Seconds, 3),
        };
        (_intervalStart, _intervalStep) = (now, State.Step);
        _metrics.Write(line);
        double left = (steps - State.Step) / speed,
            longer =
                (double)_configuration.Task.LengthAt(_configuration.Training.Curriculum.Horizons[^1])
                / _configuration.Task.LengthAt((int)_horizon);
        Progress?.Invoke(
            new(line, steps, TimeSpan.FromSeconds(left)) { LongestTimeLeft = TimeSpan.FromSeconds(left * longer) }
        );
        if (test is { } tested)
        {
            _log.Information(
                "Step {Step}: test accuracy {TestAccuracy:0.0000} at horizon {TestHorizon}, training loss "
                    + "{Loss:0.00000}",
                State.Step,
                tested.Accuracy,
                _configuration.Evaluation.Horizon,
                _score.Loss
            );
        }
    }

    /// <summary>Writes a checkpoint before training stops.</summary>
    public void Interrupt()
    {
        Save();
        _log.Information("Interrupted at step {Step}; a checkpoint was written", State.Step);
    }

    /// <summary>The state before a step, in case a store that is away makes the step fail.</summary>
    /// <param name="Step">The number of steps done.</param>
    /// <param name="Random">The state of the generator of batches.</param>
    /// <param name="Generation">The next generation of documents.</param>
    /// <param name="Whole">A whole checkpoint, if the step may fail after the weights have changed: in its test, or
    /// when it is saved.</param>
    internal sealed record Mark(long Step, SafetensorsTensor Random, long Generation, Snapshot? Whole);

    /// <summary>The content of a checkpoint.</summary>
    internal sealed record Snapshot(Dictionary<string, SafetensorsTensor> Tensors, Dictionary<string, string> Metadata);

    /// <summary>Remembers the state before a step.</summary>
    public Mark SetMark()
    {
        long next = State.Step + 1;
        bool whole = TestAt(next) || next % _configuration.Checkpoints.Interval == 0;
        using var random = State.Data.get_state();
        return new(State.Step, StoredTensors.Store(random), State.Stores!.Next, whole ? TakeSnapshot() : null);
    }

    private Snapshot TakeSnapshot() => new(State.Tensors(), Metadata(storesAnswer: false));

    private Dictionary<string, string> Metadata(bool storesAnswer = true)
    {
        var metadata = State.Metadata(_configuration.ToJson(), storesAnswer);
        foreach (var (key, value) in _data)
            metadata[key] = value;
        if (_history is not null)
            metadata[Resumption.History] = _history;
        return metadata;
    }

    /// <summary>Writes a checkpoint of the state before a step, after the step has failed.</summary>
    public void SaveMark(Mark mark)
    {
        _metrics.Flush();
        if (_checkpoints.LastStep == mark.Step)
            return;
        var (tensors, metadata) = mark.Whole ?? TakeSnapshot();
        tensors["random.data"] = mark.Random;
        StoredEpisodes.Save(mark.Generation, metadata);
        _checkpoints.Save(mark.Step, tensors, metadata, score: null);
    }

    /// <summary>Writes result.json.</summary>
    /// <param name="device">The device that the run was trained on.</param>
    /// <param name="evaluate">Tests the last weights; called if the run was already over when it was resumed.</param>
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
        var metadata = Metadata();
        if (State.Stores is { } stores)
            AddEntries(stores, metadata);
        // The best is the one with the lowest test loss: accuracy is 1 long before the loss stops falling.
        _checkpoints.Save(State.Step, State.Tensors(), metadata, score: -_test?.Loss);
    }

    private void KeepAdditions(LoadedCheckpoint checkpoint)
    {
        if (checkpoint.Additions.Count == 0)
            return; // an older run has its entries in the checkpoint: the next one writes them all
        CheckpointFolder.CopyAdditions(checkpoint.File.Metadata, _additions);
        _added = State.Stores!.Next;
    }

    /// <summary>Writes the entries that stores in memory have got since the last checkpoint.</summary>
    private void AddEntries(EpisodicStores stores, Dictionary<string, string> metadata)
    {
        if (StoredEpisodes.Entries(stores, _added) is { Count: > 0 } entries)
            _checkpoints.Add("store", Math.Max(_added, 0), stores.Next, entries, _additions);
        _added = stores.Next;
        CheckpointFolder.CopyAdditions(_additions, metadata);
    }

    public void Dispose() => _metrics.Dispose();
}
