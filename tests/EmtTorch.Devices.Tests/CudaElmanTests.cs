using EmtTorch.Kernels;
using EmtTorch.Models;
using TorchSharp;
using static EmtTorch.Devices.Tests.TestDevice;
using static TorchSharp.torch;

namespace EmtTorch.Devices.Tests;

/// <summary>
/// The recurrence's own kernels on the device under test against Torch's operators there: of every size that divides a
/// block's threads in another way. Which kernel that is, the device says: on a GPU it must be the one of
/// <see cref="CudaElman"/>.
/// </summary>
public sealed class CudaElmanTests
{
    private static readonly int[] Sizes = [1, 7, 32, 65, 128, 200];

    [Test]
    public void OneNetworksStatesAndGradients(
        [Values(ScalarType.Float32, ScalarType.Float64)] ScalarType dtype,
        [ValueSource(nameof(Sizes))] int hidden,
        [Values(1, 3, 64)] int batch,
        [Values(1, 2, 50)] int steps
    )
    {
        using var scope = NewDisposeScope();
        int inputSteps = Math.Min(steps, 4);
        bool bias = steps != 50 || batch != 3; // without one the later steps have nothing but the product
        double size = 1 / Math.Sqrt(hidden);
        Tensor[] arguments =
        [
            Random(1, dtype, inputSteps, batch, 3),
            Random(2, dtype, hidden, 3),
            Random(3, dtype, hidden, hidden) * size,
            .. bias ? new[] { Random(4, dtype, hidden) } : [],
        ];
        Tensor[] Of() =>
            ResultsAndGradients(
                a => [ElmanRecurrence.Apply([a[0], a[1], a[2], (long)steps, .. a[3..]])[0]],
                arguments,
                Tested
            );
        AreNear(WithKernels(Of), WithoutKernels(Of), Rounding(dtype));
    }

    [Test]
    public void SeveralNetworksScoresAndGradients(
        [Values(ScalarType.Float32, ScalarType.Float64)] ScalarType dtype,
        [ValueSource(nameof(Sizes))] int hidden,
        [Values(1, 3, 64)] int batch,
        [Values("1", "2,1", "50", "50,50,50", "50,20,3")] string horizons
    )
    {
        using var scope = NewDisposeScope();
        int[] own = [.. horizons.Split(',').Select(int.Parse)];
        const int InputSteps = 5,
            Inputs = 4;
        Tensor[] Of()
        {
            manual_seed(2).Dispose();
            ElmanRnn[] networks = [.. own.Select(_ => new ElmanRnn(Inputs, hidden, bias: batch != 3, dtype))];
            using var ensemble = new ElmanEnsemble(networks, Tested);
            var input = Random(1, dtype, own.Length, InputSteps, batch, Inputs).to(Tested);
            var target = Random(2, dtype, own.Length, own[0], batch, Inputs).to(Tested);
            var (scores, gradient) = ensemble.Score(input, target, InputSteps, own, gradients: true);
            return [scores.cpu(), gradient!.cpu()];
        }
        AreNear(WithKernels(Of), WithoutKernels(Of), Rounding(dtype));
    }

    /// <summary>Where shared memory holds a part of W.</summary>
    [TestCase(ScalarType.Float32, 256)]
    [TestCase(ScalarType.Float32, 300)]
    [TestCase(ScalarType.Float64, 220)]
    public void TheLargestNetworks(ScalarType dtype, int hidden)
    {
        using var scope = NewDisposeScope();
        Tensor[] arguments =
        [
            Random(1, dtype, 2, 5, 3),
            Random(2, dtype, hidden, 3),
            Random(3, dtype, hidden, hidden) / Math.Sqrt(hidden),
            Random(4, dtype, hidden),
        ];
        Tensor[] Of() =>
            ResultsAndGradients(a => [ElmanRecurrence.Apply(a[0], a[1], a[2], 20L, a[3])[0]], arguments, Tested);
        AreNear(WithKernels(Of), WithoutKernels(Of), Rounding(dtype));
    }

    /// <summary>With as many sequences as fill the device, blocks take several each.</summary>
    [Test]
    public void ManyNetworks(
        [Values(ScalarType.Float32, ScalarType.Float64)] ScalarType dtype,
        [Values(1, 5, 20)] int thirds
    )
    {
        using var scope = NewDisposeScope();
        int networks = 3 * thirds;
        var given = Random(1, dtype, networks, 2, 67, 128).to(Tested);
        var weights = (Random(2, dtype, networks, 128, 128) * 0.09).to(Tested);
        if (Tested.type == DeviceType.CPU)
        {
            Assert.That(CudaElman.States(given, weights, null, 6, null), Is.Null);
            return;
        }
        var found = WithKernels(() => [CudaElman.States(given, weights, null, 6, null)!]);
        var h = given.select(1, 0).tanh();
        List<Tensor> states = [h];
        for (int t = 1; t < 6; t++)
            states.Add(h = (bmm(h, weights.transpose(1, 2)) + (t < 2 ? given.select(1, t) : zeros_like(h))).tanh());
        AreNear(found, [stack(states, 1).cpu()], Rounding(dtype));
    }

    /// <summary>W of 512 × 512 does not fit: Torch's operators serve, and nothing else is different.</summary>
    [Test]
    public void ALargeNetworkIsTheOperators()
    {
        using var scope = NewDisposeScope();
        Tensor[] arguments =
        [
            Random(1, float32, 2, 3, 4),
            Random(2, float32, 512, 4),
            Random(3, float32, 512, 512) * 0.04,
        ];
        long before = CudaElman.Launches;
        Compare(a => [ElmanRecurrence.Apply(a[0], a[1], a[2], 6L)[0]], arguments, Rounding(float32));
        Assert.That(CudaElman.Launches, Is.EqualTo(before));
    }

    /// <summary>
    /// One network alone: loss and gradients without autograd, and its optimizer's step in one launch.
    /// </summary>
    [Test]
    public void StepsOfOneNetwork(
        [Values(ScalarType.Float32, ScalarType.Float64)] ScalarType dtype,
        [Values(32, 128)] int hidden,
        [Values] bool bias
    )
    {
        using var scope = NewDisposeScope();
        Tensor[] Of()
        {
            manual_seed(3).Dispose();
            using var network = new ElmanRnn(4, hidden, bias, dtype).to(Tested);
            using var optimizer = optim.Adam(network.parameters(), lr: 1e-3);
            var adam = new ClippedAdam(optimizer, network.parameters());
            List<double> numbers = [];
            for (ulong step = 0; step < 5; step++)
            {
                var input = Random(step, dtype, 5, 16, 4).to(Tested);
                var target = Random(step + 9, dtype, 20, 16, 4).to(Tested);
                var (loss, accuracy) = network.Score(input, target, from: 5, gradients: true);
                numbers.AddRange([loss, accuracy, adam.Step(0.05)]);
            }
            return [tensor(numbers.ToArray()), .. network.parameters().Select(p => p.detach().cpu())];
        }
        long before = CudaAdam.Launches;
        var found = WithKernels(Of);
        Assert.That(CudaAdam.Launches - before, Is.EqualTo(Tested.type == DeviceType.CUDA ? 5 : 0), "launches of Adam");
        AreNear(found, WithoutKernels(Of), 10 * Rounding(dtype));
    }

    [Test]
    public void SeveralNetworksAdam([Values(ScalarType.Float32, ScalarType.Float64)] ScalarType dtype)
    {
        using var scope = NewDisposeScope();
        AdamSettings[] settings = [new(1e-2, 0, 1), new(1e-3, 0.1, 100), new(1e-2, 0.1, 1, DecoupledDecay: true)];
        Tensor[] Of()
        {
            Tensor Zeros() => zeros([3, 5000], dtype: dtype, device: Tested);
            using var adam = new EnsembleAdam(Zeros(), Zeros(), settings, [0L, 5, 7]);
            var parameters = Random(1, dtype, 3, 5000).to(Tested).clone();
            List<Tensor> norms = [];
            for (int step = 0; step < 4; step++)
                norms.Add(adam.Step(parameters, (parameters - 1) * (step + 1)));
            return [parameters.cpu(), adam.Means.cpu(), adam.Squares.cpu(), stack(norms).cpu()];
        }
        long before = CudaAdam.Launches;
        Simd.Used = true;
        var found = Of();
        Assert.That(CudaAdam.Launches - before, Is.EqualTo(Tested.type == DeviceType.CUDA ? 4 : 0), "launches of Adam");
        AreNear(found, WithoutKernels(Of), Rounding(dtype));
    }

    [Test]
    public void ATensorsMemoryIsFound()
    {
        using var scope = NewDisposeScope();
        var numbers = arange(10, dtype: float32);
        unsafe
        {
            Assert.That(((float*)CudaModule.Memory(numbers.narrow(0, 3, 4)))[0], Is.EqualTo(3));
        }
        Assert.That(CudaModule.Memory(null), Is.EqualTo(nint.Zero));
        Assert.That(CudaModule.Memory(arange(2, device: Tested)), Is.Not.EqualTo(nint.Zero));
    }

    private static Tensor[] WithKernels(Func<Tensor[]> work)
    {
        long before = CudaElman.Launches;
        Simd.Used = true;
        var results = work();
        if (Tested.type == DeviceType.CUDA)
            Assert.That(CudaElman.Launches, Is.GreaterThan(before), "the kernel was used");
        else
            Assert.That(CudaElman.Launches, Is.Zero);
        return results;
    }

    private static Tensor[] WithoutKernels(Func<Tensor[]> work)
    {
        long before = CudaElman.Launches;
        Simd.Used = false;
        try
        {
            return work();
        }
        finally
        {
            Simd.Used = true;
            Assert.That(CudaElman.Launches, Is.EqualTo(before));
        }
    }
}
