using System.Globalization;
using System.Text;
using System.Text.Json;
using EmtTorch.Analysis;

namespace EmtTorch.Studies;

/// <summary>A finished run of a method with one seed.</summary>
/// <param name="Method">The method.</param>
/// <param name="Seed">The seed.</param>
/// <param name="Matrix">The accuracies after each stage; null for joint, which has no stages.</param>
/// <param name="Final">The accuracy on each task at the end.</param>
/// <param name="Steps">How many steps each stage took.</param>
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

    /// <summary>
    /// At the end, what is left of the first task's variable memories, as <see cref="OldMemories.Measure"/> has it.
    /// Empty for a transformer and for joint.
    /// </summary>
    public IReadOnlyDictionary<string, double> Memories { get; init; } = new Dictionary<string, double>();
}

/// <summary>
/// The results of the methods of a sequence of tasks: which strength of each group is best, and the best ones over all
/// seeds.
/// </summary>
public sealed class ContinualTable
{
    private readonly List<ContinualEntry> _entries = [];

    private ContinualTable(ContinualSequence sequence) => Sequence = sequence;

    public ContinualSequence Sequence { get; }

    /// <summary>All finished runs.</summary>
    public IReadOnlyList<ContinualEntry> Entries => _entries;

    /// <summary>Reads the runs' folders. Runs that are not finished are left out.</summary>
    public static ContinualTable Read(ContinualSequence sequence)
    {
        var table = new ContinualTable(sequence);
        foreach (var method in sequence.Methods)
        {
            foreach (long seed in sequence.Seeds.Append(sequence.SweepSeed).Distinct())
            {
                if (table.ReadEntry(method, seed) is { } entry)
                    table._entries.Add(entry);
            }
        }

        return table;
    }

    private ContinualEntry? ReadEntry(ContinualMethod method, long seed)
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
        )
        {
            Memories = new Dictionary<string, double>(
                run.Folder(run.Stages - 1)
                    .ReadMetrics()
                    .LastOrDefault(m => m.TestAccuracy is not null)
                    ?.Measures?.Where(m => MemoryKeys.Contains(m.Key))
                    ?? []
            ),
        };
    }

    /// <summary>The measures of old memories, in the order of the tables.</summary>
    private static readonly string[] MemoryKeys = ["phi_error", "leak", "intrusion", "overlap"];

    /// <summary>Those of them that some run has.</summary>
    private IEnumerable<string> MemoriesMeasured => MemoryKeys.Where(k => _entries.Any(e => e.Memories.ContainsKey(k)));

    /// <summary>The methods of each group, one for each strength, in their order.</summary>
    public IEnumerable<IGrouping<string, ContinualMethod>> Groups => Sequence.Methods.GroupBy(m => m.Group);

    /// <summary>
    /// The method that stands for a group: the only one, or the one with the highest average accuracy with the sweep's
    /// seed. Of two equal ones it is the weaker. Null while one of them is not finished.
    /// </summary>
    public ContinualMethod? Choose(IEnumerable<ContinualMethod> group)
    {
        var all = group.ToList();
        if (all.Count == 1)
            return all[0];
        var swept = all.Select(m => Find(m, Sequence.SweepSeed)).ToList();
        return swept.Contains(null)
            ? null
            : swept.OrderByDescending(e => e!.Average).ThenBy(e => e!.Method.Strength).First()!.Method;
    }

    /// <summary>A method's finished runs with the sequence's seeds, in their order.</summary>
    public IReadOnlyList<ContinualEntry> Of(ContinualMethod method) =>
        [.. Sequence.Seeds.Select(s => Find(method, s)).OfType<ContinualEntry>()];

    private ContinualEntry? Find(ContinualMethod method, long seed) =>
        _entries.Find(e => e.Method.Name == method.Name && e.Seed == seed);

    /// <summary>A figure of a run.</summary>
    /// <param name="Title">Its title in tables.</param>
    /// <param name="Key">Its key in table.csv and table.json.</param>
    /// <param name="Value">Reads it; null if the run has none.</param>
    internal sealed record RunFigure(string Title, string Key, Func<ContinualEntry, double?> Value);

    /// <summary>The figures of a run.</summary>
    internal static readonly RunFigure[] Figures =
    [
        new("average accuracy", "average_accuracy", e => e.Average),
        new("backward transfer", "backward_transfer", e => e.Matrix?.BackwardTransfer),
        new("forgetting", "forgetting", e => e.Matrix?.Forgetting),
        new("forward transfer", "forward_transfer", e => e.Matrix?.ForwardTransfer),
        new("just learned", "just_learned", e => e.Matrix?.Learned),
    ];

    /// <summary>The tables as Markdown.</summary>
    public string Markdown()
    {
        var tasks = Sequence.Tasks.Select(t => t.Name).ToList();
        var lines = Groups.Select(Finished).ToList();
        var text = new StringBuilder($"# {Sequence.Name}\n\n");
        if (Sequence.Description.Length > 0)
            text.Append(Sequence.Description).Append("\n\n");
        text.Append(
            $"Tasks in their order: {string.Join(", ", tasks)}. Seeds {string.Join(", ", Sequence.Seeds)}.\n\n"
        );
        text.Append(Table.Markdown(Columns(tasks), lines));
        text.Append(
            "\nMeans over seeds ± standard deviation. R[i][j] is the accuracy on task j after stage i of T, b_j "
                + "that at random weights. Average accuracy: mean R[T][j]; backward transfer: mean over j < T of "
                + "R[T][j] − R[j][j]; forgetting: mean over j < T of max over i < T of R[i][j] − R[T][j]; forward "
                + "transfer: mean over j > 1 of R[j−1][j] − b_j; just learned: mean R[j][j].\n"
        );
        foreach (var group in Groups.Where(g => g.Count() > 1))
            text.Append(StrengthsOf(group));
        if (MemoriesMeasured.Any())
            text.Append(MemoriesOf(lines, tasks[0]));
        text.Append("\n## Accuracy on each task after each stage\n");
        foreach (var line in lines)
            text.Append(MatrixOf(line, tasks));
        return text.ToString();
    }

    /// <summary>The figures of a group at each strength, by the sweep's seed.</summary>
    private string StrengthsOf(IGrouping<string, ContinualMethod> group)
    {
        var chosen = Choose(group);
        List<Column<ContinualMethod>> columns =
        [
            new("strength", m => m == chosen ? $"**{Number(m.Strength)}**" : Number(m.Strength), m => m.Strength),
            .. Figures.Select(f => new Column<ContinualMethod>(
                f.Title,
                m => Find(m, Sequence.SweepSeed) is { } entry ? f.Value(entry) : null,
                "0.000"
            )),
        ];
        var heading = $"\n## The strength of {group.Key}, by seed {Sequence.SweepSeed}\n\n";
        return heading + Table.Markdown(columns, group) + (EdgeOf(group) is { } edge ? $"\n{edge}\n" : "");
    }

    /// <summary>
    /// A sentence that the best strength of a group is the edge of its grid, with the figure of the one beside it.
    /// Null: it lies inside, or is not known yet.
    /// </summary>
    internal string? EdgeOf(IEnumerable<ContinualMethod> group)
    {
        var sorted = group.OrderBy(m => m.Strength).ToList();
        if (sorted.Count < 2 || Choose(sorted) is not { } best || (best != sorted[0] && best != sorted[^1]))
            return null;
        var (which, beyond, beside) =
            best == sorted[0] ? ("smallest", "smaller", sorted[1]) : ("largest", "larger", sorted[^2]);
        string Average(ContinualMethod method) => NumberText.Fixed(Find(method, Sequence.SweepSeed)!.Average, "0.000");
        if (sorted.Select(Average).Distinct().Count() == 1)
            return null; // all strengths give the same
        return $"The best strength, {Number(best.Strength)}, is the edge of its grid: the {which} that was tried. Its "
            + $"average accuracy is {Average(best)}; at {Number(beside.Strength)} it is {Average(beside)}. "
            + $"A {beyond} one may be better.";
    }

    /// <summary>What is left of the first task's variable memories, over seeds.</summary>
    private string MemoriesOf(List<Line> lines, string first)
    {
        string Cell(Line line, string key) =>
            Sample.Of(line.Entries.Select(e => e.Memories.TryGetValue(key, out double v) ? v : (double?)null))
                is { } sample
                ? Few(sample.Mean) + (sample.Deviation is { } d ? $" ± {Few(d)}" : "")
                : NumberText.Nothing;
        static string Few(double number) => number.ToString("G2", CultureInfo.InvariantCulture);
        List<Column<Line>> columns =
        [
            new("method", line => line.Name),
            .. MemoriesMeasured.Select(k => new Column<Line>(k.Replace('_', ' '), line => Cell(line, k))
            {
                Left = false,
            }),
        ];
        return $"\n## What is left of the variable memories of {first}\n\n"
            + Table.Markdown(columns, lines.Where(l => l.Entries.Any(e => e.Memories.Count > 0)))
            + "\nMeans over seeds ± standard deviation, after the last stage; Ψ is of the network that had just "
            + $"learned {first}. phi error: ‖Ψ† W Ψ / g − Φ‖ / ‖Φ‖; leak: the share of their motion that leads out of "
            + "them; intrusion: what is written into them from elsewhere; overlap of their span with what persists.\n";
    }

    /// <summary>A method's mean R, with the accuracy at random weights above it; empty for joint.</summary>
    private static string MatrixOf(Line line, List<string> tasks)
    {
        var matrices = line.Entries.Select(e => e.Matrix).OfType<AccuracyMatrix>().ToList();
        if (matrices.Count == 0)
            return "";
        string Cell(int stage, int task) =>
            Shown(matrices.Select(m => (double?)(stage < 0 ? m.Random : m.R[stage])[task]));
        List<Column<int>> columns =
        [
            new(line.Name, i => i < 0 ? "random weights" : $"after {tasks[i]}"),
            .. tasks.Select((task, j) => new Column<int>(task, i => Cell(i, j)) { Left = false }),
        ];
        return "\n" + Table.Markdown(columns, Enumerable.Range(-1, tasks.Count + 1));
    }

    /// <summary>
    /// A line of the first table: the best method of a group with its runs. There are none if it is not finished.
    /// </summary>
    private sealed record Line(string Name, IReadOnlyList<ContinualEntry> Entries);

    private Line Finished(IGrouping<string, ContinualMethod> group) =>
        Choose(group) is { } method && Of(method) is { Count: > 0 } entries
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

    /// <summary>table.csv, a line for each run: method, strength, seed, figures, and R row by row.</summary>
    public string Csv()
    {
        var names = Sequence.Tasks.Select(t => t.Name).ToList();
        // A run without stages has the last row only.
        IEnumerable<double?> Accuracies(ContinualEntry e) =>
            e.Matrix?.R.SelectMany(row => row).Cast<double?>()
            ?? Enumerable.Repeat<double?>(null, names.Count * (names.Count - 1)).Concat(e.Final.Cast<double?>());
        return Table.Csv([
            [
                .. new[] { "method", "group", "strength", "seed", "sweep" },
                .. Figures.Select(f => f.Key),
                .. names.SelectMany(i => names.Select(j => $"after_{i}_on_{j}")),
                .. MemoriesMeasured,
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
                        .. MemoriesMeasured.Select(k =>
                            Table.Exact(e.Memories.TryGetValue(k, out double v) ? v : null)
                        ),
                    ]
            ),
        ]);
    }

    /// <summary>table.json: everything.</summary>
    public string Json() =>
        JsonSerializer.Serialize(
            new
            {
                Sequence.Name,
                Tasks = Sequence.Tasks.Select(t => t.Name),
                Sequence.Seeds,
                Sequence.SweepSeed,
                Chosen = Groups.Select(g => Choose(g)?.Name),
                AtTheEdge = Groups.Where(g => EdgeOf(g) is not null).Select(g => g.Key),
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
                    foreach (var figure in Figures)
                        run[figure.Key] = figure.Value(e);
                    run["final"] = e.Final;
                    run["r"] = e.Matrix?.R;
                    run["random"] = e.Matrix?.Random;
                    run["steps"] = e.Steps;
                    if (e.Memories.Count > 0)
                        run["memories"] = e.Memories;
                    return run;
                }),
            },
            OutputJson.Options
        ) + "\n";

    /// <summary>A method's name in tables: with its strength, if it has one.</summary>
    internal static string Name(ContinualMethod method) =>
        method.Strength > 0 ? $"{method.Group}, {Number(method.Strength)}" : method.Group;

    internal static string Number(double value) => value.ToString("R", CultureInfo.InvariantCulture);

    private static string Shown(IEnumerable<double?> values) =>
        Sample.Of(values) is not { } sample ? NumberText.Nothing
        : sample.Deviation is { } d ? $"{NumberText.Fixed(sample.Mean, "0.000")} ± {NumberText.Fixed(d, "0.000")}"
        : NumberText.Fixed(sample.Mean, "0.000");
}
