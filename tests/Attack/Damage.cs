using System.Runtime.InteropServices;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace EmtTorch.Attack;

/// <summary>Damage to one file.</summary>
/// <param name="Name">What was done to it.</param>
/// <param name="MayBeRight">
/// Whether the file can still be right by its form, such as JSON with another digit, so that nothing can notice it.
/// </param>
internal sealed partial record Damage(string Name, bool MayBeRight = false)
{
    /// <summary>A file outside of all runs that a link points to.</summary>
    public string? Outside { get; private init; }

    private static readonly string[] Names =
    [
        "a bit turned over",
        "bits turned over",
        "cut short",
        "cut at a line",
        "a byte too many",
        "zeros in it",
        "a block twice",
        "empty",
        "swapped with another's",
        "removed",
        "a folder",
        "a folder with files",
        "a link to a copy elsewhere",
        "a link to nothing",
        "a link to itself",
        "a pipe",
        "not to be read",
    ];

    /// <summary>Damages a file.</summary>
    /// <param name="file">The file.</param>
    /// <param name="others">Files of the same kind.</param>
    /// <param name="outside">An empty place outside of the folder that commands work in.</param>
    /// <param name="random">Draws the damage.</param>
    public static Damage Do(string file, IReadOnlyList<string> others, string outside, Random random)
    {
        // Root reads everything.
        var name = Names[random.Next(Environment.UserName == "root" ? Names.Length - 1 : Names.Length)];
        var bytes = File.ReadAllBytes(file);
        if (name == "swapped with another's" && others.Count == 0)
            name = "zeros in it";
        switch (name)
        {
            case "removed":
                File.Delete(file);
                break;
            case "not to be read":
                File.SetUnixFileMode(file, UnixFileMode.None);
                break;
            case "a folder" or "a folder with files" or "a pipe" or "a link to nothing" or "a link to itself":
                File.Delete(file);
                Replace(file, name);
                break;
            case "a link to a copy elsewhere":
                Directory.CreateDirectory(outside);
                var copy = Path.Combine(outside, "copy");
                File.Move(file, copy);
                File.CreateSymbolicLink(file, copy);
                return new(name) { Outside = copy };
            default:
                var other = others.Count > 0 ? File.ReadAllBytes(others[random.Next(others.Count)]) : [];
                File.WriteAllBytes(file, Change(bytes, name, other, random));
                break;
        }
        bool ofForm = name is "a bit turned over" or "bits turned over" or "a block twice" or "swapped with another's";
        return new(name, ofForm && IsJson(file)) { };
    }

    private static void Replace(string file, string name)
    {
        switch (name)
        {
            case "a pipe":
                _ = mkfifo(file, 0x1b6);
                break;
            case "a link to nothing":
                File.CreateSymbolicLink(file, "/nowhere/at-all");
                break;
            case "a link to itself":
                File.CreateSymbolicLink(file, Path.GetFileName(file));
                break;
            default:
                Directory.CreateDirectory(file);
                if (name == "a folder with files")
                    File.WriteAllText(Path.Combine(file, "something"), "else");
                break;
        }
    }

    private static byte[] Change(byte[] bytes, string name, byte[] other, Random random)
    {
        int at = bytes.Length == 0 ? 0 : random.Next(bytes.Length),
            length = random.Next(1, Math.Max(2, (bytes.Length - at) / 2));
        var changed = bytes.ToArray();
        switch (name)
        {
            case "a bit turned over" or "bits turned over":
                for (int i = name[0] == 'a' ? 1 : random.Next(2, 20); i > 0 && bytes.Length > 0; i--)
                    changed[random.Next(bytes.Length)] ^= (byte)(1 << random.Next(8));
                return changed;
            case "cut short":
                return bytes[..at];
            case "cut at a line":
                return bytes[..(Array.LastIndexOf(bytes, (byte)'\n', Math.Max(0, at - 1)) + 1)];
            case "a byte too many":
                return [.. bytes[..at], (byte)random.Next(256), .. bytes[at..]];
            case "zeros in it":
                changed.AsSpan(at, Math.Min(length, bytes.Length - at)).Clear();
                return changed;
            case "a block twice":
                return [.. bytes[..at], .. bytes.Skip(at).Take(length), .. bytes[at..]];
            case "swapped with another's":
                return other;
            default:
                return [];
        }
    }

    /// <summary>Whether all lines, or the whole file, still are JSON.</summary>
    private static bool IsJson(string file)
    {
        try
        {
            if (file.EndsWith(".jsonl", StringComparison.Ordinal))
                return File.ReadLines(file).All(line => JsonNode.Parse(line) is JsonObject);
            return file.EndsWith(".json", StringComparison.Ordinal)
                && JsonNode.Parse(File.ReadAllText(file)) is not null;
        }
        catch (Exception e) when (e is JsonException or ArgumentException)
        {
            return false;
        }
    }

    [LibraryImport("libc", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int mkfifo(string path, uint mode);
}
