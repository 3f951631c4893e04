using EmtTorch.Analysis;
using EmtTorch.Analysis.Charts;
using EmtTorch.Analysis.Runs;
using EmtTorch.Settings;
using static EmtTorch.Analysis.Charts.Channel;

namespace EmtTorch.Reports;

/// <summary>Several runs side by side: a table to sort, and a dot for each run.</summary>
public static class ComparisonPage
{
    /// <param name="title">The page's heading.</param>
    /// <param name="rows">The runs, in the order in which they are first shown.</param>
    /// <returns>The HTML file's text.</returns>
    public static string Render(string title, IReadOnlyList<ComparisonRow> rows)
    {
        rows = SeedsInOrder(rows);
        var page = new Page(title);
        page.Add($"<header><h1>{Page.Escape(title)}</h1></header>");
        string counts = rows.Any(row => row.CountTheory is not null || row.CountLearned is not null)
            ? " Eigenvalues above the threshold are counted."
            : "";
        page.Add(
            Table.Html(
                Table.Filled(ComparisonTable.Columns, rows),
                rows,
                $"{rows.Count} runs. A column's heading sorts by it.{counts}",
                " class=\"sortable\""
            )
        );
        page.Add("<h2>By run</h2>\n<div class=\"pair\">");
        if (rows.Any(row => row.StateBytes is null)) // a transformer has none of these
        {
            Dots(page, rows, "spectral-error", "Spectral error", "radians", row => row.SpectralError);
            Dots(page, rows, "phi-error", "Φ error", "Φ error", row => row.PhiError);
            Dots(
                page,
                rows,
                "intervention-accuracy",
                "Intervention accuracy",
                "accuracy",
                row => row.InterventionAccuracy
            );
        }
        Dots(page, rows, "test-accuracy", "Test accuracy", "accuracy", row => row.TestAccuracy);
        if (rows.Any(row => row.BitsPerCharacter is not null))
            Dots(page, rows, "bits-per-character", "Bits per character", "bits", row => row.BitsPerCharacter);
        if (rows.Any(row => row.ReadsRight is not null))
        {
            const string Title = "Questions at which the asked pair gives the most of a read";
            Dots(page, rows, "reads-right", Title, "share", row => row.ReadsRight);
        }

        page.Add("</div>");
        return page.Render();
    }

    /// <summary>The rows as they come, but the seeds of one configuration in the order of their numbers.</summary>
    private static List<ComparisonRow> SeedsInOrder(IReadOnlyList<ComparisonRow> rows) =>
        [.. rows.GroupBy(row => RunLabels.WithoutSeed(row.Name)).SelectMany(g => g.OrderBy(row => row.Seed))];

    private static void Dots(
        Page page,
        IReadOnlyList<ComparisonRow> rows,
        string id,
        string title,
        string axis,
        Func<ComparisonRow, double?> value
    )
    {
        var finite = rows.Where(row => value(row) is double v && double.IsFinite(v)).ToList();
        if (finite.Count == 0)
        {
            page.Missing(title, "no run has a value.");
            return;
        }
        var labels = RunLabels.Create(rows);
        var lines = finite.Select(row => labels[row]).ToList();
        double? chance =
            axis == "accuracy" && finite.Select(row => row.Chance).Distinct().Count() == 1 ? finite[0].Chance : null;
        var tasks = Coloured("task", [.. finite.Select(row => row.Task ?? "no task").Distinct()], columns: 2);
        int left = rows.Count - finite.Count;
        page.Add(
            new Chart
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
                                    v = value(row),
                                }
                        ),
                        Mark = Mark.Dots(70) with { Tooltip = true },
                        X = new("v", axis)
                        {
                            Scale = axis switch
                            {
                                "accuracy" => Scale.Accuracy(chance, finite.Select(value)),
                                "share" => Scale.Share,
                                _ => Scale.FromZero,
                            },
                            Axis = Axis.Few,
                        },
                        Y = Named("run") with { Scale = new(Domain: lines.Distinct()), Axis = Axis.LongNames },
                        Color = tasks,
                        Shape = tasks.Field is null ? null : tasks with { Scale = new(Domain: tasks.Scale!.Domain) },
                    },
                ],
            }.Figure(id, title, left == 0 ? "" : $"{left} of {rows.Count} runs have no value.")
        );
    }
}
