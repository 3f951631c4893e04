using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch;

/// <summary>Tensors to and from safetensors files.</summary>
internal static class StoredTensors
{
    // What the names of a checkpoint's other tensors begin with.
    private static readonly string[] BesideWeights = ["optimizer.", "random.", "store."];

    /// <summary>
    /// Sets a network's parameters from a checkpoint, or from weights that Python's safetensors wrote.
    /// </summary>
    /// <exception cref="InvalidDataException">A parameter is missing, too many, or of another shape.</exception>
    public static void RestoreWeights(nn.Module network, SafetensorsFile file)
    {
        var names = network.named_parameters().Select(p => p.name).ToHashSet();
        var unknown = file
            .Tensors.Keys.Where(n =>
                !names.Contains(n) && !BesideWeights.Any(p => n.StartsWith(p, StringComparison.Ordinal))
            )
            .ToArray();
        if (unknown.Length > 0)
        {
            throw new InvalidDataException(
                $"the network has no {string.Join(", ", unknown)}; it has {string.Join(", ", names)}"
            );
        }

        RestoreWeights(network, file.Tensors);
    }

    /// <summary>Sets a network's parameters to the tensors of their names.</summary>
    /// <exception cref="InvalidDataException">One is missing, or of another shape.</exception>
    public static void RestoreWeights(nn.Module network, IReadOnlyDictionary<string, SafetensorsTensor> tensors)
    {
        foreach (var (name, parameter) in network.named_parameters())
            Load(tensors, name, parameter);
    }

    /// <summary>A tensor as a file has it.</summary>
    public static SafetensorsTensor Store(Tensor tensor)
    {
        using var scope = NewDisposeScope();
        var local = tensor.detach().cpu().contiguous();
        return new(DType(tensor.dtype), tensor.shape, local.bytes.ToArray());
    }

    public static void Load(SafetensorsFile file, string name, Tensor into) => Load(file.Tensors, name, into);

    private static void Load(IReadOnlyDictionary<string, SafetensorsTensor> tensors, string name, Tensor into)
    {
        var stored = Find(tensors, name);
        if (!stored.Shape.AsSpan().SequenceEqual(into.shape))
        {
            throw new InvalidDataException(
                $"the tensor {name} is ({string.Join(", ", stored.Shape)}), the network's is ({string.Join(", ", into.shape)})"
            );
        }

        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        into.copy_(Load(stored, name));
    }

    /// <summary>A tensor of a file, on the CPU.</summary>
    public static Tensor Load(SafetensorsFile file, string name) => Load(Find(file.Tensors, name), name);

    private static SafetensorsTensor Find(IReadOnlyDictionary<string, SafetensorsTensor> tensors, string name) =>
        tensors.TryGetValue(name, out var stored)
            ? stored
            : throw new InvalidDataException($"the tensor {name} is missing");

    private static Tensor Load(SafetensorsTensor stored, string name)
    {
        var local = empty(stored.Shape, dtype: DType(stored.DType, name));
        stored.Data.Span.CopyTo(local.bytes);
        return local;
    }

    /// <summary>A tensor of a file, of another's shape, type and device.</summary>
    /// <exception cref="InvalidDataException">It is missing, or of another shape.</exception>
    public static Tensor LoadLike(SafetensorsFile file, string name, Tensor like)
    {
        using var quiet = no_grad();
        var tensor = zeros_like(like).detach();
        Load(file, name, tensor);
        return tensor;
    }

    private static readonly Dictionary<ScalarType, string> DTypes = new()
    {
        [ScalarType.Float64] = "F64",
        [ScalarType.Float32] = "F32",
        [ScalarType.Float16] = "F16",
        [ScalarType.BFloat16] = "BF16",
        [ScalarType.Int64] = "I64",
        [ScalarType.Int32] = "I32",
        [ScalarType.Byte] = "U8",
        [ScalarType.Bool] = "BOOL",
    };

    private static string DType(ScalarType type) => DTypes[type];

    private static ScalarType DType(string name, string tensor)
    {
        foreach (var (type, text) in DTypes)
        {
            if (text == name)
                return type;
        }

        throw new InvalidDataException(
            $"the tensor {tensor} is of dtype {name}; one of {string.Join(", ", DTypes.Values)} is expected"
        );
    }
}
