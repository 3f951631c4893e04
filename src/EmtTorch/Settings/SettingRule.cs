using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using System.Globalization;
using System.Numerics;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using System.Text.RegularExpressions;

namespace EmtTorch.Settings;

/// <summary>
/// What one value of a configuration may be, read from a record's property and its attributes. It checks a value, says
/// in words what is allowed, and writes its JSON schema, so that the three can't differ.
/// </summary>
internal sealed class SettingRule
{
    /// <summary>The rule of a record of settings: a run's, or an experiment's.</summary>
    public static SettingRule Of<T>() => Cache<T>.Rule;

    // Made again after an assembly was added.
    private static class Cache<T>
    {
        private static (int Version, SettingRule Rule) _made = (-1, null!);

        public static SettingRule Rule
        {
            get
            {
                var made = _made;
                if (made.Version != Parts.Version)
                    _made = made = (Parts.Version, new(typeof(T), null, null) { IsWhole = true });
                return made.Rule;
            }
        }
    }

    /// <summary>Whether it is the rule of a whole file, which may name its schema.</summary>
    private bool IsWhole { get; init; }

    private readonly string _kind; // as JSON Schema names it
    private readonly bool _nullable,
        _required;
    private readonly string? _description;
    private readonly JsonNode? _default;
    private readonly SettingRule? _items;
    private readonly int _minItems,
        _maxItems = int.MaxValue;
    private readonly string[] _exactlyOne = [];
    private readonly string[]? _onlyFor; // the kinds that this key is for, by…
    private readonly string? _kindKey; // …this key of the object that it is in
    private readonly bool _takesAnyKey; // with values by the rule of the items, if there is one
    private readonly string? _words;
    private readonly ShortForAttribute? _shortFor;
    private readonly JsonNode[] _choices = [];
    private readonly bool _takesParts; // some keys are names of parts
    private readonly RegularExpressionAttribute? _pattern;
    private readonly string? _minimum,
        _maximum; // as text, which holds every type of number
    private readonly bool _above; // the minimum itself is not allowed

    /// <summary>The keys of an object, in order.</summary>
    public OrderedDictionary<string, SettingRule> Keys { get; } = [];

    private SettingRule(Type type, PropertyInfo? property, object? value, bool element = false)
    {
        type = Nullable.GetUnderlyingType(type) ?? type;
        _shortFor = property?.GetCustomAttribute<ShortForAttribute>();
        bool isPart = property?.IsDefined(typeof(PartAttribute)) == true;
        _kind = isPart ? "object" : JsonTypeOf(type);

        if (property is not null && !element)
        {
            _required =
                property.IsDefined(typeof(RequiredMemberAttribute)) || property.IsDefined(typeof(RequiredAttribute));
            _onlyFor = property.GetCustomAttribute<OnlyForAttribute>()?.Kinds;
            _nullable = IsNullable(property);
            _description = DescriptionOf(property);
            if (!_required && _kind != "object" && value is not (null or ""))
                _default = JsonSerializer.SerializeToNode(value, SettingJson.Options);
        }

        _words = _kind == "array" ? null : property?.GetCustomAttribute<InWordsAttribute>()?.Words;
        switch (_kind)
        {
            case "object" when type == typeof(JsonObject):
                _takesAnyKey = true;
                break;
            case "object" when type.IsGenericType && type.GetGenericTypeDefinition() == typeof(OrderedDictionary<,>):
                (_takesAnyKey, _words) = (true, null);
                _items = new(type.GetGenericArguments()[1], property, null);
                break;
            case "object" when isPart:
                _takesParts = true;
                AddParts(type.GetGenericArguments()[0]);
                break;
            case "object":
                _description ??= type.GetCustomAttribute<DescriptionAttribute>()?.Description;
                _takesParts = type.GetProperties().Any(IsOnePart);
                _exactlyOne = AddProperties(type, value ?? Activator.CreateInstance(type)!);
                if (type.GetCustomAttribute<KeysOfAttribute>()?.Property is { } kinds)
                    _kindKey = KeyOf(kinds);
                break;
            case "array":
                _items = new(type.GetGenericArguments()[0], property, null, element: true);
                if (!element)
                    (_minItems, _maxItems) = LengthOf(property);
                break;
            default:
                _choices = ChoicesOf(property);
                _pattern = Said<RegularExpressionAttribute>(property);
                if (Said<RangeAttribute>(property) is { } range)
                {
                    _minimum = Convert.ToString(range.Minimum, CultureInfo.InvariantCulture);
                    _maximum = range.Maximum is double.MaxValue
                        ? null
                        : Convert.ToString(range.Maximum, CultureInfo.InvariantCulture);
                    _above = range.MinimumIsExclusive;
                }
                break;
        }
    }

    /// <summary>What the property says, or the setting that it is short for.</summary>
    private T? Said<T>(PropertyInfo? property)
        where T : Attribute => property?.GetCustomAttribute<T>() ?? _shortFor?.Setting?.GetCustomAttribute<T>();

    private string? DescriptionOf(PropertyInfo property) =>
        Said<DescriptionAttribute>(property)?.Description
        + (_shortFor is null ? "" : $" Short for {_shortFor.Path}.")
        + (_onlyFor is null ? "" : $" For {string.Join(" and ", _onlyFor)} alone.");

    private static bool IsNullable(PropertyInfo property) =>
        new NullabilityInfoContext().Create(property).WriteState == NullabilityState.Nullable
        && !property.IsDefined(typeof(JsonIgnoreAttribute));

    private static (int Least, int Most) LengthOf(PropertyInfo? property) =>
        property?.GetCustomAttribute<LengthAttribute>() is { } length
            ? (length.MinimumLength, length.MaximumLength)
            : (property?.GetCustomAttribute<MinLengthAttribute>()?.Length ?? 0, int.MaxValue);

    private JsonNode[] ChoicesOf(PropertyInfo? property) =>
        [
            .. Said<AllowedValuesAttribute>(property)?.Values.Select(v => JsonSerializer.SerializeToNode(v)!) ?? [],
            .. property?.GetCustomAttribute<OrNameOfAttribute>() is { } others
                ? Parts.Of(others.Type).Keys.Select(name => JsonValue.Create(name))
                : [],
        ];

    private static string JsonTypeOf(Type type) =>
        type == typeof(string) ? "string"
        : type == typeof(bool) ? "boolean"
        : type == typeof(double) ? "number"
        : type == typeof(int) || type == typeof(long) || type == typeof(BigInteger) ? "integer"
        : type.IsGenericType && type.GetGenericTypeDefinition() == typeof(IReadOnlyList<>) ? "array"
        : "object";

    // Whether the names of parts are keys beside the others.
    private static bool IsOnePart(PropertyInfo property) =>
        property.IsDefined(typeof(PartAttribute)) && !property.PropertyType.IsGenericType;

    /// <summary>Adds the keys of a record.</summary>
    /// <returns>The keys of which exactly one must be given; none if there is no such rule.</returns>
    private string[] AddProperties(Type type, object defaults)
    {
        string[] ways = type.GetCustomAttribute<ExactlyOneAttribute>()?.Properties ?? [];
        List<string> exactlyOne = [];
        foreach (var property in type.GetProperties().Where(p => p.CanWrite))
        {
            int before = Keys.Count;
            if (IsOnePart(property))
                AddParts(property.PropertyType);
            else
                Keys.Add(KeyOf(property.Name), new(property.PropertyType, property, property.GetValue(defaults)));
            if (ways.Contains(property.Name))
                exactlyOne.AddRange(Keys.Keys.Skip(before));
        }
        return [.. exactlyOne];
    }

    private void AddParts(Type kind)
    {
        foreach (var (name, part) in Parts.Of(kind))
            Keys.Add(name, new(part, null, null));
    }

    /// <summary>
    /// Finds the rule of a setting by its path, such as training.steps. If there is none, the result is null and the
    /// problem says what is wrong with the path.
    /// </summary>
    public SettingRule? Find(string path, out ConfigurationProblem? problem)
    {
        var (rule, keys) = (this, path.Split('.'));
        for (int i = 0; i < keys.Length; i++)
        {
            if (!rule.Keys.TryGetValue(keys[i], out var next))
            {
                problem = new(string.Join('.', keys[..(i + 1)]), rule.UnknownKey(keys[i]));
                return null;
            }
            rule = next;
        }
        problem = null;
        return rule;
    }

    internal static string KeyOf(string property) => JsonNamingPolicy.SnakeCaseLower.ConvertName(property);

    /// <summary>What is allowed, in words.</summary>
    public string Allowed =>
        _kind switch
        {
            _ when _words is not null => _words,
            "object" when _takesAnyKey => "an object" + (_items is null ? "" : $", each of its keys {_items.Allowed}"),
            "object" => $"an object with the keys {string.Join(", ", Keys.Keys)}",
            "array" => (
                _minItems == _maxItems ? $"a list of {_minItems}"
                : _maxItems < int.MaxValue ? $"a list of {_minItems} to {_maxItems}"
                : _minItems > 0 ? "a list of one or more"
                : "a list"
            ) + $", each {_items!.Allowed}",
            "boolean" => "true or false",
            _ when _choices.Length > 0 => (_choices.Length > 1 ? "one of " : "")
                + string.Join(", ", _choices.Select(Text)),
            "string" => _pattern?.ErrorMessage ?? "text",
            _ => (_kind == "integer" ? "a whole number" : "a number")
                + (
                    _minimum is null ? ""
                    : _above ? $" above {_minimum}"
                    : $" from {_minimum}"
                )
                + (
                    _maximum is null ? ""
                    : _above ? $", up to {_maximum}"
                    : $" to {_maximum}"
                ),
        } + (_nullable ? ", or null" : "");

    /// <summary>
    /// Checks a value and everything in it. Keys with a bad value are removed from their object, so that the rest can
    /// still be bound and checked further.
    /// </summary>
    /// <returns>Whether the value can be bound.</returns>
    public bool Check(JsonNode? node, string path, List<ConfigurationProblem> problems)
    {
        switch (_kind, node?.GetValueKind() ?? JsonValueKind.Null)
        {
            case (_, JsonValueKind.Null) when _nullable:
            case ("boolean", JsonValueKind.True or JsonValueKind.False):
                return true;
            case ("object", JsonValueKind.Object):
                CheckKeys(node!.AsObject(), path, problems);
                return true;
            case ("array", JsonValueKind.Array)
                when node!.AsArray() is var list && list.Count >= _minItems && list.Count <= _maxItems:
                bool good = true;
                for (int i = 0; i < list.Count; i++)
                    good &= _items!.Check(list[i], $"{path}[{i}]", problems);
                return good;
            case ("string", JsonValueKind.String) when IsGoodText(node!):
            case ("integer", JsonValueKind.Number) when IsGoodInteger(node!):
            case ("number", JsonValueKind.Number) when IsGoodNumber(node!):
                return true;
        }
        string found = $"found {Found(node)}; allowed: {Allowed}";
        if (
            node?.GetValueKind() == JsonValueKind.String
            && NearestName.To(Text(node), _choices.Select(Text)) is { } near
        )
        {
            found += $"; did you mean {near}?";
        }

        problems.Add(new(path, found));
        return false;
    }

    private void CheckKeys(JsonObject section, string path, List<ConfigurationProblem> problems)
    {
        var given = section.Select(p => p.Key).ToArray();
        var refused = new HashSet<string>();
        bool listed = false;
        foreach (var key in given)
        {
            if (_takesAnyKey)
            {
                if (_items?.Check(section[key], Join(path, key), problems) == false)
                    refused.Add(key);
            }
            else if (path.Length == 0 && key == "$schema")
            {
                refused.Add(key);
            }
            else if (!Keys.TryGetValue(key, out var rule))
            {
                problems.Add(new(Join(path, key), UnknownKey(key, listed)));
                listed |= NearestName.To(key, Keys.Keys) is null;
                refused.Add(key);
            }
            else if (!rule.Check(section[key], Join(path, key), problems))
            {
                refused.Add(key);
            }
        }
        Remove(refused, section);
        var kind = KindOf(section);
        foreach (var (key, rule) in Keys.Where(k => kind is not null && given.Contains(k.Key) && !k.Value.IsFor(kind)))
        {
            var kinds = string.Join(" and ", rule._onlyFor!);
            problems.Add(new(Join(path, key), $"is for {_kindKey} {kinds} only, and this is {kind}: leave it out"));
            section.Remove(key);
        }

        foreach (var (key, rule) in Keys.Where(k => given.Contains(k.Key) && k.Value.IsReplaced(section)))
        {
            problems.Add(new(Join(path, key), $"is short for {rule._shortFor!.Path}: give one of the two"));
            section.Remove(key);
        }

        foreach (var (key, rule) in Keys)
        {
            if (rule._required && !given.Contains(key) && rule.IsFor(kind))
                problems.Add(new(Join(path, key), $"is missing; needed: {rule.Allowed}"));
        }

        CheckExactlyOne(given, path, problems);
    }

    private void CheckExactlyOne(string[] given, string path, List<ConfigurationProblem> problems)
    {
        var ways = given.Intersect(_exactlyOne).ToArray();
        if (_exactlyOne.Length > 0 && ways.Length != 1)
        {
            problems.Add(
                new(
                    path,
                    $"found {(ways.Length == 0 ? "none" : string.Join(" and ", ways))} of "
                        + $"{string.Join(", ", _exactlyOne)}; allowed: exactly one"
                        + (ways.Length == 0 ? "" : $" (--set {path}={{…}} replaces the whole of it)")
                )
            );
        }
    }

    // All at once: to remove one takes a time that grows with the number of keys.
    private static void Remove(HashSet<string> refused, JsonObject section)
    {
        if (refused.Count == 0)
            return;
        var kept = section.Where(p => !refused.Contains(p.Key)).ToArray();
        section.Clear();
        foreach (var (key, value) in kept)
            section.Add(key, value);
    }

    // Whether the part that a key is short for is given itself.
    private bool IsReplaced(JsonObject section) =>
        _shortFor is not null && (section[_shortFor.List] as JsonObject)?.ContainsKey(_shortFor.Part) == true;

    private bool IsFor(string? kind) => _onlyFor is null || _onlyFor.Contains(kind);

    // The kind of an object: the one that it names, or the default.
    private string? KindOf(JsonObject section) =>
        _kindKey is null ? null : (string?)(section[_kindKey] ?? Keys[_kindKey]._default);

    /// <summary>
    /// Takes keys out of an object, and out of those in it, that are for another kind than theirs, or short for a part
    /// that is there itself.
    /// </summary>
    public void RemoveForeign(JsonObject section)
    {
        if (KindOf(section) is { } kind)
        {
            foreach (var (key, _) in Keys.Where(k => !k.Value.IsFor(kind)))
                section.Remove(key);
        }
        foreach (var (key, _) in Keys.Where(k => k.Value.IsReplaced(section)))
            section.Remove(key);

        foreach (var (key, rule) in Keys)
        {
            if (section[key] is JsonObject inner)
                rule.RemoveForeign(inner);
        }
    }

    /// <summary>The message for a key that this object does not have.</summary>
    /// <param name="listed">Whether the keys that it has were named before: once is enough.</param>
    public string UnknownKey(string key, bool listed = false) =>
        NearestName.To(key, Keys.Keys) is { } near ? $"unknown key; did you mean {near}?"
        : Keys.Count == 0 ? $"unknown key; there are no keys in {Allowed}"
        : listed ? "unknown key"
        : $"unknown key; allowed here: {string.Join(", ", Keys.Keys)}"
            + (_takesParts ? ", and what --extensions adds" : "");

    public static string Join(string path, string key) => path.Length == 0 ? key : $"{path}.{key}";

    private bool IsGoodText(JsonNode node)
    {
        var text = node.GetValue<string>();
        if (_choices.Length > 0)
            return _choices.Any(c => Text(c) == text);
        return _pattern is null || Fits(text, _pattern.Pattern);
    }

    /// <summary>Whether a pattern fits the whole text: $ alone would accept a line break at the end.</summary>
    internal static bool Fits(string text, string pattern) =>
        Regex.Match(text, pattern) is { Success: true } match && match.Length == text.Length;

    private bool IsGoodInteger(JsonNode node)
    {
        var text = Text(node);
        bool plain = text.AsSpan().TrimStart('-').IndexOfAnyExceptInRange('0', '9') < 0;
        if (!plain)
        {
            // JSON has no integers: 2e4 and 64.0 are whole numbers too. Beyond 2^53 these forms are not exact.
            if (
                !double.TryParse(text, CultureInfo.InvariantCulture, out double d)
                || !double.IsInteger(d)
                || Math.Abs(d) > 9007199254740992
            )
            {
                return false;
            }

            text = ((long)d).ToString(CultureInfo.InvariantCulture);
            node.ReplaceWith((long)d);
        }
        var value = BigInteger.Parse(text, CultureInfo.InvariantCulture);
        return (_minimum is null || value >= BigInteger.Parse(_minimum, CultureInfo.InvariantCulture))
            && (_maximum is null || value <= BigInteger.Parse(_maximum, CultureInfo.InvariantCulture))
            && (_choices.Length == 0 || _choices.Any(c => Text(c) == text));
    }

    private bool IsGoodNumber(JsonNode node)
    {
        double value = double.Parse(Text(node), CultureInfo.InvariantCulture);
        double minimum = _minimum is null ? double.MinValue : double.Parse(_minimum, CultureInfo.InvariantCulture);
        double maximum = _maximum is null ? double.MaxValue : double.Parse(_maximum, CultureInfo.InvariantCulture);
        return (_above ? value > minimum : value >= minimum) && value <= maximum;
    }

    // The characters of a text, or the JSON of any other value.
    private static string Text(JsonNode node) =>
        node.GetValueKind() == JsonValueKind.String ? node.GetValue<string>() : node.ToJsonString();

    private static string Found(JsonNode? node)
    {
        var json = node?.ToJsonString(SettingJson.Options) ?? "null";
        return node?.GetValueKind() switch
        {
            JsonValueKind.Object => "an object",
            JsonValueKind.Array => $"a list of {node.AsArray().Count}",
            JsonValueKind.String => $"the text {Shorten(json)}",
            _ => Shorten(json),
        };

        static string Shorten(string text) => text.Length > 60 ? $"{text[..56]}…" : text;
    }

    /// <summary>The JSON schema.</summary>
    public JsonObject Schema()
    {
        var schema = new JsonObject();
        if (_description is { Length: > 0 })
            schema["description"] = _description;
        schema["type"] = _nullable ? new JsonArray(_kind, "null") : _kind;
        if (_choices.Length > 0)
            schema["enum"] = new JsonArray([.. _choices.Select(c => c.DeepClone())]);
        if (_pattern is not null)
            schema["pattern"] = _pattern.Pattern;
        if (_minimum is not null)
            schema[_above ? "exclusiveMinimum" : "minimum"] = JsonNode.Parse(_minimum);
        if (_maximum is not null)
            schema["maximum"] = JsonNode.Parse(_maximum);
        if (_items is not null)
            schema["items"] = _items.Schema();
        if (_minItems > 0)
            schema["minItems"] = _minItems;
        if (_maxItems < int.MaxValue)
            schema["maxItems"] = _maxItems;
        if (_default is not null)
            schema["default"] = _default.DeepClone();
        else if (_nullable)
            schema["default"] = null;
        if (_kind != "object")
            return schema;

        var properties = new JsonObject();
        if (IsWhole)
            properties["$schema"] = new JsonObject { ["type"] = "string" };
        foreach (var (key, rule) in Keys)
            properties[key] = rule.Schema();
        schema["properties"] = properties;
        var required = Keys.Where(k => k.Value._required).Select(k => (JsonNode)k.Key).ToArray();
        if (required.Length > 0)
            schema["required"] = new JsonArray(required);
        if (_exactlyOne.Length > 0)
        {
            schema["oneOf"] = new JsonArray([
                .. _exactlyOne.Select(key => new JsonObject { ["required"] = new JsonArray(key) }),
            ]);
        }

        schema["additionalProperties"] = false;
        return schema;
    }
}
