using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using System.Numerics;
using System.Security.Cryptography;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using EmtTorch.Models;
using EmtTorch.Settings;
using EmtTorch.Tasks;

namespace EmtTorch.Training;

/// <summary>All settings of a run. `ConfigurationFile.Load` reads and checks them.</summary>
/// <example><code>
/// var configuration = ConfigurationFile.Load("configs/t1.json", ["training.steps=1000", "seed=3"]);
/// </code></example>
public sealed record RunConfiguration
{
    private const string NameCharacters =
        "letters, digits, '.', '_' and '-', at most 100, not beginning with '.' or '-'";

    private const int LongestName = 100;

    /// <summary>
    /// A name of letters that names may have, made short enough: its end is a hash of the whole, so that other names
    /// stay others.
    /// </summary>
    internal static string Shorten(string name)
    {
        if (name.Length <= LongestName)
            return name;
        var hash = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(name)))[..12];
        return $"{name[..(LongestName - hash.Length - 1)]}-{hash}";
    }

    [Description("The run's name, and its folder OUT/NAME/seed-N; left out: the name of the configuration's file.")]
    [RegularExpression("^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$", ErrorMessage = NameCharacters)]
    public string Name { get; init; } = "";

    [Description(
        "The seed of initial weights and batches: the same seed, device and number of threads give the same run."
    )]
    [Range(typeof(long), "0", "9223372036854775807")]
    public long Seed { get; init; } = 1;

    [Description("The device; auto is CUDA if available and the CPU otherwise.")]
    [RegularExpression("^(auto|cpu|cuda(:[0-9]{1,3})?)$", ErrorMessage = "auto, cpu, cuda or cuda:N")]
    public string Device { get; init; } = "auto";

    [Description("Threads on the CPU; null: the program decides.")]
    [Range(1, 1024)]
    public int? Threads { get; init; }

    [Description("The folder of all runs.")]
    [RegularExpression("^\\s*[^\\u0000\\s][^\\u0000]*$", ErrorMessage = "a folder's path, not empty")]
    public string Out { get; init; } = "runs";

    [Description("Assemblies with further tasks, memories and analyses.")]
    [RegularExpression("^\\s*[^\\u0000\\s][^\\u0000]*$", ErrorMessage = "an assembly's path, not empty")]
    public IReadOnlyList<string> Extensions { get; init; } = [];

    [Description(
        "What is to be learned. Variable binding: exactly one of name, id, matrix and terms, in a size d, s. On "
            + "tokens, for a transformer: one of associative_recall, segment_recall, rebinding, two_hop, copy and "
            + "text."
    )]
    public required TaskConfiguration Task { get; init; }

    [Description("The network.")]
    public ModelConfiguration Model { get; init; } = new();

    [Description(
        "The optimisation: Adam on the mean squared error of the output phase; on tokens, on the cross entropy of the "
            + "answers."
    )]
    public TrainingConfiguration Training { get; init; } = new();

    [Description("The tests on fresh batches, during training and at its end.")]
    public EvaluationConfiguration Evaluation { get; init; } = new();

    [Description("The checkpoints that are kept.")]
    public CheckpointConfiguration Checkpoints { get; init; } = new();

    /// <summary>The rules that a whole configuration must meet.</summary>
    internal static SettingRule Rule => SettingRule.Of<RunConfiguration>();

    /// <summary>The configuration as JSON, with every default. It loads again to an equal one.</summary>
    public string ToJson()
    {
        var json = JsonSerializer.SerializeToNode(this, SettingJson.Options)!.AsObject();
        // Keys without a meaning for this task and this network are left out.
        if (Task.Own is { } own)
        {
            var task = json["task"]!.AsObject();
            foreach (var key in new[] { "d", "s" })
                task.Remove(key);
            task[Task.Label] = Write(own, $"task.{Task.Label}");
        }
        if (Model.Memories.Count > 0)
        {
            json["model"]!["memories"] = new JsonObject(
                Model.Memories.Select(m =>
                    KeyValuePair.Create(
                        Parts.NameOf(m.GetType()),
                        (JsonNode?)Write(m, $"model.memories.{Parts.NameOf(m.GetType())}")
                    )
                )
            );
        }
        if (Extensions.Count == 0)
            json.Remove("extensions");

        Rule.RemoveForeign(json);
        return json.ToJsonString(SettingJson.Options) + "\n";
    }

    private static JsonObject Write(object part, string path)
    {
        var settings = JsonSerializer.SerializeToNode(part, part.GetType(), SettingJson.Options)!.AsObject();
        var keys = Rule.Find(path, out _)!.Keys;
        foreach (var key in settings.Select(p => p.Key).Where(k => !keys.ContainsKey(k)).ToArray())
            settings.Remove(key); // a property computed from the settings
        return settings;
    }

    /// <summary>Compares all settings, including the elements of lists, which records compare by reference.</summary>
    public bool Equals(RunConfiguration? other) => other is not null && ToJson() == other.ToJson();

    public override int GetHashCode() => ToJson().GetHashCode(StringComparison.Ordinal);

    /// <summary>The problems between several settings, each with the keys of these settings.</summary>
    internal IEnumerable<(string[] Keys, ConfigurationProblem Problem)> Check() =>
        [
            .. Training.Curriculum.Check().Select(p => (new[] { p.Path }, p)),
            .. Task.Check([.. Training.Curriculum.Horizons.Append(Evaluation.Horizon).Distinct()])
                .Select(p =>
                    (
                        Task.IsOnTokens
                            ? new[] { "task", "training.curriculum.horizons", "evaluation.horizon" }
                            : ["task"],
                        p
                    )
                ),
            .. Model.Check(Task).Select(p => (new[] { "task", "model" }, p)),
            .. Training.Check(Task).Select(p => (new[] { "task", p.Path }, p)),
            .. (Training.Consolidation?.Check(Model) ?? []).Select(p => (new[] { "model", p.Path }, p)),
        ];
}
