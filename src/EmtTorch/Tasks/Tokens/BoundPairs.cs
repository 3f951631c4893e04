namespace EmtTorch.Tasks;

/// <summary>A key and its value in a document.</summary>
/// <param name="Key">The key's token.</param>
/// <param name="Value">The value's token.</param>
/// <param name="At">The value's position.</param>
public sealed record BoundPair(long Key, long Value, int At);

/// <summary>A question of a document.</summary>
/// <param name="At">The position of the key whose value is asked for, or of the value whose key is.</param>
/// <param name="Right">The index of the pair with the answer: the last pair with this key before the question. In a
/// chain it is the first pair that the question goes along.</param>
public sealed record BoundQuestion(int At, int Right);

/// <summary>All pairs that a document binds, and its questions.</summary>
public sealed record BoundPairs(IReadOnlyList<BoundPair> Pairs, IReadOnlyList<BoundQuestion> Questions)
{
    /// <summary>Finds the pairs of adjacent tokens, a key and then its value, and the questions.</summary>
    /// <param name="document">The document.</param>
    /// <param name="isKey">Whether a token is a key.</param>
    /// <param name="isValue">Whether a token that follows a key is its value.</param>
    public static BoundPairs Adjacent(TokenDocument document, Func<long, bool> isKey, Func<long, bool> isValue) =>
        FindQuestions(
            document,
            [
                .. Enumerable
                    .Range(1, Math.Max(0, document.Input.Length - 1))
                    .Where(t => isKey(document.Input[t - 1]) && isValue(document.Input[t]))
                    .Select(t => new BoundPair(document.Input[t - 1], document.Input[t], t)),
            ]
        );

    /// <summary>Finds the questions that ask for one of these pairs.</summary>
    public static BoundPairs FindQuestions(TokenDocument document, IReadOnlyList<BoundPair> pairs)
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
