using System.Globalization;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

namespace EmtTorch.Trainer.Tests;

/// <summary>
/// Compares numbers of a document with the files that they come from. A comment behind a table names a file, for each
/// row which of its records, and for each column the numbers that stand there:
/// <code>
/// &lt;!-- record: results/table.csv
/// rows: memory=delta | memory=none
/// accuracy, seeds 1 to 3: accuracy_best
/// mean and deviation: mean accuracy_best; sd accuracy_best
/// --&gt;
/// </code>
/// A comment within a text does so for the numbers before it:
/// <code>
/// It reaches 0.999&lt;!-- = mean accuracy_best of results/table.csv where memory=delta --&gt; in the end.
/// </code>
/// Where rows and columns both choose records, a column goes on with `where KEY=VALUE`, and a row `-` is passed over.
/// Rules are each (if none is named), first (of several numbers in a cell), mean, sd, median, min, max and range;
/// `KEY*100` is a percentage, and `KEY=VALUE*` a beginning. The file may be CSV, lines of JSON, an array in JSON
/// (`table.json#runs`), the tables of a Markdown file, whose headings are keys, or all JSON files of a folder that end
/// alike (`*.analysis.json`, with the key file). A number is right if it is what the file's number rounds to.
/// </summary>
internal sealed partial class RecordedNumbers(string folder)
{
    private static readonly string[] Rules = ["mean", "sd", "median", "min", "max", "range", "first"];
    private static readonly char[] Blanks = [' ', '\n'];
    private readonly Dictionary<string, List<Dictionary<string, string>>> _files = [];

    /// <summary>What is wrong in a document's text.</summary>
    /// <param name="strict">Whether each table with a fraction in it must have a record.</param>
    public IEnumerable<string> Problems(string text, bool strict)
    {
        var lines = text.Split('\n');
        for (int i = 0; i < lines.Length; i++)
        {
            if (!lines[i].StartsWith('|'))
                continue;
            int first = i;
            while (i < lines.Length && lines[i].StartsWith('|'))
                i++;
            var table = lines[first..i].Select(Cells).ToList();
            foreach (var problem in OfTable(table, Records(lines, i), strict))
                yield return $"line {first + 1}: {problem}";
        }
        text = Code().Replace(text, "");
        foreach (Match comment in Inline().Matches(text))
        {
            int start = text.LastIndexOf("\n\n", comment.Index, StringComparison.Ordinal) + 1;
            var before = Numbers(Comment().Replace(text[start..comment.Index], ""));
            var (what, file, where) = (comment.Groups[1].Value, comment.Groups[2].Value, comment.Groups[3].Value);
            var expected = Evaluate(what, file, Select(file, where));
            var found = before.TakeLast(expected.Count).ToList();
            if (Difference(found, expected) is { } difference)
                yield return $"{string.Join(' ', comment.Value.Split(Blanks))}: {difference}";
        }
    }

    /// <summary>The comments that follow a table, a list of lines each.</summary>
    private static List<string[]> Records(string[] lines, int at)
    {
        var records = new List<string[]>();
        while (at < lines.Length && (lines[at].Length == 0 || lines[at].StartsWith("<!-- ", StringComparison.Ordinal)))
        {
            if (lines[at].Length == 0)
            {
                at++;
                continue;
            }
            int end = Array.FindIndex(lines, at, l => l.Contains("-->", StringComparison.Ordinal));
            records.Add([.. lines[at..(end + 1)].Select(l => l.Replace("<!--", "").Replace("-->", "").Trim())]);
            at = end + 1;
        }
        return records;
    }

    private IEnumerable<string> OfTable(List<string[]> table, List<string[]> records, bool strict)
    {
        var rows = table.Skip(2).ToList();
        var named = new HashSet<string>();
        foreach (var record in records)
        {
            if (record[0].StartsWith("no record: ", StringComparison.Ordinal))
            {
                named.UnionWith(table[0]);
                continue;
            }
            var file = record[0].Split("record: ")[^1];
            var filters = record[1].Split("rows: ")[^1].Split(" | ");
            if (filters.Length != rows.Count)
            {
                yield return $"{rows.Count} rows, of which {file} is said to have {filters.Length}";
                continue;
            }
            foreach (var line in record.Skip(2).Where(l => l.Length > 0))
            {
                int colon = line.LastIndexOf(": ", StringComparison.Ordinal);
                var (title, what) = (line[..colon], line[(colon + 2)..].Split(" where "));
                int column = Array.IndexOf(table[0], title);
                named.Add(title);
                foreach (var (row, filter) in rows.Zip(filters).Where(r => r.Second != "-"))
                {
                    var where = string.Join(" & ", what[1..].Prepend(filter));
                    var difference =
                        column < 0
                            ? "there is no such column"
                            : Difference(Numbers(row[column]), Evaluate(what[0], file, Select(file, where)));
                    if (difference is not null)
                        yield return $"{title}, {where} in {file}: {difference}";
                }
            }
        }
        for (int c = 0; strict && c < table[0].Length; c++)
        {
            if (!named.Contains(table[0][c]) && rows.Any(r => c < r.Length && Numbers(r[c]).Any(n => n.Contains('.'))))
                yield return $"the column {table[0][c]} names no record";
        }
    }

    /// <summary>Why the numbers that stand there are not those of the file; null: they are.</summary>
    private static string? Difference(IReadOnlyList<string> found, List<double> expected) =>
        found.Count == expected.Count && found.Zip(expected).All(n => IsRounded(n.First, n.Second))
            ? null
            : $"found {string.Join(' ', found)}; the record has "
                + string.Join(' ', expected.Select(e => e.ToString("G6", CultureInfo.InvariantCulture)));

    private static bool IsRounded(string text, double number)
    {
        double given = double.Parse(text, CultureInfo.InvariantCulture);
        int power = text.IndexOf('e') is > 0 and var e ? int.Parse(text[(e + 1)..], CultureInfo.InvariantCulture) : 0;
        int decimals = text.Split('e')[0] is var m && m.Contains('.') ? m.Length - m.IndexOf('.') - 1 : 0;
        return Math.Abs(given - number) <= 0.5 * Math.Pow(10, power - decimals) * (1 + 1e-6);
    }

    /// <summary>The numbers in a text, as .NET writes them.</summary>
    private static List<string> Numbers(string text) =>
        [
            .. Number()
                .Matches(text)
                .Select(m => m.Value.Replace("−", "-").Replace(",", "", StringComparison.Ordinal).ToLowerInvariant()),
        ];

    private static List<double> Evaluate(string what, string file, List<Dictionary<string, string>> records)
    {
        var numbers = new List<double>();
        if (records.Count == 0)
            throw new AssertionException($"{file} has no such record for {what}");
        foreach (var part in what.Split("; "))
        {
            var words = part.Split(' ', 2);
            bool ruled = words.Length == 2 && Rules.Contains(words[0]);
            var key = ruled ? words[1] : part;
            double factor = key.EndsWith("*100", StringComparison.Ordinal) ? 100 : 1;
            key = factor == 1 ? key : key[..^4];
            if (!records.All(r => r.ContainsKey(key)))
                throw new AssertionException($"{file} has no {key}");
            var values = records
                .SelectMany(r => Numbers(r[key]).Take(words[0] == "first" ? 1 : int.MaxValue))
                .Select(n => double.Parse(n, CultureInfo.InvariantCulture))
                .ToList();
            if (values.Count > 0)
                numbers.AddRange(Ruled(ruled ? words[0] : "", values).Select(v => v * factor));
        }
        return numbers;
    }

    private static IEnumerable<double> Ruled(string rule, List<double> values)
    {
        double mean = values.Average();
        var sorted = values.Order().ToList();
        return rule switch
        {
            "mean" => [mean],
            "sd" => values.Count < 2 ? [] : [Math.Sqrt(values.Sum(v => (v - mean) * (v - mean)) / (values.Count - 1))],
            "median" => [(sorted[(values.Count - 1) / 2] + sorted[values.Count / 2]) / 2],
            "min" => [sorted[0]],
            "max" => [sorted[^1]],
            "range" => sorted[0] == sorted[^1] ? [sorted[0]] : [sorted[0], sorted[^1]],
            _ => values,
        };
    }

    /// <summary>The records of a file for which all conditions hold: `a=1 &amp; b=x`; all for none.</summary>
    private List<Dictionary<string, string>> Select(string file, string where)
    {
        if (!_files.TryGetValue(file, out var all))
            _files[file] = all = [.. Read(file)];
        var conditions = where
            .Split(" & ", StringSplitOptions.RemoveEmptyEntries)
            .Select(c => c.Split('=', 2))
            .ToList();
        return [.. all.Where(r => conditions.All(c => r.TryGetValue(c[0], out var v) && Is(v, c[1])))];
    }

    /// <summary>Whether a value is what is asked for, or begins with it if that ends in `*`.</summary>
    private static bool Is(string value, string asked) =>
        asked.EndsWith('*') ? value.StartsWith(asked[..^1], StringComparison.Ordinal) : value == asked;

    private IEnumerable<Dictionary<string, string>> Read(string file)
    {
        if (Path.GetFileName(file).StartsWith('*'))
        {
            return Directory
                .GetFiles(Path.Combine(folder, Path.GetDirectoryName(file)!), Path.GetFileName(file))
                .Order(StringComparer.Ordinal)
                .Select(f => Flat(JsonNode.Parse(File.ReadAllText(f)), Path.GetFileName(f)));
        }
        var parts = file.Split('#');
        var text = File.ReadAllText(Path.Combine(folder, parts[0]));
        var lines = text.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        if (parts.Length > 1)
        {
            var node = JsonNode.Parse(text);
            foreach (var key in parts[1].Split('.'))
                node = node![key];
            return (node as JsonArray ?? [node!.DeepClone()]).Select(n => Flat(n));
        }
        return Path.GetExtension(file) switch
        {
            ".jsonl" => lines.Select(l => Flat(JsonNode.Parse(l))),
            ".md" => Tables(lines),
            _ => lines.Skip(1).Select(l => Record(Fields(lines[0]), Fields(l))),
        };
    }

    private static Dictionary<string, string> Record(string[] keys, string[] values) =>
        keys.Zip(values).DistinctBy(p => p.First).ToDictionary(p => p.First, p => p.Second);

    private static IEnumerable<Dictionary<string, string>> Tables(string[] lines)
    {
        string[]? heading = null;
        foreach (var line in lines)
        {
            if (!line.StartsWith('|'))
                heading = null;
            else if (heading is null)
                heading = Cells(line);
            else if (!line.StartsWith("|:--", StringComparison.Ordinal))
                yield return Record(heading, Cells(line));
        }
    }

    private static Dictionary<string, string> Flat(JsonNode? node, string file = "")
    {
        var record = new Dictionary<string, string> { ["file"] = file };
        void Add(string key, JsonNode? value)
        {
            string Under(string inner) => key.Length == 0 ? inner : $"{key}.{inner}";
            if (value is JsonObject members)
                members.ToList().ForEach(p => Add(Under(p.Key), p.Value));
            else if (value is JsonArray list)
                list.Index().ToList().ForEach(p => Add(Under($"{p.Index}"), p.Item));
            else
                record[key] = value?.ToString() ?? "";
        }
        Add("", node);
        return record;
    }

    private static string[] Cells(string line) => [.. Bar().Split(line.Trim()[1..].TrimEnd('|')).Select(c => c.Trim())];

    private static string[] Fields(string line) =>
        [
            .. Field()
                .Matches(line)
                .Select(m => m.Groups[1].Value.Trim('"').Replace("\"\"", "\"", StringComparison.Ordinal)),
        ];

    /// <summary>A number; the minus is the typographic one, or stands where none is a hyphen.</summary>
    [GeneratedRegex(@"(?<![\w.])(−|-(?=\d))?\d[\d,]*(?<!,)(\.\d+)?([eE]-?\d+)?(?![\w])")]
    private static partial Regex Number();

    [GeneratedRegex(@"<!--\s*=\s*([^>]+?)\sof\s(\S+)(?:\swhere\s([^>]+?))?\s*-->")]
    private static partial Regex Inline();

    /// <summary>What stands between two cells.</summary>
    [GeneratedRegex(@"(?<!\\)\|")]
    private static partial Regex Bar();

    [GeneratedRegex("```.*?```|`[^`\n]*`", RegexOptions.Singleline)]
    private static partial Regex Code();

    [GeneratedRegex("<!--.*?-->", RegexOptions.Singleline)]
    private static partial Regex Comment();

    [GeneratedRegex("""(?:^|,)("(?:[^"]|"")*"|[^,]*)""")]
    private static partial Regex Field();
}
