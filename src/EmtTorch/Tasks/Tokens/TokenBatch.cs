using static TorchSharp.torch;

namespace EmtTorch.Tasks;

/// <summary>One segment of a batch of documents.</summary>
/// <param name="Input">Token ids (B, T), int64.</param>
/// <param name="Target">What is asked at each position (B, T), int64, and <see cref="Ignored"/> where nothing is. A
/// segment may ask nothing at all: the mean of a loss is over a document's segments together, as over this one alone it
/// would be 0/0.</param>
/// <param name="Words">Of text, which word a target belongs to (B, T), int64: 0 none, 1 one that is new in its
/// document, 2 one that was in it before.</param>
public sealed record TokenBatch(Tensor Input, Tensor Target, Tensor? Words = null)
{
    /// <summary>The target where nothing is asked: the default of cross entropy's ignore_index.</summary>
    public const long Ignored = -100;
}
