using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using EmtTorch.Settings;
using static TorchSharp.torch;

namespace EmtTorch.Tasks;

/// <summary>The task delayed_negation of a configuration.</summary>
[Named("delayed_negation")]
[Description("A vector of ±1 is shown once; after a delay the network answers with its negation.")]
internal sealed record DelayedNegationSettings : SequenceTaskSettings
{
    [Description("Numbers in the vector.")]
    [Range(1, 1024)]
    public int Size { get; init; } = 4;

    [Description("Steps between the vector and the first answer.")]
    [Range(0, 1000)]
    public int Delay { get; init; } = 5;

    public override ISequenceTask Create(ScalarType dtype, Device device) => new DelayedNegation(this, dtype, device);
}

/// <summary>Shows a vector of ±1 once. The target is its negation at every step after the delay.</summary>
internal sealed class DelayedNegation(DelayedNegationSettings settings, ScalarType dtype, Device device) : ISequenceTask
{
    public int Dimension => settings.Size;

    public int InputSteps => settings.Delay + 1;

    public (Tensor Input, Tensor Target) Batch(long batchSize, long horizon, Generator generator)
    {
        // Drawn on the CPU, so that batches are the same on every device.
        long[] one = [1, batchSize, settings.Size];
        var shown = randint(0, 2, one, dtype: dtype, generator: generator) * 2 - 1; // (1, B, d)
        var input = cat([shown, zeros([settings.Delay, batchSize, settings.Size], dtype: dtype)]); // (1 + delay, B, d)
        var target = (-shown).expand(horizon, -1, -1).contiguous(); // (horizon, B, d)
        return (input.to(device), target.to(device));
    }
}
