using System.Text.Json;
using System.Text.Json.Nodes;
using EmtTorch.Analysis.Theory;
using EmtTorch.Configuration;
using static TorchSharp.torch;

namespace EmtTorch.Analysis.Tests;

public class GsemmExperimentTests
{
    [Test]
    public void Probe()
    {
        var result = GsemmExperiment.Run(new());
        TestContext.Out.WriteLine(string.Join(",", result.Continuous.Retrieved) + " at " + string.Join(",", result.Continuous.Onsets) + " | " + string.Join(",", result.Discrete.Retrieved));
        TestContext.Out.WriteLine($"norm {result.Norm} conj {result.ConjugacyError} rises {result.Energy!.LargestRise} {result.EnergyWithoutSequence!.LargestRise} {result.EnergyWithoutSequence.Values[0]} {result.EnergyWithoutSequence.Values[^1]} {result.Energy.Values.Min()} {result.Energy.Values.Max()}");
        foreach (var s in result.Convergence) TestContext.Out.WriteLine($"{s.Name}: {s.Order} {string.Join(", ", s.Errors)}");
        TestContext.Out.WriteLine(result.Continuous.Overlaps.Select(o => o.Max()).Min() + " discrete min " + result.Discrete.Overlaps.Skip(1).Min(o => o.Max()) + " others " + result.Discrete.Overlaps.Skip(2).Max(o => o.Order().ElementAt(o.Length - 2)));
        foreach (var f in result.Figures) File.WriteAllText($"/tmp/gsemm-{f.Id}.vl.json", f.Spec.ToJsonString());
    }
}
