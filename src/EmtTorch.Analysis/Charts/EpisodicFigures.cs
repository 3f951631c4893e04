using EmtTorch.Analysis.Episodic;
using EmtTorch.Memory;

namespace EmtTorch.Analysis.Charts;

/// <summary>An episodic analysis in pictures.</summary>
internal static class EpisodicFigures
{
    /// <summary>Blocks that are drawn one by one, the first ones: a page of more is not looked at.</summary>
    private const int Blocks = 4;

    private const int SingularValues = 8;

    // Okabe and Ito's.
    private static readonly string[] Colours =
    [
        "#0072b2",
        "#d55e00",
        "#009e73",
        "#cc79a7",
        "#999999",
        "#e69f00",
        "#56b4e9",
        "#f0e442",
    ];

    public static IReadOnlyList<Figure> Of(EpisodicAnalysis analysis) =>
        [
            .. Gates(analysis),
            .. GatesOfExample(analysis),
            .. Reads(analysis),
            .. Graphs(analysis),
            .. Spectra(analysis),
            .. Curves(analysis),
        ];

    /// <summary>g by the kind of token, a dot for each block and head, and for each graph; where there is no gate nothing.</summary>
    private static IEnumerable<Figure> Gates(EpisodicAnalysis analysis)
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
        var values = readings.Select(r =>
            $$"""{"k":{{CompactJson.Text(r.Kind.Kind)}},"v":{{CompactJson.Number(r.Kind.Gate)}},"b":{{CompactJson.Number(r.Kind.Strength)}},"n":{{r.Kind.Count}},"of":{{CompactJson.Text(r.Of)}}}"""
        );
        var kinds = readings.Select(r => r.Kind.Kind).Distinct().ToList();
        var of = readings.Select(r => r.Of).Distinct().ToList();
        yield return new(
            "gate",
            "What gates let in",
            "The mean of g over the tokens of each kind. 0: nothing is written; 1: all of it. With the pointer on a dot: β = gη, which the token is written with.",
            CompactJson.Object(
                $$"""
                {
                  "width": "container", "height": {{32 * kinds.Count}},
                  "data": {"values": {{CompactJson.Array(values)}}},
                  "mark": {"type": "point", "filled": true, "size": 80, "opacity": 0.9},
                  "encoding": {
                    "x": {"field": "v", "type": "quantitative", "title": "g", "scale": {"domain": [0, 1]}, "axis": {"tickCount": 5} },
                    "y": {"field": "k", "type": "nominal", "title": null, "sort": {{CompactJson.Array(
                    kinds.Select(k => CompactJson.Text(k))
                )}}, "axis": {"grid": true, "ticks": false, "labelPadding": 8} },
                    "color": {"field": "of", "type": "nominal", "scale": {"domain": {{CompactJson.Array(
                    of.Select(o => CompactJson.Text(o))
                )}}, "range": {{Range(of.Count)}} }, "legend": {{(
                    of.Count == 1 ? "null" : """{"title": null, "orient": "bottom", "columns": 4}"""
                )}} },
                    "tooltip": [{"field": "of", "title": "of"}, {"field": "k", "title": "kind"}, {"field": "v", "title": "g", "format": ".3f"}, {"field": "b", "title": "β", "format": ".3f"}, {"field": "n", "title": "tokens"}]
                  }
                }
                """
            )
        );
    }

    /// <summary>g at each token of one document, by the token's kind.</summary>
    private static IEnumerable<Figure> GatesOfExample(EpisodicAnalysis analysis)
    {
        if (analysis.Example is not { } example)
            yield break;
        var kinds = example.Kinds.Distinct().Order().ToList();
        for (int block = 0; block < Math.Min(Blocks, example.Gates.Length); block++)
        {
            var gates = example.Gates[block];
            if (!gates.Any(double.IsFinite))
                continue;
            var values = gates.Select(
                (g, t) =>
                    $$"""{"t":{{t + 1}},"v":{{CompactJson.Number(g)}},"k":{{CompactJson.Text(example.Kinds[t])}},"w":{{CompactJson.Text(example.Tokens[t])}}}"""
            );
            yield return new(
                $"gate-document-{block + 1}",
                $"The gate of block {block + 1}'s fast weights along one document",
                $"g at each token{(analysis.Gates.Any(g => g.Head > 1) ? ", the mean of the heads" : "")}.",
                CompactJson.Object(
                    $$"""
                    {
                      "width": "container", "height": 150,
                      "data": {"values": {{CompactJson.Array(values)}}},
                      "encoding": {
                        "x": {"field": "t", "type": "quantitative", "title": "token", "scale": {"domain": [0, {{gates.Length
                        + 1}}], "nice": false}, "axis": {"format": "d", "tickMinStep": 1} },
                        "y": {"field": "v", "type": "quantitative", "title": "g", "scale": {"domain": [0, 1]}, "axis": {"tickCount": 5} },
                        "color": {"field": "k", "type": "nominal", "scale": {"domain": {{CompactJson.Array(
                        kinds.Select(k => CompactJson.Text(k))
                    )}}, "range": {{Range(
                        kinds.Count
                    )}} }, "legend": {"title": null, "orient": "bottom", "columns": 5, "symbolOpacity": 1} },
                        "tooltip": [{"field": "t", "title": "token"}, {"field": "w", "title": "is"}, {"field": "k", "title": "kind"}, {"field": "v", "title": "g", "format": ".3f"}]
                      },
                      "layer": [
                        {"mark": {"type": "rule", "opacity": 0.35, "strokeWidth": 1, "aria": false}, "encoding": {"y2": {"datum": 0} } },
                        {"mark": {"type": "point", "filled": true, "size": 22, "opacity": 0.9} }
                      ]
                    }
                    """
                )
            );
        }
    }

    /// <summary>What each pair gives to the read at each question.</summary>
    private static IEnumerable<Figure> Reads(EpisodicAnalysis analysis)
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
            if (
                new HeatMap
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
                    $"At each question of one document the share of the read that each stored pair gives: a read is a weighted sum of the values that were written. A dot: the pair that is asked for.{over}"
                ) is
                { } figure
            )
            {
                yield return figure;
            }
        }
    }

    /// <summary>E_ij g_j between the facts of one document.</summary>
    private static IEnumerable<Figure> Graphs(EpisodicAnalysis analysis)
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
            if (
                new HeatMap
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
                    $"The facts of one document that are nodes when its last question is asked, and E_ij g_j, by how much the column's fact is added to the row's. A dot: the facts are a chain's, one after the other.{over}"
                ) is
                { } figure
            )
            {
                yield return figure;
            }
        }
    }

    private static IEnumerable<Figure> Spectra(EpisodicAnalysis analysis)
    {
        foreach (var course in analysis.FastWeights.Take(Blocks))
        {
            int shown = Math.Min(SingularValues, course.KeyWidth);
            if (
                Lines(
                    $"singular-values-{course.Block}",
                    $"Singular values of block {course.Block}'s fast weights",
                    $"The {shown} largest of {course.KeyWidth}, the mean over documents{(analysis.Gates.Any(g => g.Head > 1) ? " and heads" : "")}.",
                    "tokens",
                    "σ of F",
                    "linear",
                    Enumerable
                        .Range(0, shown)
                        .SelectMany(i =>
                            course.Tokens.Select(
                                (t, p) => ((double)t, (double?)course.SingularValues[p][i], $"σ{i + 1}")
                            )
                        )
                ) is
                { } figure
            )
            {
                yield return figure;
            }
        }
        if (
            Lines(
                "effective-rank",
                "Effective rank of the fast weights",
                "exp(−Σ p ln p) of p = σ²/Σσ²: how many directions are in use.",
                "tokens",
                "effective rank",
                "linear",
                analysis.FastWeights.SelectMany(c =>
                    c.Tokens.Select((t, p) => ((double)t, (double?)c.EffectiveRank[p], $"block {c.Block}"))
                )
            ) is
            { } ranks
        )
        {
            yield return ranks;
        }
    }

    private static IEnumerable<Figure> Curves(EpisodicAnalysis analysis)
    {
        var marks = new List<(double, string)>();
        if (analysis.PairsTrained is { } trained)
            marks.Add((trained, "trained"));
        if (analysis.KeyWidth is { } width)
            marks.Add((width, "d_k"));
        if (
            Lines(
                "capacity",
                $"Accuracy against the {analysis.PairsName} to keep",
                $"The same network on documents with more and with fewer {analysis.PairsName} than it was trained on, at horizon {analysis.HorizonTrained}.{(marks.Count > 1 ? " d_k: as many keys can be orthogonal." : "")}",
                analysis.PairsName,
                "accuracy",
                "log",
                analysis.Capacity.Select(p => ((double)p.At, p.Accuracy, "")),
                marks
            ) is
            { } capacity
        )
        {
            yield return capacity;
        }

        if (
            Lines(
                "distance",
                "Accuracy against the distance",
                "The same network at other horizons; to the left of the mark those that it was trained on.",
                "horizon",
                "accuracy",
                "log",
                analysis.Distance.Select(p => ((double)p.At, p.Accuracy, "")),
                [(analysis.HorizonTrained, "trained")]
            ) is
            { } distance
        )
        {
            yield return distance;
        }
    }

    private static string Range(int count) =>
        CompactJson.Array(Enumerable.Range(0, count).Select(i => CompactJson.Text(Colours[i % Colours.Length])));

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
        var values = drawn.Select(p =>
            $$"""{"x":{{CompactJson.Number(p.X)}},"y":{{CompactJson.Number(p.Y)}},"of":{{CompactJson.Text(p.Of)}}}"""
        );
        var at = drawn.Select(p => p.X).Distinct().Order().ToList();
        string across =
            scale == "log" ? """{"type": "log", "base": 2, "nice": false}""" : """{"zero": false, "nice": false}""";
        string ticks =
            scale == "log"
                ? $$"""{"values": {{CompactJson.Array(at.Where(v => Math.Log2(v) % 1 == 0))}}, "format": "d"}"""
                : """{"format": "d", "tickCount": 6}""";
        string down = y == "accuracy" ? """{"domain": [0, 1]}""" : """{"zero": true}""";
        var layers = new List<string>
        {
            $$"""
                {
                  "data": {"values": {{CompactJson.Array(values)}}},
                  "mark": {"type": "line", "point": {{(
                    at.Count <= 40 ? """{"size": 30}""" : "false"
                )}}, "tooltip": true},
                  "encoding": {
                    "x": {"field": "x", "type": "quantitative", "title": "{{x}}", "scale": {{across}}, "axis": {{ticks}} },
                    "y": {"field": "y", "type": "quantitative", "title": "{{y}}", "scale": {{down}}, "axis": {"tickCount": 5} },
                    "color": {{(
                    of.Count == 1
                        ? """{"value": "#0072b2"}"""
                        : $$"""{"field": "of", "type": "nominal", "scale": {"domain": {{CompactJson.Array(of.Select(o => CompactJson.Text(o)))}}, "range": {{Range(of.Count)}} }, "legend": {"title": null, "orient": "bottom", "columns": 8} }"""
                )}}
                  }
                }
                """,
        };
        for (int i = 0; i < (marks?.Count ?? 0); i++)
        {
            var (place, label) = marks![i];
            layers.Add(
                $$"""{"data": {"values": [{}]}, "mark": {"type": "rule", "color": "#1b1f24", "strokeDash": [5, 3]}, "encoding": {"x": {"datum": {{CompactJson.Number(place)}} } } }"""
            );
            layers.Add(
                $$"""{"data": {"values": [{}]}, "mark": {"type": "text", "align": "{{(place < at[^1] ? "left" : "right")}}", "baseline": "bottom", "dx": {{(place < at[^1] ? 4 : -4)}}, "fontSize": 12}, "encoding": {"x": {"datum": {{CompactJson.Number(place)}} }, "y": {"value": {{196 - 16 * i}} }, "text": {"value": {{CompactJson.Text(label)}} } } }"""
            );
        }
        return new(
            id,
            title,
            caption,
            CompactJson.Object($$"""{"width": "container", "height": 200, "layer": {{CompactJson.Array(layers)}} }""")
        );
    }
}
