using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using EmtTorch.Settings;

namespace EmtTorch.Training;

/// <summary>One line of metrics.jsonl: the training batch of a step, and the test after it if there was one.</summary>
public sealed record Metrics
{
    /// <summary>The number of training steps so far.</summary>
    public required long Step { get; init; }

    /// <summary>
    /// The mean squared error over the output phase of the step's batch; on tokens, the mean cross entropy of the
    /// answers, in nats.
    /// </summary>
    public required double Loss { get; init; }

    /// <summary>The share of the batch's outputs with the right sign; on tokens, of right answers.</summary>
    public required double Accuracy { get; init; }

    /// <summary>The horizon of the batch: steps of the output phase; on tokens, what the task says.</summary>
    public required long Horizon { get; init; }

    /// <summary>The norm of the gradient before clipping.</summary>
    public required double GradientNorm { get; init; }

    /// <summary>The loss of the test, as <see cref="Loss"/>.</summary>
    public double? TestLoss { get; init; }

    /// <summary>The accuracy of the test, as <see cref="Accuracy"/>.</summary>
    public double? TestAccuracy { get; init; }

    /// <summary>The cross entropy of the test on a text, in bits per character.</summary>
    public double? TestBitsPerCharacter { get; init; }

    /// <summary>The same, only of characters in words that occur for the first time in their document.</summary>
    public double? TestBitsNewWords { get; init; }

    /// <summary>The same, only of characters in words that occurred in their document before.</summary>
    public double? TestBitsSeenWords { get; init; }

    /// <summary>
    /// At a test: the mean difference between the arguments of theory's and the network's persistent eigenvalues, in
    /// radians; null if their numbers differ.
    /// </summary>
    public double? SpectralError { get; init; }

    /// <summary>At a test: the number of the network's persistent eigenvalues.</summary>
    public int? EigenvaluesLearned { get; init; }

    /// <summary>
    /// At a test: further figures by name, such as a continual stage's accuracies on its other tasks.
    /// </summary>
    public IReadOnlyDictionary<string, double>? Measures { get; init; }

    /// <summary>Training steps per second since the line before.</summary>
    public double StepsPerSecond { get; init; }

    /// <summary>Seconds of training so far, over all interruptions.</summary>
    public double Seconds { get; init; }
}

/// <summary>The content of result.json, which a finished run writes.</summary>
public sealed record RunResult
{
    public required string Name { get; init; }
    public required long Seed { get; init; }

    /// <summary>`finished` (all steps done) or `early_stop`.</summary>
    public required string Outcome { get; init; }

    /// <summary>The accuracy of the last weights at the test's horizon, as in <see cref="Metrics"/>.</summary>
    public required double TestAccuracy { get; init; }
    public required double TestLoss { get; init; }
    public required long TestHorizon { get; init; }

    /// <summary>The step of the test with the lowest loss: Adam can lose a solution late in a run.</summary>
    public required long BestStep { get; init; }
    public required double BestTestAccuracy { get; init; }
    public required double BestTestLoss { get; init; }
    public required long Steps { get; init; }
    public required double Seconds { get; init; }
    public required string Device { get; init; }
    public required int Threads { get; init; }
    public required string TorchVersion { get; init; }

    /// <summary>Null in results of earlier versions of this program.</summary>
    public string? TorchsharpVersion { get; init; }
    public required string EmttorchVersion { get; init; }
    public required string DotnetVersion { get; init; }
}

/// <summary>
/// The folder of one run: config.json, metrics.jsonl, log.jsonl, checkpoints/, result.json. Files that do not grow are
/// written under another name and renamed, so that a kill leaves the old file or the new one.
/// </summary>
/// <example><code>
/// var folder = new RunFolder("runs/t1/seed-1");
/// Console.WriteLine(folder.ReadResult()?.TestAccuracy);
/// foreach (var line in folder.ReadMetrics())
///     Console.WriteLine($"{line.Step} {line.Loss}");
/// </code></example>
public sealed class RunFolder
{
    internal static readonly JsonSerializerOptions Json = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals,
        RespectNullableAnnotations = true,
        RespectRequiredConstructorParameters = true,
    };

    private static readonly JsonSerializerOptions Indented = new(Json) { WriteIndented = true };

    /// <summary>The folder of a configuration, OUT/NAME/seed-N.</summary>
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

    /// <summary>Whether the folder contains a run, finished or not, or what is left of one.</summary>
    public bool HoldsRun =>
        File.Exists(ConfigFile) || Directory.Exists(Checkpoints) || File.Exists(MetricsFile) || File.Exists(ResultFile);

    /// <summary>
    /// Locks the folder for this process. The lock is the operating system's, on an empty file beside the folder, so
    /// that it ends with the process. A file system without locks, such as some networks', always grants it.
    /// </summary>
    /// <returns>The lock, to be disposed of; null if another process has it.</returns>
    /// <exception cref="IOException">The file cannot be created.</exception>
    /// <exception cref="UnauthorizedAccessException">The file cannot be created.</exception>
    internal IDisposable? TryLock()
    {
        var full = System.IO.Path.GetFullPath(Path);
        var parent = System.IO.Path.GetDirectoryName(full)!;
        Directory.CreateDirectory(parent);
        var file = System.IO.Path.Combine(parent, $".{System.IO.Path.GetFileName(full)}.lock");
        if (Directory.Exists(file))
            throw new IOException($"{file} is a folder: remove it, the lock is a file of that name");
        try
        {
            return new FileStream(file, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None, bufferSize: 0);
        }
        catch (IOException e) when (e.HResult is LockedOnLinux or LockedOnMac or LockedOnWindows)
        {
            return null;
        }
    }

    // What an IOException has of the system's error for a file that another process has locked.
    private const int LockedOnLinux = 11,
        LockedOnMac = 35,
        LockedOnWindows = unchecked((int)0x80070020);

    private string In(string name) => System.IO.Path.Combine(Path, name);

    /// <summary>
    /// Why the folder cannot be written, or null if it can. The nearest existing folder is tried: a folder created for
    /// the trial and removed again could be removed while another process starts to use it.
    /// </summary>
    internal string? WhyNotWritable()
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
            foreach (var file in new[] { LogFile, MetricsFile, FailuresFile })
                NotALink(file);
            return null;
        }
        catch (Exception e)
            when (e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            return e.Message;
        }
    }

    private const int LongestName = 255; // bytes, on all usual file systems

    /// <summary>A file that grows: what is added must not go through a link to a file elsewhere.</summary>
    /// <returns>The file.</returns>
    /// <exception cref="IOException">It is a link.</exception>
    internal static string NotALink(string file) =>
        new FileInfo(file).LinkTarget is { } target
            ? throw new IOException($"{file} is a link to {target}, which this program does not write to: remove it")
            : file;

    /// <summary>Moves a run that is begun anew out of the way, to NAME/earlier/seed-N-TIME.</summary>
    /// <returns>The new path, or null if the folder has nothing of a run.</returns>
    /// <exception cref="IOException">The folder cannot be moved.</exception>
    internal string? SetAside()
    {
        if (!HoldsRun)
            return null;
        var full = System.IO.Path.GetFullPath(Path);
        var earlier = System.IO.Path.Combine(System.IO.Path.GetDirectoryName(full)!, "earlier");
        if (File.Exists(earlier))
            throw new IOException($"{earlier} is a file: the run in {Path} would be kept in a folder of that name");
        Directory.CreateDirectory(earlier);
        var stem = System.IO.Path.Combine(
            earlier,
            $"{System.IO.Path.GetFileName(full)}-{DateTime.Now:yyyyMMdd-HHmmss}"
        );
        var target = stem;
        for (int i = 2; Directory.Exists(target); i++)
            target = $"{stem}-{i}";
        Directory.Move(Path, target);
        return target;
    }

    /// <summary>Removes the unfinished files that a kill left.</summary>
    internal void RemoveUnfinished()
    {
        foreach (var file in Directory.EnumerateFiles(Path, "*" + AtomicFile.Unfinished))
            File.Delete(file);
    }

    /// <summary>The text of config.json, which a crash or a person may have damaged; null if there is none.</summary>
    internal string? ReadConfiguration() => File.Exists(ConfigFile) ? InputFile.ReadText(ConfigFile) : null;

    /// <param name="history">What was changed on resumption, as JSON; null: nothing.</param>
    internal void WriteConfiguration(RunConfiguration configuration, string? history = null)
    {
        var json = JsonNode.Parse(configuration.ToJson())!;
        if (history is not null)
            json[Resumption.History] = JsonNode.Parse(history);
        AtomicFile.WriteText(ConfigFile, json.ToJsonString(SettingJson.Options) + "\n");
    }

    internal void WriteResult(RunResult result) =>
        AtomicFile.WriteText(ResultFile, JsonSerializer.Serialize(result, Indented) + "\n");

    /// <summary>Reads result.json; null if there is none.</summary>
    /// <exception cref="InvalidDataException">The file is not a result.</exception>
    public RunResult? ReadResult() =>
        File.Exists(ResultFile) ? JsonText.Read<RunResult>(ResultFile, "a result", Json) : null;

    /// <summary>
    /// Reads the result if the run has done so many steps or stopped early by its own rule; null otherwise.
    /// </summary>
    internal RunResult? ReadFinished(long steps) =>
        ReadResult() is { } result && (result.Steps >= steps || result.Outcome == "early_stop") ? result : null;

    /// <summary>
    /// Reads metrics.jsonl. Incomplete lines are left out; the last one may be incomplete while the run goes on.
    /// </summary>
    /// <param name="damaged">Called with the number, from 1, of an incomplete line that is not the last one.</param>
    public IReadOnlyList<Metrics> ReadMetrics(Action<int>? damaged = null)
    {
        if (!File.Exists(MetricsFile))
            return [];
        var metrics = new List<Metrics>();
        // The run may still be writing the file.
        using var reader = new StreamReader(InputFile.Open(MetricsFile));
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

    /// <summary>Opens metrics.jsonl for writing; later steps and damaged lines are removed from it.</summary>
    /// <param name="upToStep">The last step that is kept.</param>
    /// <param name="warn">Takes a message if lines are lost that training does not write anew.</param>
    internal MetricsWriter OpenMetrics(long upToStep, Action<string>? warn = null)
    {
        if (File.Exists(MetricsFile))
        {
            var all = InputFile.ReadText(MetricsFile);
            var lines = all.Split('\n').Select(line => (Text: line, Step: ReadStep(line))).ToArray();
            var text = string.Concat(lines.Where(l => l.Step <= upToStep).Select(l => l.Text + "\n"));
            // A kill leaves at most the last line incomplete.
            int[] damaged = [.. Enumerable.Range(0, lines.Length - 1).Where(i => lines[i].Step is null)];
            if (damaged.Length > 0)
            {
                var numbers = string.Join(", ", damaged.Take(3).Select(i => i + 1)) + (damaged.Length > 3 ? " …" : "");
                var which = damaged.Length == 1 ? $"line {numbers} is" : $"{damaged.Length} lines ({numbers}) are";
                warn?.Invoke($"{MetricsFile}: {which} damaged and left out.");
            }
            if (text != all)
                AtomicFile.WriteText(MetricsFile, text);
        }
        return new MetricsWriter(MetricsFile);
    }

    private static long? ReadStep(string line)
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

/// <summary>Appends lines to metrics.jsonl.</summary>
internal sealed class MetricsWriter : IDisposable
{
    private readonly FileStream _file;

    public MetricsWriter(string path) =>
        _file = new FileStream(
            RunFolder.NotALink(path),
            FileMode.Append,
            FileAccess.Write,
            FileShare.Read,
            bufferSize: 0
        );

    public void Write(Metrics metrics)
    {
        // One call for each line: a kill leaves at most the last line incomplete.
        var line = JsonSerializer.SerializeToUtf8Bytes(metrics, RunFolder.Json);
        _file.Write([.. line, (byte)'\n']);
    }

    /// <summary>Writes through to the disk, before a checkpoint is written that goes on from these steps.</summary>
    public void Flush() => _file.Flush(flushToDisk: true);

    public void Dispose() => _file.Dispose();
}
