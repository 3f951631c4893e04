using static TorchSharp.torch;

namespace EmtTorch.Memory.Retrieval;

/// <summary>The entries of a shared store, as a checkpoint keeps them.</summary>
/// <param name="Keys">(E, d_k).</param>
/// <param name="Values">(E, d_v).</param>
/// <param name="Sources">Generation, document and position of each (E, 3).</param>
/// <param name="Texts">Each entry's text or null; empty if no entry has one.</param>
internal sealed record StoredEntries(Tensor Keys, Tensor Values, Tensor Sources, IReadOnlyList<byte[]?> Texts);

/// <summary>
/// Entries in memory, on the device of the tensors written, searched exactly by matrix products over blocks of keys.
/// Each document has its own rows. A shared store moves the rows of earlier generations to one list, which keeps
/// growing.
/// </summary>
/// <remarks>A search is done at once; on a GPU it is only launched, and nothing waits.</remarks>
/// <param name="shared">Whether a search also finds entries of earlier generations.</param>
/// <example><code>
/// using var store = new MemoryStore();
/// // positions (1, N), keys (1, N, d), values (1, N, d), queries (1, T, d)
/// store.Write(new(Generation: 0, FirstDocument: 0, From: 0, positions, keys, values));
/// var nearest = store.Search(new(0, 0, queries, Before: full([T], long.MaxValue, …), Count: 8))();
/// </code></example>
public sealed class MemoryStore(bool shared = false) : IEpisodicStore
{
    private readonly Lock _lock = new();
    private readonly SortedDictionary<(long Generation, long Document), EntryRows> _documents = [];
    private readonly Dictionary<(long Generation, long Document, long Position), byte[]> _texts = [];
    private readonly EntryRows _earlier = new();
    private long _joined = long.MinValue; // the last generation in _earlier

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
            var at = entries.Positions.select(0, i); // (N)
            EntryRows? rows;
            lock (_lock)
            {
                CheckOpen(entries.Generation);
                if (!_documents.TryGetValue(source, out rows))
                    _documents.Add(source, rows = new());
                if (entries.Texts is not null)
                {
                    var positions = at.cpu().data<long>();
                    for (long n = 0; n < count; n++)
                    {
                        var place = (source.Generation, source.Document, positions[n]);
                        SetText(place, entries.Texts[(int)(i * count + n)]);
                    }
                }
            }
            rows.Truncate(entries.From);
            if (count == 0)
                continue;
            var sources = stack([full_like(at, entries.Generation), full_like(at, source.Document), at], 1); // (N, 3)
            rows.Append(entries.From, entries.Keys.select(0, i), entries.Values.select(0, i), sources);
        }
    }

    private void SetText((long Generation, long Document, long Position) entry, byte[]? text)
    {
        if (text is null)
            _texts.Remove(entry);
        else
            _texts[entry] = text;
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
        if (parts.FirstOrDefault(p => p.Count > 0) is not [var first, ..])
        {
            found = Neighbours.None(batch, tokens, 0, ScalarType.Float32, query.Keys.device);
        }
        else
        {
            var none = Neighbours.None(1, tokens, first.Values.shape[2], first.Values.dtype, query.Keys.device);
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

    /// <summary>The best K of what the blocks gave, (T, K') each; filled up with zeros if there are fewer.</summary>
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
            (products, var places) = TopEntries.Find(products, count);
            Tensor Chosen(Tensor all) => all.gather(1, places.unsqueeze(-1).expand(-1, -1, all.shape[2]));
            (found, values, sources) = (found.gather(1, places), Chosen(values), Chosen(sources));
        }
        products = products.masked_fill(found.logical_not(), 0);
        long missing = count - products.shape[1];
        if (missing <= 0)
            return new(found, values, sources, products);
        Tensor Filled(Tensor all) => cat([all, all.new_zeros([all.shape[0], missing, .. all.shape[2..]])], 1);
        return new(Filled(found), Filled(values), Filled(sources), Filled(products));
    }

    public byte[]? ReadText(long generation, long document, long position)
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
                $"the documents of generation {generation} are closed: later ones have been read from this shared store"
            );
        }
    }

    // Moves the rows of earlier generations to those that every query sees, in the order of generation and document.
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
    /// Collects the entries of a shared store from a generation on, for a checkpoint; null if there are none. The
    /// tensors belong to the caller's dispose scope.
    /// </summary>
    internal StoredEntries? Content(long from)
    {
        lock (_lock)
        {
            Join(long.MaxValue);
            using var scope = NewDisposeScope();
            // Generations ascend, so that the rows wanted are the last ones of a block.
            var blocks = _earlier
                .Blocks.Select(b =>
                {
                    long skipped = b.Sources.select(1, 0).lt(from).sum().item<long>();
                    Tensor Rest(Tensor all) => all.narrow(0, skipped, all.shape[0] - skipped);
                    return new EntryBlock(Rest(b.Keys), Rest(b.Values), Rest(b.Sources));
                })
                .Where(b => b.Keys.shape[0] > 0)
                .ToArray();
            if (blocks.Length == 0)
                return null;
            Tensor Joined(Func<EntryBlock, Tensor> part) =>
                cat(blocks.Select(part).ToArray()).MoveToOuterDisposeScope();
            var sources = Joined(b => b.Sources);
            IReadOnlyList<byte[]?> texts =
                _texts.Count == 0 ? [] : [.. Places(sources).Select(place => _texts.GetValueOrDefault(place))];
            return new(Joined(b => b.Keys), Joined(b => b.Values), sources, texts);
        }
    }

    /// <summary>Adds what <see cref="Content"/> returned to a store that has nothing of later generations.</summary>
    internal void Restore(StoredEntries entries)
    {
        using var quiet = no_grad();
        using var scope = NewDisposeScope();
        var places = Places(entries.Sources);
        lock (_lock)
        {
            _joined = places[^1].Generation;
            _earlier.Append(_joined, entries.Keys, entries.Values, entries.Sources);
            foreach (var (place, text) in places.Zip(entries.Texts))
                SetText(place, text);
        }
    }

    private static (long Generation, long Document, long Position)[] Places(Tensor sources) =>
        [.. sources.cpu().data<long>().ToArray().Chunk(3).Select(s => (s[0], s[1], s[2]))];

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
