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

    [Description(
        "Pairs of the first segment that are the same in all documents of a run, by the run's seed: facts. What is "
            + "known of them without any memory is measured at each test."
    )]
    [Range(0, 1_048_576)]
    public int Persistent { get; init; }

    [Description("Whether documents ask for the persistent pairs too; false: they tell them and never ask.")]
    public bool PersistentAsked { get; init; }

    /// <summary>The seed of the persistent pairs.</summary>
    internal long FactsSeed { get; init; } = 1;

    public override ITokenTask Create(int horizon, Device device) => new SegmentRecall(this, horizon, device);

    internal override TokenTaskSettings ForRun(long seed) => this with { FactsSeed = seed };

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
        if (Persistent < 0 || (Persistent > 0 && Persistent > Pairs - (PersistentAsked ? 0 : 1)))
        {
            broken.Add(
                $"there are {Persistent} persistent pairs of {Pairs}: "
                    + (
                        PersistentAsked
                            ? "as many or fewer are allowed"
                            : "at least one other is needed, to be asked for"
                    )
            );
        }
        if (Persistent > 0 && BothWays)
            broken.Add($"there are {Persistent} persistent pairs: they are not asked both ways");
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
        (
            this with
            {
                Pairs = pairs,
                SegmentLength = Math.Max(SegmentLength, 2 * pairs),
                Persistent = Math.Min(Persistent, pairs - (PersistentAsked ? 0 : 1)),
            },
            horizon
        );
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
/// target is the key. Then values are distinct too. Persistent pairs are the same in all documents: the vocabulary's
/// first keys, with values by the run's seed. They stand among the other pairs, whose keys are never these.
/// </remarks>
internal sealed class SegmentRecall : ITokenTask
{
    private readonly SegmentRecallConfiguration _settings;
    private readonly int _between;
    private readonly PairTokens _tokens;
    private readonly long[] _facts; // the values of the persistent pairs

    /// <exception cref="ArgumentException">A rule is broken.</exception>
    public SegmentRecall(SegmentRecallConfiguration settings, int between, Device device)
    {
        ITokenTask.Refuse(settings.Check(between));
        var (keys, values, noise) = (settings.Keys, settings.Values, settings.Noise);
        _tokens = new(keys, values, noise, device, settings.Vocabularies, settings.Vocabulary);
        (_settings, _between) = (settings, between);
        using var scope = NewDisposeScope();
        using var generator = new Generator(unchecked((ulong)settings.FactsSeed * 7_368_787 + 1));
        _facts =
            settings.Persistent == 0
                ? []
                : [.. (_tokens with { Device = CPU }).RandomValues(1, settings.Persistent, generator).data<long>()];
    }

    public int VocabularySize => _tokens.Size;

    /// <summary>Whether some pairs are the same in all documents.</summary>
    public bool HasFacts => _facts.Length > 0;

    /// <summary>The accuracy of guessing, 1/values; if asked both ways, the mean of that and 1/keys.</summary>
    public double ChanceAccuracy =>
        _settings.BothWays ? (1.0 / _tokens.Values + 1.0 / _tokens.Keys) / 2 : 1.0 / _tokens.Values;

    public IReadOnlyList<TokenBatch> Batch(long batchSize, Generator generator)
    {
        using var scope = NewDisposeScope();
        int pairs = _settings.Pairs,
            distractors = _settings.Distractors,
            all = pairs + _between * distractors;
        int persistent = _settings.Persistent;
        var keys = _tokens.DistinctKeys(batchSize, all - persistent, generator, persistent); // (B, pairs, distractors)
        var values = _settings.BothWays
            ? _tokens.DistinctValues(batchSize, all, generator)
            : _tokens.RandomValues(batchSize, all - persistent, generator);
        if (persistent > 0)
            (keys, values) = AddFacts(keys, values, generator);
        var segments = new List<TokenBatch>();
        for (int segment = 0; segment < _between + 2; segment++)
        {
            var (input, target) = _tokens.EmptySegment(batchSize, _settings.SegmentLength, generator);
            bool asks = segment > _between;
            int count =
                asks ? Asked
                : segment == 0 ? pairs
                : distractors;
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

    // The number of questions of a document.
    private int Asked => _settings.PersistentAsked ? _settings.Pairs : _settings.Pairs - _settings.Persistent;

    /// <summary>Puts the persistent pairs among those of the first segment, in random order.</summary>
    private (Tensor Keys, Tensor Values) AddFacts(Tensor keys, Tensor values, Generator generator)
    {
        var (factKeys, factValues) = Facts(keys.shape[0]);
        (keys, values) = (cat([factKeys, keys], 1), cat([factValues, values], 1));
        var order = _tokens.Shuffled(keys.shape[0], _settings.Pairs, generator);
        Tensor Mixed(Tensor all) =>
            cat([all.gather(1, order), all.narrow(1, _settings.Pairs, all.shape[1] - _settings.Pairs)], 1);
        return (Mixed(keys), Mixed(values));
    }

    /// <summary>The persistent pairs, for each document (B, P).</summary>
    private (Tensor Keys, Tensor Values) Facts(long batchSize)
    {
        long first = _tokens.FirstKeyAfter(0);
        var keys = tensor(Enumerable.Range(0, _facts.Length).Select(i => first + i).ToArray());
        return (
            Draw.On(_tokens.Device, keys).expand(batchSize, -1),
            Draw.On(_tokens.Device, tensor(_facts)).expand(batchSize, -1)
        );
    }

    /// <summary>The share of persistent pairs that one answer, always the same, gets right.</summary>
    public double BestConstantAccuracy => (double)_facts.CountBy(v => v).Max(v => v.Value) / _facts.Length;

    /// <summary>Makes a segment that asks for each persistent pair once, in random order.</summary>
    public TokenBatch AskForFacts(long batchSize, Generator generator)
    {
        using var scope = NewDisposeScope();
        var (input, target) = _tokens.EmptySegment(batchSize, _settings.SegmentLength, generator);
        var places = _tokens.Places(batchSize, _facts.Length, _settings.SegmentLength, generator);
        var asked = _tokens.Shuffled(batchSize, _facts.Length, generator);
        var (keys, values) = Facts(batchSize);
        PairTokens.Write(input, places, places.zeros_like(), keys.gather(1, asked));
        target.scatter_(1, places.add(1), values.gather(1, asked));
        return new(input.MoveToOuterDisposeScope(), target.MoveToOuterDisposeScope());
    }

    /// <summary>Writes a question for each pair of the first segment to the last one, in random order.</summary>
    private void Ask(Tensor keys, Tensor values, Tensor places, Tensor input, Tensor target, Generator generator)
    {
        var asked = _tokens.Shuffled(input.shape[0], _settings.Pairs, generator);
        if (Asked < _settings.Pairs)
        {
            // Those that are no facts, in their random order: a stable sort puts them first.
            var isFact = keys.gather(1, asked).lt(_tokens.FirstKeyAfter(_settings.Persistent)).to(ScalarType.Int64);
            asked = asked.gather(1, isFact.sort(1, stable: true).Indices).narrow(1, 0, Asked);
        }
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
