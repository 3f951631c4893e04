using EmtTorch.Memory.Retrieval;
using EmtTorch.Models;
using EmtTorch.Tasks;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Training;

/// <summary>What a network knows of the facts that are the same in all documents of its run.</summary>
internal static class PersistentFacts
{
    /// <summary>Measures the share of right answers to questions for persistent pairs.</summary>
    /// <param name="network">The network.</param>
    /// <param name="task">The task with persistent pairs.</param>
    /// <param name="documents">How many documents ask for each pair once.</param>
    /// <param name="generator">The source of random numbers.</param>
    /// <param name="wiped">Whether nothing is told: the questions are the beginning of a document, and fast weights,
    /// context, graph and attention hold nothing. A shared store of entries is kept. False: the questions follow a
    /// document that tells the pairs, in place of its last segment.</param>
    public static double MeasureAccuracy(
        EpisodicTransformer network,
        SegmentRecall task,
        long documents,
        Generator generator,
        bool wiped
    )
    {
        using var quiet = no_grad();
        using var scope = NewDisposeScope();
        var device = network.parameters().First().device;
        var state = network.FirstState(documents, device, new(EpisodicStores.Tests, 0));
        foreach (var segment in wiped ? [] : task.Batch(documents, generator).SkipLast(1))
            state = network.Run(segment.Input, state).State;
        var (input, target, _) = task.AskForFacts(documents, generator);
        var hidden = network.Run(input, state).Hidden;
        network.Stores?.Forget(EpisodicStores.Tests);
        var places = target.reshape(-1).ne(TokenBatch.Ignored).nonzero().squeeze(-1);
        var given = network.ReadOut(hidden.reshape(-1, hidden.shape[2]).index_select(0, places)).argmax(-1);
        return given.eq(target.reshape(-1).index_select(0, places)).to(ScalarType.Float64).mean().item<double>();
    }
}
