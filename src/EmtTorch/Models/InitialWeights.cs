using TorchSharp;

namespace EmtTorch.Models;

/// <summary>
/// Torch's modules draw their initial weights from one generator of the process. Whoever makes a network holds this
/// lock meanwhile: otherwise a network that an analysis makes on another thread would take numbers from the middle of a
/// run's seeded weights, and that run would come out differently.
/// </summary>
internal static class InitialWeights
{
    /// <summary>Held from the seed to the last number. A thread that has it can enter again.</summary>
    public static readonly Lock Drawing = new();

    /// <summary>Sets a network's weights from a checkpoint, or from a file that Python wrote.</summary>
    /// <exception cref="InvalidDataException">The file is damaged, does not fit the network, or has weights that are
    /// not finite. The message names the file.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    public static void Load(torch.nn.Module network, string path)
    {
        var file = SafetensorsFile.Read(path, StoredTensors.IsWeight);
        if (network is ElmanRnn elman)
            ElmanWeightFile.Restore(elman, file);
        else
            StoredTensors.RestoreWeights(network, file);
        using var scope = torch.NewDisposeScope();
        foreach (var (name, parameter) in network.named_parameters())
        {
            if (!parameter.isfinite().all().ToBoolean())
            {
                throw new InvalidDataException(
                    $"in {path}, {name} has numbers that are not finite (NaN or infinity): no network can start from it"
                );
            }
        }
    }
}
