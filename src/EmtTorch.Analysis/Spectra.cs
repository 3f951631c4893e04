using System.Numerics;
using EmtTorch.Tasks;
using EmtTorch.Training;
using static TorchSharp.torch;

namespace EmtTorch.Analysis;

/// <summary>The eigenvalues of theory and of a learned matrix, and their difference.</summary>
/// <param name="Theory">All eigenvalues of Φ.</param>
/// <param name="Learned">All eigenvalues of W_hh, or of the Jacobian that replaces it.</param>
/// <param name="Threshold">Eigenvalues of greater magnitude are counted and matched.</param>
/// <param name="Pairs">The indices of matched eigenvalues in Theory and Learned. Empty if the counts differ.</param>
/// <param name="Error">The mean absolute difference of matched arguments, in radians, or null.</param>
public sealed record SpectralComparison(
    IReadOnlyList<Complex> Theory,
    IReadOnlyList<Complex> Learned,
    double Threshold,
    IReadOnlyList<EigenvaluePair> Pairs,
    double? Error
)
{
    /// <summary>
    /// The same error by the matching of the authors' code, or null: every learned eigenvalue, in the order of the
    /// decomposition, takes the nearest of those of theory that are left. It is never below <see cref="Error"/>, and
    /// depends on that order.
    /// </summary>
    public double? GreedyError { get; init; }

    /// <summary>Eigenvalues of Φ above the threshold.</summary>
    public int CountTheory => Theory.Count(z => z.Magnitude > Threshold);

    /// <summary>Learned eigenvalues above the threshold.</summary>
    public int CountLearned => Learned.Count(z => z.Magnitude > Threshold);
}

/// <summary>A matched pair of eigenvalues.</summary>
/// <param name="Theory">The index of the one of theory.</param>
/// <param name="Learned">The index of the learned one.</param>
public readonly record struct EigenvaluePair(int Theory, int Learned);

/// <summary>Eigenvalues, and the spectral error of a trained network (the measure of Table 1 of the paper).</summary>
/// <example><code>
/// var theory = Spectra.Eigenvalues(Circuit.Phi(LinearBinding.Named("t1")));
/// var comparison = Spectra.Compare(theory, Spectra.Eigenvalues(weights.WeightHh));
/// Console.WriteLine(comparison.Error);   // radians, or null
/// </code></example>
public static class Spectra
{
    /// <summary>All eigenvalues of a square matrix.</summary>
    /// <param name="matrix">(n, n), of any floating type, on any device.</param>
    /// <exception cref="ArgumentException">It is not square, or a number is not finite.</exception>
    public static Complex[] Eigenvalues(Tensor matrix)
    {
        Require.Shape(matrix, [Require.Any, Require.Any]);
        Require.Shape(matrix, [matrix.shape[0], matrix.shape[0]]);
        Matrices.RequireFinite(matrix);
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        return Matrices.ComplexValues(linalg.eigvals(matrix.to_type(ScalarType.Float64)));
    }

    /// <summary>
    /// Matches the eigenvalues above the threshold one to one, with the smallest sum of differences of their arguments
    /// (an optimal assignment). Differences are taken around the circle: −π and π are the same.
    /// </summary>
    /// <param name="theory">All eigenvalues of Φ.</param>
    /// <param name="learned">All learned eigenvalues.</param>
    /// <param name="threshold">Eigenvalues of greater magnitude are counted and matched.</param>
    public static SpectralComparison Compare(
        IReadOnlyList<Complex> theory,
        IReadOnlyList<Complex> learned,
        double threshold = 0.9
    )
    {
        int[] Above(IReadOnlyList<Complex> values) =>
            [.. Enumerable.Range(0, values.Count).Where(i => values[i].Magnitude > threshold)];
        int[] a = Above(theory),
            b = Above(learned);
        if (a.Length != b.Length || a.Length == 0)
            return new(theory, learned, threshold, [], null);
        var cost = new double[a.Length, a.Length];
        for (int i = 0; i < a.Length; i++)
        {
            for (int j = 0; j < a.Length; j++)
                cost[i, j] = AngleBetween(theory[a[i]], learned[b[j]]);
        }

        var match = Assignment.Solve(cost);
        return new(
            theory,
            learned,
            threshold,
            [.. match.Select((j, i) => new EigenvaluePair(a[i], b[j]))],
            match.Select((j, i) => cost[i, j]).Average()
        )
        {
            GreedyError = GreedyError(cost),
        };
    }

    /// <summary>The mean cost where each column takes the cheapest row that is left.</summary>
    private static double GreedyError(double[,] cost)
    {
        var left = Enumerable.Range(0, cost.GetLength(0)).ToList();
        double sum = 0;
        for (int j = 0; j < cost.GetLength(1); j++)
        {
            int nearest = left.MinBy(i => cost[i, j]);
            left.Remove(nearest);
            sum += cost[nearest, j];
        }
        return sum / cost.GetLength(1);
    }

    /// <summary>
    /// Creates the function that a run calls at each test for the spectral error in metrics.jsonl. It returns null for
    /// a network with a bias: W_hh then has to be linearised first (<see cref="NetworkAnalysis.Rest"/>).
    /// </summary>
    /// <param name="task">The task, which gives Φ.</param>
    internal static SpectrumReader CreateReader(LinearBinding task)
    {
        var theory = Eigenvalues(Circuit.Phi(task));
        return network =>
        {
            using var scope = NewDisposeScope();
            if (network.RecurrentBias is not null || !Matrices.IsFinite(network.RecurrentWeights))
                return null;
            var spectrum = Compare(theory, Eigenvalues(network.RecurrentWeights.cpu()));
            return (spectrum.Error, spectrum.CountLearned);
        };
    }

    /// <summary>The absolute difference of two arguments around the circle, in radians.</summary>
    internal static double AngleBetween(Complex a, Complex b)
    {
        double difference = Math.Abs(a.Phase - b.Phase);
        return Math.Min(difference, 2 * Math.PI - difference);
    }
}
