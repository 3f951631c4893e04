using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace EmtTorch.Training;

/// <summary>
/// All tasks at once: each step has a batch of each, and the mean of their losses is what is minimised. What learning
/// one after the other is measured against.
/// </summary>
/// <remarks>
/// Each task has a network of its own, alike in all but what it has for itself: the gradients of the shared parameters
/// are averaged and given to all of them, and Adam, which sees the same numbers in each, keeps them the same bit for
/// bit.
/// </remarks>
internal sealed class JointLearner : Learner
{
    private readonly Learner[] _learners;
    private readonly JointNetwork _network;
    private readonly List<Parameter[]> _shared = [],
        _own = []; // a shared parameter's copies; each task's own

    /// <param name="configuration">Of the run.</param>
    /// <param name="tasks">Each task's configuration.</param>
    /// <param name="own">Parameters that each task has for itself.</param>
    /// <param name="device">Where to compute.</param>
    public JointLearner(
        RunConfiguration configuration,
        IEnumerable<RunConfiguration> tasks,
        IReadOnlyCollection<string> own,
        Device device
    )
        : base(configuration)
    {
        _learners = [.. tasks.Select(t => Of(t, device))];
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

    /// <summary>What the parameters of a task's network are called in a file.</summary>
    public static string Name(int task, string parameter) => $"tasks.{task}.{parameter}";

    /// <returns>The mean loss, and the lowest accuracy: a horizon is learned when all tasks have it.</returns>
    public override (double Loss, double Accuracy) Gradients(int horizon, Generator data)
    {
        using var scope = NewDisposeScope();
        var scores = _learners.Select(l => l.Gradients(horizon, data)).ToArray();
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
        return (scores.Average(s => s.Loss), scores.Min(s => s.Accuracy));
    }

    public override long GradientsOfOwnLabels(int horizon, Generator data) =>
        throw new NotSupportedException("of all tasks at once there is no old one");

    /// <summary>The means over the tasks.</summary>
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
