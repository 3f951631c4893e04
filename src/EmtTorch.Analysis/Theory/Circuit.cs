using EmtTorch.Models;
using EmtTorch.Settings;
using EmtTorch.Tasks;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Analysis;

/// <summary>
/// The circuit that the theory predicts for a linear variable binding task (Eq. 9–13), in a basis Ψ of the hidden space
/// with its dual Ψ* = Ψ†: W_hh = Ψ Φ Ψ*, W_uh = Ψ_s, W_r = Ψ_s*. A linear network with two phases: while input comes,
/// variable s is overwritten, h(t+1) = (I − Ψ_s Ψ_s*) W_hh h(t) + Ψ_s u(t); then it runs free, h(t+1) = W_hh h(t).
/// </summary>
/// <remarks>
/// Two phases, since no linear time-invariant network can do both unless f reads the oldest variable alone (T1): with
/// one, f of the half-filled memory would be added to each input.
/// </remarks>
/// <example><code>
/// using var circuit = new Circuit(LinearBinding.Named("t4"), randn(128, 64, dtype: ScalarType.Float64));
/// var outputs = circuit.Run(input, horizon: 1000);   // (1000, B, 8), from an input of (8, B, 8)
/// </code></example>
public sealed class Circuit : IDisposable
{
    private readonly LinearBinding _task;

    /// <param name="task">The task, with s variables of κ = d numbers.</param>
    /// <param name="basis">Ψ (H, s·κ) with independent columns; the identity where left out.</param>
    /// <exception cref="ArgumentException">Ψ has another shape, or its columns are dependent.</exception>
    public Circuit(LinearBinding task, Tensor? basis = null)
    {
        int n = task.S * task.D;
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        var psi = basis?.to_type(ScalarType.Float64).cpu().clone() ?? eye(n, dtype: ScalarType.Float64);
        if (psi.shape is not [_, var columns] || columns != n)
        {
            throw new ArgumentException(
                $"the basis is ({string.Join(", ", psi.shape)}): it has a column for each of the s·κ = {n} numbers in the variables",
                nameof(basis)
            );
        }

        if (!(Matrices.Condition(psi) < 1e12))
        {
            throw new ArgumentException(
                $"the basis's {n} columns are not independent: there is no dual",
                nameof(basis)
            );
        }

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

    /// <summary>Φ, what one step does to the history: <see cref="LinearBinding.Phi"/> as a tensor.</summary>
    /// <param name="task">The task, with s variables of κ = d numbers.</param>
    /// <returns>(s·κ, s·κ), float64.</returns>
    public static Tensor Phi(LinearBinding task) => tensor(task.Phi());

    /// <summary>
    /// The hidden states, the input loaded and then run free, each passing through a hook as those of
    /// <see cref="ElmanRnn.HiddenStates(Tensor, long, Func{long, Tensor, Tensor})"/>.
    /// </summary>
    /// <param name="input">(s, B, κ).</param>
    /// <param name="steps">All steps, T.</param>
    /// <param name="hook">Given t, from 1, and h(t) (B, H); returns h(t) or what is to stand in its place. Null:
    /// none.</param>
    /// <returns>h(1) … h(T), (T, B, H); h(s) = Σ Ψ_i u(i).</returns>
    /// <exception cref="ArgumentException">The input is not (s, B, κ), or the hook returns what is no h(t).</exception>
    public Tensor HiddenStates(Tensor input, long steps, Func<long, Tensor, Tensor>? hook = null)
    {
        Require.Shape(input, [Require.Any, Require.Any, _task.D]);
        Require.SameDevice(input, WeightHh);
        using var scope = NewDisposeScope();
        var u = input.to_type(ScalarType.Float64);
        var h = zeros(input.shape[1], Basis.shape[0], dtype: ScalarType.Float64);
        // For states in rows; while input comes, what Φ puts into variable s is taken out.
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

    /// <summary>The outputs that belong to hidden states: (…, H) to (…, κ).</summary>
    /// <exception cref="ArgumentException">The states are not (…, H) of float64.</exception>
    public Tensor ReadOut(Tensor hidden)
    {
        Require.Ends(hidden, [Basis.shape[0]]);
        Require.Like(hidden, Basis);
        return matmul(hidden, Readout.t());
    }

    /// <summary>Loads the input and runs free.</summary>
    /// <param name="input">(s, B, κ).</param>
    /// <param name="horizon">Steps of the output phase.</param>
    /// <returns>y (horizon, B, κ).</returns>
    public Tensor Run(Tensor input, int horizon)
    {
        using var scope = NewDisposeScope();
        return ReadOut(HiddenStates(input, _task.S + horizon).narrow(0, _task.S, horizon)).MoveToOuterDisposeScope();
    }

    /// <summary>The weights as those of a network.</summary>
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
    /// The circuit as an Elman network, kept in tanh's linear range by a small input: W_uh = ε Ψ_s, W_r = Ψ_s* / ε. An
    /// Elman network has one phase, so the task must read the oldest variable alone (T1).
    /// </summary>
    /// <param name="epsilon">ε: tanh's relative error is up to (ε |Ψ u|)²/3 a step, and adds up over steps.</param>
    /// <exception cref="InvalidOperationException">The task reads newer variables: no network of one phase loads them
    /// exactly.</exception>
    public ElmanRnn ToElmanRnn(double epsilon = 1e-4)
    {
        if (!ReadsOldestOnly(_task))
        {
            throw new InvalidOperationException(
                "the task reads other variables than the oldest: f of the half-filled memory would be added to the "
                    + "input, and no linear network of one phase can load it; Run does it in two"
            );
        }

        using var scope = NewDisposeScope();
        return new NetworkWeights(WeightIh * epsilon, WeightHh, Readout / epsilon).ToNetwork();
    }

    /// <summary>Whether f reads the oldest variable alone.</summary>
    public static bool ReadsOldestOnly(LinearBinding task)
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
