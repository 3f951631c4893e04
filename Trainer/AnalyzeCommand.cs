using System.CommandLine;
using System.Globalization;
using EmtTorch.Analysis;
using EmtTorch.Analysis.Runs;
using EmtTorch.Reports;
using EmtTorch.Settings;
using EmtTorch.Studies;
using EmtTorch.Training;
using static EmtTorch.Trainer.Options;

namespace EmtTorch.Trainer;

/// <summary>
/// `Trainer analyze PATH …`: what trained networks learned, in a few lines, analysis.json and report.html.
/// </summary>
internal static class AnalyzeCommand
{
    /// <summary>The states of all steps are held at once.</summary>
    private const int LatestTime = 1000;

    private sealed record Settings(
        string[] Paths,
        string? Config,
        string Checkpoint,
        string? Grounding,
        double Alpha,
        double Persistence,
        string Input,
        int? Time,
        string? Out
    );

    private static readonly Argument<string[]> Paths = Several(
        "PATH",
        "A run's folder, a checkpoint, or a safetensors file that Python wrote; several give one table"
    );
    private static readonly Option<string?> Config = Value<string?>(
        "--config",
        "FILE",
        "The configuration with the task, in place of a run's own; needed for weights that don't carry one"
    );
    private static readonly Option<string> Checkpoint = Options.Checkpoint();
    private static readonly Option<string?> GroundingName = Value<string?>(
        "--grounding",
        "NAME",
        "How variable memories are found: realization, output, or algorithm1 (default: realization, output "
            + "where that can't be had)"
    );
    private static readonly Option<double> Alpha = Value<double>(
        "--alpha",
        "A",
        "Algorithm 1's mix of input (1) and output (0)",
        1
    );
    private static readonly Option<double> Persistence = Value<double>(
        "--persistence",
        "R",
        "Eigenvectors of a smaller |λ| have no part in output's and algorithm1's basis",
        0.99
    );
    private static readonly Option<string> Input = Value(
        "--input",
        "DIGITS",
        "The sequence that the report shows: digits, or a JSON array of s vectors",
        ExampleInput.Default
    );
    private static readonly Option<int?> Time = Value<int?>("--time", "T", "The step of interventions (default: 2 s)");
    private static readonly Option<string?> Out = Value<string?>(
        "--out",
        "FOLDER",
        "Where to write (default: the run's folder, or beside the weights)"
    );

    public static Command Create()
    {
        var command = new Command(
            "analyze",
            "Shows what a trained network learned: prints it, and writes analysis.json and report.html.\n\n  dotnet "
                + "run --project Trainer -- analyze runs/t1/seed-1"
        ).With(Paths, Config, Checkpoint, GroundingName, Alpha, Persistence, Input, Time, Out);
        command.SetAction(parsed => Exit.Of(() => Run(Read(parsed))));
        return command;
    }

    private static Settings Read(ParseResult parsed) =>
        new(
            parsed.GetValue(Paths)!,
            parsed.GetValue(Config),
            parsed.GetValue(Checkpoint)!,
            parsed.GetValue(GroundingName),
            parsed.GetValue(Alpha),
            parsed.GetValue(Persistence),
            parsed.GetValue(Input)!,
            parsed.GetValue(Time),
            parsed.GetValue(Out)
        );

    private static int Run(Settings settings)
    {
        TorchRuntime.Start(null);
        var networks = new List<TrainedNetwork>();
        try
        {
            var problems = new List<ConfigurationProblem>();
            var options = ToOptions(settings, problems);
            // Said once, not for every path.
            bool known =
                settings.Checkpoint is "best" or "latest"
                || long.TryParse(settings.Checkpoint, NumberStyles.None, CultureInfo.InvariantCulture, out _);
            if (!known)
                problems.Add("--checkpoint", $"'{settings.Checkpoint}' is not one of best, latest and a step's number");

            foreach (var path in settings.Paths)
                Load(path, settings with { Checkpoint = known ? settings.Checkpoint : "best" }, networks, problems);
            Check(networks, settings, problems);
            if (problems.Count > 0)
                throw new ConfigurationException(problems);
            return Analyze(networks, settings, options);
        }
        finally
        {
            foreach (var network in networks)
                network.Dispose();
        }
    }

    private static void Load(
        string path,
        Settings settings,
        List<TrainedNetwork> networks,
        List<ConfigurationProblem> problems
    )
    {
        try
        {
            networks.Add(
                TrainedNetwork.Load(
                    path,
                    settings.Config,
                    settings.Checkpoint,
                    warning => Console.Error.WriteLine($"Warning: {warning}")
                )
            );
        }
        catch (ConfigurationException e)
        {
            problems.AddRange(e.Problems.Except(problems));
        }
    }

    /// <summary>Whether the folders can be written to, and the options fit the tasks.</summary>
    private static void Check(List<TrainedNetwork> networks, Settings settings, List<ConfigurationProblem> problems)
    {
        foreach (var folder in networks.Select(n => settings.Out ?? n.Folder).Distinct())
        {
            if (new RunFolder(folder).WhyNotWritable() is { } reason)
                problems.Add("--out", $"{folder} can't be written to: {reason}");
        }

        foreach (
            var (s, d) in networks
                .Select(n => n.Configuration.Task)
                .Where(t => t.HasHistory)
                .Select(t => (t.S, t.D))
                .Distinct()
        )
        {
            try
            {
                ExampleInput.Parse(settings.Input, s, d);
            }
            catch (ArgumentException e)
            {
                problems.Add("--input", e.Message);
            }
            if (settings.Time < s)
                problems.Add("--time", $"is {settings.Time}: the variables are loaded only after s = {s} steps");
        }
    }

    private static AnalysisOptions ToOptions(Settings settings, List<ConfigurationProblem> problems)
    {
        Grounding? grounding = null;
        if (settings.Grounding is { } name)
        {
            if (
                Enum.TryParse<Grounding>(name, ignoreCase: true, out var known)
                && Enum.IsDefined(known)
                && !char.IsDigit(name[0])
            )
            {
                grounding = known;
            }
            else
            {
                problems.Add("--grounding", $"'{name}' is not one of realization, output and algorithm1");
            }
        }
        if (settings.Alpha is not (>= 0 and <= 1))
        {
            problems.Add(
                "--alpha",
                $"is {settings.Alpha.ToString(CultureInfo.InvariantCulture)}: it lies between 0 and 1"
            );
        }

        if (settings.Persistence is not (> 0 and < 10))
        {
            problems.Add(
                "--persistence",
                $"is {settings.Persistence.ToString(CultureInfo.InvariantCulture)}: a magnitude such as 0.99 is "
                    + "expected"
            );
        }

        if (settings.Time > LatestTime)
            problems.Add("--time", $"is {settings.Time}: at most {LatestTime}");
        return new()
        {
            Memories = new()
            {
                Grounding = grounding,
                Alpha = settings.Alpha,
                Persistence = settings.Persistence,
            },
            Interventions = new() { Time = settings.Time },
            Input = settings.Input,
        };
    }

    private static int Analyze(List<TrainedNetwork> networks, Settings settings, AnalysisOptions options)
    {
        // Where files would take each other's place, they have their network's name before their own.
        string Folder(TrainedNetwork network) => settings.Out ?? network.Folder;
        var shared = networks
            .GroupBy(n => Path.GetFullPath(Folder(n)))
            .Where(g => g.Count() > 1)
            .Select(g => g.Key)
            .ToHashSet();
        var prefixes = new HashSet<string>();
        var all = new List<RunAnalysis>();
        var reports = new List<string>();
        foreach (var network in networks)
        {
            var prefix = "";
            if (shared.Contains(Path.GetFullPath(Folder(network))))
            {
                var stem = network.Name.Replace('/', '-');
                prefix = $"{stem}.";
                for (int i = 2; !prefixes.Add(prefix); i++)
                    prefix = $"{stem}-{i}.";
            }
            if (networks.Count > 1)
                Console.Error.WriteLine($"{all.Count + 1} of {networks.Count}: {network.Name}");
            var analysis = RunAnalysis.Of(network, options);
            if (networks.Count(n => n.Name == network.Name) > 1 && network.Step is { } step)
                analysis = analysis with { Name = $"{network.Name}, step {step}" };
            var report = RunReport.Write(analysis, Folder(network), prefix);
            all.Add(analysis);
            reports.Add(report);
            if (networks.Count > 1)
                continue;
            Console.WriteLine(
                $"{network.Name}, task {analysis.Task}, {(network.Transformer is null ? "H" : "d")} = "
                    + $"{network.HiddenSize}, {Path.GetFileName(network.File)}"
            );
            foreach (var line in analysis.Lines)
                Console.WriteLine(line);
            foreach (var problem in analysis.Problems)
                Console.WriteLine($"Note: {problem}");
            Console.WriteLine(report);
        }
        if (networks.Count > 1)
            Compare(all, reports, settings.Out ?? CommonFolder(reports));
        return Exit.Done;
    }

    private static void Compare(List<RunAnalysis> analyses, List<string> reports, string folder)
    {
        var markdown = ComparisonTable.Markdown(analyses);
        Console.Write(markdown);
        AtomicFile.WriteText(Path.Combine(folder, "comparison.md"), markdown);
        var page = Path.Combine(folder, "comparison.html");
        AtomicFile.WriteText(
            page,
            ComparisonPage.Render(
                "Comparison",
                analyses,
                [.. reports.Select(r => Path.GetRelativePath(folder, r).Replace('\\', '/'))]
            )
        );
        Console.WriteLine(page);
    }

    private static string CommonFolder(List<string> files)
    {
        var folders = files.Select(f => Path.GetDirectoryName(Path.GetFullPath(f))!).ToList();
        var common = folders[0];
        while (
            !folders.All(f =>
                f == common
                || f.StartsWith(
                    common.TrimEnd(Path.DirectorySeparatorChar) + Path.DirectorySeparatorChar,
                    StringComparison.Ordinal
                )
            )
        )
        {
            common = Path.GetDirectoryName(common)!;
        }

        return common;
    }
}
