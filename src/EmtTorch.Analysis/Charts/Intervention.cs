namespace EmtTorch.Analysis.Charts;

/// <summary>The accuracy after something was done to one variable's contents.</summary>
/// <param name="Kind">What was done: "none", "erase", "swap", …</param>
/// <param name="Variable">Which variable, from 1, or null where it is not one of them.</param>
/// <param name="Accuracy">Share of the output bits that it changes which are as predicted, 0 to 1; where nothing was
/// done, of all.</param>
internal sealed record Intervention(string Kind, int? Variable, double? Accuracy)
{
    /// <summary>What the charts and tables show of an analysis, with the null of each variable.</summary>
    public static IEnumerable<Intervention> From(IReadOnlyList<InterventionResult> results) =>
        results
            .Select(i => new Intervention(
                i.Kind.ToString().ToLowerInvariant(),
                i.Variable == 0 ? null : i.Variable,
                i.Kind == InterventionKind.None ? i.Accuracy : i.AffectedAccuracy
            ))
            .Concat(
                results
                    .Where(i => double.IsFinite(i.AffectedNull))
                    .GroupBy(i => i.Variable, i => i.AffectedNull)
                    .Select(g => new Intervention("random directions", g.Key, g.Average()))
            );
}
