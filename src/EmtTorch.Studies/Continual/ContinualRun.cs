using System.Text.Json;
using EmtTorch.Analysis;
using EmtTorch.Memory;
using EmtTorch.Models;
using EmtTorch.Settings;
using EmtTorch.Training;
using Serilog;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Studies;

/// <summary>The tests of all tasks after a stage.</summary>
/// <param name="Accuracy">By task.</param>
/// <param name="Loss">By task.</param>
public sealed record StageTests(IReadOnlyDictionary<string, double> Accuracy, IReadOnlyDictionary<string, double> Loss);

/// <summary>
/// One network that learns the tasks of a sequence one after the other, by one method. Each stage is a run in a folder
/// of its own, RUNS/METHOD/seed-N/2-t3. It begins with the weights of the stage before it; Adam's state and the
/// parameters that each task has for itself begin anew. All methods share the first stage, RUNS/first/seed-N/1-t2.
/// </summary>
/// <remarks>
/// Beside the files of a run, a stage has `initial.safetensors`, its first weights; `kept.safetensors`, the importance
/// and the anchor of the penalty, or the protected directions; `own.safetensors`, the previous task's own parameters if
/// the method changes them; and `tests.json`. All but the last are written before training, so that a kill at any time
/// does no harm. The next stage takes the last weights, not the best.
/// </remarks>
/// <example><code>
/// var sequence = ContinualSequence.Load("experiments/continual/t2_t3_t4.json");
/// bool done = new ContinualRun(sequence, sequence.Methods[0], seed: 1).Train(stop);
/// </code></example>
public sealed class ContinualRun(ContinualSequence sequence, ContinualMethod method, long seed)
{
    private const string InitialFile = "initial.safetensors",
        KeptFile = "kept.safetensors",
        TestsFile = "tests.json",
        OwnFile = "own.safetensors",
        HiddenWeights = "rnn.weight_hh";

    /// <summary>
    /// The share of the states' squares that the directions of `states` hold: the threshold of GPM (Saha et al. 2021,
    /// arXiv 2103.09762).
    /// </summary>
    private const double StatesShare = 0.999;
    private const int StatesBatch = 64;

    /// <summary>Makes the log of a stage, counted from 0; null: there are no logs.</summary>
    public Func<int, RunFolder, ILogger>? Log { get; init; }

    /// <summary>Told how far a stage is, at each log interval.</summary>
    public Action<int, TrainingProgress>? Progress { get; init; }

    /// <summary>Told of a stage that is done, with its tests and the seconds that it took.</summary>
    public Action<int, StageTests, double>? Done { get; init; }

    private int Count => sequence.Tasks.Count;

    private string TaskName(int task) => sequence.Tasks[task].Name;

    private bool IsJoint => method.Kind == "joint";

    /// <summary>The folder of a stage.</summary>
    /// <param name="stage">The stage, from 0.</param>
    public RunFolder Folder(int stage) =>
        new(
            Path.Combine(
                sequence.Runs,
                stage == 0 && !IsJoint ? ContinualFolders.First : method.Name,
                $"seed-{seed}",
                IsJoint ? "all" : $"{stage + 1}-{sequence.Tasks[stage].Name}"
            )
        );

    /// <summary>The configuration of a stage.</summary>
    public RunConfiguration Configuration(int stage) =>
        IsJoint ? sequence.Stage(0, seed) with { Seed = 1000 * seed, Name = method.Name } : sequence.Stage(stage, seed);

    /// <summary>How many stages there are.</summary>
    public int Stages => IsJoint ? 1 : Count;

    /// <summary>
    /// Problems of a sequence that need its networks to be made: unknown parameters, and tasks of different sizes.
    /// </summary>
    public static IEnumerable<ConfigurationProblem> Check(ContinualSequence sequence)
    {
        var run = new ContinualRun(sequence, new("naive", "naive", 0, null, "naive"), 0);
        using var scope = NewDisposeScope();
        Dictionary<string, string>? first = null;
        for (int j = 0; j < run.Count; j++)
        {
            using var learner = run.Fresh(j);
            var shapes = learner
                .Network.named_parameters()
                .ToDictionary(p => p.name, p => $"({string.Join(", ", p.parameter.shape)})");
            first ??= shapes;
            foreach (var name in sequence.OwnParameters.Where(o => j == 0 && !shapes.ContainsKey(o)))
            {
                yield return new(
                    "own",
                    $"found {name}, which is no parameter of the network; allowed: {string.Join(", ", shapes.Keys)}"
                );
            }

            if (j == 0 && shapes.Keys.All(sequence.OwnParameters.Contains))
                yield return new("own", "has all parameters: nothing is left for the tasks to share");
            foreach (
                var (name, shape) in shapes.Where(s => !run.IsOwn(s.Key) && first.GetValueOrDefault(s.Key) != s.Value)
            )
            {
                var other = first.GetValueOrDefault(name) ?? "has none";
                var why = $"{run.TaskName(j)} needs {name} to be {shape}, and {run.TaskName(0)} {other}";
                yield return new("tasks", $"{why}: one network learns them all");
            }
        }
    }

    /// <summary>The tests of all stages, of which joint has one. Null if one of them is missing.</summary>
    public IReadOnlyList<StageTests>? ReadTests() =>
        Enumerable.Range(0, Stages).Select(s => ReadTests(Folder(s))).ToList() is var all && all.All(t => t is not null)
            ? [.. all.Select(t => t!)]
            : null;

    /// <summary>The tests of all tasks at random weights.</summary>
    public StageTests? ReadRandomTests() => ReadTests(new RunFolder(Path.GetDirectoryName(First.Folder(0).Path)!));

    private ContinualRun First => IsJoint ? new(sequence, new("naive", "naive", 0, null, "naive"), seed) : this;

    /// <summary>Trains the first stage only, which all methods share.</summary>
    /// <returns>False if it was interrupted.</returns>
    public bool TrainFirst(CancellationToken stop)
    {
        if (!TrainStage(0, stop))
            return false;
        var folder = new RunFolder(Path.GetDirectoryName(Folder(0).Path)!);
        if (ReadTests(folder) is null)
        {
            var initial = SafetensorsFile.Read(In(0, InitialFile));
            WriteTests(folder, Test(j => (name, fresh) => IsOwn(name) ? fresh : initial.Tensors[name]));
        }
        return true;
    }

    /// <summary>Trains the stages that are missing.</summary>
    /// <returns>False if it was interrupted; then there is a checkpoint.</returns>
    /// <exception cref="TrainingException">
    /// The loss is no longer a number, or there is nothing that could be protected.
    /// </exception>
    /// <exception cref="CheckpointException">All checkpoints of a stage are damaged.</exception>
    public bool Train(CancellationToken stop = default) =>
        Enumerable.Range(0, Stages).All(stage => TrainStage(stage, stop));

    private bool TrainStage(int stage, CancellationToken stop)
    {
        var (folder, configuration) = (Folder(stage), Configuration(stage));
        double seconds = 0;
        if (folder.ReadFinished(configuration.Training.Steps) is null)
        {
            if (stop.IsCancellationRequested)
                return false;
            Directory.CreateDirectory(folder.Path);
            // A kill may come at any time: each file is whole or missing, and is the same when it is made again.
            if (!IsJoint)
                Begin(stage, configuration);
            using var others = new TaskTests(this, stage);
            var watch = stage > 0 ? OldMemories.Watch(Configuration(0), Last(0)) : null;
            var log = Log?.Invoke(stage, folder) ?? Serilog.Core.Logger.None;
            var run = new TrainingRun(configuration, folder, log)
            {
                InitialWeights = IsJoint ? null : In(stage, InitialFile),
                Learns = IsJoint
                    ? device => new JointLearner(
                        configuration,
                        Enumerable.Range(0, Count).Select(j => sequence.Stage(j, seed)),
                        sequence.OwnParameters,
                        device
                    )
                    : null,
                Keeps = IsJoint ? null : network => Keeps(stage, network),
                Measure = network => new Dictionary<string, double>([
                    .. others.Measure(network),
                    .. watch?.Invoke(network) ?? new Dictionary<string, double>(),
                ]),
                Progress = progress => Progress?.Invoke(stage, progress),
            };
            try
            {
                if (run.Train(resume: true, stop) is not { } result)
                    return false;
                seconds = result.Seconds;
            }
            finally
            {
                log.Close();
            }
        }
        if (ReadTests(folder) is null)
        {
            WriteTests(folder, Tests(stage));
            if (ReadTests(folder) is { } tests)
                Done?.Invoke(stage, tests, seconds);
        }
        return true;
    }

    private string In(int stage, string file) => Path.Combine(Folder(stage).Path, file);

    private bool IsOwn(string parameter) => sequence.OwnParameters.Contains(parameter);

    /// <summary>The last checkpoint of a finished stage.</summary>
    private SafetensorsFile Last(int stage)
    {
        var folder = Folder(stage);
        var found = new CheckpointFolder(folder.Checkpoints, 1, true).FindLatest(_ => { });
        // Training could go on from an earlier one, but later stages and tests need the last weights.
        if (found is null || found.Step != folder.ReadResult()?.Steps)
        {
            throw new CheckpointException(
                $"{folder.Path} is finished, but the checkpoint of its last step is missing or damaged: remove "
                    + "that folder, and it is trained again"
            );
        }

        return found.File;
    }

    /// <summary>Writes the first weights of a stage, and what it keeps of the tasks before it.</summary>
    private void Begin(int stage, RunConfiguration configuration)
    {
        if (!File.Exists(In(stage, InitialFile)))
        {
            using var learner = Fresh(stage);
            if (stage > 0)
                SetWeights(learner.Network, (name, fresh) => IsOwn(name) ? fresh : Last(stage - 1).Tensors[name]);
            Write(
                stage,
                InitialFile,
                learner.Network.named_parameters().ToDictionary(p => p.name, p => StoredTensors.Store(p.parameter))
            );
        }
        if (stage > 0 && method.Kind is ("ewc" or "si" or "project") && !File.Exists(In(stage, KeptFile)))
            Write(stage, KeptFile, method.Kind == "project" ? KeptDirections(stage) : KeptImportance(stage));
    }

    private KeptTasks Keeps(int stage, nn.Module network)
    {
        var file = stage > 0 && File.Exists(In(stage, KeptFile)) ? SafetensorsFile.Read(In(stage, KeptFile)) : null;
        return new()
        {
            // The first stage is every method's.
            Path = stage == 0 || method.Kind == "si" ? new(network, Shared(network)) : null,
            Penalty = file is not null && method.Kind != "project" ? SynapticPenalty.Load(file, network) : null,
            Strength = method.Strength,
            Projection =
                file is not null && method.Kind == "project"
                    ? GradientProjection.Load(file, ((Models.ElmanRnn)network).RecurrentWeights)
                    : null,
        };
    }

    private HashSet<string> Shared(nn.Module network) =>
        [.. network.named_parameters().Select(p => p.name).Where(n => !IsOwn(n))];

    /// <summary>
    /// The importance of EWC or SI at the beginning of a stage: the previous stage's, plus what its task adds.
    /// </summary>
    private Dictionary<string, SafetensorsTensor> KeptImportance(int stage)
    {
        var last = Last(stage - 1);
        using var learner = Fresh(stage - 1);
        last.RestoreInto(learner.Network);
        var shared = Shared(learner.Network);
        using var penalty =
            stage > 1 ? SynapticPenalty.Load(SafetensorsFile.Read(In(stage - 1, KeptFile)), learner.Network) : new();
        using var scope = NewDisposeScope();
        if (method.Kind == "ewc")
        {
            var configuration = Configuration(stage - 1);
            using var data = new Generator(unchecked((ulong)configuration.Seed * 1_000_003 + 0x6A09E667));
            var fisher = FisherInformation.Estimate(
                learner,
                shared,
                configuration.Training.Curriculum.Horizons[^1],
                sequence.FisherSamples,
                data
            );
            foreach (var (name, parameter) in learner.Network.named_parameters().Where(p => shared.Contains(p.name)))
            {
                penalty.AddTask(name, fisher[name], parameter);
                fisher[name].Dispose();
            }
        }
        else
        {
            var start = SafetensorsFile.Read(In(stage - 1, InitialFile));
            foreach (var (name, parameter) in learner.Network.named_parameters().Where(p => shared.Contains(p.name)))
            {
                var sum = StoredTensors.LoadLike(last, $"optimizer.{KeptTasks.PathKey}{name}", parameter);
                penalty.AddImportance(
                    name,
                    2
                        * PathIntegral.Importance(
                            sum,
                            StoredTensors.LoadLike(start, name, parameter),
                            parameter,
                            sequence.Damping
                        ),
                    parameter
                );
            }
        }
        return penalty.Tensors();
    }

    /// <summary>
    /// The directions that a stage must not change: the previous stage's, and those of its task.
    /// </summary>
    private Dictionary<string, SafetensorsTensor> KeptDirections(int stage)
    {
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        var last = Last(stage - 1);
        using var found =
            method.Protect == "states"
                ? new(StateDirections(stage - 1, last), null)
                : OldMemories.Directions(Configuration(stage - 1), last);
        using var before =
            stage > 1
                ? GradientProjection.LoadDirections(SafetensorsFile.Read(In(stage - 1, KeptFile)))
                : new(null, null);
        bool from = method.Protect != "into",
            into = method.Protect is "into" or "both" or "memories";
        var tensors = GradientProjection.Tensors(
            StoredTensors.Load(last, HiddenWeights),
            from ? GradientProjection.Span(before.From, found.From) : null,
            into ? GradientProjection.Span(before.Into, found.Into) : null
        );
        if (method.Protect == "memories")
            Write(stage, OwnFile, Restricted(last, found.Projector!));
        return tensors;
    }

    /// <summary>
    /// A task's own weights, restricted to its memories: P W_uh and W_r P. Otherwise its input would disturb what later
    /// tasks put elsewhere into the hidden space, and its readout would see that.
    /// </summary>
    private Dictionary<string, SafetensorsTensor> Restricted(SafetensorsFile weights, Tensor projector)
    {
        var own = weights.Tensors.Where(t => IsOwn(t.Key)).ToDictionary();
        foreach (var name in own.Keys.ToArray())
        {
            var tensor = StoredTensors.Load(weights, name);
            var p = projector.to(tensor.dtype);
            if (name == "rnn.weight_ih")
                own[name] = StoredTensors.Store(matmul(p, tensor));
            if (name == "readout.weight")
                own[name] = StoredTensors.Store(matmul(tensor, p));
        }
        return own;
    }

    /// <summary>The own parameters of a finished task.</summary>
    private SafetensorsFile OwnOf(int task) =>
        task + 1 < Stages && File.Exists(In(task + 1, OwnFile))
            ? SafetensorsFile.Read(In(task + 1, OwnFile))
            : Last(task);

    /// <summary>
    /// The principal directions of a task's hidden states around h = 0, as many as hold <see cref="StatesShare"/> of
    /// their squares. (H, rank)
    /// </summary>
    private Tensor StateDirections(int stage, SafetensorsFile weights)
    {
        using var learner = (SequenceLearner)Fresh(stage);
        weights.RestoreInto(learner.Network);
        using var scope = NewDisposeScope();
        using var data = new Generator(unchecked((ulong)Configuration(stage).Seed * 1_000_003 + 0x6A09E667));
        var states = learner
            .States(Configuration(stage).Training.Curriculum.Horizons[^1], StatesBatch, data)
            .to(ScalarType.Float64)
            .cpu();
        states = states.reshape(-1, states.shape[^1]); // (T·B, H)
        var (directions, squares) = Matrices.PrincipalComponents(states);
        double total = squares.Sum(),
            sum = 0;
        int rank = 0;
        while (rank < squares.Length && sum < StatesShare * total)
            sum += squares[rank++];
        return directions.narrow(1, 0, rank).contiguous().MoveToOuterDisposeScope();
    }

    private void Write(int stage, string file, Dictionary<string, SafetensorsTensor> tensors) =>
        SafetensorsFile.Write(In(stage, file), tensors, new Dictionary<string, string> { ["format"] = "pt" });

    private Learner Fresh(int task) =>
        Learner.Create(
            sequence.Stage(task, seed),
            TorchRuntime.ResolveDevice(sequence.Tasks[task].Configuration.Device, out _)
        );

    /// <summary>Sets each parameter to what the source makes of its name and its present value.</summary>
    private static void SetWeights(nn.Module network, Func<string, SafetensorsTensor, SafetensorsTensor> source)
    {
        var (tensors, parameters) = (new Dictionary<string, SafetensorsTensor>(), network.named_parameters().ToList());
        foreach (var (name, parameter) in parameters)
            tensors[name] = source(name, StoredTensors.Store(parameter));
        StoredTensors.RestoreWeights(network, tensors);
    }

    /// <summary>
    /// The tests of all tasks after a stage, with the stage's shared parameters. A task that was learned is tested with
    /// its own parameters, another with random ones.
    /// </summary>
    private StageTests Tests(int stage)
    {
        var last = Last(stage);
        if (IsJoint)
            return Test(j => (name, _) => last.Tensors[JointLearner.Name(j, name)]);
        return Test(j =>
        {
            var own =
                j < stage ? OwnOf(j)
                : j == stage ? last
                : null;
            return (name, fresh) => IsOwn(name) ? own?.Tensors[name] ?? fresh : last.Tensors[name];
        });
    }

    private StageTests Test(Func<int, Func<string, SafetensorsTensor, SafetensorsTensor>> weights)
    {
        var (accuracy, loss) = (new Dictionary<string, double>(), new Dictionary<string, double>());
        for (int j = 0; j < Count; j++)
        {
            using var scope = NewDisposeScope();
            using var learner = Fresh(j);
            SetWeights(learner.Network, weights(j));
            var score = learner.Test(0);
            (accuracy[sequence.Tasks[j].Name], loss[sequence.Tasks[j].Name]) = (score.Accuracy, score.Loss);
        }
        return new(accuracy, loss);
    }

    private static void WriteTests(RunFolder folder, StageTests tests) =>
        AtomicFile.WriteText(
            Path.Combine(folder.Path, TestsFile),
            JsonSerializer.Serialize(tests, RunFolder.Json) + "\n"
        );

    private static StageTests? ReadTests(RunFolder folder)
    {
        const string What = "a stage's tests (if it is removed, it is made again)";
        var file = Path.Combine(folder.Path, TestsFile);
        return File.Exists(file) ? JsonText.Read<StageTests>(file, What, RunFolder.Json) : null;
    }

    /// <summary>Tests earlier tasks with the network that is learning a later one.</summary>
    private sealed class TaskTests : IDisposable
    {
        private readonly List<(string Name, Learner Learner)> _tasks = [];
        private readonly ContinualRun _run;

        public TaskTests(ContinualRun run, int stage)
        {
            _run = run;
            for (int j = 0; j < stage; j++)
            {
                var learner = run.Fresh(j);
                var (whole, own) = (run.Last(j), run.OwnOf(j));
                SetWeights(learner.Network, (name, _) => (run.IsOwn(name) ? own : whole).Tensors[name]);
                _tasks.Add((run.TaskName(j), learner));
            }
        }

        /// <summary>The accuracy on each, as `accuracy.NAME`.</summary>
        public IReadOnlyDictionary<string, double> Measure(nn.Module network)
        {
            using var scope = NewDisposeScope();
            using var quiet = no_grad();
            var now = network.named_parameters().ToDictionary(p => p.name, p => p.parameter);
            var measures = new Dictionary<string, double>();
            foreach (var (name, learner) in _tasks)
            {
                foreach (var (parameter, into) in learner.Network.named_parameters())
                {
                    if (!_run.IsOwn(parameter))
                        into.copy_(now[parameter]);
                }

                measures[$"accuracy.{name}"] = learner.Test(0).Accuracy;
            }
            return measures;
        }

        public void Dispose()
        {
            foreach (var (_, learner) in _tasks)
                learner.Dispose();
        }
    }
}
