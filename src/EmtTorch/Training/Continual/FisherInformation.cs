using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Training;

/// <summary>
/// The diagonal of a network's Fisher information on a task (Kirkpatrick et al. 2017; Martens 2014 on why labels are
/// the model's own):
/// F_i = E_x E_{y ~ p(y|x, θ)} [ (∂/∂θ_i −log p(y|x, θ))² ] / n, n the outputs of a sequence, or the answers of a
/// document.
/// </summary>
/// <remarks>
/// p is the distribution whose negative log-likelihood is the loss that is trained: of the squared error a Gaussian of
/// variance ½ around the outputs, of the cross entropy the softmax. So F is the Gauss–Newton diagonal of the mean loss,
/// and ½ Σ F_i (θ_i − θ*_i)² is that loss's second order at its minimum, for one sequence as for many: with strength 1
/// the old task weighs as much as the new one.
/// The squares are of each sequence's gradient by itself: of a batch's mean gradient they would be smaller by the
/// batch's size.
/// </remarks>
internal static class FisherInformation
{
    /// <param name="learner">The network after its task, with the task; its grads are overwritten.</param>
    /// <param name="names">Of which parameters.</param>
    /// <param name="horizon">Of the sequences.</param>
    /// <param name="samples">How many sequences.</param>
    /// <param name="data">Where random numbers come from.</param>
    /// <returns>F of each, in no dispose scope.</returns>
    public static Dictionary<string, Tensor> Of(
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
            long n = learner.GradientsOfOwnLabels(horizon, data);
            using var quiet = no_grad();
            // g is of the mean over n: n g that of the sum, whose square over n is n g².
            foreach (var (name, parameter) in parameters)
            {
                if (parameter.grad is { } g)
                    fisher[name].addcmul_(g, g, (double)n / samples);
            }
        }
        return fisher;
    }
}
