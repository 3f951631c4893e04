using EmtTorch.Kernels;
using EmtTorch.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Analysis;

/// <summary>σ, by its kind; σ(x) is kind(gain · x), applied to each neuron.</summary>
public enum Nonlinearity
{
    /// <summary>σ(x) = gain · x.</summary>
    Identity,

    /// <summary>σ(x) = tanh(gain · x).</summary>
    Tanh,
}

/// <summary>How an ODE is stepped.</summary>
public enum Integrator
{
    /// <summary>Forward Euler, of order 1.</summary>
    Euler,

    /// <summary>The classical Runge–Kutta method, of order 4.</summary>
    Rk4,
}

/// <summary>All of GSEMM's numbers but its synapses (Eq. 1). The defaults give Eq. 20 as the discrete limit.</summary>
public sealed record GsemmSettings
{
    /// <summary>T_f > 0, in the unit of time in which the model is integrated, as are T_h and T_d.</summary>
    public double FeatureTimescale { get; init; } = 1;

    /// <summary>
    /// T_h ≥ 0. At 0 the hidden neurons follow without delay: V_h is what its equation's right side makes 0 (Eq. 16).
    /// </summary>
    public double HiddenTimescale { get; init; }

    /// <summary>T_d ≥ 0. At 0 the delay neurons follow without delay: V_d = σ_f(V_f) (Eq. 16).</summary>
    public double DelayTimescale { get; init; }

    /// <summary>α_s > 0, the strength of the memories' own synapses.</summary>
    public double AlphaS { get; init; } = 1;

    /// <summary>α_c, the strength of the synapses between memories.</summary>
    public double AlphaC { get; init; } = 1;

    /// <summary>σ_f.</summary>
    public Nonlinearity FeatureNonlinearity { get; init; } = Nonlinearity.Tanh;

    /// <summary>The gain of σ_f, above 0.</summary>
    public double FeatureGain { get; init; } = 1;

    /// <summary>σ_h; the paper's step from Eq. 17 to Eq. 18 takes the identity.</summary>
    public Nonlinearity HiddenNonlinearity { get; init; } = Nonlinearity.Identity;

    /// <summary>The gain of σ_h, above 0.</summary>
    public double HiddenGain { get; init; } = 1;
}

/// <summary>B states of GSEMM, a row each.</summary>
/// <param name="Feature">V_f (B, N_f).</param>
/// <param name="Hidden">V_h (B, N_h).</param>
/// <param name="Delay">V_d (B, N_f).</param>
public sealed record GsemmState(Tensor Feature, Tensor Hidden, Tensor Delay);

/// <summary>What <see cref="Gsemm.Integrate"/> recorded: T moments, the first being the start.</summary>
/// <param name="Times">(T), in the settings' unit of time.</param>
/// <param name="Feature">V_f (T, B, N_f).</param>
/// <param name="Hidden">V_h (T, B, N_h).</param>
/// <param name="Delay">V_d (T, B, N_f).</param>
public sealed record GsemmTrajectory(double[] Times, Tensor Feature, Tensor Hidden, Tensor Delay)
{
    /// <summary>The last recorded states.</summary>
    public GsemmState Last => new(Feature[Times.Length - 1], Hidden[Times.Length - 1], Delay[Times.Length - 1]);
}

/// <summary>A state left the region that the exact solution stays in, or is no longer finite.</summary>
/// <param name="time">When this was seen, in the settings' unit of time.</param>
/// <param name="message">What was seen, and what to change.</param>
public sealed class GsemmDivergedException(double time, string message) : ArithmeticException(message)
{
    public double Time { get; } = time;
}

/// <summary>
/// The General Sequential Episodic Memory Model with the pseudoinverse learning rule (Karuvally et al. 2023, Eq. 1), in
/// float64:
/// <code>
/// T_f dV_f/dt = √α_s Ξ σ_h(V_h) − V_f
/// T_h dV_h/dt = √α_s Ξ† σ_f(V_f) + α_c Φ'ᵀ Ξ† V_d − V_h
/// T_d dV_d/dt = σ_f(V_f) − V_d
/// </code>
/// The columns of Ξ (N_f, N_h) are the memories; Φ' (N_h, N_h) says how they follow each other: Φ'[i, j] is what memory
/// i, delayed, adds to memory j. States are rows here, so that a batch of them is (B, N_f).
/// </summary>
/// <remarks>
/// Where the paper differs with itself, this follows its section 3: Ξ† (the appendix writes Ξᵀ), and Φᵀ = I + Φ'ᵀ (the
/// appendix writes Φ for Φ'). The appendix also leaves the strengths out; they are kept, see <see cref="Discrete"/>.
/// </remarks>
/// <example><code>
/// using var gsemm = new Gsemm(memories, Gsemm.Sequence(6, cyclic: true), new() { FeatureGain = 4, HiddenTimescale = 0.2, DelayTimescale = 20 });
/// var trajectory = gsemm.Integrate(gsemm.Start(cue), Integrator.Rk4, step: 0.05, length: 100, recordEvery: 10);
/// var overlaps = gsemm.Overlaps(trajectory.Feature); // (T, B, N_h)
/// </code></example>
public sealed class Gsemm : IDisposable
{
    private readonly Tensor _memories; // Ξᵀ (N_h, N_f), as all of these transposed for states that are rows
    private readonly Tensor _dual; // (Ξ†)ᵀ (N_f, N_h)
    private readonly Tensor _sequence; // Φ' (N_h, N_h)
    private readonly Tensor _gram; // ΞᵀΞ (N_h, N_h)
    private readonly Tensor _fromFeature,
        _fromDelay,
        _toFeature; // the same with their strengths: √α_s (Ξ†)ᵀ, α_c (Ξ†)ᵀ Φ', √α_s Ξᵀ
    private readonly bool _orthogonal;

    public GsemmSettings Settings { get; }

    /// <summary>N_f.</summary>
    public long Features { get; }

    /// <summary>N_h.</summary>
    public long Memories { get; }

    /// <summary>Copies both matrices; what it holds is freed by <see cref="Dispose"/>.</summary>
    /// <param name="memories">Ξ (N_f, N_h), its columns linearly independent.</param>
    /// <param name="sequence">Φ' (N_h, N_h); <see cref="Sequence"/> makes one.</param>
    /// <param name="settings">The numbers.</param>
    /// <exception cref="ArgumentException">A shape is wrong, a number is not finite or out of its range, or the
    /// memories are linearly dependent.</exception>
    public Gsemm(Tensor memories, Tensor sequence, GsemmSettings? settings = null)
    {
        Settings = settings ?? new();
        Check(Settings);
        if (memories.dim() != 2 || memories.shape[0] == 0 || memories.shape[1] == 0)
        {
            throw new ArgumentException(
                $"the memories Ξ have the shape ({Shape(memories)}); needed: (N_f, N_h)",
                nameof(memories)
            );
        }

        (Features, Memories) = (memories.shape[0], memories.shape[1]);
        if (sequence.dim() != 2 || sequence.shape[0] != Memories || sequence.shape[1] != Memories)
        {
            throw new ArgumentException(
                $"Φ' has the shape ({Shape(sequence)}); needed: (N_h, N_h) = ({Memories}, {Memories})",
                nameof(sequence)
            );
        }

        using var grad = no_grad();
        using var scope = NewDisposeScope();
        var xi = memories.detach().to(ScalarType.Float64).cpu();
        var phi = sequence.detach().to(ScalarType.Float64).cpu();
        if (!IsFinite(xi))
            throw new ArgumentException("the memories Ξ hold numbers that are not finite", nameof(memories));
        if (!IsFinite(phi))
            throw new ArgumentException("Φ' holds numbers that are not finite", nameof(sequence));
        if (Memories > Features)
        {
            throw new ArgumentException(
                $"{Memories} memories of {Features} features are linearly dependent; the pseudoinverse rule (Ξ†Ξ = "
                    + "I) needs independent ones, N_h ≤ N_f",
                nameof(memories)
            );
        }

        var singular = linalg.svdvals(xi).data<double>().ToArray();
        // Below this Ξ†Ξ = I holds to fewer than about six digits.
        if (!(singular[^1] > 1e-10 * singular[0]))
        {
            throw new ArgumentException(
                $"the memories are linearly dependent: Ξ's smallest singular value is {singular[^1]:0.###e+0}, its "
                    + $"largest {singular[0]:0.###e+0}; the pseudoinverse rule (Ξ†Ξ = I) needs a ratio above 1e-10",
                nameof(memories)
            );
        }

        double s = Math.Sqrt(Settings.AlphaS);
        var dual = linalg.pinv(xi).t(); // (N_f, N_h)
        _memories = Keep(xi.t());
        _dual = Keep(dual);
        _sequence = Keep(phi);
        _gram = Keep(xi.t().matmul(xi));
        _fromFeature = Keep(dual * s);
        _fromDelay = Keep(dual.matmul(phi) * Settings.AlphaC);
        _toFeature = Keep(xi.t() * s);
        var diagonal = _gram.diagonal();
        _orthogonal = (_gram - diagonal.diag()).abs().max().ToDouble() <= 1e-10 * diagonal.max().ToDouble();

        static Tensor Keep(Tensor tensor) => tensor.contiguous().clone().DetachFromDisposeScope();
    }

    /// <summary>
    /// Φ' of a sequence, by Φ = I + Φ' (Eq. 20): Φ[i, i+1] = 1 and nothing else in row i, so that Φᵀ takes memory i to
    /// memory i+1 alone. The last one goes on to the first where the sequence is cyclic, and stays where it is not. So
    /// Φ'[i, i+1] = 1 and Φ'[i, i] = −1: the delayed memory brings up the next one, and puts itself down.
    /// </summary>
    /// <remarks>Without the −1, which the paper neither asks for nor rules out, mixtures of memories last, and often
    /// end the sequence (experiments/gsemm/README.md).</remarks>
    /// <param name="memories">N_h.</param>
    /// <param name="cyclic">Whether the first follows the last.</param>
    /// <returns>(memories, memories), float64.</returns>
    /// <exception cref="ArgumentOutOfRangeException">There are fewer than one memory.</exception>
    public static Tensor Sequence(int memories, bool cyclic)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(memories, 1);
        var phi = new double[memories, memories];
        for (int i = 0; i < (cyclic ? memories : memories - 1); i++)
        {
            phi[i, i]--;
            phi[i, (i + 1) % memories]++;
        }
        return tensor(phi);
    }

    /// <summary>
    /// A state to start from. The paper gives none: the delay neurons are 0, as if nothing had come before, unless
    /// given; the hidden neurons are where these two hold them still.
    /// </summary>
    /// <param name="feature">V_f (B, N_f).</param>
    /// <param name="delay">V_d (B, N_f), or null for 0.</param>
    /// <exception cref="ArgumentException">A shape is wrong or a number not finite.</exception>
    public GsemmState Start(Tensor feature, Tensor? delay = null)
    {
        using var grad = no_grad();
        using var scope = NewDisposeScope();
        var f = Rows(feature, Features, nameof(feature)).clone();
        var d = delay is null ? zeros_like(f) : Rows(delay, Features, nameof(delay)).clone();
        if (!d.shape.SequenceEqual(f.shape))
        {
            throw new ArgumentException(
                $"V_d is ({Shape(d)}) and V_f ({Shape(f)}); they must have one shape",
                nameof(delay)
            );
        }

        var (hidden, delayed) = Followers(f, null, d);
        return new(f.MoveToOuterDisposeScope(), hidden.MoveToOuterDisposeScope(), delayed.MoveToOuterDisposeScope());
    }

    /// <summary>
    /// Integrates Eq. 1. With T_h = T_d = 0 it integrates T_f dV_f/dt = Ξ Φᵀ Ξ† σ_f(V_f) − V_f, of which one Euler step
    /// of T_f is Eq. 20.
    /// </summary>
    /// <param name="start">V_f (B, N_f), V_h (B, N_h), V_d (B, N_f); neurons whose timescale is 0 take the value that
    /// they follow instead.</param>
    /// <param name="integrator">Euler or RK4.</param>
    /// <param name="step">Δt, in the settings' unit of time.</param>
    /// <param name="length">Of the whole, in the same unit: a whole number of steps, to rounding.</param>
    /// <param name="recordEvery">Steps between two records, a divisor of all steps.</param>
    /// <exception cref="ArgumentException">An argument is out of its range, a shape is wrong, or a number is not
    /// finite.</exception>
    /// <exception cref="GsemmDivergedException">At a record the state is not finite, or, where σ_f is bounded, beyond
    /// twice the bound that the exact solution keeps to.</exception>
    public GsemmTrajectory Integrate(
        GsemmState start,
        Integrator integrator,
        double step,
        double length,
        int recordEvery = 1
    )
    {
        if (!double.IsFinite(step) || step <= 0)
            throw new ArgumentOutOfRangeException(nameof(step), step, "the step must be above 0");
        if (!double.IsFinite(length) || length <= 0)
            throw new ArgumentOutOfRangeException(nameof(length), length, "the length must be above 0");
        ArgumentOutOfRangeException.ThrowIfLessThan(recordEvery, 1);
        double exact = length / step;
        long steps = (long)Math.Round(Math.Min(exact, 1e12));
        if (steps < 1 || Math.Abs(exact - steps) > 1e-9 * exact)
        {
            throw new ArgumentException(
                $"the length {length} is {exact} steps of {step}; needed: a whole number of steps"
            );
        }

        if (steps % recordEvery != 0)
        {
            throw new ArgumentException(
                $"{steps} steps can't be recorded every {recordEvery}: it must be a divisor of them",
                nameof(recordEvery)
            );
        }

        using var grad = no_grad();
        using var scope = NewDisposeScope();
        var f = Rows(start.Feature, Features, "V_f").clone(); // (B, N_f)
        var h = Rows(start.Hidden, Memories, "V_h").clone(); // (B, N_h)
        var d = Rows(start.Delay, Features, "V_d").clone(); // (B, N_f)
        if (h.shape[0] != f.shape[0] || d.shape[0] != f.shape[0])
        {
            throw new ArgumentException(
                $"V_f has {f.shape[0]} rows, V_h {h.shape[0]} and V_d {d.shape[0]}; they must have as many",
                nameof(start)
            );
        }

        double bound = Bound(f, h, d);
        List<Tensor> features = [],
            hidden = [],
            delays = [];
        Record();
        for (long n = 1; n <= steps; n++)
        {
            using (var inner = NewDisposeScope())
            {
                var k1 = Rates(f, h, d);
                if (integrator == Integrator.Euler)
                {
                    Advance(step, k1);
                }
                else
                {
                    var k2 = Rates(f + k1.F * (step / 2), h + k1.H * (step / 2), d + k1.D * (step / 2));
                    var k3 = Rates(f + k2.F * (step / 2), h + k2.H * (step / 2), d + k2.D * (step / 2));
                    var k4 = Rates(f + k3.F * step, h + k3.H * step, d + k3.D * step);
                    Advance(step / 6, k1, k4);
                    Advance(step / 3, k2, k3);
                }
            }
            if (n % recordEvery != 0)
                continue;
            Record();
            double largest = Math.Max(Largest(features[^1]), Math.Max(Largest(hidden[^1]), Largest(delays[^1])));
            if (!(largest <= 2 * bound && double.IsFinite(largest)))
            {
                throw new GsemmDivergedException(
                    n * step,
                    $"at t = {n * step:0.######} the state is {(double.IsFinite(largest) ? $"{largest:0.###e+0} large, while the exact solution stays within {bound:0.###e+0}" : "not finite")}: "
                        + (
                            double.IsFinite(bound)
                                ? $"the step {step} is too large for {integrator} and the timescales {string.Join(", ", Timescales())}"
                                : $"either the step {step} is too large for {integrator} and the timescales {string.Join(", ", Timescales())}, or the solution itself grows without limit, as σ_f is not bounded"
                        )
                );
            }
        }
        var times = Enumerable.Range(0, features.Count).Select(i => i * (double)recordEvery * step).ToArray();
        return new(
            times,
            stack(features).MoveToOuterDisposeScope(),
            stack(hidden).MoveToOuterDisposeScope(),
            stack(delays).MoveToOuterDisposeScope()
        );

        void Advance(double by, params ReadOnlySpan<(Tensor F, Tensor H, Tensor D)> rates)
        {
            foreach (var rate in rates)
            {
                f.add_(rate.F, by);
                h.add_(rate.H, by);
                d.add_(rate.D, by);
            }
        }

        void Record()
        {
            var (hiddenNow, delayNow) = Followers(f, h, d);
            features.Add(f.clone());
            hidden.Add(hiddenNow.clone());
            delays.Add(delayNow.clone());
        }
    }

    /// <summary>
    /// One step of the discrete limit, T_f = 1 and T_h = T_d = 0 (Eq. 20): V_f(t+1) = Ξ Φᵀ Ξ† σ_f(V_f(t)), with Φᵀ = I
    /// + Φ'ᵀ for α_s = α_c = 1, and α_s I + √α_s α_c Φ'ᵀ in general. A σ_h that is not the identity stays where Eq. 17
    /// has it.
    /// The settings' timescales have no part in it.
    /// </summary>
    /// <param name="feature">V_f(t) (B, N_f).</param>
    /// <returns>V_f(t+1) (B, N_f).</returns>
    /// <exception cref="ArgumentException">The shape is wrong or a number not finite.</exception>
    public Tensor DiscreteStep(Tensor feature)
    {
        using var grad = no_grad();
        using var scope = NewDisposeScope();
        return DiscreteOf(Rows(feature, Features, nameof(feature))).MoveToOuterDisposeScope();
    }

    /// <summary>V_f(0) … V_f(steps) by <see cref="DiscreteStep"/>.</summary>
    /// <param name="feature">V_f(0) (B, N_f).</param>
    /// <param name="steps">How many steps.</param>
    /// <returns>(steps + 1, B, N_f).</returns>
    /// <exception cref="ArgumentException">The shape is wrong, a number not finite, or there are fewer than 0
    /// steps.</exception>
    public Tensor Discrete(Tensor feature, int steps) => Orbit(feature, nameof(feature), steps, DiscreteOf);

    /// <summary>
    /// The Elman form of the discrete limit (Eq. 23): h(t+1) = σ_f(Ξ Φᵀ Ξ† h(t)), h(0) … h(steps). With h(0) =
    /// σ_f(V_f(0)) it is h(t) = σ_f(V_f(t)) for all t (Eq. 24).
    /// </summary>
    /// <remarks>
    /// The paper asks for ‖Ξ Φᵀ Ξ†‖ ≤ 1. The identity h⁻¹ ∘ g ∘ h = f of Eq. 24 uses only that σ_f is invertible from
    /// V_f to h, which holds at any norm; no norm is asked for here.
    /// </remarks>
    /// <param name="hidden">h(0) (B, N_f).</param>
    /// <param name="steps">How many steps.</param>
    /// <returns>(steps + 1, B, N_f).</returns>
    /// <exception cref="ArgumentException">The shape is wrong, a number not finite, or there are fewer than 0
    /// steps.</exception>
    public Tensor Elman(Tensor hidden, int steps) => Orbit(hidden, nameof(hidden), steps, h => FeatureOutput(Drive(h)));

    /// <summary>
    /// W_hh of the <see cref="Models.ElmanRnn"/>, h(t+1) = tanh(W_hh h(t)), that is the discrete limit's Elman form:
    /// gain · Ξ Φᵀ Ξ†.
    /// </summary>
    /// <returns>(N_f, N_f), float64.</returns>
    /// <exception cref="InvalidOperationException">σ_f is not tanh or σ_h not the identity: then the network is no such
    /// one.</exception>
    public Tensor ElmanWeights()
    {
        if (Settings.FeatureNonlinearity != Nonlinearity.Tanh || Settings.HiddenNonlinearity != Nonlinearity.Identity)
        {
            throw new InvalidOperationException(
                $"an Elman network needs σ_f = tanh and σ_h = identity; found {Settings.FeatureNonlinearity} and "
                    + $"{Settings.HiddenNonlinearity}"
            );
        }

        using var grad = no_grad();
        using var scope = NewDisposeScope();
        // Row j of Drive(I) is what the unit vector j becomes: W's column j.
        return (Drive(eye(Features, dtype: ScalarType.Float64)).t() * Settings.FeatureGain)
            .contiguous()
            .MoveToOuterDisposeScope();
    }

    /// <summary>
    /// How much of each memory the output of the feature neurons holds: m = Ξ† σ_f(V_f), the coordinates in the
    /// memories. At σ_f(V_f) = memory i it is 1 for i and 0 for all others, however correlated they are, which a cosine
    /// is not.
    /// </summary>
    /// <param name="feature">V_f (…, N_f).</param>
    /// <returns>(…, N_h).</returns>
    /// <exception cref="ArgumentException">It is not (…, N_f) of float64.</exception>
    public Tensor Overlaps(Tensor feature)
    {
        Require.Ends(feature, [Features]);
        Require.Like(feature, _dual);
        using var grad = no_grad();
        using var scope = NewDisposeScope();
        return FeatureOutput(feature).matmul(_dual).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Why <see cref="Energy"/> has no value, or null where it has one. It needs a σ_h whose output is a gradient in
    /// the metric G = ΞᵀΞ that the pseudoinverse rule brings: σ_h linear, or G diagonal (orthogonal memories).
    /// </summary>
    public string? NoEnergy =>
        Settings.HiddenNonlinearity == Nonlinearity.Identity || _orthogonal
            ? null
            : $"no energy is defined: σ_h is {Settings.HiddenNonlinearity} and the memories are not orthogonal; needed: σ_h = Identity, or ΞᵀΞ diagonal";

    /// <summary>Whether the energy can't rise along an exact solution: it is defined, and α_c Φ' = 0.</summary>
    public bool EnergyNeverRises => NoEnergy is null && (Settings.AlphaC == 0 || _sequence.abs().max().ToDouble() == 0);

    /// <summary>
    /// The energy, with L' = σ for each layer's Lagrangian and G = ΞᵀΞ:
    /// <code>
    /// E = [V_f·σ_f(V_f) − L_f(V_f)] + [V_hᵀ G σ_h(V_h) − L_h(V_h)] − √α_s σ_f(V_f)ᵀ Ξ σ_h(V_h) − α_c V_dᵀ Ξ†ᵀ Φ' G σ_h(V_h)
    /// dE/dt = −T_f V̇_fᵀ σ_f'(V_f) V̇_f − T_h V̇_hᵀ G σ_h'(V_h) V̇_h − α_c V̇_dᵀ Ξ†ᵀ Φ' G σ_h(V_h)
    /// </code>
    /// The first two parts of dE/dt are never above 0. The third is what a sequence does: while V_d moves, E may rise,
    /// and E is no Lyapunov function unless α_c Φ' = 0 (<see cref="EnergyNeverRises"/>) or V_d stands still (T_d → ∞,
    /// the adiabatic limit).
    /// </summary>
    /// <remarks>
    /// The paper of Eq. 1 gives no energy. This is the Lagrangian energy of associative memories (Krotov and Hopfield
    /// 2020; GSEMM's own in Karuvally et al. 2022) carried over to the pseudoinverse rule: the hidden layer is measured
    /// in G, since Ξ† = G⁻¹ Ξᵀ.
    /// With orthonormal memories G = I and it is theirs.
    /// </remarks>
    /// <param name="state">V_f (…, N_f), V_h (…, N_h), V_d (…, N_f): a trajectory's tensors too.</param>
    /// <returns>(…).</returns>
    /// <exception cref="InvalidOperationException">It is not defined: <see cref="NoEnergy"/> says why.</exception>
    /// <exception cref="ArgumentException">A shape is wrong, or numbers are not of float64.</exception>
    public Tensor Energy(GsemmState state)
    {
        if (NoEnergy is { } reason)
            throw new InvalidOperationException(reason);
        foreach (
            var (tensor, size) in (ReadOnlySpan<(Tensor, long)>)
                [(state.Feature, Features), (state.Hidden, Memories), (state.Delay, Features)]
        )
        {
            Require.Ends(tensor, [size], nameof(state));
            Require.Like(tensor, _dual, nameof(state));
        }
        using var grad = no_grad();
        using var scope = NewDisposeScope();
        var (hidden, delay) = Followers(state.Feature, state.Hidden, state.Delay);
        var output = FeatureOutput(state.Feature); // (…, N_f)
        var weighted = HiddenOutput(hidden).matmul(_gram); // G σ_h(V_h) (…, N_h)
        var feature = (
            state.Feature * output - Lagrangian(state.Feature, Settings.FeatureNonlinearity, Settings.FeatureGain)
        ).sum(-1);
        var lagrangian =
            Settings.HiddenNonlinearity == Nonlinearity.Identity
                ? (hidden * weighted).sum(-1) / 2
                : (Lagrangian(hidden, Settings.HiddenNonlinearity, Settings.HiddenGain) * _gram.diagonal()).sum(-1);
        var input = output.matmul(_fromFeature) + delay.matmul(_fromDelay); // (…, N_h); √α_s Ξ† σ_f meets G: Ξ†ᵀ G = Ξ
        return (
            feature + (hidden * weighted).sum(-1) - lagrangian - (input * weighted).sum(-1)
        ).MoveToOuterDisposeScope();
    }

    public void Dispose()
    {
        foreach (var tensor in new[] { _memories, _dual, _sequence, _gram, _fromFeature, _fromDelay, _toFeature })
            tensor.Dispose();
    }

    // Eq. 1, solved for the derivatives; a neuron whose timescale is 0 has none, and its value is replaced by what it
    // follows.
    private (Tensor F, Tensor H, Tensor D) Rates(Tensor f, Tensor h, Tensor d)
    {
        var output = FeatureOutput(f); // σ_f(V_f) (B, N_f)
        if (Settings.DelayTimescale == 0)
            d = output;
        var input = output.matmul(_fromFeature) + d.matmul(_fromDelay); // (B, N_h)
        if (Settings.HiddenTimescale == 0)
            h = input;
        return (
            (HiddenOutput(h).matmul(_toFeature) - f) / Settings.FeatureTimescale,
            Settings.HiddenTimescale == 0 ? zeros_like(h) : (input - h) / Settings.HiddenTimescale,
            Settings.DelayTimescale == 0 ? zeros_like(d) : (output - d) / Settings.DelayTimescale
        );
    }

    // The hidden (N_h) and delay (N_f) neurons, each replaced by what it follows where its timescale is 0 (or it is not
    // given).
    private (Tensor Hidden, Tensor Delay) Followers(Tensor f, Tensor? h, Tensor d)
    {
        var delay = Settings.DelayTimescale == 0 ? FeatureOutput(f) : d;
        return (
            h is null || Settings.HiddenTimescale == 0
                ? FeatureOutput(f).matmul(_fromFeature) + delay.matmul(_fromDelay)
                : h,
            delay
        );
    }

    // √α_s Ξ σ_h((√α_s Ξ† + α_c Φ'ᵀ Ξ†) x) for x = σ_f(V_f): the right side of Eq. 20.
    private Tensor Drive(Tensor output) =>
        HiddenOutput(output.matmul(_fromFeature) + output.matmul(_fromDelay)).matmul(_toFeature);

    private Tensor DiscreteOf(Tensor feature) => Drive(FeatureOutput(feature));

    private Tensor FeatureOutput(Tensor v) => Output(v, Settings.FeatureNonlinearity, Settings.FeatureGain);

    private Tensor HiddenOutput(Tensor v) => Output(v, Settings.HiddenNonlinearity, Settings.HiddenGain);

    private static Tensor Output(Tensor v, Nonlinearity kind, double gain) =>
        kind == Nonlinearity.Tanh ? (v * gain).tanh() : v * gain;

    // ∫ σ: gain x² / 2, or ln cosh(gain x) / gain, written so that it does not overflow.
    private static Tensor Lagrangian(Tensor v, Nonlinearity kind, double gain)
    {
        if (kind == Nonlinearity.Identity)
            return v.square() * (gain / 2);
        var size = (v * gain).abs();
        return (size + (size * -2).exp().log1p() - Math.Log(2)) / gain;
    }

    private Tensor Orbit(Tensor start, string name, int steps, Func<Tensor, Tensor> next)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(steps);
        using var grad = no_grad();
        using var scope = NewDisposeScope();
        var states = new List<Tensor> { Rows(start, Features, name) };
        for (int t = 0; t < steps; t++)
        {
            using var inner = NewDisposeScope();
            states.Add(next(states[^1]).MoveToOuterDisposeScope());
        }
        return stack(states).MoveToOuterDisposeScope();
    }

    // What no component of an exact solution exceeds: each layer relaxes towards a value that the others bound.
    // Infinite where σ_f is not bounded. In the infinity norm, row j of a transposed matrix being column j.
    private double Bound(Tensor f, Tensor h, Tensor d)
    {
        if (Settings.FeatureNonlinearity != Nonlinearity.Tanh)
            return double.PositiveInfinity;
        double delay = Math.Max(Largest(d), 1);
        double hidden = Math.Max(Largest(h), Norm(_fromFeature) + Norm(_fromDelay) * delay);
        double output = Settings.HiddenNonlinearity == Nonlinearity.Tanh ? 1 : Settings.HiddenGain * hidden;
        return Math.Max(Math.Max(delay, hidden), Math.Max(Largest(f), Norm(_toFeature) * output));

        static double Norm(Tensor transposed) => transposed.abs().sum(0L).max().ToDouble();
    }

    private IEnumerable<double> Timescales() =>
        new[] { Settings.FeatureTimescale, Settings.HiddenTimescale, Settings.DelayTimescale }.Where(t => t > 0);

    private static void Check(GsemmSettings s)
    {
        List<string> wrong = [];
        void Above(string name, double value, bool zero)
        {
            if (!double.IsFinite(value) || value < 0 || (value == 0 && !zero))
                wrong.Add($"{name} is {value}; it must be {(zero ? "0 or above" : "above 0")}");
        }
        Above("T_f", s.FeatureTimescale, false);
        Above("T_h", s.HiddenTimescale, true);
        Above("T_d", s.DelayTimescale, true);
        Above("α_s", s.AlphaS, false);
        if (!double.IsFinite(s.AlphaC))
            wrong.Add($"α_c is {s.AlphaC}; it must be finite");
        Above("the gain of σ_f", s.FeatureGain, false);
        Above("the gain of σ_h", s.HiddenGain, false);
        if (wrong.Count > 0)
            throw new ArgumentException(string.Join("\n", wrong), nameof(s));
    }

    private static Tensor Rows(Tensor states, long columns, string name)
    {
        if (states.dim() != 2 || states.shape[1] != columns)
            throw new ArgumentException($"{name} has the shape ({Shape(states)}); needed: (B, {columns})", name);
        var rows = states.detach().to(ScalarType.Float64).cpu();
        return IsFinite(rows) ? rows : throw new ArgumentException($"{name} holds numbers that are not finite", name);
    }

    private static double Largest(Tensor t) => t.abs().max().ToDouble(); // NaN where one is

    private static bool IsFinite(Tensor t) => t.isfinite().all().ToBoolean();

    private static string Shape(Tensor t) => string.Join(", ", t.shape);
}
