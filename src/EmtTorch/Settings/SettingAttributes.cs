namespace EmtTorch.Settings;

// The records of settings are the one place where these are described. Names (in snake_case), types, defaults, ranges
// and descriptions are read off them by validation, by the messages and by configs/schema.json (SettingRule). On a
// list, Range and AllowedValues hold for each element. What may be left out but not be null is marked JsonIgnore
// WhenWritingNull.

/// <summary>Of these properties exactly one must be given.</summary>
[AttributeUsage(AttributeTargets.Class)]
internal sealed class ExactlyOneAttribute(params string[] properties) : Attribute
{
    public string[] Properties { get; } = properties;
}

/// <summary>On a record: its properties may be for some kinds only, which this other property says.</summary>
[AttributeUsage(AttributeTargets.Class)]
internal sealed class KeysOfAttribute(string property) : Attribute
{
    public string Property { get; } = property;
}

/// <summary>This property is for one kind only: given for another it is refused, and it is not written.</summary>
[AttributeUsage(AttributeTargets.Property)]
internal sealed class OnlyForAttribute(string kind) : Attribute
{
    public string Kind { get; } = kind;
}
