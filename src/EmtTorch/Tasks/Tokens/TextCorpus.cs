using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using System.Text;
using EmtTorch.Settings;
using static TorchSharp.torch;

namespace EmtTorch.Tasks;

/// <summary>Settings of the task `text`. Horizons are the numbers of segments in a document.</summary>
[Named("text")]
[Description("A language model of a text file's characters; horizons are segments of a document.")]
public sealed record TextConfiguration : TokenTaskSettings
{
    [Description("The text file: 90 % for training, 5 % for tests during training, 5 % for the analysis.")]
    [RegularExpression("^\\s*[^\\u0000\\s][^\\u0000]*$", ErrorMessage = "a file's path, not empty")]
    public required string Path { get; init; }

    [Description("Characters in a segment.")]
    [Range(1, 1_048_576)]
    public int SegmentLength { get; init; } = 256;

    public override ITokenTask Create(int horizon, Device device) =>
        new TextCorpus(Path, SegmentLength, horizon, device);

    public override IEnumerable<string> Check(int horizon) => TextCorpus.Check(Path, SegmentLength, horizon);

    public override IReadOnlyList<string> DataFiles => [Path];

    public override long TokensAt(int horizon) => (long)horizon * SegmentLength;

    public override bool HasDistances => false;

    public override IReadOnlyList<string> Kinds => ["new word", "seen word", "other"];

    // The character at t was the target at t − 1, and Words tells the kind of word of each target.
    public override int KindOf(TokenDocument document, int t) =>
        t == 0 || document.Words is null
            ? 2
            : document.Words[t - 1] switch
            {
                1 => 0,
                2 => 1,
                _ => 2,
            };

    public override string Label(long token) => ReadableText.Show([(byte)token]);
}

/// <summary>A part of a text: the first 90 %, the next 5 %, the last 5 %.</summary>
internal enum TextPart
{
    Train,
    Validation,
    Test,
}

/// <summary>The task of a language model on a text file: each character's target is the next character.</summary>
/// <remarks>
/// A character is a byte, as in published figures on enwik8 and text8, and its token is its value. So any file can be
/// read, any text can be continued, and the network does not depend on which bytes occur in the file. The first 90 % of
/// the file are for training, the next 5 % for validation, the last 5 % for the test.
/// <para>
/// A document is a stretch of segments·L characters within a part. Each row of a batch is a document: row b of a
/// segment continues row b of the segment before. Training draws the beginnings of documents; evaluation reads a part
/// from its beginning, document by document.
/// </para>
/// <para>
/// A word is a run of letters and digits in UTF-8; two words are the same if their bytes are. A word counts as seen if
/// it occurs earlier in the document as a whole, so that comparing the losses where <see cref="TokenBatch.Words"/> is 1
/// and 2 shows what a memory of the document gains. All characters of a word count, including its first.
/// </para>
/// </remarks>
internal sealed class TextCorpus : ITokenTask, IDisposable
{
    // In place of a position, for characters outside of words.
    private const int NoWord = -2;

    private readonly int _segmentLength,
        _segments;
    private readonly long _length;
    private readonly Tensor _tokens; // (N), uint8
    private readonly Tensor _before; // (N), int32: what WordsBefore returns

    /// <summary>Reads a text.</summary>
    /// <param name="path">The file.</param>
    /// <param name="segmentLength">L, the number of characters in a segment.</param>
    /// <param name="segments">The number of segments in a document.</param>
    /// <param name="device">The device of the text and of batches.</param>
    /// <exception cref="ArgumentException">A rule is broken, or the file cannot be opened.</exception>
    /// <exception cref="IOException">The file cannot be read to its end.</exception>
    public TextCorpus(string path, int segmentLength, int segments, Device device)
    {
        ITokenTask.Refuse(Check(path, segmentLength, segments));
        var text = File.ReadAllBytes(path);
        (_segmentLength, _segments, _length) = (segmentLength, segments, text.Length);
        var before = WordsBefore(text);
        _tokens = tensor(text, dtype: ScalarType.Byte, device: device).DetachFromDisposeScope();
        _before = tensor(before, dtype: ScalarType.Int32, device: device).DetachFromDisposeScope();
    }

    public int VocabularySize => 256;

    /// <summary>Converts a mean cross entropy in nats to bits per character.</summary>
    public static double BitsPerCharacter(double crossEntropy) => crossEntropy / Math.Log(2);

    /// <summary>Returns the rules that a file and sizes break.</summary>
    public static IReadOnlyList<string> Check(string path, int segmentLength, int segments)
    {
        var broken = new List<string>();
        if (segmentLength < 1)
            broken.Add($"a segment has {segmentLength} characters: at least one is needed");
        if (segments < 1)
            broken.Add($"a document has {segments} segments: at least one is needed");
        long length;
        try
        {
            if (Directory.Exists(path))
                return [.. broken, $"{path} is a folder: a text file is needed"];
            using var file = InputFile.Open(path);
            length = file.Length;
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return [.. broken, $"there is no file {path}"];
        }
        catch (Exception e)
            when (e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            return [.. broken, $"{path} cannot be read: {e.Message}"];
        }
        long needed = (long)segments * segmentLength + 1;
        long shortest = Enum.GetValues<TextPart>().Min(part => Bounds(part, length).Length);
        if (length == 0)
        {
            broken.Add($"{path} is empty");
        }
        else if (length > Array.MaxLength)
        {
            broken.Add($"{path} has {length} characters: at most {Array.MaxLength} are allowed");
        }
        else if (broken.Count == 0 && shortest < needed)
        {
            broken.Add(
                $"{path} has {length} characters, and {shortest} in its shortest part, 5 %: a document of "
                    + $"{segments} segments of {segmentLength} needs {needed}"
            );
        }

        return broken;
    }

    /// <summary>Makes a batch of documents that begin anywhere in the training part, with equal probability.</summary>
    /// <param name="batchSize">B, the number of documents.</param>
    /// <param name="generator">The generator of random numbers, on the CPU.</param>
    /// <returns>The segments, (B, L) each.</returns>
    public IReadOnlyList<TokenBatch> Batch(long batchSize, Generator generator)
    {
        using var scope = NewDisposeScope();
        long places = Bounds(TextPart.Train, _length).Length - (long)_segments * _segmentLength;
        return Cut(Draw.Integers(0, places, [batchSize], generator, _tokens.device));
    }

    /// <summary>The number of whole documents in a part. Characters after the last one are not evaluated.</summary>
    public long DocumentCount(TextPart part) => (Bounds(part, _length).Length - 1) / ((long)_segments * _segmentLength);

    /// <summary>Cuts consecutive documents out of a part.</summary>
    /// <param name="first">The number of the first document, from 0.</param>
    /// <param name="count">B, the number of documents.</param>
    /// <returns>The segments, (B, L) each.</returns>
    /// <exception cref="ArgumentOutOfRangeException">The part has fewer documents.</exception>
    public IReadOnlyList<TokenBatch> Documents(TextPart part, long first, long count)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(first);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(count);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(first + count, DocumentCount(part));
        using var scope = NewDisposeScope();
        return Cut(
            arange(first, first + count, dtype: ScalarType.Int64, device: _tokens.device)
                .mul_((long)_segments * _segmentLength)
                .add_(Bounds(part, _length).First)
        );
    }

    /// <summary>Cuts the documents that begin at starts (B), into the dispose scope around the caller's.</summary>
    private List<TokenBatch> Cut(Tensor starts)
    {
        var segments = new List<TokenBatch>();
        starts = starts.unsqueeze(1); // (B, 1)
        for (int segment = 0; segment < _segments; segment++)
        {
            long from = (long)segment * _segmentLength;
            var place = starts.add(
                arange(from, from + _segmentLength + 1, dtype: ScalarType.Int64, device: _tokens.device)
            ); // (B, L + 1)
            var tokens = _tokens.take(place).to_type(ScalarType.Int64);
            var before = _before.take(place.narrow(1, 1, _segmentLength)); // (B, L)
            var words = before.ge(starts).to_type(ScalarType.Int64).add_(before.ne(NoWord));
            segments.Add(
                new(
                    tokens.narrow(1, 0, _segmentLength).contiguous().MoveToOuterDisposeScope(),
                    tokens.narrow(1, 1, _segmentLength).contiguous().MoveToOuterDisposeScope(),
                    words.MoveToOuterDisposeScope()
                )
            );
        }
        return segments;
    }

    private static (long First, long Length) Bounds(TextPart part, long length)
    {
        long train = length * 90 / 100,
            validation = length * 95 / 100;
        return part switch
        {
            TextPart.Train => (0, train),
            TextPart.Validation => (train, validation - train),
            TextPart.Test => (validation, length - validation),
            _ => throw new ArgumentOutOfRangeException(nameof(part), part, null),
        };
    }

    /// <summary>
    /// For each character the position at which its word began the last time before; −1 if it did not occur before,
    /// <see cref="NoWord"/> if the character is in no word.
    /// </summary>
    private static int[] WordsBefore(ReadOnlySpan<byte> text)
    {
        var before = new int[text.Length];
        var last = new Dictionary<string, int>();
        for (int at = 0; at < text.Length; )
        {
            int end = at,
                size = 0;
            while (end < text.Length && IsInWord(text[end..], out size))
                end += size;
            if (end == at)
            {
                before.AsSpan(at, size).Fill(NoWord);
                at += size;
                continue;
            }
            string word = Encoding.Latin1.GetString(text[at..end]); // a character for each byte
            before.AsSpan(at, end - at).Fill(last.GetValueOrDefault(word, -1));
            last[word] = at;
            at = end;
        }
        return before;
    }

    /// <summary>Whether the first character is a letter or digit. Bytes that are no UTF-8 are neither.</summary>
    private static bool IsInWord(ReadOnlySpan<byte> text, out int size)
    {
        Rune.DecodeFromUtf8(text, out var character, out size);
        return Rune.IsLetterOrDigit(character);
    }

    public void Dispose()
    {
        _tokens.Dispose();
        _before.Dispose();
    }
}
