using EmtTorch.Settings;
using EmtTorch.Tasks;
using static TorchSharp.torch;

namespace EmtTorch.Analysis.Tests;

public class InterventionsTests
{
    [TestCase("t1", 8)]
    [TestCase("t2", 8)]
    [TestCase("t3", 8)]
    [TestCase("t4", 8)]
    [TestCase("t4", 21)]
    public void OnTheCircuitEveryBitIsAsPredicted(string name, int time)
    {
        using var scope = NewDisposeScope();
        var task = LinearBinding.Named(name);
        using var circuit = new Circuit(task, BindingTasks.RandomBasis(128, 64, seed: 1));
        using var memories = VariableMemories.Find(circuit.ToWeights(), task);
        var results = VariableInterventions.Measure(
            circuit,
            task,
            memories,
            new()
            {
                Time = time,
                Horizon = 20,
                BatchSize = 16,
            }
        );
        // 8 variables are live in all four; so each is written and erased, and swapped with the next where both share a
        // component.
        Assert.That(results.Count(r => r.Kind == InterventionKind.Write), Is.EqualTo(8));
        Assert.That(results.Count(r => r.Kind == InterventionKind.Erase), Is.EqualTo(8));
        Assert.That(results.Count(r => r.Kind == InterventionKind.Swap), Is.EqualTo(8));
        Assert.That(results.Select(r => r.Accuracy), Has.All.EqualTo(1));
        Assert.That(
            results.Where(r => r.Kind != InterventionKind.None).Select(r => r.AffectedAccuracy),
            Has.All.EqualTo(1)
        );
        Assert.That(VariableInterventions.MeanAccuracy(results), Is.EqualTo(1));
    }

    [Test]
    public void TheFloorIsThatOfANetworkThatIgnoresInterventions()
    {
        using var scope = NewDisposeScope();
        var task = LinearBinding.RepeatCopy(5, 3);
        using var circuit = new Circuit(task, BindingTasks.RandomBasis(32, 15, seed: 2));
        using var memories = VariableMemories.Find(circuit.ToWeights(), task);
        var results = VariableInterventions.Measure(circuit, task, memories);
        // Each variable is one of s outputs. Erased, all its bits are wrong where the network goes on as before;
        // written at random, half of them.
        double share = 1.0 / task.S;
        double Floor(InterventionKind kind) => results.Where(r => r.Kind == kind).Average(r => r.IgnoredAccuracy);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(Floor(InterventionKind.None), Is.EqualTo(1));
            Assert.That(Floor(InterventionKind.Erase), Is.EqualTo(1 - share).Within(1e-12));
            Assert.That(Floor(InterventionKind.Write), Is.EqualTo(1 - share / 2).Within(0.02));
            Assert.That(VariableInterventions.MeanAffectedAccuracy(results), Is.EqualTo(1));
        }
    }

    [Test]
    public void TheCircuitBeatsTheNullOfItsSpectrum()
    {
        using var scope = NewDisposeScope();
        var task = LinearBinding.Named("t2");
        using var circuit = new Circuit(task, BindingTasks.RandomBasis(128, 64, seed: 2));
        using var analysis = NetworkAnalysis.Of(circuit.ToWeights(), task, new() { TestSequences = 16 });
        Assert.That(analysis.PhiErrorNull, Is.GreaterThan(0.05));
        Assert.That(analysis.Memories!.PhiError, Is.LessThan(1e-6));
    }

    // Through a basis that is not the network's its answers are not those predicted.
    [Test]
    public void AWrongBasisIsFoundOut()
    {
        using var scope = NewDisposeScope();
        var task = LinearBinding.Named("t2");
        using var circuit = new Circuit(task, BindingTasks.RandomBasis(128, 64, seed: 2));
        // From W_r† it is exact only in an orthonormal basis.
        using var wrong = VariableMemories.Find(circuit.ToWeights(), task, new() { Grounding = Grounding.Output });
        Assert.That(wrong.PhiError, Is.GreaterThan(0.2));
        var results = VariableInterventions.Measure(circuit, task, wrong, new() { Horizon = 16 });
        Assert.That(results[0].Accuracy, Is.EqualTo(1), "nothing done");
        Assert.That(
            results.Where(r => r.Kind == InterventionKind.Write).Average(r => r.AffectedAccuracy),
            Is.LessThan(0.95)
        );
    }

    // d = 1, s = 2: u(1) u(2) u(1) u(2) …; swapping the two variables shifts the sequence by one.
    [Test]
    public void ASwapByHand()
    {
        using var scope = NewDisposeScope();
        var task = LinearBinding.RepeatCopy(d: 1, s: 2);
        using var circuit = new Circuit(task);
        using var memories = VariableMemories.Find(circuit.ToWeights(), task);
        var states = circuit.HiddenStates(
            tensor(new double[] { 1, -1 }, [2L, 1L, 1L]),
            6,
            (t, h) => t == 2 ? memories.State(memories.Contents(h).flip(1)) : h
        );
        Assert.That(
            Matrices.Values(circuit.ReadOut(states).narrow(0, 2, 4)),
            Is.EqualTo(new double[] { -1, 1, -1, 1 }).Within(1e-12)
        );
        var swap = VariableInterventions.Measure(circuit, task, memories).Single(r => r.Kind == InterventionKind.Swap);
        Assert.That((swap.Variable, swap.Other, swap.Accuracy), Is.EqualTo((1, 2, 1.0)));
    }

    [Test]
    public void BeforeTheVariablesAreLoadedThereIsNothingToInterveneIn()
    {
        var task = LinearBinding.RepeatCopy(d: 2, s: 3);
        using var circuit = new Circuit(task);
        using var memories = VariableMemories.Find(circuit.ToWeights(), task);
        Assert.That(
            () => VariableInterventions.Measure(circuit, task, memories, new() { Time = 2 }),
            Throws.ArgumentException.With.Message.Contains("s = 3")
        );
        Assert.That(
            () => VariableInterventions.Measure(circuit, task, memories, new() { Horizon = 0 }),
            Throws.ArgumentException
        );
    }
}
