using System.Text.Json;

namespace EmtTorch.Analysis;

/// <summary>An input sequence that a person can follow: digits as bit vectors, or given numbers.</summary>
public static class ExampleInput
{
    /// <summary>The digits in Fig. 3 of the paper.</summary>
    public const string Default = "3141";

    /// <summary>Parses an input sequence.</summary>
    /// <param name="text">Digits such as 3141, repeated to fill s steps: a digit is the vector of its bits, the highest
    /// first, 1 for a set bit and −1 otherwise. Or a JSON array of s vectors of κ numbers.</param>
    /// <param name="s">The number of vectors.</param>
    /// <param name="d">The numbers in a vector, κ.</param>
    /// <returns>(s, κ).</returns>
    /// <exception cref="ArgumentException">The text is neither.</exception>
    public static double[][] Parse(string text, int s, int d)
    {
        if (text.Length > 0 && text.All(char.IsAsciiDigit))
            return [.. Enumerable.Range(0, s).Select(t => Bits(text[t % text.Length] - '0', d))];
        try
        {
            if (
                JsonSerializer.Deserialize<double[][]>(text) is { } rows
                && rows.Length == s
                && rows.All(r => r?.Length == d && r.All(double.IsFinite))
            )
            {
                return rows;
            }
        }
        catch (JsonException)
        { /* the message below says what would do */
        }
        throw new ArgumentException(
            $"the input '{text}' is neither digits, such as {Default}, nor a JSON array of {s} vectors of {d} numbers"
        );
    }

    private static double[] Bits(int digit, int d) =>
        [.. Enumerable.Range(0, d).Select(i => d - 1 - i < 31 && (digit >> (d - 1 - i) & 1) == 1 ? 1.0 : -1.0)];
}
