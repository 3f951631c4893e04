using System.Text.Json.Nodes;
using EmtTorch.Models;
using Serilog;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace EmtTorch.Training;

/// <summary>One of the networks that are trained together. Its callbacks come from several threads.</summary>
/// <param name="Configuration">The member's configuration.</param>
/// <param name="Folder">The folder that the member writes to.</param>
/// <param name="Log">Takes messages about the course of training.</param>
public sealed record EnsembleMember(RunConfiguration Configuration, RunFolder Folder, ILogger Log)
{
    /// <summary>The file of initial weights, or null for random ones.</summary>
    public string? InitialWeights { get; init; }

    /// <summary>Called every log interval.</summary>
    public Action<TrainingProgress>? Progress { get; init; }

    /// <summary>Reads the network's eigenvalues at each test, for metrics.jsonl.</summary>
    internal SpectrumReader? Spectrum { get; init; }

    /// <summary>Called as soon as the member is done or has failed. The others go on.</summary>
    public Action<MemberOutcome>? Ended { get; init; }
}

/// <summary>The outcome of a member: its result or its failure, or neither if it was interrupted.</summary>
public sealed record MemberOutcome(RunResult? Result, Exception? Failure);

/// <summary>
/// Trains Elman networks of one shape in lockstep on one device, all of them in each launch. On a GPU one small network
/// leaves most of the device idle; a hundred of them take hardly more time. Each member has its own seed, batches,
/// curriculum, run folder, tests and checkpoints, and gives what <see cref="TrainingRun"/> would give, to rounding. A
/// checkpoint written by one can be resumed by the other.
/// </summary>
/// <remarks>
/// Losses and accuracies stay on the device until something depends on them: at every step while a member's horizon may
/// change, otherwise at lines of metrics, tests and checkpoints. A member that is done or has failed is removed at
/// once. Seconds and steps per second count the time of a step of all members together.
/// </remarks>
/// <example><code>
/// var members = configurations.Select(c => new EnsembleMember(c, RunFolder.Of(c), Log.Logger)).ToList();
/// var outcomes = new EnsembleRun(members).Train();
/// </code></example>
public sealed class EnsembleRun
{
    // The keys in which members may differ. All others decide the shape of the computation, or its schedule.
    private static readonly string[] Own =
    [
        "name",
        "seed",
        "out",
        "model.initialization",
        "model.initialization_noise",
        "training.optimizer",
        "training.learning_rate",
        "training.weight_decay",
        "training.max_grad_norm",
        "training.gradient_noise",
        "training.spectral_penalty",
    ];

    private const int Writers = 8;

    private readonly IReadOnlyList<EnsembleMember> _members;
    private readonly RunConfiguration _common;
    private readonly MemberOutcome?[] _outcomes;

    // The members in training, in the order of the rows of the weights: those with the longest horizon first.
    private List<Running> _running = [];
    private ElmanEnsemble? _networks;
    private EnsembleAdam? _optimizer;
    private Tensor? _penalties; // β (N, 1, 1); null if all are 0

    /// <summary>Prepares the training of some members.</summary>
    /// <exception cref="ArgumentException">There is none, two cannot be trained together, or two have the same
    /// folder.</exception>
    public EnsembleRun(IReadOnlyList<EnsembleMember> members)
    {
        if (members.Count == 0)
            throw new ArgumentException("there is no member");
        if (members.FirstOrDefault(m => !CanJoin(m.Configuration, members[0].Configuration)) is { } other)
        {
            throw new ArgumentException(
                $"{other.Folder.Path} and {members[0].Folder.Path} differ in more than {string.Join(", ", Own)}"
            );
        }

        if (members.DistinctBy(m => Path.GetFullPath(m.Folder.Path)).Count() < members.Count)
            throw new ArgumentException("two members have the same folder");
        (_members, _common, _outcomes) = (members, members[0].Configuration, new MemberOutcome?[members.Count]);
    }

    /// <summary>
    /// Whether an ensemble can train a configuration: it has an Elman network and a constant learning rate.
    /// </summary>
    public static bool CanTrain(RunConfiguration configuration) =>
        !configuration.Model.IsTransformer && configuration.Training is { Schedule: "constant", WarmupSteps: 0 };

    /// <summary>
    /// Whether two configurations can be trained together: they differ at most in name, seed, folder, initialization
    /// and the settings of the optimizer.
    /// </summary>
    public static bool CanJoin(RunConfiguration one, RunConfiguration other) =>
        JsonNode.DeepEquals(CommonSettings(one), CommonSettings(other));

    private static JsonNode CommonSettings(RunConfiguration configuration)
    {
        var json = JsonNode.Parse(configuration.ToJson())!;
        foreach (var path in Own)
        {
            var keys = path.Split('.');
            keys[..^1].Aggregate(json, (node, key) => node[key]!).AsObject().Remove(keys[^1]);
        }
        return json;
    }

    /// <summary>
    /// Trains all members to their ends, or until it is told to stop. Runs that are in their folders already are
    /// treated as <see cref="TrainingRun.Train"/> does.
    /// </summary>
    /// <param name="resume">Whether members go on from their newest good checkpoints, if there are any.</param>
    /// <param name="stop">Makes each member that is not done write a checkpoint and end.</param>
    /// <returns>The members' outcomes, in the order of the members.</returns>
    /// <exception cref="TrainingException">The device cannot be used.</exception>
    public IReadOnlyList<MemberOutcome> Train(bool resume = false, CancellationToken stop = default)
    {
        var device = TorchRuntime.ResolveDevice(_common.Device, out var problem);
        problem ??= RunMemory.FindProblem(_common, _members.Count)?.ToString();
        if (problem is not null)
            throw new TrainingException(problem);
        using var everything = NewDisposeScope();
        using var batches = new EnsembleBatches(_common.Task, _common.Model.ScalarType, device);
        var all = new List<Running>();
        try
        {
            for (int i = 0; i < _members.Count; i++)
                Begin(all, i, batches.Dimension, device, resume);
            Join(all, device);
            Retire(batches, device);
            Run(batches, device, stop);
        }
        catch (Exception e)
        {
            // An error of what they share, such as a lack of the device's memory, ends all members.
            foreach (var member in all.Where(m => m.GoesOn))
                End(member, new(null, e));
        }
        finally
        {
            foreach (var member in all)
                member.Dispose();
            _networks?.Dispose();
            _optimizer?.Dispose();
            _penalties?.Dispose();
        }
        return _outcomes!;
    }

    private void Run(EnsembleBatches batches, Device device, CancellationToken stop)
    {
        var unread = new List<Tensor>();
        while (_running.Exists(m => m.GoesOn))
        {
            bool stopping = stop.IsCancellationRequested;
            if (!stopping)
            {
                Arrange();
                unread.Add(Step(batches));
                // While nothing depends on the scores, the next step is launched without waiting for them.
                if (!_running.Exists(m => m.Course.Matters(m.State.Step + unread.Count)))
                    continue;
            }
            if (unread.Count > 0)
            {
                Take(unread);
                var due = _running.Where(m => m.GoesOn && m.Course.TestDue).ToList();
                var tests = due.Count > 0 ? Evaluate(due, batches, device) : [];
                Each(m => m.Course.Record(tests.TryGetValue(m, out var test) ? test : null));
                unread.Clear();
            }
            Retire(batches, device);
            if (!stopping)
                continue;
            Each(member =>
            {
                member.Course.Interrupt();
                End(member, new(null, null));
            });
        }
    }

    /// <summary>
    /// Makes a member's state: that of its checkpoint, or with the weights that it would start with alone.
    /// </summary>
    private void Begin(List<Running> all, int index, int dimension, Device device, bool resume)
    {
        var member = _members[index];
        var running = new Running(index, member);
        all.Add(running);
        Safely(
            running,
            () =>
            {
                running.State = CreateState(member.Configuration, dimension);
                running.Course = new(
                    member.Configuration,
                    member.Folder,
                    member.Log,
                    running.State,
                    resume,
                    member.InitialWeights
                )
                {
                    Progress = member.Progress,
                    Spectrum = member.Spectrum,
                    Collect = () => Store(running),
                };
            }
        );
    }

    private static TrainingState CreateState(RunConfiguration configuration, int dimension)
    {
        var training = configuration.Training;
        // This network and its optimizer only carry numbers between checkpoints and the rows of the ensemble.
        var network = SequenceLearner.CreateNetwork(configuration, dimension);
        return new()
        {
            Network = network,
            Optimizer = optim.Adam(network.parameters(), lr: training.LearningRate, weight_decay: training.WeightDecay),
            Data = new Generator((ulong)configuration.Seed),
            Curriculum = new Curriculum(training.Curriculum.Horizons, training.Curriculum.Threshold),
        };
    }

    /// <summary>Makes the ensemble out of the states of its members.</summary>
    private void Join(List<Running> all, Device device)
    {
        using var scope = NewDisposeScope();
        _running = [.. all.Where(m => m.GoesOn)];
        if (_running.Count == 0)
            return;
        _networks = new([.. _running.Select(m => (ElmanRnn)m.State.Network)], device);
        Tensor Averages(Func<Adam.State, Tensor> part) =>
            stack(_running.Select(m => cat(m.Moments.Select(s => part(s).reshape(-1)).ToArray()))).to(device); // (N, P)
        _optimizer = new(
            Averages(s => s.exp_avg),
            Averages(s => s.exp_avg_sq),
            _running
                .Select(m => m.Member.Configuration.Training)
                .Select(t => new AdamSettings(t.LearningRate, t.WeightDecay, t.MaxGradNorm, t.DecoupledDecay)),
            _running.Select(m => m.Moments[0].step)
        );
        SetPenalties();
    }

    /// <summary>Sorts the rows by horizon, the longest first, and removes those of members that have ended.</summary>
    private void Arrange()
    {
        int[] order =
        [
            .. Enumerable
                .Range(0, _running.Count)
                .Where(i => _running[i].GoesOn)
                .OrderByDescending(i => _running[i].State.Curriculum.Horizon),
        ];
        if (order.Length == _running.Count && order.SequenceEqual(Enumerable.Range(0, order.Length)))
            return;
        using var rows = Rows(order);
        _networks!.Choose(rows);
        _optimizer!.Choose(order, rows);
        _running = [.. order.Select(i => _running[i])];
        SetPenalties();
    }

    private void SetPenalties()
    {
        _penalties?.Dispose();
        using var scope = NewDisposeScope();
        double[] betas = [.. _running.Select(m => m.Member.Configuration.Training.SpectralPenalty)];
        _penalties = betas.All(beta => beta == 0)
            ? null
            : tensor(betas, _networks!.Parameters.dtype, _networks.Parameters.device)
                .view(-1, 1, 1)
                .DetachFromDisposeScope();
    }

    private Tensor Rows(IEnumerable<int> rows) =>
        tensor(rows.Select(i => (long)i).ToArray(), ScalarType.Int64, _networks!.Parameters.device);

    /// <summary>Takes one step of all members: their losses, accuracies and norms (N, 3), on the device.</summary>
    private Tensor Step(EnsembleBatches batches)
    {
        using var scope = NewDisposeScope();
        int[] horizons = [.. _running.Select(m => m.State.Curriculum.Horizon)];
        var (input, target) = batches.Batch(
            _common.Training.BatchSize,
            horizons,
            [.. _running.Select(m => m.State.Data)]
        );
        var (scores, gradient) = _networks!.Score(input, target, batches.From, horizons, gradients: true);
        if (_penalties is not null)
            _networks.AddSpectralPenalty(gradient!, _penalties);
        var norms = _optimizer!.Step(_networks.Parameters, gradient!, Noise());
        return cat([scores, norms.to(ScalarType.Float64).unsqueeze(1)], 1).MoveToOuterDisposeScope();
    }

    /// <summary>The members' gradient noise, the same as each would draw alone (N, P); null if none has any.</summary>
    private Tensor? Noise()
    {
        if (!_running.Exists(m => m.Member.Configuration.Training.GradientNoise > 0))
            return null;
        var noise = zeros_like(_networks!.Parameters);
        for (int i = 0; i < _running.Count; i++)
        {
            if (_running[i].Member.Configuration.Training.GradientNoise > 0)
                GradientNoise.Fill(noise[i], _running[i].Member.Configuration, _optimizer!.Steps[i]);
        }

        return noise;
    }

    /// <summary>Reads the scores of the last steps and counts these. A member whose loss is not finite ends.</summary>
    private void Take(List<Tensor> unread)
    {
        using var scope = NewDisposeScope();
        var numbers = stack(unread).cpu().data<double>().ToArray(); // (steps, N, 3)
        for (int i = 0; i < _running.Count; i++)
        {
            for (int k = 0; k < unread.Count && _running[i].GoesOn; k++)
            {
                int at = (k * _running.Count + i) * 3;
                Safely(_running[i], () => _running[i].Course.Take(new(numbers[at], numbers[at + 1], numbers[at + 2])));
            }
        }

        unread.ForEach(t => t.Dispose());
    }

    /// <summary>Tests members on the same batches as each would be tested on alone.</summary>
    private Dictionary<Running, TestScore> Evaluate(List<Running> members, EnsembleBatches batches, Device device)
    {
        using var scope = NewDisposeScope();
        var settings = _common.Evaluation;
        var data = members.ConvertAll(m => Learner.TestData(m.Member.Configuration, m.State.Step));
        try
        {
            using var networks =
                members.Count == _running.Count
                    ? null
                    : _networks!.Some(Rows(members.Select(m => _running.IndexOf(m))));
            int[] horizons = [.. members.Select(_ => settings.Horizon)];
            var scores = zeros([members.Count, 2], dtype: ScalarType.Float64, device: device);
            for (int i = 0; i < settings.Batches; i++)
            {
                using var step = NewDisposeScope();
                var (input, target) = batches.Batch(settings.BatchSize, horizons, data);
                scores.add_(
                    (networks ?? _networks!).Score(input, target, batches.From, horizons, gradients: false).Scores
                );
            }
            var numbers = scores.cpu().data<double>().ToArray();
            return members
                .Select((m, i) => (m, i))
                .ToDictionary(
                    p => p.m,
                    p => new TestScore(numbers[2 * p.i] / settings.Batches, numbers[2 * p.i + 1] / settings.Batches)
                );
        }
        finally
        {
            data.ForEach(g => g.Dispose());
        }
    }

    /// <summary>Writes the results of the members that are done, and ends them.</summary>
    private void Retire(EnsembleBatches batches, Device device)
    {
        foreach (var member in _running.Where(m => m.GoesOn && m.Course.Over))
        {
            TestScore Test() => Evaluate([member], batches, device)[member];
            Safely(member, () => End(member, new(member.Course.Finish(device, Test), null)));
        }
    }

    /// <summary>Copies a member's rows to its state, of which its checkpoint is made.</summary>
    private void Store(Running member)
    {
        int row = _running.IndexOf(member);
        using var scope = NewDisposeScope();
        _networks!.Unpack(_networks.Parameters[row], member.State.Network.parameters());
        _networks.Unpack(_optimizer!.Means[row], member.Moments.Select(s => s.exp_avg));
        _networks.Unpack(_optimizer.Squares[row], member.Moments.Select(s => s.exp_avg_sq));
        foreach (var moments in member.Moments)
            moments.step = _optimizer.Steps[row];
    }

    // In parallel: writing a checkpoint waits for the disk, and hundreds of them one after the other would take longer
    // than the training between them.
    private void Each(Action<Running> action) =>
        Parallel.ForEach(
            _running.Where(m => m.GoesOn),
            new ParallelOptions { MaxDegreeOfParallelism = Writers },
            member => Safely(member, () => action(member))
        );

    /// <summary>Does something for one member. A failure is logged and ends only this member.</summary>
    private void Safely(Running member, Action action)
    {
        try
        {
            action();
        }
        catch (Exception e)
        {
            End(member, new(null, e));
        }
    }

    private void End(Running member, MemberOutcome outcome)
    {
        member.GoesOn = false;
        _outcomes[member.Index] = outcome;
        if (outcome.Failure is { } failure)
            member.Member.Log.Error(failure, "{Message}", TorchSharpDefects.Message(failure));
        member.Member.Ended?.Invoke(outcome);
    }

    private sealed class Running(int index, EnsembleMember member) : IDisposable
    {
        public int Index => index;
        public EnsembleMember Member => member;
        public TrainingState State { get; set; } = null!;
        public RunCourse Course { get; set; } = null!;
        public bool GoesOn { get; set; } = true;

        /// <summary>Adam's averages and step counts for each parameter.</summary>
        public Adam.State[] Moments => field ??= [.. State.Optimizer.state_dict().State.Cast<Adam.State>()];

        public void Dispose()
        {
            Course?.Dispose();
            if (State is null)
                return;
            State.Network.Dispose();
            State.Optimizer.Dispose();
            State.Data.Dispose();
        }
    }
}
