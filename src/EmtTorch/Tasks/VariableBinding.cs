using static TorchSharp.torch;

namespace EmtTorch.Tasks;

/// <summary>
/// Batches of a linear variable binding task, generated on the device: s steps of random u in {-1, +1}^d, then the
/// continuation y(t) = Fᵀ [y(t−s); …; y(t−1)] as the target.
/// </summary>
/// <remarks>
/// The continuation is linear in the s·d input numbers, so that all of it is one matrix product with P, whose rows are
/// the horizon's steps unrolled: no loop over time.
/// </remarks>
public sealed class VariableBinding : IDisposable
{
    private readonly LinearBinding _task;
    private readonly ScalarType _dtype;
    private readonly Device _device;
    private Tensor? _unrolled; // (longest horizon so far · d, s·d)

    public VariableBinding(LinearBinding task, ScalarType dtype, Device device) => (_task, _dtype, _device) = (task, dtype, device);

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
        long s = _task.S, d = _task.D;
        // The history as one row, oldest variable first.
        var history = randint(0, 2, new long[] { batchSize, s * d }, dtype: _dtype, device: _device, generator: generator).mul_(2).sub_(1);
        var target = matmul(history, Unrolled(horizon).t());                                  // (B, horizon·d)
        return (history.view(batchSize, s, d).transpose(0, 1).contiguous(),                   // (s, B, d)
            target.view(batchSize, horizon, d).transpose(0, 1).contiguous());                 // (horizon, B, d)
    }

    private Tensor Unrolled(long horizon)
    {
        long rows = horizon * _task.D;
        if (_unrolled is null || _unrolled.shape[0] < rows)
        {
            _unrolled?.Dispose();
            _unrolled = from_array(Unroll(_task, (int)horizon), _dtype, _device).DetachFromDisposeScope();
        }
        return _unrolled.narrow(0, 0, rows);
    }

    /// <summary>Row (t·d + i): how y_i(s + t) depends on the s·d input numbers. Computed in float64.</summary>
    internal static double[,] Unroll(LinearBinding task, int horizon)
    {
        int d = task.D, n = task.S * d;
        // Rows of all variables so far, the input's first: the identity.
        var rows = new double[n + horizon * d][];
        for (int i = 0; i < n; i++)
        {
            rows[i] = new double[n];
            rows[i][i] = 1;
        }
        var unrolled = new double[horizon * d, n];
        for (int t = 0; t < horizon; t++)
            for (int i = 0; i < d; i++)
            {
                var row = rows[n + t * d + i] = new double[n];
                for (int j = 0; j < n; j++)
                    if (task.F[j, i] is var f and not 0)
                        for (int k = 0; k < n; k++) row[k] += f * rows[t * d + j][k];
                for (int k = 0; k < n; k++) unrolled[t * d + i, k] = row[k];
            }
        return unrolled;
    }

    public void Dispose() => _unrolled?.Dispose();
}
