using EmtTorch.Settings;
using EmtTorch.Tasks;
using static TorchSharp.torch;

namespace EmtTorch.Analysis.Tests;

public class CircuitTests
{
    // The reference is the plain simulation of the rule, step by step.
    [TestCaseSource(typeof(BindingTasks), nameof(BindingTasks.All))]
    public void IsExactAtHorizon1000InARandomBasis(LinearBinding task)
    {
        using var scope = NewDisposeScope();
        int n = task.S * task.D;
        using var circuit = new Circuit(task, BindingTasks.RandomBasis(2 * n, n, seed: 5));
        var input = BindingTasks.Inputs(task, batch: 3, seed: 6);
        var output = circuit.Run(input, 1000);
        Assert.That(output.shape, Is.EqualTo(new long[] { 1000, 3, task.D }));
        for (int b = 0; b < 3; b++)
        {
            var expected = task.Continue(Matrices.Rows(input.select(1, b)), 1000);
            var actual = Matrices.Rows(output.select(1, b));
            for (int t = 0; t < 1000; t++)
                Assert.That(actual[t], Is.EqualTo(expected[t]).Within(1e-9), $"sequence {b}, step {t}");
        }
    }

    [Test]
    public void LoadsEachInputIntoItsVariable()
    {
        using var scope = NewDisposeScope();
        var task = LinearBinding.Named("t3");
        using var circuit = new Circuit(task, BindingTasks.RandomBasis(100, 64, seed: 1));
        var input = BindingTasks.Inputs(task, batch: 2, seed: 2);
        var loaded = matmul(circuit.HiddenStates(input, 8)[7], circuit.Dual.t()); // Ψ* h(s)
        var history = input.transpose(0, 1).reshape(2, 64);
        Assert.That(Matrices.Norm(loaded - history), Is.LessThan(1e-11));
    }

    // Φ worked out by hand for y_0(t) = y_1(t − 2), y_1(t) = −y_0(t − 1): history [a b c d], next [c d b −c].
    [Test]
    public void PhiByHand()
    {
        var task = LinearBinding.FromMatrix(
            [
                [0, 0],
                [1, 0],
                [0, -1],
                [0, 0],
            ],
            d: 2,
            s: 2
        );
        using var phi = Circuit.Phi(task);
        Assert.That(
            Matrices.Rows(phi),
            Is.EqualTo(new double[][] { [0, 0, 1, 0], [0, 0, 0, 1], [0, 1, 0, 0], [0, 0, -1, 0] })
        );
    }

    [Test]
    public void IsAnElmanNetworkInTanhsLinearRangeWhereTheOldestVariableAloneIsRead()
    {
        using var scope = NewDisposeScope();
        var task = BindingTasks.Rotation(3, d: 4, s: 3);
        using var circuit = new Circuit(task, BindingTasks.RandomBasis(30, 12, seed: 4));
        using var network = circuit.ToElmanRnn();
        var input = BindingTasks.Inputs(task, batch: 4, seed: 5);
        var output = network.forward(input, 3 + 50, 3);
        Assert.That((output - circuit.Run(input, 50)).abs().max().item<double>(), Is.LessThan(1e-4));
    }

    [Test]
    public void NoNetworkOfOnePhaseIsGivenWhereNoneCanBeExact()
    {
        using var circuit = new Circuit(LinearBinding.Named("t2"));
        Assert.That(() => circuit.ToElmanRnn(), Throws.InvalidOperationException.With.Message.Contains("oldest"));
    }

    [Test]
    public void DependentColumnsAndWrongShapesAreRefused()
    {
        var task = LinearBinding.RepeatCopy(d: 2, s: 2);
        using var wrong = ones(6, 3, dtype: ScalarType.Float64);
        using var dependent = ones(6, 4, dtype: ScalarType.Float64);
        using var tooFew = eye(3, 4, dtype: ScalarType.Float64);
        Assert.That(
            () => new Circuit(task, wrong),
            Throws.ArgumentException.With.Message.Contains("has shape (6, 3), not (any, 4)")
        );
        Assert.That(() => new Circuit(task, dependent), Throws.ArgumentException.With.Message.Contains("independent"));
        Assert.That(() => new Circuit(task, tooFew), Throws.ArgumentException.With.Message.Contains("independent"));
    }
}
