namespace EmtTorch.Analysis.Runs;

/// <summary>
/// Whether a network does its task. Of one that does not, tables have the figures, but no sentence says what it stores.
/// </summary>
internal static class Ability
{
    /// <summary>Whether an accuracy is more than half-way from guessing to 1. True if one of both is unknown.</summary>
    public static bool IsEnough(double? accuracy, double? chance) =>
        accuracy is not { } share || chance is not { } guessed || share > (1 + guessed) / 2;

    /// <summary>The sentence on the accuracy of a network that does not do its task.</summary>
    /// <param name="accuracy">Its accuracy.</param>
    /// <param name="chance">The accuracy of guessing.</param>
    /// <param name="of">What the accuracy is a share of: "output bits".</param>
    public static string Lacking(double accuracy, double chance, string of) =>
        FormattableString.Invariant($"It does not do the task: {accuracy:P1} of {of} are right, and guessing has ")
        + FormattableString.Invariant($"{chance:P1}. So nothing is said of what it stores.");

    /// <summary>The findings, without sentences.</summary>
    public static IEnumerable<Finding> Silence(IEnumerable<Finding> findings) =>
        findings.Select(f => f with { Sentence = null });
}
