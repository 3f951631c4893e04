using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Training;

/// <summary>
/// The diagonal of a network's Fisher information on a task (Kirkpatrick et al. 2017), with labels drawn from the
/// network's own distribution (Martens 2014):
/// <code>
/// F_i = E_x E_{y ~ p(y|x, θ)} [ (∂/∂θ_i −log p(y|x, θ))² ] / n
/// </code>
/// with n the number of outputs of a sequence, or of answers in a document.
/// </summary>
/// <remarks>
/// p is the distribution whose negative log-likelihood is the training loss: a Gaussian of variance ½ around the
/// outputs for the squared error, the softmax for the cross entropy. So F is the Gauss–Newton diagonal of the mean
/// loss, and ½ Σ F_i (θ_i − θ*_i)² is that loss to second order around its minimum. With strength 1 the old task counts
/// as much as the new one.
/// The gradient of each sequence is squared by itself. The square of a batch's mean gradient would be smaller by the
/// size of the batch.
/// </remarks>
internal static class FisherInformation
{
    /// <summary>Estimates F from sampled sequences.</summary>
    /// <param name="learner">The trained network with its task; its grads are overwritten.</param>
    /// <param name="names">The names of the parameters wanted.</param>
    /// <param name="horizon">The horizon of the sequences.</param>
    /// <param name="samples">The number of sequences.</param>
    /// <param name="data">The generator of sequences and labels.</param>
    /// <returns>F by parameter, in no dispose scope.</returns>
    public static Dictionary<string, Tensor> Estimate(
        Learner learner,
        IReadOnlyCollection<string> names,
        int horizon,
        int samples,
        Generator data
    )
    {
        var parameters = learner.Network.named_parameters().Where(p => names.Contains(p.name)).ToList();
        var fisher = parameters.ToDictionary(
            p => p.name,
            p => zeros_like(p.parameter).detach().DetachFromDisposeScope()
        );
        for (int i = 0; i < samples; i++)
        {
            using var scope = NewDisposeScope();
            long n = learner.ComputeGradientsOfOwnLabels(horizon, data);
            using var quiet = no_grad();
            // g is the gradient of the mean over n labels, n g that of the sum: (n g)² / n = n g².
            foreach (var (name, parameter) in parameters)
            {
                if (parameter.grad is { } g)
                    fisher[name].addcmul_(g, g, (double)n / samples);
            }
        }
        return fisher;
    }
}
