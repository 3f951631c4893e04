namespace EmtTorch.Analysis;

/// <summary>Something can't be computed of this network; the message says what, and why.</summary>
public sealed class AnalysisException(string message) : Exception(message);
