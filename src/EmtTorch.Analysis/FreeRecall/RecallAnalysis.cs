using System.Text.Json.Nodes;

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
    /// <summary>
    /// The effect in words. One that its interval does not tell from 0 is called that, and so is one that is below 0.
    /// </summary>
    public string Sentence =>
        !Size.DiffersFrom(0) ? $"No {Name} is shown: {Meaning} is {Size.Text}."
        : Size.Value < 0 ? $"The reverse of {Name}: {Meaning} is {Size.Text}."
        : $"{char.ToUpperInvariant(Name[0])}{Name[1..]}: {Meaning} is {Size.Text}.";

    /// <summary>Where this is the difference of an effect between two conditions: the difference in words.</summary>
    /// <param name="one">The name of the first condition.</param>
    /// <param name="other">The name of the second condition, whose effect is subtracted.</param>
    public string Compare(string one, string other) =>
        Size.DiffersFrom(0)
            ? $"{one} has {(Size.Value > 0 ? "more" : "less")} {Name} than {other}, a difference of {Size.Text}."
            : $"{one} and {other} show no difference in {Name}: {Size.Text}.";
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

    /// <summary>The largest |lag| of the compound curve.</summary>
    internal const int CompoundLags = 5;

    /// <summary>How often each list is shuffled for the curve that order alone would give.</summary>
    private const int Shuffles = 20;

    private IReadOnlyList<RecallEffect>? _effects;

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
            RecallMeasure.CompoundLagCrp(Math.Min(CompoundLags, Length - 1)),
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
    /// Recency, primacy, contiguity, forward asymmetry and temporal clustering, as far as the lists' length allows.
    /// Recency and primacy are left out if lists differ in length: their last items stand at different positions.
    /// </summary>
    public IReadOnlyList<RecallEffect> Effects =>
        _effects ??= [
            .. EffectsOf().Select(e => new RecallEffect(e.Key, e.Name, e.Meaning, Curve(e.Of).Estimate(e.Number))),
        ];

    /// <summary>Whether all lists with studied items have the same last position.</summary>
    public bool HaveOneLength =>
        Lists.Where(l => l.Study.Count > 0).Select(l => l.Study[^1].Position).Distinct().Count() == 1;

    /// <summary>The differences of all effects to those of another condition.</summary>
    /// <remarks>Each side has places of its own: lists of different lengths can be compared.</remarks>
    public IReadOnlyList<RecallEffect> Differences(RecallAnalysis other) =>
        [
            .. EffectsOf()
                .Join(
                    other.EffectsOf(),
                    e => e.Key,
                    e => e.Key,
                    (e, o) =>
                        new RecallEffect(
                            e.Key,
                            e.Name,
                            e.Meaning,
                            Curve(e.Of).Difference(e.Number, other.Curve(o.Of), o.Number)
                        )
                ),
        ];

    private sealed record Definition(string Key, string Name, string Meaning, string Of, Func<double[], double> Number);

    private IEnumerable<Definition> EffectsOf()
    {
        int length = Length,
            from = length / 3,
            to = length - length / 3;
        double Middle(double[] v) => v[from..to].Average();
        double Lag(double[] v, int lag) => v[lag + length - 1];
        if (length >= 6 && HaveOneLength)
        {
            const string Spc = "serial_position";
            yield return new(
                "recency",
                "recency",
                "recall of the last item minus that of the middle third",
                Spc,
                v => v[^1] - Middle(v)
            );
            yield return new(
                "primacy",
                "primacy",
                "recall of the first item minus that of the middle third",
                Spc,
                v => v[0] - Middle(v)
            );
        }
        if (length >= 6)
        {
            yield return new(
                "contiguity",
                "contiguity",
                "the response probability of lags −1 and 1 minus that of lags −5 and 5",
                "lag_crp",
                v => (Lag(v, 1) + Lag(v, -1) - Lag(v, 5) - Lag(v, -5)) / 2
            );
        }
        if (length >= 2)
        {
            yield return new(
                "forward_asymmetry",
                "forward asymmetry",
                "the response probability of lag 1 minus that of lag −1",
                "lag_crp",
                v => Lag(v, 1) - Lag(v, -1)
            );
        }
        yield return new(
            "temporal_clustering",
            "temporal clustering",
            "the temporal factor minus ½",
            "temporal_factor",
            v => v[0] - 0.5
        );
    }

    /// <summary>
    /// All numbers for programs: the means under the measures' names, and under `intervals` their intervals in the same
    /// form.
    /// </summary>
    public JsonObject ToJson()
    {
        var lag = Curve("lag_crp");
        var factor = Curve("temporal_factor");
        var json = new JsonObject
        {
            ["subjects"] = lag.Subjects.Count,
            ["lists"] = Lists.Count,
            ["list_length"] = Length,
            ["serial_position_of_first_subject"] = Numbers(Curve("serial_position").Values[0]),
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
            ["lag_crp_shuffled"] = Write(Shuffled, i => Number(Shuffled.Means[i])),
            [factor.Measure.Key] = new JsonObject(
                factor.Subjects.Zip(factor.Values, (s, v) => KeyValuePair.Create(s, Number(v[0])))
            ),
        };
        var intervals = new JsonObject();
        foreach (var curve in Curves)
        {
            var means = curve.Means;
            Put(json, curve, i => Number(means[i]));
            if (curve.Measure.Key != "lag_crp_compound")
                Put(intervals, curve, i => Interval(curve.Points[i].Interval));
        }
        json["intervals"] = intervals;
        json["effects"] = ToJson(Effects);
        return json;
    }

    /// <summary>Writes something of a curve's places under its name.</summary>
    private static void Put(JsonObject into, RecallCurve curve, Func<int, JsonNode?> at)
    {
        const string First = "probability_of_recall_",
            All = "probability_of_nth_recall";
        var key = curve.Measure.Key;
        if (key.StartsWith(First, StringComparison.Ordinal))
            (into[All] ??= new JsonObject())[key[First.Length..]] = Write(curve, at);
        else
            into[key == "temporal_factor" ? "temporal_factor_mean" : key] = Write(curve, at);
    }

    /// <summary>A list by serial position, one value without places, an object by place otherwise.</summary>
    private static JsonNode? Write(RecallCurve curve, Func<int, JsonNode?> at)
    {
        var (key, places) = (curve.Measure.Key, curve.Measure.Places);
        if (places is [""])
            return at(0);
        if (key == "serial_position" || key.StartsWith("probability", StringComparison.Ordinal))
            return new JsonArray([.. places.Select((_, i) => at(i))]);
        // A lag of 0 does not exist.
        return new JsonObject(
            places.Select((place, i) => KeyValuePair.Create(place, at(i))).Where(p => key != "lag_crp" || p.Key != "0")
        );
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
