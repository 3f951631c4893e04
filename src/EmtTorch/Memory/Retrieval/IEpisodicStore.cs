using static TorchSharp.torch;

namespace EmtTorch.Memory.Retrieval;

/// <summary>
/// An external store of episodes: entries of a key, a value, where they come from, and maybe a text. Documents come in
/// generations, a batch of them (a step of training) in each, and are written from their beginning on. A search gives
/// the entries whose keys have the largest products with a query among those that it may see: its own document's before
/// a position, and in a store that is shared those of all earlier generations.
/// </summary>
/// <remarks>
/// Products are in float32, equal ones are in the order (generation, document, position). Where keys and queries are
/// such that products are exact in any order of summation, as <see cref="RetrievalMemory"/> makes them, two stores that
/// search exactly find the same entries in the same order, bit for bit.
/// Calls may come from several threads, each about documents of its own.
/// </remarks>
public interface IEpisodicStore : IDisposable
{
    /// <summary>Whether entries of earlier generations are found too.</summary>
    bool IsShared { get; }

    /// <summary>Entries that are there.</summary>
    long Count { get; }

    /// <summary>
    /// Writes entries; a search that begins later finds them. What these documents held from <see
    /// cref="EpisodicEntries.From"/> on is replaced: a document that is read again goes on from there.
    /// </summary>
    /// <exception cref="ArgumentException">Shapes don't agree, with each other or with what is stored.</exception>
    /// <exception cref="StoreException">The store can't be reached.</exception>
    void Write(EpisodicEntries entries);

    /// <summary>Begins a search.</summary>
    /// <returns>What gives the entries found, and waits for them if it must: between the two calls, made in the same
    /// dispose scope, there is time for other work.</returns>
    /// <exception cref="ArgumentException">Shapes don't agree, with each other or with what is stored.</exception>
    /// <exception cref="StoreException">The store can't be reached; of either call.</exception>
    Func<Neighbours> Search(EpisodicQuery query);

    /// <summary>The text of an entry; null where it has none, or where there is no such entry.</summary>
    byte[]? TextOf(long generation, long document, long position);

    /// <summary>Removes a generation's entries.</summary>
    void Forget(long generation);

    /// <summary>Removes the entries of this generation and all later ones.</summary>
    void ForgetFrom(long generation);

    /// <summary>Returns when all that was written is stored.</summary>
    void Flush();
}

/// <summary>Entries of B documents, N of each.</summary>
/// <param name="Generation">The generation that the documents are of.</param>
/// <param name="FirstDocument">The first one's number in it; the others follow.</param>
/// <param name="From">A position that none of the entries lies before, and all that were written earlier do.</param>
/// <param name="Positions">Where in its document each entry is (B, N), int64, ascending.</param>
/// <param name="Keys">(B, N, d_k), float32.</param>
/// <param name="Values">(B, N, d_v), of any type.</param>
/// <param name="Texts">B·N texts, any bytes, null for none; or null.</param>
public sealed record EpisodicEntries(
    long Generation,
    long FirstDocument,
    long From,
    Tensor Positions,
    Tensor Keys,
    Tensor Values,
    IReadOnlyList<byte[]?>? Texts = null
)
{
    internal void Check()
    {
        Require.Shape(Keys, [Require.Any, Require.Any, Require.Any]);
        Require.Type(Keys, ScalarType.Float32);
        Require.Shape(Positions, Keys.shape[..2]);
        Require.Shape(Values, [.. Keys.shape[..2], Require.Any]);
        if (Texts is not null && Texts.Count != Positions.numel())
            throw new ArgumentException($"there are {Texts.Count} texts for {Positions.numel()} entries");
    }
}

/// <summary>What T tokens of each of B documents ask for.</summary>
/// <param name="Generation">The generation that the documents are of.</param>
/// <param name="FirstDocument">The first one's number in it.</param>
/// <param name="Keys">What entries' keys are multiplied by (B, T, d_k), float32.</param>
/// <param name="Before">Entries of the token's own document are found that lie before this position (T), int64.</param>
/// <param name="Count">How many entries are wanted for each token, K.</param>
public sealed record EpisodicQuery(long Generation, long FirstDocument, Tensor Keys, Tensor Before, int Count)
{
    internal void Check()
    {
        Require.Shape(Keys, [Require.Any, Require.Any, Require.Any]);
        Require.Type(Keys, ScalarType.Float32);
        Require.Shape(Before, [Keys.shape[1]]);
        ArgumentOutOfRangeException.ThrowIfLessThan(Count, 1);
    }
}

/// <summary>
/// The entries found for T tokens of each of B documents, the best first. K is what was asked for, or 0 where there is
/// nothing to be found.
/// </summary>
/// <param name="Found">Whether there is a K-th entry (B, T, K); where there is none the others hold anything
/// finite.</param>
/// <param name="Values">(B, T, K, d_v).</param>
/// <param name="Sources">Generation, document and position (B, T, K, 3), int64.</param>
/// <param name="Products">q·k (B, T, K), float32.</param>
public sealed record Neighbours(Tensor Found, Tensor Values, Tensor Sources, Tensor Products)
{
    internal IEnumerable<Tensor> Tensors => [Found, Values, Sources, Products];

    /// <summary>None at all, K = 0.</summary>
    internal static Neighbours None(long batch, long tokens, long width, ScalarType dtype, Device device) =>
        new(
            zeros([batch, tokens, 0], dtype: ScalarType.Bool, device: device),
            zeros([batch, tokens, 0, width], dtype: dtype, device: device),
            zeros([batch, tokens, 0, 3], dtype: ScalarType.Int64, device: device),
            zeros([batch, tokens, 0], device: device)
        );
}

/// <summary>An episodic store can't be used, or is not what it should be.</summary>
public sealed class StoreException(string message, Exception? inner = null) : Exception(message, inner);
