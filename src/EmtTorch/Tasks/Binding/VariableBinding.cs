using System.Numerics;
using System.Runtime.InteropServices;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Tasks;

/// <summary>
/// Makes batches of a linear variable binding task: s steps of random inputs u in {−1, +1}^d, then the continuation
/// y(t) = Fᵀ [y(t−s); …; y(t−1)] as the target.
/// </summary>
/// <remarks>
/// The continuation is linear in the s·d input numbers, so that it is one matrix product with a matrix P, a row for
/// each number of the output, and no loop over time. If each row of P has only one entry, as in T1 to T4, outputs are
/// signed copies of inputs. Then the CPU copies in place of multiplying, which gives the same numbers in a tenth of the
/// time.
/// </remarks>
/// <example><code>
/// using var task = new VariableBinding(LinearBinding.Named("t3"), ScalarType.Float32, CPU);
/// var (input, target) = task.Batch(64, horizon: 100, generator); // (8, 64, 8), (100, 64, 8)
/// </code></example>
public sealed class VariableBinding : ISequenceTask, IDisposable
{
    private readonly LinearBinding _task;
    private readonly ScalarType _dtype;
    private readonly Device _device;
    private Tensor? _unrolled; // (longest horizon so far · d, s·d)
    private (int[] Entry, double[] Factor)? _choice; // the only entry of each row of P; null if a row has several

    /// <summary>Creates the task on a device.</summary>
    public VariableBinding(LinearBinding task, ScalarType dtype, Device device) =>
        (_task, _dtype, _device) = (task, dtype, device);

    /// <summary>d, the size of a variable.</summary>
    public int Dimension => _task.D;

    /// <summary>s, the number of steps of the input phase.</summary>
    public int InputSteps => _task.S;

    /// <inheritdoc/>
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
            && Math.Max(s, horizon) * batchSize * d <= int.MaxValue / 8 // a span's length
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
        // Before they are moved, since on a GPU this would be two launches.
        history = Draw.On(_device, history.mul_(2).sub_(1));
        var continued = matmul(history, unrolled.t()); // (B, horizon·d)
        return (
            history.view(batchSize, s, d).transpose(0, 1).contiguous(), // (s, B, d)
            continued.view(batchSize, horizon, d).transpose(0, 1).contiguous()
        ); // (horizon, B, d)
    }

    /// <summary>Writes input (s, B, d) and target (horizon, B, d) from bits (B, s·d).</summary>
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
        // Pointers, since checking indices takes half of the time of a small network's batch; entries are below s·d by
        // construction. The target is written in order, because other processors' caches hold it from the last batch.
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
            _choice = FindChoice(unrolled);
        }
        return _unrolled.narrow(0, 0, rows);
    }

    private static (int[], double[])? FindChoice(double[,] unrolled)
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

    /// <summary>
    /// Computes P (horizon·d, s·d) in float64: row t·d + i gives y_i(s + t) from the s·d input numbers.
    /// </summary>
    internal static double[,] Unroll(LinearBinding task, int horizon)
    {
        int d = task.D,
            n = task.S * d;
        // Rows of all variables so far; those of the input are the identity.
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
