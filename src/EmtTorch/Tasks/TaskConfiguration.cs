using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using System.Numerics;
using System.Text.Json.Serialization;
using EmtTorch.Settings;
using static TorchSharp.torch;

namespace EmtTorch.Tasks;

/// <summary>
/// The key `task` of a configuration: a linear variable binding task, y(t) = Fᵀ [y(t−s); …; y(t−1)] (Eq. 4 of arXiv
/// 2310.02430), xor, flip_flop, or a task with settings of its own.
/// </summary>
[ExactlyOne(nameof(Name), nameof(Id), nameof(Matrix), nameof(Terms), nameof(Own))]
public sealed record TaskConfiguration
{
    [Description(
        "A task by name: t1 to t4 and compose_copy (T2) have d = s = 8; repeat_copy, y(t) = y(t - s), has any "
            + "size; so has xor, the exclusive or of two delayed vectors; flip_flop keeps d bits and has no s."
    )]
    [AllowedValues("repeat_copy", "compose_copy", "t1", "t2", "t3", "t4"), OrNameOf(typeof(NamedTask))]
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

    [Description("Only for xor: the delays a and b of y(t) = -y(t - a) · y(t - b), one of them s; left out: 1 and s.")]
    [Length(2, 2), Range(1, 1024)]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public IReadOnlyList<int>? Delays { get; init; }

    /// <summary>The settings of a task that has its own, such as all tasks on tokens; null for other tasks.</summary>
    [Part, JsonIgnore]
    public TaskSettings? Own { get; init; }

    [Description("The size of a variable; in flip_flop the number of bits. Not for tasks on tokens.")]
    [Range(1, 1024)]
    public int D { get; init; } = UsualD;

    [Description(
        "The number of variables in the history, and of steps in the input phase. Not for flip_flop, nor for tasks on "
            + "tokens."
    )]
    [Range(1, 1024)]
    public int S { get; init; } = UsualS;

    /// <summary>A task by name that is not linear: xor or flip_flop; null for other tasks.</summary>
    internal NamedTask? Other =>
        Name is not null && Parts.Of(typeof(NamedTask)).TryGetValue(Name, out var type)
            ? (NamedTask)Activator.CreateInstance(type)!
            : null;

    /// <summary>Whether the task is a <see cref="LinearBinding"/>, for which there is a circuit.</summary>
    [JsonIgnore]
    public bool IsLinearBinding => Own is null && Other is null;

    /// <summary>Whether the task has a history of s variables of d numbers.</summary>
    internal bool HasHistory => Own is null && Other?.HasHistory != false;

    /// <summary>Whether the task is one on tokens, an <see cref="ITokenTask"/>.</summary>
    [JsonIgnore]
    public bool IsOnTokens => Own is TokenTaskSettings;

    /// <summary>The settings of a task on tokens; null for other tasks.</summary>
    [JsonIgnore]
    public TokenTaskSettings? Tokens => Own as TokenTaskSettings;

    /// <summary>The task's name in messages and reports.</summary>
    [JsonIgnore]
    public string Label =>
        this switch
        {
            { Name: { } name } => name,
            { Own: { } own } => Parts.NameOf(own.GetType()),
            { Id: not null } => "of an id",
            { Matrix: not null } => "of a matrix",
            _ => "of terms",
        };

    /// <summary>Creates a task on tokens.</summary>
    /// <param name="horizon">The length of documents, in the unit that the task's description states.</param>
    /// <param name="device">The device of the batches.</param>
    /// <exception cref="ArgumentException">The task is not one on tokens, or a rule is broken. A loaded configuration
    /// breaks none.</exception>
    public ITokenTask ToTokenTask(int horizon, Device device) =>
        Tokens?.Create(horizon, device) ?? throw new ArgumentException("the task is not one on tokens");

    /// <summary>The number of tokens of a document at a horizon; 0 for tasks that are not on tokens.</summary>
    public long TokensAt(int horizon) => Tokens?.TokensAt(horizon) ?? 0;

    /// <summary>The length of a sequence at a horizon: its tokens, or its steps.</summary>
    internal long LengthAt(int horizon) => Tokens?.TokensAt(horizon) ?? S + horizon;

    /// <summary>Creates a task on sequences of numbers.</summary>
    /// <param name="dtype">The numbers' type.</param>
    /// <param name="device">The device of the batches.</param>
    /// <exception cref="ArgumentException">The task is one on tokens, or a rule is broken. A loaded configuration
    /// breaks none.</exception>
    public ISequenceTask ToSequenceTask(ScalarType dtype, Device device) =>
        Own switch
        {
            SequenceTaskSettings own => own.Create(dtype, device),
            null => Other?.Create(this, dtype, device) ?? new VariableBinding(ToLinearBinding(), dtype, device),
            _ => throw new ArgumentException("the task is one on tokens"),
        };

    /// <summary>Creates a linear variable binding task.</summary>
    /// <exception cref="ArgumentException">The task is another, or a rule is broken. A loaded configuration breaks
    /// none.</exception>
    public LinearBinding ToLinearBinding() =>
        this switch
        {
            { Own: not null } => throw new ArgumentException($"{Label} is not a linear variable binding task"),
            { Other: { } other } => throw new ArgumentException(
                $"{Name} is not a linear variable binding task{other.WhyNotLinear}"
            ),
            { Name: { } name } => LinearBinding.Named(name, D, S),
            { Id: [var id1, var id2, var id3] } => LinearBinding.FromId(id1, id2, id3, D, S),
            { Matrix: { } matrix } => LinearBinding.FromMatrix(matrix, D, S),
            { Terms: { } terms } => LinearBinding.FromTerms(terms, D, S),
            _ => throw new ArgumentException("the task has no name, id, matrix or terms"),
        };

    /// <summary>Returns the rules that the settings break.</summary>
    /// <param name="horizons">The run's horizons, on which rules of tasks with settings of their own may
    /// depend.</param>
    internal IEnumerable<ConfigurationProblem> Check(IReadOnlyList<int> horizons)
    {
        if (Own is not null)
        {
            if (D != UsualD || S != UsualS)
                yield return new("task", $"{Label} has no d and no s: leave them out");
            if (Delays is not null)
                yield return new("task.delays", $"only {Xor.Name} has delays: leave it out");
            var said = new HashSet<string>();
            foreach (int horizon in horizons)
            {
                foreach (var message in Own.Check(horizon).Where(said.Add))
                    yield return new($"task.{Label}", $"{message} (at horizon {horizon})");
            }
            yield break;
        }
        IEnumerable<(string Key, string Message)> broken = this switch
        {
            { Delays: not null } when Name != Xor.Name =>
            [
                ("delays", $"only {Xor.Name} has delays: leave it out (a sum of delayed vectors is written as terms)"),
            ],
            { Other: { } other } => other.Check(this),
            { Name: { } name } => LinearBinding.CheckNamed(name, D, S).Select(m => ("name", m)),
            { Id: [var id1, var id2, var id3] } => LinearBinding.CheckId(id1, id2, id3, D, S).Select(m => ("id", m)),
            { Matrix: { } matrix } => LinearBinding.CheckMatrix(matrix, D, S).Select(m => ("matrix", m)),
            { Terms: { } terms } => LinearBinding.CheckTerms(terms, D, S).Select(m => ("terms", m)),
            _ => [],
        };
        foreach (var (key, message) in broken)
            yield return new($"task.{key}", message);
    }

    internal const int UsualS = 8;
    private const int UsualD = 8;
}
