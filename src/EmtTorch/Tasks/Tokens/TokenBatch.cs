using static TorchSharp.torch;

namespace EmtTorch.Tasks;

/// <summary>One segment of a batch of documents.</summary>
/// <param name="Input">Token ids (B, T), int64.</param>
/// <param name="Target">The answer wanted at each position (B, T), int64; <see cref="Ignored"/> where none is. A
/// segment may have no answers at all, so the mean of a loss is over all segments of a document.</param>
/// <param name="Words">On text, the kind of word that a target belongs to (B, T), int64: 0 no word, 1 a word that
/// occurs for the first time in its document, 2 one that occurred before. Null on other tasks.</param>
public sealed record TokenBatch(Tensor Input, Tensor Target, Tensor? Words = null)
{
    /// <summary>The target where no answer is wanted: the default of cross entropy's `ignore_index`.</summary>
    public const long Ignored = -100;
}
