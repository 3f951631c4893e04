using EmtTorch.Analysis.Charts;

namespace EmtTorch.Analysis.Runs;

/// <summary>One run of a comparison; everything but the name may be missing.</summary>
public sealed record ComparisonRow
{
    public required string Name { get; init; }
    public string? Task { get; init; }
    public long? Seed { get; init; }

    /// <summary>H, the hidden units.</summary>
    public long? HiddenSize { get; init; }

    /// <summary>Share of output bits with the right sign, 0 to 1.</summary>
    public double? TestAccuracy { get; init; }

    /// <summary>The accuracy of guessing, or null where nothing can be said of it.</summary>
    public double? Chance { get; init; }

    /// <summary>How the variables were grounded in the hidden state.</summary>
    public string? Grounding { get; init; }

    /// <summary>In radians; see <see cref="SpectrumData.SpectralError"/>.</summary>
    public double? SpectralError { get; init; }

    /// <summary>Eigenvalues of Φ above the threshold.</summary>
    public int? CountTheory { get; init; }

    /// <summary>Eigenvalues of the network above the threshold.</summary>
    public int? CountLearned { get; init; }

    public double? LiveEntries { get; init; }
    public double? PhiError { get; init; }

    /// <summary>Share of output bits as predicted after interventions, 0 to 1.</summary>
    public double? InterventionAccuracy { get; init; }

    /// <summary>Of a transformer on text, on the test part.</summary>
    public double? BitsPerCharacter { get; init; }

    /// <summary>
    /// Of a transformer, the share of questions at which the asked pair gives the most of what a block reads, of the
    /// block that has the highest.
    /// </summary>
    public double? ReadsRight { get; init; }

    /// <summary>
    /// Of a transformer, the effective rank of fast weights at a document's end, of the block that has the highest.
    /// </summary>
    public double? EffectiveRank { get; init; }

    /// <summary>Of a transformer, the bytes of a document's state at its end.</summary>
    public long? StateBytes { get; init; }

    /// <summary>The relative path of that run's report.</summary>
    public string? Link { get; init; }

    /// <summary>How many things could not be computed.</summary>
    public int? Problems { get; init; }
}
