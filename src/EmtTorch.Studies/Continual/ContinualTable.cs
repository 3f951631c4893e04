using System.Globalization;
using System.Text;
using System.Text.Json;
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

/// <summary>
/// What the methods of a sequence of tasks have come to: which strengths were chosen, and the chosen ones over all
/// seeds.
/// </summary>
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
    /// The method of a group that stands for it: the only one, or the one with the highest average accuracy on the
    /// sweep's seed (where two are equal, the weaker). Null while one is missing.
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
        var tasks = Sequence.Tasks.Select(t => t.Name).ToList();
        var text = new StringBuilder($"# {Sequence.Name}\n\n");
        if (Sequence.Description.Length > 0)
            text.Append(Sequence.Description).Append("\n\n");
        text.Append(
            $"Tasks in their order: {string.Join(", ", tasks)}. Seeds {string.Join(", ", Sequence.Seeds)}.\n\n"
        );
        var finished = Groups.Select(Finished).ToList();
        text.Append(Table.Markdown(Columns(tasks), finished));
        text.Append(
            "\nMeans over seeds ± standard deviation. R[i][j] is the accuracy on task j after stage i of T, b_j "
                + "that at random weights. Average accuracy: mean R[T][j]; backward transfer: mean over j < T of "
                + "R[T][j] − R[j][j]; forgetting: mean over j < T of max over i < T of R[i][j] − R[T][j]; forward "
                + "transfer: mean over j > 1 of R[j−1][j] − b_j; just learned: mean R[j][j].\n"
        );

        foreach (var group in Groups.Where(g => g.Count() > 1))
        {
            var chosen = Chosen(group);
            ContinualEntry? Swept(ContinualMethod m) =>
                _entries.Find(e => e.Method.Name == m.Name && e.Seed == Sequence.SweepSeed);
            text.Append($"\n## The strength of {group.Key}, by seed {Sequence.SweepSeed}\n\n");
            text.Append(
                Table.Markdown<ContinualMethod>(
                    [
                        new(
                            "strength",
                            m => m == chosen ? $"**{Number(m.Strength)}**" : Number(m.Strength),
                            m => m.Strength
                        ),
                        .. Figures.Select(f => new Column<ContinualMethod>(
                            f.Title,
                            m => Swept(m) is { } entry ? f.Value(entry) : null,
                            "0.000"
                        )),
                    ],
                    group
                )
            );
        }

        text.Append("\n## Accuracy on each task after each stage\n");
        foreach (var (name, entries) in finished)
        {
            var matrices = entries.Select(e => e.Matrix).OfType<AccuracyMatrix>().ToList();
            if (matrices.Count == 0)
                continue;
            text.Append('\n');
            text.Append(
                Table.Markdown<int>(
                    [
                        new(name, i => i < 0 ? "random weights" : $"after {tasks[i]}"),
                        .. tasks.Select(
                            (task, j) =>
                                new Column<int>(
                                    task,
                                    i => Shown(matrices.Select(m => (double?)(i < 0 ? m.Random : m.R[i])[j]))
                                )
                                {
                                    Left = false,
                                }
                        ),
                    ],
                    Enumerable.Range(-1, tasks.Count + 1)
                )
            );
        }
        return text.ToString();
    }

    /// <summary>
    /// A line of the first table: the chosen method of a group, and its runs; none where it is not finished.
    /// </summary>
    private sealed record Line(string Name, IReadOnlyList<ContinualEntry> Entries);

    private Line Finished(IGrouping<string, ContinualMethod> group) =>
        Chosen(group) is { } method && Of(method) is { Count: > 0 } entries
            ? new(Name(method), entries)
            : new(group.Key, []);

    private List<Column<Line>> Columns(List<string> tasks)
    {
        double? Forgetting(IEnumerable<ContinualEntry> entries) =>
            Sample.Of(entries.Select(e => e.Matrix?.Forgetting))?.Mean;
        var naive = Sequence.Methods.FirstOrDefault(m => m.Kind == "naive") is { } plain ? Forgetting(Of(plain)) : null;
        static string Means(Line line, int count, Func<ContinualEntry, int, double> of, string format) =>
            string.Join(
                ", ",
                Enumerable.Range(0, count).Select(i => NumberText.Fixed(line.Entries.Average(e => of(e, i)), format))
            );
        return
        [
            new("method", line => line.Name),
            .. Figures.Select(f => new Column<Line>(f.Title, line => Shown(line.Entries.Select(f.Value)))
            {
                Left = false,
            }),
            new(
                "forgetting / naive's",
                line =>
                    naive > 0 && line.Entries is [var first, ..] && first.Method.Kind != "naive"
                        ? Forgetting(line.Entries) / naive
                        : null,
                "0.00"
            ),
            new(
                $"at the end: {string.Join(", ", tasks)}",
                line =>
                    line.Entries.Count == 0 ? "not finished" : Means(line, tasks.Count, (e, j) => e.Final[j], "0.000")
            ),
            new(
                "steps a stage",
                line => line.Entries is [var first, ..] ? Means(line, first.Steps.Count, (e, s) => e.Steps[s], "0") : ""
            ),
        ];
    }

    /// <summary>A line a run: method, strength, seed, figures, and R by rows.</summary>
    public string Csv()
    {
        var names = Sequence.Tasks.Select(t => t.Name).ToList();
        // Of a run without stages the last row alone.
        IEnumerable<double?> Accuracies(ContinualEntry e) =>
            e.Matrix?.R.SelectMany(row => row).Cast<double?>()
            ?? Enumerable.Repeat<double?>(null, names.Count * (names.Count - 1)).Concat(e.Final.Cast<double?>());
        return Table.Csv([
            [
                .. new[] { "method", "group", "strength", "seed", "sweep" },
                .. Figures.Select(f => f.Key),
                .. names.SelectMany(i => names.Select(j => $"after_{i}_on_{j}")),
            ],
            .. _entries.Select(e =>
                (string[])
                    [
                        e.Method.Name,
                        e.Method.Group,
                        Number(e.Method.Strength),
                        $"{e.Seed}",
                        e.Seed == Sequence.SweepSeed ? "1" : "0",
                        .. Figures.Select(f => f.Value(e)).Concat(Accuracies(e)).Select(Table.Exact),
                    ]
            ),
        ]);
    }

    /// <summary>All of it.</summary>
    public string Json() =>
        JsonSerializer.Serialize(
            new
            {
                Sequence.Name,
                Tasks = Sequence.Tasks.Select(t => t.Name),
                Sequence.Seeds,
                Sequence.SweepSeed,
                Chosen = Groups.Select(g => Chosen(g)?.Name),
                Runs = _entries.Select(e =>
                {
                    var run = new Dictionary<string, object?>
                    {
                        ["method"] = e.Method.Name,
                        ["kind"] = e.Method.Kind,
                        ["group"] = e.Method.Group,
                        ["strength"] = e.Method.Strength,
                        ["seed"] = e.Seed,
                    };
                    foreach (var (_, key, value) in Figures)
                        run[key] = value(e);
                    run["final"] = e.Final;
                    run["r"] = e.Matrix?.R;
                    run["random"] = e.Matrix?.Random;
                    run["steps"] = e.Steps;
                    return run;
                }),
            },
            OutputJson.Options
        ) + "\n";

    /// <summary>As a table names it.</summary>
    internal static string Name(ContinualMethod method) =>
        method.Strength > 0 ? $"{method.Group}, {Number(method.Strength)}" : method.Group;

    internal static string Number(double value) => value.ToString("R", CultureInfo.InvariantCulture);

    private static string Shown(IEnumerable<double?> values) =>
        Sample.Of(values) is not { } sample ? NumberText.Nothing
        : sample.Deviation is { } d ? $"{NumberText.Fixed(sample.Mean, "0.000")} ± {NumberText.Fixed(d, "0.000")}"
        : NumberText.Fixed(sample.Mean, "0.000");
}
