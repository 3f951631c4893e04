using EmtTorch.Models;
using EmtTorch.Tasks;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Analysis;

/// <summary>
/// The circuit that the theory predicts for a linear variable binding task (Eq. 9–13), in a basis Ψ of the hidden space
/// with dual Ψ* = Ψ†. It is a linear network with two phases:
/// <code>
/// W_hh = Ψ Φ Ψ*,  W_uh = Ψ_s,  W_r = Ψ_s*                          Eq. 9, 11, 10
/// input:   h(t+1) = (I − Ψ_s Ψ_s*) W_hh h(t) + Ψ_s u(t)            overwrites variable s
/// output:  h(t+1) = W_hh h(t)
/// </code>
/// </summary>
/// <remarks>
/// The paper has one phase. But then f of the half-filled memory is added to each input, unless f reads the oldest
/// variable alone (T1). No linear time-invariant network can do both phases.
/// </remarks>
/// <example><code>
/// using var circuit = new Circuit(LinearBinding.Named("t4"), randn(128, 64, dtype: ScalarType.Float64));
/// var outputs = circuit.Run(input, horizon: 1000);   // (1000, B, 8), from an input of (8, B, 8)
/// </code></example>
public sealed class Circuit : IDisposable
{
    private readonly LinearBinding _task;

    /// <param name="task">The task, with s variables of κ = d numbers.</param>
    /// <param name="basis">Ψ (H, s·κ) with independent columns. Null: the identity.</param>
    /// <exception cref="ArgumentException">Ψ has another shape, or its columns are dependent.</exception>
    public Circuit(LinearBinding task, Tensor? basis = null)
    {
        int n = task.S * task.D;
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        var psi = basis?.to_type(ScalarType.Float64).cpu().clone() ?? eye(n, dtype: ScalarType.Float64);
        Require.Shape(psi, [Require.Any, n], nameof(basis));
        if (!(Matrices.Condition(psi) < 1e12))
            throw new ArgumentException($"has {n} columns that are not independent: there is no dual", nameof(basis));
        _task = task;
        Basis = psi.MoveToOuterDisposeScope();
        Dual = linalg.pinv(psi).MoveToOuterDisposeScope();
        Operator = Phi(task).MoveToOuterDisposeScope();
        WeightHh = matmul(psi, matmul(Operator, Dual)).MoveToOuterDisposeScope();
    }

    /// <summary>Ψ (H, s·κ).</summary>
    public Tensor Basis { get; }

    /// <summary>Ψ* = Ψ† (s·κ, H).</summary>
    public Tensor Dual { get; }

    /// <summary>Φ (s·κ, s·κ).</summary>
    public Tensor Operator { get; }

    /// <summary>W_hh = Ψ Φ Ψ* (H, H).</summary>
    public Tensor WeightHh { get; }

    /// <summary>W_uh = Ψ_s (H, κ), a view of Ψ.</summary>
    public Tensor WeightIh => Basis.narrow(1, Basis.shape[1] - _task.D, _task.D);

    /// <summary>W_r = Ψ_s* (κ, H), a view of Ψ*.</summary>
    public Tensor Readout => Dual.narrow(0, Dual.shape[0] - _task.D, _task.D);

    /// <summary>Φ, the map of the history in one step (Eq. 9): <see cref="LinearBinding.Phi"/> as a tensor.</summary>
    /// <param name="task">The task, with s variables of κ = d numbers.</param>
    /// <returns>(s·κ, s·κ), float64.</returns>
    public static Tensor Phi(LinearBinding task) => tensor(task.Phi());

    /// <summary>
    /// The hidden states of both phases. Each passes through a hook, as in
    /// <see cref="ElmanRnn.HiddenStates(Tensor, long, Func{long, Tensor, Tensor})"/>.
    /// </summary>
    /// <param name="input">(s, B, κ).</param>
    /// <param name="steps">The number of steps in both phases, T.</param>
    /// <param name="hook">Receives t, from 1, and h(t) (B, H); returns h(t) or its replacement. Null: none.</param>
    /// <returns>h(1) … h(T), (T, B, H); h(s) = Σ Ψ_i u(i).</returns>
    /// <exception cref="ArgumentException">The input is not (s, B, κ), or the hook returns another shape.</exception>
    public Tensor HiddenStates(Tensor input, long steps, Func<long, Tensor, Tensor>? hook = null)
    {
        Require.Shape(input, [Require.Any, Require.Any, _task.D]);
        Require.SameDevice(input, WeightHh);
        using var scope = NewDisposeScope();
        var u = input.to_type(ScalarType.Float64);
        var h = zeros(input.shape[1], Basis.shape[0], dtype: ScalarType.Float64);
        // Transposed, for states in rows. `load` leaves out what Φ writes to variable s.
        var run = WeightHh.t();
        var load = (WeightHh - matmul(WeightIh, matmul(Readout, WeightHh))).t();
        var states = new Tensor[steps];
        for (long t = 1; t <= steps; t++)
        {
            h = t <= u.shape[0] ? matmul(h, load) + matmul(u[t - 1], WeightIh.t()) : matmul(h, run);
            states[t - 1] = h = hook is null ? h : hook(t, h);
            Require.Shape(h, [Require.Any, Basis.shape[0]], nameof(hook));
            Require.Like(h, WeightHh, nameof(hook));
        }
        return stack(states).MoveToOuterDisposeScope();
    }

    /// <summary>The outputs y = W_r h of hidden states.</summary>
    /// <param name="hidden">h (…, H).</param>
    /// <returns>y (…, κ).</returns>
    /// <exception cref="ArgumentException">The states are not (…, H) of float64.</exception>
    public Tensor ReadOut(Tensor hidden)
    {
        Require.Ends(hidden, [Basis.shape[0]]);
        Require.Like(hidden, Basis);
        return matmul(hidden, Readout.t());
    }

    /// <summary>Runs both phases.</summary>
    /// <param name="input">(s, B, κ).</param>
    /// <param name="horizon">The number of steps in the output phase.</param>
    /// <returns>y (horizon, B, κ).</returns>
    public Tensor Run(Tensor input, int horizon)
    {
        using var scope = NewDisposeScope();
        return ReadOut(HiddenStates(input, _task.S + horizon).narrow(0, _task.S, horizon)).MoveToOuterDisposeScope();
    }

    /// <summary>Copies the weights.</summary>
    public NetworkWeights ToWeights()
    {
        using var scope = NewDisposeScope();
        return new(
            WeightIh.clone().MoveToOuterDisposeScope(),
            WeightHh.clone().MoveToOuterDisposeScope(),
            Readout.clone().MoveToOuterDisposeScope()
        );
    }

    /// <summary>
    /// Creates an Elman network (Eq. 6) that a small input keeps in the linear range of tanh: W_uh = ε Ψ_s, W_r = Ψ_s*
    /// / ε. An Elman network has one phase, so the task must read the oldest variable alone (T1).
    /// </summary>
    /// <param name="epsilon">ε. The relative error of tanh is at most (ε |Ψ u|)²/3 per step, and adds up.</param>
    /// <exception cref="InvalidOperationException">The task reads newer variables.</exception>
    public ElmanRnn ToElmanRnn(double epsilon = 1e-4)
    {
        if (!ReadsOldestOnly(_task))
        {
            throw new InvalidOperationException(
                "the task reads other variables than the oldest: f of the half-filled memory would be added to the "
                    + "input, and no linear network of one phase can load it; Run has two phases"
            );
        }

        using var scope = NewDisposeScope();
        return new NetworkWeights(WeightIh * epsilon, WeightHh, Readout / epsilon).ToNetwork();
    }

    private static bool ReadsOldestOnly(LinearBinding task)
    {
        for (int j = task.D; j < task.S * task.D; j++)
        {
            for (int i = 0; i < task.D; i++)
            {
                if (task.F[j, i] != 0)
                    return false;
            }
        }

        return true;
    }

    public void Dispose()
    {
        Basis.Dispose();
        Dual.Dispose();
        Operator.Dispose();
        WeightHh.Dispose();
    }
}
