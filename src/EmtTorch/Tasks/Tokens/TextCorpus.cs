using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using System.Text;
using EmtTorch.Settings;
using static TorchSharp.torch;

namespace EmtTorch.Tasks;

/// <summary>Settings of <see cref="TextCorpus"/>; horizons are segments of a document.</summary>
[Named("text")]
[Description("A language model of a text file's characters; horizons are segments of a document.")]
public sealed record TextConfiguration : TokenTaskSettings
{
    [Description("The text file; 90 % of it are for training, 5 % for the tests while training, 5 % are kept.")]
    [RegularExpression("^[^\\u0000]*[^\\u0000\\s][^\\u0000]*$", ErrorMessage = "a file's path, not empty")]
    public required string Path { get; init; }

    [Description("Characters in a segment.")]
    [Range(1, 1_048_576)]
    public int SegmentLength { get; init; } = 256;

    public override ITokenTask Create(int horizon, Device device) =>
        new TextCorpus(Path, SegmentLength, horizon, device);

    public override IEnumerable<string> Check(int horizon) => TextCorpus.Check(Path, SegmentLength, horizon);

    public override long TokensAt(int horizon) => (long)horizon * SegmentLength;

    public override bool HasDistances => false;

    public override IReadOnlyList<string> Kinds => ["new word", "seen word", "other"];

    // A character is of the word that the task counts it to: that of the target before it, which it was.
    public override int KindOf(TokenDocument document, int t) =>
        t == 0 || document.Words is null
            ? 2
            : document.Words[t - 1] switch
            {
                1 => 0,
                2 => 1,
                _ => 2,
            };

    public override string Label(long token) => ReadableText.Of([(byte)token]);
}

/// <summary>A part of a text.</summary>
public enum TextPart
{
    Train,
    Validation,
    Test,
}

/// <summary>A language model's task on a text file: each character's target is the character after it.</summary>
/// <remarks>
/// A character is a byte, as in the figures for enwik8 and text8, and a token is its value: any file can be read, any
/// text can be gone on with, and a network does not depend on which bytes the file happens to have. The first 90 % of
/// the file are for training, 5 % for validation, the last 5 % for the test.
///
/// A document is a stretch of segments·L characters within a part, and each row of a batch is one: row b of a segment
/// goes on where row b of the segment before ended. Training draws where documents begin; evaluation reads all of a
/// part, one document after the other. As many segments as a part has make one row read it as one stream.
///
/// A word is a run of letters and digits of UTF-8, and the same word where its bytes are the same. It counts as seen
/// where an earlier occurrence lies in the document from its first character on, so that the average loss over
/// <see cref="TokenBatch.Words"/> = 1 and = 2 tells what a memory of the document gains. All characters of a word
/// count, its first ones as well.
/// </remarks>
public sealed class TextCorpus : ITokenTask, IDisposable
{
    // What a character that is in no word has in place of where its word was before.
    private const int NoWord = -2;

    private readonly int _segmentLength,
        _segments;
    private readonly long _length;
    private readonly Tensor _tokens; // (N), uint8
    private readonly Tensor _before; // (N), int32: where the character's word began the last time before this; −1 never

    /// <param name="path">The text.</param>
    /// <param name="segmentLength">Characters of a segment, L.</param>
    /// <param name="segments">Segments of a document.</param>
    /// <param name="device">Where the text is kept and batches are cut.</param>
    /// <exception cref="ArgumentException">The file can't be used, or a number makes no sense.</exception>
    /// <exception cref="IOException">The file could be opened, but not read to its end.</exception>
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

    /// <summary>Bits per character of a mean cross entropy in nats.</summary>
    public static double BitsPerCharacter(double crossEntropy) => crossEntropy / Math.Log(2);

    /// <summary>The rules that a file and sizes break.</summary>
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
            using var file = File.OpenRead(path);
            length = file.Length;
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return [.. broken, $"there is no file {path}"];
        }
        catch (Exception e)
            when (e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            return [.. broken, $"{path} can't be read: {e.Message}"];
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

    /// <summary>
    /// A batch of documents of the training part that begin anywhere in it, each place as likely as the others.
    /// </summary>
    /// <param name="batchSize">Documents, B.</param>
    /// <param name="generator">Where the random numbers come from; on the same device.</param>
    /// <returns>The segments, (B, L) each.</returns>
    public IReadOnlyList<TokenBatch> Batch(long batchSize, Generator generator)
    {
        using var scope = NewDisposeScope();
        long places = Bounds(TextPart.Train, _length).Length - (long)_segments * _segmentLength;
        return Cut(Draw.Integers(0, places, [batchSize], generator, _tokens.device));
    }

    /// <summary>
    /// How many documents a part has. What is left at its end, less than a document, is not evaluated.
    /// </summary>
    public long DocumentCount(TextPart part) => (Bounds(part, _length).Length - 1) / ((long)_segments * _segmentLength);

    /// <summary>Documents of a part in their order.</summary>
    /// <param name="part">The part.</param>
    /// <param name="first">Number of the first, from 0.</param>
    /// <param name="count">How many, B.</param>
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

    /// <summary>The documents that begin at starts (B), in the dispose scope around the caller's.</summary>
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
    /// For each character where its word began the last time before this, −1 if never, <see cref="NoWord"/> if it is in
    /// none.
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
            string word = Encoding.Latin1.GetString(text[at..end]); // its bytes, one for one
            before.AsSpan(at, end - at).Fill(last.GetValueOrDefault(word, -1));
            last[word] = at;
            at = end;
        }
        return before;
    }

    /// <summary>
    /// Whether the text's first character is of a word. Bytes that are no UTF-8 decode to a character that is not.
    /// </summary>
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
