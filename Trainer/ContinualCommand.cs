using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using System.Text.Json.Nodes;
using EmtTorch.Reports;
using EmtTorch.Settings;
using EmtTorch.Studies;
using EmtTorch.Training;
using static EmtTorch.Trainer.Options;

namespace EmtTorch.Trainer;

/// <summary>
/// `Trainer continual SEQUENCE.json`: trains one network on tasks one after the other, by several methods, and writes
/// tables and figures. See <see cref="ContinualTraining"/>.
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
            seeds = ExperimentFile.ParseSeeds(text, out var problem);
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
        if (problems.Count == 0)
        {
            int atOnce = Math.Min(sequence.Seeds.Count, settings.Jobs ?? RunQueue.DefaultJobs(first));
            var tooLarge = sequence.Tasks.Select(t => RunMemory.FindProblem(t.Configuration, atOnce));
            problems.AddRange(tooLarge.OfType<ConfigurationProblem>().Distinct());
        }
        foreach (var (folder, option) in new[] { (sequence.Runs, "runs"), (sequence.Results, "results") })
        {
            if (new RunFolder(folder).WhyNotWritable() is { } reason)
                problems.Add("--out", $"the folder of all {option}, {folder}, can't be written: {reason}");
        }

        var copy = Path.Combine(sequence.Runs, ContinualSequence.FileName);
        if (ReadCopy(copy, problems) is { } before)
        {
            foreach (var key in ContinualSequence.Differences(before, sequence.Whole))
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

    /// <summary>The sequence that the runs were begun with; null if there is none.</summary>
    private static JsonObject? ReadCopy(string file, List<ConfigurationProblem> problems)
    {
        try
        {
            return File.Exists(file) ? JsonText.Read<JsonObject>(file, "a sequence") : null;
        }
        catch (Exception e) when (e is InvalidDataException or IOException or UnauthorizedAccessException)
        {
            problems.Add(file, $"says what the runs beside it are, and is damaged: {e.Message}. Move it away");
            return null;
        }
    }

    private static int Train(ContinualSequence sequence, Settings settings)
    {
        using var screen = new Screen();
        using var stop = new Interruption(screen);
        var clock = Stopwatch.StartNew();
        Directory.CreateDirectory(sequence.Runs);
        AtomicFile.WriteText(Path.Combine(sequence.Runs, ContinualSequence.FileName), sequence.ToJson());
        var tasks = string.Join(", ", sequence.Tasks.Select(t => t.Name));
        var seeds = SweepCommand.Count(sequence.Seeds.Count, "seed");
        var methods = SweepCommand.Count(sequence.Methods.Count, "method");
        screen.Say($"{sequence.Name}: {tasks}; {seeds}, {methods}; in {sequence.Runs}");
        var training = new ContinualTraining(
            sequence,
            (method, seed) => Runner(sequence, method, seed, screen),
            settings.Jobs ?? RunQueue.DefaultJobs(sequence.Tasks[0].Configuration)
        )
        {
            Chosen = m =>
            {
                var strength = m.Strength.ToString("R", CultureInfo.InvariantCulture);
                screen.Say($"{m.Group}: strength {strength} is best by seed {sequence.SweepSeed}");
            },
            Failed = f => screen.Say($"failed: {f.Method.Name}, seed {f.Seed}: {f.Message}", warning: true),
        };
        var failures = training.Train(stop.Token);
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
                var accuracies = tests.Accuracy.Select(a => FormattableString.Invariant($"{a.Key} {a.Value:0.0000}"));
                screen.Say(
                    $"{DateTime.Now:HH:mm:ss} {Label(stage)}: {string.Join(", ", accuracies)}; "
                        + FormattableString.Invariant($"{seconds:0} s")
                );
            },
        };
    }

    private static void Write(ContinualSequence sequence)
    {
        var table = ContinualTable.Read(sequence);
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
