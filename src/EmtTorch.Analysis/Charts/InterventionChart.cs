using EmtTorch.Settings;
using static EmtTorch.Analysis.Charts.Channel;

namespace EmtTorch.Analysis.Charts;

/// <summary>The accuracy after something was done to a variable's contents: a chart and a table.</summary>
internal static class InterventionChart
{
    public static Figure? Of(IReadOnlyList<Intervention> interventions)
    {
        var finite = interventions.Where(i => i.Accuracy is double a && double.IsFinite(a)).ToList();
        if (finite.Count == 0)
            return null;
        var kinds = finite.Select(i => i.Kind).Distinct().ToList();
        var rows = finite.ToLookup(
            i => i.Variable is null,
            i => new
            {
                k = i.Variable,
                of = i.Kind,
                v = i.Accuracy,
            }
        );
        var named = Named("of") with { Scale = new(Domain: kinds), Legend = new() };
        return new Chart
        {
            Height = 240,
            Y = new("v", "accuracy") { Scale = Scale.Share with { Clamp = true }, Axis = Axis.Few },
            Color = named,
            Layers =
            [
                new() { Rows = rows[true], Mark = new("rule", StrokeDash: [5, 3], StrokeWidth: 1.5, Tooltip: true) },
                new()
                {
                    Rows = rows[false],
                    Mark = Mark.Dots(70) with { Tooltip = true },
                    X = new("k", "variable") { Type = "ordinal", Axis = new(LabelAngle: 0, Grid: true) },
                    XOffset = Named("of"),
                    Shape = named,
                },
            ],
        }.Figure(
            "interventions",
            "Accuracy after interventions",
            "Share of output bits as predicted, by the variable that was changed."
                + (rows[true].Any() ? " Dashed lines: interventions that belong to no single variable." : "")
        );
    }
}
