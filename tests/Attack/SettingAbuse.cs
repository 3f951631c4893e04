using System.Globalization;
using System.Text.Json.Nodes;
using EmtTorch.Configuration;

namespace EmtTorch.Attack;

/// <summary>Draws values for settings, within their ranges and at the edges, as the schema says them.</summary>
internal sealed class SettingAbuse(Random random)
{
    private static readonly (string Path, JsonObject Rule)[] Settings =
    [
        .. Leaves("", JsonNode.Parse(ConfigurationSchema.Generate())!.AsObject())
            .Where(s => s.Path is not ("$schema" or "out" or "extensions")),
    ];

    private static readonly string[] Names = ["repeat_copy", "t1", "xor", "flip_flop", "compose_copy"];

    /// <summary>Changes some settings of a configuration.</summary>
    public string Change(string json)
    {
        var root = JsonNode.Parse(json)!.AsObject();
        for (int i = random.Next(1, 6); i > 0; i--)
        {
            var (path, rule) = Settings[random.Next(Settings.Length)];
            Put(root, path.Split('.'), Value(rule));
        }
        if (random.Next(4) == 0)
            root["task"] = JsonNode.Parse($$"""{ "name": "{{Names[random.Next(Names.Length)]}}", "d": 2, "s": 2 }""");
        return root.ToJsonString();
    }

    /// <summary>A setting as `--set` takes it.</summary>
    public string Override()
    {
        var (path, rule) = Settings[random.Next(Settings.Length)];
        return $"{path}={Value(rule)?.ToJsonString() ?? "null"}";
    }

    private static void Put(JsonObject root, string[] keys, JsonNode? value)
    {
        var section = root;
        foreach (var key in keys[..^1])
        {
            if (section[key] is not JsonObject inner)
                section[key] = inner = [];
            section = inner;
        }
        section[keys[^1]] = value;
    }

    private JsonNode? Value(JsonObject rule)
    {
        if (random.Next(12) == 0)
            return null;
        if (rule["enum"] is JsonArray values)
            return values[random.Next(values.Count)]?.DeepClone();
        var type = rule["type"] is JsonArray types ? (string)types[0]! : (string)rule["type"]!;
        return type switch
        {
            "boolean" => random.Next(2) == 0,
            "string" => random.Next(3) switch
            {
                0 => "",
                1 => "x",
                _ => "cpu",
            },
            "array" => new JsonArray([
                .. Enumerable.Range(0, random.Next(0, 4)).Select(_ => Value(rule["items"]!.AsObject())),
            ]),
            "integer" => Integer(rule),
            "number" => Number(rule),
            _ => new JsonObject(),
        };
    }

    private JsonNode Integer(JsonObject rule)
    {
        var (low, high) = (Edge(rule["minimum"], 0), Edge(rule["maximum"], 100));
        return random.Next(10) switch
        {
            0 => JsonNode.Parse(low.ToString(CultureInfo.InvariantCulture))!,
            1 => JsonNode.Parse(high.ToString(CultureInfo.InvariantCulture))!,
            2 => JsonNode.Parse((low - 1).ToString(CultureInfo.InvariantCulture))!,
            3 => JsonNode.Parse((high + 1).ToString(CultureInfo.InvariantCulture))!,
            _ => random.Next(1, 9),
        };

        static decimal Edge(JsonNode? value, decimal standard) =>
            value is null
                ? standard
                : decimal.Parse(value.ToJsonString(), NumberStyles.Float, CultureInfo.InvariantCulture);
    }

    private JsonNode Number(JsonObject rule) =>
        random.Next(8) switch
        {
            0 => 0,
            1 => -1e-300,
            2 => 1e300,
            3 => (rule["maximum"] ?? rule["exclusiveMinimum"] ?? rule["minimum"] ?? 1).DeepClone(),
            4 => double.Epsilon,
            _ => random.NextDouble(),
        };

    private static IEnumerable<(string Path, JsonObject Rule)> Leaves(string path, JsonObject rule)
    {
        if (rule["properties"] is not JsonObject properties)
            return [(path, rule)];
        return properties.SelectMany(p => Leaves(path.Length == 0 ? p.Key : $"{path}.{p.Key}", p.Value!.AsObject()));
    }
}
