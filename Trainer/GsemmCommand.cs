using System.CommandLine;
using EmtTorch.Reports;
using EmtTorch.Studies;
using static EmtTorch.Trainer.Options;

namespace EmtTorch.Trainer;

/// <summary>
/// `Trainer gsemm CONFIG`: stores a sequence of memories in GSEMM and retrieves it; writes figures and numbers.
/// </summary>
internal static class GsemmCommand
{
    public static Command Create()
    {
        var config = One("CONFIG", "The experiment's settings, as in experiments/gsemm/retrieval.json");
        var set = Value<string[]>("--set", "KEY=VALUE", "Any setting: strengths.alpha_c=1.5; may be given often");
        var grid = Value<string[]>(
            "--grid",
            "KEY=[VALUE,…]",
            "Only retrieve, with every combination of the values, and write NAME.csv: seed=[1,2]; may be given often"
        );
        var output = Value<string?>("--out", "FOLDER", "Where to write (default: results, beside the configuration)");
        var command = new Command(
            "gsemm",
            "Retrieves a stored sequence with the General Sequential Episodic Memory Model (Eq. 1, 20, 24).\n\n  "
                + "dotnet run --project Trainer -- gsemm experiments/gsemm/retrieval.json"
        ).With(config, set, grid, output);
        command.SetAction(parsed =>
            Exit.Of(
                () =>
                    parsed.GetValue(grid) is { Length: > 0 } axes
                        ? RunGrid(parsed.GetValue(config)!, parsed.GetValue(set) ?? [], axes, parsed.GetValue(output))
                        : Run(parsed.GetValue(config)!, parsed.GetValue(set) ?? [], parsed.GetValue(output)),
                "The configuration"
            )
        );
        return command;
    }

    private static int RunGrid(string config, string[] set, string[] axes, string? output)
    {
        var folder = ResultsFolder(config, output);
        TorchRuntime.Start(1); // the vectors are too short for threads
        var grid = GsemmGrid.Run(config, set, [.. axes.Select(GsemmAxis.Parse)]);
        Directory.CreateDirectory(folder);
        var path = Path.Combine(folder, $"{Path.GetFileNameWithoutExtension(config)}.csv");
        AtomicFile.WriteText(path, grid.ToCsv());
        var (low, high) = grid.Interval;
        Console.WriteLine(
            FormattableString.Invariant($"{grid.InOrder} of {grid.Rows.Count} in order; ")
                + FormattableString.Invariant($"95 % interval of the share (Wilson): {low:F2} to {high:F2}")
        );
        Console.WriteLine(path);
        return Exit.Done;
    }

    private static int Run(string config, string[] set, string? output)
    {
        var folder = ResultsFolder(config, output);
        TorchRuntime.Start(null);
        var result = GsemmExperiment.Run(GsemmConfiguration.Load(config, set));
        var name = Path.GetFileNameWithoutExtension(config);
        Directory.CreateDirectory(folder);
        AtomicFile.WriteText(Path.Combine(folder, $"{name}.json"), result.ToJson());
        var page = Path.Combine(folder, $"{name}.html");
        AtomicFile.WriteText(page, FigurePage.Render("GSEMM: a stored sequence, retrieved", result.Figures));
        Show("ODE (Eq. 1)", result.Continuous);
        Show("discrete limit (Eq. 20)", result.Discrete);
        foreach (var convergence in result.Convergence)
        {
            var order = convergence.Order is { } o ? FormattableString.Invariant($"{o:F2}") : "can't be told";
            Console.WriteLine($"{convergence.Name}: order {order}");
        }

        if (result.ConjugacyError is { } error)
            Console.WriteLine(FormattableString.Invariant($"Elman form against σ_f(V_f) (Eq. 24): {error:G2} at most"));
        Console.WriteLine(page);
        return Exit.Done;
    }

    private static void Show(string name, GsemmRetrieval retrieval) =>
        Console.WriteLine(
            $"{name}: memories {string.Join(' ', retrieval.Retrieved)}, "
                + $"{(retrieval.InOrder ? "in order" : "not in order")}"
        );
}
