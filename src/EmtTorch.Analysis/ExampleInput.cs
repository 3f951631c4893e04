using System.Text.Json;

namespace EmtTorch.Analysis;

/// <summary>An input sequence that a person can follow: digits as bit vectors, or one's own numbers.</summary>
public static class ExampleInput
{
    /// <summary>The sequence of digits that the paper shows.</summary>
    public const string Default = "3141";

    /// <summary>Reads one.</summary>
    /// <param name="text">Digits, such as 3141: each is a vector of its bits, the highest first, 1 for a set bit and −1
    /// for one that is not; repeated to fill the s steps. Or a JSON array of s vectors of κ numbers.</param>
    /// <param name="s">Vectors.</param>
    /// <param name="d">Numbers in one, κ.</param>
    /// <returns>(s, κ).</returns>
    /// <exception cref="ArgumentException">It is neither.</exception>
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
