using System.CommandLine;
using EmtTorch.Analysis.FreeRecall;
using EmtTorch.Reports;
using EmtTorch.Settings;
using EmtTorch.Training;
using static EmtTorch.Trainer.Options;

namespace EmtTorch.Trainer;

/// <summary>`Trainer recall TABLE.csv`: the curves of free recall of people or networks, printed and drawn.</summary>
internal static class RecallCommand
{
    private sealed record Arguments(
        string Table,
        string? By,
        string? Category,
        string? Distances,
        string? Json,
        string? Out
    );

    public static Command Create()
    {
        var table = One(
            "TABLE",
            "Recalls as the field writes them: columns subject, list, position, trial_type (study or recall), item"
        );
        var by = Value<string?>("--by", "COLUMN", "Compares lists by a further column, such as the condition");
        var category = Value<string?>("--category", "COLUMN", "A column with the items' categories: clustering by it");
        var distances = Value<string?>("--distances", "FILE", "A square table of distances between items, of meaning");
        var json = Value<string?>("--json", "FILE", "Where to write all numbers");
        var output = Value<string?>("--out", "FOLDER", "Where to write recall.html and recall.json");
        var command = new Command(
            "recall",
            "Measures free recall: serial position, first recall, lags, clustering, intrusions.\n\n  "
                + "dotnet run --project Trainer -- recall recalls.csv --out results"
        ).With(table, by, category, distances, json, output);
        command.SetAction(parsed =>
            Exit.Of(
                () =>
                    Run(
                        new(
                            parsed.GetValue(table)!,
                            parsed.GetValue(by),
                            parsed.GetValue(category),
                            parsed.GetValue(distances),
                            parsed.GetValue(json),
                            parsed.GetValue(output)
                        )
                    ),
                "The table"
            )
        );
        return command;
    }

    private static int Run(Arguments arguments)
    {
        var problems = new List<ConfigurationProblem>();
        if (arguments.Out is { } folder && new RunFolder(folder).WhyNotWritable() is { } why)
            problems.Add(new("--out", $"{folder} can't be written: {why}"));
        if (arguments.Json is { } file)
        {
            if (Directory.Exists(file))
                problems.Add(new("--json", $"{file} is a folder; a file is needed"));
            else if (new RunFolder(Path.GetDirectoryName(Path.GetFullPath(file))!).WhyNotWritable() is { } reason)
                problems.Add(new("--json", $"{file} can't be written: {reason}"));
        }
        if (problems.Count > 0)
            throw new ConfigurationException(problems);

        var lists = RecallTable.Read(arguments.Table).Lists;
        var conditions = RecallConditions.Of(
            lists,
            arguments.By,
            new()
            {
                Category = arguments.Category,
                Distances = arguments.Distances is { } path ? ItemDistances.Read(path) : null,
            }
        );
        var json = conditions.ToJson();
        foreach (var (name, analysis) in conditions.All)
        {
            Console.WriteLine(
                $"{name}: {SweepCommand.Count(analysis.Curves[0].Subjects.Count, "subject")}, "
                    + $"{SweepCommand.Count(analysis.Lists.Count, "list")} of up to {analysis.Length} items"
            );
            foreach (var effect in analysis.Effects)
                Console.WriteLine($"  {effect.Sentence}");
            if (!analysis.HaveOneLength)
                Console.WriteLine("  Its lists differ in length: recency and primacy are left out.");
        }
        foreach (var (one, other, effects) in conditions.Differences)
        {
            foreach (var effect in effects)
                Console.WriteLine(effect.Compare(one, other));
        }
        Write(json, conditions, arguments);
        return StandardStreams.OutputFailed ? Exit.Failed : Exit.Done;
    }

    private static void Write(string json, RecallConditions conditions, Arguments arguments)
    {
        void WriteTo(string path, string content)
        {
            Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
            AtomicFile.WriteText(path, content);
            Console.WriteLine(path);
        }
        if (arguments.Json is { } file)
            WriteTo(file, json);
        if (arguments.Out is not { } folder)
            return;
        WriteTo(Path.Combine(folder, "recall.json"), json);
        var page = FigurePage.Render(
            $"Free recall: {Path.GetFileName(arguments.Table)}",
            RecallFigures.Of(conditions.All)
        );
        WriteTo(Path.Combine(folder, "recall.html"), page);
    }
}
