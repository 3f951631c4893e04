using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace EmtTorch.Studies;

/// <summary>A number of analysis.json that tables show.</summary>
/// <param name="Key">Its key; NAME.KEY for a finding of an extension's analysis NAME.</param>
/// <param name="Title">The heading of its column.</param>
/// <param name="Format">How it is printed, one of .NET's formats.</param>
/// <param name="Meaning">What it is, in words; null if its analysis does not say.</param>
public sealed record FigureColumn(string Key, string Title, string Format, string? Meaning);

/// <summary>A point of the accuracy against what there is to keep.</summary>
/// <param name="Pairs">Pairs or facts in a document.</param>
/// <param name="Accuracy">The share of right answers.</param>
public sealed record CapacityPoint(int Pairs, double? Accuracy);

/// <summary>The numbers of a run's analysis.json.</summary>
/// <example><code>
/// double? error = run.Analysis["spectral_error"];
/// double? directions = run.Analysis["participation_ratio.directions"];
/// </code></example>
public sealed class AnalysisFigures
{
    private readonly Dictionary<string, double?> _numbers = [];
    private readonly Dictionary<string, (double Least, double Greatest)> _ranges = [];

    /// <param name="analysis">The content of analysis.json; null if there is none.</param>
    internal AnalysisFigures(JsonObject? analysis = null)
    {
        foreach (var (key, value) in analysis ?? [])
        {
            if (value is null || ToNumber(value) is not null)
                _numbers[key] = ToNumber(value);
        }
        foreach (var (name, findings) in analysis?["findings"] as JsonObject ?? [])
        {
            foreach (var (key, finding) in findings as JsonObject ?? [])
                _numbers[$"{name}.{key}"] = ToNumber(finding?["value"]);
        }
        foreach (var (key, range) in analysis?["ranges"] as JsonObject ?? [])
        {
            if (range is JsonArray { Count: 2 })
            {
                double least = ToNumber(range[0]) ?? double.NegativeInfinity;
                _ranges[key] = (least, ToNumber(range[1]) ?? double.PositiveInfinity);
            }
        }
        Capacity =
        [
            .. (analysis?["capacity"] as JsonArray ?? []).Select(p => new CapacityPoint(
                (int)(ToNumber(p?["pairs"]) ?? 0),
                ToNumber(p?["accuracy"])
            )),
        ];
        Details = analysis is null ? [] : [.. DetailsOf(analysis)];
        foreach (var (key, number) in Details)
            _numbers.TryAdd(key, number);
        Columns =
        [
            .. (analysis?["columns"] as JsonObject ?? []).Select(c => new FigureColumn(
                c.Key,
                (string?)c.Value?["title"] ?? c.Key,
                (string?)c.Value?["format"] ?? "G4",
                (string?)c.Value?["meaning"]
            )),
        ];
    }

    /// <summary>
    /// Numbers from the lists in analysis.json, under keys of their own: accuracy_at_64 (at that horizon),
    /// accuracy_of_16 (with so many pairs or facts), gate_value and the gates at other kinds of token in the first
    /// block's first head, from_asked_pair (of the head that reads most from it), both_facts_kept and
    /// strongest_edge_right (of the first graph), cycles_error, smallest_eigenvalue (the smallest |λ| of those that
    /// persist).
    /// </summary>
    internal IReadOnlyList<KeyValuePair<string, double?>> Details { get; }

    private static IEnumerable<KeyValuePair<string, double?>> DetailsOf(JsonObject analysis)
    {
        IEnumerable<JsonNode?> List(string key) => analysis[key] as JsonArray ?? [];
        foreach (var point in List("distance"))
            yield return new($"accuracy_at_{point?["horizon"]}", ToNumber(point?["accuracy"]));
        foreach (var point in List("capacity"))
            yield return new($"accuracy_of_{point?["pairs"]}", ToNumber(point?["accuracy"]));
        foreach (var (kind, gate) in List("gate").FirstOrDefault()?["kinds"] as JsonObject ?? [])
            yield return new($"gate_{kind}", ToNumber(gate?["gate"]));
        if (analysis["reads"] is JsonArray reads)
            yield return new("from_asked_pair", reads.Max(r => ToNumber(r?["from_asked_pair"])));
        if (analysis["graph"] is JsonArray graphs)
        {
            foreach (var key in new[] { "both_facts_kept", "strongest_edge_right" })
                yield return new(key, ToNumber(graphs.FirstOrDefault()?[key]));
        }
        if (analysis.ContainsKey("cycles_error"))
        {
            double Magnitude(JsonNode? z) => double.Hypot(ToNumber(z?[0]) ?? double.NaN, ToNumber(z?[1]) ?? double.NaN);
            yield return new("cycles_error", ToNumber(analysis["cycles_error"]));
            double persistent = ToNumber(analysis["spectral_threshold"]) ?? 0.9;
            var magnitudes = List("spectrum_learned").Select(z => (double?)Magnitude(z)).Where(m => m > persistent);
            yield return new("smallest_eigenvalue", magnitudes.Min());
        }
    }

    /// <summary>The numbers that findings made columns.</summary>
    public IReadOnlyList<FigureColumn> Columns { get; }

    /// <summary>The accuracy of a transformer with more and with fewer pairs or facts than in training.</summary>
    public IReadOnlyList<CapacityPoint> Capacity { get; }

    /// <summary>A number; null if the file has none of this key, or has null.</summary>
    public double? this[string key] => _numbers.GetValueOrDefault(key);

    /// <summary>What a number can be; null if its analysis does not say.</summary>
    internal (double Least, double Greatest)? RangeOf(string key) =>
        _ranges.TryGetValue(key, out var range) ? range : null;

    /// <summary>Whether the file has the key, be it with null.</summary>
    internal bool Has(string key) => _numbers.ContainsKey(key);

    private static double? ToNumber(JsonNode? node) =>
        node?.GetValueKind() == JsonValueKind.Number
            ? double.Parse(node.ToJsonString(), CultureInfo.InvariantCulture)
            : null;
}
