using static TorchSharp.torch;

namespace EmtTorch.Memory.Retrieval;

/// <summary>
/// Rows of keys, values and sources in blocks: the last one doubles until it has its full size, then another begins, so
/// that millions of rows are never copied.
/// </summary>
internal sealed class EntryRows : IDisposable
{
    private const long FullBlock = 1 << 16,
        Step = 16;

    // Numbers in a block of products, 16 MB: more costs fresh pages.
    private const long ProductsAtOnce = 1 << 22;

    private sealed class Block(Tensor keys, Tensor values, Tensor sources)
    {
        public Tensor Keys = keys,
            Values = values,
            Sources = sources; // (capacity, d_k), (capacity, d_v), (capacity, 3)
        public long Count;

        public long Capacity => Keys.shape[0];
    }

    private readonly List<Block> _blocks = [];
    private readonly List<(long From, long Count)> _writes = [];

    public long Count => _blocks.Sum(b => b.Count);

    public IEnumerable<(Tensor Keys, Tensor Values, Tensor Sources)> Blocks =>
        _blocks
            .Where(b => b.Count > 0)
            .Select(b =>
                (b.Keys.narrow(0, 0, b.Count), b.Values.narrow(0, 0, b.Count), b.Sources.narrow(0, 0, b.Count))
            );

    public void Append(long from, Tensor keys, Tensor values, Tensor sources)
    {
        long all = keys.shape[0];
        if (_blocks is [var first, ..])
        {
            if (first.Keys.shape[1] != keys.shape[1])
            {
                throw new ArgumentException(
                    $"keys have {keys.shape[1]} numbers, those that are stored {first.Keys.shape[1]}"
                );
            }

            if (first.Values.shape[1] != values.shape[1] || first.Values.dtype != values.dtype)
            {
                throw new ArgumentException(
                    $"values are {values.shape[1]} of {values.dtype}, those that are stored "
                        + $"{first.Values.shape[1]} of {first.Values.dtype}"
                );
            }
        }
        for (long done = 0; done < all; )
        {
            if (_blocks.Count == 0 || _blocks[^1].Count == FullBlock)
                _blocks.Add(new(Rows(keys, 0), Rows(values, 0), Rows(sources, 0)));
            var block = _blocks[^1];
            long size = Math.Min(all - done, FullBlock - block.Count);
            if (block.Count + size > block.Capacity)
            {
                Grow(
                    block,
                    Math.Min(FullBlock, Math.Max(2 * block.Capacity, (block.Count + size + Step - 1) / Step * Step))
                );
            }

            block.Keys.narrow(0, block.Count, size).copy_(keys.narrow(0, done, size));
            block.Values.narrow(0, block.Count, size).copy_(values.narrow(0, done, size));
            block.Sources.narrow(0, block.Count, size).copy_(sources.narrow(0, done, size));
            block.Count += size;
            done += size;
        }
        _writes.Add((from, all));
    }

    // Of zeros: what is not written yet is multiplied, and left out.
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

    /// <summary>Takes back what was written from a position on.</summary>
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

    /// <summary>Leaves the rows for whose generations this says so.</summary>
    public void Keep(Func<Tensor, Tensor> kept)
    {
        using var scope = NewDisposeScope();
        if (_blocks.All(b => kept(b.Sources.narrow(0, 0, b.Count).select(1, 0)).all().item<bool>()))
            return;
        var rest = Blocks
            .Select(b =>
            {
                var rows = kept(b.Sources.select(1, 0)).nonzero().squeeze(-1);
                return (b.Keys.index_select(0, rows), b.Values.index_select(0, rows), b.Sources.index_select(0, rows));
            })
            .ToArray();
        Dispose();
        foreach (var (keys, values, sources) in rest)
            Append(0, keys, values, sources);
    }

    /// <summary>Adds each block's best entries for T queries to a list, (T, K') each, the best first.</summary>
    /// <param name="queries">(T, d_k).</param>
    /// <param name="before">Entries lie before these positions (T, 1); null: wherever they lie.</param>
    /// <param name="count">K.</param>
    /// <param name="parts">What is added to.</param>
    public void Search(Tensor queries, Tensor? before, int count, List<Neighbours> parts)
    {
        if (_blocks is [var first, ..])
        {
            Require.SameDevice(queries, first.Keys);
            if (first.Keys.shape[1] != queries.shape[1])
            {
                throw new ArgumentException(
                    $"queries have {queries.shape[1]} numbers, the keys that are stored {first.Keys.shape[1]}"
                );
            }
        }
        foreach (var block in _blocks.Where(b => b.Count > 0))
        {
            long tokens = queries.shape[0],
                width = Math.Min(block.Capacity, (block.Count + Step - 1) / Step * Step),
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
                var (best, at) = TopEntries.Of(products, count);
                slices.Add((best.MoveToOuterDisposeScope(), at.MoveToOuterDisposeScope()));
            }
            if (slices.Count == 0)
            {
                slices.Add(
                    (
                        zeros([0, Math.Min(count, width)], device: queries.device),
                        zeros([0, Math.Min(count, width)], dtype: ScalarType.Int64, device: queries.device)
                    )
                );
            }

            var (values, chosen) = (
                cat(slices.Select(s => s.Values).ToArray()),
                cat(slices.Select(s => s.Places).ToArray())
            ); // (T, K')
            var flat = chosen.reshape(-1);
            Tensor Of(Tensor rowsOf) =>
                rowsOf.index_select(0, flat).view(chosen.shape[0], chosen.shape[1], rowsOf.shape[1]);
            parts.Add(new(values.gt(double.NegativeInfinity), Of(block.Values), Of(block.Sources), values));
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
