using System.Text.Json.Nodes;
using EmtTorch.Analysis.FreeRecall;
using EmtTorch.Settings;

namespace EmtTorch.Analysis.Tests;

/// <summary>Free recall: hand-made transcripts with known answers, and psifr's figures of a made-up table.</summary>
public sealed class FreeRecallTests : InTemporaryFolder
{
    private const string Head = "subject,list,position,trial_type,item";

    /// <summary>A table of lists of one subject: what was studied, and what was recalled.</summary>
    private RecallTable Table(params (string Study, string Recall)[] lists)
    {
        var rows = lists.SelectMany((l, n) => Rows(l.Study, n + 1, "study").Concat(Rows(l.Recall, n + 1, "recall")));
        return Read([Head, .. rows]);

        static IEnumerable<string> Rows(string items, int list, string kind) =>
            items
                .Split(' ', StringSplitOptions.RemoveEmptyEntries)
                .Select((item, i) => $"s,{list},{i + 1},{kind},{item}");
    }

    private RecallTable Read(params string[] lines)
    {
        var path = Path.Combine(Folder, "table.csv");
        File.WriteAllText(path, string.Join('\n', lines) + "\n");
        return RecallTable.Read(path);
    }

    private static double[] Values(RecallMeasure measure, RecallTable table) =>
        RecallCurve.Of(measure, table.Lists).Values[0];

    [Test]
    public void RepeatsAndIntrusionsAreToldApart()
    {
        var table = Table(("a b c", "c x c a"), ("d e f", "a f y"), ("a g h", "a d"));
        var recalls = table.Lists.SelectMany(l => l.Recalls).ToList();
        using (Assert.EnterMultipleScope())
        {
            Assert.That(
                recalls.Select(r => r.Studied?.Position),
                Is.EqualTo(new int?[] { 3, null, 3, 1, null, 3, null, 1, null })
            );
            Assert.That(recalls.Select(r => r.Repeat), Is.EqualTo(new[] { 0, 0, 1, 0, 0, 0, 0, 0, 0 }));
            Assert.That(recalls[4].OtherLists, Is.EqualTo(new[] { 1, 3 }), "a, in list 2");
            Assert.That(recalls[8].OtherLists, Is.EqualTo(new[] { 2 }), "d, in list 3");
            Assert.That(recalls[7].OtherLists, Is.Empty, "a is of list 3 itself");
        }
    }

    [Test]
    public void PositionsAndOutputs()
    {
        var table = Table(("a b c d", "d b x b a"), ("e f g h", ""), ("i j k l", "l k"));
        using (Assert.EnterMultipleScope())
        {
            Assert.That(
                Values(RecallMeasure.SerialPosition(4), table),
                Is.EqualTo(new[] { 1 / 3.0, 1 / 3.0, 1 / 3.0, 2 / 3.0 })
            );
            Assert.That(Values(RecallMeasure.NthRecall(1, 4), table), Is.EqualTo(new[] { 0.0, 0, 0, 1 }));
            Assert.That(Values(RecallMeasure.NthRecall(2, 4), table), Is.EqualTo(new[] { 0, 0.5, 0.5, double.NaN }));
            Assert.That(
                Values(RecallMeasure.NthRecall(3, 4), table),
                Is.EqualTo(new[] { 1, double.NaN, 0, double.NaN }),
                "repeats and intrusions do not count"
            );
        }
    }

    [Test]
    public void LagsAreConditionalOnWhatIsLeft()
    {
        // From 4 to 2: −2 of −3, −2, −1. From 2 to 3: +1 of −1, +1. From 3 to 1: −2, the only one.
        var lags = RecallCurve.Of(RecallMeasure.LagCrp(4), Table(("a b c d", "d b c a")).Lists);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(lags.Measure.Places, Is.EqualTo(new[] { "-3", "-2", "-1", "0", "1", "2", "3" }));
            Assert.That(lags.Tallies[0].Actual, Is.EqualTo(new[] { 0.0, 2, 0, 0, 1, 0, 0 }));
            Assert.That(lags.Tallies[0].Possible, Is.EqualTo(new[] { 1.0, 2, 2, 0, 1, 0, 0 }));
            // |lags| 3, 2, 1: the middle one; 1, 1: tied; one only: no rank.
            Assert.That(
                Values(RecallMeasure.TemporalFactor(), Table(("a b c d", "d b c a"))),
                Is.EqualTo(new[] { 0.5 })
            );
        }
    }

    [TestCase("a x b", 0, TestName = "ATransitionIsNotAcrossAnIntrusion")]
    [TestCase("a a b", 0, TestName = "ATransitionDoesNotBeginOrEndWithARepeat")]
    [TestCase("a", 0, TestName = "OneRecallHasNoTransition")]
    [TestCase("", 0, TestName = "NoRecallHasNoTransition")]
    [TestCase("a b a c d", 2, TestName = "WhatIsBesideARepeatCounts")]
    public void Transitions(string recall, int count) =>
        Assert.That(Table(("a b c d", recall)).Lists[0].Transitions().Count(), Is.EqualTo(count));

    [Test]
    public void TheCompoundCurveNeedsTwoTransitionsInARow()
    {
        // 1 → 2 → 3, then an intrusion, then 5 → 4.
        var measure = RecallMeasure.CompoundLagCrp(4);
        var tally = measure.Count(Table(("a b c d e", "a b c x e d")).Lists[0]);
        Assert.That(tally.Actual.Sum(), Is.EqualTo(1));
        Assert.That(measure.Places[Array.IndexOf(tally.Actual, 1.0)], Is.EqualTo("1, 1"));
        Assert.That(
            measure.Places.Where((_, i) => tally.Possible[i] > 0),
            Is.EquivalentTo(new[] { "1, 1", "1, 2", "1, 3" })
        );
    }

    [Test]
    public void IntrusionsByListLag()
    {
        // Only the fourth list can have intrusions from one, two and three lists back.
        var table = Table(("a", "b"), ("b", "a"), ("c", "b a"), ("d", "c a a x"));
        Assert.That(Values(RecallMeasure.PriorListIntrusions(3), table), Is.EqualTo(new[] { 0.25, 0, 0.5 }));
    }

    [Test]
    public void AListMayHaveMissingPositionsAndARecallWithoutStudy()
    {
        var table = Read(Head, "s,1,1,study,a", "s,1,4,study,b", "s,1,1,recall,b", "s,1,7,recall,a", "s,2,1,recall,a");
        using (Assert.EnterMultipleScope())
        {
            Assert.That(
                Values(RecallMeasure.SerialPosition(4), table),
                Is.EqualTo(new[] { 1, double.NaN, double.NaN, 1 })
            );
            Assert.That(Values(RecallMeasure.LagCrp(4), table)[0], Is.EqualTo(1), "lag −3");
            Assert.That(table.Lists[1].Recalls[0].OtherLists, Is.EqualTo(new[] { 1 }));
        }
    }

    [Test]
    public void EveryProblemIsNamedWithItsLine()
    {
        var error = Assert.Throws<ConfigurationException>(() =>
            Read(
                Head,
                "s,1,1,study,a",
                "s,one,0,studied,",
                "s,1,2",
                "",
                "s,1,1,study,b,more",
                "s,1,100000,study,c",
                ",1,1.5,recall,\"a, and more\""
            )
        )!;
        Assert.That(
            error.Problems.Select(p => p.ToString()[(p.ToString().IndexOf("line", StringComparison.Ordinal))..]),
            Is.EqualTo(
                new[]
                {
                    "line 3: list is 'one': a whole number from 1 on is needed",
                    "line 3: position is '0': a whole number from 1 on is needed",
                    "line 3: trial_type is 'studied': study or recall is needed",
                    "line 3: item is empty",
                    "line 4: 3 fields, but the heading has 5",
                    "line 6: 6 fields, but the heading has 5",
                    "line 7: position is 100000: a list has at most 1000",
                    "line 8: position is '1.5': a whole number from 1 on is needed",
                    "line 8: subject is empty",
                }
            )
        );
    }

    [Test]
    public void DoublesAreRefused()
    {
        var error = Assert.Throws<ConfigurationException>(() =>
            Read(Head, "s,1,1,study,a", "s,1,1,study,b", "s,1,2,study,a", "s,1,1,recall,a", "s,1,1,recall,b")
        )!;
        Assert.That(
            error.Problems.Select(p => p.ToString()),
            Has.Exactly(3)
                .Items.And.Some.Contains("line 3: study position 1")
                .And.Some.Contains("line 4: 'a' is studied twice")
                .And.Some.Contains("line 6: recall position 1")
        );
    }

    [TestCase("")]
    [TestCase("subject,list\ns,1")]
    [TestCase(Head)]
    public void ATableNeedsItsColumnsAndRows(string text) =>
        Assert.That(() => Read(text), Throws.TypeOf<ConfigurationException>());

    private static JsonNode Reference(string name) =>
        JsonNode.Parse(File.ReadAllText(Path.Combine(TestContext.CurrentContext.TestDirectory, "Reference", name)))!;

    /// <summary>
    /// The table (3 subjects, 24 lists, 143 recalls with repeats and intrusions) was drawn at random; psifr 0.10's
    /// functions spc, pnr, lag_crp, lag_crp_compound, lag_rank, pli_list_lag, category_crp, category_clustering,
    /// distance_crp and distance_rank were run on it.
    /// </summary>
    [Test, Category(Layer.Reference)]
    public void AsPsifrComputesIt()
    {
        string In(string name) => Path.Combine(TestContext.CurrentContext.TestDirectory, "Reference", name);
        var options = new RecallOptions
        {
            Category = "category",
            Distances = ItemDistances.Read(In("free_recall_distances.csv")),
        };
        var lists = RecallTable.Read(In("free_recall.csv")).Lists;
        var found = RecallAnalysis.Of(lists, options).ToJson();
        // The analysis has the compound curve of small lags; here it is compared for all.
        var compound = RecallCurve.Of(RecallMeasure.CompoundLagCrp(9), lists);
        found["lag_crp_compound"] = new JsonObject(
            compound
                .Measure.Places.Zip(compound.Means)
                .Where(p => double.IsFinite(p.Second))
                .Select(p => KeyValuePair.Create(p.First, (JsonNode?)p.Second))
        );
        int compared = 0;
        void Compare(JsonNode? expected, JsonNode? actual, string at)
        {
            if (expected is JsonObject section)
            {
                foreach (var (key, value) in section)
                    Compare(value, actual![key], $"{at}.{key}");
            }
            else if (expected is JsonArray list)
            {
                var values = actual is JsonObject named ? named.Select(p => p.Value).ToList() : [.. actual!.AsArray()];
                for (int i = 0; i < list.Count; i++)
                    Compare(list[i], values[i], $"{at}[{i}]");
            }
            else
            {
                Assert.That(
                    (double?)actual,
                    expected is null ? Is.Null : Is.EqualTo((double)expected).Within(1e-12),
                    at
                );
                compared++;
            }
        }
        Compare(Reference("free_recall.json"), found, "");
        Assert.That(compared, Is.GreaterThan(150));
    }

    [TestCase(0.2, 0.1, 0.3, "Recency: recall at the end is 0.200 (95 % interval 0.100 to 0.300).")]
    [TestCase(0.1, -0.1, 0.3, "No recency is shown: recall at the end is 0.100 (95 % interval −0.100 to 0.300).")]
    [TestCase(
        -0.2,
        -0.3,
        -0.1,
        "The reverse of recency: recall at the end is −0.200 (95 % interval −0.300 to −0.100)."
    )]
    public void AnEffectIsClaimedOnlyWhereItsIntervalDoesNotHold0(
        double value,
        double low,
        double high,
        string words
    ) =>
        Assert.That(
            new RecallEffect("recency", "recency", "recall at the end", new(value, (low, high))).Sentence,
            Is.EqualTo(words)
        );

    private static RecallCurve LastItem(params (string Subject, bool Recalled)[] lists)
    {
        var last = new StudiedItem(1, "x", new Dictionary<string, string>());
        return RecallCurve.Of(
            RecallMeasure.SerialPosition(1),
            lists.Select(
                (l, i) =>
                    new RecallList(l.Subject, i + 1, [last], l.Recalled ? [new("x", last, 0, [])] : [], last.Columns)
            )
        );
    }

    [Test]
    public void FewOrEqualNumbersHaveNoInterval()
    {
        using (Assert.EnterMultipleScope())
        {
            Assert.That(LastItem(("a", true), ("a", false)).Points[0], Is.EqualTo(new RecallEstimate(0.5, null)));
            Assert.That(LastItem(("a", true), ("b", true)).Points[0], Is.EqualTo(new RecallEstimate(1, null)));
            var lists = Enumerable.Range(0, 8).Select(i => ("a", i < 4)).ToArray();
            Assert.That(LastItem(lists).Points[0].Interval, Is.EqualTo((0.125, 0.875)));
        }
    }

    [Test]
    public void OtherSubjectsAreComparedByWelch()
    {
        var one = LastItem(("a", true), ("b", true), ("c", true), ("d", false));
        var other = LastItem(("e", false), ("f", false), ("g", false), ("h", true));
        var found = one.Difference(v => v[0], other, v => v[0]);
        // s² = 3/4 · 1/4 · 4/3 = 1/4 on both sides, s²/n = 1/16; ν = 6, t = 2.446912; ½ ± t √(1/8).
        double half = 2.446912 * Math.Sqrt(1 / 8.0);
        Assert.That(found.Value, Is.EqualTo(0.5));
        Assert.That(found.Interval!.Value.Low, Is.EqualTo(0.5 - half).Within(1e-6));
        Assert.That(found.Interval!.Value.High, Is.EqualTo(0.5 + half).Within(1e-6));
        Assert.That(one.Difference(v => v[0], LastItem(("z", true)), v => v[0]).Interval, Is.Null, "one against many");
    }

    [Test]
    public void ListsOfDifferentLengthsHaveNoLastItemInCommon()
    {
        var table = Table(("a b c d e f", "f e"), ("g h i j k l m", "m l"));
        var keys = RecallAnalysis.Of(table.Lists).Effects.Select(e => e.Key);
        Assert.That(keys, Is.EqualTo(new[] { "contiguity", "forward_asymmetry", "temporal_clustering" }));
    }

    [Test]
    public void ItemsWithoutDistancesAreNamed()
    {
        var path = Path.Combine(Folder, "distances.csv");
        File.WriteAllText(path, "a,b\n0,1\n1,0\n");
        var options = new RecallOptions { Distances = ItemDistances.Read(path) };
        Assert.That(
            () => RecallConditions.Of(Table(("a b c", "a")).Lists, null, options),
            Throws.TypeOf<ConfigurationException>().With.Message.Contains("1 studied items: c")
        );
        File.WriteAllText(path, "a,b\n0,NaN\n1,0\n");
        Assert.That(
            () => ItemDistances.Read(path),
            Throws.TypeOf<ConfigurationException>().With.Message.Contains("line 2: 'NaN'")
        );
    }

    [Test]
    public void AnIntervalOfAShareStaysBetween0And1()
    {
        var rows = new[] { "a", "b" }.SelectMany(
            (s, i) => new[] { $"{s},1,1,study,x", $"{s},1,2,study,y" }.Concat(i == 0 ? [$"{s},1,1,recall,x"] : [])
        );
        var curve = RecallCurve.Of(RecallMeasure.SerialPosition(2), Read([Head, .. rows]).Lists);
        Assert.That(curve.Points[0], Is.EqualTo(new RecallEstimate(0.5, (0, 1))));
    }

    /// <summary>Order alone: with random recalls the curve by lag is flat, and no effect is claimed.</summary>
    [Test]
    public void RandomRecallsShowNoEffect()
    {
        var random = new Random(5);
        var names = Enumerable.Range(0, 12).Select(i => $"w{i}").ToArray();
        var lists = Enumerable
            .Range(0, 400)
            .Select(_ =>
            {
                var recalled = names.ToArray();
                random.Shuffle(recalled);
                return (string.Join(' ', names), string.Join(' ', recalled[..7]));
            });
        var analysis = RecallAnalysis.Of(Table([.. lists]).Lists);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(analysis.Effects.Where(e => e.Size.DiffersFrom(0)).Select(e => e.Key), Is.Empty);
            Assert.That(analysis.Effects, Has.Count.EqualTo(5));
            Assert.That(
                analysis.Curve("lag_crp").Means.Where(double.IsFinite),
                Is.All.EqualTo(1.0 / 9).Within(0.06),
                "of 11 to 6 that are left"
            );
        }
    }

    [Test]
    public void ConditionsAreComparedWithinSubjects()
    {
        var rows = new List<string> { Head + ",delay" };
        for (int subject = 0; subject < 4; subject++)
        {
            for (int list = 1; list <= 6; list++)
            {
                var delay = list <= 3 ? "yes" : "no";
                for (int i = 1; i <= 6; i++)
                    rows.Add($"s{subject},{list},{i},study,w{i},{delay}");
                // Without a delay the last item is always recalled, with one it never is.
                int[] recalled = delay == "no" ? [6, 1 + (subject + list) % 5] : [1 + (subject + list) % 5];
                rows.AddRange(recalled.Select((p, o) => $"s{subject},{list},{o + 1},recall,w{p},{delay}"));
            }
        }
        var conditions = RecallConditions.Of(Read([.. rows]).Lists, "delay");
        var (one, other, effects) = conditions.Differences.Single();
        var recency = effects.Single(e => e.Key == "recency");
        using (Assert.EnterMultipleScope())
        {
            Assert.That((one, other), Is.EqualTo(("yes", "no")));
            Assert.That(recency.Compare(one, other), Does.StartWith("yes has less recency than no, a difference of −"));
            Assert.That(recency.Size.Value, Is.EqualTo(-1).Within(0.4));
            Assert.That(recency.Size.DiffersFrom(0), Is.True);
            Assert.That(
                () => RecallConditions.Of(conditions.All[0].Analysis.Lists, "condition"),
                Throws.TypeOf<ConfigurationException>().With.Message.Contains("no column condition")
            );
        }
    }
}
