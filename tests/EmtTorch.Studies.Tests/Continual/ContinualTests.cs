using EmtTorch.Analysis;
using EmtTorch.Configuration;
using EmtTorch.Models;
using EmtTorch.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Studies.Tests;

public sealed class ContinualTests
{
    [Test]
    public void TheFiguresOfAMatrixAreThoseComputedByHand()
    {
        var m = new AccuracyMatrix(
            [
                [0.9, 0.3, 0.2],
                [0.95, 0.8, 0.1],
                [0.5, 0.6, 1.0],
            ],
            [0.1, 0.2, 0.3]
        );
        using (Assert.EnterMultipleScope())
        {
            Assert.That(m.Average, Is.EqualTo((0.5 + 0.6 + 1.0) / 3).Within(1e-15));
            Assert.That(m.BackwardTransfer, Is.EqualTo(((0.5 - 0.9) + (0.6 - 0.8)) / 2).Within(1e-15));
            Assert.That(
                m.Forgetting,
                Is.EqualTo(((0.95 - 0.5) + (0.8 - 0.6)) / 2).Within(1e-15),
                "the best before the end, which may come after the task's own stage"
            );
            var before = new AccuracyMatrix(
                [
                    [1, 0.6, 0],
                    [1, 0.5, 0],
                    [1, 0.4, 1],
                ],
                [0, 0, 0]
            );
            Assert.That(before.Forgetting, Is.EqualTo((0 + (0.6 - 0.4)) / 2).Within(1e-15), "and may come before it");
            Assert.That(m.ForwardTransfer, Is.EqualTo(((0.3 - 0.2) + (0.1 - 0.3)) / 2).Within(1e-15));
            Assert.That(m.Learned, Is.EqualTo((0.9 + 0.8 + 1.0) / 3).Within(1e-15));
            var one = new AccuracyMatrix(
                [
                    [0.7],
                ],
                [0.5]
            );
            Assert.That(
                (one.Average, one.BackwardTransfer, one.Forgetting, one.ForwardTransfer),
                Is.EqualTo((0.7, 0.0, 0.0, 0.0))
            );
            Assert.That(
                () =>
                    new AccuracyMatrix(
                        [
                            [1, 1],
                        ],
                        [1]
                    ),
                Throws.ArgumentException
            );
        }
    }

    /// <summary>The exact circuit of T4 in a random basis, as a checkpoint.</summary>
    private static (RunConfiguration Task, SafetensorsFile File, ElmanRnn Network) Circuit()
    {
        var task = ConfigurationFile.Parse(
            """{ "task": { "name": "t4" }, "model": { "hidden_size": 80, "dtype": "float64", "initialization": "circuit", "initialization_noise": 0 } }"""
        );
        using var _ = manual_seed(1);
        using var basis = linalg.svd(randn(80, 64, dtype: ScalarType.Float64), fullMatrices: false).U;
        var phi = Analysis.Circuit.Phi(task.Task.ToLinearBinding());
        var network = new ElmanRnn(8, 80, dtype: ScalarType.Float64);
        using (no_grad())
        {
            network.RecurrentWeights.copy_(matmul(matmul(basis, phi), basis.t()));
            network.InputWeights.copy_(basis.narrow(1, 56, 8));
            network.ReadoutWeights.copy_(basis.narrow(1, 56, 8).t());
        }
        var path = Path.GetTempFileName();
        SafetensorsFile.Write(
            path,
            network
                .named_parameters()
                .ToDictionary(
                    p => p.name,
                    p => new SafetensorsTensor(
                        "F64",
                        p.parameter.shape,
                        p.parameter.detach().contiguous().bytes.ToArray()
                    )
                ),
            new Dictionary<string, string>()
        );
        var file = SafetensorsFile.Read(path);
        File.Delete(path);
        return (task, file, network);
    }

    [Test]
    public void OldMemoriesThatAreUntouchedAreWhole()
    {
        using var scope = NewDisposeScope();
        var (task, file, network) = Circuit();
        using var memories = OldMemories.Of(task, file)!;
        var measures = memories.Measure(network.RecurrentWeights);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(measures["phi_error"], Is.LessThan(1e-8));
            Assert.That(measures["leak"], Is.LessThan(1e-8));
            Assert.That(measures["intrusion"], Is.LessThan(1e-8));
            Assert.That(measures["overlap"], Is.EqualTo(1).Within(1e-8));
        }
    }

    [Test]
    public void WhatIsDoneToThemIsSeen()
    {
        using var scope = NewDisposeScope();
        var (task, file, network) = Circuit();
        using var memories = OldMemories.Of(task, file)!;
        var (from, into, _) = OldMemories.Directions(task, file);
        var (r, l, w) = (from!, into!, network.RecurrentWeights.detach());
        using var seeded = manual_seed(2);
        Tensor Outside(Tensor span) =>
            randn(80, 1, dtype: ScalarType.Float64) is var x ? x - matmul(span, matmul(span.t(), x)) : null!;
        // Out of the memories: from the first direction to somewhere outside of them.
        var outside = Outside(r);
        var leaking = memories.Measure(w + matmul(outside / outside.norm(), r.narrow(1, 0, 1).t()));
        // Into them: from outside to the first direction.
        var beside = Outside(r);
        var written = memories.Measure(w + matmul(r.narrow(1, 0, 1), (beside / beside.norm()).t()));
        // All of it turned round.
        var turned = memories.Measure(-w);
        // Elsewhere alone, from outside to outside: nothing of theirs.
        var elsewhere = memories.Measure(w + matmul(Outside(l), Outside(r).t()) * 1e-3);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(r.shape, Is.EqualTo(new long[] { 80, 36 }));
            Assert.That(leaking["leak"], Is.GreaterThan(0.05));
            Assert.That(leaking["phi_error"], Is.LessThan(1e-8), "inside they move as before");
            Assert.That(written["intrusion"], Is.GreaterThan(0.05));
            Assert.That(written["leak"] + written["phi_error"], Is.LessThan(1e-8));
            Assert.That(turned["phi_error"], Is.EqualTo(2).Within(1e-6));
            Assert.That(elsewhere["leak"] + elsewhere["phi_error"] + elsewhere["intrusion"], Is.LessThan(1e-6));
        }
    }

    [Test]
    public void TheDirectionsAreTheSpansOfTheMemoriesAndOfTheirDual()
    {
        using var scope = NewDisposeScope();
        var (task, file, _) = Circuit();
        using var weights = NetworkWeights.Read(file);
        using var memories = VariableMemories.Find(weights, task.Task.ToLinearBinding());
        var (r, l, p) = OldMemories.Directions(task, file);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(
                Norm(memories.Basis - matmul(r!, matmul(r!.t(), memories.Basis))),
                Is.LessThan(1e-8 * Norm(memories.Basis))
            );
            Assert.That(Norm(p! - matmul(memories.Basis, memories.Dual)), Is.LessThan(1e-7), "ΨΨ*");
            Assert.That(
                Norm(memories.Dual - matmul(matmul(memories.Dual, l!), l!.t())),
                Is.LessThan(1e-8 * Norm(memories.Dual))
            );
        }
    }

    private static double Norm(Tensor tensor) => tensor.square().sum().sqrt().item<double>();
}
