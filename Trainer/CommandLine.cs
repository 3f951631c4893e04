using System.CommandLine;
using EmtTorch.Configuration;
using static EmtTorch.Trainer.Options;

namespace EmtTorch.Trainer;

/// <summary>All commands.</summary>
internal static class CommandLine
{
    public static RootCommand Create()
    {
        var root = CreateRoot();
        var schema = new Command("schema", "Prints the JSON schema of configurations: configs/schema.json");
        schema.SetAction(_ =>
        {
            Console.Out.Write(ConfigurationSchema.Generate());
            return StandardStreams.OutputFailed ? Exit.Failed : Exit.Done;
        });
        root.Add(schema);
        root.Add(SweepCommand.Create());
        root.Add(TableCommand.Create());
        root.Add(AnalyzeCommand.Create());
        root.Add(GenerateCommand.Create());
        root.Add(GsemmCommand.Create());
        root.Add(RecallCommand.Create());
        root.Add(ConsolidateCommand.Create());
        root.Add(ContinualCommand.Create());
        return root;
    }

    /// <summary>The command without a name, which trains.</summary>
    private static RootCommand CreateRoot()
    {
        var config = Several(
            "CONFIG",
            "A run's settings, as in configs/repeat_copy.json; several are trained side by side"
        );
        var seed = Value<long?>("--seed", "N", "The run's seed, in place of the configuration's");
        var seeds = Value<string?>("--seeds", "FIRST-LAST", "Several runs: 1-20, or 1,2,5");
        var device = Device();
        var set = Value<string[]>(
            "--set",
            "KEY=VALUE",
            "Any setting: training.steps=500, training.curriculum.horizons=[100]; may be given often"
        );
        var output = Value<string?>(
            "--out",
            "FOLDER",
            "The folder of all runs (default: runs); a run's own is OUT/NAME/seed-N"
        );
        var resume = Switch("--resume", "Go on from the newest good checkpoint of the run's folder");
        var jobs = Value<int?>(
            "--jobs",
            "N",
            "How many runs train at the same time (default: one for each processor; on a GPU all)"
        );
        var weights = Value<string?>(
            "--weights",
            "FILE",
            "Start from the weights in a safetensors file with a checkpoint's names"
        );

        var together = Together();
        var root = new RootCommand(
            "Trains networks with episodic memory.\n\n  dotnet run --project Trainer -- configs/repeat_copy.json"
        ).With(config, seed, seeds, jobs, device, set, output, resume, weights, together, ExtensionsOption.Option);
        root.SetAction(parsed =>
            Exit.Of(
                () =>
                    TrainCommand.Run(
                        new TrainCommand.Arguments(
                            parsed.GetValue(config)!,
                            parsed.GetValue(seed),
                            parsed.GetValue(seeds),
                            parsed.GetValue(device),
                            [.. ExtensionsOption.Overrides(parsed), .. parsed.GetValue(set) ?? []],
                            parsed.GetValue(output),
                            parsed.GetValue(resume),
                            parsed.GetValue(weights),
                            parsed.GetValue(jobs),
                            parsed.GetValue(together)
                        )
                    ),
                "The configuration"
            )
        );
        return root;
    }
}
