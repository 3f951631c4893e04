using EmtTorch.Memory.Retrieval;
using EmtTorch.Models;
using EmtTorch.Tasks;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Training;

/// <summary>The result of a test on fresh batches.</summary>
/// <param name="Loss">The mean squared error over the output phase; on tokens, the mean cross entropy of the answers,
/// in nats.</param>
/// <param name="Accuracy">The share of outputs with the right sign; on tokens, of right answers.</param>
internal readonly record struct TestScore(double Loss, double Accuracy)
{
    /// <summary>The score on a text, or null for other tasks.</summary>
    public TextScore? Text { get; init; }

    /// <summary>Further figures by name, or null if there are none.</summary>
    public IReadOnlyDictionary<string, double>? Measures { get; init; }
}

/// <summary>Cross entropies of a text in bits per character; null if there are no such characters.</summary>
/// <param name="All">Of all characters.</param>
/// <param name="NewWords">Of characters in words that occur for the first time in their document.</param>
/// <param name="SeenWords">Of characters in words that occurred in their document before.</param>
internal sealed record TextScore(double? All, double? NewWords, double? SeenWords);

/// <summary>The loss and the accuracy of one training batch, as in <see cref="TestScore"/>.</summary>
internal readonly record struct BatchScore(double Loss, double Accuracy);

/// <summary>A network with its task: computes the gradients of a training step, and tests.</summary>
internal abstract class Learner(RunConfiguration configuration) : IDisposable
{
    protected RunConfiguration Configuration { get; } = configuration;

    public abstract nn.Module Network { get; }

    /// <summary>Draws a batch and writes the gradients of its loss to the parameters' grads.</summary>
    /// <param name="data">The generator of the batch.</param>
    public abstract BatchScore ComputeGradients(int horizon, Generator data);

    /// <summary>
    /// Draws one sequence and, for it, labels from the network's own distribution exp(−loss) / Z; writes the gradients
    /// of the mean loss against them, without penalties, to the parameters' grads. For the Fisher information.
    /// </summary>
    /// <param name="data">The generator of sequence and labels.</param>
    /// <returns>The number of labels that the mean is over.</returns>
    public abstract long ComputeGradientsOfOwnLabels(int horizon, Generator data);

    /// <summary>Further tensors that steps change, by name, for checkpoints.</summary>
    public virtual IReadOnlyDictionary<string, Tensor> Tensors => new Dictionary<string, Tensor>();

    /// <summary>Does what is due after a step of the optimizer.</summary>
    /// <param name="step">How many steps were taken.</param>
    public virtual void AfterStep(long step) { }

    /// <summary>Tests the network on batches that depend only on the seed and the step.</summary>
    public abstract TestScore Test(long step);

    public abstract void Dispose();

    /// <summary>Creates the network of a configuration with its initial weights, and its task.</summary>
    /// <param name="device">The device to train on.</param>
    /// <param name="log">Takes messages about a store that is away.</param>
    /// <param name="stop">Ends the waiting for it.</param>
    /// <exception cref="StoreException">The store cannot be used.</exception>
    public static Learner Create(
        RunConfiguration configuration,
        Device device,
        Serilog.ILogger? log = null,
        CancellationToken stop = default
    ) =>
        configuration.Task.IsOnTokens
            ? new TokenLearner(configuration, device, log, stop)
            : new SequenceLearner(configuration, device);

    /// <summary>Creates the network of a configuration alone, on the CPU, without a store.</summary>
    public static nn.Module CreateNetwork(RunConfiguration configuration)
    {
        if (configuration.Task.Tokens is { } tokens)
        {
            var task = tokens.ForRun(configuration.Seed).Create(configuration.Evaluation.Horizon, CPU);
            using var closing = task as IDisposable;
            return CreateNetwork(
                configuration,
                () => new EpisodicTransformer(task.VocabularySize, configuration.Model)
            );
        }
        var sequences = configuration.Task.ToSequenceTask(configuration.Model.ScalarType, CPU);
        using var ending = sequences as IDisposable;
        return SequenceLearner.CreateNetwork(configuration, sequences.Dimension);
    }

    /// <summary>The generator of a test's batches.</summary>
    internal static Generator TestData(RunConfiguration configuration, long step) =>
        new(unchecked((ulong)configuration.Seed * 1_000_003 + (ulong)step + 0x5DEECE66D));

    /// <summary>
    /// Creates a network with its initial weights, on the CPU, so that they are the same for every device.
    /// </summary>
    protected static T CreateNetwork<T>(RunConfiguration configuration, Func<T> create)
    {
        NativeTorch.Load();
        lock (InitialWeights.Drawing)
        {
            using var initial = manual_seed(configuration.Seed);
            return create();
        }
    }
}

/// <summary>
/// An Elman network on a task of sequences. The loss is the mean squared error over the output phase (in flip_flop over
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
        _network = CreateNetwork(configuration, _task.Dimension).to(device);
    }

    internal static ElmanRnn CreateNetwork(RunConfiguration configuration, int dimension) =>
        CreateNetwork(
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

    public override BatchScore ComputeGradients(int horizon, Generator data)
    {
        // (s, B, d), (horizon, B, d)
        var (input, target) = _task.Batch(Configuration.Training.BatchSize, horizon, data);
        var (loss, accuracy) = _network.Score(input, target, from: _task.InputSteps, gradients: true);
        if (Configuration.Training.SpectralPenalty > 0)
            _network.AddSpectralPenalty(Configuration.Training.SpectralPenalty);
        return new(loss, accuracy);
    }

    /// <summary>The hidden states of whole sequences (T, B, H).</summary>
    public Tensor States(int horizon, int batch, Generator data)
    {
        using var quiet = no_grad();
        return _network.HiddenStates(_task.Batch(batch, horizon, data).Input, _task.InputSteps + horizon);
    }

    // The squared error's distribution is a Gaussian of variance ½ around the outputs.
    public override long ComputeGradientsOfOwnLabels(int horizon, Generator data)
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
