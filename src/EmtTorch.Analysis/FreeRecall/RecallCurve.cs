namespace EmtTorch.Analysis.FreeRecall;

/// <summary>A number with its 95 % interval.</summary>
/// <param name="Value">The number: over subjects their mean. NaN if no subject has any.</param>
/// <param name="Interval">Over subjects as in <see cref="Sample"/>; of one subject the percentile bootstrap over its
/// lists. Null if there are too few of them, or if they are all equal.</param>
public sealed record RecallEstimate(double Value, (double Low, double High)? Interval)
{
    /// <summary>The number and its interval in words.</summary>
    public string Text =>
        NumberText.Fixed(Value, Digits)
        + (
            Interval is var (low, high)
                ? $" (95 % interval {NumberText.Fixed(low, Digits)} to {NumberText.Fixed(high, Digits)})"
                : " (no interval)"
        );

    private const string Digits = "0.000";

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

    // The bootstrap of fewer lists is hardly more than their range.
    private const int FewestLists = 8;

    private readonly List<RecallTally[]> _lists; // by subject
    private IReadOnlyList<RecallEstimate>? _points;
    private double[][]? _resampled;

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
    public IReadOnlyList<RecallEstimate> Points =>
        _points ??= [.. Measure.Places.Select((_, i) => Estimate(v => v[i], Measure.Least, Measure.Greatest))];

    /// <summary>A number that is computed from a subject's values, over all subjects.</summary>
    public RecallEstimate Estimate(Func<double[], double> number) =>
        Estimate(number, double.NegativeInfinity, double.PositiveInfinity);

    private RecallEstimate Estimate(Func<double[], double> number, double least, double greatest)
    {
        if (Values.Count == 1)
            return new(number(Values[0]), Interval(Resampled.Select(number)));
        return Sample.Of(Values.Select(v => (double?)number(v)), least, greatest) is { } sample
            ? Estimate(sample)
            : new(double.NaN, null);
    }

    // A few equal numbers do not show that others would be equal too.
    private static RecallEstimate Estimate(Sample sample) =>
        new(sample.Mean, sample is { Deviation: 0, Count: < Sample.BootstrapFrom } ? null : sample.Interval);

    /// <summary>The difference of such a number to one of another condition.</summary>
    /// <param name="number">The number here.</param>
    /// <param name="other">The other condition. If two or more subjects have both numbers, these are compared with
    /// themselves and the others left out. Otherwise the difference is that of the means, with Welch's t interval; of
    /// one subject on each side it is that of their lists.</param>
    /// <param name="otherNumber">The number there.</param>
    public RecallEstimate Difference(
        Func<double[], double> number,
        RecallCurve other,
        Func<double[], double> otherNumber
    )
    {
        double[] here = [.. Values.Select(number)],
            there = [.. other.Values.Select(otherNumber)];
        var paired = Sample.Of(
            Subjects
                .Zip(here)
                .Join(other.Subjects.Zip(there), h => h.First, t => t.First, (h, t) => (double?)(h.Second - t.Second))
        );
        if (paired?.Count > 1)
            return Estimate(paired);
        if (Values.Count == 1 && other.Values.Count == 1)
        {
            var drawn = Resampled.Select(number).Zip(other.Resampled.Reverse().Select(otherNumber), (a, b) => a - b);
            return new(here[0] - there[0], Interval(drawn));
        }
        return Welch(Sample.Of(here.Select(v => (double?)v)), Sample.Of(there.Select(v => (double?)v)));
    }

    /// <summary>The difference of two means of independent numbers (Welch, 1947).</summary>
    private static RecallEstimate Welch(Sample? one, Sample? other)
    {
        if (one is null || other is null)
            return new(double.NaN, null);
        double difference = one.Mean - other.Mean,
            a = one.Deviation is { } s ? s * s / one.Count : 0,
            b = other.Deviation is { } t ? t * t / other.Count : 0;
        if (one.Count < 2 || other.Count < 2 || a + b == 0)
            return new(difference, null);
        double freedom = (a + b) * (a + b) / (a * a / (one.Count - 1) + b * b / (other.Count - 1)),
            half = Sample.StudentQuantile(0.95, Math.Max(1, (int)freedom)) * Math.Sqrt(a + b);
        return new(difference, (difference - half, difference + half));
    }

    /// <summary>The values of a single subject with its lists drawn anew, with replacement.</summary>
    private double[][] Resampled => _resampled ??= _lists[0].Length < FewestLists ? [] : Resample(_lists[0]);

    private double[][] Resample(RecallTally[] lists)
    {
        var random = new Random(1); // a seeded Random is the same in every version of .NET
        return
        [
            .. Enumerable
                .Range(0, Resamples)
                .Select(_ =>
                    RecallTally.Sum(lists.Select(_ => lists[random.Next(lists.Length)]), Measure.Places.Count).Ratios()
                ),
        ];
    }

    private static (double Low, double High)? Interval(IEnumerable<double> drawn)
    {
        double[] sorted = [.. drawn.Where(double.IsFinite).Order()];
        return sorted.Length < Resamples / 2 || sorted[0] == sorted[^1]
            ? null
            : (Sample.Quantile(sorted, 0.025), Sample.Quantile(sorted, 0.975));
    }

    private static double Mean(IEnumerable<double> values) => values.DefaultIfEmpty(double.NaN).Average();
}
