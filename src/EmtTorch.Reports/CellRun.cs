using EmtTorch.Analysis.Charts;
using EmtTorch.Studies;

namespace EmtTorch.Reports;

/// <summary>A run of a sweep in a figure: its panel is of all axes but the last, its colour of the last.</summary>
internal sealed record CellRun(SweepCell Cell, RunFigures Run)
{
    public string Colour => Cell.Values is [.., var last] ? last : "all runs";
    public string Panel => string.Join(", ", Cell.Values.SkipLast(1));

    public static List<CellRun> All(SweepTable table) =>
        [.. table.Cells.SelectMany(c => c.Runs.Select(r => new CellRun(c, r)))];

    /// <summary>A colour for each value of the last axis that is drawn, with its title over the legend.</summary>
    public static Channel Coloured(SweepTable table, string field, IEnumerable<string> drawn, int columns) =>
        Channel.Coloured(
            field,
            [.. drawn.Distinct()],
            columns,
            table.Axes.Count == 0 ? "" : table.Title(table.Axes[^1])
        );
}
