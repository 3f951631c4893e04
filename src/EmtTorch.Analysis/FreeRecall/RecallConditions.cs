using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using EmtTorch.Settings;

namespace EmtTorch.Analysis.FreeRecall;

/// <summary>The lists of a table by condition, each condition with its analysis.</summary>
/// <example><code>
/// var conditions = RecallConditions.Of(RecallTable.Read("recalls.csv").Lists, "condition");
/// File.WriteAllText("recall.json", conditions.ToJson().ToString());
/// </code></example>
public sealed class RecallConditions
{
    /// <summary>How <see cref="ToJson"/> is written: indented, with no needless escapes.</summary>
    public static readonly JsonSerializerOptions JsonOptions = new()
    {
        WriteIndented = true,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    private RecallConditions(IReadOnlyList<(string, RecallAnalysis)> all) => All = all;

    /// <summary>Each condition's name, and its analysis.</summary>
    public IReadOnlyList<(string Name, RecallAnalysis Analysis)> All { get; }

    /// <summary>The differences of effects between each two conditions.</summary>
    public IReadOnlyList<(string Pair, IReadOnlyList<RecallEffect> Effects)> Differences =>
        [
            .. All.SelectMany(
                (a, i) => All.Skip(i + 1),
                (a, b) => ($"{a.Name} against {b.Name}", a.Analysis.Differences(b.Analysis))
            ),
        ];

    /// <summary>Analyses lists.</summary>
    /// <param name="lists">The lists.</param>
    /// <param name="by">The column that tells conditions apart; null: all lists are one condition.</param>
    /// <param name="options">What is known of the items; null: nothing.</param>
    /// <exception cref="ConfigurationException">A column is missing, or differs within a list.</exception>
    public static RecallConditions Of(IReadOnlyList<RecallList> lists, string? by = null, RecallOptions? options = null)
    {
        var problems = new List<ConfigurationProblem>();
        var item = lists.SelectMany(l => l.Study).FirstOrDefault();
        if (item is null)
            throw new ConfigurationException([new("", "no list has studied items")]);
        foreach (var (option, column) in new[] { ("--by", by), ("--category", options?.Category) })
        {
            if (column is not null && !item.Columns.ContainsKey(column))
            {
                var found = item.Columns.Count == 0 ? "none" : string.Join(", ", item.Columns.Keys);
                problems.Add(new(option, $"there is no column {column}; further columns: {found}"));
            }
        }
        if (problems.Count == 0 && by is not null && lists.FirstOrDefault(l => !l.Columns.ContainsKey(by)) is { } mixed)
        {
            problems.Add(
                new("--by", $"{by} has several values in list {mixed.Number} of subject {mixed.Subject}: one is needed")
            );
        }
        if (problems.Count > 0)
            throw new ConfigurationException(problems);
        var conditions = by is null ? [.. lists.GroupBy(_ => "all lists")] : lists.GroupBy(l => l.Columns[by]);
        return new([.. conditions.Select(c => (c.Key, RecallAnalysis.Of([.. c], options)))]);
    }

    /// <summary>
    /// All numbers for programs. Of several conditions those of each stand under `conditions`, and the differences of
    /// effects under `differences`.
    /// </summary>
    public JsonObject ToJson()
    {
        if (All.Count == 1)
            return All[0].Analysis.ToJson();
        return new()
        {
            ["conditions"] = new JsonObject(
                All.Select(c => KeyValuePair.Create(c.Name, (JsonNode?)c.Analysis.ToJson()))
            ),
            ["differences"] = new JsonObject(
                Differences.Select(d => KeyValuePair.Create(d.Pair, (JsonNode?)RecallAnalysis.ToJson(d.Effects)))
            ),
        };
    }
}
