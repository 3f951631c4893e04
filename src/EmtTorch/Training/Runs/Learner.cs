using EmtTorch.Memory.Retrieval;
using EmtTorch.Models;
using EmtTorch.Tasks;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Training;

/// <summary>A test on fresh batches.</summary>
/// <param name="Loss">Mean squared error over the output phase; on tokens, mean cross entropy of what is asked, in
/// nats.</param>
/// <param name="Accuracy">Share of output bits with the right sign; on tokens, of right answers.</param>
internal readonly record struct TestScore(double Loss, double Accuracy)
{
    /// <summary>
    /// Of text: bits per character, of all, of characters in words that are new in their document, and in words seen in
    /// it before.
    /// </summary>
    public TextScore? Text { get; init; }
}

/// <summary>Bits per character on a text; null where there were none.</summary>
internal sealed record TextScore(double? All, double? NewWords, double? SeenWords);

/// <summary>A network with its task: what one step of training and one test are.</summary>
internal abstract class Learner(RunConfiguration configuration) : IDisposable
{
    protected RunConfiguration Configuration { get; } = configuration;

    public abstract nn.Module Network { get; }

    /// <summary>Writes the gradients of a batch's loss into the parameters.</summary>
    /// <param name="horizon">The batch's horizon.</param>
    /// <param name="data">Where random numbers come from.</param>
    /// <returns>The batch's loss and accuracy.</returns>
    public abstract (double Loss, double Accuracy) Gradients(int horizon, Generator data);

    /// <summary>
    /// Writes the gradients of one sequence's mean loss against labels drawn from the network's own distribution,
    /// exp(−loss) / Z, into the parameters, without penalties: for the Fisher information.
    /// </summary>
    /// <param name="horizon">The sequence's horizon.</param>
    /// <param name="data">Where random numbers come from.</param>
    /// <returns>How many labels the mean is over.</returns>
    public abstract long GradientsOfOwnLabels(int horizon, Generator data);

    /// <summary>A test; its batches depend on the seed and the step alone.</summary>
    public abstract TestScore Test(long step);

    public abstract void Dispose();

    /// <param name="configuration">The run.</param>
    /// <param name="device">Where it is trained.</param>
    /// <param name="log">Told of a store that is away.</param>
    /// <param name="stop">Ends the waiting for it.</param>
    /// <exception cref="Memory.Retrieval.StoreException">What the network stores can't be stored.</exception>
    public static Learner Of(
        RunConfiguration configuration,
        Device device,
        Serilog.ILogger? log = null,
        CancellationToken stop = default
    ) =>
        configuration.Task.IsOnTokens
            ? new TokenLearner(configuration, device, log, stop)
            : new SequenceLearner(configuration, device);

    /// <summary>Where a test's batches come from, which depend on the seed and the step alone.</summary>
    internal static Generator TestData(RunConfiguration configuration, long step) =>
        new(unchecked((ulong)configuration.Seed * 1_000_003 + (ulong)step + 0x5DEECE66D));

    private static readonly Lock FirstWeights = new();

    /// <summary>
    /// A network with its first weights: drawn on the CPU, so that they are the same on every device.
    /// </summary>
    protected static T First<T>(RunConfiguration configuration, Func<T> make)
    {
        // The generator that modules draw from is the process's one, and runs may go on side by side.
        lock (FirstWeights)
        {
            using var initial = manual_seed(configuration.Seed);
            return make();
        }
    }
}

/// <summary>
/// An Elman network on variable binding, xor or flip_flop: mean squared error over the output phase (in flip_flop over
/// the whole sequence).
/// </summary>
internal sealed class SequenceLearner : Learner
{
    private readonly ElmanRnn _network;
    private readonly ISequenceTask _task;
    private readonly Device _device;

    public SequenceLearner(RunConfiguration configuration, Device device)
        : base(configuration)
    {
        var dtype = configuration.Model.ScalarType;
        _device = device;
        _task = configuration.Task.ToSequenceTask(dtype, device);
        _network = FirstNetwork(configuration, _task.Dimension).to(device);
    }

    internal static ElmanRnn FirstNetwork(RunConfiguration configuration, int dimension) =>
        First(
            configuration,
            () =>
            {
                var model = configuration.Model;
                var network = new ElmanRnn(dimension, model.HiddenSize, model.Bias, model.ScalarType);
                if (model.Initialization == "orthogonal")
                    Initialization.Orthogonal(network);
                if (model.Initialization == "circuit")
                    Initialization.Circuit(network, configuration.Task.ToLinearBinding(), model.InitializationNoise);
                return network;
            }
        );

    public override nn.Module Network => _network;

    public override (double Loss, double Accuracy) Gradients(int horizon, Generator data)
    {
        // (s, B, d), (horizon, B, d)
        var (input, target) = _task.Batch(Configuration.Training.BatchSize, horizon, data);
        var score = _network.Score(input, target, from: _task.InputSteps, gradients: true);
        if (Configuration.Training.SpectralPenalty > 0)
            _network.AddSpectralPenalty(Configuration.Training.SpectralPenalty);
        return score;
    }

    /// <summary>The hidden states of the whole of some sequences, (T, B, H).</summary>
    public Tensor States(int horizon, int batch, Generator data)
    {
        using var quiet = no_grad();
        return _network.HiddenStates(_task.Batch(batch, horizon, data).Input, _task.InputSteps + horizon);
    }

    /// <summary>The squared error's distribution is a Gaussian of variance ½ around the outputs.</summary>
    public override long GradientsOfOwnLabels(int horizon, Generator data)
    {
        var (input, target) = _task.Batch(1, horizon, data);
        Tensor labels;
        using (no_grad())
        {
            var output = _network.forward(input, _task.InputSteps + target.shape[0], _task.InputSteps);
            labels = output + Draw.Normal(Math.Sqrt(0.5), output.shape, data, output.device, output.dtype);
        }
        _network.Score(input, labels, from: _task.InputSteps, gradients: true);
        return labels.numel();
    }

    public override TestScore Test(long step)
    {
        using var quiet = no_grad();
        var settings = Configuration.Evaluation;
        using var generator = TestData(Configuration, step);
        double loss = 0,
            accuracy = 0;
        for (int i = 0; i < settings.Batches; i++)
        {
            using var scope = NewDisposeScope();
            var (input, target) = _task.Batch(settings.BatchSize, settings.Horizon, generator);
            var (mse, right) = _network.Score(input, target, from: _task.InputSteps, gradients: false);
            loss += mse;
            accuracy += right;
        }
        return new(loss / settings.Batches, accuracy / settings.Batches);
    }

    public override void Dispose()
    {
        _network.Dispose();
        (_task as IDisposable)?.Dispose();
    }
}
