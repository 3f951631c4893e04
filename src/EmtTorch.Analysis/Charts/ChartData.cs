namespace EmtTorch.Analysis.Charts;

/// <summary>One line of metrics.jsonl.</summary>
public sealed record TrainingPoint
{
    public required long Step { get; init; }
    public double? Loss { get; init; }
    public double? Accuracy { get; init; }
    public double? Horizon { get; init; }
    public double? TestLoss { get; init; }
    public double? TestAccuracy { get; init; }
    public double? SpectralError { get; init; }
    public double? EigenvaluesLearned { get; init; }
    public double? TestBits { get; init; }
    public double? TestBitsNewWords { get; init; }
    public double? TestBitsSeenWords { get; init; }
}

/// <summary>Eigenvalues, each as [real, imaginary].</summary>
public sealed record SpectrumData
{
    /// <summary>Those of Φ.</summary>
    public double[][]? Theory { get; init; }

    /// <summary>Those of W_hh, or of the Jacobian at the fixed point.</summary>
    public double[][]? Learned { get; init; }

    /// <summary>
    /// Mean absolute difference of the matched eigenvalues' arguments, in radians; null where the counts differ.
    /// </summary>
    public double? SpectralError { get; init; }

    /// <summary>Eigenvalues of greater magnitude are counted and matched.</summary>
    public double Threshold { get; init; } = 0.9;

    /// <summary>Eigenvalues of Φ above the threshold; counted from <see cref="Theory"/> where null.</summary>
    public int? CountTheory { get; init; }

    /// <summary>
    /// Eigenvalues of the network above the threshold; counted from <see cref="Learned"/> where null.
    /// </summary>
    public int? CountLearned { get; init; }
}

/// <summary>The accuracy after something was done to one variable's contents.</summary>
/// <param name="Kind">What was done: "none", "erase", "swap", …</param>
/// <param name="Variable">Which variable, from 1, or null where it is not one of them.</param>
/// <param name="Accuracy">Share of output bits as predicted, 0 to 1.</param>
public sealed record Intervention(string Kind, int? Variable, double? Accuracy);
