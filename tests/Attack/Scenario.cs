using System.Collections.Concurrent;
using System.Diagnostics;

namespace EmtTorch.Attack;

/// <summary>Small work for the program: the files it takes, and the command that does it.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Files">Its files, by name.</param>
/// <param name="Begin">The command's arguments.</param>
internal sealed record Scenario(string Name, IReadOnlyDictionary<string, string> Files, string[] Begin)
{
    /// <summary>Commands whose results this work starts from.</summary>
    public string[][] Before { get; init; } = [];

    /// <summary>Files that are copied once those commands have ended: from, to.</summary>
    public IReadOnlyDictionary<string, string> Copies { get; init; } = new Dictionary<string, string>();

    /// <summary>The arguments of the command that goes on after a stop.</summary>
    public string[] GoOn { get; init; } = Begin;

    /// <summary>What is not compared, since rounding may change it: all but the names of what is there.</summary>
    public bool OnlyNames { get; init; }

    /// <summary>The folders of runs that `analyze` can read while they are written.</summary>
    public string[] Runs { get; init; } = [];

    /// <summary>The interval of all checkpoints.</summary>
    public const int CheckpointInterval = 7;
}

/// <summary>What an undisturbed run of a scenario comes to.</summary>
/// <param name="Contents">Its files.</param>
/// <param name="Seconds">How long it took.</param>
internal sealed record Undisturbed(Contents Contents, double Seconds);

/// <summary>The folders that attacks begin from, and what undisturbed runs come to. Each is made once.</summary>
internal sealed class Workshop(string folder)
{
    private readonly ConcurrentDictionary<string, Lazy<string>> _templates = [];
    private readonly ConcurrentDictionary<string, Lazy<Undisturbed>> _undisturbed = [];

    /// <summary>A fresh copy of the folder in which a scenario begins.</summary>
    public void Copy(Scenario scenario, string target) => CopyFolder(Template(scenario), target);

    public Undisturbed Undisturbed(Scenario scenario) =>
        _undisturbed.GetOrAdd(scenario.Name, _ => new(() => RunUndisturbed(scenario))).Value;

    public string Template(Scenario scenario) =>
        _templates
            .GetOrAdd(
                scenario.Name,
                name =>
                    new(() =>
                    {
                        var template = Path.Combine(folder, "templates", name);
                        foreach (var (file, text) in scenario.Files)
                            Write(Path.Combine(template, file), text);
                        foreach (var command in scenario.Before)
                            Do(template, command);
                        foreach (var (from, to) in scenario.Copies)
                            File.Copy(Path.Combine(template, from), Path.Combine(template, to));
                        return template;
                    })
            )
            .Value;

    private Undisturbed RunUndisturbed(Scenario scenario)
    {
        var target = Path.Combine(folder, "undisturbed", scenario.Name);
        Copy(scenario, target);
        var clock = Stopwatch.StartNew();
        Do(target, scenario.Begin);
        return new(Contents.Of(target), clock.Elapsed.TotalSeconds);
    }

    private static void Do(string folder, string[] command)
    {
        var end = Victim.Run(new(folder, command), 300);
        if (end.Code == 0 && end.Trouble is null)
            return;
        var line = string.Join(' ', command);
        throw new InvalidOperationException($"{line} fails undisturbed: {end.Trouble}\n{end.Text}");
    }

    public static void Write(string file, string text)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(file)!);
        File.WriteAllText(file, text);
    }

    public static void CopyFolder(string source, string target)
    {
        Directory.CreateDirectory(target);
        foreach (var sub in Directory.EnumerateDirectories(source, "*", SearchOption.AllDirectories))
            Directory.CreateDirectory(Path.Combine(target, Path.GetRelativePath(source, sub)));
        foreach (var file in Directory.EnumerateFiles(source, "*", SearchOption.AllDirectories))
            File.Copy(file, Path.Combine(target, Path.GetRelativePath(source, file)), overwrite: true);
    }
}
