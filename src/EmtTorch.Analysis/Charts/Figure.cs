using System.Text.Json.Nodes;

namespace EmtTorch.Analysis.Charts;

/// <summary>One picture of a page.</summary>
/// <param name="Id">Letters, digits and hyphens; the name of the files that it downloads as.</param>
/// <param name="Title">What it shows, one line.</param>
/// <param name="Caption">How to read it, one to three sentences.</param>
/// <param name="Spec">A Vega-Lite specification with its data inside.</param>
public sealed record Figure(string Id, string Title, string Caption, JsonObject Spec);
