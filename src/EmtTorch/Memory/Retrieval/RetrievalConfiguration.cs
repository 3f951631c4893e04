using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using EmtTorch.Settings;

namespace EmtTorch.Memory.Retrieval;

/// <summary>
/// The settings of a <see cref="RetrievalMemory"/> and its store. The connection string of PostgreSQL is not among
/// them: <see cref="Connection"/> names the environment variable that holds it.
/// </summary>
[Named("retrieval")]
[Description("A store of tokens of earlier chunks, searched by every token.")]
[KeysOf(nameof(Store))]
public sealed record RetrievalConfiguration : MemorySettings
{
    internal const string Memory = "memory",
        Postgres = "postgres",
        Source = "source",
        Concatenate = "concatenate",
        Joint = "joint";

    [Description("Where entries are: memory, on the device; postgres, in PostgreSQL with pgvector.")]
    [AllowedValues(Memory, Postgres)]
    public string Store { get; init; } = Memory;

    [Description(
        "What a token finds. document: entries of its own document; shared: also those of all documents of earlier "
            + "batches, which are kept."
    )]
    [AllowedValues("document", "shared")]
    public string Scope { get; init; } = "document";

    [Description(
        "The equations. context: the key of an entry is W_k c, the context in which its token came, and keys, queries "
            + "and weights are as in the documents; source: the source's, q = W_q h, keys and values the stored h, "
            + "softmax(q k), without unit lengths, τ and gates."
    )]
    [AllowedValues("context", Source)]
    public string Form { get; init; } = "context";

    [Description(
        "How r, what is found, enters the stream. add: x + W [h; r], beside attention; concatenate: W [x; r] is what "
            + "leaves the block."
    )]
    [AllowedValues("add", Concatenate)]
    public string Fuse { get; init; } = "add";

    [Description(
        "What attends to the entries. cross: a softmax of their own; joint: the block's attention, which has tokens "
            + "and entries in one softmax."
    )]
    [AllowedValues("cross", Joint)]
    public string Attention { get; init; } = "cross";

    [Description("Entries that each token finds.")]
    [Range(1, 1024)]
    public int TopK { get; init; } = 8;

    [Description("Tokens of a chunk. They are stored when it is whole, so that a token finds those of earlier chunks.")]
    [Range(1, 1_048_576)]
    public int Chunk { get; init; } = 64;

    [Description("Tokens of a chunk that are stored, those with the strongest gates; null: all.")]
    [Range(1, 1_048_576)]
    public int? Entries { get; init; }

    [Description(
        "The table, made if it does not exist, and beside it another with the same name and _runs. Runs share "
            + "it; their name and seed tell them apart."
    )]
    [RegularExpression(
        "^[A-Za-z_][A-Za-z0-9_]{0,49}$",
        ErrorMessage = "letters, digits and '_', at most 50, not beginning with a digit"
    )]
    [OnlyFor(Postgres)]
    public string Table { get; init; } = "episodic_entries";

    [Description("The environment variable that holds the connection string, Host=…;Database=…;Username=…;Password=….")]
    [RegularExpression("^[A-Za-z_][A-Za-z0-9_]{0,99}$", ErrorMessage = "an environment variable's name")]
    [OnlyFor(Postgres)]
    public string Connection { get; init; } = "EMTTORCH_POSTGRES";

    [Description(
        "How entries of earlier batches are found. none: exactly, by comparing with all; hnsw: by an index, faster, "
            + "and sometimes not the nearest."
    )]
    [AllowedValues("none", "hnsw")]
    [OnlyFor(Postgres)]
    public string Index { get; init; } = "none";

    [Description("Seconds that the run waits for a server that is away, before it ends with a checkpoint.")]
    [Range(0, 604_800)]
    [OnlyFor(Postgres)]
    public int Wait { get; init; } = 300;

    internal override string ModuleName => "retrieval";

    internal override MemoryPlace Place => MemoryPlace.Third;

    public override BlockMemory Create(BlockShape block) => new RetrievalMemory(block, this);

    /// <summary>d_v, the size of what is stored of a token: h, or h̃ and the context that it came in.</summary>
    internal int ValueWidth(BlockShape block) => Form == Source ? block.Width : block.WidthWithContext;

    public override IEnumerable<ConfigurationProblem> Check(BlockShape block)
    {
        if (Attention == Joint && block.AttentionHeads == 0)
        {
            yield return new(
                "attention",
                "found joint beside model.attention false: there is no softmax over tokens; allowed: cross"
            );
        }

        if (Attention == Joint && Fuse == Concatenate)
        {
            yield return new(
                "fuse",
                "found concatenate beside attention joint: what is found is part of what attention adds; allowed: add"
            );
        }

        if (Form == Source && Entries < Chunk)
        {
            yield return new(
                "entries",
                $"found {Entries} beside form source: it has no gates, so that none is the strongest; leave it out"
            );
        }

        if (Entries > Chunk)
        {
            yield return new("entries", $"found {Entries}; a chunk has {Chunk} tokens: allowed are as many or fewer");
        }

        if (Entries < Chunk && !block.Gate)
        {
            yield return new(
                "entries",
                $"found {Entries} beside model.gate false: without gates none is the strongest; leave it out"
            );
        }

        if (Store != Postgres)
            yield break;
        if (Index == "hnsw" && Scope != "shared")
        {
            yield return new(
                "index",
                "found hnsw beside scope document: a document's entries are found exactly; allowed: none"
            );
        }

        int most = Index == "hnsw" ? 2000 : 16_000;
        if (block.Width > most)
        {
            yield return new(
                "store",
                $"found {Store} beside model.hidden_size {block.Width}; PostgreSQL's vectors "
                    + $"{(Index == "hnsw" ? "in an HNSW index " : "")}have at most {most} numbers"
            );
        }
    }
}
