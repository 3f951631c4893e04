using EmtTorch.Tasks;
using static TorchSharp.torch;

namespace EmtTorch.Training;

/// <summary>
/// Makes the batches of several networks at once, each from its own generator and at its own horizon, with the same
/// numbers as <see cref="ISequenceTask.Batch"/> gives each alone. On linear tasks and xor only the drawing takes a
/// launch for each network; the outputs of all are computed together.
/// </summary>
internal sealed class EnsembleBatches : IDisposable
{
    private readonly ScalarType _dtype;
    private readonly Device _device;
    private readonly ISequenceTask? _task; // null for linear binding
    private readonly LinearBinding? _binding;
    private Tensor? _unrolled; // (longest horizon so far · d, s·d)

    public EnsembleBatches(TaskConfiguration task, ScalarType dtype, Device device)
    {
        (_dtype, _device) = (dtype, device);
        if (task.IsLinearBinding)
        {
            _binding = task.ToLinearBinding();
            (Dimension, From) = (_binding.D, _binding.S);
        }
        else
        {
            _task = task.ToSequenceTask(dtype, device);
            (Dimension, From) = (_task.Dimension, _task.InputSteps);
        }
    }

    /// <summary>κ, the size of an input and of an output.</summary>
    public int Dimension { get; }

    /// <summary>The first step whose output counts: the one after the input phase; in flip_flop step 0.</summary>
    public int From { get; }

    /// <summary>Makes one batch for each of N networks.</summary>
    /// <param name="batchSize">B, the number of sequences of each.</param>
    /// <param name="horizons">The number of outputs that count for each, not increasing.</param>
    /// <param name="generators">The generator of each.</param>
    /// <returns>Input (N, S, B, κ) and target (N, L, B, κ) for the longest horizon L, which is the first. Targets after
    /// a network's own horizon are arbitrary.</returns>
    public (Tensor Input, Tensor Target) Batch(
        long batchSize,
        IReadOnlyList<int> horizons,
        IReadOnlyList<Generator> generators
    )
    {
        using var scope = NewDisposeScope();
        long n = generators.Count,
            length = horizons[0],
            d = Dimension;
        if (_task is not null && _task is not Xor)
        {
            var batches = generators.Select((g, i) => _task.Batch(batchSize, horizons[i], g)).ToArray();
            Tensor Padded(IEnumerable<Tensor> tensors, long steps) =>
                stack(tensors.Select(x => nn.functional.pad(x, [0, 0, 0, 0, 0, steps - x.shape[0]])).ToArray())
                    .MoveToOuterDisposeScope();
            return (
                Padded(batches.Select(b => b.Input), batches[0].Input.shape[0]),
                Padded(batches.Select(b => b.Target), length)
            );
        }
        long s = From;
        var history = empty([n, batchSize, s * d], dtype: _dtype);
        var rows = history.unbind();
        for (int i = 0; i < n; i++)
            rows[i].random_(0, 2, generators[i]); // as randint draws them
        history = Draw.On(_device, history).mul_(2).sub_(1);
        var input = history.view(n, batchSize, s, d).transpose(1, 2).contiguous(); // (N, s, B, d)
        var target = _task is Xor xor
            ? xor.Continue(input.transpose(0, 1), length).transpose(0, 1).contiguous() // (N, L, B, d)
            : matmul(history.view(n * batchSize, s * d), Unrolled(length).t())
                .view(n, batchSize, length, d)
                .transpose(1, 2)
                .contiguous();
        return (input.MoveToOuterDisposeScope(), target.MoveToOuterDisposeScope());
    }

    private Tensor Unrolled(long horizon)
    {
        long rows = horizon * Dimension;
        if (_unrolled is null || _unrolled.shape[0] < rows)
        {
            _unrolled?.Dispose();
            _unrolled = tensor(VariableBinding.Unroll(_binding!, (int)horizon), _dtype, _device)
                .DetachFromDisposeScope();
        }
        return _unrolled.narrow(0, 0, rows);
    }

    public void Dispose()
    {
        _unrolled?.Dispose();
        (_task as IDisposable)?.Dispose();
    }
}
