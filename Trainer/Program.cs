using System.CommandLine;
using EmtTorch.Configuration;
using EmtTorch.Trainer;
using static EmtTorch.Trainer.Options;

var config = Several("CONFIG", "A run's settings, as in configs/repeat_copy.json; several are trained side by side");
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

var schema = new Command("schema", "Prints the JSON schema of configurations: configs/schema.json");
schema.SetAction(_ =>
{
    Console.Out.Write(ConfigurationSchema.Generate());
    return Exit.Done;
});
root.Add(schema);
root.Add(SweepCommand.Create());
root.Add(TableCommand.Create());
root.Add(AnalyzeCommand.Create());
root.Add(GenerateCommand.Create());
root.Add(GsemmCommand.Create());
root.Add(ConsolidateCommand.Create());
root.Add(ContinualCommand.Create());

// A command's own usage does without what the root takes.
config.Hidden = root.Subcommands.Any(c => c.Name == args.FirstOrDefault());
var result = root.Parse(args);
if (result.Errors.Count == 0)
{
    return
        Exit.Of(() =>
        {
            ExtensionsOption.Load(result);
            return Exit.Done;
        })
            is var code
                and not Exit.Done
        ? code
        : result.Invoke();
}
foreach (var error in result.Errors)
{
    Console.Error.WriteLine(
        !error.Message.StartsWith("Required argument missing", StringComparison.Ordinal) ? error.Message
        : result.CommandResult.Command == root
            ? "CONFIG is missing: the file with a run's settings, configs/repeat_copy.json for example."
        : result.CommandResult.Command.Name == "sweep"
            ? "SWEEP is missing: the file with a sweep's base configuration and axes, experiments/table1/sweep.json for example."
        : result.CommandResult.Command.Name == "continual"
            ? "SEQUENCE is missing: the file with tasks and methods, experiments/continual/t2_t3_t4.json for example."
        : result.CommandResult.Command.Name == "table"
            ? "FOLDER is missing: the folder of a sweep's runs, experiments/table1 for example."
        : result.CommandResult.Command.Name == "consolidate"
            ? "CONFIG is missing: the file with the experiment's settings, experiments/outer-memories/consolidation/consolidation.json for example."
        : "PATH is missing: a run's folder, a checkpoint or a safetensors file, runs/t1/seed-1 for example."
    );
}

Console.Error.WriteLine("--help lists what there is.");
return Exit.Wrong;
