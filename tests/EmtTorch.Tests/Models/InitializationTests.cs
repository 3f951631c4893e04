using EmtTorch.Configuration;
using EmtTorch.Models;
using EmtTorch.Settings;
using EmtTorch.Tasks;
using EmtTorch.Training;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

/// <summary>First weights, as a run begins with them.</summary>
public sealed class InitializationTests
{
    private static ElmanRnn First(params string[] overrides)
    {
        var configuration = ConfigurationFile.Parse(
            """{ "task": { "name": "t4" }, "model": { "hidden_size": 80, "dtype": "float64" } }""",
            overrides
        );
        return SequenceLearner.CreateNetwork(configuration, configuration.Task.D);
    }

    private static double Distance(Tensor a, Tensor b) => (a - b).abs().max().item<double>();

    [Test]
    public void TheDefaultIsTheNetworksOwn([Values] bool bias)
    {
        using var scope = NewDisposeScope();
        using var first = First("seed=7", $"model.bias={(bias ? "true" : "false")}");
        using var seed = manual_seed(7);
        using var own = new ElmanRnn(8, 80, bias, ScalarType.Float64);
        foreach (var (a, b) in first.parameters().Zip(own.parameters()))
            Assert.That(a.eq(b).all().item<bool>(), Is.True);
    }

    [Test]
    public void OrthogonalMatricesAreOrthogonalAndOfBothDeterminants()
    {
        using var scope = NewDisposeScope();
        var determinants = new List<double>();
        for (int seed = 1; seed <= 12; seed++)
        {
            using var uniform = First($"seed={seed}");
            using var network = First($"seed={seed}", "model.initialization=orthogonal");
            var w = network.RecurrentWeights;
            Assert.That(Distance(matmul(w.t(), w), eye(80, dtype: ScalarType.Float64)), Is.LessThan(1e-13));
            Assert.That(
                Distance(network.InputWeights, uniform.InputWeights)
                    + Distance(network.ReadoutWeights, uniform.ReadoutWeights),
                Is.Zero,
                "the other weights"
            );
            determinants.Add(linalg.det(w).item<double>());
        }
        // Without the columns' signs it would be the same for all: a reflection for each column.
        Assert.That(determinants.Select(Math.Sign).Distinct().Count(), Is.EqualTo(2));
    }

    [Test]
    public void WithoutNoiseTheCircuitIsExact([Values("t1", "t3", "t4")] string name)
    {
        using var scope = NewDisposeScope();
        using var network = First(
            $"task.name={name}",
            "model.initialization=circuit",
            "model.initialization_noise=0",
            "model.bias=true"
        );
        var task = LinearBinding.Named(name);
        // One write of u, then the linear network alone: what the rule makes of a history of zeros that ends with u.
        double[] u = [1, -2, 3, -4, 5, -6, 7, -8];
        var expected = task.Continue([.. Enumerable.Repeat(new double[8], 7), u], 40);
        var h = matmul(network.InputWeights, tensor(u)); // (H)
        Assert.That(matmul(network.ReadoutWeights, h).data<double>().ToArray(), Is.EqualTo(u).Within(1e-12));
        for (int t = 0; t < 40; t++)
        {
            h = matmul(network.RecurrentWeights, h);
            Assert.That(
                matmul(network.ReadoutWeights, h).data<double>().ToArray(),
                Is.EqualTo(expected[t]).Within(1e-11),
                $"step {t}"
            );
        }
        Assert.That(Distance(network.ReadoutWeights, network.InputWeights.t()), Is.Zero, "the basis is orthonormal");
        Assert.That(
            network.RecurrentBias!.count_nonzero().item<long>() + network.ReadoutBias!.count_nonzero().item<long>(),
            Is.Zero
        );
        // Nothing outside the basis: 64 dimensions, of which only those that are read again are kept.
        Assert.That(
            linalg.matrix_rank(network.RecurrentWeights).item<long>(),
            Is.EqualTo(linalg.matrix_rank(tensor(task.Phi())).item<long>())
        );
    }

    [Test]
    public void TheCircuitsNoiseIsUniformWeightsInAMeasure()
    {
        using var scope = NewDisposeScope();
        using var uniform = First("model.bias=true");
        using var exact = First("model.initialization=circuit", "model.initialization_noise=0", "model.bias=true");
        using var noisy = First("model.initialization=circuit", "model.initialization_noise=0.25", "model.bias=true");
        foreach (var ((u, e), n) in uniform.parameters().Zip(exact.parameters()).Zip(noisy.parameters()))
            Assert.That(Distance(n - e, 0.25 * u), Is.LessThan(1e-15));
    }

    [Test]
    public void InFloat32ItIsTheSameCircuit()
    {
        using var scope = NewDisposeScope();
        string[] circuit = ["model.initialization=circuit", "model.initialization_noise=0"];
        using var single = First([.. circuit, "model.dtype=float32"]);
        var w = single.RecurrentWeights.to(ScalarType.Float64);
        var phi = tensor(LinearBinding.Named("t4").Phi());
        Assert.That(
            linalg.matrix_norm(w).item<double>(),
            Is.EqualTo(linalg.matrix_norm(phi).item<double>()).Within(1e-5),
            "a change of orthonormal basis keeps the norm"
        );
    }

    [Test]
    public void ACircuitThatHasNoRoomIsRefused()
    {
        using var network = new ElmanRnn(8, 63);
        Assert.That(
            () => Initialization.Circuit(network, LinearBinding.Named("t1"), 0.1),
            Throws.ArgumentException.With.Message.Contains("64")
        );
    }

    /// <summary>As in a sweep, where finished runs are analysed while others begin.</summary>
    [Test]
    public void NetworksMadeOnOtherThreadsDoNotChangeASeedsWeights()
    {
        using var scope = NewDisposeScope();
        using var first = First();
        using var end = new CancellationTokenSource();
        var analyses = Task.Run(() =>
        {
            int made = 0;
            for (; !end.IsCancellationRequested; made++)
                new ElmanRnn(4, 16).Dispose();
            return made;
        });
        int wrong = 0;
        for (int i = 0; i < 200; i++)
        {
            using var network = First();
            if (Distance(network.RecurrentWeights, first.RecurrentWeights) > 0)
                wrong++;
        }
        end.Cancel();
        Assert.That(analyses.Result, Is.Positive);
        Assert.That(wrong, Is.Zero);
    }
}
