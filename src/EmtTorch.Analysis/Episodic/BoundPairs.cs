using EmtTorch.Tasks;

namespace EmtTorch.Analysis.Episodic;

/// <summary>A key and its value in a document.</summary>
/// <param name="Key">The key's token.</param>
/// <param name="Value">The value's token, and</param>
/// <param name="At">where it stands.</param>
internal sealed record BoundPair(long Key, long Value, int At);

/// <summary>A question of a document.</summary>
/// <param name="At">Where the asked key stands, at which the value is asked; or the value, at which the key is.</param>
/// <param name="Right">The pair that is asked for: the newest of its key before the question. In two_hop the first fact of those that a question goes along.</param>
internal sealed record BoundQuestion(int At, int Right);

/// <summary>The pairs that one document binds, all of them, and the questions that ask for some.</summary>
internal sealed record BoundPairs(IReadOnlyList<BoundPair> Pairs, IReadOnlyList<BoundQuestion> Questions)
{
    /// <returns>Null of a task without pairs.</returns>
    public static BoundPairs? Of(TaskConfiguration task, long[] input, long[] target)
    {
        var (noise, keys, first) = task switch
        {
            { SegmentRecall: { } r } => (r.Noise + (r.Vocabulary - 1) * (r.Keys + r.Values), r.Keys, 0), // documents are of one vocabulary: what is below it is noise
            { Rebinding: { } b } => (b.Noise, b.Keys, 0),
            { TwoHop: { } h } => (h.Noise, h.Names, 0),
            { AssociativeRecall: { } a } => (0, 0, a.Pairs),
            _ => (0, 0, -1),
        };
        if (first < 0)
            return null;
        bool IsKey(long token) => token > noise && token <= noise + keys;
        var pairs = new List<BoundPair>();
        if (first > 0)
        {
            for (int i = 0; i < first; i++)
                pairs.Add(new(input[2 * i], input[2 * i + 1], 2 * i + 1));
        }
        else
        {
            for (int t = 1; t < input.Length; t++)
            {
                if (IsKey(input[t - 1]) && (task.TwoHop is null ? input[t] > noise + keys : IsKey(input[t])))
                    pairs.Add(new(input[t - 1], input[t], t));
            }
        }

        var questions = new List<BoundQuestion>();
        for (int t = 0; t < input.Length; t++)
        {
            if (
                target[t] != TokenBatch.Ignored
                && pairs.FindLastIndex(p => p.At < t && (p.Key == input[t] || p.Value == input[t]))
                    is >= 0
                        and var right
            )
            {
                questions.Add(new(t, right));
            }
        }

        return new(pairs, questions);
    }
}
