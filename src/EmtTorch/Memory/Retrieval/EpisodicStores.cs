namespace EmtTorch.Memory.Retrieval;

/// <summary>The stores of a network's blocks. Documents go there in generations, one for each batch.</summary>
/// <example><code>
/// var (hidden, state) = network.Read(segment1);                   // a new generation of documents
/// (hidden, state) = network.Read(segment2, state);
/// network.Stores!.Close(state.Documents.Generation);              // the documents are read
/// </code></example>
public sealed class EpisodicStores : IDisposable
{
    private readonly IReadOnlyList<RetrievalMemory> _blocks;
    private long _next;

    internal EpisodicStores(IReadOnlyList<RetrievalMemory> blocks) => _blocks = blocks;

    /// <summary>The first generation of tests, which leave nothing in the stores.</summary>
    internal const long Tests = 1L << 62;

    /// <summary>Whether documents of earlier generations are found too.</summary>
    public bool IsShared => _blocks[0].IsShared;

    /// <summary>The store of each block.</summary>
    public IReadOnlyList<IEpisodicStore> Blocks => [.. _blocks.Select(b => b.Store)];

    /// <summary>The number of the next generation.</summary>
    internal long Next
    {
        get => Interlocked.Read(ref _next);
        set => Interlocked.Exchange(ref _next, value);
    }

    /// <summary>Begins a new generation of documents.</summary>
    /// <returns>Its number.</returns>
    public long Begin() => Interlocked.Increment(ref _next) - 1;

    /// <summary>
    /// Ends a generation of documents. What is stored of them is removed, unless the stores are shared.
    /// </summary>
    public void Close(long generation)
    {
        if (!IsShared)
            Forget(generation);
    }

    /// <summary>Removes what is stored of a generation of documents.</summary>
    public void Forget(long generation)
    {
        foreach (var store in Blocks)
            store.Forget(generation);
    }

    /// <summary>The device of a block.</summary>
    internal TorchSharp.torch.Device DeviceOf(int block) => _blocks[block].parameters().First().device;

    /// <summary>Replaces the stores of all blocks. The old ones are disposed of.</summary>
    internal void Use(Func<int, IEpisodicStore> store)
    {
        for (int i = 0; i < _blocks.Count; i++)
        {
            _blocks[i].Store.Dispose();
            _blocks[i].Store = store(i);
        }
    }

    /// <summary>Disposes of the stores.</summary>
    public void Dispose()
    {
        foreach (var store in Blocks)
            store.Dispose();
    }
}
