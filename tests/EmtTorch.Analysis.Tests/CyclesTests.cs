using System.Numerics;
using EmtTorch.Settings;
using EmtTorch.Tasks;

namespace EmtTorch.Analysis.Tests;

public sealed class CyclesTests
{
    /// <summary>The n-th roots of ±1.</summary>
    private static Complex[] Roots(int n, int sign = 1, double magnitude = 1, double turn = 0) =>
        [
            .. Enumerable
                .Range(0, n)
                .Select(k =>
                    Complex.FromPolarCoordinates(magnitude, (2 * Math.PI * k + (sign < 0 ? Math.PI : 0)) / n + turn)
                ),
        ];

    [Test]
    public void TheCircuitsCyclesAreThoseOfItsRule()
    {
        var t1 = CycleComparison.Find(LinearBinding.Named("t1"), [])!;
        var t2 = CycleComparison.Find(LinearBinding.Named("t2"), [])!;
        using (Assert.EnterMultipleScope())
        {
            Assert.That(t1.All.Select(c => (c.Length, c.Count, c.Learned)), Is.EqualTo(new[] { (8, 8, 0) }));
            Assert.That(
                t2.All.Select(c => (c.Length, c.Count)),
                Is.EqualTo(Enumerable.Range(1, 8).Select(n => (n, 1)))
            );
            Assert.That(t2.Error, Is.Null);
            foreach (var cycle in t2.All)
            {
                Assert.That(
                    cycle.Eigenvalues.Sum(z => Roots(cycle.Length).Min(w => (z - w).Magnitude)),
                    Is.LessThan(1e-9)
                );
            }
        }
    }

    [TestCase("t1")]
    [TestCase("t2")]
    [TestCase("t3")]
    [TestCase("t4")]
    public void AnExactCircuitHasAllOfThem(string name)
    {
        var task = LinearBinding.Named(name);
        var found = CycleComparison.Find(task, Spectra.Eigenvalues(Circuit.Phi(task)))!;
        using (Assert.EnterMultipleScope())
        {
            Assert.That(found.Learned, Is.EqualTo(found.Count));
            Assert.That(found.All.Sum(c => c.Length * c.Count), Is.EqualTo(name == "t1" ? 64 : 36));
            Assert.That(found.Error, Is.LessThan(1e-6));
            Assert.That(found.Left, Is.Zero);
        }
    }

    [Test]
    public void PartsAreFoundBesideWhatBelongsToNone()
    {
        // Cycles of 1 to 5 and 7, turned by 0.01 and at another magnitude, and two eigenvalues of nothing.
        Complex[] learned =
        [
            .. new[] { 1, 2, 3, 4, 5, 7 }.SelectMany(n => Roots(n, magnitude: 1.1, turn: 0.01)),
            Complex.FromPolarCoordinates(1, 0.3),
            Complex.FromPolarCoordinates(1, -0.3),
            0.5,
        ];
        var found = CycleComparison.Find(LinearBinding.Named("t2"), learned)!;
        using (Assert.EnterMultipleScope())
        {
            Assert.That(
                found.All.Where(c => c.Learned > 0).Select(c => c.Length),
                Is.EqualTo(new[] { 1, 2, 3, 4, 5, 7 })
            );
            Assert.That(found.Error, Is.EqualTo(0.01).Within(1e-9));
            Assert.That(found.Left, Is.EqualTo(2));
        }
    }

    [Test]
    public void ACycleThatIsTooFarOffIsNotThere()
    {
        var found = CycleComparison.Find(
            LinearBinding.Named("t2"),
            [.. Roots(7, turn: 2 * CycleComparison.Tolerance), .. Roots(8)]
        )!;
        // 8's eigenvalues are those of 4, 2 and 1 too, but each is one cycle's only.
        Assert.That(found.All.Where(c => c.Learned > 0).Select(c => c.Length), Is.EqualTo(new[] { 8 }));
    }

    [Test]
    public void SignsMakeOtherCycles()
    {
        // y = −u(t − 3): the cube roots of −1, so that the content is back only after six steps.
        var task = LinearBinding.FromTerms(
            [
                new()
                {
                    Delay = 3,
                    Permutation = [0],
                    Signs = [-1],
                },
            ],
            1,
            3
        );
        using (Assert.EnterMultipleScope())
        {
            Assert.That(CycleComparison.Find(task, Roots(3, sign: -1))!.Learned, Is.EqualTo(1));
            Assert.That(CycleComparison.Find(task, Roots(3))!.Learned, Is.Zero);
        }
    }
}
