using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization.Metadata;
using System.Text.RegularExpressions;
using EmtTorch.Memory;
using EmtTorch.Settings;
using EmtTorch.Tasks;
using EmtTorch.Training;
using Microsoft.Extensions.Configuration;

namespace EmtTorch.Configuration;

/// <summary>Reads configurations: JSON with snake_case keys; comments and trailing commas are allowed.</summary>
/// <remarks>
/// Microsoft.Extensions.Configuration turns every value into text and ignores unknown keys. Therefore the JSON itself
/// is checked first, all problems are collected, and then it is bound.
/// </remarks>
/// <example><code>
/// var configuration = ConfigurationFile.Load(
///     "configs/t1.json",
///     ["training.steps=500", "training.curriculum.horizons=[100]"]
/// );
/// </code></example>
public static partial class ConfigurationFile
{
    /// <summary>Reads and checks a run's configuration.</summary>
    /// <param name="path">The file.</param>
    /// <param name="overrides">
    /// Settings in place of the file's, each as `key.path=value`. A value is JSON if it parses as JSON, and text
    /// otherwise. The last one of a key wins. A list or an object is replaced as a whole.
    /// </param>
    /// <exception cref="ConfigurationException">There are problems: all of them.</exception>
    public static RunConfiguration Load(string path, IReadOnlyList<string>? overrides = null)
    {
        var problems = new List<ConfigurationProblem>();
        // The file's name, made into one that the rule for names allows.
        var name = NotInNames().Replace(Path.GetFileNameWithoutExtension(path), "_").TrimStart('.', '-');
        name = name.Length > 0 ? RunConfiguration.Shorten(name) : "run";
        return Read(ReadObject(path, problems), overrides, name, problems);
    }

    /// <summary>Reads and checks a configuration from its text, for example out of a checkpoint's metadata.</summary>
    /// <param name="json">The text.</param>
    /// <param name="overrides">As for a file.</param>
    /// <param name="name">The run's name if the text gives none.</param>
    /// <exception cref="ConfigurationException">There are problems: all of them.</exception>
    public static RunConfiguration Parse(string json, IReadOnlyList<string>? overrides = null, string name = "run")
    {
        var problems = new List<ConfigurationProblem>();
        return Read(ParseObject(json, "", problems), overrides, name, problems);
    }

    /// <summary>
    /// Reads and checks an experiment's own configuration. Its records are described as a run's are
    /// (RunConfiguration.cs), and all have defaults.
    /// </summary>
    /// <typeparam name="T">The record of the whole file.</typeparam>
    /// <param name="path">The file.</param>
    /// <param name="overrides">As for a run.</param>
    /// <param name="check">
    /// The rules that tie several settings together: each problem, with the keys that it is about. A problem is left
    /// out if one of these keys is wrong by itself.
    /// </param>
    /// <exception cref="ConfigurationException">There are problems: all of them.</exception>
    public static T Load<T>(
        string path,
        IReadOnlyList<string>? overrides,
        Func<T, IEnumerable<(string[] Keys, ConfigurationProblem Problem)>> check
    )
        where T : class, new()
    {
        var problems = new List<ConfigurationProblem>();
        var settings = Override<T>(ReadObject(path, problems), overrides ?? [], problems);
        var configuration = Bind(settings, check, problems);
        return problems.Count == 0 ? configuration : throw new ConfigurationException(problems);
    }

    /// <summary>Checks settings by the rules of a record, adds what is wrong, and binds the rest.</summary>
    internal static T Bind<T>(
        JsonObject settings,
        Func<T, IEnumerable<(string[] Keys, ConfigurationProblem Problem)>> check,
        List<ConfigurationProblem> problems
    )
        where T : class, new()
    {
        SettingRule.Of<T>().Check(settings, "", problems);
        var configuration = settings.Deserialize<T>(SettingJson.Options)!;
        AddNew([.. check(configuration)], problems);
        return configuration;
    }

    /// <summary>A file's JSON object. Null if there is none, and the reason is added to the problems.</summary>
    internal static JsonObject? ReadObject(string path, List<ConfigurationProblem> problems)
    {
        try
        {
            return ParseObject(InputFile.ReadText(path), path, problems);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            problems.Add(new(path, $"there is no such file (looked for {Path.GetFullPath(path)})"));
        }
        catch (Exception e)
            when (e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            problems.Add(new(path.Length == 0 ? "the file's name" : path, $"can't be read: {e.Message}"));
        }
        return null;
    }

    private static JsonObject? ParseObject(string text, string source, List<ConfigurationProblem> problems)
    {
        if (string.IsNullOrWhiteSpace(text))
        {
            problems.Add(new(source, "is empty (as a pipe and a device are); a JSON object {…} is needed"));
            return null;
        }
        try
        {
            var node = ParseJson(text, "", problems);
            if (node is JsonObject settings)
                return settings;
            var found = node?.GetValueKind().ToString().ToLowerInvariant() ?? "null";
            problems.Add(new(source, $"found {found} at the top; allowed: an object {{…}}"));
        }
        catch (JsonException e)
        {
            problems.Add(new(source, $"is not JSON: {e.Message}"));
        }
        return null;
    }

    private static RunConfiguration Read(
        JsonObject? given,
        IReadOnlyList<string>? overrides,
        string name,
        List<ConfigurationProblem> problems
    )
    {
        given?.Remove(Resumption.History); // a run's config.json begins a new one with its last values
        Extensions.Load(given, overrides ?? [], problems);
        var settings = Override<RunConfiguration>(given, overrides ?? [], problems);
        RunConfiguration.Rule.Check(settings, "", problems);
        RunConfiguration? configuration = null;
        try
        {
            configuration = Bind(settings);
            AddNew([.. configuration.Check()], problems);
        }
        catch (Exception e) when (Extensions.FindThrower(e) is { } thrower)
        {
            problems.Add(new("extensions", Extensions.Describe(thrower, e)));
        }
        if (configuration is null || problems.Count > 0)
            throw new ConfigurationException(problems);
        return configuration.Name.Length > 0 ? configuration : configuration with { Name = name };
    }

    /// <summary>Adds problems of several settings together, except where one of these is wrong by itself.</summary>
    private static void AddNew(
        IReadOnlyList<(string[] Keys, ConfigurationProblem Problem)> found,
        List<ConfigurationProblem> problems
    )
    {
        var isWrong = new Dictionary<string, bool>();
        foreach (var key in found.SelectMany(f => f.Keys))
        {
            if (!isWrong.ContainsKey(key))
                isWrong[key] = problems.Any(p => p.Path.StartsWith(key, StringComparison.Ordinal));
        }
        problems.AddRange(found.Where(f => !f.Keys.Any(key => isWrong[key])).Select(f => f.Problem));
    }

    /// <summary>
    /// The settings with the overrides in them. What is wrong with the overrides is said even if the file is of no use.
    /// </summary>
    /// <exception cref="ConfigurationException">The file gave no settings.</exception>
    private static JsonObject Override<T>(
        JsonObject? given,
        IReadOnlyList<string> overrides,
        List<ConfigurationProblem> problems
    )
    {
        var settings = given ?? [];
        foreach (var text in overrides)
            Override(settings, text, SettingRule.Of<T>(), problems);
        return given is null ? throw new ConfigurationException(problems) : settings;
    }

    private static RunConfiguration Bind(JsonObject settings)
    {
        var rest = settings.DeepClone().AsObject();
        TaskSettings? own = null;
        foreach (var (name, type) in Parts.Of(typeof(TaskSettings)))
        {
            if (rest["task"] is JsonObject task && task.Remove(name, out var part))
                own = (TaskSettings)Bind(part as JsonObject ?? [], Activator.CreateInstance(type)!);
        }
        var memories = new List<MemorySettings>();
        if (rest["model"] is JsonObject model && model.Remove("memories", out var given))
        {
            var kinds = Parts.Of(typeof(MemorySettings));
            foreach (var (name, part) in given as JsonObject ?? [])
                memories.Add((MemorySettings)Bind(part as JsonObject ?? [], Activator.CreateInstance(kinds[name])!));
        }
        var configuration = new RunConfiguration
        {
            Task = new() { Own = own },
            Model = new() { Memories = memories },
        };
        // The binder passes over an object without keys; here it stands for one with all defaults.
        if (rest["model"]?["retrieval"] is not null)
            configuration = configuration with { Model = configuration.Model with { Retrieval = new() } };
        if (rest["training"]?["consolidation"] is not null)
            configuration = configuration with { Training = configuration.Training with { Consolidation = new() } };
        return (RunConfiguration)Bind(rest, configuration);
    }

    private static object Bind(JsonObject settings, object record)
    {
        TakeLists(settings, record);
        using var json = new MemoryStream(Encoding.UTF8.GetBytes(settings.ToJsonString()));
        // The binder ignores case, so that without its underscores a key is its property's name.
        var values = new ConfigurationBuilder()
            .AddJsonStream(json)
            .Build()
            .AsEnumerable()
            .Select(p => KeyValuePair.Create(p.Key.Replace("_", "", StringComparison.Ordinal), p.Value));
        new ConfigurationBuilder()
            .AddInMemoryCollection(values)
            .Build()
            .Bind(record, o => o.ErrorOnUnknownConfiguration = true);
        return record;
    }

    /// <summary>
    /// Moves lists from the settings to the record. The binder adds to a list that holds a default, and takes a time
    /// that grows with the square of the list.
    /// </summary>
    private static void TakeLists(JsonObject settings, object record)
    {
        foreach (var property in record.GetType().GetProperties().Where(p => p.CanWrite))
        {
            var key = SettingRule.KeyOf(property.Name);
            if (settings[key] is JsonArray list && property.PropertyType.IsGenericType)
            {
                property.SetValue(record, list.Deserialize(property.PropertyType, Lists));
                settings.Remove(key);
            }
            else if (settings[key] is JsonObject section && property.GetValue(record) is { } inner)
            {
                TakeLists(section, inner);
            }
        }
    }

    // A setting that is missing in an element of a list is a problem that the rules have found.
    private static readonly JsonSerializerOptions Lists = new(SettingJson.Options)
    {
        TypeInfoResolver = new DefaultJsonTypeInfoResolver
        {
            Modifiers =
            {
                type =>
                {
                    foreach (var property in type.Properties)
                        property.IsRequired = false;
                },
            },
        },
    };

    /// <summary>
    /// Puts one override into the settings. A second configuration source would not do: sources are merged value by
    /// value, so that a shorter list would keep the end of the longer one.
    /// </summary>
    private static void Override(
        JsonObject settings,
        string text,
        SettingRule rule,
        List<ConfigurationProblem> problems
    )
    {
        int equals = text.IndexOf('=', StringComparison.Ordinal);
        if (equals <= 0)
        {
            problems.Add(new("--set", $"found '{text}'; allowed: key=value, for example training.steps=500"));
            return;
        }
        if (rule.Find(text[..equals], out var unknown) is null)
        {
            problems.Add(unknown! with { Message = $"{unknown.Message} (in --set {text})" });
            return;
        }

        var keys = text[..equals].Split('.');
        var section = settings;
        foreach (var key in keys[..^1])
        {
            if (section[key] is null)
                section[key] = new JsonObject();
            // The rules refuse anything but an object later.
            if (section[key] is not JsonObject inner)
                return;
            section = inner;
        }
        var value = text[(equals + 1)..];
        JsonNode? node;
        try
        {
            node = ParseJson(value, string.Join('.', keys), problems);
        }
        catch (JsonException)
        {
            node = value;
        }
        section[keys[^1]] = node;
    }

    /// <summary>Parses JSON. A duplicate key is reported by its path, and its first value is kept.</summary>
    private static JsonNode? ParseJson(string text, string path, List<ConfigurationProblem> problems) =>
        JsonText.Parse(text, key => problems.Add(new(key, "the key is given more than once; allowed: once")), path);

    [GeneratedRegex("[^A-Za-z0-9._-]")]
    private static partial Regex NotInNames();
}
