using System.Globalization;
using System.Text.Json.Nodes;
using EmtTorch.Models;
using EmtTorch.Tasks;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Analysis;

/// <summary>
/// The states in which a trained network keeps the bits of <see cref="FlipFlop"/> (Sussillo and Barak 2013). Without
/// input each of the 2^d patterns should be a stable fixed point, whose readout has the signs of the pattern. Pulses
/// lead from one to another past the unstable points between them.
/// </summary>
/// <example><code>
/// var states = FlipFlopStates.Find(network);
/// Console.WriteLine($"{states.Patterns.Count} of {states.PatternCount} patterns are kept");
/// </code></example>
public sealed class FlipFlopStates
{
    private const int Sequences = 128,
        Steps = 64,
        Drawn = 16;

    private FlipFlopStates(int bits) => PatternCount = Math.Pow(2, bits);

    /// <summary>Some trajectories in the principal components: (Drawn, Steps, components).</summary>
    internal double[][][] Trajectories { get; private init; } = [];

    /// <summary>The share of output bits with the right sign, over the visited sequences.</summary>
    public double Accuracy { get; private init; }

    /// <summary>The fixed points without input.</summary>
    public FixedPoints FixedPoints { get; private init; } = null!;

    /// <summary>For each fixed point the signs of the outputs there: "+-+", the first bit first.</summary>
    public IReadOnlyList<string> Signs { get; private init; } = [];

    /// <summary>The number of stable fixed points of each pattern that has any.</summary>
    public IReadOnlyDictionary<string, int> Patterns { get; private init; } = new Dictionary<string, int>();

    /// <summary>2^d, the number of patterns.</summary>
    public double PatternCount { get; }

    /// <summary>Whether every pattern has exactly one stable fixed point.</summary>
    public bool IsComplete => Patterns.Count == PatternCount && Patterns.Values.All(n => n == 1);

    /// <summary>
    /// The fixed points in the first principal components of the visited states (at most three), from their mean.
    /// </summary>
    public IReadOnlyList<IReadOnlyList<double>> Projected { get; private init; } = [];

    /// <summary>The share of the variance of visited states in each of these components.</summary>
    public IReadOnlyList<double> Variance { get; private init; } = [];

    /// <summary>Finds the fixed points, and reads their patterns.</summary>
    /// <param name="network">A network trained on flip_flop. Its inputs are the bits.</param>
    /// <param name="starts">The number of starts: states visited on 128 sequences of 64 steps, with noise.</param>
    /// <param name="noise">The standard deviation of the noise; 0.5 as in the example of FixedPointFinder.</param>
    /// <param name="seed">The same seed gives the same sequences and starts.</param>
    /// <param name="options">The search for fixed points. Null: the defaults.</param>
    /// <exception cref="ArgumentException">There are no starts, the noise is negative, the weights are not finite, or
    /// an option is out of its range.</exception>
    public static FlipFlopStates Find(
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
        var (input, target) = new FlipFlop(bits, weights.dtype, CPU).Batch(Sequences, Steps, generator);
        var hidden = network.HiddenStates(input.to(weights.device), Steps); // (T, B, H)
        var right = network.ReadOut(hidden).cpu().ge(0).eq(target.ge(0));
        var visited = hidden.cpu().to_type(ScalarType.Float64);
        var found = FixedPoints.Find(network, FixedPoints.DrawStarts(visited, starts, noise, seed), options: options);

        var signs = ReadSigns(network, found, bits);
        var flat = visited.reshape(-1, visited.shape[2]);
        var mean = flat.mean([0L]);
        var centred = flat - mean;
        var (directions, squares) = Matrices.PrincipalComponents(centred);
        int kept = Math.Min(3, squares.Length);
        var axes = directions.narrow(1, 0, kept); // (H, kept)
        var (axesRows, centre) = (Matrices.Rows(axes.t()), Matrices.Values(mean));
        // (Drawn, T, kept)
        var lines = centred.mm(axes).view(Steps, Sequences, kept).narrow(1, 0, Drawn).transpose(0, 1).contiguous();
        return new(bits)
        {
            Accuracy = Matrices.Values(right.to_type(ScalarType.Float64).mean())[0],
            FixedPoints = found,
            Signs = signs,
            Patterns = found
                .Points.Zip(signs)
                .Where(p => p.First.IsStable)
                .GroupBy(p => p.Second)
                .OrderBy(g => g.Key, StringComparer.Ordinal)
                .ToDictionary(g => g.Key, g => g.Count()),
            Projected =
            [
                .. found.Points.Select(p =>
                    axesRows.Select(axis => axis.Select((a, i) => a * (p.State[i] - centre[i])).Sum()).ToArray()
                ),
            ],
            Trajectories = [.. Enumerable.Range(0, Drawn).Select(k => Matrices.Rows(lines[k]))],
            Variance = [.. squares.Take(kept).Select(v => v / squares.Sum())],
        };
    }

    // The signs of y at each point. In plain loops, since there may be no point, and then no tensor of points.
    private static string[] ReadSigns(ElmanRnn network, FixedPoints found, int bits)
    {
        var readout = Matrices.Rows(network.ReadoutWeights);
        double[] bias = network.ReadoutBias is { } b ? Matrices.Values(b) : new double[bits];
        return
        [
            .. found.Points.Select(p =>
                string.Concat(
                    readout.Select((row, i) => row.Zip(p.State, (w, h) => w * h).Sum() + bias[i] >= 0 ? '+' : '-')
                )
            ),
        ];
    }
}
