using EmtTorch.Memory.Retrieval;

namespace EmtTorch.Analysis.Charts;

/// <summary>
/// A matrix as coloured cells. The specification holds one array a row; Vega-Lite's flatten makes cells of them, so that
/// a matrix of 128 x 128 takes 100 kB and not a megabyte.
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

    /// <summary>Height = a·width + b, in pixels.</summary>
    public (double A, double B) Height { get; init; } = (1, 0);

    /// <summary>A rule that the page's slider moves along the rows.</summary>
    public bool TimeRule { get; init; }

    /// <summary>How many of the rows are the input phase; null where there are no phases.</summary>
    public int? InputSteps { get; init; }

    /// <summary>Cells with a dot in them, by row and column from 0 on.</summary>
    public IReadOnlyList<(int Row, int Column)> Marked { get; init; } = [];

    /// <returns>The figure, or null where no value is finite.</returns>
    public Figure? Figure(string id, string title, string caption)
    {
        if (Blocks.Of(Values, TimeRule ? TimeLimit : Blocks.Limit) is not Blocks blocks)
            return null;
        if (blocks.RowBlock > 1 || blocks.ColumnBlock > 1)
        {
            caption +=
                $" The matrix has {blocks.Rows} × {blocks.Columns} entries; each cell is the mean of up to {blocks.RowBlock} × {blocks.ColumnBlock} of them.";
        }

        if (Values!.Any(row => row is null || row.Length < blocks.Columns || row.Any(value => !double.IsFinite(value))))
            caption += " Grey cells have no finite value.";
        double limit = Limit ?? ColourLimit(blocks.Values),
            greatest = blocks.Values.SelectMany(row => row).Where(double.IsFinite).Max(Math.Abs);
        if (greatest > limit * 1.001)
        {
            caption +=
                $" Colours end at {NumberText.Number(limit)}; the greatest magnitude is {NumberText.Number(greatest)}.";
        }

        return new(id, title, caption, CompactJson.Object(Spec(blocks)));
    }

    /// <summary>
    /// Where colours end: the greatest finite magnitude, or, where a few outliers would pale all the rest, what 99 of 100
    /// numbers that are not 0 stay within. 1 where there is none.
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

    // Neighbours overlap by half a pixel, or the background would show between them.
    private string Spec(Blocks blocks)
    {
        double limit = Limit ?? ColourLimit(blocks.Values);
        var (across, down) = RowsAcross ? (Rows, Columns) : (Columns, Rows);
        var (wide, tall) = RowsAcross ? (blocks.Rows, blocks.Columns) : (blocks.Columns, blocks.Rows);
        var (x, y) = RowsAcross ? ("r", "c") : ("c", "r");
        var data = blocks.Values.Select((row, i) => $$"""{"i":{{i}},"v":{{CompactJson.Array(row)}}}""");
        string scheme = Diverging
            ? $$"""{"scheme": "blueorange", "domain": [{{CompactJson.Number(-limit)}}, {{CompactJson.Number(limit)}}], "domainMid": 0, "clamp": true}"""
            : $$"""{"scheme": "blues", "domain": [0, {{CompactJson.Number(limit)}}], "clamp": true}""";
        string ticks = Diverging ? CompactJson.Array([-limit, 0, limit]) : CompactJson.Array([0, limit]);
        var layers = new List<string>
        {
            $$"""
                {
                  "mark": {"type": "rect", "aria": false, "tooltip": true, "x2Offset": 0.5, "y2Offset": 0.5},
                  "encoding": {
                    "x": {{Position($"{x}0", across, wide, reverse: false)}}, "x2": {"field": "{{x}}1"},
                    "y": {{Position($"{y}0", down, tall, reverse: true)}}, "y2": {"field": "{{y}}1"},
                    "color": {
                      "field": "v", "type": "quantitative", "scale": {{scheme}},
                      "legend": {"title": {{CompactJson.Text(
                    Value
                )}}, "orient": "bottom", "direction": "horizontal", "gradientLength": 180, "gradientThickness": 10, "titleOrient": "left", "titleAnchor": "middle", "titleLimit": 160, "tickCount": 3, "values": {{ticks}}, "format": ".2~g"}
                    },
                    "tooltip": [
                      {"field": "rl", "title": {{CompactJson.Text(Rows.Title)}}},
                      {"field": "cl", "title": {{CompactJson.Text(Columns.Title)}}},
                      {"field": "v", "title": {{CompactJson.Text(Value)}}, "format": ".4"}
                    ]
                  }
                }
                """,
        };
        layers.AddRange(across.Lines().Select(line => Rule("x", line)));
        layers.AddRange(down.Lines().Select(line => Rule("y", line)));
        if (Marked.Count > 0)
        {
            layers.Add(
                $$"""
                {
                  "data": {"values": {{CompactJson.Array(
                    Marked.Select(cell =>
                        $"{{\"r\":{Middle(cell.Row, blocks.RowBlock)},\"c\":{Middle(cell.Column, blocks.ColumnBlock)}}}"
                    )
                )}}},
                  "mark": {"type": "point", "filled": true, "size": 28, "opacity": 1, "color": "#1b1f24", "aria": false},
                  "encoding": {"x": {"field": "{{x}}", "type": "quantitative"}, "y": {"field": "{{y}}", "type": "quantitative"} }
                }
                """
            );
        }

        if (InputSteps is int input && input > 0 && input < (RowsAcross ? wide : tall))
        {
            layers.Add(Rule("x", (input + 0.5, 1.2), "[5, 3]"));
            layers.Add(Above(0.5 + input / 2.0, "input"));
            layers.Add(Above(0.5 + (input + wide) / 2.0, "output"));
        }
        if (TimeRule)
        {
            layers.Add(
                """{"data": {"values": [{}]}, "mark": {"type": "rule", "color": "#000", "strokeWidth": 2}, "encoding": {"x": {"datum": {"expr": "t"}, "type": "quantitative"}}}"""
            );
        }

        return $$"""
            {
              "width": "container",
              "padding": {"top": {{(InputSteps is null ? 5 : 20)}}, "left": 5, "right": 8, "bottom": 5},
              "usermeta": {"height": [{{CompactJson.Number(Height.A)}}, {{CompactJson.Number(Height.B)}}]},
              "view": {"fill": "#d5d8dc"},
              {{(TimeRule ? """ "params": [{"name": "t", "value": 1}],""" : "")}}
              "data": {"values": {{CompactJson.Array(data)}}},
              "transform": [
                {"flatten": ["v"]},
                {"window": [{"op": "row_number", "as": "k"}], "groupby": ["i"]},
                {"filter": "isValid(datum.v)"},
                {{Edges("r", "datum.i", blocks.RowBlock, blocks.Rows)}},
                {{Edges("c", "datum.k - 1", blocks.ColumnBlock, blocks.Columns)}},
                {"calculate": {{CompactJson.Text(Rows.CellLabel("r"))}}, "as": "rl"},
                {"calculate": {{CompactJson.Text(Columns.CellLabel("c"))}}, "as": "cl"}
              ],
              "layer": {{CompactJson.Array(layers)}}
            }
            """;
    }

    /// <summary>The middle of the block that a cell is in.</summary>
    private static string Middle(int cell, int block) => CompactJson.Number(cell / block * block + (block + 1) / 2.0);

    // Row 1 lies between 0.5 and 1.5.
    private static string Edges(string name, string index, int block, int count) =>
        $$"""
            {"calculate": "({{index}}) * {{block}} + 0.5", "as": "{{name}}0"},
            {"calculate": "min(datum.{{name}}0 + {{block}}, {{count}}.5)", "as": "{{name}}1"}
            """;

    private static string Position(string field, HeatAxis axis, int count, bool reverse) =>
        $$"""
            {
              "field": "{{field}}", "type": "quantitative",
              "scale": {"domain": [0.5, {{count}}.5], "nice": false, "zero": false, "reverse": {{(
                reverse ? "true" : "false"
            )}}},
              "axis": {{axis.Spec()}}
            }
            """;

    private static string Rule(string channel, (double Position, double Width) line, string dash = "[]") =>
        $$"""
            {
              "data": {"values": [{}]},
              "mark": {"type": "rule", "color": "#1b1f24", "opacity": {{(
                line.Width > 1 ? "0.9" : "0.35"
            )}}, "strokeWidth": {{CompactJson.Number(line.Width)}}, "strokeDash": {{dash}} },
              "encoding": {"{{channel}}": {"datum": {{CompactJson.Number(line.Position)}} } }
            }
            """;

    private static string Above(double position, string words) =>
        $$"""
            {
              "data": {"values": [{}]},
              "mark": {"type": "text", "baseline": "bottom", "fontSize": 12},
              "encoding": {"x": {"datum": {{CompactJson.Number(
                position
            )}} }, "y": {"value": -4}, "text": {"value": {{CompactJson.Text(words)}} } }
            }
            """;
}

/// <summary>One side of a heat map.</summary>
/// <param name="Title">What is counted along it.</param>
internal sealed record HeatAxis(string Title)
{
    /// <summary>Neighbours that belong together, in order, with a name each and a line between; none for plain numbers.</summary>
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
            : $"[{string.Join(',', Names.Select(text => $"'{text.Replace("\\", "\\\\").Replace("'", "\\'")}'"))}][datum.{name}0 - 0.5]";

    public string Spec()
    {
        if (Groups.Count == 0)
            return $$"""{"title": {{CompactJson.Text(Title)}}, "format": "d", "tickMinStep": 1, "grid": false}""";
        var middles = new List<double>();
        double edge = 0.5;
        foreach (var (_, count) in Groups)
        {
            middles.Add(edge + count / 2.0);
            edge += count;
        }
        // The expression is JSON inside JSON: its strings are quoted with '. Without tickCount Vega drops every other of the values.
        string expression =
            $"[{string.Join(',', Groups.Select(group => $"'{group.Label}'"))}][indexof({CompactJson.Array(middles)}, datum.value)]";
        return $$"""{"title": {{CompactJson.Text(Title)}}, "values": {{CompactJson.Array(middles)}}, "tickCount": {{middles.Count}}, "labelExpr": {{CompactJson.Text(expression)}}, "ticks": false, "grid": false, "labelOverlap": {{(Groups.Count > 12 ? "\"parity\"" : "false")}}}""";
    }
}
