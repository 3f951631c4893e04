using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;

namespace EmtTorch;

/// <summary>A tensor in a safetensors file.</summary>
/// <param name="DType">F64, F32, F16, BF16, I64, I32, I16, I8, U64, U32, U16, U8 or BOOL.</param>
/// <param name="Shape">The sizes of its dimensions; empty for a single number.</param>
/// <param name="Data">The elements, little-endian, row-major.</param>
public sealed record SafetensorsTensor(string DType, long[] Shape, ReadOnlyMemory<byte> Data);

/// <summary>
/// A file in the safetensors format, which Python's package `safetensors` reads and writes: the length of the header (8
/// bytes, little-endian), the header (JSON: each tensor's dtype, shape and place; text under `__metadata__`), and the
/// tensors without gaps. Files written by this class also have a SHA-256 of themselves in the metadata, so that any
/// flipped bit is found.
/// </summary>
/// <example><code>
/// var file = SafetensorsFile.Read("weights.safetensors");
/// using var network = new ElmanRnn(inputSize: 8, hiddenSize: 128);
/// file.RestoreInto(network);
/// </code></example>
public sealed class SafetensorsFile
{
    private const int LongestHeader = 100_000_000; // as in the reference implementation
    private const string Checksum = "sha256";
    private static readonly string NoChecksum = new('0', 64);

    private static readonly Dictionary<string, int> Sizes = new()
    {
        ["F64"] = 8,
        ["I64"] = 8,
        ["U64"] = 8,
        ["F32"] = 4,
        ["I32"] = 4,
        ["U32"] = 4,
        ["F16"] = 2,
        ["BF16"] = 2,
        ["I16"] = 2,
        ["U16"] = 2,
        ["I8"] = 1,
        ["U8"] = 1,
        ["BOOL"] = 1,
    };

    private SafetensorsFile(Dictionary<string, string> metadata, Dictionary<string, SafetensorsTensor> tensors) =>
        (Metadata, Tensors) = (metadata, tensors);

    /// <summary>The texts of the metadata, by key.</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; }

    /// <summary>The tensors, by name.</summary>
    public IReadOnlyDictionary<string, SafetensorsTensor> Tensors { get; }

    /// <summary>Whether the file has a checksum, which <see cref="Read"/> has compared.</summary>
    internal bool HasChecksum => Metadata.ContainsKey(Checksum);

    /// <summary>
    /// Sets a network's parameters to the tensors with their names. Other tensors of a checkpoint are ignored.
    /// </summary>
    /// <exception cref="InvalidDataException">A parameter is missing, unknown, or of another shape.</exception>
    public void RestoreInto(TorchSharp.torch.nn.Module network) => StoredTensors.RestoreWeights(network, this);

    /// <summary>Reads a whole file, and checks its structure and its checksum.</summary>
    /// <param name="path">The file.</param>
    /// <exception cref="InvalidDataException">The file is no safetensors file or is damaged. The message names the file
    /// and the problem.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    public static SafetensorsFile Read(string path)
    {
        var bytes = File.ReadAllBytes(path);
        try
        {
            return Parse(bytes);
        }
        catch (Exception e)
            when (e
                    is InvalidDataException
                        or JsonException
                        or FormatException
                        or InvalidOperationException
                        or OverflowException
                        or KeyNotFoundException
            )
        {
            throw new InvalidDataException($"{path} is not a whole safetensors file: {e.Message}", e);
        }
    }

    /// <summary>Writes a file; it exists whole or not at all, even after a power cut.</summary>
    /// <param name="path">The file.</param>
    /// <param name="tensors">The tensors, by name.</param>
    /// <param name="metadata">The texts of the metadata, by key.</param>
    /// <exception cref="ArgumentException">The length of a tensor's data does not fit its shape and dtype.</exception>
    /// <exception cref="IOException">The file cannot be written.</exception>
    public static void Write(
        string path,
        IReadOnlyDictionary<string, SafetensorsTensor> tensors,
        IReadOnlyDictionary<string, string> metadata
    )
    {
        // As in the reference implementation, wide elements come first, so that every tensor is aligned.
        var ordered = tensors
            .OrderByDescending(t => Size(t.Value.DType))
            .ThenBy(t => t.Key, StringComparer.Ordinal)
            .ToArray();
        foreach (var (name, tensor) in ordered)
        {
            if (FindLengthProblem(name, tensor) is { } problem)
                throw new ArgumentException(problem);
        }

        var header = Header(ordered, metadata);
        using (var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256))
        {
            hash.AppendData(header);
            foreach (var (_, tensor) in ordered)
                hash.AppendData(tensor.Data.Span);
            int at = header.AsSpan().IndexOf(Encoding.ASCII.GetBytes(NoChecksum));
            Encoding.ASCII.GetBytes(Convert.ToHexStringLower(hash.GetCurrentHash())).CopyTo(header, at);
        }
        AtomicFile.Write(
            path,
            stream =>
            {
                Span<byte> length = stackalloc byte[8];
                BinaryPrimitives.WriteInt64LittleEndian(length, header.Length);
                stream.Write(length);
                stream.Write(header);
                foreach (var (_, tensor) in ordered)
                    stream.Write(tensor.Data.Span);
            }
        );
    }

    private static byte[] Header(
        KeyValuePair<string, SafetensorsTensor>[] ordered,
        IReadOnlyDictionary<string, string> metadata
    )
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            json.WriteStartObject("__metadata__");
            // The first entry, so that the place to fill in is found before any other text like it.
            json.WriteString(Checksum, NoChecksum);
            foreach (var (key, value) in metadata)
            {
                if (key != Checksum)
                    json.WriteString(key, value);
            }

            json.WriteEndObject();
            long offset = 0;
            foreach (var (name, tensor) in ordered)
            {
                json.WriteStartObject(name);
                json.WriteString("dtype", tensor.DType);
                json.WriteStartArray("shape");
                foreach (long n in tensor.Shape)
                    json.WriteNumberValue(n);
                json.WriteEndArray();
                json.WriteStartArray("data_offsets");
                json.WriteNumberValue(offset);
                json.WriteNumberValue(offset += tensor.Data.Length);
                json.WriteEndArray();
                json.WriteEndObject();
            }
            json.WriteEndObject();
        }
        while (buffer.Length % 8 != 0)
            buffer.WriteByte((byte)' ');
        return buffer.ToArray();
    }

    private static SafetensorsFile Parse(byte[] bytes)
    {
        if (bytes.Length < 8)
            throw new InvalidDataException($"it has {bytes.Length} bytes, fewer than the header's length takes");
        long headerLength = BinaryPrimitives.ReadInt64LittleEndian(bytes);
        if (headerLength is < 2 or > LongestHeader || headerLength > bytes.Length - 8)
        {
            throw new InvalidDataException(
                $"its header would be {headerLength} bytes long, and the file is {bytes.Length}"
            );
        }

        var header = bytes.AsMemory(8, (int)headerLength);
        var data = bytes.AsMemory(8 + (int)headerLength);

        using var json = JsonDocument.Parse(header);
        if (json.RootElement.ValueKind != JsonValueKind.Object)
            throw new InvalidDataException("its header is not an object");
        var metadata = new Dictionary<string, string>();
        var tensors = new Dictionary<string, SafetensorsTensor>();
        var places = new List<Place>();
        foreach (var entry in json.RootElement.EnumerateObject())
        {
            if (entry.Name == "__metadata__")
            {
                foreach (var text in entry.Value.EnumerateObject())
                {
                    if (!metadata.TryAdd(text.Name, text.Value.GetString() ?? ""))
                        throw new InvalidDataException($"its metadata has {text.Name} twice");
                }

                continue;
            }
            var place = ReadPlace(entry, data.Length);
            var tensor = new SafetensorsTensor(
                entry.Value.GetProperty("dtype").GetString() ?? "",
                Numbers(entry, "shape"),
                data[(int)place.Begin..(int)place.End]
            );
            if (FindLengthProblem(entry.Name, tensor) is { } problem)
                throw new InvalidDataException(problem);
            if (!tensors.TryAdd(entry.Name, tensor))
                throw new InvalidDataException($"it has the tensor {entry.Name} twice");
            places.Add(place);
        }
        CheckPlaces(places, data.Length);
        Verify(metadata, header, data);
        return new(metadata, tensors);
    }

    // The bytes of a tensor, counted from the end of the header.
    private readonly record struct Place(long Begin, long End, string Name);

    private static Place ReadPlace(JsonProperty tensor, int length) =>
        Numbers(tensor, "data_offsets") is [var begin, var end] && begin >= 0 && end >= begin && end <= length
            ? new(begin, end, tensor.Name)
            : throw new InvalidDataException($"the tensor {tensor.Name} lies outside of it");

    private static long[] Numbers(JsonProperty tensor, string key) =>
        [.. tensor.Value.GetProperty(key).EnumerateArray().Select(n => n.GetInt64())];

    private static void CheckPlaces(List<Place> places, int length)
    {
        long expected = 0;
        foreach (var (begin, end, name) in places.OrderBy(p => p.Begin).ThenBy(p => p.End))
        {
            if (begin != expected)
                throw new InvalidDataException($"before the tensor {name} there is a gap, or it overlaps another");
            expected = end;
        }
        if (expected != length)
            throw new InvalidDataException($"it has {length} bytes of tensors, and its header says {expected}");
    }

    private static void Verify(Dictionary<string, string> metadata, Memory<byte> header, Memory<byte> data)
    {
        if (!metadata.TryGetValue(Checksum, out var stated))
            return; // for example a file written by Python
        int at = header.Span.IndexOf(Encoding.UTF8.GetBytes($"\"{Checksum}\":\"{stated}\""));
        if (stated.Length != 64 || at < 0)
            throw new InvalidDataException("its checksum is damaged");
        var plain = header.ToArray();
        Encoding.ASCII.GetBytes(NoChecksum).CopyTo(plain, at + Checksum.Length + 4);
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(plain);
        hash.AppendData(data.Span);
        if (Convert.ToHexStringLower(hash.GetCurrentHash()) != stated)
        {
            throw new InvalidDataException(
                "its checksum does not agree with its content: a byte has changed since it was written"
            );
        }
    }

    private static int Size(string dtype) =>
        Sizes.TryGetValue(dtype, out int size)
            ? size
            : throw new InvalidDataException($"'{dtype}' is not a dtype: {string.Join(", ", Sizes.Keys)} are");

    private static string? FindLengthProblem(string name, SafetensorsTensor tensor)
    {
        long length = Size(tensor.DType);
        foreach (long n in tensor.Shape)
            length = n >= 0 ? checked(length * n) : throw new InvalidDataException($"a size of {n}");
        return length == tensor.Data.Length
            ? null
            : $"the tensor {name} has {tensor.Data.Length} bytes, and its shape and dtype say {length}";
    }
}
