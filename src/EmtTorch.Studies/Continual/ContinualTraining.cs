using System.Collections.Concurrent;

namespace EmtTorch.Studies;

/// <summary>A method that failed with one seed, and why.</summary>
public sealed record ContinualFailure(ContinualMethod Method, long Seed, string Message);

/// <summary>
/// Trains a sequence of tasks by all of its methods: first the stage that all methods have in common, then each
/// strength with the sequence's sweep seed, then the best strength of each group with all seeds. What is finished is
/// passed over.
/// </summary>
/// <param name="sequence">The tasks and the methods.</param>
/// <param name="create">Makes the run of a method with a seed.</param>
/// <param name="jobs">How many networks train at the same time.</param>
/// <example><code>
/// var sequence = ContinualSequence.Load("experiments/continual/t2_t3_t4.json");
/// var training = new ContinualTraining(sequence, (method, seed) => new(sequence, method, seed), jobs: 2);
/// var failures = training.Train();
/// Console.Write(ContinualTable.Read(sequence).Markdown());
/// </code></example>
public sealed class ContinualTraining(
    ContinualSequence sequence,
    Func<ContinualMethod, long, ContinualRun> create,
    int jobs
)
{
    private static readonly ContinualMethod First = new(ContinualFolders.First, "naive", 0, null, "");
    private readonly List<ContinualFailure> _failures = [];

    /// <summary>Told of the method whose strength is the best of its group.</summary>
    public Action<ContinualMethod>? Chosen { get; init; }

    /// <summary>Told of a failure at once; from several threads.</summary>
    public Action<ContinualFailure>? Failed { get; init; }

    /// <summary>Trains what is missing.</summary>
    /// <param name="stop">Interrupts the training; each network writes a checkpoint first.</param>
    /// <returns>What failed.</returns>
    public IReadOnlyList<ContinualFailure> Train(CancellationToken stop = default)
    {
        var swept = sequence.Methods.GroupBy(m => m.Group).Where(g => g.Count() > 1).SelectMany(g => g).ToList();
        IEnumerable<long> sweepSeed = swept.Count > 0 ? [sequence.SweepSeed] : [];
        TrainAll(sweepSeed.Concat(sequence.Seeds).Select(s => (First, s)), run => run.TrainFirst(stop), stop);
        // A seed without a first stage ends here; joint has none.
        var lost = _failures.Select(f => f.Seed).ToHashSet();
        bool CanBegin((ContinualMethod Method, long Seed) run) =>
            run.Method.Kind == "joint" || !lost.Contains(run.Seed);
        if (swept.Count > 0)
        {
            // With the plain method beside the strengths, so that the sweep shows what they are measured against.
            var plain = sequence.Methods.Where(m => m.Kind == "naive");
            var strengths = swept.Concat(plain).Select(m => (m, sequence.SweepSeed));
            TrainAll(strengths.Where(CanBegin), run => run.Train(stop), stop);
        }
        if (stop.IsCancellationRequested)
            return _failures;
        var table = ContinualTable.Read(sequence);
        var chosen = table.Groups.Select(table.Choose).OfType<ContinualMethod>().ToList();
        foreach (var method in chosen.Where(swept.Contains))
            Chosen?.Invoke(method);
        var runs = sequence.Seeds.SelectMany(s => chosen.Select(m => (m, s)));
        TrainAll(runs.Where(CanBegin), run => run.Train(stop), stop);
        return _failures;
    }

    /// <summary>Trains networks that do not depend on each other, a number of them at a time.</summary>
    private void TrainAll(
        IEnumerable<(ContinualMethod Method, long Seed)> runs,
        Action<ContinualRun> train,
        CancellationToken stop
    ) =>
        Parallel.ForEach(
            // One by one, in their order.
            Partitioner.Create(runs, EnumerablePartitionerOptions.NoBuffering),
            new ParallelOptions { MaxDegreeOfParallelism = jobs },
            run =>
            {
                if (stop.IsCancellationRequested)
                    return;
                try
                {
                    train(create(run.Method, run.Seed));
                }
                catch (Exception e)
                {
                    var failure = new ContinualFailure(run.Method, run.Seed, e.Explain());
                    lock (_failures)
                        _failures.Add(failure);
                    Failed?.Invoke(failure);
                }
            }
        );
}
