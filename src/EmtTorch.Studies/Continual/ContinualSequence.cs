using System.Text.Json.Nodes;
using EmtTorch.Configuration;
using EmtTorch.Settings;
using EmtTorch.Training;

namespace EmtTorch.Studies;

/// <summary>A way to learn one task after the other.</summary>
/// <param name="Name">What it is called, and the folder of its runs: naive, ewc-100.</param>
/// <param name="Kind">naive, ewc, si, project or joint.</param>
/// <param name="Strength">λ of EWC, c of SI; 0 for the others.</param>
/// <param name="Protect">Of project: what is protected.</param>
/// <param name="Group">Its name without the strength: methods of one group differ in that alone.</param>
public sealed record ContinualMethod(string Name, string Kind, double Strength, string? Protect, string Group);

/// <summary>A task of a sequence.</summary>
/// <param name="Name">What it is called.</param>
/// <param name="Configuration">Its configuration; the seed and the folder are a stage's own.</param>
public sealed record SequenceTask(string Name, RunConfiguration Configuration);

/// <summary>
/// Tasks that one network learns one after the other, and the methods to compare: `Trainer continual` trains them.
/// </summary>
/// <example>
/// <code>
/// {
///   "base": "../../configs/t2.json",
///   "tasks": [ { "name": "t2", "set": {} }, { "name": "t3", "set": { "task.name": "t3" } } ],
///   "own": ["rnn.weight_ih", "readout.weight"],
///   "methods": [ { "method": "naive" }, { "method": "ewc", "strengths": [1, 10, 100] } ],
///   "seeds": "1-3", "sweep_seed": 100
/// }
/// </code>
/// </example>
public sealed class ContinualSequence
{
    /// <summary>The copy of a sequence in the folder of its runs.</summary>
    internal const string FileName = "sequence.json";

    private ContinualSequence() { }

    public required string Name { get; init; }
    public required string Description { get; init; }

    /// <summary>The tasks, in the order in which they are learned.</summary>
    public required IReadOnlyList<SequenceTask> Tasks { get; init; }

    /// <summary>
    /// Parameters that each task has for itself. They begin anew with each task, and a task is tested with its own.
    /// </summary>
    public required IReadOnlyList<string> OwnParameters { get; init; }

    public required IReadOnlyList<ContinualMethod> Methods { get; init; }
    public required IReadOnlyList<long> Seeds { get; init; }

    /// <summary>
    /// The seed by which a group's strength is chosen. It is none of <see cref="Seeds"/>, so that a choice is not
    /// tested on what it was made by.
    /// </summary>
    public required long SweepSeed { get; init; }

    /// <summary>How many sequences, or documents, the Fisher information is estimated from.</summary>
    public required int FisherSamples { get; init; }

    /// <summary>ξ of SI: see <see cref="PathIntegral"/>.</summary>
    public required double Damping { get; init; }

    /// <summary>The folder of all runs.</summary>
    public required string Runs { get; init; }

    /// <summary>Where tables and pages go.</summary>
    public required string Results { get; init; }

    /// <summary>The content of <see cref="ToJson"/>.</summary>
    internal JsonObject Whole { get; private init; } = [];

    /// <summary>The sequence's file, with the base configuration and all settings of each task in it.</summary>
    public string ToJson() => Whole.ToJsonString(SettingJson.Options) + "\n";

    /// <summary>
    /// The keys in which two files are different experiments. Methods and seeds are not among them, since there may be
    /// more of them later; nor is where it is computed.
    /// </summary>
    internal static IEnumerable<string> Differences(JsonObject before, JsonObject now)
    {
        JsonObject a = Experiment(before),
            b = Experiment(now);
        string[] keys = ["tasks", "own", "fisher_samples", "damping"];
        return keys.Where(key => !JsonNode.DeepEquals(a[key], b[key]));

        // The base is left out, because each task has all of its settings.
        static JsonObject Experiment(JsonObject whole)
        {
            var json = whole.DeepClone().AsObject();
            foreach (var task in json["tasks"] as JsonArray ?? [])
            {
                foreach (var key in new[] { "device", "threads", "out" })
                    ((task as JsonObject)?["set"] as JsonObject)?.Remove(key);
            }
            return json;
        }
    }

    /// <summary>The configuration of a stage.</summary>
    /// <param name="task">The stage, from 0.</param>
    /// <param name="seed">
    /// The seed of the whole sequence. That of a stage is 1000 · seed + stage + 1, so that each stage has other batches
    /// and first weights.
    /// </param>
    public RunConfiguration Stage(int task, long seed) =>
        Tasks[task].Configuration with
        {
            Seed = 1000 * seed + task + 1,
            Name = Tasks[task].Name,
        };

    /// <summary>Reads a sequence and checks all of it.</summary>
    /// <param name="path">The file.</param>
    /// <param name="overrides">
    /// Settings for every task, as `key=value`. They win over the base configuration; a task's own win over them.
    /// </param>
    /// <param name="output">The folder of runs/NAME and results/NAME; null: the folder of the file.</param>
    /// <param name="seeds">Seeds in place of the file's; null: those of the file.</param>
    /// <exception cref="ConfigurationException">There are problems: all of them.</exception>
    public static ContinualSequence Load(
        string path,
        IReadOnlyList<string>? overrides = null,
        string? output = null,
        IReadOnlyList<long>? seeds = null
    )
    {
        overrides ??= [];
        var problems = new List<ConfigurationProblem>();
        var json = ConfigurationFile.ReadObject(path, problems) ?? throw new ConfigurationException(problems);
        var here = Path.GetDirectoryName(Path.GetFullPath(path))!;
        ExperimentFile.ReadFiles(json, here, ["base"], problems);
        var whole = json.DeepClone().AsObject();

        ExperimentFile.ExpandSeeds(json, problems);
        Extensions.Load(json["base"] as JsonObject, overrides, problems);
        var file = ConfigurationFile.Bind<ContinualFile>(json, f => f.Check(seeds ?? f.Seeds), problems);
        ExperimentFile.CheckOverrides(overrides, problems);
        var tasks = problems.All(p => p.Path != "base") ? ReadTasks(file, overrides, problems) : [];
        var methods = file.ToMethods();
        if (
            methods.Any(m => m.Kind == "project")
            && tasks.FirstOrDefault(t => t.Configuration.Model.IsTransformer) is { Name: var transformer }
        )
        {
            var why = $"project is for elman_rnn, whose W_hh it protects, and {transformer} has a transformer";
            problems.Add("methods", why);
        }
        if (problems.Count > 0)
            throw new ConfigurationException(problems);

        var name = file.Name.Length > 0 ? file.Name : Path.GetFileNameWithoutExtension(path);
        whole.Remove("$schema");
        whole["name"] = name;
        // With all settings, since those of --set are part of what the runs are.
        whole["tasks"] = new JsonArray([
            .. tasks.Select(t =>
                (JsonNode)new JsonObject { ["name"] = t.Name, ["set"] = JsonNode.Parse(t.Configuration.ToJson()) }
            ),
        ]);
        output ??= Path.GetRelativePath(Environment.CurrentDirectory, here);
        return new()
        {
            Name = name,
            Description = file.Description,
            Tasks = tasks,
            OwnParameters = [.. file.Own.Distinct()],
            Methods = methods,
            Seeds = [.. (seeds ?? file.Seeds).Distinct()],
            SweepSeed = file.SweepSeed,
            FisherSamples = file.FisherSamples,
            Damping = file.Damping,
            Runs = Path.Combine(output, "runs", name),
            Results = Path.Combine(output, "results", name),
            Whole = whole,
        };
    }

    private static List<SequenceTask> ReadTasks(
        ContinualFile file,
        IReadOnlyList<string> overrides,
        List<ConfigurationProblem> problems
    )
    {
        var tasks = new List<SequenceTask>();
        foreach (var task in file.Tasks)
        {
            try
            {
                string[] all = [.. overrides, .. task.Overrides, "name=\"stage\""];
                tasks.Add(new(task.Name, ConfigurationFile.Parse(file.Base.ToJsonString(), all)));
            }
            catch (ConfigurationException e)
            {
                problems.AddRange(e.Problems.Except(problems));
            }
        }
        var networks = tasks.Select(t => t.Configuration).Select(c => (ModelOf(c), c.Device, c.Threads));
        if (networks.Distinct().Count() > 1)
            problems.Add("tasks", "differ in model, device or threads: one network learns them all");
        if (tasks.Any(t => t.Configuration.Training.Consolidation is not null))
        {
            problems.Add(
                "base.training.consolidation",
                "found in a sequence of tasks: what it moves would count for no penalty of theirs; leave it out"
            );
        }
        return tasks;
    }

    private static string ModelOf(RunConfiguration task) => JsonNode.Parse(task.ToJson())!["model"]!.ToJsonString();
}

/// <summary>Where a sequence's runs are.</summary>
public static class ContinualFolders
{
    /// <summary>The folder of the first stage, which is the same for all methods.</summary>
    public const string First = "first";
}
