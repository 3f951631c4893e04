using System.Text;
using System.Text.RegularExpressions;
using EmtTorch.Tasks;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

public sealed class TextCorpusTests
{
    private string _path = "";

    [SetUp]
    public void Choose() =>
        _path = Path.Combine(Path.GetTempPath(), $"{nameof(TextCorpusTests)}-{Guid.NewGuid():N}.txt");

    [TearDown]
    public void Delete() => File.Delete(_path);

    private TextCorpus Corpus(string text, int segmentLength, int segments)
    {
        File.WriteAllText(_path, text);
        return new(_path, segmentLength, segments, CPU);
    }

    /// <summary>Sentences of a few made-up words, 4,000 characters.</summary>
    private static string Sentences()
    {
        var random = new Random(4);
        var words = Enumerable
            .Range(0, 60)
            .Select(_ => string.Concat(Enumerable.Range(0, random.Next(1, 9)).Select(_ => (char)random.Next('a', 'h'))))
            .ToArray();
        var text = new StringBuilder();
        while (text.Length < 4000)
        {
            text.Append(words[random.Next(words.Length)])
                .Append(
                    random.Next(8) switch
                    {
                        0 => ", ",
                        1 => ".\n",
                        2 => " 7 ",
                        _ => " ",
                    }
                );
        }

        return text.ToString()[..4000];
    }

    /// <summary>Each row's segments one after another, as text; inputs, or targets.</summary>
    private static string[] Read(TextCorpus corpus, IEnumerable<Tensor> segments)
    {
        var all = cat(segments.ToArray(), 1);
        return
        [
            .. all.data<long>()
                .ToArray()
                .Chunk((int)all.shape[1])
                .Select(row => Encoding.UTF8.GetString([.. row.Select(token => (byte)token)])),
        ];
    }

    private static long[][] Words(IEnumerable<TokenBatch> segments)
    {
        var all = cat(segments.Select(s => s.Words!).ToArray(), 1);
        return [.. all.data<long>().ToArray().Chunk((int)all.shape[1])];
    }

    [Test]
    public void TokensAreTheFilesBytes()
    {
        using var scope = NewDisposeScope();
        using var corpus = Corpus(string.Concat(Enumerable.Repeat("é!", 200)), 3, 1);
        Assert.That(corpus.VocabularySize, Is.EqualTo(256));
        Assert.That(
            corpus.Documents(TextPart.Train, 0, 1)[0].Input.data<long>().ToArray(),
            Is.EqualTo(new long[] { 0xc3, 0xa9, '!' })
        );
    }

    [TestCase(7, 3), TestCase(1, 1), TestCase(64, 1), TestCase(1, 5), TestCase(33, 6)]
    public void EachRowGoesOnWhereItEnded(int segmentLength, int segments)
    {
        using var scope = NewDisposeScope();
        string text = Sentences();
        using var corpus = Corpus(text, segmentLength, segments);
        using var generator = new Generator(1);
        var batch = corpus.Batch(40, generator);
        foreach (
            var (input, target) in Read(corpus, batch.Select(s => s.Input))
                .Zip(Read(corpus, batch.Select(s => s.Target)))
        )
        {
            Assert.That(input, Has.Length.EqualTo(segmentLength * segments));
            Assert.That(text[..3600], Does.Contain(input + target[^1]));
            Assert.That(target[..^1], Is.EqualTo(input[1..]));
        }
    }

    [Test]
    public void TrainingBeginsAnywhereInItsPart()
    {
        using var scope = NewDisposeScope();
        // Forty characters, each its own: 36 for training, of which each but the last is followed by one.
        using var corpus = Corpus(string.Concat(Enumerable.Range('0', 40).Select(c => (char)c)), 1, 1);
        using var generator = new Generator(1);
        var counts = corpus
            .Batch(3500, generator)[0]
            .Input.flatten()
            .sub('0')
            .bincount(null, 40)
            .data<long>()
            .ToArray();
        using (Assert.EnterMultipleScope())
        {
            Assert.That(counts[..35], Is.All.InRange(100 - 4 * Math.Sqrt(100), 100 + 4 * Math.Sqrt(100)));
            Assert.That(counts[35..], Is.All.Zero);
        }
    }

    [
        TestCase(nameof(TextPart.Train), 0, 3600),
        TestCase(nameof(TextPart.Validation), 3600, 200),
        TestCase(nameof(TextPart.Test), 3800, 200)
    ]
    public void EvaluationReadsAllOfAPart(string name, int first, int length)
    {
        var part = Enum.Parse<TextPart>(name);
        using var scope = NewDisposeScope();
        string text = Sentences();
        using var corpus = Corpus(text, 7, 4);
        long documents = corpus.DocumentCount(part);
        Assert.That(documents, Is.EqualTo((length - 1) / 28));
        var read = new StringBuilder();
        for (long at = 0; at < documents; at += 5)
        {
            foreach (
                string row in Read(
                    corpus,
                    corpus.Documents(part, at, Math.Min(5, documents - at)).Select(s => s.Target)
                )
            )
            {
                read.Append(row);
            }
        }

        Assert.That(read.ToString(), Is.EqualTo(text.Substring(first + 1, (int)documents * 28)));
        Assert.That(() => corpus.Documents(part, documents, 1), Throws.InstanceOf<ArgumentOutOfRangeException>());
        Assert.That(() => corpus.Documents(part, -1, 1), Throws.InstanceOf<ArgumentOutOfRangeException>());
        Assert.That(() => corpus.Documents(part, 0, 0), Throws.InstanceOf<ArgumentOutOfRangeException>());
    }

    [TestCase(9, 1), TestCase(3, 3)]
    public void AWordIsSeenWhereItsDocumentHadItBefore(int segmentLength, int segments)
    {
        using var scope = NewDisposeScope();
        // 180 bytes, 10 and 10: what the training part had is not seen in the validation's document.
        using var corpus = Corpus(
            string.Concat(Enumerable.Repeat("ab ", 60)) + "ab ab abc." + "é é xé.",
            segmentLength,
            segments
        );
        // What is asked: b·ab·abc. and ©·é·xé. (é is two bytes)
        long[][] expected =
        [
            [1, 0, 2, 2, 0, 1, 1, 1, 0],
        ];
        using (Assert.EnterMultipleScope())
        {
            Assert.That(Words(corpus.Documents(TextPart.Validation, 0, 1)), Is.EqualTo(expected));
            Assert.That(Words(corpus.Documents(TextPart.Test, 0, 1)), Is.EqualTo(expected));
        }
    }

    [Test]
    public void WordsAreThoseOfAPlainSearch()
    {
        using var scope = NewDisposeScope();
        const int Length = 3 * 31;
        string text = Sentences();
        using var corpus = Corpus(text, 31, 3);
        var words = Regex.Matches(text, "[a-z0-9]+").ToArray();
        var found = Words(corpus.Documents(TextPart.Train, 0, corpus.DocumentCount(TextPart.Train)));
        for (int row = 0; row < found.Length; row++)
        {
            int start = row * Length;
            var expected = Enumerable
                .Range(start + 1, Length)
                .Select(at =>
                    words.FirstOrDefault(w => w.Index <= at && at < w.Index + w.Length) is not { } word ? 0L
                    : words.Any(w => w.Index >= start && w.Index < word.Index && w.Value == word.Value) ? 2L
                    : 1L
                );
            Assert.That(found[row], Is.EqualTo(expected), $"document {row}");
        }
    }

    [Test]
    public void AFileThatIsNoUtf8IsReadToo()
    {
        using var scope = NewDisposeScope();
        var bytes = new byte[400];
        new Random(1).NextBytes(bytes);
        File.WriteAllBytes(_path, bytes);
        using var corpus = new TextCorpus(_path, 19, 1, CPU);
        var target = corpus.Documents(TextPart.Test, 0, 1)[0].Target.data<long>().ToArray();
        Assert.That(target.Select(token => (byte)token), Is.EqualTo(bytes[381..]));
    }

    [Test]
    public void BitsAreNatsOverLogTwo() =>
        Assert.That(TextCorpus.BitsPerCharacter(3 * Math.Log(2)), Is.EqualTo(3).Within(1e-12));

    [
        TestCase(null, 4, 2, "there is no file {0}"),
        TestCase("", 4, 2, "{0} is empty"),
        TestCase(
            170,
            4,
            2,
            "{0} has 170 characters, and 8 in its shortest part, 5 %: a document of 2 segments of 4 needs 9"
        ),
        TestCase(1, 1, 1, "{0} has 1 characters"),
        TestCase(180, int.MaxValue, int.MaxValue, "needs 4611686014132420610"),
        TestCase(180, 0, 2, "a segment has 0 characters"),
        TestCase(180, 4, 0, "a document has 0 segments")
    ]
    public void WhatCantBeUsedIsSaid(object? content, int segmentLength, int segments, string gist)
    {
        if (content is not null)
            File.WriteAllText(_path, content is int length ? new('a', length) : (string)content);
        gist = string.Format(gist, _path);
        Assert.That(TextCorpus.Check(_path, segmentLength, segments), Has.Count.EqualTo(1).And.One.Contains(gist));
        Assert.That(
            () => new TextCorpus(_path, segmentLength, segments, CPU),
            Throws.ArgumentException.With.Message.Contains(gist)
        );
    }

    [Test]
    public void TheShortestTextIsEnough()
    {
        using var scope = NewDisposeScope();
        using var corpus = Corpus(new string('a', 171), 4, 2);
        Assert.That(Enum.GetValues<TextPart>().Select(corpus.DocumentCount), Is.EqualTo(new long[] { 19, 1, 1 }));
    }

    [Test]
    public void APathThatIsNoFileIsSaid()
    {
        string folder = Path.GetTempPath();
        using (Assert.EnterMultipleScope())
        {
            Assert.That(
                TextCorpus.Check(folder, 4, 2),
                Is.EqualTo(new[] { $"{folder} is a folder: a text file is needed" })
            );
            Assert.That(
                TextCorpus.Check(Path.Combine(folder, "no such folder", "text"), 4, 2),
                Has.Count.EqualTo(1).And.One.Contains("there is no file")
            );
            Assert.That(TextCorpus.Check("", 4, 2), Has.Count.EqualTo(1).And.One.Contains("cannot be read"));
            Assert.That(TextCorpus.Check(_path, 0, 0), Has.Count.EqualTo(3));
        }
    }
}
