using System.Numerics;
using System.Runtime.InteropServices;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Tasks;

/// <summary>
/// Batches of a linear variable binding task, generated on the device: s steps of random u in {-1, +1}^d, then the
/// continuation y(t) = Fᵀ [y(t−s); …; y(t−1)] as the target.
/// </summary>
/// <remarks>
/// The continuation is linear in the s·d input numbers, so that all of it is one matrix product with P, whose rows are
/// the horizon's steps unrolled: no loop over time. Where each row of P has one entry only, as in T1 to T4, y is a
/// choice of inputs and their signs, and on the CPU is copied in place of multiplied: the same numbers at a tenth of
/// the time.
/// </remarks>
public sealed class VariableBinding : ISequenceTask, IDisposable
{
    private readonly LinearBinding _task;
    private readonly ScalarType _dtype;
    private readonly Device _device;
    private Tensor? _unrolled; // (longest horizon so far · d, s·d)
    private (int[] Entry, double[] Factor)? _choice; // what each row of P takes, where that is one entry

    public VariableBinding(LinearBinding task, ScalarType dtype, Device device) =>
        (_task, _dtype, _device) = (task, dtype, device);

    /// <summary>Numbers in a variable, κ.</summary>
    public int Dimension => _task.D;

    /// <summary>Steps of the input phase, s.</summary>
    public int InputSteps => _task.S;

    /// <summary>One batch.</summary>
    /// <param name="batchSize">Sequences, B.</param>
    /// <param name="horizon">Steps of the output phase.</param>
    /// <param name="generator">Where the random numbers come from; on the same device.</param>
    /// <returns>Input (s, B, d) and target (horizon, B, d).</returns>
    public (Tensor Input, Tensor Target) Batch(long batchSize, long horizon, Generator generator)
    {
        long s = _task.S,
            d = _task.D;
        // The history as one row, oldest variable first.
        var history = Draw.Integers(0, 2, [batchSize, s * d], generator, CPU, _dtype);
        var unrolled = Unrolled(horizon);
        if (
            _choice is { } choice
            && _device.type == DeviceType.CPU
            && _dtype is ScalarType.Float32 or ScalarType.Float64
        )
        {
            Tensor input = empty([s, batchSize, d], dtype: _dtype),
                target = empty([horizon, batchSize, d], dtype: _dtype);
            if (_dtype == ScalarType.Float32)
                Choose<float>(history.bytes, choice, (int)batchSize, input.bytes, target.bytes);
            else
                Choose<double>(history.bytes, choice, (int)batchSize, input.bytes, target.bytes);
            GC.KeepAlive(history);
            return (input, target);
        }
        // Before they are moved: on a GPU it would be two launches.
        history = Draw.On(_device, history.mul_(2).sub_(1));
        var continued = matmul(history, unrolled.t()); // (B, horizon·d)
        return (
            history.view(batchSize, s, d).transpose(0, 1).contiguous(), // (s, B, d)
            continued.view(batchSize, horizon, d).transpose(0, 1).contiguous()
        ); // (horizon, B, d)
    }

    /// <summary>Input (s, B, d) and target (horizon, B, d) from bits (B, s·d).</summary>
    private unsafe void Choose<T>(
        Span<byte> bits,
        (int[] Entry, double[] Factor) choice,
        int batchSize,
        Span<byte> input,
        Span<byte> target
    )
        where T : unmanaged, INumber<T>
    {
        int d = _task.D,
            n = _task.S * d,
            step = batchSize * d;
        Span<T> history = MemoryMarshal.Cast<byte, T>(bits),
            u = MemoryMarshal.Cast<byte, T>(input),
            y = MemoryMarshal.Cast<byte, T>(target);
        for (int i = 0; i < history.Length; i++)
            history[i] = history[i] + history[i] - T.One;
        var factors = new T[y.Length / batchSize];
        for (int i = 0; i < factors.Length; i++)
            factors[i] = T.CreateTruncating(choice.Factor[i]);
        // Pointers: checked indices are half the time of a small network's batch. Entries are below s·d by
        // construction. The target is written from its beginning to its end: it lies in other processors' caches from
        // the batch before.
        fixed (
            T* all = history,
                to = y,
                factor = factors
        )
        fixed (int* entry = choice.Entry)
        {
            for (int t = 0; t < _task.S; t++)
            {
                for (int b = 0; b < batchSize; b++)
                    new Span<T>(all + b * n + t * d, d).CopyTo(u[(t * step + b * d)..]);
            }

            T* continued = to;
            for (int first = 0; first < factors.Length; first += d)
            {
                for (T* row = all, end = all + (nint)batchSize * n; row < end; row += n, continued += d)
                {
                    for (int i = 0; i < d; i++)
                        continued[i] = factor[first + i] * row[entry[first + i]];
                }
            }
        }
    }

    private Tensor Unrolled(long horizon)
    {
        long rows = horizon * _task.D;
        if (_unrolled is null || _unrolled.shape[0] < rows)
        {
            _unrolled?.Dispose();
            var unrolled = Unroll(_task, (int)horizon);
            _unrolled = tensor(unrolled, _dtype, _device).DetachFromDisposeScope();
            _choice = Choice(unrolled);
        }
        return _unrolled.narrow(0, 0, rows);
    }

    private static (int[], double[])? Choice(double[,] unrolled)
    {
        var (entry, factor) = (new int[unrolled.GetLength(0)], new double[unrolled.GetLength(0)]);
        for (int i = 0; i < entry.Length; i++)
        {
            for (int j = 0; j < unrolled.GetLength(1); j++)
            {
                if (unrolled[i, j] is var f and not 0)
                {
                    if (factor[i] != 0)
                        return null;
                    (entry[i], factor[i]) = (j, f);
                }
            }
        }

        return (entry, factor);
    }

    /// <summary>Row (t·d + i): how y_i(s + t) depends on the s·d input numbers. Computed in float64.</summary>
    internal static double[,] Unroll(LinearBinding task, int horizon)
    {
        int d = task.D,
            n = task.S * d;
        // Rows of all variables so far, the input's first: the identity.
        var rows = new double[n + horizon * d][];
        for (int i = 0; i < n; i++)
        {
            rows[i] = new double[n];
            rows[i][i] = 1;
        }
        var unrolled = new double[horizon * d, n];
        for (int t = 0; t < horizon; t++)
        {
            for (int i = 0; i < d; i++)
            {
                var row = rows[n + t * d + i] = new double[n];
                for (int j = 0; j < n; j++)
                {
                    if (task.F[j, i] is var f and not 0)
                    {
                        for (int k = 0; k < n; k++)
                            row[k] += f * rows[t * d + j][k];
                    }
                }

                for (int k = 0; k < n; k++)
                    unrolled[t * d + i, k] = row[k];
            }
        }

        return unrolled;
    }

    public void Dispose() => _unrolled?.Dispose();
}
