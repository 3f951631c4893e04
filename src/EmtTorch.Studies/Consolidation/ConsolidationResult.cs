using System.Text.Json;
using System.Text.Json.Serialization;
using EmtTorch.Analysis;
using EmtTorch.Analysis.Charts;
using EmtTorch.Settings;
using static EmtTorch.Analysis.Charts.Channel;

namespace EmtTorch.Studies;

/// <summary>
/// The measures of one network after one kind of night. Accuracies are shares of right answers, from 0 to 1.
/// </summary>
/// <param name="Run">The name of the network.</param>
/// <param name="Night">The name of the kind of night.</param>
/// <param name="Facts">The number of facts of the day.</param>
/// <param name="Evening">Recall with the fast memory, in the document that told the fact.</param>
/// <param name="WipedBefore">Recall with F = 0, before any night.</param>
/// <param name="Morning">Recall with F = 0, after the last night.</param>
/// <param name="NewBefore">Accuracy in new episodes, with random pairs, before the nights.</param>
/// <param name="NewAfter">The same after the nights.</param>
/// <param name="ReboundBefore">Accuracy in new episodes that bind the day's keys to other values, before the
/// nights. The new value is right.</param>
/// <param name="ReboundAfter">The same after the nights.</param>
/// <param name="ReboundOld">The share of answers in these episodes, after the nights, that are the day's value.</param>
/// <param name="Stored">The number of stored writes, in all blocks.</param>
/// <param name="CuesFound">The share of facts whose key is a cue of the fact's document in the last night. Null
/// without distilled replay.</param>
/// <param name="CuesWrong">The cues of another document, or of no fact. Null without distilled replay.</param>
/// <param name="ReplayLoss">The loss of the replay in the last step.</param>
/// <param name="RehearsalLoss">The loss of the rehearsal in the last step.</param>
/// <param name="ParameterNorm">‖θ‖ of the network before the nights. It identifies the network.</param>
public sealed record ConsolidationOutcome(
    string Run,
    string Night,
    int Facts,
    double Evening,
    double WipedBefore,
    double Morning,
    double NewBefore,
    double NewAfter,
    double ReboundBefore,
    double ReboundAfter,
    double ReboundOld,
    int Stored,
    double? CuesFound,
    int? CuesWrong,
    double? ReplayLoss,
    double? RehearsalLoss,
    double ParameterNorm
);

/// <summary>All outcomes of an experiment, with their table and figures.</summary>
/// <param name="Configuration">The settings.</param>
/// <param name="Outcomes">The outcomes: by night, then by number of facts, then by network.</param>
public sealed record ConsolidationResult(
    ConsolidationConfiguration Configuration,
    IReadOnlyList<ConsolidationOutcome> Outcomes
)
{
    /// <summary>Everything except the figures as JSON with keys in snake_case, ending in a line feed.</summary>
    public string ToJson() => JsonSerializer.Serialize(this, OutputJson.Options) + "\n";

    /// <summary>Reads an unfinished result, so that the experiment can go on.</summary>
    /// <param name="json">The text that <see cref="ToJson"/> wrote.</param>
    /// <param name="settings">The settings of the experiment that goes on.</param>
    /// <returns>The result, or null if it has other settings or is complete.</returns>
    /// <exception cref="JsonException">The text is not a result.</exception>
    public static ConsolidationResult? ParseUnfinished(string json, ConsolidationConfiguration settings)
    {
        var found = JsonText.Parse(json).Deserialize<ConsolidationResult>(OutputJson.Options);
        if (found is not { Configuration: not null, Outcomes: not null } || found.Outcomes.Contains(null!))
            throw new JsonException("A result has the keys configuration and outcomes.");
        return
            JsonSerializer.Serialize(found.Configuration, OutputJson.Options)
                == JsonSerializer.Serialize(settings, OutputJson.Options)
            && found.Outcomes.Count < settings.OutcomeCount
            ? found
            : null;
    }

    /// <summary>The outcomes of all networks for each kind of night and number of facts.</summary>
    internal IEnumerable<IGrouping<(string Night, int Facts), ConsolidationOutcome>> Rows =>
        Outcomes.GroupBy(o => (o.Night, o.Facts));

    /// <summary>
    /// A Markdown table with a line for each kind of night and number of facts: means over the networks in percent, and
    /// the cost in percentage points with its range.
    /// </summary>
    public string ToMarkdown() => Table.Markdown(Columns, Rows);

    private static readonly IReadOnlyList<Column<IGrouping<(string Night, int Facts), ConsolidationOutcome>>> Columns =
    [
        new("night", row => row.Key.Night),
        new("facts", row => row.Key.Facts, "0"),
        Percent("recall with the fast memory", o => o.Evening),
        Percent("wiped, before the night", o => o.WipedBefore),
        Percent("wiped, after it", o => o.Morning),
        new(
            "of that before wiping",
            row => row.Sum(o => o.Evening) > 0 ? 100 * row.Sum(o => o.Morning) / row.Sum(o => o.Evening) : null,
            "0.0"
        ),
        Percent("new episodes before", o => o.NewBefore),
        Percent("after", o => o.NewAfter),
        new("cost, points", row => Cost([.. row.Select(o => 100 * (o.NewBefore - o.NewAfter))])) { Left = false },
        Percent("keys bound anew before", o => o.ReboundBefore),
        Percent("after", o => o.ReboundAfter),
        Percent("of these the old value", o => o.ReboundOld),
        Percent("cues found", o => o.CuesFound),
        new("wrong cues", row => row.Average(o => o.CuesWrong), "0.0"),
    ];

    private static Column<IGrouping<(string Night, int Facts), ConsolidationOutcome>> Percent(
        string title,
        Func<ConsolidationOutcome, double?> share
    ) => new(title, row => 100 * row.Average(share), "0.0");

    private static string Cost(double[] points)
    {
        static string Text(double value) => NumberText.Fixed(value, "0.0");
        return $"{Text(points.Average())} ({Text(points.Min())} to {Text(points.Max())})";
    }

    /// <summary>Recall after wiping, and the cost of the nights, against the number of facts.</summary>
    [JsonIgnore]
    public IReadOnlyList<Figure> Figures =>
        [
            Draw(
                "recall",
                "Recall with the fast memory wiped, after the night",
                "A point is a network's share of right answers. Lines are means. The dotted line is recall with the "
                    + "fast memory.",
                "recall after wiping, %",
                o => 100 * o.Morning,
                o => 100 * o.Evening
            ),
            Draw(
                "cost",
                "Cost of the night in new episodes",
                "Loss of accuracy in new episodes, with random pairs, in percentage points.",
                "cost, points",
                o => 100 * (o.NewBefore - o.NewAfter)
            ),
            Draw(
                "rebound",
                "Keys of the day, bound to other values",
                "The share of answers, after the night, that are the day's value, which is out of date.",
                "old value answered, %",
                o => 100 * o.ReboundOld
            ),
        ];

    private Figure Draw(
        string id,
        string title,
        string caption,
        string y,
        Func<ConsolidationOutcome, double> value,
        Func<ConsolidationOutcome, double>? dotted = null
    )
    {
        var facts = new Channel("facts", "facts")
        {
            Scale = new(Type: "log", Base: 2),
            Axis = new(Format: "d", Values: Outcomes.Select(o => o.Facts).Distinct().Order()),
        };
        Chart Layer(Mark mark, string field, bool mean) =>
            new()
            {
                Mark = mark,
                X = facts,
                Y = new(field, y) { Aggregate = mean ? "mean" : null },
                Color =
                    field == "memory"
                        ? null
                        : Coloured("night", [.. Rows.Select(r => r.Key.Night).Distinct()], columns: 4),
            };
        var layers = new List<Chart>
        {
            Layer(new("line"), "value", mean: true),
            Layer(new("point", Tooltip: true, Filled: true), "value", mean: false),
        };
        if (dotted is not null)
            layers.Add(Layer(new("line", Color: Palette.Grey, StrokeDash: [2, 4]), "memory", mean: true));
        caption += $" n = {Outcomes.Select(o => o.Run).Distinct().Count()} networks.";
        return new Chart
        {
            Height = 300,
            Rows = Outcomes.Select(o => new
            {
                facts = o.Facts,
                night = o.Night,
                run = o.Run,
                value = value(o),
                memory = dotted?.Invoke(o),
            }),
            Layers = layers,
        }.Figure(id, title, caption);
    }
}
