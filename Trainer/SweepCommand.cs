using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using System.Text.Json.Nodes;
using EmtTorch.Analysis;
using EmtTorch.Analysis.Report;
using EmtTorch.Configuration;
using EmtTorch.Training;

namespace EmtTorch.Trainer;

/// <summary>
/// `Trainer sweep SWEEP.json`: trains the runs of a sweep that are missing, and reads what each has learned. A run that fails is
/// tried once more. Several processes may share a sweep: each run is one's at a time.
/// </summary>
internal static class SweepCommand
{
    private sealed record Settings(string Sweep, int? Jobs, string? Shard, string? Device, string[] Set, string? Out, bool DryRun, bool Together);

    /// <summary>A run with what is there of it: Step is where it would go on.</summary>
    private sealed record Item(SweepRun Run, RunFolder Folder, RunResult? Result, long Step)
    {
        public RunConfiguration Configuration => Run.Configuration;
        public long StepsLeft => Result is null ? Math.Max(0, Configuration.Training.Steps - Step) : 0;
    }

    public static Command Create()
    {
        var sweep = new Argument<string>("SWEEP") { Description = "A base configuration and axes, as in experiments/table1/sweep.json" };
        var jobs = new Option<int?>("--jobs") { Description = "How many runs train at the same time (default: one for each processor; on a GPU all)", HelpName = "N" };
        var shard = new Option<string?>("--shard") { Description = "Every Nth run, from the Ith: 1/4, …, 4/4 are the whole sweep", HelpName = "I/N" };
        var device = new Option<string?>("--device") { Description = "auto (CUDA where there is one), cpu, cuda, cuda:1", HelpName = "DEVICE" };
        var set = new Option<string[]>("--set") { Description = "A setting for every run, under the axes: training.steps=500; may be given often", HelpName = "KEY=VALUE" };
        var output = new Option<string?>("--out") { Description = "The folder of all runs (default: runs, beside SWEEP)", HelpName = "FOLDER" };
        var dryRun = new Option<bool>("--dry-run") { Description = "List the runs and how long they would take, and train none" };
        var together = new Option<bool>("--together") { Hidden = true };
        var command = new Command("sweep", "Trains the runs of a sweep that are missing; run it again after an interruption, or in several processes at once.\n\n  dotnet run --project Trainer -- sweep experiments/table1/sweep.json")
        {
            sweep, jobs, shard, device, set, output, dryRun, together,
        };
        command.SetAction(parsed => Exit.Of(() => Run(new(parsed.GetValue(sweep)!, parsed.GetValue(jobs), parsed.GetValue(shard), parsed.GetValue(device), parsed.GetValue(set) ?? [],
            parsed.GetValue(output), parsed.GetValue(dryRun), parsed.GetValue(together))), "The sweep"));
        return command;
    }

    private static int Run(Settings settings)
    {
        var (sweep, items) = Prepare(settings);
        if (items.Count == 0)
        {
            Console.WriteLine($"{sweep.Name}: no run is in part {settings.Shard}, since there are only {sweep.Runs.Count}.");
            return Exit.Done;
        }
        if (settings.DryRun) return SweepEstimate.Print(sweep, [.. items.Select(i => (i.Configuration, i.Result is not null, i.Step))], settings.Jobs, settings.Together);
        return Train(sweep, items, settings);
    }

    private static (Sweep, List<Item>) Prepare(Settings settings)
    {
        var problems = new List<ConfigurationProblem>();
        if (settings.Jobs < 1) problems.Add(new("--jobs", $"is {settings.Jobs}: at least 1"));
        var (shard, shards) = (1, 1);
        if (settings.Shard is { } text)
        {
            var parts = text.Split('/');
            if (parts.Length != 2 || !int.TryParse(parts[0], NumberStyles.None, CultureInfo.InvariantCulture, out shard) || !int.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out shards) || shard < 1 || shard > shards)
                problems.Add(new("--shard", $"'{text}' is not I/N with I from 1 to N"));
        }
        string[] overrides = settings.Device is { } device ? [.. settings.Set, $"device={device}"] : settings.Set;
        Sweep? sweep = null;
        try { sweep = Sweep.Load(settings.Sweep, overrides, settings.Out); }
        catch (ConfigurationException e) { problems.AddRange(e.Problems); }
        if (sweep is null || problems.Count > 0) throw new ConfigurationException(problems);

        var first = sweep.Runs[0].Configuration;
        // Networks side by side have one thread each.
        TorchRuntime.Start(first.Threads ?? (settings.Jobs is null or > 1 ? 1 : Environment.ProcessorCount));
        foreach (var name in sweep.Runs.Select(r => r.Configuration.Device).Distinct())
            if (TorchRuntime.ResolveDevice(name, out var problem) is var _ && problem is not null) problems.Add(new("device", problem));
        if (new RunFolder(sweep.Out).WhyNotWritable() is { } reason) problems.Add(new("--out", $"the folder of all runs, {sweep.Out}, can't be written: {reason}"));
        foreach (var run in sweep.Runs) problems.AddRange(RunFolder.Of(run.Configuration).Differences(run.Configuration).Select(p =>
            p with { Message = p.Message.Split(": --resume")[0] + ". Take another --out, or move that run away" }));
        if (problems.Count > 0) throw new ConfigurationException(problems);
        return (sweep, [.. sweep.Runs.Where((_, i) => i % shards == shard - 1).Select(Look)]);
    }

    private static Item Look(SweepRun run)
    {
        var folder = RunFolder.Of(run.Configuration);
        var result = RunQueue.Finished(folder, run.Configuration);
        return new(run, folder, result, result is null ? new CheckpointFolder(folder.Checkpoints, 1, false).LastStep ?? 0 : result.Steps);
    }

    private static int Train(Sweep sweep, List<Item> items, Settings settings)
    {
        using var screen = new Screen();
        using var stop = new Interruption(screen);
        var clock = Stopwatch.StartNew();
        Directory.CreateDirectory(sweep.Out);
        AtomicFile.WriteText(Path.Combine(sweep.Out, Sweep.FileName), sweep.ToJson());

        var open = items.Where(i => i.Result is null).ToList();
        screen.Say($"{sweep.Name}: {Count(items.Count, "run")}, {items.Count - open.Count} done, {open.Count(i => i.Step > 0)} to go on with; in {sweep.Out}");
        foreach (var item in items.Where(i => i.Result is not null && !stop.Token.IsCancellationRequested)) Analyze(item, screen, making: () => screen.Say($"Analysing {Label(item.Configuration)}"));

        int ended = items.Count - open.Count;
        var left = open.ToDictionary(i => Label(i.Configuration), Work);
        double all = left.Values.Sum();
        var counting = new Lock();
        void Ended(Item item, RunOutcome outcome, bool last)
        {
            if (outcome.End == RunEnd.Interrupted) return;
            var learned = outcome.End == RunEnd.Done ? Analyze(item, screen) : null;
            if (outcome.End == RunEnd.Failed) RecordFailure(item, outcome, screen);
            lock (counting)
            {
                left[Label(item.Configuration)] = 0;
                if (outcome.End == RunEnd.Done || last) ended++;
                double rest = left.Values.Sum();
                var time = rest > 0 ? $"; about {Screen.Duration(clock.Elapsed * (rest / (all - rest)))} left" : "";
                screen.Say($"{DateTime.Now:HH:mm:ss} {ended} of {items.Count}: {Label(item.Configuration)}: {Describe(item, outcome, learned)}{time}", warning: outcome.End == RunEnd.Failed);
            }
        }
        RunOutcome[] Pass(List<Item> some, bool last) => new RunQueue
        {
            Screen = screen, Label = Label, Verbose = false, Resume = true, Jobs = settings.Jobs, Together = settings.Together,
            At = (run, step) =>
            {
                lock (counting) left[Label(run)] = Work(run, run.Training.Steps - step);
            },
            Ended = (i, outcome) => Ended(some[i], outcome, last || outcome.End == RunEnd.Elsewhere),
        }.Train([.. some.Select(i => i.Configuration)], stop.Token);

        var outcomes = Pass(open, last: false);
        var again = open.Where((_, i) => outcomes[i].End == RunEnd.Failed).ToList();
        if (again.Count > 0 && !stop.Token.IsCancellationRequested) screen.Say($"{Count(again.Count, "run")} failed and {(again.Count == 1 ? "is" : "are")} tried once more.");
        var secondOutcomes = stop.Token.IsCancellationRequested ? [] : Pass(again, last: true);
        foreach (var (item, outcome) in again.Zip(secondOutcomes)) outcomes[open.IndexOf(item)] = outcome;
        return Close(sweep, items, open, outcomes, screen, clock.Elapsed);
    }

    private static int Close(Sweep sweep, List<Item> items, List<Item> open, RunOutcome[] outcomes, Screen screen, TimeSpan time)
    {
        int Ended(RunEnd end) => outcomes.Count(o => o.End == end);
        var parts = new List<string> { $"{items.Count - open.Count + Ended(RunEnd.Done)} of {items.Count} runs done" };
        if (Ended(RunEnd.Interrupted) is > 0 and var interrupted) parts.Add($"{interrupted} not, for it was interrupted: the same command goes on with them");
        if (Ended(RunEnd.Elsewhere) is > 0 and var elsewhere) parts.Add($"{elsewhere} being trained by another process");
        screen.Say($"{string.Join("; ", parts)}. This took {Screen.Duration(time)}.");
        foreach (var (item, outcome) in open.Zip(outcomes).Where(p => p.Second.End == RunEnd.Failed))
            screen.Say($"failed: {Label(item.Configuration)}: {outcome.Failure} ({item.Folder.FailuresFile})", warning: true);
        screen.Say($"The table: dotnet run -c Release --project Trainer -- table {sweep.Out}");
        return Ended(RunEnd.Interrupted) > 0 ? Exit.Interrupted : Ended(RunEnd.Failed) > 0 ? Exit.Failed : Exit.Done;
    }

    /// <summary>analysis.json of a finished run, where it is not there yet or is of other weights; null where it can't be made.</summary>
    private static JsonNode? Analyze(Item item, Screen screen, Action? making = null)
    {
        try { return RunAnalysis.OfRun(item.Folder.Path, message => screen.Say($"Warning: {message}", warning: true), making); }
        catch (Exception e) when (e is ConfigurationException or InvalidDataException or CheckpointException or IOException or UnauthorizedAccessException)
        {
            screen.Say($"Warning: {Label(item.Configuration)} can't be analysed: {e.Message}", warning: true);
            return null;
        }
    }

    private static void RecordFailure(Item item, RunOutcome outcome, Screen screen)
    {
        var line = new JsonObject { ["time"] = DateTime.UtcNow.ToString("yyyy-MM-ddTHH:mm:ssZ", CultureInfo.InvariantCulture), ["host"] = Environment.MachineName, ["message"] = outcome.Failure };
        try { File.AppendAllText(item.Folder.FailuresFile, line.ToJsonString() + "\n"); }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException) { screen.Say($"Warning: {item.Folder.FailuresFile} can't be written: {e.Message}", warning: true); }
    }

    private static string Describe(Item item, RunOutcome outcome, JsonNode? learned)
    {
        if (outcome.End == RunEnd.Elsewhere) return "is being trained by another process";
        if (outcome.End == RunEnd.Failed) return $"failed: {outcome.Failure}";
        var result = RunQueue.Finished(item.Folder, item.Configuration);
        var spectral = (double?)learned?["spectral_error"] is { } error ? $", spectral error {error.ToString("0.0000", CultureInfo.InvariantCulture)}" : "";
        var bits = (double?)learned?["bits_per_character"] is { } perCharacter ? $", {perCharacter.ToString("0.0000", CultureInfo.InvariantCulture)} bits per character" : "";
        return string.Create(CultureInfo.InvariantCulture, $"test accuracy {result?.BestTestAccuracy:0.0000}{spectral}{bits}, {result?.Seconds:0} s");
    }

    internal static string Label(RunConfiguration run) => $"{run.Name}, seed {run.Seed}";

    /// <summary>How much there is to do, in no unit: multiplications.</summary>
    private static double Work(Item item) => Work(item.Configuration, item.StepsLeft);

    private static double Work(RunConfiguration c, long steps) => c.Model.IsTransformer
        // A block has three d × 4d's worth of weights, more or less.
        ? (double)steps * c.Training.BatchSize * c.Task.TokensAt(c.Training.Curriculum.Horizons[^1]) * c.Model.HiddenSize * c.Model.HiddenSize * 12 * c.Model.Layers
        : (double)steps * c.Training.BatchSize * (c.Task.S + c.Training.Curriculum.Horizons[^1]) * c.Model.HiddenSize * (c.Model.HiddenSize + 2 * c.Task.D);

    internal static string Count(int n, string what) => n == 1 ? $"1 {what}" : $"{n} {what}s";
}
