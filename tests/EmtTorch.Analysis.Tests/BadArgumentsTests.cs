using EmtTorch.Models;
using EmtTorch.Studies;
using EmtTorch.Tasks;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Analysis.Tests;

/// <summary>
/// Arguments that do not fit are exceptions. Most of these would end the process otherwise, and with it the test run.
/// </summary>
public sealed class BadArgumentsTests
{
    private DisposeScope _scope = null!;

    [SetUp]
    public void Begin() => _scope = NewDisposeScope();

    [TearDown]
    public void End() => _scope.Dispose();

    private static readonly LinearBinding s_task = BindingTasks.Rotation(3, d: 4, s: 3);

    private static Circuit Theory() => new(s_task, BindingTasks.RandomBasis(30, 12, seed: 4));

    [Test]
    public void WeightsAreThoseOfOneNetwork()
    {
        Tensor ih = zeros(5, 3, dtype: float64),
            hh = zeros(5, 5, dtype: float64),
            readout = zeros(3, 5, dtype: float64),
            bias = zeros(5, dtype: float64),
            outBias = zeros(3, dtype: float64);
        Tensor[] good = [ih, hh, readout, bias, outBias];
        Assert.DoesNotThrow(() => _ = new NetworkWeights(ih, hh, readout, bias, outBias));
        for (int i = 0; i < good.Length; i++)
        {
            foreach (
                var wrong in (Tensor[])
                    [
                        good[i].to(float32),
                        cat([good[i], good[i]]),
                        good[i].unsqueeze(0),
                        empty(good[i].shape, dtype: float64, device: META),
                    ]
            )
            {
                var given = good.ToArray();
                given[i] = wrong;
                Assert.That(
                    () => new NetworkWeights(given[0], given[1], given[2], given[3], given[4]),
                    Throws.ArgumentException,
                    $"{i}: {wrong.dtype} ({string.Join(", ", wrong.shape)})"
                );
            }
        }
    }

    [Test]
    public void AnalysesRefuseAnotherTasksNetwork()
    {
        using var circuit = Theory();
        var weights = circuit.ToWeights();
        var other = LinearBinding.RepeatCopy(3, 2);
        Assert.That(
            () => VariableMemories.Find(weights, other),
            Throws.InstanceOf<AnalysisException>().With.Message.Contains("4 numbers")
        );
        using var analysis = NetworkAnalysis.Of(weights, other);
        Assert.That(analysis.Problems, Has.Some.Contains("Nothing can be compared"));

        using var memories = VariableMemories.Find(weights, s_task);
        using var small = new ElmanRnn(4, 7, dtype: ScalarType.Float64);
        using var narrow = new ElmanRnn(3, 30, dtype: ScalarType.Float64);
        using var single = new ElmanRnn(4, 30);
        foreach (var network in (ElmanRnn[])[small, narrow, single])
        {
            Assert.That(() => VariableInterventions.Measure(network, s_task, memories), Throws.ArgumentException);
            Assert.That(() => VariableLoading.Measure(network, s_task, memories, 16), Throws.ArgumentException);
        }
        Assert.That(() => VariableInterventions.Measure(circuit, other, memories), Throws.ArgumentException);
        using var xor = new Xor(4, 3, [1, 3], ScalarType.Float64, CPU);
        foreach (var network in (ElmanRnn[])[narrow, single])
            Assert.That(() => XorVariables.Measure(network, xor), Throws.ArgumentException);
    }

    [Test]
    public void StatesAndContentsMustBeOfTheirSize()
    {
        using var circuit = Theory();
        using var memories = VariableMemories.Find(circuit.ToWeights(), s_task);
        foreach (
            var wrong in (Tensor[])
                [zeros(2, 29, dtype: float64), zeros(30, 2, dtype: float64), zeros([], dtype: float64)]
        )
        {
            Assert.That(
                () => memories.Contents(wrong),
                Throws.ArgumentException.With.Property("ParamName").EqualTo("hidden")
            );
            Assert.That(
                () => memories.State(wrong),
                Throws.ArgumentException.With.Property("ParamName").EqualTo("contents")
            );
            Assert.That(
                () => memories.Complement(wrong),
                Throws.ArgumentException.With.Property("ParamName").EqualTo("hidden")
            );
            Assert.That(
                () => circuit.ReadOut(wrong),
                Throws.ArgumentException.With.Property("ParamName").EqualTo("hidden")
            );
            Assert.That(
                () => circuit.HiddenStates(wrong, 5),
                Throws.ArgumentException.With.Property("ParamName").EqualTo("input")
            );
            Assert.That(
                () => circuit.HiddenStates(zeros(3, 2, 4), 5, (_, _) => wrong),
                Throws.ArgumentException.With.Property("ParamName").EqualTo("hook")
            );
        }
        Assert.That(
            () => circuit.ReadOut(zeros(2, 30)),
            Throws.ArgumentException.With.Message.Contains("is Float32, not Float64")
        );
    }

    [Test]
    public void AGsemmRefusesStatesThatAreNotItsOwn()
    {
        using var model = new Gsemm(eye(5, 3, dtype: float64), Gsemm.CreateSequence(3, cyclic: true));
        foreach (var wrong in (Tensor[])[zeros(2, 4, dtype: float64), zeros(2, 5), zeros([], dtype: float64)])
        {
            Assert.That(() => model.ComputeOverlaps(wrong), Throws.ArgumentException);
            Tensor five = zeros(2, 5, dtype: float64),
                three = zeros(2, 3, dtype: float64);
            foreach (
                var state in (GsemmState[])[new(wrong, three, five), new(five, wrong, five), new(five, three, wrong)]
            )
            {
                Assert.That(() => model.ComputeEnergy(state), Throws.ArgumentException);
                if (wrong.dtype == float64)
                    Assert.That(() => model.Integrate(state, Integrator.Euler, 0.1, 1), Throws.ArgumentException);
            }
            if (wrong.dtype == float64)
                Assert.That(() => model.RunDiscrete(wrong, 3), Throws.ArgumentException);
        }
    }
}
