using System.Text.Json.Nodes;
using EmtTorch.Settings;

namespace EmtTorch.Analysis.FreeRecall;

/// <summary>What two conditions differ in.</summary>
/// <param name="One">The first condition.</param>
/// <param name="Other">The second one, whose effects are subtracted.</param>
/// <param name="Effects">The differences.</param>
public sealed record RecallDifferences(string One, string Other, IReadOnlyList<RecallEffect> Effects);

/// <summary>The lists of a table by condition, each condition with its analysis.</summary>
/// <example><code>
/// var conditions = RecallConditions.Of(RecallTable.Read("recalls.csv").Lists, "condition");
/// File.WriteAllText("recall.json", conditions.ToJson());
/// </code></example>
public sealed class RecallConditions
{
    private IReadOnlyList<RecallDifferences>? _differences;

    private RecallConditions(IReadOnlyList<(string, RecallAnalysis)> all) => All = all;

    /// <summary>Each condition's name, and its analysis.</summary>
    public IReadOnlyList<(string Name, RecallAnalysis Analysis)> All { get; }

    /// <summary>The differences of effects between each two conditions.</summary>
    public IReadOnlyList<RecallDifferences> Differences =>
        _differences ??= [
            .. All.SelectMany(
                (a, i) => All.Skip(i + 1),
                (a, b) => new RecallDifferences(a.Name, b.Name, a.Analysis.Differences(b.Analysis))
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
        if (options?.Distances?.Missing(lists) is { Count: > 0 } missing)
        {
            var named = string.Join(", ", missing.Take(5)) + (missing.Count > 5 ? ", …" : "");
            problems.Add(new("--distances", $"has no distances of {missing.Count} studied items: {named}"));
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
    public string ToJson()
    {
        var json =
            All.Count == 1
                ? All[0].Analysis.ToJson()
                : new JsonObject
                {
                    ["conditions"] = new JsonObject(
                        All.Select(c => KeyValuePair.Create(c.Name, (JsonNode?)c.Analysis.ToJson()))
                    ),
                    ["differences"] = new JsonObject(
                        Differences.Select(d =>
                            KeyValuePair.Create($"{d.One} − {d.Other}", (JsonNode?)RecallAnalysis.ToJson(d.Effects))
                        )
                    ),
                };
        return json.ToJsonString(OutputJson.Options) + "\n";
    }
}
