using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Memory;

/// <summary>One write to the fast weights of a block, kept for replay.</summary>
/// <param name="Gate">g, the largest of all heads; without a gate β = η.</param>
/// <param name="Episode">The number of the document.</param>
/// <param name="Position">The position of the token in the document.</param>
/// <param name="Hidden">h̃ (d).</param>
/// <param name="Keys">k (heads, d_k), or a (heads · r, d_k).</param>
/// <param name="Values">v (heads, d_v), or b (heads · r, d_v).</param>
/// <param name="Strength">β (heads).</param>
public sealed record StoredWrite(
    double Gate,
    long Episode,
    long Position,
    Tensor Hidden,
    Tensor Keys,
    Tensor Values,
    Tensor Strength
) : IDisposable
{
    public void Dispose()
    {
        foreach (var tensor in new[] { Hidden, Keys, Values, Strength })
            tensor.Dispose();
    }
}

/// <summary>
/// Keeps the writes of a block with the highest gates, up to its capacity (the source's 1.5 stores {(h_i, k_i, v_i)}).
/// A new write replaces the one with the lowest gate if its own gate is higher; of equal ones the earlier stays.
/// </summary>
/// <example><code>
/// using var reservoir = new WriteReservoir(capacity: 64);
/// network.Memories[0].Observer = activity => reservoir.Add(activity, episode: 0, position: 0);
/// network.Read(document);
/// </code></example>
public sealed class WriteReservoir : IDisposable
{
    // The write that is replaced next comes first.
    private readonly PriorityQueue<StoredWrite, (double Gate, long Later)> _writes = new();
    private long _seen;

    /// <param name="capacity">How many writes are kept, 1 or more.</param>
    /// <exception cref="ArgumentOutOfRangeException">The capacity is below 1.</exception>
    public WriteReservoir(int capacity)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(capacity, 1);
        Capacity = capacity;
    }

    /// <summary>How many writes are kept at most.</summary>
    public int Capacity { get; }

    /// <summary>How many writes there are now.</summary>
    public int Count => _writes.Count;

    /// <summary>The writes, the highest gate first; of equal ones the earlier first.</summary>
    public IReadOnlyList<StoredWrite> Writes =>
        [.. _writes.UnorderedItems.OrderByDescending(w => w.Priority).Select(w => w.Element)];

    /// <summary>Adds the writes of a segment. What is kept are copies, which belong to no dispose scope.</summary>
    /// <param name="activity">What the memory computed.</param>
    /// <param name="episode">The number of the batch's first document; the others follow.</param>
    /// <param name="position">How many tokens of the documents came before this segment.</param>
    /// <exception cref="ArgumentException">A gate is NaN.</exception>
    public void Add(MemoryActivity activity, long episode, long position)
    {
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        var open = (activity.Gate ?? activity.Strength).detach().to(ScalarType.Float64).amax([1L]).cpu(); // (B, T)
        double[] gates = open.contiguous().data<double>().ToArray();
        if (gates.Any(double.IsNaN))
            throw new ArgumentException("has a gate that is not a number", nameof(activity));
        long tokens = open.shape[1];
        for (long i = 0; i < gates.Length; i++)
        {
            var rank = (gates[i], -_seen++);
            if (Count == Capacity && _writes.TryPeek(out _, out var least) && rank.CompareTo(least) <= 0)
                continue;
            long b = i / tokens,
                t = i % tokens;
            Tensor Kept(Tensor x) => x.detach().clone().DetachFromDisposeScope();
            var write = new StoredWrite(
                gates[i],
                episode + b,
                position + t,
                Kept(activity.Hidden[b][t]),
                Kept(activity.Keys[b].select(1, t)),
                Kept(activity.Values[b].select(1, t)),
                Kept(activity.Strength[b].select(1, t))
            );
            if (Count == Capacity)
                _writes.Dequeue().Dispose();
            _writes.Enqueue(write, rank);
        }
    }

    public void Dispose()
    {
        foreach (var (write, _) in _writes.UnorderedItems)
            write.Dispose();
        _writes.Clear();
    }
}
