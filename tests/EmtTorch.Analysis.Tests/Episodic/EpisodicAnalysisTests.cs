using System.Text;
using EmtTorch.Analysis.Charts;
using EmtTorch.Analysis.Episodic;
using EmtTorch.Analysis.Runs;
using EmtTorch.Configuration;
using EmtTorch.Memory;
using EmtTorch.Models;
using EmtTorch.Reports;
using EmtTorch.Settings;
using EmtTorch.Studies;
using EmtTorch.Tasks;
using EmtTorch.Training;
using Serilog.Core;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Analysis.Tests;

public sealed class EpisodicAnalysisTests
{
    private const long No = TokenBatch.Ignored;

    private static EpisodicAnalysis Analyze(RunConfiguration configuration, double rate = 2, double asks = 1)
    {
        using var network = HandMadeNetwork.Of(configuration, rate, asks);
        return EpisodicAnalysis.Of(network, configuration);
    }

    // ---- A network whose memory is known

    [Test]
    public void GatesAreThoseThatWereSetByHand()
    {
        var analysis = Analyze(HandMadeNetwork.Configuration());
        Assert.That(analysis.Problems, Is.Empty);
        var gate = analysis.Gates.Single();
        Assert.That((gate.Block, gate.Head, gate.Decay), Is.EqualTo((1, 1, 1.0)));
        Assert.That(gate.Rate, Is.EqualTo(2).Within(1e-12));
        // 16 documents of five segments of 10 tokens: three pairs, three questions.
        Assert.That(
            gate.Kinds.Select(k => (k.Kind, k.Count)),
            Is.EqualTo(
                new[]
                {
                    ("key", 48L),
                    ("value", 48L),
                    ("question", 48L),
                    ("key asked", 48L),
                    ("noise", 16L * (50 - 12)),
                }
            )
        );
        foreach (var kind in gate.Kinds)
        {
            double expected = kind.Kind is "noise" or "question"
                ? HandMadeNetwork.GateOfOthers
                : HandMadeNetwork.GateOfPairs;
            Assert.That(kind.Gate, Is.EqualTo(expected).Within(1e-9), kind.Kind);
            Assert.That(kind.Strength, Is.EqualTo(2 * expected).Within(1e-9), kind.Kind);
        }
        var example = analysis.Example!;
        Assert.That(example.Gates.Single(), Has.Length.EqualTo(40), "four segments at the longest trained horizon");
        Assert.That(
            example.Gates[0].Zip(example.Kinds).Where(g => g.Second is "value").Select(g => g.First),
            Is.All.EqualTo(HandMadeNetwork.GateOfPairs).Within(1e-9)
        );
    }

    [TestCase(1)]
    [TestCase(-1, Description = "−W_Q and −W_o are the same network")]
    public void ReadsPointToTheRightValue(int sign)
    {
        var analysis = Analyze(HandMadeNetwork.Configuration(), asks: sign);
        var reads = analysis.Reads.Single();
        Assert.That((reads.Block, reads.Head, reads.Questions), Is.EqualTo((1, 1, 48L)));
        Assert.That((reads.Asked, reads.Share), Is.EqualTo((1.0, 1.0)), "one value was written under the key");
        Assert.That(reads.AskedNull, Is.EqualTo(1 / 3.0).Within(1e-12), "of three pairs");
        Assert.That(reads.ShareNull, Is.EqualTo(1 / 3.0).Within(1e-12));
        // Not exactly 0: with AVX-512, libtorch's layer norm makes 1.5e-17 of a 0 in a row whose mean is 0.
        Assert.That(reads.Others, Is.EqualTo(0).Within(1e-15));
        var (shares, right) = (analysis.Example!.Shares.Single(), analysis.Example.Right);
        for (int q = 0; q < 3; q++)
        {
            Assert.That(
                shares[q],
                Is.EqualTo(Enumerable.Range(0, 3).Select(p => p == right[q] ? 1.0 : 0)).Within(1e-15)
            );
        }

        Assert.That(
            (analysis.Accuracy, analysis.Loss),
            Is.EqualTo((1.0, analysis.Loss)),
            "the readout has only the read to see"
        );
    }

    /// <summary>What the second block wrote of 13 tokens, and what it read: (B, heads, T, d_v).</summary>
    private static (MemoryRecord Record, Tensor Reads) SecondBlock(EpisodicTransformer network, DisposeScope scope)
    {
        var tokens = randint(0, 10, [2, 13], dtype: ScalarType.Int64);
        Tensor? reads = null;
        network.Memories[1].Observer = a => reads = a.Reads.clone().MoveToOtherDisposeScope(scope);
        using (no_grad())
            network.Read(tokens);
        return (MemoryRecord.Of(network, tokens, [5, 13])[1], reads!);
    }

    [TestCase("hebbian")]
    [TestCase("delta")]
    public void AReadIsTheWeightedSumOfTheValuesWritten(string rule)
    {
        using var scope = NewDisposeScope();
        var configuration = HandMadeNetwork.Configuration(
            "model.memory_heads=2",
            $"model.write={rule}",
            "model.decay=true",
            "model.layers=2"
        );
        using var network = new EpisodicTransformer(10, configuration.Model);
        var (record, reads) = SecondBlock(network, scope);
        for (int b = 0; b < 2; b++)
        {
            for (int head = 0; head < 2; head++)
            {
                var weights = ReadOrigins.Weights(record, b, head);
                Assert.That(weights.triu().abs().max().item<double>(), Is.Zero, "a token reads before it writes");
                Assert.That(
                    (matmul(weights, record.Values[b][head]) - reads[b][head]).abs().max().item<double>(),
                    Is.LessThan(1e-12)
                );
            }
        }
    }

    [Test]
    public void AReadIsTheWeightedSumOfAllValuesThatAHypernetworkWrote()
    {
        using var scope = NewDisposeScope();
        var configuration = HandMadeNetwork.Configuration(
            "model.memory_heads=2",
            "model.write=hypernetwork",
            "model.hypernetwork_rank=3",
            "model.decay=true",
            "model.layers=2"
        );
        using var network = new EpisodicTransformer(10, configuration.Model);
        using (no_grad())
        {
            foreach (var (name, parameter) in network.named_parameters())
            {
                if (name.EndsWith("hypernetwork.output.weight", StringComparison.Ordinal))
                    parameter.normal_(0, 0.3);
            }
        }

        var (record, reads) = SecondBlock(network, scope);
        for (int b = 0; b < 2; b++)
        {
            for (int head = 0; head < 2; head++)
            {
                var found = Enumerable
                    .Range(0, 3)
                    .Select(i => matmul(ReadOrigins.Weights(record, b, head, i), record.Values[b][3 * head + i]))
                    .Aggregate((x, y) => x + y);
                Assert.That((found - reads[b][head]).abs().max().item<double>(), Is.LessThan(1e-12));
            }
        }
    }

    [TestCase("model.write=hebbian", "model.unit_keys=false")]
    [TestCase("model.write=full_hypernetwork", "model.drift_rate=shared")]
    [TestCase("model.write=hebbian", "model.drift_cell=elman")]
    [TestCase("model.write=hebbian", "model.drift_join=concatenate")]
    public void TheSourcesReadIsTheWeightedSumOfKeysItsOwnAmongThem(string write, string other)
    {
        using var scope = NewDisposeScope();
        var configuration = HandMadeNetwork.Configuration(
            "model.memory_heads=2",
            "model.attention=true",
            "model.heads=2",
            "model.read=source",
            "model.decay=true",
            "model.layers=2",
            write,
            other
        );
        using var network = new EpisodicTransformer(10, configuration.Model);
        var tokens = randint(0, 10, [2, 13], dtype: ScalarType.Int64);
        var reads = new List<Tensor>();
        network.Memories[1].Observer = a => reads.Add(a.Reads.clone().MoveToOtherDisposeScope(scope));
        EpisodicState state;
        using (no_grad())
            (_, state) = network.Read(tokens);
        var record = MemoryRecord.Of(network, tokens, [5, 13])[1];
        var read = cat(reads, 2);
        long pairs = record.Keys.shape[1] / 2;
        foreach (var (b, head) in new[] { (0, 0), (0, 1), (1, 0), (1, 1) })
        {
            Tensor found = zeros(13, 8, dtype: ScalarType.Float64);
            for (long i = head * pairs; i < (head + 1) * pairs; i++)
                found = found + matmul(ReadOrigins.Weights(record, b, head, i % pairs), record.Keys[b][i]);
            Assert.That((found - read[b][head]).abs().max().item<double>(), Is.LessThan(1e-12));
            Assert.That(found.abs().max().item<double>(), Is.GreaterThan(1e-3));
        }
        Assert.That(record.States, Has.Count.EqualTo(2), "one for each piece, also where tokens are read one by one");
        var last = state.Layers[1].Memories["fast_weights"]["F"];
        Assert.That((record.States[1] - last).abs().max().item<double>(), Is.LessThan(1e-12));
    }

    [Test]
    public void AHypernetworkThatAddsNothingIsReadAsTheHebbianRule()
    {
        var configuration = HandMadeNetwork.Configuration("model.write=hypernetwork", "model.hypernetwork_rank=2");
        var reads = Analyze(configuration).Reads.Single();
        Assert.That((reads.Asked, reads.Share), Is.EqualTo((1.0, 1.0)), "the second pair has no value");
        // Not exactly 0: with AVX-512, libtorch's layer norm makes 1.5e-17 of a 0 in a row whose mean is 0.
        Assert.That(reads.Others, Is.EqualTo(0).Within(1e-15));
    }

    [Test]
    public void QuestionsByTheValueAskForTheirPairToo()
    {
        using var scope = NewDisposeScope();
        var task = HandMadeNetwork.Configuration("task.segment_recall.both_ways=true").Task;
        // Tokens: ? noise k0 … k3 v0 … v3.
        long[] input = [1, 3, 6, 2, 8, 0, 8, 1, 0, 3],
            target = [No, No, No, No, No, No, 2, No, No, 6];
        var document = new TokenDocument(input, target);
        var bound = task.Tokens!.PairsOf(document)!;
        Assert.That(bound.Pairs.Select(p => (p.Key, p.Value)), Is.EqualTo(new[] { (3L, 6L), (2L, 8L) }));
        Assert.That(bound.Questions.Select(q => (q.At, q.Right)), Is.EqualTo(new[] { (6, 1), (9, 0) }));
        Assert.That(
            input.Select((_, i) => task.Tokens.KindOf(document, i)),
            Is.EqualTo(new[] { 4, 0, 1, 0, 1, 2, 3, 4, 2, 3 })
        );
    }

    [Test]
    public void SingularValuesAreThoseOfOnePairAndStay()
    {
        var course = Analyze(HandMadeNetwork.Configuration("task.segment_recall.pairs=1")).FastWeights.Single();
        Assert.That(course.Tokens, Is.EqualTo(new[] { 10, 20, 30, 40, 50 }));
        foreach (var sigma in course.SingularValues)
        {
            // F = β k vᵀ with |k| = 1 and |v| = a.
            Assert.That(sigma[0], Is.EqualTo(2 * HandMadeNetwork.GateOfPairs * HandMadeNetwork.Scale).Within(1e-9));
            Assert.That(sigma[1..], Is.All.EqualTo(0).Within(1e-9));
        }
        Assert.That(course.EffectiveRank, Is.All.EqualTo(1).Within(1e-9));
    }

    [Test]
    public void CurvesGoAsFarAsTheVocabularyAndTheNetworkForgetsNothing()
    {
        var analysis = Analyze(HandMadeNetwork.Configuration());
        Assert.That(
            analysis.Capacity.Select(p => (p.At, p.Accuracy)),
            Is.EqualTo(new (int, double?)[] { (1, 1), (2, 1), (3, 1), (4, 1) }),
            "there are four keys"
        );
        Assert.That(analysis.Capacity.Select(p => p.Answers), Is.EqualTo(new[] { 32L, 64, 96, 128 }));
        Assert.That(
            analysis.Distance.Select(p => (p.At, p.Accuracy)),
            Is.EqualTo(new[] { 1, 2, 3, 4, 8, 16, 32, 64 }.Select(h => (h, (double?)1)))
        );
        Assert.That((analysis.PairsTrained, analysis.HorizonTrained, analysis.KeyWidth), Is.EqualTo((3, 2, 16)));
        // F (16 × 16) and c (16) in eight bytes, at any time.
        Assert.That(
            (analysis.StateBytesStart, analysis.StateBytesEnd, analysis.StateTokens),
            Is.EqualTo((8L * (16 * 16 + 16), 8L * (16 * 16 + 16), 660L))
        );
    }

    [Test]
    public void WithoutAGateAllIsWrittenAndTheSameWordsSaySo()
    {
        var analysis = Analyze(HandMadeNetwork.Configuration("model.gate=false"), rate: 3);
        Assert.That(
            analysis.Gates.Single().Kinds.Select(k => (k.Gate, Math.Round(k.Strength, 9))),
            Is.All.EqualTo(((double?)null, 3.0))
        );
        Assert.That(analysis.Example!.Gates, Is.Empty);
        Assert.That(analysis.Reads.Single().Share, Is.EqualTo(1));
        var said = Said(analysis, HandMadeNetwork.Configuration("model.gate=false"));
        Assert.That(said, Has.Some.Contain("There is no gate"));
    }

    [Test]
    public void OneHalfOfTwoHeadsReadsNothing()
    {
        // Keys lie in the first head's half, values in both: the second head's keys are 0.
        var reads = Analyze(HandMadeNetwork.Configuration("model.gate=false", "model.memory_heads=2")).Reads;
        Assert.That(reads.Select(r => (r.Block, r.Head)), Is.EqualTo(new[] { (1, 1), (1, 2) }));
        Assert.That(reads[0].Share, Is.EqualTo(1));
        Assert.That((reads[1].Asked, reads[1].Others, reads[1].Share), Is.EqualTo((0.0, 0.0, 0.0)));
    }

    [Test]
    public void APairThatIsWrittenOneTokenLateIsFoundThere()
    {
        // The context keeps key and value: the token after the value writes v from it under k from it, λ = 1/2 and what
        // is newer taken off.
        var configuration = HandMadeNetwork.Configuration("task.segment_recall.noise=1", "model.gate=false");
        using var network = HandMadeNetwork.Of(configuration);
        using (no_grad())
        {
            var parameters = network.named_parameters().ToDictionary(p => p.name, p => (Tensor)p.parameter);
            parameters["blocks.0.drift.logit_decay"].zero_();
            for (int i = 0; i < 4; i++)
            {
                parameters["blocks.0.drift.input.weight"][4 + i, 4 + i] = 1;
                // The value of the token before comes into 12 to 15, which nothing else uses but the norm's balance in
                // 12.
                parameters["blocks.0.drift.output.weight"][12 + i, 4 + i] = 1;
                parameters["blocks.0.memory.qkv.weight"][32 + 4 + i, 4 + i] = 0;
                parameters["blocks.0.memory.qkv.weight"][32 + 4 + i, 12 + i] = i == 0 ? 0 : 1;
            }
        }
        var reads = EpisodicAnalysis.Of(network, configuration).Reads.Single();
        Assert.That(reads.Asked, Is.GreaterThan(0.3), "the tokens after that one write it again, by halves");
        Assert.That(reads.Others, Is.LessThan(reads.Asked), "with λ = 1/2 what was before is in every key by halves");
    }

    [TestCase(new double[] { 1, 1, 1, 0 }, 3)]
    [TestCase(new double[] { 2, 1 }, 1.6493848, Description = "p = 0.8 and 0.2: exp(0.8 ln 1.25 + 0.2 ln 5)")]
    [TestCase(new double[] { 1e200, 0 }, 1)]
    [TestCase(new double[] { 0, 0 }, double.NaN)]
    public void TheEffectiveRankIsTheExponentialOfAnEntropy(double[] sigma, double rank) =>
        Assert.That(EpisodicAnalysis.EffectiveRank(sigma), Is.EqualTo(rank).Within(1e-6));

    // ---- Documents

    private static TaskConfiguration Task(string json) =>
        ConfigurationFile
            .Parse(
                """{ "name": "t", "task": TASK, "model": { "type": "episodic_transformer" }, "training": { "curriculum": { "horizons": [40] } }, "evaluation": { "horizon": 40 } }""".Replace(
                    "TASK",
                    json,
                    StringComparison.Ordinal
                )
            )
            .Task;

    [Test]
    public void KindsAreThoseOfTheTask()
    {
        IEnumerable<string> Kinds(TaskConfiguration task, long[] input, long[]? target = null, long[]? words = null)
        {
            var document = new TokenDocument(input, target ?? [.. input.Select(_ => No)], words);
            return input.Select((_, i) => task.Tokens!.Kinds[task.Tokens.KindOf(document, i)]);
        }
        // Noise 1 and 2, keys 3 to 6, values 7 to 9.
        var pairs = Task(
            """{ "segment_recall": { "pairs": 2, "segment_length": 8, "keys": 4, "values": 3, "noise": 2 } }"""
        );
        Assert.That(
            Kinds(pairs, [1, 3, 7, 2, 6, 9, 0, 6]),
            Is.EqualTo(new[] { "noise", "key", "value", "noise", "key", "value", "question", "key asked" })
        );
        var recall = Task("""{ "associative_recall": { "pairs": 2, "vocabulary": 64 } }""");
        Assert.That(
            Kinds(recall, [5, 40, 9, 33, 7, 9, 5, 1], [No, No, No, No, No, 33, 40, No]),
            Is.EqualTo(new[] { "key", "value", "key", "value", "other", "query", "query", "other" })
        );
        Assert.That(
            Kinds(Task("""{ "copy": { "symbols": 3, "length": 2 } }"""), [2, 4, 0, 1, 0, 0]),
            Is.EqualTo(new[] { "symbol", "symbol", "blank", "separator", "blank", "blank" })
        );
    }

    [Test]
    public void AQuestionAsksForItsKeysNewestValue()
    {
        var task = Task(
            """{ "rebinding": { "pairs": 2, "rebindings": 1, "questions": 2, "keys": 4, "values": 3, "noise": 2 } }"""
        );
        // k0 v1, k2 v0, ? k0, k0 v2, ? k0
        var bound = task.Tokens!.PairsOf(
            new([3, 8, 5, 7, 0, 3, 1, 3, 9, 0, 3], [No, No, No, No, No, 8, No, No, No, No, 9])
        )!;
        Assert.That(bound.Pairs, Is.EqualTo(new BoundPair[] { new(3, 8, 1), new(5, 7, 3), new(3, 9, 8) }));
        Assert.That(bound.Questions, Is.EqualTo(new BoundQuestion[] { new(5, 0), new(10, 2) }));
    }

    [Test]
    public void BytesAreShownSafely() =>
        Assert.That(
            ReadableText.Show([.. Encoding.UTF8.GetBytes("é <b>\n\u0007\u200e"), 0xff, 0xc3]),
            Is.EqualTo("é <b>\n\\x07\\xe2\\x80\\x8e\\xff\\xc3")
        );

    // ---- Networks that can't be read, in whole or in part

    private static IEnumerable<string> Said(EpisodicAnalysis analysis, RunConfiguration configuration) =>
        TransformerAnalysis
            .Findings(analysis, configuration, Guessing.MeasureAccuracy(configuration))
            .Select(f => f.Said)
            .OfType<string>();

    private static (RunAnalysis Analysis, System.Text.Json.JsonElement Json) Written(
        RunConfiguration configuration,
        EpisodicTransformer network
    )
    {
        var folder = Directory.CreateTempSubdirectory("emttorch-episodic-");
        try
        {
            using var trained = new TrainedNetwork
            {
                Name = "net",
                Folder = folder.FullName,
                IsRun = false,
                Configuration = configuration,
                Transformer = network,
                File = "net.safetensors",
            };
            var analysis = RunAnalysis.Of(trained);
            Assert.That(new FileInfo(RunReport.Write(analysis, folder.FullName)).Length, Is.GreaterThan(1000));
            Assert.That(analysis.Lines, Has.Count.LessThanOrEqualTo(5));
            return (analysis, WrittenAnalysis.JsonOf(folder.FullName));
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    private static EpisodicTransformer Random(RunConfiguration configuration)
    {
        manual_seed(1);
        using var task = configuration.Task.ToTokenTask(configuration.Evaluation.Horizon, CPU) as IDisposable;
        return new(
            configuration.Task.ToTokenTask(configuration.Evaluation.Horizon, CPU).VocabularySize,
            configuration.Model
        );
    }

    [Test]
    public void WeightsThatAreNoNumbersAreSaidAndNull()
    {
        var configuration = HandMadeNetwork.Configuration();
        var network = HandMadeNetwork.Of(configuration);
        using (no_grad())
            network.named_parameters().First(p => p.name == "readout.weight").parameter.fill_(double.NaN);
        var (analysis, json) = Written(configuration, network);
        Assert.That(analysis.Problems.Single(), Does.Contain("readout.weight").And.Contain("not finite"));
        Assert.That(json.GetProperty("test_accuracy").ValueKind, Is.EqualTo(System.Text.Json.JsonValueKind.Null));
        Assert.That(json.GetProperty("gate").GetArrayLength(), Is.Zero);
        Assert.That(json.GetProperty("parameter_norm").ValueKind, Is.EqualTo(System.Text.Json.JsonValueKind.Null));
    }

    [Test]
    public void AMemoryThatOverflowsIsSaidAndNull()
    {
        var configuration = HandMadeNetwork.Configuration();
        var (analysis, json) = Written(configuration, HandMadeNetwork.Of(configuration, rate: 1e308));
        Assert.That(analysis.Problems, Has.Some.Contain("beyond all numbers"));
        Assert.That(
            json.GetProperty("fast_weights")[0].GetProperty("effective_rank").ValueKind,
            Is.EqualTo(System.Text.Json.JsonValueKind.Null)
        );
    }

    [Test]
    public void AnotherVocabularyThanTheTasksIsSaid()
    {
        var configuration = HandMadeNetwork.Configuration();
        var (analysis, _) = Written(
            HandMadeNetwork.Configuration("task.segment_recall.noise=2"),
            HandMadeNetwork.Of(configuration)
        );
        Assert.That(analysis.Problems.Single(), Does.Contain("knows 10 tokens, and the task has 11"));
    }

    [Test]
    public void ANetworkWithoutMemorySaysSo()
    {
        var configuration = HandMadeNetwork.Configuration(
            "model.memory=none",
            "model.attention=true",
            "model.window=4"
        );
        var (analysis, json) = Written(configuration, Random(configuration));
        Assert.That(analysis.Problems.Single(), Does.Contain("no episodic memory"));
        Assert.That(json.GetProperty("test_accuracy").GetDouble(), Is.LessThan(0.6));
        Assert.That(json.GetProperty("key_width").ValueKind, Is.EqualTo(System.Text.Json.JsonValueKind.Null));
        Assert.That(json.GetProperty("distance").GetArrayLength(), Is.EqualTo(8));
        Assert.That(analysis.Data.Figures.Select(f => f.Id), Is.EqualTo(new[] { "capacity", "distance" }));
    }

    [TestCase(
        """task={"two_hop":{"chains":2,"segment_length":12,"names":6,"noise":4} }""",
        "gate,gate-document-1,reads-1-1,singular-values-1,effective-rank,capacity,distance"
    )]
    [TestCase(
        """task={"copy":{"symbols":3,"length":2,"segment_length":1}}""",
        "gate,gate-document-1,singular-values-1,effective-rank,distance"
    )]
    [TestCase(
        """task={"rebinding":{"pairs":2,"rebindings":2,"questions":2,"keys":4,"values":3,"noise":2}}""",
        "gate,gate-document-1,reads-1-1,singular-values-1,effective-rank,capacity,distance"
    )]
    [TestCase(
        """task={"associative_recall":{"pairs":2,"vocabulary":80}}""",
        "gate,gate-document-1,reads-1-1,singular-values-1,effective-rank,capacity,distance"
    )]
    [TestCase(
        """task={"segment_recall":{"pairs":1,"segment_length":2,"keys":1,"values":1,"noise":1}}""",
        "gate,gate-document-1,reads-1-1,singular-values-1,effective-rank,capacity,distance"
    )]
    public void EachTaskIsRead(string task, string figures)
    {
        var configuration = HandMadeNetwork.Configuration(
            task,
            "training.curriculum.horizons=[16]",
            "evaluation.horizon=20",
            "model.write=delta",
            "model.decay=true"
        );
        var (analysis, json) = Written(configuration, Random(configuration));
        Assert.That(analysis.Problems, Is.Empty);
        Assert.That(string.Join(',', analysis.Data.Figures.Select(f => f.Id)), Is.EqualTo(figures));
        Assert.That(
            json.GetProperty("gate")[0].GetProperty("decay").GetDouble(),
            Is.EqualTo(1 / (1 + Math.Exp(-4))).Within(1e-12),
            "as it is at first"
        );
        Assert.That(
            json.GetProperty("distance").EnumerateArray().Select(p => p.GetProperty("horizon").GetInt32()),
            Has.Member(16)
        );
    }

    [Test]
    public void ATextIsMeasuredAndWritten()
    {
        var file = Path.GetTempFileName();
        try
        {
            File.WriteAllText(
                file,
                string.Concat(Enumerable.Range(0, 800).Select(i => $"{(i * i % 7 == 0 ? "red" : "blue")} fox {i % 3} "))
            );
            var configuration = HandMadeNetwork.Configuration(
                $$"""task={"text":{"path":{{System.Text.Json.JsonSerializer.Serialize(file)}},"segment_length":16} }"""
            );
            var (analysis, json) = Written(configuration, Random(configuration));
            Assert.That(analysis.Problems, Is.Empty);
            // All logits alike would be 8 bits, of 256 tokens; first weights are not far from that.
            Assert.That(
                json.GetProperty("bits_per_character").GetDouble(),
                Is.EqualTo(json.GetProperty("test_loss").GetDouble() / Math.Log(2)).Within(1e-12).And.InRange(7, 10)
            );
            Assert.That(json.GetProperty("bits_seen_words").GetDouble(), Is.GreaterThan(0));
            Assert.That(
                json.GetProperty("sample").GetProperty("text").GetString(),
                Has.Length.AtLeast(300),
                "bytes that are no letters are written out"
            );
            Assert.That(
                ReportPage.Render(analysis.Data),
                Does.Contain("<pre class=\"text\">").And.Not.Contain("Recurrent weights")
            );
            Assert.That(
                (
                    analysis.Findings["bits_per_character"].Beats,
                    json.TryGetProperty("capacity", out var capacity) && capacity.GetArrayLength() == 0
                ),
                Is.EqualTo((true, true))
            );
        }
        finally
        {
            File.Delete(file);
        }
    }

    [Test]
    public void AnotherTextThanTheTrainedOneIsRefused()
    {
        var folder = Directory.CreateTempSubdirectory().FullName;
        try
        {
            var file = Path.Combine(folder, "text.txt");
            var text = string.Concat(Enumerable.Repeat("a fox and a hound ", 200));
            File.WriteAllText(file, text);
            var configuration = HandMadeNetwork.Configuration(
                $$"""task={"text":{"path":{{System.Text.Json.JsonSerializer.Serialize(file)}},"segment_length":16} }""",
                $"out={System.Text.Json.JsonSerializer.Serialize(folder)}",
                "training.steps=1"
            );
            var run = RunFolder.Of(configuration);
            new TrainingRun(configuration, run, Logger.None).Train();
            void Analyze()
            {
                using var network = TrainedNetwork.Load(run.Path);
                RunAnalysis.Of(network);
            }
            Analyze();
            File.WriteAllText(file, text.Replace("fox", "fix"));
            Assert.That(
                Analyze,
                Throws.TypeOf<InvalidDataException>().With.Message.Contains("not the file that the network was trained")
            );
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [TestCase("", null)]
    [TestCase("?", null)]
    [TestCase("0 0.5", "")]
    [TestCase("1 0.9", "up to horizon 2")]
    [TestCase("1 1 0.8 1", "up to horizon 2")]
    [TestCase("0.4 0.8 0.95 1", "from horizon 3 to 4")]
    [TestCase("1 0.8 0.95 1", "from horizon 3 to 4")]
    [TestCase("0.4 0.95 0.4 ?", "at horizon 2")]
    public void ACurvesReachIsItsLongestGoodStretch(string accuracies, string? expected)
    {
        var curve = accuracies
            .Split(' ', StringSplitOptions.RemoveEmptyEntries)
            .Select(
                (a, i) =>
                    new CurvePoint(
                        i + 1,
                        a == "?" ? null : double.Parse(a, System.Globalization.CultureInfo.InvariantCulture),
                        10
                    )
            )
            .ToList();
        Assert.That(TransformerAnalysis.Reach(curve, "horizon ", ""), Is.EqualTo(expected));
    }

    // ---- A graph

    /// <summary>
    /// A graph with its first weights and gates set by hand. A name is one number less another that all names have, so
    /// that two names have the cosine 1/2; noise and the question are 0. The context is the token before.
    /// The gate is σ(a/2) at a fact's value and σ(−a/2) or less elsewhere.
    /// </summary>
    private static (EpisodicTransformer Network, RunConfiguration Configuration) HandMadeGraph(
        int nodes,
        string read = "addressed"
    )
    {
        var configuration = HandMadeNetwork.Configuration(
            """task={"two_hop":{"chains":2,"segment_length":14,"names":6,"noise":4} }""",
            "model.memory=none",
            $"model.graph_nodes={nodes}",
            "model.graph_interval=14",
            $"model.graph_read={read}"
        );
        var network = new EpisodicTransformer(11, configuration.Model);
        using var quiet = no_grad();
        var parameters = network.named_parameters().ToDictionary(p => p.name, p => (Tensor)p.parameter);
        parameters["embedding.weight"].zero_();
        for (int name = 0; name < 6; name++)
            (parameters["embedding.weight"][5 + name, name], parameters["embedding.weight"][5 + name, 15]) = (1, -1);
        parameters["blocks.0.drift.logit_decay"].fill_(-100);
        parameters["blocks.0.drift.input.weight"].copy_(eye(16, dtype: ScalarType.Float64));
        var gate = parameters["blocks.0.graph.gate.weight"].zero_();
        (gate[0, 15], gate[0, 31]) = (-1, -1);
        parameters["blocks.0.graph.gate.bias"].fill_(-1.5 * HandMadeNetwork.Scale);
        return (network, configuration);
    }

    [Test]
    public void TheStrongestEdgesOfAGraphAreFoundAndItsReads()
    {
        var (network, configuration) = HandMadeGraph(nodes: 4);
        using (network)
        {
            var analysis = EpisodicAnalysis.Of(network, configuration);
            var graph = analysis.Graphs.Single();
            // 16 documents of two questions; the four nodes are the four facts, whose keys are the asked one and three
            // others.
            Assert.That((graph.Block, graph.Kept, graph.Linked, graph.Questions), Is.EqualTo((1, 1.0, 1.0, 32L)));
            Assert.That(graph.Read, Is.EqualTo(Math.Exp(8) / (Math.Exp(8) + 3 * Math.Exp(4))).Within(1e-6));
            Assert.That(graph.Facts, Has.Count.EqualTo(4).And.All.Matches("k[0-5] → k[0-5]"));
            Assert.That(graph.Facts[0][^2..], Is.EqualTo(graph.Facts[1][..2]), "chain by chain");
            Assert.That(graph.Chains, Is.EqualTo(new[] { (0, 1), (2, 3) }));
            double g = 1 / (1 + Math.Exp(-HandMadeNetwork.Scale / 2));
            for (int i = 0; i < 4; i++)
            {
                for (int j = 0; j < 4; j++)
                {
                    Assert.That(
                        graph.Edges[i][j],
                        Is.EqualTo(g / (1 + Math.Exp(3.2 - 8 * ((i, j) is (0, 1) or (2, 3) ? 1 : 0.5)))).Within(1e-6),
                        $"{i}, {j}"
                    );
                }
            }

            Assert.That(
                Said(analysis, configuration),
                Has.One.StartsWith("In 100.0 % of questions both facts are nodes of block 1's graph (")
                    .And.Contain(
                        "in 100.0 % of these the strongest edge of the first fact leads to the second (by chance"
                    )
            );
            Assert.That(graph.LinkedNull, Is.EqualTo(1 / 3.0).Within(1e-12), "one of three other nodes");
            Assert.That(graph.ReadNull, Is.EqualTo(0.25).Within(1e-12));
            Assert.That(graph.KeptNull, Is.InRange(0.001, 0.5));
            // It is made for its graph alone, and answers at random.
            Assert.That(
                TransformerAnalysis.Describe(analysis, configuration).Select(f => f.Said).OfType<string>().Single(),
                Does.StartWith("It does not do the task: ").And.EndsWith("So nothing is said of what it stores.")
            );
            Assert.That(
                graph.Gates.Select(k => k.Kind),
                Is.EqualTo(new[] { "key", "value", "question", "key asked", "noise" })
            );
            foreach (var (kind, _, open, _) in graph.Gates)
            {
                Assert.That(
                    open,
                    kind == "value" ? Is.EqualTo(g).Within(1e-9) : Is.LessThanOrEqualTo(1 - g + 1e-9),
                    kind
                );
            }

            Assert.That(
                Said(analysis, configuration),
                Has.One.Contains("The gate of block 1's graph opens most for value (g = ")
            );
        }
    }

    [Test]
    public void OfThreeNodesTheFirstFactIsLostAndWithoutEdgesNoneIsRight()
    {
        var (network, configuration) = HandMadeGraph(nodes: 3);
        using (network)
        {
            var (analysis, json) = Written(configuration, network);
            var graph = json.GetProperty("graph")[0];
            // Its chain's question: one of two.
            Assert.That(
                (
                    graph.GetProperty("both_facts_kept").GetDouble(),
                    graph.GetProperty("strongest_edge_right").GetDouble(),
                    graph.GetProperty("questions").GetInt32()
                ),
                Is.EqualTo((0.5, 1.0, 32))
            );
            Assert.That(analysis.Data.Figures.Select(f => f.Id), Has.Member("graph-1"));
        }
        var (without, same) = HandMadeGraph(nodes: 4, read: "no_edges");
        using (without)
        {
            Assert.That(
                EpisodicAnalysis.Of(without, same).Graphs.Single(),
                Has.Property("Kept").EqualTo(1).And.Property("Linked").EqualTo(0)
            );
        }
    }

    // ---- From a run

    [Test, Category(Layer.Slow)] // trains until it has learned
    public void ATrainedNetworksReadsPointToTheRightValue()
    {
        var folder = Directory.CreateTempSubdirectory("emttorch-episodic-").FullName;
        try
        {
            var configuration = ConfigurationFile.Parse(
                """
                {
                  "name": "once", "device": "cpu", "task": { "segment_recall": { "pairs": 2, "segment_length": 6,
                    "keys": 16, "values": 16, "noise": 2 } },
                  "model": { "type": "episodic_transformer", "hidden_size": 32, "layers": 1, "heads": 2, "window": 4 },
                  "training": { "steps": 400, "batch_size": 32, "log_interval": 50, "learning_rate": 0.01,
                    "curriculum": { "horizons": [1] } },
                  "evaluation": { "horizon": 2, "batches": 2, "batch_size": 64, "interval": 400 },
                  "checkpoints": { "interval": 400 }
                }
                """,
                [$"out={folder}"]
            );
            var result = new TrainingRun(configuration, RunFolder.Of(configuration), Logger.None).Train()!;
            Assert.That(result.TestAccuracy, Is.GreaterThan(0.85), "it has learned the task");
            var run = RunFolder.Of(configuration).Path;
            using var network = TrainedNetwork.Load(run);
            Assert.That((network.Name, network.HiddenSize, network.Step), Is.EqualTo(("once/seed-1", 32L, 400L)));
            Assert.Throws<InvalidOperationException>(() => _ = network.Weights);
            var analysis = RunAnalysis.Of(network);
            // Of two pairs; by chance a half.
            double? right = analysis.Findings["reads_right"].Value;
            Assert.That(right, Is.GreaterThan(0.75), string.Join("\n", analysis.Lines));
            Assert.That(
                (double)analysis.Json["reads"]![0]!["from_asked_pair"]!,
                Is.GreaterThan(0.2 + (double)analysis.Json["reads"]![0]!["from_other_pairs"]!)
            );
            Assert.That((double)analysis.Json["test_accuracy"]!, Is.EqualTo(result.TestAccuracy).Within(0.15));

            // Beside an Elman network each has its columns, alone only its own.
            Assert.That(
                ComparisonTable.Runs([analysis.Row]).Split('\n')[0],
                Is.EqualTo("| run | task | H | test accuracy | reads right | effective rank | state, bytes | notes |")
            );
            var error = new Finding("spectral_error", 0.1) { Title = "spectral error" };
            var elman = new ComparisonRow
            {
                Name = "elman",
                Findings = new Dictionary<string, Finding> { [error.Key] = error },
            };
            var both = ComparisonTable.Runs([analysis.Row, elman]);
            Assert.That(both, Does.Contain("| spectral error |").And.Contain("| elman | – |"));

            var recorded = RunAnalysis.OfRun(run, _ => { });
            Assert.That((string?)recorded["task"], Is.EqualTo("segment_recall"));
            var other = Path.Combine(folder, "t1.json");
            File.WriteAllText(other, """{ "task": { "name": "t1" } }""");
            Assert.That(
                Assert.Throws<ConfigurationException>(() => TrainedNetwork.Load(run, other))!.Message,
                Does.Contain("t1 is no task for").And.Contain("holds a transformer")
            );
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }
}
