using System.Numerics;
using System.Text.Json.Nodes;
using EmtTorch.Analysis.Charts;
using EmtTorch.Settings;
using EmtTorch.Tasks;
using TorchSharp;
using static System.FormattableString;
using static EmtTorch.Analysis.Runs.Finding;
using static TorchSharp.torch;

namespace EmtTorch.Analysis.Runs;

/// <summary>
/// Networks on linear variable binding, compared with the circuit that the theory predicts: its spectrum, its
/// variables, interventions on them and how they are loaded (<see cref="NetworkAnalysis"/>).
/// </summary>
[Named("variable_binding")]
internal sealed class BindingAnalysis : INetworkAnalysis
{
    /// <summary>Steps of the example that the report shows, in units of s.</summary>
    private const int Periods = 7;

    /// <exception cref="ArgumentException">The input of the options is none for this task.</exception>
    public IEnumerable<Finding> Analyze(TrainedNetwork network, AnalysisOptions options)
    {
        if (!network.Configuration.Task.IsLinearBinding)
            return [];
        var task = network.Configuration.Task.ToLinearBinding();
        var example = ExampleInput.Parse(options.Input, task.S, task.D);
        using var analysis = NetworkAnalysis.Of(network.Weights, task, options);
        bool able = Ability.IsEnough(analysis.Accuracy, chance: 0.5);
        Finding[] found =
        [
            Fact("test_horizon", options.TestHorizon),
            .. Spectrum(analysis, options),
            .. Memories(analysis),
            .. Interventions(analysis),
            .. Loading(analysis.Loading),
            Fact("spectrum_theory", Points(analysis.Spectrum?.Theory)),
            Fact("spectrum_learned", Points(analysis.Spectrum?.Learned)),
        ];
        return
        [
            new("test_accuracy", analysis.Accuracy)
            {
                Least = 0,
                Greatest = 1,
                Title = "test accuracy",
                Format = "P2",
                Meaning = "the share of output bits with the right sign",
                Sentence = analysis.Accuracy is { } accuracy
                    ? able
                        ? Invariant($"It continues the task with {accuracy:P2} of output bits right.")
                        : Ability.Lacking(accuracy, 0.5, "output bits")
                    : null,
                Circuit = Charts(network, analysis, example, options.Input),
                Problems = analysis.Problems,
            },
            .. able ? found : Ability.Silence(found),
        ];
    }

    private static IEnumerable<Finding> Spectrum(NetworkAnalysis analysis, AnalysisOptions options)
    {
        var (spectrum, cycles, chance) = (analysis.Spectrum, analysis.Cycles, analysis.SpectrumNull);
        yield return SpectralError(spectrum, chance);
        yield return SpectralErrorNull(chance);
        yield return Fact("spectral_error_greedy", ToJson(spectrum?.GreedyError));
        yield return Fact("eigenvalues_theory", spectrum?.CountTheory);
        yield return Eigenvalues(spectrum) with
        {
            Sentence = spectrum switch
            {
                null => null,
                { Error: { } error } => Invariant(
                    $"It has as many persistent eigenvalues as the circuit, {spectrum.CountLearned}, {error:F5} rad "
                )
                    + (
                        chance?.LeastError is null ? "off on average."
                        : chance.IsBeatenBy(spectrum)
                            ? Invariant($"off on average ({chance.Error:F5} at random angles).")
                        : "off on average, no nearer than eigenvalues at random angles."
                    ),
                _ => $"Its spectrum is not the circuit's: it has {spectrum.CountLearned} persistent eigenvalues, and "
                    + $"theory has {spectrum.CountTheory}{CyclesFound(cycles, chance)}.",
            },
        };
        yield return Fact("spectral_threshold", options.Memories.SpectralThreshold);
        yield return Fact(
            "cycles",
            cycles is null
                ? null
                : ToJson(
                    cycles.All,
                    c => new JsonObject
                    {
                        ["length"] = c.Length,
                        ["count"] = c.Count,
                        ["learned"] = c.Learned,
                    }
                )
        );
        yield return Fact("cycles_theory", cycles?.Count);
        yield return Fact("cycles_learned", cycles?.Learned);
        yield return Fact("cycles_error", ToJson(cycles?.Error));
        yield return Fact("cycles_null", ToJson(chance?.Cycles));
        yield return Fact("cycles_error_null", ToJson(chance?.CyclesError));
    }

    /// <summary>The spectral error of any network that theory has a spectrum for.</summary>
    internal static Finding SpectralError(SpectralComparison? spectrum, SpectralNull? chance) =>
        new("spectral_error", spectrum?.Error ?? double.NaN)
        {
            Least = 0,
            Null = chance?.LeastError,
            Below = true,
            Title = "spectral error",
            Format = "F5",
            Meaning = "the mean difference between the angles of matched eigenvalues, in radians",
        };

    /// <summary>The null of the spectral error, its mean over the draws.</summary>
    internal static Finding SpectralErrorNull(SpectralNull? chance) =>
        Fact("spectral_error_null", ToJson(chance?.Error));

    /// <summary>How many persistent eigenvalues such a network has.</summary>
    internal static Finding Eigenvalues(SpectralComparison? spectrum) =>
        new("eigenvalues_learned", spectrum?.CountLearned ?? double.NaN)
        {
            Title = "eigenvalues (theory, learned)",
            Format = "0",
            Meaning = "how many eigenvalues are above the threshold in magnitude",
            Cell = spectrum is null ? null : $"{spectrum.CountTheory}, {spectrum.CountLearned}",
        };

    /// <summary>Which cycles a network has whose spectrum is not the circuit's.</summary>
    private static string CyclesFound(CycleComparison? found, SpectralNull? chance)
    {
        if (found is not { Learned: > 0 } cycles || chance?.MostCycles is null)
            return "";
        if (!chance.IsBeatenBy(cycles))
        {
            return $"; it has no more of the circuit's cycles ({cycles.Learned} of {cycles.Count}) than as many "
                + "eigenvalues at random angles";
        }
        var lacking = cycles
            .All.Where(c => c.Learned < c.Count)
            .Select(c => c.Count == 1 ? $"{c.Length}" : $"{c.Length} ({c.Count - c.Learned} of {c.Count})")
            .ToList();
        var without =
            lacking.Count == 0
                ? ""
                : $", without {(lacking.Count == 1 ? "that" : "those")} of length {string.Join(", ", lacking)}";
        return $"; among them are {cycles.Learned} of the circuit's {cycles.Count} cycles, "
            + Invariant($"{cycles.Error:F5} rad off{without} (at random angles {chance.Cycles:0.#} cycles")
            + (chance.CyclesError is { } off ? Invariant($", {off:F5} rad off)") : ")");
    }

    private static IEnumerable<Finding> Memories(NetworkAnalysis analysis)
    {
        var memories = analysis.Memories;
        yield return new("grounding") { Cell = memories is null ? null : VariableMemories.Name(memories.Grounding) };
        yield return new("live_entries", memories?.Live.Count ?? double.NaN)
        {
            Title = "live entries",
            Format = "F0",
            Meaning = "how many numbers of the history are ever read again",
            Sentence = memories is null ? null : Motion(memories, analysis),
        };
        yield return new("phi_error", memories?.PhiError ?? double.NaN)
        {
            Least = 0,
            Null = analysis.PhiErrorNull,
            Below = true,
            Title = "Φ error",
            Format = "P2",
            Meaning = "how far W_hh in the basis of variables is from the circuit's Φ",
        };
        yield return Fact("phi_error_null", ToJson(analysis.PhiErrorNull));
        yield return Fact("phi_error_unscaled", ToJson(memories?.PhiErrorUnscaled));
        yield return Fact("gain", ToJson(memories?.Gain));
        yield return Fact("condition", ToJson(memories?.Condition));
    }

    private static string Motion(VariableMemories memories, NetworkAnalysis analysis)
    {
        var (task, chance) = (analysis.Task, analysis.PhiErrorNull);
        var gain =
            Math.Abs(memories.Gain - 1) < 0.02
                ? ""
                : Invariant($" Its eigenvalues are {Times(memories.Gain)} theory's size; tanh compensates.");
        int variables = memories.Live.Select(j => j / task.D).Distinct().Count();
        var kept = $"It keeps {memories.Live.Count} numbers in {variables} variables; ";
        return memories.PhiError switch
        {
            null => $"{kept}whether they move as in the circuit cannot be told.",
            >= NetworkAnalysis.NoCircuit => Invariant(
                $"No circuit was found in it: W_hh differs from Φ by {memories.PhiError:P0}."
            ),
            { } phi when chance <= phi =>
                "No variables are shown in it: W_hh in their basis differs from the circuit by "
                    + Invariant($"{phi:P1}, and with random input and output weights by {chance:P1}."),
            { } phi => kept
                + Invariant($"W_hh in this basis differs from the circuit by {phi:P1}")
                + (chance is null ? "." : Invariant($" ({chance:P1} with random input and output weights)."))
                + gain,
        };
    }

    private static IEnumerable<Finding> Interventions(NetworkAnalysis analysis)
    {
        foreach (var finding in InterventionAccuracies(analysis))
            yield return finding;
        yield return Fact("interaction_blocks", DescribeBlocks(analysis.Blocks));
        yield return Fact("interaction_blocks_null", DescribeBlocks(analysis.BlocksNull));
        yield return new("groundings")
        {
            Data = ToJson(
                analysis.Groundings,
                g => new JsonObject
                {
                    ["grounding"] = VariableMemories.Name(g.Grounding),
                    ["phi_error"] = ToJson(g.PhiError),
                    ["phi_error_unscaled"] = ToJson(g.PhiErrorUnscaled),
                    ["condition"] = ToJson(g.Condition),
                    ["intervention_accuracy"] = ToJson(g.InterventionAccuracy),
                    ["changed_bits_accuracy"] = ToJson(g.ChangedBitsAccuracy),
                    ["problem"] = g.Problem,
                }
            ),
            Table = new(
                "Groundings. Φ error with tanh's gain taken out, and in brackets of W_hh as it is; the condition "
                    + "number of Ψ; of the bits that interventions change, the share as predicted.",
                ["grounding", "Φ error", "condition", "changed bits"],
                [
                    .. analysis.Groundings.Select(g =>
                        (string[])
                            [
                                VariableMemories.Name(g.Grounding),
                                $"{NumberText.Fixed(g.PhiError, "P2")} ({NumberText.Fixed(g.PhiErrorUnscaled, "P2")})",
                                NumberText.Fixed(g.Condition, "G3"),
                                NumberText.Fixed(g.ChangedBitsAccuracy, "P2"),
                            ]
                    ),
                ]
            ),
        };
        yield return Erased(analysis.Interventions);
        yield return new("interventions")
        {
            Data = ListInterventions(analysis.Interventions),
            Sentence =
                VariableInterventions.MeanAffectedAccuracy(analysis.Interventions)
                > VariableInterventions.MeanAffectedNull(analysis.Interventions)
                    ? AfterInterventions(analysis.Interventions)
                    : null,
        };
    }

    /// <summary>What becomes of erased variables: their outputs' size in each period of s steps.</summary>
    private static Finding Erased(IReadOnlyList<InterventionResult> interventions)
    {
        var sizes = interventions.Select(i => i.ErasedSize).Where(size => size.Count > 1).ToList();
        double First() => sizes.Average(size => size[0]);
        double Last() => sizes.Average(size => size[^1]);
        return new("erased_size", sizes.Count == 0 ? double.NaN : Last())
        {
            Title = "erased",
            Format = "F3",
            Meaning =
                "the root mean square of outputs that should be 0 because a variable was erased, in the last period of "
                + "s steps; 0 in the circuit, about 1 for a variable that is there",
            Sentence =
                sizes.Count > 0 && Last() > 0.25
                    ? "An erased variable comes back: where 0 is predicted, outputs have the size "
                        + Invariant($"{First():F2} in the first period of s steps and {Last():F2} in the last one. ")
                        + "The network cannot hold a 0, which its circuit could."
                    : null,
        };
    }

    private static JsonObject? DescribeBlocks(InteractionBlocks? blocks) =>
        blocks is null
            ? null
            : new()
            {
                ["memory_to_memory"] = ToJson(blocks.MemoryToMemory),
                ["rest_to_memory"] = ToJson(blocks.RestToMemory),
                ["memory_to_rest"] = ToJson(blocks.MemoryToRest),
                ["rest_to_rest"] = ToJson(blocks.RestToRest),
            };

    private static IEnumerable<Finding> InterventionAccuracies(NetworkAnalysis analysis)
    {
        var all = analysis.Interventions;
        double floor = VariableInterventions.MeanIgnoredAccuracy(all),
            random = VariableInterventions.MeanAffectedNull(all);
        yield return new("changed_bits_accuracy", VariableInterventions.MeanAffectedAccuracy(all))
        {
            Least = 0,
            Greatest = 1,
            Null = double.IsFinite(random) ? random : 0,
            Title = "changed bits",
            Format = "P2",
            Meaning =
                "of the output bits that an intervention on a variable changes, the share that is as predicted; a "
                + "network that ignores interventions has 0",
        };
        yield return Fact("changed_bits_null", ToJson(random));
        yield return new("intervention_accuracy", analysis.InterventionAccuracy ?? double.NaN)
        {
            Least = 0,
            Greatest = 1,
            Null = double.IsFinite(floor) ? floor : null,
            Title = "interventions, all bits",
            Format = "P2",
            Meaning =
                "the share of all output bits that is as predicted after a variable was changed; a network that "
                + "ignores interventions has most of them right",
        };
        yield return Fact("intervention_floor", ToJson(floor));
    }

    private static string AfterInterventions(IReadOnlyList<InterventionResult> interventions)
    {
        string Changed(InterventionKind kind) =>
            NumberText.Fixed(
                VariableInterventions.MeanAffectedAccuracy(interventions.Where(i => i.Kind == kind)),
                "P1"
            );
        return "Of the output bits that should change after an intervention, these do as the circuit says: "
            + $"{Changed(InterventionKind.Write)} after a variable was written, "
            + $"{Changed(InterventionKind.Erase)} after one was erased, "
            + $"{Changed(InterventionKind.Swap)} after two were swapped (0 % if interventions are ignored, "
            + $"{NumberText.Fixed(VariableInterventions.MeanAffectedNull(interventions), "P1")} if the state is moved "
            + "as far in random directions).";
    }

    /// <summary>Interventions in analysis.json.</summary>
    internal static JsonArray ListInterventions(IReadOnlyList<InterventionResult> interventions) =>
        ToJson(
            interventions,
            i => new JsonObject
            {
                ["kind"] = i.Kind.ToString().ToLowerInvariant(),
                ["variable"] = i.Variable == 0 ? null : i.Variable,
                ["other"] = i.Other == 0 ? null : i.Other,
                ["accuracy"] = ToJson(i.Accuracy),
                ["affected_accuracy"] = ToJson(i.AffectedAccuracy),
                ["affected_null"] = ToJson(i.AffectedNull),
                ["erased_size"] = i.ErasedSize.Count == 0 ? null : ToJson(i.ErasedSize, size => ToJson(size)),
                ["ignored_accuracy"] = ToJson(i.IgnoredAccuracy),
            }
        );

    private static IEnumerable<Finding> Loading(LoadingResult? loading)
    {
        if (loading is null)
        {
            yield return Fact("loading", null);
            yield break;
        }
        var (last, other) = (loading.Steps[^1], loading.Null);
        yield return new("loading")
        {
            Data = ToJson(loading.Steps, DescribeStep),
            Figures = [.. LoadingFigures.Of(loading)],
            Sentence =
                !double.IsFinite(last.InputWeight) || !(last.SignRight > other.SignRight) ? null
                : double.IsNaN(last.FeedbackWeight) ? $"{Received(last)}; there is no feedback yet."
                : $"{Received(last)} and the feedback f with weight {Weight(last.FeedbackWeight)}; its sign is the "
                    + Invariant(
                        $"input's in {last.SignRight:P0} ({other.SignRight:P0} with another sequence's input)."
                    ),
            Table = new(
                "Loading, at the last input step. The newest variable receives a u + b f; its contents times u where f "
                    + "agrees with u and where it does not; a linear network of one phase has 1, 1, 2 and 0. Below it "
                    + "the same with the inputs of other sequences.",
                ["inputs", "a", "b", "R²", "agree", "disagree", "right sign", "saturated units"],
                [Cells("own", last), Cells("others'", other)]
            ),
        };
        yield return Fact("loading_null", DescribeStep(other));
    }

    private static JsonObject DescribeStep(LoadingStep step) =>
        new()
        {
            ["step"] = step.Step,
            ["input_weight"] = ToJson(step.InputWeight),
            ["feedback_weight"] = ToJson(step.FeedbackWeight),
            ["explained"] = ToJson(step.Explained),
            ["agree"] = ToJson(step.Agree),
            ["disagree"] = ToJson(step.Disagree),
            ["sign_right"] = ToJson(step.SignRight),
            ["saturated"] = ToJson(step.Saturated),
        };

    private static string[] Cells(string inputs, LoadingStep step) =>
        [
            inputs,
            .. new[] { step.InputWeight, step.FeedbackWeight, step.Explained, step.Agree, step.Disagree }.Select(v =>
                NumberText.Fixed(v, "F2")
            ),
            NumberText.Fixed(step.SignRight, "P1"),
            NumberText.Fixed(step.Saturated, "P1"),
        ];

    private static string Received(LoadingStep last) =>
        $"The newest variable receives the input with weight {Weight(last.InputWeight)}";

    private static string Weight(double weight) =>
        weight.ToString(Math.Abs(weight) < 1e4 ? "F2" : "G3", System.Globalization.CultureInfo.InvariantCulture);

    private static string Times(double factor) => $"{Weight(factor)} times";

    /// <summary>Eigenvalues in analysis.json, each as [real, imaginary].</summary>
    internal static JsonArray? Points(IReadOnlyList<Complex>? values) =>
        values is null ? null : ToJson(values, z => new JsonArray(z.Real, z.Imaginary));

    private static CircuitCharts Charts(
        TrainedNetwork network,
        NetworkAnalysis analysis,
        double[][] example,
        string input
    )
    {
        var task = analysis.Task;
        return new()
        {
            Variables = task.S,
            Components = task.D,
            WeightsVariables = analysis.Decomposition is { } decomposition
                ? Spread(decomposition, analysis.Memories!, task.S * task.D)
                : null,
            Spectrum = analysis.Spectrum,
            SpectrumNull = analysis.SpectrumNull,
            Examples =
                network.Weights.WhyUnusable() is null && network.Weights.Dimension == task.D
                    ?
                    [
                        Show(analysis, $"{(input.Length <= 20 ? input : "your input")} as bit vectors", example),
                        Show(analysis, "random ±1", Random(task)),
                    ]
                    : null,
            Interventions = analysis.Interventions.Count == 0 ? null : [.. Intervention.From(analysis.Interventions)],
            Participation = analysis.Memories?.Participation(),
            Groundings =
            [
                .. analysis.Groundings.Select(g => new GroundingRow(
                    VariableMemories.Name(g.Grounding),
                    g.PhiError,
                    g.ChangedBitsAccuracy,
                    g.Condition,
                    g.Problem,
                    g.Grounding == analysis.Memories?.Grounding
                )),
            ],
            WhyNoMemories =
                analysis.Memories is not null ? null
                : analysis.Problems.Count > 0 ? analysis.Problems[^1]
                : "there are no variable memories",
        };
    }

    private static ExampleData Show(NetworkAnalysis analysis, string label, double[][] inputs)
    {
        var run = analysis.Run(inputs, Periods * analysis.Task.S);
        return new()
        {
            Label = label,
            InputSteps = inputs.Length,
            Inputs = inputs,
            HiddenState = run.Hidden,
            Contents = run.Contents,
            Outputs = run.Outputs,
        };
    }

    private static double[][] Random(LinearBinding task)
    {
        using var generator = new Generator(1, CPU);
        return Matrices.Rows(
            randint(0, 2, [task.S, task.D], dtype: ScalarType.Float64, generator: generator).mul_(2).sub_(1)
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
}
