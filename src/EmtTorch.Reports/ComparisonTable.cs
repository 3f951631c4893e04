using System.Text;
using EmtTorch.Analysis;
using EmtTorch.Analysis.Runs;

namespace EmtTorch.Reports;

/// <summary>A comparison of runs as Markdown tables.</summary>
public static class ComparisonTable
{
    /// <summary>
    /// A line a run with a column for each number that some analysis found; below it the tables of the findings.
    /// </summary>
    /// <param name="analyses">The runs, in the order of the lines.</param>
    public static string Markdown(IReadOnlyList<RunAnalysis> analyses)
    {
        var text = new StringBuilder(Runs([.. analyses.Select(a => a.Row)]));
        var tables = analyses.SelectMany(a =>
            a.Findings.Values.Select(f => f.Table).OfType<FindingTable>().Select(t => (a.Row.Name, Table: t))
        );
        foreach (var same in tables.GroupBy(t => t.Table.Caption))
        {
            var rows = same.SelectMany(t => t.Table.Rows.Select(row => (t.Name, Cells: row))).ToList();
            if (rows.Count == 0)
                continue;
            text.Append($"\n{Table.Plain(same.Key)}\n\n")
                .Append(
                    Table.Markdown(
                        [
                            new("run", row => row.Name),
                            .. same.First()
                                .Table.Titles.Select(
                                    (title, i) =>
                                        new Column<(string Name, IReadOnlyList<string> Cells)>(
                                            title,
                                            row => row.Cells[i]
                                        )
                                        {
                                            Left = rows.Any(row =>
                                                row.Cells[i] is [var first, ..] && char.IsLetter(first)
                                            ),
                                        }
                                ),
                        ],
                        rows
                    )
                );
        }
        return text.ToString();
    }

    /// <summary>A column for what each run is, and one for each finding that some run has.</summary>
    internal static List<Column<ComparisonRow>> Columns(IReadOnlyList<ComparisonRow> rows) =>
        Table.Filled(
            [
                new("run", row => row.Name) { Link = row => row.Link },
                new("task", row => row.Task),
                new("seed", row => row.Seed, "0"),
                new("H", row => row.HiddenSize, "0"),
                .. Found(rows)
                    .Select(found => new Column<ComparisonRow>(
                        found.Value.Heading,
                        row =>
                            row.Findings.TryGetValue(found.Key, out var own)
                                ? own.Cell ?? NumberText.Fixed(own.Value, own.Format)
                                : null,
                        found.Value.Value is null ? null : row => row.Findings.GetValueOrDefault(found.Key)?.Value
                    )),
                new("notes", row => row.Problems, "0"),
            ],
            rows
        );

    /// <summary>The findings that are columns, each as the first run has it, by its place in analysis.json.</summary>
    internal static IEnumerable<KeyValuePair<string, Finding>> Found(IReadOnlyList<ComparisonRow> rows) =>
        rows.SelectMany(row => row.Findings).Where(f => f.Value.IsColumn).DistinctBy(f => f.Key);

    /// <summary>A line a run, without the seed, which the run's name tells.</summary>
    internal static string Runs(IReadOnlyList<ComparisonRow> rows) =>
        Table.Markdown([.. Columns(rows).Where(c => c.Title != "seed")], rows);
}
