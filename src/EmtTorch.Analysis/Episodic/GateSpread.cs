namespace EmtTorch.Analysis.Episodic;

/// <summary>How differently a gate treats kinds of tokens.</summary>
internal static class GateSpread
{
    private const int Draws = 20;

    /// <summary>
    /// The largest difference between two kinds' means of g in twenty draws that deal the kinds out among the tokens at
    /// random. A difference that kinds do not make is larger in one of 21 cases.
    /// </summary>
    /// <param name="kinds">The kind of each token.</param>
    /// <param name="gates">g of each token.</param>
    public static double MeasureNull(IEnumerable<int> kinds, IEnumerable<double> gates)
    {
        int[] dealt = [.. kinds];
        double[] values = [.. gates];
        var random = new Random(1);
        double largest = 0;
        for (int draw = 0; draw < Draws; draw++)
        {
            random.Shuffle(dealt);
            double[] means = [.. dealt.Zip(values).GroupBy(t => t.First, t => t.Second).Select(g => g.Average())];
            largest = Math.Max(largest, means.Max() - means.Min());
        }
        return largest;
    }
}
