using System.Globalization;
using System.Runtime.InteropServices;
using System.Text.Json.Nodes;
using EmtTorch.Configuration;
using EmtTorch.Training;
using Serilog.Core;

namespace EmtTorch.Trainer;

/// <summary>
/// `Trainer CONFIG …`: checks all that can be wrong before anything is written, then trains the configurations and seeds, several at a time: each of a
/// number of workers takes the next one when it is done; on a GPU all of one shape in each launch. A run's result is what it would be alone.
/// </summary>
internal static class TrainCommand
{
    internal sealed record Arguments(string[] Configs, long? Seed, string? Seeds, string? Device, string[] Set, string? Out, bool Resume, string? Weights, int? Jobs, bool Together = false);

    private const int Done = 0, Failed = 1, Wrong = 2, Interrupted = 130;

    public static int Run(Arguments arguments)
    {
        List<RunConfiguration> runs;
        try
        {
            runs = Configurations(arguments);
        }
        catch (ConfigurationException e)
        {
            Console.Error.WriteLine(e.Message);
            return Wrong;
        }

        using var stop = new CancellationTokenSource();
        void Interrupt(PosixSignalContext context)
        {
            // A second signal ends the program at once.
            if (stop.IsCancellationRequested) return;
            context.Cancel = true;
            stop.Cancel();
        }
        using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Interrupt);
        using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Interrupt);

        using var screen = new Screen();
        var codes = new int[runs.Count];
        // What the runs differ in tells them apart on the screen.
        bool named = runs.Any(r => r.Name != runs[0].Name);
        string Label(RunConfiguration run) => runs.Count == 1 ? "" : named ? $"{run.Name}, seed {run.Seed}" : $"seed {run.Seed}";
        int next = -1;
        void Work()
        {
            for (int i; (i = Interlocked.Increment(ref next)) < runs.Count;)
                codes[i] = stop.IsCancellationRequested ? Interrupted : Train(runs[i], arguments, screen, Label(runs[i]), stop.Token);
        }
        bool together = runs.Count > 1 && (arguments.Together || !OnCpu(runs[0]));
        int jobs = Math.Min(runs.Count, arguments.Jobs ?? (together ? runs.Count : DefaultJobs(runs[0])));
        if (together)
        {
            foreach (var some in OfOneShape(runs).SelectMany(indices => indices.Chunk(jobs)))
            {
                var codesOfSome = stop.IsCancellationRequested ? [.. some.Select(_ => Interrupted)] : TrainTogether([.. some.Select(i => (runs[i], Label(runs[i])))], arguments, screen, stop.Token);
                for (int i = 0; i < some.Length; i++) codes[some[i]] = codesOfSome[i];
            }
        }
        else
        {
            var workers = Enumerable.Range(1, jobs - 1).Select(_ => new Thread(Work)).ToList();
            workers.ForEach(w => w.Start());
            Work();
            workers.ForEach(w => w.Join());
        }

        if (runs.Count > 1) Summarise(runs, codes, Label);
        var done = runs.Where((_, i) => codes[i] == Done).Select(r => RunFolder.Of(r).Path).ToList();
        if (done.Count > 0) Console.WriteLine($"What was learned: dotnet run -c Release --project Trainer -- analyze {(done.Count == 1 ? done[0] : string.Join(' ', done.Select(f => Path.Combine(Path.GetDirectoryName(f)!, "seed-*")).Distinct()))}");
        var failed = runs.Where((_, i) => codes[i] == Failed).Select(Label).ToList();
        if (failed.Count > 0 && runs.Count > 1)
            Console.Error.WriteLine($"{failed.Count} of {runs.Count} runs failed: {string.Join("; ", failed)}. What went wrong is in their log.jsonl; --resume goes on with them.");
        return codes.Contains(Interrupted) ? Interrupted : failed.Count > 0 ? Failed : Done;
    }

    /// <summary>A line a run: its result, or that it has none.</summary>
    private static void Summarise(List<RunConfiguration> runs, int[] codes, Func<RunConfiguration, string> label)
    {
        Console.WriteLine("\n| run | test accuracy | best | steps | seconds |\n|:--|--:|--:|--:|--:|");
        for (int i = 0; i < runs.Count; i++)
            Console.WriteLine(codes[i] == Done && RunFolder.Of(runs[i]).ReadResult() is { } r
                ? string.Create(CultureInfo.InvariantCulture, $"| {label(runs[i])} | {r.TestAccuracy:0.0000} | {r.BestTestAccuracy:0.0000} at step {r.BestStep} | {r.Steps} | {r.Seconds:0.0} |")
                : $"| {label(runs[i])} | {(codes[i] == Interrupted ? "interrupted" : "failed")} | | | |");
        Console.WriteLine();
    }

    /// <summary>The runs that can be in one launch, by their places.</summary>
    private static List<List<int>> OfOneShape(List<RunConfiguration> runs)
    {
        var groups = new List<List<int>>();
        for (int i = 0; i < runs.Count; i++)
            if (groups.Find(g => EnsembleRun.CanJoin(runs[g[0]], runs[i])) is { } group) group.Add(i);
            else groups.Add([i]);
        return groups;
    }

    private static bool OnCpu(RunConfiguration run) => TorchRuntime.ResolveDevice(run.Device, out _).type == TorchSharp.DeviceType.CPU;

    /// <summary>On the CPU a network for each processor, with one thread each; a GPU takes all of them in each launch, in place of this.</summary>
    private static int DefaultJobs(RunConfiguration run) => OnCpu(run) ? Math.Max(1, Environment.ProcessorCount / (run.Threads ?? 1)) : 1;

    /// <summary>One configuration a seed, checked against this machine and against what their folders hold already.</summary>
    private static List<RunConfiguration> Configurations(Arguments arguments)
    {
        var overrides = new List<string>(arguments.Set);
        if (arguments.Device is not null) overrides.Add($"device={arguments.Device}");
        if (arguments.Out is not null) overrides.Add($"out={JsonValue.Create(arguments.Out)!.ToJsonString()}");
        var problems = new List<ConfigurationProblem>();
        if (arguments.Jobs < 1) problems.Add(new("--jobs", $"is {arguments.Jobs}: at least 1"));
        if (arguments.Seed is not null && arguments.Seeds is not null) problems.Add(new("--seeds", "stands beside --seed: give one of the two"));
        var seeds = Seeds(arguments, problems);

        var runs = new List<RunConfiguration>();
        int before = problems.Count;
        foreach (var config in arguments.Configs)
        {
            try
            {
                foreach (var seed in seeds)
                    runs.Add(ConfigurationFile.Load(config, seed is { } s ? [.. overrides, $"seed={s.ToString(CultureInfo.InvariantCulture)}"] : overrides));
            }
            catch (ConfigurationException e)
            {
                problems.AddRange(arguments.Configs.Length == 1 ? e.Problems : e.Problems.Select(p => p.Path == config ? p : p with { Path = p.Path.Length == 0 ? config : $"{config}: {p.Path}" }));
            }
        }
        if (problems.Count > before) throw new ConfigurationException(problems);
        foreach (var twice in runs.GroupBy(r => Path.GetFullPath(RunFolder.Of(r).Path)).Where(g => g.Count() > 1))
            problems.Add(new("name", $"{twice.Count()} runs would write to {twice.Key}: give their configurations different names or seeds"));
        if (runs.Count > 0)
        {
            // Networks side by side have one thread each. One alone has them all: a step leaves no bit to their number.
            TorchRuntime.Start(runs[0].Threads ?? (runs.Count > 1 && !arguments.Together && arguments.Jobs is null or > 1 ? 1 : Environment.ProcessorCount));
            foreach (var device in runs.Select(r => r.Device).Distinct())
            {
                TorchRuntime.ResolveDevice(device, out var problem);
                if (problem is not null) problems.Add(new("device", problem));
            }
        }
        if (arguments.Weights is { } weights && !File.Exists(weights)) problems.Add(new("--weights", $"there is no file {weights}"));
        foreach (var run in runs)
        {
            var folder = RunFolder.Of(run);
            if (folder.WhyNotWritable() is { } reason)
            {
                problems.Add(new("out", $"the run's folder {folder.Path} can't be written: {reason}"));
                break;
            }
            if (arguments.Resume && folder.HoldsRun) problems.AddRange(Differences(run, folder));
        }
        return problems.Count == 0 ? runs : throw new ConfigurationException(problems);
    }

    private static List<long?> Seeds(Arguments arguments, List<ConfigurationProblem> problems)
    {
        if (arguments.Seeds is not { } text) return [arguments.Seed];
        var seeds = new List<long?>();
        foreach (var part in text.Split(','))
        {
            var ends = part.Split('-');
            if (ends.Length <= 2 && long.TryParse(ends[0], out long first) && long.TryParse(ends[^1], out long last) && first <= last && last - first < 100_000)
                for (long s = first; s <= last; s++) seeds.Add(s);
            else
                problems.Add(new("--seeds", $"'{part}' is not a range of seeds; 1-20 or 1,2,5 is"));
        }
        // Two runs can't share a folder.
        return seeds.Count > 0 ? [.. seeds.Distinct()] : [null];
    }

    // What may change between an interruption and the resumption; all else would make it another experiment.
    private static readonly string[] MayChange =
        ["device", "threads", "out", "training.steps", "training.log_interval", "training.early_stop", "evaluation", "checkpoints"];

    private static IEnumerable<ConfigurationProblem> Differences(RunConfiguration run, RunFolder folder)
    {
        JsonNode? before;
        try { before = JsonNode.Parse(File.ReadAllText(folder.ConfigFile)); }
        catch (System.Text.Json.JsonException) { yield break; } // a damaged copy: the checkpoint itself decides
        foreach (var (path, old, now) in Compare("", before, JsonNode.Parse(run.ToJson())))
            yield return new(path, $"is {now}, but the run in {folder.Path} was begun with {old}: --resume goes on with the same experiment. Without --resume it is begun anew, and the old folder is kept under earlier/");
    }

    private static IEnumerable<(string Path, string Old, string New)> Compare(string path, JsonNode? before, JsonNode? now)
    {
        if (MayChange.Contains(path)) yield break;
        if (before is JsonObject a && now is JsonObject b)
        {
            foreach (var key in a.Select(p => p.Key).Union(b.Select(p => p.Key)))
                foreach (var difference in Compare(path.Length == 0 ? key : $"{path}.{key}", a[key], b[key]))
                    yield return difference;
        }
        else if (!JsonNode.DeepEquals(before, now)) yield return (path, before?.ToJsonString() ?? "null", now?.ToJsonString() ?? "null");
    }

    private static int Train(RunConfiguration configuration, Arguments arguments, Screen screen, string label, CancellationToken stop)
    {
        var folder = RunFolder.Of(configuration);
        if (IsFinished(configuration, arguments, folder)) return Done;
        using var log = Open(configuration, arguments, screen, label, folder);
        try
        {
            var run = new TrainingRun(configuration, folder, log) { InitialWeights = arguments.Weights, Progress = progress => screen.Show(label, configuration.Training.Steps, progress) };
            return Close(run.Train(arguments.Resume, stop), folder, log);
        }
        catch (Exception e) when (e is TrainingException or CheckpointException or InvalidDataException or IOException or ExternalException)
        {
            log.Error("{Message}", e.Message);
            return Failed;
        }
        finally
        {
            screen.End(label);
        }
    }

    /// <summary>All of these at once: see <see cref="EnsembleRun"/>.</summary>
    private static int[] TrainTogether((RunConfiguration Configuration, string Label)[] runs, Arguments arguments, Screen screen, CancellationToken stop)
    {
        var codes = new int[runs.Length];
        var logs = new List<Logger>();
        var members = new List<EnsembleMember>();
        try
        {
            for (int i = 0; i < runs.Length; i++)
            {
                var (at, (configuration, label)) = (i, runs[i]);
                var folder = RunFolder.Of(configuration);
                if (IsFinished(configuration, arguments, folder)) continue;
                codes[i] = Failed; // until it has ended otherwise
                var log = Open(configuration, arguments, screen, label, folder);
                logs.Add(log);
                members.Add(new(configuration, folder, log)
                {
                    InitialWeights = arguments.Weights,
                    Progress = progress => screen.Show(label, configuration.Training.Steps, progress),
                    Ended = outcome =>
                    {
                        codes[at] = outcome.Failure is null ? Close(outcome.Result, folder, log) : Failed;
                        screen.End(label);
                    },
                });
            }
            if (members.Count > 0) new EnsembleRun(members).Train(arguments.Resume, stop);
        }
        finally
        {
            logs.ForEach(l => l.Dispose());
        }
        return codes;
    }

    private static bool IsFinished(RunConfiguration configuration, Arguments arguments, RunFolder folder)
    {
        if (!arguments.Resume || folder.ReadFinished(configuration.Training.Steps) is not { } finished) return false;
        Console.WriteLine($"{folder.Path} is finished: test accuracy {finished.TestAccuracy:0.0000} after {finished.Steps} steps. Nothing to do.");
        return true;
    }

    /// <summary>The run's folder, with what was in it before out of the way, and its log.</summary>
    private static Logger Open(RunConfiguration configuration, Arguments arguments, Screen screen, string label, RunFolder folder)
    {
        var setAside = !arguments.Resume && folder.HoldsRun ? folder.SetAside() : null;
        Directory.CreateDirectory(folder.Path);
        var log = screen.Logger(label, folder.LogFile);
        if (setAside is not null) log.Information("The run that was in {Folder} is now in {Earlier}; --resume would have gone on with it", folder.Path, setAside);
        log.Information("Training {Name}, seed {Seed}, on {Device}; Torch from {Provider}, {Version}", configuration.Name, configuration.Seed,
            TorchRuntime.ResolveDevice(configuration.Device, out _).ToString(), TorchRuntime.Provider, TorchRuntime.TorchVersion);
        return log;
    }

    /// <summary>Says how a run ended that did not fail.</summary>
    private static int Close(RunResult? result, RunFolder folder, Logger log)
    {
        if (result is null)
        {
            log.Information("To go on, give the same command with {Option}", "--resume");
            return Interrupted;
        }
        log.Information("Test accuracy {TestAccuracy:0.0000} at horizon {TestHorizon} after {Steps} steps in {Seconds:0.0} s; everything is in {Folder}",
            result.TestAccuracy, result.TestHorizon, result.Steps, result.Seconds, folder.Path);
        // A bit more or less in the last digit is the test's own noise.
        if (result.BestTestAccuracy > result.TestAccuracy + 0.005)
            log.Warning("The test accuracy was {Best:0.0000} at step {BestStep}, and was lost again; that checkpoint is kept", result.BestTestAccuracy, result.BestStep);
        return Done;
    }
}
