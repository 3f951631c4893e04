using EmtTorch.Memory;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Models;

/// <summary>
/// What an <see cref="EpisodicTransformer"/> carries from one segment of a document to the next, or from token to
/// token.
/// </summary>
/// <param name="Position">The number of tokens read so far.</param>
/// <param name="BatchSize">The number of documents, B.</param>
/// <param name="Layers">The state of each block.</param>
public sealed record EpisodicState(long Position, long BatchSize, IReadOnlyList<LayerState> Layers) : IDisposable
{
    /// <summary>
    /// Which documents these are, if their tokens are kept in a store (<see cref="Memory.Retrieval.EpisodicStores"/>).
    /// </summary>
    public DocumentNumbers Documents { get; init; }

    /// <summary>The same state without its history: gradients do not go back beyond it.</summary>
    public EpisodicState Detach() =>
        this with
        {
            Layers =
            [
                .. Layers.Select(l => new LayerState(l.Keys?.detach(), l.Values?.detach(), l.Context?.detach())
                {
                    Memories = l.Memories.ToDictionary(m => m.Key, m => m.Value.Select(t => t.detach())),
                }),
            ],
        };

    /// <summary>
    /// The size of the state of one document, in bytes. It is constant if attention has a window or is off, except that
    /// some memories hold back the tokens of an unfinished interval.
    /// </summary>
    public long BytesPerDocument => BatchSize == 0 ? 0 : Tensors.Sum(t => t.numel() * t.element_size()) / BatchSize;

    internal IEnumerable<Tensor> Tensors => Layers.SelectMany(l => l.Tensors);

    /// <summary>The same state in which one memory of each block has another state.</summary>
    /// <param name="memory">The name of the memory.</param>
    /// <param name="change">Gives the new state from the block's number and the old state.</param>
    internal EpisodicState WithMemory(string memory, Func<int, MemoryState, MemoryState> change) =>
        this with
        {
            Layers =
            [
                .. Layers.Select(
                    (l, block) =>
                        l with
                        {
                            Memories = l.Memories.ToDictionary(
                                m => m.Key,
                                m => m.Key == memory ? change(block, m.Value) : m.Value
                            ),
                        }
                ),
            ],
        };

    /// <summary>Hands its tensors to the dispose scope around the current one.</summary>
    public void MoveToOuterDisposeScope()
    {
        foreach (var layer in Layers)
            layer.MoveToOuterDisposeScope();
    }

    public void Dispose()
    {
        foreach (var tensor in Tensors)
            tensor.Dispose();
    }
}

/// <summary>The state of one block.</summary>
/// <param name="Keys">Attention's keys of the last tokens, as many as its window can still see (B, heads, P, d/heads),
/// or null at a document's start and without attention.</param>
/// <param name="Values">The values of the same tokens.</param>
/// <param name="Context">c (B, d), or null without a drifting context.</param>
public sealed record LayerState(Tensor? Keys, Tensor? Values, Tensor? Context)
{
    /// <summary>The states of the block's memories, by their names: <c>fast_weights</c>, <c>graph</c>, …</summary>
    public IReadOnlyDictionary<string, MemoryState> Memories { get; init; } = new Dictionary<string, MemoryState>();

    internal IEnumerable<Tensor> Tensors =>
        new[] { Keys, Values, Context }.OfType<Tensor>().Concat(Memories.Values.SelectMany(m => m.Values));

    /// <summary>Hands its tensors to the dispose scope around the current one.</summary>
    internal void MoveToOuterDisposeScope()
    {
        foreach (var tensor in Tensors)
            tensor.MoveToOuterDisposeScope();
    }
}
