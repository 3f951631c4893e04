using System.Globalization;
using System.Text.Json.Nodes;
using EmtTorch.Models;
using EmtTorch.Tasks;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Analysis;

/// <summary>
/// How a trained network keeps the bits of <see cref="FlipFlop"/> (Sussillo and Barak 2013): each of the 2^d patterns
/// is to be a stable fixed point without input, which the readout reads as the pattern's signs; pulses lead from one to
/// another past the unstable ones between them.
/// </summary>
/// <example><code>
/// var states = FlipFlopStates.Of(network);
/// Console.WriteLine($"{states.Patterns.Count} of {states.PatternCount} patterns are kept");
/// </code></example>
public sealed class FlipFlopStates
{
    private const int Sequences = 128,
        Steps = 64,
        Drawn = 16;

    /// <summary>Drawn sequences × steps × components.</summary>
    internal double[][][] Trajectories { get; }

    private FlipFlopStates(
        FixedPoints fixedPoints,
        IReadOnlyList<string> signs,
        IReadOnlyDictionary<string, int> patterns,
        int bits,
        double[][] projected,
        double[][][] trajectories,
        double[] variance
    )
    {
        (FixedPoints, Signs, Patterns, PatternCount, Projected, Trajectories, Variance) = (
            fixedPoints,
            signs,
            patterns,
            Math.Pow(2, bits),
            projected,
            trajectories,
            variance
        );
    }

    /// <summary>The fixed points without input.</summary>
    public FixedPoints FixedPoints { get; }

    /// <summary>
    /// For each fixed point, in their order, the signs of the outputs there: "+-+", the first bit first.
    /// </summary>
    public IReadOnlyList<string> Signs { get; }

    /// <summary>How many stable fixed points each pattern of signs has; patterns without any are not in it.</summary>
    public IReadOnlyDictionary<string, int> Patterns { get; }

    /// <summary>2^d, how many patterns there are.</summary>
    public double PatternCount { get; }

    /// <summary>Whether every pattern has exactly one stable fixed point.</summary>
    public bool IsComplete => Patterns.Count == PatternCount && Patterns.Values.All(n => n == 1);

    /// <summary>
    /// The fixed points in the first principal components (three, or H if that is less) of the visited states, from
    /// their mean.
    /// </summary>
    public IReadOnlyList<IReadOnlyList<double>> Projected { get; }

    /// <summary>The share of the visited states' variance that each of these components has.</summary>
    public IReadOnlyList<double> Variance { get; }

    /// <summary>Finds the fixed points and reads them.</summary>
    /// <param name="network">A network trained on flip_flop; its inputs are the bits.</param>
    /// <param name="starts">How many starts: states visited on 128 sequences of 64 steps, with noise.</param>
    /// <param name="noise">The noise's standard deviation; 0.5 as in FixedPointFinder's example.</param>
    /// <param name="seed">The same seed gives the same sequences and starts.</param>
    /// <param name="options">Null: the defaults.</param>
    /// <exception cref="ArgumentException">Fewer than one start, a negative noise, weights that are not finite, or an
    /// option that makes no sense.</exception>
    public static FlipFlopStates Of(
        ElmanRnn network,
        int starts = 1024,
        double noise = 0.5,
        ulong seed = 1,
        FixedPointOptions? options = null
    )
    {
        using var quiet = no_grad();
        using var scope = NewDisposeScope();
        var weights = network.RecurrentWeights;
        int bits = (int)network.InputWeights.shape[1];
        using var generator = new Generator(seed);
        var input = new FlipFlop(bits, weights.dtype, CPU).Batch(Sequences, Steps, generator).Input;
        // (T, B, H)
        var visited = network.HiddenStates(input.to(weights.device), Steps).cpu().to_type(ScalarType.Float64);
        var found = FixedPoints.Find(network, FixedPoints.StartsFrom(visited, starts, noise, seed), options: options);

        // y at each point; in plain loops, since there may be no point, and then no tensor of points.
        var readout = Rows(network.ReadoutWeights.cpu());
        double[] bias = network.ReadoutBias is { } b
            ? [.. b.cpu().to_type(ScalarType.Float64).data<double>()]
            : new double[bits];
        string[] signs =
        [
            .. found.Points.Select(p =>
                string.Concat(
                    readout.Select((row, i) => row.Zip(p.State, (w, h) => w * h).Sum() + bias[i] >= 0 ? '+' : '-')
                )
            ),
        ];
        var patterns = found
            .Points.Zip(signs)
            .Where(p => p.First.IsStable)
            .GroupBy(p => p.Second)
            .OrderBy(g => g.Key, StringComparer.Ordinal)
            .ToDictionary(g => g.Key, g => g.Count());

        var flat = visited.reshape(-1, visited.shape[2]);
        var mean = flat.mean([0L]);
        var centred = flat - mean;
        var (directions, squares) = Matrices.PrincipalComponents(centred);
        int kept = Math.Min(3, squares.Length);
        var axes = directions.narrow(1, 0, kept); // (H, kept)
        double[] variance = [.. squares.Take(kept).Select(v => v / squares.Sum())];
        var (axesRows, centre) = (Rows(axes.t().contiguous()), mean.data<double>().ToArray());
        double[][] projected =
        [
            .. found.Points.Select(p =>
                axesRows.Select(axis => axis.Select((a, i) => a * (p.State[i] - centre[i])).Sum()).ToArray()
            ),
        ];
        // (Drawn, T, kept)
        var lines = centred.mm(axes).view(Steps, Sequences, kept).narrow(1, 0, Drawn).transpose(0, 1).contiguous();
        double[][][] trajectories = [.. Enumerable.Range(0, Drawn).Select(k => Rows(lines[k]))];
        return new(found, signs, patterns, bits, projected, trajectories, variance);
    }

    private static double[][] Rows(Tensor matrix)
    {
        double[] flat = [.. matrix.to_type(ScalarType.Float64).contiguous().data<double>()];
        return [.. flat.Chunk((int)matrix.shape[1])];
    }
}
