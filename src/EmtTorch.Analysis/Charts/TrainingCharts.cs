namespace EmtTorch.Analysis.Charts;

/// <summary>The curves of metrics.jsonl by step: loss, accuracy, horizon, of text the bits per character, and how the eigenvalues come to theory's.</summary>
internal static class TrainingCharts
{
    /// <summary>More points than this are thinned evenly: a curve 1100 pixels wide shows no more.</summary>
    private const int PointLimit = 1500;

    public static IEnumerable<Figure> Of(IReadOnlyList<TrainingPoint> points, bool onTokens = false)
    {
        int stride = (points.Count + PointLimit - 1) / PointLimit;
        var drawn = points
            .Where(
                (_, i) =>
                    i % stride == 0
                    || i == points.Count - 1
                    || points[i].TestAccuracy is not null
                    || points[i].TestLoss is not null
            )
            .ToList();
        string thinned = stride > 1 ? $" Every {stride}th logged point." : "";
        if (
            Curves("loss", "log", drawn, ("training", p => Positive(p.Loss)), ("test", p => Positive(p.TestLoss))) is
            { } loss
        )
        {
            yield return new(
                "training-loss",
                "Loss",
                (
                    onTokens
                        ? "Mean cross entropy of what is asked, in nats, on a logarithmic scale."
                        : "On a logarithmic scale."
                ) + thinned,
                CompactJson.Object(loss)
            );
        }

        if (
            Curves(
                "bits per character",
                "zero",
                drawn,
                ("all characters", p => p.TestBits),
                ("new words", p => p.TestBitsNewWords),
                ("seen words", p => p.TestBitsSeenWords)
            ) is
            { } bits
        )
        {
            yield return new(
                "training-bits",
                "Bits per character",
                "At the tests: of all characters, of those in words that are new in their document, and in words that were in it before.",
                CompactJson.Object(bits)
            );
        }

        if (
            Curves("accuracy", "linear", drawn, ("training", p => p.Accuracy), ("test", p => p.TestAccuracy)) is
            { } accuracy
        )
        {
            yield return new(
                "training-accuracy",
                "Accuracy",
                (onTokens ? "Share of right answers." : "Share of output bits with the right sign.") + thinned,
                CompactJson.Object(accuracy)
            );
        }

        if (Curves("horizon", "step", drawn, ("training", p => p.Horizon)) is { } horizon)
        {
            yield return new(
                "training-horizon",
                "Horizon",
                (
                    onTokens
                        ? "How far the curriculum goes, in what the task counts."
                        : "Steps of output that the curriculum asks for."
                ) + thinned,
                CompactJson.Object(horizon)
            );
        }

        if (Curves("radians", "log", drawn, ("test", p => Positive(p.SpectralError))) is { } spectral)
        {
            yield return new(
                "training-spectral",
                "Spectral error",
                "At each test at which the network has as many persistent eigenvalues as theory.",
                CompactJson.Object(spectral)
            );
        }

        if (Curves("eigenvalues", "step", drawn, ("test", p => p.EigenvaluesLearned)) is { } count)
        {
            yield return new(
                "training-eigenvalues",
                "Persistent eigenvalues",
                "How many of the network's are greater than 0.9 in magnitude.",
                CompactJson.Object(count)
            );
        }
    }

    private static double? Positive(double? value) => value > 0 ? value : null;

    private static string? Curves(
        string name,
        string kind,
        List<TrainingPoint> points,
        params (string Of, Func<TrainingPoint, double?> Value)[] curves
    )
    {
        var values = new List<string>();
        var shown = new List<string>();
        foreach (var (of, value) in curves)
        {
            var finite = points.Where(p => value(p) is double v && double.IsFinite(v)).ToList();
            if (finite.Count == 0)
                continue;
            shown.Add(of);
            values.AddRange(
                finite.Select(p => $$"""{"s":{{p.Step}},"v":{{CompactJson.Number(value(p))}},"of":"{{of}}"}""")
            );
        }
        if (shown.Count == 0)
            return null;
        string scale = kind switch
        {
            "log" => """{"type": "log", "nice": true}""",
            "step" or "zero" => """{"zero": true}""",
            _ => """{"domain": [0, 1], "clamp": true}""",
        };
        string axis = kind == "log" ? """{"tickCount": 5, "format": "~g"}""" : """{"tickCount": 5}""";
        string domain = """["training", "test"]""",
            colours = """["#0072b2", "#d55e00"]""",
            dashes = "[[], [5, 3]]";
        if (curves.Any(c => c.Of is not ("training" or "test")))
        {
            (domain, colours, dashes) = (
                CompactJson.Array(curves.Select(c => CompactJson.Text(c.Of))),
                """["#d55e00", "#0072b2", "#009e73"]""",
                "[[5, 3], [], [2, 2]]"
            );
        }

        string legend = shown.Count == 1 ? "null" : """{"title": null, "orient": "bottom"}""";
        return $$"""
            {
              "width": "container", "height": 200,
              "data": {"values": {{CompactJson.Array(values)}}},
              "mark": {"type": "line", "interpolate": "{{(kind == "step" ? "step-after" : "linear")}}", "point": {{(
                values.Count < 60 ? """{"size": 25}""" : "false"
            )}}, "tooltip": true},
              "encoding": {
                "x": {"field": "s", "type": "quantitative", "title": "step", "axis": {"format": ",d", "tickCount": 5} },
                "y": {"field": "v", "type": "quantitative", "title": "{{name}}", "scale": {{scale}}, "axis": {{axis}} },
                "color": {"field": "of", "type": "nominal", "scale": {"domain": {{domain}}, "range": {{colours}} }, "legend": {{legend}} },
                "strokeDash": {"field": "of", "type": "nominal", "scale": {"domain": {{domain}}, "range": {{dashes}} }, "legend": {{legend}} }
              }
            }
            """;
    }
}
