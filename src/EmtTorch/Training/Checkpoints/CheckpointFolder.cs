using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;

namespace EmtTorch.Training;

/// <summary>There are checkpoints, and none can be used.</summary>
public sealed class CheckpointException(string message) : Exception(message);

/// <summary>A checkpoint that was found whole.</summary>
public sealed record LoadedCheckpoint(string Path, long Step, SafetensorsFile File);

/// <summary>
/// A run's checkpoints: step-00000500.safetensors and so on, and `latest`, which names the newest. The last few are
/// kept, and the one with the best score.
/// </summary>
public sealed partial class CheckpointFolder
{
    private const string ScoreKey = "score";
    private readonly string _folder;
    private readonly int _keepLast;
    private readonly bool _keepBest;
    private readonly Dictionary<long, double> _scores = [];

    /// <param name="folder">Where; it is made when there is something to save.</param>
    /// <param name="keepLast">How many of the newest are kept.</param>
    /// <param name="keepBest">Whether the one with the highest score is kept besides; the earliest, where several have
    /// it.</param>
    public CheckpointFolder(string folder, int keepLast, bool keepBest) =>
        (_folder, _keepLast, _keepBest) = (folder, keepLast, keepBest);

    private string Latest => Path.Combine(_folder, "latest");

    /// <summary>Writes a checkpoint, then `latest`, and only then removes what is not kept any more.</summary>
    /// <param name="step">Its step; a checkpoint of the same step is replaced.</param>
    /// <param name="tensors">What to save.</param>
    /// <param name="metadata">Text to go with it.</param>
    /// <param name="score">How good it is, if that is known.</param>
    /// <exception cref="IOException">It can't be written; the checkpoints before it stay.</exception>
    public void Save(
        long step,
        IReadOnlyDictionary<string, SafetensorsTensor> tensors,
        IReadOnlyDictionary<string, string> metadata,
        double? score
    )
    {
        Directory.CreateDirectory(_folder);
        var path = PathOf(step);
        var all = new Dictionary<string, string>(metadata);
        if (score is { } s)
            all[ScoreKey] = s.ToString("R", CultureInfo.InvariantCulture);
        SafetensorsFile.Write(path, tensors, all);
        AtomicFile.Write(Latest, stream => stream.Write(Encoding.UTF8.GetBytes(Path.GetFileName(path) + "\n")));
        if (score is { } known)
            _scores[step] = known;
        else
            _scores.Remove(step);
        Retain();
    }

    /// <summary>
    /// The newest checkpoint that is whole. What a kill left unfinished is removed; what is damaged is named, left
    /// where it is, and the one before it is tried.
    /// </summary>
    /// <param name="warn">Told of each checkpoint that can't be used, and why.</param>
    /// <returns>It, or null where there is no checkpoint at all.</returns>
    /// <exception cref="CheckpointException">There are checkpoints, and all are damaged.</exception>
    public LoadedCheckpoint? LoadLatest(Action<string> warn)
    {
        if (!Directory.Exists(_folder))
            return null;
        foreach (var unfinished in Directory.EnumerateFiles(_folder, "*" + AtomicFile.Unfinished))
            File.Delete(unfinished);
        return FindLatest(warn);
    }

    /// <summary>As <see cref="LoadLatest"/>, and touches nothing: for a run that may still be going on.</summary>
    public LoadedCheckpoint? FindLatest(Action<string> warn)
    {
        if (!Directory.Exists(_folder))
            return null;
        var steps = Steps();
        if (steps.Count == 0)
            return null;
        var bad = new List<string>();
        LoadedCheckpoint? found = null;
        foreach (long step in steps)
        {
            try
            {
                var file = SafetensorsFile.Read(PathOf(step));
                // A flipped bit in the checksum's own name must not pass for weights that Python wrote.
                if (!file.HasChecksum && file.Tensors.ContainsKey("optimizer.step"))
                    throw new InvalidDataException($"{PathOf(step)} has lost its checksum");
                // The others are read for their scores alone, so that the best one is known after a restart, too.
                if (file.Metadata.TryGetValue(ScoreKey, out var score))
                    _scores[step] = double.Parse(score, CultureInfo.InvariantCulture);
                found ??= new(PathOf(step), step, file);
            }
            catch (Exception e) when (e is InvalidDataException or IOException or UnauthorizedAccessException)
            {
                bad.Add(e.Message);
                if (found is null)
                    warn($"{e.Message}. The checkpoint before it is used.");
            }
        }
        if (found is null)
        {
            throw new CheckpointException(
                $"No checkpoint in {_folder} can be used:{string.Concat(bad.Select(b => $"\n  {b}"))}\n"
                    + $"Copy a good one there, or begin anew without --resume; the folder is kept then, under earlier/."
            );
        }

        if (NamedLatest() is var named && named != Path.GetFileName(found.Path) && bad.Count == 0)
        {
            warn(
                $"{Latest} names {(named.Length == 0 ? "nothing" : $"'{named}'")}; the newest checkpoint, {Path.GetFileName(found.Path)}, is used."
            );
        }

        return found;
    }

    /// <summary>The step of the newest checkpoint by its name, whole or not; null where there is none.</summary>
    public long? LastStep => Directory.Exists(_folder) && Steps() is [var newest, ..] ? newest : null;

    /// <summary>One checkpoint by its step, or null where there is none.</summary>
    /// <exception cref="InvalidDataException">It is damaged.</exception>
    public LoadedCheckpoint? Load(long step) =>
        File.Exists(PathOf(step)) ? new(PathOf(step), step, SafetensorsFile.Read(PathOf(step))) : null;

    private void Retain()
    {
        var steps = Steps();
        var keep = steps.Take(_keepLast).ToHashSet();
        if (_keepBest && _scores.Count > 0)
            keep.Add(_scores.OrderByDescending(s => s.Value).ThenBy(s => s.Key).First().Key);
        foreach (long step in steps.Where(s => !keep.Contains(s)))
        {
            File.Delete(PathOf(step));
            _scores.Remove(step);
        }
    }

    /// <summary>The steps of all checkpoints, the newest first.</summary>
    private List<long> Steps() =>
        [
            .. Directory
                .EnumerateFiles(_folder)
                .Select(f => Name().Match(Path.GetFileName(f)))
                .Where(m => m.Success)
                .Select(m => long.Parse(m.Groups[1].ValueSpan, CultureInfo.InvariantCulture))
                .OrderDescending(),
        ];

    private string NamedLatest()
    {
        try
        {
            return File.ReadAllText(Latest).Trim();
        }
        catch (IOException)
        {
            return "";
        }
    }

    private string PathOf(long step) =>
        Path.Combine(_folder, $"step-{step.ToString("D8", CultureInfo.InvariantCulture)}.safetensors");

    [GeneratedRegex(@"^step-(\d{8,18})\.safetensors$")]
    private static partial Regex Name();
}
