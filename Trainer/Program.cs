using EmtTorch.Trainer;

var root = CommandLine.Create();

// A command's own usage does without what the root takes.
root.Arguments[0].Hidden = root.Subcommands.Any(c => c.Name == args.FirstOrDefault());
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
