using System.Globalization;
using System.Text.RegularExpressions;

namespace EmtTorch.Training;

/// <summary>There are checkpoints, and none of them can be used. The message names each and says why.</summary>
public sealed class CheckpointException(string message) : Exception(message);

/// <summary>A checkpoint that has been read and is whole.</summary>
/// <param name="Path">Its path.</param>
/// <param name="Step">Its step.</param>
/// <param name="File">What it holds.</param>
/// <param name="Additions">The files of additions that it names, oldest first; none if only a part of it was wanted.
/// </param>
internal sealed record LoadedCheckpoint(
    string Path,
    long Step,
    SafetensorsFile File,
    IReadOnlyList<SafetensorsFile> Additions
);

/// <summary>
/// A run's checkpoints: step-00000500.safetensors and so on, and the file `latest`, which names the newest. The newest
/// few are kept, and the one with the best score. What only grows, such as a store of episodes, is in files of its own:
/// each has what was added between two checkpoints, is written once, and is named by all later checkpoints.
/// </summary>
internal sealed partial class CheckpointFolder
{
    private const string ScoreKey = "score",
        AdditionsKey = "additions";
    private readonly string _folder;
    private readonly int _keepLast;
    private readonly bool _keepBest;
    private readonly Dictionary<long, double> _scores = [];
    private readonly Dictionary<long, string[]> _additions = [];

    /// <summary>Names a folder, which is created when the first checkpoint is saved.</summary>
    /// <param name="folder">The folder's path.</param>
    /// <param name="keepLast">How many of the newest checkpoints are kept.</param>
    /// <param name="keepBest">Whether the first one with the highest score is kept too.</param>
    public CheckpointFolder(string folder, int keepLast, bool keepBest) =>
        (_folder, _keepLast, _keepBest) = (folder, keepLast, keepBest);

    private string Latest => Path.Combine(_folder, "latest");

    /// <summary>Writes a checkpoint, then `latest`, and then removes those that are not kept any more.</summary>
    /// <param name="step">The step; a checkpoint of the same step is replaced.</param>
    /// <param name="tensors">The tensors to save.</param>
    /// <param name="metadata">The text to save with them.</param>
    /// <param name="score">The score, higher is better; null if it is not known.</param>
    /// <exception cref="IOException">The checkpoint cannot be written; the earlier ones stay.</exception>
    public void Save(
        long step,
        IReadOnlyDictionary<string, SafetensorsTensor> tensors,
        IReadOnlyDictionary<string, string> metadata,
        double? score
    )
    {
        Directory.CreateDirectory(_folder);
        var path = PathOf(step);
        _additions[step] = Additions(metadata);
        var all = new Dictionary<string, string>(metadata);
        if (score is { } s)
            all[ScoreKey] = s.ToString("R", CultureInfo.InvariantCulture);
        SafetensorsFile.Write(path, tensors, all);
        AtomicFile.WriteText(Latest, Path.GetFileName(path) + "\n");
        if (score is { } known)
            _scores[step] = known;
        else
            _scores.Remove(step);
        Retain();
    }

    /// <summary>Writes what was added since the last checkpoint to a file of its own.</summary>
    /// <param name="name">What is added, the beginning of the file's name: store.</param>
    /// <param name="from">The number of the first addition.</param>
    /// <param name="to">The number after the last one.</param>
    /// <param name="tensors">The additions.</param>
    /// <param name="metadata">The metadata of the next checkpoint; the file is named in it.</param>
    /// <exception cref="IOException">The file cannot be written.</exception>
    public void Add(
        string name,
        long from,
        long to,
        IReadOnlyDictionary<string, SafetensorsTensor> tensors,
        Dictionary<string, string> metadata
    )
    {
        Directory.CreateDirectory(_folder);
        var file = string.Create(CultureInfo.InvariantCulture, $"{name}-{from:D8}-{to:D8}.safetensors");
        SafetensorsFile.Write(Path.Combine(_folder, file), tensors, new Dictionary<string, string>());
        metadata[AdditionsKey] = string.Join(',', [.. Additions(metadata), file]);
    }

    /// <summary>Names the same additions in other metadata.</summary>
    public static void CopyAdditions(IReadOnlyDictionary<string, string> from, Dictionary<string, string> to)
    {
        if (from.TryGetValue(AdditionsKey, out var names))
            to[AdditionsKey] = names;
    }

    private static string[] Additions(IReadOnlyDictionary<string, string> metadata) =>
        metadata.TryGetValue(AdditionsKey, out var names)
            ? names.Split(',', StringSplitOptions.RemoveEmptyEntries)
            : [];

    /// <summary>
    /// Reads the newest checkpoint that is whole. Unfinished files of a kill are removed; damaged checkpoints stay.
    /// </summary>
    /// <param name="warn">Takes a message for each damaged checkpoint that is newer.</param>
    /// <returns>The checkpoint, or null if there is none at all.</returns>
    /// <exception cref="CheckpointException">There are checkpoints, and all are damaged.</exception>
    public LoadedCheckpoint? LoadLatest(Action<string> warn)
    {
        if (!Directory.Exists(_folder))
            return null;
        foreach (var unfinished in Directory.EnumerateFiles(_folder, "*" + AtomicFile.Unfinished))
            File.Delete(unfinished);
        return FindLatest(warn);
    }

    /// <summary>As <see cref="LoadLatest"/>, but removes nothing: for a run that may still be going on.</summary>
    /// <param name="warn">As there.</param>
    /// <param name="wanted">Whether the tensor of a name is read. Null: all are.</param>
    public LoadedCheckpoint? FindLatest(Action<string> warn, Predicate<string>? wanted = null)
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
                // Older ones are read only for their scores, so that the best one is known after a restart too.
                var file = SafetensorsFile.Read(PathOf(step), found is null ? wanted : _ => false);
                // Only weights that Python wrote lack a checksum. A flipped bit in its name must not look like that.
                if (!file.HasChecksum && file.Names.Contains("optimizer.step"))
                    throw new InvalidDataException($"{PathOf(step)} has lost its checksum");
                if (file.Metadata.TryGetValue(ScoreKey, out var score))
                    _scores[step] = double.Parse(score, CultureInfo.InvariantCulture);
                _additions[step] = Additions(file.Metadata);
                found ??= new(PathOf(step), step, file, wanted is null ? ReadAdditions(step) : []);
            }
            catch (Exception e) when (e is InvalidDataException or IOException or UnauthorizedAccessException)
            {
                _additions.Remove(step);
                _scores.Remove(step);
                bad.Add(e.Message);
                if (found is null && !bad.SkipLast(1).Contains(e.Message))
                    warn($"{e.Message}. {Path.GetFileName(PathOf(step))} cannot be used; the one before it is tried.");
            }
        }
        if (found is null)
        {
            throw new CheckpointException(
                $"No checkpoint in {_folder} can be used:{string.Concat(bad.Distinct().Select(b => $"\n  {b}"))}\n"
                    + "Copy good files there (a checkpoint needs all store-… files that it names), or start from the "
                    + "beginning without --resume; the folder is then kept under earlier/. analyze and --weights read "
                    + "the weights of a checkpoint whose store is damaged."
            );
        }

        if (NamedLatest() is var named && named != Path.GetFileName(found.Path) && bad.Count == 0)
        {
            warn(
                $"{Latest} names {(named.Length == 0 ? "nothing" : $"'{named}'")}; the newest checkpoint, "
                    + $"{Path.GetFileName(found.Path)}, is used."
            );
        }

        return found;
    }

    /// <summary>The metadata of the newest checkpoint that is whole; null if there is none.</summary>
    public IReadOnlyDictionary<string, string>? FindMetadata()
    {
        foreach (long step in Directory.Exists(_folder) ? Steps() : [])
        {
            try
            {
                return SafetensorsFile.Read(PathOf(step), _ => false).Metadata;
            }
            catch (Exception e) when (e is InvalidDataException or IOException or UnauthorizedAccessException)
            {
                // The one before it is tried.
            }
        }
        return null;
    }

    /// <summary>The step in the name of the newest checkpoint, whole or not; null if there is none.</summary>
    public long? LastStep => Directory.Exists(_folder) && Steps() is [var newest, ..] ? newest : null;

    /// <summary>Reads the checkpoint of one step; null if there is none.</summary>
    /// <param name="step">The step.</param>
    /// <param name="wanted">Whether the tensor of a name is read. Null: all are.</param>
    /// <exception cref="InvalidDataException">The checkpoint is damaged.</exception>
    public LoadedCheckpoint? Load(long step, Predicate<string>? wanted = null) =>
        File.Exists(PathOf(step)) ? new(PathOf(step), step, SafetensorsFile.Read(PathOf(step), wanted), []) : null;

    private SafetensorsFile[] ReadAdditions(long step) =>
        [
            .. _additions[step]
                .Select(name =>
                    name == Path.GetFileName(name)
                        ? SafetensorsFile.Read(Path.Combine(_folder, name))
                        : throw new InvalidDataException($"{PathOf(step)} names {name}, which is no file's name")
                ),
        ];

    private void Retain()
    {
        // A damaged one does not count: it is neither kept in place of a good one nor removed.
        var steps = Steps().Where(_additions.ContainsKey).ToList();
        var keep = steps.Take(_keepLast).ToHashSet();
        if (_keepBest && _scores.Count > 0)
            keep.Add(_scores.OrderByDescending(s => s.Value).ThenBy(s => s.Key).First().Key);
        foreach (long step in steps.Where(s => !keep.Contains(s)))
        {
            File.Delete(PathOf(step));
            _scores.Remove(step);
            _additions.Remove(step);
        }
        RemoveAdditions(keep);
    }

    /// <summary>Removes the files of additions that no kept checkpoint names.</summary>
    private void RemoveAdditions(HashSet<long> kept)
    {
        // What a damaged checkpoint names is not known, and somebody may put a good copy in its place.
        if (Steps().Exists(step => !_additions.ContainsKey(step)))
            return;
        var named = kept.SelectMany(step => _additions[step]).ToHashSet();
        foreach (var file in Directory.EnumerateFiles(_folder).Where(f => Addition().IsMatch(Path.GetFileName(f))))
        {
            if (!named.Contains(Path.GetFileName(file)))
                File.Delete(file);
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
            return InputFile.ReadText(Latest).Trim();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return "";
        }
    }

    private string PathOf(long step) =>
        Path.Combine(_folder, $"step-{step.ToString("D8", CultureInfo.InvariantCulture)}.safetensors");

    [GeneratedRegex(@"^step-(\d{8,18})\.safetensors\z")]
    private static partial Regex Name();

    [GeneratedRegex(@"^[a-z]+-\d{8,18}-\d{8,18}\.safetensors\z")]
    private static partial Regex Addition();
}
