using System.Buffers;

namespace EmtTorch;

/// <summary>Bytes in parts, since an array of .NET holds at most 2 GiB.</summary>
internal static class ByteParts
{
    /// <summary>The bytes of a part, at most. A multiple of the size of every element type.</summary>
    public const int Longest = 1 << 30;

    /// <summary>One sequence of several parts.</summary>
    public static ReadOnlySequence<byte> Join(IReadOnlyList<byte[]> parts)
    {
        if (parts.Count == 0)
            return ReadOnlySequence<byte>.Empty;
        var first = new Part(parts[0], 0);
        var last = first;
        foreach (var part in parts.Skip(1))
            last = last.Append(part);
        return new(first, 0, last, last.Memory.Length);
    }

    /// <summary>The parts of a sequence.</summary>
    public static IEnumerable<ReadOnlyMemory<byte>> Of(ReadOnlySequence<byte> bytes)
    {
        foreach (var part in bytes)
            yield return part;
    }

    private sealed class Part : ReadOnlySequenceSegment<byte>
    {
        public Part(byte[] bytes, long at) => (Memory, RunningIndex) = (bytes, at);

        public Part Append(byte[] bytes)
        {
            var next = new Part(bytes, RunningIndex + Memory.Length);
            Next = next;
            return next;
        }
    }
}
