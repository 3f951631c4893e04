using EmtTorch.Settings;
using static TorchSharp.torch;

namespace EmtTorch.Tasks;

/// <summary>
/// The flip-flop task (Sussillo and Barak 2013, Opening the black box; the generator is that of FixedPointFinder's
/// example): each channel is a bit that pulses of +1 and -1 set, and that is to be kept until the next pulse.
/// </summary>
/// <remarks>
/// At every step and on every channel there is a pulse with the probability p, its sign fair, and on the first step
/// there is one for certain. The target is the sign of the channel's last pulse, this step's included, at every step.
/// </remarks>
public sealed class FlipFlop : ISequenceTask
{
    /// <summary>Its name in configurations.</summary>
    public const string Name = "flip_flop";

    private readonly double _pulseProbability;
    private readonly ScalarType _dtype;
    private readonly Device _device;

    /// <param name="bits">Channels.</param>
    /// <param name="dtype">The numbers' type.</param>
    /// <param name="device">Where batches are generated.</param>
    /// <param name="pulseProbability">p; 0.5 as in FixedPointFinder's example.</param>
    /// <exception cref="ArgumentException">There is no channel, or p is not a probability above 0.</exception>
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

    /// <summary>Channels.</summary>
    public int Dimension { get; }

    /// <summary>None: every output counts, so that the horizon is the whole sequence.</summary>
    public int InputSteps => 0;

    /// <summary>One batch.</summary>
    /// <param name="batchSize">Sequences, B.</param>
    /// <param name="steps">Steps of a sequence, T; 64 in FixedPointFinder's example.</param>
    /// <param name="generator">Where the random numbers come from; on the same device.</param>
    /// <returns>Input (T, B, bits) of -1, 0 and 1, and target (T, B, bits) of -1 and 1.</returns>
    public (Tensor Input, Tensor Target) Batch(long batchSize, long steps, Generator generator)
    {
        long[] shape = [steps, batchSize, Dimension];
        var pulses = Draw.Bernoulli(_pulseProbability, shape, generator, _device, _dtype);
        pulses.narrow(0, 0, 1).fill_(1);
        var signs = Draw.Integers(0, 2, shape, generator, _device, _dtype).mul_(2).sub_(1);
        var input = pulses.mul(signs); // (T, B, bits)
        // When the last pulse was: a pulse's own step, 0 elsewhere, and of these the largest so far.
        var when = pulses
            .to_type(ScalarType.Int64)
            .mul_(arange(steps, dtype: ScalarType.Int64, device: _device).view(steps, 1, 1))
            .cummax(0)
            .values;
        return (input, input.gather(0, when));
    }
}

/// <summary>flip_flop in a configuration: d is the number of bits.</summary>
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
}
