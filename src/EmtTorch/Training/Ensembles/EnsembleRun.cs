using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;
using System.Text.Json.Nodes;
using EmtTorch.Models;
using Serilog;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace EmtTorch.Training;

/// <summary>One network among those that are trained together.</summary>
public sealed record EnsembleMember(RunConfiguration Configuration, RunFolder Folder, ILogger Log)
{
    /// <summary>Where weights come from in place of random ones.</summary>
    public string? InitialWeights { get; init; }

    /// <summary>
    /// Told how far the member is, every log interval; for several members at a time, from several threads.
    /// </summary>
    public Action<TrainingProgress>? Progress { get; init; }

    /// <summary>
    /// Reads the network's eigenvalues at each test, for metrics.jsonl; for several members at a time, from several
    /// threads.
    /// </summary>
    public SpectrumReader? Spectrum { get; init; }

    /// <summary>
    /// Told what became of the member, as soon as that is known; the others go on. From several threads, too.
    /// </summary>
    public Action<MemberOutcome>? Ended { get; init; }
}

/// <summary>
/// What became of a member: its result, or what went wrong with it, or neither where it was interrupted.
/// </summary>
public sealed record MemberOutcome(RunResult? Result, Exception? Failure);

/// <summary>
/// Trains networks of one shape in lockstep on one device, all of them in each launch: on a GPU a small network's step
/// is hundreds of launches that leave the GPU idle, and those of a hundred networks are no more. Each member has its
/// own seed, batches, curriculum and what else is in <see cref="Own"/>, its own run folder, tests and checkpoints, as
/// <see cref="TrainingRun"/> would give it alone, to rounding; a checkpoint of the one is gone on from by the other.
/// </summary>
/// <remarks>
/// Losses and accuracies stay on the device, and are read in one transfer where something depends on them: every step
/// while a member's horizon may change, else at lines of the log, tests and checkpoints. A member that is done, or
/// failed, is taken out at once: that is one copy of the weights and averages, less than a step.
/// Seconds and steps per second are those of all members together, of which each has its step.
/// </remarks>
/// <example><code>
/// var members = configurations.Select(c => new EnsembleMember(c, RunFolder.Of(c), Log.Logger)).ToList();
/// var outcomes = new EnsembleRun(members).Train();
/// </code></example>
public sealed class EnsembleRun
{
    // What members may differ in; all else is the shape of the computation, or its rhythm.
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

    // While training: who goes on, in the order of the rows of the weights, longest horizon first.
    private List<Running> _running = [];
    private ElmanEnsemble? _networks;
    private EnsembleAdam? _optimizer;
    private Tensor? _penalties; // β (N, 1, 1); null where all are 0

    /// <exception cref="ArgumentException">The members differ in more than <see cref="Own"/>, or two have one
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
    /// Whether a configuration can be trained beside others at all: an Elman network, and a learning rate that stays
    /// the same.
    /// </summary>
    public static bool Takes(RunConfiguration configuration) =>
        !configuration.Model.IsTransformer && configuration.Training is { Schedule: "constant", WarmupSteps: 0 };

    /// <summary>Whether two configurations can be trained together.</summary>
    public static bool CanJoin(RunConfiguration one, RunConfiguration other) =>
        JsonNode.DeepEquals(Common(one), Common(other));

    private static JsonNode Common(RunConfiguration configuration)
    {
        var json = JsonNode.Parse(configuration.ToJson())!;
        foreach (var path in Own)
        {
            var keys = path.Split('.');
            keys[..^1].Aggregate(json, (node, key) => node[key]!).AsObject().Remove(keys[^1]);
        }
        return json;
    }

    /// <summary>Trains all to their ends, or until it is told to stop.</summary>
    /// <param name="resume">Each goes on from its newest good checkpoint, if there is one.</param>
    /// <param name="stop">When set, each member that is not done writes a checkpoint.</param>
    /// <returns>What became of each member, in their order.</returns>
    /// <exception cref="TrainingException">There is no such device.</exception>
    public IReadOnlyList<MemberOutcome> Train(bool resume = false, CancellationToken stop = default)
    {
        var device = TorchRuntime.ResolveDevice(_common.Device, out var problem);
        if (problem is not null)
            throw new TrainingException(problem);
        using var everything = NewDisposeScope();
        using var batches = new EnsembleBatches(_common.Task, _common.Model.ScalarType, device);
        var all = new List<Running>();
        try
        {
            for (int i = 0; i < _members.Count; i++)
                Begin(all, i, batches.Dimension, device, resume);
            if (all.Count > 0)
                Join(all, device);
            Retire(batches, device);
            var unread = new List<Tensor>();
            while (_running.Exists(m => m.GoesOn))
            {
                bool stopping = stop.IsCancellationRequested;
                if (!stopping)
                {
                    Arrange();
                    unread.Add(Step(batches));
                    // Until something depends on them, scores stay where they are and the next step is launched behind
                    // this one.
                    if (!_running.Exists(m => m.Course.Matters(m.State.Step + unread.Count)))
                        continue;
                }
                Take(unread);
                var due = _running.Where(m => m.GoesOn && m.Course.TestDue).ToList();
                var tests = unread.Count > 0 && due.Count > 0 ? Evaluate(due, batches, device) : [];
                // Side by side: a checkpoint waits for the disk, and hundreds of them after each other would take
                // longer than the training between.
                if (unread.Count > 0)
                {
                    Each(
                        _running,
                        member => member.Course.Record(tests.TryGetValue(member, out var test) ? test : null)
                    );
                }

                unread.Clear();
                Retire(batches, device);
                if (!stopping)
                    continue;
                Each(
                    _running,
                    member =>
                    {
                        member.Course.Interrupt();
                        End(member, new(null, null));
                    }
                );
            }
        }
        catch (ExternalException e)
        {
            // Torch's: what stops all, as when the device's memory doesn't suffice, is said of each.
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

    /// <summary>A member's first state: its checkpoint's, or the weights that it would begin with alone.</summary>
    private void Begin(List<Running> all, int index, int dimension, Device device, bool resume)
    {
        var member = _members[index];
        var training = member.Configuration.Training;
        // The network and its optimizer only carry the numbers between checkpoints and the rows of the ensemble.
        var network = SequenceLearner.FirstNetwork(member.Configuration, dimension);
        var running = new Running(
            index,
            member,
            new TrainingState
            {
                Network = network,
                Optimizer = optim.Adam(
                    network.parameters(),
                    lr: training.LearningRate,
                    weight_decay: training.WeightDecay
                ),
                Data = new Generator((ulong)member.Configuration.Seed),
                Curriculum = new Curriculum(training.Curriculum.Horizons, training.Curriculum.Threshold),
            }
        );
        all.Add(running);
        Safely(
            running,
            () =>
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
                }
        );
    }

    private void Join(List<Running> all, Device device)
    {
        using var scope = NewDisposeScope();
        _running = [.. all.Where(m => m.GoesOn)];
        if (_running.Count == 0)
            return;
        _networks = new([.. _running.Select(m => (ElmanRnn)m.State.Network)], device);
        Tensor Rows(Func<Adam.State, Tensor> of) =>
            stack(_running.Select(m => cat(m.Moments.Select(s => of(s).reshape(-1)).ToArray()))).to(device);
        _optimizer = new(
            Rows(s => s.exp_avg),
            Rows(s => s.exp_avg_sq),
            _running
                .Select(m => m.Member.Configuration.Training)
                .Select(t => new AdamSettings(t.LearningRate, t.WeightDecay, t.MaxGradNorm, t.DecoupledDecay)),
            _running.Select(m => m.Moments[0].step)
        );
        SetPenalties();
    }

    /// <summary>The rows in the order of the horizons, without those of members that are gone.</summary>
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

    /// <summary>One step of all: loss, accuracy and norm of each, (N, 3), on the device.</summary>
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

    /// <summary>
    /// Each member's noise on its gradient, as it would draw it alone (N, P); null where none has any.
    /// </summary>
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

    /// <summary>
    /// Counts the steps whose scores were not read yet; a member whose loss is no number any more is taken out.
    /// </summary>
    private void Take(List<Tensor> unread)
    {
        if (unread.Count == 0)
            return;
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

    /// <summary>Mean loss and accuracy over fresh batches, the same that each would be tested with alone.</summary>
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

    /// <summary>Writes the results of those that are done.</summary>
    private void Retire(EnsembleBatches batches, Device device)
    {
        foreach (var member in _running.Where(m => m.GoesOn && m.Course.Over))
        {
            Safely(
                member,
                () =>
                    End(
                        member,
                        new(member.Course.Finish(device, () => Evaluate([member], batches, device)[member]), null)
                    )
            );
        }
    }

    /// <summary>From the member's rows into its state, which a checkpoint is made of.</summary>
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

    private void Each(IEnumerable<Running> members, Action<Running> action)
    {
        try
        {
            Parallel.ForEach(
                members.Where(m => m.GoesOn),
                new ParallelOptions { MaxDegreeOfParallelism = Writers },
                member => Safely(member, () => action(member))
            );
        }
        catch (AggregateException e)
        {
            ExceptionDispatchInfo.Throw(e.InnerExceptions[0]);
        }
    }

    /// <summary>Does something for one member; what goes wrong with it is logged and ends it alone.</summary>
    private bool Safely(Running member, Action action)
    {
        try
        {
            action();
            return true;
        }
        catch (Exception e)
            when (e
                    is TrainingException
                        or CheckpointException
                        or InvalidDataException
                        or IOException
                        or UnauthorizedAccessException
            )
        {
            End(member, new(null, e));
            return false;
        }
    }

    private void End(Running member, MemberOutcome outcome)
    {
        member.GoesOn = false;
        _outcomes[member.Index] = outcome;
        if (outcome.Failure is { } failure)
            member.Member.Log.Error("{Message}", TorchSharpDefects.Message(failure));
        member.Member.Ended?.Invoke(outcome);
    }

    private sealed class Running(int index, EnsembleMember member, TrainingState state) : IDisposable
    {
        public int Index => index;
        public EnsembleMember Member => member;
        public TrainingState State => state;
        public RunCourse Course { get; set; } = null!;
        public bool GoesOn { get; set; } = true;

        /// <summary>Adam's averages and step counts, in the order of the parameters.</summary>
        public Adam.State[] Moments { get; } = [.. state.Optimizer.state_dict().State.Cast<Adam.State>()];

        public void Dispose()
        {
            Course?.Dispose();
            state.Network.Dispose();
            state.Optimizer.Dispose();
            state.Data.Dispose();
        }
    }
}
