using System.Text.RegularExpressions;
using EmtTorch.Analysis.Runs;

namespace EmtTorch.Reports;

/// <summary>What runs are called beside each other in a figure: by the settings that differ, and by their
/// seeds.</summary>
internal static partial class RunLabels
{
    /// <summary>
    /// A label for each run: t1-weight_decay_0/seed-1 beside t1-weight_decay_0.001/seed-1 is "weight_decay 0".
    /// </summary>
    public static IReadOnlyDictionary<ComparisonRow, string> Create(IReadOnlyList<ComparisonRow> rows)
    {
        var parts = rows.Select(row => Parts(row.Name)).ToList();
        bool alike = parts.All(p => p.Count == parts[0].Count);
        var labels = new Dictionary<ComparisonRow, string>(ReferenceEqualityComparer.Instance);
        for (int r = 0; r < rows.Count; r++)
        {
            var differ = parts[r].Where((_, i) => !alike || parts.Any(p => p[i] != parts[0][i])).ToList();
            labels[rows[r]] = differ.Count == 0 ? rows[r].Name : string.Join(", ", differ);
        }
        // Runs of one label differ in their seed, or share a line.
        foreach (var twice in rows.GroupBy(row => labels[row]).Where(g => g.Count() > 1).ToList())
        {
            foreach (var row in twice.Where(row => row.Seed is not null))
                labels[row] = differs(row) ? $"{twice.Key}, seed {row.Seed}" : twice.Key;

            bool differs(ComparisonRow row) => twice.Any(other => other.Seed != row.Seed);
        }
        return labels;
    }

    /// <summary>A run's name without its seed.</summary>
    public static string WithoutSeed(string name) => Seed().Replace(name, "");

    private static List<string> Parts(string name) =>
        [.. Between().Split(Seed().Replace(name, "/seed_$1")).Select(part => Value().Replace(part, " $1"))];

    [GeneratedRegex(@"/seed-(\d+)")]
    private static partial Regex Seed();

    /// <summary>Between two settings, but not in 1e-05.</summary>
    [GeneratedRegex(@"/|(?<!\de)-(?=[^\d])")]
    private static partial Regex Between();

    [GeneratedRegex(@"_(-?\d[\d.e+-]*)$")]
    private static partial Regex Value();
}
