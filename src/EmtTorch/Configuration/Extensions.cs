using System.Diagnostics;
using System.Reflection;
using System.Runtime.Loader;
using System.Text.Json.Nodes;
using EmtTorch.Settings;
using EmtTorch.Tasks;

namespace EmtTorch.Configuration;

/// <summary>
/// A user's own assemblies. Configurations ask for the tasks, memories and analyses in them by name.
/// </summary>
public static class Extensions
{
    private const string Key = "extensions";

    /// <summary>Adds an assembly for the rest of this process.</summary>
    /// <param name="path">The assembly's file.</param>
    /// <exception cref="ConfigurationException">
    /// It can't be loaded, a name in it is taken, or the constructor of a class in it throws.
    /// </exception>
    /// <example><code>
    /// Extensions.Add("samples/MyLab/bin/Release/net10.0/MyLab.dll");
    /// var configuration = ConfigurationFile.Load("negation.json"); // with "task": { "delayed_negation": { … } }
    /// </code></example>
    public static void Add(string path)
    {
        if (Problem(path) is { } problem)
            throw new ConfigurationException([problem]);
    }

    /// <summary>Adds the assemblies that the settings name. It comes before the check of other keys.</summary>
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
                given = JsonText.Parse(text[(Key.Length + 1)..], _ => { });
            }
            catch (System.Text.Json.JsonException)
            {
                return; // the rule of the key refuses what is not a list
            }
        }
        // The rule of the key refuses what is not a list of texts.
        var paths = given is JsonArray list ? list.OfType<JsonValue>().Where(v => v.TryGetValue<string>(out _)) : [];
        foreach (var path in paths.Select(v => v.GetValue<string>()).Where(p => p.Trim().Length > 0))
        {
            if (Problem(path) is { } problem)
                problems.Add(problem);
        }
    }

    /// <summary>The class of an added assembly out of whose code an exception came; null if there is none.</summary>
    /// <param name="error">The exception, perhaps wrapped by reflection.</param>
    internal static Type? FindThrower(Exception error) =>
        error is TargetInvocationException { InnerException: { } inner }
            ? FindThrower(inner)
            : new StackTrace(error)
                .GetFrames()
                .Select(f => f.GetMethod()?.DeclaringType)
                .Where(t => t is not null && Parts.IsAdded(t.Assembly))
                .Select(t => t!.DeclaringType ?? t) // an iterator's code is in a class of its own, within its owner
                .FirstOrDefault();

    /// <summary>
    /// An exception of an extension in words: MyLab.DelayedNegation threw InvalidOperationException: why.
    /// </summary>
    internal static string Describe(Type thrower, Exception error)
    {
        while (error is TargetInvocationException { InnerException: { } inner })
            error = inner;
        return $"{thrower} threw {error.GetType().Name}: {error.Message}";
    }

    private static ConfigurationProblem? Problem(string path)
    {
        try
        {
            var file = Path.GetFullPath(path);
            if (!File.Exists(file))
                return new(Key, $"there is no file {path} (looked for {file})");
            var assembly = AssemblyLoadContext.Default.LoadFromAssemblyPath(file);
            // The name of a task is a key beside these.
            var own = typeof(TaskConfiguration).GetProperties().Select(p => SettingRule.KeyOf(p.Name)).ToHashSet();
            if (Parts.In(assembly).Select(Parts.NameOf).FirstOrDefault(own.Contains) is { } name)
                return new(Key, $"{path} can't be added: {name} is a key of every task, so no task can be named so");
            if (!Parts.IsAdded(assembly) && WhyNotMade(assembly) is { } reason)
                return new(Key, $"{path} can't be added: {reason}");
            Parts.Add(assembly);
            return null;
        }
        catch (Exception e) when (e is BadImageFormatException or IOException or UnauthorizedAccessException)
        {
            return new(Key, $"{path} is not an assembly that can be loaded: {e.Message}");
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

    /// <summary>What the constructor of a named class throws, if one does.</summary>
    private static string? WhyNotMade(Assembly assembly)
    {
        foreach (var type in Parts.In(assembly).Where(t => !t.IsAbstract && t.GetConstructor([]) is not null))
        {
            try
            {
                Activator.CreateInstance(type);
            }
            catch (TargetInvocationException e)
            {
                return Describe(type, e);
            }
        }
        return null;
    }
}
