using static TorchSharp.torch;

namespace EmtTorch.Analysis;

/// <summary>The kind of σ. Each neuron's output is kind(gain · x).</summary>
public enum Nonlinearity
{
    /// <summary>σ(x) = gain · x.</summary>
    Identity,

    /// <summary>σ(x) = tanh(gain · x).</summary>
    Tanh,
}

/// <summary>The method that integrates the ODE.</summary>
public enum Integrator
{
    /// <summary>Forward Euler, of order 1.</summary>
    Euler,

    /// <summary>The classical Runge–Kutta method, of order 4.</summary>
    Rk4,
}

/// <summary>
/// All numbers of <see cref="Gsemm"/> except its synapses (Eq. 1). The defaults give Eq. 20 as the discrete limit.
/// </summary>
public sealed record GsemmSettings
{
    /// <summary>T_f > 0. It is in the unit of time in which the model is integrated, as are T_h and T_d.</summary>
    public double FeatureTimescale { get; init; } = 1;

    /// <summary>T_h ≥ 0. At 0 V_h is the value that makes the right side of its equation 0 (Eq. 16).</summary>
    public double HiddenTimescale { get; init; }

    /// <summary>T_d ≥ 0. At 0 V_d = σ_f(V_f) (Eq. 16).</summary>
    public double DelayTimescale { get; init; }

    /// <summary>α_s > 0, the strength of each memory's own synapses.</summary>
    public double AlphaS { get; init; } = 1;

    /// <summary>α_c, the strength of the synapses between memories.</summary>
    public double AlphaC { get; init; } = 1;

    /// <summary>σ_f.</summary>
    public Nonlinearity FeatureNonlinearity { get; init; } = Nonlinearity.Tanh;

    /// <summary>The gain of σ_f, above 0.</summary>
    public double FeatureGain { get; init; } = 1;

    /// <summary>σ_h. The paper's step from Eq. 17 to Eq. 18 takes the identity.</summary>
    public Nonlinearity HiddenNonlinearity { get; init; } = Nonlinearity.Identity;

    /// <summary>The gain of σ_h, above 0.</summary>
    public double HiddenGain { get; init; } = 1;

    /// <exception cref="ArgumentException">A number is out of its range. The message lists all of them.</exception>
    internal void Check()
    {
        List<string> wrong = [];
        void Above(string name, double value, bool zero)
        {
            if (!double.IsFinite(value) || value < 0 || (value == 0 && !zero))
                wrong.Add($"{name} is {value}; it must be {(zero ? "0 or above" : "above 0")}");
        }
        Above("T_f", FeatureTimescale, zero: false);
        Above("T_h", HiddenTimescale, zero: true);
        Above("T_d", DelayTimescale, zero: true);
        Above("α_s", AlphaS, zero: false);
        if (!double.IsFinite(AlphaC))
            wrong.Add($"α_c is {AlphaC}; it must be finite");
        Above("the gain of σ_f", FeatureGain, zero: false);
        Above("the gain of σ_h", HiddenGain, zero: false);
        if (wrong.Count > 0)
            throw new ArgumentException(string.Join("\n", wrong), "settings");
    }
}

/// <summary>B states of <see cref="Gsemm"/>, one per row.</summary>
/// <param name="Feature">V_f (B, N_f).</param>
/// <param name="Hidden">V_h (B, N_h).</param>
/// <param name="Delay">V_d (B, N_f).</param>
public sealed record GsemmState(Tensor Feature, Tensor Hidden, Tensor Delay);

/// <summary>The states that <see cref="Gsemm.Integrate"/> recorded at T moments. The first is the start.</summary>
/// <param name="Times">(T), in the settings' unit of time.</param>
/// <param name="Feature">V_f (T, B, N_f).</param>
/// <param name="Hidden">V_h (T, B, N_h).</param>
/// <param name="Delay">V_d (T, B, N_f).</param>
public sealed record GsemmTrajectory(double[] Times, Tensor Feature, Tensor Hidden, Tensor Delay)
{
    /// <summary>The last recorded states.</summary>
    public GsemmState Last => new(Feature[Times.Length - 1], Hidden[Times.Length - 1], Delay[Times.Length - 1]);
}

/// <summary>A state is no longer finite, or left the region in which the exact solution stays.</summary>
/// <param name="time">When this was seen, in the settings' unit of time.</param>
/// <param name="message">What was seen, and what to change.</param>
public sealed class GsemmDivergedException(double time, string message) : ArithmeticException(message)
{
    /// <summary>When this was seen, in the settings' unit of time.</summary>
    public double Time { get; } = time;
}
