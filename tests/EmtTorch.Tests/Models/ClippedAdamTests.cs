using EmtTorch.Kernels;
using EmtTorch.Models;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

public sealed class ClippedAdamTests : OnSimdPaths
{
    [Test, Combinatorial]
    public void AHundredStepsAreTheOptimizers(
        [ValueSource(nameof(Paths))] string path,
        [Values(0, 0.1)] double weightDecay,
        [Values(0.5, 1e9)] double largestNorm,
        [Values(ScalarType.Float32, ScalarType.Float64)] ScalarType dtype,
        [Values] bool decoupled
    )
    {
        Use(path);
        using var scope = NewDisposeScope();
        using var seed = manual_seed(3);
        using var fused = new ElmanRnn(3, 13, bias: true, dtype);
        using var reference = new ElmanRnn(3, 13, bias: true, dtype);
        using (no_grad())
        {
            foreach (var (a, b) in reference.parameters().Zip(fused.parameters()))
                a.copy_(b);
        }

        using var fusedAdam = optim.Adam(fused.parameters(), lr: 0.01, weight_decay: decoupled ? 0 : weightDecay);
        using OptimizerHelper adam = decoupled
            ? optim.AdamW(reference.parameters(), lr: 0.01, weight_decay: weightDecay)
            : optim.Adam(reference.parameters(), lr: 0.01, weight_decay: weightDecay);
        var clipped = new ClippedAdam(fusedAdam, fused.parameters(), decoupled ? weightDecay : 0);
        for (int step = 0; step < 100; step++)
        {
            using var inner = NewDisposeScope();
            foreach (var (a, b) in reference.parameters().Zip(fused.parameters()))
            {
                // Now large, now small, so that clipping comes and goes.
                var gradient = randn(a.shape, dtype: dtype) * (step % 3 == 0 ? 0.02 : 0.3);
                a.grad = gradient.clone();
                b.grad = gradient;
            }
            double expected = nn.utils.clip_grad_norm_(reference.parameters(), largestNorm);
            adam.step();
            Assert.That(clipped.Step(largestNorm), Is.EqualTo(expected).Within(1e-5 * expected));
            Assert.That(
                Distance(fused.RecurrentWeights.grad!, reference.RecurrentWeights.grad!),
                Is.LessThan(1e-6),
                "the clipped gradient"
            );
        }
        foreach (var (a, b) in reference.parameters().Zip(fused.parameters()))
            Assert.That(Distance(a, b), Is.LessThan(1e-6));
        foreach (var (a, b) in adam.state_dict().State.Zip(fusedAdam.state_dict().State.Cast<Adam.State>()))
        {
            var (mean, square) = a is AdamW.State w
                ? (w.exp_avg, w.exp_avg_sq)
                : (((Adam.State)a).exp_avg, ((Adam.State)a).exp_avg_sq);
            Assert.That(b.step, Is.EqualTo(100));
            Assert.That(Distance(mean, b.exp_avg), Is.LessThan(1e-6));
            Assert.That(Distance(square, b.exp_avg_sq), Is.LessThan(1e-6));
        }
    }

    [Test]
    public void WithoutTheKernelItIsTorchsAdamWToTheBit(
        [Values(ScalarType.Float32, ScalarType.Float64)] ScalarType dtype
    )
    {
        Simd.Used = false;
        using var scope = NewDisposeScope();
        using var seed = manual_seed(4);
        var ours = new Parameter(randn(5, 7, dtype: dtype));
        var torchs = new Parameter(ours.detach().clone());
        using var adam = optim.Adam([ours], lr: 0.02);
        using var adamW = optim.AdamW([torchs], lr: 0.02, weight_decay: 0.3);
        var clipped = new ClippedAdam(adam, [ours], decoupledDecay: 0.3);
        for (int step = 0; step < 50; step++)
        {
            var gradient = randn(5, 7, dtype: dtype);
            (ours.grad, torchs.grad) = (gradient.clone(), gradient.clone());
            nn.utils.clip_grad_norm_([torchs], 2);
            adamW.step();
            clipped.Step(2);
        }
        Assert.That(ours.eq(torchs).all().item<bool>(), Is.True);
    }

    /// <summary>PyTorch 1.13's clip_grad_norm_ and AdamW, five steps in float64.</summary>
    [Test]
    public void AdamWIsPyTorchs([Values] bool kernel)
    {
        Simd.Used = kernel;
        using var scope = NewDisposeScope();
        Parameter a =
                new(
                    tensor(
                        new[,]
                        {
                            { 1.0, -2 },
                            { 0.5, 3 },
                        }
                    )
                ),
            b = new(tensor(new[] { 0.1, -0.4, 2 }));
        using var adam = optim.Adam([a, b], lr: 0.1);
        var clipped = new ClippedAdam(adam, [a, b], decoupledDecay: 0.3);
        double norm = 0;
        for (int i = 0; i < 5; i++)
        {
            adam.zero_grad();
            ((
                    a
                        * tensor(
                            new[,]
                            {
                                { 1.0, 2 },
                                { 3, -1 },
                            }
                        )
                    + 0.1 * i
                ).square().sum() + (b * (i + 1)).cos().sum()).backward();
            norm = clipped.Step(2);
        }
        double[] expected =
        [
            0.38573793483696506,
            -1.247168972373332,
            -0.03506442247580036,
            2.105384324406289,
            0.4904254852819836,
            -0.7238121534185094,
            1.7874407671227148,
        ];
        using (Assert.EnterMultipleScope())
        {
            Assert.That(norm, Is.EqualTo(12.14704120540712).Within(1e-12));
            Assert.That(cat([a.flatten(), b]).data<double>().ToArray(), Is.EqualTo(expected).Within(1e-13));
        }
    }

    [Test]
    public void NoiseIsAddedToTheClippedGradient([Values] bool kernel, [Values(0.5, 1e9)] double largestNorm)
    {
        Simd.Used = kernel;
        using var scope = NewDisposeScope();
        using var seed = manual_seed(6);
        using var noisy = new ElmanRnn(3, 13, bias: true, ScalarType.Float64);
        using var reference = new ElmanRnn(3, 13, bias: true, ScalarType.Float64);
        using (no_grad())
        {
            foreach (var (a, b) in reference.parameters().Zip(noisy.parameters()))
                a.copy_(b);
        }

        using var noisyAdam = optim.Adam(noisy.parameters(), lr: 0.01, weight_decay: 0.1);
        using var adam = optim.Adam(reference.parameters(), lr: 0.01, weight_decay: 0.1);
        var clipped = new ClippedAdam(noisyAdam, noisy.parameters());
        for (int step = 0; step < 20; step++)
        {
            var noise = reference.parameters().Select(p => randn(p.shape, dtype: ScalarType.Float64)).ToArray();
            foreach (var (a, b) in reference.parameters().Zip(noisy.parameters()))
                b.grad = (a.grad = randn(a.shape, dtype: ScalarType.Float64)).clone();
            double norm = nn.utils.clip_grad_norm_(reference.parameters(), largestNorm);
            foreach (var (a, extra) in reference.parameters().Zip(noise))
                a.grad!.add_(extra);
            adam.step();
            Assert.That(
                clipped.Step(largestNorm, cat([.. noise.Select(n => n.flatten())])),
                Is.EqualTo(norm).Within(1e-10),
                "the norm is the gradient's, without noise"
            );
        }
        foreach (var (a, b) in reference.parameters().Zip(noisy.parameters()))
            Assert.That(Distance(a, b), Is.LessThan(1e-12));
    }

    [Test]
    public void AParameterWithoutAGradientIsLeftToTheOptimizer()
    {
        using var scope = NewDisposeScope();
        using var network = new ElmanRnn(3, 5);
        using var adam = optim.Adam(network.parameters(), lr: 0.01);
        var before = network.InputWeights.detach().clone();
        network.RecurrentWeights.grad = ones_like(network.RecurrentWeights);
        double norm = new ClippedAdam(adam, network.parameters()).Step(1);
        Assert.That(norm, Is.EqualTo(5).Within(1e-5));
        Assert.That(Distance(network.InputWeights, before), Is.Zero);
    }

    [Test]
    public void ANormThatIsNoNumberComesBack()
    {
        using var scope = NewDisposeScope();
        using var network = new ElmanRnn(3, 5);
        using var adam = optim.Adam(network.parameters(), lr: 0.01);
        foreach (var parameter in network.parameters())
            parameter.grad = full_like(parameter, double.NaN);
        Assert.That(new ClippedAdam(adam, network.parameters()).Step(1), Is.NaN);
        Assert.That(network.RecurrentWeights.isnan().all().item<bool>(), Is.True);
    }

    private static double Distance(Tensor a, Tensor b) => (a.to(float64) - b.to(float64)).abs().max().item<double>();
}
