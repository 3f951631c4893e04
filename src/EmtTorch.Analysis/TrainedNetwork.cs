using EmtTorch.Configuration;
using EmtTorch.Models;
using EmtTorch.Settings;
using EmtTorch.Training;

namespace EmtTorch.Analysis;

/// <summary>
/// A trained network with all that is known of it: from a run's folder, a checkpoint, or bare weights. It is an Elman
/// network or a transformer.
/// </summary>
public sealed record TrainedNetwork : IDisposable
{
    private readonly NetworkWeights? _weights;

    /// <summary>NAME/seed-N of a run; the file's name for bare weights.</summary>
    public required string Name { get; init; }

    /// <summary>Where the analysis of it belongs: the run's folder, or the one that the weights are in.</summary>
    public required string Folder { get; init; }

    /// <summary>Whether that folder is a run's.</summary>
    public required bool IsRun { get; init; }

    public required RunConfiguration Configuration { get; init; }

    /// <summary>An Elman network's weights.</summary>
    /// <exception cref="InvalidOperationException">It is a transformer.</exception>
    public NetworkWeights Weights
    {
        get =>
            _weights
            ?? throw new InvalidOperationException($"{Name} is a transformer: it has no Elman network's weights");
        init => _weights = value;
    }

    /// <summary>The network, where it is a transformer: on the CPU.</summary>
    public EpisodicTransformer? Transformer { get; init; }

    /// <summary>H, or a transformer's d.</summary>
    public long HiddenSize => Transformer is null ? Weights.HiddenSize : Configuration.Model.HiddenSize;

    /// <summary>‖θ‖, over all weights and biases.</summary>
    public double ParameterNorm =>
        Transformer is null
            ? Weights.ParameterNorm
            : Math.Sqrt(Transformer.parameters().Sum(p => Math.Pow(Matrices.Norm(p), 2)));

    /// <summary>The file that the weights come from.</summary>
    public required string File { get; init; }

    /// <summary>Steps trained, where that is known.</summary>
    public long? Step { get; init; }

    public IReadOnlyList<Metrics> Metrics { get; init; } = [];

    /// <summary>Loads one.</summary>
    /// <param name="path">A run's folder, a checkpoint, or weights that Python wrote.</param>
    /// <param name="configuration">A file that says what the task is, in place of the checkpoint's own; needed for
    /// weights that carry none.</param>
    /// <param name="checkpoint">`best` (the lowest test loss; the newest where that is not known), `latest`, or a step;
    /// for a folder.</param>
    /// <param name="warn">Told of checkpoints that can't be used.</param>
    /// <exception cref="ConfigurationException">The path or the configuration is wrong.</exception>
    /// <exception cref="InvalidDataException">The file is damaged, or holds no Elman network, or not the transformer
    /// that its configuration describes.</exception>
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

        var file = SafetensorsFile.Read(path);
        var folder = Path.GetDirectoryName(Path.GetFullPath(path))!;
        // RUN/checkpoints/step-N.safetensors belongs to RUN.
        var run = new RunFolder(Path.GetDirectoryName(folder) ?? folder);
        bool inRun = Path.GetFileName(folder) == "checkpoints" && run.HoldsRun;
        return Of(file, path, inRun ? run : null, folder, configuration);
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
            throw new ConfigurationException([new("", $"{path} is no run's folder: it has no config.json")]);
        var folder = new CheckpointFolder(run.Checkpoints, keepLast: 1, keepBest: true);
        LoadedCheckpoint? found;
        if (checkpoint is "best" or "latest")
        {
            found = folder.FindLatest(warn);
            if (
                checkpoint == "best"
                && found is not null
                && found.File.Metadata.TryGetValue("best_step", out var text)
                && long.TryParse(text, out long best)
                && best > 0
                && best != found.Step
            )
            {
                try
                {
                    if (folder.Load(best) is { } kept)
                    {
                        found = kept;
                    }
                    else
                    {
                        warn(
                            $"The best checkpoint, that of step {best}, is not in {run.Checkpoints}. The newest, "
                                + $"of step {found.Step}, is used."
                        );
                    }
                }
                catch (Exception e) when (e is InvalidDataException or IOException or UnauthorizedAccessException)
                {
                    warn($"{e.Message}. The newest checkpoint is used.");
                }
            }
        }
        else if (long.TryParse(checkpoint, out long step))
        {
            found =
                folder.Load(step)
                ?? throw new ConfigurationException([
                    new("--checkpoint", $"{run.Checkpoints} has no checkpoint of step {step}"),
                ]);
        }
        else
        {
            throw new ConfigurationException([
                new("--checkpoint", $"'{checkpoint}' is not one of best, latest and a step's number"),
            ]);
        }

        if (found is null)
            throw new ConfigurationException([new("", $"{path} has no checkpoint yet")]);
        return Of(found.File, found.Path, run, path, configuration);
    }

    private static TrainedNetwork Of(
        SafetensorsFile file,
        string path,
        RunFolder? run,
        string folder,
        string? configuration
    )
    {
        var own = file.Metadata.TryGetValue("configuration", out var json) ? ConfigurationFile.Parse(json) : null;
        var given = configuration is null ? null : ConfigurationFile.Load(configuration);
        // Another task may be asked about; the name and the seed stay the run's.
        var settings = own is not null && given is not null ? own with { Task = given.Task } : given ?? own;
        if (settings is null)
        {
            throw new ConfigurationException([
                new(
                    "--config",
                    $"{path} does not say what it was trained on: give the configuration with its task, --config "
                        + "configs/t1.json for example"
                ),
            ]);
        }

        if (settings.Task.IsOnTokens != settings.Model.IsTransformer)
        {
            throw new ConfigurationException([
                new(
                    "--config",
                    $"{settings.Task.Label} is no task for {path}, which holds {(settings.Model.IsTransformer ? "a transformer" : "an Elman network")}"
                ),
            ]);
        }

        long? step =
            file.Metadata.TryGetValue("step", out var text)
            && long.TryParse(
                text,
                System.Globalization.NumberStyles.None,
                System.Globalization.CultureInfo.InvariantCulture,
                out long number
            )
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
            Metrics = run?.ReadMetrics() ?? [],
        };
        return settings.Model.IsTransformer
            ? network with
            {
                Transformer = TransformerOf(file, path, settings),
            }
            : network with
            {
                Weights = NetworkWeights.From(file, path),
            };
    }

    /// <summary>A vocabulary as large as the file's: whether it is the task's is for the analysis to say.</summary>
    private static EpisodicTransformer TransformerOf(SafetensorsFile file, string path, RunConfiguration settings)
    {
        if (
            !file.Tensors.TryGetValue("embedding.weight", out var embedding)
            || embedding.Shape is not [var vocabulary and > 0 and < int.MaxValue, _]
        )
        {
            throw new InvalidDataException(
                $"{path} has no embedding.weight of (V, d): it holds no transformer of this program"
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
            throw new InvalidDataException(
                $"{path} does not hold the transformer that its configuration describes: {e.Message}",
                e
            );
        }
    }
}
