using EmtTorch.Analysis;
using EmtTorch.Analysis.Charts;
using static EmtTorch.Analysis.Charts.Channel;

namespace EmtTorch.Studies;

/// <summary>The figures of <see cref="GsemmResult"/>.</summary>
internal static class GsemmFigures
{
    public static List<Figure> Draw(GsemmResult result)
    {
        var (ode, discrete) = (result.Continuous, result.Discrete);
        // One for both, so that their colours can be compared.
        var overlaps = ode.Overlaps.Concat(discrete.Overlaps).SelectMany(row => row).ToList();
        var scale = new Scale(Scheme: "viridis", Domain: new[] { Math.Min(0, overlaps.Min()), overlaps.Max() });
        List<Figure> figures =
        [
            DrawOverlaps(ode, "time, in the timescales' unit", scale)
                .Figure(
                    "overlaps",
                    "Memories retrieved by the ODE (Eq. 1)",
                    "Rows are memories, in their stored order. Colour is the overlap of the feature neurons' output "
                        + $"with each memory, Ξ†σ_f(V_f). Retrieved: {string.Join(", ", ode.Retrieved)}."
                ),
            DrawOverlaps(discrete, "step", scale)
                .Figure(
                    "overlaps-discrete",
                    "Memories retrieved by the discrete limit (Eq. 20)",
                    "The same for V_f(t+1) = Ξ Φᵀ Ξ† σ_f(V_f(t)), with T_h = T_d = 0: one memory per step. Retrieved: "
                        + $"{string.Join(", ", discrete.Retrieved)}."
                ),
        ];
        if (result is { Energy: { } energy, EnergyWithoutSequence: { } alone })
        {
            figures.Add(
                new Chart
                {
                    Beside = [DrawEnergy(alone, "without a sequence"), DrawEnergy(energy, "with the sequence")],
                }.Figure(
                    "energy",
                    "Energy",
                    "Left: without the sequence (α_c = 0) the energy only falls, while the cue turns into memory 1. "
                        + "Right: with the sequence the energy may rise while the delay neurons move; it falls when "
                        + "one memory gives way to the next. The largest rise between two records is "
                        + $"{NumberText.Fixed(energy.LargestRise, "0.###")}."
                )
            );
        }

        figures.Add(DrawConvergence(result.Convergence));
        return figures;
    }

    private static Chart DrawOverlaps(GsemmRetrieval retrieval, string time, Scale scale)
    {
        // A screen shows no more than 400 columns.
        int every = Math.Max(1, retrieval.Times.Length / 400);
        double width = retrieval.Times.Length > 1 ? (retrieval.Times[1] - retrieval.Times[0]) * every : 1;
        return new()
        {
            Width = 640,
            Height = Math.Clamp(24 * retrieval.Overlaps[0].Length, 96, 480),
            Rows = retrieval
                .Times.Zip(retrieval.Overlaps)
                .Where((_, t) => t % every == 0)
                .SelectMany(record =>
                    record.Second.Select(
                        (overlap, m) =>
                            new
                            {
                                time = record.First,
                                end = record.First + width,
                                memory = m + 1,
                                overlap,
                            }
                    )
                ),
            // Neighbours overlap by half a pixel, or the background would show between them.
            Mark = new("rect", Tooltip: true, X2Offset: 0.5),
            X = new("time", time) { Scale = Scale.Tight with { Padding = 0 } },
            X2 = new("end") { Type = null },
            Y = new("memory", "memory") { Type = "ordinal" },
            Color = new("overlap", "overlap") { Scale = scale },
        };
    }

    private static Chart DrawEnergy(GsemmEnergy energy, string title)
    {
        int every = Math.Max(1, energy.Times.Length / 1000);
        return new()
        {
            Title = title,
            Width = 280,
            Rows = energy
                .Times.Zip(energy.Values, (time, value) => new { time, energy = value })
                .Where((_, t) => t % every == 0),
            Mark = new("line", Color: Palette.Blue),
            X = new("time", "time") { Scale = Scale.Tight },
            Y = new("energy", "E") { Scale = Scale.NotFromZero },
        };
    }

    private static Figure DrawConvergence(IReadOnlyList<GsemmConvergence> all)
    {
        // Each dotted line passes through the last point of a series of its order.
        var slopes = new[] { (Series: all[^1], Order: 1), (Series: all[1], Order: 4) }.SelectMany(s =>
            new[] { s.Series.Sizes[0], s.Series.Sizes[^1] }.Select(size => new
            {
                size,
                error = s.Series.Errors[^1] * Math.Pow(size / s.Series.Sizes[^1], s.Order),
                slope = s.Order,
            })
        );
        Channel Part(string field, string title) =>
            new(field, title) { Scale = Scale.Tight with { Type = "log" }, Axis = Axis.PowersOfTen };
        var layer = new Chart
        {
            X = Part("size", "step or timescale, in units of T_f"),
            Y = Part("error", "largest error of V_f"),
        };
        string[] names = [.. all.Select(s => s.Name)];
        return new Chart
        {
            Width = 560,
            Height = 360,
            Layers =
            [
                layer with
                {
                    Rows = slopes,
                    Mark = new("line", Color: Palette.Grey, StrokeDash: [2, 4]),
                    Detail = Named("slope"),
                },
                layer with
                {
                    Rows = all.SelectMany(s =>
                        s.Sizes.Zip(s.Errors)
                            .Where(p => p.Second > 0)
                            .Select(p => new
                            {
                                size = p.First,
                                error = p.Second,
                                series = s.Name,
                            })
                    ),
                    Mark = new("line", Point: true, Tooltip: true),
                    Color = Named("series") with
                    {
                        Scale = new(Domain: names, Range: Palette.Series.Take(names.Length)),
                        Legend = new(Columns: 1, LabelLimit: 500),
                    },
                    Shape = Named("series") with { Scale = new(Domain: names) },
                },
            ],
        }.Figure(
            "convergence",
            "Convergence",
            "Error of V_f after about 2 T_f against the step or the timescale, both on logarithmic axes. The dotted "
                + "lines have slopes 1 and 4. The ODE tends to its limit as T_h and T_d shrink. Eq. 20 is one step of "
                + "forward Euler, of length T_f, in that limit."
        );
    }
}
