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
/// `Trainer CONFIG …`: checks all that can be wrong before anything is written, then trains the configurations and
/// seeds, several at a time: each of a number of workers takes the next one when it is done; on a GPU all of one shape
/// in each launch. A run's result is what it would be alone.
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
            Console.WriteLine(
                "What was learned: dotnet run -c Release --project Trainer -- analyze "
                    + $"{(done.Count == 1 ? done[0] : string.Join(' ', done.Select(f => Path.Combine(Path.GetDirectoryName(f)!, "seed-*")).Distinct()))}"
            );
        }

        var failed = runs.Where((_, i) => ends[i] is RunEnd.Failed or RunEnd.Elsewhere).Select(Label).ToList();
        if (failed.Count > 0 && runs.Count > 1)
        {
            Console.Error.WriteLine(
                $"{failed.Count} of {runs.Count} runs failed: {string.Join("; ", failed)}. What went wrong is in "
                    + "their log.jsonl; --resume goes on with them."
            );
        }

        return ends.Contains(RunEnd.Interrupted) ? Exit.Interrupted
            : failed.Count > 0 ? Exit.Failed
            : Exit.Done;
    }

    /// <summary>A line a run: its result, or that it has none.</summary>
    private static void Summarise(List<RunConfiguration> runs, List<RunEnd> ends, Func<RunConfiguration, string> label)
    {
        Console.WriteLine("\n| run | test accuracy | best | steps | seconds |\n|:--|--:|--:|--:|--:|");
        for (int i = 0; i < runs.Count; i++)
        {
            Console.WriteLine(
                ends[i] == RunEnd.Done && RunFolder.Of(runs[i]).ReadResult() is { } r
                    ? string.Create(
                        CultureInfo.InvariantCulture,
                        $"| {label(runs[i])} | {r.TestAccuracy:0.0000} | {r.BestTestAccuracy:0.0000} at step {r.BestStep} | {r.Steps} | {r.Seconds:0.0} |"
                    )
                    : $"| {label(runs[i])} | {(ends[i] == RunEnd.Interrupted ? "interrupted" : "failed")} | | | |"
            );
        }

        Console.WriteLine();
    }

    /// <summary>
    /// One configuration a seed, checked against this machine and against what their folders hold already.
    /// </summary>
    private static List<RunConfiguration> Configurations(Arguments arguments)
    {
        var overrides = new List<string>(arguments.Set);
        if (arguments.Device is not null)
            overrides.Add($"device={arguments.Device}");
        if (arguments.Out is not null)
            overrides.Add($"out={JsonValue.Create(arguments.Out)!.ToJsonString()}");
        var problems = new List<ConfigurationProblem>();
        if (arguments.Jobs < 1)
            problems.Add("--jobs", $"is {arguments.Jobs}: at least 1");
        if (arguments.Seed is not null && arguments.Seeds is not null)
            problems.Add("--seeds", "stands beside --seed: give one of the two");
        var seeds = Seeds(arguments, problems);

        var runs = new List<RunConfiguration>();
        int before = problems.Count;
        foreach (var config in arguments.Configs)
        {
            try
            {
                foreach (var seed in seeds)
                {
                    runs.Add(
                        ConfigurationFile.Load(
                            config,
                            seed is { } s
                                ? [.. overrides, $"seed={s.ToString(CultureInfo.InvariantCulture)}"]
                                : overrides
                        )
                    );
                }
            }
            catch (ConfigurationException e)
            {
                problems.AddRange(
                    arguments.Configs.Length == 1
                        ? e.Problems
                        : e.Problems.Select(p =>
                            p.Path == config ? p : p with { Path = p.Path.Length == 0 ? config : $"{config}: {p.Path}" }
                        )
                );
            }
        }
        if (problems.Count > before)
            throw new ConfigurationException(problems);
        foreach (var twice in runs.GroupBy(r => Path.GetFullPath(RunFolder.Of(r).Path)).Where(g => g.Count() > 1))
        {
            problems.Add(
                "name",
                $"{twice.Count()} runs would write to {twice.Key}: give their configurations different names or seeds"
            );
        }

        if (runs.Count > 0)
        {
            // Networks side by side have one thread each. One alone has them all: a step leaves no bit to their number.
            TorchRuntime.Start(
                runs[0].Threads
                    ?? (
                        runs.Count > 1 && !arguments.Together && arguments.Jobs is null or > 1
                            ? 1
                            : Environment.ProcessorCount
                    )
            );
            foreach (var device in runs.Select(r => r.Device).Distinct())
            {
                TorchRuntime.ResolveDevice(device, out var problem);
                if (problem is not null)
                    problems.Add("device", problem);
            }
        }
        if (arguments.Weights is { } weights && !File.Exists(weights))
            problems.Add("--weights", $"there is no file {weights}");
        foreach (var run in runs)
        {
            var folder = RunFolder.Of(run);
            if (folder.WhyNotWritable() is { } reason)
            {
                problems.Add("out", $"the run's folder {folder.Path} can't be written: {reason}");
                break;
            }
            if (arguments.Resume)
                problems.AddRange(Resumption.Differences(folder, run));
            if (TrainingRun.FindStoreProblem(run) is { } store && !problems.Contains(store))
                problems.Add(store);
        }
        return problems.Count == 0 ? runs : throw new ConfigurationException(problems);
    }

    private static List<long?> Seeds(Arguments arguments, List<ConfigurationProblem> problems)
    {
        if (arguments.Seeds is not { } text)
            return [arguments.Seed];
        IReadOnlyList<long> seeds = Sweep.ParseSeeds(text, out var problem);
        if (problem is not null)
            problems.Add("--seeds", problem);
        return seeds.Count > 0 ? [.. seeds] : [null];
    }
}
