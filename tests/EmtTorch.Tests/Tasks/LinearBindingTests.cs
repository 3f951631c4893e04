using System.Numerics;
using EmtTorch.Settings;
using EmtTorch.Tasks;
using FsCheck;
using FsCheck.Fluent;

namespace EmtTorch.Tests;

public class LinearBindingTests
{
    private const ulong Diagonal = 9241421688590303745; // 0x8040201008040201: bits 0, 9, 18, …, 63

    // Worked out by hand from the ids: which variable (0 = oldest) each output component reads, and its sign. The
    // component read is the variable's number (the mask's bits are 9k), but for T1, whose mask is the oldest variable.
    // T3: 262676 is 4,2,0,1,0,0,1 in base 8, least first; 189 is 1,0,1,1,1,1,0,1 in binary, least first.
    // T4: 38637 is 5,5,3,3,1,1; 145 is 1,0,0,0,1,0,0,1.
    private static readonly object[] Expectations =
    [
        new object[] { "t1", new[] { 0, 1, 2, 3, 4, 5, 6, 7 }, new[] { 1, 1, 1, 1, 1, 1, 1, 1 } },
        new object[] { "t2", new[] { 0, 9, 18, 27, 36, 45, 54, 63 }, new[] { 1, 1, 1, 1, 1, 1, 1, 1 } },
        new object[] { "compose_copy", new[] { 0, 9, 18, 27, 36, 45, 54, 63 }, new[] { 1, 1, 1, 1, 1, 1, 1, 1 } },
        new object[] { "t3", new[] { 36, 27, 18, 0, 9, 45, 63, 54 }, new[] { -1, 1, -1, -1, -1, -1, 1, -1 } },
        new object[] { "t4", new[] { 45, 54, 0, 9, 18, 27, 36, 63 }, new[] { -1, 1, 1, 1, -1, 1, 1, -1 } },
    ];

    [TestCaseSource(nameof(Expectations))]
    public void PaperTasksAreWhatTheirIdsSay(string name, int[] entries, int[] signs)
    {
        var f = LinearBinding.Named(name).F;
        Assert.That((f.GetLength(0), f.GetLength(1)), Is.EqualTo((64, 8)));
        var expected = new double[64, 8];
        for (int i = 0; i < 8; i++)
            expected[entries[i], i] = signs[i];
        Assert.That(f, Is.EqualTo(expected));
    }

    [Test]
    public void ComposeCopyReadsComponentKOfVariableK()
    {
        // y_k(t) = y_k(t − (8 − k)): with u(i) all i + 1, y(8) is 1, 2, …, 8, and y(9)_7 is y(8)_7 again.
        var history = Enumerable.Range(1, 8).Select(i => Enumerable.Repeat((double)i, 8).ToArray()).ToArray();
        var y = LinearBinding.Named("compose_copy").Continue(history, 2);
        Assert.That(y[0], Is.EqualTo(new double[] { 1, 2, 3, 4, 5, 6, 7, 8 }));
        Assert.That(y[1], Is.EqualTo(new double[] { 2, 3, 4, 5, 6, 7, 8, 8 }));
    }

    [Test]
    public void Bit0IsTheOldestVariablesFirstComponent()
    {
        // d = 2, s = 3: entries 0 and 5 are y_0(t − 3) and y_1(t − 1).
        var task = LinearBinding.FromId(0b100001, 0, 0b10, d: 2, s: 3);
        Assert.That(
            task.F,
            Is.EqualTo(
                new double[,]
                {
                    { 1, 0 },
                    { 0, 0 },
                    { 0, 0 },
                    { 0, 0 },
                    { 0, 0 },
                    { 0, -1 },
                }
            )
        );
        var y = task.Continue(
            [
                [1, 10],
                [2, 20],
                [3, 30],
            ],
            2
        );
        Assert.That(y[0], Is.EqualTo(new double[] { 1, -30 }));
        Assert.That(y[1], Is.EqualTo(new double[] { 2, 30 }));
    }

    [Test]
    public void PhiMovesEachVariableIntoTheOneBeforeAndComputesTheNewOne() =>
        // y_0(t) = y_1(t − 2), y_1(t) = −y_0(t − 1), by hand: the history [a b c d] becomes [c d b −c].
        Assert.That(
            LinearBinding
                .FromMatrix(
                    [
                        [0, 0],
                        [1, 0],
                        [0, -1],
                        [0, 0],
                    ],
                    d: 2,
                    s: 2
                )
                .Phi(),
            Is.EqualTo(
                new double[,]
                {
                    { 0, 0, 1, 0 },
                    { 0, 0, 0, 1 },
                    { 0, 1, 0, 0 },
                    { 0, 0, -1, 0 },
                }
            )
        );

    [Test]
    public void TermsAddUp()
    {
        // y_0(t) = y_1(t − 3) + y_0(t − 1), y_1(t) = −y_0(t − 3) + y_1(t − 1)
        var task = LinearBinding.FromTerms(
            [
                new()
                {
                    Delay = 3,
                    Permutation = [1, 0],
                    Signs = [1, -1],
                },
                new() { Delay = 1 },
            ],
            d: 2,
            s: 3
        );
        Assert.That(
            task.Continue(
                [
                    [1, 10],
                    [2, 20],
                    [3, 30],
                ],
                1
            )[0],
            Is.EqualTo(new double[] { 13, 29 })
        );
    }

    [Test]
    public void AMatrixIsTakenAsItIs()
    {
        var task = LinearBinding.FromMatrix(
            [
                [0.5, 0],
                [0, 2],
                [1, 0],
                [0, 0],
            ],
            d: 2,
            s: 2
        );
        Assert.That(
            task.Continue(
                [
                    [4, 10],
                    [6, 20],
                ],
                2
            ),
            Is.EqualTo(new double[][] { [8, 20], [11, 40] })
        );
    }

    [Test]
    public void RepeatCopyRepeatsAtAnySize() =>
        Assert.That(
            () =>
                Check.QuickThrowOnFailure(
                    Prop.ForAll(
                        Gen.Choose(1, 6).Two().Zip(Gen.Choose(0, int.MaxValue)).ToArbitrary(),
                        drawn =>
                        {
                            var ((d, s), seed) = drawn;
                            var random = new System.Random(seed);
                            var history = Enumerable
                                .Range(0, s)
                                .Select(_ => Enumerable.Range(0, d).Select(_ => random.NextDouble()).ToArray())
                                .ToArray();
                            var y = LinearBinding.RepeatCopy(d, s).Continue(history, 2 * s + 1);
                            return y.Select((variable, t) => variable.SequenceEqual(history[t % s])).All(same => same);
                        }
                    )
                ),
            Throws.Nothing
        );

    [Test]
    public void AnyIdWithinTheRulesGivesASignedChoice() =>
        Assert.That(
            () =>
                Check.QuickThrowOnFailure(
                    Prop.ForAll(
                        Gen.Choose(1, 6).Two().Zip(Gen.Choose(0, int.MaxValue)).ToArbitrary(),
                        drawn =>
                        {
                            var ((d, s), seed) = drawn;
                            var random = new System.Random(seed);
                            var mask = Enumerable.Range(0, s * d).ToArray();
                            random.Shuffle(mask);
                            var id1 = mask.Take(d)
                                .Aggregate(BigInteger.Zero, (sum, bit) => sum + (BigInteger.One << bit));
                            var id2 = Enumerable
                                .Range(0, d)
                                .Aggregate(
                                    BigInteger.Zero,
                                    (sum, k) => sum + random.Next(d - k) * BigInteger.Pow(d, k)
                                );
                            int id3 = random.Next(1 << d);
                            var f = LinearBinding.FromId(id1, id2, id3, d, s).F;
                            // Every output component reads one chosen entry, and no entry is read twice.
                            // Sign i is bit i of id3.
                            var read = Enumerable
                                .Range(0, d)
                                .Select(i => Enumerable.Range(0, s * d).Single(j => f[j, i] != 0))
                                .ToArray();
                            return read.Order().SequenceEqual(mask.Take(d).Order())
                                && Enumerable.Range(0, d).All(i => f[read[i], i] == ((id3 >> i & 1) == 1 ? -1 : 1));
                        }
                    )
                ),
            Throws.Nothing
        );

    [Test]
    public void ASignedPermutationWithItsInverseGivesBackTheInput() =>
        Assert.That(
            () =>
                Check.QuickThrowOnFailure(
                    Prop.ForAll(
                        Gen.Choose(1, 7).Zip(Gen.Choose(0, int.MaxValue)).ToArbitrary(),
                        drawn =>
                        {
                            var (d, seed) = drawn;
                            var random = new System.Random(seed);
                            var permutation = Enumerable.Range(0, d).ToArray();
                            random.Shuffle(permutation);
                            var u = Enumerable.Range(0, d).Select(_ => random.NextDouble()).ToArray();
                            var forward = LinearBinding
                                .FromTerms([new() { Delay = 1, Permutation = permutation }], d, 1)
                                .Continue([u], 1);
                            var inverse = Enumerable.Range(0, d).OrderBy(i => permutation[i]).ToArray();
                            return LinearBinding
                                .FromTerms([new() { Delay = 1, Permutation = inverse }], d, 1)
                                .Continue(forward, 1)[0]
                                .SequenceEqual(u);
                        }
                    )
                ),
            Throws.Nothing
        );

    [TestCase("7", "0", "0", 2, 3, "id1 chooses 3 history entries")]
    [TestCase("1", "0", "0", 2, 3, "id1 chooses 1 history entries")]
    [TestCase("65", "0", "0", 2, 3, "id1 has its highest bit at 6")]
    [TestCase("18446744073709551617", "0", "0", 2, 32, "id1 has its highest bit at 64")]
    [TestCase("-3", "0", "0", 2, 3, "id1 is -3")]
    [TestCase("3", "2", "0", 2, 3, "id2's digit 1 in base 2 (least first) is 1: it must be below d − 1 = 1")]
    [TestCase("7", "6", "0", 3, 2, "id2's digit 1 in base 3 (least first) is 2: it must be below d − 1 = 2")]
    [TestCase("3", "4", "0", 2, 3, "id2 has more than d = 2 digits")]
    [TestCase("3", "-1", "0", 2, 3, "id2 is -1")]
    [TestCase("1", "1", "0", 1, 3, "with d = 1 there is nothing to swap")]
    [TestCase("3", "0", "4", 2, 3, "id3 has its highest bit at 2")]
    [TestCase("3", "0", "-1", 2, 3, "id3 is -1")]
    [TestCase("3", "0", "0", 0, 3, "d is 0")]
    [TestCase("3", "0", "0", 2, -1, "s is -1")]
    [TestCase("3", "0", "0", 65536, 65536, "at most 67108864")]
    public void AnIdThatBreaksARuleIsRefused(string id1, string id2, string id3, int d, int s, string gist)
    {
        var (a, b, c) = (BigInteger.Parse(id1), BigInteger.Parse(id2), BigInteger.Parse(id3));
        Assert.That(LinearBinding.CheckId(a, b, c, d, s), Has.One.Contains(gist));
        Assert.That(() => LinearBinding.FromId(a, b, c, d, s), Throws.ArgumentException.With.Message.Contains(gist));
    }

    [Test]
    public void AllBrokenRulesAreTold() => Assert.That(LinearBinding.CheckId(7, 2, 4, 2, 3), Has.Count.EqualTo(3));

    [Test]
    public void ThePaperIdsBreakNoRule()
    {
        Assert.That(LinearBinding.CheckId(Diagonal, 262676, 189, 8, 8), Is.Empty);
        Assert.That(LinearBinding.CheckId(Diagonal, 38637, 145, 8, 8), Is.Empty);
    }

    [Test]
    public void NamesTermsAndMatricesAreChecked()
    {
        Assert.That(LinearBinding.CheckNamed("t5", 8, 8), Has.One.Contains("no task named t5"));
        Assert.That(LinearBinding.CheckNamed("t2", 8, 4), Has.One.Contains("d is 8 and s is 4"));
        Assert.That(LinearBinding.CheckNamed("repeat_copy", 3, 5), Is.Empty);
        Assert.That(LinearBinding.CheckTerms([], 2, 3), Has.One.Contains("no terms"));
        var broken = LinearBinding.CheckTerms(
            [
                new()
                {
                    Delay = 4,
                    Permutation = [0, 0],
                    Signs = [1],
                },
            ],
            2,
            3
        );
        Assert.That(
            broken,
            Has.One.Contains("delay is 4").And.One.Contains("[0, 0]").And.One.Contains("signs are [1]")
        );
        Assert.That(
            LinearBinding.CheckMatrix(
                [
                    [1, 2],
                    [3],
                ],
                2,
                2
            ),
            Has.One.Contains("2 rows").And.One.Contains("row 1 has 1 numbers")
        );
        Assert.That(
            LinearBinding.CheckMatrix(
                [
                    [double.NaN],
                ],
                1,
                1
            ),
            Has.One.Contains("not finite")
        );
        Assert.That(
            () =>
                LinearBinding
                    .RepeatCopy(2, 2)
                    .Continue(
                        [
                            [1, 1],
                        ],
                        1
                    ),
            Throws.ArgumentException
        );
    }
}
