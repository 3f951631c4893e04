using System.Text;
using EmtTorch.Analysis;
using EmtTorch.Analysis.Charts;
using EmtTorch.Analysis.Runs;
using EmtTorch.Studies;

namespace EmtTorch.Reports;

/// <summary>One trained network, opened up: a self-contained HTML file.</summary>
public static class ReportPage
{
    /// <returns>The HTML file's text.</returns>
    public static string Render(ReportData data)
    {
        var page = new Page(data.Name);
        Header(page, data);
        if (!data.HasVariables)
            Figures(page, data, "Figures");
        foreach (var text in data.Texts)
            Text(page, text);
        if (!data.OnTokens)
            Weights(page, data);
        if (data.HasVariables)
        {
            Spectrum(page, data);
            Examples(page, data);
            Interventions(page, data);
            Neurons(page, data);
            Groundings(page, data);
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
                + $"id=\"{Page.Escape(text.Id)}\"><h3>{Page.Escape(text.Title)}</h3><p>{Page.Escape(text.Caption)}</p><pre "
                + $"class=\"text\"><span>{Page.Escape(text.Given)}</span>{Page.Escape(text.Text)}</pre></section>"
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
        Fact("Variables, s", data.Variables?.ToString());
        Fact("Components of each, κ", data.Components?.ToString());
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
        page.Add(data.HasVariables ? "<h2>A. Recurrent weights</h2>" : "<h2>Recurrent weights</h2>");
        var standard = new HeatMap
        {
            Values = data.WeightsStandard,
            Rows = new("to unit"),
            Columns = new("from unit"),
            Value = "weight",
            Height = (1, 24),
        }.Figure("weights-standard", "W_hh in the standard basis", "Row i is what unit i receives.");
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
            "W_hh in the basis of the variable memories",
            (axis.Groups.Count > 0 ? "Lines part the variables. " : "")
                + (rest ? "Beyond the heavy line: Ψ⊥, the rest of the space." : "")
        );
        page.Add("<div class=\"pair\">");
        Draw(page, data, ReportChart.WeightsStandard, standard, "W_hh in the standard basis");
        if (data.HasVariables)
            Draw(page, data, ReportChart.WeightsVariables, variables, "W_hh in the basis of the variable memories");
        page.Add("</div>");
    }

    private static void Spectrum(Page page, ReportData data)
    {
        page.Add("<h2>B. Spectrum</h2>");
        var spectrum = data.Spectrum;
        page.Add("<div class=\"pair\">");
        Draw(page, data, ReportChart.Spectrum, spectrum is null ? null : SpectrumChart.Of(spectrum), "Eigenvalues");
        if (spectrum is not null)
        {
            int? theory = spectrum.CountTheory ?? SpectrumChart.Count(spectrum.Theory, spectrum.Threshold);
            int? learned = spectrum.CountLearned ?? SpectrumChart.Count(spectrum.Learned, spectrum.Threshold);
            string error = spectrum.SpectralError is double e ? $"{NumberText.Number(e)} rad" : "–";
            string note =
                spectrum.SpectralError is not null
                    ? "The spectral error is the mean absolute difference of the matched eigenvalues' arguments."
                : theory is not null && learned is not null && theory != learned
                    ? "The spectral error is not defined: the counts differ."
                : "The spectral error was not computed.";
            page.Add(
                $"""
                <div><table id="spectrum-counts"><caption>Eigenvalues of magnitude above {NumberText.Number(
                    spectrum.Threshold
                )}</caption><tbody>
                <tr><th scope="row">Theory</th><td class="number">{theory?.ToString() ?? "–"}</td></tr>
                <tr><th scope="row">Network</th><td class="number">{learned?.ToString() ?? "–"}</td></tr>
                <tr><th scope="row">Spectral error</th><td class="number">{error}</td></tr>
                </tbody></table><p>{note}</p></div>
                """
            );
        }
        page.Add("</div>");
    }

    private static void Examples(Page page, ReportData data)
    {
        // A section, so that the slider stays in view no further than its end
        page.Add("<section><h2>C, D. One sequence through the network</h2>");
        var examples = (data.Examples ?? []).Where(example => Steps(example) > 0).ToList();
        int s = data.Variables ?? 0,
            kappa = data.Components ?? 0;
        double hidden = HeatMap.ColourLimit(examples.SelectMany(example => example.HiddenState ?? []));
        double contents = HeatMap.ColourLimit(examples.SelectMany(example => example.Contents ?? []));
        bool anyHidden = false,
            anyContents = false,
            anyCircuit = false;
        var list = new List<object>();
        foreach (var example in examples)
        {
            var c = HiddenState(example, hidden);
            var d = Contents(example, contents, s, kappa);
            bool circuit =
                d is not null
                && s > 0
                && kappa > 0
                && example.Contents!.All(row => row is null || row.Length == s * kappa);
            anyHidden |= c is not null;
            anyContents |= d is not null;
            anyCircuit |= circuit;
            list.Add(
                new
                {
                    label = example.Label,
                    steps = Steps(example),
                    inputSteps = example.InputSteps,
                    inputs = example.Inputs,
                    outputs = example.Outputs,
                    contents = circuit ? example.Contents : null,
                    figures = new[] { c, d }
                        .OfType<Figure>()
                        .ToDictionary(f => f.Id, f => new { caption = f.Caption, spec = f.Spec }),
                }
            );
        }
        if (anyHidden || anyContents)
        {
            double inputs = HeatMap.ColourLimit(examples.SelectMany(example => example.Inputs ?? []));
            double outputs = HeatMap.ColourLimit(examples.SelectMany(example => example.Outputs ?? []));
            page.Examples = CompactJson.Text(
                new
                {
                    s,
                    kappa,
                    limits = new
                    {
                        contents,
                        inputs,
                        outputs,
                    },
                    list,
                }
            );
            string options = string.Concat(
                examples.Select((example, i) => $"<option value=\"{i}\">{Page.Escape(example.Label)}</option>")
            );
            page.Add(
                $"""
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
                """
            );
        }
        if (anyCircuit)
        {
            page.Add(
                Page.Frame(
                    "circuit",
                    "The variables at the chosen time",
                    "Each box is a variable, each cell one of its components, coloured as in D. Each step, what a "
                        + "variable contains moves to the one before it. In the input phase u(t) enters at the last "
                        + "variable; in the output phase f of all the variables does, and is the output. u(t) and "
                        + "y(t) have colour scales of their own.",
                    "data-circuit"
                )
            );
        }

        Place(ReportChart.HiddenState, anyHidden, "hidden-state", "C. Hidden state");
        Place(ReportChart.Variables, anyContents, "variables", "D. Contents of the variables");
        page.Add("</section>");

        void Place(ReportChart chart, bool any, string id, string title)
        {
            if (any)
                page.Add(Page.Frame(id, title, "", "data-example"));
            else
                page.Missing(title, data.Skipped.GetValueOrDefault(chart));
        }
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
            TimeRule = true,
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
            TimeRule = true,
            InputSteps = example.InputSteps,
        }.Figure("variables", "", "Ψ* h(t), variable by variable. The heavy line is the chosen time.");

    private static int Steps(ExampleData example) =>
        Math.Max(example.HiddenState?.Length ?? 0, example.Contents?.Length ?? 0);

    private static void Interventions(Page page, ReportData data)
    {
        page.Add("<h2>Interventions</h2>");
        var interventions = data.Interventions ?? [];
        Draw(page, data, ReportChart.Interventions, InterventionChart.Of(interventions), "Interventions");
        if (interventions.Count > 0)
            page.Add(ReportTables.Interventions(interventions));
    }

    private static void Neurons(Page page, ReportData data)
    {
        page.Add("<h2>Neurons of each variable</h2>");
        var figure = data.Participation is { Length: > 0 } rows ? NeuronChart.Of(rows) : null;
        Draw(page, data, ReportChart.Participation, figure, "Units of each variable");
        if (figure is not null)
            page.Add(ReportTables.Participation(data.Participation!));
    }

    private static void Groundings(Page page, ReportData data)
    {
        if (data.Groundings.Count > 0)
            page.Add("<h2>Groundings</h2>\n" + ReportTables.Groundings(data.Groundings));
    }

    private static void Training(Page page, ReportData data)
    {
        page.Add("<h2>Training</h2>");
        var figures = data.Training is { Count: > 0 } points
            ? TrainingCharts.Of(points, data.OnTokens, data.Chance).ToList()
            : [];
        if (figures.Count == 0)
            page.Missing("Training curves", data.Skipped.GetValueOrDefault(ReportChart.Training));
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

    private static void Draw(Page page, ReportData data, ReportChart chart, Figure? figure, string what)
    {
        if (figure is not null)
            page.Add(figure);
        else
            page.Missing(what, data.Skipped.GetValueOrDefault(chart));
    }

    private static string List(IEnumerable<string> items) =>
        $"<ul>{string.Concat(items.Select(item => $"<li>{Page.Prose(item)}</li>"))}</ul>";
}
