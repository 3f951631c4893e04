using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using static TorchSharp.torch;

namespace EmtTorch.Tasks;

/// <summary>
/// Settings common to tasks on pairs. Tokens: 0 announces a question, then noise, keys, values.
/// </summary>
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

    /// <summary>The number of tokens below the keys, without the question's.</summary>
    protected virtual int BelowKeys => Noise;

    internal static readonly string[] KindsOfPairs = ["key", "value", "question", "key asked", "noise"];

    public override IReadOnlyList<string> Kinds => KindsOfPairs;

    // A key belongs to a question if the question's token is before it, and to a binding otherwise.
    public override int KindOf(TokenDocument document, int t) =>
        document.Input[t] switch
        {
            0 => 2,
            var token when token <= BelowKeys => 4,
            _ when t > 0 && document.Input[t - 1] == 0 => 3, // also a value whose key is asked for
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
/// The vocabulary of tasks that bind values to keys, and draws from it. Token 0 announces a question; noise follows,
/// then keys and values, once for each vocabulary.
/// </summary>
/// <param name="Keys">The number of keys in a vocabulary.</param>
/// <param name="Values">The number of values in a vocabulary.</param>
/// <param name="Noise">The number of noise tokens.</param>
/// <param name="Device">The device of all tensors.</param>
/// <param name="Vocabularies">The number of vocabularies. They share the question's token and the noise.</param>
/// <param name="Vocabulary">The vocabulary that is drawn from, counted from 1.</param>
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

    // Drawing distinct keys takes a random number for each key; a larger vocabulary is a misprint rather than a task.
    private const int LargestVocabulary = 1 << 20;

    public int Size => 1 + Noise + Vocabularies * (Keys + Values);

    private int FirstKey => 1 + Noise + (Vocabulary - 1) * (Keys + Values);

    private int FirstValue => FirstKey + Keys;

    /// <summary>Returns the rules that sizes break.</summary>
    /// <param name="keys">The number of keys in a vocabulary.</param>
    /// <param name="values">The number of values; null if the task has names, which are both keys and values.</param>
    /// <param name="noise">The number of noise tokens.</param>
    /// <param name="distinct">The number of distinct keys that one document needs.</param>
    /// <param name="vocabularies">The number of vocabularies.</param>
    /// <param name="vocabulary">The vocabulary that is drawn from.</param>
    public static List<string> Check(
        int keys,
        int? values,
        int noise,
        long distinct,
        int vocabularies = 1,
        int vocabulary = 1
    )
    {
        string key = values is null ? "names" : "keys";
        var broken = new List<string>();
        if (keys < 1)
            broken.Add($"there are {keys} {key}: at least one is needed");
        else if (keys < distinct)
            broken.Add($"there are {keys} {key}: a document needs {distinct} distinct ones");
        if (values < 1)
            broken.Add($"there are {values} values: at least one is needed");
        if (noise < 1)
            broken.Add($"there are {noise} noise tokens: at least one is needed, to fill what is left");
        if (vocabularies < 1 || vocabulary < 1 || vocabulary > vocabularies)
        {
            broken.Add($"there is no vocabulary {vocabulary} of {vocabularies}: they are counted from 1");
        }
        else if (((long)keys + (values ?? 0)) * vocabularies + noise >= LargestVocabulary)
        {
            string times = vocabularies > 1 ? $"{vocabularies} times " : "",
                sizes = values is null ? $" and {times}{keys} {key}" : $", {times}{keys} {key} and {values} values";
            broken.Add($"a question's token, {noise} of noise{sizes} make more than {LargestVocabulary} tokens");
        }

        return broken;
    }

    /// <summary>Draws noise (rows, length).</summary>
    public Tensor Filler(long rows, long length, Generator generator) => Uniform(1, Noise, rows, length, generator);

    /// <summary>Draws a segment of noise without targets, both (rows, length).</summary>
    public (Tensor Input, Tensor Target) EmptySegment(long rows, long length, Generator generator) =>
        (
            Filler(rows, length, generator),
            full(rows, length, TokenBatch.Ignored, dtype: ScalarType.Int64, device: Device)
        );

    /// <summary>Draws keys (rows, count), distinct within a row, without the first so many.</summary>
    public Tensor DistinctKeys(long rows, int count, Generator generator, int without = 0) =>
        Distinct(rows, count, Keys - without, generator, Device).add_(FirstKey + without);

    /// <summary>The key that follows the first so many.</summary>
    public long FirstKeyAfter(int count) => FirstKey + count;

    /// <summary>Draws values (rows, count), distinct within a row.</summary>
    public Tensor DistinctValues(long rows, int count, Generator generator) =>
        Distinct(rows, count, Values, generator, Device).add_(FirstValue);

    /// <summary>Draws values (rows, count) independently: knowing some says nothing about the others.</summary>
    public Tensor RandomValues(long rows, long count, Generator generator) =>
        Uniform(FirstValue, Values, rows, count, generator);

    private Tensor Uniform(long first, long n, long rows, long count, Generator generator) =>
        Draw.Integers(first, first + n, [rows, count], generator, Device);

    /// <summary>Draws numbers from 0 to n − 1 (rows, count), distinct within a row and in random order.</summary>
    public static Tensor Distinct(long rows, int count, long n, Generator generator, Device device) =>
        Draw.Uniform([rows, n], generator, device).topk(count).indexes;

    /// <summary>Draws an order of the numbers from 0 to count − 1 for each row (rows, count).</summary>
    public Tensor Shuffled(long rows, int count, Generator generator) =>
        Distinct(rows, count, count, generator, Device);

    /// <summary>
    /// Draws places for runs of `width` tokens in a sequence: the position of the first token of each (rows, count),
    /// ascending. Every arrangement without overlaps has the same probability.
    /// </summary>
    public Tensor Places(long rows, int count, long length, Generator generator, int width = 2) =>
        // If each run is one token, length − (width − 1) count places are left. Made longer again, each run moves those
        // after it by width − 1.
        Distinct(rows, count, length - (width - 1) * count, generator, Device)
            .sort(1)
            .Values.add_(arange(count, dtype: ScalarType.Int64, device: Device).mul_(width - 1));

    /// <summary>Writes first and second tokens (B, n) at places (B, n) and after them into tokens (B, T).</summary>
    public static void Write(Tensor tokens, Tensor places, Tensor first, Tensor second) =>
        tokens.scatter_(1, places, first).scatter_(1, places.add(1), second);
}
