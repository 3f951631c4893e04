namespace EmtTorch.Analysis;

/// <summary>A result cannot be computed for this network. The message says which one, and why.</summary>
public sealed class AnalysisException(string message) : Exception(message);
