using System.Globalization;
using EmtTorch.Settings;
using nietras.SeparatedValues;

namespace EmtTorch.Analysis.FreeRecall;

/// <summary>Distances between items, from a square table: a heading with their names, and a row for each.</summary>
public sealed class ItemDistances
{
    private const int Bins = 10;

    private readonly Dictionary<string, int> _index;
    private readonly double[][] _distances;

    private ItemDistances(Dictionary<string, int> index, double[][] distances) =>
        (_index, _distances) = (index, distances);

    /// <summary>The distance of two items; NaN if one is not in the table.</summary>
    public double Of(StudiedItem from, StudiedItem to) =>
        _index.TryGetValue(from.Item, out int i) && _index.TryGetValue(to.Item, out int j)
            ? _distances[i][j]
            : double.NaN;

    /// <summary>The studied items that are not in the table.</summary>
    public IReadOnlyList<string> Missing(IEnumerable<RecallList> lists) =>
        [.. lists.SelectMany(l => l.Study).Select(s => s.Item).Distinct().Where(item => !_index.ContainsKey(item))];

    /// <summary>The edges of ten bins, from the 1st to the 99th percentile of all distances.</summary>
    public double[] Edges()
    {
        double[] sorted = [.. _distances.SelectMany((row, i) => row[(i + 1)..]).Order()];
        return
        [
            .. Enumerable.Range(0, Bins + 1).Select(i => Sample.Quantile(sorted, 0.01 + 0.98 * i / Bins)).Distinct(),
        ];
    }

    /// <summary>Reads a table.</summary>
    /// <param name="path">A file with a heading of n names, and n rows of n numbers.</param>
    /// <exception cref="ConfigurationException">It is something else.</exception>
    public static ItemDistances Read(string path)
    {
        try
        {
            using var file = InputFile.Open(path);
            using var reader = Sep.Reader(o => o with { Unescape = true, Trim = SepTrim.All }).From(file);
            var names = reader.Header.ColNames;
            var rows = new List<double[]>();
            foreach (var row in reader)
            {
                var numbers = new double[names.Count];
                for (int i = 0; i < numbers.Length; i++)
                {
                    if (
                        !double.TryParse(row[i].Span, NumberStyles.Float, CultureInfo.InvariantCulture, out numbers[i])
                        || !double.IsFinite(numbers[i])
                    )
                    {
                        throw new InvalidDataException($"line {row.LineNumberFrom}: '{row[i]}' is no finite number");
                    }
                }
                rows.Add(numbers);
            }
            if (names.Count < 2 || rows.Count != names.Count)
                throw new InvalidDataException($"{rows.Count} rows under {names.Count} names: as many are needed");
            return new(names.Select((name, i) => (name, i)).ToDictionary(p => p.name, p => p.i), [.. rows]);
        }
        catch (Exception e)
            when (e
                    is IOException
                        or UnauthorizedAccessException
                        or InvalidDataException
                        or ArgumentException
                        or NotSupportedException
            )
        {
            throw new ConfigurationException([new(path, $"can't be read as distances: {e.Message}")]);
        }
    }
}
