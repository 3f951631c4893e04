namespace EmtTorch.Analysis.Charts;

/// <summary>Eigenvalues on the complex plane with the unit circle (Fig. 3B).</summary>
internal static class SpectrumChart
{
    /// <returns>Null where no eigenvalue is finite.</returns>
    public static Figure? Of(SpectrumData spectrum)
    {
        var theory = Finite(spectrum.Theory);
        var learned = Finite(spectrum.Learned);
        if (theory.Count + learned.Count == 0)
            return null;
        int dropped = (spectrum.Theory?.Length ?? 0) + (spectrum.Learned?.Length ?? 0) - theory.Count - learned.Count;
        double limit = Math.Max(1.1, 1.05 * theory.Concat(learned).Max(z => Math.Max(Math.Abs(z[0]), Math.Abs(z[1]))));
        string domain = $"[{CompactJson.Number(-limit)}, {CompactJson.Number(limit)}]";
        return new(
            "spectrum",
            "Eigenvalues",
            "Open circles: Φ, what the theory predicts. Dots: the network. Solid: the unit circle; dashed: the magnitude above which eigenvalues are counted and matched."
                + (dropped == 0 ? "" : $" {dropped} are not finite and not drawn."),
            CompactJson.Object(
                $$"""
                {
                  "width": "container",
                  "usermeta": {"height": [1, -22]},
                  "layer": [
                    {{Circle(1, "[]")}},
                    {{Circle(spectrum.Threshold, "[4, 3]")}},
                    {{Points("network", learned, filled: true)}},
                    {{Points("theory", theory, filled: false)}}
                  ],
                  "encoding": {
                    "x": {"field": "re", "type": "quantitative", "title": "real part", "scale": {"domain": {{domain}}, "nice": false}, "axis": {"tickCount": 5} },
                    "y": {"field": "im", "type": "quantitative", "title": "imaginary part", "scale": {"domain": {{domain}}, "nice": false}, "axis": {"tickCount": 5} }
                  }
                }
                """
            )
        );
    }

    /// <summary>How many are of greater magnitude than the threshold.</summary>
    public static int? Count(double[][]? values, double threshold) =>
        values is null ? null : Finite(values).Count(z => Math.Sqrt(z[0] * z[0] + z[1] * z[1]) > threshold);

    private static List<double[]> Finite(double[][]? values) =>
        [.. (values ?? []).Where(z => z is { Length: >= 2 } && double.IsFinite(z[0]) && double.IsFinite(z[1]))];

    private static string Circle(double radius, string dash)
    {
        if (!double.IsFinite(radius) || radius <= 0)
            radius = 1;
        var points = Enumerable
            .Range(0, 121)
            .Select(i => 2 * Math.PI * i / 120)
            .Select(angle =>
                $$"""{"re":{{CompactJson.Number(radius * Math.Cos(angle))}},"im":{{CompactJson.Number(radius * Math.Sin(angle))}},"i":{{CompactJson.Number(angle)}}}"""
            );
        return $$"""
            {
              "data": {"values": {{CompactJson.Array(points)}}},
              "mark": {"type": "line", "color": "#8a929c", "strokeWidth": 1, "strokeDash": {{dash}}, "aria": false},
              "encoding": {"order": {"field": "i", "type": "quantitative"} }
            }
            """;
    }

    private static string Points(string kind, List<double[]> values, bool filled)
    {
        var points = values.Select(z =>
            $$"""{"re":{{CompactJson.Number(z[0])}},"im":{{CompactJson.Number(z[1])}},"of":"{{kind}}","abs":{{CompactJson.Number(Math.Sqrt(z[0] * z[0] + z[1] * z[1]))}}}"""
        );
        string mark = filled
            ? """{"type": "point", "filled": true, "size": 26, "color": "#0072b2", "opacity": 0.9}"""
            : """{"type": "point", "filled": false, "size": 110, "color": "#d55e00", "strokeWidth": 1.4, "opacity": 1}""";
        return $$"""
            {
              "data": {"values": {{CompactJson.Array(points)}}},
              "mark": {{mark}},
              "encoding": {"tooltip": [
                {"field": "of", "title": "of"}, {"field": "re", "title": "real", "format": ".4"},
                {"field": "im", "title": "imaginary", "format": ".4"}, {"field": "abs", "title": "magnitude", "format": ".4"}
              ]}
            }
            """;
    }
}
