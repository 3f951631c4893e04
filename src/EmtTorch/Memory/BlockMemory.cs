using System.Text.Json.Serialization;
using EmtTorch.Settings;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Memory;

/// <summary>
/// The settings of a memory for the transformer's blocks: a record with a name (<see cref="NamedAttribute"/>), whose
/// properties are the keys of <c>"model": { "memories": { "NAME": { … } } }</c>.
/// </summary>
/// <example><code>
/// [Named("oja"), Description("Fast weights that forget by Oja's rule.")]
/// public sealed record OjaSettings : MemorySettings
/// {
///     [Description("How strongly a token is written."), Range(0.0, 1.0)]
///     public double Rate { get; init; } = 0.1;
///
///     public override BlockMemory Create(BlockShape block) => new OjaMemory(this, block);
/// }
/// </code></example>
public abstract record MemorySettings
{
    /// <summary>The name by which a configuration asks for the memory.</summary>
    internal string Name => Parts.NameOf(GetType());

    /// <summary>The memory in a few words, for the head of a report: "graph (64 nodes)".</summary>
    [JsonIgnore]
    public virtual string Summary => Name.Replace('_', ' ');

    /// <summary>The name of the memory's module in a block, as it stands in checkpoints.</summary>
    internal virtual string ModuleName => $"memories_{Name}";

    /// <summary>
    /// Where the memory stands among a block's parts. What a seed gives, bit for bit, depends on this order.
    /// </summary>
    internal virtual MemoryPlace Place => MemoryPlace.Last;

    /// <summary>Creates the memory of one block, with its first weights.</summary>
    /// <param name="block">The sizes and switches of the block.</param>
    public abstract BlockMemory Create(BlockShape block);

    /// <summary>Finds settings that do not go together, or do not fit the block.</summary>
    /// <param name="block">The sizes and switches of the block.</param>
    /// <returns>One problem for each; none if all is well. Paths begin at the memory's own keys: <c>rate</c>.</returns>
    public virtual IEnumerable<ConfigurationProblem> Check(BlockShape block) => [];
}

/// <summary>
/// The order of a block's memories. Reads are added to the stream in this order; memories of the same place keep the
/// order of the configuration.
/// </summary>
internal enum MemoryPlace
{
    /// <summary>First weights are drawn, and parameters listed, before those of the feed-forward network.</summary>
    First,

    /// <summary>The same, after all of <see cref="First"/>.</summary>
    Second,

    /// <summary>Parameters are listed before those of the feed-forward network; first weights are drawn
    /// after.</summary>
    Third,

    /// <summary>First weights are drawn, and parameters listed, after those of the feed-forward network.</summary>
    Last,
}

/// <summary>T tokens of B documents, as a block gives them to its memories.</summary>
/// <param name="Hidden">h̃, the tokens in the context of those before them (B, T, HiddenWidth): d, or 2 d if contexts
/// are concatenated (<see cref="BlockShape.HiddenWidth"/>).</param>
/// <param name="Contexts">c after each token (B, T, d), or null if the block has no drifting context. A recurrent
/// context, which needs the block's output of a token first, is given as it is before the token.</param>
/// <param name="Position">How many tokens of the documents came before these.</param>
public sealed record BlockInput(Tensor Hidden, Tensor? Contexts, long Position)
{
    /// <summary>h, the tokens without context (B, T, d). Without a drifting context the same as h̃.</summary>
    public Tensor Plain { get; init; } = Hidden;

    /// <summary>c before the first token (B, d), or null if the block has no drifting context.</summary>
    public Tensor? ContextBefore { get; init; }

    /// <summary>
    /// Attention's queries W_Q h̃ of the tokens, not rotated (B, T, d), or null if no memory of the block reads them.
    /// </summary>
    internal Tensor? Queries { get; init; }

    /// <summary>Which documents these are, for memories that store tokens outside the network.</summary>
    public DocumentNumbers Documents { get; init; }
}

/// <summary>The numbers of a batch of documents.</summary>
/// <param name="Generation">The number of the batch.</param>
/// <param name="FirstDocument">The number of its first document; the others follow.</param>
public readonly record struct DocumentNumbers(long Generation, long FirstDocument);

/// <summary>
/// What a memory carries from token to token: tensors by names of the memory's choice, each with the batch as its first
/// dimension.
/// </summary>
public sealed class MemoryState : Dictionary<string, Tensor>
{
    internal MemoryState Select(Func<Tensor, Tensor> change)
    {
        var changed = new MemoryState();
        foreach (var (name, tensor) in this)
            changed.Add(name, change(tensor));
        return changed;
    }
}

/// <summary>What a memory returns for a segment.</summary>
/// <param name="Added">What is added to the stream (B, T, d), or null if nothing is.</param>
/// <param name="State">The state after the last token, with the names of the first state.</param>
public sealed record MemoryRead(Tensor? Added, MemoryState State)
{
    /// <summary>Entries that the block's attention sees beside its tokens, or null if there are none.</summary>
    internal SeenEntries? Entries { get; init; }

    /// <summary>Computes from the stream that would leave the block (B, T, d) the one that does, or null.</summary>
    internal Func<Tensor, Tensor>? Leaving { get; init; }

    /// <summary>
    /// Computes from the input of the feed-forward network (B, T, d) what is added to that input, or null.
    /// </summary>
    internal Func<Tensor, Tensor>? FeedForward { get; init; }
}

/// <summary>Entries of a memory that attention sees: K for each token, further ones in its softmax.</summary>
/// <param name="Scores">What stands in the softmax for each (B, T, K); −10³⁰ where there is no entry.</param>
/// <param name="Values">Their values (B, T, K, d), of which each head has its part.</param>
internal sealed record SeenEntries(Tensor Scores, Tensor Values);

/// <summary>
/// A memory in a block of the transformer, beside attention. It reads T tokens at once, or one, and gives the same up
/// to rounding, however a document is cut.
/// </summary>
/// <param name="name">The name of the module's class.</param>
/// <example><code>
/// public sealed class OjaMemory(OjaSettings settings, BlockShape block) : BlockMemory("oja")
/// {
///     public override MemoryState FirstState(long batch, Device device) => …;
///     public override MemoryRead Read(BlockInput input, MemoryState state) => …;
/// }
/// </code></example>
public abstract class BlockMemory(string name) : nn.Module(name)
{
    /// <summary>The state at the beginning of documents.</summary>
    /// <param name="batch">The number of documents, B.</param>
    /// <param name="device">The device of the state.</param>
    public abstract MemoryState FirstState(long batch, Device device);

    /// <summary>Reads tokens. A token must not see those after it.</summary>
    /// <param name="input">The tokens; T ≥ 1.</param>
    /// <param name="state">The state after the tokens before.</param>
    /// <returns>Tensors in the caller's dispose scope.</returns>
    public abstract MemoryRead Read(BlockInput input, MemoryState state);

    /// <summary>
    /// Whether the block ends the reading before attention, which sees <see cref="MemoryRead.Entries"/>.
    /// </summary>
    internal virtual bool IsSeenByAttention => false;

    /// <summary>
    /// Begins to read. The block calls this before attention and calls the result afterwards, so that a slow search can
    /// go on meanwhile. If not overridden, all work is done by the result.
    /// </summary>
    /// <param name="input">The tokens; T ≥ 1.</param>
    /// <param name="state">The state after the tokens before.</param>
    /// <returns>What ends the reading; see <see cref="Read"/>.</returns>
    public virtual Func<MemoryRead> Begin(BlockInput input, MemoryState state) => () => Read(input, state);
}
