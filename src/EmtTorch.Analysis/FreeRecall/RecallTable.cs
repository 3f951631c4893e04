using System.Globalization;
using EmtTorch.Settings;
using nietras.SeparatedValues;

namespace EmtTorch.Analysis.FreeRecall;

/// <summary>
/// A table of free recall as the field has it: one row for each studied and each recalled item, with the columns
/// subject, list, position, trial_type (study or recall) and item, and any others. Fields are separated by commas,
/// semicolons or tabs.
/// </summary>
/// <remarks>
/// Recalls are matched to the studied items of their list by name. A name that was recalled before is a repeat; one
/// that is not in the list is an intrusion.
/// </remarks>
/// <example><code>
/// var table = RecallTable.Read("recalls.csv");
/// var analysis = RecallAnalysis.Of(table.Lists);
/// Console.WriteLine(analysis.Curve("temporal_factor").Means[0]);
/// </code></example>
public sealed class RecallTable
{
    private static readonly string[] Required = ["subject", "list", "position", "trial_type", "item"];

    private const int LongestList = 1000;

    private RecallTable(IReadOnlyList<RecallList> lists) => Lists = lists;

    /// <summary>The lists, in the order in which they first come in the table.</summary>
    public IReadOnlyList<RecallList> Lists { get; }

    /// <summary>Reads a table.</summary>
    /// <param name="path">The file.</param>
    /// <exception cref="ConfigurationException">There are problems: all of them, each with its line.</exception>
    public static RecallTable Read(string path)
    {
        var problems = new List<ConfigurationProblem>();
        var rows = ReadRows(path, problems);
        var lists = problems.Count > 0 ? [] : Match(rows, path, problems);
        return problems.Count > 0 ? throw new ConfigurationException(problems) : new(lists);
    }

    private sealed record Row(
        int Line,
        string Subject,
        int List,
        int Position,
        bool IsStudy,
        string Item,
        IReadOnlyDictionary<string, string> Columns
    );

    private static List<Row> ReadRows(string path, List<ConfigurationProblem> problems)
    {
        var rows = new List<Row>();
        try
        {
            using var file = InputFile.Open(path);
            using var reader = Sep.Reader(o =>
                    o with
                    {
                        Unescape = true,
                        DisableColCountCheck = true,
                        Trim = SepTrim.All,
                    }
                )
                .From(file);
            var names = reader.Header.ColNames;
            var missing = Required.Except(names).ToList();
            if (missing.Count > 0)
            {
                problems.Add(
                    new(path, $"has no column {string.Join(", ", missing)}; found: {string.Join(", ", names)}")
                );
                return rows;
            }
            var fields = names.Zip(Enumerable.Range(0, names.Count)).ToDictionary(f => f.First, f => f.Second);
            foreach (var row in reader)
            {
                if (row.ColCount == 1 && row[0].Span.IsEmpty)
                    continue;
                var found = new List<string>();
                if (row.ColCount != names.Count)
                    found.Add($"{row.ColCount} fields, but the heading has {names.Count}");
                else if (Parse(row, fields, found) is { } parsed)
                    rows.Add(parsed);
                int line = row.LineNumberFrom;
                problems.AddRange(found.Select(f => new ConfigurationProblem($"{path}, line {line}", f)));
            }
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            problems.Add(new(path, "there is no such file"));
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
            problems.Add(new(path, $"can't be read: {e.Message}"));
        }
        if (rows.Count == 0 && problems.Count == 0)
            problems.Add(new(path, "has no rows"));
        return rows;
    }

    private static Row? Parse(SepReader.Row row, Dictionary<string, int> fields, List<string> problems)
    {
        int before = problems.Count;
        var texts = new string[fields.Count];
        for (int i = 0; i < texts.Length; i++)
            texts[i] = row[i].ToString();
        int Number(string name)
        {
            var text = texts[fields[name]];
            // Tables that pandas wrote may have 3.0.
            if (
                double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double number)
                && number == Math.Floor(number)
                && number is >= 1 and <= int.MaxValue
            )
            {
                return (int)number;
            }
            problems.Add($"{name} is '{text}': a whole number from 1 on is needed");
            return 0;
        }
        var (list, position) = (Number("list"), Number("position"));
        if (position > LongestList)
            problems.Add($"position is {position}: a list has at most {LongestList}");
        var kind = texts[fields["trial_type"]];
        if (kind is not ("study" or "recall"))
            problems.Add($"trial_type is '{kind}': study or recall is needed");
        foreach (var name in new[] { "subject", "item" })
        {
            if (texts[fields[name]].Length == 0)
                problems.Add($"{name} is empty");
        }
        if (problems.Count > before)
            return null;
        var others = fields.Where(f => !Required.Contains(f.Key)).ToDictionary(f => f.Key, f => texts[f.Value]);
        return new(
            row.LineNumberFrom,
            texts[fields["subject"]],
            list,
            position,
            kind == "study",
            texts[fields["item"]],
            others
        );
    }

    private static List<RecallList> Match(List<Row> rows, string path, List<ConfigurationProblem> problems)
    {
        var lists = new List<RecallList>();
        foreach (var subject in rows.GroupBy(r => r.Subject))
        {
            var studied = subject.Where(r => r.IsStudy).ToLookup(r => r.Item, r => r.List);
            foreach (var list in subject.GroupBy(r => r.List))
            {
                foreach (var kind in list.GroupBy(r => r.IsStudy))
                    FindDoubles(kind, path, problems);
                if (problems.Count == 0)
                    lists.Add(Match(subject.Key, list.Key, [.. list.OrderBy(r => r.Position)], studied));
            }
        }
        return lists;
    }

    private static void FindDoubles(IGrouping<bool, Row> rows, string path, List<ConfigurationProblem> problems)
    {
        var what = rows.Key ? "study" : "recall";
        foreach (var same in rows.GroupBy(r => r.Position).Where(g => g.Count() > 1))
        {
            var (first, second) = (same.First(), same.ElementAt(1));
            problems.Add(
                new(
                    $"{path}, line {second.Line}",
                    $"{what} position {same.Key} of subject {first.Subject}, list {first.List}, is there twice (line "
                        + $"{first.Line})"
                )
            );
        }
        if (!rows.Key)
            return;
        foreach (var same in rows.GroupBy(r => r.Item).Where(g => g.Count() > 1))
        {
            var (first, second) = (same.First(), same.ElementAt(1));
            problems.Add(
                new(
                    $"{path}, line {second.Line}",
                    $"'{same.Key}' is studied twice by subject {first.Subject} in list {first.List} (line "
                        + $"{first.Line}): a recall could be of either"
                )
            );
        }
    }

    private static RecallList Match(string subject, int number, List<Row> rows, ILookup<string, int> studied)
    {
        var study = rows.Where(r => r.IsStudy)
            .ToDictionary(r => r.Item, r => new StudiedItem(r.Position, r.Item, r.Columns));
        var recalled = new Dictionary<string, int>();
        var recalls = new List<RecalledItem>();
        foreach (var row in rows.Where(r => !r.IsStudy))
        {
            int repeat = recalled.GetValueOrDefault(row.Item);
            recalled[row.Item] = repeat + 1;
            var item = study.GetValueOrDefault(row.Item);
            recalls.Add(new(row.Item, item, repeat, item is null ? [.. studied[row.Item]] : []));
        }
        // Many tables have a list's columns in its study rows alone.
        var telling = study.Count > 0 ? rows.FindAll(r => r.IsStudy) : rows;
        var shared = telling[0].Columns.Where(c => telling.TrueForAll(r => r.Columns[c.Key] == c.Value)).ToDictionary();
        return new(subject, number, [.. study.Values.OrderBy(s => s.Position)], recalls, shared);
    }
}
