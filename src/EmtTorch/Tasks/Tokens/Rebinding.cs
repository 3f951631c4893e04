using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using EmtTorch.Settings;
using static TorchSharp.torch;

namespace EmtTorch.Tasks;

/// <summary>Settings of <see cref="Rebinding"/>; horizons are lengths of sequences.</summary>
[Named("rebinding")]
[Description("Keys bound once and some of them again, a key's newest value counts; horizons are lengths of sequences.")]
public sealed record RebindingConfiguration : PairsConfiguration
{
    [Description("Keys that a sequence binds.")]
    [Range(1, 1_048_576)]
    public int Pairs { get; init; } = 4;

    [Description("How many times one of them is bound again.")]
    [Range(0, 1_048_576)]
    public int Rebindings { get; init; } = 4;

    [Description("Questions in a sequence.")]
    [Range(1, 1_048_576)]
    public int Questions { get; init; } = 4;

    public override ITokenTask Create(int horizon, Device device) =>
        new Rebinding(horizon, Pairs, Rebindings, Questions, Keys, Values, Noise, device);

    public override IEnumerable<string> Check(int horizon) =>
        Rebinding.Check(horizon, Pairs, Rebindings, Questions, Keys, Values, Noise);

    public override long TokensAt(int horizon) => horizon;

    public override int? PairCount => Pairs;

    public override (TokenTaskSettings Settings, int Horizon) WithPairs(int pairs, int horizon) =>
        (this with { Pairs = pairs }, Math.Max(horizon, 2 * (pairs + Rebindings + Questions)));
}

/// <summary>
/// One-shot binding with rebinding: a sequence binds keys to values, some keys again to new ones, and asks in between;
/// what counts is the newest value so far. A binding is a key and its value, a question its token and a key, the target
/// at the key's position.
/// </summary>
/// <remarks>
/// Each of `pairs` distinct keys is bound once, and `rebindings` times a key among them again, each as likely as the
/// others; the order of all of these is random, and each value is drawn for itself. A question asks for the key of one
/// of the bindings before it, each as likely as the others, so that a key may be asked for any number of times. Which
/// events are questions is random but for the first, a binding, and events lie anywhere without overlaps, noise around
/// them.
/// Tokens: 0 the question's, then noise, keys, values.
/// </remarks>
public sealed class Rebinding : ITokenTask
{
    private readonly int _length,
        _pairs,
        _rebindings,
        _questions;
    private readonly PairTokens _tokens;

    /// <param name="length">Tokens of a sequence, T.</param>
    /// <param name="pairs">Keys that a sequence binds.</param>
    /// <param name="rebindings">How many times one of them is bound again.</param>
    /// <param name="questions">Questions in a sequence.</param>
    /// <param name="keys">Keys in the vocabulary.</param>
    /// <param name="values">Values in the vocabulary.</param>
    /// <param name="noise">Noise tokens in the vocabulary.</param>
    /// <param name="device">Where batches are generated.</param>
    /// <exception cref="ArgumentException">A rule is broken.</exception>
    public Rebinding(
        int length,
        int pairs,
        int rebindings,
        int questions,
        int keys,
        int values,
        int noise,
        Device device
    )
    {
        ITokenTask.Refuse(Check(length, pairs, rebindings, questions, keys, values, noise));
        (_length, _pairs, _rebindings, _questions, _tokens) = (
            length,
            pairs,
            rebindings,
            questions,
            new(keys, values, noise, device)
        );
    }

    public int VocabularySize => _tokens.Size;

    /// <summary>The accuracy of guessing, 1/values.</summary>
    public double ChanceAccuracy => 1.0 / _tokens.Values;

    /// <summary>The rules that parameters break.</summary>
    public static IReadOnlyList<string> Check(
        int length,
        int pairs,
        int rebindings,
        int questions,
        int keys,
        int values,
        int noise
    )
    {
        var broken = PairTokens.Check(keys, values, noise, pairs);
        if (pairs < 1)
            broken.Add($"there are {pairs} pairs: at least one is needed");
        if (rebindings < 0)
            broken.Add($"there are {rebindings} rebindings: there can't be fewer than none");
        if (questions < 1)
            broken.Add($"there are {questions} questions: at least one is needed");
        long events = (long)Math.Max(pairs, 0) + Math.Max(rebindings, 0) + Math.Max(questions, 0);
        if (length < 2 * events)
            broken.Add($"the length is {length}: {events} bindings and questions need two tokens each, {2 * events}");
        return broken;
    }

    /// <summary>One batch.</summary>
    /// <param name="batchSize">Sequences, B.</param>
    /// <param name="generator">Where the random numbers come from; on the same device.</param>
    /// <returns>One segment (B, T).</returns>
    public IReadOnlyList<TokenBatch> Batch(long batchSize, Generator generator)
    {
        using var scope = NewDisposeScope();
        var device = _tokens.Device;
        int bindings = _pairs + _rebindings,
            events = bindings + _questions;
        var places = PairTokens.Places(batchSize, events, _length, generator, device); // (B, N + Q)
        // Which events are bindings, and after them which are questions, both in the sequence's order.
        var question = PairTokens.Distinct(batchSize, _questions, events - 1, generator, device).add_(1);
        var order = zeros(batchSize, events, dtype: ScalarType.Int64, device: device)
            .scatter_(1, question, question.ones_like())
            .sort(1, stable: true)
            .Indices;
        Tensor bound = order.narrow(1, 0, bindings),
            asking = order.narrow(1, bindings, _questions); // (B, N), (B, Q)

        var which = cat(
                new[]
                {
                    arange(_pairs, dtype: ScalarType.Int64, device: device).expand(batchSize, _pairs),
                    Draw.Integers(0, _pairs, [batchSize, _rebindings], generator, device),
                },
                1
            )
            .gather(1, PairTokens.Distinct(batchSize, bindings, bindings, generator, device)); // (B, N): whose binding it is
        var keys = _tokens.DistinctKeys(batchSize, _pairs, generator).gather(1, which);
        var values = _tokens.RandomValues(batchSize, bindings, generator);

        // The questions before a question are as many as its number, all other events before it are bindings.
        var before = asking.sub(arange(_questions, dtype: ScalarType.Int64, device: device)); // (B, Q), 1 at least
        var source = Draw.Integers(0, 1L << 31, [batchSize, _questions], generator, device).remainder(before);
        var asked = which.gather(1, source); // (B, Q)
        var number = arange(1, bindings + 1, dtype: ScalarType.Int64, device: device);
        var counts = which.unsqueeze(1).eq(asked.unsqueeze(2)).logical_and(number.le(before.unsqueeze(2))); // (B, Q, N)
        var newest = counts.mul(number).argmax(2); // (B, Q)

        var input = _tokens.Filler(batchSize, _length, generator); // (B, T)
        PairTokens.Write(input, places.gather(1, bound), keys, values);
        var questions = places.gather(1, asking);
        PairTokens.Write(input, questions, questions.zeros_like(), keys.gather(1, source));
        var target = full(batchSize, _length, TokenBatch.Ignored, dtype: ScalarType.Int64, device: device)
            .scatter_(1, questions.add(1), values.gather(1, newest));
        return [new(input.MoveToOuterDisposeScope(), target.MoveToOuterDisposeScope())];
    }
}
