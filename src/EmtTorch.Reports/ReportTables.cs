using EmtTorch.Analysis;
using EmtTorch.Analysis.Charts;
using EmtTorch.Analysis.Runs;

namespace EmtTorch.Reports;

/// <summary>The tables beside a report's charts.</summary>
internal static class ReportTables
{
    private const int Listed = 5;

    /// <summary>A row a kind, a column a variable.</summary>
    public static string Interventions(IReadOnlyList<Intervention> interventions)
    {
        var cells = interventions.ToLookup(i => (i.Kind, i.Variable));
        var variables = interventions.Select(i => i.Variable).Distinct().OrderBy(k => k ?? int.MinValue);
        return Table.Html<string>(
            [
                new("Intervention", kind => kind),
                .. variables.Select(k => new Column<string>(
                    k is null ? "no single one" : $"{k}",
                    kind => string.Join(", ", cells[(kind, k)].Select(i => NumberText.Percent(i.Accuracy))),
                    kind => cells[(kind, k)].FirstOrDefault()?.Accuracy
                )),
            ],
            interventions.Select(i => i.Kind).Distinct(),
            "Of the output bits that an intervention changes, the share that is as predicted (a network that ignores "
                + "it has 0), by the variable that was changed; where nothing was changed, of all bits"
        );
    }

    /// <summary>The five units that take part most, by variable.</summary>
    public static string Participation(double[][] participation)
    {
        string Top(int k) =>
            string.Join(
                ", ",
                Enumerable
                    .Range(0, participation.Length)
                    .Where(i => participation[i] is { } row && k < row.Length && double.IsFinite(row[k]))
                    .OrderByDescending(i => participation[i][k])
                    .Take(Listed)
                    .Select(i => $"{i + 1} ({NumberText.Fixed(participation[i][k], "0.000")})")
            );
        return Table.Html<int>(
            [new("Variable", k => $"{k + 1}"), new("Units", Top)],
            Enumerable.Range(0, participation.Max(row => row?.Length ?? 0)),
            $"The {Listed} units that take part most, with their participation"
        );
    }

    /// <summary>The ways to ground the variables.</summary>
    public static string Groundings(IReadOnlyList<GroundingRow> groundings) =>
        Table.Html<GroundingRow>(
            [
                new("Grounding", row => row.Grounding + (row.Chosen ? " (used in this report)" : "")),
                new("Φ error", row => NumberText.Number(row.PhiError), row => row.PhiError),
                new("Changed bits", row => NumberText.Percent(row.ChangedBits), row => row.ChangedBits),
                new("Condition of Ψ", row => NumberText.Number(row.Condition), row => row.Condition),
                new("Note", row => row.Note ?? ""),
            ],
            groundings,
            "The ways to ground the variables in the hidden state",
            " id=\"groundings\"",
            row => row.Chosen
        );

    public static string Settings(IReadOnlyList<ReportSetting> settings) =>
        Table.Html<ReportSetting>([new("Setting", s => s.Key), new("Value", s => s.Value)], settings);
}
