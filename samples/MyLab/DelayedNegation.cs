using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using EmtTorch.Settings;
using EmtTorch.Tasks;
using static TorchSharp.torch;

namespace MyLab;

[Named("delayed_negation")]
[Description("A vector of ±1 is shown once; after a delay the network answers with its negation.")]
public sealed record DelayedNegationSettings : SequenceTaskSettings
{
    [Description("Numbers in the vector.")]
    [Range(1, 1024)]
    public int Size { get; init; } = 4;

    [Description("Steps between the vector and the first answer.")]
    [Range(0, 1000)]
    public int Delay { get; init; } = 5;

    public override ISequenceTask Create(ScalarType dtype, Device device) => new DelayedNegation(this, dtype, device);
}

public sealed class DelayedNegation(DelayedNegationSettings settings, ScalarType dtype, Device device) : ISequenceTask
{
    public int Dimension => settings.Size;

    public int InputSteps => settings.Delay + 1;

    public (Tensor Input, Tensor Target) Batch(long batchSize, long horizon, Generator generator)
    {
        // Drawn on the CPU, so that batches are the same on every device.
        var shown = randint(0, 2, [1, batchSize, settings.Size], dtype: dtype, generator: generator) * 2 - 1; // (1, B, size)
        var input = cat([shown, zeros([settings.Delay, batchSize, settings.Size], dtype: dtype)]); // (1 + delay, B, size)
        var target = (-shown).expand(horizon, -1, -1).contiguous(); // (horizon, B, size)
        return (input.to(device), target.to(device));
    }
}
