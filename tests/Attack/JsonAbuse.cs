using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace EmtTorch.Attack;

/// <summary>Makes a JSON file wrong, or odd, at random places.</summary>
internal sealed class JsonAbuse(Random random)
{
    private static readonly string[] Values =
    [
        "null",
        "true",
        "[]",
        "{}",
        "\"\"",
        "\"x\"",
        "-1",
        "0",
        "1",
        "2",
        "3.5",
        "-0",
        "1e308",
        "1e999",
        "-1e999",
        "NaN",
        "Infinity",
        "\"NaN\"",
        "2147483647",
        "2147483648",
        "9223372036854775807",
        "9223372036854775808",
        "1e-400",
        "0.1e1",
        "00",
        "+1",
        "0x10",
        "\"1\"",
        "\"true\"",
        "\"\\ud800\"",
        "\"\\u0000\"",
        "\"a\\nb\"",
        "\"../x\"",
        "[[]]",
        "[null]",
        "[1, \"x\", {}]",
        "{\"\": 1}",
        "{\"name\": \"x\"}",
        "{\"name\": \"x\", \"set\": {}}",
        "{\"name\": \"x\", \"set\": {\"training.steps\": 1}}",
        "\"1-3\"",
        "\"1-9223372036854775807\"",
        "\"0-99999999999999999999\"",
        "\"5-1\"",
        "\"1,,2\"",
        "123456789012345678901234567890",
        "1E+2",
    ];

    private static readonly string[] Keys =
    [
        "unknown",
        "",
        ".",
        "a.b",
        "training:steps",
        "Training",
        "$schema",
        "\\ud800",
        "\\u0000",
        "name",
        "set",
        "base",
        "steps",
        "seeds",
        "extensions",
        "connection",
        "memories",
        "task",
        "0",
        "__proto__",
        " steps",
        "steps ",
    ];

    /// <summary>The text with one to four abuses.</summary>
    public byte[] Abuse(string json)
    {
        var root = JsonNode.Parse(json)!;
        var raw = new List<string>();
        for (int i = random.Next(1, 4); i > 0; i--)
            ChangeTree(root, raw);
        var text = root.ToJsonString(new JsonSerializerOptions { WriteIndented = random.Next(2) == 0 });
        foreach (var (i, value) in raw.Index())
        {
            text = text.Replace($"\"@value{i}@\"", value, StringComparison.Ordinal)
                .Replace($"@key{i}@", value, StringComparison.Ordinal);
        }
        return random.Next(4) == 0 ? ChangeBytes(Encoding.UTF8.GetBytes(text)) : Encoding.UTF8.GetBytes(text);
    }

    private void ChangeTree(JsonNode root, List<string> raw)
    {
        var places = Places(root).ToList();
        if (places.Count == 0)
            return;
        var (parent, key) = places[random.Next(places.Count)];
        switch (random.Next(8))
        {
            case 0:
                Remove(parent, key);
                break;
            case 1: // an unknown key, or a known one where it does not belong
            case 2: // the same key twice
                if (parent is not JsonObject section)
                    goto default;
                var name = random.Next(2) == 0 ? Keys[random.Next(Keys.Length)] : (string)key;
                raw.Add(name);
                section[$"@key{raw.Count - 1}@"] = Value(raw);
                break;
            case 3:
                var (otherParent, otherKey) = places[random.Next(places.Count)];
                Set(parent, key, Get(otherParent, otherKey)?.DeepClone());
                break;
            default:
                Set(parent, key, Value(raw));
                break;
        }
    }

    /// <summary>A value that is put in as it stands once the tree is text.</summary>
    private JsonValue Value(List<string> raw)
    {
        raw.Add(
            random.Next(20) switch
            {
                0 => $"\"{new string('x', random.Next(1, 200_000))}\"",
                1 => Nested(random.Next(2, 200)),
                2 => Nested(random.Next(1_000, 100_000)),
                3 => $"[{string.Join(',', Enumerable.Range(0, random.Next(1, 100_000)))}]",
                4 =>
                    $"{{{string.Join(',', Enumerable.Range(0, random.Next(1, 20_000)).Select(i => $"\"k{i}\":{i}"))}}}",
                _ => Values[random.Next(Values.Length)],
            }
        );
        return JsonValue.Create($"@value{raw.Count - 1}@");
    }

    private string Nested(int depth)
    {
        bool lists = random.Next(2) == 0;
        var open = string.Concat(Enumerable.Repeat(lists ? "[" : "{\"a\":", depth));
        return $"{open}1{new string(lists ? ']' : '}', depth)}";
    }

    private byte[] ChangeBytes(byte[] bytes)
    {
        int at = random.Next(bytes.Length),
            length = random.Next(1, 20);
        return random.Next(7) switch
        {
            0 => bytes[..at],
            1 => [.. bytes[..at], .. bytes.Skip(at + length)],
            2 => [.. bytes[..at], (byte)random.Next(256), .. bytes[at..]],
            3 => [.. bytes[..at], .. bytes.Skip(at).Take(length), .. bytes[at..]],
            4 => [0xEF, 0xBB, 0xBF, .. bytes],
            5 => Encoding
                .Unicode.GetPreamble()
                .Concat(Encoding.Unicode.GetBytes(Encoding.UTF8.GetString(bytes)))
                .ToArray(),
            _ => [.. bytes[..at], .. "/* "u8, .. bytes[at..]],
        };
    }

    private static IEnumerable<(JsonNode Parent, object Key)> Places(JsonNode? node)
    {
        var inner = node switch
        {
            JsonObject section => section.Select(p => (Key: (object)p.Key, p.Value)).ToList(),
            JsonArray array => array.Select((v, i) => (Key: (object)i, Value: v)).ToList(),
            _ => [],
        };
        foreach (var (key, value) in inner)
        {
            yield return (node!, key);
            foreach (var place in Places(value))
                yield return place;
        }
    }

    private static JsonNode? Get(JsonNode parent, object key) => key is int i ? parent[i] : parent[(string)key];

    private static void Set(JsonNode parent, object key, JsonNode? value)
    {
        if (key is int i && parent is JsonArray array)
            array[i] = value;
        else if (key is string name)
            parent[name] = value;
    }

    private static void Remove(JsonNode parent, object key)
    {
        if (key is int i && parent is JsonArray array)
            array.RemoveAt(i);
        else
            ((JsonObject)parent).Remove((string)key);
    }
}
