using System.Numerics;
using EmtTorch.Tasks;
using EmtTorch.Training;
using static TorchSharp.torch;

namespace EmtTorch.Analysis;

/// <summary>Eigenvalues of theory and of a learned matrix, and how well they agree.</summary>
/// <param name="Theory">All eigenvalues of Φ.</param>
/// <param name="Learned">All eigenvalues of W_hh, or of the Jacobian that stands in its place.</param>
/// <param name="Threshold">Those of greater magnitude are counted and matched.</param>
/// <param name="Pairs">Indices into Theory and Learned of the matched ones; none where the counts differ.</param>
/// <param name="Error">The mean absolute difference of the matched arguments, in radians; null where the counts
/// differ.</param>
public sealed record SpectralComparison(
    IReadOnlyList<Complex> Theory,
    IReadOnlyList<Complex> Learned,
    double Threshold,
    IReadOnlyList<(int Theory, int Learned)> Pairs,
    double? Error
)
{
    /// <summary>Eigenvalues of Φ above the threshold.</summary>
    public int CountTheory => Theory.Count(z => z.Magnitude > Threshold);

    /// <summary>Learned eigenvalues above the threshold.</summary>
    public int CountLearned => Learned.Count(z => z.Magnitude > Threshold);
}

/// <summary>The spectral error of a trained network (spec: the published Table 1's measure).</summary>
public static class Spectrum
{
    /// <summary>All eigenvalues of a square matrix.</summary>
    /// <exception cref="ArgumentException">It is not square, or a number in it is not finite.</exception>
    public static Complex[] Eigenvalues(Tensor matrix)
    {
        if (matrix.shape is not [var n, var m] || n != m)
        {
            throw new ArgumentException(
                $"eigenvalues are those of a square matrix, not of ({string.Join(", ", matrix.shape)})",
                nameof(matrix)
            );
        }

        if (!Matrices.IsFinite(matrix))
            throw new ArgumentException("the matrix has numbers that are not finite", nameof(matrix));
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        return Matrices.ComplexValues(linalg.eigvals(matrix.to_type(ScalarType.Float64)));
    }

    /// <summary>
    /// Matches the eigenvalues above the threshold one to one so that the sum of the differences of their arguments is
    /// least (an optimal assignment). Differences are taken around the circle: −π and π are the same.
    /// </summary>
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
            [.. match.Select((j, i) => (a[i], b[j]))],
            match.Select((j, i) => cost[i, j]).Average()
        );
    }

    /// <summary>
    /// What a run writes into metrics.jsonl at each test. With a bias W_hh's own eigenvalues say nothing (<see
    /// cref="NetworkAnalysis.Rest"/>): null then.
    /// </summary>
    internal static SpectrumReader Reader(LinearBinding task)
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

    internal static double AngleBetween(Complex a, Complex b)
    {
        double difference = Math.Abs(a.Phase - b.Phase);
        return Math.Min(difference, 2 * Math.PI - difference);
    }
}
