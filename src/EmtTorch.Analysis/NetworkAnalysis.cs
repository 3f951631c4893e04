using System.Numerics;
using EmtTorch.Models;
using EmtTorch.Settings;
using EmtTorch.Tasks;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Analysis;

/// <summary>How much the analyses of a network measure, and with which settings.</summary>
public sealed record AnalysisOptions
{
    public VariableMemoryOptions Memories { get; init; } = new();
    public InterventionOptions Interventions { get; init; } = new();

    /// <summary>The sequence that the report shows, as <see cref="ExampleInput.Parse"/> reads it.</summary>
    public string Input { get; init; } = ExampleInput.Default;

    /// <summary>Steps of the output phase over which accuracy is measured, as in the published table.</summary>
    public int TestHorizon { get; init; } = 200;

    /// <summary>Sequences for the accuracy: 10 batches of 64.</summary>
    public int TestSequences { get; init; } = 640;
}

/// <summary>The figures of one grounding; all null but the problem if it cannot be had.</summary>
/// <param name="Grounding">Which one.</param>
/// <param name="PhiError">How far Ψ* W_hh Ψ is from Φ, relative to Φ, after the eigenvalues are scaled.</param>
/// <param name="PhiErrorUnscaled">The same without scaling.</param>
/// <param name="Condition">The condition number of Ψ.</param>
/// <param name="InterventionAccuracy">The share of output bits as predicted after interventions, 0 to 1.</param>
/// <param name="Problem">Why the grounding cannot be had; null if it can.</param>
public sealed record GroundingResult(
    Grounding Grounding,
    double? PhiError,
    double? PhiErrorUnscaled,
    double? Condition,
    double? InterventionAccuracy,
    string? Problem
)
{
    /// <summary>The same share of the bits that an intervention changes.</summary>
    public double? ChangedBitsAccuracy { get; init; }
}

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

/// <summary>One sequence through a network, over T steps.</summary>
/// <param name="Hidden">h(t) (T, H).</param>
/// <param name="Contents">Ψ* h(t) (T, s·κ); null without variable memories.</param>
/// <param name="Outputs">y(t) (T, κ).</param>
public sealed record NetworkRun(double[][] Hidden, double[][]? Contents, double[][] Outputs);

/// <summary>
/// Everything that the theory says of one trained network: spectrum, variable memories, interventions, loading. Figures
/// that cannot be computed are null, with the reason in <see cref="Problems"/>.
/// </summary>
/// <example><code>
/// var weights = NetworkWeights.Load("weights.safetensors");
/// using var analysis = NetworkAnalysis.Of(weights, LinearBinding.Named("t4"));
/// Console.WriteLine($"{analysis.Spectrum?.Error} rad, {analysis.Memories?.PhiError:P1}");
/// </code></example>
public sealed class NetworkAnalysis : IDisposable
{
    /// <summary>A Φ error this large says that there is no circuit: it is 1 if Φ_learned is 0.</summary>
    internal const double NoCircuit = 1;

    private const int PhiErrorDraws = 5;

    private readonly List<string> _problems = [];

    private NetworkAnalysis(NetworkWeights weights, LinearBinding task) => (Weights, Task) = (weights, task);

    /// <summary>The network; not a copy.</summary>
    public NetworkWeights Weights { get; }

    public LinearBinding Task { get; }

    /// <summary>Share of output bits with the right sign on fresh sequences at the test's horizon.</summary>
    public double? Accuracy { get; private set; }

    public SpectralComparison? Spectrum { get; private set; }

    /// <summary>Which cycles of the circuit it has.</summary>
    public CycleComparison? Cycles { get; private set; }

    /// <summary>The null of both: as many persistent eigenvalues at random angles.</summary>
    public SpectralNull? SpectrumNull { get; private set; }

    public VariableMemories? Memories { get; private set; }

    /// <summary>
    /// The null of the memories' Φ error: the smallest of five draws of random input and output weights beside the same
    /// W_hh, which is what the spectrum gives alone. Null if no memories are found then.
    /// </summary>
    public double? PhiErrorNull { get; private set; }

    /// <summary>All groundings; <see cref="Memories"/> uses one of them.</summary>
    public IReadOnlyList<GroundingResult> Groundings { get; private set; } = [];

    public IReadOnlyList<InterventionResult> Interventions { get; private set; } = [];

    public LoadingResult? Loading { get; private set; }

    /// <summary>W_hh in the basis [Ψ; Ψ⊥]: the live entries first, then Ψ⊥.</summary>
    public MemoryDecomposition? Decomposition { get; private set; }

    public InteractionBlocks? Blocks { get; private set; }

    /// <summary>The null of the blocks: the same basis, turned by a random rotation of the hidden space.</summary>
    public InteractionBlocks? BlocksNull { get; private set; }

    /// <summary>The fixed point at which a network with a bias is linearised; null: it is linearised at 0.</summary>
    public FixedPoint? Rest { get; private set; }

    /// <summary>What cannot be computed or trusted, and why.</summary>
    public IReadOnlyList<string> Problems => _problems;

    /// <summary>The mean accuracy of interventions under the chosen grounding.</summary>
    public double? InterventionAccuracy =>
        Groundings.FirstOrDefault(g => g.Grounding == Memories?.Grounding)?.InterventionAccuracy;

    /// <summary>Analyses a network.</summary>
    /// <param name="weights">The network; it stays the caller's.</param>
    /// <param name="task">The task that it was trained on.</param>
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
            analysis._problems.Add(OtherDimension(weights, task.D));
        }
        else
        {
            analysis.Compute(options);
        }
        return analysis;
    }

    /// <summary>Says that a network cannot be of a task, whose variables have d numbers.</summary>
    internal static string OtherDimension(NetworkWeights weights, int d) =>
        $"Nothing can be compared: the network's inputs have {weights.Dimension} numbers, the task's variables {d}.";

    private void Compute(AnalysisOptions options)
    {
        using var scope = NewDisposeScope();
        using var network = Weights.ToNetwork();
        Accuracy = MeasureAccuracy(network, options);

        var linear = Weights;
        Tensor? rest = null;
        if (Weights.Bias is not null)
        {
            Rest = FindRest(network);
            if (Rest is null)
                return;
            rest = tensor(Rest.State.ToArray());
            linear = Linearize(rest);
        }
        CompareSpectra(linear, options.Memories.SpectralThreshold);
        if (!FindMemories(network, linear, rest, options))
            return;
        _problems.AddRange(Memories!.Problems);
        if (Memories.PhiError >= NoCircuit)
        {
            _problems.Add(
                FormattableString.Invariant(
                    $"In this basis W_hh is not the circuit's Φ: it is {Memories.PhiError:P0} off, "
                ) + "and 0 would be 100 % off. Contents, interventions and loading then say nothing about variables."
            );
        }
        Loading = VariableLoading.Measure(network, Task, Memories, rest: rest);
        Decompose(network, linear, rest);
    }

    private double? MeasurePhiErrorNull(NetworkWeights linear, AnalysisOptions options)
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator(1, CPU);
        Tensor Random(Tensor like)
        {
            var drawn = randn(like.shape, dtype: ScalarType.Float64, generator: generator);
            return drawn * (like.norm() / drawn.norm());
        }
        double? Draw()
        {
            using var inner = NewDisposeScope();
            try
            {
                var random = linear with { WeightIh = Random(linear.WeightIh), Readout = Random(linear.Readout) };
                var sameWay = options.Memories with { Grounding = Memories!.Grounding };
                return VariableMemories.Find(random, Task, sameWay).PhiError;
            }
            catch (AnalysisException)
            {
                return null;
            }
        }
        return Enumerable.Range(0, PhiErrorDraws).Min(_ => Draw());
    }

    private void CompareSpectra(NetworkWeights linear, double threshold)
    {
        Spectrum = Spectra.Compare(
            Spectra.Eigenvalues(Circuit.Phi(Task)),
            Spectra.Eigenvalues(linear.WeightHh),
            threshold
        );
        Cycles = CycleComparison.Find(Task, Spectrum.Learned, threshold);
        SpectrumNull = SpectralNull.Measure(Spectrum, Task);
        if (Spectrum.Error is null)
        {
            _problems.Add(
                $"No spectral error: above {Spectrum.Threshold} in magnitude theory has {Spectrum.CountTheory} of "
                    + $"the eigenvalues, the network {Spectrum.CountLearned}."
            );
        }
    }

    /// <summary>Finds the variable memories and tries all groundings.</summary>
    /// <returns>Whether there are variable memories.</returns>
    private bool FindMemories(ElmanRnn network, NetworkWeights linear, Tensor? rest, AnalysisOptions options)
    {
        string? none = null;
        IReadOnlyList<InterventionResult> Intervene(VariableMemories memories) =>
            VariableInterventions.Measure(network, Task, memories, options.Interventions, rest);
        try
        {
            Memories = VariableMemories.Find(linear, Task, options.Memories);
            Memories.MoveToOuterDisposeScope();
            Interventions = Intervene(Memories);
            PhiErrorNull = MeasurePhiErrorNull(linear, options);
        }
        catch (AnalysisException e)
        {
            none = e.Message;
        }
        GroundingResult Try(Grounding grounding)
        {
            GroundingResult Result(VariableMemories memories, IReadOnlyList<InterventionResult> interventions) =>
                new(
                    grounding,
                    memories.PhiError,
                    memories.PhiErrorUnscaled,
                    memories.Condition,
                    VariableInterventions.MeanAccuracy(interventions),
                    null
                )
                {
                    ChangedBitsAccuracy = VariableInterventions.MeanAffectedAccuracy(interventions),
                };
            if (Memories?.Grounding == grounding)
                return Result(Memories, Interventions);
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
                return Result(memories, Intervene(memories));
            }
            catch (AnalysisException e)
            {
                return new(grounding, null, null, null, null, e.Message);
            }
        }
        Groundings = [.. Enum.GetValues<Grounding>().Select(Try)];
        if (Memories is null)
            _problems.Add($"No variable memories: {none}.");
        return Memories is not null;
    }

    /// <summary>W_hh in the basis [Ψ; Ψ⊥], with Ψ⊥ from states of the output phase.</summary>
    private void Decompose(ElmanRnn network, NetworkWeights linear, Tensor? rest)
    {
        if (Memories!.Live.Count > Memories.PersistentRank)
        {
            _problems.Add("No picture of W_hh in the variable memories: their columns are dependent.");
            return;
        }
        var states = VisitStates(network, seed: 3);
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
        Blocks = MeasureBlocks(Decomposition);
        using var generator = new Generator(1, CPU);
        var rotation = Initialization.Orthonormal(Weights.HiddenSize, Weights.HiddenSize, generator);
        BlocksNull = MeasureBlocks(MemoryDecomposition.Compute(linear.WeightHh, matmul(rotation, Decomposition.Basis)));
    }

    private InteractionBlocks MeasureBlocks(MemoryDecomposition decomposition)
    {
        long m = Memories!.Live.Count,
            rest = Weights.HiddenSize - m;
        double Block(long row, long rows, long column, long columns) =>
            Matrices.Norm(decomposition.Interactions.narrow(0, row, rows).narrow(1, column, columns));
        return new(Block(0, m, 0, m), Block(0, m, m, rest), Block(m, rest, 0, m), Block(m, rest, m, rest));
    }

    /// <summary>h(t) of 64 random sequences over four periods of the output phase (4 s, 64, H).</summary>
    private Tensor VisitStates(ElmanRnn network, ulong seed)
    {
        using var generator = new Generator(seed, CPU);
        using var data = new VariableBinding(Task, ScalarType.Float64, CPU);
        var (input, _) = data.Batch(64, 1, generator);
        return network.HiddenStates(input, 5 * Task.S).narrow(0, Task.S, 4 * Task.S);
    }

    /// <summary>Runs one input sequence through the network.</summary>
    /// <param name="input">(s, κ).</param>
    /// <param name="steps">All steps, T ≥ s.</param>
    public NetworkRun Run(double[][] input, int steps)
    {
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        using var network = Weights.ToNetwork();
        var u = stack(input.Select(row => tensor(row)).ToList()).unsqueeze(1); // (s, 1, κ)
        var hidden = network.HiddenStates(u, steps);
        var contents = Memories?.Contents((Rest is null ? hidden : hidden - tensor(Rest.State.ToArray())).squeeze(1));
        return new(
            Matrices.Rows(hidden.squeeze(1)),
            contents is null ? null : Matrices.Rows(contents),
            Matrices.Rows(network.ReadOut(hidden).squeeze(1))
        );
    }

    public void Dispose()
    {
        Memories?.Dispose();
        Decomposition?.Dispose();
    }

    private double MeasureAccuracy(ElmanRnn network, AnalysisOptions options)
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
        var states = VisitStates(network, seed: 2).reshape(-1, Weights.HiddenSize);
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
                    + "resting state to linearise it at, so its spectrum and variable memories cannot be read."
            );
        }

        return nearest;
    }

    /// <summary>The network linearised at h*: J = diag(1 − h*²) W_hh, and W_uh alike (Appendix C).</summary>
    private NetworkWeights Linearize(Tensor rest)
    {
        var slope = (1 - rest.square()).unsqueeze(1);
        return new(slope * Weights.WeightIh, slope * Weights.WeightHh, Weights.Readout);
    }
}
