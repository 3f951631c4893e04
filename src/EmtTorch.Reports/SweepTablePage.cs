using EmtTorch.Analysis;
using EmtTorch.Analysis.Charts;
using EmtTorch.Settings;
using EmtTorch.Studies;
using static EmtTorch.Analysis.Charts.Channel;

namespace EmtTorch.Reports;

/// <summary>
/// A sweep's table as a page: beside the published results, each seed's figures, and how spectral errors go on as
/// training does.
/// </summary>
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
        void Accuracies() =>
            Strip(
                page,
                table,
                "accuracy",
                "Accuracy by seed",
                "accuracy",
                log: false,
                s => s.Accuracy,
                c => c.Accuracy,
                c => c.Accuracies,
                p => p?.Accuracy,
                "Each seed's highest."
            );
        if (table.OnTokens)
        {
            page.Add("<div class=\"pair\">");
            Accuracies();
            Strip(
                page,
                table,
                "loss",
                "Test loss by seed",
                "test loss",
                log: true,
                s => s.Best?.Loss,
                c => c.Losses?.Mean,
                c => c.Losses,
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
                    c => c.Bits,
                    _ => null,
                    "On the part of the text that is kept for the test."
                );
            }

            page.Add("</div>");
            foreach (var figure in TokenSweepFigures.Create(table, Chance(table)))
                page.Add(figure);
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
            c => c.SpectralErrors,
            p => p?.SpectralError,
            "Each seed's lowest. The mean is drawn where every seed has converged."
        );
        Accuracies();
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
        page.Add($"<h2>{Page.Escape(part.Title)}</h2>");
        foreach (var caption in part.Captions)
            page.Add($"<p>{Page.Escape(caption)}</p>");
        page.Add(
            Table.Html([.. SweepTableText.Axes(table), .. part.Columns], table.Cells, attributes: " class=\"sortable\"")
        );
    }

    /// <summary>A cell by its settings: t1, hidden_size 64, weight_decay 0.001. Names stand for themselves.</summary>
    private static string Label(SweepTable table, SweepCell cell) =>
        cell.Values.Count == 0
            ? table.Folder.Name
            : string.Join(
                ", ",
                cell.Values.Select((v, i) => char.IsAsciiLetter(v[0]) ? v : $"{table.Title(table.Axes[i])} {v}")
            );

    /// <summary>The accuracy of guessing, where it is the same for all runs.</summary>
    private static double? Chance(SweepTable table)
    {
        var all = table.Runs.Select(r => r.Configuration).DistinctBy(c => c.Task).Select(Guessing.MeasureAccuracy);
        return all.Distinct().ToList() is [var one] ? one : null;
    }

    /// <summary>
    /// A line for each cell: a dot for each seed, their mean with its interval, and the published figure.
    /// </summary>
    private static void Strip(
        Page page,
        SweepTable table,
        string id,
        string title,
        string axis,
        bool log,
        Func<SeedFigures, double?> ofSeed,
        Func<SweepCell, double?> ofCell,
        Func<SweepCell, Sample?> ofSeeds,
        Func<PublishedRow?, double?> ofPublished,
        string caption
    )
    {
        bool Drawn(double? value) => value is { } v && double.IsFinite(v) && (!log || v > 0);
        var points = table
            .Cells.SelectMany(cell =>
            {
                var label = Label(table, cell);
                var seeds = cell.Seeds.Select(s => new
                {
                    cell = label,
                    of = "seed",
                    v = ofSeed(s),
                    seed = (long?)s.Seed,
                });
                var published = seeds.Any(s => Drawn(s.v)) ? ofPublished(cell.Published) : null;
                return seeds
                    .Append(
                        new
                        {
                            cell = label,
                            of = "mean",
                            v = ofCell(cell),
                            seed = (long?)null,
                        }
                    )
                    .Append(
                        new
                        {
                            cell = label,
                            of = "published",
                            v = published,
                            seed = (long?)null,
                        }
                    );
            })
            .Where(p => Drawn(p.v))
            .ToList();
        if (points.Count == 0)
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
        var intervals = table
            .Cells.Where(c => Drawn(ofCell(c)))
            .Select(c => (Cell: c, ofSeeds(c)?.Interval))
            .Where(c => c.Interval is { } i && Drawn(i.Low) && Drawn(i.High))
            .Select(c => new
            {
                cell = Label(table, c.Cell),
                low = c.Interval!.Value.Low,
                high = c.Interval.Value.High,
            });
        double? chance = axis == "accuracy" ? Chance(table) : null;
        var counts = table.Cells.Select(c => c.Seeds.Count(s => Drawn(ofSeed(s)))).ToList();
        string n = counts.Min() == counts.Max() ? $"{counts.Max()}" : $"{counts.Min()} to {counts.Max()}";
        caption += $" n = {n} seeds; bars: 95 % intervals of the mean (bootstrap).";
        var y = Named("cell") with
        {
            Scale = new(Domain: table.Cells.Select(c => Label(table, c)).Distinct()),
            Axis = Axis.LongNames,
        };
        page.Add(
            new Chart
            {
                Height = 20 * table.Cells.Count,
                Layers =
                [
                    .. Chart.Chance(chance, across: true),
                    new()
                    {
                        Rows = intervals,
                        Mark = new("rule", StrokeWidth: 1.5, Color: Palette.Ink, Aria: false),
                        X = new("low", axis),
                        X2 = new("high") { Type = null },
                        Y = y,
                    },
                    new()
                    {
                        Rows = points,
                        Mark = new(
                            "point",
                            Size: 60,
                            StrokeWidth: 1.6,
                            Opacity: 0.85,
                            Tooltip: new { content = "data" }
                        ),
                        X = new("v", axis)
                        {
                            Scale = log ? Scale.Log : Scale.Accuracy(chance, points.Select(p => p.v)),
                            Axis = log ? Axis.Logarithmic : Axis.Short,
                        },
                        Y = y,
                        Color = Told("of", kinds, [Palette.Blue, Palette.Ink, Palette.Vermilion]),
                        Shape = Told("of", kinds, ["circle", "M0,-1V1", "diamond"]),
                    },
                ],
            }.Figure(id, title, caption)
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
        string Colour(SweepCell cell) => cell.Values.FirstOrDefault() ?? "";
        var colours = runs.Select(r => Colour(r.Cell)).Distinct().ToList();
        page.Add(
            new Chart
            {
                Height = 260,
                Rows = runs.Select(r => new
                {
                    run = r.Run.Name,
                    c = Colour(r.Cell),
                    g = r.Run.Analysis.Gain,
                    v = r.Run.Analysis.SpectralError,
                }),
                Mark = new("point", Size: 45, Opacity: 0.8),
                X = new("g", "gain") { Scale = Scale.NotFromZero, Axis = new(TickCount: 6) },
                Y = new("v", "spectral error (rad)") { Scale = Scale.Log, Axis = Axis.Logarithmic },
                Color = Coloured("c", colours, title: table.Axes.Count == 0 ? "" : table.Title(table.Axes[0])),
                Tooltip = [Tip("run"), Tip("g", "gain", ".3f"), Tip("v", "spectral error", ".3g")],
            }.Figure(
                "gain",
                "Spectral error and gain",
                "Each converged run. The gain is how many times theory's 1 the magnitude of its persistent "
                    + "eigenvalues is; tanh takes it back by saturating."
            )
        );
    }

    /// <summary>
    /// The spectral error at each test: a figure for each combination of the axes but the last, which the colours are
    /// of.
    /// </summary>
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
        long steps = courses.Max(r => r.Run.Tests[^1].Step);
        string Colour(SweepCell cell) => cell.Values.Count == 0 ? "" : cell.Values[^1];
        string Dash(RunFigures run) => string.Join(", ", best.Select(i => run.Values[i]));
        var colours = table.Cells.Select(Colour).Distinct().ToList();
        var dashes = table.Runs.Select(Dash).Distinct().ToList();
        var colourTitle = table.Axes.Count == 0 ? "" : table.Title(table.Axes[^1]);
        var dashTitle = string.Join(", ", best.Select(i => table.Title(table.Folder.Axes[i])));
        var how =
            "At each test of each run, on one scale. A line ends where the number of persistent eigenvalues is "
            + $"another than the circuit's.{(stride > 1 ? $" Every {stride}th test." : "")}";
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
            page.Add(
                new Chart
                {
                    Height = 220,
                    Rows = runs.Select(r =>
                    {
                        var tests = r.Run.Tests.Where((_, i) => i % stride == 0 || i == r.Run.Tests.Count - 1).ToList();
                        return new
                        {
                            run = r.Run.Name,
                            c = Colour(r.Cell),
                            d = Dash(r.Run),
                            s = tests.Select(t => t.Step),
                            v = tests.Select(t => t.SpectralError > 0 ? t.SpectralError : null),
                        };
                    }),
                    Transform = [new { flatten = new[] { "s", "v" } }],
                    Mark = new(
                        "line",
                        StrokeWidth: 1.1,
                        Opacity: 0.75,
                        Clip: true,
                        Invalid: "break-paths-filter-domains",
                        Point: errors.Count < 1000 ? new { size = 12 } : null,
                        Tooltip: true
                    ),
                    X = new("s", "step")
                    {
                        Scale = new(Domain: new[] { 0, steps }),
                        Axis = new(TickCount: 5, Format: "~s"),
                    },
                    Y = new("v", "spectral error (rad)")
                    {
                        Scale = Scale.Log with { Domain = new[] { errors.Min(), errors.Max() } },
                        Axis = Axis.Short,
                    },
                    Detail = Named("run"),
                    Color = Coloured("c", colours, columns: 4, colourTitle),
                    StrokeDash = Told("d", dashes, Dashes, columns: 4, dashTitle),
                    Tooltip = [Tip("run"), Tip("s", "step"), Tip("v", "spectral error", ".3g")],
                }.Figure("course-" + name.Replace(", ", "-", StringComparison.Ordinal), name, "")
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
