using System.Numerics;
using static TorchSharp.torch;

namespace EmtTorch.Analysis.Tests;

public class MemoryDecompositionTests
{
    [Test]
    public void TheSpectrumIsTheSameInEveryInvertibleBasis()
    {
        using var scope = NewDisposeScope();
        var w = BindingTasks.RandomBasis(20, 20, seed: 1);
        var spectrum = Spectra.Eigenvalues(w);
        for (int seed = 2; seed < 7; seed++)
        {
            using var own = MemoryDecomposition.Compute(w, BindingTasks.RandomBasis(20, 20, seed));
            Assert.That(Distance(own.Eigenvalues(), spectrum), Is.LessThan(1e-9));
            Assert.That(own.Residual, Is.LessThan(1e-10));
            Assert.That(Matrices.Norm(matmul(own.Basis, matmul(own.Interactions, own.Dual)) - w), Is.LessThan(1e-8));
        }
    }

    [Test]
    public void TheEigenbasisIsRealAndItsInteractionsAreBlocks()
    {
        using var scope = NewDisposeScope();
        var w = BindingTasks.RandomBasis(9, 9, seed: 8);
        using var eigen = MemoryDecomposition.ComputeInEigenbasis(w);
        Assert.That(Matrices.Norm(matmul(eigen.Basis, matmul(eigen.Interactions, eigen.Dual)) - w), Is.LessThan(1e-9));
        Assert.That(Distance(eigen.Eigenvalues(), Spectra.Eigenvalues(w)), Is.LessThan(1e-9));
        // Off the 2 by 2 blocks there is nothing.
        var rows = Matrices.Rows(eigen.Interactions);
        for (int i = 0; i < 9; i++)
        {
            for (int j = 0; j < 9; j++)
            {
                if (Math.Abs(i - j) > 1)
                    Assert.That(rows[i][j], Is.EqualTo(0).Within(1e-9));
            }
        }
    }

    // A rotation by 90° has the pair ±i: Re v and Im v, and the block [0 1; −1 0].
    [Test]
    public void ARotationByHand()
    {
        using var scope = NewDisposeScope();
        using var eigen = MemoryDecomposition.ComputeInEigenbasis(
            tensor(
                new double[,]
                {
                    { 0, -1 },
                    { 1, 0 },
                }
            )
        );
        Assert.That(Matrices.Rows(eigen.Interactions), Is.EqualTo(new double[][] { [0, 1], [-1, 0] }).Within(1e-12));
    }

    [Test]
    public void ASpanThatIsNotClosedHasAResidual()
    {
        using var scope = NewDisposeScope();
        // e1 → e2 → e3 → 0: the span of e1 is left at once; that of e1, e2, e3's last two is closed.
        var shift = tensor(
            new double[,]
            {
                { 0, 0, 0 },
                { 1, 0, 0 },
                { 0, 1, 0 },
            }
        );
        using var open = MemoryDecomposition.Compute(
            shift,
            tensor(
                new double[,]
                {
                    { 1 },
                    { 0 },
                    { 0 },
                }
            )
        );
        using var closed = MemoryDecomposition.Compute(
            shift,
            tensor(
                new double[,]
                {
                    { 0, 0 },
                    { 1, 0 },
                    { 0, 1 },
                }
            )
        );
        Assert.That(open.Residual, Is.EqualTo(1).Within(1e-12));
        Assert.That(closed.Residual, Is.EqualTo(0).Within(1e-12));
    }

    [Test]
    public void WhatHasNoDualIsRefused()
    {
        using var scope = NewDisposeScope();
        var w = eye(3, dtype: ScalarType.Float64);
        Assert.That(
            () => MemoryDecomposition.Compute(w, ones(3, 2, dtype: ScalarType.Float64)),
            Throws.InstanceOf<AnalysisException>().With.Message.Contains("dependent")
        );
        Assert.That(
            () => MemoryDecomposition.Compute(w, ones(2, 2, dtype: ScalarType.Float64)),
            Throws.ArgumentException
        );
        Assert.That(
            () => MemoryDecomposition.Compute(w, full(3, 1, double.NaN, dtype: ScalarType.Float64)),
            Throws.ArgumentException
        );
        // A Jordan block has one eigenvector.
        Assert.That(
            () =>
                MemoryDecomposition.ComputeInEigenbasis(
                    tensor(
                        new double[,]
                        {
                            { 1, 1 },
                            { 0, 1 },
                        }
                    )
                ),
            Throws.InstanceOf<AnalysisException>().With.Message.Contains("defective")
        );
    }

    private static double Distance(Complex[] a, Complex[] b)
    {
        var cost = new double[a.Length, b.Length];
        for (int i = 0; i < a.Length; i++)
        {
            for (int j = 0; j < b.Length; j++)
                cost[i, j] = (a[i] - b[j]).Magnitude;
        }

        return Assignment.Solve(cost).Select((j, i) => cost[i, j]).Max();
    }
}
