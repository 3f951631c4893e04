using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using static TorchSharp.torch;

namespace EmtTorch.Tasks;

/// <summary>The vocabulary of tasks on pairs, <see cref="PairTokens"/>.</summary>
public abstract record PairsConfiguration : TokenTaskSettings
{
    [Description("Keys in the vocabulary.")]
    [Range(1, 1_048_576)]
    public int Keys { get; init; } = 64;

    [Description("Values in the vocabulary.")]
    [Range(1, 1_048_576)]
    public int Values { get; init; } = 64;

    [Description("Tokens of noise in the vocabulary.")]
    [Range(1, 1_048_576)]
    public int Noise { get; init; } = 16;

    /// <summary>Tokens below the keys, but for the question's.</summary>
    protected virtual int BelowKeys => Noise;

    internal static readonly string[] KindsOfPairs = ["key", "value", "question", "key asked", "noise"];

    public override IReadOnlyList<string> Kinds => KindsOfPairs;

    /// <summary>
    /// Tokens: 0 the question's, then noise, keys, values. A key is one of a question where a question's token is
    /// before it, and one of a binding elsewhere.
    /// </summary>
    public override int KindOf(TokenDocument document, int t) =>
        document.Input[t] switch
        {
            0 => 2,
            var token when token <= BelowKeys => 4,
            _ when t > 0 && document.Input[t - 1] == 0 => 3, // a value too, where it is asked both ways
            var token when token > BelowKeys + Keys => 1,
            _ => 0,
        };

    public override string Label(long token) => LabelOf(token, BelowKeys, Keys);

    internal static string LabelOf(long token, int belowKeys, int keys) =>
        token == 0 ? "?"
        : token <= belowKeys ? $"n{token - 1}"
        : token <= belowKeys + keys ? $"k{token - 1 - belowKeys}"
        : $"v{token - 1 - belowKeys - keys}";

    public override BoundPairs? PairsOf(TokenDocument document) =>
        BoundPairs.Adjacent(
            document,
            isKey: token => token > BelowKeys && token <= BelowKeys + Keys,
            isValue: token => token > BelowKeys + Keys
        );
}

/// <summary>
/// The vocabulary of tasks that bind values to keys, and what is drawn from it. Token 0 announces a question; noise,
/// keys and values follow; where there are several vocabularies of keys and values, one after the other.
/// </summary>
/// <param name="Keys">Keys in a vocabulary.</param>
/// <param name="Values">Values in a vocabulary.</param>
/// <param name="Noise">Noise tokens.</param>
/// <param name="Device">Where they are drawn.</param>
/// <param name="Vocabularies">How many vocabularies of as many keys and values there are; the question's token and the
/// noise are common to them.</param>
/// <param name="Vocabulary">Which of them is drawn from, from 1.</param>
internal sealed record PairTokens(
    int Keys,
    int Values,
    int Noise,
    Device Device,
    int Vocabularies = 1,
    int Vocabulary = 1
)
{
    /// <summary>The token before a key that is asked for.</summary>
    public const int Query = 0;

    // A million. More is a misprint rather than a task: distinct keys are drawn by a random number for each.
    private const int LargestVocabulary = 1 << 20;

    public int Size => 1 + Noise + Vocabularies * (Keys + Values);

    private int FirstKey => 1 + Noise + (Vocabulary - 1) * (Keys + Values);

    private int FirstValue => FirstKey + Keys;

    /// <summary>The rules that sizes break.</summary>
    /// <param name="keys">Keys in the vocabulary.</param>
    /// <param name="values">Values in the vocabulary.</param>
    /// <param name="noise">Noise tokens in the vocabulary.</param>
    /// <param name="distinct">Keys that one document needs.</param>
    /// <param name="key">What the task calls its keys.</param>
    /// <param name="value">What it calls its values; null: keys are its values.</param>
    /// <param name="vocabularies">Vocabularies of keys and values.</param>
    /// <param name="vocabulary">Which of them is drawn from, from 1.</param>
    public static List<string> Check(
        int keys,
        int values,
        int noise,
        long distinct,
        string key = "keys",
        string? value = "values",
        int vocabularies = 1,
        int vocabulary = 1
    )
    {
        var broken = new List<string>();
        if (keys < 1)
            broken.Add($"there are {keys} {key}: at least one is needed");
        else if (keys < distinct)
            broken.Add($"there are {keys} {key}: a document needs {distinct} distinct ones");
        if (value is not null && values < 1)
            broken.Add($"there are {values} {value}: at least one is needed");
        if (noise < 1)
            broken.Add($"there are {noise} noise tokens: at least one is needed, to fill what is left");
        if (vocabularies < 1 || vocabulary < 1 || vocabulary > vocabularies)
        {
            broken.Add($"vocabulary {vocabulary} of {vocabularies}: they are counted from 1");
        }
        else if (((long)keys + values) * vocabularies + noise >= LargestVocabulary)
        {
            broken.Add(
                $"a question's token, {noise} of noise{(value is null ? " and " : ", ")}{(vocabularies > 1 ? $"{vocabularies} times " : "")}{keys} {key}{(value is null ? "" : $" and {values} {value}")} make more than {LargestVocabulary} tokens"
            );
        }

        return broken;
    }

    /// <summary>Noise (rows, length).</summary>
    public Tensor Filler(long rows, long length, Generator generator) => Uniform(1, Noise, rows, length, generator);

    /// <summary>Keys (rows, count), distinct within a row.</summary>
    public Tensor DistinctKeys(long rows, int count, Generator generator) =>
        Distinct(rows, count, Keys, generator, Device).add_(FirstKey);

    /// <summary>Values (rows, count), distinct within a row.</summary>
    public Tensor DistinctValues(long rows, int count, Generator generator) =>
        Distinct(rows, count, Values, generator, Device).add_(FirstValue);

    /// <summary>Values (rows, count), each for itself: to know some says nothing of the others.</summary>
    public Tensor RandomValues(long rows, long count, Generator generator) =>
        Uniform(FirstValue, Values, rows, count, generator);

    private Tensor Uniform(long first, long n, long rows, long count, Generator generator) =>
        Draw.Integers(first, first + n, [rows, count], generator, Device);

    /// <summary>Numbers from 0 to n, exclusive (rows, count), distinct within a row and in random order.</summary>
    public static Tensor Distinct(long rows, int count, long n, Generator generator, Device device) =>
        Draw.Uniform([rows, n], generator, device).topk(count).indexes;

    /// <summary>
    /// Where tokens two by two (or by another width) go in a sequence: positions of the first of each (rows, count),
    /// ascending, every arrangement without overlaps as likely as any other.
    /// </summary>
    public static Tensor Places(long rows, int count, long length, Generator generator, Device device, int width = 2) =>
        // With each two drawn together to one place there are length − count places; drawn apart, each moves those
        // after it by one.
        Distinct(rows, count, length - (width - 1) * count, generator, device)
            .sort(1)
            .Values.add_(arange(count, dtype: ScalarType.Int64, device: device).mul_(width - 1));

    /// <summary>Writes first and second (B, n) at places (B, n) and after them into tokens (B, T).</summary>
    public static void Write(Tensor tokens, Tensor places, Tensor first, Tensor second) =>
        tokens.scatter_(1, places, first).scatter_(1, places.add(1), second);
}
