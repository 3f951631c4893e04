using EmtTorch.Analysis;
using EmtTorch.Analysis.Charts;
using EmtTorch.Analysis.Runs;
using EmtTorch.Settings;
using static EmtTorch.Analysis.Charts.Channel;

namespace EmtTorch.Reports;

/// <summary>Several runs side by side: a table that sorts, and for each number that was found a dot a run.</summary>
public static class ComparisonPage
{
    /// <summary>Writes the page's text.</summary>
    /// <param name="title">The page's heading.</param>
    /// <param name="analyses">The runs, in the order in which they are first shown.</param>
    /// <param name="links">The path of each run's report, relative to the page.</param>
    /// <returns>The HTML file's text.</returns>
    public static string Render(string title, IReadOnlyList<RunAnalysis> analyses, IReadOnlyList<string> links) =>
        Render(title, [.. analyses.Zip(links, (a, link) => a.Row with { Link = link })]);

    internal static string Render(string title, IReadOnlyList<ComparisonRow> rows)
    {
        rows = SeedsInOrder(rows);
        var page = new Page(title);
        page.Add($"<header><h1>{Page.Escape(title)}</h1></header>");
        page.Add(
            Table.Html(
                ComparisonTable.Columns(rows),
                rows,
                $"{rows.Count} runs. A column's heading sorts by it.",
                " class=\"sortable\""
            )
        );
        page.Add("<h2>By run</h2>\n<div class=\"pair\">");
        foreach (var (path, finding) in ComparisonTable.Found(rows))
        {
            if (Dots(rows, path, finding) is { } figure)
                page.Add(figure);
        }
        page.Add("</div>");
        return page.Render();
    }

    /// <summary>The rows as they come, but the seeds of one configuration in the order of their numbers.</summary>
    private static List<ComparisonRow> SeedsInOrder(IReadOnlyList<ComparisonRow> rows) =>
        [.. rows.GroupBy(row => RunLabels.WithoutSeed(row.Name)).SelectMany(g => g.OrderBy(row => row.Seed))];

    /// <summary>A dot for each run that has the number; null if none has.</summary>
    private static Figure? Dots(IReadOnlyList<ComparisonRow> rows, string path, Finding finding)
    {
        double? Value(ComparisonRow row) => row.Findings.GetValueOrDefault(path)?.Value;
        var finite = rows.Where(row => Value(row) is double v && double.IsFinite(v)).ToList();
        if (finite.Count == 0)
            return null;
        var labels = RunLabels.Create(rows);
        var lines = finite.Select(row => labels[row]).ToList();
        double? chance =
            path == "test_accuracy" && finite.Select(row => row.Chance).Distinct().Count() == 1
                ? finite[0].Chance
                : null;
        var tasks = Coloured("task", [.. finite.Select(row => row.Task ?? "no task").Distinct()], columns: 2);
        bool share = finding.Format.StartsWith('P') && finite.All(row => Value(row) is >= 0.5 and <= 1);
        int left = rows.Count - finite.Count;
        var caption = finding.Meaning is { } meaning ? $"{char.ToUpperInvariant(meaning[0])}{meaning[1..]}." : "";
        return new Chart
        {
            Height = 20 * lines.Distinct().Count(),
            Layers =
            [
                .. Chart.Chance(chance, across: true),
                new()
                {
                    Rows = finite.Select(
                        (row, i) =>
                            new
                            {
                                run = lines[i],
                                task = row.Task ?? "no task",
                                v = Value(row),
                            }
                    ),
                    Mark = Mark.Dots(70) with { Tooltip = true },
                    X = new("v", finding.Heading)
                    {
                        Scale =
                            path == "test_accuracy" ? Scale.Accuracy(chance, finite.Select(Value))
                            : share ? Scale.Share
                            : Scale.FromZero,
                        Axis = Axis.Few,
                    },
                    Y = Named("run") with { Scale = new(Domain: lines.Distinct()), Axis = Axis.LongNames },
                    Color = tasks,
                    Shape = tasks.Field is null ? null : tasks with { Scale = new(Domain: tasks.Scale!.Domain) },
                },
            ],
        }.Figure(
            path.Replace('_', '-').Replace('.', '-'),
            $"{char.ToUpperInvariant(finding.Heading[0])}{finding.Heading[1..]}",
            left == 0 ? caption : $"{caption} {left} of {rows.Count} runs have no value.".TrimStart()
        );
    }
}
