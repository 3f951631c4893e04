using System.Diagnostics;
using System.Globalization;
using System.Numerics;
using System.Text.Json;
using System.Text.Json.Nodes;
using EmtTorch.Analysis.Charts;
using EmtTorch.Analysis.Episodic;
using EmtTorch.Memory;
using EmtTorch.Models;
using EmtTorch.Settings;
using EmtTorch.Tasks;
using EmtTorch.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Analysis.Runs;

/// <summary>
/// The whole analysis of one trained network, as it is shown: a few lines, analysis.json, report.html, and a row of the
/// comparison with others.
/// </summary>
/// <example><code>
/// using var network = TrainedNetwork.Load("runs/t1/seed-1");
/// var analysis = RunAnalysis.Of(network);
/// foreach (var line in analysis.Lines) Console.WriteLine(line);
/// analysis.WriteNumbers(network.Folder); // RunReport.Write in EmtTorch.Reports makes the page too
/// </code></example>
public sealed record RunAnalysis
{
    /// <summary>What the network learned, in five lines or fewer.</summary>
    public required IReadOnlyList<string> Lines { get; init; }

    /// <summary>What can't be computed or trusted, and why.</summary>
    public required IReadOnlyList<string> Problems { get; init; }

    /// <summary>analysis.json.</summary>
    public required JsonObject Json { get; init; }

    /// <summary>What report.html shows.</summary>
    public required ReportData Data { get; init; }

    /// <summary>The network's row beside others.</summary>
    public required ComparisonRow Row { get; init; }

    /// <summary>The figures of all groundings; none for xor and flip_flop.</summary>
    public IReadOnlyList<GroundingResult> Groundings { get; init; } = [];

    /// <summary>How the network loads its variables, where it has any.</summary>
    public LoadingResult? Loading { get; init; }

    /// <summary>Analyses a network on the task that its configuration names.</summary>
    /// <param name="network">The network.</param>
    /// <param name="options">Null: the defaults.</param>
    /// <param name="input">The sequence to show (<see cref="ExampleInput"/>).</param>
    /// <exception cref="ArgumentException">The input is none for this task.</exception>
    public static RunAnalysis Of(
        TrainedNetwork network,
        AnalysisOptions? options = null,
        string input = ExampleInput.Default
    )
    {
        var clock = Stopwatch.StartNew();
        var result = network.Transformer is { } transformer
            ? OfTransformer(network, transformer)
            : network.Configuration.Task.Name switch
            {
                FlipFlop.Name => OfFlipFlop(network),
                Xor.Name => OfXor(network, options ?? new()),
                _ when network.Configuration.Task.IsLinearBinding => OfBinding(network, options ?? new(), input),
                _ => OfOther(network),
            };
        result = AddFindings(result, network);
        result.Json["seconds"] = Math.Round(clock.Elapsed.TotalSeconds, 3);
        return result;
    }

    /// <summary>What the analyses of extensions find.</summary>
    private static RunAnalysis AddFindings(RunAnalysis result, TrainedNetwork network)
    {
        var analyses = Parts.Of(typeof(INetworkAnalysis));
        if (analyses.Count == 0)
            return result;
        List<string> lines = [.. result.Lines],
            problems = [.. result.Problems];
        List<Figure> figures = [.. result.Data.Figures];
        var found = new JsonObject();
        foreach (var (name, type) in analyses)
        {
            using var scope = NewDisposeScope();
            using var quiet = no_grad();
            try
            {
                var own = new JsonObject();
                foreach (var finding in ((INetworkAnalysis)Activator.CreateInstance(type)!).Analyze(network))
                {
                    own[finding.Key] = new JsonObject
                    {
                        ["value"] = Value(finding.Value),
                        ["null"] = Value(finding.Null),
                    };
                    if (finding.Beats && finding.Sentence is { } sentence)
                        lines.Add(string.Format(CultureInfo.InvariantCulture, sentence, finding.Value, finding.Null));
                    if (finding.Figure is { } figure)
                        figures.Add(figure);
                }
                found[name] = own;
            }
            // A user's own code: whatever goes wrong there is that analysis's trouble alone.
            catch (Exception e) when (e is not OutOfMemoryException)
            {
                problems.Add($"The analysis {name} failed: {TorchSharpDefects.Message(e)}");
            }
        }
        result.Json["findings"] = found;
        return result with
        {
            Lines = lines,
            Problems = problems,
            Data = result.Data with { Summary = lines, Problems = problems, Figures = figures },
        };
    }

    /// <summary>
    /// The numbers of a finished run: its analysis.json, which is made where it is not there, is damaged, is of another
    /// version, or is of other weights than the run's best.
    /// </summary>
    /// <param name="folder">The run's folder.</param>
    /// <param name="warn">Told of damaged files, and where analysis.json can't be written.</param>
    /// <param name="making">Told when an analysis is made.</param>
    /// <exception cref="ConfigurationException">The folder is no run's, or has no checkpoint.</exception>
    /// <exception cref="InvalidDataException">result.json or the checkpoint is damaged.</exception>
    /// <exception cref="CheckpointException">All checkpoints of the run are damaged.</exception>
    /// <exception cref="IOException">They can't be read.</exception>
    /// <exception cref="UnauthorizedAccessException">Likewise.</exception>
    public static JsonObject OfRun(string folder, Action<string> warn, Action? making = null)
    {
        var file = Path.Combine(folder, FileName);
        JsonObject? known = null;
        long? step = null;
        bool current = false;
        try
        {
            if (File.Exists(file))
                known = JsonNode.Parse(File.ReadAllText(file)) as JsonObject ?? throw new JsonException();
            (step, current) = ((long?)known?["step"], (int?)known?["version"] == Version);
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or FormatException)
        {
            known = null;
            warn($"{file} is damaged. It is made again.");
        }
        if (current && step is not null && step == new RunFolder(folder).ReadResult()?.BestStep)
            return known!;
        TrainedNetwork network;
        try
        {
            network = TrainedNetwork.Load(folder, warn: warn);
        }
        catch (ConfigurationException) when (known is not null)
        {
            // The checkpoints are gone, the numbers are kept.
            if (!current)
            {
                warn(
                    $"{file} is of another version of this program, and without a checkpoint it can't be made "
                        + "again: what it lacks is left out."
                );
            }

            return known;
        }
        using (network)
        {
            if (current && step == network.Step)
                return known!;
            making?.Invoke();
            var analysis = Of(network);
            try
            {
                analysis.WriteNumbers(folder);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                warn($"{file} can't be written: {e.Message}");
            }
            return analysis.Json;
        }
    }

    /// <summary>Writes analysis.json.</summary>
    /// <param name="folder">Where; made if it is not there.</param>
    /// <param name="prefix">Before the file's name, where several networks share the folder.</param>
    /// <exception cref="IOException">It can't be written.</exception>
    public void WriteNumbers(string folder, string prefix = "")
    {
        Directory.CreateDirectory(folder);
        AtomicFile.WriteText(Path.Combine(folder, prefix + FileName), Json.ToJsonString(OutputJson.Options) + "\n");
    }

    /// <summary>The file with all numbers of an analysis.</summary>
    public const string FileName = "analysis.json";

    /// <summary>
    /// Stands in analysis.json. To be raised when a figure is added there or comes out otherwise, so that files from
    /// before are made again.
    /// </summary>
    public const int Version = 2;

    private static RunAnalysis OfBinding(TrainedNetwork network, AnalysisOptions options, string input)
    {
        var task = network.Configuration.Task.ToLinearBinding();
        var example = ExampleInput.Parse(input, task.S, task.D);
        using var scope = NewDisposeScope();
        using var analysis = NetworkAnalysis.Of(network.Weights, task, options);
        var lines = analysis.Summary();

        var json = Head(network);
        json["test_accuracy"] = Value(analysis.Accuracy);
        json["test_horizon"] = options.TestHorizon;
        json["spectral_error"] = Value(analysis.Spectrum?.Error);
        json["eigenvalues_theory"] = analysis.Spectrum?.CountTheory;
        json["eigenvalues_learned"] = analysis.Spectrum?.CountLearned;
        json["spectral_threshold"] = options.Memories.SpectralThreshold;
        json["cycles"] = analysis.Cycles is { } cycles
            ? new JsonArray([
                .. cycles.All.Select(c => new JsonObject
                {
                    ["length"] = c.Length,
                    ["count"] = c.Count,
                    ["learned"] = c.Learned,
                }),
            ])
            : null;
        json["cycles_theory"] = analysis.Cycles?.Count;
        json["cycles_learned"] = analysis.Cycles?.Learned;
        json["cycles_error"] = Value(analysis.Cycles?.Error);
        json["grounding"] = analysis.Memories is { } m ? VariableMemories.Name(m.Grounding) : null;
        json["live_entries"] = analysis.Memories?.Live.Count;
        json["phi_error"] = Value(analysis.Memories?.PhiError);
        json["phi_error_unscaled"] = Value(analysis.Memories?.PhiErrorUnscaled);
        json["gain"] = Value(analysis.Memories?.Gain);
        json["condition"] = Value(analysis.Memories?.Condition);
        json["intervention_accuracy"] = Value(analysis.InterventionAccuracy);
        json["interaction_blocks"] = analysis.Blocks is { } b
            ? new JsonObject
            {
                ["memory_to_memory"] = Value(b.MemoryToMemory),
                ["rest_to_memory"] = Value(b.RestToMemory),
                ["memory_to_rest"] = Value(b.MemoryToRest),
                ["rest_to_rest"] = Value(b.RestToRest),
            }
            : null;
        json["groundings"] = new JsonArray([
            .. analysis.Groundings.Select(g => new JsonObject
            {
                ["grounding"] = VariableMemories.Name(g.Grounding),
                ["phi_error"] = Value(g.PhiError),
                ["phi_error_unscaled"] = Value(g.PhiErrorUnscaled),
                ["condition"] = Value(g.Condition),
                ["intervention_accuracy"] = Value(g.InterventionAccuracy),
                ["problem"] = g.Problem,
            }),
        ]);
        json["interventions"] = InterventionsJson(analysis.Interventions);
        json["loading"] = analysis.Loading is { } loading
            ? new JsonArray([
                .. loading.Steps.Select(l => new JsonObject
                {
                    ["step"] = l.Step,
                    ["input_weight"] = Value(l.InputWeight),
                    ["feedback_weight"] = Value(l.FeedbackWeight),
                    ["explained"] = Value(l.Explained),
                    ["agree"] = Value(l.Agree),
                    ["disagree"] = Value(l.Disagree),
                    ["sign_right"] = Value(l.SignRight),
                    ["saturated"] = Value(l.Saturated),
                }),
            ])
            : null;
        json["spectrum_theory"] = Points(analysis.Spectrum?.Theory);
        json["spectrum_learned"] = Points(analysis.Spectrum?.Learned);
        json["problems"] = new JsonArray([.. analysis.Problems.Select(p => (JsonNode)p)]);

        return new()
        {
            Lines = lines,
            Problems = analysis.Problems,
            Json = json,
            Groundings = analysis.Groundings,
            Loading = analysis.Loading,
            Data = BindingPage(network, analysis, lines, example, input),
            Row = FirstRow(network) with
            {
                TestAccuracy = analysis.Accuracy,
                Grounding = analysis.Memories is { } chosen ? VariableMemories.Name(chosen.Grounding) : null,
                SpectralError = analysis.Spectrum?.Error,
                CountTheory = analysis.Spectrum?.CountTheory,
                CountLearned = analysis.Spectrum?.CountLearned,
                LiveEntries = analysis.Memories?.Live.Count,
                PhiError = analysis.Memories?.PhiError,
                InterventionAccuracy = analysis.InterventionAccuracy,
                Problems = analysis.Problems.Count,
            },
        };
    }

    private static ReportData BindingPage(
        TrainedNetwork network,
        NetworkAnalysis analysis,
        IReadOnlyList<string> lines,
        double[][] example,
        string input
    )
    {
        var task = analysis.Task;
        int steps = 7 * task.S;
        bool usable = network.Weights.WhyUnusable() is null && network.Weights.Dimension == task.D;
        var skipped = new Dictionary<ReportChart, string>();
        if (analysis.Memories is null)
        {
            var why = analysis.Problems.Count > 0 ? analysis.Problems[^1] : "there are no variable memories";
            foreach (
                var chart in (ReportChart[])
                    [
                        ReportChart.WeightsVariables,
                        ReportChart.Variables,
                        ReportChart.Interventions,
                        ReportChart.Participation,
                    ]
            )
            {
                skipped[chart] = why;
            }
        }
        return Page(network, lines, analysis.Problems) with
        {
            TestAccuracy = analysis.Accuracy,
            Variables = task.S,
            Components = task.D,
            WeightsVariables = analysis.Decomposition is { } decomposition
                ? Spread(decomposition, analysis.Memories!, task.S * task.D)
                : null,
            Spectrum = analysis.Spectrum is { } spectrum
                ? new()
                {
                    Theory = [.. spectrum.Theory.Select(z => new[] { z.Real, z.Imaginary })],
                    Learned = [.. spectrum.Learned.Select(z => new[] { z.Real, z.Imaginary })],
                    SpectralError = spectrum.Error,
                    Threshold = spectrum.Threshold,
                }
                : null,
            Examples = usable
                ?
                [
                    Example(analysis, $"{(input.Length <= 20 ? input : "your input")} as bit vectors", example, steps),
                    Example(analysis, "random ±1", Random(task), steps),
                ]
                : null,
            Interventions =
                analysis.Interventions.Count == 0
                    ? null
                    :
                    [
                        .. analysis.Interventions.Select(i => new Intervention(
                            i.Kind.ToString().ToLowerInvariant(),
                            i.Variable == 0 ? null : i.Variable,
                            i.Accuracy
                        )),
                    ],
            Participation = analysis.Memories?.Participation(),
            Groundings =
            [
                .. analysis.Groundings.Select(g => new GroundingRow(
                    VariableMemories.Name(g.Grounding),
                    g.PhiError,
                    g.InterventionAccuracy,
                    g.Condition,
                    g.Problem,
                    g.Grounding == analysis.Memories?.Grounding
                )),
            ],
            Figures = analysis.Loading is { } loading ? [.. LoadingFigures.Of(loading)] : [],
            Skipped = skipped,
        };
    }

    private static ExampleData Example(NetworkAnalysis analysis, string label, double[][] input, int steps)
    {
        var (hidden, contents, outputs) = analysis.Run(input, steps);
        return new()
        {
            Label = label,
            InputSteps = input.Length,
            Inputs = input,
            HiddenState = hidden,
            Contents = contents,
            Outputs = outputs,
        };
    }

    private static double[][] Random(LinearBinding task)
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator(1, CPU);
        return Matrices.Rows(
            randint(0, 2, new long[] { task.S, task.D }, dtype: ScalarType.Float64, generator: generator)
                .mul_(2)
                .sub_(1)
        );
    }

    /// <summary>
    /// The matrix with empty rows and columns for history entries that are not live, so that every variable has its
    /// place.
    /// </summary>
    private static double[][] Spread(MemoryDecomposition decomposition, VariableMemories memories, int entries)
    {
        var compact = Matrices.Rows(decomposition.Interactions);
        int live = memories.Live.Count,
            size = entries + compact.Length - live;
        var place = Enumerable
            .Range(0, compact.Length)
            .Select(i => i < live ? memories.Live[i] : entries + i - live)
            .ToArray();
        var spread = Enumerable.Range(0, size).Select(_ => Enumerable.Repeat(double.NaN, size).ToArray()).ToArray();
        for (int i = 0; i < compact.Length; i++)
        {
            for (int j = 0; j < compact.Length; j++)
                spread[place[i]][place[j]] = compact[i][j];
        }

        return spread;
    }

    /// <summary>Of a task for which there is no theory: what is seen in the weights alone.</summary>
    private static RunAnalysis OfOther(TrainedNetwork network)
    {
        var json = Head(network);
        List<string> problems = network.Weights.WhyUnusable() is { } reason
            ? [$"{char.ToUpperInvariant(reason[0])}{reason[1..]}."]
            : [];
        List<string> lines =
        [
            $"There is no theory of {network.Configuration.Task.Label} here: only the weights are read.",
        ];
        json["problems"] = new JsonArray([.. problems.Select(p => (JsonNode)p)]);
        return new()
        {
            Lines = lines,
            Problems = problems,
            Json = json,
            Data = Page(network, lines, problems) with { HasVariables = false },
            Row = FirstRow(network) with { Problems = problems.Count },
        };
    }

    private static RunAnalysis OfFlipFlop(TrainedNetwork network)
    {
        var lines = new List<string>();
        var problems = new List<string>();
        var json = Head(network);
        FlipFlopStates? states = null;
        if (network.Weights.WhyUnusable() is { } reason)
        {
            problems.Add($"{char.ToUpperInvariant(reason[0])}{reason[1..]}.");
        }
        else
        {
            using var scope = NewDisposeScope();
            using var trained = network.Weights.ToNetwork();
            states = FlipFlopStates.Find(trained);
            var found = states.FixedPoints;
            problems.AddRange(found.Problems);
            lines.Add(
                FormattableString.Invariant(
                    $"It has {found.Points.Count} fixed points, {found.Stable.Count()} of them stable; {found.Unconverged} of {found.Starts} starts came to none."
                )
            );
            lines.Add(
                states.IsComplete
                    ? FormattableString.Invariant(
                        $"Each of the {states.PatternCount} patterns of its bits is kept in one stable fixed point."
                    )
                    : FormattableString.Invariant(
                        $"{states.Patterns.Count} of the {states.PatternCount} patterns of its bits have a stable fixed point."
                    )
            );
            json["fixed_points"] = new JsonObject
            {
                ["starts"] = found.Starts,
                ["unconverged"] = found.Unconverged,
                ["stable"] = found.Stable.Count(),
                ["complete"] = states.IsComplete,
                ["points"] = new JsonArray([
                    .. found.Points.Select(
                        (p, i) =>
                            new JsonObject
                            {
                                ["outputs"] = states.Signs[i],
                                ["stable"] = p.IsStable,
                                ["unstable_directions"] = p.UnstableDirections,
                                ["isolated"] = p.IsIsolated,
                                ["starts"] = p.Count,
                                ["residual"] = p.Residual,
                                ["largest_eigenvalue"] = p.Eigenvalues[0].Magnitude,
                                ["state"] = new JsonArray([.. p.State.Select(x => (JsonNode)x)]),
                            }
                    ),
                ]),
            };
        }
        json["problems"] = new JsonArray([.. problems.Select(p => (JsonNode)p)]);
        return new()
        {
            Lines = lines,
            Problems = problems,
            Json = json,
            Data = Page(network, lines, problems) with
            {
                Figures = states is null ? [] : [FlipFlopFigure.Of(states)],
                HasVariables = false,
            },
            Row = FirstRow(network) with { Problems = problems.Count },
        };
    }

    private static RunAnalysis OfXor(TrainedNetwork network, AnalysisOptions options)
    {
        var problems = new List<string>();
        var json = Head(network);
        XorVariables? variables = null;
        using var scope = NewDisposeScope();
        using var task = (Xor)network.Configuration.Task.ToSequenceTask(ScalarType.Float64, CPU);
        if (network.Weights.WhyUnusable() is { } reason)
        {
            problems.Add($"{char.ToUpperInvariant(reason[0])}{reason[1..]}.");
        }
        else if (network.Weights.Dimension != task.Dimension)
        {
            problems.Add(
                $"Nothing can be compared: the network's inputs have {network.Weights.Dimension} numbers, the "
                    + $"task's variables {task.Dimension}."
            );
        }
        else
        {
            if (network.Weights.Bias is null)
            {
                problems.Add(
                    "The network has no bias: its outputs are odd functions of its inputs, and the exclusive or of "
                        + "two is an even one, which it can't give."
                );
            }

            using var trained = network.Weights.ToNetwork();
            variables = XorVariables.Measure(trained, task, options);
            problems.AddRange(variables.Problems);
            json["test_accuracy"] = Value(variables.Accuracy);
            json["test_horizon"] = options.TestHorizon;
            json["delays"] = new JsonArray([.. task.Delays.Select(delay => (JsonNode)delay)]);
            json["readings"] = new JsonArray([
                .. variables.Readings.Select(r => new JsonObject
                {
                    ["ahead"] = r.Ahead,
                    ["explained"] = Value(r.Explained),
                    ["sign_right"] = Value(r.SignRight),
                }),
            ]);
            json["period"] = variables.Period;
            json["variables"] = Through(variables.Variables);
            json["unrolled"] = Through(variables.Unrolled);
            json["error_growth"] = Value(variables.Growth);
            json["error_growth_circuit"] = variables.CircuitEigenvalues.Max(z => z.Magnitude);
            json["fixed_points"] = variables.FixedPoints.Points.Count;
            json["stable_fixed_points"] = variables.FixedPoints.Stable.Count();
            json["rest_largest_eigenvalue"] = variables.Rest?.Eigenvalues[0].Magnitude;
            json["spectral_error"] = Value(variables.Spectrum?.Error);
            json["eigenvalues_unrolled"] = variables.Spectrum?.CountTheory;
            json["eigenvalues_learned"] = variables.Spectrum?.CountLearned;
            json["spectrum_learned"] = Points(variables.Spectrum?.Learned);
        }
        var lines = variables?.Summary() ?? [];
        json["problems"] = new JsonArray([.. problems.Select(p => (JsonNode)p)]);
        return new()
        {
            Lines = lines,
            Problems = problems,
            Json = json,
            Data = Page(network, lines, problems) with
            {
                TestAccuracy = variables?.Accuracy,
                Figures = variables is null ? [] : XorFigures.Of(variables),
                HasVariables = false,
            },
            Row = FirstRow(network) with
            {
                TestAccuracy = variables?.Accuracy,
                SpectralError = variables?.Spectrum?.Error,
                CountTheory = variables?.Spectrum?.CountTheory,
                CountLearned = variables?.Spectrum?.CountLearned,
                Problems = problems.Count,
            },
        };
    }

    private static RunAnalysis OfTransformer(TrainedNetwork network, EmtTorch.Models.EpisodicTransformer transformer)
    {
        var analysis = EpisodicAnalysis.Of(transformer, network.Configuration);
        var lines = analysis.Summary();
        var json = Head(network);
        EpisodicJson.AddTo(json, analysis, network.Configuration);
        json["problems"] = new JsonArray([.. analysis.Problems.Select(p => (JsonNode)p)]);
        return new()
        {
            Lines = lines,
            Problems = analysis.Problems,
            Json = json,
            Data = Page(network, lines, analysis.Problems) with
            {
                TestAccuracy = analysis.Accuracy,
                Figures = EpisodicFigures.Of(analysis, Guessing.MeasureAccuracy(network.Configuration)),
                Texts = analysis.Text is { Sample.Length: > 0 } text
                    ?
                    [
                        new(
                            "sample",
                            "What it writes",
                            "The test part's beginning, paler, and what the network goes on with, drawn at "
                                + "temperature 0.8. Bytes that are no characters stand as \\xNN.",
                            text.Prompt,
                            text.Sample
                        ),
                    ]
                    : [],
                HasVariables = false,
            },
            Row = FirstRow(network) with
            {
                TestAccuracy = analysis.Accuracy,
                BitsPerCharacter = analysis.Text?.Bits,
                ReadsRight = analysis.Reads.Max(r => r.Share),
                EffectiveRank = analysis
                    .FastWeights.Where(f => double.IsFinite(f.EffectiveRank[^1]))
                    .Select(f => (double?)f.EffectiveRank[^1])
                    .Max(),
                StateBytes = analysis.StateBytesEnd,
                Problems = analysis.Problems.Count,
            },
        };
    }

    private static JsonObject? Through(SuperpositionResult? result) =>
        result is null
            ? null
            : new()
            {
                ["superposition"] = Value(result.Superposition),
                ["intervention_accuracy"] = Value(result.Accuracy),
                ["affected_accuracy"] = Value(result.AffectedAccuracy),
                ["interventions"] = InterventionsJson(result.Interventions),
            };

    private static JsonArray InterventionsJson(IReadOnlyList<InterventionResult> interventions) =>
        new([
            .. interventions.Select(i => new JsonObject
            {
                ["kind"] = i.Kind.ToString().ToLowerInvariant(),
                ["variable"] = i.Variable == 0 ? null : i.Variable,
                ["other"] = i.Other == 0 ? null : i.Other,
                ["accuracy"] = Value(i.Accuracy),
                ["affected_accuracy"] = Value(i.AffectedAccuracy),
            }),
        ]);

    private static JsonObject Head(TrainedNetwork network) =>
        new()
        {
            ["version"] = Version,
            ["name"] = network.Name,
            ["weights"] = Path.GetFileName(network.File),
            ["task"] = TaskName(network),
            ["seed"] = network.Step is null ? null : network.Configuration.Seed,
            ["step"] = network.Step,
            ["hidden_size"] = network.HiddenSize,
            // What L2 is taken of: ½ weight_decay ‖θ‖² is its part of the objective.
            ["parameter_norm"] = Value(network.ParameterNorm),
        };

    private static ComparisonRow FirstRow(TrainedNetwork network) =>
        new()
        {
            Name = network.Name,
            Task = TaskName(network),
            Seed = network.Step is null ? null : network.Configuration.Seed,
            HiddenSize = network.HiddenSize,
            Chance = Guessing.MeasureAccuracy(network.Configuration),
        };

    private static ReportData Page(
        TrainedNetwork network,
        IReadOnlyList<string> lines,
        IReadOnlyList<string> problems
    ) =>
        new()
        {
            Name = network.Name,
            Task = TaskName(network),
            Seed = network.Step is null ? null : network.Configuration.Seed,
            HiddenSize = network.HiddenSize,
            Chance = Guessing.MeasureAccuracy(network.Configuration),
            Facts = NetworkFacts.Describe(network),
            Steps = network.Step,
            Summary = lines,
            Problems = problems,
            Settings = [.. Settings("", JsonNode.Parse(network.Configuration.ToJson())!)],
            Training =
                network.Metrics.Count == 0
                    ? null
                    :
                    [
                        .. network.Metrics.Select(m => new TrainingPoint
                        {
                            Step = m.Step,
                            Loss = m.Loss,
                            Accuracy = m.Accuracy,
                            Horizon = m.Horizon,
                            TestLoss = m.TestLoss,
                            TestAccuracy = m.TestAccuracy,
                            SpectralError = m.SpectralError,
                            EigenvaluesLearned = m.EigenvaluesLearned,
                            TestBits = m.TestBitsPerCharacter,
                            TestBitsNewWords = m.TestBitsNewWords,
                            TestBitsSeenWords = m.TestBitsSeenWords,
                        }),
                    ],
            OnTokens = network.Transformer is not null,
            WeightsStandard = network.Transformer is null ? Matrices.Rows(network.Weights.WeightHh) : null,
        };

    private static string TaskName(TrainedNetwork network) =>
        network.Configuration.Task switch
        {
            { Id: { } id } => $"id ({string.Join(", ", id)})",
            { Terms: { } } => "sum of delayed permutations",
            { Matrix: { } } => "matrix",
            var task => task.Label,
        };

    private static IEnumerable<ReportSetting> Settings(string path, JsonNode? node)
    {
        if (node is JsonObject section)
        {
            foreach (var (key, value) in section)
            {
                foreach (var setting in Settings(path.Length == 0 ? key : $"{path}.{key}", value))
                    yield return setting;
            }
        }
        else
        {
            yield return new(path, node?.ToJsonString() ?? "null");
        }
    }

    private static JsonNode? Value(double? value) => value is { } v && double.IsFinite(v) ? JsonValue.Create(v) : null;

    private static JsonArray? Points(IReadOnlyList<Complex>? values) =>
        values is null ? null : new([.. values.Select(z => new JsonArray(z.Real, z.Imaginary))]);
}
