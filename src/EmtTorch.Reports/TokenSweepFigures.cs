using EmtTorch.Analysis.Charts;
using EmtTorch.Studies;
using static EmtTorch.Analysis.Charts.Channel;

namespace EmtTorch.Reports;

/// <summary>
/// What only a sweep of transformers shows: how accuracy grows as training goes on, and how it falls with the number of
/// pairs to keep. A panel for each combination of the axes but the last, which the colours are of.
/// </summary>
internal static class TokenSweepFigures
{
    private const int Width = 330;

    /// <param name="table">The sweep's table.</param>
    /// <param name="chance">The accuracy of guessing, or null.</param>
    /// <returns>The figures that the runs have data for.</returns>
    public static IEnumerable<Figure> Create(SweepTable table, double? chance)
    {
        var runs = table.Cells.SelectMany(c => c.Runs.Select(r => new CellRun(c, r))).ToList();
        if (Courses(table, runs, chance) is { } courses)
            yield return courses;
        if (Capacity(table, runs, chance) is { } capacity)
            yield return capacity;
    }

    private sealed record CellRun(SweepCell Cell, RunFigures Run)
    {
        public string Colour => Cell.Values is [.., var last] ? last : "all runs";
        public string Panel => string.Join(", ", Cell.Values.SkipLast(1));
    }

    private static Figure? Courses(SweepTable table, List<CellRun> runs, double? chance)
    {
        var rows = runs.SelectMany(r =>
                r.Run.Tests.Where(t => t.Accuracy is not null)
                    .Select(t => new
                    {
                        panel = r.Panel,
                        of = r.Colour,
                        run = r.Run.Name,
                        s = t.Step,
                        v = t.Accuracy,
                    })
            )
            .ToList();
        if (rows.Count == 0)
            return null;
        var colours = rows.Select(r => r.of).Distinct().ToList();
        var lines = new Chart
        {
            Mark = new("line", StrokeWidth: 1.4, Opacity: 0.8, Point: new { size = 12 }, Tooltip: true),
            X = new("s", "step") { Axis = new(TickCount: 5, Format: "~s") },
            Y = new("v", "test accuracy") { Scale = Scale.Accuracy(chance, rows.Select(r => r.v)), Axis = Axis.Few },
            Detail = Named("run"),
            Color = Coloured("of", colours, columns: 5, Title(table)),
            Tooltip = [Tip("run"), Tip("s", "step"), Tip("v", "test accuracy", ".3f")],
        };
        return Panels(
            "accuracy-course",
            "Accuracy as training goes on",
            "The accuracy at each test, a line for each seed.",
            rows,
            rows.Select(r => r.panel),
            [.. Chart.Chance(chance), lines]
        );
    }

    private static Figure? Capacity(SweepTable table, List<CellRun> runs, double? chance)
    {
        var rows = runs.SelectMany(r =>
                r.Run.Analysis.Capacity.Where(p => p.Accuracy is not null)
                    .Select(p => new
                    {
                        panel = r.Panel,
                        of = r.Colour,
                        seed = r.Run.Seed,
                        k = p.Pairs,
                        v = p.Accuracy,
                    })
            )
            .ToList();
        if (rows.Count == 0)
            return null;
        var colours = rows.Select(r => r.of).Distinct().ToList();
        var at = rows.Select(r => r.k).Distinct().Order().ToList();
        var chart = new Chart
        {
            X = new("k", "to keep")
            {
                Scale = Scale.Tight with { Type = "log", Base = 2 },
                Axis = new() { Values = at.Where(k => int.IsPow2(k)), Format = "d" },
            },
            Y = new("v", "accuracy") { Scale = Scale.Accuracy(chance, rows.Select(r => r.v)), Axis = Axis.Few },
            Color = Coloured("of", colours, columns: 5, Title(table)),
        };
        int seeds = rows.Select(r => r.seed).Distinct().Count();
        return Panels(
            "capacity",
            "Accuracy against the number of pairs or facts to keep",
            $"After training, on documents with more and with fewer than in training. Dots: seeds; lines: their mean, "
                + $"n = {seeds}.",
            rows,
            rows.Select(r => r.panel),
            [
                .. Chart.Chance(chance),
                chart with
                {
                    Mark = new("line", StrokeWidth: 1.8),
                    Y = chart.Y with { Aggregate = "mean" },
                },
                chart with
                {
                    Mark = Mark.Dots(22) with { Opacity = 0.6 },
                    Tooltip = [Tip("of"), Tip("seed"), Tip("k", "to keep"), Tip("v", "accuracy", ".3f")],
                },
            ]
        );
    }

    private static string Title(SweepTable table) => table.Axes.Count == 0 ? "" : table.Title(table.Axes[^1]);

    private static Figure Panels(
        string id,
        string title,
        string caption,
        IEnumerable<object> rows,
        IEnumerable<string> panels,
        IEnumerable<Chart> layers
    )
    {
        var chart = new Chart
        {
            Height = 220,
            Rows = rows,
            Layers = layers,
        };
        var names = panels.Distinct().ToList();
        return names.Count == 1
            ? chart.Figure(id, title, caption)
            : (chart with { Width = Width }).Facets(id, title, caption, "panel", names, columns: 2);
    }
}
