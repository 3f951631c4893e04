using System.Text.Json.Nodes;
using EmtTorch.Analysis.Episodic;
using EmtTorch.Memory;
using EmtTorch.Tasks;
using EmtTorch.Training;

namespace EmtTorch.Analysis.Runs;

/// <summary>The numbers of an episodic analysis, as analysis.json has them; null for what is no number.</summary>
internal static class EpisodicJson
{
    /// <summary>Of F's singular values, the largest.</summary>
    private const int SingularValues = 16;

    public static void AddTo(JsonObject json, EpisodicAnalysis analysis, RunConfiguration configuration)
    {
        var model = configuration.Model;
        json["layers"] = model.Layers;
        json["memory"] = model.Find<FastWeightSettings>()?.Name ?? "none";
        json["key_width"] = analysis.KeyWidth;
        json["test_accuracy"] = Number(analysis.Accuracy);
        json["test_loss"] = Number(analysis.Loss);
        json["test_horizon"] = configuration.Evaluation.Horizon;
        json["horizon_trained"] = analysis.HorizonTrained;
        json["pairs_trained"] = analysis.PairsTrained;
        if (configuration.Task.Own is TextConfiguration)
        {
            json["bits_per_character"] = Number(analysis.Text?.Bits);
            json["bits_new_words"] = Number(analysis.Text?.NewWords);
            json["bits_seen_words"] = Number(analysis.Text?.SeenWords);
            json["sample"] = analysis.Text is { } text
                ? new JsonObject { ["prompt"] = text.Prompt, ["text"] = text.Sample }
                : null;
        }
        json["gate"] = new JsonArray([
            .. analysis.Gates.Select(g => new JsonObject
            {
                ["block"] = g.Block,
                ["head"] = g.Head,
                ["rate"] = Number(g.Rate),
                ["decay"] = Number(g.Decay),
                ["kinds"] = new JsonObject(
                    g.Kinds.Select(k =>
                        KeyValuePair.Create(
                            k.Kind.Replace(' ', '_'),
                            (JsonNode?)
                                new JsonObject
                                {
                                    ["gate"] = Number(k.Gate),
                                    ["strength"] = Number(k.Strength),
                                    ["tokens"] = k.Count,
                                }
                        )
                    )
                ),
            }),
        ]);
        json["reads"] = new JsonArray([
            .. analysis.Reads.Select(r => new JsonObject
            {
                ["block"] = r.Block,
                ["head"] = r.Head,
                ["from_asked_pair"] = Number(r.Asked),
                ["from_other_pairs"] = Number(r.Others),
                ["asked_pair_first"] = Number(r.Share),
                ["questions"] = r.Questions,
            }),
        ]);
        json["reads_right"] = Number(analysis.Reads.Max(r => r.Share));
        if (configuration.Model.Find<GraphSettings>() is not null)
        {
            json["graph"] = new JsonArray([
                .. analysis.Graphs.Select(g => new JsonObject
                {
                    ["block"] = g.Block,
                    ["both_facts_kept"] = Number(g.Kept),
                    ["strongest_edge_right"] = Number(g.Linked),
                    ["read_from_first_fact"] = Number(g.Read),
                    ["questions"] = g.Questions,
                    ["gate"] = new JsonObject(
                        g.Gates.Select(k => KeyValuePair.Create(k.Kind.Replace(' ', '_'), Number(k.Gate)))
                    ),
                }),
            ]);
        }

        json["fast_weights"] = new JsonArray([
            .. analysis.FastWeights.Select(f => new JsonObject
            {
                ["block"] = f.Block,
                ["effective_rank"] = Number(f.EffectiveRank[^1]),
                ["singular_values"] = Numbers(f.SingularValues[^1].Take(SingularValues)),
                ["tokens"] = new JsonArray([.. f.Tokens.Select(t => (JsonNode)t)]),
                ["effective_rank_course"] = Numbers(f.EffectiveRank),
                ["largest_singular_value_course"] = Numbers(f.SingularValues.Select(s => s[0])),
            }),
        ]);
        json["capacity"] = Curve(analysis.Capacity, "pairs");
        json["distance"] = Curve(analysis.Distance, "horizon");
        json["state_bytes_start"] = analysis.StateBytesStart;
        json["state_bytes_end"] = analysis.StateBytesEnd;
        json["state_tokens"] = analysis.StateTokens;
    }

    private static JsonArray Curve(IEnumerable<CurvePoint> points, string at) =>
        new([
            .. points.Select(p => new JsonObject
            {
                [at] = p.At,
                ["accuracy"] = Number(p.Accuracy),
                ["answers"] = p.Answers,
            }),
        ]);

    private static JsonArray Numbers(IEnumerable<double> values) => new([.. values.Select(v => Number(v))]);

    private static JsonNode? Number(double? value) => value is { } v && double.IsFinite(v) ? JsonValue.Create(v) : null;
}
