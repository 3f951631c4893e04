using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using System.Text.Json.Serialization;
using EmtTorch.Configuration;
using EmtTorch.Settings;

namespace EmtTorch.Studies;

/// <summary>
/// The settings of the consolidation experiment, as in experiments/outer-memories/consolidation/consolidation.json.
/// </summary>
public sealed record ConsolidationConfiguration
{
    [Description("The runs of segment_recall whose networks are consolidated.")]
    [MinLength(1), RegularExpression("^\\s*[^\\u0000\\s][^\\u0000]*$", ErrorMessage = "a run's folder, not empty")]
    public IReadOnlyList<string> Runs { get; init; } = ["runs/segment_recall/seed-1"];

    [Description("The seed of facts, replay and tests."), Range(typeof(long), "0", "9223372036854775807")]
    public long Seed { get; init; } = 1;

    [Description("Facts of a day: pairs of a key and a value, with distinct keys."), MinLength(1), Range(1, 4096)]
    public IReadOnlyList<int> Facts { get; init; } = [4, 16, 64];

    [Description("Facts in a document of the day."), Range(1, 4096)]
    public int FactsPerDocument { get; init; } = 4;

    [Description("Documents that are read before each night; null: all of the day."), Range(1, 4096)]
    public int? DocumentsPerNight { get; init; }

    [Description("Writes that are kept in each block: those with the highest gates."), Range(1, 1_048_576)]
    public int Capacity { get; init; } = 256;

    [Description("Steps of Adam in a night."), Range(0, 1_000_000)]
    public int Steps { get; init; } = 300;

    [Description("Writes, or documents, in a batch of replay, and documents in a batch of rehearsal."), Range(1, 65536)]
    public int BatchSize { get; init; } = 16;

    [Description("Tokens in a segment of the documents that are read at night."), Range(2, 65536)]
    public int SegmentLength { get; init; } = 24;

    [Description("Adam's learning rate at night."), Range(0, double.MaxValue, MinimumIsExclusive = true)]
    public double LearningRate { get; init; } = 0.001;

    [Description("The weight of the rehearsal's loss; that of the replay is 1."), Range(0, double.MaxValue)]
    public double RehearsalWeight { get; init; } = 1;

    [Description("A token is a stored write's cue if the cosine of its query and the write's key is at least this.")]
    [Range(-1.0, 1.0)]
    public double Recognized { get; init; } = 0.5;

    [Description("Answers in each test, about."), Range(1, 1_048_576)]
    public int TestAnswers { get; init; } = 1024;

    [Description("The kinds of night to compare."), MinLength(1)]
    public IReadOnlyList<NightConfiguration> Nights { get; init; } = [new()];

    /// <summary>The number of outcomes: one for each night, number of facts and network.</summary>
    [JsonIgnore]
    public int OutcomeCount => Runs.Count * Nights.Sum(n => (n.Facts ?? Facts).Count);

    /// <summary>Reads and checks a file.</summary>
    /// <param name="path">The file.</param>
    /// <param name="overrides">Settings that replace the file's, each as `key.path=value`.</param>
    /// <exception cref="ConfigurationException">There are problems. The exception lists all of them.</exception>
    public static ConsolidationConfiguration Load(string path, IReadOnlyList<string>? overrides = null) =>
        ConfigurationFile.Load<ConsolidationConfiguration>(path, overrides, c => c.Check());

    private IEnumerable<(string[] Keys, ConfigurationProblem Problem)> Check()
    {
        var odd = Facts.Concat(Nights.SelectMany(n => n.Facts ?? [])).Distinct().Where(f => f % FactsPerDocument != 0);
        foreach (int facts in odd)
        {
            yield return (
                ["facts", "facts_per_document", "nights"],
                new("facts", $"found {facts}; allowed: multiples of facts_per_document, {FactsPerDocument}")
            );
        }

        foreach (var (name, count) in Nights.CountBy(n => n.Name).Where(n => n.Value > 1))
            yield return (["nights"], new("nights", $"found the name {name} {count} times; allowed: a name once"));

        foreach (var night in Nights.Where(n => n.Replay == "literal" && n.Moves != "query_and_feed_forward"))
        {
            yield return (
                ["nights"],
                new("nights", $"found {night.Moves} in {night.Name}; literal replay moves query_and_feed_forward")
            );
        }
    }
}

/// <summary>A kind of night.</summary>
public sealed record NightConfiguration
{
    [Description("Its name in tables.")]
    [RegularExpression(
        "^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$",
        ErrorMessage = "letters, digits, '.', '_' and '-', at most 100, not beginning with '.' or '-'"
    )]
    public string Name { get; init; } = "night";

    [Description(
        "The replay. literal: the source's ‖W_Q h - k‖² + ‖FFN(h) - v‖² at the stored writes, with the memory's W_Q "
            + "and a mean; distilled: the network "
            + "without fast memory learns to answer as it does with the stored writes in its fast weights; none."
    )]
    [AllowedValues("literal", "distilled", "none")]
    public string Replay { get; init; } = "distilled";

    [Description(
        "The behaviour that must stay. episodes: answers in documents of other, random pairs; noise: all outputs on "
            + "documents without pairs; none."
    )]
    [AllowedValues("none", "noise", "episodes")]
    public string Rehearsal { get; init; } = "episodes";

    [Description("The slow weights that move."), AllowedValues("feed_forward", "query_and_feed_forward", "all")]
    public string Moves { get; init; } = "all";

    [Description("Numbers of facts; null: the experiment's."), MinLength(1), Range(1, 4096)]
    public IReadOnlyList<int>? Facts { get; init; }
}
