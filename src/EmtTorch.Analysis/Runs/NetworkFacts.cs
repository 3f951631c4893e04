using System.Globalization;

namespace EmtTorch.Analysis.Runs;

/// <summary>What a transformer is made of, for the head of its report.</summary>
internal static class NetworkFacts
{
    /// <returns>Parameters, layers and memories; nothing for a recurrent network.</returns>
    public static IReadOnlyList<ReportSetting> Describe(TrainedNetwork network)
    {
        if (network.Transformer is not { } transformer)
            return [];
        var model = network.Configuration.Model;
        var memories = string.Join(" + ", model.BlockMemories.Select(m => m.Summary));
        long parameters = transformer.parameters().Sum(p => p.numel());
        return
        [
            new("Parameters", parameters.ToString("N0", CultureInfo.InvariantCulture)),
            new("Layers", $"{model.Layers}"),
            new("Memory", memories.Length == 0 ? "none" : memories),
        ];
    }
}
