using System.Numerics;
using EmtTorch.Analysis.Episodic;
using EmtTorch.Analysis.Runs;
using EmtTorch.Models;
using EmtTorch.Settings;
using EmtTorch.Tasks;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Analysis.Tests;

/// <summary>What the measures give for networks that have no circuit.</summary>
public sealed class NullsTests
{
    private static SpectralComparison Compare(LinearBinding task, IReadOnlyList<Complex> learned) =>
        Spectra.Compare(Spectra.Eigenvalues(Circuit.Phi(task)), learned);

    private static Complex[] RandomAngles(int n, ulong seed)
    {
        using var generator = new Generator(seed, CPU);
        return Spectra.Eigenvalues(Initialization.Orthonormal(n, n, generator));
    }

    [TestCase("t1")]
    [TestCase("t2")]
    [TestCase("t4")]
    public void TheCircuitsSpectrumBeatsRandomAngles(string name)
    {
        using var scope = NewDisposeScope();
        var task = LinearBinding.Named(name);
        var theory = Compare(task, Spectra.Eigenvalues(Circuit.Phi(task)));
        var cycles = CycleComparison.Find(task, theory.Learned)!;
        var chance = SpectralNull.Measure(theory, task);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(chance.Draws, Is.EqualTo(20));
            Assert.That(chance.Error, Is.GreaterThan(0.02));
            Assert.That(chance.LeastError, Is.LessThanOrEqualTo(chance.Error!.Value));
            Assert.That(chance.MostCycles, Is.LessThan(cycles.Count));
            Assert.That(chance.IsBeatenBy(theory));
            Assert.That(chance.IsBeatenBy(cycles));
            Assert.That(SpectralNull.Measure(theory, task), Is.EqualTo(chance), "the same once more");
        }
    }

    // An orthogonal network that was never trained: with four times as many eigenvalues as the circuit has, all of the
    // circuit's cycles are near some of them.
    [Test]
    public void AnUntrainedOrthogonalNetworkDoesNotBeatIt()
    {
        using var scope = NewDisposeScope();
        var task = LinearBinding.RepeatCopy(2, 16);
        var untrained = Compare(task, RandomAngles(128, seed: 77));
        var cycles = CycleComparison.Find(task, untrained.Learned)!;
        var chance = SpectralNull.Measure(untrained, task);
        Assert.That(cycles.Learned, Is.GreaterThan(0), "else there is nothing to be taken in by");
        Assert.That(chance.IsBeatenBy(cycles), Is.False);
        var equal = Compare(task, RandomAngles(32, seed: 78));
        Assert.That(SpectralNull.Measure(equal, task).IsBeatenBy(equal), Is.False);
    }

    [Test]
    public void ANetworkWithoutPersistentEigenvaluesHasNoNull()
    {
        using var scope = NewDisposeScope();
        var task = LinearBinding.RepeatCopy(2, 2);
        var none = Compare(task, [new(0.1, 0), new(0.2, 0)]);
        var chance = SpectralNull.Measure(none, task);
        Assert.That((chance.Draws, chance.Error, chance.Cycles), Is.EqualTo((0, (double?)null, (double?)null)));
        Assert.That(chance.IsBeatenBy(CycleComparison.Find(task, none.Learned)!), Is.False);
    }

    [Test]
    public void InRandomDirectionsNoInterventionDoesWhatTheCircuitSays()
    {
        using var scope = NewDisposeScope();
        var task = LinearBinding.Named("t2");
        using var circuit = new Circuit(task, BindingTasks.RandomBasis(128, 64, seed: 2));
        using var analysis = NetworkAnalysis.Of(circuit.ToWeights(), task, new() { TestSequences = 16 });
        using var memories = VariableMemories.Find(circuit.ToWeights(), task);
        var results = VariableInterventions.Measure(circuit, task, memories);
        double random = VariableInterventions.MeanAffectedNull(results);
        Assert.That(VariableInterventions.MeanAffectedAccuracy(results), Is.EqualTo(1));
        Assert.That(random, Is.LessThan(0.6).And.Positive);
        // In the circuit an erased variable stays erased, in every period.
        var erased = results.Where(r => r.Kind == InterventionKind.Erase).SelectMany(r => r.ErasedSize).ToList();
        Assert.That(erased, Has.Count.EqualTo(16).And.All.LessThan(1e-9));
        Assert.That(results[0].ErasedSize, Is.Empty);
        // The memories are invariant under W_hh: nothing leads out of them. Out of a turned basis something does.
        Assert.That(analysis.Blocks!.MemoryToRest, Is.LessThan(1e-6 * analysis.Blocks.MemoryToMemory));
        Assert.That(analysis.BlocksNull!.MemoryToRest, Is.GreaterThan(0.1 * analysis.BlocksNull.MemoryToMemory));
    }

    // One unit a variable, h = tanh(2 h'): 0 is unstable, and a small rest of an erased variable grows.
    [Test]
    public void WhereZeroIsUnstableAnErasedVariableComesBack()
    {
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        var task = LinearBinding.RepeatCopy(d: 1, s: 2);
        using var network = new ElmanRnn(1, 2, dtype: ScalarType.Float64);
        network.RecurrentWeights.copy_(
            tensor(
                new[,]
                {
                    { 0.02, 2.0 },
                    { 2.0, 0.02 },
                }
            )
        );
        network.InputWeights.copy_(
            tensor(
                new[,]
                {
                    { 0.0 },
                    { 2.0 },
                }
            )
        );
        network.ReadoutWeights.copy_(
            tensor(
                new[,]
                {
                    { 0.0, 1.0 },
                }
            )
        );
        using var weights = NetworkWeights.Copy(network);
        using var memories = VariableMemories.Find(weights, task);
        var erased = VariableInterventions
            .Measure(network, task, memories, new() { Horizon = 12 })
            .Where(r => r.Kind == InterventionKind.Erase)
            .ToList();
        Assert.That(erased, Has.Count.EqualTo(2));
        foreach (var result in erased)
            Assert.That(result.ErasedSize, Is.Ordered.Ascending.And.All.Positive);
        Assert.That(erased.Max(r => r.ErasedSize[^1]), Is.GreaterThan(0.5));
    }

    [Test]
    public void KindsDealtOutAtRandomDifferLittle()
    {
        var random = new Random(3);
        int[] kinds = [.. Enumerable.Range(0, 3000).Select(i => i % 3)];
        double[] gates = [.. kinds.Select(kind => (kind == 0 ? 0.9 : 0.1) + 0.05 * random.NextDouble())];
        double chance = GateSpread.MeasureNull(kinds, gates);
        // The difference of two means of 1,000 numbers with a deviation of 0.38 has one of 0.017.
        Assert.That(chance, Is.InRange(0.01, 0.1));
        // A gate that is the same for all kinds does not beat it; noise alone makes some difference.
        double[] noise = [.. kinds.Select(_ => random.NextDouble())];
        double[] means = [.. kinds.Zip(noise).GroupBy(t => t.First, t => t.Second).Select(g => g.Average())];
        Assert.That(means.Max() - means.Min(), Is.LessThanOrEqualTo(GateSpread.MeasureNull(kinds, noise)));
    }

    [TestCase(0.76, 0.5, true)]
    [TestCase(0.75, 0.5, false)]
    [TestCase(0.50, 0.02, false)]
    [TestCase(0.52, 0.02, true)]
    [TestCase(null, 0.5, true)]
    [TestCase(0.1, null, true)]
    public void ANetworkThatIsNotHalfWayFromGuessingDoesNotDoItsTask(double? accuracy, double? chance, bool enough) =>
        Assert.That(Ability.IsEnough(accuracy, chance), Is.EqualTo(enough));
}
