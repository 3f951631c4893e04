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
        Capacity =
        [
            .. (analysis?["capacity"] as JsonArray ?? []).Select(p => new CapacityPoint(
                (int)(ToNumber(p?["pairs"]) ?? 0),
                ToNumber(p?["accuracy"])
            )),
        ];
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

    /// <summary>The numbers that findings made columns.</summary>
    public IReadOnlyList<FigureColumn> Columns { get; }

    /// <summary>The accuracy of a transformer with more and with fewer pairs or facts than in training.</summary>
    public IReadOnlyList<CapacityPoint> Capacity { get; }

    /// <summary>A number; null if the file has none of this key, or has null.</summary>
    public double? this[string key] => _numbers.GetValueOrDefault(key);

    /// <summary>Whether the file has the key, be it with null.</summary>
    internal bool Has(string key) => _numbers.ContainsKey(key);

    private static double? ToNumber(JsonNode? node) =>
        node?.GetValueKind() == JsonValueKind.Number
            ? double.Parse(node.ToJsonString(), CultureInfo.InvariantCulture)
            : null;
}
