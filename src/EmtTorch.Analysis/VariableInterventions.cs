using EmtTorch.Models;
using EmtTorch.Tasks;
using static TorchSharp.torch;

namespace EmtTorch.Analysis;

/// <summary>The kind of an intervention.</summary>
public enum InterventionKind
{
    /// <summary>No intervention: the circuit's prediction of the network left alone.</summary>
    None,

    /// <summary>A variable is overwritten with random values of ±1.</summary>
    Write,

    /// <summary>A variable is set to zero.</summary>
    Erase,

    /// <summary>Two variables change places, in the components that are live in both.</summary>
    Swap,
}

/// <summary>An intervention, and how well the circuit predicts the outputs after it.</summary>
/// <param name="Kind">The kind.</param>
/// <param name="Variable">The variable, from 1, the oldest; 0 for no intervention.</param>
/// <param name="Other">The other variable of a swap, otherwise 0.</param>
/// <param name="Accuracy">The share of output bits as the circuit predicts.</param>
/// <param name="AffectedAccuracy">The same over the bits that the intervention changes in the circuit, or NaN. A
/// network that ignores the intervention has 0 here.</param>
/// <param name="IgnoredAccuracy">The floor of <paramref name="Accuracy"/>: the share over all bits that a network has
/// which does the task and ignores the intervention.</param>
public sealed record InterventionResult(
    InterventionKind Kind,
    int Variable,
    int Other,
    double Accuracy,
    double AffectedAccuracy,
    double IgnoredAccuracy
)
{
    /// <summary>
    /// The null of <see cref="AffectedAccuracy"/>: the same after a change of the same size in random directions, the
    /// directions of the variables turned by a random rotation of the hidden space.
    /// </summary>
    public double AffectedNull { get; init; } = double.NaN;

    /// <summary>
    /// For an erased variable the root mean square of the outputs that the circuit predicts to be 0 because of it, in
    /// each period of s steps that has any. In the circuit all are 0. A network in which 0 is unstable lets them grow.
    /// </summary>
    public IReadOnlyList<double> ErasedSize { get; init; } = [];
}

/// <summary>The settings of <see cref="VariableInterventions"/>.</summary>
public sealed record InterventionOptions
{
    /// <summary>
    /// The step t after which the hidden state is changed. Null: 2·s, when the traces of loading outside the variables
    /// have decayed.
    /// </summary>
    public int? Time { get; init; }

    /// <summary>The number of output steps to compare. Null: 2·s.</summary>
    public int? Horizon { get; init; }

    /// <summary>The number of random inputs for each intervention.</summary>
    public int BatchSize { get; init; } = 64;

    /// <summary>The seed of inputs and written values.</summary>
    public long Seed { get; init; } = 1;
}

/// <summary>
/// Interventions on a network's variables through Ψ, and the prediction of all later outputs by Φ. Where they agree, Ψ
/// is not only a basis in which variables can be read: the network computes with it.
/// <code>
/// h ← h + Ψ (x' − Ψ* h)      on the entries of x to be changed
/// x(t+1) = Φ x(t),  y = x_s    the prediction, from x'
/// </code>
/// </summary>
/// <remarks>
/// A predicted bit of ±1 is right if the output has its sign. A predicted 0 (an erased bit) is right if |y| &lt; 0.5.
/// </remarks>
/// <example><code>
/// using var memories = VariableMemories.Find(weights, task);
/// foreach (var result in VariableInterventions.Measure(network, task, memories))
///     Console.WriteLine($"{result.Kind} {result.Variable}: {result.AffectedAccuracy:P1}");
/// </code></example>
public static class VariableInterventions
{
    /// <summary>Writes, erases and swaps with the next every variable.</summary>
    /// <param name="network">The network, float64 on the CPU.</param>
    /// <param name="task">The task that it was trained on.</param>
    /// <param name="memories">Its variable memories.</param>
    /// <param name="options">Time, horizon and batch. Null: the defaults.</param>
    /// <param name="rest">The state h (H) that contents are measured from. Null: 0.</param>
    /// <returns>First no intervention, then every intervention.</returns>
    /// <exception cref="ArgumentException">
    /// The time is in the input phase, there is nothing to compare, or the memories are of another network or task.
    /// </exception>
    public static IReadOnlyList<InterventionResult> Measure(
        ElmanRnn network,
        LinearBinding task,
        VariableMemories memories,
        InterventionOptions? options = null,
        Tensor? rest = null
    )
    {
        Require.Shape(network.InputWeights, [memories.Basis.shape[0], task.D], nameof(network));
        return Measure(network.HiddenStates, network.ReadOut, task, memories, options, rest);
    }

    /// <summary>The same for the circuit itself.</summary>
    public static IReadOnlyList<InterventionResult> Measure(
        Circuit circuit,
        LinearBinding task,
        VariableMemories memories,
        InterventionOptions? options = null
    ) => Measure(circuit.HiddenStates, circuit.ReadOut, task, memories, options, null);

    /// <summary>The mean accuracy of the interventions; "no intervention" does not count.</summary>
    public static double MeanAccuracy(IEnumerable<InterventionResult> results) => Mean(results, r => r.Accuracy);

    /// <summary>The mean of <see cref="InterventionResult.AffectedAccuracy"/>, likewise.</summary>
    public static double MeanAffectedAccuracy(IEnumerable<InterventionResult> results) =>
        Mean(results, r => r.AffectedAccuracy);

    /// <summary>The mean of <see cref="InterventionResult.IgnoredAccuracy"/>, likewise.</summary>
    public static double MeanIgnoredAccuracy(IEnumerable<InterventionResult> results) =>
        Mean(results, r => r.IgnoredAccuracy);

    /// <summary>The mean of <see cref="InterventionResult.AffectedNull"/>, likewise.</summary>
    public static double MeanAffectedNull(IEnumerable<InterventionResult> results) =>
        Mean(results, r => r.AffectedNull);

    private static double Mean(IEnumerable<InterventionResult> results, Func<InterventionResult, double> of) =>
        results
            .Where(r => r.Kind != InterventionKind.None)
            .Select(of)
            .Where(double.IsFinite)
            .DefaultIfEmpty(double.NaN)
            .Average();

    internal static void RefuseInputPhase(int time, int s)
    {
        if (time < s)
        {
            throw new ArgumentException(
                $"the time is {time}: the variables are loaded only after s = {s} steps",
                "options"
            );
        }
    }

    /// <summary>Random values of ±1, (B, κ).</summary>
    internal static Tensor DrawValues(long batch, int d, Generator generator) =>
        randint(0, 2, new long[] { batch, d }, dtype: ScalarType.Float64, generator: generator).mul_(2).sub_(1);

    private static List<InterventionResult> Measure(
        Func<Tensor, long, Func<long, Tensor, Tensor>, Tensor> hiddenStates,
        Func<Tensor, Tensor> readOut,
        LinearBinding task,
        VariableMemories memories,
        InterventionOptions? options,
        Tensor? rest
    )
    {
        options ??= new();
        int s = task.S,
            d = task.D,
            batch = options.BatchSize,
            time = options.Time ?? 2 * s,
            horizon = options.Horizon ?? 2 * s;
        RefuseInputPhase(time, s);
        if (horizon < 1 || batch < 1)
            throw new ArgumentException("there must be a step to compare, and a sequence", nameof(options));
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        using var generator = new Generator((ulong)options.Seed, CPU);
        using var data = new VariableBinding(task, ScalarType.Float64, CPU);
        var (input, target) = data.Batch(batch, time, generator); // (s, B, d), (time, B, d)
        var sequence = cat([input, target]).narrow(0, time - s, s); // the history at t, oldest first
        var history = sequence.transpose(0, 1).reshape(batch, s * d); // (B, s·d)
        var values = DrawValues(batch, d, generator);
        var plan = Plan(s, d, memories.Live);
        var predictions = plan.Select(step => Predict(task, Change(history, step, values), horizon)).ToList();

        var origin = rest ?? zeros(memories.Basis.shape[0], dtype: ScalarType.Float64);
        var at = hiddenStates(input, time, (_, h) => h)[time - 1]; // (B, H)
        var held = memories.Contents(at - origin);
        // All interventions side by side, as one batch: in the directions of the variables, then in random ones.
        var changes = cat(plan.Select(step => memories.State(Change(held, step, values) - held)).ToList());
        var rotation = Initialization.Orthonormal(changes.shape[1], changes.shape[1], generator);
        var changed = at.repeat(2 * plan.Count, 1) + cat([changes, matmul(changes, rotation)]);
        var after = hiddenStates(
            zeros([0, changed.shape[0], d], dtype: ScalarType.Float64),
            horizon + 1,
            (t, h) => t == 1 ? changed : h
        );
        var outputs = readOut(after.narrow(0, 1, horizon)).chunk(2 * plan.Count, 1); // (horizon, B, d) each
        InterventionResult Result(int step, int output) =>
            Compare(plan[step], outputs[output], predictions[step], predictions[0]);
        return
        [
            .. plan.Select(
                (step, i) =>
                    Result(i, i) with
                    {
                        AffectedNull = Result(i, plan.Count + i).AffectedAccuracy,
                        ErasedSize =
                            step.Kind == InterventionKind.Erase
                                ? MeasureErased(outputs[i], predictions[i], predictions[0], s)
                                : [],
                    }
            ),
        ];
    }

    private static double[] MeasureErased(Tensor output, Tensor predicted, Tensor untouched, int period)
    {
        using var scope = NewDisposeScope();
        var erased = predicted.abs().lt(0.5).logical_and(untouched.abs().gt(0.5));
        double[] Sums(Tensor values) => [.. values.split(period).Select(part => Matrices.Values(part.sum())[0])];
        var (squares, counts) = (Sums(output.square() * erased), Sums(erased.to_type(ScalarType.Float64)));
        return [.. squares.Zip(counts, (sum, count) => Math.Sqrt(sum / count)).Where(double.IsFinite)];
    }

    /// <summary>The contents (B, s·κ) after a step.</summary>
    private static Tensor Change(Tensor contents, Step step, Tensor values)
    {
        var changed = contents.clone();
        foreach (var (entry, source, value) in step.Entries)
        {
            changed
                .select(1, entry)
                .copy_(
                    source is { } from ? contents.select(1, from)
                    : value is { } component ? values.select(1, component)
                    : zeros(contents.shape[0], dtype: ScalarType.Float64)
                );
        }
        return changed;
    }

    /// <summary>The outputs (horizon, B, κ) of the circuit from contents (B, s·κ).</summary>
    private static Tensor Predict(LinearBinding task, Tensor contents, int horizon)
    {
        using var scope = NewDisposeScope();
        var phi = Circuit.Phi(task).t();
        var outputs = new List<Tensor>();
        for (int t = 0; t < horizon; t++)
        {
            contents = matmul(contents, phi);
            outputs.Add(contents.narrow(1, contents.shape[1] - task.D, task.D));
        }
        return stack(outputs).MoveToOuterDisposeScope();
    }

    private static InterventionResult Compare(Step step, Tensor output, Tensor predicted, Tensor untouched)
    {
        using var scope = NewDisposeScope();
        Tensor Right(Tensor given) =>
            where(predicted.abs() > 0.5, given.sign() == predicted.sign(), given.abs() < 0.5)
                .to_type(ScalarType.Float64);
        var right = Right(output);
        var affected = ((predicted - untouched).abs() > 1e-6).to_type(ScalarType.Float64);
        return new(
            step.Kind,
            step.Variable,
            step.Other,
            Matrices.Values(right.mean())[0],
            Matrices.Values((right * affected).sum() / affected.sum())[0],
            Matrices.Values(Right(untouched).mean())[0]
        );
    }

    private sealed record Step(InterventionKind Kind, int Variable, int Other, IReadOnlyList<NewContent> Entries);

    /// <summary>The new content of an entry: the old content of another entry, a drawn value, or else 0.</summary>
    private sealed record NewContent(int Entry, int? From, int? Value);

    private static List<Step> Plan(int s, int d, IReadOnlyList<int> live)
    {
        var plan = new List<Step> { new(InterventionKind.None, 0, 0, []) };
        int[] Components(int k) => [.. live.Where(j => j / d == k).Select(j => j % d)];
        for (int k = 0; k < s; k++)
        {
            if (Components(k) is { Length: > 0 } components)
            {
                NewContent[] written = [.. components.Select(i => new NewContent(k * d + i, null, i))];
                plan.Add(new(InterventionKind.Write, k + 1, 0, written));
                plan.Add(new(InterventionKind.Erase, k + 1, 0, [.. written.Select(w => w with { Value = null })]));
            }
        }

        for (int k = 0; k < (s == 2 ? 1 : s) && s > 1; k++) // of two variables there is one pair
        {
            int other = (k + 1) % s;
            NewContent[] swapped =
            [
                .. Components(k)
                    .Intersect(Components(other))
                    .Select(i => (First: k * d + i, Second: other * d + i))
                    .SelectMany(p => new NewContent[] { new(p.First, p.Second, null), new(p.Second, p.First, null) }),
            ];
            if (swapped.Length > 0)
                plan.Add(new(InterventionKind.Swap, k + 1, other + 1, swapped));
        }
        return plan;
    }
}
