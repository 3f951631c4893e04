using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using EmtTorch.Settings;
using static TorchSharp.torch;

namespace EmtTorch.Tasks;

/// <summary>Settings of <see cref="TwoHop"/>; horizons are segments between facts and questions.</summary>
[Named("two_hop")]
[Description(
    "Facts a → b and b → c in a document's first segment, in its last a is asked for c; horizons are segments "
        + "between them."
)]
public sealed record TwoHopConfiguration : TokenTaskSettings
{
    [Description("Chains of facts in the first segment, each asked for in the last.")]
    [Range(1, 1_048_576)]
    public int Chains { get; init; } = 4;

    [Description(
        "Facts that a question goes along from a chain's first name: 2 joins two of them, 1 asks the same "
            + "documents for the next name; with more, chains are as long."
    )]
    [Range(1, 1024)]
    public int Hops { get; init; } = 2;

    [Description("Tokens in a segment.")]
    [Range(1, 1_048_576)]
    public int SegmentLength { get; init; } = 64;

    [Description("Names in the vocabulary: what facts join.")]
    [Range(1, 1_048_576)]
    public int Names { get; init; } = 64;

    [Description("Tokens of noise in the vocabulary.")]
    [Range(1, 1_048_576)]
    public int Noise { get; init; } = 16;

    [Description("Facts of no chain, in the first segment and in each of those between.")]
    [Range(0, 1_048_576)]
    public int Distractors { get; init; }

    public override ITokenTask Create(int horizon, Device device) =>
        new TwoHop(Chains, Hops, horizon, SegmentLength, Names, Noise, device, Distractors);

    public override IEnumerable<string> Check(int horizon) =>
        TwoHop.Check(Chains, Hops, horizon, SegmentLength, Names, Noise, Distractors);

    public override long TokensAt(int horizon) => (horizon + 2L) * SegmentLength;

    public override bool CountsSegments => true;

    public override IReadOnlyList<string> Kinds => PairsConfiguration.KindsOfPairs;

    // Tokens: 0 the question's, then noise, names. Noise is between facts, so that a name after a name is its fact's
    // value.
    public override int KindOf(TokenDocument document, int t) =>
        document.Input[t] switch
        {
            0 => 2,
            var token when token <= Noise => 4,
            _ when t > 0 && document.Input[t - 1] > Noise => 1,
            _ => t > 0 && document.Input[t - 1] == 0 ? 3 : 0,
        };

    public override string Label(long token) => PairsConfiguration.LabelOf(token, Noise, Names);

    public override BoundPairs? PairsOf(TokenDocument document) => BoundPairs.Adjacent(document, IsName, IsName);

    private bool IsName(long token) => token > Noise && token <= Noise + Names;

    public override int? PairCount => Chains;

    public override string PairsName => "chains";

    public override bool AreChained => true;

    public override (TokenTaskSettings Settings, int Horizon) WithPairs(int pairs, int horizon) =>
        (
            this with
            {
                Chains = pairs,
                SegmentLength = Math.Max(SegmentLength, 3 * (pairs * Math.Max(2, Hops) + Distractors)),
            },
            horizon
        );
}

/// <summary>
/// Facts that have to be joined: chains of them, a → b and b → c, in a document's first segment, segments of noise, and
/// in the last one questions, a question's token and then a chain's first name a, whose target is the name two facts
/// on, c, at a's position.
/// </summary>
/// <remarks>
/// A fact is two names in a row; all facts of the first segment lie in random order anywhere in it, each with noise
/// after it, so that where a fact begins can be told from the tokens around it. Every name is of the one vocabulary and
/// in one chain of the document alone: b is the value of one fact and the key of another, and nothing but these two
/// facts says which end belongs to which beginning. With `hops` = 1 the same documents are asked for b, with h > 2
/// chains have h facts and the last name is asked. Each chain is asked for once, in
/// random order. Distractors are facts of no chain, in the first segment and in those between. Tokens: 0 the
/// question's, then noise, names.
/// </remarks>
public sealed class TwoHop : ITokenTask
{
    private readonly int _chains,
        _hops,
        _between,
        _segmentLength,
        _names,
        _distractors;
    private readonly PairTokens _tokens;

    /// <param name="chains">Chains in the first segment, and questions in the last.</param>
    /// <param name="hops">Facts that a question goes along.</param>
    /// <param name="between">Segments between facts and questions.</param>
    /// <param name="segmentLength">Tokens of a segment, L.</param>
    /// <param name="names">Names in the vocabulary.</param>
    /// <param name="noise">Noise tokens in the vocabulary.</param>
    /// <param name="device">Where batches are generated.</param>
    /// <param name="distractors">Facts of no chain, in each segment but the last.</param>
    /// <exception cref="ArgumentException">A rule is broken.</exception>
    public TwoHop(
        int chains,
        int hops,
        int between,
        int segmentLength,
        int names,
        int noise,
        Device device,
        int distractors = 0
    )
    {
        ITokenTask.Refuse(Check(chains, hops, between, segmentLength, names, noise, distractors));
        (_chains, _hops, _between, _segmentLength, _names, _distractors) = (
            chains,
            hops,
            between,
            segmentLength,
            names,
            distractors
        );
        _tokens = new(names, 0, noise, device);
    }

    public int VocabularySize => _tokens.Size;

    /// <summary>
    /// The accuracy of guessing any name, 1/names. Guessing an end of a chain, without knowing whose, comes to
    /// 1/chains.
    /// </summary>
    public double ChanceAccuracy => 1.0 / _names;

    /// <summary>Facts in a chain.</summary>
    private static int Links(int hops) => Math.Max(2, hops);

    /// <summary>The rules that parameters break.</summary>
    public static IReadOnlyList<string> Check(
        int chains,
        int hops,
        int between,
        int segmentLength,
        int names,
        int noise,
        int distractors = 0
    )
    {
        var broken = new List<string>();
        if (chains < 1)
            broken.Add($"there are {chains} chains: at least one is needed");
        if (hops < 1)
            broken.Add($"there are {hops} hops: at least one is needed");
        if (between < 0)
            broken.Add($"there are {between} segments between facts and questions: there can't be fewer than none");
        if (distractors < 0)
            broken.Add($"there are {distractors} distractors: there can't be fewer than none");
        long links = Links(hops),
            facts = Math.Max(chains, 0) * links + Math.Max(distractors, 0);
        long distinct = Math.Max(chains, 0) * (links + 1) + 2L * Math.Max(distractors, 0) * (Math.Max(between, 0) + 1L);
        broken.AddRange(PairTokens.Check(names, 0, noise, distinct, "names", null));
        if (segmentLength < 1)
            broken.Add($"a segment has {segmentLength} tokens: at least one is needed");
        else if (segmentLength < 3 * facts)
            broken.Add($"a segment has {segmentLength} tokens: {facts} facts need three each, {3 * facts}");
        return broken;
    }

    /// <summary>One batch.</summary>
    /// <param name="batchSize">Documents, B.</param>
    /// <param name="generator">Where the random numbers come from; on the same device.</param>
    /// <returns>The segments, (B, L) each: the facts', those between, the questions'.</returns>
    public IReadOnlyList<TokenBatch> Batch(long batchSize, Generator generator)
    {
        using var scope = NewDisposeScope();
        var device = _tokens.Device;
        int links = Links(_hops),
            inChains = _chains * (links + 1),
            apart = _distractors * (_between + 1);
        var names = _tokens.DistinctKeys(batchSize, inChains + 2 * apart, generator);
        var chains = names.narrow(1, 0, inChains).view(batchSize, links + 1, _chains); // (B, place in the chain, chain)
        var others = names.narrow(1, inChains, 2 * apart).view(batchSize, 2, apart); // (B, key and value, distractor)
        Tensor Shuffled(int count) => PairTokens.Distinct(batchSize, count, count, generator, device);
        var segments = new List<TokenBatch>();
        for (int segment = 0; segment < _between + 2; segment++)
        {
            var input = _tokens.Filler(batchSize, _segmentLength, generator); // (B, L)
            var target = full(batchSize, _segmentLength, TokenBatch.Ignored, dtype: ScalarType.Int64, device: device);
            if (segment > _between)
            {
                var (places, asked) = (
                    PairTokens.Places(batchSize, _chains, _segmentLength, generator, device),
                    Shuffled(_chains)
                );
                PairTokens.Write(input, places, places.zeros_like(), chains.select(1, 0).gather(1, asked));
                target.scatter_(1, places.add(1), chains.select(1, _hops).gather(1, asked));
            }
            else
            {
                var distractors = others.narrow(2, (long)segment * _distractors, _distractors);
                Tensor Side(int side) =>
                    segment > 0
                        ? distractors.select(1, side)
                        : cat(
                            new[] { chains.narrow(1, side, links).reshape(batchSize, -1), distractors.select(1, side) },
                            1
                        );
                Tensor keys = Side(0),
                    values = Side(1); // (B, facts)
                if (keys.shape[1] > 0)
                {
                    var order = Shuffled((int)keys.shape[1]);
                    var places = PairTokens.Places(
                        batchSize,
                        (int)keys.shape[1],
                        _segmentLength,
                        generator,
                        device,
                        width: 3
                    );
                    PairTokens.Write(input, places, keys.gather(1, order), values.gather(1, order));
                }
            }
            segments.Add(new(input.MoveToOuterDisposeScope(), target.MoveToOuterDisposeScope()));
        }
        return segments;
    }
}
