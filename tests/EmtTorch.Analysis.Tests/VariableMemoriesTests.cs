using EmtTorch.Settings;
using EmtTorch.Studies;
using EmtTorch.Tasks;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Analysis.Tests;

public class VariableMemoriesTests
{
    // Φ on the live entries comes from the task's definition; nothing of the code under test is in it but the choice of
    // entries, which LiveEntriesTests checks.
    [TestCaseSource(typeof(BindingTasks), nameof(BindingTasks.All))]
    public void RealizationGivesBackPhiOfExactCircuits(LinearBinding task)
    {
        using var scope = NewDisposeScope();
        int n = task.S * task.D;
        using var circuit = new Circuit(task, BindingTasks.RandomBasis(2 * n, n, seed: 7));
        // Roots of magnitude 0.5 decay: only what persists can be known from far-away outputs.
        using var memories = VariableMemories.Find(circuit.ToWeights(), task);
        Assert.That(memories.Grounding, Is.EqualTo(Grounding.Realization));
        Assert.That(memories.PhiError, Is.LessThan(1e-9));
        Assert.That(memories.PhiErrorUnscaled, Is.LessThan(1e-9));
        Assert.That(memories.Gain, Is.EqualTo(1).Within(1e-9));
        var phi = Circuit.Phi(task);
        var live = tensor(memories.Live.Select(i => (long)i).ToArray());
        var expected = phi.index_select(0, live).index_select(1, live);
        bool decays = memories.Live.Count > memories.PersistentRank;
        Assert.That(decays, Is.EqualTo(TestContext.CurrentContext.Test.Name.Contains("decaying")));
        Assert.That(
            Matrices.Norm(memories.Phi - expected),
            decays ? Is.GreaterThan(1e-3) : Is.LessThan(1e-9 * n),
            "all of Φ where nothing decays"
        );
    }

    // Of T1 all 64 columns come back; of T2–T4 those of the live entries, up to what lies in the circuit's own null
    // space.
    [Test]
    public void RealizationGivesBackTheBasisOfT1()
    {
        using var scope = NewDisposeScope();
        var task = LinearBinding.Named("t1");
        var basis = BindingTasks.RandomBasis(128, 64, seed: 8);
        using var circuit = new Circuit(task, basis);
        using var memories = VariableMemories.Find(circuit.ToWeights(), task);
        Assert.That(Matrices.Norm(memories.Basis - basis) / Matrices.Norm(basis), Is.LessThan(1e-9));
        Assert.That(memories.Condition, Is.EqualTo(Matrices.Condition(basis)).Within(1e-6));
    }

    [TestCase("t2")]
    [TestCase("t3")]
    [TestCase("t4")]
    public void RealizationReadsTheContentsOfT2ToT4(string name)
    {
        using var scope = NewDisposeScope();
        var task = LinearBinding.Named(name);
        using var circuit = new Circuit(task, BindingTasks.RandomBasis(100, 64, seed: 9));
        using var memories = VariableMemories.Find(circuit.ToWeights(), task);
        var input = BindingTasks.Inputs(task, batch: 5, seed: 10);
        var contents = memories.Contents(circuit.HiddenStates(input, 8)[7]);
        var history = input.transpose(0, 1).reshape(5, 64);
        Assert.That(memories.Live, Has.Count.EqualTo(36));
        foreach (int j in memories.Live)
            Assert.That(Matrices.Norm(contents.select(1, j) - history.select(1, j)), Is.LessThan(1e-9), $"entry {j}");
        foreach (int j in Enumerable.Range(0, 64).Except(memories.Live))
            Assert.That(Matrices.Norm(contents.select(1, j)), Is.Zero);
    }

    [TestCase(Grounding.Output, 1)]
    [TestCase(Grounding.Algorithm1, 1)]
    public void GoingForwardGivesBackPhiAndTheBasisOfT1(Grounding grounding, double alpha)
    {
        using var scope = NewDisposeScope();
        var task = LinearBinding.Named("t1");
        using var circuit = new Circuit(task, BindingTasks.RandomBasis(128, 64, seed: 11));
        using var memories = VariableMemories.Find(
            circuit.ToWeights(),
            task,
            new() { Grounding = grounding, Alpha = alpha }
        );
        Assert.That(memories.PhiError, Is.LessThan(1e-9));
        // From W_r† the basis is another one of the same circuit, unless Ψ is orthonormal.
        Assert.That(
            Matrices.Norm(memories.Basis - circuit.Basis),
            grounding == Grounding.Algorithm1 ? Is.LessThan(1e-9) : Is.GreaterThan(1e-3)
        );
    }

    [TestCase(0)]
    [TestCase(0.5)]
    public void GoingBackwardIsExactForT1InAnOrthonormalBasis(double alpha)
    {
        using var scope = NewDisposeScope();
        var task = LinearBinding.Named("t1");
        var (orthonormal, _) = linalg.qr(BindingTasks.RandomBasis(128, 64, seed: 12));
        using var circuit = new Circuit(task, orthonormal);
        using var memories = VariableMemories.Find(
            circuit.ToWeights(),
            task,
            new() { Grounding = Grounding.Algorithm1, Alpha = alpha }
        );
        Assert.That(memories.PhiError, Is.LessThan(1e-9));
        Assert.That(Matrices.Norm(memories.Basis - orthonormal), Is.LessThan(1e-9));
    }

    [Test]
    public void GoingBackwardFailsInABasisThatIsNotOrthonormal()
    {
        using var scope = NewDisposeScope();
        var task = LinearBinding.Named("t1");
        using var circuit = new Circuit(task, BindingTasks.RandomBasis(128, 64, seed: 13));
        using var memories = VariableMemories.Find(
            circuit.ToWeights(),
            task,
            new() { Grounding = Grounding.Algorithm1, Alpha = 0 }
        );
        Assert.That(memories.PhiError, Is.GreaterThan(0.1));
    }

    // Φ^j e_s, as far as it persists, is the cycle of each component where every output reads one entry.
    [TestCase("t2")]
    [TestCase("t3")]
    [TestCase("t4")]
    public void GoingForwardFromTheInputGivesBackT2ToT4OnTheLiveEntries(string name)
    {
        using var scope = NewDisposeScope();
        var task = LinearBinding.Named(name);
        using var circuit = new Circuit(task, BindingTasks.RandomBasis(128, 64, seed: 14));
        using var memories = VariableMemories.Find(
            circuit.ToWeights(),
            task,
            new() { Grounding = Grounding.Algorithm1 }
        );
        Assert.That(memories.PhiError, Is.LessThan(1e-9));
    }

    [TestCase("t2")]
    [TestCase("t3")]
    [TestCase("t4")]
    public void GoingForwardFromTheReadoutDoesSoInAnOrthonormalBasisAlone(string name)
    {
        using var scope = NewDisposeScope();
        var task = LinearBinding.Named(name);
        var basis = BindingTasks.RandomBasis(128, 64, seed: 14);
        using var circuit = new Circuit(task, basis);
        using var orthonormal = new Circuit(task, linalg.qr(basis).Q);
        var options = new VariableMemoryOptions { Grounding = Grounding.Output };
        using var memories = VariableMemories.Find(circuit.ToWeights(), task, options);
        using var exact = VariableMemories.Find(orthonormal.ToWeights(), task, options);
        TestContext.Out.WriteLine($"{name}: {memories.PhiError:F3}");
        Assert.That(memories.PhiError, Is.GreaterThan(0.2));
        Assert.That(exact.PhiError, Is.LessThan(1e-9));
    }

    // With nothing removed and dead entries kept, going forward mixes what f feeds back into the basis: Ψ_k = Ψ Φ^{s−k}
    // e_s, and so Φ_learned = K⁻¹ Φ K with K = [Φ^{s−1} e_s, …, e_s], whatever Ψ is. Over all 64 entries that is 0.47
    // off for T2–T4.
    [TestCase("t1", 0)]
    [TestCase("t2", 0.4677)]
    [TestCase("t3", 0.4677)]
    [TestCase("t4", 0.4677)]
    public void WithoutTheLiveEntriesGoingForwardIsOffByWhatFFeedsBack(string name, double error)
    {
        using var scope = NewDisposeScope();
        var task = LinearBinding.Named(name);
        using var circuit = new Circuit(task, BindingTasks.RandomBasis(128, 64, seed: 14));
        var columns = new List<Tensor> { circuit.WeightIh };
        for (int k = 1; k < 8; k++)
            columns.Insert(0, matmul(circuit.WeightHh, columns[0]));
        using var decomposition = MemoryDecomposition.Compute(circuit.WeightHh, cat(columns, 1));
        Assert.That(
            Matrices.Norm(decomposition.Interactions - circuit.Operator) / Matrices.Norm(circuit.Operator),
            Is.EqualTo(error).Within(1e-3)
        );
    }

    // Where outputs mix several variables, only the realization is exact.
    [Test]
    public void GoingForwardIsNoBasisWhereOutputsMixVariables()
    {
        using var scope = NewDisposeScope();
        var task = BindingTasks.UnitRoots(3, d: 3, s: 6, decaying: 0);
        using var circuit = new Circuit(task, BindingTasks.RandomBasis(40, 18, seed: 15));
        using var forward = VariableMemories.Find(
            circuit.ToWeights(),
            task,
            new() { Grounding = Grounding.Algorithm1 }
        );
        using var realization = VariableMemories.Find(circuit.ToWeights(), task);
        Assert.That(forward.PhiError, Is.GreaterThan(0.2));
        Assert.That(realization.PhiError, Is.LessThan(1e-9));
    }

    // W = g Ψ Φ Ψ*, as tanh makes it: the structure is the circuit's, and only |λ| is not.
    [Test]
    public void AGainIsToldFromTheStructure()
    {
        using var scope = NewDisposeScope();
        var task = LinearBinding.Named("t4");
        using var circuit = new Circuit(task, BindingTasks.RandomBasis(128, 64, seed: 15));
        var weights = circuit.ToWeights() with { WeightHh = circuit.WeightHh * 1.17 };
        using var memories = VariableMemories.Find(weights, task);
        Assert.That(memories.Gain, Is.EqualTo(1.17).Within(1e-9));
        Assert.That(memories.PhiError, Is.LessThan(1e-9));
        Assert.That(memories.PhiErrorUnscaled, Is.EqualTo(0.17).Within(1e-9));
    }

    [Test]
    public void ContentsAndStatesAreEachOthersInverseOnTheLiveEntries()
    {
        using var scope = NewDisposeScope();
        var task = LinearBinding.Named("t3");
        using var circuit = new Circuit(task, BindingTasks.RandomBasis(90, 64, seed: 16));
        using var memories = VariableMemories.Find(circuit.ToWeights(), task);
        var x = BindingTasks.RandomBasis(4, 64, seed: 17);
        var back = memories.Contents(memories.State(x));
        foreach (int j in memories.Live)
            Assert.That(Matrices.Norm(back.select(1, j) - x.select(1, j)), Is.LessThan(1e-10));
    }

    [Test]
    public void TheComplementIsOrthonormalAndUnseenAndBeginsWithTheGreatestVariance()
    {
        using var scope = NewDisposeScope();
        var task = BindingTasks.Rotation(1, d: 3, s: 2);
        using var circuit = new Circuit(task, BindingTasks.RandomBasis(10, 6, seed: 18));
        using var memories = VariableMemories.Find(circuit.ToWeights(), task);
        var hidden =
            BindingTasks.RandomBasis(500, 10, seed: 19) * tensor(new double[] { 9, 1, 1, 5, 1, 1, 1, 1, 1, 3 });
        var complement = memories.Complement(hidden);
        Assert.That(complement.shape, Is.EqualTo(new long[] { 10, 4 }));
        Assert.That(
            Matrices.Norm(matmul(complement.t(), complement) - eye(4, dtype: ScalarType.Float64)),
            Is.LessThan(1e-10)
        );
        Assert.That(Matrices.Norm(matmul(memories.PseudoInverse, complement)), Is.LessThan(1e-10));
        var variances = Matrices.Values(matmul(hidden, complement).var(0));
        Assert.That(variances, Is.Ordered.Descending);
    }

    [Test]
    public void ParticipationIsEachUnitsShareOfAVariable()
    {
        using var scope = NewDisposeScope();
        // In the standard basis each variable lives in its own units: d = 2 units each with a share of √½.
        var task = LinearBinding.RepeatCopy(d: 2, s: 3);
        using var circuit = new Circuit(task);
        using var memories = VariableMemories.Find(circuit.ToWeights(), task);
        var shares = memories.Participation();
        for (int unit = 0; unit < 6; unit++)
        {
            for (int variable = 0; variable < 3; variable++)
                Assert.That(shares[unit][variable], Is.EqualTo(unit / 2 == variable ? Math.Sqrt(0.5) : 0).Within(1e-9));
        }
    }

    [Test]
    public void ABasisThatCannotBeTrustedSaysSo()
    {
        using var scope = NewDisposeScope();
        var task = BindingTasks.Rotation(2, d: 2, s: 2);
        // Two variables that are nearly the same direction.
        var basis = BindingTasks.RandomBasis(8, 4, seed: 20);
        basis.select(1, 1).copy_(basis.select(1, 0) + 1e-4 * basis.select(1, 1));
        using var circuit = new Circuit(task, basis);
        using var memories = VariableMemories.Find(circuit.ToWeights(), task);
        Assert.That(memories.Condition, Is.GreaterThan(1e3));
        Assert.That(memories.Problems, Has.Some.Contains("badly conditioned"));
    }

    [Test]
    public void SpectraThatDifferInCountHaveNoRealizationAndFallBack()
    {
        using var scope = NewDisposeScope();
        // The circuit of another task of the same size: T1 has 64 persistent eigenvalues, T2 has 36.
        using var circuit = new Circuit(LinearBinding.Named("t1"), BindingTasks.RandomBasis(128, 64, seed: 21));
        var task = LinearBinding.Named("t2");
        Assert.That(
            () => VariableMemories.Find(circuit.ToWeights(), task, new() { Grounding = Grounding.Realization }),
            Throws.InstanceOf<AnalysisException>().With.Message.Contains("36").And.Message.Contains("64")
        );
        using var memories = VariableMemories.Find(circuit.ToWeights(), task);
        Assert.That(memories.Grounding, Is.EqualTo(Grounding.Output));
        Assert.That(memories.PhiError, Is.Null);
        Assert.That(memories.Problems, Has.Some.Contains("No realization grounding"));
    }
}
