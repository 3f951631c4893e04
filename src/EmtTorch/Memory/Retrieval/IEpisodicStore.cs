using static TorchSharp.torch;

namespace EmtTorch.Memory.Retrieval;

/// <summary>
/// An external store of episodes (the source's 2.2). An entry is a key, a value, the place that it comes from, and
/// optionally a text. A generation is a batch of documents (a step of training); documents are written from their
/// beginning on. A search returns the entries with the largest products q·k among those that the query may see: the
/// entries of its own document before a position and, in a shared store, all entries of earlier generations.
/// </summary>
/// <remarks>
/// Products are in float32. Entries with equal products are ordered by (generation, document, position).
/// <see cref="RetrievalMemory"/> makes keys and queries whose products are exact in any order of summation, so that any
/// two stores that search exactly find the same entries in the same order.
/// Calls may come from several threads, each for its own documents.
/// </remarks>
public interface IEpisodicStore : IDisposable
{
    /// <summary>Whether a search also finds entries of earlier generations.</summary>
    bool IsShared { get; }

    /// <summary>The number of entries.</summary>
    long Count { get; }

    /// <summary>
    /// Writes entries. A search that begins later finds them. They replace all entries of the same documents from
    /// position <see cref="EpisodicEntries.From"/> on, so that a document can be read again from there.
    /// </summary>
    /// <exception cref="ArgumentException">Shapes do not fit each other, or what is stored.</exception>
    /// <exception cref="StoreException">The store cannot be reached.</exception>
    void Write(EpisodicEntries entries);

    /// <summary>Begins a search.</summary>
    /// <returns>A function that waits for the search and returns the entries found. Call it in the same dispose scope;
    /// other work can be done in between.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit each other, or what is stored.</exception>
    /// <exception cref="StoreException">The store cannot be reached. The returned function throws it too.</exception>
    Func<Neighbours> Search(EpisodicQuery query);

    /// <summary>Reads the text of an entry; null if it has none or does not exist.</summary>
    byte[]? ReadText(long generation, long document, long position);

    /// <summary>Removes the entries of one generation.</summary>
    void Forget(long generation);

    /// <summary>Removes the entries of one generation and of all later ones.</summary>
    void ForgetFrom(long generation);

    /// <summary>Waits until everything that was written is stored.</summary>
    /// <exception cref="StoreException">The store cannot be reached.</exception>
    void Flush();
}

/// <summary>Entries of B consecutive documents, N of each.</summary>
/// <param name="Generation">The documents' generation.</param>
/// <param name="FirstDocument">The number of the first document in its generation.</param>
/// <param name="From">The position from which on these entries replace what was stored; none lies before it.</param>
/// <param name="Positions">Each entry's position in its document (B, N), int64, ascending.</param>
/// <param name="Keys">k (B, N, d_k), float32.</param>
/// <param name="Values">(B, N, d_v), of any type.</param>
/// <param name="Texts">B·N texts of any bytes, each null if there is none; or null if no entry has a text.</param>
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

/// <summary>A search for T tokens of each of B consecutive documents.</summary>
/// <param name="Generation">The documents' generation.</param>
/// <param name="FirstDocument">The number of the first document in its generation.</param>
/// <param name="Keys">The queries q (B, T, d_k), float32.</param>
/// <param name="Before">For each token, the position that entries of its own document must lie before (T),
/// int64.</param>
/// <param name="Count">K, the number of entries wanted for each token.</param>
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
/// The entries found for T tokens of each of B documents, the best first. K is the number asked for, or 0 if the store
/// holds nothing that could be found.
/// </summary>
/// <param name="Found">Whether this place holds an entry (B, T, K), bool. The other tensors hold arbitrary finite
/// numbers where it does not.</param>
/// <param name="Values">The entries' values (B, T, K, d_v).</param>
/// <param name="Sources">Generation, document and position of each (B, T, K, 3), int64.</param>
/// <param name="Products">q·k (B, T, K), float32.</param>
public sealed record Neighbours(Tensor Found, Tensor Values, Tensor Sources, Tensor Products)
{
    internal IEnumerable<Tensor> Tensors => [Found, Values, Sources, Products];

    /// <summary>No entries: K = 0.</summary>
    internal static Neighbours None(long batch, long tokens, long width, ScalarType dtype, Device device) =>
        new(
            zeros([batch, tokens, 0], dtype: ScalarType.Bool, device: device),
            zeros([batch, tokens, 0, width], dtype: dtype, device: device),
            zeros([batch, tokens, 0, 3], dtype: ScalarType.Int64, device: device),
            zeros([batch, tokens, 0], device: device)
        );
}

/// <summary>An episodic store cannot be used, or does not hold what it should.</summary>
public sealed class StoreException(string message, Exception? inner = null) : Exception(message, inner);
