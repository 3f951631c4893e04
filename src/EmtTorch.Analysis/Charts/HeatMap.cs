using EmtTorch.Memory.Retrieval;
using static EmtTorch.Analysis.Charts.Channel;

namespace EmtTorch.Analysis.Charts;

/// <summary>
/// A matrix as coloured cells. The specification holds one array a row; Vega-Lite's flatten makes cells of them, so
/// that a matrix of 128 x 128 takes 100 kB and not a megabyte.
/// </summary>
internal sealed record HeatMap
{
    /// <summary>More steps of time than a sequence has: time is not averaged.</summary>
    private const int TimeLimit = 512;

    public required double[][]? Values { get; init; }

    /// <summary>What the matrix's rows are.</summary>
    public required HeatAxis Rows { get; init; }

    public required HeatAxis Columns { get; init; }

    /// <summary>Rows from left to right, as time is, instead of from top to bottom.</summary>
    public bool RowsAcross { get; init; }

    /// <summary>What a value is, for the legend.</summary>
    public required string Value { get; init; }

    /// <summary>Where the colour scale ends; null: <see cref="ColourLimit"/> of the values.</summary>
    public double? Limit { get; init; }

    /// <summary>Blue to white to orange, centred at 0; otherwise white to blue, from 0.</summary>
    public bool Diverging { get; init; } = true;

    /// <summary>What cells without a finite value are, as the caption says it.</summary>
    public string Grey { get; init; } = "have no finite value";

    /// <summary>What cells of history entries are that are not live, in the same form.</summary>
    public const string NotLive = "are entries that are not live";

    /// <summary>Height = a·width + b, in pixels.</summary>
    public (double A, double B) Height { get; init; } = (1, 0);

    /// <summary>
    /// How many rows are the input phase, where rows are steps of time; the page's slider moves a rule along them.
    /// </summary>
    public int? InputSteps { get; init; }

    private bool HasTime => InputSteps is not null;

    /// <summary>Cells with a dot in them, by row and column from 0 on.</summary>
    public IReadOnlyList<(int Row, int Column)> Marked { get; init; } = [];

    /// <returns>The figure, or null where no value is finite.</returns>
    public Figure? Figure(string id, string title, string caption)
    {
        if (Blocks.Of(Values, HasTime ? TimeLimit : Blocks.Limit) is not Blocks blocks)
            return null;
        if (blocks.RowBlock > 1 || blocks.ColumnBlock > 1)
        {
            caption +=
                $" The matrix has {blocks.Rows} × {blocks.Columns} entries; each cell is the mean of up to "
                + $"{blocks.RowBlock} × {blocks.ColumnBlock} of them.";
        }

        if (Values!.Any(row => row is null || row.Length < blocks.Columns || row.Any(value => !double.IsFinite(value))))
            caption += $" Grey cells {Grey}.";
        double limit = Limit ?? ColourLimit(blocks.Values),
            greatest = blocks.Values.SelectMany(row => row).Where(double.IsFinite).Max(Math.Abs);
        if (greatest > limit * 1.001)
        {
            caption +=
                $" Colours end at {NumberText.Number(limit)}; the greatest magnitude is {NumberText.Number(greatest)}.";
        }

        return Draw(blocks, limit).Figure(id, title, caption);
    }

    /// <summary>
    /// Where colours end: the greatest finite magnitude, or, where a few outliers would pale all the rest, what 99 of
    /// 100 numbers that are not 0 stay within. 1 where there is none.
    /// </summary>
    public static double ColourLimit(IEnumerable<double[]?>? rows)
    {
        var magnitudes = (rows ?? [])
            .SelectMany(row => row ?? [])
            .Where(value => double.IsFinite(value) && value != 0)
            .Select(Math.Abs)
            .Order()
            .ToArray();
        if (magnitudes.Length == 0)
            return 1;
        double most = magnitudes[(magnitudes.Length - 1) * 99 / 100],
            greatest = magnitudes[^1];
        return greatest > 1.5 * most ? most : greatest;
    }

    private Chart Draw(Blocks blocks, double limit) =>
        new()
        {
            Padding = new
            {
                top = HasTime ? 20 : 5,
                left = 5,
                right = 8,
                bottom = 5,
            },
            Usermeta = new { height = new[] { Height.A, Height.B } },
            View = new { fill = "#d5d8dc" },
            Params = HasTime ? new[] { new { name = "t", value = 1 } } : null,
            Rows = blocks.Values.Select((row, i) => new { i, v = row }),
            Transform =
            [
                new { flatten = new[] { "v" } },
                new { window = new[] { new { op = "row_number", @as = "k" } }, groupby = new[] { "i" } },
                new { filter = "isValid(datum.v)" },
                .. Edges("r", "datum.i", blocks.RowBlock, blocks.Rows),
                .. Edges("c", "datum.k - 1", blocks.ColumnBlock, blocks.Columns),
                new { calculate = Rows.CellLabel("r"), @as = "rl" },
                new { calculate = Columns.CellLabel("c"), @as = "cl" },
            ],
            Layers =
            [
                Cells(blocks, limit),
                .. Across.Axis.Lines().Select(line => Line(line, x: At(line.Position))),
                .. Down.Axis.Lines().Select(line => Line(line, y: At(line.Position))),
                .. Marked.Count > 0 ? [Dots(blocks)] : Array.Empty<Chart>(),
                .. Phases(blocks.Rows),
                .. HasTime ? [Now()] : Array.Empty<Chart>(),
            ],
        };

    /// <summary>A side as it lies on the page, with the first letter of its fields.</summary>
    private sealed record Side(HeatAxis Axis, string Field);

    private Side Across => RowsAcross ? new(Rows, "r") : new(Columns, "c");
    private Side Down => RowsAcross ? new(Columns, "c") : new(Rows, "r");

    private Chart Cells(Blocks blocks, double limit)
    {
        var (wide, tall) = RowsAcross ? (blocks.Rows, blocks.Columns) : (blocks.Columns, blocks.Rows);
        return new()
        {
            // Neighbours overlap by half a pixel, or the background would show between them.
            Mark = new("rect", Aria: false, Tooltip: true, X2Offset: 0.5, Y2Offset: 0.5),
            X = Position(Across, wide, reverse: false),
            X2 = new($"{Across.Field}1") { Type = null },
            Y = Position(Down, tall, reverse: true),
            Y2 = new($"{Down.Field}1") { Type = null },
            Color = Colours(limit),
            Tooltip = [Tip("rl", Rows.Title), Tip("cl", Columns.Title), Tip("v", Value, ".4")],
        };
    }

    private Channel Colours(double limit) =>
        new("v")
        {
            Scale = Diverging
                ? new(Scheme: "blueorange", Domain: new[] { -limit, limit }, DomainMid: 0, Clamp: true)
                : new(Scheme: "blues", Domain: new[] { 0, limit }, Clamp: true),
            Legend = new(
                Title: Value,
                Direction: "horizontal",
                GradientLength: 180,
                GradientThickness: 10,
                TitleOrient: "left",
                TitleAnchor: "middle",
                TitleLimit: 160,
                TickCount: 3,
                Values: Diverging ? new[] { -limit, 0, limit } : new[] { 0, limit },
                Format: ".2~g"
            ),
        };

    private Chart Dots(Blocks blocks) =>
        new()
        {
            Rows = Marked.Select(m => new
            {
                r = Middle(m.Row, blocks.RowBlock),
                c = Middle(m.Column, blocks.ColumnBlock),
            }),
            Mark = Mark.Dots(28) with { Opacity = 1, Color = Palette.Ink, Aria = false },
            X = new(Across.Field),
            Y = new(Down.Field),
        };

    /// <summary>The line between the input phase and the output phase, and their names.</summary>
    /// <param name="steps">Steps of both.</param>
    private IEnumerable<Chart> Phases(int steps) =>
        InputSteps is int input && input > 0 && input < steps
            ?
            [
                Line((input + 0.5, 1.2), x: At(input + 0.5), dash: [5, 3]),
                Chart.Words("input", 0.5 + input / 2.0, -4),
                Chart.Words("output", 0.5 + (input + steps) / 2.0, -4),
            ]
            : [];

    private static Chart Now()
    {
        var rule = Chart.Rule(x: new() { Datum = new { expr = "t" }, Type = "quantitative" }, color: "#000");
        return rule with { Mark = rule.Mark! with { StrokeWidth = 2 } };
    }

    /// <summary>The middle of the block that a cell is in.</summary>
    private static decimal Middle(int cell, int block) => cell / block * block + (block + 1) / 2m;

    // Row 1 lies between 0.5 and 1.5.
    private static object[] Edges(string name, string index, int block, int count) =>
        [
            new { calculate = $"({index}) * {block} + 0.5", @as = $"{name}0" },
            new { calculate = $"min(datum.{name}0 + {block}, {count}.5)", @as = $"{name}1" },
        ];

    private static Channel Position(Side side, int count, bool reverse) =>
        new($"{side.Field}0")
        {
            Scale = new(Domain: new[] { 0.5m, count + 0.5m }, Nice: false, Zero: false, Reverse: reverse, Padding: 0),
            Axis = side.Axis.Axis(),
        };

    private static Chart Line(
        (double Position, double Width) line,
        Channel? x = null,
        Channel? y = null,
        int[]? dash = null
    )
    {
        var rule = Chart.Rule(x, y, dash: dash);
        return rule with { Mark = rule.Mark! with { Opacity = line.Width > 1 ? 0.9 : 0.35, StrokeWidth = line.Width } };
    }
}

/// <summary>One side of a heat map.</summary>
/// <param name="Title">What is counted along it.</param>
internal sealed record HeatAxis(string Title)
{
    /// <summary>
    /// Neighbours that belong together, in order, with a name each and a line between; none for plain numbers.
    /// </summary>
    public IReadOnlyList<(string Label, int Count)> Groups { get; init; } = [];

    /// <summary>Each cell's own name where it is not its number.</summary>
    public IReadOnlyList<string>? Names { get; init; }

    /// <summary>s variables of κ, and what is left of n.</summary>
    public static HeatAxis OfVariables(string title, int? variables, int? components, int n)
    {
        if (variables is not > 0 || components is not > 0 || (long)variables * components > n)
            return new(title);
        var groups = Enumerable.Range(1, variables.Value).Select(k => ($"{k}", components.Value)).ToList();
        if (n > variables * components)
            groups.Add(("Ψ⊥", n - variables.Value * components.Value));
        return new(title) { Groups = groups };
    }

    /// <summary>Where lines go, and how wide they are: the one before Ψ⊥ is the heaviest.</summary>
    public IEnumerable<(double Position, double Width)> Lines()
    {
        double edge = 0.5;
        for (int i = 0; i + 1 < Groups.Count; i++)
            yield return (edge += Groups[i].Count, Groups[i + 1].Label == "Ψ⊥" ? 2 : 0.8);
    }

    /// <summary>A Vega expression: the name of a cell whose lower edge is the field name0.</summary>
    public string CellLabel(string name) =>
        Names is null
            ? $"'' + (datum.{name}0 + 0.5)"
            : $"[{string.Join(',', Names.Select(Quoted))}][datum.{name}0 - 0.5]";

    private static string Quoted(string text) => $"'{text.Replace("\\", "\\\\").Replace("'", "\\'")}'";

    public Axis Axis()
    {
        if (Groups.Count == 0)
            return Charts.Axis.Whole with { Title = Title, Grid = false };
        var middles = new List<double>();
        double edge = 0.5;
        foreach (var (_, count) in Groups)
        {
            middles.Add(edge + count / 2.0);
            edge += count;
        }
        // The labels stand in a Vega expression, whose strings are quoted with '.
        var labels = string.Join(',', Groups.Select(group => $"'{group.Label}'"));
        return new()
        {
            Title = Title,
            Values = middles,
            // Without it Vega drops every other of the values.
            TickCount = middles.Count,
            LabelExpr = $"[{labels}][indexof({CompactJson.Text(middles)}, datum.value)]",
            Ticks = false,
            Grid = false,
            LabelOverlap = Groups.Count > 12 ? "parity" : false,
        };
    }
}
