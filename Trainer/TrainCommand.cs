using System.Globalization;
using System.Runtime.InteropServices;
using System.Text.Json.Nodes;
using EmtTorch.Configuration;
using EmtTorch.Settings;
using EmtTorch.Studies;
using EmtTorch.Training;
using Serilog.Core;

namespace EmtTorch.Trainer;

/// <summary>
/// `Trainer CONFIG …`: checks everything that can be wrong before anything is written, then trains the configurations
/// with all seeds. See <see cref="RunQueue"/>.
/// </summary>
internal static class TrainCommand
{
    internal sealed record Arguments(
        string[] Configs,
        long? Seed,
        string? Seeds,
        string? Device,
        string[] Set,
        string? Out,
        bool Resume,
        string? Weights,
        int? Jobs,
        bool Together = false
    );

    public static int Run(Arguments arguments)
    {
        var runs = Configurations(arguments);
        using var screen = new Screen();
        using var stop = new Interruption(screen);
        // What the runs differ in tells them apart on the screen.
        bool named = runs.Any(r => r.Name != runs[0].Name);
        string Label(RunConfiguration run) =>
            runs.Count == 1 ? ""
            : named ? $"{run.Name}, seed {run.Seed}"
            : $"seed {run.Seed}";
        var queue = screen.Queue(Label) with
        {
            Resume = arguments.Resume,
            Weights = arguments.Weights,
            Jobs = arguments.Jobs,
            Together = arguments.Together,
        };
        var ends = queue.Train(runs, stop.Token).Select(o => o.End).ToList();

        if (runs.Count > 1)
            Summarise(runs, ends, Label);
        var done = runs.Where((_, i) => ends[i] == RunEnd.Done).Select(r => RunFolder.Of(r).Path).ToList();
        if (done.Count > 0)
        {
            var folders =
                done.Count == 1
                    ? done.Select(ShellWord.Quote)
                    : done.Select(f => $"{ShellWord.Quote(Path.GetDirectoryName(f)!)}/seed-*");
            Console.WriteLine(
                "What was learned: dotnet run -c Release --project Trainer -- analyze "
                    + string.Join(' ', folders.Distinct())
            );
        }

        var failed = runs.Where((_, i) => ends[i] is RunEnd.Failed or RunEnd.Elsewhere).Select(Label).ToList();
        if (failed.Count > 0 && runs.Count > 1)
        {
            Console.Error.WriteLine(
                $"{failed.Count} of {runs.Count} runs failed: {string.Join("; ", failed)}. Why is said above and, if a "
                    + "run was begun, in its log.jsonl; --resume goes on with them."
            );
        }

        return ends.Contains(RunEnd.Interrupted) ? Exit.Interrupted
            : failed.Count > 0 ? Exit.Failed
            : Exit.Done;
    }

    /// <summary>Prints a line for each run: its result, or why it has none.</summary>
    private static void Summarise(List<RunConfiguration> runs, List<RunEnd> ends, Func<RunConfiguration, string> label)
    {
        Console.WriteLine("\n| run | test accuracy | best | steps | seconds |\n|:--|--:|--:|--:|--:|");
        for (int i = 0; i < runs.Count; i++)
        {
            var figures =
                ends[i] == RunEnd.Done && RunFolder.Of(runs[i]).ReadResult() is { } r
                    ? FormattableString.Invariant(
                        $"{r.TestAccuracy:0.0000} | {r.BestTestAccuracy:0.0000} at step {r.BestStep} | {r.Steps} | "
                    ) + FormattableString.Invariant($"{r.Seconds:0.0}")
                    : $"{(ends[i] == RunEnd.Interrupted ? "interrupted" : "failed")} | | |";
            Console.WriteLine($"| {label(runs[i])} | {figures} |");
        }

        Console.WriteLine();
    }

    /// <summary>
    /// A configuration for each file and seed, checked against this machine and against what the runs' folders hold.
    /// </summary>
    private static List<RunConfiguration> Configurations(Arguments arguments)
    {
        var problems = new List<ConfigurationProblem>();
        if (arguments.Jobs < 1)
            problems.Add("--jobs", $"is {arguments.Jobs}: at least 1");
        if (arguments.Seed is not null && arguments.Seeds is not null)
            problems.Add("--seeds", "stands beside --seed: give one of the two");
        var seeds = Seeds(arguments, problems);
        int before = problems.Count;
        var runs = Read(arguments, seeds, problems);
        if (problems.Count > before)
            throw new ConfigurationException(problems);
        foreach (var (folder, count) in runs.CountBy(r => Path.GetFullPath(RunFolder.Of(r).Path)))
        {
            if (count > 1)
            {
                var why = $"{count} runs would write to {folder}: give their configurations different names or seeds";
                problems.Add("name", why);
            }
        }
        // Networks that train side by side have one thread each. One alone has all: their number changes no bit of a
        // step.
        bool sideBySide = runs.Count > 1 && !arguments.Together && arguments.Jobs is null or > 1;
        TorchRuntime.Start(runs[0].Threads ?? (sideBySide ? 1 : Environment.ProcessorCount));
        foreach (var device in runs.Select(r => r.Device).Distinct())
        {
            TorchRuntime.ResolveDevice(device, out var problem);
            if (problem is not null)
                problems.Add("device", problem);
        }
        if (problems.Count == 0)
            problems.AddRange(RunMemory.FindProblems(runs, run => arguments.Jobs ?? RunQueue.DefaultJobs(run)));
        CheckFolders(runs, arguments.Resume, problems);
        if (problems.Count == 0 && arguments.Weights is { } weights)
        {
            problems.AddRange(
                runs.DistinctBy(r => r with { Seed = 0 })
                    .Select(r => TrainingRun.FindWeightsProblem(r, weights))
                    .OfType<string>()
                    .Distinct()
                    .Select(problem => new ConfigurationProblem("--weights", problem))
            );
        }
        return problems.Count == 0 ? runs : throw new ConfigurationException(problems);
    }

    private static List<RunConfiguration> Read(
        Arguments arguments,
        List<long?> seeds,
        List<ConfigurationProblem> problems
    )
    {
        var overrides = new List<string>(arguments.Set);
        if (arguments.Device is not null)
            overrides.Add($"device={arguments.Device}");
        if (arguments.Out is not null)
            overrides.Add($"out={JsonValue.Create(arguments.Out)!.ToJsonString()}");
        var runs = new List<RunConfiguration>();
        foreach (var config in arguments.Configs)
        {
            // Of several files the path says which one has the problem.
            ConfigurationProblem Place(ConfigurationProblem p) =>
                arguments.Configs.Length == 1 || p.Path == config ? p
                : p.Path.Length == 0 ? p with { Path = config }
                : p with { Path = $"{config}: {p.Path}" };
            try
            {
                string[] ofSeed = seeds[0] is { } seed ? [FormattableString.Invariant($"seed={seed}")] : [];
                var first = ConfigurationFile.Load(config, [.. overrides, .. ofSeed]);
                runs.AddRange(seeds.Select(s => first with { Seed = s ?? first.Seed }));
            }
            catch (ConfigurationException e)
            {
                problems.AddRange(e.Problems.Select(Place));
            }
        }
        return runs;
    }

    private static void CheckFolders(List<RunConfiguration> runs, bool resume, List<ConfigurationProblem> problems)
    {
        // New folders are made in one folder, which is tried once.
        var tried = new HashSet<string?>();
        foreach (var run in runs)
        {
            var folder = RunFolder.Of(run);
            bool again = !Path.Exists(folder.Path) && !tried.Add(Path.GetDirectoryName(folder.Path));
            if (!again && folder.WhyNotWritable() is { } reason)
            {
                problems.Add("out", $"the run's folder {folder.Path} can't be written: {reason}");
                break;
            }
            const string Advice =
                "--resume goes on with the same experiment. Without --resume it is begun anew, and the old folder is "
                + "kept under earlier/";
            if (resume)
                problems.AddRange(ResumptionCheck.FindProblems(folder, run, ratesMayChange: true, Advice));
        }
        problems.AddRange(
            runs.DistinctBy(r => r.Model).Select(TrainingRun.FindStoreProblem).OfType<ConfigurationProblem>().Distinct()
        );
    }

    private static List<long?> Seeds(Arguments arguments, List<ConfigurationProblem> problems)
    {
        if (arguments.Seeds is not { } text)
            return [arguments.Seed];
        IReadOnlyList<long> seeds = ExperimentFile.ParseSeeds(text, out var problem);
        if (problem is not null)
            problems.Add("--seeds", problem);
        return seeds.Count > 0 ? [.. seeds] : [null];
    }
}
