using System.Numerics;
using EmtTorch.Analysis.Charts;
using static TorchSharp.torch;

namespace EmtTorch.Analysis.Tests;

public class SpectraTests
{
    [Test]
    public void TheAssignmentIsTheBestOfAll()
    {
        var random = new Random(1);
        for (int trial = 0; trial < 200; trial++)
        {
            int n = 1 + trial % 6;
            var cost = new double[n, n];
            // Whole numbers make ties.
            for (int i = 0; i < n; i++)
            {
                for (int j = 0; j < n; j++)
                    cost[i, j] = trial % 2 == 0 ? random.NextDouble() : random.Next(4);
            }

            var columns = Assignment.Solve(cost);
            Assert.That(columns.Order(), Is.EqualTo(Enumerable.Range(0, n)));
            double best = Permutations([.. Enumerable.Range(0, n)]).Min(p => p.Select((j, i) => cost[i, j]).Sum());
            Assert.That(columns.Select((j, i) => cost[i, j]).Sum(), Is.EqualTo(best).Within(1e-12));
        }
    }

    [Test]
    public void AGreedyMatchingWouldBeWorse()
    {
        // 0.0 takes 0.1 first if it is greedy, and 0.15 is left with −1.
        var match = Spectra.Compare(
            [Complex.FromPolarCoordinates(1, 0.0), Complex.FromPolarCoordinates(1, 0.15)],
            [Complex.FromPolarCoordinates(1, 0.1), Complex.FromPolarCoordinates(1, -1.0)]
        );
        Assert.That(match.Error, Is.EqualTo((1.0 + 0.05) / 2).Within(1e-12));
    }

    [Test]
    public void TheAuthorsMatchingIsGreedyInTheOrderOfTheLearnedEigenvalues()
    {
        // 0.14 takes 0 (0.14 away, and 0.3 is 0.16 away), and −0.2 is left with 0.3. The best is 0.14–0.3, −0.2–0.
        Complex[] theory = [Complex.FromPolarCoordinates(1, 0.0), Complex.FromPolarCoordinates(1, 0.3)],
            learned = [Complex.FromPolarCoordinates(1, 0.14), Complex.FromPolarCoordinates(1, -0.2)];
        var match = Spectra.Compare(theory, learned);
        Assert.That(match.GreedyError, Is.EqualTo((0.14 + 0.5) / 2).Within(1e-12));
        Assert.That(match.Error, Is.EqualTo((0.16 + 0.2) / 2).Within(1e-12));
        // In the other order −0.2 takes 0.
        var other = Spectra.Compare(theory, [learned[1], learned[0]]);
        Assert.That(other.GreedyError, Is.EqualTo((0.16 + 0.2) / 2).Within(1e-12));
        Assert.That(Spectra.Compare(theory, learned[..1]).GreedyError, Is.Null);
    }

    [Test]
    public void AnglesMeetAtMinusPiAndPi()
    {
        var match = Spectra.Compare([Complex.FromPolarCoordinates(1, 3.1)], [Complex.FromPolarCoordinates(1.2, -3.1)]);
        Assert.That(match.Error, Is.EqualTo(2 * Math.PI - 6.2).Within(1e-12));
    }

    [Test]
    public void OnlyWhatIsAboveTheThresholdCounts()
    {
        Complex[] theory = [1, -1, 0],
            learned = [0.95, 0.2, new(-1.1, 0.11), 0.89];
        var match = Spectra.Compare(theory, learned);
        Assert.That((match.CountTheory, match.CountLearned), Is.EqualTo((2, 2)));
        Assert.That(match.Pairs, Is.EquivalentTo(new EigenvaluePair[] { new(0, 0), new(1, 2) }));
        Assert.That(match.Error, Is.EqualTo(Math.Atan(0.1) / 2).Within(1e-12));
    }

    [Test]
    public void DifferentCountsGiveNoNumber()
    {
        var match = Spectra.Compare([1, -1], [1, 0.5]);
        Assert.That(match.Error, Is.Null);
        Assert.That((match.CountTheory, match.CountLearned), Is.EqualTo((2, 1)));
    }

    [Test]
    public void EigenvaluesOfAMatrixThatHasNoneAreRefused()
    {
        using var oblong = ones(2, 3, dtype: ScalarType.Float64);
        using var broken = full(2, 2, double.NaN, dtype: ScalarType.Float64);
        Assert.That(() => Spectra.Eigenvalues(oblong), Throws.ArgumentException);
        Assert.That(() => Spectra.Eigenvalues(broken), Throws.ArgumentException.With.Message.Contains("finite"));
    }

    // Blocks with known eigenvalues in a random basis; the projector is built from that basis.
    [Test]
    public void TheProjectorIsThatOfThePersistentEigenvectors()
    {
        using var scope = NewDisposeScope();
        // A rotation of magnitude 1.1, −0.95, a Jordan block at 0.5, one at 0.
        var inner = zeros(7, 7, dtype: ScalarType.Float64);
        double[,] entries =
        {
            { 0, 0, 1.1 * Math.Cos(1) },
            { 0, 1, -1.1 * Math.Sin(1) },
            { 1, 0, 1.1 * Math.Sin(1) },
            { 1, 1, 1.1 * Math.Cos(1) },
            { 2, 2, -0.95 },
            { 3, 3, 0.5 },
            { 3, 4, 1 },
            { 4, 4, 0.5 },
            { 5, 6, 1 },
        };
        for (int i = 0; i < entries.GetLength(0); i++)
            inner[(long)entries[i, 0], (long)entries[i, 1]] = entries[i, 2];
        var basis = BindingTasks.RandomBasis(7, 7, seed: 3);
        var inverse = linalg.inv(basis);
        var keep = diag(tensor(new double[] { 1, 1, 1, 0, 0, 0, 0 }));
        var matrix = matmul(basis, matmul(inner, inverse));

        var (projector, rank) = SpectralProjector.Compute(matrix, 0.9, "A");
        Assert.That(rank, Is.EqualTo(3));
        Assert.That(Matrices.Norm(projector - matmul(basis, matmul(keep, inverse))), Is.LessThan(1e-10));
    }

    [TestCase(0.9)]
    [TestCase(-0.9)]
    public void AnEigenvalueOnTheCircleHasNoProjector(double eigenvalue)
    {
        using var matrix = diag(tensor(new[] { 1, eigenvalue, 0.1 }));
        Assert.That(
            () => SpectralProjector.Compute(matrix, 0.9, "A"),
            Throws.InstanceOf<AnalysisException>().With.Message.Contains("of A lies on the circle |λ| = 0.9")
        );
    }

    [Test]
    public void ASpectrumMatchesItselfInAnyOrder([Range(1, 20)] int seed)
    {
        var random = new Random(seed);
        var values = Enumerable
            .Range(0, 12)
            .Select(_ => Complex.FromPolarCoordinates(1 + random.NextDouble(), 2 * Math.PI * random.NextDouble()))
            .ToArray();
        var shuffled = values.OrderBy(_ => random.Next()).ToArray();
        Assert.That(Spectra.Compare(values, shuffled).Error, Is.EqualTo(0).Within(1e-12));
    }

    private static IEnumerable<int[]> Permutations(int[] items)
    {
        if (items.Length <= 1)
        {
            yield return items;
            yield break;
        }
        for (int i = 0; i < items.Length; i++)
        {
            foreach (var rest in Permutations([.. items[..i], .. items[(i + 1)..]]))
                yield return [items[i], .. rest];
        }
    }
}
