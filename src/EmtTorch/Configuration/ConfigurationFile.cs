using System.ComponentModel;
using System.Globalization;
using System.Numerics;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using EmtTorch.Memory;
using EmtTorch.Settings;
using EmtTorch.Tasks;
using EmtTorch.Training;
using Microsoft.Extensions.Configuration;

namespace EmtTorch.Configuration;

/// <summary>Reads configurations: JSON with snake_case keys; comments and trailing commas are allowed.</summary>
/// <remarks>
/// Microsoft's configuration turns every value into text and ignores what it does not know. So the JSON itself is
/// checked first, with all problems collected, and then bound.
/// </remarks>
/// <example><code>
/// var configuration = ConfigurationFile.Load("configs/t1.json", ["training.steps=500", "training.curriculum.horizons=[100]"]);
/// </code></example>
public static partial class ConfigurationFile
{
    static ConfigurationFile() =>
        TypeDescriptor.AddAttributes(typeof(BigInteger), new TypeConverterAttribute(typeof(BigIntegerText)));

    /// <summary>Reads and checks a configuration.</summary>
    /// <param name="path">The file.</param>
    /// <param name="overrides">`key.path=value`, a value being JSON where it parses as JSON and text otherwise. A later
    /// one wins over an earlier one; a list or an object is replaced as a whole.</param>
    /// <exception cref="ConfigurationException">There are problems: all of them.</exception>
    public static RunConfiguration Load(string path, IReadOnlyList<string>? overrides = null)
    {
        var (text, problem) = TextOf(path);
        // The file's name, made into one that the rule for names allows.
        var name = NotInNames().Replace(Path.GetFileNameWithoutExtension(path), "_").TrimStart('.', '-');
        return Read(text, problem, path, overrides ?? [], name.Length is > 0 and <= 100 ? name : "run");
    }

    /// <summary>
    /// Reads and checks an experiment's own configuration in the same way: its records are described as a run's are
    /// (RunConfiguration.cs), and all have defaults.
    /// </summary>
    /// <typeparam name="T">The record of the whole.</typeparam>
    /// <param name="path">The file.</param>
    /// <param name="overrides">As for a run.</param>
    /// <param name="check">What is wrong with several settings together: a problem, and the keys that it is about. It
    /// is left out where one of these is wrong by itself.</param>
    /// <exception cref="ConfigurationException">There are problems: all of them.</exception>
    public static T Load<T>(
        string path,
        IReadOnlyList<string>? overrides,
        Func<T, IEnumerable<(string[] Keys, ConfigurationProblem Problem)>> check
    )
        where T : class, new()
    {
        var (text, problem) = TextOf(path);
        var problems = new List<ConfigurationProblem>();
        var settings = Settings<T>(text, problem, path, overrides ?? [], problems);
        var configuration = settings.Deserialize<T>(SettingJson.Options)!;
        problems.AddRange(
            check(configuration)
                .Where(c => !problems.Any(p => c.Keys.Any(key => p.Path.StartsWith(key, StringComparison.Ordinal))))
                .Select(c => c.Problem)
                .ToArray()
        );
        return problems.Count == 0 ? configuration : throw new ConfigurationException(problems);
    }

    private static (string? Text, string Problem) TextOf(string path)
    {
        try
        {
            return Directory.Exists(path)
                ? (null, "is a folder; a configuration is a JSON file")
                : (File.ReadAllText(path), "");
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return (null, $"there is no such file (looked for {Path.GetFullPath(path)})");
        }
        catch (Exception e)
            when (e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            return (null, $"can't be read: {e.Message}");
        }
    }

    /// <summary>Reads and checks a configuration from its text: out of a checkpoint's metadata, say.</summary>
    /// <param name="json">The text.</param>
    /// <param name="overrides">As for a file.</param>
    /// <param name="name">The run's name where the text gives none.</param>
    /// <exception cref="ConfigurationException">There are problems: all of them.</exception>
    public static RunConfiguration Parse(string json, IReadOnlyList<string>? overrides = null, string name = "run") =>
        Read(json, "", "", overrides ?? [], name);

    private static RunConfiguration Read(
        string? text,
        string unreadable,
        string source,
        IReadOnlyList<string> overrides,
        string name
    )
    {
        var problems = new List<ConfigurationProblem>();
        var settings = Settings<RunConfiguration>(text, unreadable, source, overrides, problems);
        var configuration = Bind(settings);
        // A rule over several settings says nothing new where one of them is wrong by itself.
        problems.AddRange(
            configuration
                .Check()
                .Where(c => !problems.Any(p => c.Keys.Any(key => p.Path.StartsWith(key, StringComparison.Ordinal))))
                .Select(c => c.Problem)
                .ToArray()
        );
        if (problems.Count > 0)
            throw new ConfigurationException(problems);
        return configuration.Name.Length > 0 ? configuration : configuration with { Name = name };
    }

    /// <summary>The settings as checked JSON, without the keys that have a bad value.</summary>
    /// <exception cref="ConfigurationException">There is no JSON object to check.</exception>
    private static JsonObject Settings<T>(
        string? text,
        string unreadable,
        string source,
        IReadOnlyList<string> overrides,
        List<ConfigurationProblem> problems
    )
    {
        JsonObject? settings = null;
        if (text is null)
        {
            problems.Add(new(source, unreadable));
        }
        else if (string.IsNullOrWhiteSpace(text))
        {
            problems.Add(new(source, "is empty; a configuration is a JSON object {…}"));
        }
        else
        {
            try
            {
                var node = ParseJson(text, "", problems);
                settings = node as JsonObject;
                if (settings is null)
                {
                    problems.Add(
                        new(
                            source,
                            $"found {node?.GetValueKind().ToString().ToLowerInvariant() ?? "null"} at the top; allowed: an object {{…}}"
                        )
                    );
                }
            }
            catch (JsonException e)
            {
                problems.Add(new(source, NotJson(text, e)));
            }
        }

        Extensions.Load(settings, overrides, problems);
        var rule = SettingRule.Of<T>();
        // What is wrong with the overrides is said even where the file is of no use.
        bool readable = settings is not null;
        settings ??= [];
        foreach (var given in overrides)
            Override(settings, given, rule, problems);
        if (!readable)
            throw new ConfigurationException(problems);
        rule.Check(settings, "", problems);
        return settings;
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
        // An object without keys is nothing to the binder, where here it is one with all defaults.
        if (rest["model"]?["retrieval"] is not null)
            configuration = configuration with { Model = configuration.Model with { Retrieval = new() } };
        return (RunConfiguration)Bind(rest, configuration);
    }

    private static object Bind(JsonObject settings, object record)
    {
        EmptyLists(settings, record);
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
    /// The binder adds to a list that is there already: a list with a default gives way to the settings' own.
    /// </summary>
    private static void EmptyLists(JsonObject settings, object record)
    {
        foreach (var property in record.GetType().GetProperties().Where(p => p.CanWrite))
        {
            var given = settings[SettingJson.Options.PropertyNamingPolicy!.ConvertName(property.Name)];
            if (given is JsonArray && property.PropertyType.IsGenericType)
                property.SetValue(record, Array.CreateInstance(property.PropertyType.GetGenericArguments()[0], 0));
            else if (given is JsonObject section && property.GetValue(record) is { } inner)
                EmptyLists(section, inner);
        }
    }

    /// <summary>
    /// Puts one override into the settings. Not as a second configuration source: those are laid over each other value
    /// by value, so that a shorter list would keep the longer one's end.
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
            problems.Add(new("--set", $"found '{text}'; allowed: key=value, as in training.steps=500"));
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
            // Anything else than an object stays, and is refused where it stands.
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

    /// <summary>Parses, with duplicate keys reported by their paths; the first of them is kept.</summary>
    private static JsonNode? ParseJson(string text, string path, List<ConfigurationProblem> problems)
    {
        using var document = JsonDocument.Parse(
            text,
            new JsonDocumentOptions { CommentHandling = JsonCommentHandling.Skip, AllowTrailingCommas = true }
        );
        try
        {
            return Node(document.RootElement, path);
        }
        catch (InvalidOperationException e)
        {
            throw new JsonException(e.Message, e);
        } // half of a surrogate pair, "\ud800"

        JsonNode? Node(JsonElement element, string at)
        {
            switch (element.ValueKind)
            {
                case JsonValueKind.Object:
                    var section = new JsonObject();
                    foreach (var property in element.EnumerateObject())
                    {
                        var key = SettingRule.Join(at, property.Name);
                        if (section.ContainsKey(property.Name))
                            problems.Add(new(key, "the key is given more than once; allowed: once"));
                        else
                            section.Add(property.Name, Node(property.Value, key));
                    }
                    return section;
                case JsonValueKind.Array:
                    return new JsonArray([.. element.EnumerateArray().Select((item, i) => Node(item, $"{at}[{i}]"))]);
                case JsonValueKind.Null:
                    return null;
                case JsonValueKind.String:
                    return JsonValue.Create(element.GetString());
                default:
                    return JsonValue.Create(element.Clone());
            }
        }
    }

    private static string NotJson(string text, JsonException e)
    {
        if (e.LineNumber is not { } lineNumber)
            return $"is not JSON: {e.Message}";
        int line = (int)lineNumber;
        // The exception counts bytes; people count characters.
        var bytes = Encoding.UTF8.GetBytes(text.Split('\n').ElementAtOrDefault(line) ?? "");
        int column = Encoding.UTF8.GetCharCount(bytes, 0, Math.Min(bytes.Length, (int)(e.BytePositionInLine ?? 0)));
        return $"is not JSON: line {line + 1}, column {column + 1}: {e.Message.Split(" LineNumber:")[0]}";
    }

    [GeneratedRegex("[^A-Za-z0-9._-]")]
    private static partial Regex NotInNames();

    private sealed class BigIntegerText : TypeConverter
    {
        public override bool CanConvertFrom(ITypeDescriptorContext? context, Type sourceType) =>
            sourceType == typeof(string);

        public override object ConvertFrom(ITypeDescriptorContext? context, CultureInfo? culture, object value) =>
            BigInteger.Parse((string)value, CultureInfo.InvariantCulture);
    }
}
