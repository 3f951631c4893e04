using System.Globalization;
using EmtTorch.Settings;

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
        List<string> memories = [];
        if (model.FastWeights is { } fast)
        {
            string[] kinds =
            [
                fast.Write,
                .. fast.HypernetworkRank > 1 ? [$"rank {fast.HypernetworkRank}"] : Array.Empty<string>(),
                .. fast.Heads > 1 ? [$"{fast.Heads} heads"] : Array.Empty<string>(),
            ];
            memories.Add($"fast weights ({string.Join(", ", kinds)})");
        }
        if (model.Graph is { } graph)
            memories.Add($"graph ({graph.Nodes} nodes)");
        if (model.Retrieval is not null)
            memories.Add("retrieval");
        memories.AddRange(model.Memories.Select(m => Parts.NameOf(m.GetType()).Replace('_', ' ')));
        long parameters = transformer.parameters().Sum(p => p.numel());
        return
        [
            new("Parameters", parameters.ToString("N0", CultureInfo.InvariantCulture)),
            new("Layers", $"{model.Layers}"),
            new("Memory", memories.Count == 0 ? "none" : string.Join(" + ", memories)),
        ];
    }
}
