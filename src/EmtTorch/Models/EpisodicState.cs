using EmtTorch.Memory;
using EmtTorch.Memory.Retrieval;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Models;

/// <summary>
/// What an <see cref="EpisodicTransformer"/> carries from one segment of a document to the next, or from token to
/// token.
/// </summary>
/// <param name="Position">Tokens read so far.</param>
/// <param name="BatchSize">Documents, B.</param>
/// <param name="Layers">Each block's part.</param>
public sealed record EpisodicState(long Position, long BatchSize, IReadOnlyList<LayerState> Layers) : IDisposable
{
    /// <summary>
    /// Which documents these are, where their tokens are kept in a store (<see
    /// cref="Memory.Retrieval.EpisodicStores"/>): their generation, and the first one's number in it.
    /// </summary>
    public (long Generation, long FirstDocument) Documents { get; init; }

    /// <summary>The same without its history: gradients don't go back beyond it.</summary>
    public EpisodicState Detach() =>
        this with
        {
            Layers =
            [
                .. Layers.Select(l => new LayerState(
                    l.Keys?.detach(),
                    l.Values?.detach(),
                    l.FastWeights?.detach(),
                    l.Context?.detach()
                )
                {
                    Nodes = l.Nodes?.detach(),
                    NodeGates = l.NodeGates?.detach(),
                    Recent = l.Recent,
                    Memories = [.. l.Memories.Select(m => m.ToDictionary(p => p.Key, p => p.Value.detach()))],
                }),
            ],
        };

    /// <summary>
    /// What it takes up for one document, in bytes: constant where attention has a window or is off, but for the tokens
    /// of an interval that wait to become a graph's nodes.
    /// </summary>
    public long BytesPerDocument => BatchSize == 0 ? 0 : Tensors.Sum(t => t.numel() * t.element_size()) / BatchSize;

    internal IEnumerable<Tensor> Tensors => Layers.SelectMany(l => l.Tensors);

    /// <summary>Hands its tensors to the dispose scope around the current one.</summary>
    public void MoveToOuterDisposeScope()
    {
        foreach (var tensor in Tensors)
            tensor.MoveToOuterDisposeScope();
    }

    public void Dispose()
    {
        foreach (var tensor in Tensors)
            tensor.Dispose();
    }
}

/// <summary>A block's part of the state; null for what the block hasn't.</summary>
/// <param name="Keys">Attention's keys of the last tokens, as many as its window can still see (B, heads, P, d/heads);
/// null at a document's start.</param>
/// <param name="Values">Their values.</param>
/// <param name="FastWeights">F (B, memory heads, d_k, d_v).</param>
/// <param name="Context">c (B, d).</param>
public sealed record LayerState(Tensor? Keys, Tensor? Values, Tensor? FastWeights, Tensor? Context)
{
    /// <summary>The graph memory's nodes and the tokens that may become some (B, N + p, 2d).</summary>
    public Tensor? Nodes { get; init; }

    /// <summary>ln g of these (B, N + p).</summary>
    public Tensor? NodeGates { get; init; }

    /// <summary>
    /// The tokens of a chunk that isn't whole yet, where they go to a store (B, P, d_v), without gradients; null at a
    /// document's start.
    /// </summary>
    public Tensor? Recent { get; init; }

    /// <summary>
    /// The states of further memories (<see cref="Memory.BlockMemory"/>), in the configuration's order.
    /// </summary>
    public IReadOnlyList<IReadOnlyDictionary<string, Tensor>> Memories { get; init; } = [];

    internal IEnumerable<Tensor> Tensors =>
        new[] { Keys, Values, FastWeights, Context, Nodes, NodeGates, Recent }
            .OfType<Tensor>()
            .Concat(Memories.SelectMany(m => m.Values));

    internal void MoveToOuterDisposeScope()
    {
        foreach (var tensor in Tensors)
            tensor.MoveToOuterDisposeScope();
    }
}
