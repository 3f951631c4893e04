namespace EmtTorch.Studies;

/// <summary>
/// What a network that learns T tasks one after the other can do, and when: R[i][j], its accuracy on task j after stage
/// i (Lopez-Paz and Ranzato 2017, arXiv 1706.08840).
/// </summary>
public sealed class AccuracyMatrix
{
    /// <param name="r">R (T, T).</param>
    /// <param name="random">b (T), the accuracy on each task at random weights.</param>
    /// <exception cref="ArgumentException">The sizes don't go together.</exception>
    public AccuracyMatrix(double[][] r, double[] random)
    {
        if (r.Length == 0 || random.Length != r.Length || r.Any(row => row.Length != r.Length))
            throw new ArgumentException("R is (T, T) and b has T numbers, T ≥ 1", nameof(r));
        (R, Random) = (r, random);
    }

    public double[][] R { get; }
    public double[] Random { get; }

    private int T => R.Length;

    private IEnumerable<int> Earlier => Enumerable.Range(0, T - 1);

    /// <summary>Average accuracy at the end: mean_j R[T][j].</summary>
    public double Average => R[^1].Average();

    /// <summary>What a task could just after it was learned: mean_j R[j][j].</summary>
    public double Learned => Enumerable.Range(0, T).Average(j => R[j][j]);

    /// <summary>
    /// Backward transfer: mean_{j&lt;T} (R[T][j] − R[j][j]); below 0 what was learned is lost. 0 of a single task.
    /// </summary>
    public double BackwardTransfer => T == 1 ? 0 : Earlier.Average(j => R[^1][j] - R[j][j]);

    /// <summary>
    /// Forgetting: mean_{j&lt;T} max_{i&lt;T} (R[i][j] − R[T][j]), from j's own stage on (Chaudhry et al. 2018, arXiv
    /// 1801.10112). 0 of a single task.
    /// </summary>
    public double Forgetting =>
        T == 1 ? 0 : Earlier.Average(j => Enumerable.Range(j, T - 1 - j).Max(i => R[i][j]) - R[^1][j]);

    /// <summary>
    /// Forward transfer: mean_{j&gt;1} (R[j−1][j] − b_j): what a task gains, before it is learned, from those before
    /// it. 0 of a single task.
    /// </summary>
    public double ForwardTransfer => T == 1 ? 0 : Enumerable.Range(1, T - 1).Average(j => R[j - 1][j] - Random[j]);
}
