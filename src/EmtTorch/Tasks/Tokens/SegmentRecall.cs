using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using EmtTorch.Settings;
using static TorchSharp.torch;

namespace EmtTorch.Tasks;

/// <summary>Settings of the task `segment_recall`. Horizons are segments between pairs and questions.</summary>
[Named("segment_recall")]
[Description("Pairs in a document's first segment, questions in its last; horizons are segments between them.")]
public sealed record SegmentRecallConfiguration : PairsConfiguration
{
    [Description("Pairs in the first segment, each asked for in the last.")]
    [Range(1, 1_048_576)]
    public int Pairs { get; init; } = 4;

    [Description("Tokens in a segment.")]
    [Range(1, 1_048_576)]
    public int SegmentLength { get; init; } = 64;

    [Description("Pairs in each segment between, which are never asked for.")]
    [Range(0, 1_048_576)]
    public int Distractors { get; init; }

    [Description(
        "Whether every second question, by chance, gives the value and asks for its key; values are then distinct "
            + "in a document, as keys are."
    )]
    public bool BothWays { get; init; }

    [Description("The number of vocabularies, each with so many keys and values: one for each of several tasks.")]
    [Range(1, 1024)]
    public int Vocabularies { get; init; } = 1;

    [Description("The vocabulary of the documents, counted from 1.")]
    [Range(1, 1024)]
    public int Vocabulary { get; init; } = 1;

    public override ITokenTask Create(int horizon, Device device) => new SegmentRecall(this, horizon, device);

    public override IEnumerable<string> Check(int horizon)
    {
        long distinct = Pairs + (long)Math.Max(horizon, 0) * Math.Max(Distractors, 0);
        var broken = PairTokens.Check(Keys, Values, Noise, distinct, Vocabularies, Vocabulary);
        if (BothWays && Values >= 1 && Values < distinct)
            broken.Add($"there are {Values} values: a document that is asked both ways needs {distinct} distinct ones");
        if (Pairs < 1)
            broken.Add($"there are {Pairs} pairs: at least one is needed");
        if (horizon < 0)
            broken.Add($"there are {horizon} segments between pairs and questions: there cannot be fewer than none");
        if (Distractors < 0)
            broken.Add($"there are {Distractors} distractors: there cannot be fewer than none");
        if (SegmentLength < 1)
            broken.Add($"a segment has {SegmentLength} tokens: at least one is needed");
        else if (Math.Max(Pairs, Distractors) is var most && SegmentLength < 2L * most)
            broken.Add($"a segment has {SegmentLength} tokens: {most} pairs need two each, {2L * most}");
        return broken;
    }

    public override long TokensAt(int horizon) => (horizon + 2L) * SegmentLength;

    public override bool CountsSegments => true;

    // A document uses one vocabulary: all tokens below it are noise, except the question's.
    protected override int BelowKeys => Noise + (Vocabulary - 1) * (Keys + Values);

    public override int? PairCount => Pairs;

    public override (TokenTaskSettings Settings, int Horizon) WithPairs(int pairs, int horizon) =>
        (this with { Pairs = pairs, SegmentLength = Math.Max(SegmentLength, 2 * pairs) }, horizon);
}

/// <summary>
/// Recall from an earlier segment: a document has pairs of a key and a value in its first segment, segments of noise,
/// and questions in its last segment. A question is the question's token and a key; the target at the key's position is
/// the key's value.
/// </summary>
/// <remarks>
/// Every pair is asked for once, in random order. Pairs and questions lie anywhere in their segments without overlaps,
/// with noise around them. The segments between may contain pairs with other keys, which are never asked for. Keys are
/// distinct in a document; values are drawn independently. Tokens: 0 the question's, then noise, then keys and values
/// of each vocabulary. If asked both ways, a question gives with probability ½ the value in place of the key, and its
/// target is the key. Then values are distinct too.
/// </remarks>
internal sealed class SegmentRecall : ITokenTask
{
    private readonly SegmentRecallConfiguration _settings;
    private readonly int _between;
    private readonly PairTokens _tokens;

    /// <exception cref="ArgumentException">A rule is broken.</exception>
    public SegmentRecall(SegmentRecallConfiguration settings, int between, Device device)
    {
        ITokenTask.Refuse(settings.Check(between));
        var (keys, values, noise) = (settings.Keys, settings.Values, settings.Noise);
        _tokens = new(keys, values, noise, device, settings.Vocabularies, settings.Vocabulary);
        (_settings, _between) = (settings, between);
    }

    public int VocabularySize => _tokens.Size;

    /// <summary>The accuracy of guessing, 1/values; if asked both ways, the mean of that and 1/keys.</summary>
    public double ChanceAccuracy =>
        _settings.BothWays ? (1.0 / _tokens.Values + 1.0 / _tokens.Keys) / 2 : 1.0 / _tokens.Values;

    public IReadOnlyList<TokenBatch> Batch(long batchSize, Generator generator)
    {
        using var scope = NewDisposeScope();
        int pairs = _settings.Pairs,
            distractors = _settings.Distractors,
            all = pairs + _between * distractors;
        var keys = _tokens.DistinctKeys(batchSize, all, generator); // (B, pairs and distractors)
        var values = _settings.BothWays
            ? _tokens.DistinctValues(batchSize, all, generator)
            : _tokens.RandomValues(batchSize, all, generator);
        var segments = new List<TokenBatch>();
        for (int segment = 0; segment < _between + 2; segment++)
        {
            var (input, target) = _tokens.EmptySegment(batchSize, _settings.SegmentLength, generator);
            bool asks = segment > _between;
            int count = asks || segment == 0 ? pairs : distractors;
            if (count > 0)
            {
                var places = _tokens.Places(batchSize, count, _settings.SegmentLength, generator);
                if (asks)
                {
                    Ask(keys, values, places, input, target, generator);
                }
                else
                {
                    int first = segment == 0 ? 0 : pairs + (segment - 1) * distractors;
                    PairTokens.Write(input, places, keys.narrow(1, first, count), values.narrow(1, first, count));
                }
            }
            segments.Add(new(input.MoveToOuterDisposeScope(), target.MoveToOuterDisposeScope()));
        }
        return segments;
    }

    /// <summary>Writes a question for each pair of the first segment to the last one, in random order.</summary>
    private void Ask(Tensor keys, Tensor values, Tensor places, Tensor input, Tensor target, Generator generator)
    {
        var asked = _tokens.Shuffled(input.shape[0], _settings.Pairs, generator);
        var (given, wanted) = (keys.gather(1, asked), values.gather(1, asked));
        if (_settings.BothWays)
        {
            var back = Draw.Uniform(given.shape, generator, _tokens.Device).lt(0.5);
            (given, wanted) = (where(back, wanted, given), where(back, given, wanted));
        }
        PairTokens.Write(input, places, places.zeros_like(), given);
        target.scatter_(1, places.add(1), wanted);
    }
}
