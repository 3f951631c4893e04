using EmtTorch.Models;
using EmtTorch.Studies;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Analysis.Tests;

public sealed class FixedPointsTests
{
    /// <summary>The root above 0 of h = tanh(2h), by bisection; written out: 0.957504.</summary>
    private static readonly double Root = Bisect(h => Math.Tanh(2 * h) - h, 0.5, 1);

    private static double Bisect(Func<double, double> f, double low, double high)
    {
        bool sign = f(low) > 0;
        for (int i = 0; i < 200; i++)
        {
            double middle = (low + high) / 2;
            if (f(middle) > 0 == sign)
                low = middle;
            else
                high = middle;
        }
        return low;
    }

    private static FixedPoints Find(
        double[,] weights,
        double[]? drive = null,
        int starts = 200,
        FixedPointOptions? options = null
    )
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator(1);
        var states = randn([starts, weights.GetLength(0)], dtype: ScalarType.Float64, generator: generator);
        return FixedPoints.Find(tensor(weights), drive is null ? null : tensor(drive), states, options);
    }

    [Test]
    public void OneUnitOfGainTwoHasThreeFixedPoints()
    {
        Assert.That(Root, Is.EqualTo(0.9575040241).Within(1e-10));
        var found = Find(
            new double[,]
            {
                { 2 },
            }
        );
        using (Assert.EnterMultipleScope())
        {
            Assert.That(
                found.Points.Select(p => p.State[0]).Order(),
                Is.EqualTo(new[] { -Root, 0, Root }).Within(1e-9)
            );
            Assert.That(found.Points.Select(p => p.IsStable), Is.EqualTo(new[] { true, true, false }));
            Assert.That(found.Points.Select(p => p.UnstableDirections), Is.EqualTo(new[] { 0, 0, 1 }));
            Assert.That(found.Points[2].Eigenvalues[0].Real, Is.EqualTo(2).Within(1e-9));
            Assert.That(found.Points[0].Eigenvalues[0].Real, Is.EqualTo(2 * (1 - Root * Root)).Within(1e-8));
            Assert.That(found.Points.Sum(p => p.Count) + found.Unconverged, Is.EqualTo(200));
            Assert.That(found.Unconverged, Is.Zero);
            Assert.That(found.Starts, Is.EqualTo(200));
            Assert.That(found.Points.All(p => p.IsIsolated && p.Residual <= 0.5e-20));
            Assert.That(found.Problems, Is.Empty);
        }
    }

    [Test]
    public void TwoUnitsApartHaveTheProductOfTheirFixedPoints()
    {
        double other = Bisect(h => Math.Tanh(3 * h) - h, 0.5, 1);
        var found = Find(
            new double[,]
            {
                { 2, 0 },
                { 0, 3 },
            }
        );
        var expected = from a in new[] { -Root, 0, Root } from b in new[] { -other, 0, other } select (a, b);
        Assert.That(found.Points, Has.Count.EqualTo(9));
        foreach (var (a, b) in expected)
        {
            var point = found.Points.Single(p => Math.Abs(p.State[0] - a) < 1e-8 && Math.Abs(p.State[1] - b) < 1e-8);
            Assert.That(point.UnstableDirections, Is.EqualTo((a == 0 ? 1 : 0) + (b == 0 ? 1 : 0)), $"({a}, {b})");
            Assert.That(point.IsStable, Is.EqualTo(a != 0 && b != 0), $"({a}, {b})");
        }
    }

    [Test]
    public void ABiasMovesTheFixedPointsAndTakesTwoAway()
    {
        // h = tanh(2h + b): three roots for |b| < 0.5328 (where 2(1 − h²) = 1, h² = 1/2: b = 2h − artanh h), one
        // beyond.
        double critical = Math.Sqrt(2) - Math.Atanh(Math.Sqrt(0.5));
        var three = Find(
            new double[,]
            {
                { 2 },
            },
            [critical - 0.05]
        );
        var one = Find(
            new double[,]
            {
                { 2 },
            },
            [critical + 0.05]
        );
        double Only(double b, double low, double high) => Bisect(h => Math.Tanh(2 * h + b) - h, low, high);
        double turn = Math.Sqrt(0.5),
            low = critical - 0.05;
        using (Assert.EnterMultipleScope())
        {
            Assert.That(
                three.Points.Select(p => p.State[0]).Order(),
                Is.EqualTo(new[] { Only(low, -1, -turn), Only(low, -turn, 0), Only(low, 0, 1) }).Within(1e-8)
            );
            Assert.That(
                one.Points.Select(p => p.State[0]),
                Is.EqualTo(new[] { Only(critical + 0.05, 0, 1) }).Within(1e-8)
            );
            // Minima of q above 0 near the vanished pair hold some starts: these are counted, not returned.
            Assert.That(one.Points[0].Count + one.Unconverged, Is.EqualTo(200));
        }
    }

    [TestCase(0.5, true, 0), TestCase(1.5, false, 2)]
    public void ARotationTurnsAboutTheOrigin(double gain, bool stable, int unstable)
    {
        double cos = gain * Math.Cos(0.7),
            sin = gain * Math.Sin(0.7);
        var found = Find(
            new[,]
            {
                { cos, -sin },
                { sin, cos },
            }
        );
        var origin = found.Points.Single(p => p.State.All(h => Math.Abs(h) < 1e-8));
        using (Assert.EnterMultipleScope())
        {
            Assert.That((origin.IsStable, origin.UnstableDirections), Is.EqualTo((stable, unstable)));
            Assert.That(origin.Eigenvalues.Select(e => e.Magnitude), Is.All.EqualTo(gain).Within(1e-9));
            Assert.That(origin.Eigenvalues.Select(e => e.Phase).Order(), Is.EqualTo(new[] { -0.7, 0.7 }).Within(1e-9));
        }
    }

    [Test]
    public void AnOrthogonalMatrixIsNeitherStableNorUnstable()
    {
        var found = Find(
            new double[,]
            {
                { 0, -1 },
                { 1, 0 },
            }
        );
        using (Assert.EnterMultipleScope())
        {
            Assert.That(found.Points, Has.Count.EqualTo(1));
            Assert.That(
                (found.Points[0].IsStable, found.Points[0].UnstableDirections, found.Points[0].IsIsolated),
                Is.EqualTo((false, 0, true))
            );
            Assert.That(found.Problems.Single(), Does.Contain("magnitude 1"));
        }
    }

    [Test]
    public void WithoutWeightsEveryStartEndsWhereTheDriveIs()
    {
        var zero = Find(new double[3, 3]);
        var driven = Find(new double[3, 3], [0.1, -0.2, 3]);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(zero.Points.Single().State, Is.EqualTo(new double[3]).Within(1e-10));
            Assert.That(zero.Points.Single().Count, Is.EqualTo(200));
            Assert.That(zero.Points.Single().Eigenvalues, Has.All.Property("Magnitude").Zero);
            Assert.That(
                driven.Points.Single().State,
                Is.EqualTo(new[] { Math.Tanh(0.1), -Math.Tanh(0.2), Math.Tanh(3) }).Within(1e-10)
            );
        }
    }

    [Test]
    public void ASingularLinearisationIsSaidSo()
    {
        // W = I: h = tanh(h) only at 0, but there J = I, and q is flat to the sixth power.
        var identity = Find(
            new double[,]
            {
                { 1, 0, 0 },
                { 0, 1, 0 },
                { 0, 0, 1 },
            }
        );
        Assert.That(identity.Points, Is.Not.Empty);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(identity.Unconverged, Is.Zero);
            Assert.That(identity.Points.SelectMany(p => p.State), Is.All.EqualTo(0).Within(1e-3));
            Assert.That(identity.Points, Has.All.Property(nameof(FixedPoint.IsIsolated)).False);
            Assert.That(identity.Problems, Has.Some.Contains("lines of fixed points"));
        }
    }

    [Test]
    public void NearlyLinearWeightsHaveALineOfFixedPointsWithoutHarm()
    {
        // States of 1e-4 and less: tanh is linear to 1e-12, and with an eigenvalue of 1 every state along (1, 1) is a
        // fixed point to 1e-10.
        using var scope = NewDisposeScope();
        var along = linspace(-1e-4, 1e-4, 21, dtype: ScalarType.Float64)
            .unsqueeze(1)
            .mul(ones(1, 2, dtype: ScalarType.Float64));
        var found = FixedPoints.Find(
            tensor(
                new[,]
                {
                    { 0.75, 0.25 },
                    { 0.25, 0.75 },
                }
            ),
            null,
            along,
            new() { MergeDistance = 1e-6 }
        );
        using (Assert.EnterMultipleScope())
        {
            Assert.That(found.Unconverged, Is.Zero);
            Assert.That(found.Points, Has.Count.EqualTo(21));
            Assert.That(found.Points, Has.All.Property(nameof(FixedPoint.IsIsolated)).False);
        }
    }

    [Test]
    public void HugeWeightsEndAndAreCounted([Values(1e6, 1e155, 1e300)] double scale)
    {
        var found = Find(
            new[,]
            {
                { scale, -scale },
                { scale, scale / 3 },
            },
            starts: 20
        );
        Assert.That(found.Points.Sum(p => p.Count) + found.Unconverged, Is.EqualTo(20));
    }

    [Test]
    public void TheJacobianIsTheMapsDerivative()
    {
        var random = new System.Random(4);
        int n = 5;
        double[,] w = new double[n, n];
        double[] b = new double[n];
        for (int i = 0; i < n; i++)
        {
            b[i] = random.NextDouble() - 0.5;
            for (int j = 0; j < n; j++)
                w[i, j] = 1.5 * (random.NextDouble() - 0.5);
        }
        var point = Find(w, b).Points[0];
        var jacobian = point.Jacobian();
        const double Step = 1e-6;
        for (int j = 0; j < n; j++)
        {
            double[] up = [.. point.State],
                down = [.. point.State];
            up[j] += Step;
            down[j] -= Step;
            double[] high = Map(w, b, up),
                low = Map(w, b, down);
            for (int i = 0; i < n; i++)
                Assert.That(jacobian[i, j], Is.EqualTo((high[i] - low[i]) / (2 * Step)).Within(1e-8), $"({i}, {j})");
        }
    }

    private static double[] Map(double[,] w, double[] b, double[] h) =>
        [
            .. Enumerable
                .Range(0, h.Length)
                .Select(i => Math.Tanh(b[i] + Enumerable.Range(0, h.Length).Sum(j => w[i, j] * h[j]))),
        ];

    private static (double[,] W, double[] B) Network(int n, double gain, int seed)
    {
        var random = new System.Random(seed);
        var (w, b) = (new double[n, n], new double[n]);
        for (int i = 0; i < n; i++)
        {
            b[i] = 0.1 * (random.NextDouble() - 0.5);
            for (int j = 0; j < n; j++)
                w[i, j] = gain * Math.Sqrt(12.0 / n) * (random.NextDouble() - 0.5);
        }
        return (w, b);
    }

    /// <summary>
    /// Newton's method as one writes it down: a loop, elimination with pivots, steps halved until the residual falls.
    /// </summary>
    private static double[]? PlainNewton(double[,] w, double[] b, double[] start)
    {
        int n = start.Length;
        double[] h = [.. start];
        double[] Residual(double[] x) => [.. Map(w, b, x).Zip(x, (f, y) => f - y)];
        double Norm(double[] x) => Math.Sqrt(x.Sum(y => y * y));
        for (int iteration = 0; iteration < 200; iteration++)
        {
            var (f, r) = (Map(w, b, h), Residual(h));
            if (Norm(r) < 1e-12)
                return h;
            var m = new double[n, n + 1]; // (I − J) δ = r
            for (int i = 0; i < n; i++)
            {
                for (int j = 0; j < n; j++)
                    m[i, j] = (i == j ? 1 : 0) - (1 - f[i] * f[i]) * w[i, j];
                m[i, n] = r[i];
            }
            for (int k = 0; k < n; k++)
            {
                int pivot = Enumerable.Range(k, n - k).MaxBy(i => Math.Abs(m[i, k]));
                for (int j = 0; j <= n; j++)
                    (m[k, j], m[pivot, j]) = (m[pivot, j], m[k, j]);
                for (int i = 0; i < n; i++)
                {
                    if (i == k)
                        continue;
                    double factor = m[i, k] / m[k, k];
                    for (int j = k; j <= n; j++)
                        m[i, j] -= factor * m[k, j];
                }
            }
            double scale = 1;
            double[] Trial() => [.. h.Select((x, i) => x + scale * m[i, n] / m[i, i])];
            while (Norm(Residual(Trial())) >= Norm(r))
            {
                if ((scale /= 2) < 1e-10)
                    return null;
            }

            h = Trial();
        }
        return null;
    }

    [Test]
    public void ARandomNetworksPointsAreThoseOfAPlainNewton([Values(1, 2, 3)] int seed)
    {
        var (w, b) = Network(8, gain: 1.6, seed);
        var found = Find(w, b, starts: 400);
        // Every point that the plain loop finds is found, and at every point that is found the loop stands still.
        var random = new System.Random(99);
        int reached = 0;
        for (int k = 0; k < 60; k++)
        {
            if (PlainNewton(w, b, [.. Enumerable.Range(0, 8).Select(_ => 2 * random.NextDouble() - 1)]) is not { } end)
                continue;
            reached++;
            Assert.That(found.Points.Count(p => Distance(p.State, end) < 1e-6), Is.EqualTo(1), string.Join(' ', end));
        }
        Assert.That(reached, Is.GreaterThan(20));
        foreach (var point in found.Points)
            Assert.That(Distance(PlainNewton(w, b, [.. point.State])!, point.State), Is.LessThan(1e-7));
        TestContext.Out.WriteLine(
            $"{found.Points.Count} points, {found.Stable.Count()} stable, {found.Unconverged} unconverged"
        );
    }

    private static double Distance(IEnumerable<double> a, IEnumerable<double> b) =>
        Math.Sqrt(a.Zip(b, (x, y) => (x - y) * (x - y)).Sum());

    [Test]
    public void StablePointsAttractAndUnstableOnesRepel([Values(2, 3)] int seed)
    {
        var (w, b) = Network(8, gain: 1.6, seed); // 2: three unstable points; 3: two stable ones and one that is not
        foreach (var point in Find(w, b, starts: 400).Points)
        {
            double[] h = [.. point.State.Select((x, i) => x + 1e-4 * (i % 2 == 0 ? 1 : -1))];
            for (int t = 0; t < 20_000; t++)
                h = Map(w, b, h);
            Assert.That(
                Distance(h, point.State),
                point.IsStable ? Is.LessThan(1e-8) : Is.GreaterThan(1e-3),
                $"{point.UnstableDirections} unstable"
            );
        }
    }

    [Test]
    public void TheChunkDoesNotMatter()
    {
        var (w, b) = Network(12, gain: 1.5, 5);
        var whole = Find(w, b);
        foreach (int chunk in new[] { 1, 7, 199, 5000 })
        {
            var parts = Find(w, b, options: new() { ChunkSize = chunk });
            Assert.That(
                parts.Points.Select(p => p.Count),
                Is.EqualTo(whole.Points.Select(p => p.Count)),
                $"chunks of {chunk}"
            );
            foreach (var (a, c) in parts.Points.Zip(whole.Points))
                Assert.That(Distance(a.State, c.State), Is.LessThan(1e-8));
        }
    }

    [Test]
    public void PointsNearerThanTheMergeDistanceAreOne()
    {
        // 0 and ±Root are 0.9575 apart.
        Assert.That(
            Find(
                new double[,]
                {
                    { 2 },
                },
                options: new() { MergeDistance = 0.95 }
            ).Points,
            Has.Count.EqualTo(3)
        );
        Assert.That(
            Find(
                new double[,]
                {
                    { 2 },
                },
                options: new() { MergeDistance = 2 }
            )
                .Points.Single()
                .Count,
            Is.EqualTo(200)
        );
    }

    [Test]
    public void OneIterationIsTooFew()
    {
        var found = Find(
            new double[,]
            {
                { 2 },
            },
            options: new() { MaxIterations = 1 }
        );
        using (Assert.EnterMultipleScope())
        {
            Assert.That(found.Unconverged, Is.EqualTo(200));
            Assert.That(found.Points, Is.Empty);
            Assert.That(found.Problems.Single(), Does.Contain("none of the 200 starts"));
        }
    }

    [Test]
    public void WhatMakesNoSenseIsRefused()
    {
        using var scope = NewDisposeScope();
        Tensor w = eye(2, dtype: ScalarType.Float64),
            starts = zeros(3, 2, dtype: ScalarType.Float64),
            one = zeros(1, dtype: ScalarType.Float64);
        Tensor Bad(double value, params long[] shape) => full(shape, value, dtype: ScalarType.Float64);
        void Refused(string parameter, string gist, Action action) =>
            Assert.That(
                action,
                Throws
                    .ArgumentException.With.Property(nameof(ArgumentException.ParamName))
                    .EqualTo(parameter)
                    .And.Message.Contains(gist)
            );
        using (Assert.EnterMultipleScope())
        {
            Refused(
                "weightHh",
                "numbers that are not finite",
                () => FixedPoints.Find(Bad(double.NaN, 2, 2), null, starts)
            );
            Refused("weightHh", "has shape (2, 3), not (2, 2)", () => FixedPoints.Find(zeros(2, 3), null, starts));
            Refused("weightHh", "floating type", () => FixedPoints.Find(eye(2, dtype: ScalarType.Int64), null, starts));
            Refused("drive", "has shape (1), not (2)", () => FixedPoints.Find(w, one, starts));
            Refused(
                "drive",
                "numbers that are not finite",
                () => FixedPoints.Find(w, Bad(double.PositiveInfinity, 2), starts)
            );
            Refused("starts", "has shape (3, 3), not (any, 2)", () => FixedPoints.Find(w, null, zeros(3, 3)));
            Refused("starts", "at least one start", () => FixedPoints.Find(w, null, zeros(0, 2)));
            Refused("starts", "numbers that are not finite", () => FixedPoints.Find(w, null, Bad(double.NaN, 1, 2)));
            Refused("options", "the tolerance is 0", () => FixedPoints.Find(w, null, starts, new() { Tolerance = 0 }));
            Refused(
                "options",
                "merging is NaN",
                () => FixedPoints.Find(w, null, starts, new() { MergeDistance = double.NaN })
            );
            Refused("options", "0 iterations", () => FixedPoints.Find(w, null, starts, new() { MaxIterations = 0 }));
            Refused("options", "a chunk has 0", () => FixedPoints.Find(w, null, starts, new() { ChunkSize = 0 }));
            Refused("states", "has shape (3), not (…, any, any)", () => FixedPoints.DrawStarts(zeros(3), 4));
            Refused("count", "at least one start", () => FixedPoints.DrawStarts(starts, 0));
            Refused("noise", "the noise is -1", () => FixedPoints.DrawStarts(starts, 1, -1));
        }
    }

    [Test]
    public void ANetworksBiasAndInputAreItsDrive()
    {
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        using var network = new Models.ElmanRnn(1, 1, bias: true);
        network.RecurrentWeights.fill_(2);
        network.RecurrentBias!.fill_(1);
        network.InputWeights.fill_(-3);
        // 1 − 3 · 0.25 = 0.25
        var point = FixedPoints.Find(network, full(1, 1, 0.9), tensor(new[] { 0.25f })).Points.Single();
        Assert.That(point.State[0], Is.EqualTo(Bisect(h => Math.Tanh(2 * h + 0.25) - h, 0, 1)).Within(1e-8));
        Assert.That(
            () => FixedPoints.Find(network, zeros(1, 1), zeros(2)),
            Throws.ArgumentException.With.Message.Contains("has shape (2), not (1)")
        );
    }

    [Test]
    public void StartsAreVisitedStatesWithNoise()
    {
        using var scope = NewDisposeScope();
        var states = arange(24, dtype: ScalarType.Float32).view(4, 2, 3).mul(100);
        var exact = FixedPoints.DrawStarts(states, 500, noise: 0);
        var noisy = FixedPoints.DrawStarts(states, 500, noise: 0.5);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(exact.shape, Is.EqualTo(new long[] { 500, 3 }));
            // Each of the eight rows 0, 300, …, 2100 comes, and they are whole rows.
            Assert.That(
                exact.select(1, 0).data<double>().Distinct().Order(),
                Is.EqualTo(Enumerable.Range(0, 8).Select(i => 300.0 * i))
            );
            Assert.That((exact.select(1, 2) - exact.select(1, 0)).eq(200).all().item<bool>());
            Assert.That((noisy - exact).square().mean().sqrt().item<double>(), Is.EqualTo(0.5).Within(0.03));
            Assert.That(FixedPoints.DrawStarts(states, 500, 0.5, seed: 1).Equals(noisy));
            Assert.That(FixedPoints.DrawStarts(states, 500, 0.5, seed: 2).Equals(noisy), Is.False);
        }
    }
}
