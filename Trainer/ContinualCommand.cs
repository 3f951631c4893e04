using System.Collections.Concurrent;
using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using EmtTorch.Analysis;
using EmtTorch.Reports;
using EmtTorch.Settings;
using EmtTorch.Studies;
using EmtTorch.Training;
using static EmtTorch.Trainer.Options;

namespace EmtTorch.Trainer;

/// <summary>
/// `Trainer continual SEQUENCE.json`: one network learns tasks one after the other, by several methods. First the
/// strengths of penalties are tried with the sweep's seed, then each method, at its best strength, is trained with all
/// seeds, then tables and figures are written. What is finished is passed over.
/// </summary>
internal static class ContinualCommand
{
    private sealed record Settings(
        string Sequence,
        string? Seeds,
        int? Jobs,
        string? Device,
        string[] Set,
        string? Out,
        bool Table
    );

    public static Command Create()
    {
        var sequence = One("SEQUENCE", "Tasks and methods, as in experiments/continual/t2_t3_t4.json");
        var seeds = Value<string?>("--seeds", "FIRST-LAST", "In place of the file's: 1-3, or 1,2,5");
        var jobs = Value<int?>(
            "--jobs",
            "N",
            "How many networks train at the same time (default: one for each processor; on a GPU one)"
        );
        var device = Device();
        var set = Value<string[]>(
            "--set",
            "KEY=VALUE",
            "A setting for every task, under its own: training.steps=500; may be given often"
        );
        var output = Value<string?>(
            "--out",
            "FOLDER",
            "The folder for runs/NAME and results/NAME (default: SEQUENCE's)"
        );
        var table = Switch("--table", "Train nothing: write the tables and figures of what is there");
        var command = new Command(
            "continual",
            "Trains one network on tasks one after the other, by several methods; run it again after an "
                + "interruption. Writes table.md, table.csv, table.json and table.html.\n\n  dotnet run --project "
                + "Trainer -- continual experiments/continual/t2_t3_t4.json"
        ).With(sequence, seeds, jobs, device, set, output, table);
        command.SetAction(parsed =>
            Exit.Of(
                () =>
                    Run(
                        new(
                            parsed.GetValue(sequence)!,
                            parsed.GetValue(seeds),
                            parsed.GetValue(jobs),
                            parsed.GetValue(device),
                            parsed.GetValue(set) ?? [],
                            parsed.GetValue(output),
                            parsed.GetValue(table)
                        )
                    ),
                "The sequence"
            )
        );
        return command;
    }

    private static int Run(Settings settings)
    {
        var sequence = Prepare(settings);
        if (settings.Table)
        {
            Write(sequence);
            return Exit.Done;
        }
        using var held = new RunFolder(sequence.Runs).TryLock();
        return held is null
            ? throw new TrainingException($"{sequence.Runs} is being trained by another process.")
            : Train(sequence, settings);
    }

    private static ContinualSequence Prepare(Settings settings)
    {
        var problems = new List<ConfigurationProblem>();
        if (settings.Jobs < 1)
            problems.Add("--jobs", $"is {settings.Jobs}: at least 1");
        IReadOnlyList<long>? seeds = null;
        if (settings.Seeds is { } text)
        {
            seeds = Sweep.ParseSeeds(text, out var problem);
            if (problem is not null)
                problems.Add("--seeds", problem);
        }
        string[] overrides = settings.Device is { } device ? [.. settings.Set, $"device={device}"] : settings.Set;
        ContinualSequence? sequence = null;
        try
        {
            sequence = ContinualSequence.Load(settings.Sequence, overrides, settings.Out, seeds);
        }
        catch (ConfigurationException e)
        {
            problems.AddRange(e.Problems);
        }
        if (sequence is null || problems.Count > 0)
            throw new ConfigurationException(problems);

        var first = sequence.Tasks[0].Configuration;
        // Networks side by side have one thread each.
        TorchRuntime.Start(first.Threads ?? (settings.Jobs is null or > 1 ? 1 : Environment.ProcessorCount));
        if (TorchRuntime.ResolveDevice(first.Device, out var noDevice) is var _ && noDevice is not null)
            problems.Add("device", noDevice);
        else
            problems.AddRange(ContinualRun.Check(sequence));
        foreach (var (folder, option) in new[] { (sequence.Runs, "runs"), (sequence.Results, "results") })
        {
            if (new RunFolder(folder).WhyNotWritable() is { } reason)
                problems.Add("--out", $"the folder of all {option}, {folder}, can't be written: {reason}");
        }

        var copy = Path.Combine(sequence.Runs, ContinualSequence.FileName);
        if (File.Exists(copy))
        {
            foreach (var key in ContinualSequence.Differences(File.ReadAllText(copy), sequence.ToJson()))
            {
                problems.Add(
                    key,
                    $"is another than that of the runs in {sequence.Runs}: take another name or another --out, or "
                        + "move those away"
                );
            }
        }

        return problems.Count == 0 ? sequence : throw new ConfigurationException(problems);
    }

    private static int Train(ContinualSequence sequence, Settings settings)
    {
        using var screen = new Screen();
        using var stop = new Interruption(screen);
        var clock = Stopwatch.StartNew();
        Directory.CreateDirectory(sequence.Runs);
        AtomicFile.WriteText(Path.Combine(sequence.Runs, ContinualSequence.FileName), sequence.ToJson());
        int jobs = settings.Jobs ?? RunQueue.DefaultJobs(sequence.Tasks[0].Configuration);
        var failures = new List<string>();

        // Runs that don't wait for each other, some at a time.
        bool All(IEnumerable<(ContinualMethod Method, long Seed)> chains, bool firstAlone)
        {
            // One by one, in their order.
            Parallel.ForEach(
                Partitioner.Create(chains, EnumerablePartitionerOptions.NoBuffering),
                new ParallelOptions { MaxDegreeOfParallelism = jobs },
                chain =>
                {
                    if (stop.Token.IsCancellationRequested)
                        return;
                    var run = Runner(sequence, chain.Method, chain.Seed, screen);
                    try
                    {
                        if (firstAlone)
                            run.TrainFirst(stop.Token);
                        else
                            run.Train(stop.Token);
                    }
                    catch (Exception e) when (e.IsOfRun())
                    {
                        lock (failures)
                            failures.Add($"{chain.Method.Name}, seed {chain.Seed}: {TorchSharpDefects.Message(e)}");
                        screen.Say(
                            $"failed: {chain.Method.Name}, seed {chain.Seed}: {TorchSharpDefects.Message(e)}",
                            warning: true
                        );
                    }
                }
            );
            return !stop.Token.IsCancellationRequested;
        }

        var swept = sequence.Methods.GroupBy(m => m.Group).Where(g => g.Count() > 1).SelectMany(g => g).ToList();
        bool sweeps = swept.Count > 0;
        long[] seeds = [.. sweeps ? [sequence.SweepSeed] : Array.Empty<long>(), .. sequence.Seeds];
        screen.Say(
            $"{sequence.Name}: {string.Join(", ", sequence.Tasks.Select(t => t.Name))}; {SweepCommand.Count(sequence.Seeds.Count, "seed")}, {SweepCommand.Count(sequence.Methods.Count, "method")}; in {sequence.Runs}"
        );
        bool whole = All(
            seeds.Select(s => (new ContinualMethod(ContinualFolders.First, "naive", 0, null, ""), s)),
            firstAlone: true
        );
        // Beside the strengths the methods that have none, so that a sweep shows what they are measured against.
        whole =
            whole
            && failures.Count == 0
            && (
                !sweeps
                || All(
                    swept.Concat(sequence.Methods.Where(m => m.Kind is "naive")).Select(m => (m, sequence.SweepSeed)),
                    firstAlone: false
                )
            );
        if (whole)
        {
            var table = ContinualTable.Of(sequence);
            var chosen = table.Groups.Select(table.Chosen).OfType<ContinualMethod>().ToList();
            foreach (var method in chosen.Where(m => swept.Contains(m)))
            {
                screen.Say(
                    $"{method.Group}: strength {method.Strength.ToString("R", CultureInfo.InvariantCulture)} is best by seed {sequence.SweepSeed}"
                );
            }

            whole = All(sequence.Seeds.SelectMany(s => chosen.Select(m => (m, s))), firstAlone: false);
        }
        if (stop.Token.IsCancellationRequested)
        {
            screen.Say($"Interrupted after {Screen.Duration(clock.Elapsed)}: the same command goes on.");
            return Exit.Interrupted;
        }
        Write(sequence);
        screen.Say($"This took {Screen.Duration(clock.Elapsed)}.");
        return failures.Count == 0 ? Exit.Done : Exit.Failed;
    }

    private static ContinualRun Runner(ContinualSequence sequence, ContinualMethod method, long seed, Screen screen)
    {
        string Label(int stage) =>
            method.Kind == "joint"
                ? $"{method.Name}, seed {seed}"
                : $"{method.Name}, seed {seed}, {stage + 1}-{sequence.Tasks[stage].Name}";
        return new(sequence, method, seed)
        {
            Log = (stage, folder) => screen.Logger(Label(stage), folder.LogFile, verbose: false),
            Progress = (stage, progress) =>
                screen.Show(Label(stage), sequence.Tasks[stage].Configuration.Training.Steps, progress),
            Done = (stage, tests, seconds) =>
            {
                screen.End(Label(stage));
                screen.Say(
                    $"{DateTime.Now:HH:mm:ss} {Label(stage)}: {string.Join(", ", tests.Accuracy.Select(a => string.Create(CultureInfo.InvariantCulture, $"{a.Key} {a.Value:0.0000}")))}; {seconds.ToString("0", CultureInfo.InvariantCulture)} s"
                );
            },
        };
    }

    private static void Write(ContinualSequence sequence)
    {
        var table = ContinualTable.Of(sequence);
        Directory.CreateDirectory(sequence.Results);
        string In(string file) => Path.Combine(sequence.Results, file);
        var markdown = table.Markdown();
        AtomicFile.WriteText(In("table.md"), markdown);
        AtomicFile.WriteText(In("table.csv"), table.Csv());
        AtomicFile.WriteText(In("table.json"), table.Json());
        AtomicFile.WriteText(In("table.html"), ContinualPage.Render(table));
        Console.Write(markdown);
        Console.WriteLine(In("table.html"));
    }
}
