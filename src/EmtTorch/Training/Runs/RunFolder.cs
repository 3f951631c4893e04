using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;

namespace EmtTorch.Training;

/// <summary>
/// One line of metrics.jsonl: the training batch of one step, and the evaluation where there was one.
/// </summary>
public sealed record Metrics
{
    public required long Step { get; init; }

    /// <summary>
    /// Mean squared error over the output phase of this step's batch; on tokens, mean cross entropy of what is asked,
    /// in nats.
    /// </summary>
    public required double Loss { get; init; }

    /// <summary>Share of output bits with the right sign in this step's batch; on tokens, of right answers.</summary>
    public required double Accuracy { get; init; }

    /// <summary>Steps of the output phase of this step's batch; on tokens what the task says.</summary>
    public required long Horizon { get; init; }

    /// <summary>Norm of the gradient before clipping.</summary>
    public required double GradientNorm { get; init; }

    public double? TestLoss { get; init; }
    public double? TestAccuracy { get; init; }

    /// <summary>At a test on text: cross entropy in bits per character.</summary>
    public double? TestBitsPerCharacter { get; init; }

    /// <summary>Of the characters in words that are new in their document.</summary>
    public double? TestBitsNewWords { get; init; }

    /// <summary>Of the characters in words that were in their document before.</summary>
    public double? TestBitsSeenWords { get; init; }

    /// <summary>
    /// At a test: the mean difference of the arguments of theory's and the network's persistent eigenvalues, in
    /// radians; null where they differ in number.
    /// </summary>
    public double? SpectralError { get; init; }

    /// <summary>At a test: how many persistent eigenvalues the network has.</summary>
    public int? EigenvaluesLearned { get; init; }

    /// <summary>
    /// At a test: what else was measured, by name; of a stage of continual learning, the accuracy on other tasks and
    /// the like.
    /// </summary>
    public IReadOnlyDictionary<string, double>? Measures { get; init; }
    public double StepsPerSecond { get; init; }

    /// <summary>Seconds of training so far, over all interruptions.</summary>
    public double Seconds { get; init; }
}

/// <summary>result.json: what a finished run comes to.</summary>
public sealed record RunResult
{
    public required string Name { get; init; }
    public required long Seed { get; init; }

    /// <summary>`finished` (all steps done) or `early_stop`.</summary>
    public required string Outcome { get; init; }

    /// <summary>Share of output bits with the right sign at the test's horizon, for the last weights.</summary>
    public required double TestAccuracy { get; init; }
    public required double TestLoss { get; init; }
    public required long TestHorizon { get; init; }

    /// <summary>The evaluation with the lowest loss: Adam can lose a solution again late in a run.</summary>
    public required long BestStep { get; init; }
    public required double BestTestAccuracy { get; init; }
    public required double BestTestLoss { get; init; }
    public required long Steps { get; init; }
    public required double Seconds { get; init; }
    public required string Device { get; init; }
    public required int Threads { get; init; }
    public required string TorchVersion { get; init; }

    /// <summary>Null in results of versions that did not write it.</summary>
    public string? TorchsharpVersion { get; init; }
    public required string EmttorchVersion { get; init; }
    public required string DotnetVersion { get; init; }
}

/// <summary>
/// The folder of one run: config.json, metrics.jsonl, log.jsonl, checkpoints/, result.json. Every file but the growing
/// ones is written under another name first and renamed, so that a kill leaves the old one or the new one.
/// </summary>
public sealed class RunFolder
{
    internal static readonly JsonSerializerOptions Json = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals,
    };

    private static readonly JsonSerializerOptions Indented = new(Json) { WriteIndented = true };

    /// <summary>The folder OUT/NAME/seed-N of a configuration.</summary>
    public static RunFolder Of(RunConfiguration configuration) =>
        new(
            System.IO.Path.Combine(
                configuration.Out,
                configuration.Name,
                $"seed-{configuration.Seed.ToString(CultureInfo.InvariantCulture)}"
            )
        );

    public RunFolder(string path) => Path = path;

    public string Path { get; }
    public string ConfigFile => In("config.json");
    public string MetricsFile => In("metrics.jsonl");
    public string LogFile => In("log.jsonl");
    public string ResultFile => In("result.json");
    public string FailuresFile => In("failures.jsonl");
    public string Checkpoints => In("checkpoints");

    /// <summary>Whether a run was begun here.</summary>
    public bool HoldsRun => File.Exists(ConfigFile);

    /// <summary>
    /// Takes the folder for this process until it is disposed of or the process ends, however that comes; null where
    /// another one has it. The lock is the operating system's, on an empty file beside the folder: on a file system
    /// that has none, such as some networks', it is always given.
    /// </summary>
    /// <exception cref="IOException">The file can't be made.</exception>
    /// <exception cref="UnauthorizedAccessException">Likewise.</exception>
    public IDisposable? TryLock()
    {
        var full = System.IO.Path.GetFullPath(Path);
        var parent = System.IO.Path.GetDirectoryName(full)!;
        Directory.CreateDirectory(parent);
        var file = System.IO.Path.Combine(parent, $".{System.IO.Path.GetFileName(full)}.lock");
        try
        {
            return new FileStream(file, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None, bufferSize: 0);
        }
        catch (IOException) when (File.Exists(file))
        {
            return null;
        }
    }

    private string In(string name) => System.IO.Path.Combine(Path, name);

    /// <summary>
    /// Why the folder can't be written, or null. Asked of the nearest folder that is there, since a folder made to try
    /// it and removed again would be removed under another process that has just found it.
    /// </summary>
    public string? WhyNotWritable()
    {
        try
        {
            var at = System.IO.Path.GetFullPath(Path);
            for (; !Directory.Exists(at); at = System.IO.Path.GetDirectoryName(at)!)
            {
                if (File.Exists(at))
                    return $"{at} is a file, not a folder";
                if (Encoding.UTF8.GetByteCount(System.IO.Path.GetFileName(at)) > LongestName)
                    return $"{System.IO.Path.GetFileName(at)} is too long a name for a folder";
            }
            var probe = System.IO.Path.Combine(at, $".write-{Guid.NewGuid():N}{AtomicFile.Unfinished}");
            File.WriteAllBytes(probe, []);
            File.Delete(probe);
            return null;
        }
        catch (Exception e)
            when (e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            return e.Message;
        }
    }

    /// <summary>Bytes, on all usual file systems.</summary>
    private const int LongestName = 255;

    /// <summary>Moves an earlier run out of the way, to NAME/earlier/seed-N-TIME, and returns where.</summary>
    public string SetAside()
    {
        var parent = System.IO.Path.GetDirectoryName(System.IO.Path.GetFullPath(Path))!;
        var earlier = System.IO.Path.Combine(parent, "earlier");
        Directory.CreateDirectory(earlier);
        var stem = System.IO.Path.Combine(
            earlier,
            $"{System.IO.Path.GetFileName(Path)}-{DateTime.Now:yyyyMMdd-HHmmss}"
        );
        var target = stem;
        for (int i = 2; Directory.Exists(target); i++)
            target = $"{stem}-{i}";
        Directory.Move(Path, target);
        return target;
    }

    /// <summary>Removes what a kill left half written.</summary>
    internal void RemoveUnfinished()
    {
        foreach (var file in Directory.EnumerateFiles(Path, "*" + AtomicFile.Unfinished))
            File.Delete(file);
    }

    public void WriteConfiguration(RunConfiguration configuration) =>
        AtomicFile.WriteText(ConfigFile, configuration.ToJson());

    public void WriteResult(RunResult result) =>
        AtomicFile.WriteText(ResultFile, JsonSerializer.Serialize(result, Indented) + "\n");

    /// <exception cref="InvalidDataException">result.json is there but is not one.</exception>
    public RunResult? ReadResult()
    {
        if (!File.Exists(ResultFile))
            return null;
        try
        {
            return JsonSerializer.Deserialize<RunResult>(File.ReadAllText(ResultFile), Json);
        }
        catch (JsonException e)
        {
            throw new InvalidDataException($"{ResultFile} is not a result: {e.Message}", e);
        }
    }

    /// <summary>The result, where the run has done all these steps or stopped early by its own rule.</summary>
    public RunResult? ReadFinished(long steps) =>
        ReadResult() is { } result && (result.Steps >= steps || result.Outcome == "early_stop") ? result : null;

    /// <summary>
    /// The lines of metrics.jsonl; one that was cut short, as the last may be while the run goes on, is left out.
    /// </summary>
    /// <param name="damaged">Told the number of a line, from 1 on, that is no metrics and not the last.</param>
    public IReadOnlyList<Metrics> ReadMetrics(Action<int>? damaged = null)
    {
        if (!File.Exists(MetricsFile))
            return [];
        var metrics = new List<Metrics>();
        // Shared with the run that still writes it.
        using var reader = new StreamReader(
            new FileStream(MetricsFile, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete)
        );
        for (int number = 1; reader.ReadLine() is { } line; number++)
        {
            try
            {
                if (JsonSerializer.Deserialize<Metrics>(line, Json) is { } one)
                    metrics.Add(one);
            }
            catch (JsonException)
            {
                if (!reader.EndOfStream)
                    damaged?.Invoke(number);
            }
        }
        return metrics;
    }

    /// <summary>
    /// The metrics up to a step: what came after it, or was cut short by a kill, is dropped from the file.
    /// </summary>
    public MetricsWriter OpenMetrics(long upToStep)
    {
        if (File.Exists(MetricsFile))
        {
            var all = File.ReadAllText(MetricsFile);
            var kept = all.Split('\n').Where(line => StepOf(line) is { } step && step <= upToStep).ToArray();
            var text = string.Concat(kept.Select(line => line + "\n"));
            if (text != all)
                AtomicFile.WriteText(MetricsFile, text);
        }
        return new MetricsWriter(MetricsFile);
    }

    private static long? StepOf(string line)
    {
        try
        {
            return JsonSerializer.Deserialize<Metrics>(line, Json)?.Step;
        }
        catch (JsonException)
        {
            return null;
        }
    }
}

/// <summary>Appends to metrics.jsonl, a line at a time.</summary>
public sealed class MetricsWriter : IDisposable
{
    private readonly FileStream _file;

    internal MetricsWriter(string path) =>
        _file = new FileStream(path, FileMode.Append, FileAccess.Write, FileShare.Read, bufferSize: 0);

    public void Write(Metrics metrics)
    {
        // One write call a line: a kill leaves whole lines, or one cut short at the end.
        var line = JsonSerializer.SerializeToUtf8Bytes(metrics, RunFolder.Json);
        _file.Write([.. line, (byte)'\n']);
    }

    /// <summary>To the disk itself, before a checkpoint claims these steps.</summary>
    public void Flush() => _file.Flush(flushToDisk: true);

    public void Dispose() => _file.Dispose();
}
