using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Models;

/// <summary>The tensors of a weight file, of which those of an Elman network are taken one by one.</summary>
/// <param name="file">The file. The states of optimizers and random generators are left out.</param>
internal sealed class NamedTensors(SafetensorsFile file)
{
    private readonly string _name = file.Path;

    private readonly Dictionary<string, SafetensorsTensor> _tensors = file
        .Tensors.Where(t => StoredTensors.IsWeight(t.Key))
        .ToDictionary();

    private readonly HashSet<string> _taken = [];

    private IEnumerable<string> Rest => _tensors.Keys.Where(key => !_taken.Contains(key));

    /// <summary>All tensors with their shapes.</summary>
    public override string ToString() =>
        _tensors.Count == 0
            ? "nothing"
            : string.Join(", ", _tensors.Select(t => $"{t.Key} ({string.Join(", ", t.Value.Shape)})"));

    /// <summary>Takes the matrix whose name ends in this.</summary>
    /// <exception cref="InvalidDataException">There is none, there are several, or it is no matrix.</exception>
    public Tensor Take(string ending) =>
        Find(ending, 2) is { } key
            ? Read(key)
            : throw new InvalidDataException($"{_name} has no …{ending}, so it is not an Elman network. It has {this}");

    /// <summary>Takes the vector whose name ends in this, or returns null.</summary>
    /// <exception cref="InvalidDataException">There are several, or it has another shape.</exception>
    public Tensor? TryTake(string ending, long size)
    {
        if (Find(ending, 1) is not { } key)
            return null;
        var tensor = Read(key);
        Check(tensor, key, size);
        return tensor;
    }

    /// <summary>Takes the one weight that is left, with its bias.</summary>
    /// <exception cref="InvalidDataException">There is not one weight, or the bias has another shape.</exception>
    public (Tensor Weight, Tensor? Bias) TakeReadout(long size)
    {
        var weights = Rest.Where(k => k.EndsWith("weight", StringComparison.Ordinal)).ToArray();
        if (weights is not [var key])
        {
            throw new InvalidDataException(
                $"{_name} should have one more weight, the readout's, and has {weights.Length}: it has {this}"
            );
        }
        _taken.Add(key);
        var biasKey = key[..^"weight".Length] + "bias";
        if (!_tensors.ContainsKey(biasKey) || !_taken.Add(biasKey))
            return (Read(key), null);
        var bias = Read(biasKey);
        Check(bias, "the readout's bias", size);
        return (Read(key), bias);
    }

    /// <exception cref="InvalidDataException">A tensor was not taken.</exception>
    public void RefuseRest()
    {
        string[] rest = [.. Rest];
        string[] more =
        [
            .. rest.Where(k =>
                k.Contains("_l1", StringComparison.Ordinal) || k.EndsWith("_reverse", StringComparison.Ordinal)
            ),
        ];
        if (more.Length > 0)
        {
            throw new InvalidDataException(
                $"{_name} also has {string.Join(", ", more)}: only networks of one layer and one direction can be "
                    + "read"
            );
        }
        if (rest.Length > 0)
        {
            throw new InvalidDataException(
                $"{_name} has tensors that are not an Elman network's: {string.Join(", ", rest)}"
            );
        }
    }

    /// <exception cref="InvalidDataException">The tensor has another shape.</exception>
    public void Check(Tensor tensor, string what, params long[] shape)
    {
        if (!tensor.shape.AsSpan().SequenceEqual(shape))
        {
            throw new InvalidDataException(
                $"in {_name}, {what} is ({string.Join(", ", tensor.shape)}), and should be ({string.Join(", ", shape)})"
            );
        }
    }

    private string? Find(string ending, int rank)
    {
        var found = Rest.Where(k => k.Split('.')[^1] is var last && (last == ending || last == ending + "_l0"))
            .ToArray();
        if (found.Length == 0)
            return null;
        if (found.Length > 1)
        {
            throw new InvalidDataException(
                $"{_name} has more than one {ending}: {string.Join(", ", found)}; only one layer can be read"
            );
        }
        _taken.Add(found[0]);
        int dimensions = _tensors[found[0]].Shape.Length;
        return dimensions == rank
            ? found[0]
            : throw new InvalidDataException(
                $"in {_name}, {found[0]} has {dimensions} dimensions: there should be {rank}"
            );
    }

    private Tensor Read(string key)
    {
        StoredTensors.RequireFractions(_tensors[key], $"in {_name}, {key}");
        using var stored = StoredTensors.Load(file, key);
        return stored.to_type(ScalarType.Float64, copy: true);
    }
}
