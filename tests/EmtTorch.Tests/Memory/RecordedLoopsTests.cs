using System.Text.Json;
using EmtTorch.Memory;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

/// <summary>Step forms and scans against plain loops over tokens in PyTorch, gradients among them: record.py.</summary>
[Category(Layer.Reference)]
public sealed class RecordedLoopsTests
{
    private static readonly Dictionary<string, Func<Tensor[], (Tensor, Tensor)>[]> Functions = new()
    {
        ["Hebbian"] = FastWeightsBy(WriteRule.Hebbian),
        ["Delta"] = FastWeightsBy(WriteRule.Delta),
        ["Drift"] = [t => ContextDrift.Scan(t[0], t[1], t[2])],
    };

    private static Func<Tensor[], (Tensor, Tensor)>[] FastWeightsBy(WriteRule rule) =>
        [
            t => FastWeights.Sequential(t[0], t[1], t[2], t[3], t[4], t[5], rule),
            t => FastWeights.Scan(t[0], t[1], t[2], t[3], t[4], t[5], rule),
            t => FastWeights.Scan(t[0], t[1], t[2], t[3], t[4], t[5], rule, chunk: 2),
        ];

    [TestCase("Hebbian")]
    [TestCase("Delta")]
    [TestCase("Drift")]
    public void AgreeWithPyTorch(string name)
    {
        using var scope = NewDisposeScope();
        using var file = JsonDocument.Parse(
            File.ReadAllBytes(Path.Combine(TestContext.CurrentContext.TestDirectory, "Memory", "loops.json"))
        );
        var recorded = file.RootElement.GetProperty(name);
        Tensor[] Tensors(string kind) =>
            recorded
                .GetProperty(kind)
                .EnumerateArray()
                .Select(t =>
                    tensor(t.GetProperty("values").EnumerateArray().Select(v => v.GetDouble()).ToArray())
                        .view(t.GetProperty("shape").EnumerateArray().Select(v => v.GetInt64()).ToArray())
                )
                .ToArray();
        foreach (var function in Functions[name])
        {
            var found = Compared.ResultsAndGradients(
                t =>
                {
                    var (first, second) = function(t);
                    return [first, second];
                },
                Tensors("inputs")
            );
            Compared.AreEqual(found, [.. Tensors("outputs"), .. Tensors("gradients")], 1e-12);
        }
    }
}
