using System.Globalization;
using System.Text;
using EmtTorch.Analysis;
using EmtTorch.Analysis.Charts;
using EmtTorch.Analysis.Runs;

namespace EmtTorch.Reports;

/// <summary>Several runs side by side: a table to sort, and a dot for each run.</summary>
public static class ComparisonPage
{
    private sealed record Column(
        string Title,
        bool Numeric,
        Func<ComparisonRow, string?> Shown,
        Func<ComparisonRow, double?>? Key = null
    );

    private static readonly Column[] Columns =
    [
        new("Task", false, row => row.Task),
        new("Seed", true, row => row.Seed?.ToString(), row => row.Seed),
        new("H", true, row => row.HiddenSize?.ToString(), row => row.HiddenSize),
        new(
            "Test accuracy",
            true,
            row => row.TestAccuracy is null ? null : NumberText.Percent(row.TestAccuracy),
            row => row.TestAccuracy
        ),
        new("Grounding", false, row => row.Grounding),
        new(
            "Spectral error (rad)",
            true,
            row => row.SpectralError is null ? null : NumberText.Number(row.SpectralError),
            row => row.SpectralError
        ),
        new("Count, theory", true, row => row.CountTheory?.ToString(), row => row.CountTheory),
        new("Count, network", true, row => row.CountLearned?.ToString(), row => row.CountLearned),
        new(
            "Live entries",
            true,
            row => row.LiveEntries is null ? null : NumberText.Number(row.LiveEntries),
            row => row.LiveEntries
        ),
        new("Φ error", true, row => row.PhiError is null ? null : NumberText.Number(row.PhiError), row => row.PhiError),
        new(
            "Intervention accuracy",
            true,
            row => row.InterventionAccuracy is null ? null : NumberText.Percent(row.InterventionAccuracy),
            row => row.InterventionAccuracy
        ),
        new(
            "Bits per character",
            true,
            row => row.BitsPerCharacter is null ? null : NumberText.Number(row.BitsPerCharacter),
            row => row.BitsPerCharacter
        ),
        new(
            "Reads right",
            true,
            row => row.ReadsRight is null ? null : NumberText.Percent(row.ReadsRight),
            row => row.ReadsRight
        ),
        new(
            "Effective rank",
            true,
            row => row.EffectiveRank is null ? null : NumberText.Number(row.EffectiveRank),
            row => row.EffectiveRank
        ),
        new("State, bytes", true, row => row.StateBytes?.ToString(), row => row.StateBytes),
        new("Problems", true, row => row.Problems?.ToString(), row => row.Problems),
    ];

    /// <param name="title">The page's heading.</param>
    /// <param name="rows">The runs, in the order in which they are first shown.</param>
    /// <returns>The HTML file's text.</returns>
    public static string Render(string title, IReadOnlyList<ComparisonRow> rows)
    {
        var page = new Page(title);
        page.Add($"<header><h1>{Page.Escape(title)}</h1></header>");
        page.Add(Table(rows));
        page.Add("<h2>By run</h2>\n<div class=\"pair\">");
        bool circuits = rows.Any(row => row.StateBytes is null); // a transformer has none of these
        if (circuits)
            Dots(page, rows, "spectral-error", "Spectral error", "radians", false, row => row.SpectralError);
        if (circuits)
            Dots(page, rows, "phi-error", "Φ error", "Φ error", false, row => row.PhiError);
        if (circuits)
        {
            Dots(
                page,
                rows,
                "intervention-accuracy",
                "Intervention accuracy",
                "accuracy",
                true,
                row => row.InterventionAccuracy
            );
        }

        Dots(page, rows, "test-accuracy", "Test accuracy", "accuracy", true, row => row.TestAccuracy);
        if (rows.Any(row => row.BitsPerCharacter is not null))
            Dots(page, rows, "bits-per-character", "Bits per character", "bits", false, row => row.BitsPerCharacter);
        if (rows.Any(row => row.ReadsRight is not null))
        {
            Dots(
                page,
                rows,
                "reads-right",
                "Questions at which the asked pair gives the most of a read",
                "share",
                true,
                row => row.ReadsRight
            );
        }

        page.Add("</div>");
        return page.Render();
    }

    private static string Table(IReadOnlyList<ComparisonRow> rows)
    {
        // What no run has is left out.
        var columns = Columns.Where(column => rows.Any(row => column.Shown(row) is not null)).ToList();
        string counts = rows.Any(row => row.CountTheory is not null || row.CountLearned is not null)
            ? " The counts are of eigenvalues above the threshold."
            : "";
        var html = new StringBuilder(
            $"""<div class="scroll"><table class="sortable"><caption>{rows.Count} runs. A column's heading sorts by it.{counts}</caption><thead><tr><th scope="col"><button type="button">Run</button></th>"""
        );
        foreach (var column in columns)
        {
            html.Append(
                $"""<th scope="col"{(column.Numeric ? " class=\"number\"" : "")}><button type="button">{Page.Escape(column.Title)}</button></th>"""
            );
        }

        html.Append("</tr></thead>\n<tbody>\n");
        foreach (var row in rows)
        {
            string name = Page.Escape(row.Name);
            html.Append(
                $"""<tr><th scope="row">{(row.Link is null ? name : $"<a href=\"{Page.Escape(row.Link)}\">{name}</a>")}</th>"""
            );
            foreach (var column in columns)
            {
                string shown = Page.Escape(column.Shown(row) ?? "–");
                html.Append(
                    column.Key is null
                        ? $"<td data-value=\"{Page.Escape(column.Shown(row))}\">{shown}</td>"
                        : $"<td class=\"number\" data-value=\"{Key(column.Key(row))}\">{shown}</td>"
                );
            }
            html.Append("</tr>\n");
        }
        return html.Append("</tbody></table></div>").ToString();
    }

    private static string Key(double? value) =>
        value is double v && double.IsFinite(v) ? v.ToString("R", CultureInfo.InvariantCulture) : "";

    private static void Dots(
        Page page,
        IReadOnlyList<ComparisonRow> rows,
        string id,
        string title,
        string axis,
        bool share,
        Func<ComparisonRow, double?> value
    )
    {
        var finite = rows.Where(row => value(row) is double v && double.IsFinite(v)).ToList();
        if (finite.Count == 0)
        {
            page.Missing(title, "no run has a value.");
            return;
        }
        // Runs of one name differ in their seed, or share a line.
        var twice = rows.GroupBy(row => row.Name)
            .Where(group => group.Count() > 1)
            .Select(group => group.Key)
            .ToHashSet();
        var lines = finite
            .Select(row => twice.Contains(row.Name) && row.Seed is not null ? $"{row.Name}, seed {row.Seed}" : row.Name)
            .ToList();
        var values = finite.Select(
            (row, i) =>
                $$"""
                    {"run":{{CompactJson.Text(lines[i])}},"task":{{CompactJson.Text(
                        row.Task ?? "no task"
                    )}},"v":{{CompactJson.Number(value(row))}}}
                    """.Trim()
        );
        bool colours = finite.Select(row => row.Task).Distinct().Count() > 1;
        // Where every run is good, the axis shows how good.
        double least = Math.Clamp(Math.Floor(10 * finite.Min(row => value(row)!.Value) - 0.5) / 10, 0, 0.9);
        int left = rows.Count - finite.Count;
        page.Add(
            new Figure(
                id,
                title,
                left == 0 ? "" : $"{left} of {rows.Count} runs have no value.",
                CompactJson.Object(
                    $$"""
                    {
                      "width": "container", "height": {{20 * lines.Distinct().Count()}},
                      "data": {"values": {{CompactJson.Array(values)}}},
                      "mark": {"type": "point", "filled": true, "size": 70, "opacity": 0.9, "tooltip": true},
                      "encoding": {
                        "x": {"field": "v", "type": "quantitative", "title": "{{axis}}", "scale": {{(
                        share
                            ? $$"""{"domain": [{{CompactJson.Number(least)}}, 1], "clamp": true}"""
                            : """{"zero": true}"""
                    )}}, "axis": {"tickCount": 5} },
                        "y": {"field": "run", "type": "nominal", "title": null, "sort": null, "axis": {"grid": true, "labelLimit": 150, "ticks": false, "labelPadding": 8} },
                        "color": {{(
                        colours
                            ? """{"field": "task", "type": "nominal", "legend": {"title": null, "orient": "bottom", "columns": 2} }"""
                            : """{"value": "#0072b2"}"""
                    )}},
                        "shape": {{(
                        colours
                            ? """{"field": "task", "type": "nominal", "legend": {"title": null, "orient": "bottom", "columns": 2} }"""
                            : """{"value": "circle"}"""
                    )}}
                      }
                    }
                    """
                )
            )
        );
    }
}
