using EmtTorch.Kernels;
using EmtTorch.Models;
using TorchSharp;
using static EmtTorch.Analysis.Tests.GsemmLoops;
using static TorchSharp.torch;

namespace EmtTorch.Analysis.Tests;

public class GsemmTests
{
    private static readonly GsemmSettings ThreeTimescales = new()
    {
        FeatureTimescale = 1,
        HiddenTimescale = 0.5,
        DelayTimescale = 2,
        AlphaS = 1.3,
        AlphaC = 0.7,
    };

    private DisposeScope _scope = null!;

    [SetUp]
    public void Open() => _scope = NewDisposeScope();

    [TearDown]
    public void Close() => _scope.Dispose();

    private static (Gsemm Model, GsemmLoops Loops) Both(double[,] xi, double[,] phi, GsemmSettings settings) =>
        (new Gsemm(tensor(xi), tensor(phi), settings), new GsemmLoops(xi, phi, settings));

    private static double Order(double coarse, double fine) => Math.Log2(coarse / fine);

    [TestCase(Nonlinearity.Tanh, Nonlinearity.Identity)]
    [TestCase(Nonlinearity.Tanh, Nonlinearity.Tanh)]
    [TestCase(Nonlinearity.Identity, Nonlinearity.Tanh)]
    public void AnEulerStepIsEquation1(Nonlinearity feature, Nonlinearity hidden)
    {
        var (model, loops) = Both(
            Gaussian(7, 4, 1),
            Gaussian(4, 4, 2),
            ThreeTimescales with
            {
                FeatureNonlinearity = feature,
                FeatureGain = 1.5,
                HiddenNonlinearity = hidden,
                HiddenGain = 0.8,
            }
        );
        using (model)
        {
            // Two states at once, each of its own.
            double[][] f = [Values(tensor(Gaussian(1, 7, 3))), Values(tensor(Gaussian(1, 7, 4)))];
            double[][] h = [Values(tensor(Gaussian(1, 4, 5))), Values(tensor(Gaussian(1, 4, 6)))];
            double[][] d = [Values(tensor(Gaussian(1, 7, 7))), Values(tensor(Gaussian(1, 7, 8)))];
            var start = new GsemmState(
                vstack([Row(f[0]), Row(f[1])]),
                vstack([Row(h[0]), Row(h[1])]),
                vstack([Row(d[0]), Row(d[1])])
            );
            var next = model.Integrate(start, Integrator.Euler, 0.1, 0.1).Last;
            for (int b = 0; b < 2; b++)
            {
                var rates = loops.Rates(f[b], h[b], d[b]);
                Assert.Multiple(() =>
                {
                    Assert.That(
                        Values(next.Feature[b]),
                        Is.EqualTo(f[b].Zip(rates.F, (x, r) => x + 0.1 * r)).Within(1e-12)
                    );
                    Assert.That(
                        Values(next.Hidden[b]),
                        Is.EqualTo(h[b].Zip(rates.H, (x, r) => x + 0.1 * r)).Within(1e-12)
                    );
                    Assert.That(
                        Values(next.Delay[b]),
                        Is.EqualTo(d[b].Zip(rates.D, (x, r) => x + 0.1 * r)).Within(1e-12)
                    );
                });
            }
        }
    }

    [TestCase(Integrator.Euler, 1, 0.02)]
    [TestCase(Integrator.Rk4, 4, 0.1)]
    public void IntegratorsHaveTheirOrder(Integrator integrator, double order, double tolerance)
    {
        var (model, loops) = Both(Gaussian(6, 3, 11), Gaussian(3, 3, 12), ThreeTimescales);
        using (model)
        {
            var cue = Values(tensor(Gaussian(1, 6, 13)));
            var exact = loops.Solve(cue, 1.0 / 1024, 2048);
            // Euler's steps are shorter, so that its second-order error does not blur the first.
            var steps = integrator == Integrator.Euler ? new[] { 128, 256, 512 } : [8, 16, 32];
            var errors = steps
                .Select(n =>
                {
                    var last = model.Integrate(model.Start(Row(cue)), integrator, 1.0 / n, 2).Last;
                    return Math.Max(
                        Distance(Values(last.Feature), exact.F),
                        Math.Max(Distance(Values(last.Hidden), exact.H), Distance(Values(last.Delay), exact.D))
                    );
                })
                .ToArray();
            TestContext.Out.WriteLine(
                $"{integrator}: errors {string.Join(", ", errors)}, orders {Order(errors[0], errors[1]):0.000}, "
                    + $"{Order(errors[1], errors[2]):0.000}"
            );
            Assert.That(Order(errors[1], errors[2]), Is.EqualTo(order).Within(tolerance));
        }
    }

    [Test]
    public void TheDiscreteStepByHand()
    {
        // Ξ = [1 1; 0 1], Ξ† = [1 −1; 0 1], I + Φ'ᵀ = [1 0; 1 1]: W = [2 −1; 1 0], and W (1/2, 1/4) = (3/4, 1/2).
        using var model = new Gsemm(
            tensor(
                new double[,]
                {
                    { 1, 1 },
                    { 0, 1 },
                }
            ),
            tensor(
                new double[,]
                {
                    { 0, 1 },
                    { 0, 0 },
                }
            )
        );
        Assert.That(Values(model.ComputeElmanWeights()), Is.EqualTo(new double[] { 2, -1, 1, 0 }).Within(1e-14));
        Assert.That(
            Values(model.StepDiscrete(Row(Math.Atanh(0.5), Math.Atanh(0.25)))),
            Is.EqualTo(new[] { 0.75, 0.5 }).Within(1e-14)
        );
    }

    [Test]
    public void TheDiscreteStepIsEquation20([Range(1, 5)] int seed)
    {
        var (model, loops) = Both(Gaussian(9, 5, seed), Gaussian(5, 5, seed + 100), new());
        using (model)
        {
            var v = Values(tensor(Gaussian(1, 9, seed + 200)));
            var expected = Times(loops.Weights(), [.. v.Select(Math.Tanh)]);
            Assert.That(Values(model.StepDiscrete(Row(v))), Is.EqualTo(expected).Within(1e-11));
            Assert.That(Values(model.ComputeElmanWeights()), Is.EqualTo(loops.Weights().Cast<double>()).Within(1e-11));
            // Eq. 16–20: the same is forward Euler with a step of T_f, for T_h = T_d = 0.
            Assert.That(
                Values(model.Integrate(model.Start(Row(v)), Integrator.Euler, 1, 1).Last.Feature),
                Is.EqualTo(expected).Within(1e-11)
            );
        }
    }

    [Test]
    public void TheDiscreteLimitKeepsTheStrengthsAndAHiddenNonlinearity()
    {
        var settings = ThreeTimescales with
        {
            HiddenTimescale = 0,
            DelayTimescale = 0,
            HiddenNonlinearity = Nonlinearity.Tanh,
            HiddenGain = 1.7,
        };
        var (model, loops) = Both(Gaussian(6, 3, 21), Gaussian(3, 3, 22), settings);
        using (model)
        {
            var v = Values(tensor(Gaussian(1, 6, 23)));
            var rates = loops.Rates(v, new double[3], new double[6]);
            Assert.That(Values(model.StepDiscrete(Row(v))), Is.EqualTo(v.Zip(rates.F, (x, r) => x + r)).Within(1e-12));
            Assert.That(
                () => model.ComputeElmanWeights(),
                Throws.InvalidOperationException.With.Message.Contains("σ_h = identity")
            );
        }
    }

    [Test]
    public void TheOdeTendsToTheDiscreteLimitsOwnAsTheTimescalesShrink()
    {
        // T_h = T_d = ε → 0 at first order; then forward Euler of step Δ, which is Eq. 20 at Δ = T_f, at first order
        // too.
        var (xi, phi) = (Gaussian(6, 3, 31), Gaussian(3, 3, 32));
        var cue = Values(tensor(Gaussian(1, 6, 33)));
        var limit = new GsemmLoops(xi, phi, new()).Solve(cue, 1.0 / 1024, 2048).F;
        var byTimescale = new[] { 256, 512 }
            .Select(n =>
            {
                using var model = new Gsemm(
                    tensor(xi),
                    tensor(phi),
                    new() { HiddenTimescale = 1.0 / n, DelayTimescale = 1.0 / n }
                );
                return Distance(
                    Values(model.Integrate(model.Start(Row(cue)), Integrator.Rk4, 0.5 / n, 2).Last.Feature),
                    limit
                );
            })
            .ToArray();
        using var reduced = new Gsemm(tensor(xi), tensor(phi));
        var byStep = new[] { 256, 512 }
            .Select(n =>
                Distance(
                    Values(reduced.Integrate(reduced.Start(Row(cue)), Integrator.Euler, 1.0 / n, 2).Last.Feature),
                    limit
                )
            )
            .ToArray();
        TestContext.Out.WriteLine(
            $"by timescale {string.Join(", ", byTimescale)}; by step {string.Join(", ", byStep)}"
        );
        Assert.That(Order(byTimescale[0], byTimescale[1]), Is.EqualTo(1).Within(0.05));
        Assert.That(Order(byStep[0], byStep[1]), Is.EqualTo(1).Within(0.05));
        Assert.That(byTimescale[1], Is.LessThan(0.05));
        // Δ = T_f = 1: two steps of Euler are two steps of Eq. 20.
        Assert.That(
            Values(reduced.Integrate(reduced.Start(Row(cue)), Integrator.Euler, 1, 2).Last.Feature),
            Is.EqualTo(Values(reduced.RunDiscrete(Row(cue), 2)[2])).Within(1e-13)
        );
    }

    [Test]
    public void ConjugateToTheElmanNetwork([Range(1, 5)] int seed, [Values] bool retrieving)
    {
        // Norm at most 1, as the paper asks; and a retrieval of a cycle, where it is above 1 and Eq. 24 holds as well.
        const int n = 24,
            m = 5,
            steps = 1000;
        var xi = retrieving ? Signs(n, m, seed) : Gaussian(n, m, seed);
        var phi = Gaussian(m, m, seed + 50);
        var settings = new GsemmSettings();
        if (retrieving)
        {
            settings = settings with { AlphaC = 2, FeatureGain = 4 };
            phi = new double[m, m];
            for (int i = 0; i < m; i++)
                phi[i, (i + 1) % m] = 1;
        }
        else
        {
            // I + Φ'ᵀ is scaled until ‖Ξ Φᵀ Ξ†‖ is 1 in the Frobenius norm, which is never below the spectral one.
            var w = new GsemmLoops(xi, phi, settings).Weights();
            double norm = Math.Sqrt(w.Cast<double>().Sum(x => x * x));
            for (int i = 0; i < m; i++)
            {
                for (int j = 0; j < m; j++)
                    phi[i, j] = (phi[i, j] + (i == j ? 1 : 0)) / norm - (i == j ? 1 : 0);
            }
        }
        var (model, loops) = Both(xi, phi, settings);
        using (model)
        {
            var weights = loops.Weights();
            var v = Values(tensor(Gaussian(1, n, seed + 99)));
            var orbit = model.RunDiscrete(Row(v), steps);
            var elman = model.RunElman(tanh(Row(v) * settings.FeatureGain), steps);
            var h = loops.SigmaF(v);
            double worst = 0;
            for (int t = 0; t <= steps; t++)
            {
                worst = Math.Max(worst, Distance(loops.SigmaF(Values(orbit[t])), h));
                worst = Math.Max(worst, Distance(Values(elman[t]), h));
                h = loops.SigmaF(Times(weights, h)); // h(t+1) = σ_f(W_hh h(t)), by loops
            }
            TestContext.Out.WriteLine($"largest difference over {steps} steps: {worst:0.0e+0}");
            Assert.That(worst, Is.LessThan(1e-9));
            Assert.That(
                linalg.matrix_norm(tensor(weights), 2).ToDouble(),
                retrieving ? Is.GreaterThan(1) : Is.LessThanOrEqualTo(1)
            );
        }
    }

    [Test]
    public void AnElmanNetworkRunsOnTheWeights()
    {
        using var model = new Gsemm(
            tensor(Gaussian(6, 3, 41)),
            Gsemm.CreateSequence(3, cyclic: true),
            new() { FeatureGain = 1.2 }
        );
        using var network = new ElmanRnn(6, 6, dtype: ScalarType.Float64);
        using var grad = no_grad();
        network.RecurrentWeights.copy_(model.ComputeElmanWeights());
        network.InputWeights.copy_(eye(6, dtype: ScalarType.Float64));
        // h(0) = 0, so that the input atanh(h) makes h(1) = h.
        var h = tanh(tensor(Gaussian(1, 6, 42)));
        var states = network.HiddenStates(h.atanh().unsqueeze(0), 20);
        Assert.That(Values(states), Is.EqualTo(Values(model.RunElman(h, 19))).Within(1e-9));
    }

    [Test]
    public void SequenceTakesEachMemoryToTheNext()
    {
        Assert.That(
            Values(Gsemm.CreateSequence(3, cyclic: false)),
            Is.EqualTo(new double[] { -1, 1, 0, 0, -1, 1, 0, 0, 0 })
        );
        Assert.That(
            Values(Gsemm.CreateSequence(3, cyclic: true)),
            Is.EqualTo(new double[] { -1, 1, 0, 0, -1, 1, 1, 0, -1 })
        );
        Assert.That(Values(Gsemm.CreateSequence(1, cyclic: true)), Is.EqualTo(new double[] { 0 }));
        // Linear Eq. 20 from memory 1: memory 2, memory 3, and there it stays, or begins again.
        var xi = Gaussian(5, 3, 51);
        double[] memory(int j) => [.. Enumerable.Range(0, 5).Select(i => xi[i, j])];
        foreach (bool cyclic in new[] { false, true })
        {
            using var model = new Gsemm(
                tensor(xi),
                Gsemm.CreateSequence(3, cyclic),
                new() { FeatureNonlinearity = Nonlinearity.Identity }
            );
            Assert.That(
                Values(model.RunDiscrete(Row(memory(0)), 3)),
                Is.EqualTo(new[] { memory(0), memory(1), memory(2), memory(cyclic ? 0 : 2) }.SelectMany(v => v))
                    .Within(1e-12)
            );
        }
    }

    [Test]
    public void OverlapsAreCoordinatesInTheMemories()
    {
        var xi = Gaussian(6, 3, 61);
        using var model = new Gsemm(
            tensor(xi),
            Gsemm.CreateSequence(3, cyclic: false),
            new() { FeatureNonlinearity = Nonlinearity.Identity }
        );
        var v = Enumerable.Range(0, 6).Select(i => 0.5 * xi[i, 0] - 2 * xi[i, 2]).ToArray();
        Assert.That(Values(model.ComputeOverlaps(Row(v))), Is.EqualTo(new[] { 0.5, 0, -2 }).Within(1e-12));
    }

    // Ξ with orthogonal columns of different lengths: a Hadamard matrix's, scaled.
    private static readonly double[,] Orthogonal =
    {
        { 1, 2, 0.5 },
        { 1, -2, 0.5 },
        { 1, 2, -0.5 },
        { 1, -2, -0.5 },
    };

    [TestCase(Nonlinearity.Tanh, Nonlinearity.Identity, false)]
    [TestCase(Nonlinearity.Tanh, Nonlinearity.Identity, true)]
    [TestCase(Nonlinearity.Identity, Nonlinearity.Identity, false)]
    [TestCase(Nonlinearity.Tanh, Nonlinearity.Tanh, true)]
    public void TheEnergyAndItsRateAreWhatIsWritten(Nonlinearity feature, Nonlinearity hidden, bool orthogonal)
    {
        var settings = ThreeTimescales with
        {
            FeatureNonlinearity = feature,
            FeatureGain = 1.5,
            HiddenNonlinearity = hidden,
            HiddenGain = 0.8,
        };
        var (model, loops) = Both(orthogonal ? Orthogonal : Gaussian(4, 3, 71), Gaussian(3, 3, 72), settings);
        using (model)
        {
            double[] f = [0.7, -1.1, 0.2, 2.5],
                h = [0.3, -0.9, 1.4],
                d = [-0.5, 0.1, 0.8, -0.2];
            double at(double[] a, double[] b, double[] c) =>
                model.ComputeEnergy(new(Row(a), Row(b), Row(c))).ToDouble();
            Assert.That(at(f, h, d), Is.EqualTo(loops.Energy(f, h, d)).Within(1e-9));

            // dE/dt: the code's energy along the loops' rates, against the docstring's formula by loops.
            var r = loops.Rates(f, h, d);
            const double eps = 1e-5;
            static double[] Move(double[] x, double[] by, double e) => [.. x.Zip(by, (a, b) => a + e * b)];
            double rate =
                (
                    at(Move(f, r.F, eps), Move(h, r.H, eps), Move(d, r.D, eps))
                    - at(Move(f, r.F, -eps), Move(h, r.H, -eps), Move(d, r.D, -eps))
                ) / (2 * eps);
            static double Slope(Nonlinearity kind, double gain, double x) =>
                kind == Nonlinearity.Identity ? gain : gain * (1 - Math.Pow(Math.Tanh(gain * x), 2));
            double[] G(double[] x) => Times(loops.Xi, Times(loops.Xi, x), transposed: true);
            double expected =
                -settings.FeatureTimescale * f.Select((x, i) => Slope(feature, 1.5, x) * r.F[i] * r.F[i]).Sum();
            expected -=
                settings.HiddenTimescale
                * r.H.Zip(G([.. h.Select((x, i) => Slope(hidden, 0.8, x) * r.H[i])]), (a, b) => a * b).Sum();
            expected -=
                settings.AlphaC
                * Times(loops.Phi, Times(loops.Dual, r.D), transposed: true)
                    .Zip(G(loops.SigmaH(h)), (a, b) => a * b)
                    .Sum();
            Assert.That(rate, Is.EqualTo(expected).Within(1e-7));
        }
    }

    [TestCase(Nonlinearity.Identity, false, 0.5)]
    [TestCase(Nonlinearity.Identity, false, 0)]
    [TestCase(Nonlinearity.Tanh, true, 0.5)]
    public void WithoutASequenceTheEnergyNeverRises(Nonlinearity hidden, bool orthogonal, double hiddenTimescale)
    {
        using var model = new Gsemm(
            tensor(orthogonal ? Orthogonal : Gaussian(4, 3, 81)),
            zeros(3, 3),
            ThreeTimescales with
            {
                HiddenTimescale = hiddenTimescale,
                AlphaS = 2,
                FeatureGain = 3,
                HiddenNonlinearity = hidden,
            }
        );
        Assert.That(model.EnergyNeverRises);
        var start = new GsemmState(
            tensor(Gaussian(16, 4, 82)),
            tensor(Gaussian(16, 3, 83)),
            tensor(Gaussian(16, 4, 84))
        );
        var run = model.Integrate(start, Integrator.Rk4, 0.01, 10);
        var energy = model.ComputeEnergy(new(run.Feature, run.Hidden, run.Delay)); // (T, B)
        var change = energy[1..] - energy[..^1];
        Assert.That(change.max().ToDouble(), Is.LessThan(1e-10));
        Assert.That((energy[0] - energy[1000]).min().ToDouble(), Is.GreaterThan(0.01));
    }

    [Test]
    public void WithASequenceTheEnergyRises()
    {
        using var model = new Gsemm(
            tensor(Signs(24, 4, 85)),
            Gsemm.CreateSequence(4, cyclic: true),
            new()
            {
                HiddenTimescale = 0.5,
                DelayTimescale = 10,
                AlphaC = 2,
                FeatureGain = 4,
            }
        );
        Assert.That(model.EnergyNeverRises, Is.False);
        var run = model.Integrate(model.Start(tensor(Signs(24, 4, 85)).t()[..1]), Integrator.Rk4, 0.05, 60);
        var energy = model.ComputeEnergy(new(run.Feature, run.Hidden, run.Delay));
        Assert.That((energy[1..] - energy[..^1]).max().ToDouble(), Is.GreaterThan(0.01));
    }

    [Test]
    public void WhereNoEnergyIsDefinedItSaysSo()
    {
        using var model = new Gsemm(
            tensor(Gaussian(4, 3, 81)),
            zeros(3, 3),
            ThreeTimescales with
            {
                HiddenNonlinearity = Nonlinearity.Tanh,
            }
        );
        Assert.That(model.EnergyNeverRises, Is.False);
        Assert.That(
            () => model.ComputeEnergy(model.Start(Row(1, 2, 3, 4))),
            Throws.InvalidOperationException.With.Message.Contains("ΞᵀΞ diagonal")
        );
    }

    [Test]
    public void WithoutASequenceSignMemoriesAreFixedPointsAndAttract([Range(1, 3)] int seed)
    {
        // Ξ Ξ† ξ = ξ, so that V_f = c ξ stays where c = α_s tanh(gain c): c by bisection.
        const double alpha = 1.5,
            gain = 3;
        double low = 0.5,
            high = alpha;
        for (int i = 0; i < 200; i++)
        {
            double middle = (low + high) / 2;
            if (alpha * Math.Tanh(gain * middle) > middle)
                low = middle;
            else
                high = middle;
        }
        var xi = Signs(40, 4, seed);
        using var model = new Gsemm(
            tensor(xi),
            zeros(4, 4),
            ThreeTimescales with
            {
                AlphaS = alpha,
                FeatureGain = gain,
            }
        );
        var memories = tensor(xi).t() * low; // (4, N_f), a memory each row
        var still = model.Integrate(model.Start(memories), Integrator.Rk4, 0.05, 20);
        Assert.That((still.Feature[400] - memories).abs().max().ToDouble(), Is.LessThan(1e-12));

        var cue = memories.clone();
        for (int i = 0; i < 4; i++)
            cue[i, i] = -cue[i, i]; // one wrong feature in each
        var attracted = model.Integrate(model.Start(cue), Integrator.Rk4, 0.05, 40);
        Assert.That((attracted.Feature[800] - memories).abs().max().ToDouble(), Is.LessThan(1e-6));

        // In the discrete limit too: Eq. 20 with Φ' = 0 and its gain.
        Assert.That((model.StepDiscrete(memories) - memories).abs().max().ToDouble(), Is.LessThan(1e-12));
    }

    [Test]
    public void DependentMemoriesAreRefused()
    {
        var xi = Gaussian(5, 3, 91);
        for (int i = 0; i < 5; i++)
            xi[i, 2] = xi[i, 0] - 3 * xi[i, 1];
        Assert.That(
            () => new Gsemm(tensor(xi), zeros(3, 3)),
            Throws
                .ArgumentException.With.Message.Contains("linearly dependent")
                .And.Message.Contains("smallest singular value")
        );
        Assert.That(
            () => new Gsemm(zeros(5, 3), zeros(3, 3)),
            Throws.ArgumentException.With.Message.Contains("linearly dependent")
        );
        Assert.That(
            () => new Gsemm(tensor(Gaussian(3, 5, 92)), zeros(5, 5)),
            Throws.ArgumentException.With.Message.Contains("N_h ≤ N_f")
        );
    }

    [Test]
    public void NumbersOutOfRangeAreRefused()
    {
        var xi = tensor(Gaussian(5, 3, 93));
        var phi = zeros(3, 3);
        Assert.That(() => new Gsemm(xi, zeros(3, 2)), Throws.ArgumentException.With.Message.Contains("(3, 2)"));
        Assert.That(
            () => new Gsemm(xi * double.NaN, phi),
            Throws.ArgumentException.With.Message.Contains("not finite")
        );
        Assert.That(
            () => new Gsemm(xi, phi + double.PositiveInfinity),
            Throws.ArgumentException.With.Message.Contains("not finite").And.Message.Contains("sequence")
        );
        Assert.That(
            () =>
                new Gsemm(
                    xi,
                    phi,
                    new()
                    {
                        FeatureTimescale = 0,
                        HiddenTimescale = -1,
                        DelayTimescale = double.NaN,
                        AlphaS = 0,
                        AlphaC = double.NaN,
                        FeatureGain = -1,
                        HiddenGain = 0,
                    }
                ),
            Throws
                .ArgumentException.With.Message.Contains("T_f is 0")
                .And.Message.Contains("T_h is -1")
                .And.Message.Contains("T_d is NaN")
                .And.Message.Contains("α_s is 0")
                .And.Message.Contains("α_c")
                .And.Message.Contains("σ_f")
                .And.Message.Contains("σ_h")
        );
        using var model = new Gsemm(xi, phi, ThreeTimescales);
        var start = model.Start(zeros(1, 5));
        Assert.Multiple(() =>
        {
            Assert.That(
                () => model.Start(zeros(5)),
                Throws.ArgumentException.With.Message.Contains("has shape (5), not (any, 5)")
            );
            Assert.That(
                () => model.Start(zeros(1, 5) / 0),
                Throws.ArgumentException.With.Message.Contains("not finite")
            );
            Assert.That(
                () => model.Start(zeros(2, 5), zeros(1, 5)),
                Throws.ArgumentException.With.Message.Contains("has shape (1, 5), not (2, 5)")
            );
            Assert.That(
                () => model.StepDiscrete(zeros(1, 4)),
                Throws.ArgumentException.With.Message.Contains("(1, 4)")
            );
            Assert.That(() => model.RunDiscrete(zeros(1, 5), -1), Throws.InstanceOf<ArgumentException>());
            Assert.That(
                () => model.Integrate(start, Integrator.Rk4, 0, 1),
                Throws.InstanceOf<ArgumentException>().With.Message.Contains("step")
            );
            Assert.That(
                () => model.Integrate(start, Integrator.Rk4, double.NaN, 1),
                Throws.InstanceOf<ArgumentException>().With.Message.Contains("step")
            );
            Assert.That(
                () => model.Integrate(start, Integrator.Rk4, 0.1, -1),
                Throws.InstanceOf<ArgumentException>().With.Message.Contains("length")
            );
            Assert.That(
                () => model.Integrate(start, Integrator.Rk4, 0.3, 1),
                Throws.ArgumentException.With.Message.Contains("whole number of steps")
            );
            Assert.That(
                () => model.Integrate(start, Integrator.Rk4, 0.1, 1, recordEvery: 3),
                Throws.ArgumentException.With.Message.Contains("divisor")
            );
        });
    }

    [Test]
    public void AStepThatIsTooLargeIsToldAndNotReturned()
    {
        using var model = new Gsemm(tensor(Gaussian(5, 3, 94)), zeros(3, 3), ThreeTimescales);
        var start = model.Start(ones(1, 5));
        var thrown = Assert.Throws<GsemmDivergedException>(() =>
            model.Integrate(start, Integrator.Euler, 5, 500, recordEvery: 2)
        )!;
        Assert.That(thrown.Message, Does.Contain("step 5 is too large for Euler").And.Contain("1, 0.5, 2"));
        Assert.That(thrown.Time, Is.LessThan(500));
        Assert.That(
            () => model.Integrate(start, Integrator.Rk4, 5, 500, recordEvery: 100),
            Throws.InstanceOf<GsemmDivergedException>()
        );
        Assert.That(() => model.Integrate(start, Integrator.Euler, 0.25, 500, recordEvery: 2), Throws.Nothing);

        // A linear σ_f: the solution itself may grow, and both are named.
        using var linear = new Gsemm(
            tensor(Gaussian(5, 3, 94)),
            zeros(3, 3),
            ThreeTimescales with
            {
                FeatureNonlinearity = Nonlinearity.Identity,
                AlphaS = 4,
            }
        );
        Assert.That(
            () => linear.Integrate(linear.Start(ones(1, 5)), Integrator.Rk4, 0.1, 1000, recordEvery: 100),
            Throws.InstanceOf<GsemmDivergedException>().With.Message.Contains("grows without limit")
        );
    }

    [Test]
    public void RecordsAreWhereTheyAreAskedForAndTensorsAreFreed()
    {
        using var model = new Gsemm(tensor(Gaussian(5, 3, 95)), zeros(3, 3), ThreeTimescales);
        var start = model.Start(ones(2, 5));
        long before = _scope.DisposablesCount;
        var run = model.Integrate(start, Integrator.Rk4, 0.1, 2, recordEvery: 5);
        Assert.That(_scope.DisposablesCount - before, Is.EqualTo(3));
        Assert.That(run.Times, Is.EqualTo(new[] { 0, 0.5, 1, 1.5, 2 }).Within(1e-12));
        Assert.That(run.Feature.shape, Is.EqualTo(new long[] { 5, 2, 5 }));
        Assert.That(run.Hidden.shape, Is.EqualTo(new long[] { 5, 2, 3 }));
        Assert.That(Values(run.Feature[0]), Is.EqualTo(Values(start.Feature)));
        before = _scope.DisposablesCount;
        model.RunDiscrete(start.Feature, 7);
        model.ComputeOverlaps(run.Feature);
        model.ComputeEnergy(start);
        Assert.That(_scope.DisposablesCount - before, Is.EqualTo(3));
    }
}
