using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

/// <summary>Gradients against central differences of the loss, in float64.</summary>
internal static class FiniteDifferences
{
    /// <summary>Checks every number of every parameter's gradient.</summary>
    /// <param name="network">The network, after the backward.</param>
    /// <param name="loss">Computes the loss again.</param>
    /// <param name="chosen">Which parameters are checked, by name. Null: all.</param>
    public static void Check(nn.Module network, Func<double> loss, Func<string, bool>? chosen = null)
    {
        foreach (var (name, parameter) in network.named_parameters().Where(p => chosen?.Invoke(p.name) ?? true))
        {
            var gradient = parameter.grad!.flatten();
            var values = parameter.detach().view(-1);
            for (long i = 0; i < values.numel(); i++)
            {
                const double step = 1e-6;
                double before = values[i].item<double>();
                values[i] = before + step;
                double up = loss();
                values[i] = before - step;
                double down = loss();
                values[i] = before;
                Assert.That(
                    gradient[i].item<double>(),
                    Is.EqualTo((up - down) / (2 * step)).Within(1e-8),
                    $"{name}[{i}]"
                );
            }
        }
    }
}
