using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Models;

/// <summary>What an <see cref="EpisodicTransformer"/> carries from one segment of a document to the next, or from token to token.</summary>
/// <param name="Position">Tokens read so far.</param>
/// <param name="BatchSize">Documents, B.</param>
/// <param name="Layers">Each block's part.</param>
public sealed record EpisodicState(long Position, long BatchSize, IReadOnlyList<LayerState> Layers) : IDisposable
{
    /// <summary>The same without its history: gradients don't go back beyond it.</summary>
    public EpisodicState Detach() => this with { Layers = [.. Layers.Select(l => new LayerState(l.Keys?.detach(), l.Values?.detach(), l.FastWeights?.detach(), l.Context?.detach(), l.Nodes?.detach(), l.NodeGates?.detach()))] };

    /// <summary>What it takes up for one document, in bytes: constant where attention has a window or is off, but for the tokens of an interval that wait to become a graph's nodes.</summary>
    public long BytesPerDocument => BatchSize == 0 ? 0 : Tensors.Sum(t => t.numel() * t.element_size()) / BatchSize;

    internal IEnumerable<Tensor> Tensors => Layers.SelectMany(l => l.Tensors);

    internal void MoveToOuterDisposeScope()
    {
        foreach (var layer in Layers) layer.MoveToOuterDisposeScope();
    }

    public void Dispose()
    {
        foreach (var tensor in Tensors) tensor.Dispose();
    }
}

/// <summary>A block's part of the state; null for what the block hasn't.</summary>
/// <param name="Keys">Attention's keys of the last tokens, as many as its window can still see (B, heads, P, d/heads); null at a document's start.</param>
/// <param name="Values">Their values.</param>
/// <param name="FastWeights">F (B, memory heads, d_k, d_v).</param>
/// <param name="Context">c (B, d).</param>
/// <param name="Nodes">The graph memory's nodes and the tokens that may become some (B, N + p, 2d).</param>
/// <param name="NodeGates">ln g of these (B, N + p).</param>
public sealed record LayerState(Tensor? Keys, Tensor? Values, Tensor? FastWeights, Tensor? Context, Tensor? Nodes = null, Tensor? NodeGates = null)
{
    internal IEnumerable<Tensor> Tensors => new[] { Keys, Values, FastWeights, Context, Nodes, NodeGates }.OfType<Tensor>();

    internal void MoveToOuterDisposeScope()
    {
        foreach (var tensor in Tensors) tensor.MoveToOuterDisposeScope();
    }
}
