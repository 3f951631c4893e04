using System.Globalization;
using System.Numerics;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace EmtTorch.Settings;

/// <summary>Writes settings: keys in snake_case, indented, with no needless escapes.</summary>
internal static class SettingJson
{
    public static readonly JsonSerializerOptions Options = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        WriteIndented = true,
        NewLine = "\n",
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        Converters = { new BigIntegerJson() },
    };

    private sealed class BigIntegerJson : JsonConverter<BigInteger>
    {
        public override BigInteger Read(ref Utf8JsonReader reader, Type type, JsonSerializerOptions options) =>
            BigInteger.Parse(JsonElement.ParseValue(ref reader).GetRawText(), CultureInfo.InvariantCulture);

        // As a number: JSON sets no limit to its length.
        public override void Write(Utf8JsonWriter writer, BigInteger value, JsonSerializerOptions options) =>
            writer.WriteRawValue(value.ToString());
    }
}
