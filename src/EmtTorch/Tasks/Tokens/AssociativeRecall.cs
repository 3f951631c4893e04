using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using EmtTorch.Settings;
using static TorchSharp.torch;

namespace EmtTorch.Tasks;

/// <summary>Settings of the task `associative_recall`. Horizons are lengths T of sequences.</summary>
[Named("associative_recall")]
[Description("Multi-query associative recall as Zoology publishes it; horizons are lengths of sequences.")]
public sealed record AssociativeRecallConfiguration : TokenTaskSettings
{
    [Description("Pairs in a sequence, each asked for once.")]
    [Range(1, 1_048_576)]
    public int Pairs { get; init; } = 4;

    [Description("Tokens in the vocabulary, half of them keys, half values.")]
    [Range(2, 1_048_576)]
    public int Vocabulary { get; init; } = 8192;

    [Description("The power law of the gaps between pairs and questions: near 0 short gaps, 1 uniform.")]
    [Range(0.0, 1.0, MinimumIsExclusive = true)]
    public double Power { get; init; } = 0.01;

    [Description("Random tokens at other positions than questions; false: zeros.")]
    public bool RandomNonQueries { get; init; } = true;

    public override ITokenTask Create(int horizon, Device device) => new AssociativeRecall(this, horizon, device);

    public override IEnumerable<string> Check(int horizon)
    {
        if (horizon % 2 != 0)
            yield return $"the length is {horizon}: it must be even";
        if (Pairs < 1)
            yield return $"there are {Pairs} pairs: at least one is needed";
        else if (4L * Pairs is var least && horizon < least)
            yield return $"the length is {horizon}: {Pairs} pairs and their queries need four tokens each, {least}";
        // Then there are also enough keys and values, since T is at least 4K.
        if (Vocabulary <= horizon)
            yield return $"the vocabulary has {Vocabulary} tokens: it must be larger than the length, {horizon}";
        if (Vocabulary > 1 << 20)
            yield return $"the vocabulary has {Vocabulary} tokens: at most {1 << 20} are allowed";
        if (Power is not (> 0 and <= 1))
            yield return $"the power is {Power}: it must be above 0, up to 1";
    }

    public override long TokensAt(int horizon) => horizon;

    public override IReadOnlyList<string> Kinds => ["key", "value", "query", "other"];

    public override int KindOf(TokenDocument document, int t) =>
        t < 2 * Pairs ? t % 2
        : document.Target[t] != TokenBatch.Ignored ? 2
        : 3;

    public override BoundPairs? PairsOf(TokenDocument document) =>
        BoundPairs.FindQuestions(
            document,
            [
                .. Enumerable
                    .Range(0, Pairs)
                    .Select(i => new BoundPair(document.Input[2 * i], document.Input[2 * i + 1], 2 * i + 1)),
            ]
        );

    public override int? PairCount => Pairs;

    public override (TokenTaskSettings Settings, int Horizon) WithPairs(int pairs, int horizon) =>
        (this with { Pairs = pairs }, Math.Max(horizon, 4 * pairs));
}

/// <summary>
/// Multi-query associative recall as Zoology publishes it (Arora et al. 2023, arXiv 2312.04927; the generator is
/// `multiquery_ar` of zoology/data/associative_recall.py): pairs of a key and a value, then each key once more, and
/// there its value is asked for.
/// </summary>
/// <remarks>
/// With a vocabulary of V, K pairs and the length T:
/// <list type="bullet">
/// <item>Keys are K distinct tokens of 1 … V/2 − 1, values K distinct ones of V/2 … V − 1, both uniform. The sequence
/// begins with key, value, key, value, …: 2K tokens.</item>
/// <item>The rest is (T − 2K)/2 slots of two tokens. Each key gets a slot of its own and is repeated at the slot's
/// first token, position 2K + 2·slot. Slots are drawn without replacement in the order of the pairs, with p(slot) ∝
/// (slot + 1)^(a − 1): near the pairs with a = 0.01, anywhere with a = 1. The target at this position is the key's
/// value.</item>
/// <item>At all other positions there is no target, and the input is a random token of all V (`random_non_queries`) or
/// 0.</item>
/// </list>
/// The paper's figure 2 has V = 8192, T and K from 64 and 4 to 512 and 64, a = 0.01, and 0 at other positions.
/// </remarks>
internal sealed class AssociativeRecall : ITokenTask
{
    private readonly int _length,
        _pairs;
    private readonly double _power;
    private readonly bool _randomNonQueries;
    private readonly Device _device;

    /// <exception cref="ArgumentException">A rule is broken.</exception>
    public AssociativeRecall(AssociativeRecallConfiguration settings, int length, Device device)
    {
        ITokenTask.Refuse(settings.Check(length));
        (_length, _pairs, _device, VocabularySize) = (length, settings.Pairs, device, settings.Vocabulary);
        (_power, _randomNonQueries) = (settings.Power, settings.RandomNonQueries);
    }

    public int VocabularySize { get; }

    /// <summary>
    /// The accuracy of guessing any value, 1/(V − V/2). Guessing one of the sequence's own values gives 1/K.
    /// </summary>
    public double ChanceAccuracy => 1.0 / (VocabularySize - VocabularySize / 2);

    public IReadOnlyList<TokenBatch> Batch(long batchSize, Generator generator)
    {
        using var scope = NewDisposeScope();
        long half = VocabularySize / 2,
            context = 2L * _pairs,
            slots = (_length - context) / 2;
        var shape = new[] { batchSize, _length };
        var keys = PairTokens.Distinct(batchSize, _pairs, half - 1, generator, _device).add_(1); // (B, K)
        var values = PairTokens.Distinct(batchSize, _pairs, VocabularySize - half, generator, _device).add_(half);
        // Without replacement `multinomial` draws one after the other and returns them in this order.
        var slot = Draw.On(
            _device,
            arange(1, slots + 1, dtype: ScalarType.Float32)
                .pow(_power - 1)
                .expand(batchSize, slots)
                .multinomial(_pairs, false, generator)
        ); // (B, K)
        var queries = slot.mul_(2).add_(context);

        var input = _randomNonQueries
            ? Draw.Integers(0, VocabularySize, shape, generator, _device)
            : zeros(shape, dtype: ScalarType.Int64, device: _device);
        input.narrow(1, 0, context).copy_(stack(new[] { keys, values }, 2).view(batchSize, context));
        input.scatter_(1, queries, keys);
        var target = full(shape, TokenBatch.Ignored, dtype: ScalarType.Int64, device: _device)
            .scatter_(1, queries, values);
        return [new(input.MoveToOuterDisposeScope(), target.MoveToOuterDisposeScope())];
    }
}
