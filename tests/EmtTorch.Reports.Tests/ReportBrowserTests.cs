using System.Diagnostics;
using System.Text.Json;
using System.Text.Json.Nodes;
using EmtTorch.Analysis;
using EmtTorch.Analysis.Runs;
using EmtTorch.Studies;
using EmtTorch.Training;

namespace EmtTorch.Reports.Tests;

/// <summary>
/// Opens pages from file:// in a headless Chromium without a network. REPORT_SHOTS=folder keeps the pages and pictures
/// of them there.
/// </summary>
[Category(Layer.External)]
public sealed class ReportBrowserTests
{
    private static readonly string? Shots = Environment.GetEnvironmentVariable("REPORT_SHOTS");

    // Each figure's marks; of a canvas, its colours that are not grey.
    private const string Marks = """
        (async () => {
          const counts = {};
          for (const figure of document.querySelectorAll('figure:not([hidden])')) {
            const canvas = figure.querySelector('.drawing canvas'), svg = figure.querySelector('.drawing svg');
            let count = 0;
            if (canvas) {
              // A copy, of the middle: there the legend is not.
              const copy = Object.assign(document.createElement('canvas'),
              { width: canvas.width, height: canvas.height >> 1 });
              const pen = copy.getContext('2d', { willReadFrequently: true });
              pen.drawImage(canvas, 0, -canvas.height >> 2);
              const { data } = pen.getImageData(0, 0, copy.width, copy.height), colours = new Set();
              for (let i = 0; i < data.length; i += 4)
                if (Math.max(data[i], data[i + 1], data[i + 2]) - Math.min(data[i], data[i + 1], data[i + 2]) > 16) colours.add(data[i] << 16 | data[i + 1] << 8 | data[i + 2]);
              count = colours.size;
            } else if (svg) count = svg.querySelectorAll('.role-mark path, [data-cell]').length;
            counts[figure.id] = count;
          }
          return counts;
        })()
        """;

    private ReportBrowser _browser = null!;
    private string _folder = "";

    [OneTimeSetUp]
    public async Task Start()
    {
        if (ReportBrowser.Find() is not string chromium)
        {
            Requirement.IsMissing(
                "No Chromium or Chrome on the PATH (or in CHROMIUM): the reports are not opened in a browser."
            );
            return;
        }
        _folder = Directory.CreateTempSubdirectory("emttorch-report-").FullName;
        _browser = await ReportBrowser.Start(chromium, new CancellationTokenSource(TimeSpan.FromSeconds(20)).Token);
    }

    [OneTimeTearDown]
    public async Task Stop()
    {
        if (_browser is null)
            return;
        await _browser.DisposeAsync();
        Directory.Delete(_folder, recursive: true);
    }

    [Test]
    public async Task AReportDrawsEverything()
    {
        await Open("report", ReportPage.Render(ReportSamples.Full()));
        var marks = await CheckMarks();
        Assert.That(
            marks.Keys,
            Is.SupersetOf(
                new[]
                {
                    "weights-standard",
                    "weights-variables",
                    "spectrum",
                    "circuit",
                    "hidden-state",
                    "variables",
                    "interventions",
                    "participation",
                    "training-loss",
                    "training-accuracy",
                    "training-horizon",
                    "training-spectral",
                    "training-eigenvalues",
                    "drift",
                }
            )
        );

        // The slider moves the rule in C and D, and the circuit.
        foreach (int t in (int[])[58, 3])
        {
            await _browser.Evaluate(
                $"(() => {{ const slider = document.getElementById('time'); slider.value = {t}; "
                    + $"slider.dispatchEvent(new Event('input', {{ bubbles: true }})); }})()"
            );
            Assert.That(await Text("#time-now"), Is.EqualTo($"t = {t} of 58, {(t == 3 ? "input" : "output")} phase"));
            Assert.That(
                await _browser.Evaluate<string>("document.querySelector('#circuit svg').dataset.time"),
                Is.EqualTo($"{t}")
            );
        }
        string later = await RulePosition(),
            cells = await Cells();
        await _browser.Evaluate("(() => { const slider = document.getElementById('time'); slider.focus(); })()");
        await _browser.Key("ArrowRight");
        Assert.That(await Text("#time-now"), Does.StartWith("t = 4 of 58"), "by the keyboard");
        Assert.That(await RulePosition(), Is.Not.EqualTo(later));
        Assert.That(await Cells(), Is.Not.EqualTo(cells));

        // The select changes the example.
        cells = await Cells();
        await _browser.Evaluate(
            "(() => { const choice = document.getElementById('example'); choice.value = '1'; choice.dispatchEvent(new "
                + "Event('change', { bubbles: true })); })()"
        );
        await _browser.Wait(
            "[...document.querySelectorAll('#circuit [data-cell]')].map(cell => cell.getAttribute('fill')).join() !== "
                + $"{JsonSerializer.Serialize(cells)}"
        );
        await CheckMarks();

        await _browser.Evaluate("document.getElementById('play').click()");
        await _browser.Wait("document.getElementById('time').value > 5");
        await _browser.Evaluate("document.getElementById('play').click()");
        Assert.That(await Text("#play"), Is.EqualTo("Play"));

        await CheckDownloads();
        Assert.That(
            await _browser.Evaluate<double>("document.documentElement.scrollWidth - innerWidth"),
            Is.LessThanOrEqualTo(0),
            "wider than the window"
        );
        await Shoot("report-1200");

        await _browser.Resize(400);
        await _browser.Wait(
            "[...document.querySelectorAll('.drawing canvas')].every(canvas => canvas.clientWidth <= 400)"
        );
        Assert.That(
            await _browser.Evaluate<double>("document.documentElement.scrollWidth - innerWidth"),
            Is.LessThanOrEqualTo(0),
            "wider than a phone"
        );
        await Shoot("report-400");
        await _browser.Resize(720);
        await _browser.Media("print");
        Assert.That(
            await _browser.Evaluate<int>(
                "[...document.querySelectorAll('button')].filter(button => button.offsetParent).length"
            ),
            Is.Zero,
            "no buttons in print"
        );
        await CheckMarks();
        await Shoot("report-print");
        Assert.That(_browser.Console, Is.Empty);
    }

    [Test]
    public async Task AReportWithHolesDrawsWhatThereIs()
    {
        await Open("holes", ReportPage.Render(ReportSamples.Broken()));
        var marks = await CheckMarks();
        Assert.That(
            marks.Keys,
            Is.SupersetOf(
                new[]
                {
                    "weights-standard",
                    "spectrum",
                    "circuit",
                    "variables",
                    "interventions",
                    "participation",
                    "training-accuracy",
                }
            )
        );
        Assert.That(await Text("h1"), Is.EqualTo(ReportSamples.Broken().Name));
        Assert.That(await Text("body"), Does.Contain("it was not kept <here>."));
        await _browser.Evaluate(
            "(() => { const slider = document.getElementById('time'); slider.value = 3; slider.dispatchEvent(new "
                + "Event('input')); })()"
        );
        Assert.That(await Text("#time-now"), Is.EqualTo("t = 3 of 3, output phase"));
        await Shoot("holes-1200");
        Assert.That(_browser.Console, Is.Empty);
    }

    [Test]
    public async Task ATransformersReportDrawsEverything()
    {
        var configuration = HandMadeNetwork.Configuration();
        using var network = new TrainedNetwork
        {
            Name = "hand",
            Folder = _folder,
            IsRun = false,
            Configuration = configuration,
            Transformer = HandMadeNetwork.Of(configuration),
            File = "hand.safetensors",
            Metrics =
            [
                .. Enumerable
                    .Range(1, 20)
                    .Select(i => new Metrics
                    {
                        Step = 10 * i,
                        Loss = 4.0 / i,
                        Accuracy = i / 20.0,
                        Horizon = 1 + i / 10,
                        GradientNorm = 1,
                        TestLoss = i % 5 == 0 ? 4.5 / i : null,
                        TestAccuracy = i % 5 == 0 ? i / 21.0 : null,
                        TestBitsPerCharacter = i % 5 == 0 ? 6.0 / i : null,
                        TestBitsNewWords = i % 5 == 0 ? 7.0 / i : null,
                        TestBitsSeenWords = i % 5 == 0 ? 5.0 / i : null,
                    }),
            ],
        };
        var data = RunAnalysis.Of(network).Data;
        await Open(
            "transformer",
            ReportPage.Render(
                data with
                {
                    Texts = [new("sample", "What it writes", "A sample.", "given </pre><b>", "and made")],
                }
            )
        );
        var marks = await CheckMarks();
        Assert.That(
            marks.Keys,
            Is.EquivalentTo(
                new[]
                {
                    "gate",
                    "gate-document-1",
                    "reads-1-1",
                    "singular-values-1",
                    "effective-rank",
                    "capacity",
                    "distance",
                    "training-loss",
                    "training-bits",
                    "training-accuracy",
                    "training-horizon",
                }
            )
        );
        Assert.That(marks["gate"], Is.EqualTo(5), "kinds of tokens");
        Assert.That(await Text("pre.text"), Is.EqualTo("given </pre><b>and made"));
        Assert.That(
            await Text("main"),
            Does.Not.Contain("Recurrent weights").And.Not.Contain("not drawn").And.Contain("Width, d")
        );
        await CheckDownloads();
        Assert.That(
            await _browser.Evaluate<double>("document.documentElement.scrollWidth - innerWidth"),
            Is.LessThanOrEqualTo(0),
            "wider than the window"
        );
        await Shoot("transformer-1200");
        await _browser.Resize(400);
        Assert.That(
            await _browser.Evaluate<double>("document.documentElement.scrollWidth - innerWidth"),
            Is.LessThanOrEqualTo(0),
            "wider than a phone"
        );
        Assert.That(_browser.Console, Is.Empty);
    }

    [Test]
    public async Task AComparisonSorts()
    {
        await Open("comparison", ComparisonPage.Render("Twelve runs", ReportSamples.Comparison()));
        await CheckMarks();
        const string Column =
            "[...document.querySelectorAll('table.sortable tbody tr')].map(row => row.cells[5].dataset.value).join()";
        string before = await _browser.Evaluate<string>(Column);
        await _browser.Evaluate("document.querySelectorAll('table.sortable thead button')[5].click()");
        var sorted = before.Split(',').OrderBy(v => v == "" ? double.MaxValue : double.Parse(v)).ToArray();
        Assert.That((await _browser.Evaluate<string>(Column)).Split(','), Is.EqualTo(sorted));
        Assert.That(
            await _browser.Evaluate<string>(
                "document.querySelectorAll('table.sortable thead th')[5].getAttribute('aria-sort')"
            ),
            Is.EqualTo("ascending")
        );
        await _browser.Evaluate("document.querySelectorAll('table.sortable thead button')[5].click()");
        Assert.That(
            (await _browser.Evaluate<string>(Column)).Split(',')[^2..],
            Is.EqualTo(new[] { "", "" }),
            "rows without a value stay last"
        );
        await Shoot("comparison-1200");
        Assert.That(_browser.Console, Is.Empty);
    }

    [Test]
    public async Task ASweepsTableDrawsSeedsAndCourses()
    {
        string runs = Path.Combine(_folder, "runs");
        SweepSamples.Full(
            runs,
            """{ "columns": ["task", "spectral_error", "accuracy"], "rows": [["t1", 0.0015, 1.0], ["t2", null, 0.9]] }"""
        );
        await Open("table", SweepTablePage.Render(SweepTable.Of(SweepFolder.Read(runs))));
        var marks = await CheckMarks();
        Assert.That(marks.Keys, Is.EquivalentTo(new[] { "spectral-error", "accuracy", "course-small", "gain" }));
        Assert.That(marks["gain"], Is.EqualTo(4), "the runs that converged");
        Assert.That(
            marks["spectral-error"],
            Is.EqualTo(3 + 1 + 1),
            "seeds that converged, the mean of t1, and t1's published figure"
        );
        Assert.That(marks["accuracy"], Is.EqualTo(4 + 2 + 2));
        Assert.That(
            await _browser.Evaluate<int>("document.querySelectorAll('#course-small .mark-line path').length"),
            Is.EqualTo(4),
            "the runs with a spectral error at some test"
        );
        await _browser.Evaluate("document.querySelectorAll('table.sortable thead button')[2].click()");
        Assert.That(
            await _browser.Evaluate<string>(
                "[...document.querySelector('table.sortable tbody').rows].map(row => row.cells[2].textContent).join()"
            ),
            Is.EqualTo("0.0015,–")
        );
        await CheckDownloads();
        Assert.That(
            await _browser.Evaluate<double>("document.documentElement.scrollWidth - innerWidth"),
            Is.LessThanOrEqualTo(0),
            "wider than the window"
        );
        await Shoot("table-1200");
        await _browser.Resize(400);
        await _browser.Wait("[...document.querySelectorAll('.drawing svg')].every(svg => svg.clientWidth <= 400)");
        Assert.That(
            await _browser.Evaluate<double>("document.documentElement.scrollWidth - innerWidth"),
            Is.LessThanOrEqualTo(0),
            "wider than a phone"
        );
        await Shoot("table-400");
        Assert.That(_browser.Console, Is.Empty);
    }

    [Test]
    public async Task ATableOfASweepThatHasJustBegunSaysSo()
    {
        string runs = Path.Combine(_folder, "begun");
        Directory.CreateDirectory(runs);
        await File.WriteAllTextAsync(Path.Combine(runs, "sweep.json"), SweepSamples.Sweep());
        var (name, settings) = SweepSamples.Of("t1", "0.9");
        SweepSamples.Begin(runs, name, 1, settings, [null], [0.5]);
        await Open("table-begun", SweepTablePage.Render(SweepTable.Of(SweepFolder.Read(runs))));
        Assert.That(await _browser.Evaluate<int>("document.querySelectorAll('figure').length"), Is.Zero);
        Assert.That(await _browser.Evaluate<int>("document.querySelectorAll('.missing').length"), Is.EqualTo(3));
        Assert.That(await Text("main"), Does.Contain("0 of 8 runs finished."));
        Assert.That(_browser.Console, Is.Empty);
    }

    [Test]
    public async Task FiguresSave()
    {
        var panels = ReportSamples.Extra("panels") with
        {
            Spec = new()
            {
                ["hconcat"] = new JsonArray(ReportSamples.Extra("left").Spec, ReportSamples.Extra("right").Spec),
            },
        };
        await Open(
            "figures",
            FigurePage.Render(
                "Figures",
                [
                    ReportSamples.Extra("one"),
                    ReportSamples.Extra("one"),
                    ReportSamples.Extra("three", double.NaN),
                    panels,
                ],
                "Three lines, and two."
            )
        );
        Assert.That(await CheckMarks(), Has.Count.EqualTo(4));
        await CheckDownloads();
        await Shoot("figures-1200");
        Assert.That(_browser.Console, Is.Empty);
    }

    [Test]
    public async Task WithoutLibrariesAndNetworkThePageSaysSo()
    {
        var page = new Page("t") { Bundled = false };
        page.Add(ReportSamples.Extra("a"));
        string file = Path.Combine(_folder, "linked.html");
        await File.WriteAllTextAsync(file, page.Render());
        await _browser.Open(file);
        Assert.That(await Text(".drawing"), Does.Contain("needs a network"));
    }

    private async Task Open(string name, string html)
    {
        string file = Path.Combine(_folder, $"{name}.html");
        await File.WriteAllTextAsync(file, html);
        if (Shots is not null)
            File.Copy(file, Path.Combine(Directory.CreateDirectory(Shots).FullName, $"{name}.html"), overwrite: true);
        Assert.That(new FileInfo(file).Length, Is.LessThan(5_000_000));
        if (!html.Contains("id=\"vega\""))
            Requirement.IsMissing("This build has no chart libraries inside: npm was missing.");
        var clock = Stopwatch.StartNew();
        await _browser.Open(file);
        TestContext.Out.WriteLine($"{name}: {html.Length / 1000} kB, drawn in {clock.Elapsed.TotalSeconds:0.0} s");
    }

    private async Task<Dictionary<string, int>> CheckMarks()
    {
        var marks = (await _browser.Evaluate(Marks))!
            .AsObject()
            .ToDictionary(pair => pair.Key, pair => pair.Value!.GetValue<int>());
        Assert.That(
            marks.Where(pair => pair.Value == 0).Select(pair => pair.Key),
            Is.Empty,
            () => $"figures without marks; console: {string.Join("; ", _browser.Console)}"
        );
        return marks;
    }

    // A browser saves through URL.createObjectURL, so that is where the files can be seen.
    private async Task CheckDownloads()
    {
        var saved = (
            await _browser.Evaluate(
                """
                (async () => {
                  const blobs = [], create = URL.createObjectURL, click = HTMLAnchorElement.prototype.click, names = [];
                  URL.createObjectURL = blob => { blobs.push(blob); return create.call(URL, blob); };
                  HTMLAnchorElement.prototype.click = function () { names.push(this.download); };
                  const buttons = [...document.querySelectorAll('figure:not([hidden]) [data-save]')];
                  for (const button of buttons) {
                    const had = names.length;
                    button.click();
                    for (let i = 0; i < 200 && names.length === had; i++) await new Promise(done => setTimeout(done, 20));
                  }
                  HTMLAnchorElement.prototype.click = click;
                  URL.createObjectURL = create;
                  const heads = await Promise.all(blobs.map(async blob => [...new Uint8Array(await blob.slice(0, 4).arrayBuffer())].map(b => String.fromCharCode(b)).join('')));
                  return { buttons: buttons.length, files: names.map((name, i) => ({ name, size: blobs[i].size, head: heads[i] })) };
                })()
                """
            )
        )!;
        var files = saved["files"]!.AsArray();
        Assert.That(files, Has.Count.EqualTo(saved["buttons"]!.GetValue<int>()));
        foreach (var file in files)
        {
            string name = file!["name"]!.GetValue<string>();
            Assert.That(file["size"]!.GetValue<int>(), Is.GreaterThan(1000), name);
            Assert.That(
                file["head"]!.GetValue<string>(),
                Is.EqualTo(name.EndsWith(".svg") ? "<svg" : "\u0089PNG"),
                name
            );
        }
    }

    private Task<string> Text(string selector) =>
        _browser.Evaluate<string>($"document.querySelector('{selector}').textContent");

    // The slider's rule is the last thing drawn in the picture that "SVG" saves.
    private Task<string> RulePosition() =>
        _browser.Evaluate<string>(
            """
            (async () => {
              let taken;
              const create = URL.createObjectURL, click = HTMLAnchorElement.prototype.click;
              const done = new Promise(resolve => { URL.createObjectURL = blob => { resolve(blob); return create.call(URL, blob); }; });
              HTMLAnchorElement.prototype.click = () => {};
              document.querySelector('#hidden-state [data-save=svg]').click();
              const svg = await (await done).text();
              await new Promise(resolve => setTimeout(resolve, 0));
              URL.createObjectURL = create;
              HTMLAnchorElement.prototype.click = click;
              return [...new DOMParser().parseFromString(svg, 'image/svg+xml').querySelectorAll('.mark-rule line')].pop().getAttribute('transform');
            })()
            """
        );

    private Task<string> Cells() =>
        _browser.Evaluate<string>(
            "[...document.querySelectorAll('#circuit [data-cell]')].map(cell => cell.getAttribute('fill')).join()"
        );

    private async Task Shoot(string name)
    {
        if (Shots is null)
            return;
        await _browser.Evaluate("scrollTo(0, 0)");
        await Task.Delay(300);
        await _browser.Screenshot(Path.Combine(Directory.CreateDirectory(Shots).FullName, $"{name}.png"));
    }
}
