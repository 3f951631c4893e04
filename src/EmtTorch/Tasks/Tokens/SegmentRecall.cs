using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using EmtTorch.Settings;
using static TorchSharp.torch;

namespace EmtTorch.Tasks;

/// <summary>Settings of <see cref="SegmentRecall"/>; horizons are segments between pairs and questions.</summary>
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

    [Description("Pairs in each segment between, which nobody asks for.")]
    [Range(0, 1_048_576)]
    public int Distractors { get; init; }

    [Description(
        "Whether every second question, by chance, gives the value and asks for its key; values are then distinct "
            + "in a document, as keys are."
    )]
    public bool BothWays { get; init; }

    [Description(
        "How many vocabularies, of as many keys and values each, the network's tokens are: one for each of several "
            + "tasks."
    )]
    [Range(1, 1024)]
    public int Vocabularies { get; init; } = 1;

    [Description("Which of these vocabularies documents are made of.")]
    [Range(1, 1024)]
    public int Vocabulary { get; init; } = 1;

    public override ITokenTask Create(int horizon, Device device) =>
        new SegmentRecall(
            Pairs,
            horizon,
            SegmentLength,
            Keys,
            Values,
            Noise,
            device,
            Distractors,
            BothWays,
            Vocabularies,
            Vocabulary
        );

    public override IEnumerable<string> Check(int horizon) =>
        SegmentRecall.Check(
            Pairs,
            horizon,
            SegmentLength,
            Keys,
            Values,
            Noise,
            Distractors,
            BothWays,
            Vocabularies,
            Vocabulary
        );

    public override long TokensAt(int horizon) => (horizon + 2L) * SegmentLength;

    public override bool CountsSegments => true;

    // A document is of one vocabulary, so that all below it but the question is noise.
    protected override int BelowKeys => Noise + (Vocabulary - 1) * (Keys + Values);

    public override int? PairCount => Pairs;

    public override (TokenTaskSettings Settings, int Horizon) WithPairs(int pairs, int horizon) =>
        (this with { Pairs = pairs, SegmentLength = Math.Max(SegmentLength, 2 * pairs) }, horizon);
}

/// <summary>
/// Recall from an earlier segment: pairs of a key and a value in a document's first segment, segments of noise, and in
/// the last one questions, a question's token and then a key, whose target is the key's value, at the key's position.
/// </summary>
/// <remarks>
/// Every pair is asked for once, in random order. Pairs and questions lie anywhere in their segments without overlaps,
/// noise around them. The segments between may hold pairs too, of other keys, that are never asked for. Keys are
/// distinct in a document, values are drawn each for itself. Tokens: 0 the question's, then noise, keys, values; with
/// several vocabularies each one's keys and values.
/// Asked both ways, a question gives with probability ½ the value in place of the key, and its target is the key;
/// values are distinct then too.
/// </remarks>
public sealed class SegmentRecall : ITokenTask
{
    private readonly int _pairs,
        _between,
        _segmentLength,
        _distractors;
    private readonly bool _bothWays;
    private readonly PairTokens _tokens;

    /// <param name="pairs">Pairs in the first segment, and questions in the last.</param>
    /// <param name="between">Segments between those two.</param>
    /// <param name="segmentLength">Tokens of a segment, L.</param>
    /// <param name="keys">Keys in the vocabulary.</param>
    /// <param name="values">Values in the vocabulary.</param>
    /// <param name="noise">Noise tokens in the vocabulary.</param>
    /// <param name="device">Where batches are generated.</param>
    /// <param name="distractors">Pairs in each of the segments between.</param>
    /// <param name="bothWays">Whether half of the questions give the value and ask for the key.</param>
    /// <param name="vocabularies">How many vocabularies of as many keys and values the network's tokens are.</param>
    /// <param name="vocabulary">Which of them this task's documents are made of, from 1.</param>
    /// <exception cref="ArgumentException">A rule is broken.</exception>
    public SegmentRecall(
        int pairs,
        int between,
        int segmentLength,
        int keys,
        int values,
        int noise,
        Device device,
        int distractors = 0,
        bool bothWays = false,
        int vocabularies = 1,
        int vocabulary = 1
    )
    {
        ITokenTask.Refuse(
            Check(pairs, between, segmentLength, keys, values, noise, distractors, bothWays, vocabularies, vocabulary)
        );
        (_pairs, _between, _segmentLength, _distractors, _bothWays, _tokens) = (
            pairs,
            between,
            segmentLength,
            distractors,
            bothWays,
            new(keys, values, noise, device, vocabularies, vocabulary)
        );
    }

    public int VocabularySize => _tokens.Size;

    /// <summary>The accuracy of guessing, 1/values; both ways the mean of that and 1/keys.</summary>
    public double ChanceAccuracy => _bothWays ? (1.0 / _tokens.Values + 1.0 / _tokens.Keys) / 2 : 1.0 / _tokens.Values;

    /// <summary>The rules that parameters break.</summary>
    public static IReadOnlyList<string> Check(
        int pairs,
        int between,
        int segmentLength,
        int keys,
        int values,
        int noise,
        int distractors = 0,
        bool bothWays = false,
        int vocabularies = 1,
        int vocabulary = 1
    )
    {
        long distinct = pairs + (long)Math.Max(between, 0) * Math.Max(distractors, 0);
        var broken = PairTokens.Check(
            keys,
            values,
            noise,
            distinct,
            vocabularies: vocabularies,
            vocabulary: vocabulary
        );
        if (bothWays && values >= 1 && values < distinct)
            broken.Add($"there are {values} values: a document that is asked both ways needs {distinct} distinct ones");
        if (pairs < 1)
            broken.Add($"there are {pairs} pairs: at least one is needed");
        if (between < 0)
            broken.Add($"there are {between} segments between pairs and questions: there can't be fewer than none");
        if (distractors < 0)
            broken.Add($"there are {distractors} distractors: there can't be fewer than none");
        if (segmentLength < 1)
            broken.Add($"a segment has {segmentLength} tokens: at least one is needed");
        else if (Math.Max(pairs, distractors) is var most && segmentLength < 2L * most)
            broken.Add($"a segment has {segmentLength} tokens: {most} pairs need two each, {2L * most}");
        return broken;
    }

    /// <summary>One batch.</summary>
    /// <param name="batchSize">Documents, B.</param>
    /// <param name="generator">Where the random numbers come from; on the same device.</param>
    /// <returns>The segments, (B, L) each: the pairs', those between, the questions'.</returns>
    public IReadOnlyList<TokenBatch> Batch(long batchSize, Generator generator)
    {
        using var scope = NewDisposeScope();
        int all = _pairs + _between * _distractors;
        var keys = _tokens.DistinctKeys(batchSize, all, generator); // (B, pairs and distractors)
        var values = _bothWays
            ? _tokens.DistinctValues(batchSize, all, generator)
            : _tokens.RandomValues(batchSize, all, generator);
        var segments = new List<TokenBatch>();
        for (int segment = 0; segment < _between + 2; segment++)
        {
            var input = _tokens.Filler(batchSize, _segmentLength, generator); // (B, L)
            var target = full(
                batchSize,
                _segmentLength,
                TokenBatch.Ignored,
                dtype: ScalarType.Int64,
                device: _tokens.Device
            );
            bool asks = segment > _between;
            int count = asks || segment == 0 ? _pairs : _distractors;
            if (count > 0)
            {
                var places = PairTokens.Places(batchSize, count, _segmentLength, generator, _tokens.Device);
                if (asks)
                {
                    var asked = PairTokens.Distinct(batchSize, _pairs, _pairs, generator, _tokens.Device);
                    var (given, wanted) = (keys.gather(1, asked), values.gather(1, asked));
                    if (_bothWays)
                    {
                        var back = Draw.Uniform([batchSize, _pairs], generator, _tokens.Device).lt(0.5);
                        (given, wanted) = (where(back, wanted, given), where(back, given, wanted));
                    }
                    PairTokens.Write(input, places, places.zeros_like(), given);
                    target.scatter_(1, places.add(1), wanted);
                }
                else
                {
                    int first = segment == 0 ? 0 : _pairs + (segment - 1) * _distractors;
                    PairTokens.Write(input, places, keys.narrow(1, first, count), values.narrow(1, first, count));
                }
            }
            segments.Add(new(input.MoveToOuterDisposeScope(), target.MoveToOuterDisposeScope()));
        }
        return segments;
    }
}
