using EmtTorch.Training;
using static EmtTorch.Analysis.Charts.Channel;

namespace EmtTorch.Analysis.Charts;

/// <summary>
/// The curves of metrics.jsonl by step: loss, bits per character (of text), accuracy, horizon, and how the eigenvalues
/// approach those of the theory.
/// </summary>
internal static class TrainingCharts
{
    /// <summary>More points than this are thinned evenly: a curve 1100 pixels wide shows no more.</summary>
    private const int PointLimit = 1500;

    private sealed record Curve(string Name, Func<Metrics, double?> Value);

    private enum Kind
    {
        Loss,
        Linear,
        Accuracy,
        Steps,
    }

    private sealed record Curves(string Id, string Title, string Caption, string Axis, Kind Kind, params Curve[] All);

    /// <param name="points">The lines of metrics.jsonl.</param>
    /// <param name="onTokens">Whether the task is on tokens, and accuracy a share of answers.</param>
    /// <param name="chance">The accuracy of guessing, or null.</param>
    /// <returns>The figures of what the points have values of.</returns>
    public static IEnumerable<Figure> Of(IReadOnlyList<Metrics> points, bool onTokens = false, double? chance = null)
    {
        int stride = (points.Count + PointLimit - 1) / PointLimit;
        var drawn = points
            .Where(
                (p, i) =>
                    i % stride == 0 || i == points.Count - 1 || p.TestAccuracy is not null || p.TestLoss is not null
            )
            .ToList();
        string thinned = stride > 1 ? $" Every {stride}th logged point." : "";
        return Describe(onTokens, thinned).Select(c => Draw(c, drawn, chance)).OfType<Figure>();
    }

    private static IEnumerable<Curves> Describe(bool onTokens, string thinned) =>
        [.. OfBatches(onTokens, thinned), .. OfSpectra];

    private static Curves[] OfBatches(bool onTokens, string thinned) =>
        [
            new(
                "training-loss",
                "Loss",
                (onTokens ? "Mean cross entropy of the answers, in nats; logarithmic scale." : "Logarithmic scale.")
                    + thinned,
                "loss",
                Kind.Loss,
                new("training", p => Positive(p.Loss)),
                new("test", p => Positive(p.TestLoss))
            ),
            new(
                "training-bits",
                "Bits per character",
                "At each test: over all characters, over those in words that are new in their document, and over "
                    + "those in words that occurred in it before.",
                "bits per character",
                Kind.Linear,
                new("all characters", p => p.TestBitsPerCharacter),
                new("new words", p => p.TestBitsNewWords),
                new("seen words", p => p.TestBitsSeenWords)
            ),
            new(
                "training-accuracy",
                "Accuracy",
                (onTokens ? "Share of right answers." : "Share of output bits with the right sign.") + thinned,
                "accuracy",
                Kind.Accuracy,
                new("training", p => p.Accuracy),
                new("test", p => p.TestAccuracy)
            ),
            new(
                "training-horizon",
                "Horizon",
                (
                    onTokens
                        ? "The distance that the curriculum asks for, in the task's unit."
                        : "Steps of output that the curriculum asks for."
                ) + thinned,
                "horizon",
                Kind.Steps,
                new Curve("training", p => p.Horizon)
            ),
        ];

    private static Curves[] OfSpectra =>
        [
            new(
                "training-spectral",
                "Spectral error",
                "At each test at which the network has as many persistent eigenvalues as the theory.",
                "radians",
                Kind.Loss,
                new Curve("test", p => Positive(p.SpectralError))
            ),
            new(
                "training-eigenvalues",
                "Persistent eigenvalues",
                "How many eigenvalues of the network have a magnitude above 0.9.",
                "eigenvalues",
                Kind.Steps,
                new Curve("test", p => p.EigenvaluesLearned)
            ),
        ];

    private static double? Positive(double? value) => value > 0 ? value : null;

    private static Figure? Draw(Curves curves, List<Metrics> points, double? chance)
    {
        var rows = curves
            .All.SelectMany(c =>
                points.Select(p => new
                {
                    s = p.Step,
                    v = c.Value(p),
                    of = c.Name,
                })
            )
            .Where(row => row.v is { } v && double.IsFinite(v))
            .ToList();
        if (rows.Count == 0)
            return null;
        // Tests have the same look where training has no curve.
        string[] names = curves.All[0].Name == "test" ? ["training", "test"] : [.. curves.All.Select(c => c.Name)];
        string[] shown = [.. names.Where(n => rows.Any(row => row.of == n))];
        Channel Looks(IReadOnlyList<object> looks) =>
            Told("of", shown, [.. shown.Select(n => looks[Array.IndexOf(names, n)])]);
        // A line through one point is not seen.
        var sparse = rows.GroupBy(r => r.of).Where(g => g.Count() < 60).SelectMany(g => g).ToList();
        var chart = new Chart
        {
            Rows = rows,
            Mark = Mark.Line() with { Interpolate = curves.Kind == Kind.Steps ? "step-after" : "linear" },
            X = new("s", "step") { Axis = Axis.Steps },
            Y = new("v", curves.Axis)
            {
                Scale = curves.Kind switch
                {
                    Kind.Loss => Scale.Log,
                    Kind.Accuracy => Scale.Accuracy(chance, rows.Select(r => r.v)),
                    _ => Scale.FromZero,
                },
                Axis = curves.Kind == Kind.Loss ? Axis.Logarithmic : Axis.Few,
            },
            Color = Looks(Palette.Series),
        };
        List<Chart> layers =
        [
            .. Chart.Chance(curves.Kind == Kind.Accuracy ? chance : null),
            chart with
            {
                StrokeDash = Looks(Dashes),
            },
        ];
        if (sparse.Count > 0)
            layers.Add(chart with { Rows = sparse, Mark = Mark.Dots(25) with { Tooltip = true } });
        return new Chart { Height = 200, Layers = layers }.Figure(curves.Id, curves.Title, curves.Caption);
    }
}
