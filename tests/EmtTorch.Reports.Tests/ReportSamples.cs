using System.Numerics;
using System.Text.Json.Nodes;
using EmtTorch.Analysis;
using EmtTorch.Analysis.Charts;
using EmtTorch.Analysis.Runs;
using EmtTorch.Studies;
using EmtTorch.Training;

namespace EmtTorch.Reports.Tests;

/// <summary>Made-up data of a real report's shapes: a network that repeats s vectors of κ bits.</summary>
internal static class ReportSamples
{
    public static ReportData Full(int hidden = 128, int s = 8, int kappa = 8, int steps = 58, int examples = 3)
    {
        var random = new Random(1);
        int n = s * kappa;
        double Noise(double scale) => scale * (random.NextDouble() + random.NextDouble() + random.NextDouble() - 1.5);
        double[][] Matrix(int rows, int columns, Func<int, int, double> value) =>
            [.. Enumerable.Range(0, rows).Select(i => Enumerable.Range(0, columns).Select(j => value(i, j)).ToArray())];
        // Block i receives block i + 1, and the last block the first.
        double Phi(int i, int j) => i < n && j < n && j == (i + kappa) % n ? 1 : 0;
        var variables = Matrix(hidden, hidden, (i, j) => Phi(i, j) + Noise(i < n && j < n ? 0.06 : 0.12));
        var basis = Orthogonal(Matrix(hidden, hidden, (_, _) => Noise(1)));
        var standard = Product(Transpose(basis), Product(variables, basis));
        var eigenvalues = Enumerable.Range(0, n).Select(i => (Angle: 2 * Math.PI * (i % s) / s, Shift: i)).ToList();
        ExampleData Example(int index)
        {
            var inputs = Matrix(s, kappa, (_, _) => random.Next(2) * 2 - 1);
            var contents = Matrix(
                steps,
                n,
                (t, j) =>
                    t + 1 + j / kappa - s is var at && at >= 0
                        ? inputs[at % s][j % kappa] * 0.9 + Noise(0.08)
                        : Noise(0.04)
            );
            return new()
            {
                Label = $"{3141 + 17 * index}",
                InputSteps = s,
                Inputs = inputs,
                Contents = contents,
                HiddenState = Product(contents, basis[..n]),
                Outputs = [.. contents.Select(row => row[(n - kappa)..].Select(v => Math.Tanh(3 * v)).ToArray())],
            };
        }
        return new()
        {
            Name = "repeat_copy, seed 3",
            Task = "repeat_copy",
            Seed = 3,
            HiddenSize = hidden,
            Steps = 45000,
            TestAccuracy = 0.9987,
            Summary =
            [
                $"The network has {n} eigenvalues of magnitude above 0.9, as many as Φ has.",
                "Their arguments differ by 0.0113 radians on average.",
                "Erasing a variable changes the bits that the theory says, and hardly any others.",
            ],
            Settings =
            [
                new("model.hidden_size", $"{hidden}"),
                new("task.name", "repeat_copy"),
                new("training.steps", "45000"),
                new("training.learning_rate", "0.001"),
            ],
            Training =
            [
                .. Enumerable
                    .Range(1, 450)
                    .Select(i => new Metrics
                    {
                        Step = 100 * i,
                        Loss = 0.7 * Math.Exp(-i / 60.0) + 0.002 * (1 + random.NextDouble()),
                        Accuracy = 1 - 0.5 * Math.Exp(-i / 50.0) - 0.01 * random.NextDouble(),
                        Horizon = Math.Min(50, 10 * (1 + i / 90)),
                        GradientNorm = 1,
                        TestLoss = i % 50 == 0 ? 0.8 * Math.Exp(-i / 60.0) + 0.004 : null,
                        TestAccuracy = i % 50 == 0 ? 1 - 0.5 * Math.Exp(-i / 55.0) : null,
                        SpectralError = i % 50 == 0 && i >= 100 ? 0.01 * Math.Exp(-i / 90.0) : null,
                        EigenvaluesLearned = i % 50 == 0 ? Math.Min(64, 40 + i / 4) : null,
                    }),
            ],
            WeightsStandard = standard,
            Circuit = new()
            {
                Variables = s,
                Components = kappa,
                WeightsVariables = variables,
                Spectrum = Spectrum(
                    [.. eigenvalues.Select(e => Complex.FromPolarCoordinates(1, e.Angle))],
                    [
                        .. eigenvalues
                            .Select(e => (Angle: e.Angle + Noise(0.04), Size: 1 + Noise(0.04)))
                            .Select(e => Complex.FromPolarCoordinates(e.Size, e.Angle)),
                        .. Enumerable.Range(0, hidden - n).Select(_ => new Complex(Noise(0.7), Noise(0.7))),
                    ],
                    0.0113
                ),
                Examples = [.. Enumerable.Range(0, examples).Select(Example)],
                Interventions =
                [
                    new("none", null, 0.9987),
                    .. Enumerable
                        .Range(1, s)
                        .SelectMany(k =>
                            new[]
                            {
                                new Intervention("erase", k, 0.97 + Noise(0.02)),
                                new Intervention("swap", k, 0.94 + Noise(0.04)),
                                new Intervention("random direction", k, 0.55 + Noise(0.1)),
                            }
                        ),
                ],
                Participation = Matrix(
                    hidden,
                    s,
                    (i, k) =>
                        Enumerable.Range(k * kappa, kappa).Sum(j => basis[j][i] * basis[j][i])
                        + (i % (s + 3) == k ? 0.3 : 0)
                ),
                Groundings =
                [
                    new("power iteration of W_uh", 0.021, 0.998, 3.41, null, Chosen: true),
                    new("least squares on the inputs", 0.084, 0.972, 12.7, "needs 4096 sequences"),
                    new("random", double.NaN, 0.51, double.PositiveInfinity, "for comparison"),
                ],
            },
            Figures = [Extra("drift")],
        };
    }

    /// <summary>NaN wherever one can be, text that would end a script, and parts left out.</summary>
    public static ReportData Broken()
    {
        const double NaN = double.NaN;
        double[][] holes =
        [
            [1, NaN, -1],
            [double.PositiveInfinity, 0.5],
            null!,
        ];
        return new()
        {
            Name = "</script><script>alert(1)</script><!-- & \"quoted\"",
            TestAccuracy = NaN,
            Summary = ["Loss became NaN at step <b>12</b>."],
            Problems = ["The spectral error: W_hh has entries that are not finite.", "</script> in a problem"],
            WeightsStandard = holes,
            Circuit = new()
            {
                Variables = 2,
                Components = 2,
                WeightsVariables =
                [
                    [NaN, NaN],
                    [NaN, NaN],
                ],
                Spectrum = Spectrum([1, new(NaN, 0)], [new(0.95, 0.1), new(0.2, double.NegativeInfinity)], NaN),
                Examples =
                [
                    new()
                    {
                        Label = "</script>",
                        InputSteps = 2,
                        Inputs =
                        [
                            [1, NaN],
                        ],
                        Contents =
                        [
                            [1, NaN, 0, 1],
                            [NaN, NaN, NaN, NaN],
                            [1, 2, 3, 4],
                        ],
                    },
                    new() { Label = "nothing" },
                ],
                Interventions = [new("none", null, NaN), new("erase", 1, null), new("<erase>", 2, 0.5)],
                Participation =
                [
                    [0.1, NaN],
                    null!,
                    [0.4, 0.2],
                ],
                Groundings = [new("<b>", NaN, null, null, null)],
                WhyNoMemories = "it was not kept <here>.",
            },
            Training =
            [
                new()
                {
                    Step = 1,
                    Loss = NaN,
                    Accuracy = 0.5,
                    Horizon = 1,
                    GradientNorm = 1,
                },
                new()
                {
                    Step = 2,
                    Loss = -1,
                    Accuracy = double.PositiveInfinity,
                    Horizon = 1,
                    GradientNorm = 1,
                },
            ],
            Figures = [Extra("it's & <odd>", NaN)],
        };
    }

    public static SpectralComparison Spectrum(Complex[] theory, Complex[] learned, double? error = null) =>
        new(theory, learned, Threshold: 0.9, Pairs: [], error);

    public static IReadOnlyList<ComparisonRow> Comparison() =>
        [
            .. Enumerable
                .Range(1, 12)
                .Select(i => new ComparisonRow
                {
                    Name = i <= 6 ? "repeat_copy" : "compose_copy",
                    Task = i <= 6 ? "repeat copy" : "compose copy",
                    Seed = (i - 1) % 6 + 1,
                    HiddenSize = 128,
                    Findings = Found(
                        new("test_accuracy", 1 - 0.004 * i) { Format = "P2" },
                        new("spectral_error", i == 4 ? double.NaN : 0.01 * (i * 7 % 12)),
                        new("eigenvalues_learned", i == 4 ? 63 : 64) { Cell = i == 4 ? "64, 63" : "64, 64" },
                        new("live_entries", 512),
                        new("grounding") { Cell = "power iteration" },
                        new("phi_error", i == 5 ? double.NaN : 0.02 + 0.003 * i) { Format = "P2", Title = "Φ error" },
                        new("intervention_accuracy", 0.99 - 0.01 * i) { Format = "P2" }
                    ),
                    Link = $"seed-{i}/report.html",
                    Problems = i == 4 ? 1 : 0,
                }),
            new() { Name = "<unfinished> & nothing known" },
        ];

    private static Dictionary<string, Finding> Found(params Finding[] findings) => findings.ToDictionary(f => f.Key);

    public static Figure Extra(string id, double gap = 0.2) =>
        new(id, "Drift of the context", "How far the context is from where it began.", Line(gap));

    private static JsonObject Line(double gap) =>
        new()
        {
            ["data"] = new JsonObject
            {
                ["values"] = new JsonArray([
                    .. Enumerable
                        .Range(0, 20)
                        .Select(i =>
                            (JsonNode)new JsonObject { ["t"] = i, ["distance"] = i == 7 ? gap : Math.Sqrt(i) }
                        ),
                ]),
            },
            ["height"] = 200,
            ["mark"] = new JsonObject { ["type"] = "line", ["point"] = true },
            ["encoding"] = new JsonObject
            {
                ["x"] = new JsonObject { ["field"] = "t", ["type"] = "quantitative" },
                ["y"] = new JsonObject { ["field"] = "distance", ["type"] = "quantitative" },
            },
        };

    private static double[][] Transpose(double[][] a) =>
        [.. Enumerable.Range(0, a[0].Length).Select(j => a.Select(row => row[j]).ToArray())];

    private static double[][] Product(double[][] a, double[][] b) =>
        [
            .. a.Select(row =>
                Enumerable.Range(0, b[0].Length).Select(j => row.Select((v, k) => v * b[k][j]).Sum()).ToArray()
            ),
        ];

    /// <summary>Gram and Schmidt's rows.</summary>
    private static double[][] Orthogonal(double[][] rows)
    {
        for (int i = 0; i < rows.Length; i++)
        {
            for (int j = 0; j < i; j++)
            {
                double dot = rows[i].Zip(rows[j], (x, y) => x * y).Sum();
                for (int k = 0; k < rows[i].Length; k++)
                    rows[i][k] -= dot * rows[j][k];
            }
            double norm = Math.Sqrt(rows[i].Sum(x => x * x));
            for (int k = 0; k < rows[i].Length; k++)
                rows[i][k] /= norm;
        }
        return rows;
    }
}
