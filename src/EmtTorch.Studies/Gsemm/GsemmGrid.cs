using System.Text.Json.Nodes;
using EmtTorch.Analysis;
using EmtTorch.Settings;

namespace EmtTorch.Studies;

/// <summary>An axis of a grid: a setting and the values that it takes.</summary>
public sealed record GsemmAxis(string Key, IReadOnlyList<string> Values)
{
    /// <summary>Reads `seed=[1,2,3]`.</summary>
    /// <exception cref="ConfigurationException">It is of another form.</exception>
    public static GsemmAxis Parse(string text)
    {
        var parts = text.Split('=', 2);
        try
        {
            if (parts.Length == 2 && JsonText.Parse(parts[1]) is JsonArray { Count: > 0 } values)
                return new(parts[0], [.. values.Select(v => v?.ToJsonString() ?? "null")]);
        }
        catch (System.Text.Json.JsonException) { }
        throw new ConfigurationException([new("--grid", $"found {text}; allowed: a list of values, as seed=[1,2,3]")]);
    }
}

/// <summary>
/// Retrieves a sequence with every combination of some settings, by the ODE (Eq. 1), and says where it stays in order.
/// </summary>
/// <example><code>
/// var grid = GsemmGrid.Run("experiments/gsemm/clean_cue.json", [], [new("seed", ["1", "2", "3"])]);
/// Console.WriteLine($"{grid.InOrder} of {grid.Rows.Count}");
/// </code></example>
public sealed class GsemmGrid
{
    /// <summary>A combination: its values in the order of the axes, and what was retrieved.</summary>
    public sealed record Row(IReadOnlyList<string> Values, bool InOrder, IReadOnlyList<int> Retrieved);

    private GsemmGrid(IReadOnlyList<GsemmAxis> axes, IReadOnlyList<Row> rows) => (Axes, Rows) = (axes, rows);

    public IReadOnlyList<GsemmAxis> Axes { get; }
    public IReadOnlyList<Row> Rows { get; }

    /// <summary>How many are in order.</summary>
    public int InOrder => Rows.Count(r => r.InOrder);

    /// <summary>The 95 % interval of the share that is in order, after Wilson.</summary>
    public (double Low, double High) Interval => Sample.ShareInterval((double)InOrder / Rows.Count, Rows.Count);

    /// <summary>Runs all combinations; the last axis changes fastest.</summary>
    /// <param name="path">The configuration.</param>
    /// <param name="overrides">Settings that replace the file's, each as `key.path=value`.</param>
    /// <param name="axes">What varies; it wins over both.</param>
    /// <exception cref="ConfigurationException">There are problems, before anything runs.</exception>
    public static GsemmGrid Run(string path, IReadOnlyList<string> overrides, IReadOnlyList<GsemmAxis> axes)
    {
        if (ExperimentFile.FindTooMany(axes.Select(a => a.Values.Count)) is { } many)
            throw new ConfigurationException([new("--grid", many)]);
        IEnumerable<IReadOnlyList<string>> combinations =
        [
            [],
        ];
        foreach (var axis in axes)
        {
            combinations =
                from before in combinations
                from value in axis.Values
                select (IReadOnlyList<string>)[.. before, value];
        }
        var runs = combinations
            .Select(values =>
                (
                    values,
                    GsemmConfiguration.Load(
                        path,
                        [.. overrides, .. axes.Zip(values, (axis, value) => $"{axis.Key}={value}")]
                    )
                )
            )
            .ToList();
        return new(
            axes,
            [
                .. runs.Select(run =>
                {
                    var (values, configuration) = run;
                    var retrieval = GsemmExperiment.Retrieve(configuration);
                    return new Row(values, retrieval.InOrder, retrieval.Retrieved);
                }),
            ]
        );
    }

    /// <summary>A line a combination: its values, whether it is in order (1 or 0), and the memories.</summary>
    public string ToCsv() =>
        Table.Csv([
            [.. Axes.Select(a => a.Key), "in_order", "retrieved"],
            .. Rows.Select(r => (string[])[.. r.Values, r.InOrder ? "1" : "0", string.Join(' ', r.Retrieved)]),
        ]);
}
