using static TorchSharp.torch;

namespace EmtTorch.Memory.Retrieval;

/// <summary>
/// Entries in memory, on the device that they are written from, searched exactly by matrix products over blocks of
/// keys. Each document has its own rows; in a shared store those of earlier generations are joined to one list, which
/// grows as long as it is written to.
/// </summary>
/// <remarks>Searches are done at once: on a GPU that means launched, and nothing waits.</remarks>
/// <example><code>
/// using var store = new MemoryStore();
/// store.Write(new(Generation: 0, FirstDocument: 0, From: 0, positions, keys, values));        // (1, N), (1, N, d), (1, N, d)
/// var nearest = store.Search(new(0, 0, queries, Before: full([T], long.MaxValue, …), Count: 8))();
/// </code></example>
public sealed class MemoryStore(bool shared = false) : IEpisodicStore
{
    private readonly Lock _lock = new();
    private readonly SortedDictionary<(long Generation, long Document), EntryRows> _documents = [];
    private readonly Dictionary<(long Generation, long Document, long Position), byte[]> _texts = [];
    private readonly EntryRows _earlier = new();
    private long _joined = long.MinValue; // the last generation in it

    public bool IsShared => shared;

    public long Count
    {
        get
        {
            lock (_lock)
                return _earlier.Count + _documents.Values.Sum(d => d.Count);
        }
    }

    public void Write(EpisodicEntries entries)
    {
        entries.Check();
        using var quiet = no_grad();
        using var scope = NewDisposeScope();
        long batch = entries.Keys.shape[0],
            count = entries.Keys.shape[1];
        for (long i = 0; i < batch; i++)
        {
            var source = (entries.Generation, Document: entries.FirstDocument + i);
            EntryRows? rows;
            lock (_lock)
            {
                CheckOpen(entries.Generation);
                if (!_documents.TryGetValue(source, out rows))
                    _documents.Add(source, rows = new());
                if (entries.Texts is not null)
                {
                    var positions = entries.Positions.select(0, i).cpu().data<long>();
                    for (long n = 0; n < count; n++)
                    {
                        if (entries.Texts[(int)(i * count + n)] is { } text)
                            _texts[(source.Generation, source.Document, positions[n])] = text;
                        else
                            _texts.Remove((source.Generation, source.Document, positions[n]));
                    }
                }
            }
            rows.Truncate(entries.From);
            if (count == 0)
                continue;
            var at = entries.Positions.select(0, i);
            var sources = stack([full_like(at, entries.Generation), full_like(at, source.Document), at], 1); // (N, 3)
            rows.Append(entries.From, entries.Keys.select(0, i), entries.Values.select(0, i), sources);
        }
    }

    public Func<Neighbours> Search(EpisodicQuery query)
    {
        query.Check();
        using var quiet = no_grad();
        using var scope = NewDisposeScope();
        long batch = query.Keys.shape[0],
            tokens = query.Keys.shape[1];
        var parts = new List<Neighbours>[batch];
        for (long i = 0; i < batch; i++)
        {
            EntryRows? own;
            lock (_lock)
            {
                CheckOpen(query.Generation);
                if (shared)
                    Join(query.Generation);
                _documents.TryGetValue((query.Generation, query.FirstDocument + i), out own);
            }
            var q = query.Keys.select(0, i); // (T, d)
            parts[i] = [];
            _earlier.Search(q, null, query.Count, parts[i]);
            own?.Search(q, query.Before.unsqueeze(-1), query.Count, parts[i]);
        }
        Neighbours found;
        if (parts.FirstOrDefault(p => p.Count > 0) is not { } some)
        {
            found = Neighbours.None(batch, tokens, 0, ScalarType.Float32, query.Keys.device);
        }
        else
        {
            var none = Neighbours.None(1, tokens, some[0].Values.shape[2], some[0].Values.dtype, query.Keys.device);
            var each = parts.Select(p => Best(p, none, query.Count)).ToArray();
            Tensor Stacked(Func<Neighbours, Tensor> part) => stack(each.Select(part).ToArray());
            found = new(
                Stacked(f => f.Found),
                Stacked(f => f.Values),
                Stacked(f => f.Sources),
                Stacked(f => f.Products)
            );
        }
        foreach (var tensor in found.Tensors)
            tensor.MoveToOuterDisposeScope();
        return () => found;
    }

    /// <summary>Of what the blocks gave, (T, K') each, the best K, filled up where there are fewer.</summary>
    private static Neighbours Best(List<Neighbours> parts, Neighbours none, int count)
    {
        Tensor Joined(Func<Neighbours, Tensor> part) =>
            cat(parts.Select(part).Prepend(part(none).select(0, 0)).ToArray(), 1);
        var (found, values, sources, products) = (
            Joined(p => p.Found),
            Joined(p => p.Values),
            Joined(p => p.Sources),
            Joined(p => p.Products)
        );
        if (parts.Count > 1)
        {
            (products, var places) = TopEntries.Of(products, count);
            Tensor Chosen(Tensor of) => of.gather(1, places.unsqueeze(-1).expand(-1, -1, of.shape[2]));
            (found, values, sources) = (found.gather(1, places), Chosen(values), Chosen(sources));
        }
        products = products.masked_fill(found.logical_not(), 0);
        long missing = count - products.shape[1];
        if (missing <= 0)
            return new(found, values, sources, products);
        Tensor Filled(Tensor of) =>
            cat([of, zeros([of.shape[0], missing, .. of.shape[2..]], dtype: of.dtype, device: of.device)], 1);
        return new(Filled(found), Filled(values), Filled(sources), Filled(products));
    }

    public byte[]? TextOf(long generation, long document, long position)
    {
        lock (_lock)
            return _texts.GetValueOrDefault((generation, document, position));
    }

    public void Forget(long generation) => Remove(g => g == generation, g => g.ne(generation));

    public void ForgetFrom(long generation)
    {
        Remove(g => g >= generation, g => g.lt(generation));
        lock (_lock)
            _joined = Math.Min(_joined, generation - 1);
    }

    private void Remove(Func<long, bool> removed, Func<Tensor, Tensor> kept)
    {
        lock (_lock)
        {
            foreach (var (source, rows) in _documents.Where(d => removed(d.Key.Generation)).ToArray())
            {
                _documents.Remove(source);
                rows.Dispose();
            }
            foreach (var entry in _texts.Keys.Where(k => removed(k.Generation)).ToArray())
                _texts.Remove(entry);
            _earlier.Keep(kept);
        }
    }

    public void Flush() { }

    private void CheckOpen(long generation)
    {
        if (generation <= _joined)
        {
            throw new InvalidOperationException(
                $"the documents of generation {generation} are over: in a shared store, later ones have been read since"
            );
        }
    }

    // The rows of earlier documents go to those that all see, in the order of generations and documents.
    private void Join(long generation)
    {
        foreach (var (source, rows) in _documents.TakeWhile(d => d.Key.Generation < generation).ToArray())
        {
            foreach (var (keys, values, sources) in rows.Blocks)
                _earlier.Append(source.Generation, keys, values, sources);
            _documents.Remove(source);
            rows.Dispose();
            _joined = source.Generation;
        }
    }

    /// <summary>
    /// All entries of a shared store, for a checkpoint: keys (E, d_k), values (E, d_v), sources (E, 3), in the caller's
    /// dispose scope, and their texts. Nothing where it is empty.
    /// </summary>
    internal (Tensor Keys, Tensor Values, Tensor Sources, IReadOnlyList<byte[]?> Texts)? Content()
    {
        lock (_lock)
        {
            Join(long.MaxValue);
            if (_earlier.Count == 0)
                return null;
            using var scope = NewDisposeScope();
            var blocks = _earlier.Blocks.ToArray();
            var (keys, values, sources) = (
                cat(blocks.Select(b => b.Keys).ToArray()),
                cat(blocks.Select(b => b.Values).ToArray()),
                cat(blocks.Select(b => b.Sources).ToArray())
            );
            IReadOnlyList<byte[]?> texts = [];
            if (_texts.Count > 0)
            {
                var at = sources.cpu().data<long>().ToArray();
                texts =
                [
                    .. Enumerable
                        .Range(0, at.Length / 3)
                        .Select(i => _texts.GetValueOrDefault((at[3 * i], at[3 * i + 1], at[3 * i + 2]))),
                ];
            }
            return (
                keys.MoveToOuterDisposeScope(),
                values.MoveToOuterDisposeScope(),
                sources.MoveToOuterDisposeScope(),
                texts
            );
        }
    }

    /// <summary>Sets an empty store to what <see cref="Content"/> gave.</summary>
    internal void Restore(Tensor keys, Tensor values, Tensor sources, IReadOnlyList<byte[]?> texts)
    {
        using var quiet = no_grad();
        using var scope = NewDisposeScope();
        var at = sources.cpu().data<long>().ToArray();
        lock (_lock)
        {
            _joined = at[^3];
            _earlier.Append(_joined, keys, values, sources);
            for (int i = 0; i < texts.Count; i++)
            {
                if (texts[i] is { } text)
                    _texts[(at[3 * i], at[3 * i + 1], at[3 * i + 2])] = text;
            }
        }
    }

    public void Dispose()
    {
        lock (_lock)
        {
            foreach (var rows in _documents.Values)
                rows.Dispose();
            _documents.Clear();
            _earlier.Dispose();
        }
    }
}
