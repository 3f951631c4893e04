using EmtTorch.Settings;
using static EmtTorch.Analysis.Charts.Channel;

namespace EmtTorch.Analysis.Charts;

/// <summary>The accuracy after something was done to a variable's contents.</summary>
internal static class InterventionChart
{
    /// <returns>Null if no accuracy is finite.</returns>
    public static Figure? Of(IReadOnlyList<Intervention> interventions)
    {
        var finite = interventions.Where(i => i.Accuracy is { } a && double.IsFinite(a)).ToList();
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
        var accuracy = new Channel("v", "accuracy") { Scale = Scale.Accuracy(null, []), Axis = Axis.Few };
        return new Chart
        {
            Height = 240,
            Layers =
            [
                new()
                {
                    Rows = rows[true],
                    Mark = new("rule", StrokeDash: [5, 3], StrokeWidth: 1.5, Tooltip: true),
                    Y = accuracy,
                    Color = Coloured("of", kinds),
                },
                new()
                {
                    Rows = rows[false],
                    Mark = Mark.Dots(70) with { Tooltip = true },
                    X = new("k", "variable") { Type = "ordinal", Axis = new(LabelAngle: 0, Grid: true) },
                    XOffset = Named("of"),
                    Y = accuracy,
                    Color = Coloured("of", kinds),
                    Shape = Told("of", kinds, Shapes),
                },
            ],
        }.Figure(
            "interventions",
            "Interventions, over the bits that they change",
            "Share of the output bits as predicted among those that the intervention changes, by the variable that was "
                + "changed. A network that ignores it has 0; random directions: the state was moved as far, but "
                + "not along the variables. Where nothing was changed: of all bits."
                + (rows[true].Any() ? " Dashed lines in colour: interventions that belong to no single variable." : "")
        );
    }
}
