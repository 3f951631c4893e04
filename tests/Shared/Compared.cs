using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

/// <summary>Two functions of the same tensors: their results and their gradients.</summary>
internal static class Compared
{
    /// <summary>
    /// The results, then the gradient of Σ cos(0, 1, 2, …) · result over all results, in each argument.
    /// </summary>
    public static Tensor[] ResultsAndGradients(Func<Tensor[], Tensor[]> function, Tensor[] arguments)
    {
        var leaves = arguments.Select(t => t.detach().clone().requires_grad_()).ToArray();
        var results = function(leaves);
        Loss(results).backward();
        return [.. results.Select(t => t.detach()), .. leaves.Select(t => t.grad ?? zeros_like(t))];
    }

    public static Tensor Loss(Tensor[] results) =>
        results
            .Select(t => (t * arange(t.numel(), dtype: t.dtype).cos().view(t.shape)).sum())
            .Aggregate((a, b) => a + b);

    /// <summary>Each tensor within a share of the largest number in it.</summary>
    /// <param name="ofAll">In a tensor of small numbers, within that share of this part of the largest number of all:
    /// gradients are sums, with the rounding of what is summed.</param>
    public static void AreEqual(Tensor[] found, Tensor[] expected, double relative, double ofAll = 0)
    {
        Assert.That(found, Has.Length.EqualTo(expected.Length));
        double least = Math.Max(
            1e-3,
            ofAll == 0 ? 0 : ofAll * expected.Where(t => t.numel() > 0).Max(t => t.abs().max().ToDouble())
        );
        for (int i = 0; i < found.Length; i++)
        {
            Assert.That(found[i].shape, Is.EqualTo(expected[i].shape), $"shape of {i}");
            if (found[i].numel() == 0)
                continue;
            double scale = Math.Max(expected[i].abs().max().ToDouble(), least);
            // NaN is not less
            Assert.That((found[i] - expected[i]).abs().max().ToDouble() / scale, Is.LessThan(relative), $"tensor {i}");
        }
    }

    /// <summary>Every gradient against central differences, in float64.</summary>
    public static void AgreeWithFiniteDifferences(Func<Tensor[], Tensor[]> function, Tensor[] arguments)
    {
        using var scope = NewDisposeScope();
        var parameters = arguments.Select(t => new Parameter(t.clone())).ToArray();
        using var network = new Leaves(parameters);
        Loss(function(parameters)).backward();
        FiniteDifferences.Check(
            network,
            () =>
            {
                using var inner = NewDisposeScope();
                using var quiet = no_grad();
                return Loss(function(parameters)).ToDouble();
            }
        );
    }

    private sealed class Leaves : nn.Module
    {
        public Leaves(Parameter[] parameters)
            : base("leaves")
        {
            for (int i = 0; i < parameters.Length; i++)
                register_parameter($"p{i}", parameters[i]);
        }
    }
}
