using System.Runtime.InteropServices;
using EmtTorch.Models;
using EmtTorch.Training;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

/// <summary>EWC's and SI's penalty, SI's path integral, and the projection, each by hand or by differences.</summary>
public sealed class PenaltyTests
{
    private DisposeScope _scope = null!;

    [SetUp]
    public void Open() => _scope = NewDisposeScope();

    [TearDown]
    public void Close() => _scope.Dispose();

    /// <summary>Two numbers to learn.</summary>
    private sealed class Two : nn.Module
    {
        public readonly Parameter theta;

        public Two(double a, double b)
            : base(nameof(Two))
        {
            theta = new(tensor(new[] { a, b }));
            RegisterComponents();
        }
    }

    private static double[] Values(Tensor tensor) => tensor.detach().cpu().contiguous().data<double>().ToArray();

    private static Tensor Like(Tensor tensor) => randn(tensor.shape, dtype: tensor.dtype);

    private static ElmanRnn Network(ulong seed)
    {
        using var _ = manual_seed((long)seed);
        return new(2, 4, bias: true, ScalarType.Float64);
    }

    private static SynapticPenalty Random(ElmanRnn network, int tasks, List<(string, Tensor F, Tensor At)> given)
    {
        var penalty = new SynapticPenalty();
        for (int k = 0; k < tasks; k++)
        {
            foreach (var (name, parameter) in network.named_parameters())
            {
                if (name != "readout.weight") // a task's own
                {
                    var (f, at) = (
                        rand(parameter.shape, dtype: ScalarType.Float64),
                        randn(parameter.shape, dtype: ScalarType.Float64)
                    );
                    penalty.AddTask(name, f, at);
                    given.Add((name, f, at));
                }
            }
        }

        return penalty;
    }

    /// <summary>λ/2 Σ A (θ − c)², of float64 parameters.</summary>
    private static double Value(SynapticPenalty penalty, nn.Module network, double strength)
    {
        var terms = penalty.Tensors();
        Tensor Of(string name, Tensor like) =>
            tensor(MemoryMarshal.Cast<byte, double>(terms[name].ToArray()).ToArray()).view(like.shape);
        return strength
            / 2
            * network
                .named_parameters()
                .Where(p => terms.ContainsKey($"importance.{p.name}"))
                .Sum(p =>
                    (
                        Of($"importance.{p.name}", p.parameter)
                        * (p.parameter.detach() - Of($"anchor.{p.name}", p.parameter)).square()
                    )
                        .sum()
                        .item<double>()
                );
    }

    private static void ZeroGradients(nn.Module network)
    {
        foreach (var parameter in network.parameters())
            parameter.grad = zeros_like(parameter);
    }

    [Test]
    public void ItsGradientIsThatOfItsValue()
    {
        var network = Network(1);
        using var penalty = Random(network, 1, []);
        ZeroGradients(network);
        penalty.AddGradient(network, strength: 3.5);
        FiniteDifferences.Check(network, () => Value(penalty, network, 3.5));
        Assert.That(Values(network.ReadoutWeights.grad!), Is.All.Zero);
    }

    [Test]
    public void OfSeveralTasksItIsTheSumOfTheirPenaltiesButForAConstant()
    {
        var network = Network(1);
        var given = new List<(string Name, Tensor F, Tensor At)>();
        using var penalty = Random(network, 3, given);
        double Sum() // λ/2 Σ_k Σ_i F_ki (θ_i − θ*_ki)², each task by itself
        {
            var parameters = network.named_parameters().ToDictionary(p => p.name, p => p.parameter);
            return given.Sum(g => 0.7 / 2 * (g.F * (parameters[g.Name].detach() - g.At).square()).sum().item<double>());
        }
        double difference = Value(penalty, network, 0.7) - Sum();
        using (no_grad())
        {
            foreach (var parameter in network.parameters())
                parameter.add_(Like(parameter));
        }

        Assert.That(Value(penalty, network, 0.7) - Sum(), Is.EqualTo(difference).Within(1e-12));
        ZeroGradients(network);
        penalty.AddGradient(network, 0.7);
        FiniteDifferences.Check(network, Sum);
    }

    [Test]
    public void WhereNothingMattersThereIsNoPull()
    {
        var two = new Two(1, 2);
        using var penalty = new SynapticPenalty();
        penalty.AddTask("theta", tensor(new[] { 0.0, 1.0 }), tensor(new[] { 5.0, 5.0 }));
        penalty.AddTask("theta", tensor(new[] { 0.0, 1.0 }), tensor(new[] { 9.0, 9.0 }));
        ZeroGradients(two);
        penalty.AddGradient(two, 1);
        // 2 ((2 − 5) + (2 − 9)) / 2 · … : 1·(2 − 5) + 1·(2 − 9) = −10
        Assert.That(Values(two.theta.grad!), Is.EqualTo(new[] { 0.0, -10.0 }).Within(1e-12));
    }

    [Test]
    public void SiHoldsTheWeightsWhereTheyAreAndAddsImportance()
    {
        var two = new Two(1, 2);
        using var penalty = new SynapticPenalty();
        penalty.AddImportance("theta", tensor(new[] { 1.0, 2.0 }), tensor(new[] { 0.0, 0.0 }));
        penalty.AddImportance("theta", tensor(new[] { 3.0, 4.0 }), tensor(new[] { 1.5, 1.0 }));
        ZeroGradients(two);
        penalty.AddGradient(two, 0.5);
        Assert.That(Values(two.theta.grad!), Is.EqualTo(new[] { 0.5 * 4 * -0.5, 0.5 * 6 * 1 }).Within(1e-12));
    }

    [Test]
    public void AFileHoldsItWhole()
    {
        var network = Network(1);
        using var penalty = Random(network, 2, []);
        var path = Path.GetTempFileName();
        try
        {
            SafetensorsFile.Write(path, penalty.Tensors(), new Dictionary<string, string>());
            using var read = SynapticPenalty.Load(SafetensorsFile.Read(path), network);
            Assert.That(Value(read, network, 1), Is.EqualTo(Value(penalty, network, 1)));
            var bytes = File.ReadAllBytes(path);
            bytes[^3] ^= 1;
            File.WriteAllBytes(path, bytes);
            Assert.That(
                () => SafetensorsFile.Read(path),
                Throws.TypeOf<InvalidDataException>().With.Message.Contains("checksum")
            );
        }
        finally
        {
            File.Delete(path);
        }
    }

    /// <summary>L = ½ (a² + 4 b²), gradient descent by 0.1 from (1, 1), but the second step goes wrong in a.</summary>
    [Test]
    public void ThePathIntegralIsTheSumOfMinusGradientTimesMove()
    {
        var two = new Two(1, 1);
        using var path = new PathIntegral(two, ["theta"]);
        void Step(double[] gradient, double[] to)
        {
            two.theta.grad = tensor(gradient);
            path.BeforeStep();
            // What the penalty and clipping make of the gradient afterwards is none of its business.
            two.theta.grad.mul_(100);
            using (no_grad())
                two.theta.copy_(tensor(to));
            path.AfterStep();
        }
        Step([1, 4], [0.9, 0.6]); // −1·(−0.1), −4·(−0.4)
        Step([0.9, 2.4], [1.0, 0.36]); // −0.9·0.1, −2.4·(−0.24)
        Step([1.0, 1.44], [0.9, 0.216]); // 0.1, 1.44·0.144
        Assert.That(
            Values(path.Sums["theta"]),
            Is.EqualTo(new[] { 0.1 - 0.09 + 0.1, 1.6 + 0.576 + 0.20736 }).Within(1e-12)
        );
    }

    [Test]
    public void OverSmallStepsTheSumIsWhatTheLossFallsBy()
    {
        var two = new Two(1, -2);
        using var path = new PathIntegral(two, ["theta"]);
        double Loss(Tensor t) => Values(t) is var v ? Math.Cos(v[0]) * Math.Exp(0.3 * v[1]) + 0.5 * v[1] * v[1] : 0;
        double before = Loss(two.theta);
        for (int i = 0; i < 4000; i++)
        {
            var v = Values(two.theta);
            two.theta.grad = tensor(
                new[] { -Math.Sin(v[0]) * Math.Exp(0.3 * v[1]), 0.3 * Math.Cos(v[0]) * Math.Exp(0.3 * v[1]) + v[1] }
            );
            path.BeforeStep();
            using (no_grad())
                two.theta.sub_(two.theta.grad * 1e-3);
            path.AfterStep();
        }
        double fall = before - Loss(two.theta);
        Assert.That(fall, Is.GreaterThan(1));
        Assert.That(Values(path.Sums["theta"]).Sum(), Is.EqualTo(fall).Within(2e-3 * fall));
    }

    [Test]
    public void ImportanceIsTheSumOverTheMoveSquared()
    {
        var importance = PathIntegral.Importance(
            tensor(new[] { 0.3, -0.2, 0.1 }),
            tensor(new[] { 0.0, 0.0, 1.0 }),
            tensor(new[] { 0.5, 0.5, 1.0 }),
            damping: 0.05
        );
        Assert.That(Values(importance), Is.EqualTo(new[] { 0.3 / 0.3, 0, 0.1 / 0.05 }).Within(1e-12));
    }

    [TestCase(ScalarType.Float64, 1e-13)]
    [TestCase(ScalarType.Float32, 1e-5)]
    public void AfterAnyNumberOfStepsOfAdamNothingHasChangedInTheProtectedDirections(ScalarType dtype, double tolerance)
    {
        using var _ = manual_seed(3);
        const int h = 12;
        var network = new ElmanRnn(2, h, dtype: dtype);
        using var start = network.RecurrentWeights.detach().clone();
        Tensor from =
                GradientProjection.Span(
                    randn(h, 3, dtype: ScalarType.Float64),
                    randn(h, 2, dtype: ScalarType.Float64)
                )!,
            into = GradientProjection.Span(randn(h, 4, dtype: ScalarType.Float64) * 1e-4)!;
        using var projection = new GradientProjection(network.RecurrentWeights, start, from, into);
        using var adam = optim.Adam(network.parameters(), lr: 0.01);
        for (int i = 0; i < 200; i++)
        {
            foreach (var parameter in network.parameters())
                parameter.grad = Like(parameter);
            projection.BeforeStep();
            using var g = network.RecurrentWeights.grad!.to(ScalarType.Float64);
            Assert.That(matmul(g, from).abs().max().item<double>(), Is.LessThan(tolerance), "the gradient");
            adam.step();
            projection.AfterStep();
        }
        using var change = (network.RecurrentWeights.detach() - start).to(ScalarType.Float64);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(from.shape[1], Is.EqualTo(5));
            Assert.That(matmul(change, from).abs().max().item<double>(), Is.LessThan(tolerance), "from");
            Assert.That(matmul(into.t(), change).abs().max().item<double>(), Is.LessThan(tolerance), "into");
            Assert.That(change.abs().mean().item<double>(), Is.GreaterThan(0.01), "the rest is free");
        }
    }

    /// <summary>
    /// A network whose states stay in its first units whatever the input: their directions are all that a task needs
    /// protected.
    /// </summary>
    [Test]
    public void WhatANetworkDoesWithProtectedStatesStays()
    {
        using var _ = manual_seed(3);
        const int h = 10,
            k = 4;
        var network = new ElmanRnn(2, h, dtype: ScalarType.Float64);
        using (no_grad())
        {
            network.InputWeights.narrow(0, k, h - k).zero_();
            network.RecurrentWeights.narrow(0, k, h - k).narrow(1, 0, k).zero_();
        }
        var input = randn(5, 3, 2, dtype: ScalarType.Float64);
        using var before = network.forward(input, 20).detach();
        using var start = network.RecurrentWeights.detach().clone();
        using var projection = new GradientProjection(
            network.RecurrentWeights,
            start,
            eye(h, dtype: ScalarType.Float64).narrow(1, 0, k),
            null
        );
        using var adam = optim.Adam([network.RecurrentWeights], lr: 0.01);
        for (int i = 0; i < 30; i++)
        {
            network.RecurrentWeights.grad = Like(network.RecurrentWeights);
            projection.BeforeStep();
            adam.step();
            projection.AfterStep();
        }
        using var after = network.forward(input, 20).detach();
        using var change = network.RecurrentWeights.detach() - start;
        Assert.That((after - before).abs().max().item<double>(), Is.LessThan(1e-14));
        Assert.That(change.abs().max().item<double>(), Is.GreaterThan(0.1));
    }
}
