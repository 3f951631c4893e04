namespace EmtTorch.Settings;

/// <summary>Guesses what a misspelt name was meant to be.</summary>
internal static class NearestName
{
    /// <returns>The nearest candidate, or null if more than a third of its letters would be wrong.</returns>
    public static string? To(string name, IEnumerable<string> candidates)
    {
        // Names of very different lengths are not compared: the distance is at least the difference.
        var nearest = candidates
            .Where(c => Math.Abs(c.Length - name.Length) <= Math.Max(1, c.Length / 3))
            .Select(c => (Name: c, Distance: Distance(name.ToLowerInvariant(), c)))
            .DefaultIfEmpty()
            .MinBy(c => c.Distance);
        return
            nearest.Name is not null
            && nearest.Distance <= Math.Max(1, nearest.Name.Length / 3)
            && nearest.Distance < nearest.Name.Length
            ? nearest.Name
            : null;
    }

    /// <summary>
    /// The edit distance. Two neighbours in the wrong order count as one mistake (optimal string alignment).
    /// </summary>
    internal static int Distance(string a, string b)
    {
        var d = new int[a.Length + 1, b.Length + 1];
        for (int i = 0; i <= a.Length; i++)
        {
            for (int j = 0; j <= b.Length; j++)
            {
                if (i == 0 || j == 0)
                {
                    d[i, j] = i + j;
                    continue;
                }
                int change = a[i - 1] == b[j - 1] ? 0 : 1;
                d[i, j] = Math.Min(Math.Min(d[i - 1, j] + 1, d[i, j - 1] + 1), d[i - 1, j - 1] + change);
                if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                    d[i, j] = Math.Min(d[i, j], d[i - 2, j - 2] + 1);
            }
        }

        return d[a.Length, b.Length];
    }
}
