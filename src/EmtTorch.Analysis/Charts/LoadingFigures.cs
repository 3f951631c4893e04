using static EmtTorch.Analysis.Charts.Channel;

namespace EmtTorch.Analysis.Charts;

/// <summary>How a network loads its variables: what enters the newest one, and how what was loaded settles.</summary>
internal static class LoadingFigures
{
    private sealed record Point(int T, double V, string Of);

    public static IEnumerable<Figure> Of(LoadingResult loading)
    {
        yield return Lines(
                loading.Steps.SelectMany(step =>
                    new Point[]
                    {
                        new(step.Step, step.InputWeight, "input u"),
                        new(step.Step, step.FeedbackWeight, "feedback f"),
                    }
                ),
                "step of the input phase",
                "weight",
                ["input u", "feedback f"]
            )
            .Figure(
                "loading-weights",
                "What enters the newest variable",
                "While input comes, the newest variable receives the input u(t) and, by the circuit, f of the "
                    + "half-filled memory besides: the weights of a least squares fit of its contents. A linear "
                    + "network of one phase would have 1 and 1, and mix the two; where the input's weight is well "
                    + "above the feedback's, the input overwrites."
            );

        int s = loading.Steps.Count;
        var settling = loading
            .AgreeAfter.Select((v, k) => new Point(s + k, v, "with the feedback"))
            .Concat(loading.DisagreeAfter.Select((v, k) => new Point(s + k, v, "against the feedback")))
            .Where(p => double.IsFinite(p.V))
            .ToList();
        if (settling.Count > 0)
        {
            yield return Lines(settling, "step", "contents × value", ["with the feedback", "against the feedback"])
                .Figure(
                    "loading-settles",
                    "How what was loaded settles",
                    "Contents times the value that was to be stored, for numbers that were loaded with the "
                        + "feedback's help and for those loaded against it, as they move on from variable to "
                        + "variable. Above 0 the sign is right; a linear network of one phase would have 2 and 0."
                );
        }
    }

    private static Chart Lines(IEnumerable<Point> points, string x, string y, string[] names) =>
        new()
        {
            Height = 220,
            Layers =
            [
                Chart.Rule(y: Channel.At(0), color: Palette.Grey),
                new()
                {
                    Rows = points.Where(p => double.IsFinite(p.V)),
                    Mark = Mark.Line(pointSize: 40),
                    X = new("t", x) { Scale = Scale.NotFromZero, Axis = Axis.Whole },
                    Y = new("v", y),
                    Color = Channel.Coloured("of", names),
                    StrokeDash = Channel.Told("of", names, Dashes),
                },
            ],
        };
}
