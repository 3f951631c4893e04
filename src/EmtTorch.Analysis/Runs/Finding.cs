using EmtTorch.Analysis.Charts;
using EmtTorch.Settings;

namespace EmtTorch.Analysis.Runs;

/// <summary>
/// An analysis of a trained network beside those of the library, found by its name
/// (<see cref="Settings.NamedAttribute"/>).
/// It has a public constructor without arguments.
/// </summary>
/// <example><code>
/// [Named("participation_ratio")]
/// public sealed class ParticipationRatio : INetworkAnalysis
/// {
///     public IEnumerable&lt;Finding&gt; Analyze(TrainedNetwork network)
///     {
///         yield return new("dimensions", value) { Null = shuffled, Sentence = "Its states fill {0:0.0} dimensions." };
///     }
/// }
/// </code></example>
public interface INetworkAnalysis
{
    /// <summary>Reads numbers out of a network.</summary>
    /// <returns>What was found; nothing for a network that the analysis is not for.</returns>
    IEnumerable<Finding> Analyze(TrainedNetwork network);
}

/// <summary>A number that was read out of a network.</summary>
/// <param name="Key">Its name in analysis.json.</param>
/// <param name="Value">The number; NaN where it can't be had.</param>
public sealed record Finding(string Key, double Value)
{
    /// <summary>
    /// The same of a network without the structure: untrained, shuffled. Null: there is nothing to compare.
    /// </summary>
    public double? Null { get; init; }

    /// <summary>Whether a value below <see cref="Null"/> is the finding, and not one above it.</summary>
    public bool Below { get; init; }

    /// <summary>
    /// What it says, with {0} for the value and {1} for the null. It is printed where the value beats the null.
    /// </summary>
    public string? Sentence { get; init; }

    /// <summary>A figure for the report.</summary>
    public Figure? Figure { get; init; }

    /// <summary>Whether the value is a number that beats its null.</summary>
    public bool Beats =>
        double.IsFinite(Value) && (Null is not { } chance || (Below ? Value < chance : Value > chance));
}
