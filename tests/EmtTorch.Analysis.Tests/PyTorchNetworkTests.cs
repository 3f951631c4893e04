using System.Numerics;
using System.Text.Json;
using EmtTorch.Studies;
using EmtTorch.Tasks;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Analysis.Tests;

/// <summary>Networks trained by PyTorch, against what numpy reads out of them: Reference/record.py.</summary>
[Category(Layer.Reference)]
public sealed class PyTorchNetworkTests
{
    private const double Tolerance = 1e-6;

    private static string Reference(string name) =>
        Path.Combine(TestContext.CurrentContext.TestDirectory, "Reference", name);

    private static (NetworkWeights Weights, LinearBinding Task, JsonElement Expected) Load(string name)
    {
        var expected = JsonDocument.Parse(File.ReadAllText(Reference(name + ".json"))).RootElement;
        var task = LinearBinding.FromMatrix(
            Rows(expected.GetProperty("matrix")),
            expected.GetProperty("d").GetInt32(),
            expected.GetProperty("s").GetInt32()
        );
        return (NetworkWeights.Load(Reference(name + ".safetensors")), task, expected);
    }

    private static double[][] Rows(JsonElement rows) =>
        [.. rows.EnumerateArray().Select(r => r.EnumerateArray().Select(x => x.GetDouble()).ToArray())];

    private static double[][] Rows(Tensor matrix) =>
        [.. Enumerable.Range(0, (int)matrix.shape[0]).Select(i => matrix[i].data<double>().ToArray())];

    private static void AssertClose(double[][] actual, double[][] expected, string what)
    {
        Assert.That(actual.Select(r => r.Length), Is.EqualTo(expected.Select(r => r.Length)), what);
        double largest = expected.Max(r => r.Max(Math.Abs));
        Assert.That(
            actual.Zip(expected, (a, b) => a.Zip(b, (x, y) => Math.Abs(x - y)).Max()).Max(),
            Is.LessThan(Tolerance * largest),
            what
        );
    }

    [Test]
    public void TheNetworkRunsAsInPyTorch([Values("repeat_copy", "compose_copy")] string name)
    {
        var (weights, task, expected) = Load(name);
        using var analysis = NetworkAnalysis.Of(weights, task);
        var (hidden, _, outputs) = analysis.Run(Rows(expected.GetProperty("input")), 5 * task.S);
        using (Assert.EnterMultipleScope())
        {
            AssertClose(
                [hidden[^1]],
                [
                    [.. expected.GetProperty("hidden").EnumerateArray().Select(x => x.GetDouble())],
                ],
                "the last hidden state"
            );
            AssertClose(outputs, Rows(expected.GetProperty("outputs")), "outputs");
            var target = Rows(expected.GetProperty("target"));
            Assert.That(
                outputs.Skip(task.S).Select(y => y.Select(Math.Sign)),
                Is.EqualTo(target.Select(y => y.Select(Math.Sign))),
                "it continues the task"
            );
            Assert.That(analysis.Accuracy, Is.GreaterThan(0.999));
        }
    }

    [Test]
    public void TheSpectrumIsNumpys([Values("repeat_copy", "compose_copy")] string name)
    {
        var (weights, task, expected) = Load(name);
        using var analysis = NetworkAnalysis.Of(weights, task);
        var spectrum = analysis.Spectrum!;
        var left = spectrum.Learned.ToList();
        foreach (var value in Rows(expected.GetProperty("eigenvalues")).Select(z => new Complex(z[0], z[1])))
        {
            var nearest = left.MinBy(z => Complex.Abs(z - value));
            Assert.That(Complex.Abs(nearest - value), Is.LessThan(Tolerance), $"{value}");
            left.Remove(nearest);
        }
        using (Assert.EnterMultipleScope())
        {
            Assert.That(left, Is.Empty);
            Assert.That(spectrum.CountTheory, Is.EqualTo(expected.GetProperty("eigenvalues_theory").GetInt32()));
            Assert.That(spectrum.CountLearned, Is.EqualTo(expected.GetProperty("eigenvalues_learned").GetInt32()));
            Assert.That(spectrum.Error, Is.EqualTo(expected.GetProperty("spectral_error").GetDouble()).Within(1e-9));
        }
    }

    [Test]
    public void EveryGroundingIsNumpys(
        [Values("repeat_copy", "compose_copy")] string name,
        [Values] Grounding grounding
    )
    {
        var (weights, task, all) = Load(name);
        var expected = all.GetProperty("groundings").GetProperty(VariableMemories.Name(grounding));
        double Number(string key) => expected.GetProperty(key).GetDouble();
        using var memories = VariableMemories.Find(weights, task, new() { Grounding = grounding, Alpha = 1 });
        var network = weights.ToNetwork();
        var hidden = network
            .HiddenStates(tensor(Two(Rows(all.GetProperty("input")))).unsqueeze(1), 5 * task.S)
            .detach()
            .squeeze(1);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(memories.Live, Is.EqualTo(all.GetProperty("live").EnumerateArray().Select(j => j.GetInt32())));
            Assert.That(memories.PhiError, Is.EqualTo(Number("phi_error")).Within(Tolerance * 100).Percent);
            Assert.That(
                memories.PhiErrorUnscaled,
                Is.EqualTo(Number("phi_error_unscaled")).Within(Tolerance * 100).Percent
            );
            Assert.That(memories.Gain, Is.EqualTo(Number("gain")).Within(Tolerance * 100).Percent);
            Assert.That(memories.Condition, Is.EqualTo(Number("condition")).Within(Tolerance * 100).Percent);
            AssertClose(Rows(memories.Phi), Rows(expected.GetProperty("phi")), "Φ");
            AssertClose(Rows(memories.Contents(hidden)), Rows(expected.GetProperty("contents")), "contents");
        }
    }

    [Test]
    public void WithoutAChoiceTheGroundingIsRealization([Values("repeat_copy", "compose_copy")] string name)
    {
        var (weights, task, expected) = Load(name);
        using var analysis = NetworkAnalysis.Of(weights, task);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(analysis.Memories!.Grounding, Is.EqualTo(Grounding.Realization));
            Assert.That(
                analysis.Groundings.Select(g => g.PhiError),
                Is.EqualTo(
                        analysis.Groundings.Select(g =>
                            expected
                                .GetProperty("groundings")
                                .GetProperty(VariableMemories.Name(g.Grounding))
                                .GetProperty("phi_error")
                                .GetDouble()
                        )
                    )
                    .Within(1e-7)
            );
            Assert.That(analysis.Problems, Is.Empty);
        }
    }

    private static double[,] Two(double[][] rows)
    {
        var result = new double[rows.Length, rows[0].Length];
        for (int i = 0; i < rows.Length; i++)
        {
            for (int j = 0; j < rows[0].Length; j++)
                result[i, j] = rows[i][j];
        }

        return result;
    }
}
