using EmtTorch.Settings;
using static TorchSharp.torch;

namespace EmtTorch.Tasks;

/// <summary>
/// A task with settings of its own: a record with a name (<see cref="Settings.NamedAttribute"/>), whose properties are
/// the keys of <c>"task": { "NAME": { … } }</c>. Each has a Description, and a Range or the like where not all values
/// are allowed.
/// </summary>
public abstract record TaskSettings
{
    /// <summary>The rules that the settings break together.</summary>
    /// <param name="horizon">A horizon of the curriculum or of the evaluation.</param>
    /// <returns>Each rule in words; none where all is well.</returns>
    public virtual IEnumerable<string> Check(int horizon) => [];
}

/// <summary>A task on sequences of numbers, for a recurrent network.</summary>
/// <example><code>
/// [Named("delayed_match"), Description("Whether two stimuli with a delay between them are the same.")]
/// public sealed record DelayedMatchSettings : SequenceTaskSettings
/// {
///     [Description("Steps between sample and test."), Range(1, 10_000)]
///     public int Delay { get; init; } = 20;
///
///     public override ISequenceTask Create(ScalarType dtype, Device device) => new DelayedMatch(this, dtype, device);
/// }
/// </code></example>
public abstract record SequenceTaskSettings : TaskSettings
{
    /// <summary>Makes the task's generator.</summary>
    /// <param name="dtype">The numbers' type.</param>
    /// <param name="device">Where batches are wanted.</param>
    public abstract ISequenceTask Create(ScalarType dtype, Device device);
}

/// <summary>A task on sequences of tokens, for a transformer.</summary>
public abstract record TokenTaskSettings : TaskSettings
{
    /// <summary>Makes the task's generator.</summary>
    /// <param name="horizon">How long documents are, in what the task counts.</param>
    /// <param name="device">Where batches are wanted.</param>
    /// <exception cref="ArgumentException">A rule is broken.</exception>
    public abstract ITokenTask Create(int horizon, Device device);

    /// <summary>Tokens of a document.</summary>
    /// <param name="horizon">As for <see cref="Create"/>.</param>
    public abstract long TokensAt(int horizon);

    /// <summary>Whether horizons count segments, and not tokens.</summary>
    public virtual bool CountsSegments => false;

    /// <summary>Whether answers at other horizons than the trained ones mean anything.</summary>
    public virtual bool HasDistances => true;

    /// <summary>
    /// The kinds of tokens over which a write gate is averaged, in the order in which they are shown.
    /// </summary>
    public virtual IReadOnlyList<string> Kinds => ["token"];

    /// <summary>The kind of a token, as a number in <see cref="Kinds"/>.</summary>
    /// <param name="document">The tokens of one document and what is asked.</param>
    /// <param name="t">The token's place.</param>
    public virtual int KindOf(TokenDocument document, int t) => 0;

    /// <summary>A token in a few letters: ? k12 v7.</summary>
    public virtual string Label(long token) => $"{token}";

    /// <summary>The pairs that a document binds; null for a task without pairs.</summary>
    public virtual BoundPairs? PairsOf(TokenDocument document) => null;

    /// <summary>How many pairs a document binds; null for a task without pairs.</summary>
    public virtual int? PairCount => null;

    /// <summary>What people call these pairs.</summary>
    public virtual string PairsName => "pairs";

    /// <summary>Whether a pair's value may be another's key, and questions go along several.</summary>
    public virtual bool AreChained => false;

    /// <summary>The task with another number of pairs, in documents as long as they need to be.</summary>
    /// <param name="pairs">The number of pairs.</param>
    /// <param name="horizon">The longest horizon that was trained.</param>
    public virtual (TokenTaskSettings Settings, int Horizon) WithPairs(int pairs, int horizon) => (this, horizon);
}

/// <summary>One document of a task on tokens.</summary>
/// <param name="Input">Its tokens.</param>
/// <param name="Target">What is asked at each, <see cref="TokenBatch.Ignored"/> where nothing is.</param>
/// <param name="Words">Of text, which word a target belongs to (<see cref="TokenBatch.Words"/>).</param>
public sealed record TokenDocument(long[] Input, long[] Target, long[]? Words = null);

/// <summary>Sequences of numbers whose outputs count after an input phase.</summary>
public interface ISequenceTask
{
    /// <summary>Numbers in an input and in an output, κ.</summary>
    int Dimension { get; }

    /// <summary>Steps of the input phase, after which outputs count; 0: all of them count.</summary>
    int InputSteps { get; }

    /// <summary>One batch; the same state of the generator gives the same batch.</summary>
    /// <param name="batchSize">Sequences, B.</param>
    /// <param name="horizon">Outputs that count.</param>
    /// <param name="generator">Where the random numbers come from: a generator on the CPU.</param>
    /// <returns>Input (S, B, κ), after whose end the input is zero, and target (horizon, B, κ).</returns>
    (Tensor Input, Tensor Target) Batch(long batchSize, long horizon, Generator generator);
}

/// <summary>A task that <c>"task": { "name": "NAME", "d": …, "s": … }</c> asks for, beside the linear ones.</summary>
internal abstract class NamedTask
{
    /// <summary>Makes the task's generator.</summary>
    /// <exception cref="ArgumentException">A rule is broken.</exception>
    public abstract ISequenceTask Create(TaskConfiguration task, ScalarType dtype, Device device);

    /// <summary>The rules that are broken, each with its key.</summary>
    public abstract IEnumerable<(string Key, string Message)> Check(TaskConfiguration task);

    /// <summary>Why it is no linear variable binding task.</summary>
    public abstract string WhyNotLinear { get; }

    /// <summary>Why a network without biases can't learn it; null where it can.</summary>
    public virtual string? WhyBias => null;
}
