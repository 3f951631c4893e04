using EmtTorch.Analysis.Charts;
using EmtTorch.Settings;
using EmtTorch.Studies;
using static EmtTorch.Analysis.Charts.Channel;

namespace EmtTorch.Reports;

/// <summary>
/// What only a sweep of networks with a spectrum shows: how spectral errors go on as training does, and the gains. A
/// figure for each combination of the axes but the last, which the colours are of.
/// </summary>
internal static class CircuitSweepFigures
{
    /// <summary>More points of curves than this are thinned evenly, to keep the page light.</summary>
    private const int PointLimit = 60_000;

    public static void Add(Page page, SweepTable table)
    {
        var runs = CellRun.All(table);
        Courses(page, table, runs);
        if (Gains(table, runs) is { } gains)
            page.Add(gains);
    }

    private static void Courses(Page page, SweepTable table, List<CellRun> runs)
    {
        const string why = "no test found as many persistent eigenvalues as the circuit has.";
        var courses = runs.Where(HasErrors).ToList();
        if (courses.Count == 0)
        {
            page.Missing("Spectral error over training", why);
            return;
        }
        int stride = 1 + courses.Sum(r => r.Run.Tests.Count) / PointLimit;
        var how =
            "At each test of each run, on one scale. A line ends where the number of persistent eigenvalues is "
            + $"another than the circuit's.{(stride > 1 ? $" Every {stride}th test." : "")}";
        page.Add($"<h3>Spectral error over training</h3>\n<p>{Page.Escape(how)}</p>\n<div class=\"pair\">");
        var chart = Course(table, courses);
        var missing = new List<string>();
        foreach (var panel in runs.GroupBy(r => r.Panel))
        {
            var name = panel.Key.Length > 0 ? panel.Key : table.Folder.Name;
            var rows = panel.Where(HasErrors).Select(r => Row(table, r, stride)).ToList();
            if (rows.Count == 0)
                missing.Add(name);
            else
                page.Add((chart with { Rows = rows }).Figure("course-" + name.Replace(", ", "-"), name, ""));
        }
        page.Add("</div>");
        if (missing.Count > 0)
            page.Missing(string.Join("; ", missing), why);
    }

    private static bool HasErrors(CellRun run) => run.Run.Tests.Any(t => t.SpectralError > 0);

    private static object Row(SweepTable table, CellRun run, int stride)
    {
        var tests = run.Run.Tests.Where((_, i) => i % stride == 0 || i == run.Run.Tests.Count - 1).ToList();
        return new
        {
            run = run.Run.Name,
            c = run.Colour,
            d = Dash(table, run.Run),
            s = tests.Select(t => t.Step),
            v = tests.Select(t => t.SpectralError > 0 ? t.SpectralError : null),
        };
    }

    /// <summary>A line a run, on the scales of all courses; without rows.</summary>
    private static Chart Course(SweepTable table, List<CellRun> courses)
    {
        var errors = courses
            .SelectMany(r => r.Run.Tests)
            .Where(t => t.SpectralError > 0)
            .Select(t => t.SpectralError!.Value)
            .ToList();
        long steps = courses.Max(r => r.Run.Tests[^1].Step);
        var dashes = table.Runs.Select(run => Dash(table, run)).Distinct().ToList();
        return new()
        {
            Height = 220,
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
            X = new("s", "step") { Scale = new(Domain: new[] { 0, steps }), Axis = new(TickCount: 5, Format: "~s") },
            Y = new("v", "spectral error (rad)")
            {
                Scale = Scale.Log with { Domain = new[] { errors.Min(), errors.Max() } },
                Axis = Axis.Short,
            },
            Detail = Named("run"),
            Color = CellRun.Coloured(table, "c", CellRun.All(table).Select(r => r.Colour), columns: 4),
            StrokeDash = Told("d", dashes, Dashes, columns: 4, string.Join(", ", Best(table).Select(b => b.Title))),
            Tooltip = [Tip("run"), Tip("s", "step"), Tip("v", "spectral error", ".3g")],
        };
    }

    /// <summary>The axes over which a seed's best run counts: their places and titles.</summary>
    private static IEnumerable<(int Place, string Title)> Best(SweepTable table) =>
        table
            .Folder.Axes.Select((axis, i) => (Axis: axis, Place: i))
            .Where(a => table.Folder.BestOf.Contains(a.Axis.Key))
            .Select(a => (a.Place, table.Title(a.Axis)));

    private static string Dash(SweepTable table, RunFigures run) =>
        string.Join(", ", Best(table).Select(b => run.Values[b.Place]));

    /// <summary>A dot for each converged run: its gain, and its spectral error.</summary>
    private static Figure? Gains(SweepTable table, List<CellRun> runs)
    {
        var converged = runs.Where(r => r.Run.Analysis["gain"] > 0 && r.Run.Analysis["spectral_error"] > 0).ToList();
        if (converged.Count == 0)
            return null;
        static string Colour(CellRun run) => run.Cell.Values.FirstOrDefault() ?? "";
        var colours = converged.Select(Colour).Distinct().ToList();
        return new Chart
        {
            Height = 260,
            Rows = converged.Select(r => new
            {
                run = r.Run.Name,
                c = Colour(r),
                g = r.Run.Analysis["gain"],
                v = r.Run.Analysis["spectral_error"],
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
        );
    }
}
