using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using EmtTorch.Reports;
using EmtTorch.Settings;
using EmtTorch.Studies;
using EmtTorch.Training;
using static EmtTorch.Trainer.Options;

namespace EmtTorch.Trainer;

/// <summary>
/// `Trainer consolidate CONFIG`: moves a day's facts from the fast weights of trained networks to the slow ones, and
/// measures what it brings and costs.
/// </summary>
internal static class ConsolidateCommand
{
    public static Command Create()
    {
        var config = One(
            "CONFIG",
            "The experiment's settings, as in experiments/outer-memories/consolidation/consolidation.json"
        );
        var set = Value<string[]>("--set", "KEY=VALUE", "Any setting: steps=100, facts=[4,16]; may be given often");
        var output = Value<string?>("--out", "FOLDER", "Where to write (default: results, beside the configuration)");
        var threads = Value<int?>("--threads", "N", "Threads on the CPU (default: the program decides)");
        var command = new Command(
            "consolidate",
            "Consolidates what trained networks remember into their slow weights, and measures it.\n\n  dotnet run "
                + "--project Trainer -- consolidate experiments/outer-memories/consolidation/consolidation.json"
        ).With(config, set, output, threads);
        command.SetAction(parsed =>
            Exit.Of(
                () =>
                    Run(
                        parsed.GetValue(config)!,
                        parsed.GetValue(set) ?? [],
                        parsed.GetValue(output),
                        parsed.GetValue(threads)
                    ),
                "The configuration"
            )
        );
        return command;
    }

    private static int Run(string config, string[] set, string? output, int? threads)
    {
        var problems = new List<ConfigurationProblem>();
        var folder = ResultsFolder(config, output, problems);
        var settings = Prepare(config, set, threads, problems);
        using var screen = new Screen();
        using var interruption = new Interruption(
            screen,
            "the nights that are done are in the results, and the same command goes on"
        );
        var file = Path.Combine(folder, Path.GetFileNameWithoutExtension(config));
        var before = Before($"{file}.json", settings);
        if (before is not null)
        {
            Console.WriteLine(
                $"{before.Outcomes.Count} of {settings.OutcomeCount} nights are in {file}.json already; those of the "
                    + "same networks are not done again"
            );
        }

        var result = ConsolidationExperiment.Run(
            settings,
            before,
            soFar =>
            {
                var o = soFar.Outcomes[^1];
                Console.WriteLine(
                    string.Create(
                        CultureInfo.InvariantCulture,
                        $"{soFar.Outcomes.Count} of {settings.OutcomeCount}: {o.Run}, {o.Night}, {o.Facts} facts: "
                            + $"{100 * o.Evening:F1} % with the fast memory, {100 * o.Morning:F1} % without it (before "
                            + $"the night {100 * o.WipedBefore:F1} %); new episodes {100 * o.NewBefore:F1} % and "
                            + $"{100 * o.NewAfter:F1} %"
                    )
                );
                // What is done is kept.
                Directory.CreateDirectory(folder);
                AtomicFile.WriteText($"{file}.json", soFar.ToJson());
                AtomicFile.WriteText($"{file}.md", soFar.ToMarkdown());
                AtomicFile.WriteText(
                    $"{file}.html",
                    FigurePage.Render("Consolidation of fast weights into slow ones", soFar.Figures)
                );
            },
            interruption.Token
        );
        Console.WriteLine();
        Console.Write(result.ToMarkdown());
        Console.WriteLine($"{file}.html");
        return Exit.Done;
    }

    /// <summary>The settings, and Torch with so many threads.</summary>
    /// <exception cref="ConfigurationException">There are problems: all of them.</exception>
    private static ConsolidationConfiguration Prepare(
        string config,
        string[] set,
        int? threads,
        List<ConfigurationProblem> problems
    )
    {
        if (threads is < 1 or > 1024)
            problems.Add("--threads", string.Create(CultureInfo.InvariantCulture, $"is {threads}: 1 to 1024"));
        else
            TorchRuntime.Start(threads);
        ConsolidationConfiguration? settings = null;
        try
        {
            settings = ConsolidationConfiguration.Load(config, set);
            problems.AddRange(ConsolidationExperiment.FindProblems(settings));
        }
        catch (ConfigurationException e)
        {
            problems.AddRange(e.Problems);
        }
        return settings is not null && problems.Count == 0 ? settings : throw new ConfigurationException(problems);
    }

    /// <summary>What was done before an interruption; a damaged file is named.</summary>
    private static ConsolidationResult? Before(string file, ConsolidationConfiguration settings)
    {
        if (!File.Exists(file))
            return null;
        try
        {
            return ConsolidationResult.ParseUnfinished(InputFile.ReadText(file), settings);
        }
        catch (JsonException e)
        {
            Console.Error.WriteLine($"Warning: {file} is damaged: {e.Message} It is made again from the first night.");
            return null;
        }
    }
}
