using System.Numerics;
using EmtTorch.Tasks;
using static TorchSharp.torch;

namespace EmtTorch.Analysis;

/// <summary>A part of the circuit that moves by itself, and its copies.</summary>
/// <param name="Length">The number of its persistent eigenvalues: in a signed permutation the steps after which its
/// content returns, up to its sign.</param>
/// <param name="Eigenvalues">These eigenvalues.</param>
/// <param name="Count">The number of the circuit's cycles with these eigenvalues.</param>
/// <param name="Learned">The number of them in the network.</param>
public sealed record Cycle(int Length, IReadOnlyList<Complex> Eigenvalues, int Count, int Learned);

/// <summary>
/// The parts of the circuit that a network has. Φ consists of cycles, the strongly connected components of its graph,
/// and its spectrum is the union of theirs. A network with another spectrum may still have some of the cycles: in T2,
/// whose cycles have lengths 1 to 8, for example all except the longest.
/// </summary>
/// <param name="All">The cycles, shortest first.</param>
/// <param name="Error">The mean absolute difference of the learned cycles' arguments, in radians, or null.</param>
/// <param name="Left">The number of the network's persistent eigenvalues outside all cycles.</param>
public sealed record CycleComparison(IReadOnlyList<Cycle> All, double? Error, int Left)
{
    /// <summary>The largest difference between eigenvalues of a learned cycle and of the network, in radians.</summary>
    public const double Tolerance = 0.05;

    /// <summary>The search gives up if there are more choices of cycles.</summary>
    private const int MostChoices = 5_000;

    /// <summary>The number of cycles in the circuit.</summary>
    public int Count => All.Sum(c => c.Count);

    /// <summary>The number of them in the network.</summary>
    public int Learned => All.Sum(c => c.Learned);

    /// <summary>
    /// Finds the cycles that explain the most eigenvalues, each within <see cref="Tolerance"/> of a different
    /// eigenvalue of the network. Among several such choices it takes the one with the smallest error.
    /// </summary>
    /// <param name="task">The task, which gives Φ.</param>
    /// <param name="learned">The network's eigenvalues.</param>
    /// <param name="threshold">Eigenvalues of greater magnitude are persistent.</param>
    /// <returns>The cycles, or null if there are too many choices.</returns>
    public static CycleComparison? Find(LinearBinding task, IReadOnlyList<Complex> learned, double threshold = 0.9)
    {
        var cycles = FindCycles(task, threshold);
        Complex[] own = [.. learned.Where(z => z.Magnitude > threshold)];
        // A number of copies that does not fit alone does not fit beside other cycles.
        int[] most =
        [
            .. cycles.Select(c =>
                Enumerable
                    .Range(1, c.Count)
                    .TakeWhile(n => n * c.Length <= own.Length && MatchError(Copies(c, n), own) is not null)
                    .LastOrDefault()
            ),
        ];
        if (most.Aggregate(1.0, (product, n) => product * (n + 1)) > MostChoices)
            return null;
        (int Size, double Error, int[] Counts) best = (0, 0, new int[cycles.Count]);
        foreach (
            var (size, counts) in Choices(most)
                .Select(c => (Size: c.Zip(cycles, (n, cycle) => n * cycle.Length).Sum(), c))
                .Where(c => c.Size > 0 && c.Size <= own.Length)
                .OrderByDescending(c => c.Size)
        )
        {
            if (size < best.Size)
                break;
            if (
                MatchError([.. cycles.Zip(counts, Copies).SelectMany(e => e)], own) is { } error
                && (size > best.Size || error < best.Error)
            )
            {
                best = (size, error, counts);
            }
        }
        return new(
            [.. cycles.Select((c, i) => c with { Learned = best.Counts[i] })],
            best.Size == 0 ? null : best.Error,
            own.Length - best.Size
        );
    }

    /// <summary>The circuit's cycles. None is marked as learned.</summary>
    private static List<Cycle> FindCycles(LinearBinding task, double threshold)
    {
        using var scope = NewDisposeScope();
        var phi = Circuit.Phi(task);
        var rows = Matrices.Rows(phi);
        var found = new List<Cycle>();
        foreach (var component in Components(rows))
        {
            var index = tensor(component.Select(i => (long)i).ToArray());
            Complex[] persistent =
            [
                .. Spectra
                    .Eigenvalues(phi.index_select(0, index).index_select(1, index))
                    .Where(z => z.Magnitude > threshold)
                    .OrderBy(z => z.Phase),
            ];
            if (persistent.Length == 0)
                continue;
            int same = found.FindIndex(c =>
                c.Length == persistent.Length && MatchError(c.Eigenvalues, persistent) < 1e-6
            );
            if (same >= 0)
                found[same] = found[same] with { Count = found[same].Count + 1 };
            else
                found.Add(new(persistent.Length, persistent, 1, 0));
        }
        return [.. found.OrderBy(c => c.Length)];
    }

    /// <summary>
    /// The strongly connected components of a matrix's graph: i and j share one if each can be reached from the other.
    /// </summary>
    private static List<int[]> Components(double[][] matrix)
    {
        int n = matrix.Length;
        bool[][] reach =
        [
            .. Enumerable
                .Range(0, n)
                .Select(start =>
                {
                    var seen = new bool[n];
                    var next = new Stack<int>([start]);
                    while (next.TryPop(out int j))
                    {
                        for (int i = 0; i < n; i++)
                        {
                            if (matrix[i][j] != 0 && !seen[i])
                            {
                                seen[i] = true;
                                next.Push(i);
                            }
                        }
                    }
                    return seen;
                }),
        ];
        return
        [
            .. Enumerable
                .Range(0, n)
                .Where(i => reach[i][i])
                .GroupBy(i => Enumerable.Range(0, n).First(j => reach[i][j] && reach[j][i]))
                .Select(g => g.ToArray()),
        ];
    }

    private static Complex[] Copies(Cycle cycle, int count) =>
        [.. Enumerable.Repeat(cycle.Eigenvalues, count).SelectMany(e => e)];

    private static IEnumerable<int[]> Choices(IEnumerable<int> most) =>
        most.Aggregate(
            (IEnumerable<int[]>)
                [
                    [],
                ],
            (some, n) => some.SelectMany(one => Enumerable.Range(0, n + 1), (one, count) => (int[])[.. one, count])
        );

    /// <summary>
    /// The mean difference between the arguments of theory and of the best match among the network's, or null if one
    /// exceeds the tolerance.
    /// </summary>
    private static double? MatchError(IReadOnlyList<Complex> theory, IReadOnlyList<Complex> own)
    {
        // Unmatched eigenvalues of the network cost nothing.
        var cost = new double[own.Count, own.Count];
        for (int i = 0; i < theory.Count; i++)
        {
            for (int j = 0; j < own.Count; j++)
            {
                double difference = Spectra.AngleBetween(theory[i], own[j]);
                cost[i, j] = difference <= Tolerance ? difference : 1e3;
            }
        }

        var match = Assignment.Solve(cost);
        double error = Enumerable.Range(0, theory.Count).Average(i => cost[i, match[i]]);
        return error <= Tolerance ? error : null;
    }
}
