using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace EmtTorch.Settings;

/// <summary>
/// Reads JSON that a person or a crash may have touched. Comments and trailing commas are allowed. Everything that is
/// wrong is found at once, also what System.Text.Json finds only when a value is used: a key that is given twice, and
/// half of a surrogate pair.
/// </summary>
internal static class JsonText
{
    private static readonly JsonDocumentOptions Lenient = new()
    {
        CommentHandling = JsonCommentHandling.Skip,
        AllowTrailingCommas = true,
    };

    /// <summary>Parses a text.</summary>
    /// <param name="text">The text.</param>
    /// <param name="twice">Called with the path of a key that is given again; its first value is kept. Null: such a key
    /// is refused.</param>
    /// <param name="path">The path of the value within a larger one.</param>
    /// <exception cref="JsonException">The text is not JSON. The message names the line and the column.</exception>
    public static JsonNode? Parse(string text, Action<string>? twice = null, string path = "")
    {
        try
        {
            using var document = JsonDocument.Parse(text, Lenient);
            // A copy of the whole: numbers go on referring to it.
            return Node(
                document.RootElement.Clone(),
                path,
                twice ?? (key => throw new JsonException($"{key} is given twice"))
            );
        }
        catch (JsonException e) when (e.LineNumber is { } line)
        {
            throw new JsonException($"line {line + 1}, column {Column(text, e)}: {e.Message.Split(" LineNumber:")[0]}");
        }
        catch (InvalidOperationException e) // half of a surrogate pair, "\ud800"
        {
            throw new JsonException(e.Message, e);
        }
        catch (ArgumentException e) // the same, not as an escape
        {
            throw new JsonException(e.Message, e);
        }
    }

    /// <summary>Reads a file that this program writes.</summary>
    /// <typeparam name="T">What the file holds: a record, or JsonObject.</typeparam>
    /// <param name="path">The file.</param>
    /// <param name="what">What it should be, to end the sentence "PATH is not …".</param>
    /// <param name="options">How the record is written.</param>
    /// <exception cref="InvalidDataException">The file holds something else.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    /// <exception cref="UnauthorizedAccessException">The file may not be read.</exception>
    public static T Read<T>(string path, string what, JsonSerializerOptions? options = null)
        where T : class
    {
        var text = InputFile.ReadText(path);
        try
        {
            var node = Parse(text);
            return node as T ?? node.Deserialize<T>(options) ?? throw new JsonException("found null");
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or FormatException)
        {
            throw new InvalidDataException($"{path} is not {what}: {e.Message}", e);
        }
    }

    private static JsonNode? Node(JsonElement element, string at, Action<string> twice)
    {
        switch (element.ValueKind)
        {
            case JsonValueKind.Object:
                var section = new JsonObject();
                foreach (var property in element.EnumerateObject())
                {
                    var key = SettingRule.Join(at, property.Name);
                    if (section.ContainsKey(property.Name))
                        twice(key);
                    else
                        section.Add(property.Name, Node(property.Value, key, twice));
                }
                return section;
            case JsonValueKind.Array:
                return new JsonArray([
                    .. element.EnumerateArray().Select((item, i) => Node(item, $"{at}[{i}]", twice)),
                ]);
            case JsonValueKind.Null:
                return null;
            case JsonValueKind.String:
                return JsonValue.Create(element.GetString());
            default:
                return JsonValue.Create(element);
        }
    }

    // From 1. The exception counts bytes; people count characters.
    private static int Column(string text, JsonException e)
    {
        var bytes = Encoding.UTF8.GetBytes(text.Split('\n').ElementAtOrDefault((int)(e.LineNumber ?? 0)) ?? "");
        return Encoding.UTF8.GetCharCount(bytes, 0, Math.Min(bytes.Length, (int)(e.BytePositionInLine ?? 0))) + 1;
    }
}
