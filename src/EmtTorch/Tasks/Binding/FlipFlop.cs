using EmtTorch.Settings;
using static TorchSharp.torch;

namespace EmtTorch.Tasks;

/// <summary>
/// The flip-flop task (Sussillo and Barak 2013, Opening the black box): each channel is a bit that pulses of +1 and −1
/// set, and that the network keeps until the next pulse. Batches are made as in the example of FixedPointFinder.
/// </summary>
/// <remarks>
/// At every step each channel has a pulse with probability p, and at the first step always. Its sign is +1 or −1 with
/// equal probability. The target at every step is the sign of the channel's last pulse, including one at this step.
/// </remarks>
public sealed class FlipFlop : ISequenceTask
{
    /// <summary>The task's name in configurations.</summary>
    public const string Name = "flip_flop";

    private readonly double _pulseProbability;
    private readonly ScalarType _dtype;
    private readonly Device _device;

    /// <summary>Creates the task.</summary>
    /// <param name="bits">The number of channels.</param>
    /// <param name="dtype">The numbers' type.</param>
    /// <param name="device">The device of the batches.</param>
    /// <param name="pulseProbability">p, by default as in FixedPointFinder's example.</param>
    /// <exception cref="ArgumentException">There is no channel, or p is not above 0 and at most 1.</exception>
    public FlipFlop(int bits, ScalarType dtype, Device device, double pulseProbability = 0.5)
    {
        if (bits < 1)
            throw new ArgumentException($"there are {bits} bits: a flip-flop has at least one", nameof(bits));
        if (pulseProbability is not (> 0 and <= 1))
        {
            throw new ArgumentException(
                $"the probability of a pulse is {pulseProbability}: it must be above 0, up to 1",
                nameof(pulseProbability)
            );
        }

        (Dimension, _pulseProbability, _dtype, _device) = (bits, pulseProbability, dtype, device);
    }

    /// <summary>The number of channels.</summary>
    public int Dimension { get; }

    /// <summary>0: every output counts, and the horizon is the length of the sequence.</summary>
    public int InputSteps => 0;

    /// <summary>Makes a batch.</summary>
    /// <param name="batchSize">B, the number of sequences.</param>
    /// <param name="steps">T, the length of sequences; 64 in FixedPointFinder's example.</param>
    /// <param name="generator">The generator of random numbers, on the CPU.</param>
    /// <returns>Input (T, B, bits) of −1, 0 and 1, and target (T, B, bits) of −1 and 1.</returns>
    public (Tensor Input, Tensor Target) Batch(long batchSize, long steps, Generator generator)
    {
        long[] shape = [steps, batchSize, Dimension];
        var pulses = Draw.Bernoulli(_pulseProbability, shape, generator, _device, _dtype);
        pulses.narrow(0, 0, 1).fill_(1);
        var signs = Draw.Integers(0, 2, shape, generator, _device, _dtype).mul_(2).sub_(1);
        var input = pulses.mul(signs); // (T, B, bits)
        // The step of the last pulse: each pulse's step (0 where there is none), and of these the largest so far.
        var when = pulses
            .to_type(ScalarType.Int64)
            .mul_(arange(steps, dtype: ScalarType.Int64, device: _device).view(steps, 1, 1))
            .cummax(0)
            .values;
        return (input, input.gather(0, when));
    }
}

/// <summary>The task flip_flop of a configuration; d is the number of bits.</summary>
[Named(FlipFlop.Name)]
internal sealed class FlipFlopTask : NamedTask
{
    public override ISequenceTask Create(TaskConfiguration task, ScalarType dtype, Device device) =>
        new FlipFlop(task.D, dtype, device);

    public override IEnumerable<(string Key, string Message)> Check(TaskConfiguration task) =>
        task.S == TaskConfiguration.UsualS
            ? []
            :
            [
                (
                    "s",
                    $"found {task.S}; {FlipFlop.Name} has no history, so that s means nothing there: leave it out "
                        + "(d is the number of bits, training.curriculum.horizons are the lengths of sequences)"
                ),
            ];

    public override string WhyNotLinear => "";

    public override bool HasHistory => false;
}
