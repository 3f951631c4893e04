using EmtTorch.Settings;
using static TorchSharp.torch;

namespace EmtTorch.Tasks;

/// <summary>
/// A composition that is not linear: y(t) = −y(t−a) · y(t−b), component by component, on s variables of ±1s, max(a, b)
/// = s.
/// With +1 for true that is the exclusive or of the two delayed vectors.
/// </summary>
/// <remarks>
/// <para>
/// Over GF(2), with the bits (1 + y)/2, it is linear: each component is a shift register with feedback, x(t) = x(t−a) +
/// x(t−b) mod 2, whose history comes again after at most 2^s − 1 steps. So the continuation is one matrix product, the
/// bits times P, mod 2, and no loop over time.
/// </para>
/// <para>
/// A network without a bias can't learn it. Its outputs are odd functions of its inputs: −u gives −y, by induction from
/// h(0) = 0 and tanh(−x) = −tanh(x).
/// The output at step t is, but for its sign, the product of the inputs in row t of P: an even function where these are
/// an even number, as they are at the first step. There the network's sign is right for u or for −u and wrong for the
/// other: half of these bits are right, on average.
/// </para>
/// </remarks>
public sealed class Xor : ISequenceTask, IDisposable
{
    /// <summary>Its name in configurations.</summary>
    public const string Name = "xor";

    private readonly ScalarType _dtype;
    private readonly Device _device;
    private Tensor? _unrolled; // P (longest horizon so far, s)

    /// <param name="d">Numbers in a variable.</param>
    /// <param name="s">Variables in the history.</param>
    /// <param name="delays">a and b; null: 1 and s.</param>
    /// <param name="dtype">The numbers' type.</param>
    /// <param name="device">Where batches are generated.</param>
    /// <exception cref="ArgumentException">A rule of <see cref="Check"/> is broken.</exception>
    public Xor(int d, int s, IReadOnlyList<int>? delays, ScalarType dtype, Device device)
    {
        if (d < 1)
            throw new ArgumentException($"d is {d}: a variable has at least one number", nameof(d));
        if (Check(s, delays) is { Count: > 0 } broken)
            throw new ArgumentException(string.Join("; ", broken), nameof(delays));
        (Dimension, InputSteps, Delays, _dtype, _device) = (d, s, delays ?? [1, s], dtype, device);
    }

    /// <summary>Numbers in a variable, κ.</summary>
    public int Dimension { get; }

    /// <summary>Variables in the history, s: steps of the input phase.</summary>
    public int InputSteps { get; }

    /// <summary>a and b.</summary>
    public IReadOnlyList<int> Delays { get; }

    /// <summary>The rules that a size and delays break.</summary>
    public static IReadOnlyList<string> Check(int s, IReadOnlyList<int>? delays)
    {
        if (delays is null)
            return s >= 2 ? [] : [$"s is {s}: two different delays, 1 and s, need at least two variables"];
        if (delays.Count != 2 || delays[0] == delays[1])
        {
            return
            [
                $"the delays are [{string.Join(", ", delays)}]: there must be two, and different ones (y · y is always 1)",
            ];
        }

        var broken = delays
            .Where(delay => delay < 1 || delay > s)
            .Select(delay => $"a delay is {delay}: it must be from 1 to s = {s}")
            .ToList();
        if (broken.Count == 0 && delays.Max() != s)
        {
            broken.Add(
                $"the delays are [{string.Join(", ", delays)}]: one of them must be s = {s}, or the oldest variable would never be read"
            );
        }

        return broken;
    }

    /// <summary>One batch.</summary>
    /// <param name="batchSize">Sequences, B.</param>
    /// <param name="horizon">Steps of the output phase.</param>
    /// <param name="generator">Where the random numbers come from; on the same device.</param>
    /// <returns>Input (s, B, d) and target (horizon, B, d).</returns>
    public (Tensor Input, Tensor Target) Batch(long batchSize, long horizon, Generator generator)
    {
        // The history as one row, oldest variable first: the order in which the linear tasks draw, too.
        var history = Draw.Integers(0, 2, [batchSize, InputSteps * Dimension], generator, _device, _dtype)
            .mul_(2)
            .sub_(1);
        var input = history.view(batchSize, InputSteps, Dimension).transpose(0, 1).contiguous();
        return (input, Continue(input, horizon));
    }

    /// <summary>How a history goes on.</summary>
    /// <param name="history">(s, …) of ±1s, oldest variable first.</param>
    /// <param name="horizon">How many variables to continue by.</param>
    /// <returns>(horizon, …).</returns>
    /// <exception cref="ArgumentException">The history is of other numbers than the task's type, or on another
    /// device.</exception>
    public Tensor Continue(Tensor history, long horizon)
    {
        Require.Type(history, _dtype);
        using var scope = NewDisposeScope();
        if (_unrolled is null || _unrolled.shape[0] < horizon)
        {
            _unrolled?.Dispose();
            _unrolled = tensor(Unroll((int)horizon), _dtype, _device).DetachFromDisposeScope();
        }
        var shape = history.shape;
        shape[0] = horizon;
        var bits = history.reshape(InputSteps, -1).add(1).div(2);
        // A sum of at most s ones, which every type of number holds exactly.
        return (matmul(_unrolled.narrow(0, 0, horizon), bits) % 2)
            .mul_(2)
            .sub_(1)
            .view(shape)
            .MoveToOuterDisposeScope();
    }

    /// <summary>
    /// After how many steps every history has come again, the period of x^s = x^{s−a} + x^{s−b} over GF(2); null where
    /// it is above a limit.
    /// </summary>
    public int? Period(int limit)
    {
        var p = Unroll(limit);
        bool Same(int t) =>
            Enumerable
                .Range(0, InputSteps)
                .All(i =>
                    t + i < InputSteps
                        ? i == t + i
                        : Enumerable.Range(0, InputSteps).All(k => p[t + i - InputSteps, k] == (k == i ? 1 : 0))
                );
        for (int t = 1; t <= limit; t++)
        {
            if (Same(t))
                return t;
        }

        return null;
    }

    /// <summary>P: row t says which of the s inputs are added, mod 2, for step s + t.</summary>
    internal double[,] Unroll(int horizon)
    {
        int s = InputSteps;
        double Entry(double[,] rows, int t, int k) => t < s ? (t == k ? 1 : 0) : rows[t - s, k];
        var p = new double[horizon, s];
        for (int t = 0; t < horizon; t++)
        {
            for (int k = 0; k < s; k++)
                p[t, k] = Entry(p, s + t - Delays[0], k) == Entry(p, s + t - Delays[1], k) ? 0 : 1;
        }

        return p;
    }

    public void Dispose() => _unrolled?.Dispose();
}

/// <summary>xor in a configuration, with d, s and delays.</summary>
[Named(Xor.Name)]
internal sealed class XorTask : NamedTask
{
    public override ISequenceTask Create(TaskConfiguration task, ScalarType dtype, Device device) =>
        new Xor(task.D, task.S, task.Delays, dtype, device);

    public override IEnumerable<(string Key, string Message)> Check(TaskConfiguration task) =>
        Xor.Check(task.S, task.Delays).Select(message => (task.Delays is null ? "s" : "delays", message));

    public override string WhyNotLinear => ": its rule is a product of two variables";

    public override string? WhyBias =>
        "without a bias −u gives −y, but the exclusive or of two inputs is the same for both, "
        + "so that no training could learn it";
}
