using System.Globalization;
using EmtTorch.Analysis;
using EmtTorch.Analysis.Charts;
using EmtTorch.Studies;
using EmtTorch.Training;
using static TorchSharp.torch;

namespace EmtTorch.Reports;

/// <summary>A sequence's table as a page of figures: accuracies along training, the accuracy matrices, what strengths do, and what becomes of the first task's variable memories.</summary>
public static class ContinualPage
{
    private const string Colours =
        """["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999"]""";

    /// <returns>The HTML file's text.</returns>
    public static string Render(ContinualTable table)
    {
        var figures = new List<Figure>();
        var methods = table.Groups.Select(table.Chosen).OfType<ContinualMethod>().ToList();
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

    private static Figure Accuracies(ContinualTable table, List<(ContinualMethod Method, List<Point> Points)> courses)
    {
        var values = courses.SelectMany(c =>
            c.Points.SelectMany(p =>
                p.Measures.Where(m => m.Key.StartsWith("accuracy.", StringComparison.Ordinal))
                    .Select(m =>
                        $$"""{"s":{{p.Step}},"v":{{CompactJson.Number(m.Value)}},"task":{{CompactJson.Text(m.Key["accuracy.".Length..])}},"method":{{CompactJson.Text(ContinualTable.Name(c.Method))}}}"""
                    )
            )
        );
        return new(
            "accuracy",
            "Accuracy on every task while they are learned one after the other",
            $"The tests on fresh sequences, seed {table.Of(courses[0].Method)[0].Seed}. A task's line begins with its own stage; then the others are learned, and its line says what is left of it.",
            CompactJson.Object(
                $$"""
                {
                  "data": {"values": {{CompactJson.Array(values)}} },
                  "facet": {"field": "method", "type": "nominal", "title": null, "sort": {{CompactJson.Array(
                    courses.Select(c => CompactJson.Text(ContinualTable.Name(c.Method)))
                )}}, "header": {"labelFontWeight": "bold"} },
                  "columns": 3,
                  "spec": {
                    "width": 300, "height": 150,
                    "mark": {"type": "line", "tooltip": true, "strokeWidth": 2},
                    "encoding": {
                      "x": {"field": "s", "type": "quantitative", "title": "step, over all stages", "axis": {"format": ",d", "tickCount": 5} },
                      "y": {"field": "v", "type": "quantitative", "title": "accuracy", "scale": {"domain": [0, 1]} },
                      "color": {"field": "task", "type": "nominal", "title": null, "scale": {"domain": {{CompactJson.Array(
                    table.Sequence.Tasks.Select(t => CompactJson.Text(t.Name))
                )}}, "range": {{Colours}} }, "legend": {"orient": "top"} }
                    }
                  }
                }
                """
            )
        );
    }

    private static Figure? Matrices(ContinualTable table, List<ContinualMethod> methods)
    {
        var values = new List<string>();
        var names = table.Sequence.Tasks.Select(t => t.Name).ToList();
        foreach (var method in methods)
        {
            var entries = table.Of(method).Where(e => e.Matrix is not null).ToList();
            if (entries.Count == 0)
                continue;
            for (int i = 0; i < names.Count; i++)
            {
                for (int j = 0; j < names.Count; j++)
                {
                    values.Add(
                        $$"""{"after":{{CompactJson.Text(names[i])}},"task":{{CompactJson.Text(names[j])}},"v":{{CompactJson.Number(entries.Average(e => e.Matrix!.R[i][j]))}},"method":{{CompactJson.Text(ContinualTable.Name(method))}}}"""
                    );
                }
            }
        }
        if (values.Count == 0)
            return null;
        var order = CompactJson.Array(names.Select(n => CompactJson.Text(n)));
        return new(
            "matrix",
            "Accuracy on each task after each stage",
            "Rows: which task has just been learned. Columns: which task is tested. Means over seeds.",
            CompactJson.Object(
                $$"""
                {
                  "data": {"values": {{CompactJson.Array(values)}} },
                  "facet": {"field": "method", "type": "nominal", "title": null, "sort": {{CompactJson.Array(
                    methods.Select(m => CompactJson.Text(ContinualTable.Name(m)))
                )}}, "header": {"labelFontWeight": "bold"} },
                  "columns": 4,
                  "spec": {
                    "width": {{60 * names.Count}}, "height": {{40 * names.Count}},
                    "encoding": {
                      "x": {"field": "task", "type": "nominal", "title": "tested on", "sort": {{order}}, "axis": {"orient": "top", "labelAngle": 0} },
                      "y": {"field": "after", "type": "nominal", "title": "after", "sort": {{order}} }
                    },
                    "layer": [
                      {"mark": {"type": "rect", "tooltip": true}, "encoding": {"color": {"field": "v", "type": "quantitative", "title": "accuracy", "scale": {"domain": [0, 1], "scheme": "blues"} } } },
                      {"mark": {"type": "text", "fontSize": 12}, "encoding": {"text": {"field": "v", "type": "quantitative", "format": ".3f"}, "color": {"condition": {"test": "datum.v > 0.6", "value": "white"}, "value": "black"} } }
                    ]
                  }
                }
                """
            )
        );
    }

    private static Figure? Strengths(ContinualTable table)
    {
        var values = new List<string>();
        foreach (var group in table.Groups.Where(g => g.Count() > 1))
        {
            foreach (
                var entry in table.Entries.Where(e =>
                    e.Method.Group == group.Key && e.Seed == table.Sequence.SweepSeed && e.Matrix is not null
                )
            )
            {
                foreach (
                    var (title, value) in new[]
                    {
                        ("average accuracy", entry.Average),
                        ("forgetting", entry.Matrix!.Forgetting),
                        ("just learned", entry.Matrix.Learned),
                    }
                )
                {
                    values.Add(
                        $$"""{"strength":{{CompactJson.Number(entry.Method.Strength)}},"v":{{CompactJson.Number(value)}},"what":"{{title}}","method":{{CompactJson.Text(group.Key)}}}"""
                    );
                }
            }
        }

        return values.Count == 0
            ? null
            : new(
                "strength",
                "What the strength of a penalty does",
                $"Seed {table.Sequence.SweepSeed}, by which the strength is chosen: the one with the highest average accuracy. Too weak, and old tasks are forgotten; too strong, and new ones are not learned.",
                CompactJson.Object(
                    $$"""
                    {
                      "data": {"values": {{CompactJson.Array(values)}} },
                      "facet": {"field": "method", "type": "nominal", "title": null, "header": {"labelFontWeight": "bold"} },
                      "columns": 2,
                      "resolve": {"scale": {"x": "independent"} },
                      "spec": {
                        "width": 420, "height": 200,
                        "mark": {"type": "line", "point": true, "tooltip": true},
                        "encoding": {
                          "x": {"field": "strength", "type": "quantitative", "title": "strength", "scale": {"type": "log"}, "axis": {"format": "~g", "values": {{CompactJson.Array(
                        Enumerable.Range(-6, 16).Select(e => Math.Pow(10, e))
                    )}} } },
                          "y": {"field": "v", "type": "quantitative", "title": null, "scale": {"domain": [0, 1]} },
                          "color": {"field": "what", "type": "nominal", "title": null, "scale": {"range": {{Colours}} }, "legend": {"orient": "top"} }
                        }
                      }
                    }
                    """
                )
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
        var values = courses
            .SelectMany(c =>
                c.Points.SelectMany(p =>
                    Measures
                        .Where(m => p.Measures.ContainsKey(m.Key))
                        .Select(m =>
                            $$"""{"s":{{p.Step}},"v":{{CompactJson.Number(p.Measures[m.Key])}},"what":{{CompactJson.Text(m.Title)}},"method":{{CompactJson.Text(ContinualTable.Name(c.Method))}}}"""
                        )
                )
            )
            .ToList();
        if (values.Count == 0)
            return null;
        string first = table.Sequence.Tasks[0].Name;
        return new(
            "memories",
            $"What becomes of {first}'s variable memories while other tasks are learned",
            $"Ψ and Ψ* are those of the network that had just learned {first}; W_hh is looked at through them at each later test. Φ error: ‖Ψ† W Ψ / g − Φ‖ / ‖Φ‖. Seed {table.Of(courses[0].Method)[0].Seed}.",
            CompactJson.Object(
                $$"""
                {
                  "data": {"values": {{CompactJson.Array(values)}} },
                  "facet": {"field": "what", "type": "nominal", "title": null, "sort": {{CompactJson.Array(
                    Measures.Select(m => CompactJson.Text(m.Title))
                )}}, "header": {"labelFontWeight": "bold"} },
                  "columns": 2,
                  "resolve": {"scale": {"y": "independent"} },
                  "spec": {
                    "width": 420, "height": 180,
                    "mark": {"type": "line", "tooltip": true, "strokeWidth": 2},
                    "encoding": {
                      "x": {"field": "s", "type": "quantitative", "title": "step, over all stages", "scale": {"zero": false}, "axis": {"format": ",d", "tickCount": 5} },
                      "y": {"field": "v", "type": "quantitative", "title": null, "scale": {"zero": true} },
                      "color": {"field": "method", "type": "nominal", "title": null, "sort": null, "scale": {"domain": {{CompactJson.Array(
                    courses.Select(c => CompactJson.Text(ContinualTable.Name(c.Method)))
                )}}, "range": {{Colours}} }, "legend": {"orient": "top"} }
                    }
                  }
                }
                """
            )
        );
    }

    /// <summary>Φ of the first task, in its own old basis, after the last stage.</summary>
    private static IEnumerable<Figure> Phis(ContinualTable table, List<ContinualMethod> methods)
    {
        if (methods.Count == 0 || table.Of(methods[0]) is not [var any, ..])
            yield break;
        var sequence = table.Sequence;
        SafetensorsFile? Last(ContinualMethod method, int stage) =>
            new CheckpointFolder(new ContinualRun(sequence, method, any.Seed).Folder(stage).Checkpoints, 1, true)
                .FindLatest(_ => { })
                ?.File;
        if (Last(methods[0], 0) is not { } first)
            yield break;
        using var memories = OldMemories.Of(sequence.Stage(0, any.Seed), first);
        if (memories is null)
            yield break;
        string name = sequence.Tasks[0].Name,
            last = sequence.Tasks[^1].Name;
        Figure? Map(string id, string title, string caption, double[][] phi) =>
            new HeatMap
            {
                Values = phi,
                Rows = new("to live entry"),
                Columns = new("from live entry"),
                Value = "Φ",
                Limit = 1,
            }.Figure(id, title, caption);
        double[][]? PhiOf(SafetensorsFile file)
        {
            using var scope = NewDisposeScope();
            using var network = NetworkWeights.From(file, "");
            return memories.Phi(network.WeightHh);
        }
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
                PhiOf(first)!
            ),
        };
        foreach (var method in methods)
        {
            if (Last(method, sequence.Tasks.Count - 1) is { } file)
            {
                maps.Add(
                    Map(
                        $"phi-{method.Name}",
                        $"Φ of {name} after {last}: {ContinualTable.Name(method)}",
                        $"The same basis, the W_hh that has learned all tasks.",
                        PhiOf(file)!
                    )
                );
            }
        }

        foreach (var map in maps.OfType<Figure>())
            yield return map;
    }
}
