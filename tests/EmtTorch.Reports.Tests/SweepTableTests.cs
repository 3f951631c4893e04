using System.Text.Json.Nodes;
using EmtTorch.Analysis;
using EmtTorch.Analysis.Runs;
using EmtTorch.Configuration;
using EmtTorch.Settings;
using EmtTorch.Studies;
using EmtTorch.Training;

namespace EmtTorch.Reports.Tests;

public sealed class SweepTableTests : InTemporaryFolder
{
    private const string Published = """
        { "source": "a paper", "columns": ["task", "hidden", "l2", "spectral_error", "accuracy"],
          "rows": [["T1", 64, 0.0, 0.0015, 1.00], ["T2", 64, 0.0, 0.0030, 0.93], ["T2", 64, 0.1, 0.1, 0.1]] }
        """;

    private string At(params string[] parts) => Path.Combine([Folder, .. parts]);

    private SweepTable Read() => SweepTable.Of(SweepFolder.Read(Folder));

    // ---- Statistics

    [Test]
    public void ASampleIsWhatItsNumbersComeTo()
    {
        var sample = Sample.Of([4, null, 1, double.NaN, 3, 2])!;
        Assert.That((sample.Count, sample.Mean, sample.Min, sample.Max), Is.EqualTo((4, 2.5, 1.0, 4.0)));
        Assert.That(sample.Deviation, Is.EqualTo(Math.Sqrt(5.0 / 3)).Within(1e-15), "(2.25 + 0.25 + 0.25 + 2.25) / 3");
        Assert.That(Sample.Of([null, double.NaN]), Is.Null);
        Assert.That(Sample.Of([7]), Is.EqualTo(new Sample(1, 7, null, 7, 7, null)), "one number has no spread");
        Assert.That(Sample.Median([9, null, 1, 2]), Is.EqualTo(2));
        Assert.That(Sample.Median([4, 1]), Is.EqualTo(2.5));
        Assert.That(Sample.Median([]), Is.Null);
    }

    [TestCase(0, 10)]
    [TestCase(0.025, 10.5)]
    [TestCase(0.5, 20)]
    [TestCase(0.75, 40)]
    [TestCase(1, 60)]
    public void AQuantileLiesBetweenNeighbours(double share, double value) =>
        Assert.That(Sample.Quantile([10, 20, 60], share), Is.EqualTo(value).Within(1e-12));

    // From tables of Student's distribution; the first three by hand: tan(0.95 π/2), 0.95 √(2 / (1 − 0.95²)), and 0.5.
    [TestCase(0.95, 1, 12.7062)]
    [TestCase(0.95, 2, 4.3027)]
    [TestCase(0.5, 1, 1.0)]
    [TestCase(0.95, 3, 3.1824)]
    [TestCase(0.95, 4, 2.7764)]
    [TestCase(0.95, 7, 2.3646)]
    [TestCase(0.95, 8, 2.3060)]
    [TestCase(0.99, 9, 3.2498)]
    [TestCase(0.95, 30, 2.0423)]
    [TestCase(0.9, 120, 1.6577)]
    public void StudentsQuantilesAreThoseOfTables(double share, int freedom, double quantile) =>
        Assert.That(Sample.StudentQuantile(share, freedom), Is.EqualTo(quantile).Within(5e-5));

    [Test]
    public void AFewSeedsHaveStudentsInterval()
    {
        // Mean 2, deviation 1, 4.3027 / √3.
        var three = Sample.Of([1, 2, 3])!;
        Assert.That(three.Interval!.Value.Low, Is.EqualTo(2 - 2.48414).Within(1e-5));
        Assert.That(three.Interval!.Value.High, Is.EqualTo(2 + 2.48414).Within(1e-5));
        Assert.That(Sample.Of([1, 2, 3], least: 0, greatest: 4)!.Interval, Is.EqualTo((0.0, 4.0)), "what can be");
        Assert.That(Sample.Of([0.25, 0.25, 0.25])!.Interval, Is.EqualTo((0.25, 0.25)));
        Assert.That(three.IntervalKind, Is.EqualTo("t"));
        Assert.That(Sample.Of([1])!.IntervalKind, Is.Null);
        Assert.That(Sample.Of(Enumerable.Range(0, 9).Select(i => (double?)i))!.IntervalKind, Is.EqualTo("t"));
        Assert.That(Sample.Of(Enumerable.Range(0, 10).Select(i => (double?)i))!.IntervalKind, Is.EqualTo("bootstrap"));
    }

    [Test]
    public void FewSeedsIntervalsHoldTheMeanAsOftenAsTheySay()
    {
        var random = new Random(3);
        double Normal() =>
            Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());
        int held = Enumerable
            .Range(0, 4000)
            .Count(_ => Sample.Of([Normal(), Normal(), Normal()])!.Interval is var (low, high) && low < 0 && 0 < high);
        Assert.That(held / 4000.0, Is.EqualTo(0.95).Within(0.012), "of three; the bootstrap's hold 75 %");
    }

    [Test]
    public void TheBootstrapIsThatOfTheMean()
    {
        // A mean of two draws from {0, 1} is 0, ½ or 1 with probabilities ¼, ½, ¼: 2.5 % lie at 0, 97.5 % at 1.
        Assert.That(Sample.Bootstrap([0, 1]), Is.EqualTo((0.0, 1.0)));
        // Of eight, k ones with Binomial(8, ½) / 2⁸: 1 + 8 = 9 of 256, 3.5 %, lie at or below 1/8, and 0.4 % at 0.
        Assert.That(Sample.Bootstrap([0, 0, 0, 0, 1, 1, 1, 1]), Is.EqualTo((1 / 8.0, 7 / 8.0)));
        Assert.That(Sample.Bootstrap([0.1, 0.1, 0.1]), Is.EqualTo((0.1, 0.1)));
        // Of many, the normal interval.
        var random = new Random(5);
        var many = Sample.Of(
            Enumerable.Range(0, 400).Select(_ => (double?)(random.NextDouble() + random.NextDouble()))
        )!;
        double half = 1.96 * many.Deviation!.Value / 20;
        Assert.That(many.Interval!.Value.Low, Is.EqualTo(many.Mean - half).Within(0.1 * half));
        Assert.That(many.Interval!.Value.High, Is.EqualTo(many.Mean + half).Within(0.1 * half));
    }

    // ---- Published results

    [TestCase(0.000549, 0.0005, Verdict.EqualOrBetter)]
    [TestCase(0.00055, 0.0005, Verdict.Worse)]
    [TestCase(0.0001, 0.0005, Verdict.EqualOrBetter)]
    [TestCase(null, 0.0005, Verdict.Worse)]
    [TestCase(0.0001, null, Verdict.NotComparable)]
    [TestCase(null, null, Verdict.NotComparable)]
    public void ErrorsCompareAsPublished(double? own, double? published, Verdict verdict) =>
        Assert.That(PublishedTable.OfError(own, published, seeds: 5), Is.EqualTo(verdict));

    [TestCase(0.995, 1.0, Verdict.EqualOrBetter)]
    [TestCase(0.9949, 1.0, Verdict.Worse)]
    [TestCase(0.98, 0.97, Verdict.EqualOrBetter)]
    [TestCase(null, 0.97, Verdict.NotComparable)]
    [TestCase(0.98, null, Verdict.NotComparable)]
    public void AccuraciesCompareAsPublished(double? own, double? published, Verdict verdict) =>
        Assert.That(PublishedTable.OfAccuracy(own, published, seeds: 5), Is.EqualTo(verdict));

    [TestCase(0.0011, Verdict.WithinInterval)]
    [TestCase(0.0010, Verdict.WithinInterval)]
    [TestCase(0.0009, Verdict.Worse)]
    [TestCase(0.0013, Verdict.EqualOrBetter)]
    public void AFigureThatSeedsCantTellApartIsNeitherBetterNorWorse(double published, Verdict verdict)
    {
        // Deviation 0.000174, 2.7764 of it over √5 either way: 0.00103 to 0.00147.
        var sample = Sample.Of([0.00103, 0.00114, 0.00125, 0.00136, 0.00147])!;
        Assert.That(PublishedTable.OfError(sample.Mean, published, 5, sample), Is.EqualTo(verdict));
        var few = verdict == Verdict.EqualOrBetter ? verdict : Verdict.TooFewSeeds;
        Assert.That(PublishedTable.OfError(sample.Mean, published, 4, sample), Is.EqualTo(few), "four seeds");
    }

    [Test]
    public void FewSeedsAreCalledNeitherWorseNorWithinTheInterval()
    {
        Assert.That(PublishedTable.OfError(null, 0.0005, 4), Is.EqualTo(Verdict.TooFewSeeds), "not all converged");
        Assert.That(PublishedTable.OfAccuracy(0.9, 0.97, 4), Is.EqualTo(Verdict.TooFewSeeds));
        Assert.That(PublishedTable.OfAccuracy(0.98, 0.97, 1), Is.EqualTo(Verdict.EqualOrBetter));
        Assert.That(PublishedTable.OfAccuracy(null, 0.97, 4), Is.EqualTo(Verdict.NotComparable));
    }

    [Test]
    public void APublishedRowIsOfTheSameNetwork()
    {
        var published = PublishedTable.Of(JsonNode.Parse(Published)!);
        static RunConfiguration Network(string task, int hidden, double decay) =>
            ConfigurationFile.Parse(
                $$"""{ "task": { "name": "{{task}}" }, "model": { "hidden_size": {{hidden}} }, "training": { "weight_decay": {{decay}} } }"""
            );
        Assert.That(published.Source, Is.EqualTo("a paper"));
        Assert.That(published.Find(Network("t1", 64, 0)), Is.EqualTo(new PublishedRow(0.0015, 1)));
        Assert.That(published.Find(Network("t2", 64, 0.1)), Is.EqualTo(new PublishedRow(0.1, 0.1)));
        Assert.That(published.Find(Network("t1", 32, 0)), Is.Null);
        Assert.That(published.Find(Network("t1", 64, 0.001)), Is.Null);
        Assert.That(
            PublishedTable
                .Of(JsonNode.Parse("""{ "columns": ["accuracy"], "rows": [[null]] }""")!)
                .Find(Network("t4", 8, 1)),
            Is.EqualTo(new PublishedRow(null, null)),
            "without columns that say which, it is of all"
        );
    }

    [TestCase(
        """{ "columns": ["task", "loss"], "rows": [] }""",
        "published.columns: loss is no column that can be compared; allowed: task, hidden, l2, spectral_error, accuracy"
    )]
    [TestCase("""{ "columns": ["task", "task"], "rows": [] }""", "published.columns: has task 2 times")]
    [TestCase("""{ "rows": [] }""", "published.columns: is missing")]
    [TestCase("""{ "columns": ["task"] }""", "published.rows: is missing")]
    [TestCase(
        """{ "columns": ["task"], "rows": [["t1"], ["t1", 1]] }""",
        "published.rows[1]: found [\"t1\",1]; allowed: a list of 1 values"
    )]
    [TestCase(
        """{ "columns": ["hidden"], "rows": [["64"]] }""",
        "published.rows[0]: hidden is \"64\"; allowed: a number"
    )]
    [TestCase(
        """{ "columns": ["hidden"], "rows": [[null]] }""",
        "published.rows[0]: hidden is null; allowed: a number"
    )]
    [TestCase("""{ "columns": ["task"], "rows": [[1]] }""", "published.rows[0]: task is 1; allowed: a task's name")]
    public void APublishedTableOfAnotherFormIsAProblem(string json, string problem) =>
        Assert.That(
            Assert.Throws<ConfigurationException>(() => PublishedTable.Of(JsonNode.Parse(json)!))!.Message,
            Does.Contain(problem)
        );

    // ---- The table

    [Test]
    public void ACellIsTheMeanOfEachSeedsBest()
    {
        SweepSamples.Full(Folder, Published);
        var table = Read();
        Assert.That(table.Progress, Is.EqualTo("8 of 8 runs finished"));
        Assert.That(table.Axes.Select(table.Title), Is.EqualTo(new[] { "task" }));
        Assert.That(table.Cells.Select(table.Label), Is.EqualTo(new[] { "t1", "t2" }));
        using (Assert.EnterMultipleScope())
        {
            var t1 = table.Cells[0];
            Assert.That(
                t1.Best.Select(r => r.Name),
                Is.EqualTo(new[] { "t1-threshold_0.98/seed-1", "t1-threshold_0.98/seed-2" })
            );
            Assert.That(t1.SpectralError, Is.EqualTo(0.0015).Within(1e-15), "(0.002 + 0.001) / 2");
            Assert.That(t1.Accuracy, Is.EqualTo(1), "seed 1's other run has 1");
            Assert.That(
                (t1.SpectralErrorVerdict, t1.AccuracyVerdict),
                Is.EqualTo((Verdict.EqualOrBetter, Verdict.EqualOrBetter))
            );
            Assert.That(t1.SpectralErrorsLast!.Mean, Is.EqualTo(0.0035).Within(1e-15), "(0.006 + 0.001) / 2");
            Assert.That(t1.SpectralErrorsLowest!.Mean, Is.EqualTo(0.00125).Within(1e-15), "(0.0015 + 0.001) / 2");
            Assert.That(t1.LowestStep, Is.EqualTo(200), "between 100 and 300");
            Assert.That(t1.AccuraciesLast!.Mean, Is.EqualTo(0.99).Within(1e-15));
            Assert.That(
                (t1.StepTo(0.99), t1.ReachedCount(0.99), t1.StepTo(1), t1.ReachedCount(1), t1.LostCount),
                Is.EqualTo((200.0, 2, 300.0, 1, 1))
            );
            Assert.That(
                (t1.Find("phi_error")!.Mean, t1.Find("changed_bits_accuracy")!.Mean, t1.ConvergedCount),
                Is.EqualTo((0.02, 0.98, 2))
            );

            var t2 = table.Cells[1];
            Assert.That(
                t2.Best.Select(r => r.Name),
                Is.EqualTo(new[] { "t2-threshold_0.9/seed-1", "t2-threshold_0.9/seed-2" }),
                "the converged one though another is more accurate; without one, the most accurate"
            );
            Assert.That(t2.SpectralError, Is.Null, "seed 2 has none");
            Assert.That(
                (t2.SpectralErrors!.Mean, t2.SpectralErrors.Interval, t2.ConvergedCount),
                Is.EqualTo((0.003, ((double, double)?)null, 1))
            );
            Assert.That(t2.Accuracy, Is.EqualTo(0.93).Within(1e-15), "(0.96 + 0.9) / 2");
            Assert.That(
                (t2.SpectralErrorVerdict, t2.AccuracyVerdict),
                Is.EqualTo((Verdict.TooFewSeeds, Verdict.EqualOrBetter)),
                "of two seeds"
            );
            Assert.That((t2.StepTo(0.99), t2.LostCount), Is.EqualTo(((double?)null, 0)));
            Assert.That(table.Seconds, Is.EqualTo(120), "4 · 10 + 4 · 20");
        }
        var markdown = SweepTableText.Markdown(table);
        Assert.That(
            markdown,
            Does.Contain(
                "| t1 | 4 of 4 | 0.0015 | 0.0015 | ✓ | 1.0000 | 1.00 | ✓ |\n| t2 | 4 of 4 | – | 0.0030 | n < 5 "
                    + "| 0.9300 | 0.93 | ✓ |\n"
            )
        );
        Assert.That(markdown, Does.Contain("| t1 | 0.00150 | 0.00350 | 0.00125 | 200 | 0.9900 |\n"));
        Assert.That(
            markdown,
            Does.Contain(
                "| t1 | 8.0 of 8 | 0.0200 | 0.9800 | 200 | 300 (1) | 1 of 2 |\n| t2 | 7.5 of 8 | 0.0200 (1) | 0.9800 "
                    + "(1) | – | – | 0 of 2 |\n"
            )
        );
        Assert.That(markdown.Split('\n')[^2], Is.EqualTo("Training of the finished runs took 120 seconds in all."));
    }

    [Test]
    public void WhileTheSweepGoesOnThereIsWhatThereIs()
    {
        var (name, settings) = SweepSamples.Of("t1", "0.9");
        File.WriteAllText(At("sweep.json"), SweepSamples.Sweep(Published));
        SweepSamples.Finish(Folder, name, 1, settings, [0.1, 0.01, 0.001], [0.5, 0.9, 1], 2);
        SweepSamples.Begin(Folder, name, 2, settings, [0.1, 0.01], [0.5, 0.9]);
        var (failing, other) = SweepSamples.Of("t2", "0.9");
        foreach (int seed in (int[])[1, 2])
        {
            File.WriteAllText(
                SweepSamples.Begin(Folder, failing, seed, other, [], []).FailuresFile,
                string.Concat(Enumerable.Repeat("{}\n", seed))
            );
        }

        var table = Read();
        Assert.That(table.Progress, Is.EqualTo("1 of 8 runs finished; 1 failed twice; 1 failed once"));
        Assert.That(
            (table.Cells[0].SpectralError, table.Cells[0].SpectralErrorVerdict, table.Cells[1].Accuracy),
            Is.EqualTo((0.001, Verdict.NotComparable, (double?)null))
        );
        Assert.That(
            SweepTableText.Markdown(table),
            Does.Contain(
                "| t1 | 1 of 4 | 0.0010 | 0.0015 | … | 1.0000 | 1.00 | … |\n| t2 | 0 of 4 | – | 0.0030 | … | – | 0.93 "
                    + "| … |\n"
            )
        );
        var states = SweepTableText.Csv(table).Split('\n')[1..^1].Select(line => line.Split(',')[3]);
        Assert.That(
            states,
            Is.EqualTo(
                new[] { "finished", "begun", "not_begun", "not_begun", "failed", "failed", "not_begun", "not_begun" }
            )
        );
        Assert.That(SweepTablePage.Render(table), Does.Contain("1 of 8 runs finished"));
    }

    [Test]
    public void DamagedFilesAreNamedAndTheirRunsLeftOut()
    {
        SweepSamples.Full(Folder);
        string Run(string name, int seed, string file) => At(name, $"seed-{seed}", file);
        File.WriteAllText(Run("t1-threshold_0.9", 1, "result.json"), "{\"name\": \"t1");
        File.WriteAllText(Run("t1-threshold_0.98", 2, "analysis.json"), "{\"step\": 300,");
        File.WriteAllText(Run("t2-threshold_0.9", 1, "config.json"), "no configuration");
        var lines = File.ReadAllLines(Run("t2-threshold_0.98", 1, "metrics.jsonl"));
        lines[1] = lines[1][..20];
        File.WriteAllLines(Run("t2-threshold_0.98", 1, "metrics.jsonl"), lines);
        File.WriteAllLines(
            Run("t2-threshold_0.98", 2, "metrics.jsonl"),
            File.ReadAllLines(Run("t2-threshold_0.98", 2, "metrics.jsonl"))[..^1]
        );
        var table = Read();
        string[] parts =
        [
            "config.json is damaged",
            "result.json is not a result",
            "analysis.json is damaged. It is made again.",
            "t1-threshold_0.98/seed-2 cannot be analysed",
            "metrics.jsonl is damaged in line 2",
            "metrics.jsonl ends at step 200, and the run at 300",
        ];
        Assert.That(table.Folder.Warnings, Has.Count.EqualTo(parts.Length), string.Join("\n", table.Folder.Warnings));
        foreach (var (warning, part) in table.Folder.Warnings.Zip(parts))
            Assert.That(warning, Does.Contain(part));
        Assert.That(table.Progress, Is.EqualTo("7 of 8 runs finished"));
        Assert.That(
            table.Cells[0].SpectralError,
            Is.Null,
            "the weights of seed 2's run are not there to be analysed anew"
        );
        Assert.That(table.Cells[1].SpectralErrors!.Mean, Is.EqualTo(0.003), "the sweep knows the configuration");
    }

    [Test]
    public void RunsThatAreNotOfTheSweepAreNamed()
    {
        SweepSamples.Full(Folder);
        Assert.That(Read().Folder.Warnings, Is.Empty);
        var (name, settings) = SweepSamples.Of("t3", "0.9");
        SweepSamples.Begin(Folder, name, 1, settings, [], []);
        Assert.That(
            Read().Folder.Warnings,
            Is.EqualTo(new[] { $"1 run in {Folder} is not of the sweep and left out: t3-threshold_0.9/seed-1" })
        );
        for (int seed = 2; seed <= 4; seed++)
            SweepSamples.Begin(Folder, name, seed, settings, [], []);
        Assert.That(
            Read().Folder.Warnings.Single(),
            Does.StartWith("4 runs in ")
                .And.EndsWith("t3-threshold_0.9/seed-1, t3-threshold_0.9/seed-2, t3-threshold_0.9/seed-3 and 1 more")
        );
    }

    [Test]
    public void AnAxisThatThePublishedTableLacksIsSaid()
    {
        // T1 and T2 have published figures that are equal, and still are two rows.
        const string Equal = """{ "columns": ["task", "accuracy"], "rows": [["t1", 0.5], ["t2", 0.5]] }""";
        const string Said =
            "The published table has no threshold: rows that differ in nothing else stand beside the same figures";
        SweepSamples.Full(Folder, Equal);
        Assert.That(
            SweepTableText.Markdown(Read()),
            Does.Contain("| 0.50 |").And.Not.Contain("The published table has no")
        );
        var sweep = JsonNode.Parse(SweepSamples.Sweep(Equal))!.AsObject();
        sweep.Remove("best_of");
        File.WriteAllText(At("sweep.json"), sweep.ToJsonString());
        var table = Read();
        Assert.That(table.Unpublished.Select(a => a.Key), Is.EqualTo(new[] { "training.curriculum.threshold" }));
        Assert.That(SweepTableText.Markdown(table), Does.Contain(Said));
        Assert.That(SweepTablePage.Render(table), Does.Contain(Said));
    }

    [Test]
    public void WithoutASweepTheRunsDifferencesAreTheAxes()
    {
        double?[] errors = [null, 0.01, 0.002];
        foreach (int hidden in (int[])[128, 8])
        {
            foreach (var threshold in (string[])["0.98", "0.9"])
            {
                SweepSamples.Finish(
                    Folder,
                    $"h{hidden}-{threshold}",
                    1,
                    [$"model.hidden_size={hidden}", $"training.curriculum.threshold={threshold}", "device=cpu"],
                    errors,
                    [0.5, 0.9, 1],
                    2
                );
            }
        }

        var table = Read();
        Assert.That(
            table.Folder.Axes.Select(a => (a.Key, string.Join(' ', a.Values.Select(v => v.Name)))),
            Is.EqualTo(new[] { ("model.hidden_size", "8 128"), ("training.curriculum.threshold", "0.9 0.98") })
        );
        Assert.That(table.Folder.BestOf, Is.Empty, "nothing is chosen");
        Assert.That(
            table.Runs.Select(r => r.Name),
            Is.EqualTo(new[] { "h8-0.9/seed-1", "h8-0.98/seed-1", "h128-0.9/seed-1", "h128-0.98/seed-1" })
        );
        Assert.That(
            table.Cells.Select(c => (table.Label(c), c.SpectralError)),
            Is.EqualTo(new[] { ("8, 0.9", 0.002), ("8, 0.98", 0.002), ("128, 0.9", 0.002), ("128, 0.98", 0.002) })
        );
        Assert.That(table.Folder.Name, Is.EqualTo(Path.GetFileName(Folder)));

        // One name's seeds alone, and one run.
        var seeds = SweepTable.Of(SweepFolder.Read(At("h8-0.9")));
        Assert.That((seeds.Axes.Count, seeds.Cells.Count, seeds.Label(seeds.Cells[0])), Is.EqualTo((0, 1, "h8-0.9")));
        Assert.That(
            SweepTableText.Markdown(seeds),
            Does.Contain(
                "| runs of | runs | spectral error | accuracy |\n|:--|--:|--:|--:|\n| h8-0.9 | 1 of 1 | 0.0020 | "
                    + "1.0000 |\n"
            )
        );
    }

    [Test]
    public void RunsThatDifferInTheirNameAloneAreToldApart()
    {
        foreach (var name in (string[])["two", "one"])
            SweepSamples.Finish(Folder, name, 1, [], [0.1, 0.1, 0.1], [0.9, 0.9, 0.9], 0);
        var table = Read();
        Assert.That(table.Cells.Select(table.Label), Is.EqualTo(new[] { "one", "two" }));
    }

    private void Finish(string folder, string name, long seed, params string[] settings) =>
        SweepSamples.Finish(folder, name, seed, settings, [0.1, 0.1, 0.1], [0.9, 0.9, 0.9], 0);

    private string[] Texts(SweepTable table) =>
        [
            SweepTableText.Markdown(table),
            SweepTableText.Csv(table),
            SweepTableText.Json(table),
            SweepTablePage.Render(table),
        ];

    [Test]
    public void RunsOfOneNameAreToldApartByTheirFolders()
    {
        foreach (var folder in (string[])["here", Path.Combine("there", "below"), "earlier"])
        {
            Finish(At(folder), "same", 1);
            Finish(At(folder), "same", 2);
        }
        // What was set aside is no run, and a link to a folder above is no endless one.
        Directory.Move(At("earlier", "same", "seed-2"), At("earlier", "same", "seed-2-20261128-120000"));
        Directory.CreateSymbolicLink(At("here", "above"), Folder);
        var table = Read();
        Assert.That(
            table.Cells.Select(c => (table.Label(c), c.Runs.Count)),
            Is.EqualTo(new[] { ("earlier/same", 1), ("here/same", 2), ("there/below/same", 2) })
        );
        Assert.That(table.Runs.Select(r => r.Name), Is.Unique);
        Assert.That(Texts(table), Has.None.Contains("seed-2-2026"));
        Assert.That(SweepTable.Of(SweepFolder.Read(At("earlier", "same"))).Runs, Has.Count.EqualTo(2), "asked for");
    }

    [Test]
    public void RunsOfSeveralTasksHaveTheColumnsInWhichRunsOfOneTaskDiffer()
    {
        var graph = new JsonObject
        {
            ["reads_right"] = 0.5,
            ["state_bytes_end"] = 8,
            ["bits_per_character"] = 2,
        };
        graph["columns"] = new JsonObject { ["reads_right"] = new JsonObject { ["title"] = "reads right" } };
        Transformer(16, 1, 0.5, 1.5, analysis: graph);
        Finish(Folder, "a", 1, "model.hidden_size=8", "training.steps=300");
        Finish(Folder, "b", 1, "model.hidden_size=8", "training.steps=299", "device=cpu");
        Finish(Folder, "b", 2, "model.hidden_size=8", "training.steps=299");
        Finish(Folder, "c", 1, "task.name=t2", "model.hidden_size=16", "training.learning_rate=0.5");
        var table = Read();
        Assert.That(table.Axes.Select(a => a.Key), Is.EqualTo(new[] { "task", "training.steps" }));
        Assert.That(
            table.Cells.Select(c => (table.Label(c), c.Runs.Count)),
            Is.EquivalentTo(new[] { ("copy, 300", 1), ("t1, 299", 2), ("t1, 300", 1), ("t2, 300", 1) })
        );
        var texts = Texts(table);
        Assert.That(texts[1].Split('\n')[0].Split(','), Is.Unique.And.Contains("training.steps"));
        Assert.That(texts[0], Does.Contain("| task | steps | runs | spectral error | accuracy |"));
    }

    [Test]
    public void ASectionThatSomeRunsLackIsOneColumn()
    {
        string[] of = ["task={\"copy\":{}}", "model={\"type\":\"episodic_transformer\"}"];
        Finish(Folder, "without", 1, of);
        Finish(Folder, "one", 1, [.. of, "model.retrieval={\"top_k\":4}"]);
        var table = Read();
        Assert.That(table.Axes.Select(a => a.Key), Is.EqualTo(new[] { "model.retrieval" }));
        Assert.That(table.Cells.Select(table.Label), Is.EqualTo(new[] { "given", "null" }));
        Finish(Folder, "other", 1, [.. of, "model.retrieval={\"top_k\":8}"]);
        Assert.That(Read().Cells.Select(table.Label), Is.EqualTo(new[] { "given, 4", "given, 8", "null" }));
        Assert.That(SweepTableText.Markdown(Read()), Does.Contain("| null | – |"));
    }

    [TestCase("=1+2", "'=1+2", "=1+2")]
    [TestCase("+a", "'+a", "+a")]
    [TestCase("-a", "'-a", "-a")]
    [TestCase("@a", "'@a", "@a")]
    [TestCase("\ta", "'\ta", " a")]
    [TestCase("-1.5e-3", "-1.5e-3", "-1.5e-3")]
    [TestCase("<b>", "<b>", "&lt;b>")]
    [TestCase("n < 5", "n < 5", "n < 5")]
    [TestCase("a\\|b", "a\\|b", @"a\\\|b")]
    [TestCase("![a](b)", "![a](b)", @"![a\](b)")]
    [TestCase("[10,100]", "\"[10,100]\"", "[10,100]")]
    [TestCase("a\u001b[31m", "a\u001b[31m", "a [31m")]
    public void NoCellDoesAnything(string cell, string csv, string markdown)
    {
        Assert.That(
            Table.Csv([
                [cell],
            ]),
            Is.EqualTo($"{csv}\n")
        );
        Assert.That(Table.Plain(cell), Is.EqualTo(markdown));
    }

    [Test]
    public void TheSameRunsGiveTheSameBytes()
    {
        SweepSamples.Full(At("runs"), Published);
        File.Copy(At("runs", "sweep.json"), At("sweep.json"));
        string[] Of(string folder) => Texts(SweepTable.Of(SweepFolder.Read(folder)));
        var first = Of(At("runs"));
        Assert.That(Of(At("runs")), Is.EqualTo(first));
        Assert.That(Of(Folder), Is.EqualTo(first), "the folder with sweep.json and runs/");

        // Slower training changes one line and one key.
        foreach (var file in Directory.GetFiles(Folder, "result.json", SearchOption.AllDirectories))
            File.WriteAllText(file, File.ReadAllText(file).Replace("\"seconds\": 10", "\"seconds\": 77"));
        var slower = Of(Folder);
        Assert.That(slower[0].Split('\n')[..^2], Is.EqualTo(first[0].Split('\n')[..^2]));
        Assert.That(slower[1], Is.EqualTo(first[1]));
        static string Timeless(string json)
        {
            var whole = JsonNode.Parse(json)!.AsObject();
            Assert.That(whole.Remove("time"), Is.True);
            return whole.ToJsonString();
        }
        Assert.That(slower[2], Is.Not.EqualTo(first[2]));
        Assert.That(Timeless(slower[2]), Is.EqualTo(Timeless(first[2])));
    }

    [Test]
    public void CsvAndJsonHoldEveryRunUnrounded()
    {
        SweepSamples.Full(Folder, Published);
        SweepSamples.Finish(
            Folder,
            "t1-threshold_0.9",
            1,
            SweepSamples.Of("t1", "0.9").Settings,
            [null, 1 / 300.0, 0.1],
            [0.8, double.NaN, double.NaN],
            1
        );
        var table = Read();
        var csv = SweepTableText.Csv(table).Split('\n');
        Assert.That(
            csv[0],
            Does.StartWith("task,threshold,seed,state,failures,steps,horizon,accuracy_last,accuracy_best,")
                .And.Not.Contain("second")
        );
        Assert.That(csv, Has.Length.EqualTo(10));
        Assert.That(
            csv[1],
            Is.EqualTo(
                "t1,0.9,1,finished,0,300,200,,,200,200,,0.0033333333333333335,0.1,0.0033333333333333335,200,64,64,8,8,0.02,1.1,9,0.1,0.98,,,false"
            )
        );
        var json = JsonNode.Parse(SweepTableText.Json(table))!;
        Assert.That(json["runs"]!.AsArray(), Has.Count.EqualTo(8));
        Assert.That(
            json["runs"]![0]!["values"]!.ToJsonString(),
            Is.EqualTo("""{"task.name":"t1","training.curriculum.threshold":0.9}""")
        );
        Assert.That(json["runs"]![0]!["spectral_error"]!.GetValue<double>(), Is.EqualTo(1 / 300.0));
        Assert.That(json["runs"]![0]!.AsObject()["accuracy_best"], Is.Null);
        Assert.That(json["cells"]![0]!["spectral_error"]!.GetValue<double>(), Is.EqualTo(0.0015).Within(1e-15));
        Assert.That(json["cells"]![0]!["spectral_error_verdict"]!.GetValue<string>(), Is.EqualTo("equal_or_better"));
        Assert.That(json["time"]!["seconds"]!.GetValue<double>(), Is.EqualTo(120));
    }

    [Test]
    public void NamesAreQuotedInCsvAndEscapedInTables()
    {
        File.WriteAllText(
            At("sweep.json"),
            SweepSamples
                .Sweep()
                .Replace(
                    "\"task.name\": [\"t1\", \"t2\"]",
                    """ "what": [ { "name": "a, \"b\" | <c>", "set": { "task.name": "t1" } } ]"""
                )
        );
        var run = Sweep.Load(At("sweep.json"), folder: Folder).Runs[0].Configuration;
        SweepSamples.Finish(
            Folder,
            run.Name,
            1,
            ["training.curriculum.threshold=0.9"],
            [0.1, 0.1, 0.1],
            [0.9, 0.9, 0.9],
            0
        );
        var table = Read();
        Assert.That(SweepTableText.Csv(table), Does.Contain("\n\"a, \"\"b\"\" | <c>\",0.9,1,finished,"));
        Assert.That(SweepTableText.Markdown(table), Does.Contain("\n| a, \"b\" \\| &lt;c> | 1 of 4 |"));
        Assert.That(SweepTablePage.Render(table), Does.Contain("a, &quot;b&quot; | &lt;c&gt;").And.Not.Contain("<c>"));
    }

    [Test]
    public void AFolderWithoutRunsIsAProblem()
    {
        string Problem(string folder) => Assert.Throws<ConfigurationException>(() => SweepFolder.Read(folder))!.Message;
        Assert.That(Problem(At("none")), Does.Contain("there is no such folder"));
        Assert.That(Problem(Folder), Does.Contain("has no runs"));
        File.WriteAllText(At("sweep.json"), SweepSamples.Sweep());
        Assert.That(Problem(At("sweep.json")), Does.Contain("is a file"));
        Assert.That(Problem(Folder), Does.Contain("none of the 8 runs of the sweep has begun there"));
        File.WriteAllText(At("sweep.json"), "{");
        Assert.That(Problem(Folder), Does.Contain("sweep.json: is not JSON"));
        SweepSamples.Full(Folder, """{ "columns": ["loss"], "rows": [] }""");
        Assert.That(Problem(Folder), Does.Contain("loss is no column"));
    }

    // ---- Transformers

    /// <summary>A run of a transformer that is finished, with an analysis of one's choice.</summary>
    private void Transformer(
        int width,
        long seed,
        double accuracy,
        double loss,
        string task = """{ "copy": { "symbols": 3, "length": 2 } }""",
        JsonObject? analysis = null
    )
    {
        var configuration = ConfigurationFile.Parse(
            $$"""{ "task": {{task}}, "model": { "type": "episodic_transformer", "hidden_size": {{width}} }, "training": { "steps": 300 } }""",
            [
                $"name=w{width}",
                $"seed={seed}",
                $"out={Folder}",
                "training.curriculum.horizons=[4]",
                "evaluation.horizon=8",
            ]
        );
        var run = RunFolder.Of(configuration);
        Directory.CreateDirectory(run.Path);
        run.WriteConfiguration(configuration, null);
        using (var metrics = run.OpenMetrics(0, _ => { }))
        {
            metrics.Write(
                new()
                {
                    Step = 300,
                    Loss = loss,
                    Accuracy = accuracy,
                    Horizon = 4,
                    GradientNorm = 1,
                    TestLoss = loss,
                    TestAccuracy = accuracy,
                }
            );
        }

        run.WriteResult(
            new()
            {
                Name = $"w{width}",
                Seed = seed,
                Outcome = "finished",
                TestAccuracy = accuracy,
                TestLoss = loss,
                TestHorizon = 8,
                BestStep = 300,
                BestTestAccuracy = accuracy,
                BestTestLoss = loss,
                Steps = 300,
                Seconds = 10,
                Device = "cpu",
                Threads = 1,
                TorchVersion = "1",
                EmttorchVersion = "1",
                DotnetVersion = "10",
            }
        );
        analysis ??= [];
        (analysis["version"], analysis["step"], analysis["test_accuracy"]) = (RunAnalysis.Version, 300, accuracy);
        AtomicFile.WriteText(Path.Combine(run.Path, "analysis.json"), analysis.ToJsonString());
    }

    [Test]
    public void NumbersFromListsOfAnAnalysisAreInTheCsvFile()
    {
        var analysis = """
            {
              "distance": [{ "horizon": 8, "accuracy": 0.75 }, { "horizon": 64, "accuracy": 0.5 }],
              "capacity": [{ "pairs": 16, "accuracy": 0.25 }],
              "gate": [{ "kinds": { "key_asked": { "gate": 0.125 } } }, { "kinds": { "key_asked": { "gate": 1 } } }],
              "reads": [{ "from_asked_pair": 0.375 }, { "from_asked_pair": 0.625 }, { "from_asked_pair": null }],
              "graph": [{ "both_facts_kept": 0.875, "strongest_edge_right": null }],
              "cycles_error": 0.001, "spectrum_learned": [[3, 4], [0, -1.5], [0.1, 0]]
            }
            """;
        Transformer(16, 1, 0.5, 1.5, analysis: JsonNode.Parse(analysis)!.AsObject());
        Transformer(16, 2, 0.7, 0.5);
        var lines = SweepTableText.Csv(Read()).Split('\n').Select(l => l.Split(',')).ToList();
        var record = lines[0].Zip(lines[1]).ToDictionary(p => p.First, p => p.Second);
        string[] keys =
        [
            "accuracy_at_8",
            "accuracy_at_64",
            "accuracy_of_16",
            "gate_key_asked",
            "from_asked_pair",
            "both_facts_kept",
            "strongest_edge_right",
            "cycles_error",
            "smallest_eigenvalue",
        ];
        Assert.That(
            keys.Select(k => record[k]),
            Is.EqualTo(new[] { "0.75", "0.5", "0.25", "0.125", "0.625", "0.875", "", "0.001", "1.5" })
        );
        Assert.That(lines[2], Has.Length.EqualTo(lines[0].Length), "a run without has empty fields");
    }

    [Test]
    public void TransformersHaveAccuracyWithItsIntervalAndLossAndNoCircuits()
    {
        Transformer(16, 1, 0.5, 1.5, analysis: new() { ["reads_right"] = 0.25, ["state_bytes_end"] = 1024 });
        Transformer(16, 2, 0.7, 0.5, analysis: new() { ["reads_right"] = 0.75, ["state_bytes_end"] = 1024 });
        Transformer(32, 1, 1, 0.01);
        var table = Read();
        Assert.That(table.Folder.Warnings, Is.Empty);
        var markdown = SweepTableText.Markdown(table);
        Assert.That(markdown, Does.Contain("| hidden_size | runs | accuracy | 95 % t | test loss |\n"));
        Assert.That(
            markdown,
            Does.Contain(
                "| 16 | 2 of 2 | 0.6000 | 0.0000 to 1.0000 | 1.00000 |\n| 32 | 1 of 1 | 1.0000 | – | 0.01000 |\n"
            )
        );
        Assert.That(markdown, Does.Contain("| 16 | 0.6000 | 0.5000 | 0.7000 | 0.1414 | 0.6000 | 0.5000 | 1024 |"));
        Assert.That(
            markdown,
            Does.Not.Contain("pectral").And.Not.Contain("eigenvalue").And.Not.Contain("per character")
        );
        var csv = SweepTableText.Csv(table).Split('\n');
        Assert.That(
            csv[0],
            Does.StartWith("hidden_size,seed,state")
                .And.Contain("test_loss_best")
                .And.Not.Contain("spectral")
                .And.Not.Contain("cycles")
        );
        Assert.That(csv[1].Split(','), Has.Length.EqualTo(csv[0].Split(',').Length));
        var cells = JsonNode.Parse(SweepTableText.Json(table))!["cells"]!;
        Assert.That(
            (
                (double)cells[0]!["test_loss"]!["mean"]!,
                (double)cells[0]!["accuracy_over_seeds"]!["low"]!,
                cells[0]!["spectral_error"]
            ),
            Is.EqualTo((1.0, 0.0, (JsonNode?)null))
        );
        Assert.That(
            SweepTablePage.Render(table),
            Does.Contain("Accuracy by seed").And.Contain("Test loss by seed").And.Not.Contain("pectral error")
        );
    }

    [Test]
    public void AFindingOfAnExtensionIsAColumn()
    {
        JsonObject Found(double value) =>
            new()
            {
                ["findings"] = new JsonObject
                {
                    ["spread"] = new JsonObject
                    {
                        ["width"] = new JsonObject { ["value"] = value, ["null"] = 9 },
                    },
                },
                ["columns"] = new JsonObject
                {
                    ["spread.width"] = new JsonObject
                    {
                        ["title"] = "width of states",
                        ["format"] = "F2",
                        ["meaning"] = "how wide they are",
                    },
                },
            };
        Transformer(16, 1, 0.5, 1.5, analysis: Found(2));
        Transformer(16, 2, 0.7, 0.5, analysis: Found(3));
        Transformer(32, 1, 1, 0.01);
        var table = Read();
        Assert.That(
            SweepTableText.Markdown(table),
            Does.Contain("width of states: how wide they are.")
                .And.Contain("| hidden_size | width of states |\n|:--|--:|\n| 16 | 2.50 |\n| 32 | – |\n")
        );
        var csv = SweepTableText.Csv(table).Split('\n');
        Assert.That(csv[0], Does.EndWith(",spread.width"));
        Assert.That(csv[1..4].Select(line => line.Split(',')[^1]), Is.EqualTo(new[] { "2", "3", "" }));
        var cell = JsonNode.Parse(SweepTableText.Json(table))!["cells"]![0]!;
        Assert.That((double)cell["spread.width"]!["mean"]!, Is.EqualTo(2.5));
        Assert.That(SweepTablePage.Render(table), Does.Contain("Width of states by seed"));
    }

    [Test]
    public void ATextHasBitsPerCharacter()
    {
        var text = At("text.txt");
        Directory.CreateDirectory(Folder);
        File.WriteAllText(text, string.Concat(Enumerable.Repeat("one two three four five ", 400)));
        var task = $$"""{ "text": { "path": {{JsonValue.Create(text).ToJsonString()}}, "segment_length": 8 } }""";
        Transformer(
            16,
            1,
            0.5,
            1.5,
            task,
            new()
            {
                ["bits_per_character"] = 2.0,
                ["ranges"] = new JsonObject { ["bits_per_character"] = new JsonArray(0, null) },
                ["bits_new_words"] = 3.0,
                ["bits_seen_words"] = 1.0,
            }
        );
        Transformer(
            16,
            2,
            0.5,
            1.5,
            task,
            new()
            {
                ["bits_per_character"] = 2.5,
                ["bits_new_words"] = 3.0,
                ["bits_seen_words"] = 2.0,
            }
        );
        var table = Read();
        Assert.That(
            SweepTableText.Markdown(table),
            Does.Contain("| test loss | bits per character | 95 % t | new words | seen words |")
                .And.Contain("| 1.50000 | 2.2500 | 0.0000 to 5.4266 | 3.0000 | 1.5000 |")
        );
        Assert.That(SweepTablePage.Render(table), Does.Contain("Bits per character by seed"));
    }
}
