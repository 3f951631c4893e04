using System.Numerics;
using EmtTorch.Models;
using EmtTorch.Settings;
using EmtTorch.Tasks;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Analysis;

/// <summary>What the whole analysis of a network is made with.</summary>
public sealed record AnalysisOptions
{
    public VariableMemoryOptions Memories { get; init; } = new();
    public InterventionOptions Interventions { get; init; } = new();

    /// <summary>Steps of the output phase over which accuracy is measured, as the published table does.</summary>
    public int TestHorizon { get; init; } = 200;

    /// <summary>Sequences for the accuracy: 10 batches of 64.</summary>
    public int TestSequences { get; init; } = 640;
}

/// <summary>One grounding's figures; Problem where it can't be had.</summary>
public sealed record GroundingResult(
    Grounding Grounding,
    double? PhiError,
    double? PhiErrorUnscaled,
    double? Condition,
    double? InterventionAccuracy,
    string? Problem
);

/// <summary>
/// Frobenius norms of the four blocks of W_hh in the basis [Ψ; Ψ⊥]: how strongly memory and the rest of the hidden
/// space act on each other (paper, Fig. 3A).
/// </summary>
public sealed record InteractionBlocks(
    double MemoryToMemory,
    double RestToMemory,
    double MemoryToRest,
    double RestToRest
);

/// <summary>
/// Everything that the theory says of one trained network: spectrum, variable memories, interventions, loading. What
/// can't be computed is null, and <see cref="Problems"/> says why.
/// </summary>
/// <example><code>
/// var weights = NetworkWeights.Read(SafetensorsFile.Read("weights.safetensors"), "weights.safetensors");
/// using var analysis = NetworkAnalysis.Of(weights, LinearBinding.Named("t4"));
/// foreach (var line in analysis.Summary()) Console.WriteLine(line);
/// </code></example>
public sealed class NetworkAnalysis : IDisposable
{
    /// <summary>A Φ error from here on says that there is no circuit: with Φ_learned = 0 it is 1.</summary>
    private const double NoCircuit = 1;

    private readonly List<string> _problems = [];

    private NetworkAnalysis(NetworkWeights weights, LinearBinding task) => (Weights, Task) = (weights, task);

    /// <summary>The network; not a copy.</summary>
    public NetworkWeights Weights { get; }

    public LinearBinding Task { get; }

    /// <summary>Share of output bits with the right sign on fresh sequences at the test's horizon.</summary>
    public double? Accuracy { get; private set; }

    public SpectralComparison? Spectrum { get; private set; }

    /// <summary>Which parts of the circuit it has.</summary>
    public CycleComparison? Cycles { get; private set; }

    public VariableMemories? Memories { get; private set; }

    /// <summary>All groundings; the chosen one is <see cref="Memories"/>'s.</summary>
    public IReadOnlyList<GroundingResult> Groundings { get; private set; } = [];

    public IReadOnlyList<InterventionResult> Interventions { get; private set; } = [];

    public LoadingResult? Loading { get; private set; }

    /// <summary>W_hh in the basis [Ψ; Ψ⊥]: the live entries first, then Ψ⊥.</summary>
    public MemoryDecomposition? Decomposition { get; private set; }

    public InteractionBlocks? Blocks { get; private set; }

    /// <summary>The fixed point at which a network with a bias was linearised; null: 0.</summary>
    public FixedPoint? Rest { get; private set; }

    /// <summary>What can't be computed or trusted, and why.</summary>
    public IReadOnlyList<string> Problems => _problems;

    /// <summary>The mean accuracy of interventions under the chosen grounding.</summary>
    public double? InterventionAccuracy =>
        Groundings.FirstOrDefault(g => g.Grounding == Memories?.Grounding)?.InterventionAccuracy;

    /// <summary>Analyses a network.</summary>
    /// <param name="weights">The network; stays the caller's.</param>
    /// <param name="task">What it was trained on.</param>
    /// <param name="options">Null: the defaults.</param>
    public static NetworkAnalysis Of(NetworkWeights weights, LinearBinding task, AnalysisOptions? options = null)
    {
        options ??= new();
        var analysis = new NetworkAnalysis(weights, task);
        using var quiet = no_grad();
        if (weights.WhyUnusable() is { } reason)
        {
            analysis._problems.Add($"{char.ToUpperInvariant(reason[0])}{reason[1..]}.");
        }
        else if (weights.Dimension != task.D)
        {
            analysis._problems.Add(
                $"Nothing can be compared: the network's inputs have {weights.Dimension} numbers, the task's "
                    + $"variables {task.D}."
            );
        }
        else
        {
            analysis.Compute(options);
        }
        return analysis;
    }

    private void Compute(AnalysisOptions options)
    {
        using var scope = NewDisposeScope();
        using var network = Weights.ToNetwork();
        Accuracy = Measure(network, options);

        var linear = Weights;
        Tensor? rest = null;
        if (Weights.Bias is not null)
        {
            Rest = FindRest(network);
            if (Rest is null)
                return;
            rest = tensor(Rest.State.ToArray());
            linear = Linearized(rest);
        }
        Spectrum = Spectra.Compare(
            Spectra.Eigenvalues(Circuit.Phi(Task)),
            Spectra.Eigenvalues(linear.WeightHh),
            options.Memories.SpectralThreshold
        );
        Cycles = CycleComparison.Find(Task, Spectrum.Learned, options.Memories.SpectralThreshold);
        if (Spectrum.Error is null)
        {
            _problems.Add(
                $"No spectral error: above {Spectrum.Threshold} in magnitude theory has {Spectrum.CountTheory} of "
                    + $"the eigenvalues, the network {Spectrum.CountLearned}."
            );
        }

        string? none = null;
        try
        {
            Memories = VariableMemories.Find(linear, Task, options.Memories);
            Memories.MoveToOuterDisposeScope();
            Interventions = VariableInterventions.Measure(network, Task, Memories, options.Interventions, rest);
        }
        catch (AnalysisException e)
        {
            none = e.Message;
        }
        var groundings = new List<GroundingResult>();
        foreach (var grounding in Enum.GetValues<Grounding>())
        {
            GroundingResult Result(VariableMemories memories, IReadOnlyList<InterventionResult> interventions) =>
                new(
                    grounding,
                    memories.PhiError,
                    memories.PhiErrorUnscaled,
                    memories.Condition,
                    VariableInterventions.MeanAccuracy(interventions),
                    null
                );
            if (Memories?.Grounding == grounding)
            {
                groundings.Add(Result(Memories, Interventions));
                continue;
            }
            try
            {
                using var memories = VariableMemories.Find(
                    linear,
                    Task,
                    options.Memories with
                    {
                        Grounding = grounding,
                    }
                );
                groundings.Add(
                    Result(
                        memories,
                        VariableInterventions.Measure(network, Task, memories, options.Interventions, rest)
                    )
                );
            }
            catch (AnalysisException e)
            {
                groundings.Add(new(grounding, null, null, null, null, e.Message));
            }
        }
        Groundings = groundings;
        if (Memories is null)
        {
            _problems.Add($"No variable memories: {none}.");
            return;
        }
        _problems.AddRange(Memories.Problems);
        if (Memories.PhiError >= NoCircuit)
        {
            _problems.Add(
                FormattableString.Invariant(
                    $"In this basis W_hh is not the circuit's Φ: it is {Memories.PhiError:P0} off, and 0 would be 100 % off. Contents, interventions and loading say nothing about variables then."
                )
            );
        }

        Loading = VariableLoading.Measure(network, Task, Memories, rest: rest);

        // Ψ⊥ from states of the output phase over a few periods.
        using var generator = new Generator(3, CPU);
        using var data = new VariableBinding(Task, ScalarType.Float64, CPU);
        var (input, _) = data.Batch(64, 1, generator);
        var states = network.HiddenStates(input, 5 * Task.S).narrow(0, Task.S, 4 * Task.S);
        if (Memories.Live.Count > Memories.PersistentRank)
        {
            _problems.Add("No picture of W_hh in the variable memories: their columns are dependent.");
            return;
        }
        var complement = Memories.Complement(rest is null ? states : states - rest);
        try
        {
            Decomposition = MemoryDecomposition.Compute(linear.WeightHh, cat([Memories.Basis, complement], 1));
        }
        catch (AnalysisException e)
        {
            _problems.Add($"No picture of W_hh in the variable memories: {e.Message}.");
            return;
        }
        Decomposition.MoveToOuterDisposeScope();
        long m = Memories.Live.Count,
            h = Weights.HiddenSize;
        double Block(long row, long column) =>
            Matrices.Norm(
                Decomposition
                    .Interactions.narrow(0, row, row == 0 ? m : h - m)
                    .narrow(1, column, column == 0 ? m : h - m)
            );
        Blocks = new(Block(0, 0), h > m ? Block(0, m) : 0, h > m ? Block(m, 0) : 0, h > m ? Block(m, m) : 0);
    }

    /// <summary>h(t) and the contents Ψ* h(t) for one input sequence, and the outputs.</summary>
    /// <param name="input">(s, κ).</param>
    /// <param name="steps">All steps, T ≥ s.</param>
    /// <returns>(T, H), (T, s·κ) or null without variable memories, (T, κ).</returns>
    public (double[][] Hidden, double[][]? Contents, double[][] Outputs) Run(double[][] input, int steps)
    {
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        using var network = Weights.ToNetwork();
        var u = stack(input.Select(row => tensor(row)).ToList()).unsqueeze(1); // (s, 1, κ)
        var hidden = network.HiddenStates(u, steps);
        var contents = Memories?.Contents((Rest is null ? hidden : hidden - tensor(Rest.State.ToArray())).squeeze(1));
        return (
            Matrices.Rows(hidden.squeeze(1)),
            contents is null ? null : Matrices.Rows(contents),
            Matrices.Rows(network.ReadOut(hidden).squeeze(1))
        );
    }

    /// <summary>What the network learned, in five lines or fewer.</summary>
    public IReadOnlyList<string> Summary()
    {
        var lines = new List<string>();
        if (Accuracy is { } accuracy)
            lines.Say($"It continues the task with {accuracy:P2} of output bits right.");
        if (Spectrum is { } spectrum)
        {
            lines.Add(
                spectrum.Error is { } error
                    ? FormattableString.Invariant(
                        $"It has as many persistent eigenvalues as the circuit, {spectrum.CountLearned}, {error:F5} rad off on average."
                    )
                    : FormattableString.Invariant(
                        $"Its spectrum is not the circuit's: its persistent eigenvalues number {spectrum.CountLearned}, theory's {spectrum.CountTheory}{Partly()}."
                    )
            );
        }

        if (Memories is { } memories)
        {
            var gain =
                Math.Abs(memories.Gain - 1) < 0.02
                    ? ""
                    : FormattableString.Invariant($"; |λ| is {Times(memories.Gain)} theory's, which tanh takes back");
            var kept = FormattableString.Invariant(
                $"It keeps {memories.Live.Count} numbers in {memories.Live.Select(j => j / Task.D).Distinct().Count()} variables; "
            );
            lines.Add(
                memories.PhiError switch
                {
                    null => $"{kept}how far they move as the circuit says can't be told.",
                    >= NoCircuit => FormattableString.Invariant(
                        $"No circuit was found in it: W_hh is {memories.PhiError:P0} off Φ."
                    ),
                    { } phi => kept
                        + FormattableString.Invariant($"they move as the circuit says but for {phi:P1}{gain}."),
                }
            );
        }
        if (Interventions.Count > 0)
        {
            string Kind(InterventionKind kind) =>
                Interventions.Where(i => i.Kind == kind).ToArray() is { Length: > 0 } some
                    ? FormattableString.Invariant($"{some.Average(i => i.Accuracy):P1}")
                    : "–";
            lines.Add(
                $"After interventions its outputs are as predicted: {Kind(InterventionKind.Write)} written, {Kind(InterventionKind.Erase)} erased, {Kind(InterventionKind.Swap)} swapped; {Kind(InterventionKind.None)} untouched."
            );
        }
        if (Loading is { Steps: [.., var last] } && double.IsFinite(last.InputWeight))
        {
            lines.Add(
                double.IsNaN(last.FeedbackWeight)
                    ? $"Input enters the newest variable {Times(last.InputWeight)}; nothing feeds back into it meanwhile."
                    : FormattableString.Invariant(
                        $"Input enters the newest variable {Times(last.InputWeight)}, what f feeds back {Times(last.FeedbackWeight)}: the sign is the input's in {last.SignRight:P0}."
                    )
            );
        }

        return lines;
    }

    /// <summary>Which cycles a network has whose spectrum is not the circuit's.</summary>
    private string Partly()
    {
        if (Cycles is not { Learned: > 0 } cycles)
            return "";
        var lacking = cycles
            .All.Where(c => c.Learned < c.Count)
            .Select(c => c.Count == 1 ? $"{c.Length}" : $"{c.Length} ({c.Count - c.Learned} of {c.Count})")
            .ToList();
        var without =
            lacking.Count == 0
                ? ""
                : $", without {(lacking.Count == 1 ? "that" : "those")} of length {string.Join(", ", lacking)}";
        return FormattableString.Invariant(
            $"; among them are {cycles.Learned} of the circuit's {cycles.Count} cycles, {cycles.Error:F5} rad off{without}"
        );
    }

    public void Dispose()
    {
        Memories?.Dispose();
        Decomposition?.Dispose();
    }

    private static string Times(double factor) =>
        Math.Abs(factor) < 1e4
            ? FormattableString.Invariant($"{factor:F2} times")
            : FormattableString.Invariant($"{factor:G3} times");

    private double Measure(ElmanRnn network, AnalysisOptions options)
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator(12345, CPU);
        using var data = new VariableBinding(Task, ScalarType.Float64, CPU);
        double right = 0;
        int left = options.TestSequences;
        while (left > 0)
        {
            using var inner = NewDisposeScope();
            int batch = Math.Min(64, left);
            var (input, target) = data.Batch(batch, options.TestHorizon, generator);
            var output = network.forward(input, Task.S + options.TestHorizon, Task.S);
            right += batch * Matrices.Values(output.ge(0).eq(target.ge(0)).to_type(ScalarType.Float64).mean())[0];
            left -= batch;
        }
        return right / options.TestSequences;
    }

    /// <summary>The fixed point nearest to the mean of the states that the network visits.</summary>
    private FixedPoint? FindRest(ElmanRnn network)
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator(2, CPU);
        using var data = new VariableBinding(Task, ScalarType.Float64, CPU);
        var (input, _) = data.Batch(64, 1, generator);
        var states = network
            .HiddenStates(input, 5 * Task.S)
            .narrow(0, Task.S, 4 * Task.S)
            .reshape(-1, Weights.HiddenSize);
        var mean = states.mean([0L], keepdim: true);
        var starts = cat([mean, zeros_like(mean), states.narrow(0, 0, Math.Min(14, states.shape[0]))]);
        var found = FixedPoints.Find(network, starts);
        var middle = Matrices.Values(mean);
        var nearest = found
            .Points.OrderBy(p => p.State.Zip(middle, (a, b) => (a - b) * (a - b)).Sum())
            .FirstOrDefault();
        if (nearest is null)
        {
            _problems.Add(
                $"The network has a bias, and no fixed point was found from {found.Starts} starts: there is no "
                    + "resting state to linearise it at, so its spectrum and variable memories can't be read."
            );
        }

        return nearest;
    }

    /// <summary>The network linearised at h*: J = diag(1 − h*²) W_hh, and W_uh alike (Appendix C).</summary>
    private NetworkWeights Linearized(Tensor rest)
    {
        var slope = (1 - rest.square()).unsqueeze(1);
        return new(slope * Weights.WeightIh, slope * Weights.WeightHh, Weights.Readout);
    }
}
