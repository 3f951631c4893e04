using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using EmtTorch.Settings;
using static TorchSharp.torch;

namespace EmtTorch.Tasks;

/// <summary>Settings of <see cref="AssociativeRecall"/>; horizons are lengths of sequences.</summary>
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

    [Description("The power law of the gaps between pairs and questions: near 0 short ones, 1 uniform.")]
    [Range(0.0, 1.0, MinimumIsExclusive = true)]
    public double Power { get; init; } = 0.01;

    [Description("Random tokens where nothing is asked; false: zeros.")]
    public bool RandomNonQueries { get; init; } = true;

    public override ITokenTask Create(int horizon, Device device) =>
        new AssociativeRecall(horizon, Pairs, device, Vocabulary, Power, RandomNonQueries);

    public override IEnumerable<string> Check(int horizon) =>
        AssociativeRecall.Check(horizon, Pairs, Vocabulary, Power);

    public override long TokensAt(int horizon) => horizon;

    public override IReadOnlyList<string> Kinds => ["key", "value", "query", "other"];

    public override int KindOf(TokenDocument document, int t) =>
        t < 2 * Pairs ? t % 2
        : document.Target[t] != TokenBatch.Ignored ? 2
        : 3;

    public override BoundPairs? PairsOf(TokenDocument document) =>
        BoundPairs.Of(
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
/// `multiquery_ar` of zoology/data/associative_recall.py): pairs of a key and a value, then each key once more, where
/// its value is asked.
/// </summary>
/// <remarks>
/// With a vocabulary of V, K pairs and the length T:
/// <list type="bullet">
/// <item>Keys are K distinct tokens of 1 … V/2 − 1, values K distinct ones of V/2 … V − 1, both uniform. The sequence
/// begins with key, value, key, value, …: 2K tokens.</item>
/// <item>The rest is (T − 2K)/2 slots of two tokens. Each key gets a slot of its own and is repeated at its first
/// token:
/// position 2K + 2·slot. Slots are drawn without replacement, the first pair's first, with p(slot) ∝ (slot + 1)^(a −
/// 1): near the pairs with a = 0.01, anywhere with a = 1. The target there is the key's value, at the very position of
/// the key.</item>
/// <item>Nothing is asked elsewhere. There the input is a random token of all V (`random_non_queries`), or 0.</item>
/// </list>
/// The paper's figure 2 has V = 8192, T and K from 64 and 4 to 512 and 64, a = 0.01, and 0 where nothing is asked.
/// </remarks>
public sealed class AssociativeRecall : ITokenTask
{
    private readonly int _length,
        _pairs;
    private readonly double _power;
    private readonly bool _randomNonQueries;
    private readonly Device _device;

    /// <param name="length">Tokens of a sequence, T: even, and four for each pair at least.</param>
    /// <param name="pairs">Pairs, K.</param>
    /// <param name="device">Where batches are generated.</param>
    /// <param name="vocabulary">V, larger than T.</param>
    /// <param name="power">The power law's a, above 0, up to 1.</param>
    /// <param name="randomNonQueries">Random tokens where there is neither pair nor query; 0 otherwise.</param>
    /// <exception cref="ArgumentException">A rule is broken.</exception>
    public AssociativeRecall(
        int length,
        int pairs,
        Device device,
        int vocabulary = 8192,
        double power = 0.01,
        bool randomNonQueries = true
    )
    {
        ITokenTask.Refuse(Check(length, pairs, vocabulary, power));
        (_length, _pairs, _device, VocabularySize, _power, _randomNonQueries) = (
            length,
            pairs,
            device,
            vocabulary,
            power,
            randomNonQueries
        );
    }

    public int VocabularySize { get; }

    /// <summary>
    /// The accuracy of guessing any value, 1/(V − V/2). Guessing one of the sequence's own comes to 1/K.
    /// </summary>
    public double ChanceAccuracy => 1.0 / (VocabularySize - VocabularySize / 2);

    /// <summary>The rules that parameters break.</summary>
    public static IReadOnlyList<string> Check(int length, int pairs, int vocabulary = 8192, double power = 0.01)
    {
        var broken = new List<string>();
        if (length % 2 != 0)
            broken.Add($"the length is {length}: it must be even");
        if (pairs < 1)
            broken.Add($"there are {pairs} pairs: at least one is needed");
        else if (length < 4L * pairs)
            broken.Add($"the length is {length}: {pairs} pairs and their queries need four tokens each, {4L * pairs}");
        // Leaves keys and values enough, too: T is at least 4K.
        if (vocabulary <= length)
            broken.Add($"the vocabulary has {vocabulary} tokens: it must be larger than the length, {length}");
        if (vocabulary > 1 << 20)
            broken.Add($"the vocabulary has {vocabulary} tokens: at most {1 << 20} are allowed");
        if (power is not (> 0 and <= 1))
            broken.Add($"the power is {power}: it must be above 0, up to 1");
        return broken;
    }

    /// <summary>One batch.</summary>
    /// <param name="batchSize">Sequences, B.</param>
    /// <param name="generator">Where the random numbers come from; on the same device.</param>
    /// <returns>One segment (B, T).</returns>
    public IReadOnlyList<TokenBatch> Batch(long batchSize, Generator generator)
    {
        using var scope = NewDisposeScope();
        long half = VocabularySize / 2,
            context = 2L * _pairs,
            slots = (_length - context) / 2;
        var shape = new[] { batchSize, _length };
        var keys = PairTokens.Distinct(batchSize, _pairs, half - 1, generator, _device).add_(1); // (B, K)
        // (B, K)
        var values = PairTokens.Distinct(batchSize, _pairs, VocabularySize - half, generator, _device).add_(half);
        // Without replacement, multinomial draws one after another, and gives them in that order.
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
