using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch;

/// <summary>Converts between tensors and their form in safetensors files.</summary>
internal static class StoredTensors
{
    // The beginnings of the names of a checkpoint's tensors that are not weights.
    private static readonly string[] NotWeights = ["optimizer.", "random.", "store."];

    /// <summary>Whether the tensor of a name in a checkpoint is a weight.</summary>
    public static bool IsWeight(string name) => !NotWeights.Any(p => name.StartsWith(p, StringComparison.Ordinal));

    /// <summary>Sets a network's parameters from a checkpoint or from weights written by Python.</summary>
    /// <exception cref="InvalidDataException">A parameter is missing, unknown, or of another shape.</exception>
    public static void RestoreWeights(nn.Module network, SafetensorsFile file)
    {
        var names = network.named_parameters().Select(p => p.name).ToHashSet();
        var unknown = file.Tensors.Keys.Where(n => !names.Contains(n) && IsWeight(n)).ToArray();
        if (unknown.Length > 0)
        {
            throw new InvalidDataException(
                $"{file.Path} has {string.Join(", ", unknown)}, and the network has only {string.Join(", ", names)}"
            );
        }
        foreach (var (name, parameter) in network.named_parameters())
            Load(file, name, parameter);
    }

    /// <summary>Sets a network's parameters to the tensors with their names.</summary>
    /// <exception cref="InvalidDataException">A tensor is of another shape.</exception>
    public static void RestoreWeights(nn.Module network, IReadOnlyDictionary<string, SafetensorsTensor> tensors)
    {
        foreach (var (name, parameter) in network.named_parameters())
            Load(tensors[name], name, parameter);
    }

    /// <summary>Converts a tensor to its form in a file.</summary>
    /// <param name="tensor">A tensor of any size, on any device.</param>
    /// <param name="longestPart">The bytes of a part of its data, at most.</param>
    public static SafetensorsTensor Store(Tensor tensor, int longestPart = ByteParts.Longest)
    {
        using var scope = NewDisposeScope();
        var flat = tensor.detach().cpu().contiguous().flatten();
        long step = longestPart / flat.element_size();
        var parts = new List<byte[]>();
        for (long at = 0; at < flat.numel(); at += step)
            parts.Add(flat.narrow(0, at, Math.Min(step, flat.numel() - at)).bytes.ToArray());
        return new(DTypes[tensor.dtype], tensor.shape, ByteParts.Join(parts));
    }

    /// <summary>Copies a tensor of a file into a tensor of the same shape.</summary>
    /// <exception cref="InvalidDataException">The file's tensor is missing, of another shape, or of integers in place
    /// of fractions.</exception>
    public static void Load(SafetensorsFile file, string name, Tensor into) =>
        Load(Find(file, name), $"in {file.Path}, {name}", into);

    private static void Load(SafetensorsTensor stored, string what, Tensor into)
    {
        if (!stored.Shape.AsSpan().SequenceEqual(into.shape))
        {
            throw new InvalidDataException(
                $"{what} is ({string.Join(", ", stored.Shape)}), the network's is ({string.Join(", ", into.shape)})"
            );
        }
        if (is_floating_point(into))
            RequireFractions(stored, what);

        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        into.copy_(Load(stored, what));
    }

    /// <summary>Refuses integers, which are no weights.</summary>
    /// <param name="stored">A tensor of a file.</param>
    /// <param name="what">What it is in messages.</param>
    /// <exception cref="InvalidDataException">The tensor is of integers.</exception>
    public static void RequireFractions(SafetensorsTensor stored, string what)
    {
        if (stored.DType is not ("F64" or "F32" or "F16" or "BF16"))
        {
            throw new InvalidDataException($"{what} is of dtype {stored.DType}: it should be F64, F32, F16 or BF16");
        }
    }

    /// <summary>Loads a tensor of a file, on the CPU.</summary>
    /// <exception cref="InvalidDataException">The tensor is missing or of an unknown type.</exception>
    public static Tensor Load(SafetensorsFile file, string name) => Load(Find(file, name), $"in {file.Path}, {name}");

    private static SafetensorsTensor Find(SafetensorsFile file, string name) =>
        file.Tensors.TryGetValue(name, out var stored)
            ? stored
            : throw new InvalidDataException($"{file.Path} has no {name}");

    private static Tensor Load(SafetensorsTensor stored, string what)
    {
        var local = empty(stored.Shape, dtype: DType(stored.DType, what));
        using var scope = NewDisposeScope();
        var flat = local.flatten();
        long at = 0,
            size = flat.element_size();
        foreach (var part in stored.Data)
        {
            part.Span.CopyTo(flat.narrow(0, at / size, part.Length / size).bytes);
            at += part.Length;
        }
        return local;
    }

    /// <summary>Loads a tensor of a file, with the type and device of another tensor.</summary>
    /// <exception cref="InvalidDataException">The tensor is missing or has not the other's shape.</exception>
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

    private static ScalarType DType(string name, string what) =>
        DTypes.ContainsValue(name)
            ? DTypes.First(t => t.Value == name).Key
            : throw new InvalidDataException(
                $"{what} is of dtype {name}; one of {string.Join(", ", DTypes.Values)} is expected"
            );
}
