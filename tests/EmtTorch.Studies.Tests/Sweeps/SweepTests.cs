using System.Diagnostics;
using System.Reflection;
using System.Reflection.Emit;
using EmtTorch.Settings;

namespace EmtTorch.Studies.Tests;

/// <summary>Which runs a sweep stands for, and what is said of one that can't be used.</summary>
public sealed class SweepTests : InTemporaryFolder
{
    private const string Base = """{ "task": { "name": "t1" }, "training": { "steps": 7 } }""";

    private Sweep Load(string json, params string[] overrides)
    {
        var path = Path.Combine(Folder, "sweep.json");
        File.WriteAllText(path, json);
        return Sweep.Load(path, overrides);
    }

    private string[] Problems(string json) =>
        [.. Assert.Throws<ConfigurationException>(() => Load(json))!.Problems.Select(p => p.ToString())];

    [Test]
    public void ALongNameEndsInAHash()
    {
        string[] names = [new('a', 70), new string('a', 69) + "b", "a"];
        var values = names.Select((n, i) => $$"""{ "name": "{{n}}", "set": { "training.steps": {{i + 1}} } }""");
        var other = $$"""{ "name": "{{new string('b', 60)}}", "set": {} }""";
        var sweep = Load(
            $$"""{ "base": {{Base}}, "axes": { "one": [{{string.Join(", ", values)}}], "two": [{{other}}] } }"""
        );
        var runs = sweep.Runs.Select(r => r.Configuration).ToList();
        Assert.That(runs.Select(r => r.Name), Is.Unique);
        Assert.That(runs.Select(r => r.Name.Length), Is.EqualTo(new[] { 100, 100, 62 }));
        Assert.That(runs[0].Name, Does.Match($"^{names[0]}-b{{16}}-[0-9a-f]{{12}}$"));
        Assert.That(runs.Select(r => r.Training.Steps), Is.EqualTo(new[] { 1, 2, 3 }), "the values are in config.json");
    }

    [Test]
    public void EveryCombinationIsARunForEachSeed()
    {
        var sweep = Load(
            $$"""
            { "base": {{Base}}, "seeds": "3,5-6",
              "axes": { "task.name": ["t1", "t4"], "training.weight_decay": [0, 1e-3],
                "kind": [ { "name": "plain", "set": {} },
                { "name": "large", "set": { "model.hidden_size": 256, "training.batch_size": 8 } } ] } }
            """,
            "training.steps=9"
        );
        var last = sweep.Runs[^1].Configuration;
        using (Assert.EnterMultipleScope())
        {
            Assert.That(sweep.Runs, Has.Count.EqualTo(2 * 2 * 2 * 3));
            Assert.That(
                sweep.Runs.Take(4).Select(r => (r.Configuration.Name, r.Configuration.Seed)),
                Is.EqualTo(
                    new[]
                    {
                        ("t1-weight_decay_0-plain", 3L),
                        ("t1-weight_decay_0-plain", 5L),
                        ("t1-weight_decay_0-plain", 6L),
                        ("t1-weight_decay_0-large", 3L),
                    }
                )
            );
            Assert.That(
                (
                    last.Name,
                    last.Task.Name,
                    last.Training.WeightDecay,
                    last.Model.HiddenSize,
                    last.Training.BatchSize,
                    last.Training.Steps
                ),
                Is.EqualTo(("t4-weight_decay_0.001-large", "t4", 0.001, 256, 8, 9))
            );
            Assert.That(sweep.Runs[^1].Values.Select(v => v.Name), Is.EqualTo(new[] { "t4", "0.001", "large" }));
            Assert.That(Path.GetFullPath(last.Out), Is.EqualTo(Path.Combine(Folder, "runs")));
            Assert.That(sweep.Name, Is.EqualTo(Path.GetFileName(Folder)));
        }
    }

    [Test]
    public void AnotherValueRenamesNoRun()
    {
        string With(string values) =>
            $$"""{ "base": {{Base}}, "axes": { "training.curriculum.threshold": {{values}} } }""";
        var before = Load(With("[0.9, 0.98]")).Runs.Select(r => r.Configuration.Name).ToArray();
        Assert.That(Load(With("[0.5, 0.9, 0.95, 0.98]")).Runs.Select(r => r.Configuration.Name), Is.SupersetOf(before));
    }

    [Test]
    public void ACopyHoldsTheBaseAndThePublishedResults()
    {
        File.WriteAllText(Path.Combine(Folder, "base.json"), "// the base\n" + Base);
        File.WriteAllText(Path.Combine(Folder, "published.json"), """{ "rows": [1] }""");
        var sweep = Load(
            """{ "base": "base.json", "published": "published.json", "axes": { "task.name": ["t2"] }, "best_of": ["task.name"], "description": "why" }"""
        );
        var copy = Path.Combine(Directory.CreateDirectory(Path.Combine(Folder, "elsewhere")).FullName, Sweep.FileName);
        File.WriteAllText(copy, sweep.ToJson());
        var read = Sweep.Load(copy, folder: sweep.Out);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(read.Runs.Select(r => r.Configuration), Is.EqualTo(sweep.Runs.Select(r => r.Configuration)));
            Assert.That(read.Published!.ToJsonString(), Is.EqualTo("""{"rows":[1]}"""));
            Assert.That(
                (read.Name, read.Description, read.BestOf.Single()),
                Is.EqualTo((sweep.Name, "why", "task.name"))
            );
            Assert.That(read.ToJson(), Is.EqualTo(sweep.ToJson()));
        }
    }

    [Test]
    public void AllProblemsAreSaidAtOnce()
    {
        var problems = Problems(
            $$"""
            { "base": {{Base}}, "axis": {}, "axes": { "training.batch_size": 5, "seed": [1],
              "model": [ { "hidden_size": 5 } ], "training.weight_decay": [0.001, 1e-3] }, "seeds": "3-1",
              "best_of": ["task.name"], "published": 5 }
            """
        );
        foreach (
            var start in new[]
            {
                "axis: unknown key; did you mean axes?",
                "axes.training.batch_size:",
                "axes.seed:",
                "axes.model[0].hidden_size: unknown key",
                "axes.training.weight_decay: has 0.001 2 times",
                "seeds: '3-1'",
                "best_of:",
                "published:",
            }
        )
        {
            Assert.That(problems, Has.One.StartsWith(start));
        }
    }

    [Test]
    public void WhatIsWrongWithAnAxisSaysWhere()
    {
        var problems = Problems(
            $$"""
            { "base": {{Base}}, "axes": { "training.learn_rate": [0.1, 0.2],
              "start": [ { "name": "a", "set": { "model.initialisation": "x" } },
              { "name": "b", "set": { "seed": 5 } } ], "training.steps": ["many"] }, "seeds": "1-",
              "best_of": ["start", "end"] }
            """
        );
        Assert.That(
            problems,
            Is.EquivalentTo(
                new[]
                {
                    "training.learn_rate: unknown key; did you mean learning_rate? (in axes)",
                    "model.initialisation: unknown key; did you mean initialization? (in axes.start)",
                    "axes.start: can't set seed: seeds are in the file, runs are named after their values, and their "
                        + "folder is --out",
                    "training.steps: found the text \"many\"; allowed: a whole number from 1 to 2147483647",
                    "seeds: '1-' is not a range of seeds; 1-20 or 1,2,5 is",
                    "best_of: found end, which is no axis; the axes are training.learn_rate, start, training.steps",
                }
            )
        );
    }

    [Test]
    public void WhatIsWrongWithEveryRunIsSaidOnce()
    {
        var problems = Problems(
            """{ "base": { "task": { "name": "t1" }, "training": { "step": 5 } }, "axes": { "model.hidden_size": [8, -1, 16], "training.nonsense": [1, 2] } }"""
        );
        using (Assert.EnterMultipleScope())
        {
            Assert.That(problems, Has.One.StartsWith("training.step:"));
            Assert.That(problems, Has.One.StartsWith("model.hidden_size: found -1"));
            Assert.That(problems, Has.Some.StartsWith("training.nonsense:"));
        }
    }

    [TestCase("[]", "found array at the top; allowed: an object")]
    [TestCase("{ \"base\": ", "is not JSON")]
    [TestCase("{}", "base: is missing")]
    [TestCase("{ \"base\": \"nowhere.json\" }", "there is no such file")]
    [TestCase("{ \"base\": {}, \"base\": {} }", "base: the key is given more than once")]
    public void AFileThatIsNoSweepIsRefused(string json, string says) =>
        Assert.That(Problems(json), Has.Some.Contains(says));

    [Test]
    public void TooManyRunsAreCountedAndRefusedAtOnce()
    {
        var hundred = $"[{string.Join(',', Enumerable.Range(1, 100))}]";
        var axes = $$"""
            "training.steps": {{hundred}}, "training.log_interval": {{hundred}}, "evaluation.interval": {{hundred}}
            """;
        var clock = Stopwatch.StartNew();
        Assert.That(
            Problems($$"""{ "base": {{Base}}, "axes": { {{axes}} }, "seeds": [1] }"""),
            Has.One.StartsWith("axes: make 100 · 100 · 100 = 1000000 combinations; allowed: at most 10000")
        );
        Assert.That(
            Problems($$"""{ "base": {{Base}}, "axes": { "training.steps": [1, 2] }, "seeds": "1-60000" }"""),
            Has.One.StartsWith("axes: make 120000 runs with 60000 seeds; allowed: at most 100000")
        );
        Assert.That(
            Load($$"""{ "base": {{Base}}, "seeds": "1-33333,33334-66666,66667-100000" }""").Runs,
            Has.Count.EqualTo(100_000)
        );
        Assert.That(clock.Elapsed, Is.LessThan(TimeSpan.FromSeconds(20)));
    }

    [TestCase("9223372036854775807", 1)]
    [TestCase("9223372036854775800-9223372036854775807", 8)]
    [TestCase("1-100000", 100_000)]
    [TestCase("1,1,1-2", 2)]
    public void TheLastSeedIsOne(string text, int count)
    {
        Assert.That(ExperimentFile.ParseSeeds(text, out var problem), Has.Count.EqualTo(count));
        Assert.That(problem, Is.Null);
    }

    [TestCase("0-100000", "'0-100000' is not a range of seeds")]
    [TestCase("1-100000,100001", "there are more than 100000 of them")]
    [TestCase("9223372036854775808", "is not a range")]
    public void TooManySeedsAreRefused(string text, string says)
    {
        ExperimentFile.ParseSeeds(text, out var problem);
        Assert.That(problem, Does.Contain(says));
    }

    [Test]
    public void AnExtensionWhoseConstructorThrowsIsRefusedWithItsClass()
    {
        var file = Path.Combine(Folder, "broken.dll");
        var assembly = new PersistedAssemblyBuilder(new("Broken"), typeof(object).Assembly);
        var type = assembly.DefineDynamicModule("Broken").DefineType("Lab.Broken", TypeAttributes.Public);
        type.SetCustomAttribute(new(typeof(NamedAttribute).GetConstructor([typeof(string)])!, ["broken"]));
        var code = type.DefineConstructor(MethodAttributes.Public, CallingConventions.Standard, []).GetILGenerator();
        code.Emit(OpCodes.Ldstr, "no licence");
        code.Emit(OpCodes.Newobj, typeof(InvalidOperationException).GetConstructor([typeof(string)])!);
        code.Emit(OpCodes.Throw);
        type.CreateType();
        assembly.Save(file);
        var basis = $$"""{ "task": { "name": "t1" }, "extensions": ["{{file}}"] }""";
        Assert.That(
            Problems($$"""{ "base": {{basis}} }"""),
            Is.EqualTo(
                new[] { $"extensions: {file} can't be added: Lab.Broken threw InvalidOperationException: no licence" }
            )
        );
    }
}
