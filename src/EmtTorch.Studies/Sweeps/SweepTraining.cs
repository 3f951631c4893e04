using System.Diagnostics;
using System.Globalization;
using System.Text.Json.Nodes;
using EmtTorch.Analysis.Runs;
using EmtTorch.Settings;
using EmtTorch.Training;

namespace EmtTorch.Studies;

/// <summary>What became of a run while its sweep was trained.</summary>
/// <param name="Item">The run.</param>
/// <param name="Outcome">How it ended.</param>
/// <param name="Analysis">Its analysis.json, where it is done.</param>
/// <param name="Ended">How many runs have ended, this one among them.</param>
/// <param name="Left">How long the others will take; null where there are none.</param>
public sealed record SweepEvent(SweepItem Item, RunOutcome Outcome, JsonNode? Analysis, int Ended, TimeSpan? Left);

/// <summary>
/// Trains the runs of a sweep that are missing, and reads what each has learned. A run that fails is tried once more.
/// Several processes may share a sweep: each run is one's at a time.
/// </summary>
/// <param name="items">The runs, as <see cref="SweepItem.Of"/> found them.</param>
/// <param name="queue">Trains them; it goes on from checkpoints whatever it says.</param>
public sealed class SweepTraining(IReadOnlyList<SweepItem> items, RunQueue queue)
{
    /// <summary>Told of a run that is analysed although it was trained before.</summary>
    public Action<SweepItem>? Analysing { get; init; }

    /// <summary>Told of a run that ended; from several threads, one at a time.</summary>
    public Action<SweepEvent>? Ended { get; init; }

    /// <summary>Told how many runs failed and are tried once more.</summary>
    public Action<int>? Again { get; init; }

    /// <summary>Told of what is wrong, but stops nothing.</summary>
    public Action<string>? Warn { get; init; }

    /// <summary>Trains them.</summary>
    /// <returns>What became of each that was not done before, in their order.</returns>
    public IReadOnlyList<(SweepItem Item, RunOutcome Outcome)> Train(CancellationToken stop = default)
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
        RunOutcome[] Pass(List<SweepItem> some, bool last) =>
            (
                queue with
                {
                    Resume = true,
                    Progress = (run, progress) =>
                    {
                        lock (counting)
                        {
                            left[SweepItem.LabelOf(run)] = SweepItem.WorkOf(
                                run,
                                run.Training.Steps - progress.Metrics.Step
                            );
                        }

                        queue.Progress?.Invoke(run, progress);
                    },
                    Ended = (i, outcome) => End(some[i], outcome, last || outcome.End == RunEnd.Elsewhere),
                }
            ).Train([.. some.Select(i => i.Configuration)], stop);

        var outcomes = Pass(open, last: false);
        var again = open.Where((_, i) => outcomes[i].End == RunEnd.Failed).ToList();
        if (again.Count > 0 && !stop.IsCancellationRequested)
        {
            Again?.Invoke(again.Count);
            foreach (var (item, outcome) in again.Zip(Pass(again, last: true)))
                outcomes[open.IndexOf(item)] = outcome;
        }
        return [.. open.Zip(outcomes)];
    }

    /// <summary>
    /// analysis.json of a finished run, where it is not there yet or is of other weights; null where it can't be made.
    /// </summary>
    private JsonNode? Analyze(SweepItem item, Action? making = null)
    {
        try
        {
            return RunAnalysis.OfRun(item.Folder.Path, Warn ?? (_ => { }), making);
        }
        catch (Exception e) when (e is ConfigurationException || e.IsOfRun())
        {
            Warn?.Invoke($"{item.Label} can't be analysed: {e.Message}");
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
            File.AppendAllText(item.Folder.FailuresFile, line.ToJsonString() + "\n");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            Warn?.Invoke($"{item.Folder.FailuresFile} can't be written: {e.Message}");
        }
    }
}
