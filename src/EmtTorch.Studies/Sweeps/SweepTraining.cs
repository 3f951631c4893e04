using System.Diagnostics;
using System.Globalization;
using System.Text.Json.Nodes;
using EmtTorch.Analysis.Runs;
using EmtTorch.Settings;
using EmtTorch.Training;

namespace EmtTorch.Studies;

/// <summary>How a run ended while its sweep is trained.</summary>
/// <param name="Item">The run.</param>
/// <param name="Outcome">How it ended.</param>
/// <param name="Analysis">Its analysis.json; null if it failed or can't be analysed.</param>
/// <param name="Ended">How many runs have ended so far, with this one.</param>
/// <param name="Left">About how long the others will take; null if there are none.</param>
public sealed record SweepEvent(SweepItem Item, RunOutcome Outcome, JsonNode? Analysis, int Ended, TimeSpan? Left);

/// <summary>How a run of a sweep ended.</summary>
public sealed record SweepOutcome(SweepItem Item, RunOutcome Outcome);

/// <summary>
/// Trains the runs of a sweep that are missing, and analyses each. A run that fails is tried once more. Several
/// processes may share a sweep: each run belongs to one of them at a time.
/// </summary>
/// <param name="items">The runs, as <see cref="SweepItem.Read"/> found them.</param>
/// <param name="queue">The queue that trains them. It always goes on from checkpoints.</param>
/// <example><code>
/// var sweep = Sweep.Load("experiments/table1/sweep.json");
/// var training = new SweepTraining([.. sweep.Runs.Select(r => SweepItem.Read(r))], queue);
/// training.Train();
/// Console.Write(SweepTableText.Markdown(SweepTable.Of(SweepFolder.Read("experiments/table1"))));
/// </code></example>
public sealed class SweepTraining(IReadOnlyList<SweepItem> items, RunQueue queue)
{
    /// <summary>Told of a run that was trained before and is analysed now.</summary>
    public Action<SweepItem>? Analysing { get; init; }

    /// <summary>Told of a run that ended; from several threads, one at a time.</summary>
    public Action<SweepEvent>? Ended { get; init; }

    /// <summary>Told how many runs have failed and are tried once more.</summary>
    public Action<int>? Again { get; init; }

    /// <summary>Told of problems that stop nothing.</summary>
    public Action<string>? Warn { get; init; }

    /// <summary>Trains the missing runs.</summary>
    /// <param name="stop">Interrupts them; each writes a checkpoint first.</param>
    /// <returns>How each run that was not done before ended, in their order.</returns>
    public IReadOnlyList<SweepOutcome> Train(CancellationToken stop = default)
    {
        var clock = Stopwatch.StartNew();
        var open = items.Where(i => i.Result is null).ToList();
        foreach (var item in items.Where(i => i.Result is not null && !stop.IsCancellationRequested))
            Analyze(item, () => Analysing?.Invoke(item));

        int ended = items.Count - open.Count;
        var left = open.ToDictionary(i => i.Label, i => i.Work);
        double all = left.Values.Sum();
        var counting = new Lock();
        void End(SweepItem item, RunOutcome outcome, bool last)
        {
            if (outcome.End == RunEnd.Interrupted)
                return;
            var learned = outcome.End == RunEnd.Done ? Analyze(item) : null;
            if (outcome.End == RunEnd.Failed)
                RecordFailure(item, outcome);
            lock (counting)
            {
                left[item.Label] = 0;
                if (outcome.End == RunEnd.Done || last)
                    ended++;
                double rest = left.Values.Sum();
                Ended?.Invoke(
                    new(item, outcome, learned, ended, rest > 0 ? clock.Elapsed * (rest / (all - rest)) : null)
                );
            }
        }
        void Show(RunConfiguration run, TrainingProgress progress)
        {
            lock (counting)
                left[SweepItem.LabelOf(run)] = SweepItem.WorkOf(run, run.Training.Steps - progress.Metrics.Step);
            queue.Progress?.Invoke(run, progress);
        }
        RunOutcome[] Pass(List<SweepItem> tried, bool last)
        {
            var once = queue with
            {
                Resume = true,
                Progress = Show,
                Ended = (i, outcome) => End(tried[i], outcome, last || outcome.End == RunEnd.Elsewhere),
            };
            return once.Train([.. tried.Select(i => i.Configuration)], stop);
        }

        var outcomes = Pass(open, last: false);
        var again = open.Where((_, i) => outcomes[i].End == RunEnd.Failed).ToList();
        if (again.Count > 0 && !stop.IsCancellationRequested)
        {
            Again?.Invoke(again.Count);
            foreach (var (item, outcome) in again.Zip(Pass(again, last: true)))
                outcomes[open.IndexOf(item)] = outcome;
        }
        return [.. open.Zip(outcomes, (item, outcome) => new SweepOutcome(item, outcome))];
    }

    /// <summary>
    /// The analysis.json of a finished run. It is written if it is missing or belongs to other weights, and null if
    /// that can't be done.
    /// </summary>
    private JsonNode? Analyze(SweepItem item, Action? making = null)
    {
        try
        {
            return RunAnalysis.OfRun(item.Folder.Path, Warn ?? (_ => { }), making);
        }
        catch (Exception e)
        {
            Warn?.Invoke($"{item.Label} can't be analysed: {e.Explain()}");
            return null;
        }
    }

    private void RecordFailure(SweepItem item, RunOutcome outcome)
    {
        var line = new JsonObject
        {
            ["time"] = DateTime.UtcNow.ToString("yyyy-MM-ddTHH:mm:ssZ", CultureInfo.InvariantCulture),
            ["host"] = Environment.MachineName,
            ["message"] = outcome.Failure,
        };
        try
        {
            File.AppendAllText(RunFolder.NotALink(item.Folder.FailuresFile), line.ToJsonString() + "\n");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            Warn?.Invoke($"{item.Folder.FailuresFile} can't be written: {e.Message}");
        }
    }
}
