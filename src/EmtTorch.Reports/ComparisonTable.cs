using System.Text;
using EmtTorch.Analysis;
using EmtTorch.Analysis.Runs;
using EmtTorch.Studies;

namespace EmtTorch.Reports;

/// <summary>A comparison as Markdown tables.</summary>
public static class ComparisonTable
{
    /// <summary>
    /// A line a run: <see cref="Runs"/>, and below it how each grounding does, and how each network loads.
    /// </summary>
    public static string Markdown(IReadOnlyList<RunAnalysis> analyses)
    {
        var tables = new StringBuilder(Runs([.. analyses.Select(a => a.Row)]));
        var groundings = analyses.SelectMany(a => a.Groundings.Select(g => (a.Row.Name, Result: g))).ToList();
        if (groundings.Count > 0)
        {
            tables
                .Append(
                    "\nGroundings. Φ error with tanh's gain taken out, and in brackets of W_hh as it is; the condition "
                )
                .Append("number of Ψ; the share of bits as predicted after interventions.\n\n")
                .Append(
                    Table.Markdown(
                        [
                            new("run", row => row.Name),
                            new("grounding", row => VariableMemories.Name(row.Result.Grounding)),
                            new(
                                "Φ error",
                                row =>
                                    $"{NumberText.Fixed(row.Result.PhiError, "P2")} "
                                    + $"({NumberText.Fixed(row.Result.PhiErrorUnscaled, "P2")})",
                                row => row.Result.PhiError
                            ),
                            new("condition", row => row.Result.Condition, "G3"),
                            new("interventions", row => row.Result.InterventionAccuracy, "P2"),
                        ],
                        groundings
                    )
                );
        }
        var loadings = analyses
            .SelectMany(a =>
                a.Loading is { Steps: [.., var last] }
                    ? [(a.Row.Name, last)]
                    : Array.Empty<(string Name, LoadingStep Last)>()
            )
            .ToList();
        if (loadings.Count > 0)
        {
            tables
                .Append(
                    "\nLoading, at the last input step. What enters the newest variable is a u + b f; its contents "
                )
                .Append(
                    "times u where f agrees with u and where it does not; a linear network of one phase has 1, 1, 2 "
                )
                .Append("and 0.\n\n")
                .Append(
                    Table.Markdown(
                        [
                            new("run", row => row.Name),
                            new("a", row => row.Last.InputWeight, "F2"),
                            new("b", row => row.Last.FeedbackWeight, "F2"),
                            new("R²", row => row.Last.Explained, "F2"),
                            new("agree", row => row.Last.Agree, "F2"),
                            new("disagree", row => row.Last.Disagree, "F2"),
                            new("right sign", row => row.Last.SignRight, "P1"),
                            new("saturated units", row => row.Last.Saturated, "P1"),
                        ],
                        loadings
                    )
                );
        }
        return tables.ToString();
    }

    /// <summary>All columns; those of no run are left out of a table.</summary>
    internal static readonly IReadOnlyList<Column<ComparisonRow>> Columns =
    [
        new("run", row => row.Name) { Link = row => row.Link },
        new("task", row => row.Task),
        new("seed", row => row.Seed, "0"),
        new("H", row => row.HiddenSize, "0"),
        new("test accuracy", row => row.TestAccuracy, "P2"),
        new("spectral error", row => row.SpectralError, "F5"),
        new(
            "eigenvalues (theory, learned)",
            row =>
                row is { CountTheory: null, CountLearned: null }
                    ? null
                    : $"{NumberText.Fixed(row.CountTheory, "0")}, {NumberText.Fixed(row.CountLearned, "0")}",
            row => row.CountLearned
        ),
        new("live entries", row => row.LiveEntries, "F0"),
        new("grounding", row => row.Grounding),
        new("Φ error", row => row.PhiError, "P2"),
        new("interventions", row => row.InterventionAccuracy, "P2"),
        new("bits per character", row => row.BitsPerCharacter, "F3"),
        new("reads right", row => row.ReadsRight, "P2"),
        new("effective rank", row => row.EffectiveRank, "F1"),
        new("state, bytes", row => row.StateBytes, "0"),
        new("notes", row => row.Problems, "0"),
    ];

    /// <summary>A line a run; what no run has is left out, and the seed, which a run's name tells.</summary>
    public static string Runs(IReadOnlyList<ComparisonRow> rows) =>
        Table.Markdown(Table.Filled(Columns.Where(c => c.Title != "seed"), rows), rows);
}
