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
/// A setting that is one of the named classes of the property's type: its name is a key beside the others, and its
/// settings are below that. A list holds several: the names are keys of an object that is called as the property.
/// </summary>
[AttributeUsage(AttributeTargets.Property)]
internal sealed class PartAttribute : Attribute;

/// <summary>A text that may also be the name of one of the named classes of a type.</summary>
/// <param name="type">What all of them are.</param>
[AttributeUsage(AttributeTargets.Property)]
internal sealed class OrNameOfAttribute(Type type) : Attribute
{
    public Type Type { get; } = type;
}

/// <summary>
/// Tasks, memories and analyses, found by their names: those of this library and those of assemblies that were added.
/// </summary>
/// <example><code>
/// Parts.Add(Assembly.LoadFrom("MyLab.dll")); // a task [Named("delayed_match")] in it is "task": { "delayed_match": { … } }
/// </code></example>
public static partial class Parts
{
    private static readonly Lock Adding = new();
    private static Assembly[] _assemblies = [typeof(Parts).Assembly];

    /// <summary>Changes whenever an assembly is added.</summary>
    internal static int Version => _assemblies.Length;

    /// <summary>The assemblies that were added, by their files.</summary>
    internal static IEnumerable<string> Files => _assemblies.Select(a => a.Location);

    /// <summary>Adds the named classes of an assembly. One that is added already changes nothing.</summary>
    /// <param name="assembly">The assembly.</param>
    /// <exception cref="ArgumentException">A name is taken, or is none for a setting, or a class can't be
    /// made.</exception>
    public static void Add(Assembly assembly)
    {
        lock (Adding)
        {
            if (_assemblies.Contains(assembly))
                return;
            foreach (var type in Named(assembly))
            {
                var name = NameOf(type);
                if (!SettingName().IsMatch(name))
                    throw new ArgumentException($"{type} is named '{name}': small letters, digits and '_' are allowed");
                if (type.IsAbstract || type.GetConstructors().Length == 0)
                {
                    throw new ArgumentException(
                        $"{type} is named {name}, but can't be made: it is abstract or has no public constructor"
                    );
                }
                if (
                    _assemblies.SelectMany(Named).FirstOrDefault(t => NameOf(t) == name && SameKind(t, type)) is
                    { } other
                )
                {
                    throw new ArgumentException($"{type} is named {name}, and so is {other}");
                }
            }
            _assemblies = [.. _assemblies, assembly];
        }
    }

    /// <summary>The named classes of a kind, by name.</summary>
    internal static IReadOnlyDictionary<string, Type> Of(Type kind) =>
        new SortedDictionary<string, Type>(
            _assemblies.SelectMany(Named).Where(t => !t.IsAbstract && t.IsAssignableTo(kind)).ToDictionary(NameOf),
            StringComparer.Ordinal
        );

    /// <summary>A class's name.</summary>
    internal static string NameOf(Type type) => type.GetCustomAttribute<NamedAttribute>()!.Name;

    private static IEnumerable<Type> Named(Assembly assembly) =>
        assembly.GetTypes().Where(t => t.IsDefined(typeof(NamedAttribute), inherit: false));

    // A task and a memory may have the same name, two tasks may not: they have a base in common that is not
    // everybody's.
    private static bool SameKind(Type one, Type other)
    {
        for (
            var type = one.BaseType;
            type is not null && type.Assembly != typeof(object).Assembly;
            type = type.BaseType
        )
        {
            if (type.Namespace?.StartsWith("EmtTorch", StringComparison.Ordinal) == true && other.IsAssignableTo(type))
                return true;
        }
        return one.GetInterfaces()
            .Intersect(other.GetInterfaces())
            .Any(i => i.Namespace?.StartsWith("EmtTorch", StringComparison.Ordinal) == true);
    }

    [GeneratedRegex("^[a-z][a-z0-9_]{0,99}$")]
    private static partial Regex SettingName();
}
