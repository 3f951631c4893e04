using System.Text.Json.Nodes;
using static System.FormattableString;

namespace EmtTorch.Analysis.FreeRecall;

/// <summary>What is known of the items beyond their order.</summary>
public sealed record RecallOptions
{
    /// <summary>The column with the items' categories, or null.</summary>
    public string? Category { get; init; }

    /// <summary>The distances between items, for example of meaning; null: none.</summary>
    public ItemDistances? Distances { get; init; }
}

/// <summary>One effect that memory research looks for, as a number that is 0 without it.</summary>
/// <param name="Key">Its name in JSON.</param>
/// <param name="Name">Its name in a sentence.</param>
/// <param name="Meaning">What the number is.</param>
/// <param name="Size">The number.</param>
public sealed record RecallEffect(string Key, string Name, string Meaning, RecallEstimate Size)
{
    /// <summary>The effect in words. One that its interval does not tell from 0 is called that.</summary>
    public string Sentence =>
        Size.Interval is not var (low, high)
            ? Invariant($"{Name}: {Meaning} is {Size.Value:F3}; too few lists to say more.")
        : Size.DiffersFrom(0)
            ? Invariant($"{Name}: {Meaning} is {Size.Value:F3} (95 % interval {low:F3} to {high:F3}).")
        : Invariant($"{Name}: none is shown; {Meaning} is {Size.Value:F3} (95 % interval {low:F3} to {high:F3}).");
}

/// <summary>
/// The measures of free recall of some lists: of people or of networks. Definitions are those of the field's program
/// psifr (Morton, 2020).
/// </summary>
/// <example><code>
/// var analysis = RecallAnalysis.Of(RecallTable.Read("recalls.csv").Lists);
/// foreach (var effect in analysis.Effects)
///     Console.WriteLine(effect.Sentence);
/// </code></example>
public sealed class RecallAnalysis
{
    /// <summary>Output positions for which the probability of nth recall is measured.</summary>
    private const int Outputs = 3;

    /// <summary>The largest list lag of intrusions.</summary>
    private const int ListLags = 3;

    /// <summary>How often each list is shuffled for the curve that order alone would give.</summary>
    private const int Shuffles = 20;

    private RecallAnalysis(IReadOnlyList<RecallList> lists, RecallOptions options)
    {
        Lists = lists;
        Length = lists.SelectMany(l => l.Study).Select(s => s.Position).DefaultIfEmpty(1).Max();
        var measures = new List<RecallMeasure>
        {
            RecallMeasure.SerialPosition(Length),
            RecallMeasure.LagCrp(Length),
            RecallMeasure.TemporalFactor(),
            RecallMeasure.PriorListIntrusions(ListLags),
            RecallMeasure.CompoundLagCrp(Length),
        };
        measures.InsertRange(1, Enumerable.Range(1, Outputs).Select(n => RecallMeasure.NthRecall(n, Length)));
        if (options.Category is { } column)
            measures.AddRange([RecallMeasure.CategoryCrp(column), RecallMeasure.CategoryClustering(column)]);
        if (options.Distances is { } distances)
        {
            measures.Add(RecallMeasure.DistanceCrp(distances.Of, distances.Edges()));
            measures.Add(RecallMeasure.SemanticFactor(distances.Of));
        }
        Curves = [.. measures.Select(m => RecallCurve.Of(m, lists))];
        var random = new Random(1);
        Shuffled = RecallCurve.Of(
            RecallMeasure.LagCrp(Length),
            lists.SelectMany(l =>
                Enumerable.Range(0, Shuffles).Select(_ => l with { Recalls = Shuffle(l.Recalls, random) })
            )
        );
    }

    /// <summary>The lists.</summary>
    public IReadOnlyList<RecallList> Lists { get; }

    /// <summary>L, the largest serial position.</summary>
    public int Length { get; }

    /// <summary>All measures.</summary>
    public IReadOnlyList<RecallCurve> Curves { get; }

    /// <summary>The conditional response probability by lag of the same recalls in random order: its null.</summary>
    public RecallCurve Shuffled { get; }

    /// <summary>A measure by its name in JSON.</summary>
    public RecallCurve Curve(string key) => Curves.First(c => c.Measure.Key == key);

    /// <summary>Measures lists.</summary>
    /// <param name="lists">At least one, with one studied item at least.</param>
    /// <param name="options">Null: nothing is known of the items.</param>
    public static RecallAnalysis Of(IReadOnlyList<RecallList> lists, RecallOptions? options = null) =>
        new(lists, options ?? new());

    /// <summary>
    /// Recency, primacy, contiguity, forward asymmetry and temporal clustering; only those that the lists' length allows.
    /// </summary>
    public IReadOnlyList<RecallEffect> Effects =>
        [.. EffectsOf().Select(e => new RecallEffect(e.Key, e.Name, e.Meaning, Curve(e.Of).Estimate(e.Number)))];

    /// <summary>The differences of all effects to those of another condition.</summary>
    public IReadOnlyList<RecallEffect> Differences(RecallAnalysis other) =>
        [
            .. EffectsOf()
                .Where(e => other.EffectsOf().Any(o => o.Key == e.Key))
                .Select(e => new RecallEffect(
                    e.Key,
                    e.Name,
                    $"the difference of this: {e.Meaning}",
                    // Each side has its own places.
                    Curve(e.Of).Difference(other.Curve(e.Of), v => v.Length == 0 ? double.NaN : e.Number(v))
                )),
        ];

    private sealed record Definition(string Key, string Name, string Meaning, string Of, Func<double[], double> Number);

    private IEnumerable<Definition> EffectsOf()
    {
        int length = Length,
            from = length / 3,
            to = length - length / 3;
        double Middle(double[] v) => v[from..to].Average();
        double Lag(double[] v, int lag) => v[lag + length - 1];
        if (length >= 6)
        {
            const string Spc = "serial_position";
            yield return new(
                "recency",
                "Recency",
                "recall of the last item above that of the middle third",
                Spc,
                v => v[^1] - Middle(v)
            );
            yield return new(
                "primacy",
                "Primacy",
                "recall of the first item above that of the middle third",
                Spc,
                v => v[0] - Middle(v)
            );
            yield return new(
                "contiguity",
                "Contiguity",
                "the response probability of lags −1 and 1 above that of lags −5 and 5",
                "lag_crp",
                v => (Lag(v, 1) + Lag(v, -1) - Lag(v, 5) - Lag(v, -5)) / 2
            );
        }
        if (length >= 2)
        {
            yield return new(
                "forward_asymmetry",
                "Forward asymmetry",
                "the response probability of lag 1 above that of lag −1",
                "lag_crp",
                v => Lag(v, 1) - Lag(v, -1)
            );
        }
        yield return new(
            "temporal_clustering",
            "Temporal clustering",
            "the temporal factor above ½",
            "temporal_factor",
            v => v[0] - 0.5
        );
    }

    /// <summary>All numbers for programs: the means under the measures' names, with intervals and effects.</summary>
    public JsonObject ToJson()
    {
        var lag = Curve("lag_crp");
        var factor = Curve("temporal_factor");
        var json = new JsonObject
        {
            ["subjects"] = lag.Subjects.Count,
            ["lists"] = Lists.Count,
            ["list_length"] = Length,
            ["serial_position"] = Numbers(Curve("serial_position").Means),
            ["serial_position_of_first_subject"] = Numbers(Curve("serial_position").Values[0]),
            ["probability_of_nth_recall"] = new JsonObject(
                Enumerable
                    .Range(1, Outputs)
                    .Select(n => KeyValuePair.Create($"{n}", (JsonNode?)Numbers(NthRecall(n).Means)))
            ),
            ["lag_crp"] = ByPlace(lag, lag.Means, leaveOut: "0"),
            ["lag_crp_of_first_subject"] = new JsonArray([
                .. lag.Measure.Places.Select(
                    (place, i) =>
                        new JsonObject
                        {
                            ["lag"] = int.Parse(place),
                            ["prob"] = Number(lag.Values[0][i]),
                            ["actual"] = (int)lag.Tallies[0].Actual[i],
                            ["possible"] = (int)lag.Tallies[0].Possible[i],
                        }
                ),
            ]),
            ["lag_crp_shuffled"] = ByPlace(Shuffled, Shuffled.Means, leaveOut: "0"),
            ["temporal_factor"] = new JsonObject(
                factor.Subjects.Zip(factor.Values, (s, v) => KeyValuePair.Create(s, Number(v[0])))
            ),
            ["temporal_factor_mean"] = Number(factor.Means[0]),
        };
        foreach (var curve in Curves.Where(c => !json.ContainsKey(c.Measure.Key) && !IsNthRecall(c)))
        {
            json[curve.Measure.Key] = curve.Measure.Places is [""]
                ? Number(curve.Means[0])
                : ByPlace(curve, curve.Means);
        }
        json["intervals"] = new JsonObject(
            Curves
                .Where(c => c.Measure.Key != "lag_crp_compound")
                .Select(c =>
                    KeyValuePair.Create(
                        c.Measure.Key,
                        (JsonNode?)new JsonArray([.. c.Points.Select(p => Interval(p.Interval))])
                    )
                )
        );
        json["effects"] = ToJson(Effects);
        return json;
    }

    internal static JsonObject ToJson(IEnumerable<RecallEffect> effects) =>
        new(
            effects.Select(e =>
                KeyValuePair.Create(
                    e.Key,
                    (JsonNode?)
                        new JsonObject { ["value"] = Number(e.Size.Value), ["interval"] = Interval(e.Size.Interval) }
                )
            )
        );

    private RecallCurve NthRecall(int n) => Curve($"probability_of_recall_{n}");

    private static bool IsNthRecall(RecallCurve curve) =>
        curve.Measure.Key.StartsWith("probability_of_recall", StringComparison.Ordinal);

    // A lag that never was possible has no number; lag 0 never is.
    private static JsonObject ByPlace(RecallCurve curve, IReadOnlyList<double> means, string? leaveOut = null) =>
        new(
            curve
                .Measure.Places.Zip(means, (place, mean) => KeyValuePair.Create(place, Number(mean)))
                .Where(p => p.Key != leaveOut)
        );

    private static JsonArray Numbers(IEnumerable<double> values) => new([.. values.Select(Number)]);

    private static JsonNode? Number(double value) => double.IsFinite(value) ? JsonValue.Create(value) : null;

    private static JsonArray? Interval((double Low, double High)? interval) =>
        interval is var (low, high) ? new JsonArray(low, high) : null;

    private static RecalledItem[] Shuffle(IReadOnlyList<RecalledItem> recalls, Random random)
    {
        RecalledItem[] shuffled = [.. recalls];
        random.Shuffle(shuffled);
        return shuffled;
    }
}
