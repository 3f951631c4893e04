using System.Globalization;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace EmtTorch.Analysis.Charts;

/// <summary>JSON as a page carries it: four significant digits, null for NaN and infinities, nothing that ends a script.</summary>
internal static class CompactJson
{
    public static string Number(double? value) =>
        value is double v && double.IsFinite(v) ? v.ToString("G4", CultureInfo.InvariantCulture) : "null";

    public static string Array(IEnumerable<double> values) => $"[{string.Join(',', values.Select(v => Number(v)))}]";

    public static string Array(IEnumerable<double[]?> rows) =>
        $"[{string.Join(',', rows.Select(row => Array(row ?? [])))}]";

    public static string Array(IEnumerable<string> items) => $"[{string.Join(',', items)}]";

    /// <summary>Quoted, with &lt;, &gt; and &amp; as escapes.</summary>
    public static string Text(string? text) => text is null ? "null" : $"\"{JavaScriptEncoder.Default.Encode(text)}\"";

    public static JsonObject Object(string json) => JsonNode.Parse(json)!.AsObject();

    /// <summary>As <see cref="JsonNode.ToJsonString"/>, which throws at a NaN.</summary>
    public static string Of(JsonNode? node)
    {
        using var stream = new MemoryStream();
        using (var writer = new Utf8JsonWriter(stream))
            Write(node, writer);
        return Encoding.UTF8.GetString(stream.ToArray());
    }

    private static void Write(JsonNode? node, Utf8JsonWriter writer)
    {
        switch (node)
        {
            case JsonObject members:
                writer.WriteStartObject();
                foreach (var (key, value) in members)
                {
                    writer.WritePropertyName(key);
                    Write(value, writer);
                }
                writer.WriteEndObject();
                break;
            case JsonArray items:
                writer.WriteStartArray();
                foreach (var item in items)
                    Write(item, writer);
                writer.WriteEndArray();
                break;
            case JsonValue value
                when (value.TryGetValue(out double d) && !double.IsFinite(d))
                    || (value.TryGetValue(out float f) && !float.IsFinite(f)):
                writer.WriteNullValue();
                break;
            case null:
                writer.WriteNullValue();
                break;
            default:
                node.WriteTo(writer);
                break;
        }
    }
}
