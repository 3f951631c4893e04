namespace EmtTorch.Analysis.FreeRecall;

/// <summary>What a measure counts in one list: how often something happened, and how often it could have.</summary>
/// <param name="Actual">At each place of the measure, how often it happened.</param>
/// <param name="Possible">How often it could have.</param>
public sealed record RecallTally(double[] Actual, double[] Possible)
{
    internal static RecallTally Zero(int places) => new(new double[places], new double[places]);

    /// <summary>The sum over lists.</summary>
    internal static RecallTally Sum(IEnumerable<RecallTally> tallies, int places)
    {
        var sum = Zero(places);
        foreach (var (actual, possible) in tallies)
        {
            for (int i = 0; i < places; i++)
            {
                sum.Actual[i] += actual[i];
                sum.Possible[i] += possible[i];
            }
        }
        return sum;
    }

    /// <summary>actual / possible at each place; NaN where it never was possible.</summary>
    internal double[] Ratios() => [.. Actual.Zip(Possible, (a, p) => p > 0 ? a / p : double.NaN)];
}

/// <summary>
/// A measure of free recall: at each of its places (serial positions, lags, …) a subject's value is the sum of what
/// happened in the subject's lists over the sum of what could have. So all measures are averaged, compared and given
/// intervals in the same way.
/// </summary>
/// <param name="Key">Its name in JSON.</param>
/// <param name="Title">Its name for people.</param>
/// <param name="Places">The places, as text.</param>
/// <param name="Count">Counts in one list.</param>
public sealed record RecallMeasure(
    string Key,
    string Title,
    IReadOnlyList<string> Places,
    Func<RecallList, RecallTally> Count
)
{
    /// <summary>The least that a value can be.</summary>
    internal double Least { get; init; }

    /// <summary>The greatest that it can be.</summary>
    internal double Greatest { get; init; } = 1;

    /// <summary>
    /// The serial position curve: how often the item at each position is recalled (Murdock, 1962).
    /// </summary>
    /// <param name="length">The number of positions.</param>
    public static RecallMeasure SerialPosition(int length) =>
        new(
            "serial_position",
            "recall by serial position",
            Numbers(1, length),
            list =>
            {
                var tally = RecallTally.Zero(length);
                foreach (var item in list.Study)
                    tally.Possible[item.Position - 1]++;
                foreach (var item in list.Right)
                    tally.Actual[item.Position - 1]++;
                return tally;
            }
        );

    /// <summary>
    /// The probability of nth recall: how often the nth right recall is the item at each position, of the times that it
    /// was not recalled before (Hogan, 1975; Howard and Kahana, 1999). n = 1 is the probability of first recall.
    /// </summary>
    public static RecallMeasure NthRecall(int n, int length) =>
        new(
            $"probability_of_recall_{n}",
            $"recall number {n} by serial position",
            Numbers(1, length),
            list =>
            {
                var tally = RecallTally.Zero(length);
                StudiedItem[] right = [.. list.Right];
                if (right.Length < n)
                    return tally;
                foreach (var item in list.Study.Except(right[..(n - 1)]))
                    tally.Possible[item.Position - 1]++;
                tally.Actual[right[n - 1].Position - 1]++;
                return tally;
            }
        );

    /// <summary>
    /// The conditional response probability by lag: of the times that an item so many positions on was still to be
    /// recalled, how often it was the next recall (Kahana, 1996). Positive lags are forward.
    /// </summary>
    public static RecallMeasure LagCrp(int length) =>
        new(
            "lag_crp",
            "conditional response probability by lag",
            Numbers(1 - length, length - 1),
            list =>
            {
                var tally = RecallTally.Zero(2 * length - 1);
                foreach (var transition in list.Transitions())
                {
                    int At(StudiedItem to) => to.Position - transition.From.Position + length - 1;
                    tally.Actual[At(transition.To)]++;
                    foreach (var item in transition.Possible)
                        tally.Possible[At(item)]++;
                }
                return tally;
            }
        );

    /// <summary>
    /// The same by the lag of the transition before, too (Lohnas and Kahana, 2014). A place is `before, lag`.
    /// </summary>
    /// <param name="furthest">The largest |lag| of both.</param>
    public static RecallMeasure CompoundLagCrp(int furthest)
    {
        int lags = 2 * furthest + 1;
        var names = Numbers(-furthest, furthest);
        return new(
            "lag_crp_compound",
            "conditional response probability by lag and previous lag",
            [.. names.SelectMany(_ => names, (before, lag) => $"{before}, {lag}")],
            list =>
            {
                var tally = RecallTally.Zero(lags * lags);
                RecallTransition? before = null;
                foreach (var transition in list.Transitions())
                {
                    if (before?.Output == transition.Output - 1)
                        Count(tally, before.To.Position - before.From.Position, transition);
                    before = transition;
                }
                return tally;
            }
        );

        void Count(RecallTally tally, int before, RecallTransition transition)
        {
            void Add(double[] counts, StudiedItem to)
            {
                int lag = to.Position - transition.From.Position;
                if (Math.Abs(before) <= furthest && Math.Abs(lag) <= furthest)
                    counts[(before + furthest) * lags + lag + furthest]++;
            }
            Add(tally.Actual, transition.To);
            foreach (var item in transition.Possible)
                Add(tally.Possible, item);
        }
    }

    /// <summary>
    /// The temporal factor: the rank of each transition's |lag| among those that were possible, from 0 (the farthest)
    /// to 1 (the nearest), ties at their mean; ½ without any order in time (Polyn, Norman and Kahana, 2009).
    /// </summary>
    public static RecallMeasure TemporalFactor() =>
        Rank("temporal_factor", "temporal factor", (from, to) => Math.Abs(to.Position - from.Position));

    /// <summary>The same by a distance between items: the semantic factor.</summary>
    /// <param name="distance">The distance of two items; NaN if it is not known.</param>
    public static RecallMeasure SemanticFactor(Func<StudiedItem, StudiedItem, double> distance) =>
        Rank("semantic_factor", "semantic factor", distance);

    private static RecallMeasure Rank(string key, string title, Func<StudiedItem, StudiedItem, double> distance) =>
        new(
            key,
            title,
            [""],
            list =>
            {
                var tally = RecallTally.Zero(1);
                foreach (var transition in list.Transitions())
                {
                    double actual = distance(transition.From, transition.To);
                    double[] possible =
                    [
                        .. transition
                            .Possible.Select(item => distance(transition.From, item))
                            .Where(d => !double.IsNaN(d)),
                    ];
                    if (double.IsNaN(actual) || possible.Length < 2)
                        continue;
                    double farther = possible.Count(d => d > actual),
                        tied = possible.Count(d => d == actual) - 1;
                    tally.Actual[0] += (farther + tied / 2) / (possible.Length - 1);
                    tally.Possible[0]++;
                }
                return tally;
            }
        );

    /// <summary>
    /// The conditional response probability by distance, for example of meaning (Howard and Kahana, 2002). A place is a
    /// bin (edges[i], edges[i + 1]].
    /// </summary>
    /// <param name="distance">The distance of two items.</param>
    /// <param name="edges">The edges of the bins, ascending.</param>
    public static RecallMeasure DistanceCrp(Func<StudiedItem, StudiedItem, double> distance, double[] edges)
    {
        double[] ends = edges[1..];
        int Bin(double value) => value > edges[0] ? Array.FindIndex(ends, end => value <= end) : -1;
        return new(
            "distance_crp",
            "conditional response probability by distance",
            [.. edges.Zip(ends, (a, b) => Table.Exact((a + b) / 2))],
            list =>
            {
                var tally = RecallTally.Zero(edges.Length - 1);
                foreach (var transition in list.Transitions())
                {
                    if (Bin(distance(transition.From, transition.To)) is >= 0 and var actual)
                        tally.Actual[actual]++;
                    foreach (var item in transition.Possible)
                    {
                        if (Bin(distance(transition.From, item)) is >= 0 and var possible)
                            tally.Possible[possible]++;
                    }
                }
                return tally;
            }
        );
    }

    /// <summary>
    /// Prior-list intrusions by list lag: of all intrusions, how many are of the list so many before (Zaromb et al.,
    /// 2006). The first lists, which have no such lists before them, are left out. As in psifr, an intrusion that was
    /// studied in several lists counts once for each.
    /// </summary>
    /// <param name="furthest">The largest list lag.</param>
    public static RecallMeasure PriorListIntrusions(int furthest) =>
        new(
            "prior_list_intrusions_by_list_lag",
            "prior-list intrusions by list lag",
            Numbers(1, furthest),
            list =>
            {
                var tally = RecallTally.Zero(furthest);
                if (list.Number <= furthest)
                    return tally;
                foreach (var recall in list.Recalls.Where(r => r.Studied is null))
                {
                    for (int lag = 1; lag <= furthest; lag++)
                    {
                        tally.Possible[lag - 1] += Math.Max(1, recall.OtherLists.Count);
                        tally.Actual[lag - 1] += recall.OtherLists.Count(l => l == list.Number - lag);
                    }
                }
                return tally;
            }
        );

    /// <summary>
    /// How often a recall is followed by one of its own category, of the times that one was left.
    /// </summary>
    /// <param name="column">The column with the categories.</param>
    public static RecallMeasure CategoryCrp(string column) =>
        new(
            "category_crp",
            "probability of staying within a category",
            [""],
            list =>
            {
                var tally = RecallTally.Zero(1);
                foreach (var transition in list.Transitions())
                {
                    bool Same(StudiedItem item) => item.Columns[column] == transition.From.Columns[column];
                    tally.Possible[0] += transition.Possible.Any(Same) ? 1 : 0;
                    tally.Actual[0] += Same(transition.To) ? 1 : 0;
                }
                return tally;
            }
        );

    /// <summary>
    /// Clustering by category, the mean over lists. ARC (Roenker, Thompson and Brown, 1971): (R − E) / (max − E), R
    /// pairs of neighbours of one category, E = Σ n_c (n_c − 1) / r, max = r − the number of categories; 0 by chance, 1
    /// at most. LBC (Stricker et al., 2002): R − (r − 1)(m − 1) / (N − 1), m items in a category of a list of N.
    /// Repeats and intrusions are left out.
    /// </summary>
    /// <param name="column">The column with the categories.</param>
    public static RecallMeasure CategoryClustering(string column) =>
        new(
            "category_clustering",
            "clustering by category",
            ["arc", "lbc"],
            list =>
            {
                var tally = RecallTally.Zero(2);
                string[] right = [.. list.Right.Select(r => r.Columns[column])];
                if (right.Length == 0)
                    return tally;
                double observed = right.Zip(right.Skip(1)).Count(p => p.First == p.Second),
                    expected = right.GroupBy(c => c).Sum(g => g.Count() * (g.Count() - 1.0) / right.Length),
                    largest = right.Length - right.Distinct().Count();
                if (largest != expected)
                    (tally.Actual[0], tally.Possible[0]) = ((observed - expected) / (largest - expected), 1);
                double each = (double)list.Study.Count / list.Study.Select(s => s.Columns[column]).Distinct().Count();
                if (list.Study.Count > 1)
                {
                    tally.Actual[1] = observed - (right.Length - 1) * (each - 1) / (list.Study.Count - 1);
                    tally.Possible[1] = 1;
                }
                return tally;
            }
        )
        {
            Least = double.NegativeInfinity,
            Greatest = double.PositiveInfinity,
        };

    private static string[] Numbers(int first, int last) =>
        [.. Enumerable.Range(first, Math.Max(0, last - first + 1)).Select(n => $"{n}")];
}
