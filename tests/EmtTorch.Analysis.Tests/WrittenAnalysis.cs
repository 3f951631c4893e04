using System.Text.Json;
using EmtTorch.Analysis.Runs;
using EmtTorch.Reports;
using EmtTorch.Training;

namespace EmtTorch.Analysis.Tests;

/// <summary>The whole way of made-up weights: analysed, and written to a folder as JSON and as a page.</summary>
internal static class WrittenAnalysis
{
    private static readonly AnalysisOptions Quick = new()
    {
        TestHorizon = 50,
        TestSequences = 64,
        Interventions = new() { BatchSize = 16 },
    };

    public static (RunAnalysis Analysis, JsonElement Json) Of(
        NetworkWeights weights,
        RunConfiguration configuration,
        string folder
    )
    {
        using var network = new TrainedNetwork
        {
            Name = configuration.Name,
            Folder = folder,
            IsRun = false,
            Configuration = configuration,
            Weights = weights,
            File = "weights.safetensors",
        };
        var analysis = RunAnalysis.Of(network, Quick);
        Assert.That(new FileInfo(RunReport.Write(analysis, folder)).Length, Is.GreaterThan(1000));
        Assert.That(analysis.Lines, Has.Count.LessThanOrEqualTo(7), "the activation that was tried, and six findings");
        return (analysis, JsonOf(folder));
    }

    public static JsonElement JsonOf(string folder) =>
        JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, RunAnalysis.FileName))).RootElement;
}
