using System.Reflection;
using System.Text.RegularExpressions;

namespace EmtTorch.Settings;

/// <summary>The name by which a configuration asks for a class, as in <c>"task": { "NAME": { … } }</c>.</summary>
/// <param name="name">Small letters, digits and underscores.</param>
[AttributeUsage(AttributeTargets.Class, Inherited = false)]
public sealed class NamedAttribute(string name) : Attribute
{
    public string Name { get; } = name;
}

/// <summary>
/// A setting that is one of the named classes of the property's type. The name of the class is a key beside the other
/// keys, and its settings stand below that. A list holds several classes: their names are the keys of an object with
/// the property's name.
/// </summary>
[AttributeUsage(AttributeTargets.Property)]
internal sealed class PartAttribute : Attribute;

/// <summary>A text that may also be the name of a named class.</summary>
/// <param name="type">The base type of these classes.</param>
[AttributeUsage(AttributeTargets.Property)]
internal sealed class OrNameOfAttribute(Type type) : Attribute
{
    public Type Type { get; } = type;
}

/// <summary>
/// A key that is short for a named part in a list, or for one of the part's settings: a key from before the part had a
/// name. What the setting says of itself holds for the key too. The key is refused beside the part itself.
/// </summary>
/// <param name="list">The property with the list of parts.</param>
/// <param name="part">The part's class.</param>
/// <param name="setting">The part's property, or null if the key is short for the part as a whole.</param>
[AttributeUsage(AttributeTargets.Property)]
internal sealed class ShortForAttribute(string list, Type part, string? setting = null) : Attribute
{
    public string List { get; } = SettingRule.KeyOf(list);

    public string Part { get; } = Parts.NameOf(part);

    public PropertyInfo? Setting { get; } = setting is null ? null : part.GetProperty(setting)!;

    public string Path => $"{List}.{Part}{(Setting is null ? "" : $".{SettingRule.KeyOf(Setting.Name)}")}";
}

/// <summary>
/// Finds tasks, memories and analyses by their names: those of this library and those of assemblies that were added.
/// </summary>
/// <example><code>
/// Parts.Add(Assembly.LoadFrom("MyLab.dll"));
/// // A task [Named("delayed_match")] in it is "task": { "delayed_match": { … } }.
/// </code></example>
public static partial class Parts
{
    private static readonly Lock Adding = new();
    private static readonly List<Assembly> Added = [];
    private static SortedDictionary<string, Type> _all = With(new(StringComparer.Ordinal), typeof(Parts).Assembly);

    /// <summary>Changes whenever an assembly is added.</summary>
    internal static int Version => _all.Count;

    /// <summary>Adds the named classes of an assembly. Adding the same assembly again changes nothing.</summary>
    /// <param name="assembly">The assembly.</param>
    /// <exception cref="ArgumentException">
    /// A name is taken or has other characters than small letters, digits and underscores, or a class is abstract or
    /// has no public constructor without arguments.
    /// </exception>
    public static void Add(Assembly assembly)
    {
        lock (Adding)
        {
            if (Added.Contains(assembly))
                return;
            _all = With(new(_all, StringComparer.Ordinal), assembly);
            Added.Add(assembly);
        }
    }

    /// <summary>Whether an assembly was added.</summary>
    internal static bool IsAdded(Assembly assembly)
    {
        lock (Adding)
            return Added.Contains(assembly);
    }

    /// <summary>The named classes of a kind, by name.</summary>
    internal static IReadOnlyDictionary<string, Type> Of(Type kind) =>
        _all.Where(p => p.Value.IsAssignableTo(kind)).ToDictionary();

    /// <summary>The named classes of an assembly.</summary>
    internal static IEnumerable<Type> In(Assembly assembly) =>
        assembly.GetTypes().Where(t => t.IsDefined(typeof(NamedAttribute), inherit: false));

    /// <summary>The name of a named class.</summary>
    internal static string NameOf(Type type) => type.GetCustomAttribute<NamedAttribute>()!.Name;

    private static SortedDictionary<string, Type> With(SortedDictionary<string, Type> all, Assembly assembly)
    {
        foreach (var type in In(assembly))
        {
            var name = NameOf(type);
            if (!SettingName().IsMatch(name))
                throw new ArgumentException($"{type} is named '{name}': small letters, digits and '_' are allowed");
            if (type.IsAbstract || type.GetConstructor([]) is null)
                throw new ArgumentException($"{type} has no public constructor without arguments");
            if (!all.TryAdd(name, type))
                throw new ArgumentException($"{type} is named {name}, and so is {all[name]}");
        }
        return all;
    }

    [GeneratedRegex(@"^[a-z][a-z0-9_]{0,99}\z")]
    private static partial Regex SettingName();
}
