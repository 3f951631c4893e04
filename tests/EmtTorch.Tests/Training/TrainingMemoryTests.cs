using EmtTorch.Configuration;
using EmtTorch.Kernels;
using EmtTorch.Training;
using Serilog.Core;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

/// <summary>
/// A process that trains holds no more after many steps than after a few: resident memory, TorchSharp's functions of
/// autograd, and its tensors. The longer form, for thousands of steps of real configurations, is `Benchmarks memory`.
/// </summary>
[Category(Layer.Slow)] // memory that leaks is seen after hundreds of steps
public sealed class TrainingMemoryTests : InTemporaryFolder
{
    private const string Elman = """
        {
          "name": "elman", "device": "cpu", "task": { "name": "repeat_copy", "d": 4, "s": 4 },
          "model": { "hidden_size": 64 },
          "training": { "steps": 300, "batch_size": 64, "log_interval": 10, "curriculum": { "horizons": [100] } },
          "evaluation": { "horizon": 50, "batches": 1, "batch_size": 64, "interval": 50 },
          "checkpoints": { "interval": 50 }
        }
        """;

    private const string Transformer = """
        {
          "name": "transformer", "device": "cpu", "task": { "segment_recall": { "pairs": 4, "segment_length": 32,
            "keys": 16, "values": 16, "noise": 16 } },
          "model": {
            "type": "episodic_transformer", "hidden_size": 64, "layers": 2, "heads": 4, "window": 32,
            "memory": "fast_weights", "write": "delta", "read": "linear", "gate": true, "drift": true
          },
          "training": { "steps": 120, "batch_size": 16, "log_interval": 10, "curriculum": { "horizons": [2] } },
          "evaluation": { "horizon": 4, "batches": 1, "batch_size": 16, "interval": 40 },
          "checkpoints": { "interval": 40 }
        }
        """;

    private sealed record Held(long Step, long Resident, int Nodes, long Tensors);

    // (T, B, H) is 2.6 MB a step, and 240 steps 640 MB.
    [TestCase(true)]
    [TestCase(false)]
    public void AnElmanNetworkHoldsNoMore(bool kernel)
    {
        Simd.Used = kernel;
        try
        {
            var (before, after) = Train(Elman, from: 60);
            Assert.That((after.Nodes, after.Tensors), Is.EqualTo((before.Nodes, before.Tensors)), "nodes, tensors");
            Assert.That(after.Resident - before.Resident, Is.LessThan(100 << 20), "bytes");
        }
        finally
        {
            Simd.Used = true;
        }
    }

    // Fast weights and drift save 1.6 MB a block and step, a megabyte more is attention's; 80 steps are 300 MB. Tensors
    // are not counted: TorchSharp counts each undefined gradient for ever.
    [Test]
    public void ATransformerHoldsNoMore()
    {
        var (before, after) = Train(Transformer, from: 40);
        Assert.That(after.Nodes, Is.EqualTo(before.Nodes), "nodes");
        Assert.That(after.Resident - before.Resident, Is.LessThan(100 << 20), "bytes");
    }

    private (Held Before, Held After) Train(string json, long from)
    {
        var held = new List<Held>();
        var configuration = ConfigurationFile.Parse(json, [$"out={Folder}"]);
        new TrainingRun(configuration, RunFolder.Of(configuration), Logger.None)
        {
            Progress = p =>
            {
                GC.Collect();
                GC.WaitForPendingFinalizers();
                held.Add(new(p.Metrics.Step, ProcessMemory.Now.Resident, AutogradNodes.Count, Tensor.TotalCount));
            },
        }.Train();
        foreach (var h in held)
        {
            TestContext.Out.WriteLine(
                $"step {h.Step}: {h.Resident / 1e6:0.0} MB, {h.Nodes} nodes, {h.Tensors} tensors"
            );
        }

        return (held.Single(h => h.Step == from), held[^1]);
    }
}
