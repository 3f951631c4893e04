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

    /// <param name="chance">The accuracy of guessing, or null.</param>
    public static void Add(Page page, SweepTable table, double? chance)
    {
        foreach (var figure in new[] { Courses(table, chance), Capacity(table, chance) }.OfType<Figure>())
            page.Add(figure);
    }

    /// <summary>An accuracy of a run: at a step, or with so many pairs to keep.</summary>
    private sealed record Row(string Panel, string Of, string Run, long Seed, long X, double? V);

    private static List<Row> Rows(SweepTable table, Func<RunFigures, IEnumerable<(long X, double? V)>> points) =>
        [
            .. from r in CellRun.All(table)
            from p in points(r.Run)
            where p.V is not null
            select new Row(r.Panel, r.Colour, r.Run.Name, r.Run.Seed, p.X, p.V),
        ];

    private static Figure? Courses(SweepTable table, double? chance)
    {
        var rows = Rows(table, run => run.Tests.Select(t => (t.Step, t.Accuracy)));
        if (rows.Count == 0)
            return null;
        var lines = Accuracies(table, rows, chance) with
        {
            Mark = new("line", StrokeWidth: 1.4, Opacity: 0.8, Point: new { size = 12 }, Tooltip: true),
            X = new("x", "step") { Axis = new(TickCount: 5, Format: "~s") },
            Detail = Named("run"),
            Tooltip = [Tip("run"), Tip("x", "step"), Tip("v", "accuracy", ".3f")],
        };
        return Panels(
            "accuracy-course",
            "Accuracy as training goes on",
            "The accuracy at each test, a line for each seed.",
            rows,
            [.. Chart.Chance(chance), lines]
        );
    }

    private static Figure? Capacity(SweepTable table, double? chance)
    {
        var rows = Rows(table, run => run.Analysis.Capacity.Select(p => ((long)p.Pairs, p.Accuracy)));
        if (rows.Count == 0)
            return null;
        var chart = Accuracies(table, rows, chance) with
        {
            X = new("x", "to keep")
            {
                Scale = Scale.Tight with { Type = "log", Base = 2 },
                Axis = new() { Values = rows.Select(r => r.X).Distinct().Order().Where(long.IsPow2), Format = "d" },
            },
        };
        int seeds = rows.Select(r => r.Seed).Distinct().Count();
        return Panels(
            "capacity",
            "Accuracy against the number of pairs or facts to keep",
            "After training, on documents with more and with fewer than in training. Dots: seeds; lines: their mean, "
                + $"n = {seeds}.",
            rows,
            [
                .. Chart.Chance(chance),
                chart with
                {
                    Mark = new("line", StrokeWidth: 1.8),
                    Y = chart.Y! with { Aggregate = "mean" },
                },
                chart with
                {
                    Mark = Mark.Dots(22) with { Opacity = 0.6 },
                    Tooltip = [Tip("of"), Tip("seed"), Tip("x", "to keep"), Tip("v", "accuracy", ".3f")],
                },
            ]
        );
    }

    private static Chart Accuracies(SweepTable table, List<Row> rows, double? chance) =>
        new()
        {
            Y = new("v", "accuracy") { Scale = Scale.Accuracy(chance, rows.Select(r => r.V)), Axis = Axis.Few },
            Color = CellRun.Coloured(table, "of", rows.Select(r => r.Of), columns: 5),
        };

    private static Figure Panels(string id, string title, string caption, List<Row> rows, IEnumerable<Chart> layers)
    {
        var chart = new Chart
        {
            Height = 220,
            Rows = rows,
            Layers = layers,
        };
        var names = rows.Select(r => r.Panel).Distinct().ToList();
        return names.Count == 1
            ? chart.Figure(id, title, caption)
            : (chart with { Width = Width }).Facets(id, title, caption, "panel", names, columns: 2);
    }
}
