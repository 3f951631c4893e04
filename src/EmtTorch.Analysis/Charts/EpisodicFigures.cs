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

    public static IReadOnlyList<Figure> Of(EpisodicAnalysis analysis) =>
        [
            .. new[]
            {
                Gates(analysis),
                GatesOfExample(analysis),
                Reads(analysis),
                Graphs(analysis),
                Spectra(analysis),
                Curves(analysis),
            }
                .SelectMany(figures => figures)
                .OfType<Figure>(),
        ];

    /// <summary>
    /// g by the kind of token, a dot for each block and head, and for each graph; where there is no gate nothing.
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
        var kinds = readings.Select(r => r.Kind.Kind).Distinct().ToList();
        var of = readings.Select(r => r.Of).Distinct().ToList();
        yield return new Chart
        {
            Height = 32 * kinds.Count,
            Rows = readings.Select(r => new
            {
                k = r.Kind.Kind,
                v = r.Kind.Gate,
                b = r.Kind.Strength,
                n = r.Kind.Count,
                of = r.Of,
            }),
            Mark = Mark.Dots(80),
            X = new("v", "g") { Scale = Scale.Share, Axis = Axis.Few },
            Y = Named("k") with { Sort = kinds, Axis = Axis.Names },
            Color = Coloured("of", of, columns: 4),
            Tooltip = [Tip("of"), Tip("k", "kind"), Tip("v", "g", ".3f"), Tip("b", "β", ".3f"), Tip("n", "tokens")],
        }.Figure(
            "gate",
            "What gates let in",
            "The mean of g over the tokens of each kind. 0: nothing is written; 1: all of it. With the pointer on a "
                + "dot: β = gη, which the token is written with."
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
                    new() { Mark = new("rule", Opacity: 0.35, StrokeWidth: 1, Aria: false), Y2 = At(0) },
                    new() { Mark = Mark.Dots(22) },
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
                : $" Over {found.Questions} questions {NumberText.Percent(found.Asked)} comes from the asked pair and {NumberText.Percent(found.Others)} from the others.";
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
                : $" Over {graph.Questions} questions {NumberText.Percent(graph.Linked)} of the strongest edges from a question's first fact lead to its second.";
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
            yield return Lines(
                $"singular-values-{course.Block}",
                $"Singular values of block {course.Block}'s fast weights",
                $"The {shown} largest of {course.KeyWidth}, the mean over "
                    + $"documents{(analysis.Gates.Any(g => g.Head > 1) ? " and heads" : "")}.",
                "tokens",
                "σ of F",
                "linear",
                Enumerable
                    .Range(0, shown)
                    .SelectMany(i =>
                        course.Tokens.Select((t, p) => ((double)t, (double?)course.SingularValues[p][i], $"σ{i + 1}"))
                    )
            );
        }
        yield return Lines(
            "effective-rank",
            "Effective rank of the fast weights",
            "exp(−Σ p ln p) of p = σ²/Σσ²: how many directions are in use.",
            "tokens",
            "effective rank",
            "linear",
            analysis.FastWeights.SelectMany(c =>
                c.Tokens.Select((t, p) => ((double)t, (double?)c.EffectiveRank[p], $"block {c.Block}"))
            )
        );
    }

    private static IEnumerable<Figure?> Curves(EpisodicAnalysis analysis)
    {
        var marks = new List<(double, string)>();
        if (analysis.PairsTrained is { } trained)
            marks.Add((trained, "trained"));
        if (analysis.KeyWidth is { } width)
            marks.Add((width, "d_k"));
        yield return Lines(
            "capacity",
            $"Accuracy against the {analysis.PairsName} to keep",
            $"The same network on documents with more and with fewer {analysis.PairsName} than it was trained on, at "
                + "horizon "
                + $"{analysis.HorizonTrained}.{(marks.Count > 1 ? " d_k: as many keys can be orthogonal." : "")}",
            analysis.PairsName,
            "accuracy",
            "log",
            analysis.Capacity.Select(p => ((double)p.At, p.Accuracy, "")),
            marks
        );

        yield return Lines(
            "distance",
            "Accuracy against the distance",
            "The same network at other horizons; to the left of the mark those that it was trained on.",
            "horizon",
            "accuracy",
            "log",
            analysis.Distance.Select(p => ((double)p.At, p.Accuracy, "")),
            [(analysis.HorizonTrained, "trained")]
        );
    }

    /// <returns>Null where no point is a number.</returns>
    private static Figure? Lines(
        string id,
        string title,
        string caption,
        string x,
        string y,
        string scale,
        IEnumerable<(double X, double? Y, string Of)> points,
        IReadOnlyList<(double At, string Label)>? marks = null
    )
    {
        var drawn = points.Where(p => p.Y is { } v && double.IsFinite(v)).ToList();
        if (drawn.Count == 0)
            return null;
        var of = drawn.Select(p => p.Of).Distinct().ToList();
        var at = drawn.Select(p => p.X).Distinct().Order().ToList();
        bool log = scale == "log";
        var lines = new Chart
        {
            Rows = drawn.Select(p => new
            {
                x = p.X,
                y = p.Y,
                of = p.Of,
            }),
            Mark = Mark.Line(at.Count <= 40 ? 30 : null),
            X = new("x", x)
            {
                Scale = log ? Scale.Tight with { Type = "log", Base = 2 } : Scale.Tight with { Zero = false },
                Axis = log
                    ? new() { Values = at.Where(v => Math.Log2(v) % 1 == 0), Format = "d" }
                    : new() { TickCount = 6, Format = "d" },
            },
            Y = new("y", y) { Scale = y == "accuracy" ? Scale.Share : Scale.FromZero, Axis = Axis.Few },
            Color = Coloured("of", of, columns: 8),
        };
        IEnumerable<Chart> Marked((double At, string Label) mark, int i)
        {
            var (align, dx) = mark.At < at[^1] ? ("left", 4) : ("right", -4);
            yield return Chart.Rule(x: At(mark.At), dash: [5, 3]);
            yield return Chart.Words(mark.Label, mark.At, 196 - 16 * i, align, dx);
        }
        return new Chart { Height = 200, Layers = [lines, .. (marks ?? []).SelectMany(Marked)] }.Figure(
            id,
            title,
            caption
        );
    }
}
