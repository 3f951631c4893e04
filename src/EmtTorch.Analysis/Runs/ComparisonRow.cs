namespace EmtTorch.Analysis.Runs;

/// <summary>One run of a comparison; everything but the name may be missing.</summary>
internal sealed record ComparisonRow
{
    public required string Name { get; init; }
    public string? Task { get; init; }
    public long? Seed { get; init; }

    /// <summary>H, the hidden units, or a transformer's width d.</summary>
    public long? HiddenSize { get; init; }

    /// <summary>The accuracy of guessing, or null if nothing can be said of it.</summary>
    public double? Chance { get; init; }

    /// <summary>What analyses found, by its place in analysis.json.</summary>
    public IReadOnlyDictionary<string, Finding> Findings { get; init; } = new Dictionary<string, Finding>();

    /// <summary>The relative path of that run's report.</summary>
    public string? Link { get; init; }

    /// <summary>How many things could not be computed.</summary>
    public int? Problems { get; init; }
}
