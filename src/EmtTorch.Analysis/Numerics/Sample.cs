namespace EmtTorch.Analysis;

/// <summary>The statistics of a few numbers, such as the results of several seeds.</summary>
/// <param name="Count">How many there are.</param>
/// <param name="Mean">Their mean.</param>
/// <param name="Deviation">Their standard deviation, over n − 1. Null for fewer than two.</param>
/// <param name="Min">The smallest.</param>
/// <param name="Max">The largest.</param>
/// <param name="Interval">
/// A 95 % interval of the mean. Below <see cref="BootstrapFrom"/> numbers it is Student's, mean ± t s / √n with t the
/// 0.975 quantile for n − 1 degrees of freedom; from then on the percentile bootstrap with 10,000 resamples, which of
/// a few numbers would be hardly more than their range. The same numbers in the same order give the same interval.
/// Null for fewer than two.
/// </param>
public sealed record Sample(
    int Count,
    double Mean,
    double? Deviation,
    double Min,
    double Max,
    (double Low, double High)? Interval
)
{
    /// <summary>From how many numbers on the interval is the bootstrap's.</summary>
    public const int BootstrapFrom = 10;

    private const int Resamples = 10_000,
        Seed = 1;

    /// <summary>Which interval <see cref="Interval"/> is: "t", "bootstrap", or null if there is none.</summary>
    public string? IntervalKind =>
        Interval is null ? null
        : Count < BootstrapFrom ? "t"
        : "bootstrap";

    /// <summary>The statistics of the finite numbers, or null if there are none.</summary>
    /// <param name="values">The numbers.</param>
    /// <param name="least">The least that such a number can be. The interval is cut there.</param>
    /// <param name="greatest">The greatest that it can be, such as 1 for an accuracy.</param>
    public static Sample? Of(
        IEnumerable<double?> values,
        double least = double.NegativeInfinity,
        double greatest = double.PositiveInfinity
    )
    {
        var numbers = Finite(values);
        if (numbers.Length == 0)
            return null;
        double mean = numbers.Average();
        if (numbers.Length == 1)
            return new(1, mean, null, mean, mean, null);
        double deviation = Math.Sqrt(numbers.Sum(v => (v - mean) * (v - mean)) / (numbers.Length - 1));
        var (low, high) =
            numbers.Length < BootstrapFrom ? StudentInterval(mean, deviation, numbers.Length) : Bootstrap(numbers);
        (double, double) interval = (Math.Max(least, low), Math.Min(greatest, high));
        return new(numbers.Length, mean, deviation, numbers.Min(), numbers.Max(), interval);
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

    private static (double Low, double High) StudentInterval(double mean, double deviation, int count)
    {
        double half = StudentQuantile(0.95, count - 1) * deviation / Math.Sqrt(count);
        return (mean - half, mean + half);
    }

    /// <summary>
    /// The t for which Student's distribution has a share of its mass within ±t. With θ = arctan(t / √ν) that mass is
    /// a finite sum of powers of cos θ (Abramowitz and Stegun 26.7.3 and 26.7.4), which is solved by bisection.
    /// </summary>
    /// <param name="share">0.95 for the quantile at 0.975; above 0, below 1.</param>
    /// <param name="freedom">ν, the degrees of freedom: at least 1.</param>
    internal static double StudentQuantile(double share, int freedom)
    {
        double low = 0,
            high = Math.PI / 2;
        for (int i = 0; i < 60; i++)
        {
            double middle = (low + high) / 2;
            if (StudentShare(middle, freedom) < share)
                low = middle;
            else
                high = middle;
        }
        return Math.Sqrt(freedom) * Math.Tan(low);
    }

    /// <summary>The mass within ±√ν tan θ.</summary>
    private static double StudentShare(double angle, int freedom)
    {
        double cosine = Math.Cos(angle);
        bool odd = freedom % 2 == 1;
        double term = odd ? cosine : 1,
            sum = freedom == 1 ? 0 : term;
        for (int k = odd ? 3 : 2; k < freedom; k += 2)
        {
            term *= (k - 1.0) / k * cosine * cosine;
            sum += term;
        }
        return odd ? 2 / Math.PI * (angle + Math.Sin(angle) * sum) : Math.Sin(angle) * sum;
    }

    internal static (double Low, double High) Bootstrap(double[] numbers)
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
