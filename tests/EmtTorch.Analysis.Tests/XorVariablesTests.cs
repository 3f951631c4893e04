using System.Text.Json;
using EmtTorch.Analysis.Runs;
using EmtTorch.Configuration;
using EmtTorch.Models;
using EmtTorch.Reports;
using EmtTorch.Studies;
using EmtTorch.Tasks;
using EmtTorch.Training;
using Serilog.Core;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Analysis.Tests;

public sealed class XorVariablesTests : InTemporaryFolder
{
    /// <summary>
    /// The shift register with xor by hand, delays 2 and 3. Units a, b, r, q of each component: a = sign(x + y + 1), b
    /// = sign(x + y − 1) with x = y(t−2), y = y(t−3), so that a − b − 1 is −x·y; r and q hold the two outputs before.
    /// Input u comes in as ±4 and makes a = u, b = −u:
    /// 1 or −3, whose sign the register takes.
    /// </summary>
    private static NetworkWeights ByHand(int d)
    {
        const double Gain = 20;
        var (hh, ih, readout, bias, outBias) = (
            new double[4 * d, 4 * d],
            new double[4 * d, d],
            new double[d, 4 * d],
            new double[4 * d],
            new double[d]
        );
        for (int i = 0; i < d; i++)
        {
            int a = 4 * i,
                b = a + 1,
                r = a + 2,
                q = a + 3;
            foreach (int unit in new[] { a, b })
                (hh[unit, r], hh[unit, q]) = (Gain, Gain);
            (bias[a], bias[b], ih[a, i], ih[b, i]) = (Gain, -Gain, 4 * Gain, -4 * Gain);
            (hh[r, a], hh[r, b], bias[r], hh[q, r]) = (Gain, -Gain, -Gain, Gain);
            (readout[i, a], readout[i, b], outBias[i]) = (1, -1, -1);
        }
        return new(tensor(ih), tensor(hh), tensor(readout), tensor(bias), tensor(outBias));
    }

    private (RunAnalysis Analysis, JsonElement Json) Analyze(NetworkWeights weights, string task) =>
        WrittenAnalysis.Of(
            weights,
            ConfigurationFile.Parse($$"""{ "name": "hand", "task": {{task}}, "model": { "bias": true } }"""),
            Folder
        );

    [Test]
    public void ARegisterMadeByHandIsTheCircuit()
    {
        using var everything = NewDisposeScope();
        using var task = new Xor(2, 3, [2, 3], ScalarType.Float64, CPU);
        using var network = ByHand(2).ToNetwork();
        var variables = XorVariables.Measure(network, task);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(variables.Accuracy, Is.EqualTo(1));
            Assert.That(variables.Readings.Take(3).Select(r => r.Explained), Is.All.EqualTo(1).Within(1e-9));
            Assert.That(variables.Readings.Take(3).Select(r => r.SignRight), Is.All.EqualTo(1));
            // a = ½ + ½x₃ + ½x₂ − ½x₂x₃ and b = −½ − ½x₃ + ½x₂ − ½x₂x₃ of the newest and the second: variance ¾ each,
            // of which ½ is linear; r and q 1. So 3 of 3½.
            Assert.That(variables.Variables.Superposition, Is.EqualTo(6.0 / 7).Within(0.01));
            Assert.That((variables.Variables.Accuracy, variables.Variables.AffectedAccuracy), Is.EqualTo((1.0, 1.0)));
            Assert.That(variables.Variables.SuperpositionNull, Is.EqualTo(0).Within(0.1));
            Assert.That(variables.Variables.AffectedNull, Is.LessThan(0.7));
            // 4 + 3 outputs to come, but 7 · 2 numbers are more than 8 units.
            Assert.That(
                (variables.Period, variables.Unrolled, variables.Spectrum),
                Is.EqualTo(((int?)null, (SuperpositionResult?)null, (SpectralComparison?)null))
            );
            // Saturated: nothing is left of a small error, where the product would let it grow.
            Assert.That(variables.Growth, Is.LessThan(0.01));
            // The register's own fixed history, all −1, in which every unit is −1; saturated, hence stable.
            Assert.That(
                variables.FixedPoints.Stable.Select(p => p.State.Select(x => Math.Round(x))),
                Has.Exactly(1).Matches<IEnumerable<double>>(state => state.All(h => h == -1))
            );
        }
    }

    /// <summary>Golden ratio: z² = z + 1. And z³ = z² + 1 has 1.46557 (the "supergolden ratio").</summary>
    [TestCase(1, 2, 1.6180339887), TestCase(1, 3, 1.4655712319), TestCase(2, 4, 1.2720196495)]
    public void AnErrorOfTheCircuitGrowsByTheCompanionsRoot(int a, int b, double growth)
    {
        using var everything = NewDisposeScope();
        using var task = new Xor(1, b, [a, b], ScalarType.Float64, CPU);
        using var network = new ElmanRnn(1, 4, bias: true, ScalarType.Float64);
        Assert.That(
            XorVariables.Measure(network, task).CircuitEigenvalues.Max(z => z.Magnitude),
            Is.EqualTo(growth).Within(1e-9)
        );
        // By differences: two histories 1e-9 apart, multiplied along.
        var random = new System.Random(1);
        for (int trial = 0; trial < 4; trial++)
        {
            List<double> x = [.. Enumerable.Range(0, b).Select(_ => random.Next(2) * 2 - 1.0)],
                near = [.. x.Select((v, i) => i == 0 ? v * (1 + 1e-9) : v)];
            var sizes = new List<double>();
            for (int t = 0; t < 30; t++)
            {
                x.Add(-x[^a] * x[^b]);
                near.Add(-near[^a] * near[^b]);
                sizes.Add(x.TakeLast(b).Zip(near.TakeLast(b), (u, v) => Math.Abs(u - v)).Max());
            }
            Assert.That(Math.Pow(sizes[^1] / sizes[^13], 1.0 / 12), Is.EqualTo(growth).Within(0.05));
        }
    }

    [Test]
    public void ATrainedNetworkIsReadThroughTheUnrolledRegister()
    {
        var configuration = ConfigurationFile.Parse(
            """
            {
              "name": "xor", "device": "cpu", "task": { "name": "xor", "d": 2, "s": 2 },
              "model": { "hidden_size": 64, "bias": true },
              "training": { "steps": 2000, "learning_rate": 0.002, "curriculum": { "horizons": [5, 20, 40] },
                "early_stop": { "accuracy": 1, "evaluations": 2 } },
              "evaluation": { "horizon": 100, "interval": 250 }
            }
            """,
            [$"out={Folder}"]
        );
        new TrainingRun(configuration, RunFolder.Of(configuration), Logger.None).Train();
        using var network = TrainedNetwork.Load(RunFolder.Of(configuration).Path);
        var analysis = RunAnalysis.Of(network);
        RunReport.Write(analysis, network.Folder);
        foreach (var line in analysis.Lines)
            TestContext.Out.WriteLine(line);
        var json = WrittenAnalysis.JsonOf(network.Folder);
        double Affected(string key) => json.GetProperty(key).GetProperty("affected_accuracy").GetDouble();
        using (Assert.EnterMultipleScope())
        {
            Assert.That(json.GetProperty("test_accuracy").GetDouble(), Is.EqualTo(1));
            // y(t+3) = y(t): three variables that rotate.
            Assert.That(
                (json.GetProperty("period").GetInt32(), json.GetProperty("eigenvalues_unrolled").GetInt32()),
                Is.EqualTo((3, 6))
            );
            Assert.That(Affected("unrolled"), Is.GreaterThan(0.95));
            Assert.That(Affected("variables"), Is.LessThan(Affected("unrolled") - 0.1));
            Assert.That(json.GetProperty("error_growth").GetDouble(), Is.LessThan(1));
            Assert.That(analysis.Lines, Has.Count.EqualTo(5));
            Assert.That(
                analysis.Data.Figures.Select(f => f.Id),
                Is.EqualTo(new[] { "linear-readings", "interventions", "spectrum" })
            );
        }
    }

    private static NetworkWeights Random(int h, int d, double size, double bias)
    {
        using var generator = new Generator(1, CPU);
        Tensor Normal(double scale, params long[] shape) =>
            randn(shape, dtype: ScalarType.Float64, generator: generator).mul_(scale);
        return new(
            Normal(size, h, d),
            Normal(size / Math.Sqrt(h), h, h),
            Normal(size, d, h),
            Normal(bias, h),
            Normal(bias, d)
        );
    }

    [Test, Pairwise]
    public void NothingIsThrownAtBrokenNetworks(
        [Values(0, 1e-200, 1, 30, 1e10, 1e99)] double size,
        [Values(0, 1, 1e50)] double bias,
        [Values(1, 2, 20)] int hidden
    )
    {
        var (analysis, json) = Analyze(Random(hidden, 2, size, bias), """{ "name": "xor", "d": 2, "s": 3 }""");
        Assert.That(
            analysis.Lines.Concat(analysis.Problems),
            Is.Not.Empty.And.None.Contains("NaN").And.None.Contains("∞")
        );
        Assert.That(
            json.GetProperty("problems").EnumerateArray().Select(p => p.GetString()),
            Is.EqualTo(analysis.Problems)
        );
    }

    [Test]
    public void ARandomNetworkIsAtChance([Values(0, 1)] double bias)
    {
        var (_, json) = Analyze(Random(20, 2, 1, bias), """{ "name": "xor", "d": 2, "s": 3 }""");
        Assert.That(json.GetProperty("test_accuracy").GetDouble(), Is.InRange(0.3, 0.7));
    }

    [Test]
    public void WhatIsBrokenIsSaid()
    {
        var nan = Random(8, 2, 1, 1);
        nan.WeightHh.view(-1)[3] = double.NaN;
        using (Assert.EnterMultipleScope())
        {
            Assert.That(
                Analyze(nan, """{ "name": "xor", "d": 2, "s": 3 }""").Analysis.Problems,
                Has.Count.EqualTo(1).And.Some.StartsWith("W_hh has numbers that are not finite")
            );
            Assert.That(
                Analyze(Random(8, 2, 1, 1), """{ "name": "xor", "d": 3, "s": 3 }""").Analysis.Problems,
                Is.EqualTo(
                    new[] { "Nothing can be compared: the network's inputs have 2 numbers, the task's variables 3." }
                )
            );
            Assert.That(
                Analyze(
                    Random(8, 2, 1, 1) with
                    {
                        Bias = null,
                        ReadoutBias = null,
                    },
                    """{ "name": "xor", "d": 2, "s": 3 }"""
                ).Analysis.Problems,
                Has.Some.Contains("no bias")
            );
            Assert.That(
                Analyze(Random(8, 2, 1, 1), """{ "name": "xor", "d": 2, "s": 30 }""").Analysis.Problems,
                Has.Some.Contains("more numbers than the network has hidden units, 8")
            );
            Assert.That(
                Analyze(Random(8, 1, 1, 1), """{ "name": "xor", "d": 1, "s": 2 }""").Analysis.Problems,
                Has.Some.Contains("no more than 2^2 = 4 histories for 8 units")
            );
        }
        using var task = new Xor(2, 3, null, ScalarType.Float64, CPU);
        using var network = Random(8, 2, 1, 1).ToNetwork();
        Assert.That(
            () => XorVariables.Measure(network, task, new() { Interventions = new() { Time = 2 } }),
            Throws.ArgumentException.With.Message.Contains("only after s = 3 steps")
        );
        using var other = Random(8, 1, 1, 1).ToNetwork();
        Assert.That(
            () => XorVariables.Measure(other, task),
            Throws.ArgumentException.With.Message.Contains("inputs have 1 numbers")
        );
    }
}
