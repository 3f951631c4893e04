namespace EmtTorch.Settings;

// The records of settings are the one place where these are described. Names (in snake_case), types, defaults, ranges
// and descriptions are read off them by validation, by the messages and by configs/schema.json (SettingRule). On a
// list, Range and AllowedValues hold for each element. What may be left out but not be null is marked JsonIgnore
// WhenWritingNull. A JsonObject has any keys with any values, an OrderedDictionary any keys with values of its type.

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

/// <summary>This property is for some kinds only: given for another it is refused, and it is not written.</summary>
[AttributeUsage(AttributeTargets.Property)]
internal sealed class OnlyForAttribute(params string[] kinds) : Attribute
{
    public string[] Kinds { get; } = kinds;
}

/// <summary>What a value may be, in words, where its type says too little.</summary>
[AttributeUsage(AttributeTargets.Property)]
internal sealed class InWordsAttribute(string words) : Attribute
{
    public string Words { get; } = words;
}
