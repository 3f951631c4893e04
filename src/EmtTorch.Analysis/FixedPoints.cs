using System.Numerics;
using EmtTorch.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Analysis;

/// <summary>Settings of <see cref="FixedPoints.Find(Tensor, Tensor?, Tensor, FixedPointOptions?)"/>.</summary>
public sealed record FixedPointOptions
{
    /// <summary>A state is a fixed point if ‖F(h) − h‖ is at most this.</summary>
    public double Tolerance { get; init; } = 1e-10;

    /// <summary>
    /// Two states at a smaller Euclidean distance are one fixed point. The distance of a state from the true point is
    /// of the order of the tolerance over |1 − λ|: far less than this, unless the point is degenerate.
    /// </summary>
    public double MergeDistance { get; init; } = 1e-4;

    /// <summary>
    /// The largest number of steps, accepted or refused. 10 to 40 suffice if there is a fixed point to find.
    /// </summary>
    public int MaxIterations { get; init; } = 200;

    /// <summary>The starts whose Jacobians are in memory at once. Null: those that fit into 256 MiB.</summary>
    public int? ChunkSize { get; init; }

    /// <exception cref="ArgumentException">An option is out of its range.</exception>
    internal void Check()
    {
        static void Refuse(string problem) => throw new ArgumentException(problem, "options");
        if (!(Tolerance > 0))
            Refuse($"the tolerance is {Tolerance}: it must be above 0");
        if (!(MergeDistance >= 0))
            Refuse($"the distance for merging is {MergeDistance}: it must be at least 0");
        if (MaxIterations < 1)
            Refuse($"there are {MaxIterations} iterations: there must be at least one");
        if (ChunkSize < 1)
            Refuse($"a chunk has {ChunkSize} starts: it must have at least one");
    }
}

/// <summary>A fixed point h* = F(h*) of F(h) = tanh(W_hh h + drive), with the dynamics linearised there.</summary>
public sealed class FixedPoint
{
    /// <summary>With |λ| this near to 1 rounding decides whether a direction is stable or unstable.</summary>
    private const double Margin = 1e-8;

    /// <summary>With λ this near to 1 J − I is singular to the precision of a residual of 1e-10.</summary>
    private const double Degenerate = 1e-5;

    private readonly double[,] _weights;

    internal FixedPoint(double[] state, double residual, int count, Complex[] eigenvalues, double[,] weights)
    {
        (State, Residual, Count, Eigenvalues, _weights) = (state, residual, count, eigenvalues, weights);
        UnstableDirections = eigenvalues.Count(e => e.Magnitude > 1 + Margin);
        IsStable = eigenvalues.All(e => e.Magnitude < 1 - Margin);
        IsIsolated = eigenvalues.All(e => (e - 1).Magnitude > Degenerate);
    }

    /// <summary>h*, of length H.</summary>
    public IReadOnlyList<double> State { get; }

    /// <summary>q = ½‖F(h*) − h*‖².</summary>
    public double Residual { get; }

    /// <summary>The number of starts that ended here.</summary>
    public int Count { get; }

    /// <summary>The H eigenvalues of the Jacobian, largest magnitude first.</summary>
    public IReadOnlyList<Complex> Eigenvalues { get; }

    /// <summary>Whether every |λ| &lt; 1: states nearby converge to the point.</summary>
    public bool IsStable { get; }

    /// <summary>The number of eigenvalues with |λ| &gt; 1.</summary>
    public int UnstableDirections { get; }

    /// <summary>
    /// False if an eigenvalue is 1 (to 1e-5), so that J − I is singular: the point may belong to a line of fixed
    /// points, or two points may be about to meet there. Then its position and the number of such points mean little.
    /// </summary>
    public bool IsIsolated { get; }

    /// <summary>
    /// Computes J = diag(1 − h*²) W_hh, (H, H), of h(t+1) − h* = J (h(t) − h*) (Karuvally et al. 2023, Eq. 35). It
    /// replaces W_hh in the analyses.
    /// </summary>
    public double[,] Jacobian()
    {
        int n = State.Count;
        var jacobian = new double[n, n];
        for (int i = 0; i < n; i++)
        {
            for (int j = 0; j < n; j++)
                jacobian[i, j] = (1 - State[i] * State[i]) * _weights[i, j];
        }

        return jacobian;
    }
}

/// <summary>
/// The fixed points of F(h) = tanh(W_hh h + drive), where the drive is b + W_uh u for a constant input u. They are
/// found by minimising q(h) = ½‖F(h) − h‖² (Sussillo and Barak 2013), from many starts at once, in float64.
/// </summary>
/// <remarks>
/// Each start descends q in steps of Levenberg and Marquardt: (AᵀA + μI) δ = −Aᵀr with A = J(h) − I and r = F(h) − h.
/// Far from a fixed point μ keeps the step short, and a step is only taken if q falls. μ goes to 0 with ‖r‖, so the
/// steps become Newton's. Unlike Newton's they are defined even if J − I is singular, as on lines of fixed points. A
/// start that ends in a minimum of q above 0 (a slow point), or that has not arrived after the last iteration, counts
/// as
/// <see cref="Unconverged"/> and gives no point.
/// <para>
/// On two CPU cores 1,024 starts take about a second at H = 64 and three at H = 128. A step costs about 3 H³
/// multiplications and additions per start; at H = 1,024 this is one or two seconds per start, half an hour for all.
/// Use a few dozen starts there, or weights on a GPU: the computation runs where the weights are. Memory stays below
/// about 500 MB, since Jacobians are computed in chunks.
/// </para>
/// </remarks>
/// <example><code>
/// var starts = FixedPoints.DrawStarts(network.HiddenStates(input, steps), count: 1024);
/// var found = FixedPoints.Find(network, starts);
/// double[,] jacobian = found.Stable.First().Jacobian();
/// </code></example>
public sealed class FixedPoints
{
    private const long ChunkBytes = 256L << 20;

    private FixedPoints(
        IReadOnlyList<FixedPoint> points,
        int starts,
        int unconverged,
        IReadOnlyList<string> problems
    ) => (Points, Starts, Unconverged, Problems) = (points, starts, unconverged, problems);

    /// <summary>
    /// The distinct fixed points, ordered by unstable directions, then by the number of starts that ended there.
    /// </summary>
    public IReadOnlyList<FixedPoint> Points { get; }

    /// <summary>The number of starts.</summary>
    public int Starts { get; }

    /// <summary>The number of starts that reached no fixed point.</summary>
    public int Unconverged { get; }

    /// <summary>Sentences that a reader must know before counting the points.</summary>
    public IReadOnlyList<string> Problems { get; }

    /// <summary>The stable fixed points.</summary>
    public IEnumerable<FixedPoint> Stable => Points.Where(p => p.IsStable);

    /// <summary>The fixed point nearest to a state, of length H. Null if there is none.</summary>
    internal FixedPoint? FindNearest(double[] state) =>
        Points.OrderBy(p => p.State.Zip(state, (a, b) => (a - b) * (a - b)).Sum()).FirstOrDefault();

    /// <summary>Finds the fixed points of a network at a constant input.</summary>
    /// <param name="network">The network, with its bias if it has one.</param>
    /// <param name="starts">(N, H).</param>
    /// <param name="input">u (κ); null: zero.</param>
    /// <param name="options">Null: the defaults.</param>
    /// <exception cref="ArgumentException">A shape, a number or an option does not fit.</exception>
    public static FixedPoints Find(
        ElmanRnn network,
        Tensor starts,
        Tensor? input = null,
        FixedPointOptions? options = null
    )
    {
        using var quiet = no_grad();
        using var scope = NewDisposeScope();
        Tensor weightIh = network.InputWeights.to_type(ScalarType.Float64),
            weightHh = network.RecurrentWeights;
        if (input is not null)
            Require.Shape(input, [weightIh.shape[1]]);
        var drive = zeros(weightHh.shape[0], dtype: ScalarType.Float64, device: weightHh.device);
        if (network.RecurrentBias is { } bias)
            drive = drive + bias;
        if (input is not null)
            drive = drive + weightIh.mv(input.to(ScalarType.Float64, weightHh.device));
        return Find(weightHh, drive, starts, options);
    }

    /// <summary>Finds the fixed points of F(h) = tanh(W_hh h + drive).</summary>
    /// <param name="weightHh">W_hh (H, H), of any floating type. Its device computes.</param>
    /// <param name="drive">b + W_uh u (H). Null: zero.</param>
    /// <param name="starts">(N, H). Visited states with some noise find the points that matter to the network
    /// (<see cref="DrawStarts"/>).</param>
    /// <param name="options">Null: the defaults.</param>
    /// <exception cref="ArgumentException">A shape, a number or an option does not fit.</exception>
    public static FixedPoints Find(Tensor weightHh, Tensor? drive, Tensor starts, FixedPointOptions? options = null)
    {
        options ??= new();
        Check(weightHh, drive, starts, options);
        using var quiet = no_grad();
        using var scope = NewDisposeScope();
        var device = weightHh.device;
        int hidden = (int)weightHh.shape[0];
        long count = starts.shape[0];
        var w = weightHh.detach().to(ScalarType.Float64, device);
        var c = drive is null
            ? zeros(hidden, dtype: ScalarType.Float64, device: device)
            : drive.detach().to(ScalarType.Float64, device);
        // A chunk holds A, AᵀA, the solver's copy of it, and one to spare.
        long chunk = options.ChunkSize ?? Math.Clamp(ChunkBytes / (4L * sizeof(double) * hidden * hidden), 1, count);
        var ends = new List<End>();
        for (long from = 0; from < count; from += chunk)
        {
            using var one = NewDisposeScope();
            var part = starts.narrow(0, from, Math.Min(chunk, count - from)).detach().to(ScalarType.Float64, device);
            var (states, norms) = Descend(w, c, part, options);
            double[] numbers = [.. states.cpu().data<double>()];
            foreach (var (i, norm) in norms.cpu().data<double>().ToArray().Index())
            {
                if (norm <= options.Tolerance)
                    ends.Add(new(numbers[(i * hidden)..((i + 1) * hidden)], norm, 1));
            }
        }

        var local = w.contiguous().cpu();
        var weights = new double[hidden, hidden];
        Buffer.BlockCopy(local.data<double>().ToArray(), 0, weights, 0, weights.Length * sizeof(double));
        FixedPoint[] points =
        [
            .. Merge(ends, options.MergeDistance)
                .Select(p => new FixedPoint(
                    p.State,
                    p.Norm * p.Norm / 2,
                    p.Count,
                    Eigenvalues(local, p.State),
                    weights
                ))
                .OrderBy(p => p.UnstableDirections)
                .ThenByDescending(p => p.Count),
        ];
        return new(points, (int)count, (int)count - ends.Count, FindProblems(points, count));
    }

    /// <summary>A state at which starts ended, ‖F(h) − h‖ there, and their number.</summary>
    private sealed record End(double[] State, double Norm, int Count);

    private static List<string> FindProblems(FixedPoint[] points, long starts)
    {
        var problems = new List<string>();
        if (points.Length == 0)
            problems.Add($"none of the {starts} starts came to a fixed point");
        if (points.Count(p => !p.IsIsolated) is > 0 and var degenerate)
        {
            problems.Add(
                $"{degenerate} of {points.Length} fixed points have an eigenvalue of 1, to 1e-5: they may lie on lines "
                    + "of fixed points, and then their number depends on the starts"
            );
        }
        if (points.Count(p => !p.IsStable && p.UnstableDirections == 0) is > 0 and var marginal)
        {
            problems.Add(
                $"{marginal} of {points.Length} fixed points have an eigenvalue of magnitude 1 and none above: the "
                    + "linearisation does not tell whether they are stable"
            );
        }
        return problems;
    }

    /// <summary>Draws visited states at random, and adds normal noise.</summary>
    /// <param name="states">Hidden states (…, H), for example of
    /// <see cref="ElmanRnn.HiddenStates(Tensor, long)"/>.</param>
    /// <param name="count">The number of starts, N.</param>
    /// <param name="noise">The standard deviation of the noise.</param>
    /// <param name="seed">The same seed gives the same starts.</param>
    /// <returns>(N, H), float64, on the device of the states.</returns>
    /// <exception cref="ArgumentException">There are no states, N is below 1, or the noise is negative.</exception>
    public static Tensor DrawStarts(Tensor states, int count, double noise = 0.5, ulong seed = 1)
    {
        Require.Ends(states, [Require.Any, Require.Any]);
        if (states.numel() == 0)
            throw new ArgumentException("is empty: there must be at least one state", nameof(states));
        if (count < 1)
            throw new ArgumentException($"is {count}: there must be at least one start", nameof(count));
        if (!(noise >= 0 && double.IsFinite(noise)))
            throw new ArgumentException($"the noise is {noise}: it must be a number from 0", nameof(noise));
        using var quiet = no_grad();
        using var scope = NewDisposeScope();
        using var generator = new Generator(seed);
        var all = states.detach().reshape(-1, states.shape[^1]);
        var chosen = randint(0, all.shape[0], new long[] { count }, dtype: ScalarType.Int64, generator: generator);
        // Drawn on the CPU, so that the numbers are the same on every device.
        var added = randn([count, all.shape[1]], dtype: ScalarType.Float64, generator: generator).mul_(noise);
        return all.index_select(0, chosen.to(all.device))
            .to_type(ScalarType.Float64)
            .add(added.to(all.device))
            .MoveToOuterDisposeScope();
    }

    /// <returns>The ends of all starts (n, H), and ‖F(h) − h‖ there (n).</returns>
    private static (Tensor States, Tensor Norms) Descend(Tensor w, Tensor c, Tensor starts, FixedPointOptions options)
    {
        var h = starts.clone(); // (n, H)
        var norms = Next(w, c, h).sub_(h).norm(1); // (n)
        var damping = ones_like(norms); // λ, μ = λ‖r‖
        var moving = norms.isfinite(); // neither lost nor stuck
        for (int i = 0; i < options.MaxIterations; i++)
        {
            using var scope = NewDisposeScope();
            var active = moving.logical_and(norms.gt(options.Tolerance)).nonzero().view(-1); // (m)
            if (active.numel() == 0)
                break;
            Tensor x = h.index_select(0, active),
                old = norms.index_select(0, active),
                lambda = damping.index_select(0, active);
            var (step, promised, finite) = SolveStep(w, Next(w, c, x), x, lambda.mul(old));
            var trial = x + step;
            var norm = Next(w, c, trial).sub_(trial).norm(1);
            var better = norm.lt(old); // false for NaN
            // The ratio of the fall of q to the fall in a linear network says how far to trust the next step.
            var fell = old.square().sub_(norm.square()).div_(2);
            var trusted = better.logical_and(fell.gt(promised * 0.75));
            var doubted = fell.gt(promised * 0.25).logical_and(better).logical_not();

            h.index_copy_(0, active, where(better.unsqueeze(1), trial, x));
            norms.index_copy_(0, active, where(better, norm, old));
            damping.index_copy_(
                0,
                active,
                where(trusted, lambda * 0.1, where(doubted, lambda * 5, lambda)).clamp_(1e-12, 1e15)
            );
            // A refused step as short as rounding: a minimum of q above 0.
            var stuck = better.logical_not().logical_and(step.norm(1).lt(1e-12));
            moving.index_copy_(0, active, finite.logical_and(stuck.logical_not()));
        }
        return (h, norms);
    }

    /// <summary>A step of Levenberg and Marquardt from states x (m, H).</summary>
    /// <param name="w">W_hh (H, H).</param>
    /// <param name="f">F(x) (m, H).</param>
    /// <param name="x">The states.</param>
    /// <param name="damping">λ‖r‖ (m).</param>
    private static Step SolveStep(Tensor w, Tensor f, Tensor x, Tensor damping)
    {
        var a = f.square().neg_().add_(1).unsqueeze(2).mul(w); // J, (m, H, H)
        a.diagonal(0, 1, 2).sub_(1); // J − I
        var transposed = a.transpose(1, 2);
        var normal = transposed.bmm(a); // AᵀA
        var gradient = transposed.bmm((f - x).unsqueeze(2)).squeeze(2); // Aᵀr, (m, H)
        var diagonal = normal.diagonal(0, 1, 2);
        // The lower limit keeps AᵀA + μI invertible in float64 for any A, and is too small to slow the last steps.
        var mu = damping.maximum(diagonal.sum(1).mul_(1e-14)).clamp_min_(1e-300);
        diagonal.add_(mu.unsqueeze(1));
        // The solver may throw if a matrix is not finite. Such a start stands still, and is lost.
        var finite = normal.flatten(1).sum(1).isfinite();
        var identity = eye(normal.shape[1], dtype: normal.dtype, device: normal.device);
        normal = where(finite.view(-1, 1, 1), normal, identity);
        gradient = where(finite.unsqueeze(1), gradient, zeros_like(gradient));
        var step = linalg.solve(normal, gradient.neg().unsqueeze(2)).squeeze(2);
        var promised = step.mul(step.mul(mu.unsqueeze(1)).sub_(gradient)).sum(1).div_(2);
        return new(step, promised, finite);
    }

    /// <summary>δ (m, H), the fall of q in a linear network (m), and whether the matrices are finite (m).</summary>
    private sealed record Step(Tensor Delta, Tensor Promised, Tensor Finite);

    /// <returns>F(h), (n, H).</returns>
    private static Tensor Next(Tensor w, Tensor c, Tensor h) => h.mm(w.t()).add_(c).tanh_();

    /// <summary>Merges ends: the best one with all ends near it, the best of the rest, and so on.</summary>
    private static List<End> Merge(List<End> ends, double distance)
    {
        var points = new List<End>();
        foreach (var end in ends.OrderBy(e => e.Norm))
        {
            int near = points.FindIndex(p => Near(p.State, end.State));
            if (near < 0)
                points.Add(end);
            else
                points[near] = points[near] with { Count = points[near].Count + 1 };
        }
        return points;

        bool Near(double[] a, double[] b)
        {
            double sum = 0,
                limit = distance * distance;
            for (int i = 0; i < a.Length && sum <= limit; i++)
                sum += (a[i] - b[i]) * (a[i] - b[i]);
            return sum <= limit;
        }
    }

    // On the CPU: there are few matrices, and not every CUDA build of Torch has eigenvalues of general matrices.
    private static Complex[] Eigenvalues(Tensor w, double[] state)
    {
        using var scope = NewDisposeScope();
        var slopes = tensor(state).square().neg_().add_(1);
        return [.. linalg.eigvals(slopes.unsqueeze(1).mul(w)).data<Complex>().OrderByDescending(e => e.Magnitude)];
    }

    private static void Check(Tensor weightHh, Tensor? drive, Tensor starts, FixedPointOptions options)
    {
        Require.Shape(weightHh, [Require.Any, Require.Any]);
        long hidden = weightHh.shape[0];
        Require.Shape(weightHh, [hidden, hidden]);
        Require.Shape(starts, [Require.Any, hidden]);
        if (hidden == 0 || starts.shape[0] == 0)
            throw new ArgumentException("is empty: there must be at least one start", nameof(starts));
        if (drive is not null)
            Require.Shape(drive, [hidden]);
        foreach (
            var (tensor, name) in (ReadOnlySpan<(Tensor?, string)>)
                [(weightHh, nameof(weightHh)), (drive, nameof(drive)), (starts, nameof(starts))]
        )
        {
            if (tensor is null)
                continue;
            Require.Floating(tensor, name);
            Matrices.RequireFinite(tensor, name);
        }
        options.Check();
    }
}
