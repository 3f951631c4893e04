using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using EmtTorch.Settings;

namespace EmtTorch.Analysis.Charts;

/// <summary>
/// A chart as data: rows, a mark, and what each of its channels shows. Members are named as in Vega-Lite.
/// </summary>
/// <example><code>
/// new Chart
/// {
///     Rows = lags.Select(l => new { lag = l.Lag, probability = l.Probability }),
///     Mark = Mark.Line(pointSize: 40),
///     X = new("lag", "lag"),
///     Y = new("probability", "probability") { Scale = Scale.Share },
/// }.Figure("lags", "Conditional response probability", "How often recall goes on at each lag.")
/// </code></example>
internal sealed record Chart
{
    /// <summary>For what is drawn once and takes no number from data: a rule at a fixed place, or a word.</summary>
    public static readonly IReadOnlyList<object> Once = [new { }];

    private static readonly string[] Channels =
    [
        "x",
        "x2",
        "y",
        "y2",
        "xOffset",
        "color",
        "shape",
        "strokeDash",
        "detail",
        "order",
        "text",
        "tooltip",
    ];

    /// <summary>Objects whose members are the fields; null: those of the chart around this one.</summary>
    [JsonIgnore]
    public IEnumerable<object>? Rows { get; init; }

    public object? Data => Rows is null ? null : new { values = Rows };
    public IReadOnlyList<object>? Transform { get; init; }
    public string? Title { get; init; }

    /// <summary>Null: that of the page.</summary>
    public int? Width { get; init; }
    public int? Height { get; init; }
    public Mark? Mark { get; init; }

    public Channel? X { get; init; }
    public Channel? X2 { get; init; }
    public Channel? Y { get; init; }
    public Channel? Y2 { get; init; }
    public Channel? XOffset { get; init; }
    public Channel? Color { get; init; }
    public Channel? Shape { get; init; }
    public Channel? StrokeDash { get; init; }
    public Channel? Detail { get; init; }
    public Channel? Order { get; init; }
    public Channel? Text { get; init; }
    public IReadOnlyList<Channel>? Tooltip { get; init; }

    /// <summary>Charts over each other on the same axes.</summary>
    [JsonIgnore]
    public IEnumerable<Chart> Layers { get; init; } = [];

    /// <summary>Charts side by side.</summary>
    [JsonIgnore]
    public IEnumerable<Chart> Beside { get; init; } = [];

    public object? Params { get; init; }
    public object? Padding { get; init; }
    public object? View { get; init; }
    public object? Usermeta { get; init; }

    /// <summary>The chart as a figure of a page.</summary>
    public Figure Figure(string id, string title, string caption) => new(id, title, caption, Specification());

    /// <summary>This chart once for each value of a field, in rows of so many.</summary>
    /// <param name="sort">Its values in order; null: as they come in the alphabet.</param>
    /// <param name="columns">Charts in a row.</param>
    /// <param name="independent">The channel whose scale each chart has for itself, or null.</param>
    public Figure Facets(
        string id,
        string title,
        string caption,
        string field,
        IEnumerable<string>? sort,
        int columns,
        string? independent = null
    )
    {
        var spec = (this with { Rows = null }).Specification();
        var facets = (JsonObject)
            CompactJson.Node(
                new
                {
                    data = Data,
                    facet = Channel.Named(field) with
                    {
                        Sort = sort,
                        Header = new { labelFontWeight = "bold" },
                    },
                    columns,
                    resolve = independent is null
                        ? null
                        : new { scale = new Dictionary<string, string> { [independent] = "independent" } },
                    spec,
                }
            );
        return new(id, title, caption, facets);
    }

    private JsonObject Specification()
    {
        var spec = ToView();
        spec["$schema"] = "https://vega.github.io/schema/vega-lite/v6.json";
        return spec;
    }

    private JsonObject ToView()
    {
        var view = (JsonObject)CompactJson.Node(this);
        var encoding = new JsonObject();
        foreach (var channel in Channels)
        {
            if (view.Remove(channel, out var shown))
                encoding[channel] = shown;
        }
        if (encoding.Count > 0)
            view["encoding"] = encoding;
        if (Layers.Any())
            view["layer"] = new JsonArray([.. Layers.Select(l => l.ToView())]);
        if (Beside.Any())
            view["hconcat"] = new JsonArray([.. Beside.Select(b => b.ToView())]);
        return view;
    }

    /// <summary>A rule across the chart at one place of x or y.</summary>
    public static Chart Rule(Channel? x = null, Channel? y = null, string color = Palette.Ink, int[]? dash = null) =>
        new()
        {
            Rows = Once,
            Mark = new("rule", Color: color, StrokeDash: dash),
            X = x,
            Y = y,
        };

    /// <summary>A dashed line at the accuracy of guessing, with the word at its right end; nothing for null.</summary>
    /// <param name="chance">The accuracy of guessing, 0 to 1.</param>
    /// <param name="across">Whether accuracy is x and not y; the word then stands at the top.</param>
    public static IEnumerable<Chart> Chance(double? chance, bool across = false)
    {
        if (chance is not { } at)
            yield break;
        var place = Channel.At(at);
        yield return Rule(across ? place : null, across ? null : place, Palette.Grey, [2, 3]);
        yield return new()
        {
            Rows = Once,
            Mark = new(
                "text",
                Color: Palette.Grey,
                FontSize: 12,
                Align: across ? "left" : "right",
                Baseline: "bottom",
                Dx: across ? 3 : -3,
                Dy: across ? null : -2
            ),
            X = across ? place : Channel.Fixed("width"),
            Y = across ? Channel.Fixed(12) : place,
            Text = Channel.Fixed("chance"),
        };
    }

    /// <summary>Words at a place of x, their lower edge so many pixels from the top.</summary>
    public static Chart Words(string words, double x, double top, string align = "center", double dx = 0) =>
        new()
        {
            Rows = Once,
            Mark = new("text", Align: align, Baseline: "bottom", Dx: dx, FontSize: 12),
            X = Channel.At(x),
            Y = Channel.Fixed(top),
            Text = Channel.Fixed(words),
        };
}

/// <summary>What is drawn for each row, or for each group of rows.</summary>
/// <remarks>Types are line, point, rect, rule and text. Where Tooltip is true, it shows all channels' values.</remarks>
internal sealed record Mark(
    string Type,
    bool? Filled = null,
    double? Size = null,
    double? Opacity = null,
    string? Color = null,
    double? StrokeWidth = null,
    int[]? StrokeDash = null,
    object? Point = null,
    object? Tooltip = null,
    bool? Clip = null,
    string? Interpolate = null,
    string? Invalid = null,
    bool? Aria = null,
    string? Align = null,
    string? Baseline = null,
    double? Dx = null,
    double? Dy = null,
    double? FontSize = null,
    double? X2Offset = null,
    double? Y2Offset = null
)
{
    public static Mark Line(double? pointSize = null) =>
        new("line", Point: pointSize is null ? null : new { size = pointSize }, Tooltip: true);

    public static Mark Dots(double size) => new("point", Filled: true, Size: size, Opacity: 0.9);
}

/// <summary>What a channel shows: a field of the rows, a place on its scale (datum), or a fixed value.</summary>
/// <param name="Field">The field, or null.</param>
/// <param name="Title">Of its axis or legend: "" for none, null for the field's name.</param>
internal sealed record Channel(string? Field = null, string? Title = null)
{
    /// <summary>A field of names, without a title.</summary>
    public static Channel Named(string field, string title = "") => new(field, title) { Type = "nominal" };

    /// <summary>Solid, dashed, dotted, …: lines that are told apart without colours too.</summary>
    public static readonly IReadOnlyList<object> Dashes =
    [
        Array.Empty<int>(),
        new[] { 5, 3 },
        new[] { 2, 2 },
        new[] { 1, 3 },
        new[] { 8, 2, 2, 2 },
    ];

    /// <summary>Shapes of points, in the order in which series take them.</summary>
    public static readonly IReadOnlyList<object> Shapes =
    [
        "circle",
        "square",
        "triangle-up",
        "diamond",
        "cross",
        "triangle-down",
    ];

    /// <summary>The same place or the same look for all.</summary>
    public static Channel Fixed(object value) => new() { Value = value };

    /// <summary>A place on the scale, with all its digits.</summary>
    public static Channel At(double place) => new() { Datum = (decimal)place };

    /// <summary>A line of a tooltip.</summary>
    public static Channel Tip(string field, string? title = null, string? format = null) =>
        new(field, title) { Type = null, Format = format };

    /// <summary>A colour of the palette for each name.</summary>
    public static Channel Coloured(
        string field,
        IReadOnlyCollection<string> names,
        int? columns = null,
        string title = ""
    ) => Told(field, names, Palette.Series, columns, title);

    /// <summary>
    /// A look for each name (a colour, a shape, dashes), with a legend at the bottom where there are several.
    /// </summary>
    public static Channel Told(
        string field,
        IReadOnlyCollection<string> names,
        IReadOnlyList<object> looks,
        int? columns = null,
        string title = ""
    ) =>
        names.Count <= 1
            ? Fixed(looks[0])
            : Named(field, title) with
            {
                Scale = new(Domain: names, Range: names.Select((_, i) => looks[i % looks.Count])),
                Legend = new(Columns: columns),
            };

    public string? Type { get; init; } = Field is null ? null : "quantitative";
    public Scale? Scale { get; init; }
    public Axis? Axis { get; init; }
    public Legend? Legend { get; init; }
    public IEnumerable<string>? Sort { get; init; }
    public object? Value { get; init; }
    public object? Datum { get; init; }
    public string? Aggregate { get; init; }
    public string? Format { get; init; }
    public object? Condition { get; init; }
    public object? Header { get; init; }
}

/// <summary>From values to places or colours.</summary>
internal sealed record Scale(
    string? Type = null,
    object? Domain = null,
    double? DomainMid = null,
    object? Range = null,
    object? Scheme = null,
    int? Base = null,
    bool? Nice = null,
    bool? Zero = null,
    bool? Clamp = null,
    bool? Reverse = null,
    double? Padding = null
)
{
    /// <summary>From 0 to 1.</summary>
    public static readonly Scale Share = new(Domain: new[] { 0, 1 });
    public static readonly Scale Log = new("log", Nice: true);
    public static readonly Scale FromZero = new(Zero: true);
    public static readonly Scale NotFromZero = new(Zero: false);
    public static readonly Scale Tight = new(Nice: false);

    /// <summary>
    /// Accuracies, from chance to 1. It begins lower where a value lies below chance, and at 0 where chance is small.
    /// </summary>
    /// <param name="chance">The accuracy of guessing; null: from 0.</param>
    /// <param name="values">The accuracies that are drawn.</param>
    public static Scale Accuracy(double? chance, IEnumerable<double?> values)
    {
        double from = Math.Min(chance ?? 0, values.Where(v => v is { } a && double.IsFinite(a)).Min() ?? 1);
        // Zero and Nice are said too: a line at chance in the same chart has a scale of its own, and they are merged.
        return new(Domain: new[] { from < 0.1 ? 0 : Math.Floor(20 * from) / 20, 1 }, Nice: false, Zero: false);
    }
}

internal sealed record Axis(
    double? TickCount = null,
    string? Format = null,
    string? Title = null,
    double? TickMinStep = null,
    object? Values = null,
    bool? Grid = null,
    bool? Ticks = null,
    string? Orient = null,
    double? LabelAngle = null,
    double? LabelPadding = null,
    double? LabelLimit = null,
    string? LabelExpr = null,
    object? LabelOverlap = null,
    double? LabelSeparation = null
)
{
    /// <summary>About five ticks.</summary>
    public static readonly Axis Few = new(5);

    /// <summary>About five ticks, in the form that takes the fewest characters.</summary>
    public static readonly Axis Short = new(5, "~g");

    /// <summary>Of a logarithmic scale, with labels that do not run into each other.</summary>
    public static readonly Axis Logarithmic = Short with { LabelOverlap = "greedy", LabelSeparation = 6 };

    /// <summary>Of a logarithmic scale over many decades: a label at each power of ten.</summary>
    public static readonly Axis PowersOfTen = new(
        Values: Enumerable.Range(-16, 33).Select(e => Math.Pow(10, e)),
        Format: "~e",
        LabelOverlap: "greedy"
    );

    /// <summary>Whole numbers.</summary>
    public static readonly Axis Whole = new(Format: "d", TickMinStep: 1);

    /// <summary>Many steps: 10,000.</summary>
    public static readonly Axis Steps = new(5, ",d");

    /// <summary>A line for each name.</summary>
    public static readonly Axis Names = new(Grid: true, Ticks: false, LabelPadding: 8);

    /// <summary>A line for each name of a run, of which some are long.</summary>
    public static readonly Axis LongNames = Names with { LabelLimit = 260 };
}

/// <summary>At the bottom, unless it says otherwise.</summary>
internal sealed record Legend(
    string? Title = null,
    string Orient = "bottom",
    int? Columns = null,
    int? LabelLimit = null,
    string? Direction = null,
    int? GradientLength = null,
    int? GradientThickness = null,
    string? TitleOrient = null,
    string? TitleAnchor = null,
    int? TitleLimit = null,
    int? TickCount = null,
    object? Values = null,
    string? Format = null
);
