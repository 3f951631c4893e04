using EmtTorch.Analysis;
using EmtTorch.Analysis.Charts;
using EmtTorch.Settings;
using EmtTorch.Studies;
using EmtTorch.Training;
using static EmtTorch.Analysis.Charts.Channel;
using static TorchSharp.torch;

namespace EmtTorch.Reports;

/// <summary>
/// A sequence's table as a page of figures: accuracies along training, the accuracy matrices, what strengths do, and
/// what becomes of the first task's variable memories.
/// </summary>
public static class ContinualPage
{
    /// <returns>The HTML file's text.</returns>
    public static string Render(ContinualTable table)
    {
        var figures = new List<Figure>();
        var methods = table.Groups.Select(table.Choose).OfType<ContinualMethod>().ToList();
        var courses = methods
            .Where(m => m.Kind != "joint" && table.Of(m).Count > 0)
            .Select(m => (Method: m, Points: Course(table.Sequence, m, table.Of(m)[0].Seed)))
            .ToList();
        if (courses.Count > 0)
            figures.Add(Accuracies(table, courses));
        if (Matrices(table, methods) is { } matrices)
            figures.Add(matrices);
        if (Strengths(table) is { } strengths)
            figures.Add(strengths);
        if (Memories(table, courses) is { } memories)
            figures.Add(memories);
        figures.AddRange(Phis(table, [.. courses.Select(c => c.Method)]));
        return FigurePage.Render(
            table.Sequence.Name,
            figures,
            table.Sequence.Description.Length > 0 ? table.Sequence.Description : null
        );
    }

    /// <summary>A test: where, on the way through all stages, and what was measured.</summary>
    private sealed record Point(long Step, int Stage, IReadOnlyDictionary<string, double> Measures);

    private static List<Point> Course(ContinualSequence sequence, ContinualMethod method, long seed)
    {
        var run = new ContinualRun(sequence, method, seed);
        var points = new List<Point>();
        long before = 0;
        for (int stage = 0; stage < run.Stages; stage++)
        {
            var tests = run.Folder(stage).ReadMetrics().Where(m => m.TestAccuracy is not null).ToList();
            foreach (var test in tests)
            {
                points.Add(
                    new(
                        before + test.Step,
                        stage,
                        new Dictionary<string, double>(test.Measures ?? new Dictionary<string, double>())
                        {
                            [$"accuracy.{sequence.Tasks[stage].Name}"] = test.TestAccuracy!.Value,
                        }
                    )
                );
            }

            before += run.Folder(stage).ReadResult()?.Steps ?? (tests.Count > 0 ? tests[^1].Step : 0);
        }
        return points;
    }

    private static readonly Channel Step = new("s", "step, over all stages") { Axis = Axis.Steps };

    private static Channel Coloured(string field, IEnumerable<string> names) =>
        Channel.Coloured(field, [.. names]) is { Legend: { } legend } channel
            ? channel with
            {
                Legend = legend with { Orient = "top" },
            }
            : Fixed(Palette.Blue);

    private static Figure Accuracies(ContinualTable table, List<(ContinualMethod Method, List<Point> Points)> courses)
    {
        var rows = (
            from c in courses
            from p in c.Points
            from m in p.Measures
            where m.Key.StartsWith("accuracy.", StringComparison.Ordinal)
            select new
            {
                s = p.Step,
                v = (double?)m.Value,
                task = m.Key["accuracy.".Length..],
                method = ContinualTable.Name(c.Method),
            }
        ).ToList();
        double? chance = Guessing.MeasureAccuracy(table.Sequence.Tasks[0].Configuration);
        var lines = new Chart
        {
            Mark = Mark.Line() with { StrokeWidth = 2 },
            X = Step,
            Y = new("v", "accuracy") { Scale = Scale.Accuracy(chance, rows.Select(r => r.v)), Axis = Axis.Few },
            Color = Coloured("task", table.Sequence.Tasks.Select(t => t.Name)),
        };
        return new Chart
        {
            Width = 300,
            Height = 150,
            Rows = rows,
            Layers = [.. Chart.Chance(chance), lines],
        }.Facets(
            "accuracy",
            "Accuracy on every task while they are learned one after the other",
            $"The tests on fresh sequences, seed {table.Of(courses[0].Method)[0].Seed}. A task's line begins with "
                + "its own stage; then the others are learned, and its line says what is left of it.",
            "method",
            courses.Select(c => ContinualTable.Name(c.Method)),
            columns: 3
        );
    }

    private static Figure? Matrices(ContinualTable table, List<ContinualMethod> methods)
    {
        var names = table.Sequence.Tasks.Select(t => t.Name).ToList();
        var rows = (
            from method in methods
            let matrices = table.Of(method).Select(e => e.Matrix).OfType<AccuracyMatrix>().ToList()
            where matrices.Count > 0
            from i in Enumerable.Range(0, names.Count)
            from j in Enumerable.Range(0, names.Count)
            select new
            {
                after = names[i],
                task = names[j],
                v = matrices.Average(m => m.R[i][j]),
                method = ContinualTable.Name(method),
            }
        ).ToList();
        if (rows.Count == 0)
            return null;
        return new Chart
        {
            Width = 60 * names.Count,
            Height = 40 * names.Count,
            Rows = rows,
            X = Named("task", "tested on") with { Sort = names, Axis = new(Orient: "top", LabelAngle: 0) },
            Y = Named("after", "after") with { Sort = names },
            Layers =
            [
                new()
                {
                    Mark = new("rect", Tooltip: true),
                    Color = new("v", "accuracy") { Scale = Scale.Share with { Scheme = "blues" } },
                },
                new()
                {
                    Mark = new("text", FontSize: 12),
                    Text = new("v") { Format = ".3f" },
                    Color = new() { Value = "black", Condition = new { test = "datum.v > 0.6", value = "white" } },
                },
            ],
        }.Facets(
            "matrix",
            "Accuracy on each task after each stage",
            "Rows: which task has just been learned. Columns: which task is tested. Means over "
                + $"n = {methods.Max(m => table.Of(m).Count)} seeds.",
            "method",
            methods.Select(ContinualTable.Name),
            columns: 4
        );
    }

    private static Figure? Strengths(ContinualTable table)
    {
        (string Title, Func<ContinualEntry, double> Value)[] measures =
        [
            ("average accuracy", e => e.Average),
            ("forgetting", e => e.Matrix!.Forgetting),
            ("just learned", e => e.Matrix!.Learned),
        ];
        var swept = table.Groups.Where(g => g.Count() > 1).Select(g => g.Key).ToHashSet();
        var rows = (
            from e in table.Entries
            where swept.Contains(e.Method.Group) && e.Seed == table.Sequence.SweepSeed && e.Matrix is not null
            from m in measures
            select new
            {
                strength = e.Method.Strength,
                v = m.Value(e),
                what = m.Title,
                method = e.Method.Group,
            }
        ).ToList();
        return rows.Count == 0
            ? null
            : new Chart
            {
                Width = 420,
                Height = 200,
                Rows = rows,
                Mark = Mark.Line(pointSize: 40),
                X = new("strength", "strength")
                {
                    Scale = new(Type: "log"),
                    Axis = Axis.PowersOfTen with { Format = "~g" },
                },
                Y = new("v", "") { Scale = Scale.Share },
                Color = Coloured("what", measures.Select(m => m.Title)),
            }.Facets(
                "strength",
                "What the strength of a penalty does",
                $"Seed {table.Sequence.SweepSeed}, by which the strength is chosen: the one with the highest average "
                    + "accuracy. Too weak, and old tasks are forgotten; too strong, and new ones are not learned.",
                "method",
                sort: null,
                columns: 2,
                independent: "x"
            );
    }

    private static readonly (string Key, string Title)[] Measures =
    [
        ("phi_error", "Φ error of the old memories"),
        ("leak", "leak: their motion that leads out of them"),
        ("intrusion", "intrusion: what is written into them from elsewhere"),
        ("overlap", "overlap of their span with what persists"),
    ];

    private static Figure? Memories(ContinualTable table, List<(ContinualMethod Method, List<Point> Points)> courses)
    {
        var rows = (
            from c in courses
            from p in c.Points
            from m in Measures
            where p.Measures.ContainsKey(m.Key)
            select new
            {
                s = p.Step,
                v = p.Measures[m.Key],
                what = m.Title,
                method = ContinualTable.Name(c.Method),
            }
        ).ToList();
        if (rows.Count == 0)
            return null;
        string first = table.Sequence.Tasks[0].Name;
        return new Chart
        {
            Width = 420,
            Height = 180,
            Rows = rows,
            Mark = Mark.Line() with { StrokeWidth = 2 },
            X = Step with { Scale = Scale.NotFromZero },
            Y = new("v", "") { Scale = Scale.FromZero },
            Color = Coloured("method", courses.Select(c => ContinualTable.Name(c.Method))),
        }.Facets(
            "memories",
            $"What becomes of {first}'s variable memories while other tasks are learned",
            $"Ψ and Ψ* are those of the network that had just learned {first}; W_hh is looked at through them at "
                + $"each later test. Φ error: ‖Ψ† W Ψ / g − Φ‖ / ‖Φ‖. Seed {table.Of(courses[0].Method)[0].Seed}.",
            "what",
            Measures.Select(m => m.Title),
            columns: 2,
            independent: "y"
        );
    }

    /// <summary>Φ of the first task, in its own old basis, after the last stage.</summary>
    private static IEnumerable<Figure> Phis(ContinualTable table, List<ContinualMethod> methods)
    {
        if (methods.Count == 0 || table.Of(methods[0]) is not [var any, ..])
            yield break;
        var sequence = table.Sequence;
        if (Last(sequence, methods[0], any.Seed, stage: 0) is not { } first)
            yield break;
        using var memories = OldMemories.Of(sequence.Stage(0, any.Seed), first);
        if (memories is null)
            yield break;
        string name = sequence.Tasks[0].Name,
            last = sequence.Tasks[^1].Name;
        var maps = new List<Figure?>
        {
            Map(
                "phi-theory",
                $"Φ of {name}: the circuit",
                "The circuit's motion on its live entries.",
                memories.PhiTheory
            ),
            Map(
                "phi-learned",
                $"Φ of {name}, just learned",
                "Ψ† W Ψ / g of the network that has learned it.",
                Phi(memories, first)
            ),
        };
        foreach (var method in methods)
        {
            if (Last(sequence, method, any.Seed, sequence.Tasks.Count - 1) is { } file)
            {
                maps.Add(
                    Map(
                        $"phi-{method.Name}",
                        $"Φ of {name} after {last}: {ContinualTable.Name(method)}",
                        "The same basis, the W_hh that has learned all tasks.",
                        Phi(memories, file)
                    )
                );
            }
        }
        foreach (var map in maps.OfType<Figure>())
            yield return map;
    }

    /// <summary>The last weights of a stage.</summary>
    private static SafetensorsFile? Last(ContinualSequence sequence, ContinualMethod method, long seed, int stage) =>
        new CheckpointFolder(new ContinualRun(sequence, method, seed).Folder(stage).Checkpoints, 1, true)
            .FindLatest(_ => { })
            ?.File;

    private static double[][]? Phi(OldMemories memories, SafetensorsFile file)
    {
        using var scope = NewDisposeScope();
        using var network = NetworkWeights.Read(file);
        return memories.Phi(network.WeightHh);
    }

    private static Figure? Map(string id, string title, string caption, double[][]? phi) =>
        new HeatMap
        {
            Values = phi,
            Rows = new("to live entry"),
            Columns = new("from live entry"),
            Value = "Φ",
            Limit = 1,
        }.Figure(id, title, caption);
}
