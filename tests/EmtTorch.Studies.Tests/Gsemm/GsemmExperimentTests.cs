using System.Text.Json.Nodes;
using EmtTorch.Analysis;
using EmtTorch.Settings;

namespace EmtTorch.Studies.Tests;

public class GsemmExperimentTests
{
    private static readonly string Shipped = Path.Combine(Repository.Root, "experiments", "gsemm", "retrieval.json");

    private static IReadOnlyList<ConfigurationProblem> Problems(string json)
    {
        var file = Path.GetTempFileName();
        try
        {
            File.WriteAllText(file, json);
            return Assert.Throws<ConfigurationException>(() => GsemmConfiguration.Load(file))!.Problems;
        }
        finally
        {
            File.Delete(file);
        }
    }

    [Test]
    public void TheShippedConfigurationIsTheDefaults() =>
        Assert.That(GsemmConfiguration.Load(Shipped), Is.EqualTo(new GsemmConfiguration()));

    [Test]
    public void AGridHasEveryCombinationAndSaysWhichKeepTheOrder()
    {
        var axes = new[] { "seed=[1,2]", "strengths.alpha_c=[0,1]" }.Select(GsemmAxis.Parse).ToList();
        var grid = GsemmGrid.Run(Shipped, ["integration.step=0.1", "integration.integrator=euler"], axes);
        Assert.That(
            grid.Rows.Select(r => string.Join(' ', r.Values)),
            Is.EqualTo(new[] { "1 0", "1 1", "2 0", "2 1" })
        );
        Assert.That(grid.Rows.Select(r => r.InOrder), Is.EqualTo(new[] { false, true, false, true }), "α_c = 0: none");
        var lines = grid.ToCsv().Split('\n');
        Assert.That(lines[0], Is.EqualTo("seed,strengths.alpha_c,in_order,retrieved"));
        Assert.That(lines[1], Is.EqualTo("1,0,0,1"));
        Assert.That(lines[2], Does.StartWith("1,1,1,1 2 3 4 5 6 1 "));
        // Wilson's interval of 2 of 4, with z = 1.96.
        Assert.That(grid.Interval.Low, Is.EqualTo(0.15).Within(0.005));
        Assert.That(grid.Interval.High, Is.EqualTo(0.85).Within(0.005));
    }

    [TestCase("seed")]
    [TestCase("seed=1")]
    [TestCase("seed=[]")]
    [TestCase("seed=[1,")]
    public void AnAxisIsAListOfValues(string text) =>
        Assert.That(() => GsemmAxis.Parse(text), Throws.TypeOf<ConfigurationException>().With.Message.Contains(text));

    [Test]
    public void WithoutItsDiagonalASequenceOnlyRaises()
    {
        using var scope = TorchSharp.torch.NewDisposeScope();
        Assert.That(
            Gsemm.CreateSequence(3, cyclic: true, diagonal: false).data<double>().ToArray(),
            Is.EqualTo(new double[] { 0, 1, 0, 0, 0, 1, 1, 0, 0 })
        );
    }

    [Test, Category(Layer.Slow)] // the whole study
    public void TheShippedConfigurationRetrievesInOrderAndAgreesWithTheTheory()
    {
        var result = GsemmExperiment.Run(GsemmConfiguration.Load(Shipped));
        TestContext.Out.WriteLine(
            $"ODE {string.Join(" ", result.Continuous.Retrieved)} at {string.Join(" ", result.Continuous.Onsets)}; Eq. "
                + $"20 {string.Join(" ", result.Discrete.Retrieved)}"
        );
        TestContext.Out.WriteLine(
            $"‖W‖ {result.Norm}, Eq. 24 to {result.ConjugacyError:0.0e+0}; E {result.Energy!.Values.Min():0.0} … "
                + $"{result.Energy.Values.Max():0.0}, rise {result.Energy.LargestRise:0.00}; alone "
                + $"{result.EnergyWithoutSequence!.Values[0]:0.00} … {result.EnergyWithoutSequence.Values[^1]:0.00}, "
                + $"rise {result.EnergyWithoutSequence.LargestRise:0.0e+0}"
        );
        TestContext.Out.WriteLine(
            $"Eq. 20: largest overlap {result.Discrete.Overlaps.Skip(1).Min(o => o.Max()):0.0000} or more from step 1, the others {result.Discrete.Overlaps.Skip(1).Max(o => o.Select(Math.Abs).Order().ElementAt(o.Length - 2)):0.0000} or less"
        );
        foreach (var c in result.Convergence)
        {
            TestContext.Out.WriteLine(
                $"{c.Name}: order {c.Order:0.000}; {string.Join(" ", c.Sizes.Zip(c.Errors, (s, e) => $"{s:0.####}:{e:0.0e+0}"))}"
            );
        }

        Assert.Multiple(() =>
        {
            Assert.That(result.Continuous.Retrieved, Is.EqualTo(new[] { 1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6, 1 }));
            Assert.That(result.Continuous.InOrder);
            Assert.That(result.Discrete.Retrieved, Is.EqualTo(Enumerable.Range(0, 19).Select(t => t % 6 + 1)));
            Assert.That(result.Discrete.Onsets, Is.EqualTo(Enumerable.Range(0, 19)));
            Assert.That(result.Discrete.InOrder);
            Assert.That(result.Energy.NeverRises, Is.False);
            Assert.That(result.Energy.LargestRise, Is.GreaterThan(1));
            Assert.That(result.EnergyWithoutSequence.NeverRises);
            Assert.That(result.EnergyWithoutSequence.LargestRise, Is.LessThan(1e-10));
            Assert.That(result.ConjugacyError, Is.LessThan(1e-9));
            Assert.That(result.Convergence.Select(c => c.Order!.Value), Is.EqualTo(new[] { 1.0, 4, 1, 1 }).Within(0.1));
        });

        var json = JsonNode.Parse(result.ToJson())!;
        Assert.That((double)json["configuration"]!["strengths"]!["alpha_c"]!, Is.EqualTo(1));
        Assert.That(json["continuous"]!["in_order"]!.GetValue<bool>());
        Assert.That(
            json["energy_without_sequence"]!["largest_rise"]!.GetValue<double>(),
            Is.EqualTo(result.EnergyWithoutSequence.LargestRise)
        );
        Assert.That(json["figures"], Is.Null);
        Assert.That(
            result.Figures.Select(f => f.Id),
            Is.EqualTo(new[] { "overlaps", "overlaps-discrete", "energy", "convergence" })
        );
        // A record of the discrete run and a memory is a cell.
        Assert.That(result.Figures[1].Spec["data"]!["values"]!.AsArray(), Has.Count.EqualTo(19 * 6));
        Assert.That(
            result.Figures.Select(f => f.Spec.ToJsonString()),
            Has.All.Contains("vega-lite/v6").And.All.Length.LessThan(500_000)
        );
    }

    [Test, Category(Layer.Slow)] // ten experiments
    public void AnySeedRetrievesInOrder([Range(2, 6)] int seed, [Values] bool cyclic)
    {
        var configuration = new GsemmConfiguration
        {
            Seed = seed,
            Cyclic = cyclic,
            Integration = new() { Step = 0.1, Length = 120 },
        };
        var result = GsemmExperiment.Run(configuration);
        int[] expected = cyclic ? [1, 2, 3, 4, 5, 6, 1, 2] : [1, 2, 3, 4, 5, 6];
        Assert.That(result.Continuous.Retrieved.Take(8), Is.EqualTo(expected));
        Assert.That(result.Continuous.InOrder);
        Assert.That(
            result.Discrete.Retrieved,
            Is.EqualTo(cyclic ? Enumerable.Range(0, 19).Select(t => t % 6 + 1) : expected)
        );
        Assert.That(result.Discrete.InOrder);
    }

    [Test]
    public void WithoutTheSequenceOnlyTheCueIsRetrieved()
    {
        var result = GsemmExperiment.Run(
            new()
            {
                Strengths = new() { AlphaC = 0 },
                Timescales = new() { Hidden = 0.5, Delay = 2 },
                Integration = new() { Length = 20 },
            }
        );
        Assert.That(result.Continuous.Retrieved, Is.EqualTo(new[] { 1 }));
        Assert.That(result.Continuous.InOrder, Is.False);
        Assert.That(result.Discrete.Retrieved, Is.EqualTo(new[] { 1 }));
        Assert.That(result.Energy!.NeverRises);
    }

    [Test]
    public void WhereThereIsNoEnergyTheResultSaysWhy()
    {
        var result = GsemmExperiment.Run(
            new()
            {
                Features = 16,
                Memories = 3,
                Nonlinearity = new() { Hidden = "tanh" },
                Timescales = new() { Hidden = 0.5, Delay = 2 },
                Integration = new() { Length = 5 },
            }
        );
        Assert.That(result.Energy, Is.Null);
        Assert.That(result.NoEnergy, Does.Contain("ΞᵀΞ diagonal"));
        Assert.That(result.ConjugacyError, Is.Null);
        Assert.That(result.Figures.Select(f => f.Id), Has.None.EqualTo("energy"));
    }

    [Test]
    public void RetrievalByHand()
    {
        double[][] overlaps =
        [
            [0.4, 0.2],
            [0.9, 0.1],
            [0.6, 0.55],
            [0.45, 0.44],
            [0.3, 0.8],
            [0.2, 0.9],
            [0.7, 0.1],
        ];
        double[] times = [0, 1, 2, 3, 4, 5, 6];
        var cyclic = GsemmExperiment.Retrieve(times, overlaps, cyclic: true);
        Assert.That(cyclic.Retrieved, Is.EqualTo(new[] { 1, 2, 1 }));
        Assert.That(cyclic.Onsets, Is.EqualTo(new[] { 1.0, 4, 6 }));
        Assert.That(cyclic.InOrder);
        Assert.That(
            GsemmExperiment.Retrieve(times, overlaps, cyclic: false).InOrder,
            Is.False,
            "memory 2 is the last one"
        );
        Assert.That(
            GsemmExperiment.Retrieve(times[..6], overlaps[..6], cyclic: true).InOrder,
            Is.False,
            "no whole round"
        );
        Assert.That(
            GsemmExperiment.Retrieve(times[4..], overlaps[4..], cyclic: true).InOrder,
            Is.False,
            "it begins with memory 2"
        );
        Assert.That(
            GsemmExperiment
                .Retrieve(
                    [0],
                    [
                        [0.1, 0.2],
                    ],
                    cyclic: false
                )
                .Retrieved,
            Is.Empty
        );
    }

    [Test]
    public void EveryProblemOfAConfigurationIsToldWithItsPath()
    {
        var problems = Problems(
            """
            { "seed": -1, "memories": 200, "features": 100, "cue_noise": 0.7, "cyclc": true,
              "timescales": { "feature": 0, "hidden": -1, "delay": "long" },
              "strengths": { "alpha_s": 0 },
              "nonlinearity": { "feature": "tan" },
              "integration": { "integrator": "rk5", "step": 0.07, "length": 1 },
              "discrete_steps": 1.5 }
            """
        );
        Assert.That(
            problems.Select(p => p.Path),
            Is.EquivalentTo(
                new[]
                {
                    "seed",
                    "memories",
                    "cue_noise",
                    "cyclc",
                    "timescales.feature",
                    "timescales.hidden",
                    "timescales.delay",
                    "strengths.alpha_s",
                    "nonlinearity.feature",
                    "integration.integrator",
                    "integration.length",
                    "discrete_steps",
                }
            )
        );
        Assert.That(problems.Single(p => p.Path == "nonlinearity.feature").Message, Does.Contain("did you mean tanh?"));
        Assert.That(problems.Single(p => p.Path == "cyclc").Message, Does.Contain("did you mean cyclic?"));
        Assert.That(problems.Single(p => p.Path == "memories").Message, Does.Contain("linearly dependent"));
        Assert.That(
            problems.Single(p => p.Path == "integration.length").Message,
            Does.Contain("14.285714 steps of 0.07")
        );
    }

    [TestCase("""{ "integration": { "step": 1e-7 } }""", "integration.step", "at most 10000000")]
    [TestCase("""{ "integration": { "record_every": 7 } }""", "integration.record_every", "divisor of all 3000 steps")]
    [TestCase(
        """{ "features": 4096, "integration": { "record_every": 1, "length": 1000 } }""",
        "integration.record_every",
        "numbers in all"
    )]
    [TestCase("""{ "features": 4096, "discrete_steps": 100000 }""", "discrete_steps", "numbers in all")]
    [TestCase("""{ "integration": { "step": 0, "length": 0.03 } }""", "integration.step", "above 0")]
    [TestCase("""{ "timescales": { "feature": 1e999 } }""", "timescales.feature", "above 0")]
    [TestCase("""{ "timescales": null }""", "timescales", "an object")]
    public void AProblemIsToldOnce(string json, string path, string gist)
    {
        var problems = Problems(json);
        Assert.That(problems, Has.Count.EqualTo(1));
        Assert.That(problems[0].Path, Is.EqualTo(path));
        Assert.That(problems[0].Message, Does.Contain(gist));
    }

    [Test]
    public void OverridesAndMissingFilesAreAsForARun()
    {
        Assert.That(
            GsemmConfiguration.Load(Shipped, ["seed=4", "strengths.alpha_c=2"]),
            Is.EqualTo(
                new GsemmConfiguration
                {
                    Seed = 4,
                    Strengths = new() { AlphaC = 2 },
                }
            )
        );
        Assert.That(
            () => GsemmConfiguration.Load(Shipped, ["strength.alpha_c=2"]),
            Throws.InstanceOf<ConfigurationException>().With.Message.Contains("did you mean strengths?")
        );
        Assert.That(
            () => GsemmConfiguration.Load(Shipped + ".not"),
            Throws.InstanceOf<ConfigurationException>().With.Message.Contains("no such file")
        );
    }

    [Test]
    public void WhatOnlyRunningCanShowIsTold()
    {
        Assert.That(
            () =>
                GsemmExperiment.Run(
                    new()
                    {
                        Integration = new()
                        {
                            Integrator = "euler",
                            Step = 5,
                            RecordEvery = 1,
                        },
                    }
                ),
            Throws.InstanceOf<GsemmDivergedException>().With.Message.Contains("the step 5 is too large")
        );
        // Two memories of two features: half of all seeds make them equal or opposite.
        var seeds = Enumerable
            .Range(0, 20)
            .Select(seed => new GsemmConfiguration
            {
                Seed = seed,
                Memories = 2,
                Features = 2,
                Integration = new() { Length = 1 },
            });
        Assert.That(
            () =>
            {
                foreach (var c in seeds)
                    GsemmExperiment.Run(c);
            },
            Throws
                .InstanceOf<ConfigurationException>()
                .With.Message.Contains("linearly dependent")
                .And.Message.Contains("seed")
        );
    }
}
