namespace EmtTorch.Tasks;

/// <summary>A key and its value in a document.</summary>
/// <param name="Key">The key's token.</param>
/// <param name="Value">The value's token.</param>
/// <param name="At">Where the value stands.</param>
public sealed record BoundPair(long Key, long Value, int At);

/// <summary>A question of a document.</summary>
/// <param name="At">Where the asked key stands, at which the value is asked; or the value, at which the key is.</param>
/// <param name="Right">
/// The pair that is asked for: the newest of its key before the question. Of chained pairs it is the first that the
/// question goes along.
/// </param>
public sealed record BoundQuestion(int At, int Right);

/// <summary>The pairs that one document binds, all of them, and the questions that ask for some.</summary>
public sealed record BoundPairs(IReadOnlyList<BoundPair> Pairs, IReadOnlyList<BoundQuestion> Questions)
{
    /// <summary>Pairs of which the value follows the key at once.</summary>
    /// <param name="document">The document.</param>
    /// <param name="isKey">Whether a token is a key.</param>
    /// <param name="isValue">Whether a token that follows a key is its value.</param>
    public static BoundPairs Adjacent(TokenDocument document, Func<long, bool> isKey, Func<long, bool> isValue) =>
        Of(
            document,
            [
                .. Enumerable
                    .Range(1, Math.Max(0, document.Input.Length - 1))
                    .Where(t => isKey(document.Input[t - 1]) && isValue(document.Input[t]))
                    .Select(t => new BoundPair(document.Input[t - 1], document.Input[t], t)),
            ]
        );

    /// <summary>Pairs with the questions that ask for one that was bound before.</summary>
    public static BoundPairs Of(TokenDocument document, IReadOnlyList<BoundPair> pairs)
    {
        var all = pairs.ToList();
        var questions = new List<BoundQuestion>();
        for (int t = 0; t < document.Input.Length; t++)
        {
            long token = document.Input[t];
            if (document.Target[t] == TokenBatch.Ignored)
                continue;
            int right = all.FindLastIndex(p => p.At < t && (p.Key == token || p.Value == token));
            if (right >= 0)
                questions.Add(new(t, right));
        }
        return new(all, questions);
    }
}
