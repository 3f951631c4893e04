using System.Globalization;
using System.Text.Json.Nodes;
using EmtTorch.Analysis.Charts;
using EmtTorch.Settings;

namespace EmtTorch.Analysis.Runs;

/// <summary>
/// An analysis of a trained network: a class with a name (<see cref="NamedAttribute"/>) and a public constructor
/// without arguments. The analyses of this library are such classes too.
/// </summary>
/// <example><code>
/// [Named("participation_ratio")]
/// public sealed class ParticipationRatio : INetworkAnalysis
/// {
///     public IEnumerable&lt;Finding&gt; Analyze(TrainedNetwork network, AnalysisOptions options)
///     {
///         if (network.Transformer is not null)
///             yield break; // it has no W_hh
///         yield return new("directions", value)
///         {
///             Null = shuffled,
///             Title = "directions of W_hh",
///             Sentence = "W_hh writes into {0:0.0} directions; with its numbers shuffled it would be {1:0.0}.",
///         };
///     }
/// }
/// </code></example>
public interface INetworkAnalysis
{
    /// <summary>Reads numbers out of a network. Gradients are off, and tensors are disposed of afterwards.</summary>
    /// <param name="network">The network; it stays the caller's.</param>
    /// <param name="options">How much is measured, and with which settings.</param>
    /// <returns>What was found, in the order of the report; nothing if the analysis is not for this network.</returns>
    IEnumerable<Finding> Analyze(TrainedNetwork network, AnalysisOptions options);
}

/// <summary>
/// One thing that an analysis found. A number becomes a key of analysis.json, a column of the comparison and, as a mean
/// over seeds, a column of a sweep's table.
/// </summary>
/// <param name="Key">Its name in analysis.json.</param>
/// <param name="Value">The number; NaN if it cannot be had, null if the finding is no number.</param>
/// <example><code>
/// yield return new("test_accuracy", 0.93) { Null = 0.5, Format = "P1", Sentence = "It has {0:P1} of bits right." };
/// yield return new("delays") { Data = new JsonArray(1, 3) };      // only in analysis.json
/// </code></example>
public sealed record Finding(string Key, double? Value = null)
{
    /// <summary>
    /// The same number of a network without the structure: untrained, shuffled. Null: there is nothing to compare.
    /// </summary>
    public double? Null { get; init; }

    /// <summary>Whether a value below <see cref="Null"/> is the finding, and not one above it.</summary>
    public bool Below { get; init; }

    /// <summary>The least that the number can be; intervals of means over seeds end there.</summary>
    public double Least { get; init; } = double.NegativeInfinity;

    /// <summary>The greatest that the number can be.</summary>
    public double Greatest { get; init; } = double.PositiveInfinity;

    /// <summary>
    /// What it says, with {0} for the value and {1} for the null. It is printed only if the value beats the null, or
    /// if the finding is no number.
    /// </summary>
    public string? Sentence { get; init; }

    /// <summary>What the number is, for the captions of tables and figures: "the share of bits with …".</summary>
    public string? Meaning { get; init; }

    /// <summary>The heading of its column; null for the key's words.</summary>
    public string? Title { get; init; }

    /// <summary>How tables print the number, one of .NET's formats.</summary>
    public string Format { get; init; } = "G4";

    /// <summary>What the comparison shows in place of the number.</summary>
    public string? Cell { get; init; }

    /// <summary>What stands in analysis.json in place of the number: a list, an object.</summary>
    public JsonNode? Data { get; init; }

    /// <summary>Figures for the report.</summary>
    public IReadOnlyList<Figure> Figures { get; init; } = [];

    /// <summary>A table for the comparison, below the line of each run.</summary>
    public FindingTable? Table { get; init; }

    /// <summary>A text for the report.</summary>
    public ReportText? Text { get; init; }

    /// <summary>What cannot be computed or trusted, and why.</summary>
    public IReadOnlyList<string> Problems { get; init; } = [];

    /// <summary>The report's chapters on a circuit of variables.</summary>
    internal CircuitCharts? Circuit { get; init; }

    /// <summary>Whether the value is a number that beats its null.</summary>
    public bool Beats =>
        Value is { } value
        && double.IsFinite(value)
        && (Null is not { } chance || (Below ? value < chance : value > chance));

    /// <summary>Whether tables have a column for it.</summary>
    internal bool IsColumn => Value is not null || Cell is not null;

    /// <summary>The heading of its column.</summary>
    internal string Heading => Title ?? Key.Replace('_', ' ');

    /// <summary>The sentence with its numbers; null if there is nothing to say.</summary>
    internal string? Said =>
        Sentence is null || (Value is not null && !Beats) ? null
        : Sentence.Contains('{') ? string.Format(CultureInfo.InvariantCulture, Sentence, Value, Null)
        : Sentence;

    /// <summary>What the number can be, as analysis.json has it; null if it can be any.</summary>
    internal JsonArray? Range =>
        double.IsFinite(Least) || double.IsFinite(Greatest) ? new(ToJson(Least), ToJson(Greatest)) : null;

    /// <summary>What analysis.json has of it.</summary>
    internal JsonNode? Json => Data ?? ToJson(Value) ?? (Value is null && Cell is not null ? Cell : null);

    /// <summary>A finding that stands in analysis.json only.</summary>
    internal static Finding Fact(string key, JsonNode? data) => new(key) { Data = data };

    /// <summary>A number in analysis.json; null if it is not finite.</summary>
    internal static JsonNode? ToJson(double? value) =>
        value is { } number && double.IsFinite(number) ? JsonValue.Create(number) : null;

    /// <summary>A list in analysis.json, an entry an item.</summary>
    internal static JsonArray ToJson<T>(IEnumerable<T> items, Func<T, JsonNode?> entry) =>
        new([.. items.Select(entry)]);
}

/// <summary>A table of one finding; the comparison puts the same tables of all runs together.</summary>
/// <param name="Caption">What it shows, and what its columns mean.</param>
/// <param name="Titles">A heading for each column.</param>
/// <param name="Rows">Rows of as many cells.</param>
public sealed record FindingTable(
    string Caption,
    IReadOnlyList<string> Titles,
    IReadOnlyList<IReadOnlyList<string>> Rows
);
