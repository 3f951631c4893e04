using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using System.Globalization;
using EmtTorch.Analysis;
using EmtTorch.Configuration;
using EmtTorch.Settings;

namespace EmtTorch.Studies;

/// <summary>The settings of the retrieval experiment, as in experiments/gsemm/retrieval.json.</summary>
public sealed record GsemmConfiguration
{
    [Description("The seed of the memories and the cue."), Range(0, int.MaxValue)]
    public int Seed { get; init; } = 1;

    [Description("Memories, N_h: random signs, +1 or -1 in each feature."), Range(2, 1024)]
    public int Memories { get; init; } = 6;

    [Description("Features, N_f: at least as many as memories."), Range(2, 4096)]
    public int Features { get; init; } = 64;

    [Description("Whether the first memory follows the last.")]
    public bool Cyclic { get; init; } = true;

    [Description("Whether Φ' has −1 on its diagonal, so that a memory lowers itself after the delay.")]
    public bool Diagonal { get; init; } = true;

    [Description("The share of the features in which the cue differs from the first memory."), Range(0.0, 0.5)]
    public double CueNoise { get; init; } = 0.1;

    [Description("T_f, T_h and T_d, in one unit of time; T_h and T_d may be 0, their limit.")]
    public GsemmTimescales Timescales { get; init; } = new();

    [Description("The strengths of the synapses.")]
    public GsemmStrengths Strengths { get; init; } = new();

    [Description("σ_f(x) and σ_h(x), each of gain · x.")]
    public GsemmNonlinearities Nonlinearity { get; init; } = new();

    [Description("How the ODE is integrated.")]
    public GsemmIntegration Integration { get; init; } = new();

    [Description("Steps of the discrete limit, Eq. 20."), Range(1, 100_000)]
    public int DiscreteSteps { get; init; } = 18;

    /// <summary>Reads and checks a file.</summary>
    /// <param name="path">The file.</param>
    /// <param name="overrides">Settings that replace the file's, each as `key.path=value`.</param>
    /// <exception cref="ConfigurationException">There are problems. The exception lists all of them.</exception>
    public static GsemmConfiguration Load(string path, IReadOnlyList<string>? overrides = null) =>
        ConfigurationFile.Load<GsemmConfiguration>(path, overrides, c => c.Check());

    /// <summary>The settings of the model itself.</summary>
    internal GsemmSettings ToSettings() =>
        new()
        {
            FeatureTimescale = Timescales.Feature,
            HiddenTimescale = Timescales.Hidden,
            DelayTimescale = Timescales.Delay,
            AlphaS = Strengths.AlphaS,
            AlphaC = Strengths.AlphaC,
            FeatureNonlinearity = Enum.Parse<Nonlinearity>(Nonlinearity.Feature, ignoreCase: true),
            FeatureGain = Nonlinearity.FeatureGain,
            HiddenNonlinearity = Enum.Parse<Nonlinearity>(Nonlinearity.Hidden, ignoreCase: true),
            HiddenGain = Nonlinearity.HiddenGain,
        };

    private const double MostSteps = 1e7,
        MostNumbers = 1e8;

    private IEnumerable<(string[] Keys, ConfigurationProblem Problem)> Check()
    {
        if (Memories > Features)
        {
            var message =
                $"found {Memories} memories of {Features} features; allowed: at most as many as features, as more are "
                + "linearly dependent";
            yield return (["memories", "features"], new("memories", message));
        }
        if (CheckIntegration() is { } problem)
        {
            string[] keys = ["integration.step", "integration.length", "integration.record_every"];
            yield return (problem.IsOfSize ? [.. keys, "features", "memories"] : keys, problem.Problem);
        }
        if ((double)DiscreteSteps * Features > MostNumbers)
        {
            var message = $"found {DiscreteSteps}; allowed: few enough for {MostNumbers:0.#e+0} numbers in all";
            yield return (["discrete_steps", "features"], new("discrete_steps", message));
        }
    }

    // A problem of the integration, and whether the number of features and memories has a part in it.
    private (ConfigurationProblem Problem, bool IsOfSize)? CheckIntegration()
    {
        double steps = Integration.Length / Integration.Step,
            records = steps / Integration.RecordEvery;
        if (!(Math.Round(steps) >= 1 && Math.Abs(steps - Math.Round(steps)) <= 1e-9 * steps))
        {
            var found = $"{Integration.Length}, {steps.ToString("0.######", CultureInfo.InvariantCulture)} steps of";
            var message = $"found {found} {Integration.Step}; allowed: a whole number of steps";
            return (new("integration.length", message), false);
        }
        if (steps > MostSteps)
        {
            var message = $"found {Integration.Step}, {steps:0.##e+0} steps in all; allowed: at most {MostSteps:0}";
            return (new("integration.step", message), false);
        }
        if ((long)Math.Round(steps) % Integration.RecordEvery != 0)
        {
            var message = $"found {Integration.RecordEvery}; allowed: a divisor of all {Math.Round(steps):0} steps";
            return (new("integration.record_every", message), false);
        }
        if (records * (2.0 * Features + Memories) > MostNumbers)
        {
            var message =
                $"found {Integration.RecordEvery}, {records:0} records; allowed: few enough for "
                + $"{MostNumbers:0.#e+0} numbers in all";
            return (new("integration.record_every", message), true);
        }
        return null;
    }
}

/// <summary>T_f, T_h and T_d.</summary>
public sealed record GsemmTimescales
{
    [Description("T_f, of the feature neurons."), Range(0, double.MaxValue, MinimumIsExclusive = true)]
    public double Feature { get; init; } = 1;

    [Description("T_h, of the hidden neurons."), Range(0, double.MaxValue)]
    public double Hidden { get; init; } = 0.2;

    [Description("T_d, of the delay neurons; a memory is held for about half of it."), Range(0, double.MaxValue)]
    public double Delay { get; init; } = 20;
}

/// <summary>α_s and α_c.</summary>
public sealed record GsemmStrengths
{
    [Description("α_s, of each memory's own synapses."), Range(0, double.MaxValue, MinimumIsExclusive = true)]
    public double AlphaS { get; init; } = 1;

    [Description("α_c, of the synapses between memories, Φ'; 0: no sequence.")]
    [Range(-double.MaxValue, double.MaxValue)]
    public double AlphaC { get; init; } = 1;
}

/// <summary>σ_f and σ_h.</summary>
public sealed record GsemmNonlinearities
{
    [Description("σ_f."), AllowedValues("tanh", "identity")]
    public string Feature { get; init; } = "tanh";

    [Description("The gain of σ_f."), Range(0, double.MaxValue, MinimumIsExclusive = true)]
    public double FeatureGain { get; init; } = 4;

    [Description("σ_h; the identity in Eq. 18."), AllowedValues("identity", "tanh")]
    public string Hidden { get; init; } = "identity";

    [Description("The gain of σ_h."), Range(0, double.MaxValue, MinimumIsExclusive = true)]
    public double HiddenGain { get; init; } = 1;
}

/// <summary>The integration of the ODE.</summary>
public sealed record GsemmIntegration
{
    [Description("Forward Euler or the classical Runge–Kutta method."), AllowedValues("rk4", "euler")]
    public string Integrator { get; init; } = "rk4";

    [Description("The step, in the timescales' unit."), Range(0, double.MaxValue, MinimumIsExclusive = true)]
    public double Step { get; init; } = 0.05;

    [Description("The time to integrate, in the timescales' unit.")]
    [Range(0, double.MaxValue, MinimumIsExclusive = true)]
    public double Length { get; init; } = 150;

    [Description("Steps from one record to the next."), Range(1, int.MaxValue)]
    public int RecordEvery { get; init; } = 10;
}
