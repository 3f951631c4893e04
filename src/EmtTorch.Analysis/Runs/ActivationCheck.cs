using EmtTorch.Tasks;
using TorchSharp;
using static System.FormattableString;
using static TorchSharp.torch;

namespace EmtTorch.Analysis.Runs;

/// <summary>
/// How many output bits of its task a network gets right, read as a tanh and as a ReLU network. A file of bare weights
/// does not say which it is, and all analyses are of tanh networks.
/// </summary>
/// <param name="Tanh">The share with tanh, the mean over a batch.</param>
/// <param name="Relu">The share with ReLU.</param>
internal sealed record ActivationCheck(double Tanh, double Relu)
{
    private const long Batch = 64;

    // Far beyond what a batch's number of bits lets differ by chance.
    private const double Margin = 0.05;

    /// <summary>Whether ReLU does the task, and clearly better.</summary>
    public bool IsRelu => Ability.IsEnough(Relu, chance: 0.5) && Relu > Tanh + Margin;

    /// <summary>What was tried, and what follows.</summary>
    public string Sentence =>
        Invariant(
            $"The file names no activation: with tanh {Tanh:P1} of the output bits are right, with ReLU {Relu:P1}."
        )
        + (
            IsRelu
                ? " So it is a ReLU network, and only tanh networks can be analysed."
                : " It is read as a tanh network."
        );

    /// <summary>Tries both; null if the file is a checkpoint, which is of a tanh network, or the task has other inputs
    /// than the network.</summary>
    public static ActivationCheck? Of(TrainedNetwork network)
    {
        if (network.Step is not null || network.Transformer is not null)
            return null;
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        var task = network.Configuration.Task.ToSequenceTask(ScalarType.Float64, CPU);
        using var held = task as IDisposable;
        if (task.Dimension != network.Weights.Dimension)
            return null;
        using var generator = new Generator((ulong)network.Configuration.Seed, CPU);
        var (input, target) = task.Batch(Batch, network.Configuration.Evaluation.Horizon, generator);
        double Share(Func<Tensor, Tensor> activation) =>
            MeasureAccuracy(network.Weights, input, target, task.InputSteps, activation);
        return new(Share(x => x.tanh()), Share(x => x.relu()));
    }

    private static double MeasureAccuracy(
        NetworkWeights weights,
        Tensor input,
        Tensor target,
        int from,
        Func<Tensor, Tensor> activation
    )
    {
        using var scope = NewDisposeScope();
        long steps = from + target.shape[0];
        double right = 0;
        var h = zeros(input.shape[1], weights.HiddenSize, dtype: ScalarType.Float64);
        for (long t = 0; t < steps; t++)
        {
            var drive = h.matmul(weights.WeightHh.t());
            if (t < input.shape[0])
                drive = drive + input[t].matmul(weights.WeightIh.t());
            h = activation(weights.Bias is null ? drive : drive + weights.Bias);
            if (t < from)
                continue;
            var output = h.matmul(weights.Readout.t());
            if (weights.ReadoutBias is not null)
                output = output + weights.ReadoutBias;
            right += output.ge(0).eq(target[t - from].ge(0)).sum().ToDouble();
        }
        return right / target.numel();
    }
}
