using static TorchSharp.torch;

namespace EmtTorch.Tasks;

/// <summary>A task on sequences of tokens.</summary>
/// <remarks>
/// Every task has a static `Check` with its constructor's parameters that returns all the rules they break, in words;
/// the constructor throws an <see cref="ArgumentException"/> with the same words.
/// </remarks>
/// <example><code>
/// ITokenTask task = new SegmentRecall(pairs: 4, between: 2, segmentLength: 64, keys: 512, values: 512, noise: 16, device);
/// foreach (var (input, target, _) in task.Batch(32, generator)) { … }   // the model carries its state from segment to segment
/// </code></example>
public interface ITokenTask
{
    /// <summary>Token ids are from 0 to this, exclusive.</summary>
    int VocabularySize { get; }

    /// <summary>The accuracy of guessing; 0 for a task on which nothing can be said of it, such as text.</summary>
    double ChanceAccuracy => 0;

    /// <summary>One batch of documents; the same state of the generator gives the same batch.</summary>
    /// <param name="batchSize">Documents, B.</param>
    /// <param name="generator">Where the random numbers come from; on the task's device.</param>
    /// <returns>The documents' segments in their order; a plain sequence is one segment. Nothing else is left in the
    /// caller's dispose scope.</returns>
    IReadOnlyList<TokenBatch> Batch(long batchSize, Generator generator);

    /// <exception cref="ArgumentException">There are broken rules.</exception>
    internal static void Refuse(IReadOnlyList<string> broken)
    {
        if (broken.Count > 0)
            throw new ArgumentException(string.Join("; ", broken));
    }
}
