using System.Text.Json;
using System.Text.Json.Nodes;
using EmtTorch.Analysis;

namespace EmtTorch.Studies;

/// <summary>A point of the accuracy against what there is to keep.</summary>
/// <param name="Pairs">Pairs or facts in a document.</param>
/// <param name="Accuracy">The share of right answers.</param>
public sealed record CapacityPoint(int Pairs, double? Accuracy);

/// <summary>
/// What of a run's analysis.json a table shows, under its names there; null: it can't be had, or there is no analysis.
/// </summary>
public sealed record AnalysisFigures
{
    /// <summary>The step of the checkpoint that the analysis is of.</summary>
    public long? Step { get; init; }

    /// <summary>The analysis's own test, on sequences that had no part in the choice of the checkpoint.</summary>
    public double? TestAccuracy { get; init; }

    /// <summary>
    /// In radians; null where the counts of persistent eigenvalues differ: the run has not converged to the circuit.
    /// </summary>
    public double? SpectralError { get; init; }

    public int? EigenvaluesTheory { get; init; }
    public int? EigenvaluesLearned { get; init; }

    /// <summary>
    /// How many cycles the circuit falls apart into, and how many of them the network has
    /// (<see cref="CycleComparison"/>).
    /// </summary>
    public int? CyclesTheory { get; init; }
    public int? CyclesLearned { get; init; }

    /// <summary>How far W_hh in the basis of variables is from the circuit's Φ.</summary>
    public double? PhiError { get; init; }

    /// <summary>How many times theory's 1 the |λ| of the persistent eigenvalues is.</summary>
    public double? Gain { get; init; }

    /// <summary>‖θ‖: with weight decay as L2, ½ weight_decay ‖θ‖² is its part of the objective.</summary>
    public double? ParameterNorm { get; init; }

    /// <summary>Share of output bits as predicted after interventions.</summary>
    public double? InterventionAccuracy { get; init; }

    /// <summary>
    /// Of a transformer on text, on the test part: of all characters, of those in words that are new in their document,
    /// and in words that were in it before.
    /// </summary>
    public double? BitsPerCharacter { get; init; }
    public double? BitsNewWords { get; init; }
    public double? BitsSeenWords { get; init; }

    /// <summary>
    /// Of a transformer, the share of questions at which the asked pair gives the most of what a head reads, of the
    /// best head.
    /// </summary>
    public double? ReadsRight { get; init; }

    /// <summary>Of a transformer, the bytes of a document's state at its end.</summary>
    public long? StateBytesEnd { get; init; }

    /// <summary>Of a transformer, its accuracy with more and with fewer pairs or facts than in training.</summary>
    public IReadOnlyList<CapacityPoint>? Capacity { get; init; }

    /// <exception cref="JsonException">A figure is no number.</exception>
    internal static AnalysisFigures Of(JsonObject analysis) =>
        analysis.Deserialize<AnalysisFigures>(OutputJson.Options)!;
}
