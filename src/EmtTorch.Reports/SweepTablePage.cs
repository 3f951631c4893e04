using System.Globalization;
using System.Text;
using EmtTorch.Analysis.Charts;
using EmtTorch.Settings;
using EmtTorch.Studies;

namespace EmtTorch.Reports;

/// <summary>A sweep's table as a page: beside the published results, each seed's figures, and how spectral errors go on as training does.</summary>
public static class SweepTablePage
{
    /// <summary>More points of curves than this are thinned evenly, to keep the page light.</summary>
    private const int PointLimit = 60_000;

    /// <returns>The HTML file's text.</returns>
    public static string Render(SweepTable table)
    {
        var page = new Page(table.Folder.Name);
        page.Add($"<header><h1>{Page.Escape(table.Folder.Name)}</h1></header>");
        if (table.Folder.Description.Length > 0)
            page.Add($"<p>{Page.Escape(table.Folder.Description)}</p>");
        page.Add($"<p>{Page.Escape(table.Progress)}.</p>");
        var parts = SweepTableText.Parts(table).ToList();
        Add(page, table, parts[0]);
        if (table.OnTokens)
        {
            page.Add("<div class=\"pair\">");
            Strip(
                page,
                table,
                "accuracy",
                "Accuracy by seed",
                "accuracy",
                log: false,
                s => s.Accuracy,
                c => c.Accuracy,
                _ => null,
                "Each seed's highest."
            );
            Strip(
                page,
                table,
                "loss",
                "Test loss by seed",
                "test loss",
                log: true,
                s => s.Best?.Loss,
                c => c.Losses?.Mean,
                _ => null,
                "Each seed's lowest."
            );
            if (table.OnText)
            {
                Strip(
                    page,
                    table,
                    "bits",
                    "Bits per character by seed",
                    "bits per character",
                    log: true,
                    s => s.Best?.Analysis.BitsPerCharacter,
                    c => c.Bits?.Mean,
                    _ => null,
                    "On the part of the text that is kept for the test."
                );
            }

            page.Add("</div>");
            foreach (var part in parts[1..])
                Add(page, table, part);
            page.Add($"<p>{Page.Escape(SweepTableText.Time(table))}</p>");
            return page.Render();
        }
        page.Add("<div class=\"pair\">");
        Strip(
            page,
            table,
            "spectral-error",
            "Spectral error by seed",
            "spectral error (rad)",
            log: true,
            s => s.Best?.Analysis.SpectralError,
            c => c.SpectralError,
            p => p?.SpectralError,
            "Each seed's lowest. The mean is drawn where every seed has converged."
        );
        Strip(
            page,
            table,
            "accuracy",
            "Accuracy by seed",
            "accuracy",
            log: false,
            s => s.Accuracy,
            c => c.Accuracy,
            p => p?.Accuracy,
            "Each seed's highest."
        );
        page.Add("</div>");
        Add(page, table, parts[1]);
        Courses(page, table);
        Gains(page, table);
        foreach (var part in parts[2..])
            Add(page, table, part);
        page.Add($"<p>{Page.Escape(SweepTableText.Time(table))}</p>");
        return page.Render();
    }

    private static void Add(Page page, SweepTable table, SweepTableText.Part part)
    {
        var axes = SweepTableText.Axes(table);
        var html = new StringBuilder(
            $"<h2>{Page.Escape(part.Title)}</h2>\n{string.Concat(part.Captions.Select(c => $"<p>{Page.Escape(c)}</p>\n"))}<div class=\"scroll\"><table class=\"sortable\"><thead><tr>"
        );
        foreach (var column in axes.Concat(part.Columns))
        {
            html.Append(
                $"""<th scope="col"{(column.Key is null ? "" : " class=\"number\"")}><button type="button"{(column.Title.Length == 0 ? " aria-label=\"comparison\"" : "")}>{Page.Escape(column.Title)}</button></th>"""
            );
        }

        html.Append("</tr></thead>\n<tbody>\n");
        foreach (var cell in table.Cells)
        {
            html.Append("<tr>");
            foreach (var column in axes.Concat(part.Columns))
            {
                html.Append(
                    column.Key is null
                        ? $"<td>{Page.Escape(column.Text(cell))}</td>"
                        : $"<td class=\"number\" data-value=\"{column.Key(cell)?.ToString("R", CultureInfo.InvariantCulture)}\">{Page.Escape(column.Text(cell))}</td>"
                );
            }

            html.Append("</tr>\n");
        }
        page.Add(html.Append("</tbody></table></div>").ToString());
    }

    /// <summary>A line for each cell: a dot for each seed, their mean, and the published figure.</summary>
    private static void Strip(
        Page page,
        SweepTable table,
        string id,
        string title,
        string axis,
        bool log,
        Func<SeedFigures, double?> ofSeed,
        Func<SweepCell, double?> ofCell,
        Func<PublishedRow?, double?> ofPublished,
        string caption
    )
    {
        bool Drawn(double? value) => value is { } v && double.IsFinite(v) && (!log || v > 0);
        var values = new List<string>();
        var all = new List<double>();
        void Point(SweepCell cell, string of, double? value, long? seed = null)
        {
            if (!Drawn(value))
                return;
            all.Add(value!.Value);
            values.Add(
                $$"""{"cell":{{CompactJson.Text(table.Label(cell))}},"of":"{{of}}","v":{{CompactJson.Number(value)}}{{(seed is { } s ? $",\"seed\":{s}" : "")}}}"""
            );
        }
        foreach (var cell in table.Cells)
        {
            foreach (var seed in cell.Seeds)
                Point(cell, "seed", ofSeed(seed), seed.Seed);
            Point(cell, "mean", ofCell(cell));
            if (cell.Seeds.Any(s => Drawn(ofSeed(s))))
                Point(cell, "published", ofPublished(cell.Published));
        }
        if (all.Count == 0)
        {
            page.Missing(title, "no finished run has one.");
            return;
        }
        if (table.Axes.Count > 0)
            caption = $"A line for each {string.Join(", ", table.Axes.Select(table.Title))}. {caption}";
        int without = table.Cells.Sum(c => c.Seeds.Count(s => s.Best is not null && !Drawn(ofSeed(s))));
        if (without > 0)
            caption += $" {without} of {table.Cells.Sum(c => c.Best.Count)} seeds have none.";
        string[] kinds = table.Cells.Any(c => ofPublished(c.Published) is not null)
            ? ["seed", "mean", "published"]
            : ["seed", "mean"];
        // Where every run is good, the axis shows how good.
        double least = Math.Clamp(Math.Floor(10 * all.Min() - 0.5) / 10, 0, 0.9);
        string domain = CompactJson.Array(kinds.Select(k => CompactJson.Text(k)));
        string Range(params string[] range) =>
            CompactJson.Array(range[..kinds.Length].Select(r => CompactJson.Text(r)));
        page.Add(
            new Figure(
                id,
                title,
                caption,
                CompactJson.Object(
                    $$"""
                    {
                      "width": "container", "height": {{20 * table.Cells.Count}},
                      "data": {"values": {{CompactJson.Array(values)}}},
                      "mark": {"type": "point", "size": 60, "strokeWidth": 1.6, "opacity": 0.85, "tooltip": {"content": "data"} },
                      "encoding": {
                        "x": {"field": "v", "type": "quantitative", "title": {{CompactJson.Text(axis)}}, "scale": {{(
                        log
                            ? """{"type": "log", "nice": true}"""
                            : $$"""{"domain": [{{CompactJson.Number(least)}}, 1], "clamp": true}"""
                    )}}, "axis": {"tickCount": 5, "format": "~g"} },
                        "y": {"field": "cell", "type": "nominal", "title": null, "sort": null, "scale": {"domain": {{CompactJson.Array(
                        table.Cells.Select(table.Label).Distinct().Select(l => CompactJson.Text(l))
                    )}} }, "axis": {"grid": true, "labelLimit": 150, "ticks": false, "labelPadding": 8} },
                        "color": {"field": "of", "type": "nominal", "scale": {"domain": {{domain}}, "range": {{Range(
                        "#0072b2",
                        "#1b1f24",
                        "#d55e00"
                    )}} }, "legend": {"title": null, "orient": "bottom"} },
                        "shape": {"field": "of", "type": "nominal", "scale": {"domain": {{domain}}, "range": {{Range(
                        "circle",
                        "M0,-1V1",
                        "diamond"
                    )}} }, "legend": {"title": null, "orient": "bottom"} }
                      }
                    }
                    """
                )
            )
        );
    }

    /// <summary>A dot for each converged run: its gain, and its spectral error.</summary>
    private static void Gains(Page page, SweepTable table)
    {
        var runs = table
            .Cells.SelectMany(c => c.Runs.Select(r => (Cell: c, Run: r)))
            .Where(r => r.Run.Analysis is { Gain: > 0, SpectralError: > 0 })
            .ToList();
        if (runs.Count == 0)
            return;
        var points = runs.Select(r =>
            $$"""{"run":{{CompactJson.Text(r.Run.Name)}},"c":{{CompactJson.Text(r.Cell.Values.FirstOrDefault() ?? "")}},"g":{{CompactJson.Number(r.Run.Analysis.Gain)}},"v":{{CompactJson.Number(r.Run.Analysis.SpectralError)}}}"""
        );
        var colours = runs.Select(r => r.Cell.Values.FirstOrDefault() ?? "").Distinct().ToList();
        page.Add(
            new Figure(
                "gain",
                "Spectral error and gain",
                "Each converged run. The gain is how many times theory's 1 the magnitude of its persistent eigenvalues is; tanh takes it back by saturating.",
                CompactJson.Object(
                    $$"""
                    {
                      "width": "container", "height": 260,
                      "data": {"values": {{CompactJson.Array(points)}}},
                      "mark": {"type": "point", "size": 45, "opacity": 0.8},
                      "encoding": {
                        "x": {"field": "g", "type": "quantitative", "title": "gain", "scale": {"zero": false}, "axis": {"tickCount": 6} },
                        "y": {"field": "v", "type": "quantitative", "title": "spectral error (rad)", "scale": {"type": "log", "nice": true}, "axis": {"tickCount": 5, "format": "~g"} },
                        "color": {{(
                        colours.Count == 1
                            ? """{"value": "#0072b2"}"""
                            : $$"""{"field": "c", "type": "nominal", "scale": {"domain": {{CompactJson.Array(colours.Select(c => CompactJson.Text(c)))}} }, "legend": {"title": {{CompactJson.Text(table.Title(table.Axes[0]))}}, "orient": "bottom"} }"""
                    )}},
                        "tooltip": [{"field": "run"}, {"field": "g", "title": "gain", "format": ".3f"}, {"field": "v", "title": "spectral error", "format": ".3g"}]
                      }
                    }
                    """
                )
            )
        );
    }

    /// <summary>The spectral error at each test: a figure for each combination of the axes but the last, which the colours are of.</summary>
    private static void Courses(Page page, SweepTable table)
    {
        var best = Enumerable
            .Range(0, table.Folder.Axes.Count)
            .Where(i => table.Folder.BestOf.Contains(table.Folder.Axes[i].Key))
            .ToArray();
        var courses = table
            .Cells.SelectMany(c => c.Runs.Select(r => (Cell: c, Run: r)))
            .Where(r => r.Run.Tests.Any(t => t.SpectralError > 0))
            .ToList();
        if (courses.Count == 0)
        {
            page.Missing(
                "Spectral error over training",
                "no test found as many persistent eigenvalues as the circuit has."
            );
            return;
        }
        int stride = 1 + courses.Sum(r => r.Run.Tests.Count) / PointLimit;
        var errors = courses
            .SelectMany(r => r.Run.Tests)
            .Where(t => t.SpectralError > 0)
            .Select(t => t.SpectralError!.Value)
            .ToList();
        string y = $"[{CompactJson.Number(errors.Min())},{CompactJson.Number(errors.Max())}]";
        long steps = courses.Max(r => r.Run.Tests[^1].Step);
        string Colour(SweepCell cell) => cell.Values.Count == 0 ? "" : cell.Values[^1];
        string Dash(RunFigures run) => string.Join(", ", best.Select(i => run.Values[i]));
        string Domain(IEnumerable<string> names) =>
            CompactJson.Array(names.Distinct().Select(n => CompactJson.Text(n)));
        var colours = table.Cells.Select(Colour).Distinct().ToList();
        var dashes = table.Runs.Select(Dash).Distinct().ToList();
        var dashTitle = string.Join(", ", best.Select(i => table.Title(table.Folder.Axes[i])));
        var how =
            $"At each test of each run, on one scale. A line ends where the number of persistent eigenvalues is another than the circuit's.{(stride > 1 ? $" Every {stride}th test." : "")}";
        page.Add($"<h3>Spectral error over training</h3>\n<p>{Page.Escape(how)}</p>\n<div class=\"pair\">");
        var missing = new List<string>();
        foreach (var facet in table.Cells.GroupBy(c => string.Join(", ", c.Values.SkipLast(1))))
        {
            var name = facet.Key.Length > 0 ? facet.Key : table.Folder.Name;
            var runs = courses.Where(r => facet.Contains(r.Cell)).ToList();
            if (runs.Count == 0)
            {
                missing.Add(name);
                continue;
            }
            var lines = runs.Select(r =>
            {
                var tests = r.Run.Tests.Where((_, i) => i % stride == 0 || i == r.Run.Tests.Count - 1).ToList();
                return $$"""{"run":{{CompactJson.Text(r.Run.Name)}},"c":{{CompactJson.Text(Colour(r.Cell))}},"d":{{CompactJson.Text(Dash(r.Run))}},"s":[{{string.Join(',', tests.Select(t => t.Step))}}],"v":[{{string.Join(',', tests.Select(t => CompactJson.Number(t.SpectralError > 0 ? t.SpectralError : null)))}}]}""";
            });
            string Legend(string title) =>
                $$"""{"title": {{CompactJson.Text(title)}}, "orient": "bottom", "columns": 4}""";
            page.Add(
                new Figure(
                    "course-" + name.Replace(", ", "-", StringComparison.Ordinal),
                    name,
                    "",
                    CompactJson.Object(
                        $$"""
                        {
                          "width": "container", "height": 220,
                          "data": {"values": {{CompactJson.Array(lines)}}},
                          "transform": [{"flatten": ["s", "v"]}],
                          "mark": {"type": "line", "strokeWidth": 1.1, "opacity": 0.75, "clip": true, "invalid": "break-paths-filter-domains", "point": {{(
                            errors.Count < 1000 ? """{"size": 12}""" : "false"
                        )}}, "tooltip": true},
                          "encoding": {
                            "x": {"field": "s", "type": "quantitative", "title": "step", "scale": {"domain": [0, {{steps}}]}, "axis": {"format": "~s", "tickCount": 5} },
                            "y": {"field": "v", "type": "quantitative", "title": "spectral error (rad)", "scale": {"type": "log", "domain": {{y}}, "nice": true}, "axis": {"tickCount": 5, "format": "~g"} },
                            "detail": {"field": "run"},
                            "color": {{(
                            colours.Count == 1
                                ? """{"value": "#0072b2"}"""
                                : $$"""{"field": "c", "type": "nominal", "title": {{CompactJson.Text(table.Title(table.Axes[^1]))}}, "scale": {"domain": {{Domain(colours)}} }, "legend": {{Legend(table.Title(table.Axes[^1]))}} }"""
                        )}},
                            "strokeDash": {{(
                            dashes.Count == 1
                                ? """{"value": []}"""
                                : $$"""{"field": "d", "type": "nominal", "title": {{CompactJson.Text(dashTitle)}}, "scale": {"domain": {{Domain(dashes)}} }, "legend": {{Legend(dashTitle)}} }"""
                        )}},
                            "tooltip": [{"field": "run"}, {"field": "s", "title": "step"}, {"field": "v", "title": "spectral error", "format": ".3g"}]
                          }
                        }
                        """
                    )
                )
            );
        }
        page.Add("</div>");
        if (missing.Count > 0)
        {
            page.Missing(
                string.Join("; ", missing),
                "no test found as many persistent eigenvalues as the circuit has."
            );
        }
    }
}
