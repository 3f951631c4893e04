using EmtTorch.Settings;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Memory;

/// <summary>
/// The settings of a memory for the transformer's blocks: a record with a name (<see cref="Settings.NamedAttribute"/>),
/// whose properties are the keys of <c>"model": { "memories": { "NAME": { … } } }</c>.
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
    /// <summary>Makes the memory of one block, with its first weights.</summary>
    public abstract BlockMemory Create(BlockShape block);

    /// <summary>The rules that the settings break together.</summary>
    /// <returns>Each rule in words; none where all is well.</returns>
    public virtual IEnumerable<string> Check(BlockShape block) => [];
}

/// <summary>What a block gives its memories to read.</summary>
/// <param name="Hidden">h̃ of T tokens (B, T, d): what they are, coloured by the context of those before.</param>
/// <param name="Contexts">c after each token (B, T, d); null without a drifting context.</param>
/// <param name="Position">Tokens of the documents before these.</param>
public sealed record BlockInput(Tensor Hidden, Tensor? Contexts, long Position);

/// <summary>
/// A memory in a block of the transformer, beside attention. It reads T tokens at once, or one, and gives the same to
/// rounding however a document is cut.
/// </summary>
/// <param name="name">The module's name.</param>
/// <example><code>
/// public sealed class OjaMemory(OjaSettings settings, BlockShape block) : BlockMemory("oja")
/// {
///     public override IReadOnlyDictionary&lt;string, Tensor&gt; FirstState(long batch, Device device) =&gt; …;
///     public override (Tensor, IReadOnlyDictionary&lt;string, Tensor&gt;) Read(BlockInput input, IReadOnlyDictionary&lt;string, Tensor&gt; state) =&gt; …;
/// }
/// </code></example>
public abstract class BlockMemory(string name) : nn.Module(name)
{
    /// <summary>
    /// The state at the beginning of documents: tensors whose first dimension is the batch, by names of the memory's
    /// own.
    /// </summary>
    /// <param name="batch">Documents, B.</param>
    /// <param name="device">Where they are.</param>
    public abstract IReadOnlyDictionary<string, Tensor> FirstState(long batch, Device device);

    /// <summary>Reads tokens. A token must not see those after it.</summary>
    /// <param name="input">The tokens.</param>
    /// <param name="state">What the tokens before left, of the same names as the first state.</param>
    /// <returns>What is added to the stream (B, T, d), and the state after the last token; both in the caller's dispose
    /// scope.</returns>
    public abstract (Tensor Added, IReadOnlyDictionary<string, Tensor> State) Read(
        BlockInput input,
        IReadOnlyDictionary<string, Tensor> state
    );
}
