using EmtTorch.Configuration;
using EmtTorch.Models;
using EmtTorch.Training;
using Serilog;

namespace EmtTorch.Tests;

/// <summary>What takes more memory than there is, is refused with its size.</summary>
public sealed class RunMemoryTests : InTemporaryFolder
{
    private const long Gigabyte = 1L << 30;

    private static RunConfiguration Run(params string[] settings) =>
        ConfigurationFile.Parse(
            """{"task": {"name": "repeat_copy", "d": 8, "s": 8}, "model": {"hidden_size": 128}, "device": "cpu"}""",
            settings
        );

    // By hand: 1,000,008 steps of 64 sequences of 128 states and 8 numbers, of 4 bytes each; 2.2e9 states.
    [TestCase(
        "evaluation.horizon=1000000",
        32,
        "evaluation.batch_size: found 64 with evaluation.horizon 1000000, ",
        "32.4 GiB"
    )]
    // 208 steps of 1,048,576 sequences of 128 + 8 numbers.
    [TestCase("evaluation.batch_size=1048576", 100, "evaluation.batch_size: found 1048576 with ", "110.5 GiB")]
    // The same in training, with horizons up to 100, and the gradients of the states.
    [TestCase("training.batch_size=1048576", 100, "training.batch_size: found 1048576 with ", "111.4 GiB")]
    // 65,536² weights of 4 bytes, with their gradients and two moments: 64 GiB.
    [TestCase("model.hidden_size=65536", 63, "model.hidden_size: found 65536, ", "64 GiB")]
    public void WhatDoesNotFitIsRefusedWithItsSize(string setting, int gigabytes, string start, string size)
    {
        var problem = RunMemory.FindProblem(Run(setting), machine: gigabytes * Gigabyte)?.ToString();
        Assert.That(problem, Does.StartWith(start).And.Contains($"at least {size}"));
        Assert.That(problem, Does.Contain($"{gigabytes} GiB, the memory of this machine"));
        Assert.That(RunMemory.FindProblem(Run(setting), machine: 200 * Gigabyte), Is.Null);
    }

    [Test]
    public void RunsAtOnceCountTogether()
    {
        var run = Run("model.hidden_size=16384"); // 4 GiB
        Assert.That(RunMemory.FindProblem(run, 3, 16 * Gigabyte), Is.Null);
        Assert.That(
            RunMemory.FindProblem(run, 5, 16 * Gigabyte)?.ToString(),
            Does.StartWith("--jobs: 5 runs at once take at least 20")
        );
    }

    [Test]
    public void GeneratedTextCountsWhatAttentionKeeps()
    {
        var model = new ModelConfiguration
        {
            Type = "episodic_transformer",
            HiddenSize = 256,
            Layers = 2,
        };
        // 2 blocks' keys and values of 256 numbers of 4 bytes: 4096 bytes a character, and 8 for itself.
        Assert.That(RunMemory.FindProblem(model, 1_000_000, 4 * Gigabyte), Is.Null);
        Assert.That(RunMemory.FindProblem(model, 1_000_000, 3 * Gigabyte), Does.Contain("3.8 GiB"));
        Assert.That(RunMemory.FindProblem(model with { Window = 100 }, 1_000_000, Gigabyte), Is.Null);
    }

    [Test]
    public void TheMachineHasMemory() =>
        Assert.That(RunMemory.MachineBytes(), Is.GreaterThan(Gigabyte / 4).And.LessThan(Gigabyte << 14));

    [Test]
    public void ARunThatDoesNotFitIsNotBegun()
    {
        var run = Run("evaluation.horizon=1000000", "evaluation.batch_size=1048576");
        var folder = new RunFolder(Path.Combine(Folder, "run"));
        Assert.That(
            () => new TrainingRun(run, folder, Log.Logger).Train(),
            Throws.InstanceOf<TrainingException>().With.Message.Contains("evaluation.batch_size")
        );
        Assert.That(Directory.Exists(folder.Path), Is.False);
    }
}
