using EmtTorch.Configuration;
using EmtTorch.Models;
using EmtTorch.Tasks;
using EmtTorch.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

/// <summary>
/// The diagonal Fisher information against a loop over samples, and against its expectation where that can be computed.
/// </summary>
public sealed class FisherInformationTests
{
    private static RunConfiguration Rnn(int s = 2, int d = 2) =>
        ConfigurationFile.Parse(
            $$"""
            { "device": "cpu", "task": { "name": "repeat_copy", "d": {{d}}, "s": {{s}} },
              "model": { "hidden_size": 5, "dtype": "float64" } }
            """
        );

    private static RunConfiguration Transformer =>
        ConfigurationFile.Parse(
            """
            { "device": "cpu", "task": { "segment_recall": { "pairs": 2, "segment_length": 5, "keys": 3, "values": 3,
              "noise": 2 } },
              "model": { "type": "episodic_transformer", "hidden_size": 4, "heads": 1, "layers": 1, "memory": "none",
                "dtype": "float64" }, "training": { "curriculum": { "horizons": [1] } } }
            """
        );

    private static double[] Values(Tensor tensor) => tensor.detach().cpu().contiguous().data<double>().ToArray();

    [Test]
    public void OfAnElmanNetworkItIsTheMeanSquareOfEachSequencesGradient()
    {
        using var scope = NewDisposeScope();
        const int samples = 4,
            horizon = 3;
        using var learner = new SequenceLearner(Rnn(), CPU);
        var network = (ElmanRnn)learner.Network;
        using var data = new Generator(5);
        var fisher = FisherInformation.Estimate(
            learner,
            ["rnn.weight_ih", "rnn.weight_hh", "readout.weight"],
            horizon,
            samples,
            data
        );

        // The same draws, and −log p of a Gaussian of variance ½, Σ (y − f)², through autograd, sequence by sequence.
        using var again = new Generator(5);
        using var task = new VariableBinding(LinearBinding.RepeatCopy(2, 2), ScalarType.Float64, CPU);
        var parameters = network.named_parameters().ToList();
        var sums = parameters.ToDictionary(p => p.name, p => zeros_like(p.parameter).detach());
        for (int i = 0; i < samples; i++)
        {
            var (input, _) = task.Batch(1, horizon, again);
            var output = network.forward(input, 2 + horizon, 2);
            var label = (output + empty_like(output).normal_(0, Math.Sqrt(0.5), again)).detach();
            var gradients = autograd.grad(
                [(label - output).square().sum()],
                [.. parameters.Select(p => (Tensor)p.parameter)]
            );
            for (int p = 0; p < parameters.Count; p++)
                sums[parameters[p].name].add_(gradients[p].square());
        }
        foreach (var (name, sum) in sums)
            Assert.That(Values(fisher[name]), Is.EqualTo(Values(sum / (samples * horizon * 2))).Within(1e-10), name);
    }

    /// <summary>
    /// y = W_r h: ∂(y_i)/∂W_ij = h_j, so that F_ij = 2 E[h_j²] / d at a horizon of one. All 16 inputs, by hand.
    /// </summary>
    [Test]
    public void OfAReadoutItIsTheSecondMomentOfTheStates()
    {
        using var scope = NewDisposeScope();
        using var learner = new SequenceLearner(Rnn(), CPU);
        var network = (ElmanRnn)learner.Network;
        using var data = new Generator(1);
        var fisher = Values(
            FisherInformation.Estimate(learner, ["readout.weight"], horizon: 1, samples: 6000, data)["readout.weight"]
        ); // (2, 5)

        double[] ih = Values(network.InputWeights),
            hh = Values(network.RecurrentWeights);
        var expected = new double[5];
        for (int bits = 0; bits < 16; bits++)
        {
            var h = new double[5];
            for (int t = 0; t < 3; t++) // two inputs, and one step without
            {
                var next = new double[5];
                for (int i = 0; i < 5; i++)
                {
                    double sum = 0;
                    for (int j = 0; j < 5; j++)
                        sum += hh[5 * i + j] * h[j];
                    if (t < 2)
                    {
                        for (int k = 0; k < 2; k++)
                            sum += ih[2 * i + k] * ((bits >> (2 * t + k) & 1) * 2 - 1);
                    }

                    next[i] = Math.Tanh(sum);
                }
                h = next;
            }
            for (int j = 0; j < 5; j++)
                expected[j] += 2 * h[j] * h[j] / 16 / 2;
        }
        for (int i = 0; i < 10; i++)
            Assert.That(fisher[i], Is.EqualTo(expected[i % 5]).Within(0.1 * expected[i % 5]), $"{i}");
    }

    /// <summary>
    /// Of a softmax: F of W_vj is E Σ p_v (1 − p_v) h_j² / n over a document's n answers, since labels are drawn each
    /// for itself.
    /// </summary>
    [Test]
    public void OfASoftmaxReadoutItIsTheVarianceOfItsLabelsTimesTheStates()
    {
        using var scope = NewDisposeScope();
        var configuration = Transformer;
        using var learner = new TokenLearner(configuration, CPU);
        var network = (EpisodicTransformer)learner.Network;
        const int samples = 1500;
        using var data = new Generator(1);
        var fisher = FisherInformation.Estimate(
            learner,
            ["readout.weight", "embedding.weight"],
            horizon: 1,
            samples,
            data
        );

        using var fresh = new Generator(2);
        using var quiet = no_grad();
        var task = configuration.Task.ToTokenTask(1, CPU);
        var document = task.Batch(3000, fresh);
        var (hidden, _) = network.Read(cat(document.Select(s => s.Input).ToArray(), 1));
        var places = cat(document.Select(s => s.Target).ToArray(), 1)
            .ne(TokenBatch.Ignored)
            .flatten()
            .nonzero()
            .squeeze(-1);
        var states = hidden.flatten(0, 1).index_select(0, places); // (3000·2, d)
        var p = network.ReadOut(states).softmax(-1);
        var expected = matmul((p * (1 - p)).t(), states.square()) / 3000 / 2; // (V, d)
        Assert.That(
            (fisher["readout.weight"] - expected).abs().sum().item<double>(),
            Is.LessThan(0.08 * expected.sum().item<double>())
        );
        // Of a network whose answers depend on what it reads.
        Assert.That(fisher["embedding.weight"].sum().item<double>(), Is.Positive);
    }
}
