namespace EmtTorch.Studies;

/// <summary>
/// The accuracies of a network that learns T tasks one after the other: R[i][j] is the accuracy on task j after stage i
/// (Lopez-Paz and Ranzato 2017, arXiv 1706.08840).
/// </summary>
public sealed class AccuracyMatrix
{
    /// <param name="r">R (T, T).</param>
    /// <param name="random">b (T), the accuracy on each task at random weights.</param>
    /// <exception cref="ArgumentException">R is not square, or b has another size.</exception>
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

    /// <summary>Average accuracy after the last stage: mean_j R[T][j].</summary>
    public double Average => R[^1].Average();

    /// <summary>Average accuracy on a task just after it was learned: mean_j R[j][j].</summary>
    public double Learned => Enumerable.Range(0, T).Average(j => R[j][j]);

    /// <summary>
    /// Backward transfer: mean_{j&lt;T} (R[T][j] − R[j][j]); below 0 if accuracy is lost. 0 for a single task.
    /// </summary>
    public double BackwardTransfer => T == 1 ? 0 : Earlier.Average(j => R[^1][j] - R[j][j]);

    /// <summary>
    /// Forgetting: mean_{j&lt;T} max_{i&lt;T} (R[i][j] − R[T][j]) (Chaudhry et al. 2018, arXiv 1801.10112). A task
    /// counts from the first stage on, also before it is learned. 0 for a single task.
    /// </summary>
    public double Forgetting =>
        T == 1 ? 0 : Earlier.Average(j => Enumerable.Range(0, T - 1).Max(i => R[i][j]) - R[^1][j]);

    /// <summary>
    /// Forward transfer: mean_{j&gt;1} (R[j−1][j] − b_j), what earlier tasks contribute to a task before it is learned.
    /// 0 for a single task.
    /// </summary>
    public double ForwardTransfer => T == 1 ? 0 : Enumerable.Range(1, T - 1).Average(j => R[j - 1][j] - Random[j]);
}
