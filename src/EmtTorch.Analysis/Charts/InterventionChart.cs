using System.Text;

namespace EmtTorch.Analysis.Charts;

/// <summary>The accuracy after something was done to a variable's contents: a chart and a table.</summary>
internal static class InterventionChart
{
    public static Figure? Of(IReadOnlyList<Intervention> interventions)
    {
        var finite = interventions.Where(i => i.Accuracy is double a && double.IsFinite(a)).ToList();
        if (finite.Count == 0)
            return null;
        var values = finite
            .Where(i => i.Variable is not null)
            .Select(i =>
                $$"""{"k":{{i.Variable}},"of":{{CompactJson.Text(i.Kind)}},"v":{{CompactJson.Number(i.Accuracy)}}}"""
            );
        var rules = finite
            .Where(i => i.Variable is null)
            .Select(i => $$"""{"of":{{CompactJson.Text(i.Kind)}},"v":{{CompactJson.Number(i.Accuracy)}}}""")
            .ToList();
        var kinds = CompactJson.Array(finite.Select(i => i.Kind).Distinct().Select(CompactJson.Text));
        return new(
            "interventions",
            "Accuracy after interventions",
            "Share of output bits as predicted, by the variable that was changed."
                + (rules.Count == 0 ? "" : " Dashed lines: interventions that belong to no single variable."),
            CompactJson.Object(
                $$"""
                {
                  "width": "container", "height": 240,
                  "encoding": {
                    "y": {"field": "v", "type": "quantitative", "title": "accuracy", "scale": {"domain": [0, 1], "clamp": true}, "axis": {"tickCount": 5} },
                    "color": {"field": "of", "type": "nominal", "scale": {"domain": {{kinds}}}, "legend": {"title": null, "orient": "bottom"} }
                  },
                  "layer": [
                    {
                      "data": {"values": {{CompactJson.Array(rules)}}},
                      "mark": {"type": "rule", "strokeDash": [5, 3], "strokeWidth": 1.5, "tooltip": true}
                    },
                    {
                      "data": {"values": {{CompactJson.Array(values)}}},
                      "mark": {"type": "point", "filled": true, "size": 70, "opacity": 0.9, "tooltip": true},
                      "encoding": {
                        "x": {"field": "k", "type": "ordinal", "title": "variable", "axis": {"labelAngle": 0, "grid": true} },
                        "xOffset": {"field": "of", "type": "nominal"},
                        "shape": {"field": "of", "type": "nominal", "scale": {"domain": {{kinds}}}, "legend": {"title": null, "orient": "bottom"} }
                      }
                    }
                  ]
                }
                """
            )
        );
    }
}
