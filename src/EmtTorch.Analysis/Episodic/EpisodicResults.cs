namespace EmtTorch.Analysis.Episodic;

/// <summary>How <see cref="EpisodicAnalysis"/> measures.</summary>
public sealed record EpisodicOptions
{
    /// <summary>Documents over which gates, reads and singular values are averaged.</summary>
    public int Documents { get; init; } = 16;

    /// <summary>Documents of a test and of a curve's point, at most.</summary>
    public int TestDocuments { get; init; } = 32;

    /// <summary>
    /// Tokens of a curve's point, at most, for a network of two blocks and d = 64; of larger ones fewer, in proportion
    /// to their weights.
    /// </summary>
    public long Tokens { get; init; } = 1 << 16;

    /// <summary>
    /// The longest distance that is tested in segments of segment_recall; copies and sequences go to four times the
    /// longest trained.
    /// </summary>
    public int LongestDistance { get; init; } = 64;

    /// <summary>Characters of the sample of a text that is generated.</summary>
    public int SampleLength { get; init; } = 300;

    /// <summary>Where documents come from.</summary>
    public ulong Seed { get; init; } = 20_260_101;
}

/// <summary>What a head's gate lets in, by the kind of token.</summary>
/// <param name="Block">From 1.</param>
/// <param name="Head">From 1.</param>
/// <param name="Rate">η.</param>
/// <param name="Decay">γ.</param>
/// <param name="Kinds">Each kind that the documents have.</param>
public sealed record GateReading(int Block, int Head, double Rate, double Decay, IReadOnlyList<KindReading> Kinds)
{
    /// <summary>
    /// The null of the difference between the kinds' means of g: the largest difference in twenty draws that give the
    /// same tokens' kinds to other tokens. Null where there is no gate.
    /// </summary>
    public double? SpreadNull { get; init; }
}

/// <summary>Means over the tokens of a kind.</summary>
/// <param name="Kind">Such as key, value, noise.</param>
/// <param name="Count">How many tokens of it there were.</param>
/// <param name="Gate">g; null where there is no gate.</param>
/// <param name="Strength">β = g·η.</param>
public sealed record KindReading(string Kind, long Count, double? Gate, double Strength);

/// <summary>
/// Where a head's reads come from at questions. A read is a weighted sum of the values that were written, r_t = Σ a_ts
/// v_s, and Σ |a_ts| ‖v_s‖ over a pair's tokens, its key, its value and the token after it, is what the pair gives.
/// </summary>
/// <param name="Block">From 1.</param>
/// <param name="Head">From 1.</param>
/// <param name="Asked">The mean share of the asked pair in all that is read, 0 to 1; null if it is no
/// number.</param>
/// <param name="Others">The mean share of all other pairs; the rest comes from tokens of none.</param>
/// <param name="Share">Of questions in documents of several pairs, the share where the asked one gives more than every
/// other.</param>
/// <param name="Questions">How many questions there were.</param>
public sealed record ReadReading(int Block, int Head, double? Asked, double? Others, double? Share, long Questions)
{
    /// <summary>The null of <see cref="Asked"/>: the mean share of a pair, whichever is asked.</summary>
    public double? AskedNull { get; init; }

    /// <summary>The null of <see cref="Share"/>: the mean of 1 / pairs.</summary>
    public double? ShareNull { get; init; }
}

/// <summary>How a block's fast weights fill up.</summary>
/// <param name="Block">From 1.</param>
/// <param name="KeyWidth">d_k, as many singular values there are.</param>
/// <param name="Tokens">After how many tokens.</param>
/// <param name="SingularValues">F's singular values there, descending, the mean over documents and heads.</param>
/// <param name="EffectiveRank">exp(−Σ p ln p), p = σ²/Σσ²: the mean over documents and heads; NaN where F = 0.</param>
public sealed record FastWeightCourse(
    int Block,
    int KeyWidth,
    IReadOnlyList<int> Tokens,
    double[][] SingularValues,
    double[] EffectiveRank
);

/// <summary>What a block's graph makes of facts a → b and b → c, over the questions that ask for c.</summary>
/// <param name="Block">From 1.</param>
/// <param name="Kept">The share of questions at which both facts are nodes.</param>
/// <param name="Linked">Of these the share where the strongest edge from a → b, E_ij g_j, leads to b → c.</param>
/// <param name="Read">Of these, how much of the read goes to the node of a → b, the mean of its weight.</param>
/// <param name="Questions">How many questions there were.</param>
/// <param name="Gates">What its gate lets in, by the kind of token, with β = g; none where there is no gate.</param>
/// <param name="Facts">The facts among the nodes at the last question of one document.</param>
/// <param name="Edges">E_ij g_j between them.</param>
/// <param name="Chains">Which of these edges join the facts of a chain, as row and column.</param>
public sealed record GraphReading(
    int Block,
    double? Kept,
    double? Linked,
    double? Read,
    long Questions,
    IReadOnlyList<KindReading> Gates,
    IReadOnlyList<string> Facts,
    double[][] Edges,
    IReadOnlyList<(int From, int To)> Chains
)
{
    /// <summary>The null of <see cref="Kept"/>: the share for nodes that are drawn from all tokens so far.</summary>
    public double? KeptNull { get; init; }

    /// <summary>The null of <see cref="Linked"/>: the mean of 1 / other nodes.</summary>
    public double? LinkedNull { get; init; }

    /// <summary>The null of <see cref="Read"/>: the mean of 1 / nodes.</summary>
    public double? ReadNull { get; init; }

    /// <summary>The null of the gate's differences between kinds, as in <see cref="GateReading"/>.</summary>
    public double? SpreadNull { get; init; }
}

/// <summary>A point of a curve of accuracy.</summary>
/// <param name="At">Pairs, or a horizon.</param>
/// <param name="Accuracy">The share of right answers.</param>
/// <param name="Answers">How many were asked.</param>
public sealed record CurvePoint(int At, double? Accuracy, long Answers);

/// <summary>A network's text.</summary>
/// <param name="Bits">Bits per character on the test part.</param>
/// <param name="NewWords">Of characters in words that are new in their document; null where there are none.</param>
/// <param name="SeenWords">Of characters in words that were in their document before.</param>
/// <param name="Prompt">What the sample goes on from, made readable.</param>
/// <param name="Sample">What the network made, made readable.</param>
public sealed record TextReading(double? Bits, double? NewWords, double? SeenWords, string Prompt, string Sample);

/// <summary>One document, token by token.</summary>
/// <param name="Tokens">Each token in a few letters.</param>
/// <param name="Kinds">Each token's kind.</param>
/// <param name="Gates">g of each block, its heads' mean, at each token; none where there is no gate.</param>
/// <param name="Pairs">The pairs that it binds.</param>
/// <param name="Questions">The asked keys.</param>
/// <param name="Right">Of each question, which pair it asks for.</param>
/// <param name="Shares">Of each head, question and pair the share of the read that comes from the pair, 0 to 1. Heads
/// of the first block first, as in <see cref="EpisodicAnalysis.Reads"/>.</param>
public sealed record ExampleReading(
    IReadOnlyList<string> Tokens,
    IReadOnlyList<string> Kinds,
    double[][] Gates,
    IReadOnlyList<string> Pairs,
    IReadOnlyList<string> Questions,
    IReadOnlyList<int> Right,
    double[][][] Shares
);
