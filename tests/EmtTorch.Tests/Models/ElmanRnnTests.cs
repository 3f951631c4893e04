using EmtTorch.Kernels;
using EmtTorch.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

public sealed class ElmanRnnTests
{
    /// <summary>Eq. 6, step by step, through autograd.</summary>
    private static Tensor Unrolled(Tensor input, Tensor weightIh, Tensor weightHh, Tensor? bias, long steps)
    {
        var h = zeros([input.shape[1], weightHh.shape[0]], dtype: input.dtype);
        var states = new List<Tensor>();
        for (long t = 0; t < steps; t++)
        {
            var sum = matmul(h, weightHh.t());
            if (t < input.shape[0])
                sum = sum + matmul(input[t], weightIh.t());
            if (bias is not null)
                sum = sum + bias;
            states.Add(h = sum.tanh());
        }
        return stack(states);
    }

    [TestCase(3, 7, 2, 4, 5, false)]
    [TestCase(3, 7, 2, 4, 5, true)]
    [TestCase(1, 1, 1, 1, 1, false)]
    [TestCase(1, 1, 3, 2, 7, true)]
    [TestCase(5, 5, 1, 3, 13, true)]
    [TestCase(8, 108, 3, 8, 17, false)]
    public void StatesAndGradientsAreThoseOfTheUnrolledNetwork(
        int inputSteps,
        int steps,
        int batch,
        int inputs,
        int hidden,
        bool hasBias
    )
    {
        using var scope = NewDisposeScope();
        using var seed = manual_seed(inputSteps * 31 + hidden);
        Tensor[] Leaves() =>
            [
                randn([inputSteps, batch, inputs], dtype: float64, requires_grad: true),
                randn([hidden, inputs], dtype: float64, requires_grad: true),
                (randn([hidden, hidden], dtype: float64) / Math.Sqrt(hidden)).detach().requires_grad_(),
                randn([hidden], dtype: float64, requires_grad: true),
            ];
        var a = Leaves();
        var b = a.Select(t => t.detach().clone().requires_grad_()).ToArray();
        var weights = randn([steps, batch, hidden], dtype: float64);

        var fused = hasBias
            ? ElmanRecurrence.Apply(a[0], a[1], a[2], (long)steps, a[3])[0]
            : ElmanRecurrence.Apply(a[0], a[1], a[2], (long)steps)[0];
        var unrolled = Unrolled(b[0], b[1], b[2], hasBias ? b[3] : null, steps);
        (fused * weights).sum().backward();
        (unrolled * weights).sum().backward();

        Assert.That(Distance(fused, unrolled), Is.LessThan(1e-13), "states");
        for (int i = 0; i < (hasBias ? 4 : 3); i++)
        {
            // A gradient that autograd never reached is zero: W_hh where there is one step only.
            var expected = b[i].grad ?? zeros_like(b[i]);
            Assert.That(Distance(a[i].grad!, expected), Is.LessThan(1e-10), $"gradient {i}");
        }
    }

    [Test]
    public void WithASpectralPenaltyGradientsAgreeWithFiniteDifferences()
    {
        using var scope = NewDisposeScope();
        using var seed = manual_seed(7);
        Tensor input = randn([2, 3, 2], dtype: float64),
            target = randn([4, 3, 2], dtype: float64);
        using var network = new ElmanRnn(2, 5, bias: true, dtype: ScalarType.Float64);
        double Loss()
        {
            using var quiet = no_grad();
            var w = network.RecurrentWeights;
            return network.Score(input, target, from: 2, gradients: false).Loss
                + 0.2 * (matmul(w.t(), w) - eye(5, dtype: float64)).square().sum().item<double>();
        }
        network.Score(input, target, from: 2, gradients: true);
        network.AddSpectralPenalty(0.2);
        FiniteDifferences.Check(network, Loss);
    }

    /// <summary>PyTorch 1.13's autograd of ((WᵀW − I)²).sum().</summary>
    [Test]
    public void TheSpectralPenaltysGradientIsAutograds()
    {
        using var scope = NewDisposeScope();
        var w = tensor(
            new[,]
            {
                { 1, -2, 0.5 },
                { 0.3, 0.7, -1.1 },
                { 0, 0.4, 0.9 },
            }
        );
        double[] expected = [15.02, -39.18, 14.5, -5.652, 14.276, -9.332, -2.252, 0.764, 2.316];
        Assert.That(SpectralPenalty.Gradient(w).data<double>().ToArray(), Is.EqualTo(expected).Within(1e-13));
        var both = SpectralPenalty.Gradient(stack([w, 2 * w]));
        Assert.That(Distance(both[1], SpectralPenalty.Gradient(2 * w)), Is.LessThan(1e-13), "several matrices");
    }

    [Test]
    public void GradientsAgreeWithFiniteDifferences()
    {
        using var scope = NewDisposeScope();
        using var seed = manual_seed(5);
        var input = randn([2, 3, 2], dtype: float64);
        using var network = new ElmanRnn(2, 5, bias: true, dtype: ScalarType.Float64);
        var target = randn([4, 3, 2], dtype: float64);
        double Loss() => nn.functional.mse_loss(network.forward(input, 6, from: 2), target).item<double>();

        nn.functional.mse_loss(network.forward(input, 6, from: 2), target).backward();
        FiniteDifferences.Check(network, Loss);
    }

    [Test]
    public void TheLastStepsAloneAreTheSame()
    {
        using var scope = NewDisposeScope();
        using var network = new ElmanRnn(3, 6);
        var input = randn([4, 2, 3]);
        var padded = cat([input, zeros([5, 2, 3])]);
        var all = network.forward(padded);
        Assert.That(Distance(network.forward(input, 9, from: 4), all.narrow(0, 4, 5)), Is.LessThan(1e-6));
    }

    [Test]
    public void ParametersHaveTheNamesOfTheCheckpointContract()
    {
        using var network = new ElmanRnn(8, 16);
        Assert.That(
            network.named_parameters().Select(p => p.name),
            Is.EquivalentTo(new[] { "rnn.weight_ih", "rnn.weight_hh", "readout.weight" })
        );
        using (Assert.EnterMultipleScope())
        {
            Assert.That(network.InputWeights.shape, Is.EqualTo(new long[] { 16, 8 }));
            Assert.That(network.RecurrentWeights.shape, Is.EqualTo(new long[] { 16, 16 }));
            Assert.That(network.ReadoutWeights.shape, Is.EqualTo(new long[] { 8, 16 }));
        }
    }

    [Test]
    public void FirstWeightsAreUniformInOneOverTheRootOfH()
    {
        using var scope = NewDisposeScope();
        using var network = new ElmanRnn(8, 64);
        foreach (var (name, parameter) in network.named_parameters())
        {
            double largest = parameter.abs().max().item<float>();
            Assert.That(largest, Is.InRange(0.9 / 8, 1.0 / 8), name);
        }
    }

    [TestCase(false)]
    [TestCase(true)]
    public void AHookSeesEveryStateAndChangesNothingByLooking(bool bias)
    {
        using var scope = NewDisposeScope();
        using var network = new ElmanRnn(3, 6, bias, float64);
        var input = randn([4, 2, 3], dtype: float64);
        var seen = new List<long>();
        var states = network.HiddenStates(
            input,
            9,
            (t, h) =>
            {
                seen.Add(t);
                return h;
            }
        );
        Assert.That(seen, Is.EqualTo(Enumerable.Range(1, 9)));
        Assert.That(Distance(states, network.HiddenStates(input, 9)), Is.LessThan(1e-14));
        Assert.That(Distance(network.ReadOut(states), network.forward(input, 9)), Is.LessThan(1e-14));
    }

    [Test]
    public void WhatAHookReturnsIsWhatTheNetworkGoesOnFrom()
    {
        using var scope = NewDisposeScope();
        using var network = new ElmanRnn(3, 6, dtype: float64);
        var input = randn([4, 2, 3], dtype: float64);
        var put = randn([2, 6], dtype: float64);
        var states = network.HiddenStates(input, 6, (t, h) => t == 4 ? put : h);
        var next = matmul(put, network.RecurrentWeights.t()).tanh();
        Assert.That(Distance(states[3], put), Is.Zero);
        Assert.That(Distance(states[4], next), Is.LessThan(1e-14));
        Assert.That(Distance(states[5], matmul(next, network.RecurrentWeights.t()).tanh()), Is.LessThan(1e-14));
    }

    [Test]
    public void GradientsFlowThroughAHook()
    {
        using var scope = NewDisposeScope();
        using var network = new ElmanRnn(3, 6, dtype: float64);
        var input = randn([4, 2, 3], dtype: float64);
        network.HiddenStates(input, 6, (_, h) => h).square().sum().backward();
        var stepwise = network.RecurrentWeights.grad!.clone();
        network.zero_grad();
        network.HiddenStates(input, 6).square().sum().backward();
        Assert.That(Distance(stepwise, network.RecurrentWeights.grad!), Is.LessThan(1e-12));
    }

    private static double Distance(Tensor a, Tensor b) => (a - b).abs().max().to(float64).item<double>();
}
