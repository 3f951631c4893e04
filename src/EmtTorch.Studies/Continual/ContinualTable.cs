using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;
using EmtTorch.Analysis;

namespace EmtTorch.Studies;

/// <summary>A method's run with one seed, finished.</summary>
/// <param name="Method">The method.</param>
/// <param name="Seed">The seed.</param>
/// <param name="Matrix">Null of joint, which has no stages.</param>
/// <param name="Final">The accuracy on each task at the end.</param>
/// <param name="Steps">Of each stage.</param>
public sealed record ContinualEntry(
    ContinualMethod Method,
    long Seed,
    AccuracyMatrix? Matrix,
    IReadOnlyList<double> Final,
    IReadOnlyList<long> Steps
)
{
    /// <summary>mean_j R[T][j].</summary>
    public double Average => Final.Average();
}

/// <summary>What the methods of a sequence of tasks have come to: which strengths were chosen, and the chosen ones over all seeds.</summary>
public sealed class ContinualTable
{
    private readonly List<ContinualEntry> _entries = [];

    private ContinualTable(ContinualSequence sequence) => Sequence = sequence;

    public ContinualSequence Sequence { get; }

    /// <summary>All that is finished.</summary>
    public IReadOnlyList<ContinualEntry> Entries => _entries;

    /// <summary>Reads the runs' folders; what is not finished is left out.</summary>
    public static ContinualTable Of(ContinualSequence sequence)
    {
        var table = new ContinualTable(sequence);
        foreach (var method in sequence.Methods)
        {
            foreach (long seed in sequence.Seeds.Append(sequence.SweepSeed).Distinct())
            {
                if (table.Read(method, seed) is { } entry)
                    table._entries.Add(entry);
            }
        }

        return table;
    }

    private ContinualEntry? Read(ContinualMethod method, long seed)
    {
        var run = new ContinualRun(Sequence, method, seed);
        if (run.ReadTests() is not { } tests || run.ReadRandomTests() is not { } random)
            return null;
        double[] Row(StageTests t) => [.. Sequence.Tasks.Select(task => t.Accuracy[task.Name])];
        return new(
            method,
            seed,
            method.Kind == "joint" ? null : new([.. tests.Select(Row)], Row(random)),
            Row(tests[^1]),
            [.. Enumerable.Range(0, run.Stages).Select(s => run.Folder(s).ReadResult()?.Steps ?? 0)]
        );
    }

    /// <summary>The methods of each group, one for each strength, in their order.</summary>
    public IEnumerable<IGrouping<string, ContinualMethod>> Groups => Sequence.Methods.GroupBy(m => m.Group);

    /// <summary>
    /// The method of a group that stands for it: the only one, or the one with the highest average accuracy on the sweep's seed (where two
    /// are equal, the weaker). Null while one is missing.
    /// </summary>
    public ContinualMethod? Chosen(IEnumerable<ContinualMethod> group)
    {
        var all = group.ToList();
        if (all.Count == 1)
            return all[0];
        var swept = all.Select(m => _entries.Find(e => e.Method.Name == m.Name && e.Seed == Sequence.SweepSeed))
            .ToList();
        return swept.Contains(null)
            ? null
            : swept.OrderByDescending(e => e!.Average).ThenBy(e => e!.Method.Strength).First()!.Method;
    }

    /// <summary>A method's finished runs with the sequence's seeds, in their order.</summary>
    public IReadOnlyList<ContinualEntry> Of(ContinualMethod method) =>
        [
            .. Sequence
                .Seeds.Select(s => _entries.Find(e => e.Method.Name == method.Name && e.Seed == s))
                .OfType<ContinualEntry>(),
        ];

    /// <summary>Figures of a run by their titles; null where there is none.</summary>
    internal static readonly (string Title, string Key, Func<ContinualEntry, double?> Value)[] Figures =
    [
        ("average accuracy", "average_accuracy", e => e.Average),
        ("backward transfer", "backward_transfer", e => e.Matrix?.BackwardTransfer),
        ("forgetting", "forgetting", e => e.Matrix?.Forgetting),
        ("forward transfer", "forward_transfer", e => e.Matrix?.ForwardTransfer),
        ("just learned", "just_learned", e => e.Matrix?.Learned),
    ];

    /// <summary>As Markdown.</summary>
    public string Markdown()
    {
        var text = new StringBuilder($"# {Sequence.Name}\n\n");
        if (Sequence.Description.Length > 0)
            text.Append(Sequence.Description).Append("\n\n");
        text.Append(
            CultureInfo.InvariantCulture,
            $"Tasks in their order: {string.Join(", ", Sequence.Tasks.Select(t => t.Name))}. Seeds {string.Join(", ", Sequence.Seeds)}.\n\n"
        );
        text.Append(
            $"| method | {string.Join(" | ", Figures.Select(f => f.Title))} | forgetting / naive's | at the end: {string.Join(", ", Sequence.Tasks.Select(t => t.Name))} | steps a stage |\n|:--|{string.Concat(Figures.Select(_ => "--:|"))}--:|:--|:--|\n"
        );
        var naive = Sequence.Methods.FirstOrDefault(m => m.Kind == "naive") is { } plain
            ? Sample.Of(Of(plain).Select(e => e.Matrix?.Forgetting))
            : null;
        foreach (var group in Groups)
        {
            if (Chosen(group) is not { } method || Of(method) is not { Count: > 0 } entries)
            {
                text.Append($"| {group.Key} |{string.Concat(Figures.Select(_ => " – |"))} – | not finished | |\n");
                continue;
            }
            var forgetting = Sample.Of(entries.Select(e => e.Matrix?.Forgetting));
            text.Append(
                $"| {Name(method)} | {string.Join(" | ", Figures.Select(f => Shown(Sample.Of(entries.Select(f.Value)))))} | {(forgetting is not null && naive is { Mean: > 0 } && method.Kind != "naive" ? Text(forgetting.Mean / naive.Mean, "0.00") : "–")} | "
            );
            text.Append(
                $"{string.Join(", ", Enumerable.Range(0, Sequence.Tasks.Count).Select(j => Text(entries.Average(e => e.Final[j]), "0.000")))} | {string.Join(", ", Enumerable.Range(0, entries[0].Steps.Count).Select(s => Text(entries.Average(e => e.Steps[s]), "0")))} |\n"
            );
        }
        text.Append(
            "\nMeans over seeds ± standard deviation. R[i][j] is the accuracy on task j after stage i of T, b_j that at random weights. Average accuracy: mean R[T][j]; backward transfer: mean over j < T of R[T][j] − R[j][j]; "
                + "forgetting: mean over j < T of max over i < T of R[i][j] − R[T][j]; forward transfer: mean over j > 1 of R[j−1][j] − b_j; just learned: mean R[j][j].\n"
        );

        foreach (var group in Groups.Where(g => g.Count() > 1))
        {
            var chosen = Chosen(group);
            text.Append(
                CultureInfo.InvariantCulture,
                $"\n## The strength of {group.Key}, by seed {Sequence.SweepSeed}\n\n| strength | {string.Join(" | ", Figures.Select(f => f.Title))} |\n|--:|{string.Concat(Figures.Select(_ => "--:|"))}\n"
            );
            foreach (var method in group)
            {
                var entry = _entries.Find(e => e.Method.Name == method.Name && e.Seed == Sequence.SweepSeed);
                text.Append(
                    $"| {(method == chosen ? $"**{Number(method.Strength)}**" : Number(method.Strength))} | {string.Join(" | ", Figures.Select(f => entry is null || f.Value(entry) is not { } v ? "–" : Text(v, "0.000")))} |\n"
                );
            }
        }

        text.Append("\n## Accuracy on each task after each stage\n");
        foreach (var method in Groups.Select(Chosen).OfType<ContinualMethod>())
        {
            var entries = Of(method).Where(e => e.Matrix is not null).ToList();
            if (entries.Count == 0)
                continue;
            text.Append(
                $"\n| {Name(method)} | {string.Join(" | ", Sequence.Tasks.Select(t => t.Name))} |\n|:--|{string.Concat(Sequence.Tasks.Select(_ => "--:|"))}\n"
            );
            text.Append(
                $"| random weights | {string.Join(" | ", Enumerable.Range(0, Sequence.Tasks.Count).Select(j => Shown(Sample.Of(entries.Select(e => (double?)e.Matrix!.Random[j])))))} |\n"
            );
            for (int i = 0; i < Sequence.Tasks.Count; i++)
            {
                text.Append(
                    $"| after {Sequence.Tasks[i].Name} | {string.Join(" | ", Enumerable.Range(0, Sequence.Tasks.Count).Select(j => Shown(Sample.Of(entries.Select(e => (double?)e.Matrix!.R[i][j])))))} |\n"
                );
            }
        }
        return text.ToString();
    }

    /// <summary>A line a run: method, strength, seed, figures, and R by rows.</summary>
    public string Csv()
    {
        var names = Sequence.Tasks.Select(t => t.Name).ToList();
        var text = new StringBuilder(
            $"method,group,strength,seed,sweep,{string.Join(',', Figures.Select(f => f.Key))},{string.Join(',', names.SelectMany(i => names.Select(j => $"after_{i}_on_{j}")))}\n"
        );
        foreach (var e in _entries)
        {
            text.Append(
                CultureInfo.InvariantCulture,
                $"{e.Method.Name},{e.Method.Group},{Number(e.Method.Strength)},{e.Seed},{(e.Seed == Sequence.SweepSeed ? 1 : 0)},{string.Join(',', Figures.Select(f => Exact(f.Value(e))))},{string.Join(',', Enumerable.Range(0, names.Count * names.Count).Select(k => Exact(e.Matrix is { } m ? m.R[k / names.Count][k % names.Count] : k / names.Count == names.Count - 1 ? e.Final[k % names.Count] : null)))}\n"
            );
        }

        return text.ToString();
    }

    /// <summary>All of it.</summary>
    public string Json() =>
        new JsonObject
        {
            ["name"] = Sequence.Name,
            ["tasks"] = new JsonArray([.. Sequence.Tasks.Select(t => (JsonNode)t.Name)]),
            ["seeds"] = new JsonArray([.. Sequence.Seeds.Select(s => (JsonNode)s)]),
            ["sweep_seed"] = Sequence.SweepSeed,
            ["chosen"] = new JsonArray([.. Groups.Select(g => (JsonNode?)Chosen(g)?.Name)]),
            ["runs"] = new JsonArray([
                .. _entries.Select(e =>
                {
                    var run = new JsonObject
                    {
                        ["method"] = e.Method.Name,
                        ["kind"] = e.Method.Kind,
                        ["group"] = e.Method.Group,
                        ["strength"] = e.Method.Strength,
                        ["seed"] = e.Seed,
                    };
                    foreach (var (_, key, value) in Figures)
                        run[key] = value(e);
                    run["final"] = new JsonArray([.. e.Final.Select(v => (JsonNode)v)]);
                    run["r"] = e.Matrix is null
                        ? null
                        : new JsonArray([
                            .. e.Matrix.R.Select(row => (JsonNode)new JsonArray([.. row.Select(v => (JsonNode)v)])),
                        ]);
                    run["random"] = e.Matrix is null
                        ? null
                        : new JsonArray([.. e.Matrix.Random.Select(v => (JsonNode)v)]);
                    run["steps"] = new JsonArray([.. e.Steps.Select(s => (JsonNode)s)]);
                    return (JsonNode)run;
                }),
            ]),
        }.ToJsonString(RunFolderJson) + "\n";

    private static readonly System.Text.Json.JsonSerializerOptions RunFolderJson = new() { WriteIndented = true };

    /// <summary>As a table names it.</summary>
    internal static string Name(ContinualMethod method) =>
        method.Strength > 0 ? $"{method.Group}, {Number(method.Strength)}" : method.Group;

    internal static string Number(double value) => value.ToString("R", CultureInfo.InvariantCulture);

    private static string Exact(double? value) => value is { } v ? v.ToString("R", CultureInfo.InvariantCulture) : "";

    private static string Text(double value, string format)
    {
        var text = value.ToString(format, CultureInfo.InvariantCulture);
        // What rounds to 0 has no sign.
        return text.AsSpan().IndexOfAnyInRange('1', '9') < 0 ? text.TrimStart('-') : text.Replace('-', '−');
    }

    private static string Shown(Sample? sample) =>
        sample is null ? "–" : Text(sample.Mean, "0.000") + (sample.Deviation is { } d ? $" ± {Text(d, "0.000")}" : "");
}
