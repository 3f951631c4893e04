using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using System.Globalization;
using EmtTorch.Settings;

namespace EmtTorch.Studies;

/// <summary>The file of a sequence of tasks.</summary>
internal sealed record ContinualFile : ExperimentFile
{
    public const string FolderName = "^[A-Za-z0-9_][A-Za-z0-9._-]{0,79}$",
        FolderNameInWords = "letters, digits, '.', '_' and '-', at most 80, not beginning with '.' or '-'";

    public const int LargestSeed = 1_000_000;

    [Description("What the sequence is called in tables and folders; left out: the name of its file.")]
    [RegularExpression(FolderName, ErrorMessage = FolderNameInWords)]
    public string Name { get; init; } = "";

    [Description("The tasks in their order.")]
    [Required, MinLength(2), InWords("{ \"name\": …, \"set\": { setting: value, … } }")]
    public IReadOnlyList<NamedSettings> Tasks { get; init; } = [];

    [Description("Parameters that each task has for itself; all others are shared.")]
    public IReadOnlyList<string> Own { get; init; } = [];

    [Description("The methods to compare.")]
    [Required, MinLength(1)]
    public IReadOnlyList<MethodSettings> Methods { get; init; } = [];

    [Description("The seed that chooses a method's strength. It must not be one of the seeds.")]
    [Range(0, LargestSeed)]
    public long SweepSeed { get; init; } = 100;

    [Description("For ewc: how many sequences the Fisher information is estimated from.")]
    [Range(1, 1_000_000)]
    public int FisherSamples { get; init; } = 200;

    [Description("For si: ξ, which keeps the importance of a parameter finite that has hardly moved.")]
    [Range(0, double.MaxValue, MinimumIsExclusive = true)]
    public double Damping { get; init; } = 1e-3;

    /// <summary>The methods, each of several strengths as a method of its own.</summary>
    public IReadOnlyList<ContinualMethod> ToMethods() => [.. Methods.SelectMany(m => m.ToMethods())];

    /// <summary>The rules that tie keys together, with the keys that they tie.</summary>
    /// <param name="seeds">The seeds that are trained, the file's or others.</param>
    public IEnumerable<(string[] Keys, ConfigurationProblem Problem)> Check(IReadOnlyList<long> seeds)
    {
        foreach (var name in Tasks.Select(t => t.Name).Where(n => !SettingRule.Fits(n, FolderName)))
            yield return (["tasks"], new("tasks", $"found the name {name}; allowed: {FolderNameInWords}"));
        foreach (var twice in Tasks.CountBy(t => t.Name).Where(t => t.Value > 1))
            yield return (["tasks"], new("tasks", $"has {twice.Key} {twice.Value} times"));
        foreach (var problem in CheckSettings(Tasks, "tasks"))
            yield return (["tasks"], problem);

        var methods = ToMethods();
        foreach (var twice in methods.CountBy(m => m.Name).Where(m => m.Value > 1))
        {
            var (name, count) = twice;
            yield return (["methods"], new("methods", $"{count} are called {name}: give them different names"));
        }
        for (int i = 0; i < Methods.Count; i++)
        {
            if (Methods[i].Name == ContinualFolders.First)
            {
                var why = "found \"first\", which is the folder of every method's first stage";
                yield return (["methods"], new($"methods[{i}].name", why));
            }
        }
        foreach (long seed in seeds.Where(s => s > LargestSeed))
            yield return (["seeds"], new("seeds", $"found {seed}; allowed: 0 to {LargestSeed}"));
        if (seeds.Contains(SweepSeed) && methods.CountBy(m => m.Group).Any(g => g.Value > 1))
        {
            var why = "which is one of the seeds: a strength would be tested on what it was chosen by";
            yield return (["sweep_seed", "seeds", "methods"], new("sweep_seed", $"found {SweepSeed}, {why}"));
        }
    }
}

/// <summary>A method of a sequence's file.</summary>
[KeysOf(nameof(Method))]
internal sealed record MethodSettings
{
    [Description("What it is called in tables and folders; left out: method, of project with what it protects.")]
    [RegularExpression(ContinualFile.FolderName, ErrorMessage = ContinualFile.FolderNameInWords)]
    public string Name { get; init; } = "";

    [Description("How forgetting is fought.")]
    [Required, AllowedValues("naive", "ewc", "si", "project", "joint")]
    public string Method { get; init; } = "naive";

    [Description("λ of ewc, c of si. Of several the best is chosen.")]
    [Required, OnlyFor("ewc", "si"), MinLength(1), Range(0, double.MaxValue, MinimumIsExclusive = true)]
    public IReadOnlyList<double> Strengths { get; init; } = [];

    [Description(
        "What later tasks leave as it was. from: what W_hh does with variable memories; into: what it writes into "
            + "them; both; memories: both, and the old task's input and output touch its memories alone; states: what "
            + "W_hh does with the directions that the old task's hidden states take."
    )]
    [Required, OnlyFor("project"), AllowedValues("from", "into", "both", "memories", "states")]
    public string Protect { get; init; } = "";

    public IEnumerable<ContinualMethod> ToMethods()
    {
        var group =
            Name.Length > 0 ? Name
            : Protect.Length == 0 ? Method
            : $"{Method}-{Protect}";
        double[] strengths = Strengths.Count == 0 ? [0] : [.. Strengths.Distinct()];
        return strengths.Select(strength => new ContinualMethod(
            Strengths.Count < 2 ? group : $"{group}-{strength.ToString("R", CultureInfo.InvariantCulture)}",
            Method,
            strength,
            Protect.Length > 0 ? Protect : null,
            group
        ));
    }
}
