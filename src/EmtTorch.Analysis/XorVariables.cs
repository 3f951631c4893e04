using System.Numerics;
using EmtTorch.Models;
using EmtTorch.Tasks;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Analysis;

/// <summary>
/// How well a linear function of h(t) gives the task's variable y(t + Ahead), on sequences that it was not fitted to.
/// </summary>
/// <param name="Ahead">From 1 − s, the oldest of the s variables, to 0, the newest, which is the output; above 0:
/// outputs that are still to come.</param>
/// <param name="Explained">R², over all components.</param>
/// <param name="SignRight">Share of components whose sign it gives.</param>
public sealed record LinearReading(int Ahead, double Explained, double SignRight);

/// <summary>Outputs after interventions through one basis.</summary>
/// <param name="Superposition">Share of the hidden state's variance that Σ Ψ_k x_k is, on sequences that Ψ was not
/// fitted to.</param>
/// <param name="Interventions">Nothing done, then each variable written, and each swapped with the next.</param>
/// <param name="AffectedAccuracy">Of the bits that interventions change, by the circuit, the share that is as the
/// circuit says, over all interventions.</param>
public sealed record SuperpositionResult(
    double Superposition,
    IReadOnlyList<InterventionResult> Interventions,
    double AffectedAccuracy
)
{
    /// <summary>The mean accuracy of interventions.</summary>
    public double Accuracy => Analysis.Interventions.Accuracy(Interventions);
}

/// <summary>
/// What a network trained on <see cref="Xor"/> keeps, beside two predictions: the circuit's, a shift register on s
/// variables whose last block multiplies, and the unrolled register's, a larger circuit that is linear.
/// </summary>
/// <remarks>
/// <para>
/// The circuit, x_s(t+1) = −x_i(t) · x_j(t) and x_k(t+1) = x_{k+1}(t), has no linear part in f: linearised at 0 it is a
/// shift without feedback, whose eigenvalues are all 0. So the linear theory predicts no persistent mode at all. At
/// contents x its Jacobian is that shift with −diag(x_j) and −diag(x_i) in the last block row. Where the contents are
/// ±1, D = diag(x) makes it the same matrix at each step, J(t) = D(t+1) C D(t)⁻¹, C the companion matrix of z^s =
/// z^{s−a} + z^{s−b}: an error, relative to each content, is multiplied by C. C's largest root is
/// above 1, so that this circuit alone would lose the bits to any noise.
/// </para>
/// <para>
/// The unrolled register: every history comes again after p steps (<see cref="Xor.Period"/>), so that p variables in a
/// row, the s of the history and the p − s outputs that come next, only rotate: x̂_k(t+1) = x̂_{k+1}(t), x̂_p(t+1) =
/// x̂_1(t). That is repeat copy of p variables, linear, with the p-th roots of 1
/// as eigenvalues, d times each. All products are taken while input comes; after that none is. It needs d·p dimensions
/// where the circuit needs d·s.
/// Its p numbers are products of s bits; where p = 2^s − 1 they are all products there are, and any function of one
/// component's history is a sum of them. That a state is their superposition says there only that components are kept
/// side by side; whether the network rotates, as this register does, is told by its spectrum.
/// </para>
/// <para>
/// Measured: how well each of these variables is read off h(t) linearly; the superposition h ≈ h₀ + Σ Ψ_k x_k by least
/// squares, once over the s variables and once over the p, and how much of h it is; interventions h ← h + Σ Ψ_k (x'_k −
/// x_k), after which the outputs must be the circuit's from the new history (over p variables x̂' is that history with
/// what follows it); the eigenvalues of G W_hh, the network linearised over all states that
/// it visits: G = diag(cov(tanh a_i, a_i) / var a_i), a = W_hh h + b, is tanh's best linear form there (there need be
/// no fixed point in their middle, and the mean of the Jacobians shrinks everything where tanh saturates); the fixed
/// points all the same;
/// and the growth of a small error a step, exp of
/// the mean of log |J(t) v| / |v| along trajectories, J(t) = diag(1 − h(t+1)²) W_hh (the largest Lyapunov exponent).
/// </para>
/// </remarks>
/// <example><code>
/// using var task = new Xor(d: 4, s: 3, delays: [1, 3], ScalarType.Float64, CPU);
/// var variables = XorVariables.Of(network, task);
/// foreach (var line in variables.Summary()) Console.WriteLine(line);
/// </code></example>
public sealed class XorVariables
{
    private const int Settling = 16,
        Measured = 64;

    private readonly List<string> _problems = [];

    private XorVariables(Xor task, int? period) => (Task, Period, CircuitEigenvalues) = (task, period, Companion(task));

    private Xor Task { get; }

    /// <summary>p, where the unrolled register's d·p numbers are no more than the hidden units; else null.</summary>
    public int? Period { get; }

    /// <summary>Share of output bits with the right sign on fresh sequences at the test's horizon.</summary>
    public double Accuracy { get; private set; }

    /// <summary>
    /// The s variables, oldest first, and the outputs that come next: p − s of them, or s where p is null.
    /// </summary>
    public IReadOnlyList<LinearReading> Readings { get; private set; } = [];

    /// <summary>Through the circuit's s variables.</summary>
    public SuperpositionResult Variables { get; private set; } = null!;

    /// <summary>Through the unrolled register's p variables; null where p is.</summary>
    public SuperpositionResult? Unrolled { get; private set; }

    /// <summary>What a small error is multiplied by in a step, on the geometric mean.</summary>
    public double Growth { get; private set; }

    /// <summary>
    /// C's eigenvalues, the roots of z^s = z^{s−a} + z^{s−b}: what an error of the circuit is multiplied by.
    /// </summary>
    public IReadOnlyList<Complex> CircuitEigenvalues { get; }

    /// <summary>The fixed points without input.</summary>
    public FixedPoints FixedPoints { get; private set; } = null!;

    /// <summary>The fixed point nearest to the mean of the visited states; null where none was found.</summary>
    public FixedPoint? Rest { get; private set; }

    /// <summary>
    /// The eigenvalues of G W_hh, linearised over the visited states, against the unrolled register's; null where p is.
    /// </summary>
    public SpectralComparison? Spectrum { get; private set; }

    /// <summary>What is to be known before the figures are read, a sentence each.</summary>
    public IReadOnlyList<string> Problems => _problems;

    /// <summary>Reads a network.</summary>
    /// <param name="network">A network of float64 on the CPU.</param>
    /// <param name="task">What it was trained on, in float64 on the CPU; to be disposed of after the result.</param>
    /// <param name="options">Null: the defaults. Of its interventions the batch is as large as the least squares need,
    /// if that is more.</param>
    /// <exception cref="ArgumentException">The network's inputs are not the task's variables, its weights are not
    /// finite, or the time of interventions is in the input phase.</exception>
    public static XorVariables Of(ElmanRnn network, Xor task, AnalysisOptions? options = null)
    {
        options ??= new();
        int s = task.InputSteps,
            d = task.Dimension,
            hidden = (int)network.RecurrentWeights.shape[0],
            time = options.Interventions.Time ?? 2 * s;
        if (network.InputWeights.shape[1] != d)
        {
            throw new ArgumentException(
                $"the network's inputs have {network.InputWeights.shape[1]} numbers, the task's variables {d}",
                nameof(network)
            );
        }

        if (time < s)
        {
            throw new ArgumentException(
                $"the time is {time}: the variables are loaded only after s = {s} steps",
                nameof(options)
            );
        }

        var result = new XorVariables(task, task.Period(hidden / d));
        using var quiet = no_grad();
        using var scope = NewDisposeScope();
        result.Compute(network, options, time);
        return result;
    }

    private void Compute(ElmanRnn network, AnalysisOptions options, int time)
    {
        int s = Task.InputSteps,
            d = Task.Dimension,
            hidden = (int)network.RecurrentWeights.shape[0],
            window = Period ?? 2 * s;
        Accuracy = Test(network, options);
        if (Period is null)
        {
            _problems.Add(
                $"The unrolled register has more numbers than the network has hidden units, {hidden}: it can't be "
                    + "held in superposition, and is not looked for."
            );
        }

        if (s * d < 31 && 1L << s * d <= hidden + 1)
        {
            _problems.Add(
                $"There are no more than 2^{s * d} = {1L << s * d} histories for {hidden} units: that variables "
                    + "can be read off linearly says little then."
            );
        }

        if (Period is { } all && s < 31 && all == (1 << s) - 1)
        {
            _problems.Add(
                $"With {all} = 2^{s} − 1 variables the unrolled register can hold any function of one component's "
                    + "history: its share of the state and its interventions say that components are kept side by "
                    + "side; the spectrum says whether they rotate."
            );
        }

        // Two sets of sequences, one to fit and one to measure on; s steps of each.
        using var generator = new Generator((ulong)options.Interventions.Seed, CPU);
        long batch = Math.Max(options.Interventions.BatchSize, 4 * Math.Max(hidden, d * window) / s + 64);
        var (input, target) = Task.Batch(2 * batch, time + s + window, generator);
        var sequence = cat([input, target]); // (T, 2B, d)
        var states = network.HiddenStates(input, time + s); // (time + s, 2B, H)
        Tensor All(Func<int, Tensor> at, int half) =>
            cat(Enumerable.Range(time, s).Select(t => at(t).narrow(0, half * batch, batch)).ToList());
        // Step t's output is the newest of the s variables.
        Tensor Window(int t, int length) =>
            sequence.narrow(0, t - s, length).transpose(0, 1).reshape(2 * batch, length * d);
        Tensor[] h = [All(t => states[t - 1], 0), All(t => states[t - 1], 1)]; // (s·B, H)
        var reading = linalg.pinv(WithConstant(h[0]), rtol: 1e-10);
        Readings =
        [
            .. Enumerable
                .Range(1 - s, window)
                .Select(ahead =>
                {
                    Tensor Wanted(int half) => All(t => sequence[t - 1 + ahead], half);
                    Tensor read = Affine(h[1], matmul(reading, Wanted(0))),
                        wanted = Wanted(1);
                    return new LinearReading(ahead, Explained(read, wanted), Mean(read.ge(0).eq(wanted.ge(0))));
                }),
        ];
        SuperpositionResult Through(int length)
        {
            Tensor Contents(int half) => All(t => Window(t, length), half);
            var psi = matmul(linalg.pinv(WithConstant(Contents(0)), rtol: 1e-10), h[0]); // (1 + length·d, H)
            var (interventions, affected) = Intervene(
                network,
                states[time - 1].narrow(0, 0, batch),
                Window(time, s).narrow(0, 0, batch).view(batch, s, d),
                psi.narrow(0, 1, length * d),
                options.Interventions
            );
            return new(Explained(Affine(Contents(1), psi), h[1]), interventions, affected);
        }
        Variables = Through(s);
        Unrolled = Period is { } p ? Through(p) : null;

        var visited = network
            .HiddenStates(input.narrow(1, 0, 64), s + Settling + Measured)
            .narrow(0, s, Settling + Measured);
        Growth = ErrorGrowth(network, visited, generator);
        var flat = visited.reshape(-1, hidden);
        var mean = flat.mean([0L], keepdim: true);
        FixedPoints = FixedPoints.Find(network, cat([mean, zeros_like(mean), FixedPoints.StartsFrom(visited, 126)]));
        _problems.AddRange(FixedPoints.Problems);
        var middle = Matrices.Values(mean);
        Rest = FixedPoints.Points.OrderBy(q => q.State.Zip(middle, (a, b) => (a - b) * (a - b)).Sum()).FirstOrDefault();
        if (Period is not { } roots)
            return;
        Spectrum = Analysis.Spectrum.Compare(
            Analysis.Spectrum.Eigenvalues(Circuit.Phi(LinearBinding.RepeatCopy(d, roots))),
            Linearized(network, flat),
            options.Memories.SpectralThreshold
        );
        if (Spectrum.Error is null)
        {
            _problems.Add(
                $"No spectral error: above {Spectrum.Threshold} in magnitude the unrolled register has "
                    + $"{Spectrum.CountTheory} of the eigenvalues, the network {Spectrum.CountLearned}."
            );
        }
    }

    /// <summary>What is found, in five lines or fewer.</summary>
    public IReadOnlyList<string> Summary()
    {
        int s = Task.InputSteps;
        double circuit = CircuitEigenvalues.Max(z => z.Magnitude);
        string Signs(IEnumerable<LinearReading> readings) =>
            Percent(readings.Select(r => r.SignRight).DefaultIfEmpty(double.NaN).Min());
        string Through(string what, SuperpositionResult r) =>
            $"{what} are {Percent(r.Superposition)} of its state; after they are changed {Percent(r.Accuracy)} of "
            + $"outputs are as predicted, of the bits that change {Percent(r.AffectedAccuracy)}.";
        List<string> lines =
        [
            FormattableString.Invariant(
                $"It continues the task with {Accuracy:P2} of output bits right; read off linearly, its {s} variables have their signs right in {Signs(Readings.Take(s))} and more, the outputs up to {Readings.Count - s} ahead in {Signs(Readings.Skip(s))} and more."
            ),
            Through($"The circuit's {s} variables", Variables),
        ];
        if (Unrolled is not null)
            lines.Add(Through($"The unrolled register's {Period}", Unrolled));
        lines.Say(
            $"A small error is multiplied by {Growth:F2} a step; by {circuit:F2} in the circuit that multiplies, by 1 in the unrolled one."
        );
        if (Spectrum is { } spectrum)
        {
            lines.Add(
                FormattableString.Invariant(
                    $"Linearised over the states it visits it has {spectrum.CountLearned} persistent eigenvalues; the unrolled register has {spectrum.CountTheory}"
                )
                    + $"{(spectrum.Error is { } e ? FormattableString.Invariant($", {e:F4} rad off on average") : "")}; the circuit that multiplies, linearised at 0, none."
            );
        }

        return lines;

        static string Percent(double share) =>
            double.IsFinite(share) ? FormattableString.Invariant($"{share:P1}") : "–";
    }

    /// <param name="network">The network.</param>
    /// <param name="at">h(t) (B, H).</param>
    /// <param name="variables">The history at t (B, s, d), oldest first.</param>
    /// <param name="psi">Ψ of the history and what follows it, (m·d, H), m ≥ s.</param>
    /// <param name="options">How long, and the seed of what is written.</param>
    private (List<InterventionResult> Results, double Affected) Intervene(
        ElmanRnn network,
        Tensor at,
        Tensor variables,
        Tensor psi,
        InterventionOptions options
    )
    {
        int s = Task.InputSteps,
            d = Task.Dimension,
            batch = (int)at.shape[0],
            horizon = options.Horizon ?? 2 * s,
            length = (int)psi.shape[0] / d;
        using var generator = new Generator((ulong)options.Seed, CPU);
        var plan = new List<(InterventionKind Kind, int Variable, int Other, Tensor History)>
        {
            (InterventionKind.None, 0, 0, variables),
        };
        for (int k = 0; k < s; k++)
        {
            var written = variables.clone();
            written
                .select(1, k)
                .copy_(
                    randint(0, 2, new long[] { batch, d }, dtype: ScalarType.Float64, generator: generator)
                        .mul_(2)
                        .sub_(1)
                );
            plan.Add((InterventionKind.Write, k + 1, 0, written));
        }
        for (int k = 0; k < s - (s == 2 ? 1 : 0); k++)
        {
            var swapped = variables.clone();
            int other = (k + 1) % s;
            swapped.select(1, k).copy_(variables.select(1, other));
            swapped.select(1, other).copy_(variables.select(1, k));
            plan.Add((InterventionKind.Swap, k + 1, other + 1, swapped));
        }
        // The history with what follows it: (B, m·d).
        Tensor Contents(Tensor history)
        {
            var first = history.transpose(0, 1);
            return (length == s ? first : cat([first, Task.Continue(first, length - s)]))
                .transpose(0, 1)
                .reshape(batch, length * d);
        }
        var now = Contents(variables);
        // All side by side, as one batch.
        var changed = cat(plan.Select(p => at + matmul(Contents(p.History) - now, psi)).ToList());
        var after = network.HiddenStates(
            zeros([0, batch * plan.Count, d], dtype: ScalarType.Float64),
            horizon + 1,
            (t, state) => t == 1 ? changed : state
        );
        var outputs = network.ReadOut(after.narrow(0, 1, horizon)).ge(0).chunk(plan.Count, 1);
        var predicted = plan.Select(p => Task.Continue(p.History.transpose(0, 1), horizon).ge(0)).ToList();
        var results = new List<InterventionResult>();
        double right = 0,
            count = 0;
        for (int i = 0; i < plan.Count; i++)
        {
            var agree = outputs[i].eq(predicted[i]).to_type(ScalarType.Float64);
            var affected = predicted[i].ne(predicted[0]).to_type(ScalarType.Float64);
            double some = Matrices.Values((agree * affected).sum())[0],
                all = Matrices.Values(affected.sum())[0];
            (right, count) = (right + some, count + all);
            results.Add(
                new(plan[i].Kind, plan[i].Variable, plan[i].Other, Matrices.Values(agree.mean())[0], some / all)
            );
        }
        return (results, right / count);
    }

    /// <returns>The eigenvalues of G W_hh over states (N, H).</returns>
    private static Complex[] Linearized(ElmanRnn network, Tensor states)
    {
        var sums = matmul(states, network.RecurrentWeights.t()); // a but for b
        var next = (network.RecurrentBias is { } bias ? sums + bias : sums).tanh();
        var deviations = sums - sums.mean([0L], keepdim: true);
        // A unit that stands still has no part in what persists.
        var gain = (deviations * next).sum([0L]) / deviations.square().sum([0L]).clamp_min(1e-300);
        return Analysis.Spectrum.Eigenvalues(gain.unsqueeze(1) * network.RecurrentWeights);
    }

    /// <summary>
    /// exp of the mean of log |J(t) v| / |v| along trajectories, once v has turned to the direction that grows most.
    /// </summary>
    /// <param name="network">The network.</param>
    /// <param name="states">h(1) … h(T), (T, B, H), without input.</param>
    /// <param name="generator">Of the first v.</param>
    private static double ErrorGrowth(ElmanRnn network, Tensor states, Generator generator)
    {
        var v = randn(states[0].shape, dtype: ScalarType.Float64, generator: generator);
        double sum = 0;
        for (int t = 1; t < states.shape[0]; t++)
        {
            using var scope = NewDisposeScope();
            var next = (1 - states[t].square()) * matmul(v, network.RecurrentWeights.t()); // (B, H)
            // Nothing is left of an error where all units are saturated; that is no growth, not a number to divide by.
            var size = next.norm(1, keepdim: true).clamp_min(1e-300);
            if (t >= Settling)
                sum += Matrices.Values(size.log().mean())[0];
            v = (next / size).MoveToOuterDisposeScope();
        }
        return Math.Exp(sum / (states.shape[0] - Settling));
    }

    /// <summary>The roots of z^s = z^{s−a} + z^{s−b}.</summary>
    private static Complex[] Companion(Xor task)
    {
        int s = task.InputSteps;
        var c = new double[s, s];
        for (int k = 1; k < s; k++)
            c[k - 1, k] = 1;
        foreach (int delay in task.Delays)
            c[s - 1, s - delay] = 1;
        return Analysis.Spectrum.Eigenvalues(tensor(c));
    }

    private double Test(ElmanRnn network, AnalysisOptions options)
    {
        using var generator = new Generator(12345, CPU);
        var (input, target) = Task.Batch(options.TestSequences, options.TestHorizon, generator);
        var output = network.forward(input, Task.InputSteps + options.TestHorizon, Task.InputSteps);
        return Mean(output.ge(0).eq(target.ge(0)));
    }

    private static Tensor Affine(Tensor from, Tensor coefficients) => matmul(WithConstant(from), coefficients);

    /// <summary>
    /// For least squares with a constant; by the pseudoinverse, as units that never differ, or always together, make
    /// columns dependent.
    /// </summary>
    private static Tensor WithConstant(Tensor matrix) =>
        cat([ones([matrix.shape[0], 1], dtype: ScalarType.Float64), matrix], 1);

    /// <summary>R²; NaN where nothing varies.</summary>
    private static double Explained(Tensor fitted, Tensor wanted)
    {
        double total = Matrices.Values((wanted - wanted.mean([0L], keepdim: true)).square().sum())[0];
        return total > 0 ? 1 - Matrices.Values((fitted - wanted).square().sum())[0] / total : double.NaN;
    }

    private static double Mean(Tensor flags) => Matrices.Values(flags.to_type(ScalarType.Float64).mean())[0];
}
