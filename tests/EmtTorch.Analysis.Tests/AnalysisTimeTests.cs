using System.Diagnostics;
using EmtTorch.Analysis.Runs;
using EmtTorch.Configuration;
using EmtTorch.Reports;
using EmtTorch.Settings;
using EmtTorch.Studies;
using EmtTorch.Tasks;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Analysis.Tests;

/// <summary>How long the whole analysis takes, written files and all.</summary>
public sealed class AnalysisTimeTests
{
    [TestCase(128, true, 5)]
    [TestCase(128, false, 5)]
    [TestCase(1024, true, 60)]
    [TestCase(1024, false, 60)]
    [Explicit("minutes, and a matter of the machine")]
    public void OneNetworkTakes(int h, bool circuit, double seconds)
    {
        var folder = Directory.CreateTempSubdirectory("emttorch-time-");
        try
        {
            using var generator = new Generator(1, CPU);
            Tensor Normal(params long[] shape) => randn(shape, dtype: ScalarType.Float64, generator: generator);
            NetworkWeights weights;
            if (circuit)
            {
                // A little above 1 and small, so that tanh's linear range holds it.
                var exact = new Circuit(LinearBinding.Named("t1"), Normal(h, 64) / Math.Sqrt(h));
                weights = new(exact.WeightIh * 1e-3, exact.WeightHh, exact.Readout * 1e3);
            }
            else
            {
                weights = new(
                    Normal(h, 8) / Math.Sqrt(h),
                    linalg.svd(Normal(h, h)).U.contiguous(),
                    Normal(8, h) / Math.Sqrt(h)
                );
            }

            using var network = new TrainedNetwork
            {
                Name = "time",
                Folder = folder.FullName,
                IsRun = false,
                Weights = weights,
                File = "time.safetensors",
                Configuration = ConfigurationFile.Parse("""{ "name": "time", "task": { "name": "t1" } }"""),
            };
            var clock = Stopwatch.StartNew();
            var analysis = RunAnalysis.Of(network);
            double computed = clock.Elapsed.TotalSeconds;
            RunReport.Write(analysis, folder.FullName);
            double all = clock.Elapsed.TotalSeconds;
            TestContext.Out.WriteLine(
                $"H = {h}: {computed:F1} s computing, {all - computed:F1} s writing, "
                    + $"{folder.EnumerateFiles().Sum(f => f.Length) / 1e6:F1} MB, peak "
                    + $"{Process.GetCurrentProcess().PeakWorkingSet64 / 1e9:F1} GB; {get_num_threads()} threads"
            );
            TestContext.Out.WriteLine(string.Join("\n", analysis.Lines.Concat(analysis.Problems)));
            Assert.That(all, Is.LessThan(seconds));
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }
}
