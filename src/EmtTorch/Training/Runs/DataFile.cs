using System.Security.Cryptography;
using System.Text.Json;
using EmtTorch.Settings;

namespace EmtTorch.Training;

/// <summary>A file that a run learns from, as a checkpoint remembers it: its length and its hash.</summary>
internal sealed record DataFile(string Path, long Bytes, string Sha256)
{
    private const string Key = "data";

    /// <summary>Writes a task's files to the metadata of a checkpoint.</summary>
    /// <exception cref="IOException">A file cannot be read.</exception>
    public static void Save(RunConfiguration configuration, IDictionary<string, string> metadata)
    {
        if (PathsOf(configuration) is { Count: > 0 } paths)
            metadata[Key] = JsonSerializer.Serialize(paths.Select(Read), RunFolder.Json);
    }

    /// <summary>What has changed in a task's files since a checkpoint was written; null if nothing has.</summary>
    /// <param name="metadata">The checkpoint's. Earlier versions of this program wrote nothing of the files there.
    /// </param>
    /// <exception cref="IOException">A file cannot be read.</exception>
    public static ConfigurationProblem? FindChange(
        RunConfiguration configuration,
        IReadOnlyDictionary<string, string> metadata
    )
    {
        if (!metadata.TryGetValue(Key, out var text))
            return null;
        var trained = JsonSerializer.Deserialize<DataFile[]>(text, RunFolder.Json)!;
        foreach (var (before, path) in trained.Zip(PathsOf(configuration)))
        {
            var now = Read(path);
            if (now.Sha256 == before.Sha256)
                continue;
            var how =
                now.Bytes == before.Bytes
                    ? "its length is the same, its content is not"
                    : $"it had {before.Bytes} bytes and has {now.Bytes}";
            return new(
                $"task.{configuration.Task.Label}",
                $"{path} is not the file that the network was trained on: {how}"
            );
        }
        return null;
    }

    private static IReadOnlyList<string> PathsOf(RunConfiguration configuration) =>
        configuration.Task.Own?.DataFiles ?? [];

    private static DataFile Read(string path)
    {
        using var file = InputFile.Open(path);
        return new(path, file.Length, Convert.ToHexStringLower(SHA256.HashData(file)));
    }
}
