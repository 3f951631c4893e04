using EmtTorch.Configuration;
using EmtTorch.Training;

namespace EmtTorch.Analysis;

/// <summary>A trained network with all that is known of it: from a run's folder, a checkpoint, or bare weights.</summary>
public sealed record TrainedNetwork : IDisposable
{
    /// <summary>NAME/seed-N of a run; the file's name for bare weights.</summary>
    public required string Name { get; init; }

    /// <summary>Where the analysis of it belongs: the run's folder, or the one that the weights are in.</summary>
    public required string Folder { get; init; }

    /// <summary>Whether that folder is a run's.</summary>
    public required bool IsRun { get; init; }

    public required RunConfiguration Configuration { get; init; }
    public required NetworkWeights Weights { get; init; }

    /// <summary>The file that the weights come from.</summary>
    public required string File { get; init; }

    /// <summary>Steps trained, where that is known.</summary>
    public long? Step { get; init; }

    public IReadOnlyList<Metrics> Metrics { get; init; } = [];

    /// <summary>Loads one.</summary>
    /// <param name="path">A run's folder, a checkpoint, or weights that Python wrote.</param>
    /// <param name="configuration">A file that says what the task is; needed for weights that carry no configuration.</param>
    /// <param name="checkpoint">`best` (the lowest test loss; the newest where that is not known), `latest`, or a step; for a folder.</param>
    /// <param name="warn">Told of checkpoints that can't be used.</param>
    /// <exception cref="ConfigurationException">The path or the configuration is wrong.</exception>
    /// <exception cref="InvalidDataException">The file is damaged, or holds no Elman network.</exception>
    /// <exception cref="CheckpointException">All checkpoints of the run are damaged.</exception>
    public static TrainedNetwork Load(string path, string? configuration = null, string checkpoint = "best", Action<string>? warn = null)
    {
        warn ??= _ => { };
        if (Directory.Exists(path)) return FromRun(path, configuration, checkpoint, warn);
        if (!System.IO.File.Exists(path)) throw new ConfigurationException([new("", $"there is no {path}: a run's folder, a checkpoint or a safetensors file is needed")]);
        var file = SafetensorsFile.Read(path);
        var folder = Path.GetDirectoryName(Path.GetFullPath(path))!;
        // RUN/checkpoints/step-N.safetensors belongs to RUN.
        var run = new RunFolder(Path.GetDirectoryName(folder) ?? folder);
        bool inRun = Path.GetFileName(folder) == "checkpoints" && run.HoldsRun;
        return Of(file, path, inRun ? run : null, folder, configuration);
    }

    public void Dispose() => Weights.Dispose();

    private static TrainedNetwork FromRun(string path, string? configuration, string checkpoint, Action<string> warn)
    {
        var run = new RunFolder(path);
        if (!run.HoldsRun) throw new ConfigurationException([new("", $"{path} is no run's folder: it has no config.json")]);
        var folder = new CheckpointFolder(run.Checkpoints, keepLast: 1, keepBest: true);
        LoadedCheckpoint? found;
        if (checkpoint is "best" or "latest")
        {
            found = folder.FindLatest(warn);
            if (checkpoint == "best" && found is not null && found.File.Metadata.TryGetValue("best_step", out var text) && long.TryParse(text, out long best) && best > 0 && best != found.Step)
            {
                try { found = folder.Load(best) ?? found; }
                catch (Exception e) when (e is InvalidDataException or IOException) { warn($"{e.Message}. The newest checkpoint is used."); }
            }
        }
        else if (long.TryParse(checkpoint, out long step)) found = folder.Load(step) ?? throw new ConfigurationException([new("--checkpoint", $"{run.Checkpoints} has no checkpoint of step {step}")]);
        else throw new ConfigurationException([new("--checkpoint", $"'{checkpoint}' is not one of best, latest and a step's number")]);
        if (found is null) throw new ConfigurationException([new("", $"{path} has no checkpoint yet")]);
        return Of(found.File, found.Path, run, path, configuration);
    }

    private static TrainedNetwork Of(SafetensorsFile file, string path, RunFolder? run, string folder, string? configuration)
    {
        RunConfiguration settings;
        if (configuration is not null) settings = ConfigurationFile.Load(configuration);
        else if (file.Metadata.TryGetValue("configuration", out var json)) settings = ConfigurationFile.Parse(json);
        else throw new ConfigurationException([new("--config", $"{path} does not say what it was trained on: give the configuration with its task, --config configs/t1.json for example")]);
        var weights = NetworkWeights.From(file, path);
        bool ofRun = file.Metadata.ContainsKey("step");
        return new()
        {
            Name = ofRun ? $"{settings.Name}/seed-{settings.Seed}" : Path.GetFileNameWithoutExtension(path),
            Folder = run?.Path ?? folder,
            IsRun = run is not null,
            Configuration = settings,
            Weights = weights,
            File = path,
            Step = file.Metadata.TryGetValue("step", out var step) ? long.Parse(step, System.Globalization.CultureInfo.InvariantCulture) : null,
            Metrics = run?.ReadMetrics() ?? [],
        };
    }
}
