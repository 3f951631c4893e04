namespace EmtTorch.Analysis.FreeRecall;

/// <summary>A number with its 95 % interval.</summary>
/// <param name="Value">The number: over subjects their mean. NaN if no subject has any.</param>
/// <param name="Interval">Over subjects as in <see cref="Sample"/>; of one subject the percentile bootstrap over its
/// lists. Null if there are too few of them.</param>
public sealed record RecallEstimate(double Value, (double Low, double High)? Interval)
{
    /// <summary>Whether the interval lies on one side of a value.</summary>
    public bool DiffersFrom(double value) => Interval is var (low, high) && (low > value || high < value);
}

/// <summary>A measure of some lists: a value at each of its places for each subject, and their means.</summary>
/// <example><code>
/// var curve = RecallCurve.Of(RecallMeasure.SerialPosition(16), table.Lists);
/// Console.WriteLine(curve.Points[15].Value);
/// </code></example>
public sealed class RecallCurve
{
    private const int Resamples = 2000;

    private readonly List<RecallTally[]> _lists; // by subject

    private RecallCurve(RecallMeasure measure, IReadOnlyList<string> subjects, List<RecallTally[]> lists)
    {
        (Measure, Subjects, _lists) = (measure, subjects, lists);
        Tallies = [.. lists.Select(l => RecallTally.Sum(l, measure.Places.Count))];
        Values = [.. Tallies.Select(t => t.Ratios())];
    }

    /// <summary>What is measured.</summary>
    public RecallMeasure Measure { get; }

    /// <summary>The subjects, in the order in which they come.</summary>
    public IReadOnlyList<string> Subjects { get; }

    /// <summary>What was counted in each subject's lists.</summary>
    public IReadOnlyList<RecallTally> Tallies { get; }

    /// <summary>Each subject's values at the places; NaN where it never was possible.</summary>
    public IReadOnlyList<double[]> Values { get; }

    /// <summary>Measures lists.</summary>
    public static RecallCurve Of(RecallMeasure measure, IEnumerable<RecallList> lists)
    {
        var subjects = lists.GroupBy(l => l.Subject).ToList();
        return new(
            measure,
            [.. subjects.Select(s => s.Key)],
            [.. subjects.Select(s => s.Select(measure.Count).ToArray())]
        );
    }

    /// <summary>The mean over subjects at each place; NaN where no subject has a value.</summary>
    public IReadOnlyList<double> Means =>
        [.. Measure.Places.Select((_, i) => Mean(Values.Select(v => v[i]).Where(double.IsFinite)))];

    /// <summary>The values at the places with their intervals.</summary>
    public IReadOnlyList<RecallEstimate> Points => [.. Measure.Places.Select((_, i) => Estimate(v => v[i]))];

    /// <summary>A number that is computed from a subject's values, over all subjects.</summary>
    public RecallEstimate Estimate(Func<double[], double> number)
    {
        double[] all = [.. Values.Select(number).Where(double.IsFinite)];
        if (all.Length == 0)
            return new(double.NaN, null);
        if (Values.Count > 1)
            return new(all.Average(), Sample.Of(all.Select(v => (double?)v))!.Interval);
        return new(all[0], Interval(Resample(number)));
    }

    /// <summary>The difference of such a number to that of another condition.</summary>
    /// <param name="other">The other one. Subjects that are in both are compared with themselves; if there are none, the
    /// difference is that of the means.</param>
    public RecallEstimate Difference(RecallCurve other, Func<double[], double> number)
    {
        double?[] paired =
        [
            .. Subjects
                .Select((s, i) => (Here: Values[i], There: IndexOf(other.Subjects, s)))
                .Where(p => p.There >= 0)
                .Select(p => (double?)(number(p.Here) - number(other.Values[p.There])))
                .Where(d => double.IsFinite(d!.Value)),
        ];
        if (paired.Length > 1)
            return new(paired.Average()!.Value, Sample.Of(paired)!.Interval);
        double value = Mean(Values.Select(number).Where(double.IsFinite));
        value -= Mean(other.Values.Select(number).Where(double.IsFinite));
        return new(value, Interval(Resample(number).Zip(other.Resample(number, seed: 2), (a, b) => a - b)));
    }

    /// <summary>The number with subjects drawn anew, or lists of a single subject, with replacement.</summary>
    private double[] Resample(Func<double[], double> number, int seed = 1)
    {
        var random = new Random(seed); // a seeded Random is the same in every version of .NET
        var drawn = new double[Resamples];
        for (int r = 0; r < Resamples; r++)
        {
            var numbers =
                Values.Count > 1
                    ? Values.Select(_ => number(Values[random.Next(Values.Count)]))
                    : [number(RecallTally.Sum(Draw(_lists[0], random), Measure.Places.Count).Ratios())];
            drawn[r] = Mean(numbers.Where(double.IsFinite));
        }
        return drawn;
    }

    private static IEnumerable<RecallTally> Draw(RecallTally[] lists, Random random) =>
        lists.Select(_ => lists[random.Next(lists.Length)]);

    private static (double Low, double High)? Interval(IEnumerable<double> drawn)
    {
        double[] sorted = [.. drawn.Where(double.IsFinite).Order()];
        return sorted.Length < Resamples / 2 || sorted[0] == sorted[^1]
            ? null
            : (Sample.Quantile(sorted, 0.025), Sample.Quantile(sorted, 0.975));
    }

    private static double Mean(IEnumerable<double> values) => values.DefaultIfEmpty(double.NaN).Average();

    private static int IndexOf(IReadOnlyList<string> subjects, string subject)
    {
        for (int i = 0; i < subjects.Count; i++)
        {
            if (subjects[i] == subject)
                return i;
        }
        return -1;
    }
}
