using System.Globalization;
using EmtTorch.Configuration;
using EmtTorch.Models;
using EmtTorch.Settings;
using EmtTorch.Training;

namespace EmtTorch.Analysis;

/// <summary>
/// A trained network, an Elman network or a transformer, with its configuration: from a run's folder, a checkpoint, or
/// bare weights.
/// </summary>
/// <example><code>
/// using var network = TrainedNetwork.Load("runs/t1/seed-1");
/// using var memories = VariableMemories.Find(network.Weights, LinearBinding.Named("t1"));
/// </code></example>
public sealed record TrainedNetwork : IDisposable
{
    private readonly NetworkWeights? _weights;
    private IReadOnlyDictionary<string, string>? _metadata; // of the checkpoint; null if another task was given

    /// <summary>NAME/seed-N of a run, or the file name of bare weights.</summary>
    public required string Name { get; init; }

    /// <summary>The folder for its analysis: that of the run, or that of the weights.</summary>
    public required string Folder { get; init; }

    /// <summary>Whether this is the folder of a run.</summary>
    public required bool IsRun { get; init; }

    /// <summary>The configuration of the run.</summary>
    public required RunConfiguration Configuration { get; init; }

    /// <summary>The weights of an Elman network.</summary>
    /// <exception cref="InvalidOperationException">The network is a transformer.</exception>
    public NetworkWeights Weights
    {
        get => _weights ?? throw new InvalidOperationException($"{Name} is a transformer, not an Elman network");
        init => _weights = value;
    }

    /// <summary>The transformer, on the CPU. Null for an Elman network.</summary>
    public EpisodicTransformer? Transformer { get; init; }

    /// <summary>H, or d of a transformer.</summary>
    public long HiddenSize => Transformer is null ? Weights.HiddenSize : Configuration.Model.HiddenSize;

    /// <summary>‖θ‖, over all weights and biases.</summary>
    public double ParameterNorm =>
        Transformer is null
            ? Weights.ParameterNorm
            : Math.Sqrt(Transformer.parameters().Sum(p => Math.Pow(Matrices.Norm(p), 2)));

    /// <summary>The file of the weights.</summary>
    public required string File { get; init; }

    /// <summary>The number of training steps, or null if unknown.</summary>
    public long? Step { get; init; }

    /// <summary>Why the task's files are not those that the network was trained on; null if they are.</summary>
    /// <exception cref="IOException">A file cannot be read.</exception>
    internal ConfigurationProblem? FindChangedData() =>
        _metadata is null ? null : DataFile.FindChange(Configuration, _metadata);

    /// <summary>The metrics of the run. Empty for bare weights.</summary>
    public IReadOnlyList<Metrics> Metrics { get; init; } = [];

    /// <summary>Loads a trained network.</summary>
    /// <param name="path">A run's folder, a checkpoint, or weights that Python wrote.</param>
    /// <param name="configuration">A configuration file whose task replaces that of the checkpoint. Weights without a
    /// configuration need it.</param>
    /// <param name="checkpoint">For a folder: `best` (the lowest test loss, or the newest if that is unknown),
    /// `latest`, or a step.</param>
    /// <param name="warn">Called with a sentence for each checkpoint that cannot be used.</param>
    /// <exception cref="ConfigurationException">The path or the configuration is wrong.</exception>
    /// <exception cref="InvalidDataException">The file is damaged, or it does not hold an Elman network or the
    /// transformer of its configuration.</exception>
    /// <exception cref="CheckpointException">All checkpoints of the run are damaged.</exception>
    public static TrainedNetwork Load(
        string path,
        string? configuration = null,
        string checkpoint = "best",
        Action<string>? warn = null
    )
    {
        warn ??= _ => { };
        if (Directory.Exists(path))
            return FromRun(path, configuration, checkpoint, warn);
        if (!System.IO.File.Exists(path))
        {
            throw new ConfigurationException([
                new("", $"there is no {path}: a run's folder, a checkpoint or a safetensors file is needed"),
            ]);
        }

        var file = SafetensorsFile.Read(path, StoredTensors.IsWeight);
        var folder = Path.GetDirectoryName(Path.GetFullPath(path))!;
        // RUN/checkpoints/step-N.safetensors belongs to RUN.
        var run = new RunFolder(Path.GetDirectoryName(folder) ?? folder);
        bool inRun = Path.GetFileName(folder) == "checkpoints" && run.HoldsRun;
        return Create(file, path, inRun ? run : null, folder, configuration);
    }

    public override string ToString() => Name;

    public void Dispose()
    {
        _weights?.Dispose();
        Transformer?.Dispose();
    }

    private static TrainedNetwork FromRun(string path, string? configuration, string checkpoint, Action<string> warn)
    {
        var run = new RunFolder(path);
        if (!run.HoldsRun)
            throw new ConfigurationException([new("", $"{path} is no run's folder: it has no checkpoints")]);
        var folder = new CheckpointFolder(run.Checkpoints, keepLast: 1, keepBest: true);
        LoadedCheckpoint? found;
        if (checkpoint is "best" or "latest")
        {
            found = folder.FindLatest(warn, StoredTensors.IsWeight);
            if (checkpoint == "best" && found is not null)
                found = FindBest(folder, found, run.Checkpoints, warn);
        }
        else if (long.TryParse(checkpoint, out long step))
        {
            found =
                folder.Load(step, StoredTensors.IsWeight)
                ?? throw new ConfigurationException([
                    new("--checkpoint", $"{run.Checkpoints} has no checkpoint of step {step}"),
                ]);
        }
        else
        {
            throw new ConfigurationException([
                new("--checkpoint", $"'{checkpoint}' is not one of best, latest and the number of a step"),
            ]);
        }

        if (found is null)
            throw new ConfigurationException([new("", $"{path} has no checkpoint yet")]);
        return Create(found.File, found.Path, run, path, configuration);
    }

    // The checkpoint that the newest one names as the best, or the newest if that cannot be used.
    private static LoadedCheckpoint FindBest(
        CheckpointFolder folder,
        LoadedCheckpoint newest,
        string path,
        Action<string> warn
    )
    {
        if (
            !newest.File.Metadata.TryGetValue("best_step", out var text)
            || !long.TryParse(text, out long best)
            || best <= 0
            || best == newest.Step
        )
        {
            return newest;
        }
        try
        {
            if (folder.Load(best, StoredTensors.IsWeight) is { } found)
                return found;
            warn(
                $"The best checkpoint, that of step {best}, is not in {path}. The newest, of step {newest.Step}, is "
                    + "used."
            );
        }
        catch (Exception e) when (e is InvalidDataException or IOException or UnauthorizedAccessException)
        {
            warn($"{e.Message}. The newest checkpoint is used.");
        }
        return newest;
    }

    private static TrainedNetwork Create(
        SafetensorsFile file,
        string path,
        RunFolder? run,
        string folder,
        string? configuration
    )
    {
        var own = file.Metadata.TryGetValue("configuration", out var json) ? ConfigurationFile.Parse(json) : null;
        var given = configuration is null ? null : ConfigurationFile.Load(configuration);
        // The given task replaces the run's. Name and seed stay.
        var settings = own is not null && given is not null ? own with { Task = given.Task } : given ?? own;
        if (settings is null)
        {
            throw new ConfigurationException([
                new(
                    "--config",
                    $"{path} does not name its task: give the configuration with the task, for example --config "
                        + "configs/t1.json"
                ),
            ]);
        }

        if (settings.Task.IsOnTokens != settings.Model.IsTransformer)
        {
            var held = settings.Model.IsTransformer ? "a transformer" : "an Elman network";
            throw new ConfigurationException([
                new("--config", $"{settings.Task.Label} is no task for {path}, which holds {held}"),
            ]);
        }

        long? step =
            file.Metadata.TryGetValue("step", out var text)
            && long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out long number)
                ? number
                : null;
        var network = new TrainedNetwork
        {
            Name = step is not null ? $"{settings.Name}/seed-{settings.Seed}" : Path.GetFileNameWithoutExtension(path),
            Folder = run?.Path ?? folder,
            IsRun = run is not null,
            Configuration = settings,
            File = path,
            Step = step,
            _metadata = given is null ? file.Metadata : null,
            Metrics = run?.ReadMetrics() ?? [],
        };
        return settings.Model.IsTransformer
            ? network with
            {
                Transformer = ReadTransformer(file, path, settings),
            }
            : network with
            {
                Weights = NetworkWeights.Read(file),
            };
    }

    // The vocabulary has the size of the file's. The analysis checks whether it is the task's.
    private static EpisodicTransformer ReadTransformer(SafetensorsFile file, string path, RunConfiguration settings)
    {
        if (
            !file.Tensors.TryGetValue("embedding.weight", out var embedding)
            || embedding.Shape is not [var vocabulary and > 0 and < int.MaxValue, _]
        )
        {
            throw new InvalidDataException(
                $"{path} has no embedding.weight (V, d): it holds no transformer of this program"
            );
        }

        var network = new EpisodicTransformer((int)vocabulary, settings.Model);
        try
        {
            file.RestoreInto(network);
            return network;
        }
        catch (InvalidDataException e)
        {
            network.Dispose();
            throw new InvalidDataException($"{e.Message}: it is not the transformer of its configuration", e);
        }
    }
}
