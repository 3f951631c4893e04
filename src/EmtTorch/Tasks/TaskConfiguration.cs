using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using System.Numerics;
using System.Text.Json.Serialization;
using EmtTorch.Settings;
using static TorchSharp.torch;

namespace EmtTorch.Tasks;

/// <summary>A linear variable binding task, y(t) = Fᵀ [y(t−s); …; y(t−1)], or xor, or flip_flop; or a task on tokens.</summary>
[ExactlyOne(
    nameof(Name),
    nameof(Id),
    nameof(Matrix),
    nameof(Terms),
    nameof(AssociativeRecall),
    nameof(SegmentRecall),
    nameof(Rebinding),
    nameof(TwoHop),
    nameof(Copy),
    nameof(Text)
)]
public sealed record TaskConfiguration
{
    private const int UsualD = 8,
        UsualS = 8;

    [Description(
        "A task by name: t1 to t4 and compose_copy (T2) have d = s = 8; repeat_copy, y(t) = y(t - s), has any size; so has xor, the exclusive or of two delayed vectors; flip_flop keeps d bits and has no s."
    )]
    [AllowedValues("repeat_copy", "compose_copy", "t1", "t2", "t3", "t4", Xor.Name, FlipFlop.Name)]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Name { get; init; }

    [Description("A task by id: a bit mask of d history entries, their swaps in base d, their signs in binary.")]
    [Length(3, 3)]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public IReadOnlyList<BigInteger>? Id { get; init; }

    [Description("A task by its matrix F: s·d rows, one for each history entry, oldest variable first, of d numbers.")]
    [MinLength(1)]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public IReadOnlyList<IReadOnlyList<double>>? Matrix { get; init; }

    [Description(
        "A task as a sum of delayed signed permutations: y_i(t) is the sum of sign_i · y_{permutation_i}(t - delay)."
    )]
    [MinLength(1)]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public IReadOnlyList<DelayedPermutation>? Terms { get; init; }

    [Description(
        "Of xor alone: the two delays a and b of y(t) = -y(t - a) · y(t - b), one of them s; left out: 1 and s."
    )]
    [Length(2, 2), Range(1, 1024)]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public IReadOnlyList<int>? Delays { get; init; }

    [Description("Multi-query associative recall as Zoology publishes it; horizons are lengths of sequences.")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public AssociativeRecallConfiguration? AssociativeRecall { get; init; }

    [Description("Pairs in a document's first segment, questions in its last; horizons are segments between them.")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public SegmentRecallConfiguration? SegmentRecall { get; init; }

    [Description(
        "Keys bound once and some of them again, a key's newest value counts; horizons are lengths of sequences."
    )]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public RebindingConfiguration? Rebinding { get; init; }

    [Description(
        "Facts a → b and b → c in a document's first segment, in its last a is asked for c; horizons are segments between them."
    )]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public TwoHopConfiguration? TwoHop { get; init; }

    [Description("A random string, to be reproduced after a delay; horizons are delays.")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public CopyConfiguration? Copy { get; init; }

    [Description("A language model of a text file's characters; horizons are segments of a document.")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public TextConfiguration? Text { get; init; }

    [Description("Numbers in a variable; bits in flip_flop. Not for tasks on tokens.")]
    [Range(1, 1024)]
    public int D { get; init; } = UsualD;

    [Description(
        "Variables in the history: steps of the input phase; to be left out in flip_flop. Not for tasks on tokens."
    )]
    [Range(1, 1024)]
    public int S { get; init; } = UsualS;

    /// <summary>Whether this is the flip-flop task, which has no history.</summary>
    [JsonIgnore]
    internal bool IsFlipFlop => Name == FlipFlop.Name;

    /// <summary>Whether it is a <see cref="LinearBinding"/>, for which there is a circuit.</summary>
    [JsonIgnore]
    public bool IsLinearBinding => !IsFlipFlop && !IsXor && !IsOnTokens;

    /// <summary>Whether it is a task on tokens, an <see cref="ITokenTask"/>.</summary>
    [JsonIgnore]
    public bool IsOnTokens =>
        AssociativeRecall is not null
        || SegmentRecall is not null
        || Rebinding is not null
        || TwoHop is not null
        || Copy is not null
        || Text is not null;

    /// <summary>What people call it.</summary>
    [JsonIgnore]
    public string Label =>
        this switch
        {
            { Name: { } name } => name,
            { AssociativeRecall: not null } => "associative_recall",
            { SegmentRecall: not null } => "segment_recall",
            { Rebinding: not null } => "rebinding",
            { TwoHop: not null } => "two_hop",
            { Copy: not null } => "copy",
            { Text: not null } => "text",
            { Id: not null } => "of an id",
            { Matrix: not null } => "of a matrix",
            _ => "of terms",
        };

    /// <summary>The task itself, where it is one on tokens.</summary>
    /// <param name="horizon">Segments between pairs or facts and questions, the copy's delay, a sequence's tokens, or a document's segments of text.</param>
    /// <param name="device">Where batches are made.</param>
    /// <exception cref="ArgumentException">It is another, or a rule is broken; the latter never for a configuration that was loaded.</exception>
    public ITokenTask ToTokenTask(int horizon, Device device) =>
        this switch
        {
            { AssociativeRecall: { } a } => new AssociativeRecall(
                horizon,
                a.Pairs,
                device,
                a.Vocabulary,
                a.Power,
                a.RandomNonQueries
            ),
            { SegmentRecall: { } r } => new SegmentRecall(
                r.Pairs,
                horizon,
                r.SegmentLength,
                r.Keys,
                r.Values,
                r.Noise,
                device,
                r.Distractors,
                r.BothWays,
                r.Vocabularies,
                r.Vocabulary
            ),
            { Rebinding: { } b } => new Rebinding(
                horizon,
                b.Pairs,
                b.Rebindings,
                b.Questions,
                b.Keys,
                b.Values,
                b.Noise,
                device
            ),
            { TwoHop: { } h } => new TwoHop(
                h.Chains,
                h.Hops,
                horizon,
                h.SegmentLength,
                h.Names,
                h.Noise,
                device,
                h.Distractors
            ),
            { Copy: { } c } => new CopyTask(c.Symbols, c.Length, horizon, c.SegmentLength, device),
            { Text: { } t } => new TextCorpus(t.Path, t.SegmentLength, horizon, device),
            _ => throw new ArgumentException("the task is not one on tokens"),
        };

    /// <summary>Tokens of a document at a horizon, where the task is one on tokens; 0 elsewhere.</summary>
    public long TokensAt(int horizon) =>
        this switch
        {
            { AssociativeRecall: not null } or { Rebinding: not null } => horizon,
            { SegmentRecall: { } r } => (horizon + 2L) * r.SegmentLength,
            { TwoHop: { } h } => (horizon + 2L) * h.SegmentLength,
            { Copy: { } c } => 2L * c.Length + horizon + 1,
            { Text: { } t } => (long)horizon * t.SegmentLength,
            _ => 0,
        };

    private (string Key, IReadOnlyList<string> Broken) CheckTokens(int horizon) =>
        this switch
        {
            { AssociativeRecall: { } a } => (
                "associative_recall",
                Tasks.AssociativeRecall.Check(horizon, a.Pairs, a.Vocabulary, a.Power)
            ),
            { SegmentRecall: { } r } => (
                "segment_recall",
                Tasks.SegmentRecall.Check(
                    r.Pairs,
                    horizon,
                    r.SegmentLength,
                    r.Keys,
                    r.Values,
                    r.Noise,
                    r.Distractors,
                    r.BothWays,
                    r.Vocabularies,
                    r.Vocabulary
                )
            ),
            { Rebinding: { } b } => (
                "rebinding",
                Tasks.Rebinding.Check(horizon, b.Pairs, b.Rebindings, b.Questions, b.Keys, b.Values, b.Noise)
            ),
            { TwoHop: { } h } => (
                "two_hop",
                Tasks.TwoHop.Check(h.Chains, h.Hops, horizon, h.SegmentLength, h.Names, h.Noise, h.Distractors)
            ),
            { Copy: { } c } => ("copy", CopyTask.Check(c.Symbols, c.Length, horizon, c.SegmentLength)),
            { Text: { } t } => ("text", TextCorpus.Check(t.Path, t.SegmentLength, horizon)),
            _ => ("", []),
        };

    /// <summary>Whether this is <see cref="Tasks.Xor"/>, a variable binding task that is not linear.</summary>
    [JsonIgnore]
    internal bool IsXor => Name == Xor.Name;

    /// <summary>The task itself, where it is xor.</summary>
    /// <exception cref="ArgumentException">It is another, or a rule is broken; the latter never for a configuration that was loaded.</exception>
    public Xor ToXor(ScalarType dtype, Device device) =>
        IsXor ? new(D, S, Delays, dtype, device) : throw new ArgumentException($"the task is not {Xor.Name}");

    /// <summary>The task itself, where it is a linear variable binding task.</summary>
    /// <exception cref="ArgumentException">It is xor or flip_flop, or a rule is broken; the latter never for a configuration that was loaded.</exception>
    public LinearBinding ToLinearBinding() =>
        this switch
        {
            { IsXor: true } => throw new ArgumentException(
                $"{Xor.Name} is not a linear variable binding task: its rule is a product of two variables"
            ),
            { IsFlipFlop: true } => throw new ArgumentException(
                $"{FlipFlop.Name} is not a linear variable binding task"
            ),
            { Name: { } name } => LinearBinding.Named(name, D, S),
            { Id: [var id1, var id2, var id3] } => LinearBinding.FromId(id1, id2, id3, D, S),
            { Matrix: { } matrix } => LinearBinding.FromMatrix(matrix, D, S),
            { Terms: { } terms } => LinearBinding.FromTerms(terms, D, S),
            _ => throw new ArgumentException("the task has no name, id, matrix or terms"),
        };

    /// <param name="horizons">The run's horizons, on which a task on tokens depends.</param>
    internal IEnumerable<ConfigurationProblem> Check(IReadOnlyList<int> horizons)
    {
        if (IsOnTokens)
        {
            if (D != UsualD || S != UsualS)
                yield return new("task", $"{Label} has no d and no s: leave them out");
            if (Delays is not null)
                yield return new("task.delays", $"only {Xor.Name} has delays: leave it out");
            var said = new HashSet<string>();
            foreach (int horizon in horizons)
            {
                var (at, rules) = CheckTokens(horizon);
                foreach (var message in rules.Where(said.Add))
                    yield return new($"task.{at}", $"{message} (at horizon {horizon})");
            }
            yield break;
        }
        var (key, broken) = this switch
        {
            { Delays: not null, IsXor: false } => (
                "delays",
                [$"only {Xor.Name} has delays: leave it out (a sum of delayed vectors is said by terms)"]
            ),
            { IsXor: true } => (Delays is null ? "s" : "delays", Xor.Check(S, Delays)),
            { IsFlipFlop: true, S: UsualS } => ("", []),
            { IsFlipFlop: true } => (
                "s",
                [
                    $"found {S}; {Name} has no history, so that s means nothing there: leave it out (d is the number of bits, training.curriculum.horizons are the lengths of sequences)",
                ]
            ),
            { Name: { } name } => ("name", LinearBinding.CheckNamed(name, D, S)),
            { Id: [var id1, var id2, var id3] } => ("id", LinearBinding.CheckId(id1, id2, id3, D, S)),
            { Matrix: { } matrix } => ("matrix", LinearBinding.CheckMatrix(matrix, D, S)),
            { Terms: { } terms } => ("terms", LinearBinding.CheckTerms(terms, D, S)),
            _ => ("", []),
        };
        foreach (var message in broken)
            yield return new($"task.{key}", message);
    }
}
