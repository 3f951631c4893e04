using System.Text;
using EmtTorch.Analysis;
using EmtTorch.Analysis.Charts;
using EmtTorch.Analysis.Runs;
using EmtTorch.Studies;

namespace EmtTorch.Reports;

/// <summary>One trained network, opened up: a self-contained HTML file.</summary>
internal static class ReportPage
{
    /// <returns>The HTML file's text.</returns>
    public static string Render(ReportData data)
    {
        var page = new Page(data.Name);
        Header(page, data);
        if (data.Circuit is null)
            Figures(page, data, "Figures");
        foreach (var text in data.Texts)
            Text(page, text);
        if (!data.OnTokens)
            Weights(page, data);
        if (data.Circuit is { } circuit)
        {
            Spectrum(page, circuit);
            Examples(page, circuit);
            Interventions(page, circuit);
            Neurons(page, circuit);
            Groundings(page, circuit);
            Figures(page, data, "More figures");
        }
        Training(page, data);
        Settings(page, data);
        return page.Render();
    }

    private static void Figures(Page page, ReportData data, string title)
    {
        if (data.Figures.Count > 0)
            page.Add($"<h2>{title}</h2>");
        foreach (var figure in data.Figures)
            page.Add(figure);
    }

    private static void Text(Page page, ReportText text) =>
        page.Add(
            "<section "
                + $"id=\"{Page.Escape(text.Id)}\"><h3>{Page.Escape(text.Title)}</h3><p>{Page.Escape(text.Caption)}</p>"
                + $"<pre class=\"text\"><span>{Page.Escape(text.Given)}</span>{Page.Escape(text.Text)}</pre></section>"
        );

    private static void Header(Page page, ReportData data)
    {
        var facts = new StringBuilder();
        void Fact(string name, string? value)
        {
            if (value is not null)
                facts.Append($"<div><dt>{name}</dt><dd>{Page.Escape(value)}</dd></div>\n");
        }
        Fact("Task", data.Task);
        Fact("Seed", data.Seed?.ToString());
        Fact(data.OnTokens ? "Width, d" : "Hidden units, H", data.HiddenSize?.ToString());
        foreach (var fact in data.Facts)
            Fact(fact.Key, fact.Value);
        Fact("Variables, s", data.Circuit?.Variables?.ToString());
        Fact("Components of each, κ", data.Circuit?.Components?.ToString());
        Fact("Steps trained", data.Steps?.ToString());
        Fact("Test accuracy", data.TestAccuracy is null ? null : NumberText.Percent(data.TestAccuracy));
        page.Add($"<header><h1>{Page.Escape(data.Name)}</h1><dl class=\"facts\">\n{facts}</dl></header>");
        if (data.Summary.Count > 0)
            page.Add($"<section id=\"summary\"><h2>Summary</h2>{List(data.Summary)}</section>");
        if (data.Problems.Count > 0)
        {
            page.Add(
                "<section id=\"problems\" class=\"problem\"><strong>Not "
                    + $"computed</strong>{List(data.Problems)}</section>"
            );
        }
    }

    private static void Weights(Page page, ReportData data)
    {
        page.Add(data.Circuit is null ? "<h2>Recurrent weights</h2>" : "<h2>A. Recurrent weights</h2>");
        page.Add("<div class=\"pair\">");
        var standard = new HeatMap
        {
            Values = data.WeightsStandard,
            Rows = new("to unit"),
            Columns = new("from unit"),
            Value = "weight",
            Height = (1, 24),
        }.Figure("weights-standard", "W_hh in the standard basis", "Row i is what unit i receives.");
        Draw(page, standard, "W_hh in the standard basis", null);
        if (data.Circuit is { } circuit)
            WeightsOfVariables(page, circuit);
        page.Add("</div>");
    }

    private static void WeightsOfVariables(Page page, CircuitCharts data)
    {
        const string Title = "W_hh in the basis of the variable memories";
        int n = data.WeightsVariables is { Length: > 0 } rows
            ? Math.Max(rows.Length, rows.Max(row => row?.Length ?? 0))
            : 0;
        var axis = HeatAxis.OfVariables("to variable", data.Variables, data.Components, n);
        bool rest = axis.Groups.Count > data.Variables;
        var variables = new HeatMap
        {
            Values = data.WeightsVariables,
            Rows = axis,
            Columns = axis with { Title = "from variable" },
            Value = "weight",
            Grey = HeatMap.NotLive,
            Limit = 1,
            Height = (1, 24),
        }.Figure(
            "weights-variables",
            Title,
            (axis.Groups.Count > 0 ? "Lines separate the variables. " : "")
                + (rest ? "Beyond the heavy line: Ψ⊥, the rest of the space." : "")
        );
        Draw(page, variables, Title, data.WhyNoMemories);
    }

    private static void Spectrum(Page page, CircuitCharts data)
    {
        page.Add("<h2>B. Spectrum</h2>");
        var spectrum = data.Spectrum;
        page.Add("<div class=\"pair\">");
        Draw(page, spectrum is null ? null : SpectrumChart.Of(spectrum), "Eigenvalues", null);
        if (spectrum is not null)
            page.Add(Counts(spectrum, data.SpectrumNull?.Error));
        page.Add("</div>");
    }

    private static string Counts(SpectralComparison spectrum, double? chance)
    {
        var (theory, learned) = (spectrum.CountTheory, spectrum.CountLearned);
        static string Radians(double? error) => error is { } e ? $"{NumberText.Number(e)} rad" : NumberText.Nothing;
        string note =
            spectrum.Error is not null
                ? "The spectral error is the mean absolute difference of the matched eigenvalues' arguments."
            : theory != learned ? "The spectral error is not defined: the counts differ."
            : "The spectral error was not computed.";
        return $"""
            <div><table id="spectrum-counts"><caption>Eigenvalues of magnitude above {NumberText.Number(
                spectrum.Threshold
            )}</caption><tbody>
            <tr><th scope="row">Theory</th><td class="number">{theory}</td></tr>
            <tr><th scope="row">Network</th><td class="number">{learned}</td></tr>
            <tr><th scope="row">Spectral error</th><td class="number">{Radians(spectrum.Error)}</td></tr>
            <tr><th scope="row">At random angles</th><td class="number">{Radians(chance)}</td></tr>
            </tbody></table><p>{note}</p></div>
            """;
    }

    private static void Examples(Page page, CircuitCharts data)
    {
        // A section, so that the slider stays in view no further than its end
        page.Add("<section><h2>C, D. One sequence through the network</h2>");
        var examples = (data.Examples ?? []).Where(example => Steps(example) > 0).ToList();
        double hidden = HeatMap.ColourLimit(examples.SelectMany(example => example.HiddenState ?? []));
        double contents = HeatMap.ColourLimit(examples.SelectMany(example => example.Contents ?? []));
        var drawn = examples
            .Select(e => new DrawnExample(
                e,
                HiddenState(e, hidden),
                Contents(e, contents, data.Variables ?? 0, data.Components ?? 0),
                IsWhole(e, data)
            ))
            .ToList();
        bool anyHidden = drawn.Any(e => e.Hidden is not null),
            anyContents = drawn.Any(e => e.Contents is not null);
        if (anyHidden || anyContents)
        {
            page.Examples = ExamplesJson(data, drawn, contents);
            page.Add(TimeSlider(examples));
        }
        if (drawn.Any(e => e.Contents is not null && e.Whole))
        {
            page.Add(
                Page.Frame(
                    "circuit",
                    "The variables at the chosen time",
                    "Each box is a variable, each cell one of its components, coloured as in D. At each step, what a "
                        + "variable contains moves to the one before it. In the input phase u(t) enters the last "
                        + "variable; in the output phase f of all variables enters it, and is the output. u(t) and "
                        + "y(t) have colour scales of their own.",
                    "data-circuit"
                )
            );
        }

        Place(anyHidden, "hidden-state", "C. Hidden state", null);
        Place(anyContents, "variables", "D. Contents of the variables", data.WhyNoMemories);
        page.Add("</section>");

        void Place(bool any, string id, string title, string? why)
        {
            if (any)
                page.Add(Page.Frame(id, title, "", "data-example"));
            else
                page.Missing(title, why);
        }
    }

    /// <summary>An example with its figures.</summary>
    /// <param name="Hidden">Its hidden states; null if there are none.</param>
    /// <param name="Contents">The contents of its variables; null if there are none.</param>
    /// <param name="Whole">Whether the contents are those of all variables at every step.</param>
    private sealed record DrawnExample(ExampleData Data, Figure? Hidden, Figure? Contents, bool Whole);

    private static bool IsWhole(ExampleData example, CircuitCharts data) =>
        data is { Variables: > 0 and var s, Components: > 0 and var kappa }
        && example.Contents is { } contents
        && contents.All(row => row is null || row.Length == s * kappa);

    private static string ExamplesJson(CircuitCharts data, List<DrawnExample> drawn, double contents)
    {
        double inputs = HeatMap.ColourLimit(drawn.SelectMany(e => e.Data.Inputs ?? []));
        double outputs = HeatMap.ColourLimit(drawn.SelectMany(e => e.Data.Outputs ?? []));
        return CompactJson.Text(
            new
            {
                s = data.Variables ?? 0,
                kappa = data.Components ?? 0,
                limits = new
                {
                    contents,
                    inputs,
                    outputs,
                },
                list = drawn.Select(e =>
                    (object)
                        new
                        {
                            label = e.Data.Label,
                            steps = Steps(e.Data),
                            inputSteps = e.Data.InputSteps,
                            inputs = e.Data.Inputs,
                            outputs = e.Data.Outputs,
                            contents = e.Contents is not null && e.Whole ? e.Data.Contents : null,
                            figures = new[] { e.Hidden, e.Contents }
                                .OfType<Figure>()
                                .ToDictionary(f => f.Id, f => new { caption = f.Caption, spec = f.Spec }),
                        }
                ),
            }
        );
    }

    private static string TimeSlider(List<ExampleData> examples)
    {
        string options = string.Concat(
            examples.Select((example, i) => $"<option value=\"{i}\">{Page.Escape(example.Label)}</option>")
        );
        return $"""
            <div class="time" role="group" aria-label="Time">
            {(
                examples.Count > 1
                    ? $"<label>Example <select id=\"example\">{options}</select></label>"
                    : $"<span>Example {Page.Escape(examples[0].Label)}</span>"
            )}
            <button type="button" id="play">Play</button>
            <input type="range" id="time" min="1" max="{Steps(
                examples[0]
            )}" value="1" step="1" aria-label="Time step">
            <output id="time-now" for="time">t = 1</output>
            </div>
            """;
    }

    private static Figure? HiddenState(ExampleData example, double limit) =>
        new HeatMap
        {
            Values = example.HiddenState,
            Rows = new("time step"),
            Columns = new("unit"),
            RowsAcross = true,
            Value = "h",
            Limit = limit,
            Height = (0.22, 210),
            InputSteps = example.InputSteps,
        }.Figure("hidden-state", "", "h(t), unit by unit. The heavy line is the chosen time.");

    private static Figure? Contents(ExampleData example, double limit, int s, int kappa) =>
        new HeatMap
        {
            Values = example.Contents,
            Rows = new("time step"),
            Columns = HeatAxis.OfVariables(
                "variable",
                s,
                kappa,
                example.Contents?.Select(row => row?.Length ?? 0).DefaultIfEmpty(0).Max() ?? 0
            ),
            RowsAcross = true,
            Value = "content",
            Grey = HeatMap.NotLive,
            Limit = limit,
            Height = (0.22, 210),
            InputSteps = example.InputSteps,
        }.Figure("variables", "", "Ψ* h(t), variable by variable. The heavy line is the chosen time.");

    private static int Steps(ExampleData example) =>
        Math.Max(example.HiddenState?.Length ?? 0, example.Contents?.Length ?? 0);

    private static void Interventions(Page page, CircuitCharts data)
    {
        page.Add("<h2>Interventions</h2>");
        var interventions = data.Interventions ?? [];
        Draw(page, InterventionChart.Of(interventions), "Interventions", data.WhyNoMemories);
        if (interventions.Count > 0)
            page.Add(ReportTables.Interventions(interventions));
    }

    private static void Neurons(Page page, CircuitCharts data)
    {
        page.Add("<h2>Neurons of each variable</h2>");
        var figure = data.Participation is { Length: > 0 } rows ? NeuronChart.Of(rows) : null;
        Draw(page, figure, "Units of each variable", data.WhyNoMemories);
        if (figure is not null)
            page.Add(ReportTables.Participation(data.Participation!));
    }

    private static void Groundings(Page page, CircuitCharts data)
    {
        if (data.Groundings.Count > 0)
            page.Add("<h2>Groundings</h2>\n" + ReportTables.Groundings(data.Groundings));
    }

    private static void Training(Page page, ReportData data)
    {
        page.Add("<h2>Training</h2>");
        var figures = TrainingCharts.Of(data.Training, data.OnTokens, data.Chance).ToList();
        if (figures.Count == 0)
            page.Missing("Training curves", null);
        page.Add("<div class=\"pair\">");
        foreach (var figure in figures)
            page.Add(figure);
        page.Add("</div>");
    }

    private static void Settings(Page page, ReportData data)
    {
        if (data.Settings.Count > 0)
        {
            string table = ReportTables.Settings(data.Settings);
            page.Add($"<details id=\"settings\"><summary>Settings</summary>{table}</details>");
        }
    }

    private static void Draw(Page page, Figure? figure, string what, string? why)
    {
        if (figure is not null)
            page.Add(figure);
        else
            page.Missing(what, why);
    }

    private static string List(IEnumerable<string> items) =>
        $"<ul>{string.Concat(items.Select(item => $"<li>{Page.Prose(item)}</li>"))}</ul>";
}
