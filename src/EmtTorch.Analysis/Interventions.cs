using EmtTorch.Models;
using EmtTorch.Tasks;
using static TorchSharp.torch;

namespace EmtTorch.Analysis;

/// <summary>What is done to the variables.</summary>
public enum InterventionKind
{
    /// <summary>Nothing: how well the circuit predicts the network left alone.</summary>
    None,

    /// <summary>Another random value of ±1s is written into a variable.</summary>
    Write,

    /// <summary>A variable is set to zero.</summary>
    Erase,

    /// <summary>Two variables change places, in the components that are live in both.</summary>
    Swap,
}

/// <summary>One intervention and how well the circuit predicts what follows.</summary>
/// <param name="Kind">What was done.</param>
/// <param name="Variable">To which variable, from 1, the oldest; 0 for none.</param>
/// <param name="Other">The other one of a swap; 0 else.</param>
/// <param name="Accuracy">Share of the output bits that follow that are as the circuit says.</param>
/// <param name="AffectedAccuracy">The same over those bits that the intervention changes, by the circuit; NaN where
/// there is none.</param>
public sealed record InterventionResult(
    InterventionKind Kind,
    int Variable,
    int Other,
    double Accuracy,
    double AffectedAccuracy
);

/// <summary>How interventions are made.</summary>
public sealed record InterventionOptions
{
    /// <summary>
    /// The step t after which the hidden state is changed; null: 2·s, when what loading left beside the variables has
    /// decayed.
    /// </summary>
    public int? Time { get; init; }

    /// <summary>How many steps of output are compared; null: 2·s.</summary>
    public int? Horizon { get; init; }

    /// <summary>Random inputs for each intervention.</summary>
    public int BatchSize { get; init; } = 64;

    public long Seed { get; init; } = 1;
}

/// <summary>
/// Interventions on a network's variables through Ψ: h ← h + Ψ (x' − Ψ* h) on the entries to be changed; and Φ's
/// prediction of all outputs that follow. That they agree shows that Ψ is not only where the variables can be read, but
/// what the network computes with.
/// </summary>
/// <remarks>
/// A predicted bit is right where the output has its sign; where the prediction is zero (erased), where |y| &lt; 0.5,
/// nearer to zero than to ±1.
/// </remarks>
public static class Interventions
{
    /// <summary>Every variable written, erased and swapped with the next.</summary>
    /// <param name="network">The network.</param>
    /// <param name="task">What it was trained on.</param>
    /// <param name="memories">Its variable memories.</param>
    /// <param name="options">When, how long, how many.</param>
    /// <param name="rest">The state that contents are measured from; null: 0.</param>
    /// <returns>Nothing done first, then every intervention.</returns>
    /// <exception cref="ArgumentException">
    /// The time is in the input phase, nothing would be compared, or the memories are of another network or task.
    /// </exception>
    public static IReadOnlyList<InterventionResult> Run(
        ElmanRnn network,
        LinearBinding task,
        VariableMemories memories,
        InterventionOptions? options = null,
        Tensor? rest = null
    )
    {
        Require.Shape(network.InputWeights, [memories.Basis.shape[0], task.D], nameof(network));
        return Run(network.HiddenStates, network.ReadOut, task, memories, options, rest);
    }

    /// <summary>The same on the circuit itself.</summary>
    public static IReadOnlyList<InterventionResult> Run(
        Circuit circuit,
        LinearBinding task,
        VariableMemories memories,
        InterventionOptions? options = null
    ) => Run(circuit.HiddenStates, circuit.ReadOut, task, memories, options, null);

    private static List<InterventionResult> Run(
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
            n = s * d,
            batch = options.BatchSize,
            time = options.Time ?? 2 * s,
            horizon = options.Horizon ?? 2 * s;
        if (time < s)
        {
            throw new ArgumentException(
                $"the time is {time}: the variables are loaded only after s = {s} steps",
                nameof(options)
            );
        }

        if (horizon < 1 || batch < 1)
        {
            throw new ArgumentException(
                "there must be at least one step to compare, and one sequence",
                nameof(options)
            );
        }

        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        using var generator = new Generator((ulong)options.Seed, CPU);
        using var data = new VariableBinding(task, ScalarType.Float64, CPU);
        var (input, target) = data.Batch(batch, time, generator); // (s, B, d), (time, B, d)
        var sequence = cat([input, target]).narrow(0, time - s, s); // the history at t, oldest first
        var history = sequence.transpose(0, 1).reshape(batch, n); // (B, s·d)
        var values = randint(0, 2, new long[] { batch, d }, dtype: ScalarType.Float64, generator: generator)
            .mul_(2)
            .sub_(1);

        var plan = Plan(s, d, memories.Live);
        var predictions = new List<Tensor>();
        var phi = Circuit.Phi(task).t();
        var origin = rest ?? zeros(memories.Basis.shape[0], dtype: ScalarType.Float64);

        Tensor Change(Tensor contents, Step step)
        {
            var copy = contents.clone();
            foreach (var (entry, from, value) in step.Entries)
            {
                copy.select(1, entry)
                    .copy_(
                        from >= 0 ? contents.select(1, from)
                        : value >= 0 ? values.select(1, value)
                        : zeros(batch, dtype: ScalarType.Float64)
                    );
            }

            return copy;
        }

        foreach (var step in plan)
        {
            using var inner = NewDisposeScope();
            var x = Change(history, step);
            var outputs = new List<Tensor>();
            for (int t = 0; t < horizon; t++)
            {
                x = matmul(x, phi);
                outputs.Add(x.narrow(1, n - d, d));
            }
            predictions.Add(stack(outputs).MoveToOuterDisposeScope()); // (horizon, B, d)
        }
        // Up to t all are the same; from there on all interventions go side by side, as one batch.
        var at = hiddenStates(input, time, (_, h) => h)[time - 1]; // (B, H)
        var held = memories.Contents(at - origin);
        var changed = cat(plan.Select(step => at + memories.State(Change(held, step) - held)).ToList());
        var after = hiddenStates(
            zeros([0, batch * plan.Count, d], dtype: ScalarType.Float64),
            horizon + 1,
            (t, h) => t == 1 ? changed : h
        );
        var outputsOfAll = readOut(after.narrow(0, 1, horizon)).chunk(plan.Count, 1);

        var results = new List<InterventionResult>();
        for (int i = 0; i < plan.Count; i++)
        {
            using var inner = NewDisposeScope();
            Tensor p = predictions[i],
                y = outputsOfAll[i];
            var right = where(p.abs() > 0.5, y.sign() == p.sign(), y.abs() < 0.5).to_type(ScalarType.Float64);
            var affected = ((p - predictions[0]).abs() > 1e-6).to_type(ScalarType.Float64);
            results.Add(
                new(
                    plan[i].Kind,
                    plan[i].Variable,
                    plan[i].Other,
                    Matrices.Values(right.mean())[0],
                    Matrices.Values((right * affected).sum() / affected.sum())[0]
                )
            );
        }
        return results;
    }

    /// <summary>The mean accuracy of all interventions, what was left alone not counted.</summary>
    public static double Accuracy(IEnumerable<InterventionResult> results) =>
        results
            .Where(r => r.Kind != InterventionKind.None)
            .Select(r => r.Accuracy)
            .DefaultIfEmpty(double.NaN)
            .Average();

    /// <summary>
    /// Entry receives entry From, where that is not negative; else component Value of the values to write; else 0.
    /// </summary>
    private sealed record Step(
        InterventionKind Kind,
        int Variable,
        int Other,
        IReadOnlyList<(int Entry, int From, int Value)> Entries
    );

    private static List<Step> Plan(int s, int d, IReadOnlyList<int> live)
    {
        var plan = new List<Step> { new(InterventionKind.None, 0, 0, []) };
        int[] Components(int k) => [.. live.Where(j => j / d == k).Select(j => j % d)];
        for (int k = 0; k < s; k++)
        {
            if (Components(k) is { Length: > 0 } components)
            {
                plan.Add(new(InterventionKind.Write, k + 1, 0, [.. components.Select(i => (k * d + i, -1, i))]));
                plan.Add(new(InterventionKind.Erase, k + 1, 0, [.. components.Select(i => (k * d + i, -1, -1))]));
            }
        }

        for (int k = 0; k < s && s > 1; k++)
        {
            int other = (k + 1) % s;
            if (s == 2 && k == 1)
                break; // the same pair again
            if (Components(k).Intersect(Components(other)).ToArray() is { Length: > 0 } both)
            {
                plan.Add(
                    new(
                        InterventionKind.Swap,
                        k + 1,
                        other + 1,
                        [
                            .. both.SelectMany(i =>
                                new[] { (k * d + i, other * d + i, -1), (other * d + i, k * d + i, -1) }
                            ),
                        ]
                    )
                );
            }
        }
        return plan;
    }
}
