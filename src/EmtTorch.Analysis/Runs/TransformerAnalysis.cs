using System.Text.Json.Nodes;
using EmtTorch.Analysis.Charts;
using EmtTorch.Analysis.Episodic;
using EmtTorch.Memory;
using EmtTorch.Settings;
using EmtTorch.Tasks;
using EmtTorch.Training;
using static System.FormattableString;
using static EmtTorch.Analysis.Runs.Finding;

namespace EmtTorch.Analysis.Runs;

/// <summary>
/// Transformers, read on documents of their own task: gates, reads, fast weights, graphs, capacity and, for a text,
/// bits per character and a sample (<see cref="EpisodicAnalysis"/>).
/// </summary>
[Named("episodic_memory")]
internal sealed class TransformerAnalysis : INetworkAnalysis
{
    /// <summary>How many of F's singular values analysis.json has, the largest first.</summary>
    private const int SingularValues = 16;

    /// <summary>A gate that opens less than this for every kind of token lets hardly anything in.</summary>
    private const double Closed = 0.1;

    /// <summary>The share of right answers that counts as good.</summary>
    private const double Good = 0.9;

    public IEnumerable<Finding> Analyze(TrainedNetwork network, AnalysisOptions options)
    {
        if (network.Transformer is not { } transformer)
            return [];
        if (network.FindChangedData() is { } changed)
            throw new InvalidDataException($"{changed}. Put that file back, or name another one with --config.");
        return Describe(EpisodicAnalysis.Of(transformer, network.Configuration), network.Configuration);
    }

    /// <summary>The findings of an analysis that is done.</summary>
    internal static IEnumerable<Finding> Describe(EpisodicAnalysis analysis, RunConfiguration run)
    {
        var chance = Guessing.MeasureAccuracy(run);
        var found = Findings(analysis, run, chance);
        if (Ability.IsEnough(analysis.Accuracy, chance))
            return found;
        var lacking = Ability.Lacking(analysis.Accuracy!.Value, chance!.Value, "answers");
        return Ability.Silence(found).Select(f => f.Key == "test_accuracy" ? f with { Sentence = lacking } : f);
    }

    /// <summary>The same with all its sentences, whether the network does its task or not.</summary>
    internal static IEnumerable<Finding> Findings(EpisodicAnalysis analysis, RunConfiguration run, double? chance) =>
        [
            Fact("layers", run.Model.Layers),
            Fact("memory", run.Model.Find<FastWeightSettings>()?.Name ?? "none"),
            Fact("key_width", analysis.KeyWidth),
            new("test_accuracy", analysis.Accuracy ?? double.NaN)
            {
                Least = 0,
                Greatest = 1,
                Title = "test accuracy",
                Format = "P2",
                Meaning = "the share of right answers",
                Sentence =
                    analysis.Text?.Bits is null && analysis.Accuracy is { } accuracy
                        ? Invariant(
                            $"It answers {100 * accuracy:F2} % of what is asked at horizon {run.Evaluation.Horizon}."
                        )
                        : null,
                Figures = EpisodicFigures.Of(analysis, chance),
                Problems = analysis.Problems,
            },
            Fact("test_loss", ToJson(analysis.Loss)),
            Fact("test_horizon", run.Evaluation.Horizon),
            Fact("horizon_trained", analysis.HorizonTrained),
            Fact("pairs_trained", analysis.PairsTrained),
            .. run.Task.Own is TextConfiguration ? DescribeText(analysis.Text) : [],
            Gates(analysis, analysis.MemoryHeads),
            .. Reads(analysis, analysis.MemoryHeads),
            .. run.Model.Find<GraphSettings>() is null ? [] : Graphs(analysis),
            FastWeights(analysis),
            Fact("capacity", Curve(analysis.Capacity, "pairs")),
            Fact("distance", Curve(analysis.Distance, "horizon")) with
            {
                Sentence = Reaches(analysis),
            },
            Fact("state_bytes_start", analysis.StateBytesStart),
            new("state_bytes_end", analysis.StateBytesEnd ?? double.NaN)
            {
                Title = "state, bytes",
                Format = "0",
                Meaning = "the size of a document's state at its end",
            },
            Fact("state_tokens", analysis.StateTokens),
        ];

    private static IEnumerable<Finding> DescribeText(TextReading? text)
    {
        var words = text is { NewWords: { } fresh, SeenWords: { } seen }
            ? Invariant($": {fresh:F3} in words that are new in their document, {seen:F3} in words seen there before")
            : "";
        yield return new("bits_per_character", text?.Bits ?? double.NaN)
        {
            Least = 0,
            Title = "bits per character",
            Format = "F3",
            Meaning = "bits per character on the test part of the text",
            Sentence = Invariant($"It needs {text?.Bits:F3} bits per character on the test part{words}."),
            Text = text is { Sample.Length: > 0 }
                ? new(
                    "sample",
                    "What it writes",
                    "The beginning of the test part, paler, and how the network continues it, drawn at temperature "
                        + "0.8. Bytes that are no characters stand as \\xNN.",
                    text.Prompt,
                    text.Sample
                )
                : null,
        };
        yield return Fact("bits_new_words", ToJson(text?.NewWords)) with
        {
            Least = 0,
        };
        yield return Fact("bits_seen_words", ToJson(text?.SeenWords)) with
        {
            Least = 0,
        };
        yield return Fact(
            "sample",
            text is null ? null : new JsonObject { ["prompt"] = text.Prompt, ["text"] = text.Sample }
        );
    }

    private static Finding Gates(EpisodicAnalysis analysis, int heads)
    {
        string? sentence = null;
        // The head whose gate tells kinds apart the most.
        if (
            analysis
                .Gates.Where(g => g.Kinds.All(k => k.Gate is { } open && double.IsFinite(open)))
                .MaxBy(g => g.Kinds.Max(k => k.Gate) - g.Kinds.Min(k => k.Gate)) is
            { } gate
        )
        {
            sentence = Opens(
                $"block {gate.Block}'s fast weights{OfHead(heads, gate.Head)}",
                gate.Kinds,
                gate.SpreadNull
            );
        }
        else if (analysis.Gates.Count > 0 && analysis.Gates[0].Kinds.All(k => k.Gate is null))
        {
            sentence = Invariant(
                $"There is no gate: every token is written alike, with β = η = {analysis.Gates[0].Rate:F2} in block 1."
            );
        }
        return new("gate")
        {
            Sentence = sentence,
            Data = ToJson(
                analysis.Gates,
                g => new JsonObject
                {
                    ["block"] = g.Block,
                    ["head"] = g.Head,
                    ["rate"] = ToJson(g.Rate),
                    ["decay"] = ToJson(g.Decay),
                    ["spread_null"] = ToJson(g.SpreadNull),
                    ["kinds"] = ByKind(
                        g.Kinds,
                        k => new JsonObject
                        {
                            ["gate"] = ToJson(k.Gate),
                            ["strength"] = ToJson(k.Strength),
                            ["tokens"] = k.Count,
                        }
                    ),
                }
            ),
        };
    }

    private static JsonObject ByKind(IEnumerable<KindReading> kinds, Func<KindReading, JsonNode?> entry) =>
        new(kinds.Select(k => KeyValuePair.Create(k.Kind.Replace(' ', '_'), entry(k))));

    private static string OfHead(int heads, int head) => heads > 1 ? $", head {head}," : "";

    private static string? Opens(string whose, IReadOnlyList<KindReading> kinds, double? chance)
    {
        var (most, least) = (kinds.MaxBy(k => k.Gate)!, kinds.MinBy(k => k.Gate)!);
        return !(most.Gate - least.Gate > chance) ? null
            : most.Gate < Closed
                ? Invariant($"The gate of {whose} stays closed; it opens most for {most.Kind} (g = {most.Gate:F2}).")
            : Invariant($"The gate of {whose} opens most for {most.Kind} (g = {most.Gate:F2}) and least for ")
                + Invariant($"{least.Kind} ({least.Gate:F2}); kinds dealt out at random differ by {chance:F2}.");
    }

    private static IEnumerable<Finding> Reads(EpisodicAnalysis analysis, int heads)
    {
        var best = analysis.Reads.Where(r => r.Asked is not null).MaxBy(r => r.Asked);
        var first = best?.Share is { } share
            ? Invariant($"; in {100 * share:F1} % of them the asked one gives the most (by chance in ")
                + Invariant($"{100 * best.ShareNull:F1} %)")
            : "";
        yield return new("reads")
        {
            Sentence =
                best is null || (best.Share is not null && !(best.Asked > best.AskedNull))
                    ? null
                    : Invariant(
                        $"At questions {100 * best.Asked:F1} % of what block {best.Block}{OfHead(heads, best.Head)} "
                    )
                        + Invariant(
                            $"reads comes from the asked pair and {100 * best.Others:F1} % from the others{first}."
                        ),
            Data = ToJson(
                analysis.Reads,
                r => new JsonObject
                {
                    ["block"] = r.Block,
                    ["head"] = r.Head,
                    ["from_asked_pair"] = ToJson(r.Asked),
                    ["from_asked_pair_null"] = ToJson(r.AskedNull),
                    ["from_other_pairs"] = ToJson(r.Others),
                    ["asked_pair_first"] = ToJson(r.Share),
                    ["asked_pair_first_null"] = ToJson(r.ShareNull),
                    ["questions"] = r.Questions,
                }
            ),
        };
        yield return new("reads_right", analysis.Reads.Max(r => r.Share) ?? double.NaN)
        {
            Least = 0,
            Greatest = 1,
            Null = analysis.Reads.Max(r => r.ShareNull),
            Title = "reads right",
            Format = "P2",
            Meaning = "the share of questions at which the asked pair gives the most of a read, in the best head",
        };
    }

    private static IEnumerable<Finding> Graphs(EpisodicAnalysis analysis)
    {
        var sentences = new List<string>();
        if (
            analysis.Graphs.Where(g => g.Kept is not null).MaxBy(g => g.Linked ?? -1) is { } graph
            && (graph.Kept > graph.KeptNull || graph.Linked > graph.LinkedNull)
        )
        {
            var edge = graph.Linked is { } linked
                ? Invariant(
                    $"; in {100 * linked:F1} % of these the strongest edge of the first fact leads to the second "
                ) + Invariant($"(by chance in {100 * graph.LinkedNull:F1} %)")
                : "";
            sentences.Add(
                Invariant(
                    $"In {100 * graph.Kept:F1} % of questions both facts are nodes of block {graph.Block}'s graph "
                ) + Invariant($"({100 * graph.KeptNull:F1} % for tokens drawn at random){edge}.")
            );
        }
        if (
            analysis
                .Graphs.Where(g => g.Gates.Count > 0 && g.Gates.All(k => double.IsFinite(k.Strength)))
                .MaxBy(g => g.Gates.Max(k => k.Gate) - g.Gates.Min(k => k.Gate)) is
            { } nodes
        )
        {
            if (Opens($"block {nodes.Block}'s graph", nodes.Gates, nodes.SpreadNull) is { } opens)
                sentences.Add(opens);
        }
        yield return new("graph")
        {
            Sentence = sentences.Count == 0 ? null : string.Join(' ', sentences),
            Data = ToJson(
                analysis.Graphs,
                g => new JsonObject
                {
                    ["block"] = g.Block,
                    ["both_facts_kept"] = ToJson(g.Kept),
                    ["both_facts_kept_null"] = ToJson(g.KeptNull),
                    ["strongest_edge_right"] = ToJson(g.Linked),
                    ["strongest_edge_right_null"] = ToJson(g.LinkedNull),
                    ["read_from_first_fact"] = ToJson(g.Read),
                    ["read_from_first_fact_null"] = ToJson(g.ReadNull),
                    ["gate_spread_null"] = ToJson(g.SpreadNull),
                    ["questions"] = g.Questions,
                    ["gate"] = ByKind(g.Gates, k => ToJson(k.Gate)),
                }
            ),
        };
    }

    private static Finding FastWeights(EpisodicAnalysis analysis)
    {
        var ranks = analysis.FastWeights.Where(f => double.IsFinite(f.EffectiveRank[^1])).ToList();
        var each = string.Join(", ", ranks.Select(f => Invariant($"{f.EffectiveRank[^1]:F1}")));
        return new("fast_weights", ranks.Max(f => (double?)f.EffectiveRank[^1]) ?? double.NaN)
        {
            Title = "effective rank",
            Format = "F1",
            Meaning = "the effective rank of the fast weights at a document's end, in the block with the highest",
            Sentence =
                ranks.Count == 0
                    ? null
                    : $"After {ranks[0].Tokens[^1]} tokens the fast weights' effective rank is {each} of "
                        + $"{analysis.KeyWidth}; a document's state has {analysis.StateBytesStart} bytes at its start, "
                        + $"{analysis.StateBytesEnd} after {analysis.StateTokens} tokens.",
            Data = ToJson(
                analysis.FastWeights,
                f => new JsonObject
                {
                    ["block"] = f.Block,
                    ["effective_rank"] = ToJson(f.EffectiveRank[^1]),
                    ["singular_values"] = ToJson(f.SingularValues[^1].Take(SingularValues), s => ToJson(s)),
                    ["tokens"] = ToJson(f.Tokens, t => (JsonNode)t),
                    ["effective_rank_course"] = ToJson(f.EffectiveRank, r => ToJson(r)),
                    ["largest_singular_value_course"] = ToJson(f.SingularValues, s => ToJson(s[0])),
                }
            ),
        };
    }

    private static JsonArray Curve(IEnumerable<CurvePoint> points, string at) =>
        ToJson(
            points,
            p => new JsonObject
            {
                [at] = p.At,
                ["accuracy"] = ToJson(p.Accuracy),
                ["answers"] = p.Answers,
            }
        );

    private static string? Reaches(EpisodicAnalysis analysis)
    {
        List<string> reached = [],
            missed = [];
        void Add(string? reach, string trained, string all)
        {
            if (reach is { Length: > 0 })
                reached.Add($"{reach} (trained {trained})");
            else if (reach is not null)
                missed.Add(all);
        }
        var pairs = analysis.PairsName;
        Add(Reach(analysis.Capacity, "", $" {pairs}"), $"on {analysis.PairsTrained}", $"with any number of {pairs}");
        Add(Reach(analysis.Distance, "horizon ", ""), $"up to {analysis.HorizonTrained}", "at any horizon");
        const string right = "90 % of its answers are right";
        return (reached.Count, missed.Count) switch
        {
            (0, 0) => null,
            (_, 0) => $"At least {right} {string.Join(", and ", reached)}.",
            (0, _) => $"Fewer than {right}, {string.Join(" and ", missed)} that was tried.",
            _ => $"At least {right} {reached[0]}, but fewer {missed[0]} that was tried.",
        };
    }

    /// <summary>
    /// The longest stretch of a curve at 90 % or more, in words: "up to 64" if it begins with the curve, else
    /// "from 16 to 64" or "at 16"; empty if there is none, null if there is no curve.
    /// </summary>
    /// <param name="before">Put before the first number.</param>
    /// <param name="after">Put after the last number.</param>
    internal static string? Reach(IReadOnlyList<CurvePoint> curve, string before, string after)
    {
        if (curve.Count == 0 || curve[0].Accuracy is null)
            return null;
        int length = 0,
            longest = 0,
            last = 0;
        for (int i = 0; i < curve.Count; i++)
        {
            length = curve[i].Accuracy >= Good ? length + 1 : 0;
            if (length > longest)
                (longest, last) = (length, i);
        }
        if (longest == 0)
            return "";
        int first = last - longest + 1;
        var words =
            first == 0 ? $"up to {before}{curve[last].At}"
            : first == last ? $"at {before}{curve[last].At}"
            : $"from {before}{curve[first].At} to {curve[last].At}";
        return words + after;
    }
}
