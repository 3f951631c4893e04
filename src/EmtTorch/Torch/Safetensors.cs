using System.Buffers;
using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;

namespace EmtTorch;

/// <summary>A tensor in a safetensors file.</summary>
/// <param name="DType">F64, F32, F16, BF16, I64, I32, I16, I8, U64, U32, U16, U8 or BOOL.</param>
/// <param name="Shape">The sizes of its dimensions; empty for a single number.</param>
/// <param name="Data">The elements, little-endian, row-major. More than 1 GiB comes in several parts.</param>
public sealed record SafetensorsTensor(string DType, long[] Shape, ReadOnlySequence<byte> Data)
{
    /// <summary>A tensor whose elements lie in one piece.</summary>
    public SafetensorsTensor(string dType, long[] shape, ReadOnlyMemory<byte> data)
        : this(dType, shape, new ReadOnlySequence<byte>(data)) { }

    /// <summary>The elements in one array.</summary>
    /// <exception cref="OverflowException">There are more than 2 GiB of them.</exception>
    public byte[] ToArray() => Data.ToArray();
}

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

    private SafetensorsFile(
        string path,
        Dictionary<string, string> metadata,
        Dictionary<string, SafetensorsTensor> tensors,
        IReadOnlyList<string> names
    ) => (Path, Metadata, Tensors, Names) = (path, metadata, tensors, names);

    /// <summary>Its path, for messages.</summary>
    internal string Path { get; }

    /// <summary>The texts of the metadata, by key.</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; }

    /// <summary>The tensors, by name; those that were wanted.</summary>
    public IReadOnlyDictionary<string, SafetensorsTensor> Tensors { get; }

    /// <summary>The names of all tensors in the file.</summary>
    internal IReadOnlyList<string> Names { get; }

    /// <summary>Whether the file has a checksum, which was compared when it was read.</summary>
    internal bool HasChecksum => Metadata.ContainsKey(Checksum);

    /// <summary>
    /// Sets a network's parameters to the tensors with their names. Other tensors of a checkpoint are ignored.
    /// </summary>
    /// <exception cref="InvalidDataException">A parameter is missing, unknown, or of another shape.</exception>
    public void RestoreInto(TorchSharp.torch.nn.Module network) => StoredTensors.RestoreWeights(network, this);

    /// <summary>Reads a file of any size, and checks its structure and its checksum.</summary>
    /// <param name="path">The file.</param>
    /// <param name="wanted">Whether the tensor of a name is kept. Null: all are.</param>
    /// <exception cref="InvalidDataException">The file is no safetensors file or is damaged. The message names the file
    /// and the problem.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    public static SafetensorsFile Read(string path, Predicate<string>? wanted = null) =>
        Read(path, wanted, ByteParts.Longest);

    internal static SafetensorsFile Read(string path, Predicate<string>? wanted, int longestPart)
    {
        using var stream = InputFile.Open(path);
        try
        {
            return Parse(path, stream, wanted ?? (_ => true), longestPart);
        }
        catch (Exception e)
            when (e
                    is InvalidDataException
                        or JsonException
                        or FormatException
                        or InvalidOperationException
                        or OverflowException
                        or KeyNotFoundException
                        or EndOfStreamException
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
            if (FindLengthProblem(name, tensor.DType, tensor.Shape, tensor.Data.Length) is { } problem)
                throw new ArgumentException(problem);
        }

        var header = Header(ordered, metadata);
        using (var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256))
        {
            hash.AppendData(header);
            foreach (var part in ordered.SelectMany(t => ByteParts.Of(t.Value.Data)))
                hash.AppendData(part.Span);
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
                foreach (var part in ordered.SelectMany(t => ByteParts.Of(t.Value.Data)))
                    stream.Write(part.Span);
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

    private static SafetensorsFile Parse(string path, Stream stream, Predicate<string> wanted, int longestPart)
    {
        if (stream.Length < 8)
            throw new InvalidDataException($"it has {stream.Length} bytes, fewer than the header's length takes");
        var first = new byte[8];
        stream.ReadExactly(first);
        long headerLength = BinaryPrimitives.ReadInt64LittleEndian(first);
        if (headerLength is < 2 or > LongestHeader || headerLength > stream.Length - 8)
        {
            throw new InvalidDataException(
                $"its header would be {headerLength} bytes long, and the file is {stream.Length}"
            );
        }

        var header = new byte[headerLength];
        stream.ReadExactly(header);
        long length = stream.Length - 8 - headerLength;
        var metadata = new Dictionary<string, string>();
        var places = ReadHeader(header, length, metadata);
        using var hash = StartHash(metadata, header);
        var tensors = new Dictionary<string, SafetensorsTensor>();
        foreach (var place in places)
        {
            if (wanted(place.Name))
            {
                var data = ReadData(stream, place.Length, hash, longestPart);
                tensors.Add(place.Name, new(place.DType, place.Shape, data));
            }
            else if (hash is null)
            {
                stream.Seek(place.Length, SeekOrigin.Current);
            }
            else
            {
                PassOver(stream, place.Length, hash);
            }
        }
        if (hash is not null && Convert.ToHexStringLower(hash.GetCurrentHash()) != metadata[Checksum])
        {
            throw new InvalidDataException(
                "its checksum does not agree with its content: a byte has changed since it was written"
            );
        }
        return new(path, metadata, tensors, [.. places.Select(p => p.Name)]);
    }

    /// <summary>Where a tensor lies, in bytes from the end of the header.</summary>
    private sealed record Place(string Name, string DType, long[] Shape, long Begin, long End)
    {
        public long Length => End - Begin;
    }

    /// <summary>The places of all tensors, in the order of the file, without gaps.</summary>
    private static List<Place> ReadHeader(byte[] header, long length, Dictionary<string, string> metadata)
    {
        using var json = JsonDocument.Parse(header);
        if (json.RootElement.ValueKind != JsonValueKind.Object)
            throw new InvalidDataException("its header is not an object");
        var places = new Dictionary<string, Place>();
        foreach (var entry in json.RootElement.EnumerateObject())
        {
            if (entry.Name == "__metadata__")
            {
                foreach (var text in entry.Value.EnumerateObject())
                {
                    if (!metadata.TryAdd(text.Name, text.Value.GetString() ?? ""))
                        throw new InvalidDataException($"its metadata has {text.Name} twice");
                }
            }
            else if (!places.TryAdd(entry.Name, ReadPlace(entry, length)))
            {
                throw new InvalidDataException($"it has the tensor {entry.Name} twice");
            }
        }
        List<Place> ordered = [.. places.Values.OrderBy(p => p.Begin).ThenBy(p => p.End)];
        long expected = 0;
        foreach (var place in ordered)
        {
            if (place.Begin != expected)
            {
                throw new InvalidDataException(
                    $"before the tensor {place.Name} there is a gap, or it overlaps another"
                );
            }
            expected = place.End;
        }
        return expected == length
            ? ordered
            : throw new InvalidDataException($"it has {length} bytes of tensors, and its header says {expected}");
    }

    private static Place ReadPlace(JsonProperty tensor, long length)
    {
        if (Numbers(tensor, "data_offsets") is not [var begin, var end] || begin < 0 || end < begin || end > length)
        {
            throw new InvalidDataException($"the tensor {tensor.Name} lies outside of it");
        }
        var dtype = tensor.Value.GetProperty("dtype").GetString() ?? "";
        var shape = Numbers(tensor, "shape");
        return FindLengthProblem(tensor.Name, dtype, shape, end - begin) is { } problem
            ? throw new InvalidDataException(problem)
            : new(tensor.Name, dtype, shape, begin, end);
    }

    private static long[] Numbers(JsonProperty tensor, string key) =>
        [.. tensor.Value.GetProperty(key).EnumerateArray().Select(n => n.GetInt64())];

    /// <summary>The hash of the header, to which the tensors are added; null for a file without a checksum.</summary>
    private static IncrementalHash? StartHash(Dictionary<string, string> metadata, byte[] header)
    {
        if (!metadata.TryGetValue(Checksum, out var stated))
            return null; // for example a file written by Python
        int at = header.AsSpan().IndexOf(Encoding.UTF8.GetBytes($"\"{Checksum}\":\"{stated}\""));
        if (stated.Length != 64 || at < 0)
            throw new InvalidDataException("its checksum is damaged");
        Encoding.ASCII.GetBytes(NoChecksum).CopyTo(header, at + Checksum.Length + 4);
        var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(header);
        return hash;
    }

    private static ReadOnlySequence<byte> ReadData(Stream stream, long length, IncrementalHash? hash, int longest)
    {
        var parts = new List<byte[]>();
        for (long left = length; left > 0; left -= parts[^1].Length)
        {
            var part = new byte[Math.Min(left, longest)];
            stream.ReadExactly(part);
            hash?.AppendData(part);
            parts.Add(part);
        }
        return ByteParts.Join(parts);
    }

    private static void PassOver(Stream stream, long length, IncrementalHash hash)
    {
        var buffer = new byte[Math.Min(length, 1 << 20)];
        for (long left = length; left > 0; )
        {
            var part = buffer.AsSpan(0, (int)Math.Min(left, buffer.Length));
            stream.ReadExactly(part);
            hash.AppendData(part);
            left -= part.Length;
        }
    }

    private static int Size(string dtype) =>
        Sizes.TryGetValue(dtype, out int size)
            ? size
            : throw new InvalidDataException($"'{dtype}' is not a dtype: {string.Join(", ", Sizes.Keys)} are");

    private static string? FindLengthProblem(string name, string dtype, long[] shape, long bytes)
    {
        long length = Size(dtype);
        foreach (long n in shape)
            length = n >= 0 ? checked(length * n) : throw new InvalidDataException($"a size of {n}");
        return length == bytes ? null : $"the tensor {name} has {bytes} bytes, and its shape and dtype say {length}";
    }
}
