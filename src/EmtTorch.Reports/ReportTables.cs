using System.Text;
using EmtTorch.Analysis;
using EmtTorch.Analysis.Charts;

namespace EmtTorch.Reports;

/// <summary>The tables beside a report's charts.</summary>
internal static class ReportTables
{
    private const int Listed = 5;

    /// <summary>A row a kind, a column a variable.</summary>
    public static string Interventions(IReadOnlyList<Intervention> interventions)
    {
        var kinds = interventions.Select(i => i.Kind).Distinct().ToList();
        var variables = interventions.Select(i => i.Variable).Distinct().OrderBy(k => k ?? int.MinValue).ToList();
        var cells = interventions.ToLookup(i => (i.Kind, i.Variable), i => NumberText.Percent(i.Accuracy));
        var html = new StringBuilder(
            """<div class="scroll"><table><caption>Share of output bits as predicted, by the variable that was changed</caption><thead><tr><th scope="col">Intervention</th>"""
        );
        foreach (var k in variables)
            html.Append($"""<th scope="col" class="number">{(k is null ? "no single one" : $"{k}")}</th>""");
        html.Append("</tr></thead><tbody>\n");
        foreach (string kind in kinds)
        {
            html.Append($"""<tr><th scope="row">{Page.Escape(kind)}</th>""");
            foreach (var k in variables)
                html.Append($"""<td class="number">{string.Join(", ", cells[(kind, k)])}</td>""");
            html.Append("</tr>\n");
        }
        return html.Append("</tbody></table></div>").ToString();
    }

    /// <summary>The five units that take part most, by variable.</summary>
    public static string Participation(double[][] participation)
    {
        var html = new StringBuilder(
            $"""<div class="scroll"><table><caption>The {Listed} units that take part most, with their participation</caption><thead><tr><th scope="col">Variable</th><th scope="col">Units</th></tr></thead><tbody>"""
        ).Append('\n');
        int variables = participation.Max(row => row?.Length ?? 0);
        for (int k = 0; k < variables; k++)
        {
            var top = Enumerable
                .Range(0, participation.Length)
                .Where(i => participation[i] is { } row && k < row.Length && double.IsFinite(row[k]))
                .OrderByDescending(i => participation[i][k])
                .Take(Listed)
                .Select(i => $"<strong>{i + 1}</strong> ({participation[i][k]:0.000})");
            html.Append($"""<tr><th scope="row">{k + 1}</th><td>{string.Join(", ", top)}</td></tr>""").Append('\n');
        }
        return html.Append("</tbody></table></div>").ToString();
    }
}
