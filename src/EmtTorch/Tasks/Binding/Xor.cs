using EmtTorch.Settings;
using static TorchSharp.torch;

namespace EmtTorch.Tasks;

/// <summary>
/// A composition that is not linear: y(t) = −y(t−a) · y(t−b), component by component, on s variables of ±1 with
/// max(a, b) = s. With +1 for true this is the exclusive or of the two delayed vectors.
/// </summary>
/// <remarks>
/// <para>
/// In bits x = (1 + y)/2 the rule is linear over GF(2): each component is a shift register with feedback,
/// x(t) = x(t−a) + x(t−b) mod 2, whose history repeats after at most 2^s − 1 steps. So the continuation is one matrix
/// product, P times the bits, mod 2, and no loop over time.
/// </para>
/// <para>
/// A network without biases cannot learn this task. Its outputs are odd functions of its inputs: −u gives −y, by
/// induction from h(0) = 0 and tanh(−x) = −tanh(x). The target at step t is, up to its sign, the product of the inputs
/// in row t of P. If their number is even, as at the first step, the target is an even function. Then the output's sign
/// is right for only one of u and −u, so that on average half of these bits are right.
/// </para>
/// </remarks>
public sealed class Xor : ISequenceTask, IDisposable
{
    /// <summary>The task's name in configurations.</summary>
    public const string Name = "xor";

    private readonly ScalarType _dtype;
    private readonly Device _device;
    private Tensor? _unrolled; // P (longest horizon so far, s)

    /// <summary>Creates the task.</summary>
    /// <param name="d">The size of a variable.</param>
    /// <param name="s">The number of variables in the history.</param>
    /// <param name="delays">a and b, different and from 1 to s, one of them s; null for 1 and s.</param>
    /// <param name="dtype">The numbers' type.</param>
    /// <param name="device">The device of the batches.</param>
    /// <exception cref="ArgumentException">d is below 1, or the delays are not as described.</exception>
    public Xor(int d, int s, IReadOnlyList<int>? delays, ScalarType dtype, Device device)
    {
        if (d < 1)
            throw new ArgumentException($"d is {d}: a variable has at least one number", nameof(d));
        if (Check(s, delays) is { Count: > 0 } broken)
            throw new ArgumentException(string.Join("; ", broken), nameof(delays));
        (Dimension, InputSteps, Delays, _dtype, _device) = (d, s, delays ?? [1, s], dtype, device);
    }

    /// <summary>d, the size of a variable.</summary>
    public int Dimension { get; }

    /// <summary>s, the number of variables in the history and of steps in the input phase.</summary>
    public int InputSteps { get; }

    /// <summary>a and b.</summary>
    public IReadOnlyList<int> Delays { get; }

    /// <summary>Returns the rules that a size and delays break.</summary>
    internal static IReadOnlyList<string> Check(int s, IReadOnlyList<int>? delays)
    {
        if (delays is null)
            return s >= 2 ? [] : [$"s is {s}: two different delays, 1 and s, need at least two variables"];
        if (delays.Count != 2 || delays[0] == delays[1])
        {
            return
            [
                $"the delays are [{string.Join(", ", delays)}]: there must be two, and different ones "
                    + "(y · y is always 1)",
            ];
        }

        var broken = delays
            .Where(delay => delay < 1 || delay > s)
            .Select(delay => $"a delay is {delay}: it must be from 1 to s = {s}")
            .ToList();
        if (broken.Count == 0 && delays.Max() != s)
        {
            broken.Add(
                $"the delays are [{string.Join(", ", delays)}]: one of them must be s = {s}, or the oldest variable "
                    + "would never be read"
            );
        }

        return broken;
    }

    /// <inheritdoc/>
    public (Tensor Input, Tensor Target) Batch(long batchSize, long horizon, Generator generator)
    {
        // The history as one row, oldest variable first, drawn in the same order as by linear tasks.
        var history = Draw.Integers(0, 2, [batchSize, InputSteps * Dimension], generator, _device, _dtype)
            .mul_(2)
            .sub_(1);
        var input = history.view(batchSize, InputSteps, Dimension).transpose(0, 1).contiguous();
        return (input, Continue(input, horizon));
    }

    /// <summary>Continues a history.</summary>
    /// <param name="history">Variables of ±1 (s, …), oldest first.</param>
    /// <param name="horizon">The number of variables to add.</param>
    /// <returns>The added variables (horizon, …).</returns>
    /// <exception cref="ArgumentException">The history has another type than the task.</exception>
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
        // Each sum is of at most s ones, which every type of numbers represents exactly.
        return (matmul(_unrolled.narrow(0, 0, horizon), bits) % 2)
            .mul_(2)
            .sub_(1)
            .view(shape)
            .MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Finds the number of steps after which every history repeats, the period of x^s = x^{s−a} + x^{s−b} over GF(2);
    /// null if it is above a limit.
    /// </summary>
    public int? Period(int limit)
    {
        var p = Unroll(limit);
        var variables = Enumerable.Range(0, InputSteps);
        // After t steps variable i is the first history's variable i again.
        bool Repeats(int t) => variables.All(i => variables.All(k => Row(p, t + i, k) == (k == i ? 1 : 0)));
        for (int t = 1; t <= limit; t++)
        {
            if (Repeats(t))
                return t;
        }

        return null;
    }

    /// <summary>
    /// Computes P (horizon, s): row t has ones for the inputs whose sum, mod 2, is the bit at step s + t.
    /// </summary>
    internal double[,] Unroll(int horizon)
    {
        int s = InputSteps;
        var p = new double[horizon, s];
        for (int t = 0; t < horizon; t++)
        {
            for (int k = 0; k < s; k++)
                p[t, k] = Row(p, s + t - Delays[0], k) == Row(p, s + t - Delays[1], k) ? 0 : 1;
        }

        return p;
    }

    // The row of the variable at step t, of the input too: there it is the identity's.
    private double Row(double[,] p, int t, int k) =>
        t >= InputSteps ? p[t - InputSteps, k]
        : t == k ? 1
        : 0;

    public void Dispose() => _unrolled?.Dispose();
}

/// <summary>The task xor of a configuration, with d, s and delays.</summary>
[Named(Xor.Name)]
internal sealed class XorTask : NamedTask
{
    public override ISequenceTask Create(TaskConfiguration task, ScalarType dtype, Device device) =>
        new Xor(task.D, task.S, task.Delays, dtype, device);

    public override IEnumerable<(string Key, string Message)> Check(TaskConfiguration task) =>
        Xor.Check(task.S, task.Delays).Select(message => (task.Delays is null ? "s" : "delays", message));

    public override string WhyNotLinear => ": its rule is a product of two variables";

    public override string? WhyBias =>
        "without a bias −u gives −y, but the exclusive or of two inputs is the same for u and −u, "
        + "so that no training could learn it";
}
