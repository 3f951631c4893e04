using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using EmtTorch.Settings;
using static TorchSharp.torch;

namespace EmtTorch.Tasks;

/// <summary>Settings of the task `rebinding`. Horizons are lengths T of sequences.</summary>
[Named("rebinding")]
[Description("Keys bound once and some of them again, a key's newest value counts; horizons are lengths of sequences.")]
public sealed record RebindingConfiguration : PairsConfiguration
{
    [Description("Keys that a sequence binds.")]
    [Range(1, 1_048_576)]
    public int Pairs { get; init; } = 4;

    [Description("The number of further bindings, each of one of these keys.")]
    [Range(0, 1_048_576)]
    public int Rebindings { get; init; } = 4;

    [Description("Questions in a sequence.")]
    [Range(1, 1_048_576)]
    public int Questions { get; init; } = 4;

    public override ITokenTask Create(int horizon, Device device) => new Rebinding(this, horizon, device);

    public override IEnumerable<string> Check(int horizon)
    {
        var broken = PairTokens.Check(Keys, Values, Noise, Pairs);
        if (Pairs < 1)
            broken.Add($"there are {Pairs} pairs: at least one is needed");
        if (Rebindings < 0)
            broken.Add($"there are {Rebindings} rebindings: there cannot be fewer than none");
        if (Questions < 1)
            broken.Add($"there are {Questions} questions: at least one is needed");
        long events = (long)Math.Max(Pairs, 0) + Math.Max(Rebindings, 0) + Math.Max(Questions, 0);
        if (horizon < 2 * events)
            broken.Add($"the length is {horizon}: {events} bindings and questions need two tokens each, {2 * events}");
        return broken;
    }

    public override long TokensAt(int horizon) => horizon;

    public override int? PairCount => Pairs;

    public override (TokenTaskSettings Settings, int Horizon) WithPairs(int pairs, int horizon) =>
        (this with { Pairs = pairs }, Math.Max(horizon, 2 * (pairs + Rebindings + Questions)));
}

/// <summary>
/// One-shot binding with rebinding: a sequence binds keys to values, binds some keys again to new values, and asks for
/// keys in between; the answer is the key's newest value so far. A binding is a key and its value. A question is the
/// question's token and a key, with the target at the key's position.
/// </summary>
/// <remarks>
/// Each of `pairs` distinct keys is bound once; `rebindings` further bindings choose among these keys with equal
/// probability. The order of all bindings is random, and values are drawn independently. A question takes the key of
/// one of the bindings before it, with equal probability, so that a key may be asked for several times. The first event
/// is a binding; which of the others are questions is random. Events lie anywhere without overlaps, with noise around
/// them. Tokens: 0 the question's, then noise, keys, values.
/// </remarks>
internal sealed class Rebinding : ITokenTask
{
    private readonly int _length,
        _pairs,
        _rebindings,
        _questions;
    private readonly PairTokens _tokens;

    /// <exception cref="ArgumentException">A rule is broken.</exception>
    public Rebinding(RebindingConfiguration settings, int length, Device device)
    {
        ITokenTask.Refuse(settings.Check(length));
        (_length, _tokens) = (length, new(settings.Keys, settings.Values, settings.Noise, device));
        (_pairs, _rebindings, _questions) = (settings.Pairs, settings.Rebindings, settings.Questions);
    }

    public int VocabularySize => _tokens.Size;

    /// <summary>The accuracy of guessing, 1/values.</summary>
    public double ChanceAccuracy => 1.0 / _tokens.Values;

    public IReadOnlyList<TokenBatch> Batch(long batchSize, Generator generator)
    {
        using var scope = NewDisposeScope();
        var device = _tokens.Device;
        int bindings = _pairs + _rebindings,
            events = bindings + _questions;
        var places = _tokens.Places(batchSize, events, _length, generator); // (B, N + Q)
        // The numbers of the events that are bindings, then of those that are questions, both in ascending order.
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
            .gather(1, _tokens.Shuffled(batchSize, bindings, generator)); // (B, N): each binding's key
        var keys = _tokens.DistinctKeys(batchSize, _pairs, generator).gather(1, which);
        var values = _tokens.RandomValues(batchSize, bindings, generator);

        // Before the i-th question (from 0) lie i questions; all other events before it are bindings.
        var before = asking.sub(arange(_questions, dtype: ScalarType.Int64, device: device)); // (B, Q), 1 at least
        var source = Draw.Integers(0, 1L << 31, [batchSize, _questions], generator, device).remainder(before);
        var asked = which.gather(1, source); // (B, Q)
        var number = arange(1, bindings + 1, dtype: ScalarType.Int64, device: device);
        var counts = which.unsqueeze(1).eq(asked.unsqueeze(2)).logical_and(number.le(before.unsqueeze(2))); // (B, Q, N)
        var newest = counts.mul(number).argmax(2); // (B, Q)

        var (input, target) = _tokens.EmptySegment(batchSize, _length, generator); // (B, T)
        PairTokens.Write(input, places.gather(1, bound), keys, values);
        var questions = places.gather(1, asking);
        PairTokens.Write(input, questions, questions.zeros_like(), keys.gather(1, source));
        target.scatter_(1, questions.add(1), values.gather(1, newest));
        return [new(input.MoveToOuterDisposeScope(), target.MoveToOuterDisposeScope())];
    }
}
