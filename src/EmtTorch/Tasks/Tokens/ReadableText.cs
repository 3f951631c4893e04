using System.Globalization;
using System.Text;

namespace EmtTorch.Tasks;

/// <summary>
/// Shows bytes as text: characters of UTF-8 as they are; \xNN for bytes that are no UTF-8, and for control characters
/// other than line ends.
/// </summary>
internal static class ReadableText
{
    public static string Show(ReadOnlySpan<byte> bytes)
    {
        var text = new StringBuilder();
        while (bytes.Length > 0)
        {
            bool whole =
                Rune.DecodeFromUtf8(bytes, out var character, out int size) == System.Buffers.OperationStatus.Done;
            bool shown =
                whole
                && (
                    character.Value == '\n'
                    || Rune.GetUnicodeCategory(character)
                        is not (
                            UnicodeCategory.Control
                            or UnicodeCategory.Format
                            or UnicodeCategory.OtherNotAssigned
                            or UnicodeCategory.PrivateUse
                        )
                );
            if (shown)
            {
                text.Append(character.ToString());
            }
            else
            {
                foreach (byte one in bytes[..size])
                    text.Append(CultureInfo.InvariantCulture, $"\\x{one:x2}");
            }

            bytes = bytes[size..];
        }
        return text.ToString();
    }
}
