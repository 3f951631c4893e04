using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using EmtTorch.Settings;
using static TorchSharp.torch;

namespace EmtTorch.Tasks;

/// <summary>Settings of the task `two_hop`. Horizons are segments between facts and questions.</summary>
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
        "The number of facts from a chain's first name to its answer: 2 joins two facts, 1 asks the same documents "
            + "for the next name; with more, chains are as long."
    )]
    [Range(1, 1024)]
    public int Hops { get; init; } = 2;

    [Description("Tokens in a segment.")]
    [Range(1, 1_048_576)]
    public int SegmentLength { get; init; } = 64;

    [Description("Names in the vocabulary; a fact joins two of them.")]
    [Range(1, 1_048_576)]
    public int Names { get; init; } = 64;

    [Description("Tokens of noise in the vocabulary.")]
    [Range(1, 1_048_576)]
    public int Noise { get; init; } = 16;

    [Description("Facts of no chain, in the first segment and in each of those between.")]
    [Range(0, 1_048_576)]
    public int Distractors { get; init; }

    public override ITokenTask Create(int horizon, Device device) => new TwoHop(this, horizon, device);

    /// <summary>The number of facts in a chain.</summary>
    internal int Links => Math.Max(2, Hops);

    public override IEnumerable<string> Check(int horizon)
    {
        var broken = new List<string>();
        if (Chains < 1)
            broken.Add($"there are {Chains} chains: at least one is needed");
        if (Hops < 1)
            broken.Add($"there are {Hops} hops: at least one is needed");
        if (horizon < 0)
            broken.Add($"there are {horizon} segments between facts and questions: there cannot be fewer than none");
        if (Distractors < 0)
            broken.Add($"there are {Distractors} distractors: there cannot be fewer than none");
        long chains = Math.Max(Chains, 0),
            distractors = Math.Max(Distractors, 0),
            facts = chains * Links + distractors;
        long distinct = chains * (Links + 1L) + 2 * distractors * (Math.Max(horizon, 0) + 1L);
        broken.AddRange(PairTokens.Check(Names, null, Noise, distinct));
        if (SegmentLength < 1)
            broken.Add($"a segment has {SegmentLength} tokens: at least one is needed");
        else if (SegmentLength < 3 * facts)
            broken.Add($"a segment has {SegmentLength} tokens: {facts} facts need three each, {3 * facts}");
        return broken;
    }

    public override long TokensAt(int horizon) => (horizon + 2L) * SegmentLength;

    public override bool CountsSegments => true;

    public override IReadOnlyList<string> Kinds => PairsConfiguration.KindsOfPairs;

    // There is noise between facts, so that a name after a name is the value of its fact.
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
/// Facts that have to be joined: a document has chains of facts, a → b and b → c, in its first segment, segments of
/// noise, and questions in its last segment. A question is the question's token and a chain's first name a; the target
/// at a's position is c, the name two facts further on.
/// </summary>
/// <remarks>
/// A fact is two names in a row. The facts of the first segment lie in random order anywhere in it, each with noise
/// after it, which shows where a fact begins. All names come from one vocabulary, and each occurs in one chain of the
/// document: b is the value of one fact and the key of another, and only these two facts tell which end belongs to
/// which beginning. With `hops` = 1 the same documents are asked for b; with h > 2 chains have h facts and their last
/// name is asked for. Each chain is asked for once, in random order. Distractors are facts of no chain, in every
/// segment but the last. Tokens: 0 the question's, then noise, names.
/// </remarks>
internal sealed class TwoHop : ITokenTask
{
    private readonly TwoHopConfiguration _settings;
    private readonly int _between;
    private readonly PairTokens _tokens;

    /// <exception cref="ArgumentException">A rule is broken.</exception>
    public TwoHop(TwoHopConfiguration settings, int between, Device device)
    {
        ITokenTask.Refuse(settings.Check(between));
        (_settings, _between, _tokens) = (settings, between, new(settings.Names, 0, settings.Noise, device));
    }

    public int VocabularySize => _tokens.Size;

    /// <summary>
    /// The accuracy of guessing any name, 1/names. Guessing the end of some chain gives 1/chains.
    /// </summary>
    public double ChanceAccuracy => 1.0 / _settings.Names;

    public IReadOnlyList<TokenBatch> Batch(long batchSize, Generator generator)
    {
        using var scope = NewDisposeScope();
        int links = _settings.Links,
            length = _settings.SegmentLength,
            inChains = _settings.Chains * (links + 1),
            apart = _settings.Distractors * (_between + 1);
        var names = _tokens.DistinctKeys(batchSize, inChains + 2 * apart, generator);
        // (B, place in the chain, chain)
        var chains = names.narrow(1, 0, inChains).view(batchSize, links + 1, _settings.Chains);
        var others = names.narrow(1, inChains, 2 * apart).view(batchSize, 2, apart); // (B, key and value, distractor)
        var segments = new List<TokenBatch>();
        for (int segment = 0; segment < _between + 2; segment++)
        {
            var (input, target) = _tokens.EmptySegment(batchSize, length, generator);
            if (segment > _between)
            {
                var places = _tokens.Places(batchSize, _settings.Chains, length, generator);
                var asked = _tokens.Shuffled(batchSize, _settings.Chains, generator);
                PairTokens.Write(input, places, places.zeros_like(), chains.select(1, 0).gather(1, asked));
                target.scatter_(1, places.add(1), chains.select(1, _settings.Hops).gather(1, asked));
            }
            else
            {
                var (keys, values) = Facts(chains, others, segment); // (B, facts)
                int count = (int)keys.shape[1];
                if (count > 0)
                {
                    var order = _tokens.Shuffled(batchSize, count, generator);
                    var places = _tokens.Places(batchSize, count, length, generator, width: 3);
                    PairTokens.Write(input, places, keys.gather(1, order), values.gather(1, order));
                }
            }
            segments.Add(new(input.MoveToOuterDisposeScope(), target.MoveToOuterDisposeScope()));
        }
        return segments;
    }

    /// <summary>
    /// The keys and values of a segment's facts: in the first segment those of chains, and distractors.
    /// </summary>
    private (Tensor Keys, Tensor Values) Facts(Tensor chains, Tensor others, int segment)
    {
        var distractors = others.narrow(2, (long)segment * _settings.Distractors, _settings.Distractors);
        Tensor Side(int side)
        {
            var apart = distractors.select(1, side);
            return segment > 0
                ? apart
                : cat([chains.narrow(1, side, _settings.Links).reshape(chains.shape[0], -1), apart], 1);
        }
        return (Side(0), Side(1));
    }
}
