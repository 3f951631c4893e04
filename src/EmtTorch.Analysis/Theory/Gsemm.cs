using EmtTorch.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Analysis;

/// <summary>
/// The General Sequential Episodic Memory Model with the pseudoinverse learning rule (Karuvally et al. 2023, Eq. 1), in
/// float64:
/// <code>
/// T_f dV_f/dt = √α_s Ξ σ_h(V_h) − V_f
/// T_h dV_h/dt = √α_s Ξ† σ_f(V_f) + α_c Φ'ᵀ Ξ† V_d − V_h
/// T_d dV_d/dt = σ_f(V_f) − V_d
/// </code>
/// The columns of Ξ (N_f, N_h) are the memories. Φ' (N_h, N_h) says which memory follows which: Φ'[i, j] is the
/// contribution of memory i, delayed, to memory j. States are rows here, so that a batch of them is (B, N_f).
/// </summary>
/// <remarks>
/// Section 3 and Appendix A of the paper differ. This class follows section 3: Ξ† (the appendix has Ξᵀ) and Φᵀ = I +
/// Φ'ᵀ (the appendix writes Φ for Φ'). The appendix omits the strengths; here they stay, see
/// <see cref="StepDiscrete"/>.
/// </remarks>
/// <example><code>
/// var settings = new GsemmSettings { FeatureGain = 4, HiddenTimescale = 0.2, DelayTimescale = 20 };
/// using var gsemm = new Gsemm(memories, Gsemm.CreateSequence(6, cyclic: true), settings);
/// var trajectory = gsemm.Integrate(gsemm.Start(cue), Integrator.Rk4, step: 0.05, length: 100, recordEvery: 10);
/// var overlaps = gsemm.ComputeOverlaps(trajectory.Feature); // (T, B, N_h)
/// </code></example>
public sealed class Gsemm : IDisposable
{
    // Transposed, since states are rows.
    private readonly Tensor _dual; // (Ξ†)ᵀ (N_f, N_h)
    private readonly Tensor _sequence; // Φ' (N_h, N_h)
    private readonly Tensor _gram; // ΞᵀΞ (N_h, N_h)
    private readonly Tensor _fromFeature; // √α_s (Ξ†)ᵀ (N_f, N_h)
    private readonly Tensor _fromDelay; // α_c (Ξ†)ᵀ Φ' (N_f, N_h)
    private readonly Tensor _toFeature; // √α_s Ξᵀ (N_h, N_f)
    private readonly bool _orthogonal;

    /// <summary>All numbers of the model except its synapses.</summary>
    public GsemmSettings Settings { get; }

    /// <summary>N_f.</summary>
    public long Features { get; }

    /// <summary>N_h.</summary>
    public long Memories { get; }

    /// <summary>Copies both matrices. <see cref="Dispose"/> frees the copies.</summary>
    /// <param name="memories">Ξ (N_f, N_h). Its columns must be linearly independent.</param>
    /// <param name="sequence">Φ' (N_h, N_h), for example from <see cref="CreateSequence"/>.</param>
    /// <param name="settings">The numbers. Null: the defaults.</param>
    /// <exception cref="ArgumentException">A shape is wrong, a number is not finite or out of its range, or the
    /// memories are linearly dependent.</exception>
    public Gsemm(Tensor memories, Tensor sequence, GsemmSettings? settings = null)
    {
        Settings = settings ?? new();
        Settings.Check();
        Require.Shape(memories, [Require.Any, Require.Any]);
        (Features, Memories) = (memories.shape[0], memories.shape[1]);
        Require.Shape(sequence, [Memories, Memories]);
        using var grad = no_grad();
        using var scope = NewDisposeScope();
        var xi = memories.detach().to(ScalarType.Float64).cpu();
        var phi = sequence.detach().to(ScalarType.Float64).cpu();
        Matrices.RequireFinite(xi, nameof(memories));
        Matrices.RequireFinite(phi, nameof(sequence));
        RefuseDependent(xi);
        double s = Math.Sqrt(Settings.AlphaS);
        var dual = linalg.pinv(xi).t(); // (N_f, N_h)
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
    /// Creates Φ' of a sequence, with Φ = I + Φ' (Eq. 20). Φ[i, i+1] = 1 is the only entry in row i, so that Φᵀ takes
    /// memory i to memory i+1. Hence Φ'[i, i+1] = 1 and Φ'[i, i] = −1: the delayed memory raises the next one and
    /// lowers itself. The last memory goes on to the first if the sequence is cyclic; otherwise it stays.
    /// </summary>
    /// <remarks>
    /// The paper neither asks for the −1 nor rules it out. Without it mixtures of memories often end the sequence
    /// (experiments/gsemm/README.md).
    /// </remarks>
    /// <param name="memories">N_h, at least 1.</param>
    /// <param name="cyclic">Whether the first follows the last.</param>
    /// <param name="diagonal">Whether Φ' has the −1.</param>
    /// <returns>Φ' (N_h, N_h), float64.</returns>
    /// <exception cref="ArgumentOutOfRangeException">There is no memory.</exception>
    public static Tensor CreateSequence(int memories, bool cyclic, bool diagonal = true)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(memories, 1);
        var phi = new double[memories, memories];
        for (int i = 0; i < (cyclic ? memories : memories - 1); i++)
        {
            phi[i, i] -= diagonal ? 1 : 0;
            phi[i, (i + 1) % memories]++;
        }
        return tensor(phi);
    }

    /// <summary>
    /// Creates a state to start from. V_h is the value that makes the right side of its equation 0. V_d is 0 unless
    /// given, as if nothing had come before; the paper names no start.
    /// </summary>
    /// <param name="feature">V_f (B, N_f).</param>
    /// <param name="delay">V_d (B, N_f), or null for 0.</param>
    /// <exception cref="ArgumentException">A shape is wrong or a number is not finite.</exception>
    public GsemmState Start(Tensor feature, Tensor? delay = null)
    {
        using var grad = no_grad();
        using var scope = NewDisposeScope();
        var f = Rows(feature, Features, nameof(feature)).clone();
        var d = delay is null ? zeros_like(f) : Rows(delay, Features, nameof(delay)).clone();
        Require.Shape(d, f.shape, nameof(delay));
        var (hidden, delayed) = Followers(f, null, d);
        return new(f.MoveToOuterDisposeScope(), hidden.MoveToOuterDisposeScope(), delayed.MoveToOuterDisposeScope());
    }

    /// <summary>
    /// Integrates Eq. 1. With T_h = T_d = 0 this is T_f dV_f/dt = Ξ Φᵀ Ξ† σ_f(V_f) − V_f, of which one Euler step of
    /// length T_f is Eq. 20.
    /// </summary>
    /// <param name="start">V_f (B, N_f), V_h (B, N_h), V_d (B, N_f). The values of neurons whose timescale is 0 are
    /// replaced by those of Eq. 16.</param>
    /// <param name="integrator">Euler or RK4.</param>
    /// <param name="step">Δt, in the settings' unit of time.</param>
    /// <param name="length">The time to integrate, in the same unit: a whole number of steps, to rounding.</param>
    /// <param name="recordEvery">Steps from one record to the next: a divisor of the number of steps.</param>
    /// <exception cref="ArgumentException">An argument is out of its range, or a shape is wrong.</exception>
    /// <exception cref="GsemmDivergedException">A recorded state is not finite or, if σ_f is bounded, larger than twice
    /// the bound of the exact solution.</exception>
    public GsemmTrajectory Integrate(
        GsemmState start,
        Integrator integrator,
        double step,
        double length,
        int recordEvery = 1
    )
    {
        long steps = CountSteps(step, length, recordEvery);
        using var grad = no_grad();
        using var scope = NewDisposeScope();
        var f = Rows(start.Feature, Features, nameof(start)).clone(); // (B, N_f)
        var h = Rows(start.Hidden, Memories, nameof(start)).clone(); // (B, N_h)
        var d = Rows(start.Delay, Features, nameof(start)).clone(); // (B, N_f)
        Require.Shape(h, [f.shape[0], Memories], nameof(start));
        Require.Shape(d, f.shape, nameof(start));
        double bound = Bound(f, h, d);
        List<Tensor> features = [],
            hidden = [],
            delays = [];
        Record();
        for (long n = 1; n <= steps; n++)
        {
            Advance(f, h, d, integrator, step);
            if (n % recordEvery != 0)
                continue;
            Record();
            double largest = Math.Max(Largest(features[^1]), Math.Max(Largest(hidden[^1]), Largest(delays[^1])));
            if (!(largest <= 2 * bound && double.IsFinite(largest)))
                throw Diverged(n * step, largest, bound, step, integrator);
        }
        return new(
            [.. Enumerable.Range(0, features.Count).Select(i => i * (double)recordEvery * step)],
            stack(features).MoveToOuterDisposeScope(),
            stack(hidden).MoveToOuterDisposeScope(),
            stack(delays).MoveToOuterDisposeScope()
        );

        void Record()
        {
            var (hiddenNow, delayNow) = Followers(f, h, d);
            features.Add(f.clone());
            hidden.Add(hiddenNow.clone());
            delays.Add(delayNow.clone());
        }
    }

    /// <summary>
    /// One step of the discrete limit, T_f = 1 and T_h = T_d = 0 (Eq. 20): V_f(t+1) = Ξ Φᵀ Ξ† σ_f(V_f(t)). Here Φᵀ = I
    /// + Φ'ᵀ for α_s = α_c = 1, and α_s I + √α_s α_c Φ'ᵀ in general. A σ_h other than the identity stays where Eq. 17
    /// has it. The settings' timescales are not used.
    /// </summary>
    /// <param name="feature">V_f(t) (B, N_f).</param>
    /// <returns>V_f(t+1) (B, N_f).</returns>
    /// <exception cref="ArgumentException">The shape is wrong or a number is not finite.</exception>
    public Tensor StepDiscrete(Tensor feature)
    {
        using var grad = no_grad();
        using var scope = NewDisposeScope();
        return Drive(FeatureOutput(Rows(feature, Features, nameof(feature)))).MoveToOuterDisposeScope();
    }

    /// <summary>Iterates <see cref="StepDiscrete"/> (Eq. 20).</summary>
    /// <param name="feature">V_f(0) (B, N_f).</param>
    /// <param name="steps">The number of steps.</param>
    /// <returns>V_f(0) … V_f(steps), (steps + 1, B, N_f).</returns>
    /// <exception cref="ArgumentException">The shape is wrong, a number is not finite, or steps is
    /// negative.</exception>
    public Tensor RunDiscrete(Tensor feature, int steps) =>
        Orbit(feature, nameof(feature), steps, v => Drive(FeatureOutput(v)));

    /// <summary>
    /// Iterates the Elman form of the discrete limit (Eq. 23): h(t+1) = σ_f(Ξ Φᵀ Ξ† h(t)). With h(0) = σ_f(V_f(0)),
    /// h(t) = σ_f(V_f(t)) for all t (Eq. 24).
    /// </summary>
    /// <remarks>
    /// The paper asks for ‖Ξ Φᵀ Ξ†‖ ≤ 1. Eq. 24, h⁻¹ ∘ g ∘ h = f, only needs an invertible σ_f, which holds at any
    /// norm. So no norm is required here.
    /// </remarks>
    /// <param name="hidden">h(0) (B, N_f).</param>
    /// <param name="steps">The number of steps.</param>
    /// <returns>h(0) … h(steps), (steps + 1, B, N_f).</returns>
    /// <exception cref="ArgumentException">The shape is wrong, a number is not finite, or steps is
    /// negative.</exception>
    public Tensor RunElman(Tensor hidden, int steps) =>
        Orbit(hidden, nameof(hidden), steps, h => FeatureOutput(Drive(h)));

    /// <summary>
    /// W_hh = gain · Ξ Φᵀ Ξ† of the <see cref="ElmanRnn"/> h(t+1) = tanh(W_hh h(t)) that is the Elman form (Eq. 23).
    /// </summary>
    /// <returns>(N_f, N_f), float64.</returns>
    /// <exception cref="InvalidOperationException"><see cref="HasElmanForm"/> is false.</exception>
    public Tensor ComputeElmanWeights()
    {
        if (!HasElmanForm)
        {
            throw new InvalidOperationException(
                $"an Elman network needs σ_f = tanh and σ_h = identity; found {Settings.FeatureNonlinearity} and "
                    + $"{Settings.HiddenNonlinearity}"
            );
        }

        using var grad = no_grad();
        using var scope = NewDisposeScope();
        // Drive takes unit vector j, row j of I, to column j of W.
        return (Drive(eye(Features, dtype: ScalarType.Float64)).t() * Settings.FeatureGain)
            .contiguous()
            .MoveToOuterDisposeScope();
    }

    /// <summary>Whether the discrete limit is an Elman network: σ_f = tanh and σ_h = identity.</summary>
    public bool HasElmanForm =>
        Settings is { FeatureNonlinearity: Nonlinearity.Tanh, HiddenNonlinearity: Nonlinearity.Identity };

    /// <summary>
    /// The coordinates of the feature neurons' output in the memories, m = Ξ† σ_f(V_f). If σ_f(V_f) is memory i, m_i =
    /// 1 and all others are 0, however correlated the memories are; a cosine lacks this property.
    /// </summary>
    /// <param name="feature">V_f (…, N_f).</param>
    /// <returns>(…, N_h).</returns>
    /// <exception cref="ArgumentException">It is not (…, N_f) of float64.</exception>
    public Tensor ComputeOverlaps(Tensor feature)
    {
        Require.Ends(feature, [Features]);
        Require.Like(feature, _dual);
        using var grad = no_grad();
        using var scope = NewDisposeScope();
        return FeatureOutput(feature).matmul(_dual).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Why <see cref="ComputeEnergy"/> is not defined, or null if it is. The output of σ_h must be a gradient in the
    /// metric G = ΞᵀΞ of the pseudoinverse rule: σ_h is linear, or G is diagonal (orthogonal memories).
    /// </summary>
    public string? NoEnergy =>
        Settings.HiddenNonlinearity == Nonlinearity.Identity || _orthogonal
            ? null
            : $"no energy is defined: σ_h is {Settings.HiddenNonlinearity} and the memories are not orthogonal; "
                + "needed: σ_h = Identity, or ΞᵀΞ diagonal";

    /// <summary>Whether the energy never rises along an exact solution: it is defined, and α_c Φ' = 0.</summary>
    public bool EnergyNeverRises => NoEnergy is null && (Settings.AlphaC == 0 || Largest(_sequence) == 0);

    /// <summary>
    /// The energy, with G = ΞᵀΞ and, for each layer, a Lagrangian L with L' = σ:
    /// <code>
    /// E = [V_f·σ_f(V_f) − L_f(V_f)] + [V_hᵀ G σ_h(V_h) − L_h(V_h)]
    ///     − √α_s σ_f(V_f)ᵀ Ξ σ_h(V_h) − α_c V_dᵀ Ξ†ᵀ Φ' G σ_h(V_h)
    /// dE/dt = −T_f V̇_fᵀ σ_f'(V_f) V̇_f − T_h V̇_hᵀ G σ_h'(V_h) V̇_h − α_c V̇_dᵀ Ξ†ᵀ Φ' G σ_h(V_h)
    /// </code>
    /// The first two terms of dE/dt are never positive. The third is the effect of the sequence: while V_d moves, E may
    /// rise. So E is a Lyapunov function only if α_c Φ' = 0 (<see cref="EnergyNeverRises"/>) or V_d stands still (T_d →
    /// ∞, the adiabatic limit).
    /// </summary>
    /// <remarks>
    /// The paper of Eq. 1 gives no energy. This one carries the Lagrangian energy of associative memories (Krotov and
    /// Hopfield 2020; for GSEMM itself Karuvally et al. 2022) over to the pseudoinverse rule: G measures the hidden
    /// layer, since Ξ† = G⁻¹ Ξᵀ. With orthonormal memories G = I, and the two agree.
    /// </remarks>
    /// <param name="state">V_f (…, N_f), V_h (…, N_h), V_d (…, N_f). The tensors of a trajectory fit too.</param>
    /// <returns>(…).</returns>
    /// <exception cref="InvalidOperationException">No energy is defined; <see cref="NoEnergy"/> says why.</exception>
    /// <exception cref="ArgumentException">A shape is wrong, or the numbers are not float64.</exception>
    public Tensor ComputeEnergy(GsemmState state)
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
        var input = output.matmul(_fromFeature) + delay.matmul(_fromDelay); // (…, N_h); times G: Ξ†ᵀ G = Ξ
        return (
            feature + (hidden * weighted).sum(-1) - lagrangian - (input * weighted).sum(-1)
        ).MoveToOuterDisposeScope();
    }

    public void Dispose()
    {
        foreach (var tensor in new[] { _dual, _sequence, _gram, _fromFeature, _fromDelay, _toFeature })
            tensor.Dispose();
    }

    // One step of the integrator, in place.
    private void Advance(Tensor f, Tensor h, Tensor d, Integrator integrator, double step)
    {
        using var scope = NewDisposeScope();
        var k1 = ComputeRates(f, h, d);
        if (integrator == Integrator.Euler)
        {
            Add(step, k1);
            return;
        }
        var k2 = After(k1, step / 2);
        var k3 = After(k2, step / 2);
        var k4 = After(k3, step);
        Add(step / 6, k1);
        Add(step / 6, k4);
        Add(step / 3, k2);
        Add(step / 3, k3);

        GsemmState After(GsemmState rate, double time) =>
            ComputeRates(f + rate.Feature * time, h + rate.Hidden * time, d + rate.Delay * time);

        void Add(double time, GsemmState rate)
        {
            f.add_(rate.Feature, time);
            h.add_(rate.Hidden, time);
            d.add_(rate.Delay, time);
        }
    }

    // dV/dt by Eq. 1. A neuron whose timescale is 0 has none: its value is replaced by that of Eq. 16.
    private GsemmState ComputeRates(Tensor f, Tensor h, Tensor d)
    {
        var output = FeatureOutput(f); // σ_f(V_f) (B, N_f)
        if (Settings.DelayTimescale == 0)
            d = output;
        var input = output.matmul(_fromFeature) + d.matmul(_fromDelay); // (B, N_h)
        if (Settings.HiddenTimescale == 0)
            h = input;
        return new(
            (HiddenOutput(h).matmul(_toFeature) - f) / Settings.FeatureTimescale,
            Settings.HiddenTimescale == 0 ? zeros_like(h) : (input - h) / Settings.HiddenTimescale,
            Settings.DelayTimescale == 0 ? zeros_like(d) : (output - d) / Settings.DelayTimescale
        );
    }

    // V_h (B, N_h) and V_d (B, N_f), by Eq. 16 if its timescale is 0, V_h also if it is null.
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

    // An upper bound of all components of the exact solution: each layer relaxes towards a value that the others
    // bound. Infinite if σ_f is not bounded. Norms are infinity norms; the matrices are transposed.
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

    private GsemmDivergedException Diverged(
        double time,
        double largest,
        double bound,
        double step,
        Integrator integrator
    )
    {
        var timescales = new[] { Settings.FeatureTimescale, Settings.HiddenTimescale, Settings.DelayTimescale };
        var found = double.IsFinite(largest)
            ? $"has numbers up to {largest:0.###e+0}; the exact solution stays within {bound:0.###e+0}"
            : "is not finite";
        var other = double.IsFinite(bound) ? "" : ", or the solution grows without limit, since σ_f is not bounded";
        return new(
            time,
            $"at t = {time:0.######} the state {found}: the step {step} is too large for {integrator} and the "
                + $"timescales {string.Join(", ", timescales.Where(t => t > 0))}{other}"
        );
    }

    // The number of steps in the length.
    private static long CountSteps(double step, double length, int recordEvery)
    {
        if (!double.IsFinite(step) || step <= 0)
            throw new ArgumentOutOfRangeException(nameof(step), step, "the step must be above 0");
        if (!double.IsFinite(length) || length <= 0)
            throw new ArgumentOutOfRangeException(nameof(length), length, "the length must be above 0");
        ArgumentOutOfRangeException.ThrowIfLessThan(recordEvery, 1);
        double exact = length / step;
        long steps = (long)Math.Round(Math.Min(exact, 1e12));
        if (steps < 1 || Math.Abs(exact - steps) > 1e-9 * exact)
            throw new ArgumentException($"is {exact} steps of {step}, not a whole number of steps", nameof(length));
        return steps % recordEvery == 0
            ? steps
            : throw new ArgumentException($"{recordEvery} is not a divisor of the {steps} steps", nameof(recordEvery));
    }

    // The pseudoinverse rule needs Ξ†Ξ = I.
    private static void RefuseDependent(Tensor memories)
    {
        long features = memories.shape[0],
            count = memories.shape[1];
        if (count < 1 || count > features)
        {
            throw new ArgumentException(
                $"are {count} of {features} features; linearly independent memories have 1 ≤ N_h ≤ N_f",
                nameof(memories)
            );
        }
        var singular = Matrices.Values(linalg.svdvals(memories));
        // At a smaller ratio Ξ†Ξ = I holds to fewer than about six digits.
        if (!(singular[^1] > 1e-10 * singular[0]))
        {
            throw new ArgumentException(
                $"are linearly dependent: the smallest singular value of Ξ is {singular[^1]:0.###e+0}, the largest "
                    + $"{singular[0]:0.###e+0}; the ratio must be above 1e-10",
                nameof(memories)
            );
        }
    }

    private static Tensor Rows(Tensor states, long columns, string name)
    {
        Require.Shape(states, [Require.Any, columns], name);
        var rows = states.detach().to(ScalarType.Float64).cpu();
        Matrices.RequireFinite(rows, name);
        return rows;
    }

    private static double Largest(Tensor t) => t.abs().max().ToDouble(); // NaN if one of them is
}
