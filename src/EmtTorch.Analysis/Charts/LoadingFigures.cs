namespace EmtTorch.Analysis.Charts;

/// <summary>How a network loads its variables: what enters the newest one, and how what was loaded settles.</summary>
internal static class LoadingFigures
{
    public static IEnumerable<Figure> Of(LoadingResult loading)
    {
        var weights = new List<string>();
        foreach (var step in loading.Steps)
        {
            Add(weights, step.Step, step.InputWeight, "input u");
            Add(weights, step.Step, step.FeedbackWeight, "feedback f");
        }
        yield return new(
            "loading-weights",
            "What enters the newest variable",
            "While input comes, the newest variable receives the input u(t) and, by the circuit, f of the half-filled memory besides: the weights of a least squares fit of its "
                + "contents. A linear network of one phase would have 1 and 1, and mix the two; where the input's weight is well above the feedback's, the input overwrites.",
            CompactJson.Object(Lines(weights, "step of the input phase", "weight", "input u", "feedback f"))
        );

        var settling = new List<string>();
        int s = loading.Steps.Count;
        for (int k = 0; k < loading.AgreeAfter.Count; k++)
        {
            Add(settling, s + k, loading.AgreeAfter[k], "with the feedback");
            Add(settling, s + k, loading.DisagreeAfter[k], "against the feedback");
        }
        if (settling.Count > 0)
        {
            yield return new(
                "loading-settles",
                "How what was loaded settles",
                "Contents times the value that was to be stored, for numbers that were loaded with the feedback's help and for those loaded against it, as they move on from variable to variable. "
                    + "Above 0 the sign is right; a linear network of one phase would have 2 and 0.",
                CompactJson.Object(
                    Lines(settling, "step", "contents × value", "with the feedback", "against the feedback")
                )
            );
        }
    }

    private static void Add(List<string> values, int step, double value, string of)
    {
        if (double.IsFinite(value))
            values.Add($$"""{"t":{{step}},"v":{{CompactJson.Number(value)}},"of":"{{of}}"}""");
    }

    private static string Lines(List<string> values, string x, string y, string first, string second) =>
        $$"""
            {
              "width": "container", "height": 220,
              "data": {"values": {{CompactJson.Array(values)}}},
              "layer": [
                {"mark": {"type": "rule", "color": "#999"}, "data": {"values": [{"v": 0}]}, "encoding": {"y": {"field": "v", "type": "quantitative"} } },
                {"mark": {"type": "line", "point": {"size": 40}, "tooltip": true},
                 "encoding": {
                   "x": {"field": "t", "type": "quantitative", "title": "{{x}}", "scale": {"zero": false}, "axis": {"tickMinStep": 1, "format": "d"} },
                   "y": {"field": "v", "type": "quantitative", "title": "{{y}}"},
                   "color": {"field": "of", "type": "nominal", "scale": {"domain": ["{{first}}", "{{second}}"], "range": ["#0072b2", "#d55e00"]}, "legend": {"title": null, "orient": "bottom"} },
                   "strokeDash": {"field": "of", "type": "nominal", "scale": {"domain": ["{{first}}", "{{second}}"], "range": [[], [5, 3]]}, "legend": {"title": null, "orient": "bottom"} }
                 } }
              ]
            }
            """;
}
