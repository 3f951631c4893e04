using EmtTorch.Models;
using EmtTorch.Models.Fused;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace EmtTorch.Tests.Models;

public sealed class ClippedAdamTests
{
    private static readonly string[] Paths = Enum.GetNames<SimdPath>();
    private SimdPath _path;

    [SetUp]
    public void Remember() => _path = Simd.Path;

    [TearDown]
    public void Restore() => Simd.Path = _path;

    [Test, Combinatorial]
    public void AHundredStepsAreTheOptimizers([ValueSource(nameof(Paths))] string path, [Values(0, 0.1)] double weightDecay, [Values(0.5, 1e9)] double largestNorm, [Values(ScalarType.Float32, ScalarType.Float64)] ScalarType dtype)
    {
        if (!Simd.Has(Simd.Path = Enum.Parse<SimdPath>(path))) Assert.Ignore($"this processor has no {path}");
        using var scope = NewDisposeScope();
        using var seed = manual_seed(3);
        using var fused = new ElmanRnn(3, 13, bias: true, dtype);
        using var reference = new ElmanRnn(3, 13, bias: true, dtype);
        using (no_grad())
            foreach (var (a, b) in reference.parameters().Zip(fused.parameters())) a.copy_(b);
        using var fusedAdam = optim.Adam(fused.parameters(), lr: 0.01, weight_decay: weightDecay);
        using var adam = optim.Adam(reference.parameters(), lr: 0.01, weight_decay: weightDecay);
        var clipped = new ClippedAdam(fusedAdam, fused.parameters());
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
            Assert.That(Distance(fused.RecurrentWeights.grad!, reference.RecurrentWeights.grad!), Is.LessThan(1e-6), "the clipped gradient");
        }
        foreach (var (a, b) in reference.parameters().Zip(fused.parameters())) Assert.That(Distance(a, b), Is.LessThan(1e-6));
        foreach (var (a, b) in adam.state_dict().State.Cast<Adam.State>().Zip(fusedAdam.state_dict().State.Cast<Adam.State>()))
        {
            Assert.That(b.step, Is.EqualTo(100));
            Assert.That(Distance(a.exp_avg, b.exp_avg), Is.LessThan(1e-6));
            Assert.That(Distance(a.exp_avg_sq, b.exp_avg_sq), Is.LessThan(1e-6));
        }
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
        foreach (var parameter in network.parameters()) parameter.grad = full_like(parameter, double.NaN);
        Assert.That(new ClippedAdam(adam, network.parameters()).Step(1), Is.NaN);
        Assert.That(network.RecurrentWeights.isnan().all().item<bool>(), Is.True);
    }

    private static double Distance(Tensor a, Tensor b) => (a.to(float64) - b.to(float64)).abs().max().item<double>();
}
