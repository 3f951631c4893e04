using static TorchSharp.torch;

namespace EmtTorch.Memory.Retrieval;

/// <summary>Rows of entries: keys (N, d_k), values (N, d_v) and sources (N, 3).</summary>
internal readonly record struct EntryBlock(Tensor Keys, Tensor Values, Tensor Sources);

/// <summary>
/// Rows of keys, values and sources, in blocks. The last block doubles until it is full, then another begins, so that
/// full blocks are never copied.
/// </summary>
internal sealed class EntryRows : IDisposable
{
    private const long FullBlock = 1 << 16,
        Step = 16;

    // Numbers in a piece of products, 16 MB: larger pieces are slower, since each takes new pages from the system.
    private const long ProductsAtOnce = 1 << 22;

    private sealed class Block(Tensor keys, Tensor values, Tensor sources)
    {
        public Tensor Keys = keys, // (capacity, d_k)
            Values = values, // (capacity, d_v)
            Sources = sources; // (capacity, 3)
        public long Count;

        public long Capacity => Keys.shape[0];

        /// <summary>The rows that are in use.</summary>
        public EntryBlock Used =>
            new(Keys.narrow(0, 0, Count), Values.narrow(0, 0, Count), Sources.narrow(0, 0, Count));
    }

    private readonly List<Block> _blocks = [];
    private readonly List<(long From, long Count)> _writes = [];

    public long Count => _blocks.Sum(b => b.Count);

    public IEnumerable<EntryBlock> Blocks => _blocks.Where(b => b.Count > 0).Select(b => b.Used);

    /// <summary>Adds rows.</summary>
    /// <param name="from">The position that <see cref="Truncate"/> knows them by.</param>
    /// <param name="keys">(N, d_k).</param>
    /// <param name="values">(N, d_v).</param>
    /// <param name="sources">Generation, document and position of each (N, 3).</param>
    /// <exception cref="ArgumentException">They are not like the rows that are there.</exception>
    public void Append(long from, Tensor keys, Tensor values, Tensor sources)
    {
        long all = keys.shape[0];
        if (_blocks is [var first, ..])
        {
            Require.Ends(keys, first.Keys.shape.AsSpan(1));
            Require.Ends(values, first.Values.shape.AsSpan(1));
            Require.Type(values, first.Values.dtype);
        }
        for (long done = 0; done < all; )
        {
            if (_blocks.Count == 0 || _blocks[^1].Count == FullBlock)
                _blocks.Add(new(Rows(keys, 0), Rows(values, 0), Rows(sources, 0)));
            var block = _blocks[^1];
            long size = Math.Min(all - done, FullBlock - block.Count);
            if (block.Count + size > block.Capacity)
                Grow(block, Math.Min(FullBlock, Math.Max(2 * block.Capacity, RoundUp(block.Count + size))));
            block.Keys.narrow(0, block.Count, size).copy_(keys.narrow(0, done, size));
            block.Values.narrow(0, block.Count, size).copy_(values.narrow(0, done, size));
            block.Sources.narrow(0, block.Count, size).copy_(sources.narrow(0, done, size));
            block.Count += size;
            done += size;
        }
        _writes.Add((from, all));
    }

    private static long RoundUp(long rows) => (rows + Step - 1) / Step * Step;

    // Zeros: a search multiplies rows that are not written yet too, and then masks them.
    private static Tensor Rows(Tensor like, long count) =>
        zeros([count, like.shape[1]], dtype: like.dtype, device: like.device).DetachFromDisposeScope();

    private static void Grow(Block block, long capacity)
    {
        Tensor Grown(Tensor old)
        {
            var grown = Rows(old, capacity);
            grown.narrow(0, 0, block.Count).copy_(old.narrow(0, 0, block.Count));
            old.Dispose();
            return grown;
        }
        (block.Keys, block.Values, block.Sources) = (Grown(block.Keys), Grown(block.Values), Grown(block.Sources));
    }

    /// <summary>Removes the rows that were added from a position on.</summary>
    public void Truncate(long from)
    {
        while (_writes is [.., var last] && last.From >= from)
        {
            _writes.RemoveAt(_writes.Count - 1);
            for (long left = last.Count; left > 0; )
            {
                long some = Math.Min(left, _blocks[^1].Count);
                _blocks[^1].Count -= some;
                left -= some;
                if (_blocks[^1].Count == 0 && _blocks.Count > 1)
                    RemoveLast();
            }
        }
    }

    /// <summary>Removes the rows of those generations for which the function returns false.</summary>
    /// <param name="kept">Takes generations (N), returns whether each is kept (N), bool.</param>
    public void Keep(Func<Tensor, Tensor> kept)
    {
        using var scope = NewDisposeScope();
        if (_blocks.All(b => kept(b.Used.Sources.select(1, 0)).all().item<bool>()))
            return;
        var rest = Blocks
            .Select(b =>
            {
                var rows = kept(b.Sources.select(1, 0)).nonzero().squeeze(-1);
                return new EntryBlock(
                    b.Keys.index_select(0, rows),
                    b.Values.index_select(0, rows),
                    b.Sources.index_select(0, rows)
                );
            })
            .ToArray();
        Dispose();
        foreach (var (keys, values, sources) in rest)
            Append(0, keys, values, sources);
    }

    /// <summary>Finds each block's best entries for T queries.</summary>
    /// <param name="queries">q (T, d_k).</param>
    /// <param name="before">The positions that entries must lie before (T, 1), or null for no limit.</param>
    /// <param name="count">K.</param>
    /// <param name="parts">The list that each block's result is added to: (T, K'), the best first.</param>
    /// <exception cref="ArgumentException">The queries are not like the keys.</exception>
    public void Search(Tensor queries, Tensor? before, int count, List<Neighbours> parts)
    {
        if (_blocks is [var first, ..])
        {
            Require.SameDevice(queries, first.Keys);
            Require.Ends(queries, first.Keys.shape.AsSpan(1));
        }
        foreach (var block in _blocks.Where(b => b.Count > 0))
        {
            long tokens = queries.shape[0],
                width = Math.Min(block.Capacity, RoundUp(block.Count)),
                rows = Math.Max(1, ProductsAtOnce / width);
            var keys = block.Keys.narrow(0, 0, width).t();
            var places = before is null ? null : block.Sources.narrow(0, 0, width).select(1, 2);
            var slices = new List<(Tensor Values, Tensor Places)>();
            for (long from = 0; from < tokens; from += rows)
            {
                using var scope = NewDisposeScope();
                long size = Math.Min(rows, tokens - from);
                var products = matmul(queries.narrow(0, from, size), keys); // (rows, width)
                if (places is not null)
                    products.masked_fill_(places.ge(before!.narrow(0, from, size)), double.NegativeInfinity);
                if (width > block.Count)
                    products.narrow(1, block.Count, width - block.Count).fill_(double.NegativeInfinity);
                var (best, at) = TopEntries.Find(products, count);
                slices.Add((best.MoveToOuterDisposeScope(), at.MoveToOuterDisposeScope()));
            }
            if (slices.Count == 0)
            {
                long[] none = [0, Math.Min(count, width)];
                slices.Add((queries.new_zeros(none), queries.new_zeros(none, dtype: ScalarType.Int64)));
            }

            var (values, chosen) = (
                cat(slices.Select(s => s.Values).ToArray()),
                cat(slices.Select(s => s.Places).ToArray())
            ); // (T, K')
            var flat = chosen.reshape(-1);
            Tensor Chosen(Tensor all) => all.index_select(0, flat).view([.. chosen.shape, all.shape[1]]); // (T, K', …)
            parts.Add(new(values.gt(double.NegativeInfinity), Chosen(block.Values), Chosen(block.Sources), values));
        }
    }

    private void RemoveLast()
    {
        var block = _blocks[^1];
        _blocks.RemoveAt(_blocks.Count - 1);
        foreach (var tensor in new[] { block.Keys, block.Values, block.Sources })
            tensor.Dispose();
    }

    public void Dispose()
    {
        while (_blocks.Count > 0)
            RemoveLast();
        _writes.Clear();
    }
}
