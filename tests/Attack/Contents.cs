using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace EmtTorch.Attack;

/// <summary>
/// What a folder of runs came to, as text by name: each line of metrics, each tensor of the last checkpoint, each JSON
/// file. What depends on the clock is left out, and so is what a stop may leave otherwise: logs, locks and the
/// checkpoints before the last one.
/// </summary>
internal sealed class Contents : Dictionary<string, string>
{
    private static readonly string[] OfTheClock =
    [
        "seconds",
        "steps_per_second",
        "time",
        "steps_per_second_mean",
        "history",
    ];

    public static Contents Of(string folder)
    {
        var contents = new Contents();
        foreach (var file in Directory.EnumerateFiles(folder, "*", SearchOption.AllDirectories))
        {
            var name = Path.GetRelativePath(folder, file);
            if (!IsCompared(name))
                continue;
            // Pipes and devices have no length, and reading them might never end.
            if (new FileInfo(file) is { Exists: true, Length: > 0 })
                contents.AddFile(name, file);
            else
                contents[name] = "empty";
        }
        return contents;
    }

    /// <summary>The checkpoint that the file `latest` names; null if there is none.</summary>
    public static string? LastCheckpoint(string checkpoints)
    {
        var latest = Path.Combine(checkpoints, "latest");
        return File.Exists(latest) ? Path.Combine(checkpoints, File.ReadAllText(latest).Trim()) : null;
    }

    /// <summary>A file's tensors: the name with the type and shape, and a hash of the bytes.</summary>
    public static Dictionary<string, string> Tensors(string file)
    {
        var bytes = File.ReadAllBytes(file);
        int length = (int)BinaryPrimitives.ReadInt64LittleEndian(bytes);
        var header = JsonNode.Parse(bytes.AsSpan(8, length))!.AsObject();
        header.Remove("__metadata__");
        return header.ToDictionary(
            t => $"{t.Key} {t.Value!["dtype"]} {t.Value["shape"]!.ToJsonString()}",
            t =>
            {
                var offsets = t.Value!["data_offsets"]!.AsArray();
                int from = 8 + length + (int)offsets[0]!,
                    to = 8 + length + (int)offsets[1]!;
                return Convert.ToHexString(SHA256.HashData(bytes.AsSpan(from, to - from)))[..16];
            }
        );
    }

    private static bool IsCompared(string name)
    {
        var file = Path.GetFileName(name);
        return !name.StartsWith("read" + Path.DirectorySeparatorChar, StringComparison.Ordinal)
            && file is not ("log.jsonl" or "failures.jsonl" or "attack.txt")
            && Path.GetExtension(file) is not (".lock" or ".html" or ".md" or ".csv")
            && (Path.GetExtension(file) != ".safetensors" || !name.Contains("checkpoints/", StringComparison.Ordinal));
    }

    private void AddFile(string name, string file)
    {
        if (Path.GetFileName(file) == "latest")
        {
            AddTensors(name, file);
        }
        else if (file.EndsWith(".jsonl", StringComparison.Ordinal))
        {
            foreach (var (i, line) in File.ReadLines(file).Index())
                this[$"{name}:{i + 1}"] = Canonical(line);
        }
        else
        {
            bool isJson = file.EndsWith(".json", StringComparison.Ordinal);
            this[name] = isJson ? Canonical(File.ReadAllText(file)) : Hash(file);
        }
    }

    private void AddTensors(string name, string latest)
    {
        var last = LastCheckpoint(Path.GetDirectoryName(latest)!)!;
        this[name] = Path.GetFileName(last);
        try
        {
            foreach (var (tensor, hash) in Tensors(last))
                this[$"{name}: {tensor}"] = hash;
        }
        catch (Exception e)
            when (e
                    is IOException
                        or UnauthorizedAccessException
                        or JsonException
                        or ArgumentException
                        or OverflowException
            )
        {
            this[$"{name}: damaged"] = e.Message;
        }
    }

    private static string Hash(string file) => Convert.ToHexString(SHA256.HashData(File.ReadAllBytes(file)))[..16];

    private static string Canonical(string json)
    {
        try
        {
            var node = JsonNode.Parse(json);
            Clean(node);
            return node?.ToJsonString() ?? "null";
        }
        catch (Exception e) when (e is JsonException or ArgumentException or InvalidOperationException)
        {
            return json;
        }
    }

    private static void Clean(JsonNode? node)
    {
        if (node is JsonArray array)
        {
            foreach (var item in array)
                Clean(item);
        }
        if (node is not JsonObject section)
            return;
        foreach (var key in section.Select(p => p.Key).Where(IsOfTheClock).ToList())
            section.Remove(key);
        foreach (var (_, value) in section)
            Clean(value);
    }

    private static bool IsOfTheClock(string key) =>
        OfTheClock.Contains(key) || key.EndsWith("_seconds", StringComparison.Ordinal);
}
