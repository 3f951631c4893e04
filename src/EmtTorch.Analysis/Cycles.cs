using System.Numerics;
using EmtTorch.Tasks;
using static TorchSharp.torch;

namespace EmtTorch.Analysis;

/// <summary>A part of the circuit that goes on by itself, and in how many copies.</summary>
/// <param name="Length">Its persistent eigenvalues: in a signed permutation the steps after which its content comes
/// back, up to its sign.</param>
/// <param name="Eigenvalues">They themselves.</param>
/// <param name="Count">How many of the circuit's cycles have just these eigenvalues.</param>
/// <param name="Learned">How many of them the network has.</param>
public sealed record Cycle(int Length, IReadOnlyList<Complex> Eigenvalues, int Count, int Learned);

/// <summary>
/// Which parts of the circuit a network has. Φ falls apart into cycles, the strongly connected components of its graph,
/// and its spectrum is the union of theirs; a network whose spectrum is not the circuit's may still be that of some of
/// its cycles: of T2's, say, whose lengths are 1 to 8, all but the longest.
/// </summary>
/// <param name="All">The cycles, shortest first.</param>
/// <param name="Error">The mean absolute difference of the learned cycles' arguments, in radians; null where there is
/// none.</param>
/// <param name="Left">Persistent eigenvalues of the network that belong to no cycle.</param>
public sealed record CycleComparison(IReadOnlyList<Cycle> All, double? Error, int Left)
{
    /// <summary>No eigenvalue of a learned cycle is farther off, in radians.</summary>
    public const double Tolerance = 0.05;

    /// <summary>More choices of cycles than this are not tried.</summary>
    private const int MostChoices = 5_000;

    public int Count => All.Sum(c => c.Count);
    public int Learned => All.Sum(c => c.Learned);

    /// <summary>
    /// Finds the cycles that explain the most eigenvalues, each within <see cref="Tolerance"/> of one of the network's
    /// own; among several the ones with the least error.
    /// </summary>
    /// <param name="task">The task.</param>
    /// <param name="learned">The network's eigenvalues.</param>
    /// <param name="threshold">Those of greater magnitude persist.</param>
    /// <returns>Null where there are too many choices of cycles.</returns>
    public static CycleComparison? Of(LinearBinding task, IReadOnlyList<Complex> learned, double threshold = 0.9)
    {
        var cycles = CyclesOf(task, threshold);
        Complex[] own = [.. learned.Where(z => z.Magnitude > threshold)];
        // What a cycle can't have by itself it can't have beside others.
        int[] most =
        [
            .. cycles.Select(c =>
                Enumerable
                    .Range(1, c.Count)
                    .TakeWhile(n => n * c.Length <= own.Length && ErrorOf(Copies(c, n), own) is not null)
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
                ErrorOf([.. cycles.Zip(counts, Copies).SelectMany(e => e)], own) is { } error
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

    /// <summary>The circuit's cycles, none of them learned.</summary>
    private static List<Cycle> CyclesOf(LinearBinding task, double threshold)
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
                .. Spectrum
                    .Eigenvalues(phi.index_select(0, index).index_select(1, index))
                    .Where(z => z.Magnitude > threshold)
                    .OrderBy(z => z.Phase),
            ];
            if (persistent.Length == 0)
                continue;
            int same = found.FindIndex(c => c.Length == persistent.Length && ErrorOf(c.Eigenvalues, persistent) < 1e-6);
            if (same >= 0)
                found[same] = found[same] with { Count = found[same].Count + 1 };
            else
                found.Add(new(persistent.Length, persistent, 1, 0));
        }
        return [.. found.OrderBy(c => c.Length)];
    }

    /// <summary>
    /// The strongly connected components of a matrix's graph: i and j are in one where each is reached from the other.
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
    /// The mean difference of theory's arguments from those of as many of the network's, best matched; null where one
    /// is beyond the tolerance.
    /// </summary>
    private static double? ErrorOf(IReadOnlyList<Complex> theory, IReadOnlyList<Complex> own)
    {
        // Whatever is left over may be left over at no cost.
        var cost = new double[own.Count, own.Count];
        for (int i = 0; i < theory.Count; i++)
        {
            for (int j = 0; j < own.Count; j++)
            {
                double difference = Spectrum.AngleBetween(theory[i], own[j]);
                cost[i, j] = difference <= Tolerance ? difference : 1e3;
            }
        }

        var match = Assignment.Solve(cost);
        double error = Enumerable.Range(0, theory.Count).Average(i => cost[i, match[i]]);
        return error <= Tolerance ? error : null;
    }
}
