using System.CommandLine;
using EmtTorch.Settings;
using EmtTorch.Training;

namespace EmtTorch.Trainer;

/// <summary>Declares the options and arguments of commands.</summary>
internal static class Options
{
    public static Option<string?> Device() =>
        Value<string?>("--device", "DEVICE", "auto (CUDA where there is one), cpu, cuda, cuda:1");

    public static Option<string> Checkpoint() =>
        Value("--checkpoint", "WHICH", "Which one of a run: best (the lowest test loss), latest, or a step", "best");

    /// <summary>Runs share launches on the CPU too, as on a GPU: for tests, since it is slower.</summary>
    public static Option<bool> Together() => new("--together") { Hidden = true };

    public static Option<T> Value<T>(string name, string value, string description) =>
        new(name) { Description = description, HelpName = value };

    /// <summary>An option with a default value.</summary>
    public static Option<T> Value<T>(string name, string value, string description, T standard)
    {
        var option = Value<T>(name, value, description);
        option.DefaultValueFactory = _ => standard;
        return option;
    }

    /// <summary>Where an experiment's results go: --out, or `results` beside its configuration.</summary>
    /// <exception cref="ConfigurationException">The folder cannot be written, so that nothing is computed.</exception>
    public static string ResultsFolder(string config, string? output)
    {
        var problems = new List<ConfigurationProblem>();
        var folder = ResultsFolder(config, output, problems);
        return problems.Count == 0 ? folder : throw new ConfigurationException(problems);
    }

    /// <summary>The same; what is wrong is added to the problems.</summary>
    public static string ResultsFolder(string config, string? output, List<ConfigurationProblem> problems)
    {
        if (config.Length == 0)
        {
            problems.Add(new("CONFIG", "is empty: the file of the experiment is needed"));
            return "";
        }
        var folder = output ?? Path.Combine(Path.GetDirectoryName(Path.GetFullPath(config))!, "results");
        if (new RunFolder(folder).WhyNotWritable() is { } reason)
            problems.Add(new("--out", $"{folder}, for the results, can't be written: {reason}"));
        return folder;
    }

    public static Option<bool> Switch(string name, string description) => new(name) { Description = description };

    public static Argument<string> One(string name, string description) => new(name) { Description = description };

    public static Argument<string[]> Several(string name, string description) =>
        new(name) { Description = description, Arity = ArgumentArity.OneOrMore };

    /// <summary>Adds arguments and options to a command. Its usage lists them in this order.</summary>
    public static T With<T>(this T command, params Symbol[] symbols)
        where T : Command
    {
        foreach (var symbol in symbols)
        {
            if (symbol is Argument argument)
                command.Arguments.Add(argument);
            else
                command.Options.Add((Option)symbol);
        }
        return command;
    }
}
