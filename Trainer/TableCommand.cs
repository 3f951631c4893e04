using System.CommandLine;
using EmtTorch.Reports;
using EmtTorch.Settings;
using EmtTorch.Studies;
using EmtTorch.Training;
using static EmtTorch.Trainer.Options;

namespace EmtTorch.Trainer;

/// <summary>
/// `Trainer table FOLDER`: what a sweep has come to so far, as table.md, table.csv, table.json and table.html.
/// </summary>
internal static class TableCommand
{
    public static Command Create()
    {
        var folder = One(
            "FOLDER",
            "The folder of a sweep's runs, or the one with its sweep.json; without a sweep.json the runs' "
                + "differences are the axes"
        );
        var output = Value<string?>("--out", "FOLDER", "Where to write (default: FOLDER)");
        var command = new Command(
            "table",
            "Makes the table of a sweep, finished or not: prints it, and writes table.md, table.csv, table.json and "
                + "table.html.\n\n  dotnet run --project Trainer -- table experiments/table1"
        ).With(folder, output);
        command.SetAction(parsed => Exit.Of(() => Run(parsed.GetValue(folder)!, parsed.GetValue(output))));
        return command;
    }

    private static int Run(string folder, string? output)
    {
        // Runs are analysed side by side, a thread each.
        TorchRuntime.Start(1);
        var target = output ?? folder;
        if ((output is not null || Directory.Exists(folder)) && new RunFolder(target).WhyNotWritable() is { } reason)
            throw new ConfigurationException([new("--out", $"{target} can't be written to: {reason}")]);
        var runs = SweepFolder.Read(folder, name => Console.Error.WriteLine($"Analysing {name}"));
        foreach (var warning in runs.Warnings)
            Console.Error.WriteLine($"Warning: {warning}");
        var table = SweepTable.Of(runs);
        var markdown = SweepTableText.Markdown(table);
        var page = Path.Combine(target, "table.html");
        Directory.CreateDirectory(target);
        AtomicFile.WriteText(Path.Combine(target, "table.md"), markdown);
        AtomicFile.WriteText(Path.Combine(target, "table.csv"), SweepTableText.Csv(table));
        AtomicFile.WriteText(Path.Combine(target, "table.json"), SweepTableText.Json(table));
        AtomicFile.WriteText(page, SweepTablePage.Render(table));
        Console.Write(markdown);
        Console.WriteLine(page);
        return Exit.Done;
    }
}
