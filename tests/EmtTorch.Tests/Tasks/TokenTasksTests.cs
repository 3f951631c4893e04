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

    private static SegmentRecallConfiguration Segments(
        int pairs,
        int length,
        int keys,
        int noise,
        int distractors = 0
    ) =>
        new()
        {
            Pairs = pairs,
            SegmentLength = length,
            Keys = keys,
            Values = 8,
            Noise = noise,
            Distractors = distractors,
        };

    private static RebindingConfiguration Bindings(
        int pairs,
        int rebindings,
        int questions,
        int keys,
        int values,
        int noise
    ) =>
        new()
        {
            Pairs = pairs,
            Rebindings = rebindings,
            Questions = questions,
            Keys = keys,
            Values = values,
            Noise = noise,
        };

    private static TwoHopConfiguration Facts(int chains, int hops, int length, int names, int noise) =>
        new()
        {
            Chains = chains,
            Hops = hops,
            SegmentLength = length,
            Names = names,
            Noise = noise,
        };

    // With the lengths of their segments.
    private static readonly (string Name, Func<ITokenTask> Make, long[] Lengths)[] Tasks =
    [
        ("recall", () => new AssociativeRecallConfiguration().Create(64, CPU), [64]),
        (
            "recall of one pair",
            () => new AssociativeRecallConfiguration { Pairs = 1, Vocabulary = 5 }.Create(4, CPU),
            [4]
        ),
        (
            "recall with every slot taken",
            () =>
                new AssociativeRecallConfiguration
                {
                    Pairs = 8,
                    Vocabulary = 33,
                    Power = 1,
                    RandomNonQueries = false,
                }.Create(32, CPU),
            [32]
        ),
        ("segments", () => Segments(4, 19, keys: 40, noise: 5, distractors: 3).Create(2, CPU), [19, 19, 19, 19]),
        ("segments of one pair", () => (Segments(1, 2, keys: 1, noise: 1) with { Values = 1 }).Create(0, CPU), [2, 2]),
        ("full segments", () => Segments(3, 6, keys: 6, noise: 1, distractors: 3).Create(1, CPU), [6, 6, 6]),
        ("rebinding", () => Bindings(5, 7, 9, keys: 30, values: 8, noise: 4).Create(101, CPU), [101]),
        ("rebinding of one pair", () => Bindings(1, 0, 1, keys: 1, values: 2, noise: 1).Create(5, CPU), [5]),
        ("full rebinding", () => Bindings(3, 6, 9, keys: 3, values: 8, noise: 1).Create(36, CPU), [36]),
        (
            "two hops",
            () => (Facts(4, 2, 31, names: 40, noise: 5) with { Distractors = 2 }).Create(2, CPU),
            [31, 31, 31, 31]
        ),
        ("full two hops", () => Facts(2, 2, 12, names: 6, noise: 1).Create(0, CPU), [12, 12]),
        ("three hops", () => Facts(2, 3, 20, names: 9, noise: 2).Create(1, CPU), [20, 20, 20]),
        ("copy", () => new CopyConfiguration { Length = 5, SegmentLength = 9 }.Create(20, CPU), [9, 9, 9, 4]),
        (
            "copy of one symbol at once",
            () =>
                new CopyConfiguration
                {
                    Symbols = 2,
                    Length = 1,
                    SegmentLength = 100,
                }.Create(0, CPU),
            [3]
        ),
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
        var task = (Segments(2, 8, keys: 10, noise: 2) with { Values = 4 }).Create(1, CPU);
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
