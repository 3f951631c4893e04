using static EmtTorch.Analysis.Charts.Channel;

namespace EmtTorch.Analysis.Charts;

/// <summary>
/// The curves of metrics.jsonl by step: loss, accuracy, horizon, of text the bits per character, and how the
/// eigenvalues come to theory's.
/// </summary>
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
        Figure?[] figures =
        [
            Curves(
                drawn,
                ("training-loss", "Loss"),
                (
                    onTokens
                        ? "Mean cross entropy of what is asked, in nats, on a logarithmic scale."
                        : "On a logarithmic scale."
                ) + thinned,
                ("loss", "log"),
                ("training", p => Positive(p.Loss)),
                ("test", p => Positive(p.TestLoss))
            ),
            Curves(
                drawn,
                ("training-bits", "Bits per character"),
                "At the tests: of all characters, of those in words that are new in their document, and in words "
                    + "that were in it before.",
                ("bits per character", "zero"),
                ("all characters", p => p.TestBits),
                ("new words", p => p.TestBitsNewWords),
                ("seen words", p => p.TestBitsSeenWords)
            ),
            Curves(
                drawn,
                ("training-accuracy", "Accuracy"),
                (onTokens ? "Share of right answers." : "Share of output bits with the right sign.") + thinned,
                ("accuracy", "linear"),
                ("training", p => p.Accuracy),
                ("test", p => p.TestAccuracy)
            ),
            Curves(
                drawn,
                ("training-horizon", "Horizon"),
                (
                    onTokens
                        ? "How far the curriculum goes, in what the task counts."
                        : "Steps of output that the curriculum asks for."
                ) + thinned,
                ("horizon", "step"),
                ("training", p => p.Horizon)
            ),
            Curves(
                drawn,
                ("training-spectral", "Spectral error"),
                "At each test at which the network has as many persistent eigenvalues as theory.",
                ("radians", "log"),
                ("test", p => Positive(p.SpectralError))
            ),
            Curves(
                drawn,
                ("training-eigenvalues", "Persistent eigenvalues"),
                "How many of the network's are greater than 0.9 in magnitude.",
                ("eigenvalues", "step"),
                ("test", p => p.EigenvaluesLearned)
            ),
        ];
        return figures.OfType<Figure>();
    }

    private static double? Positive(double? value) => value > 0 ? value : null;

    private static Figure? Curves(
        List<TrainingPoint> points,
        (string Id, string Title) figure,
        string caption,
        (string Title, string Kind) y,
        params (string Of, Func<TrainingPoint, double?> Value)[] curves
    )
    {
        var rows = curves
            .SelectMany(c =>
                points.Select(p => new
                {
                    s = p.Step,
                    v = c.Value(p),
                    of = c.Of,
                })
            )
            .Where(row => row.v is { } v && double.IsFinite(v))
            .ToList();
        if (rows.Count == 0)
            return null;
        // Tests have the same look where training has no curve.
        string[] names = curves[0].Of == "test" ? ["training", "test"] : [.. curves.Select(c => c.Of)];
        string[] shown = [.. names.Where(n => rows.Any(row => row.of == n))];
        Channel Looks(IReadOnlyList<object> looks) =>
            Told("of", shown, [.. shown.Select(n => looks[Array.IndexOf(names, n)])]);
        return new Chart
        {
            Height = 200,
            Rows = rows,
            Mark = Mark.Line(rows.Count < 60 ? 25 : null) with
            {
                Interpolate = y.Kind == "step" ? "step-after" : "linear",
            },
            X = new("s", "step") { Axis = Axis.Steps },
            Y = new("v", y.Title)
            {
                Scale =
                    y.Kind == "log" ? Scale.Log
                    : y.Kind == "linear" ? Scale.Share with { Clamp = true }
                    : Scale.FromZero,
                Axis = y.Kind == "log" ? Axis.Short : Axis.Few,
            },
            Color = Looks(Palette.Series),
            StrokeDash = Looks(Dashes),
        }.Figure(figure.Id, figure.Title, caption);
    }
}
