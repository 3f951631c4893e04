using static TorchSharp.torch;

namespace EmtTorch.Memory;

/// <summary>What the T tokens of B documents write to the fast weights of a block, all heads side by side.</summary>
/// <param name="FirstDocument">The number of the first document in its batch.</param>
/// <param name="Gates">g, the largest of all heads (B, T).</param>
/// <param name="Hidden">h̃ (B, T, d).</param>
/// <param name="Keys">k (B, T, d); with a hypernetwork the first a of each head.</param>
/// <param name="Values">v (B, T, d); with a hypernetwork the first b of each head.</param>
internal sealed record TokenWrites(long FirstDocument, Tensor Gates, Tensor Hidden, Tensor Keys, Tensor Values)
    : IDisposable
{
    public void Dispose()
    {
        foreach (var tensor in new[] { Gates, Hidden, Keys, Values })
            tensor.Dispose();
    }
}

/// <summary>Writes to replay: h̃, k and v of each (n, d).</summary>
internal sealed record ReplayWrites(Tensor Hidden, Tensor Keys, Tensor Values);

/// <summary>
/// The writes of a block with the highest gates, up to a number, as tensors that a checkpoint keeps (the source's 1.5).
/// Of equal gates the earlier write stays. <see cref="WriteReservoir"/> keeps writes one by one, with their places.
/// </summary>
internal sealed class ReplayBuffer : IDisposable
{
    /// <summary>g of each write (N), −∞ where there is none.</summary>
    public Tensor Gates { get; }

    /// <summary>h̃ (N, d).</summary>
    public Tensor Hidden { get; }

    /// <summary>k (N, d).</summary>
    public Tensor Keys { get; }

    /// <summary>v (N, d).</summary>
    public Tensor Values { get; }

    /// <param name="capacity">N, 1 or more.</param>
    /// <param name="width">d.</param>
    public ReplayBuffer(long capacity, long width, ScalarType dtype, Device device)
    {
        Tensor Empty() => zeros(capacity, width, dtype: dtype, device: device).DetachFromDisposeScope();
        Gates = full([capacity], double.NegativeInfinity, dtype: dtype, device: device).DetachFromDisposeScope();
        (Hidden, Keys, Values) = (Empty(), Empty(), Empty());
    }

    /// <summary>The candidates of one segment: its strongest writes, in no dispose scope.</summary>
    public TokenWrites Strongest(TokenWrites writes)
    {
        using var quiet = no_grad();
        using var scope = NewDisposeScope();
        var gates = writes.Gates.reshape(-1);
        var best = Order(gates, Math.Min(Gates.shape[0], gates.shape[0]));
        Tensor Rows(Tensor all) => all.reshape(-1, all.shape[^1]).index_select(0, best).DetachFromDisposeScope();
        return new(
            writes.FirstDocument,
            gates.index_select(0, best).DetachFromDisposeScope(),
            Rows(writes.Hidden),
            Rows(writes.Keys),
            Rows(writes.Values)
        );
    }

    /// <summary>Takes in candidates, which are disposed of.</summary>
    /// <param name="candidates">From <see cref="Strongest"/>, in the order of the documents and segments.</param>
    public void Add(IReadOnlyList<TokenWrites> candidates)
    {
        if (candidates.Count == 0)
            return;
        using var quiet = no_grad();
        using var scope = NewDisposeScope();
        var best = Order(cat([Gates, .. candidates.Select(c => c.Gates)]), Gates.shape[0]);
        void Take(Tensor into, Func<TokenWrites, Tensor> part) =>
            into.copy_(cat([into, .. candidates.Select(part)]).index_select(0, best));
        Take(Gates, c => c.Gates);
        Take(Hidden, c => c.Hidden);
        Take(Keys, c => c.Keys);
        Take(Values, c => c.Values);
        foreach (var candidate in candidates)
            candidate.Dispose();
    }

    // Of equal gates the earlier first.
    private static Tensor Order(Tensor gates, long count) =>
        gates.sort(0, descending: true, stable: true).Indices.narrow(0, 0, count);

    /// <summary>The writes, or null if there are none.</summary>
    public ReplayWrites? Writes()
    {
        using var quiet = no_grad();
        using var scope = NewDisposeScope();
        long count = Gates.isfinite().sum().item<long>();
        Tensor Used(Tensor all) => all.narrow(0, 0, count).clone().MoveToOuterDisposeScope();
        return count == 0 ? null : new(Used(Hidden), Used(Keys), Used(Values));
    }

    /// <summary>Removes all writes.</summary>
    public void Clear()
    {
        using var quiet = no_grad();
        Gates.fill_(double.NegativeInfinity);
        foreach (var rows in new[] { Hidden, Keys, Values })
            rows.zero_();
    }

    public void Dispose()
    {
        foreach (var tensor in new[] { Gates, Hidden, Keys, Values })
            tensor.Dispose();
    }
}
