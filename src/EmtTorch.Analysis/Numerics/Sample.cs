namespace EmtTorch.Analysis;

/// <summary>The statistics of a few numbers, such as the results of several seeds.</summary>
/// <param name="Count">How many there are.</param>
/// <param name="Mean">Their mean.</param>
/// <param name="Deviation">Their standard deviation, over n − 1. Null for fewer than two.</param>
/// <param name="Min">The smallest.</param>
/// <param name="Max">The largest.</param>
/// <param name="Interval">A 95 % interval of the mean: percentile bootstrap with 10,000 resamples. The same numbers in
/// the same order give the same interval. Null for fewer than two.</param>
public sealed record Sample(
    int Count,
    double Mean,
    double? Deviation,
    double Min,
    double Max,
    (double Low, double High)? Interval
)
{
    private const int Resamples = 10_000,
        Seed = 1;

    /// <summary>The statistics of the finite numbers, or null if there are none.</summary>
    public static Sample? Of(IEnumerable<double?> values)
    {
        var numbers = Finite(values);
        if (numbers.Length == 0)
            return null;
        double mean = numbers.Average();
        if (numbers.Length == 1)
            return new(1, mean, null, mean, mean, null);
        double deviation = Math.Sqrt(numbers.Sum(v => (v - mean) * (v - mean)) / (numbers.Length - 1));
        return new(numbers.Length, mean, deviation, numbers.Min(), numbers.Max(), Bootstrap(numbers));
    }

    /// <summary>The median of the finite numbers, or null if there are none.</summary>
    public static double? Median(IEnumerable<double?> values)
    {
        var numbers = Finite(values);
        Array.Sort(numbers);
        return numbers.Length == 0 ? null : Quantile(numbers, 0.5);
    }

    /// <summary>The number below which a share of the numbers lies, interpolated linearly.</summary>
    /// <param name="sorted">Ascending, at least one.</param>
    /// <param name="share">From 0 to 1.</param>
    internal static double Quantile(double[] sorted, double share)
    {
        double at = share * (sorted.Length - 1);
        int below = (int)at;
        return below + 1 < sorted.Length
            ? sorted[below] + (at - below) * (sorted[below + 1] - sorted[below])
            : sorted[^1];
    }

    /// <summary>The 95 % interval of a share, after Wilson (1927): it stays within 0 and 1.</summary>
    /// <param name="share">The share that was found, 0 to 1.</param>
    /// <param name="count">How many it is of, at least 1.</param>
    internal static (double Low, double High) ShareInterval(double share, long count)
    {
        const double z = 1.959964; // the normal distribution's quantile at 0.975
        double square = z * z / count,
            middle = (share + square / 2) / (1 + square),
            half = z / (1 + square) * Math.Sqrt((share * (1 - share) + square / 4) / count);
        return (Math.Max(0, middle - half), Math.Min(1, middle + half));
    }

    private static (double, double) Bootstrap(double[] numbers)
    {
        var random = new Random(Seed); // a seeded Random is the same in every version of .NET
        var means = new double[Resamples];
        for (int i = 0; i < Resamples; i++)
        {
            double sum = 0;
            for (int j = 0; j < numbers.Length; j++)
                sum += numbers[random.Next(numbers.Length)];
            means[i] = sum / numbers.Length;
        }
        Array.Sort(means);
        // The mean of equal draws may differ from the number by a rounding error.
        double min = numbers.Min(),
            max = numbers.Max();
        return (Math.Clamp(Quantile(means, 0.025), min, max), Math.Clamp(Quantile(means, 0.975), min, max));
    }

    private static double[] Finite(IEnumerable<double?> values) =>
        [.. values.Where(v => v is { } number && double.IsFinite(number)).Select(v => v!.Value)];
}
