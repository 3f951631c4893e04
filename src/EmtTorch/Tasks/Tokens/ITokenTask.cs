using static TorchSharp.torch;

namespace EmtTorch.Tasks;

/// <summary>A task on sequences of tokens: makes batches of documents. Its settings create it.</summary>
/// <example><code>
/// ITokenTask task = new SegmentRecallConfiguration { Pairs = 4, Keys = 512 }.Create(horizon: 2, device);
/// foreach (var (input, target, _) in task.Batch(32, generator)) { … } // the state is carried from segment to segment
/// </code></example>
public interface ITokenTask
{
    /// <summary>The size of the vocabulary V: token ids are from 0 to V − 1.</summary>
    int VocabularySize { get; }

    /// <summary>The accuracy of guessing, or 0 where nothing can be said of it, as for text.</summary>
    double ChanceAccuracy => 0;

    /// <summary>Makes a batch of documents. The same state of the generator gives the same batch.</summary>
    /// <param name="batchSize">B, the number of documents.</param>
    /// <param name="generator">The generator of random numbers, on the CPU.</param>
    /// <returns>The documents' segments in order, each (B, L) on the task's device; a plain sequence is one segment.
    /// Nothing else is left in the caller's dispose scope.</returns>
    IReadOnlyList<TokenBatch> Batch(long batchSize, Generator generator);

    /// <summary>Throws if rules are broken.</summary>
    /// <exception cref="ArgumentException">The message contains all of them.</exception>
    internal static void Refuse(IEnumerable<string> broken)
    {
        if (string.Join("; ", broken) is { Length: > 0 } message)
            throw new ArgumentException(message);
    }
}
