namespace EmtTorch.Settings;

// Settings are described in their records and nowhere else. SettingRule reads names (in snake_case), types, defaults,
// ranges and descriptions from them, for checks, messages and configs/schema.json. On a list, Range and AllowedValues
// hold for each element. A setting that may be left out but not be null is marked JsonIgnore WhenWritingNull. A
// JsonObject has any keys with any values, an OrderedDictionary any keys with values of its type.

/// <summary>Exactly one of these properties must be given.</summary>
[AttributeUsage(AttributeTargets.Class)]
internal sealed class ExactlyOneAttribute(params string[] properties) : Attribute
{
    public string[] Properties { get; } = properties;
}

/// <summary>On a record: some properties are for one kind only, and this property names the kind.</summary>
[AttributeUsage(AttributeTargets.Class)]
internal sealed class KeysOfAttribute(string property) : Attribute
{
    public string Property { get; } = property;
}

/// <summary>This property is for some kinds only. For another kind it is refused, and it is not written.</summary>
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
