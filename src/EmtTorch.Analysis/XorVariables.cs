using System.Globalization;
using System.Numerics;
using EmtTorch.Models;
using EmtTorch.Tasks;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Analysis;

/// <summary>
/// The accuracy of the best linear function from h(t) to the variable y(t + Ahead), on new sequences.
/// </summary>
/// <param name="Ahead">From 1 − s, the oldest of the s variables, to 0, the newest, which is the output. Positive:
/// outputs still to come.</param>
/// <param name="Explained">R², over all components.</param>
/// <param name="SignRight">The share of components with the right sign.</param>
public sealed record LinearReading(int Ahead, double Explained, double SignRight);

/// <summary>The superposition h ≈ h₀ + Σ Ψ_k x_k in one basis Ψ, and the outputs after interventions in it.</summary>
/// <param name="Superposition">The share of the state's variance that the sum explains, on new sequences.</param>
/// <param name="Interventions">First none, then each variable written, then each swapped with the next.</param>
/// <param name="AffectedAccuracy">The same as in <see cref="InterventionResult"/>, over all interventions.</param>
public sealed record SuperpositionResult(
    double Superposition,
    IReadOnlyList<InterventionResult> Interventions,
    double AffectedAccuracy
)
{
    /// <summary>
    /// The null of the superposition: the share that a fit to the contents of other sequences explains.
    /// </summary>
    public double SuperpositionNull { get; init; } = double.NaN;

    /// <summary>The null of <see cref="AffectedAccuracy"/>, as in <see cref="InterventionResult"/>.</summary>
    public double AffectedNull { get; init; } = double.NaN;

    /// <summary>The mean accuracy of the interventions.</summary>
    public double Accuracy => VariableInterventions.MeanAccuracy(Interventions);
}

/// <summary>
/// The variables in a network trained on <see cref="Xor"/>, compared with two predictions. The circuit is a shift
/// register of s variables whose last block multiplies. The unrolled register is a larger circuit that is linear.
/// </summary>
/// <remarks>
/// <para>
/// The circuit is x_s(t+1) = −x_i(t) · x_j(t) and x_k(t+1) = x_{k+1}(t). Here f has no linear part: linearised at 0 the
/// circuit is a shift without feedback, and all its eigenvalues are 0. So the linear theory predicts no persistent
/// mode. At contents x the Jacobian is this shift with −diag(x_j) and −diag(x_i) in the last block row. For contents
/// ±1, with D = diag(x), it is the same matrix at each step: J(t) = D(t+1) C D(t)⁻¹, where C is the companion matrix of
/// z^s = z^{s−a} + z^{s−b}. So C multiplies an error relative to each content. The largest root of C is above 1: this
/// circuit alone would lose the bits to any noise.
/// </para>
/// <para>
/// The unrolled register uses that every history repeats after p steps (<see cref="Xor.Period"/>). So p consecutive
/// variables, the s of the history and the next p − s outputs, only rotate: x̂_k(t+1) = x̂_{k+1}(t), x̂_p(t+1) =
/// x̂_1(t). This is repeat copy of p variables: linear, with the p-th roots of 1 as eigenvalues, each d times. All
/// products are taken during the input phase, none later. It needs d·p dimensions; the circuit needs d·s. Its p numbers
/// are products of s bits. If p = 2^s − 1, they are all such products, and any function of one component's history is a
/// sum of them: then a good superposition only says that components are kept apart. The spectrum says whether the
/// network rotates.
/// </para>
/// <para>
/// Measured are: the linear reading of each variable; the superposition h ≈ h₀ + Σ Ψ_k x_k by least squares, over the s
/// variables and over the p; interventions h ← h + Σ Ψ_k (x'_k − x_k), after which the outputs should be the circuit's
/// from the new history; the eigenvalues of G W_hh, the network linearised over all visited states, with a = W_hh h + b
/// and G = diag(cov(tanh a_i, a_i) / var a_i), the best linear approximation of tanh there (there may be no fixed point
/// among these states, and the mean Jacobian shrinks every direction if tanh saturates); the fixed points; and the
/// growth of a small error per step, exp of the mean of log |J(t) v| / |v| along trajectories, J(t) = diag(1 − h(t+1)²)
/// W_hh (the largest Lyapunov exponent).
/// </para>
/// </remarks>
/// <example><code>
/// using var task = new Xor(d: 4, s: 3, delays: [1, 3], ScalarType.Float64, CPU);
/// var variables = XorVariables.Measure(network, task);
/// foreach (var line in variables.Summary()) Console.WriteLine(line);
/// </code></example>
public sealed class XorVariables
{
    private const int Settling = 16,
        Measured = 64;

    private readonly List<string> _problems = [];

    private XorVariables(Xor task, int? period) => (Task, Period, CircuitEigenvalues) = (task, period, FindRoots(task));

    private Xor Task { get; }

    /// <summary>p, or null if the d·p numbers of the unrolled register exceed the hidden units.</summary>
    public int? Period { get; }

    /// <summary>The share of output bits with the right sign, on fresh sequences at the horizon of the test.</summary>
    public double Accuracy { get; private set; }

    /// <summary>The s variables, oldest first, and the next outputs: p − s of them, or s if p is null.</summary>
    public IReadOnlyList<LinearReading> Readings { get; private set; } = [];

    /// <summary>The superposition of the circuit's s variables.</summary>
    public SuperpositionResult Variables { get; private set; } = null!;

    /// <summary>The superposition of the unrolled register's p variables, or null if p is.</summary>
    public SuperpositionResult? Unrolled { get; private set; }

    /// <summary>The growth of a small error per step: the geometric mean of the factors.</summary>
    public double Growth { get; private set; }

    /// <summary>
    /// The eigenvalues of C, the roots of z^s = z^{s−a} + z^{s−b}: the growth of an error in the circuit.
    /// </summary>
    public IReadOnlyList<Complex> CircuitEigenvalues { get; }

    /// <summary>The fixed points without input.</summary>
    public FixedPoints FixedPoints { get; private set; } = null!;

    /// <summary>The fixed point nearest to the mean of the visited states, or null if none was found.</summary>
    public FixedPoint? Rest { get; private set; }

    /// <summary>
    /// The eigenvalues of G W_hh, linearised over the visited states, against the unrolled register's, or null if p is.
    /// </summary>
    public SpectralComparison? Spectrum { get; private set; }

    /// <summary>The null of the spectrum: as many persistent eigenvalues at random angles.</summary>
    public SpectralNull? SpectrumNull { get; private set; }

    /// <summary>Sentences that a reader must know before trusting the numbers.</summary>
    public IReadOnlyList<string> Problems => _problems;

    /// <summary>Measures the variables of a network.</summary>
    /// <param name="network">A float64 network on the CPU.</param>
    /// <param name="task">The task that it was trained on, float64 on the CPU. Dispose of it after the result.</param>
    /// <param name="options">Null: the defaults. The batch grows to the size that least squares need.</param>
    /// <exception cref="ArgumentException">The network's inputs are not the task's variables, its weights are not
    /// finite, or the time of interventions is in the input phase.</exception>
    public static XorVariables Measure(ElmanRnn network, Xor task, AnalysisOptions? options = null)
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
        VariableInterventions.RefuseInputPhase(time, s);
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
        Accuracy = MeasureAccuracy(network, options);
        AddCaveats(hidden);
        using var generator = new Generator((ulong)options.Interventions.Seed, CPU);
        long batch = Math.Max(options.Interventions.BatchSize, 4 * Math.Max(hidden, d * window) / s + 64);
        var (input, target) = Task.Batch(2 * batch, time + s + window, generator);
        var sequence = cat([input, target]); // (T, 2B, d)
        var states = network.HiddenStates(input, time + s); // (time + s, 2B, H)
        MeasureVariables(network, sequence, states, window, time, options.Interventions);

        var visited = network
            .HiddenStates(input.narrow(1, 0, 64), s + Settling + Measured)
            .narrow(0, s, Settling + Measured);
        Growth = MeasureErrorGrowth(network, visited, generator);
        var flat = visited.reshape(-1, hidden);
        FindFixedPoints(network, visited, flat.mean([0L], keepdim: true));
        if (Period is { } period)
            CompareSpectrum(network, flat, period, options.Memories.SpectralThreshold);
    }

    /// <summary>The limits of the measures on this task and network.</summary>
    private void AddCaveats(int hidden)
    {
        int s = Task.InputSteps,
            d = Task.Dimension;
        if (Period is null)
        {
            _problems.Add(
                $"The unrolled register has more numbers than the network has hidden units, {hidden}: the network "
                    + "cannot hold it in superposition, and it is not looked for."
            );
        }
        if (s * d < 31 && 1L << s * d <= hidden + 1)
        {
            _problems.Add(
                $"There are no more than 2^{s * d} = {1L << s * d} histories for {hidden} units: a good linear "
                    + "reading of the variables says little then."
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
    }

    /// <summary>Readings and superpositions over s steps from a time on.</summary>
    /// <param name="sequence">Inputs and targets (T, 2B, d). Half of the batch is fitted to, half measured on.</param>
    /// <param name="states">h (time + s, 2B, H).</param>
    /// <param name="window">The number of readings.</param>
    /// <param name="options">The settings of interventions.</param>
    private void MeasureVariables(
        ElmanRnn network,
        Tensor sequence,
        Tensor states,
        int window,
        int time,
        InterventionOptions options
    )
    {
        int s = Task.InputSteps,
            d = Task.Dimension;
        long batch = sequence.shape[1] / 2;
        Tensor All(Func<int, Tensor> at, int half) =>
            cat(Enumerable.Range(time, s).Select(t => at(t).narrow(0, half * batch, batch)).ToList());
        // The newest of the s variables is the output of step t.
        Tensor Window(int t, int length) =>
            sequence.narrow(0, t - s, length).transpose(0, 1).reshape(2 * batch, length * d);
        Tensor[] h = [All(t => states[t - 1], 0), All(t => states[t - 1], 1)]; // (s·B, H)
        var reading = linalg.pinv(WithConstant(h[0]), rtol: 1e-10);
        Readings = [.. Enumerable.Range(1 - s, window).Select(Read)];
        Variables = Superpose(s);
        Unrolled = Period is { } p ? Superpose(p) : null;

        LinearReading Read(int ahead)
        {
            Tensor Wanted(int half) => All(t => sequence[t - 1 + ahead], half);
            Tensor read = Affine(h[1], matmul(reading, Wanted(0))),
                wanted = Wanted(1);
            return new(ahead, Explained(read, wanted), Mean(read.ge(0).eq(wanted.ge(0))));
        }

        SuperpositionResult Superpose(int length)
        {
            Tensor Contents(int half) => All(t => Window(t, length), half);
            var psi = matmul(linalg.pinv(WithConstant(Contents(0)), rtol: 1e-10), h[0]); // (1 + length·d, H)
            var result = Intervene(
                network,
                states[time - 1].narrow(0, 0, batch),
                Window(time, s).narrow(0, 0, batch).view(batch, s, d),
                psi.narrow(0, 1, length * d),
                options
            );
            var shuffled = matmul(linalg.pinv(WithConstant(Contents(0).roll(1, 0)), rtol: 1e-10), h[0]);
            return result with
            {
                Superposition = Explained(Affine(Contents(1), psi), h[1]),
                SuperpositionNull = Explained(Affine(Contents(1).roll(1, 0), shuffled), h[1]),
            };
        }
    }

    private void FindFixedPoints(ElmanRnn network, Tensor visited, Tensor mean)
    {
        FixedPoints = FixedPoints.Find(network, cat([mean, zeros_like(mean), FixedPoints.DrawStarts(visited, 126)]));
        _problems.AddRange(FixedPoints.Problems);
        Rest = FixedPoints.FindNearest(Matrices.Values(mean));
    }

    private void CompareSpectrum(ElmanRnn network, Tensor states, int period, double threshold)
    {
        Spectrum = Spectra.Compare(
            Spectra.Eigenvalues(Circuit.Phi(LinearBinding.RepeatCopy(Task.Dimension, period))),
            Linearize(network, states),
            threshold
        );
        SpectrumNull = SpectralNull.Measure(Spectrum);
        if (Spectrum.Error is null)
        {
            _problems.Add(
                $"No spectral error: above {Spectrum.Threshold} in magnitude the unrolled register has "
                    + $"{Spectrum.CountTheory} of the eigenvalues, the network {Spectrum.CountLearned}."
            );
        }
    }

    /// <summary>The findings in at most five sentences.</summary>
    public IReadOnlyList<string> Summary()
    {
        int s = Task.InputSteps;
        double circuit = CircuitEigenvalues.Max(z => z.Magnitude);
        string Signs(IEnumerable<LinearReading> readings) =>
            Percent(readings.Select(r => r.SignRight).DefaultIfEmpty(double.NaN).Min());
        string Describe(string what, SuperpositionResult r) =>
            $"{what} are {Percent(r.Superposition)} of its state "
            + $"({Percent(Math.Max(0, r.SuperpositionNull))} with another sequence's contents); after they are changed "
            + $"{Percent(r.AffectedAccuracy)} of the bits that change are as predicted "
            + $"({Percent(r.AffectedNull)} if the state is moved as far in random directions).";
        List<string> lines =
        [
            $"It continues the task with {Percent(Accuracy, "P2")} of output bits right; read off linearly, its {s} "
                + $"variables have their signs right in {Signs(Readings.Take(s))} and more, the outputs up to "
                + $"{Readings.Count - s} ahead in {Signs(Readings.Skip(s))} and more.",
            Describe($"The circuit's {s} variables", Variables),
        ];
        if (Unrolled is not null)
            lines.Add(Describe($"The unrolled register's {Period}", Unrolled));
        var growth = FormattableString.Invariant($"{Growth:F2} a step; by {circuit:F2} in the circuit that multiplies");
        lines.Add($"A small error is multiplied by {growth}, by 1 in the unrolled one.");
        if (Spectrum is { } spectrum)
        {
            var error = spectrum.Error is { } e
                ? FormattableString.Invariant(
                    $", {e:F4} rad off on average ({SpectrumNull?.Error:F4} at random angles)"
                )
                : "";
            lines.Add(
                $"Linearised over the states it visits it has {spectrum.CountLearned} persistent eigenvalues; the "
                    + $"unrolled register has {spectrum.CountTheory}{error}; the circuit that multiplies, linearised "
                    + "at 0, none."
            );
        }
        return lines;

        static string Percent(double share, string format = "P1") =>
            double.IsFinite(share) ? share.ToString(format, CultureInfo.InvariantCulture) : "–";
    }

    /// <summary>A change of the history (B, s, d), oldest variable first.</summary>
    private sealed record Change(InterventionKind Kind, int Variable, int Other, Tensor History);

    /// <summary>Changes variables, and compares the outputs with the circuit's from the new history.</summary>
    /// <param name="at">h(t) (B, H).</param>
    /// <param name="variables">The history at t (B, s, d), oldest first.</param>
    /// <param name="psi">Ψ of the history and the outputs that follow it, (m·d, H), m ≥ s.</param>
    /// <param name="options">The horizon, and the seed of the written values.</param>
    private SuperpositionResult Intervene(
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
        var plan = Plan(variables, generator);
        // The history with the outputs that follow it: (B, m·d).
        Tensor Contents(Tensor history)
        {
            var first = history.transpose(0, 1);
            return (length == s ? first : cat([first, Task.Continue(first, length - s)]))
                .transpose(0, 1)
                .reshape(batch, length * d);
        }
        var now = Contents(variables);
        // All changes side by side, as one batch: in the directions of the variables, then in random ones.
        var changes = cat(plan.Select(p => matmul(Contents(p.History) - now, psi)).ToList());
        var rotation = Initialization.Orthonormal(changes.shape[1], changes.shape[1], generator);
        var changed = at.repeat(2 * plan.Count, 1) + cat([changes, matmul(changes, rotation)]);
        var after = network.HiddenStates(
            zeros([0, changed.shape[0], d], dtype: ScalarType.Float64),
            horizon + 1,
            (t, state) => t == 1 ? changed : state
        );
        var outputs = network.ReadOut(after.narrow(0, 1, horizon)).ge(0).chunk(2 * plan.Count, 1);
        var predicted = plan.Select(p => Task.Continue(p.History.transpose(0, 1), horizon).ge(0)).ToList();
        return Compare(plan, outputs, predicted);
    }

    /// <param name="plan">The changes; the first is none.</param>
    /// <param name="outputs">The signs of the outputs (horizon, B, d) after each, then after each null.</param>
    /// <param name="predicted">The signs that the circuit predicts after each.</param>
    private static SuperpositionResult Compare(List<Change> plan, Tensor[] outputs, List<Tensor> predicted)
    {
        var results = new List<InterventionResult>();
        double right = 0,
            count = 0,
            random = 0;
        for (int i = 0; i < plan.Count; i++)
        {
            var affected = predicted[i].ne(predicted[0]).to_type(ScalarType.Float64);
            double Right(Tensor output) => Matrices.Values((output.eq(predicted[i]) * affected).sum())[0];
            double own = Right(outputs[i]),
                turned = Right(outputs[plan.Count + i]),
                all = Matrices.Values(affected.sum())[0];
            (right, count, random) = (right + own, count + all, random + turned);
            results.Add(
                new(
                    plan[i].Kind,
                    plan[i].Variable,
                    plan[i].Other,
                    Mean(outputs[i].eq(predicted[i])),
                    own / all,
                    1 - Matrices.Values(affected.mean())[0]
                )
                {
                    AffectedNull = turned / all,
                }
            );
        }
        return new(double.NaN, results, right / count) { AffectedNull = random / count };
    }

    /// <summary>No change, each variable written, each swapped with the next.</summary>
    private List<Change> Plan(Tensor variables, Generator generator)
    {
        int s = Task.InputSteps;
        var plan = new List<Change> { new(InterventionKind.None, 0, 0, variables) };
        for (int k = 0; k < s; k++)
        {
            var written = variables.clone();
            written.select(1, k).copy_(VariableInterventions.DrawValues(variables.shape[0], Task.Dimension, generator));
            plan.Add(new(InterventionKind.Write, k + 1, 0, written));
        }
        for (int k = 0; k < s - (s == 2 ? 1 : 0); k++) // of two variables there is one pair
        {
            var swapped = variables.clone();
            int other = (k + 1) % s;
            swapped.select(1, k).copy_(variables.select(1, other));
            swapped.select(1, other).copy_(variables.select(1, k));
            plan.Add(new(InterventionKind.Swap, k + 1, other + 1, swapped));
        }
        return plan;
    }

    /// <returns>The eigenvalues of G W_hh over states (N, H).</returns>
    private static Complex[] Linearize(ElmanRnn network, Tensor states)
    {
        var sums = matmul(states, network.RecurrentWeights.t()); // a − b
        var next = (network.RecurrentBias is { } bias ? sums + bias : sums).tanh();
        var deviations = sums - sums.mean([0L], keepdim: true);
        // A constant unit has no part in the persistent dynamics.
        var gain = (deviations * next).sum([0L]) / deviations.square().sum([0L]).clamp_min(1e-300);
        return Spectra.Eigenvalues(gain.unsqueeze(1) * network.RecurrentWeights);
    }

    /// <summary>exp of the mean of log |J(t) v| / |v| along trajectories, after v has settled.</summary>
    /// <param name="states">h(1) … h(T), (T, B, H), without input.</param>
    /// <param name="generator">The source of the first v.</param>
    private static double MeasureErrorGrowth(ElmanRnn network, Tensor states, Generator generator)
    {
        var v = randn(states[0].shape, dtype: ScalarType.Float64, generator: generator);
        double sum = 0;
        for (int t = 1; t < states.shape[0]; t++)
        {
            using var scope = NewDisposeScope();
            var next = (1 - states[t].square()) * matmul(v, network.RecurrentWeights.t()); // (B, H)
            // An error vanishes if all units are saturated.
            var size = next.norm(1, keepdim: true).clamp_min(1e-300);
            if (t >= Settling)
                sum += Matrices.Values(size.log().mean())[0];
            v = (next / size).MoveToOuterDisposeScope();
        }
        return Math.Exp(sum / (states.shape[0] - Settling));
    }

    /// <summary>The roots of z^s = z^{s−a} + z^{s−b}.</summary>
    private static Complex[] FindRoots(Xor task)
    {
        int s = task.InputSteps;
        var c = new double[s, s];
        for (int k = 1; k < s; k++)
            c[k - 1, k] = 1;
        foreach (int delay in task.Delays)
            c[s - 1, s - delay] = 1;
        return Spectra.Eigenvalues(tensor(c));
    }

    private double MeasureAccuracy(ElmanRnn network, AnalysisOptions options)
    {
        using var generator = new Generator(12345, CPU);
        var (input, target) = Task.Batch(options.TestSequences, options.TestHorizon, generator);
        var output = network.forward(input, Task.InputSteps + options.TestHorizon, Task.InputSteps);
        return Mean(output.ge(0).eq(target.ge(0)));
    }

    private static Tensor Affine(Tensor from, Tensor coefficients) => matmul(WithConstant(from), coefficients);

    /// <summary>
    /// A column of ones, for least squares with a constant. Constant or equal units make columns dependent, so the
    /// pseudoinverse solves it.
    /// </summary>
    private static Tensor WithConstant(Tensor matrix) =>
        cat([ones([matrix.shape[0], 1], dtype: ScalarType.Float64), matrix], 1);

    /// <summary>R², or NaN if nothing varies.</summary>
    private static double Explained(Tensor fitted, Tensor wanted)
    {
        double total = Matrices.Values((wanted - wanted.mean([0L], keepdim: true)).square().sum())[0];
        return total > 0 ? 1 - Matrices.Values((fitted - wanted).square().sum())[0] / total : double.NaN;
    }

    private static double Mean(Tensor flags) => Matrices.Values(flags.to_type(ScalarType.Float64).mean())[0];
}
