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
    /// <returns>The HTML file's text.</returns>
    public static string Render(SweepTable table)
    {
        var page = new Page(table.Folder.Name);
        page.Add($"<header><h1>{Page.Escape(table.Folder.Name)}</h1></header>");
        if (table.Folder.Description.Length > 0)
            page.Add($"<p>{Page.Escape(table.Folder.Description)}</p>");
        page.Add($"<p>{Page.Escape(table.Progress)}.</p>");
        var parts = SweepTablePart.Create(table).ToList();
        Add(page, table, parts[0]);
        page.Add("<div class=\"pair\">");
        foreach (var strip in Strips(table))
            Add(page, table, strip);
        page.Add("</div>");
        if (table.HasSpectra)
            CircuitSweepFigures.Add(page, table);
        else
            TokenSweepFigures.Add(page, table, Chance(table));
        foreach (var part in parts[1..])
            Add(page, table, part);
        page.Add($"<p>{Page.Escape(SweepTableText.Time(table))}</p>");
        return page.Render();
    }

    /// <summary>A figure with a line a cell: a dot for each seed, their mean, and the published figure.</summary>
    /// <param name="Title">What is shown.</param>
    /// <param name="Axis">What the axis is called.</param>
    /// <param name="OfSeed">A seed's number.</param>
    /// <param name="OfSeeds">Over seeds, with the interval of the mean.</param>
    /// <param name="Caption">How to read it.</param>
    private sealed record Strip(
        string Id,
        string Title,
        string Axis,
        Func<SeedFigures, double?> OfSeed,
        Func<SweepCell, Sample?> OfSeeds,
        string Caption
    )
    {
        /// <summary>The mean that is drawn.</summary>
        public Func<SweepCell, double?> OfCell { get; init; } = cell => OfSeeds(cell)?.Mean;

        public Func<PublishedRow?, double?> OfPublished { get; init; } = _ => null;

        /// <summary>How it is drawn; null: as an accuracy, from chance to 1.</summary>
        public Scale? Scale { get; init; } = Scale.Log;

        public bool IsDrawn(double? value) => value is { } v && double.IsFinite(v) && (Scale != Scale.Log || v > 0);
    }

    private static readonly Strip SpectralError = new(
        "spectral-error",
        "Spectral error by seed",
        "spectral error (rad)",
        s => s.Best?.Analysis["spectral_error"],
        c => c.SpectralErrors,
        "Each seed's lowest. The mean is drawn if every seed has converged."
    )
    {
        OfCell = c => c.SpectralError,
        OfPublished = p => p?.SpectralError,
    };

    private static readonly Strip Accuracy = new(
        "accuracy",
        "Accuracy by seed",
        "accuracy",
        s => s.Accuracy,
        c => c.Accuracies,
        "Each seed's highest."
    )
    {
        OfPublished = p => p?.Accuracy,
        Scale = null,
    };

    private static readonly Strip Loss = new(
        "loss",
        "Test loss by seed",
        "test loss",
        s => s.Best?.Loss,
        c => c.Losses,
        "Each seed's lowest."
    );

    private static readonly Strip Bits = new(
        "bits",
        "Bits per character by seed",
        "bits per character",
        s => s.Best?.Analysis["bits_per_character"],
        c => c.Find("bits_per_character"),
        "On the part of the text that is kept for the test."
    );

    private static Strip Of(FigureColumn found) =>
        new(
            found.Key.Replace('_', '-').Replace('.', '-'),
            $"{Capitalized(found.Title)} by seed",
            found.Title,
            s => s.Best?.Analysis[found.Key],
            c => c.Find(found.Key),
            found.Meaning is { } meaning ? $"{Capitalized(meaning)}." : ""
        )
        {
            Scale = Scale.NotFromZero,
        };

    private static string Capitalized(string text) => $"{char.ToUpperInvariant(text[0])}{text[1..]}";

    private static IEnumerable<Strip> Strips(SweepTable table) =>
        [
            .. table.HasSpectra ? [SpectralError, Accuracy] : new[] { Accuracy, Loss },
            .. !table.HasSpectra && table.Has("bits_per_character") ? [Bits] : Array.Empty<Strip>(),
            .. SweepTablePart.FoundElse(table).Select(Of),
        ];

    private static void Add(Page page, SweepTable table, SweepTablePart part)
    {
        page.Add($"<h2>{Page.Escape(part.Title)}</h2>");
        foreach (var caption in part.Captions)
            page.Add($"<p>{Page.Escape(caption)}</p>");
        page.Add(
            Table.Html([.. SweepTableText.Axes(table), .. part.Columns], table.Cells, attributes: " class=\"sortable\"")
        );
    }

    private static void Add(Page page, SweepTable table, Strip strip)
    {
        var points = table.Cells.SelectMany(c => Points(table, strip, c)).Where(p => strip.IsDrawn(p.V)).ToList();
        if (points.Count == 0)
        {
            page.Missing(strip.Title, "no finished run has one.");
            return;
        }
        var caption = strip.Caption;
        if (table.Axes.Count > 0)
            caption = $"A line for each {string.Join(", ", table.Axes.Select(table.Title))}. {caption}";
        int without = table.Cells.Sum(c => c.Seeds.Count(s => s.Best is not null && !strip.IsDrawn(strip.OfSeed(s))));
        if (without > 0)
            caption += $" {without} of {table.Cells.Sum(c => c.Best.Count)} seeds have none.";
        string[] kinds = table.Cells.Any(c => strip.OfPublished(c.Published) is not null)
            ? ["seed", "mean", "published"]
            : ["seed", "mean"];
        var counts = table.Cells.Select(c => c.Seeds.Count(s => strip.IsDrawn(strip.OfSeed(s)))).ToList();
        string n = counts.Min() == counts.Max() ? $"{counts.Max()}" : $"{counts.Min()} to {counts.Max()}";
        caption += $" n = {n} seeds; bars: {SweepTablePart.IntervalIn(table.Cells.Select(strip.OfSeeds))}.";
        var y = Named("cell") with
        {
            Scale = new(Domain: table.Cells.Select(c => Label(table, c)).Distinct()),
            Axis = Axis.LongNames,
        };
        double? chance = strip.Scale is null ? Chance(table) : null;
        var intervals = Intervals(table, strip, points.Min(p => p.V!.Value) / 2).ToList();
        page.Add(
            new Chart
            {
                Height = 20 * table.Cells.Count,
                Layers =
                [
                    .. Chart.Chance(chance, across: true),
                    .. intervals.Count == 0
                        ? []
                        : new Chart[]
                        {
                            new()
                            {
                                Rows = intervals,
                                Mark = new("rule", StrokeWidth: 1.5, Color: Palette.Ink, Aria: false),
                                X = new("low", strip.Axis),
                                X2 = new("high") { Type = null },
                                Y = y,
                            },
                        },
                    Marks(strip, points, chance) with
                    {
                        Y = y,
                        Color = Told("of", kinds, [Palette.Blue, Palette.Ink, Palette.Vermilion]),
                        Shape = Told("of", kinds, ["circle", "M0,-1V1", "diamond"]),
                    },
                ],
            }.Figure(strip.Id, strip.Title, caption)
        );
    }

    private static Chart Marks(Strip strip, List<StripPoint> points, double? chance) =>
        new()
        {
            Rows = points,
            Mark = new("point", Size: 60, StrokeWidth: 1.6, Opacity: 0.85, Tooltip: new { content = "data" }),
            X = new("v", strip.Axis)
            {
                Scale = strip.Scale ?? Scale.Accuracy(chance, points.Select(p => p.V)),
                Axis = strip.Scale == Scale.Log ? Axis.Logarithmic : Axis.Short,
            },
        };

    /// <param name="edge">Where an interval begins that reaches 0 on a logarithmic axis.</param>
    private static IEnumerable<object> Intervals(SweepTable table, Strip strip, double edge) =>
        table
            .Cells.Where(c => strip.IsDrawn(strip.OfCell(c)))
            .Select(c => (Cell: c, strip.OfSeeds(c)?.Interval))
            .Where(c => c.Interval is { } i && strip.IsDrawn(i.High))
            .Select(c =>
                (object)
                    new
                    {
                        cell = Label(table, c.Cell),
                        low = strip.IsDrawn(c.Interval!.Value.Low) ? c.Interval.Value.Low : edge,
                        high = c.Interval.Value.High,
                    }
            );

    /// <summary>A cell by its settings: t1, hidden_size 64, weight_decay 0.001. Names stand for themselves.</summary>
    private static string Label(SweepTable table, SweepCell cell) =>
        cell.Values.All(v => v.Length == 0)
            ? table.Folder.Name
            : string.Join(
                ", ",
                cell.Values.Zip(table.Axes, (v, axis) => (Value: v, Title: table.Title(axis)))
                    .Where(v => v.Value.Length > 0)
                    .Select(v => char.IsAsciiLetter(v.Value[0]) ? v.Value : $"{v.Title} {v.Value}")
            );

    /// <summary>The accuracy of guessing, if it is the same for all runs.</summary>
    private static double? Chance(SweepTable table)
    {
        var all = table.Runs.Select(r => r.Configuration).DistinctBy(c => c.Task).Select(Guessing.MeasureAccuracy);
        return all.Distinct().ToList() is [var one] ? one : null;
    }

    /// <summary>A mark of a strip.</summary>
    /// <param name="Cell">The line.</param>
    /// <param name="Of">seed, mean or published.</param>
    /// <param name="V">The number.</param>
    /// <param name="Seed">Which seed.</param>
    private sealed record StripPoint(string Cell, string Of, double? V, long? Seed = null);

    private static IEnumerable<StripPoint> Points(SweepTable table, Strip strip, SweepCell cell)
    {
        var label = Label(table, cell);
        var seeds = cell.Seeds.Select(s => new StripPoint(label, "seed", strip.OfSeed(s), s.Seed)).ToList();
        var published = seeds.Any(s => strip.IsDrawn(s.V)) ? strip.OfPublished(cell.Published) : null;
        return [.. seeds, new(label, "mean", strip.OfCell(cell)), new(label, "published", published)];
    }
}
