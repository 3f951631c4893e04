using EmtTorch.Analysis.Charts;
using static EmtTorch.Analysis.Charts.Channel;

namespace EmtTorch.Analysis.FreeRecall;

/// <summary>Free recall in pictures: each curve with its 95 % intervals, conditions in colours.</summary>
public static class RecallFigures
{
    /// <summary>Lists in the raster: more than this are not looked at.</summary>
    private const int RasterLists = 200;

    private const string Bars = "A bar is the 95 % interval over subjects, or over the lists of a single one.";

    /// <summary>Draws analyses.</summary>
    /// <param name="conditions">The name of each condition, and its analysis. The compound curve and the raster are
    /// drawn of the first.</param>
    public static IReadOnlyList<Figure> Of(IReadOnlyList<(string Name, RecallAnalysis Analysis)> conditions)
    {
        var first = conditions[0].Analysis;
        var figures = new List<Figure?>
        {
            Curve(
                conditions,
                "serial_position",
                "serial-position",
                "Serial position curve",
                $"How often the item at each position of the study list was recalled. {Bars}",
                "serial position",
                "recalled"
            ),
            Curve(
                conditions,
                "probability_of_recall_1",
                "first-recall",
                "Probability of first recall",
                $"How often recall began with the item at each position. {Bars}",
                "serial position",
                "first recalls"
            ),
            Curve(
                conditions,
                "lag_crp",
                "lag-crp",
                "Conditional response probability by lag",
                "How often recall went from an item to the one so many positions on, of the times that this one was "
                    + $"not recalled yet. The grey line is what the same recalls give in random order. {Bars}",
                "lag",
                "probability",
                floor: true
            ),
            Compound(first),
            BySubject(conditions),
            Curve(
                conditions,
                "prior_list_intrusions_by_list_lag",
                "intrusions",
                "Intrusions from earlier lists",
                $"The share of all intrusions that was studied so many lists before. {Bars}",
                "lists back",
                "share of intrusions"
            ),
            Curve(
                conditions,
                "distance_crp",
                "distance-crp",
                "Conditional response probability by distance of meaning",
                $"As by lag, by the distance between items. {Bars}",
                "distance",
                "probability"
            ),
            Raster(first),
        };
        return [.. figures.OfType<Figure>()];
    }

    private static Figure? Curve(
        IReadOnlyList<(string Name, RecallAnalysis Analysis)> conditions,
        string key,
        string id,
        string title,
        string caption,
        string x,
        string y,
        bool floor = false
    )
    {
        var rows = conditions
            .SelectMany(c => c.Analysis.Curves.Where(m => m.Measure.Key == key), (c, m) => (c.Name, Curve: m))
            .SelectMany(c => c.Curve.Measure.Places.Zip(c.Curve.Points, (place, point) => Row(place, point, c.Name)))
            .Where(r => r.Value is not null)
            .ToList();
        if (rows.Count == 0)
            return null;
        var names = conditions.Select(c => c.Name).ToList();
        double top = rows.Max(r => r.High ?? r.Value!.Value);
        var layers = new List<Chart>
        {
            new()
            {
                Mark = new("rule", StrokeWidth: 1.5),
                Y = new("low", y),
                Y2 = new("high"),
            },
            // A lag of 0 does not exist: the line breaks there.
            new() { Mark = Mark.Line(40), Detail = floor ? Named("side") : null },
        };
        if (floor)
            layers.Insert(0, Floor(conditions[0].Analysis.Shuffled));
        return new Chart
        {
            Height = 220,
            Rows = rows,
            X = new("place", x)
            {
                Axis = key == "distance_crp" ? Axis.Short : Axis.Whole,
                Scale = new(Nice: false, Zero: false, Padding: 12),
            },
            Y = new("value", y) { Scale = top > 0 ? Scale.FromZero : Scale.Share, Axis = Axis.Few },
            Color = Coloured("condition", names, columns: 4),
            Tooltip =
            [
                Tip("condition"),
                Tip("place", x),
                Tip("value", y, ".3f"),
                Tip("low", "from", ".3f"),
                Tip("high", "to", ".3f"),
            ],
            Layers = layers,
        }.Figure(id, title, caption);
    }

    private static Chart Floor(RecallCurve shuffled) =>
        new()
        {
            Rows = shuffled
                .Measure.Places.Zip(shuffled.Means, (p, m) => Row(p, new(m, null), ""))
                .Where(r => r.Value is not null),
            Mark = new("line", Color: Palette.Grey, StrokeDash: [2, 3]),
            Detail = Named("side"),
            Color = Fixed(Palette.Grey),
        };

    private sealed record Point(double Place, double? Value, double? Low, double? High, string Condition, string Side);

    private static Point Row(string place, RecallEstimate estimate, string condition)
    {
        double at = double.Parse(place, System.Globalization.CultureInfo.InvariantCulture);
        return new(
            at,
            double.IsFinite(estimate.Value) ? estimate.Value : null,
            estimate.Interval?.Low,
            estimate.Interval?.High,
            condition,
            at < 0 ? "backward" : "forward"
        );
    }

    private static Figure? Compound(RecallAnalysis analysis)
    {
        int most = Math.Min(RecallAnalysis.CompoundLags, analysis.Length - 1);
        var means = analysis.Curve("lag_crp_compound").Means;
        var names = Enumerable.Range(-most, 2 * most + 1).Select(l => $"{l}").ToList();
        return new HeatMap
        {
            Values = [.. means.Chunk(names.Count)],
            Rows = new("previous lag") { Names = names, Groups = [.. names.Select(n => (n, 1))] },
            Columns = new("lag") { Names = names, Groups = [.. names.Select(n => (n, 1))] },
            Value = "probability",
            Diverging = false,
            Height = (0, 320),
            Grey = "never were possible",
        }.Figure(
            "compound",
            "Conditional response probability by lag and previous lag",
            "Whether recall goes on in the direction and with the step in which it came."
        );
    }

    private static Figure? BySubject(IReadOnlyList<(string Name, RecallAnalysis Analysis)> conditions)
    {
        var rows = conditions
            .SelectMany(c =>
            {
                var curve = c.Analysis.Curve("temporal_factor");
                return curve.Subjects.Zip(
                    curve.Values,
                    (s, v) =>
                        new
                        {
                            s,
                            v = v[0],
                            c = c.Name,
                        }
                );
            })
            .Where(r => double.IsFinite(r.v))
            .ToList();
        if (rows.Count == 0)
            return null;
        return new Chart
        {
            Height = 60 + 24 * conditions.Count,
            Rows = rows,
            Layers =
            [
                new()
                {
                    Mark = new("point", Filled: true, Size: 40, Opacity: 0.6),
                    X = new("v", "temporal factor")
                    {
                        Scale = Scale.Share with { Nice = false, Zero = false },
                        Axis = Axis.Few,
                    },
                    Y = Named("c") with { Sort = conditions.Select(c => c.Name), Axis = Axis.LongNames },
                    Color = Fixed(Palette.Blue),
                    Tooltip = [Tip("s", "subject"), Tip("v", "temporal factor", ".3f")],
                },
                Chart.Rule(x: At(0.5), color: Palette.Grey, dash: [4, 3]),
            ],
        }.Figure(
            "temporal-factor",
            "Temporal factor of each subject",
            "The rank of the next recall's |lag| among those that were possible: 1, always the nearest; ½ (dashed), "
                + "no order in time."
        );
    }

    /// <summary>Each list a row, each output position a cell, coloured by what was recalled there.</summary>
    private static Figure? Raster(RecallAnalysis analysis)
    {
        var lists = analysis.Lists.Where(l => l.Recalls.Count > 0).Take(RasterLists).ToList();
        if (lists.Count == 0)
            return null;
        int outputs = lists.Max(l => l.Recalls.Count);
        return new HeatMap
        {
            Values =
            [
                .. lists.Select(l =>
                    Enumerable
                        .Range(0, outputs)
                        .Select(o => o < l.Recalls.Count && l.Recalls[o].Studied is { } s ? s.Position : double.NaN)
                        .ToArray()
                ),
            ],
            Rows = new("list"),
            Columns = new("output position"),
            Value = "serial position",
            Limit = analysis.Length,
            Diverging = false,
            Height = (0, 80 + 3 * lists.Count),
            Grey = "are intrusions, or no recall was made",
        }.Figure(
            "raster",
            "Recalls in their order",
            $"Each row is a list, the first {lists.Count} with recalls; the colour is the serial position of what was "
                + "recalled."
        );
    }
}
