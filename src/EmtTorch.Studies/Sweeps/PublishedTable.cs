using System.Text.Json.Nodes;
using EmtTorch.Analysis;
using EmtTorch.Settings;
using EmtTorch.Training;

namespace EmtTorch.Studies;

/// <summary>A row of a published table.</summary>
/// <param name="SpectralError">In radians; null: none was printed.</param>
/// <param name="Accuracy">At the test's horizon; null: none was printed.</param>
public sealed record PublishedRow(double? SpectralError, double? Accuracy);

/// <summary>How a figure compares with the published one.</summary>
public enum Verdict
{
    /// <summary>One of them is missing, or not all of the cell's runs are finished.</summary>
    NotComparable,

    /// <summary>Rounded as the published one is, it is as good or better.</summary>
    EqualOrBetter,

    /// <summary>
    /// Rounded as the published one is, it is worse, but that one lies within the 95 % interval of ours: seeds differ
    /// by more.
    /// </summary>
    WithinInterval,

    /// <summary>
    /// Rounded as the published one is, it is worse; or there is none because some seed has not converged, and a
    /// published one there is.
    /// </summary>
    Worse,

    /// <summary>
    /// It is not as good, and there are fewer seeds than <see cref="PublishedTable.SeedsForAVerdict"/>: neither
    /// <see cref="WithinInterval"/> nor <see cref="Worse"/> is said.
    /// </summary>
    TooFewSeeds,
}

/// <summary>
/// Published results: `columns` and `rows`, and optionally `source`. The columns task, hidden and l2 say which network
/// a row is of (task.name, model.hidden_size, training.weight_decay), spectral_error and accuracy what it comes to.
/// </summary>
public sealed class PublishedTable
{
    /// <summary>Decimals that published figures have.</summary>
    public const int ErrorDecimals = 4,
        AccuracyDecimals = 2;

    /// <summary>
    /// Seeds that a figure needs before it is called worse, or within the interval. Both say what other seeds would
    /// give, and a few unlucky ones can feign either. As good or better needs no more than the runs that are so.
    /// </summary>
    public const int SeedsForAVerdict = 5;

    private static readonly string[] Columns = ["task", "hidden", "l2", "spectral_error", "accuracy"];

    private readonly IReadOnlyList<(JsonObject Network, PublishedRow Figures)> _rows;

    private PublishedTable(string? source, IEnumerable<JsonObject> rows) =>
        (Source, _rows) = (
            source,
            [.. rows.Select(r => (r, new PublishedRow((double?)r["spectral_error"], (double?)r["accuracy"])))]
        );

    /// <summary>Where they are from.</summary>
    public string? Source { get; }

    /// <summary>Reads one.</summary>
    /// <exception cref="ConfigurationException">It is of another form: all problems.</exception>
    public static PublishedTable Of(JsonNode json)
    {
        var problems = new List<ConfigurationProblem>();
        var columns = (json["columns"] as JsonArray ?? []).Select(Text).ToList();
        CheckColumns(columns, problems);
        if (json["rows"] is not JsonArray)
        {
            problems.Add(
                "published.rows",
                "is missing; allowed: a list of rows, each a list with a value for each column"
            );
        }
        var rows = new List<JsonObject>();
        foreach (var (i, given) in (problems.Count == 0 ? json["rows"]!.AsArray() : []).Index())
        {
            if (given is not JsonArray row || row.Count != columns.Count)
            {
                problems.Add(
                    $"published.rows[{i}]",
                    $"found {given?.ToJsonString() ?? "null"}; allowed: a list of {columns.Count} values, one for "
                        + "each column"
                );
                continue;
            }
            foreach (var (column, value) in columns.Zip(row).Where(c => !Fits(c.First!, c.Second)))
            {
                problems.Add(
                    $"published.rows[{i}]",
                    $"{column} is {value?.ToJsonString() ?? "null"}; allowed: "
                        + (column == "task" ? "a task's name" : "a number")
                );
            }
            rows.Add(new(columns.Zip(row, (c, v) => KeyValuePair.Create(c!, v?.DeepClone()))));
        }
        if (problems.Count > 0)
            throw new ConfigurationException(problems);
        return new(Text(json["source"]), rows);
    }

    private static void CheckColumns(List<string?> columns, List<ConfigurationProblem> problems)
    {
        const string at = "published.columns";
        if (columns.Count == 0)
            problems.Add(at, $"is missing; allowed: a list of some of {string.Join(", ", Columns)}");
        foreach (var column in columns.Where(c => !Columns.Contains(c)))
        {
            problems.Add(
                at,
                $"{column ?? "one that is no text"} is no column that can be compared; allowed: "
                    + string.Join(", ", Columns)
            );
        }
        foreach (var twice in columns.GroupBy(c => c).Where(g => g.Count() > 1))
            problems.Add(at, $"has {twice.Key} {twice.Count()} times");
    }

    private static bool Fits(string column, JsonNode? value) =>
        value is null ? column is "spectral_error" or "accuracy"
        : column == "task" ? Text(value) is not null
        : value is JsonValue number && number.TryGetValue<double>(out _);

    private static string? Text(JsonNode? node) =>
        node is JsonValue value && value.TryGetValue(out string? text) ? text : null;

    /// <summary>
    /// The row of such a network, the same object for all networks that it is of; null if there is none.
    /// </summary>
    public PublishedRow? Find(RunConfiguration network)
    {
        static bool Is(JsonObject row, string column, double value) =>
            row[column] is not { } given || Math.Abs(given.GetValue<double>() - value) <= 1e-12 * Math.Abs(value);
        return _rows
            .FirstOrDefault(r =>
                (
                    r.Network["task"] is not { } task
                    || string.Equals(task.GetValue<string>(), network.Task.Name, StringComparison.OrdinalIgnoreCase)
                )
                && Is(r.Network, "hidden", network.Model.HiddenSize)
                && Is(r.Network, "l2", network.Training.WeightDecay)
            )
            .Figures;
    }

    /// <summary>How a cell's spectral error compares, rounded to four decimals.</summary>
    /// <param name="own">Its mean over seeds; null: some seed has not converged.</param>
    /// <param name="published">The published one.</param>
    /// <param name="seeds">How many seeds it is of, converged or not.</param>
    /// <param name="sample">The seeds' errors.</param>
    public static Verdict OfError(double? own, double? published, int seeds, Sample? sample = null) =>
        published is not { } other ? Verdict.NotComparable
        : own is { } error && Rounded(error, ErrorDecimals) <= Rounded(other, ErrorDecimals) ? Verdict.EqualOrBetter
        : seeds < SeedsForAVerdict ? Verdict.TooFewSeeds
        : own is not null && Within(sample, other, ErrorDecimals) ? Verdict.WithinInterval
        : Verdict.Worse;

    /// <summary>How a cell's accuracy compares, rounded to two decimals.</summary>
    /// <param name="own">Its mean over seeds.</param>
    /// <param name="published">The published one.</param>
    /// <param name="seeds">How many seeds it is of.</param>
    /// <param name="sample">The seeds' accuracies.</param>
    public static Verdict OfAccuracy(double? own, double? published, int seeds, Sample? sample = null) =>
        own is not { } accuracy || published is not { } other ? Verdict.NotComparable
        : Rounded(accuracy, AccuracyDecimals) >= Rounded(other, AccuracyDecimals) ? Verdict.EqualOrBetter
        : seeds < SeedsForAVerdict ? Verdict.TooFewSeeds
        : Within(sample, other, AccuracyDecimals) ? Verdict.WithinInterval
        : Verdict.Worse;

    private static bool Within(Sample? sample, double published, int decimals) =>
        sample?.Interval is var (low, high)
        && Rounded(low, decimals) <= Rounded(published, decimals)
        && Rounded(published, decimals) <= Rounded(high, decimals);

    private static double Rounded(double value, int decimals) =>
        Math.Round(value, decimals, MidpointRounding.AwayFromZero);
}
