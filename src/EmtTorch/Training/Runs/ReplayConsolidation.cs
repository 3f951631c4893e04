using EmtTorch.Kernels;
using EmtTorch.Memory;
using EmtTorch.Models;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace EmtTorch.Training;

/// <summary>
/// Consolidation while a network is trained (the source's 1.5). Each block keeps the writes to its fast weights with
/// the highest gates. Every n steps a few steps of Adam on <see cref="ReplayLoss"/> move the feed-forward networks and
/// W_Q towards them; then the buffer is emptied.
/// </summary>
/// <remarks>
/// Adam begins anew each time, so that the buffer is all that a checkpoint needs. W_K and W_V, rows of the same
/// parameter as W_Q, get no gradient, and stay.
/// </remarks>
internal sealed class ReplayConsolidation : IDisposable
{
    private readonly EpisodicTransformer _network;
    private readonly TrainingConsolidation _settings;
    private readonly ReplayBuffer[] _buffers;
    private readonly List<TokenWrites>[] _candidates; // of the step that is being taken
    private readonly Parameter[] _queries;

    public ReplayConsolidation(EpisodicTransformer network, TrainingConsolidation settings)
    {
        (_network, _settings) = (network, settings);
        bool ofAttention = settings.Queries == TrainingConsolidation.OfAttention;
        _queries = ofAttention
            ? [.. network.Blocks.Select(b => b.AttentionWeights!)]
            : [.. network.Memories.Select(m => m.QueriesKeysAndValues)];
        var device = network.parameters().First().device;
        _buffers = [.. _queries.Select(q => new ReplayBuffer(settings.Writes, q.shape[1], network.Dtype, device))];
        _candidates = [.. _buffers.Select(_ => new List<TokenWrites>())];
    }

    /// <summary>The writes that are kept, for checkpoints.</summary>
    public IReadOnlyDictionary<string, Tensor> Tensors
    {
        get
        {
            var tensors = new Dictionary<string, Tensor>();
            foreach (var (block, buffer) in _buffers.Index())
            {
                tensors[$"consolidation.{block}.gates"] = buffer.Gates;
                tensors[$"consolidation.{block}.hidden"] = buffer.Hidden;
                tensors[$"consolidation.{block}.keys"] = buffer.Keys;
                tensors[$"consolidation.{block}.values"] = buffer.Values;
            }
            return tensors;
        }
    }

    /// <summary>Does a training step's work and takes in what its tokens write.</summary>
    /// <param name="work">Reads documents, maybe on several threads: each thread its own.</param>
    public void Collect(Action work)
    {
        foreach (var (block, memory) in _network.Memories.Index())
        {
            memory.Written = writes =>
            {
                var strongest = _buffers[block].Strongest(writes);
                lock (_candidates[block])
                    _candidates[block].Add(strongest);
            };
        }
        try
        {
            work();
            // The same whatever the order in which threads came: a thread's own segments are in their order.
            foreach (var (buffer, candidates) in _buffers.Zip(_candidates))
                buffer.Add([.. candidates.OrderBy(c => c.FirstDocument)]);
        }
        finally
        {
            foreach (var memory in _network.Memories)
                memory.Written = null;
            foreach (var candidates in _candidates)
            {
                // Some are left if the work threw.
                candidates.ForEach(c => c.Dispose());
                candidates.Clear();
            }
        }
    }

    /// <summary>Consolidates if it is time.</summary>
    /// <param name="step">How many training steps were taken.</param>
    public void AfterStep(long step)
    {
        if (step % _settings.Interval != 0)
            return;
        using var scope = NewDisposeScope();
        ReplayWrites?[] writes = [.. _buffers.Select(b => b.Writes())];
        if (writes.Any(w => w is not null))
            SliceWorkers.WithKernelThreads(1, () => Replay(writes));
        foreach (var buffer in _buffers)
            buffer.Clear();
    }

    private void Replay(ReplayWrites?[] writes)
    {
        using var everything = NewDisposeScope();
        using var grad = enable_grad();
        Parameter[] moved = [.. _network.Blocks.SelectMany(b => b.FeedForwardWeights), .. _queries];
        using var adam = optim.Adam(moved, lr: _settings.LearningRate);
        bool ofAttention = _settings.Queries == TrainingConsolidation.OfAttention;
        for (int i = 0; i < _settings.Steps; i++)
        {
            using var scope = NewDisposeScope();
            ClearGradients();
            BackwardCall.Run(ReplayLoss.Compute(_network, writes, ofAttention, isMean: _settings.Loss == "mean"));
            adam.step();
        }
        ClearGradients();
    }

    private void ClearGradients()
    {
        foreach (var parameter in _network.parameters())
            parameter.grad?.zero_();
    }

    public void Dispose()
    {
        foreach (var buffer in _buffers)
            buffer.Dispose();
    }
}
