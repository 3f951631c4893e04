using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace EmtTorch.Training;

/// <summary>
/// Learns all tasks at once: each step has a batch of each task and minimises the mean of their losses. This is the
/// reference that learning one task after the other is compared with.
/// </summary>
/// <remarks>
/// Each task has its own network. The gradients of shared parameters are averaged and given to all copies. Adam sees
/// the same numbers for each copy and keeps them equal bit for bit.
/// </remarks>
internal sealed class JointLearner : Learner
{
    private readonly Learner[] _learners;
    private readonly JointNetwork _network;
    private readonly List<Parameter[]> _shared = [],
        _own = []; // for each parameter name, the tasks' copies

    /// <summary>Creates the tasks' networks, with the same initial values of shared parameters.</summary>
    /// <param name="tasks">Each task's configuration.</param>
    /// <param name="own">The names of the parameters that are not shared.</param>
    /// <param name="device">The device to train on.</param>
    public JointLearner(
        RunConfiguration configuration,
        IEnumerable<RunConfiguration> tasks,
        IReadOnlyCollection<string> own,
        Device device
    )
        : base(configuration)
    {
        _learners = [.. tasks.Select(t => Create(t, device))];
        _network = new(_learners.Select(l => l.Network));
        using var quiet = no_grad();
        var parameters = _learners
            .Select(l => l.Network.named_parameters().ToDictionary(p => p.name, p => p.parameter))
            .ToArray();
        foreach (var name in parameters[0].Keys)
        {
            Parameter[] copies = [.. parameters.Select(p => p[name])];
            (own.Contains(name) ? _own : _shared).Add(copies);
            if (!own.Contains(name))
            {
                foreach (var copy in copies[1..])
                    copy.copy_(copies[0]);
            }
        }
    }

    public override nn.Module Network => _network;

    /// <summary>The name of a parameter of a task's network in a checkpoint.</summary>
    public static string Name(int task, string parameter) => $"tasks.{task}.{parameter}";

    /// <returns>The mean loss and the lowest accuracy: the next horizon follows when all tasks are good
    /// enough.</returns>
    public override BatchScore ComputeGradients(int horizon, Generator data)
    {
        using var scope = NewDisposeScope();
        var scores = _learners.Select(l => l.ComputeGradients(horizon, data)).ToArray();
        using var quiet = no_grad();
        foreach (var copies in _shared)
        {
            var sum = copies[0].grad!;
            foreach (var copy in copies[1..])
                sum.add_(copy.grad!);
            sum.div_(_learners.Length);
            foreach (var copy in copies[1..])
                copy.grad!.copy_(sum);
        }
        foreach (var each in _own.SelectMany(o => o))
            each.grad!.div_(_learners.Length);
        return new(scores.Average(s => s.Loss), scores.Min(s => s.Accuracy));
    }

    public override long ComputeGradientsOfOwnLabels(int horizon, Generator data) =>
        throw new NotSupportedException("when all tasks are learned at once, none is old");

    /// <summary>Tests all tasks: the means of their losses and accuracies.</summary>
    public override TestScore Test(long step)
    {
        var scores = _learners.Select(l => l.Test(step)).ToArray();
        return new(scores.Average(s => s.Loss), scores.Average(s => s.Accuracy));
    }

    public override void Dispose()
    {
        foreach (var learner in _learners)
            learner.Dispose();
    }

    private sealed class JointNetwork : nn.Module
    {
        private readonly ModuleList<nn.Module> tasks;

        public JointNetwork(IEnumerable<nn.Module> networks)
            : base(nameof(JointNetwork))
        {
            tasks = nn.ModuleList(networks.ToArray());
            RegisterComponents();
            this.KeepParameters();
        }
    }
}
