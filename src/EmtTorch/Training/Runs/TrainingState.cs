using System.Globalization;
using System.Runtime.InteropServices;
using EmtTorch.Memory.Retrieval;
using EmtTorch.Models;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace EmtTorch.Training;

/// <summary>
/// All that training goes on from, and its form in a safetensors file: every parameter under its module path, Adam's
/// averages under `optimizer.exp_avg.` and `optimizer.exp_avg_sq.` and the path, its step counts under
/// `optimizer.step`, the generators under `random.`, and the counters in the metadata.
/// </summary>
internal sealed class TrainingState
{
    public required nn.Module Network { get; init; }
    public required Adam Optimizer { get; init; }

    /// <summary>Where training batches come from; always the CPU's.</summary>
    public required Generator Data { get; init; }
    public required Curriculum Curriculum { get; init; }

    /// <summary>What else training adds to as it goes on, by name; in a file under `optimizer.` and the name.</summary>
    public IReadOnlyDictionary<string, Tensor> Beside { get; init; } = new Dictionary<string, Tensor>();

    public long Step { get; set; }
    public double Seconds { get; set; }

    /// <summary>Evaluations in a row that reached the early stop's accuracy.</summary>
    public int Streak { get; set; }

    /// <summary>The evaluation with the lowest loss so far; step 0 where there was none.</summary>
    public (long Step, double Loss, double Accuracy) Best { get; set; } = (0, double.PositiveInfinity, double.NaN);

    /// <summary>What the network stores of documents; null where it does not.</summary>
    public EpisodicStores? Stores => (Network as EpisodicTransformer)?.Stores;

    public Dictionary<string, SafetensorsTensor> Tensors()
    {
        var tensors = new Dictionary<string, SafetensorsTensor>();
        var states = States();
        foreach (var (name, parameter) in Network.named_parameters())
        {
            tensors[name] = StoredTensors.Store(parameter);
            tensors[$"optimizer.exp_avg.{name}"] = StoredTensors.Store(states[name].exp_avg);
            tensors[$"optimizer.exp_avg_sq.{name}"] = StoredTensors.Store(states[name].exp_avg_sq);
        }
        foreach (var (name, tensor) in Beside)
            tensors[$"optimizer.{name}"] = StoredTensors.Store(tensor);
        var steps = states.Values.Select(s => s.step).ToArray();
        tensors["optimizer.step"] = new("I64", [steps.Length], MemoryMarshal.AsBytes<long>(steps).ToArray());
        using var random = Data.get_state();
        tensors["random.data"] = StoredTensors.Store(random);
        if (Stores is not null)
            StoredEpisodes.Save(Stores, tensors);
        return tensors;
    }

    /// <summary>The counters, and the configuration that says what the tensors belong to.</summary>
    /// <param name="configuration">The configuration.</param>
    /// <param name="storesAreThere">Whether stores can be asked; not where one is away.</param>
    public Dictionary<string, string> Metadata(string configuration, bool storesAreThere = true)
    {
        var metadata = Counters(configuration);
        if (Stores is not null)
            StoredEpisodes.Save(Stores, metadata, counted: storesAreThere);
        return metadata;
    }

    private Dictionary<string, string> Counters(string configuration) =>
        new()
        {
            ["format"] = "pt",
            ["configuration"] = configuration,
            ["step"] = Text(Step),
            ["seconds"] = Text(Seconds),
            ["curriculum_position"] = Text(Curriculum.Position),
            ["early_stop_streak"] = Text(Streak),
            ["best_step"] = Text(Best.Step),
            ["best_test_loss"] = Text(Best.Loss),
            ["best_test_accuracy"] = Text(Best.Accuracy),
            ["random_device"] = nameof(DeviceType.CPU),
        };

    /// <summary>
    /// Goes on from a checkpoint. A file with weights alone sets the weights and leaves the rest as at the start.
    /// </summary>
    /// <param name="file">The checkpoint, or weights.</param>
    /// <param name="warn">Told what could not be taken over.</param>
    /// <exception cref="InvalidDataException">A parameter is missing, too many, or of another shape.</exception>
    public void Restore(SafetensorsFile file, Action<string> warn)
    {
        StoredTensors.RestoreWeights(Network, file);
        if (Stores is not null)
            StoredEpisodes.Restore(Stores, file);
        if (!file.Tensors.ContainsKey("optimizer.step"))
        {
            warn("The file holds weights alone: optimizer, random state and step begin anew.");
            return;
        }
        var states = States();
        var steps = MemoryMarshal.Cast<byte, long>(file.Tensors["optimizer.step"].Data.Span);
        int i = 0;
        foreach (var (name, state) in states)
        {
            StoredTensors.Load(file, $"optimizer.exp_avg.{name}", state.exp_avg);
            StoredTensors.Load(file, $"optimizer.exp_avg_sq.{name}", state.exp_avg_sq);
            state.step = steps[i++];
        }
        foreach (var (name, tensor) in Beside)
            StoredTensors.Load(file, $"optimizer.{name}", tensor);
        if (file.Metadata["random_device"] == nameof(DeviceType.CPU))
        {
            using var random = empty([file.Tensors["random.data"].Data.Length], dtype: ScalarType.Byte);
            StoredTensors.Load(file, "random.data", random);
            Data.SetState(random);
        }
        else
        {
            warn(
                $"The checkpoint was written on {file.Metadata["random_device"]}: the random state can't be taken over, so the batches from here on are others."
            );
        }

        Step = long.Parse(file.Metadata["step"], CultureInfo.InvariantCulture);
        Seconds = double.Parse(file.Metadata["seconds"], CultureInfo.InvariantCulture);
        Streak = int.Parse(file.Metadata["early_stop_streak"], CultureInfo.InvariantCulture);
        Best = (
            long.Parse(file.Metadata["best_step"], CultureInfo.InvariantCulture),
            double.Parse(file.Metadata["best_test_loss"], CultureInfo.InvariantCulture),
            double.Parse(file.Metadata["best_test_accuracy"], CultureInfo.InvariantCulture)
        );
        Curriculum.Position = int.Parse(file.Metadata["curriculum_position"], CultureInfo.InvariantCulture);
    }

    // In the order of the parameters, which is the optimizer's.
    private Dictionary<string, Adam.State> States() =>
        Network
            .named_parameters()
            .Select(p => p.name)
            .Zip(Optimizer.state_dict().State.Cast<Adam.State>())
            .ToDictionary(p => p.First, p => p.Second);

    private static string Text(IFormattable value) =>
        value.ToString(value is double ? "R" : null, CultureInfo.InvariantCulture);
}
