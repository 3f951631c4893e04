using System.Globalization;
using EmtTorch.Analysis.Episodic;
using EmtTorch.Memory;
using EmtTorch.Settings;
using static EmtTorch.Analysis.Charts.Channel;

namespace EmtTorch.Analysis.Charts;

/// <summary>An episodic analysis in pictures.</summary>
internal static class EpisodicFigures
{
    /// <summary>Blocks that are drawn one by one, the first ones: a page of more is not looked at.</summary>
    private const int Blocks = 4;

    private const int SingularValues = 8;

    /// <param name="chance">The accuracy of guessing, or null.</param>
    public static IReadOnlyList<Figure> Of(EpisodicAnalysis analysis, double? chance = null) =>
        [
            .. new[]
            {
                Gates(analysis),
                GatesOfExample(analysis),
                Reads(analysis),
                Graphs(analysis),
                Spectra(analysis),
                Curves(analysis, chance),
            }
                .SelectMany(figures => figures)
                .OfType<Figure>(),
        ];

    /// <summary>
    /// g by the kind of token, with a dot for each block and head and for each graph. Nothing without a gate.
    /// </summary>
    private static IEnumerable<Figure?> Gates(EpisodicAnalysis analysis)
    {
        bool heads = analysis.Gates.Any(g => g.Head > 1);
        var fast = analysis.Gates.SelectMany(
            g => g.Kinds,
            (g, k) => (Of: $"block {g.Block}'s fast weights{(heads ? $", head {g.Head}" : "")}", Kind: k)
        );
        var graphs = analysis.Graphs.SelectMany(g => g.Gates, (g, k) => (Of: $"block {g.Block}'s graph", Kind: k));
        var readings = fast.Concat(graphs).Where(r => r.Kind.Gate is { } open && double.IsFinite(open)).ToList();
        if (readings.Count == 0)
            yield break;
        static string Kind(KindReading k) => $"{k.Kind} (n = {k.Count.ToString("N0", CultureInfo.InvariantCulture)})";
        var kinds = readings.Select(r => Kind(r.Kind)).Distinct().ToList();
        var of = readings.Select(r => r.Of).Distinct().ToList();
        yield return new Chart
        {
            Height = 32 * kinds.Count,
            Rows = readings.Select(r => new
            {
                k = Kind(r.Kind),
                v = r.Kind.Gate,
                b = r.Kind.Strength,
                n = r.Kind.Count,
                of = r.Of,
            }),
            Mark = Mark.Dots(80),
            X = new("v", "g") { Scale = Scale.Share, Axis = Axis.Few },
            Y = Named("k") with { Sort = kinds, Axis = Axis.LongNames },
            Color = Coloured("of", of, columns: 4),
            Tooltip = [Tip("of"), Tip("k", "kind"), Tip("v", "g", ".3f"), Tip("b", "β", ".3f"), Tip("n", "tokens")],
        }.Figure(
            "gate",
            "What gates let in",
            "The mean of g over the n tokens of each kind. 0: nothing is written; 1: everything is. Point at a dot to "
                + "see β = gη, the strength with which the token is written."
        );
    }

    /// <summary>g at each token of one document, by the token's kind.</summary>
    private static IEnumerable<Figure?> GatesOfExample(EpisodicAnalysis analysis)
    {
        if (analysis.Example is not { } example)
            yield break;
        var kinds = example.Kinds.Distinct().Order().ToList();
        for (int block = 0; block < Math.Min(Blocks, example.Gates.Length); block++)
        {
            var gates = example.Gates[block];
            if (!gates.Any(double.IsFinite))
                continue;
            var heads = analysis.Gates.Any(g => g.Head > 1) ? ", the mean of the heads" : "";
            yield return new Chart
            {
                Height = 150,
                Rows = gates.Select(
                    (g, t) =>
                        new
                        {
                            t = t + 1,
                            v = g,
                            k = example.Kinds[t],
                            w = example.Tokens[t],
                        }
                ),
                X = new("t", "token")
                {
                    Scale = Scale.Tight with { Domain = new[] { 0, gates.Length + 1 } },
                    Axis = Axis.Whole,
                },
                Y = new("v", "g") { Scale = Scale.Share, Axis = Axis.Few },
                Color = Coloured("k", kinds, columns: 5),
                Tooltip = [Tip("t", "token"), Tip("w", "is"), Tip("k", "kind"), Tip("v", "g", ".3f")],
                Layers =
                [
                    // The legend's symbols look like the first of these.
                    new() { Mark = Mark.Dots(22) },
                    new() { Mark = new("rule", Opacity: 0.35, StrokeWidth: 1, Aria: false), Y2 = At(0) },
                ],
            }.Figure(
                $"gate-document-{block + 1}",
                $"The gate of block {block + 1}'s fast weights along one document",
                $"g at each token{heads}."
            );
        }
    }

    /// <summary>What each pair gives to the read at each question.</summary>
    private static IEnumerable<Figure?> Reads(EpisodicAnalysis analysis)
    {
        if (analysis.Example is not { Shares.Length: > 0 } example)
            yield break;
        static HeatAxis Axis(string title, IReadOnlyList<string> names) =>
            new(title) { Names = names, Groups = names.Count <= 16 ? [.. names.Select(n => (n, 1))] : [] };
        bool heads = analysis.Reads.Any(r => r.Head > 1);
        foreach (var (shares, found) in example.Shares.Zip(analysis.Reads).Take(Blocks))
        {
            var of = heads ? $"block {found.Block}, head {found.Head}" : $"block {found.Block}";
            var over = found.Asked is null
                ? ""
                : $" Over {found.Questions} questions {NumberText.Percent(found.Asked)} comes from the asked pair and "
                    + $"{NumberText.Percent(found.Others)} from the others.";
            yield return new HeatMap
            {
                Values = shares,
                Rows = Axis("asked key", example.Questions),
                Columns = Axis("stored pair", example.Pairs),
                Value = "share",
                Limit = 1,
                Diverging = false,
                Height = (0, 120 + Math.Clamp(26 * example.Questions.Count, 26, 480)),
                Marked = [.. example.Right.Select((p, q) => (q, p))],
            }.Figure(
                $"reads-{found.Block}-{found.Head}",
                $"Where the reads of {of} come from",
                "At each question of one document the share of the read that each stored pair gives: a read is a "
                    + $"weighted sum of the values that were written. A dot: the pair that is asked for.{over}"
            );
        }
    }

    /// <summary>E_ij g_j between the facts of one document.</summary>
    private static IEnumerable<Figure?> Graphs(EpisodicAnalysis analysis)
    {
        foreach (var graph in analysis.Graphs.Where(g => g.Facts.Count > 0).Take(Blocks))
        {
            HeatAxis Axis(string title) =>
                new(title)
                {
                    Names = graph.Facts,
                    Groups = graph.Facts.Count <= 32 ? [.. graph.Facts.Select(f => (f, 1))] : [],
                };
            var over = graph.Linked is null
                ? ""
                : $" Over {graph.Questions} questions {NumberText.Percent(graph.Linked)} of the strongest edges from a "
                    + "question's first fact lead to its second.";
            yield return new HeatMap
            {
                Values = graph.Edges,
                Rows = Axis("from"),
                Columns = Axis("to"),
                Value = "E g",
                Limit = 1,
                Diverging = false,
                Height = (0, 160 + Math.Clamp(24 * graph.Facts.Count, 24, 640)),
                Marked = graph.Chains,
            }.Figure(
                $"graph-{graph.Block}",
                $"The edges of block {graph.Block}'s graph",
                "The facts of one document that are nodes when its last question is asked, and E_ij g_j, by how "
                    + "much the column's fact is added to the row's. A dot: the facts are a chain's, one after the "
                    + $"other.{over}"
            );
        }
    }

    private static IEnumerable<Figure?> Spectra(EpisodicAnalysis analysis)
    {
        foreach (var course in analysis.FastWeights.Take(Blocks))
        {
            int shown = Math.Min(SingularValues, course.KeyWidth);
            string heads = analysis.Gates.Any(g => g.Head > 1) ? " and heads" : "";
            yield return new Lines(
                $"singular-values-{course.Block}",
                $"Singular values of block {course.Block}'s fast weights",
                $"The {shown} largest of {course.KeyWidth}, the mean over documents{heads}.",
                "tokens",
                "σ of F",
                Enumerable
                    .Range(0, shown)
                    .SelectMany(i =>
                        course.Tokens.Select((t, p) => new Point(t, course.SingularValues[p][i], $"σ{i + 1}"))
                    )
            ).Draw();
        }
        yield return new Lines(
            "effective-rank",
            "Effective rank of the fast weights",
            "exp(−Σ p ln p) of p = σ²/Σσ²: how many directions are in use, the mean over documents.",
            "tokens",
            "effective rank",
            analysis.FastWeights.SelectMany(c =>
                c.Tokens.Select((t, p) => new Point(t, c.EffectiveRank[p], $"block {c.Block}"))
            )
        ).Draw();
    }

    private static IEnumerable<Figure?> Curves(EpisodicAnalysis analysis, double? chance)
    {
        var pairs = analysis.PairsName;
        List<Place> marks = [];
        if (analysis.PairsTrained is { } trained)
            marks.Add(new(trained, "trained"));
        if (analysis.KeyWidth is { } width)
            marks.Add(new(width, "d_k"));
        yield return new Lines(
            "capacity",
            $"Accuracy against the {pairs} to keep",
            $"The same network on documents with more and with fewer {pairs} than it was trained on, at horizon "
                + $"{analysis.HorizonTrained}.{(marks.Count > 1 ? " d_k: as many keys can be orthogonal." : "")}",
            pairs,
            "accuracy",
            Points(analysis.Capacity)
        )
        {
            Marks = marks,
            Chance = chance,
        }.Draw();
        yield return new Lines(
            "distance",
            "Accuracy against the distance",
            "The same network at other horizons; to the left of the mark those that it was trained on.",
            "horizon",
            "accuracy",
            Points(analysis.Distance)
        )
        {
            Marks = [new(analysis.HorizonTrained, "trained")],
            Chance = chance,
        }.Draw();

        static IEnumerable<Point> Points(IEnumerable<CurvePoint> curve) =>
            curve.Select(p => new Point(p.At, p.Accuracy, "", p.Answers));
    }

    /// <param name="X">Its place.</param>
    /// <param name="Y">Its value.</param>
    /// <param name="Line">The line that it is a point of.</param>
    /// <param name="Answers">How many answers a share is of; null for what is no share.</param>
    private sealed record Point(double X, double? Y, string Line, long? Answers = null);

    private sealed record Place(double X, string Label);

    /// <summary>
    /// Lines over one axis: an accuracy, with the interval of each point and a logarithmic axis, or a mean.
    /// </summary>
    private sealed record Lines(string Id, string Title, string Caption, string X, string Y, IEnumerable<Point> Points)
    {
        public IReadOnlyList<Place> Marks { get; init; } = [];
        public double? Chance { get; init; }

        private bool IsAccuracy => Y == "accuracy";

        /// <returns>Null if no point is a number.</returns>
        public Figure? Draw()
        {
            var drawn = Points.Where(p => p.Y is { } v && double.IsFinite(v)).ToList();
            if (drawn.Count == 0)
                return null;
            var lines = drawn.Select(p => p.Line).Distinct().ToList();
            var at = drawn.Select(p => p.X).Distinct().Order().ToList();
            var rows = drawn.Select(Row.Create).ToList();
            return new Chart
            {
                Height = 200,
                Layers =
                [
                    .. Chart.Chance(Chance),
                    new() { Rows = rows, Layers = IsAccuracy ? Shares(lines, at, rows) : [Means(lines, at)] },
                    .. Marks.SelectMany((mark, i) => Marked(mark, i, at[^1])),
                ],
            }.Figure(Id, Title, Caption + (IsAccuracy ? Bars(rows) : ""));
        }

        /// <summary>A point with the interval of its share.</summary>
        private sealed record Row(double X, double? Y, string Of, double Low, double High, long? N)
        {
            public static Row Create(Point p)
            {
                var (low, high) = p.Answers is { } n ? Sample.ShareInterval(p.Y!.Value, n) : (p.Y!.Value, p.Y.Value);
                return new(p.X, p.Y, p.Line, low, high, p.Answers);
            }
        }

        private Chart Means(List<string> lines, List<double> at) =>
            new()
            {
                Mark = Mark.Line(at.Count <= 40 ? 30 : null),
                X = new("x", X)
                {
                    Scale = Scale.Tight with { Zero = false },
                    Axis = new() { TickCount = 6, Format = "d" },
                },
                Y = new("y", Y) { Scale = Scale.FromZero, Axis = Axis.Few },
                Color = Coloured("of", lines, columns: 8),
            };

        private Chart[] Shares(List<string> lines, List<double> at, List<Row> rows)
        {
            var means = Means(lines, at);
            var shares = means with
            {
                X = new("x", X)
                {
                    Scale = Scale.Tight with { Type = "log", Base = 2 },
                    Axis = new() { Values = at.Where(v => Math.Log2(v) % 1 == 0), Format = "d" },
                },
                Y = means.Y! with { Scale = Scale.Accuracy(Chance, rows.Select(r => (double?)r.Low)) },
                Tooltip =
                [
                    Tip("x", X),
                    Tip("y", Y, ".3f"),
                    Tip("low", "from", ".3f"),
                    Tip("high", "to", ".3f"),
                    Tip("n", "answers"),
                ],
            };
            return
            [
                shares,
                shares with
                {
                    Mark = new("rule", StrokeWidth: 1.2),
                    Y = shares.Y with { Field = "low" },
                    Y2 = new("high") { Type = null },
                    Tooltip = null,
                },
            ];
        }

        private static string Bars(List<Row> rows)
        {
            var (from, to) = (rows.Min(r => r.N ?? 0), rows.Max(r => r.N ?? 0));
            string range = from == to ? $"{from}" : $"{from} to {to}";
            return $" Bars: 95 % intervals (Wilson), of {range} answers at each point.";
        }

        private static IEnumerable<Chart> Marked(Place mark, int i, double last)
        {
            var (align, dx) = mark.X < last ? ("left", 4) : ("right", -4);
            yield return Chart.Rule(x: At(mark.X), dash: [5, 3]);
            yield return Chart.Words(mark.Label, mark.X, 160 - 16 * i, align, dx);
        }
    }
}
