using EmtTorch.Tasks;

namespace EmtTorch.Analysis.Episodic;

/// <summary>What a token is in its document: the kinds over which a gate is averaged.</summary>
/// <remarks>
/// In segment_recall, rebinding and two_hop a key is one of a question where a question's token is before it, and one of a binding elsewhere. In
/// text a character is of the word that the task counts it to: one that is new in its document, or was in it before; a document's first character is other.
/// </remarks>
internal static class TokenKinds
{
    /// <summary>The kinds of a task, in the order in which they are shown.</summary>
    public static IReadOnlyList<string> Names(TaskConfiguration task) =>
        task switch
        {
            { AssociativeRecall: not null } => ["key", "value", "query", "other"],
            { Copy: not null } => ["symbol", "blank", "separator"],
            { Text: not null } => ["new word", "seen word", "other"],
            _ => ["key", "value", "question", "key asked", "noise"],
        };

    /// <summary>The kind of each token of one document, as a number in <see cref="Names"/>.</summary>
    /// <param name="task">The task.</param>
    /// <param name="input">The document's tokens.</param>
    /// <param name="target">What is asked at each.</param>
    /// <param name="words">Of text, which word a target belongs to (<see cref="TokenBatch.Words"/>).</param>
    public static int[] Of(TaskConfiguration task, long[] input, long[] target, long[]? words)
    {
        var kinds = new int[input.Length];
        for (int t = 0; t < input.Length; t++)
        {
            kinds[t] = task switch
            {
                { AssociativeRecall: { } a } => t < 2 * a.Pairs ? t % 2
                : target[t] != TokenBatch.Ignored ? 2
                : 3,
                { Copy: not null } => input[t] switch
                {
                    0 => 1,
                    1 => 2,
                    _ => 0,
                },
                // The word of a character is that of the target before it, which it was.
                { Text: not null } => t == 0 || words is null
                    ? 2
                    : words[t - 1] switch
                    {
                        1 => 0,
                        2 => 1,
                        _ => 2,
                    },
                { SegmentRecall: { } r } => OfPairs(input, t, BelowKeys(r), r.Keys),
                { Rebinding: { } b } => OfPairs(input, t, b.Noise, b.Keys),
                { TwoHop: { } h } => OfFacts(input, t, h.Noise),
                _ => throw new ArgumentException("the task is not one on tokens"),
            };
        }

        return kinds;
    }

    // A document is of one vocabulary, so that all below it but the question is noise.
    private static int BelowKeys(SegmentRecallConfiguration r) => r.Noise + (r.Vocabulary - 1) * (r.Keys + r.Values);

    // Tokens: 0 the question's, then noise, keys, values.
    private static int OfPairs(long[] input, int t, int noise, int keys) =>
        input[t] switch
        {
            0 => 2,
            var token when token <= noise => 4,
            _ when t > 0 && input[t - 1] == 0 => 3, // a value too, where it is asked both ways
            var token when token > noise + keys => 1,
            _ => 0,
        };

    // Tokens: 0 the question's, then noise, names. Noise is between facts, so that a name after a name is its fact's value.
    private static int OfFacts(long[] input, int t, int noise) =>
        input[t] switch
        {
            0 => 2,
            var token when token <= noise => 4,
            _ when t > 0 && input[t - 1] > noise => 1,
            _ => t > 0 && input[t - 1] == 0 ? 3 : 0,
        };

    /// <summary>A token in a few letters: ? k12 v7, or a character of a text.</summary>
    public static string Label(TaskConfiguration task, long token, TextCorpus? text) =>
        task switch
        {
            { SegmentRecall: { } r } => OfPairs(token, BelowKeys(r), r.Keys),
            { Rebinding: { } b } => OfPairs(token, b.Noise, b.Keys),
            { TwoHop: { } h } => OfPairs(token, h.Noise, h.Names),
            { Copy: not null } => token switch
            {
                0 => "blank",
                1 => "separator",
                _ => $"s{token - 2}",
            },
            { Text: not null } when text is not null => ReadableText.Of([(byte)token]),
            _ => $"{token}",
        };

    private static string OfPairs(long token, int noise, int keys) =>
        token == 0 ? "?"
        : token <= noise ? $"n{token - 1}"
        : token <= noise + keys ? $"k{token - 1 - noise}"
        : $"v{token - 1 - noise - keys}";
}
