using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using EmtTorch.Analysis;
using EmtTorch.Analysis.Runs;

namespace EmtTorch.Reports.Tests;

public sealed class ReportPageTests
{
    [Test]
    public void PartsComeInOrder()
    {
        string html = ReportPage.Render(ReportSamples.Full(hidden: 24, s: 3, kappa: 4, steps: 12));
        string[] parts =
        [
            "<h1>",
            "id=\"summary\"",
            "id=\"weights-standard\"",
            "id=\"weights-variables\"",
            "id=\"spectrum\"",
            "id=\"time\"",
            "id=\"circuit\"",
            "id=\"hidden-state\"",
            "id=\"variables\"",
            "id=\"interventions\"",
            "id=\"participation\"",
            "id=\"groundings\"",
            "id=\"drift\"",
            "id=\"training-loss\"",
            "id=\"settings\"",
        ];
        var places = parts.Select(part => html.IndexOf(part, StringComparison.Ordinal)).ToArray();
        Assert.That(places, Has.None.EqualTo(-1));
        Assert.That(places, Is.Ordered);
    }

    [Test]
    public void WithANameAloneItSaysWhatIsMissing()
    {
        string html = ReportPage.Render(
            new()
            {
                Name = "empty",
                Circuit = new() { WhyNoMemories = "no memories." },
            }
        );
        Contains(html, "<strong>Interventions</strong> not drawn: no memories.");
        Assert.That(Regex.Count(html, "not drawn: no memories."), Is.EqualTo(4), "of the variables");
        Assert.That(Regex.Count(html, "not drawn: there is no data for it."), Is.EqualTo(4), "all other charts");
        Assert.That(Regex.Count(html, "<figure"), Is.Zero);
    }

    [Test]
    public void WithoutVariablesTheirPartsAreLeftOutAndFiguresComeFirst()
    {
        string html = ReportPage.Render(
            new()
            {
                Name = "n",
                WeightsStandard =
                [
                    [1],
                ],
                Figures = [ReportSamples.Extra("extra")],
            }
        );
        Assert.That(
            html,
            Does.Not.Contain("Spectrum</h2>").And.Not.Contain("Interventions</h2>").And.Not.Contain("variable memories")
        );
        Assert.That(
            html.IndexOf("id=\"extra\"", StringComparison.Ordinal),
            Is.InRange(0, html.IndexOf("id=\"weights-standard\"", StringComparison.Ordinal))
        );
    }

    [Test]
    public void TextCannotEndAScriptOrBecomeMarkup()
    {
        string html = ReportPage.Render(ReportSamples.Broken());
        Assert.That(Regex.Count(html, "<script"), Is.EqualTo(Regex.Count(html, "</script>")));
        Assert.That(Regex.Count(html, "<script>alert|<!--"), Is.Zero);
        Contains(html, "&lt;/script&gt; in a problem");
    }

    [Test]
    public void TheDataIsJsonWithNullForNaN()
    {
        var data = Data(ReportPage.Render(ReportSamples.Broken()));
        Assert.That(
            data["figures"]!["weights-standard"]!["data"]!["values"]!.ToJsonString(),
            Is.EqualTo("""[{"i":0,"v":[1,null,-1]},{"i":1,"v":[null,0.5,null]},{"i":2,"v":[null,null,null]}]""")
        );
        Assert.That(data["examples"]!["list"]!.AsArray(), Has.Count.EqualTo(1), "an example without steps is none");
        Assert.That(
            data["examples"]!["list"]![0]!["contents"]!.ToJsonString(),
            Is.EqualTo("[[1,null,0,1],[null,null,null,null],[1,2,3,4]]")
        );
    }

    [Test]
    public void NumbersHaveFourDigits()
    {
        var data = Data(
            ReportPage.Render(
                new()
                {
                    Name = "n",
                    WeightsStandard =
                    [
                        [1 / 3.0, -12345.678, 1e-9 / 7],
                    ],
                }
            )
        );
        Assert.That(
            data["figures"]!["weights-standard"]!["data"]!["values"]![0]!["v"]!.ToJsonString(),
            Is.EqualTo("[0.3333,-1.235E+04,1.429E-10]")
        );
    }

    [Test]
    public void ALargeMatrixIsDrawnAsMeansAndSaysSo()
    {
        double[][] weights =
        [
            .. Enumerable
                .Range(0, 500)
                .Select(i => Enumerable.Range(0, 500).Select(j => i < 3 && j < 3 ? 9.0 : 0).ToArray()),
        ];
        string html = ReportPage.Render(new() { Name = "n", WeightsStandard = weights });
        var rows = Data(html)["figures"]!["weights-standard"]!["data"]!["values"]!.AsArray();
        Assert.That(rows, Has.Count.EqualTo(167));
        Assert.That(rows[0]!["v"]!.AsArray(), Has.Count.EqualTo(167));
        Assert.That(rows[0]!["v"]![0]!.GetValue<double>(), Is.EqualTo(9));
        Contains(html, "The matrix has 500 × 500 entries; each cell is the mean of up to 3 × 3 of them.");
    }

    [Test]
    public void ALongReportStaysSmall()
    {
        string html = ReportPage.Render(ReportSamples.Full(hidden: 128, steps: 208, examples: 5));
        Assert.That(html.Length, Is.LessThan(5_000_000));
    }

    [Test]
    public void EigenvaluesAboveTheThresholdAreCounted()
    {
        string html = ReportPage.Render(
            new()
            {
                Name = "n",
                Circuit = new()
                {
                    Spectrum = ReportSamples.Spectrum([1, -1, new(0, 1)], [new(0.6, 0.7), 0.5, new(0, -0.95)]),
                },
            }
        );
        string table = Regex.Match(html, "<table id=\"spectrum-counts\">.*?</table>", RegexOptions.Singleline).Value;
        // |0.6 + 0.7i| = 0.92 and 0.95 are above 0.9, 0.5 is not.
        Assert.That(
            Regex.Matches(table, "<td class=\"number\">(.*?)</td>").Select(m => m.Groups[1].Value),
            Is.EqualTo(new[] { "3", "2", "–", "–" })
        );
        Contains(html, "not defined: the counts differ");
    }

    [Test]
    public void FiguresOfOneIdGetTheirOwn()
    {
        string html = FigurePage.Render("t", [ReportSamples.Extra("a b"), ReportSamples.Extra("a b")]);
        Assert.That(Data(html)["figures"]!.AsObject().Select(pair => pair.Key), Is.EqualTo(new[] { "a-b", "a-b-2" }));
        Contains(html, "<figure id=\"a-b\"", "<figure id=\"a-b-2\"");
    }

    [Test]
    public void AFiguresOwnSpecificationIsNotChanged()
    {
        var figure = ReportSamples.Extra("a");
        string before = figure.Spec.ToJsonString();
        FigurePage.Render("t", [figure]);
        Assert.That(figure.Spec.ToJsonString(), Is.EqualTo(before));
        Assert.That(figure.Spec.Parent, Is.Null);
    }

    [Test]
    public void WithoutTheLibrariesThePageLinksThemAndSaysSo()
    {
        var page = new Page("t") { Bundled = false };
        page.Add(ReportSamples.Extra("a"));
        string html = page.Render();
        Assert.That(
            Regex.Matches(html, "<script src=\"(.*?)\"").Select(m => m.Groups[1].Value),
            Is.EqualTo(
                new[]
                {
                    "https://cdn.jsdelivr.net/npm/vega@6",
                    "https://cdn.jsdelivr.net/npm/vega-lite@6",
                    "https://cdn.jsdelivr.net/npm/vega-embed@7",
                }
            )
        );
        Contains(html, "needs a network to draw its figures");
    }

    [Test]
    public void TheComparisonHasARowARun()
    {
        string html = ComparisonPage.Render("Runs", ReportSamples.Comparison());
        Assert.That(Regex.Count(html, "<th scope=\"row\">"), Is.EqualTo(13));
        Assert.That(Regex.Count(html, "<th scope=\"col\""), Is.EqualTo(12));
        Contains(html, "<a href=\"seed-1/report.html\">repeat_copy</a>", "&lt;unfinished&gt; &amp; nothing known");
    }

    [Test]
    public void EmptyArraysAreMissingData()
    {
        string html = ReportPage.Render(
            new()
            {
                Name = "n",
                WeightsStandard = [],
                Circuit = new()
                {
                    Variables = 2,
                    Components = 2,
                    WeightsVariables =
                    [
                        [],
                    ],
                    Spectrum = ReportSamples.Spectrum([], []),
                    Examples =
                    [
                        new()
                        {
                            Label = "a",
                            HiddenState =
                            [
                                [1, 2],
                            ],
                            Contents = [],
                            Inputs = [],
                        },
                        new() { Label = "b", HiddenState = [] },
                    ],
                    Interventions = [],
                    Participation =
                    [
                        [],
                    ],
                },
                Training = [],
            }
        );
        Assert.That(
            Regex.Matches(html, "<figure id=\"(.*?)\"").Select(m => m.Groups[1].Value),
            Is.EqualTo(new[] { "hidden-state" })
        );
    }

    [Test]
    public void NoRunsAreNoError() => Contains(ComparisonPage.Render("None", []), "0 runs");

    // A failure says what is missing, not the whole page.
    private static void Contains(string html, params string[] parts) =>
        Assert.That(parts.Where(part => !html.Contains(part)), Is.Empty);

    private static JsonNode Data(string html) =>
        JsonNode.Parse(
            Regex
                .Match(html, "<script type=\"application/json\" id=\"data\">(.*?)</script>", RegexOptions.Singleline)
                .Groups[1]
                .Value
        )!;
}
