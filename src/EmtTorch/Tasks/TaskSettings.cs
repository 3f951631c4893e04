using EmtTorch.Settings;
using static TorchSharp.torch;

namespace EmtTorch.Tasks;

/// <summary>
/// The settings of a task: a record with a name (<see cref="Settings.NamedAttribute"/>), whose properties are the keys
/// of <c>"task": { "NAME": { … } }</c>. Each property has a Description, and a Range or another attribute of
/// System.ComponentModel.DataAnnotations if not all values are allowed.
/// </summary>
public abstract record TaskSettings
{
    /// <summary>Returns the rules that the settings break together, a sentence for each.</summary>
    /// <param name="horizon">A horizon of the curriculum or of the evaluation.</param>
    public virtual IEnumerable<string> Check(int horizon) => [];

    /// <summary>The files that the task reads. A run goes on only with the files that it was begun with.</summary>
    public virtual IReadOnlyList<string> DataFiles => [];
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
    /// <summary>Creates the task.</summary>
    /// <param name="dtype">The numbers' type.</param>
    /// <param name="device">The device of the batches.</param>
    public abstract ISequenceTask Create(ScalarType dtype, Device device);
}

/// <summary>A task on sequences of tokens, for a transformer.</summary>
public abstract record TokenTaskSettings : TaskSettings
{
    /// <summary>Creates the task.</summary>
    /// <param name="horizon">The length of documents, in the task's own unit.</param>
    /// <param name="device">The device of the batches.</param>
    /// <exception cref="ArgumentException">A rule of <see cref="TaskSettings.Check"/> is broken.</exception>
    public abstract ITokenTask Create(int horizon, Device device);

    /// <summary>The same settings for a run with a seed, on which what is the same in all documents may
    /// depend.</summary>
    internal virtual TokenTaskSettings ForRun(long seed) => this;

    /// <summary>Returns the number of tokens in a document.</summary>
    /// <param name="horizon">As for <see cref="Create"/>.</param>
    public abstract long TokensAt(int horizon);

    /// <summary>Whether horizons count segments rather than tokens.</summary>
    public virtual bool CountsSegments => false;

    /// <summary>Whether the accuracy can be measured at horizons that were not trained.</summary>
    public virtual bool HasDistances => true;

    /// <summary>The kinds of tokens for which analyses average a write gate, in the order of display.</summary>
    public virtual IReadOnlyList<string> Kinds => ["token"];

    /// <summary>Returns the kind of a token, as an index into <see cref="Kinds"/>.</summary>
    /// <param name="document">The document.</param>
    /// <param name="t">The token's position.</param>
    public virtual int KindOf(TokenDocument document, int t) => 0;

    /// <summary>Returns a short label of a token for figures, such as ?, k12 or v7.</summary>
    public virtual string Label(long token) => $"{token}";

    /// <summary>Returns the pairs that a document binds; null for a task without pairs.</summary>
    public virtual BoundPairs? PairsOf(TokenDocument document) => null;

    /// <summary>The number of pairs that a document binds; null for a task without pairs.</summary>
    public virtual int? PairCount => null;

    /// <summary>The name of these pairs in tables and figures.</summary>
    public virtual string PairsName => "pairs";

    /// <summary>Whether a pair's value may be the key of another pair, so that questions go along several.</summary>
    public virtual bool AreChained => false;

    /// <summary>
    /// Returns the settings with another number of pairs, and a horizon at which documents are long enough for them.
    /// </summary>
    /// <param name="pairs">The number of pairs.</param>
    /// <param name="horizon">The longest trained horizon.</param>
    public virtual (TokenTaskSettings Settings, int Horizon) WithPairs(int pairs, int horizon) => (this, horizon);
}

/// <summary>One document of a task on tokens.</summary>
/// <param name="Input">Its tokens.</param>
/// <param name="Target">The answer wanted at each token; <see cref="TokenBatch.Ignored"/> where none is.</param>
/// <param name="Words">On text, the kind of word that a target belongs to (<see cref="TokenBatch.Words"/>).</param>
public sealed record TokenDocument(long[] Input, long[] Target, long[]? Words = null);

/// <summary>A task on sequences of numbers: an input phase, then an output phase whose outputs count.</summary>
public interface ISequenceTask
{
    /// <summary>κ, the size of an input and of an output.</summary>
    int Dimension { get; }

    /// <summary>The number of steps of the input phase; 0 if all outputs count.</summary>
    int InputSteps { get; }

    /// <summary>Makes a batch. The same state of the generator gives the same batch.</summary>
    /// <param name="batchSize">B, the number of sequences.</param>
    /// <param name="horizon">The number of outputs that count.</param>
    /// <param name="generator">The generator of random numbers, on the CPU.</param>
    /// <returns>Input (S, B, κ) and target (horizon, B, κ). After step S the input is zero.</returns>
    (Tensor Input, Tensor Target) Batch(long batchSize, long horizon, Generator generator);
}

/// <summary>A task with <c>"task": { "name": "NAME", "d": …, "s": … }</c> that is not linear.</summary>
internal abstract class NamedTask
{
    /// <summary>Creates the task.</summary>
    /// <exception cref="ArgumentException">A rule is broken.</exception>
    public abstract ISequenceTask Create(TaskConfiguration task, ScalarType dtype, Device device);

    /// <summary>Returns the rules that are broken, each with its key.</summary>
    public abstract IEnumerable<(string Key, string Message)> Check(TaskConfiguration task);

    /// <summary>The reason why the task is not linear, to end a sentence.</summary>
    public abstract string WhyNotLinear { get; }

    /// <summary>Whether the task has a history of s variables.</summary>
    public virtual bool HasHistory => true;

    /// <summary>The reason why a network without biases cannot learn the task; null if it can.</summary>
    public virtual string? WhyBias => null;
}
