using System.Reflection;
using System.Runtime.Loader;
using System.Text.Json.Nodes;
using EmtTorch.Settings;
using EmtTorch.Tasks;

namespace EmtTorch.Configuration;

/// <summary>
/// Assemblies of a user's own, with tasks, memories and analyses that configurations then ask for by their names.
/// </summary>
public static class Extensions
{
    private const string Key = "extensions";

    /// <summary>Adds an assembly, for this process.</summary>
    /// <param name="path">Its file.</param>
    /// <exception cref="ConfigurationException">It can't be loaded, or a name in it is taken.</exception>
    public static void Add(string path)
    {
        if (Problem(path) is { } problem)
            throw new ConfigurationException([problem]);
    }

    /// <summary>Adds the assemblies that settings name, before their other keys are looked at.</summary>
    internal static void Load(
        JsonObject? settings,
        IReadOnlyList<string> overrides,
        List<ConfigurationProblem> problems
    )
    {
        var given = settings?[Key];
        if (overrides.LastOrDefault(o => o.StartsWith($"{Key}=", StringComparison.Ordinal)) is { } text)
        {
            try
            {
                given = JsonNode.Parse(text[(Key.Length + 1)..]);
            }
            catch (System.Text.Json.JsonException)
            {
                return; // no list: the key's rule says so
            }
        }
        // What is no list of texts is refused by the key's rule.
        var paths = given is JsonArray list ? list.OfType<JsonValue>().Where(v => v.TryGetValue<string>(out _)) : [];
        foreach (var path in paths.Select(v => v.GetValue<string>()).Where(p => p.Trim().Length > 0))
        {
            if (Problem(path) is { } problem)
                problems.Add(problem);
        }
    }

    private static ConfigurationProblem? Problem(string path)
    {
        try
        {
            var file = Path.GetFullPath(path);
            if (!File.Exists(file))
                return new(Key, $"there is no file {path} (looked for {file})");
            var assembly = AssemblyLoadContext.Default.LoadFromAssemblyPath(file);
            // A task's name stands beside these keys.
            var own = typeof(TaskConfiguration).GetProperties().Select(p => SettingRule.KeyOf(p.Name)).ToHashSet();
            if (Parts.In(assembly).Select(Parts.NameOf).FirstOrDefault(own.Contains) is { } name)
                return new(Key, $"{path} can't be added: {name} is a key of every task, and no name for one");
            Parts.Add(assembly);
            return null;
        }
        catch (Exception e) when (e is BadImageFormatException or IOException or UnauthorizedAccessException)
        {
            return new(Key, $"{path} is no assembly that can be loaded: {e.Message}");
        }
        catch (ReflectionTypeLoadException e)
        {
            return new(Key, $"{path} was built for another version: {e.LoaderExceptions.FirstOrDefault()?.Message}");
        }
        catch (ArgumentException e)
        {
            return new(Key, $"{path} can't be added: {e.Message}");
        }
    }
}
