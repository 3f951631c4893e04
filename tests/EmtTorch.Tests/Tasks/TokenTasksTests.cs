using EmtTorch.Configuration;
using EmtTorch.Tasks;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

/// <summary>What all tasks on tokens have in common.</summary>
public sealed class TokenTasksTests
{
    private static readonly string TextFile = Path.Combine(
        Path.GetTempPath(),
        $"{nameof(TokenTasksTests)}-{Environment.ProcessId}.txt"
    );

    [OneTimeSetUp]
    public void WriteText() =>
        File.WriteAllText(TextFile, string.Concat(Enumerable.Range(0, 400).Select(i => $"line {i % 37}, and {i}\n")));

    [OneTimeTearDown]
    public void DeleteText() => File.Delete(TextFile);

    // With the lengths of their segments.
    private static readonly (string Name, Func<ITokenTask> Make, long[] Lengths)[] Tasks =
    [
        ("recall", () => new AssociativeRecall(64, 4, CPU), [64]),
        ("recall of one pair", () => new AssociativeRecall(4, 1, CPU, vocabulary: 5), [4]),
        (
            "recall with every slot taken",
            () => new AssociativeRecall(32, 8, CPU, vocabulary: 33, power: 1, randomNonQueries: false),
            [32]
        ),
        (
            "segments",
            () => new SegmentRecall(4, 2, 19, keys: 40, values: 8, noise: 5, CPU, distractors: 3),
            [19, 19, 19, 19]
        ),
        ("segments of one pair", () => new SegmentRecall(1, 0, 2, keys: 1, values: 1, noise: 1, CPU), [2, 2]),
        (
            "full segments",
            () => new SegmentRecall(3, 1, 6, keys: 6, values: 8, noise: 1, CPU, distractors: 3),
            [6, 6, 6]
        ),
        ("rebinding", () => new Rebinding(101, 5, 7, 9, keys: 30, values: 8, noise: 4, CPU), [101]),
        ("rebinding of one pair", () => new Rebinding(5, 1, 0, 1, keys: 1, values: 2, noise: 1, CPU), [5]),
        ("full rebinding", () => new Rebinding(36, 3, 6, 9, keys: 3, values: 8, noise: 1, CPU), [36]),
        ("two hops", () => new TwoHop(4, 2, 2, 31, names: 40, noise: 5, CPU, distractors: 2), [31, 31, 31, 31]),
        ("full two hops", () => new TwoHop(2, 2, 0, 12, names: 6, noise: 1, CPU), [12, 12]),
        ("three hops", () => new TwoHop(2, 3, 1, 20, names: 9, noise: 2, CPU), [20, 20, 20]),
        ("copy", () => new CopyTask(8, 5, 20, segmentLength: 9, CPU), [9, 9, 9, 4]),
        ("copy of one symbol at once", () => new CopyTask(2, 1, 0, segmentLength: 100, CPU), [3]),
        ("text", () => new TextCorpus(TextFile, segmentLength: 13, segments: 3, CPU), [13, 13, 13]),
        ("text by the character", () => new TextCorpus(TextFile, segmentLength: 1, segments: 1, CPU), [1]),
    ];

    private static IEnumerable<TestCaseData> Cases() =>
        Tasks.Select(task => new TestCaseData(task.Make, task.Lengths).SetArgDisplayNames(task.Name));

    [TestCaseSource(nameof(Cases))]
    public void ABatchIsSegmentsOfTokensOfTheVocabulary(Func<ITokenTask> make, long[] lengths)
    {
        using var scope = NewDisposeScope();
        var task = make();
        using var owned = task as IDisposable;
        using var generator = new Generator(1);
        foreach (long batchSize in new long[] { 1, 6 })
        {
            var segments = task.Batch(batchSize, generator);
            Assert.That(
                segments.Select(s => s.Input.shape),
                Is.EqualTo(lengths.Select(length => new[] { batchSize, length }))
            );
            foreach (var (input, target, words) in segments)
            {
                var asked = target.masked_select(target.ne(TokenBatch.Ignored));
                using (Assert.EnterMultipleScope())
                {
                    Assert.That(
                        (input.dtype, target.dtype, input.is_contiguous(), target.is_contiguous()),
                        Is.EqualTo((ScalarType.Int64, ScalarType.Int64, true, true))
                    );
                    Assert.That(target.shape, Is.EqualTo(input.shape));
                    Assert.That(input.data<long>().ToArray(), Is.All.InRange(0, task.VocabularySize - 1));
                    Assert.That(asked.data<long>().ToArray(), Is.All.InRange(0, task.VocabularySize - 1));
                    Assert.That(words?.shape, Is.EqualTo(task is TextCorpus ? input.shape : null));
                }
            }
            Assert.That(segments.Sum(s => s.Target.ne(TokenBatch.Ignored).sum().item<long>()), Is.Positive);
        }
    }

    [TestCaseSource(nameof(Cases))]
    public void TheSameGeneratorStateGivesTheSameBatch(Func<ITokenTask> make, long[] lengths)
    {
        using var scope = NewDisposeScope();
        Tensor state,
            first,
            second,
            again;
        using var generator = new Generator(9);
        var task = make();
        using (task as IDisposable)
        {
            Tensor Batch() => cat(task.Batch(20, generator).SelectMany(s => new[] { s.Input, s.Target }).ToArray(), 1);
            state = generator.get_state();
            (first, second) = (Batch(), Batch());
        }
        // Another object: nothing but the generator decides.
        generator.set_state(state);
        task = make();
        using (task as IDisposable)
            again = cat(task.Batch(20, generator).SelectMany(s => new[] { s.Input, s.Target }).ToArray(), 1);
        Assert.That(
            (again.Equals(first), second.Equals(first)),
            Is.EqualTo((true, lengths is [2, 2])),
            "only the smallest has no more than one batch"
        );
    }

    [TestCaseSource(nameof(Cases))]
    public void ABatchLeavesNothingButItsTensors(Func<ITokenTask> make, long[] lengths)
    {
        var task = make();
        using var owned = task as IDisposable;
        using var generator = new Generator(2);
        using var scope = NewDisposeScope();
        for (int i = 0; i < 100; i++)
            task.Batch(3, generator);
        Assert.That(scope.DisposablesCount, Is.EqualTo(100 * lengths.Length * (task is TextCorpus ? 3 : 2)));
    }

    [Test]
    public void ALossTakesThem()
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator(3);
        var task = new SegmentRecall(2, 1, 8, keys: 10, values: 4, noise: 2, CPU);
        var segments = task.Batch(5, generator);
        var target = cat(segments.Select(s => s.Target).ToArray(), 1).view(-1);
        var even = zeros(target.shape[0], task.VocabularySize);
        Assert.That(
            nn.functional.cross_entropy(even, target).item<float>(),
            Is.EqualTo(Math.Log(task.VocabularySize)).Within(1e-5)
        );
    }

    [TestCase("""{ "associative_recall": { "pairs": 2, "vocabulary": 64 } }""")]
    [TestCase("""{ "segment_recall": { "pairs": 2, "segment_length": 7 } }""")]
    [TestCase("""{ "rebinding": { "pairs": 2, "rebindings": 1, "questions": 2 } }""")]
    [TestCase("""{ "copy": { "length": 3, "segment_length": 7 } }""")]
    public void TokensAreThoseOfADocument(string task)
    {
        using var scope = NewDisposeScope();
        var configuration = ConfigurationFile.Parse(
            $$"""
            {
              "name": "t", "task": {{task}}, "model": { "type": "episodic_transformer" },
              "training": { "curriculum": { "horizons": [20] } }, "evaluation": { "horizon": 40 }
            }
            """
        );
        using var generator = new Generator(1);
        foreach (int horizon in new[] { 20, 40 })
        {
            Assert.That(
                configuration.Task.TokensAt(horizon),
                Is.EqualTo(configuration.Task.ToTokenTask(horizon, CPU).Batch(1, generator).Sum(s => s.Input.shape[1]))
            );
        }
    }
}
