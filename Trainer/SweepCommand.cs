using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using System.Text.Json.Nodes;
using EmtTorch.Configuration;
using EmtTorch.Settings;
using EmtTorch.Studies;
using EmtTorch.Training;
using static EmtTorch.Trainer.Options;

namespace EmtTorch.Trainer;

/// <summary>
/// `Trainer sweep SWEEP.json`: trains the runs of a sweep that are missing, and analyses each. See
/// <see cref="SweepTraining"/>.
/// </summary>
internal static class SweepCommand
{
    private sealed record Settings(
        string Sweep,
        int? Jobs,
        string? Shard,
        string? Device,
        string[] Set,
        string? Out,
        bool DryRun,
        bool Together
    );

    public static Command Create()
    {
        var sweep = One("SWEEP", "A base configuration and axes, as in experiments/table1/sweep.json");
        var jobs = Value<int?>(
            "--jobs",
            "N",
            "How many runs train at the same time (default: one for each processor; on a GPU all)"
        );
        var shard = Value<string?>("--shard", "I/N", "Every Nth run, from the Ith: 1/4, …, 4/4 are the whole sweep");
        var device = Device();
        var set = Value<string[]>(
            "--set",
            "KEY=VALUE",
            "A setting for every run, under the axes: training.steps=500; may be given often"
        );
        var output = Value<string?>("--out", "FOLDER", "The folder of all runs (default: runs, beside SWEEP)");
        var dryRun = Switch("--dry-run", "List the runs and how long they would take, and train none");
        var together = Together();
        var command = new Command(
            "sweep",
            "Trains the runs of a sweep that are missing; run it again after an interruption, or in several "
                + "processes at once.\n\n  dotnet run --project Trainer -- sweep experiments/table1/sweep.json"
        ).With(sweep, jobs, shard, device, set, output, dryRun, together);
        command.SetAction(parsed =>
            Exit.Of(
                () =>
                    Run(
                        new(
                            parsed.GetValue(sweep)!,
                            parsed.GetValue(jobs),
                            parsed.GetValue(shard),
                            parsed.GetValue(device),
                            [.. ExtensionsOption.Overrides(parsed), .. parsed.GetValue(set) ?? []],
                            parsed.GetValue(output),
                            parsed.GetValue(dryRun),
                            parsed.GetValue(together)
                        )
                    ),
                "The sweep"
            )
        );
        return command;
    }

    private static int Run(Settings settings)
    {
        var (sweep, items) = Prepare(settings);
        if (items.Count == 0)
        {
            Console.WriteLine(
                $"{sweep.Name}: no run is in part {settings.Shard}, since there are only {sweep.Runs.Count}."
            );
            return Exit.Done;
        }
        if (settings.DryRun)
            return PrintEstimate(sweep, items, settings);
        return Train(sweep, items, settings);
    }

    /// <summary>Part I of N, from 1.</summary>
    private static (int Index, int Count) ParseShard(string? text, List<ConfigurationProblem> problems)
    {
        if (text is null)
            return (1, 1);
        var parts = text.Split('/');
        if (
            parts.Length == 2
            && int.TryParse(parts[0], NumberStyles.None, CultureInfo.InvariantCulture, out int index)
            && int.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out int count)
            && index >= 1
            && index <= count
        )
        {
            return (index, count);
        }
        problems.Add("--shard", $"'{text}' is not I/N with I from 1 to N");
        return (1, 1);
    }

    private static (Sweep, List<SweepItem>) Prepare(Settings settings)
    {
        var problems = new List<ConfigurationProblem>();
        if (settings.Jobs < 1)
            problems.Add("--jobs", $"is {settings.Jobs}: at least 1");
        var shard = ParseShard(settings.Shard, problems);
        string[] overrides = settings.Device is { } device ? [.. settings.Set, $"device={device}"] : settings.Set;
        Sweep? sweep = null;
        try
        {
            sweep = Sweep.Load(settings.Sweep, overrides, settings.Out);
        }
        catch (ConfigurationException e)
        {
            problems.AddRange(e.Problems);
        }
        if (sweep is null || problems.Count > 0)
            throw new ConfigurationException(problems);

        var first = sweep.Runs[0].Configuration;
        // Networks side by side have one thread each.
        TorchRuntime.Start(first.Threads ?? (settings.Jobs is null or > 1 ? 1 : Environment.ProcessorCount));
        foreach (var name in sweep.Runs.Select(r => r.Configuration.Device).Distinct())
        {
            TorchRuntime.ResolveDevice(name, out var problem);
            if (problem is not null)
                problems.Add("device", problem);
        }

        if (new RunFolder(sweep.Out).WhyNotWritable() is { } reason)
            problems.Add("--out", $"the folder of all runs, {sweep.Out}, can't be written: {reason}");
        foreach (var run in sweep.Runs)
        {
            var folder = RunFolder.Of(run.Configuration);
            const string Advice = "Take another --out, or move that run away";
            problems.AddRange(ResumptionCheck.FindProblems(folder, run.Configuration, ratesMayChange: false, Advice));
        }

        if (problems.Count > 0)
            throw new ConfigurationException(problems);
        List<SweepItem> items =
        [
            .. sweep
                .Runs.Where((_, i) => i % shard.Count == shard.Index - 1)
                .Select(r => SweepItem.Read(r, message => Console.Error.WriteLine($"Warning: {message}"))),
        ];
        var missing = items.Where(i => i.Result is null).Select(i => i.Configuration);
        problems.AddRange(RunMemory.FindProblems(missing, run => settings.Jobs ?? RunQueue.DefaultJobs(run)));
        return problems.Count == 0 ? (sweep, items) : throw new ConfigurationException(problems);
    }

    /// <summary>Prints the runs, and how long they would take on this machine.</summary>
    private static int PrintEstimate(Sweep sweep, List<SweepItem> items, Settings settings)
    {
        static string Name(RunConfiguration c) =>
            c.Model.IsTransformer
                ? $"{c.Task.Label}, d = {c.Model.HiddenSize}, {Count(c.Model.Layers, "block")}"
                : $"H = {c.Model.HiddenSize}, s = {c.Task.S}, d = {c.Task.D}";
        var estimate = SweepEstimate.Measure(
            items,
            settings.Jobs,
            settings.Together,
            run =>
            {
                if (!Console.IsErrorRedirected)
                    Console.Error.WriteLine($"Measuring {Name(run)} …");
            }
        );
        Console.WriteLine("| run | seed | state | estimate |\n|:--|--:|:--|--:|");
        foreach (var (item, seconds) in estimate.Runs)
        {
            var state =
                item.Result is not null ? "done"
                : item.Step > 0 ? $"to go on with at step {item.Step}"
                : "missing";
            var time = item.Result is not null ? "" : Screen.Duration(TimeSpan.FromSeconds(seconds));
            Console.WriteLine($"| {item.Configuration.Name} | {item.Configuration.Seed} | {state} | {time} |");
        }
        int done = items.Count(i => i.Result is not null);
        var all = Screen.Duration(TimeSpan.FromSeconds(estimate.Seconds));
        var left =
            done == items.Count
                ? "all done."
                : $"{done} done; the others take about {all} on this machine, {estimate.AtOnce} at a time.";
        Console.WriteLine($"\n{sweep.Name}: {Count(items.Count, "run")}, {left}");
        return Exit.Done;
    }

    private static int Train(Sweep sweep, List<SweepItem> items, Settings settings)
    {
        using var screen = new Screen();
        using var stop = new Interruption(screen);
        var clock = Stopwatch.StartNew();
        Directory.CreateDirectory(sweep.Out);
        AtomicFile.WriteText(Path.Combine(sweep.Out, Sweep.FileName), sweep.ToJson());
        int done = items.Count(i => i.Result is not null),
            begun = items.Count(i => i.Result is null && i.Step > 0);
        screen.Say($"{sweep.Name}: {Count(items.Count, "run")}, {done} done, {begun} to go on with; in {sweep.Out}");
        var training = new SweepTraining(
            items,
            screen.Queue(SweepItem.LabelOf, verbose: false) with
            {
                Jobs = settings.Jobs,
                Together = settings.Together,
            }
        )
        {
            Analysing = item => screen.Say($"Analysing {item.Label}"),
            Again = count =>
                screen.Say($"{Count(count, "run")} failed and {(count == 1 ? "is" : "are")} tried once more."),
            Warn = screen.Warn,
            Ended = e =>
            {
                var time = e.Left is { } left ? $"; about {Screen.Duration(left)} left" : "";
                screen.Say(
                    $"{DateTime.Now:HH:mm:ss} {e.Ended} of {items.Count}: {e.Item.Label}: {Describe(e)}{time}",
                    warning: e.Outcome.End == RunEnd.Failed
                );
            },
        };
        return Close(sweep, items, training.Train(stop.Token), screen, clock.Elapsed);
    }

    private static int Close(
        Sweep sweep,
        List<SweepItem> items,
        IReadOnlyList<SweepOutcome> trained,
        Screen screen,
        TimeSpan time
    )
    {
        int Ended(RunEnd end) => trained.Count(t => t.Outcome.End == end);
        var parts = new List<string>
        {
            $"{items.Count - trained.Count + Ended(RunEnd.Done)} of {items.Count} runs done",
        };
        if (Ended(RunEnd.Interrupted) is > 0 and var interrupted)
            parts.Add($"{interrupted} not, for it was interrupted: the same command goes on with them");
        if (Ended(RunEnd.Elsewhere) is > 0 and var elsewhere)
            parts.Add($"{elsewhere} being trained by another process");
        screen.Say($"{string.Join("; ", parts)}. This took {Screen.Duration(time)}.");
        foreach (var (item, outcome) in trained.Where(t => t.Outcome.End == RunEnd.Failed))
            screen.Say($"failed: {item.Label}: {outcome.Failure} ({item.Folder.FailuresFile})", warning: true);
        screen.Say($"The table: dotnet run -c Release --project Trainer -- table {ShellWord.Quote(sweep.Out)}");
        return Ended(RunEnd.Interrupted) > 0 ? Exit.Interrupted
            : Ended(RunEnd.Failed) > 0 ? Exit.Failed
            : Exit.Done;
    }

    private static string Describe(SweepEvent e)
    {
        if (e.Outcome.End == RunEnd.Elsewhere)
            return "is being trained by another process";
        if (e.Outcome.End == RunEnd.Failed)
            return $"failed: {e.Outcome.Failure}";
        var result = RunQueue.Finished(e.Item.Folder, e.Item.Configuration, warn: null);
        double? Number(string key) => e.Analysis?[key] is JsonValue v && v.TryGetValue(out double n) ? n : null;
        var spectral = Number("spectral_error") is { } error
            ? $", spectral error {error.ToString("0.0000", CultureInfo.InvariantCulture)}"
            : "";
        var bits = Number("bits_per_character") is { } perCharacter
            ? $", {perCharacter.ToString("0.0000", CultureInfo.InvariantCulture)} bits per character"
            : "";
        return string.Create(
            CultureInfo.InvariantCulture,
            $"test accuracy {result?.BestTestAccuracy:0.0000}{spectral}{bits}, {result?.Seconds:0} s"
        );
    }

    internal static string Count(int n, string what) => n == 1 ? $"1 {what}" : $"{n} {what}s";
}
