using System.Globalization;
using System.Runtime.InteropServices;
using EmtTorch.Memory.Retrieval;
using EmtTorch.Models;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace EmtTorch.Training;

/// <summary>The test with the lowest loss of a run.</summary>
internal readonly record struct BestTest(long Step, double Loss, double Accuracy);

/// <summary>
/// The state of training, and its form in a checkpoint: every parameter under its module path, Adam's averages under
/// `optimizer.exp_avg.` and `optimizer.exp_avg_sq.` with the path, its step counts as `optimizer.step`, the generator
/// as `random.data`, counters and configuration in the metadata.
/// </summary>
internal sealed class TrainingState
{
    public required nn.Module Network { get; init; }
    public required Adam Optimizer { get; init; }

    /// <summary>The generator of training batches, on the CPU.</summary>
    public required Generator Data { get; init; }
    public required Curriculum Curriculum { get; init; }

    /// <summary>Further tensors that training changes, by name; in a checkpoint as `optimizer.NAME`.</summary>
    public IReadOnlyDictionary<string, Tensor> Others { get; init; } = new Dictionary<string, Tensor>();

    public long Step { get; set; }
    public double Seconds { get; set; }

    /// <summary>The number of tests in a row that reached the accuracy of the early stop.</summary>
    public int Streak { get; set; }

    /// <summary>The test with the lowest loss so far; step 0 if there was none.</summary>
    public BestTest Best { get; set; } = new(0, double.PositiveInfinity, double.NaN);

    /// <summary>The network's stores of episodes, or null if it has none.</summary>
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
        foreach (var (name, tensor) in Others)
            tensors[$"optimizer.{name}"] = StoredTensors.Store(tensor);
        var steps = states.Values.Select(s => s.step).ToArray();
        tensors["optimizer.step"] = new("I64", [steps.Length], MemoryMarshal.AsBytes<long>(steps).ToArray());
        using var random = Data.get_state();
        tensors["random.data"] = StoredTensors.Store(random);
        return tensors;
    }

    /// <summary>The metadata of a checkpoint.</summary>
    /// <param name="configuration">The configuration that the tensors belong to, as JSON.</param>
    /// <param name="storesAnswer">Whether the stores can be asked for their counts; false while one is away.</param>
    public Dictionary<string, string> Metadata(string configuration, bool storesAnswer)
    {
        var metadata = new Dictionary<string, string>
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
        if (Stores is not null)
            StoredEpisodes.Save(Stores, metadata, counted: storesAnswer);
        return metadata;
    }

    /// <summary>Restores a checkpoint. From a file of weights only the weights are taken.</summary>
    /// <param name="checkpoint">The checkpoint, or the weights.</param>
    /// <param name="warn">Takes messages about what could not be restored.</param>
    /// <exception cref="InvalidDataException">A parameter is missing, too many, or of another shape.</exception>
    public void Restore(LoadedCheckpoint checkpoint, Action<string> warn)
    {
        var file = checkpoint.File;
        StoredTensors.RestoreWeights(Network, file);
        if (Stores is not null)
            StoredEpisodes.Restore(Stores, file, checkpoint.Additions);
        if (!file.Tensors.ContainsKey("optimizer.step"))
        {
            warn("The file holds only weights: optimizer, random state and step start from the beginning.");
            return;
        }
        var states = States();
        var steps = MemoryMarshal.Cast<byte, long>(file.Tensors["optimizer.step"].ToArray());
        int i = 0;
        foreach (var (name, state) in states)
        {
            StoredTensors.Load(file, $"optimizer.exp_avg.{name}", state.exp_avg);
            StoredTensors.Load(file, $"optimizer.exp_avg_sq.{name}", state.exp_avg_sq);
            state.step = steps[i++];
        }
        foreach (var (name, tensor) in Others)
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
                $"The checkpoint was written on {file.Metadata["random_device"]}, whose random state the CPU cannot "
                    + "take over: the batches from here on differ from those of the interrupted run."
            );
        }

        T Read<T>(string key)
            where T : IParsable<T> => T.Parse(file.Metadata[key], CultureInfo.InvariantCulture);
        Step = Read<long>("step");
        Seconds = Read<double>("seconds");
        Streak = Read<int>("early_stop_streak");
        Best = new(Read<long>("best_step"), Read<double>("best_test_loss"), Read<double>("best_test_accuracy"));
        Curriculum.Position = Read<int>("curriculum_position");
    }

    // Adam's states by parameter. The optimizer's are in the order of the parameters.
    private Dictionary<string, Adam.State> States() =>
        Network
            .named_parameters()
            .Select(p => p.name)
            .Zip(Optimizer.state_dict().State.Cast<Adam.State>())
            .ToDictionary(p => p.First, p => p.Second);

    private static string Text(IFormattable value) =>
        value.ToString(value is double ? "R" : null, CultureInfo.InvariantCulture);
}
