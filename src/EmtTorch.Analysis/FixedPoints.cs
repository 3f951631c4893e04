using System.Numerics;
using EmtTorch.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Analysis;

/// <summary>Settings of <see cref="FixedPoints.Find(Tensor, Tensor?, Tensor, FixedPointOptions?)"/>.</summary>
public sealed record FixedPointOptions
{
    /// <summary>A state is a fixed point when ‖F(h) − h‖ is at most this.</summary>
    public double Tolerance { get; init; } = 1e-10;

    /// <summary>
    /// Two states nearer than this (Euclidean distance) are one fixed point. A state's distance from the true point is
    /// of the order of the tolerance over |1 − λ|, so that this resolves what is not degenerate, by far.
    /// </summary>
    public double MergeDistance { get; init; } = 1e-4;

    /// <summary>
    /// Steps at most, accepted and refused ones; 10 to 40 do where there is a fixed point to be found.
    /// </summary>
    public int MaxIterations { get; init; } = 200;

    /// <summary>Starts whose Jacobians are in memory at once; null: as many as fit into 256 MiB.</summary>
    public int? ChunkSize { get; init; }
}

/// <summary>A fixed point h* = F(h*), F(h) = tanh(W_hh h + drive), and the dynamics linearised there.</summary>
public sealed class FixedPoint
{
    /// <summary>|λ| this near to 1 is neither stable nor unstable: rounding decides on which side it falls.</summary>
    private const double Margin = 1e-8;

    /// <summary>λ this near to 1 makes J − I singular for all that can be told from a residual of 1e-10.</summary>
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

    /// <summary>How many of the starts ended here.</summary>
    public int Count { get; }

    /// <summary>The H eigenvalues of the Jacobian, the largest magnitude first.</summary>
    public IReadOnlyList<Complex> Eigenvalues { get; }

    /// <summary>Whether every |λ| &lt; 1: what is near stays near and comes back.</summary>
    public bool IsStable { get; }

    /// <summary>How many |λ| &gt; 1.</summary>
    public int UnstableDirections { get; }

    /// <summary>
    /// False where an eigenvalue is 1 (to 1e-5), so that J − I is singular: the point may be one of a line of fixed
    /// points, or lie where two are about to meet, and then where it is and how many there are of its kind mean little.
    /// </summary>
    public bool IsIsolated { get; }

    /// <summary>
    /// J = diag(1 − h*²) W_hh, (H, H), of h(t+1) − h* = J (h(t) − h*) (Karuvally et al. 2023, Eq. 35): what is read in
    /// place of W_hh. Computed at each call.
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
/// The fixed points of F(h) = tanh(W_hh h + drive), where the drive is b + W_uh u for a constant input u: found from
/// many starts at once, in float64, as Sussillo and Barak 2013 look for them, by making q(h) = ½‖F(h) − h‖² small.
/// </summary>
/// <remarks>
/// Each start goes down q by Levenberg and Marquardt's steps, with A = J(h) − I and r = F(h) − h:
/// (AᵀA + μI) δ = −Aᵀr. Where it is far from a fixed point μ keeps the step short; a step is taken only if q falls; and
/// as μ goes to 0 with ‖r‖ the steps become Newton's. Other than Newton's they are defined where J − I is singular,
/// too, so that lines of fixed points do no harm. A start that ends in a minimum of q above 0 (a slow point), or that
/// is not there after the last iteration, is counted in <see cref="Unconverged"/> and is nowhere among the points.
/// <para>
/// On two CPU cores 1,024 starts take about a second at H = 64 and three at H = 128. A step costs about 3 H³
/// multiplications and additions a start, which at H = 1,024 comes to one or two seconds a start, half an hour for all:
/// take a few dozen starts there, or weights on a GPU, where all of this then runs. Memory stays below about 500 MB,
/// since Jacobians are made a chunk at a time.
/// </para>
/// </remarks>
/// <example><code>
/// var starts = FixedPoints.StartsFrom(network.HiddenStates(input, steps), count: 1024, noise: 0.5, seed: 1);
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
    /// The distinct fixed points: those with the fewest unstable directions first, and of these those reached most
    /// often.
    /// </summary>
    public IReadOnlyList<FixedPoint> Points { get; }

    /// <summary>How many starts there were.</summary>
    public int Starts { get; }

    /// <summary>How many of them came to no fixed point.</summary>
    public int Unconverged { get; }

    /// <summary>What is to be known before the points are counted, a sentence each.</summary>
    public IReadOnlyList<string> Problems { get; }

    /// <summary>The stable ones.</summary>
    public IEnumerable<FixedPoint> Stable => Points.Where(p => p.IsStable);

    /// <summary>The fixed points of a network at a constant input.</summary>
    /// <param name="network">The network, with its bias if it has one.</param>
    /// <param name="starts">(N, H).</param>
    /// <param name="input">u (κ); null: zero.</param>
    /// <param name="options">Null: the defaults.</param>
    /// <exception cref="ArgumentException">A shape does not fit, a number is not finite, or an option makes no
    /// sense.</exception>
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
        if (input is not null && (input.dim() != 1 || input.shape[0] != weightIh.shape[1]))
        {
            throw new ArgumentException(
                $"the input has the shape ({string.Join(", ", input.shape)}): it must be ({weightIh.shape[1]})",
                nameof(input)
            );
        }

        var drive = zeros(weightHh.shape[0], dtype: ScalarType.Float64, device: weightHh.device);
        if (network.RecurrentBias is { } bias)
            drive = drive + bias;
        if (input is not null)
            drive = drive + weightIh.mv(input.to(ScalarType.Float64, weightHh.device));
        return Find(weightHh, drive, starts, options);
    }

    /// <summary>The fixed points of h = tanh(W_hh h + drive).</summary>
    /// <param name="weightHh">W_hh (H, H), of any floating type; where it is, is computed.</param>
    /// <param name="drive">b + W_uh u (H), what does not depend on h; null: zero.</param>
    /// <param name="starts">(N, H): states that the network visits, with some noise, find the points that matter to it
    /// (<see cref="StartsFrom(Tensor, int, double, ulong)"/>).</param>
    /// <param name="options">Null: the defaults.</param>
    /// <exception cref="ArgumentException">A shape does not fit, a number is not finite, or an option makes no
    /// sense.</exception>
    public static FixedPoints Find(Tensor weightHh, Tensor? drive, Tensor starts, FixedPointOptions? options = null)
    {
        options ??= new();
        Check(weightHh, drive, starts, options);
        using var quiet = no_grad();
        using var scope = NewDisposeScope();
        var device = weightHh.device;
        long hidden = weightHh.shape[0],
            count = starts.shape[0];
        var w = weightHh.detach().to(ScalarType.Float64, device);
        var c = drive is null
            ? zeros(hidden, dtype: ScalarType.Float64, device: device)
            : drive.detach().to(ScalarType.Float64, device);
        // A, AᵀA, the solver's copy of it, and one to spare.
        long chunk = options.ChunkSize ?? Math.Clamp(ChunkBytes / (4 * sizeof(double) * hidden * hidden), 1, count);

        var ends = new List<(double[] State, double Norm)>();
        for (long from = 0; from < count; from += chunk)
        {
            using var one = NewDisposeScope();
            var (states, norms) = Descend(
                w,
                c,
                starts.narrow(0, from, Math.Min(chunk, count - from)).detach().to(ScalarType.Float64, device),
                options
            );
            double[] numbers = [.. states.cpu().data<double>()],
                norm = [.. norms.cpu().data<double>()];
            for (int i = 0; i < norm.Length; i++)
            {
                if (norm[i] <= options.Tolerance)
                    ends.Add((numbers[(i * (int)hidden)..((i + 1) * (int)hidden)], norm[i]));
            }
        }

        var weights = new double[hidden, hidden];
        var local = w.contiguous().cpu();
        double[] flat = [.. local.data<double>()];
        Buffer.BlockCopy(flat, 0, weights, 0, flat.Length * sizeof(double));
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
        var problems = new List<string>();
        if (points.Length == 0)
            problems.Add($"none of the {count} starts came to a fixed point");
        if (points.Count(p => !p.IsIsolated) is > 0 and var degenerate)
        {
            problems.Add(
                $"{degenerate} of {points.Length} fixed points have an eigenvalue of 1, to 1e-5: they may lie on "
                    + "lines of fixed points, and then their number depends on the starts"
            );
        }

        if (points.Count(p => !p.IsStable && p.UnstableDirections == 0) is > 0 and var marginal)
        {
            problems.Add(
                $"{marginal} of {points.Length} fixed points have an eigenvalue of magnitude 1 and none above: the "
                    + "linearisation does not tell whether they are stable"
            );
        }

        return new(points, (int)count, (int)count - ends.Count, problems);
    }

    /// <summary>States drawn from visited ones at random, with normal noise added.</summary>
    /// <param name="states">Hidden states (…, H), as of <see cref="ElmanRnn.HiddenStates(Tensor, long)"/>.</param>
    /// <param name="count">How many, N.</param>
    /// <param name="noise">The noise's standard deviation.</param>
    /// <param name="seed">The same seed gives the same starts.</param>
    /// <returns>(N, H), float64, on the states' device.</returns>
    /// <exception cref="ArgumentException">There are no states, fewer than one start is asked for, or the noise is
    /// negative.</exception>
    public static Tensor StartsFrom(Tensor states, int count, double noise = 0.5, ulong seed = 1)
    {
        if (states.dim() < 2 || states.numel() == 0)
        {
            throw new ArgumentException(
                $"the states have the shape ({string.Join(", ", states.shape)}): it must be (…, H), and not empty",
                nameof(states)
            );
        }

        if (count < 1)
            throw new ArgumentException($"{count} starts are asked for: there must be at least one", nameof(count));
        if (!(noise >= 0 && double.IsFinite(noise)))
            throw new ArgumentException($"the noise is {noise}: it must be a number from 0", nameof(noise));
        using var quiet = no_grad();
        using var scope = NewDisposeScope();
        using var generator = new Generator(seed);
        var all = states.detach().reshape(-1, states.shape[^1]);
        var chosen = randint(0, all.shape[0], new long[] { count }, dtype: ScalarType.Int64, generator: generator);
        // Drawn on the CPU, so that they are the same on every device.
        var added = randn([count, all.shape[1]], dtype: ScalarType.Float64, generator: generator).mul_(noise);
        return all.index_select(0, chosen.to(all.device))
            .to_type(ScalarType.Float64)
            .add(added.to(all.device))
            .MoveToOuterDisposeScope();
    }

    /// <returns>Where each of the starts ended (n, H), and ‖F(h) − h‖ there (n).</returns>
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

            var f = Next(w, c, x);
            var a = f.square().neg_().add_(1).unsqueeze(2).mul(w); // J, (m, H, H)
            a.diagonal(0, 1, 2).sub_(1); // J − I
            var transposed = a.transpose(1, 2);
            var normal = transposed.bmm(a); // AᵀA
            var gradient = transposed.bmm((f - x).unsqueeze(2)).squeeze(2); // Aᵀr, (m, H)
            var diagonal = normal.diagonal(0, 1, 2);
            // The floor keeps AᵀA + μI invertible in float64 whatever A is, and is far too small to slow the last steps
            // down.
            var mu = lambda.mul(old).maximum(diagonal.sum(1).mul_(1e-14)).clamp_min_(1e-300);
            diagonal.add_(mu.unsqueeze(1));
            // The solver may throw at a matrix that is not finite: such a start stands still, and is lost.
            var finite = normal.flatten(1).sum(1).isfinite();
            normal = where(
                finite.view(-1, 1, 1),
                normal,
                eye(normal.shape[1], dtype: normal.dtype, device: normal.device)
            );
            gradient = where(finite.unsqueeze(1), gradient, zeros_like(gradient));
            var step = linalg.solve(normal, gradient.neg().unsqueeze(2)).squeeze(2); // δ, (m, H)

            var trial = x + step;
            var norm = Next(w, c, trial).sub_(trial).norm(1);
            var better = norm.lt(old); // false for NaN
            // By how much q fell, and by how much it would have in a linear network: their ratio says how far to trust
            // the next step.
            var fell = old.square().sub_(norm.square()).div_(2);
            var promised = step.mul(step.mul(mu.unsqueeze(1)).sub_(gradient)).sum(1).div_(2);
            var trusted = better.logical_and(fell.gt(promised * 0.75));
            var doubted = fell.gt(promised * 0.25).logical_and(better).logical_not();

            h.index_copy_(0, active, where(better.unsqueeze(1), trial, x));
            norms.index_copy_(0, active, where(better, norm, old));
            damping.index_copy_(
                0,
                active,
                where(trusted, lambda * 0.1, where(doubted, lambda * 5, lambda)).clamp_(1e-12, 1e15)
            );
            // Refused, and too short to be anything but rounding: a minimum of q above 0.
            var stuck = better.logical_not().logical_and(step.norm(1).lt(1e-12));
            moving.index_copy_(0, active, finite.logical_and(stuck.logical_not()));
        }
        return (h, norms);
    }

    /// <returns>F(h), (n, H).</returns>
    private static Tensor Next(Tensor w, Tensor c, Tensor h) => h.mm(w.t()).add_(c).tanh_();

    /// <summary>The best of the ends, all that is near it with it, the best of the others, and so on.</summary>
    private static List<(double[] State, double Norm, int Count)> Merge(
        List<(double[] State, double Norm)> ends,
        double distance
    )
    {
        var points = new List<(double[] State, double Norm, int Count)>();
        foreach (var (state, norm) in ends.OrderBy(e => e.Norm))
        {
            int near = points.FindIndex(p => Near(p.State, state));
            if (near < 0)
                points.Add((state, norm, 1));
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

    /// <remarks>On the CPU: few matrices, and not every CUDA build of Torch has eigenvalues of general ones.</remarks>
    private static Complex[] Eigenvalues(Tensor w, double[] state)
    {
        using var scope = NewDisposeScope();
        var slopes = tensor(state).square().neg_().add_(1);
        return [.. linalg.eigvals(slopes.unsqueeze(1).mul(w)).data<Complex>().OrderByDescending(e => e.Magnitude)];
    }

    private static void Check(Tensor weightHh, Tensor? drive, Tensor starts, FixedPointOptions options)
    {
        if (weightHh.dim() != 2 || weightHh.shape[0] != weightHh.shape[1] || weightHh.shape[0] == 0)
        {
            throw new ArgumentException(
                $"W_hh has the shape ({string.Join(", ", weightHh.shape)}): it must be square",
                nameof(weightHh)
            );
        }

        long hidden = weightHh.shape[0];
        if (drive is not null && (drive.dim() != 1 || drive.shape[0] != hidden))
        {
            throw new ArgumentException(
                $"the drive has the shape ({string.Join(", ", drive.shape)}): it must be ({hidden})",
                nameof(drive)
            );
        }

        if (starts.dim() != 2 || starts.shape[1] != hidden || starts.shape[0] == 0)
        {
            throw new ArgumentException(
                $"the starts have the shape ({string.Join(", ", starts.shape)}): it must be (N, {hidden}), N at least 1",
                nameof(starts)
            );
        }

        foreach (
            var (tensor, what, name) in new[]
            {
                (weightHh, "W_hh", nameof(weightHh)),
                (drive, "the drive", nameof(drive)),
                (starts, "the starts", nameof(starts)),
            }
        )
        {
            using var scope = NewDisposeScope();
            if (tensor is null)
                continue;
            if (!tensor.is_floating_point())
            {
                throw new ArgumentException(
                    $"{what}: the numbers are of the type {tensor.dtype}, not of a floating type",
                    name
                );
            }

            if (!tensor.isfinite().all().item<bool>())
                throw new ArgumentException($"{what}: not all numbers are finite", name);
        }
        if (!(options.Tolerance > 0))
            throw new ArgumentException($"the tolerance is {options.Tolerance}: it must be above 0", nameof(options));
        if (!(options.MergeDistance >= 0))
        {
            throw new ArgumentException(
                $"the distance for merging is {options.MergeDistance}: it must be at least 0",
                nameof(options)
            );
        }

        if (options.MaxIterations < 1)
        {
            throw new ArgumentException(
                $"there are {options.MaxIterations} iterations: there must be at least one",
                nameof(options)
            );
        }

        if (options.ChunkSize < 1)
        {
            throw new ArgumentException(
                $"a chunk has {options.ChunkSize} starts: it must have at least one",
                nameof(options)
            );
        }
    }
}
