using EmtTorch.Kernels;
using EmtTorch.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

/// <summary>
/// The fused kernel, on every path that this processor has: DOTNET_EnableAVX512=0 and DOTNET_EnableAVX2=0 take the
/// wider ones away, as a processor without them would.
/// </summary>
public sealed class FusedElmanTests : OnSimdPaths
{
    /// <summary>S, T, B, κ, H, bias: every size once below, at and above the vectors' and the slices' edges.</summary>
    private static readonly object[][] Shapes =
    [
        [1, 1, 1, 1, 1, false],
        [0, 1, 1, 1, 1, true],
        [0, 2, 7, 5, 3, true],
        [0, 5, 3, 8, 32, false],
        [1, 2, 8, 1, 3, false],
        [2, 2, 9, 8, 31, true],
        [3, 7, 7, 5, 32, true],
        [8, 21, 64, 8, 33, false],
        [7, 7, 9, 5, 65, true],
        [2, 37, 8, 8, 16, true],
        [4, 11, 65, 17, 40, true],
        [5, 19, 140, 3, 8, false],
        [3, 5, 1, 33, 128, true],
    ];

    private static IEnumerable<TestCaseData> Cases() =>
        from path in Paths
        from dtype in new[] { ScalarType.Float32, ScalarType.Float64 }
        from shape in Shapes
        select new TestCaseData([path, dtype, .. shape]);

    [TestCaseSource(nameof(Cases))]
    public void StatesAndGradientsAreThoseOfTheUnrolledNetwork(
        string path,
        ScalarType dtype,
        int inputSteps,
        int steps,
        int batch,
        int inputs,
        int hidden,
        bool hasBias
    )
    {
        Use(path);
        using var scope = NewDisposeScope();
        using var seed = manual_seed(inputSteps * 31 + hidden);
        double root = Math.Sqrt(hidden);
        Tensor[] expectedLeaves =
        [
            randn([inputSteps, batch, inputs], dtype: float64),
            randn([hidden, inputs], dtype: float64) / Math.Sqrt(inputs),
            randn([hidden, hidden], dtype: float64) / root,
            randn([hidden], dtype: float64) / 4,
        ];
        var weights = randn([steps, batch, hidden], dtype: float64).to(dtype);
        // Rounded to dtype first, so that both start from the same numbers.
        var leaves = expectedLeaves.Select(t => t.to(dtype, copy: true).detach().requires_grad_()).ToArray();
        expectedLeaves = [.. leaves.Select(t => t.detach().to(float64, copy: true).requires_grad_())];

        var fused = hasBias
            ? ElmanRecurrence.Apply(leaves[0], leaves[1], leaves[2], (long)steps, leaves[3])[0]
            : ElmanRecurrence.Apply(leaves[0], leaves[1], leaves[2], (long)steps)[0];
        var unrolled = Unrolled(
            expectedLeaves[0],
            expectedLeaves[1],
            expectedLeaves[2],
            hasBias ? expectedLeaves[3] : null,
            steps
        );
        (fused * weights).sum().backward();
        (unrolled * weights.to(float64)).sum().backward();

        double tolerance = dtype == ScalarType.Float64 ? 1e-13 : 1e-5;
        Assert.That(fused.dtype, Is.EqualTo(dtype));
        Assert.That(Distance(fused, unrolled), Is.LessThan(tolerance), "states");
        for (int i = 0; i < (hasBias ? 4 : 3); i++)
        {
            var expected = expectedLeaves[i].grad ?? zeros_like(expectedLeaves[i]);
            Assert.That(
                Distance(leaves[i].grad!, expected),
                Is.LessThan(tolerance * 10 * (1 + Largest(expected))),
                $"gradient {i}"
            );
        }
    }

    [TestCaseSource(nameof(Cases))]
    public void AScoreAndItsGradientsAreAutogradsInFloat64(
        string path,
        ScalarType dtype,
        int inputSteps,
        int steps,
        int batch,
        int inputs,
        int hidden,
        bool hasBias
    )
    {
        Use(path);
        using var scope = NewDisposeScope();
        using var seed = manual_seed(inputSteps * 31 + hidden);
        using var network = new ElmanRnn(inputs, hidden, hasBias, dtype);
        using var exact = Copy(network);
        var input = randint(0, 2, new long[] { inputSteps, batch, inputs }, dtype: dtype).mul_(2).sub_(1);
        foreach (int from in new[] { 0, steps / 2, steps - 1 })
        {
            var target = randint(0, 2, new long[] { steps - from, batch, inputs }, dtype: dtype).mul_(2).sub_(1);
            var output = exact.ReadOut(
                Unrolled(input.to(float64), exact.InputWeights, exact.RecurrentWeights, exact.RecurrentBias, steps)
                    .narrow(0, from, steps - from)
            );
            var loss = nn.functional.mse_loss(output, target.to(float64));
            exact.zero_grad();
            loss.backward();
            double accuracy = output.ge(0).eq(target.ge(0)).to(float64).mean().item<double>();

            var score = network.Score(input, target, from, gradients: true);
            var alone = network.Score(input, target, from, gradients: false);
            double tolerance = dtype == ScalarType.Float64 ? 1e-13 : 1e-6;
            using (Assert.EnterMultipleScope())
            {
                Assert.That(score.Loss, Is.EqualTo(loss.item<double>()).Within(tolerance * 10));
                Assert.That(score.Accuracy, Is.EqualTo(accuracy).Within(1e-12));
                Assert.That(alone, Is.EqualTo(score));
            }
            foreach (var ((name, parameter), reference) in network.named_parameters().Zip(exact.parameters()))
            {
                var expected = reference.grad ?? zeros_like(reference);
                Assert.That(
                    Distance(parameter.grad!, expected),
                    Is.LessThan(tolerance * 10 * (1 + Largest(expected))),
                    $"{name}, from {from}"
                );
            }
        }
    }

    [Test]
    public void GradientsAgreeWithFiniteDifferences([ValueSource(nameof(Paths))] string path)
    {
        Use(path);
        using var scope = NewDisposeScope();
        using var seed = manual_seed(5);
        using var network = new ElmanRnn(3, 5, bias: true, dtype: ScalarType.Float64);
        Tensor input = randn([2, 9, 3], dtype: float64),
            target = randn([5, 9, 3], dtype: float64);
        double Loss() => network.Score(input, target, 2, gradients: false).Loss;
        network.Score(input, target, 2, gradients: true);
        FiniteDifferences.Check(network, Loss);
    }

    [TestCase(64, 32), TestCase(65, 40), TestCase(200, 16), TestCase(9, 33)]
    public void TheNumberOfThreadsChangesNoBit(int batch, int hidden)
    {
        using var scope = NewDisposeScope();
        using var seed = manual_seed(batch);
        using var network = new ElmanRnn(8, hidden, bias: true);
        Tensor input = randn(8, batch, 8),
            target = randn(30, batch, 8);
        (string, byte[])[] Results(int threads)
        {
            set_num_threads(threads);
            var score = network.Score(input, target, 8, gradients: true);
            var results = network.named_parameters().Select(p => (p.name, p.parameter.grad!.bytes.ToArray())).ToList();
            network.zero_grad();
            using var states = network.HiddenStates(input, 38);
            (states * states).sum().backward();
            results.Add(("states", states.bytes.ToArray()));
            results.AddRange(
                network
                    .named_parameters()
                    .Where(p => p.name.StartsWith("rnn", StringComparison.Ordinal))
                    .Select(p => (p.name + " by autograd", p.parameter.grad!.bytes.ToArray()))
            );
            results.Add(("score", [.. BitConverter.GetBytes(score.Loss), .. BitConverter.GetBytes(score.Accuracy)]));
            network.zero_grad();
            return [.. results];
        }
        var one = Results(1);
        foreach (int threads in new[] { 2, 3, 2, 1 })
        {
            foreach (var ((name, expected), (_, actual)) in one.Zip(Results(threads)))
                Assert.That(actual, Is.EqualTo(expected), $"{name} with {threads} threads");
        }
    }

    [Test]
    public void NotANumberIsNotLost(
        [ValueSource(nameof(Paths))] string path,
        [Values(float.NaN, float.PositiveInfinity)] float bad,
        [Values("rnn.weight_ih", "rnn.weight_hh", "rnn.bias", "readout.weight")] string where
    )
    {
        Use(path);
        using var scope = NewDisposeScope();
        using var network = new ElmanRnn(5, 19, bias: true);
        Tensor input = randn(3, 11, 5),
            target = randn(4, 11, 5);
        using (no_grad())
            network.named_parameters().Single(p => p.name == where).parameter.view(-1)[2] = bad;
        var expected = nn
            .functional.mse_loss(
                network.ReadOut(
                    Unrolled(input, network.InputWeights, network.RecurrentWeights, network.RecurrentBias, 7)
                        .narrow(0, 3, 4)
                ),
                target
            )
            .item<float>();
        double loss = network.Score(input, target, 3, gradients: true).Loss;
        if (float.IsFinite(expected))
            // An infinite bias is only a saturated unit
            Assert.That(loss, Is.EqualTo(expected).Within(1e-4 * expected));
        else
            Assert.That(double.IsFinite(loss), Is.False);
    }

    // 1 byte makes segments of a single chunk of δ, 40,000 of a few.
    [Test]
    public void StatesComputedAgainBySegmentGiveTheSameBits(
        [Values(1, 40_000)] long bytes,
        [Values(1, 9, 64)] int batch,
        [Values(7, 61, 200)] int steps,
        [Values(0, 5)] int inputSteps
    )
    {
        using var scope = NewDisposeScope();
        using var network = new ElmanRnn(3, 20, bias: true);
        var input = randn([inputSteps, batch, 3]);
        var target = randn([steps - 5, batch, 3]).sign();
        var (whole, inSegments) = (Measure(), Measure(bytes));
        Assert.That(inSegments.Score, Is.EqualTo(whole.Score));
        Assert.That(inSegments.Accuracy, Is.EqualTo(whole.Accuracy));
        foreach (var (a, b) in whole.Gradients.Zip(inSegments.Gradients))
            Assert.That(b, Is.EqualTo(a));
        Assert.That(inSegments.States, Is.EqualTo(whole.States));
        Assert.That(inSegments.Alone, Is.EqualTo(whole.Alone).Within(1e-6));

        (double Score, double Accuracy, double Alone, List<byte[]> Gradients, byte[] States) Measure(long? most = null)
        {
            long before = FusedElman.MostStateBytes;
            try
            {
                if (most is { } limit)
                    FusedElman.MostStateBytes = limit;
                using var inner = NewDisposeScope();
                network.zero_grad();
                var (loss, accuracy) = network.Score(input, target, from: 5, gradients: true);
                var gradients = network.parameters().Select(p => p.grad!.bytes.ToArray()).ToList();
                network.zero_grad();
                var states = network.HiddenStates(input, steps);
                states.square().sum().backward();
                gradients.AddRange(
                    network
                        .named_parameters()
                        .Where(p => p.name.StartsWith("rnn", StringComparison.Ordinal))
                        .Select(p => p.parameter.grad!.bytes.ToArray())
                );
                using var quiet = no_grad();
                return (
                    loss,
                    accuracy,
                    network.Score(input, target, from: 5, gradients: false).Loss,
                    gradients,
                    states.bytes.ToArray()
                );
            }
            finally
            {
                FusedElman.MostStateBytes = before;
            }
        }
    }

    [TestCase(false), TestCase(true)]
    public void TorchsOperatorsGiveTheSameWhereTheKernelDoesNotServe(bool bias)
    {
        using var scope = NewDisposeScope();
        using var seed = manual_seed(2);
        using var network = new ElmanRnn(3, 10, bias, ScalarType.Float64);
        Tensor input = randn([4, 6, 3], dtype: float64, requires_grad: true),
            target = randn([5, 6, 3], dtype: float64);
        (double Loss, double Accuracy, Tensor[] All) Results(bool kernel)
        {
            Simd.Used = kernel;
            network.zero_grad();
            input.grad = null;
            var states = network.HiddenStates(input, 9);
            (states * states).sum().backward();
            Tensor[] autograd =
            [
                states.detach(),
                input.grad!.clone(),
                .. network.parameters().Select(p => p.grad is { } g ? g.clone() : zeros_like(p)),
            ];
            var (loss, accuracy) = network.Score(input.detach(), target, 4, gradients: true);
            var without = network.Score(input.detach(), target, 4, gradients: false);
            Assert.That(without.Loss, Is.EqualTo(loss).Within(1e-14));
            return (loss, accuracy, [.. autograd, .. network.parameters().Select(p => p.grad!.clone())]);
        }
        var (fused, torch) = (Results(true), Results(false));
        Assert.That(fused.Loss, Is.EqualTo(torch.Loss).Within(1e-14));
        Assert.That(fused.Accuracy, Is.EqualTo(torch.Accuracy));
        foreach (var (a, b) in fused.All.Zip(torch.All))
            Assert.That(Distance(a, b), Is.LessThan(1e-12));
    }

    [Test]
    public void AnInputThatIsNotContiguousHasItsGradientToo()
    {
        using var scope = NewDisposeScope();
        using var network = new ElmanRnn(3, 10);
        var input = randn([6, 4, 3], requires_grad: true);
        var same = input.detach().transpose(0, 1).contiguous().requires_grad_();
        Tensor a = network.HiddenStates(input.transpose(0, 1), 9),
            b = network.HiddenStates(same, 9);
        a.square().sum().backward();
        b.square().sum().backward();
        Assert.That(a.Equals(b), Is.True);
        Assert.That(input.grad!.transpose(0, 1).contiguous().Equals(same.grad!), Is.True);
    }

    [Test]
    public void NetworksTrainSideBySide()
    {
        using var scope = NewDisposeScope();
        set_num_threads(2);
        using var network = new ElmanRnn(4, 24);
        Tensor input = randn(4, 40, 4),
            target = randn(6, 40, 4);
        double expected = network.Score(input, target, 4, gradients: false).Loss;
        Parallel.For(
            0,
            200,
            new() { MaxDegreeOfParallelism = 4 },
            _ => Assert.That(network.Score(input, target, 4, gradients: false).Loss, Is.EqualTo(expected))
        );
    }

    [Test]
    public void WhatIsLargerThanTheCacheGoesToo()
    {
        using var scope = NewDisposeScope();
        using var seed = manual_seed(1);
        using var network = new ElmanRnn(8, 512);
        using var exact = Copy(network);
        Tensor input = randn(8, 24, 8),
            target = randn(20, 24, 8);
        network.Score(input, target, 8, gradients: true);
        nn.functional.mse_loss(exact.forward(input.to(float64), 28, 8), target.to(float64)).backward();
        foreach (var (a, b) in network.parameters().Zip(exact.parameters()))
            Assert.That(Distance(a.grad!, b.grad!), Is.LessThan(1e-6));
    }

    [Test]
    public void GradientsAreWrittenWhereTheyWere()
    {
        using var scope = NewDisposeScope();
        using var network = new ElmanRnn(2, 4);
        Tensor input = randn(2, 3, 2),
            target = randn(3, 3, 2);
        network.Score(input, target, 2, gradients: true);
        var first = network.RecurrentWeights.grad!;
        var values = first.clone();
        network.Score(input, target, 2, gradients: true);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(first.Equals(values), Is.True, "overwritten, not added to");
            using (no_grad())
                first.zero_();
            Assert.That(network.RecurrentWeights.grad!.abs().max().item<float>(), Is.Zero, "the same memory");
        }
    }

    [Test]
    public void ATargetOfAnotherShapeIsRefused()
    {
        using var scope = NewDisposeScope();
        using var network = new ElmanRnn(2, 4);
        Assert.That(
            () => network.Score(randn(2, 3, 2), randn(3, 4, 2), 2, gradients: true),
            Throws.ArgumentException.With.Message.Contains("(3, 4, 2)")
        );
        Assert.That(
            () => network.Score(randn(9, 3, 2), randn(3, 3, 2), 2, gradients: true),
            Throws.ArgumentException.With.Message.Contains("fewer")
        );
    }

    private static ElmanRnn Copy(ElmanRnn network)
    {
        var copy = new ElmanRnn(
            network.ReadoutWeights.shape[0],
            network.RecurrentWeights.shape[0],
            network.RecurrentBias is not null,
            ScalarType.Float64
        );
        using var quiet = no_grad();
        foreach (var (a, b) in copy.parameters().Zip(network.parameters()))
            a.copy_(b);
        return copy;
    }

    /// <summary>Eq. 6, step by step, through autograd.</summary>
    private static Tensor Unrolled(Tensor input, Tensor weightIh, Tensor weightHh, Tensor? bias, long steps)
    {
        Tensor? h = null;
        var states = new List<Tensor>();
        for (long t = 0; t < steps; t++)
        {
            var sum = h is null
                ? zeros([input.shape[1], weightHh.shape[0]], dtype: weightHh.dtype)
                : matmul(h, weightHh.t());
            if (t < input.shape[0])
                sum = sum + matmul(input[t], weightIh.t());
            if (bias is not null)
                sum = sum + bias;
            states.Add(h = sum.tanh());
        }
        return stack(states);
    }

    private static double Distance(Tensor a, Tensor b) =>
        a.numel() == 0 ? 0 : (a.to(float64) - b.to(float64)).abs().max().item<double>();

    private static double Largest(Tensor a) => a.numel() == 0 ? 0 : a.abs().max().item<double>();
}
