using EmtTorch.Analysis.Charts;
using EmtTorch.Training;

namespace EmtTorch.Analysis.Runs;

/// <summary>
/// What one run's report.html shows. Everything but the name may be missing: a chart without data is left out. NaN and
/// infinities are allowed anywhere and are drawn as gaps.
/// </summary>
/// <example>
/// <code>
/// var page = ReportPage.Render(new ReportData { Name = "repeat_copy", WeightsStandard = weights });
/// </code>
/// </example>
internal sealed record ReportData
{
    public required string Name { get; init; }
    public string? Task { get; init; }
    public long? Seed { get; init; }

    /// <summary>H, the hidden units.</summary>
    public long? HiddenSize { get; init; }

    /// <summary>Steps trained.</summary>
    public long? Steps { get; init; }

    /// <summary>Share of output bits with the right sign, 0 to 1.</summary>
    public double? TestAccuracy { get; init; }

    /// <summary>The accuracy of guessing, or null where nothing can be said of it.</summary>
    public double? Chance { get; init; }

    /// <summary>What else stands in the head of the page, after the size.</summary>
    public IReadOnlyList<ReportSetting> Facts { get; init; } = [];

    /// <summary>
    /// Whether it is a transformer, on tokens: there are no recurrent weights, and its settings have other names.
    /// </summary>
    public bool OnTokens { get; init; }

    /// <summary>The findings, a sentence each.</summary>
    public IReadOnlyList<string> Summary { get; init; } = [];

    /// <summary>What could not be computed, and why.</summary>
    public IReadOnlyList<string> Problems { get; init; } = [];

    public IReadOnlyList<ReportSetting> Settings { get; init; } = [];

    public IReadOnlyList<Metrics> Training { get; init; } = [];

    /// <summary>W_hh as trained: (H, H), row i what unit i receives.</summary>
    public double[][]? WeightsStandard { get; init; }

    /// <summary>The chapters on variables; null for a network that is not compared with a circuit.</summary>
    public CircuitCharts? Circuit { get; init; }

    /// <summary>Figures of the findings, after the chapters on variables.</summary>
    public IReadOnlyList<Figure> Figures { get; init; } = [];

    /// <summary>Texts to read, after the figures.</summary>
    public IReadOnlyList<ReportText> Texts { get; init; } = [];
}

/// <summary>
/// What the report shows of a network that is compared with a circuit of variables. A chart without data is replaced by
/// a line that says so.
/// </summary>
internal sealed record CircuitCharts
{
    /// <summary>s, the variables; with κ, where the grid lines of the variable-memory basis lie.</summary>
    public int? Variables { get; init; }

    /// <summary>κ, the components of one variable.</summary>
    public int? Components { get; init; }

    /// <summary>[Ψ; Ψ⊥]⁻¹ W_hh [Ψ; Ψ⊥]: the first s·κ rows and columns are the variables, the rest Ψ⊥.</summary>
    public double[][]? WeightsVariables { get; init; }

    public SpectralComparison? Spectrum { get; init; }

    /// <summary>The same at random angles.</summary>
    public SpectralNull? SpectrumNull { get; init; }

    /// <summary>Input sequences shown to the network; the first is drawn when the page opens.</summary>
    public IReadOnlyList<ExampleData>? Examples { get; init; }

    public IReadOnlyList<Intervention>? Interventions { get; init; }

    /// <summary>How much unit i takes part in variable k: (H, s), not negative.</summary>
    public double[][]? Participation { get; init; }

    /// <summary>The ways to ground the variables that were tried.</summary>
    public IReadOnlyList<GroundingRow> Groundings { get; init; } = [];

    /// <summary>Why there are no charts of variable memories; null if there are.</summary>
    public string? WhyNoMemories { get; init; }
}

/// <summary>One line of the settings table, such as ("training.steps", "45000").</summary>
internal sealed record ReportSetting(string Key, string Value);

/// <summary>A text for the report, printed as it is.</summary>
/// <param name="Id">The HTML id.</param>
/// <param name="Title">Its heading.</param>
/// <param name="Caption">What it is.</param>
/// <param name="Given">The text that it continues, shown before it and paler.</param>
/// <param name="Text">The text.</param>
public sealed record ReportText(string Id, string Title, string Caption, string Given, string Text);

/// <summary>One input sequence and what the network does with it, over T steps (Fig. 3C and D).</summary>
internal sealed record ExampleData
{
    /// <summary>What it is, such as "3141".</summary>
    public required string Label { get; init; }

    /// <summary>How many of the T steps are input; the others are output.</summary>
    public int InputSteps { get; init; }

    /// <summary>(T or fewer, d).</summary>
    public double[][]? Inputs { get; init; }

    /// <summary>h(t), t = 1 … T: (T, H).</summary>
    public double[][]? HiddenState { get; init; }

    /// <summary>Ψ* h(t): (T, s·κ), variable by variable.</summary>
    public double[][]? Contents { get; init; }

    /// <summary>y(t): (T, d).</summary>
    public double[][]? Outputs { get; init; }
}

/// <summary>One way to ground the variables in the hidden state, and how well it did.</summary>
/// <param name="Grounding">Its name.</param>
/// <param name="PhiError">How far Ψ* W_hh Ψ is from Φ.</param>
/// <param name="ChangedBits">Of the output bits that interventions change, the share as predicted, 0 to 1.</param>
/// <param name="Condition">The condition number of Ψ.</param>
/// <param name="Note">Anything to add.</param>
/// <param name="Chosen">Whether the report's other charts use it.</param>
internal sealed record GroundingRow(
    string Grounding,
    double? PhiError,
    double? ChangedBits,
    double? Condition,
    string? Note,
    bool Chosen = false
);
