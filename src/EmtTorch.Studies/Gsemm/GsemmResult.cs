using System.Text.Json;
using System.Text.Json.Serialization;
using EmtTorch.Analysis;
using EmtTorch.Analysis.Charts;

namespace EmtTorch.Studies;

/// <summary>One retrieval: the overlaps over time, and the memories that were retrieved.</summary>
/// <param name="Times">(T), in the timescales' unit for the ODE, in steps for the discrete limit.</param>
/// <param name="Overlaps">Ξ† σ_f(V_f) (T, N_h).</param>
/// <param name="Retrieved">The retrieved memories in their order, numbered from 1. A memory is retrieved when its
/// overlap becomes the largest and is at least 0.5.</param>
/// <param name="Onsets">The time of the first record of each of <see cref="Retrieved"/>.</param>
/// <param name="InOrder">Whether they came in the stored order, from the first memory on, and none was skipped.</param>
public sealed record GsemmRetrieval(
    double[] Times,
    double[][] Overlaps,
    int[] Retrieved,
    double[] Onsets,
    bool InOrder
);

/// <summary>The energy E along a run.</summary>
/// <param name="Times">(T).</param>
/// <param name="Values">(T).</param>
/// <param name="LargestRise">The largest rise from one record to the next, 0 if it never rises.</param>
/// <param name="NeverRises">Whether E cannot rise according to theory.</param>
public sealed record GsemmEnergy(double[] Times, double[] Values, double LargestRise, bool NeverRises);

/// <summary>The error against the size of a step or a timescale.</summary>
/// <param name="Name">What is varied.</param>
/// <param name="Sizes">The steps or timescales, in units of T_f.</param>
/// <param name="Errors">The largest difference in V_f at the end.</param>
/// <param name="Order">The order of convergence: the slope between the last two points in logarithms. Null if rounding
/// hides the error.</param>
public sealed record GsemmConvergence(string Name, double[] Sizes, double[] Errors, double? Order);

/// <summary>The results of the retrieval experiment.</summary>
public sealed record GsemmResult
{
    /// <summary>The settings.</summary>
    public required GsemmConfiguration Configuration { get; init; }

    /// <summary>The ODE, Eq. 1.</summary>
    public required GsemmRetrieval Continuous { get; init; }

    /// <summary>The discrete limit, Eq. 20. Its unit of time is a step.</summary>
    public required GsemmRetrieval Discrete { get; init; }

    /// <summary>The energy along the ODE. Null if no energy is defined.</summary>
    public GsemmEnergy? Energy { get; init; }

    /// <summary>The energy from the same cue with α_c = 0, when one memory is retrieved, or null.</summary>
    public GsemmEnergy? EnergyWithoutSequence { get; init; }

    /// <summary>Why no energy is defined, or null.</summary>
    public string? NoEnergy { get; init; }

    /// <summary>
    /// The spectral norm ‖Ξ Φᵀ Ξ†‖ without the gain; Eq. 24 asks for at most 1. Null without an Elman form.
    /// </summary>
    public double? Norm { get; init; }

    /// <summary>
    /// The largest |σ_f(V_f(t)) − h(t)| over the discrete run, where h(t) is computed with W_hh alone (Eq. 24). Null if
    /// there is no such Elman network.
    /// </summary>
    public double? ConjugacyError { get; init; }

    /// <summary>The convergence of both integrators and of both limits.</summary>
    public required IReadOnlyList<GsemmConvergence> Convergence { get; init; }

    /// <summary>The figures of the report.</summary>
    [JsonIgnore]
    public IReadOnlyList<Figure> Figures => GsemmFigures.Draw(this);

    /// <summary>Everything except the figures as JSON with keys in snake_case, ending in a line feed.</summary>
    public string ToJson() => JsonSerializer.Serialize(this, OutputJson.Options) + "\n";
}
