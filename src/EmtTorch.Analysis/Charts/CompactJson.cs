using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;

namespace EmtTorch.Analysis.Charts;

/// <summary>
/// JSON as a page carries it: four significant digits, null for NaN and infinities, nothing that ends a script.
/// </summary>
internal static class CompactJson
{
    private static readonly JsonSerializerOptions Options = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.CamelCase,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        Converters = { new FourDigits() },
    };

    /// <summary>An object's members, but those that are null, with &lt;, &gt; and &amp; as escapes.</summary>
    public static string Text(object value) => JsonSerializer.Serialize(value, Options);

    public static JsonNode Node(object value) => JsonSerializer.SerializeToNode(value, Options)!;

    /// <summary>As <see cref="JsonNode.ToJsonString"/>, which throws at a NaN.</summary>
    public static string Text(JsonNode node) => Finite(node)!.ToJsonString();

    private static JsonNode? Finite(JsonNode? node) =>
        node switch
        {
            JsonObject members => new JsonObject(members.Select(m => KeyValuePair.Create(m.Key, Finite(m.Value)))),
            JsonArray items => new JsonArray([.. items.Select(Finite)]),
            JsonValue value when value.TryGetValue(out double d) && !double.IsFinite(d) => null,
            JsonValue value when value.TryGetValue(out float f) && !float.IsFinite(f) => null,
            _ => node?.DeepClone(),
        };

    private sealed class FourDigits : JsonConverter<double>
    {
        public override double Read(ref Utf8JsonReader reader, Type type, JsonSerializerOptions options) =>
            reader.GetDouble();

        public override void Write(Utf8JsonWriter writer, double value, JsonSerializerOptions options)
        {
            if (!double.IsFinite(value))
                writer.WriteNullValue();
            else
                writer.WriteRawValue(value.ToString("G4", CultureInfo.InvariantCulture));
        }
    }
}
