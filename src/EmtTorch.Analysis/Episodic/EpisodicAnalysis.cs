using EmtTorch.Memory;
using EmtTorch.Models;
using EmtTorch.Tasks;
using EmtTorch.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Analysis.Episodic;

/// <summary>
/// What an <see cref="EpisodicTransformer"/> does with its episodic memory, read on documents of its own task: what the
/// gates let in, what the reads return, how the fast weights fill up, and how accuracy falls with the number of pairs
/// to keep and with the distance to them.
/// </summary>
/// <example><code>
/// using var network = TrainedNetwork.Load("runs/segment_recall/seed-1");
/// var analysis = EpisodicAnalysis.Of(network.Transformer!, network.Configuration);
/// foreach (var head in analysis.Reads) Console.WriteLine($"{head.Block}: {head.Asked:P1} comes from the asked pair");
/// </code></example>
public sealed class EpisodicAnalysis
{
    /// <summary>About how often the fast weights are looked at in a document.</summary>
    private const int Places = 32;

    private readonly EpisodicTransformer _network;
    private readonly RunConfiguration _configuration;
    private readonly TokenTaskSettings _task;
    private readonly EpisodicOptions _options;
    private readonly List<string> _problems = [];

    private EpisodicAnalysis(EpisodicTransformer network, RunConfiguration configuration, EpisodicOptions options) =>
        (_network, _configuration, _task, _options) = (
            network,
            configuration,
            configuration.Task.Tokens!.ForRun(configuration.Seed),
            options
        );

    /// <summary>What cannot be computed, and why.</summary>
    public IReadOnlyList<string> Problems => _problems;

    /// <summary>The share of right answers at the evaluation's horizon; of text on the test part.</summary>
    public double? Accuracy { get; private set; }

    /// <summary>The mean cross entropy there, in nats.</summary>
    public double? Loss { get; private set; }

    /// <summary>
    /// Each head's gate; without one, what is written of each kind of token. None without fast weights.
    /// </summary>
    public IReadOnlyList<GateReading> Gates { get; private set; } = [];

    /// <summary>Each head's reads, where the task has pairs and the blocks fast weights.</summary>
    public IReadOnlyList<ReadReading> Reads { get; private set; } = [];

    /// <summary>Each block's graph, where the task has facts to join and the blocks graphs.</summary>
    public IReadOnlyList<GraphReading> Graphs { get; private set; } = [];

    /// <summary>Each block's fast weights along a document.</summary>
    public IReadOnlyList<FastWeightCourse> FastWeights { get; private set; } = [];

    /// <summary>
    /// Accuracy by the number of pairs, at the longest trained horizon; none of a task without pairs.
    /// </summary>
    public IReadOnlyList<CurvePoint> Capacity { get; private set; } = [];

    /// <summary>Accuracy by the horizon; none of text.</summary>
    public IReadOnlyList<CurvePoint> Distance { get; private set; } = [];

    /// <summary>Pairs of a document that it was trained on; chains of two_hop.</summary>
    public int? PairsTrained => _task.PairCount;

    /// <summary>What the task calls its pairs.</summary>
    internal string PairsName => _task.PairsName;

    /// <summary>The longest horizon that it was trained on.</summary>
    public int HorizonTrained => _configuration.Training.Curriculum.Horizons[^1];

    /// <summary>d_k, the rows of a head's fast weights; null without them.</summary>
    public int? KeyWidth => _network.Memories.Count == 0 ? null : _configuration.Model.HiddenSize / MemoryHeads;

    internal int MemoryHeads => _configuration.Model.Find<FastWeightSettings>()?.Heads ?? 1;

    /// <summary>The state of one document in bytes, before its first token.</summary>
    public long? StateBytesStart { get; private set; }

    /// <summary>The state of one document in bytes after the longest document that was read.</summary>
    public long? StateBytesEnd { get; private set; }

    /// <summary>How many tokens the longest document has.</summary>
    public long StateTokens { get; private set; }

    /// <summary>What is measured of a text; null for other tasks.</summary>
    public TextReading? Text { get; private set; }

    /// <summary>One document in detail, at the longest trained horizon.</summary>
    public ExampleReading? Example { get; private set; }

    /// <summary>Reads a network.</summary>
    /// <param name="network">The network, on the CPU.</param>
    /// <param name="configuration">Its configuration, with the task that it is read on.</param>
    /// <param name="options">Null: the defaults.</param>
    public static EpisodicAnalysis Of(
        EpisodicTransformer network,
        RunConfiguration configuration,
        EpisodicOptions? options = null
    )
    {
        var analysis = new EpisodicAnalysis(network, configuration, options ?? new());
        using var quiet = no_grad();
        using var scope = NewDisposeScope();
        if (analysis.WhyUnusable() is { } reason)
            analysis._problems.Add(reason);
        else
            analysis.Run();
        return analysis;
    }

    private string? WhyUnusable()
    {
        foreach (var (name, parameter) in _network.named_parameters())
        {
            if (!Matrices.IsFinite(parameter))
            {
                return $"The weights {name} have numbers that are not finite (NaN or infinity): nothing can be "
                    + "read out of this network.";
            }
        }

        using var scope = NewDisposeScope();
        var task = _task.Create(_configuration.Evaluation.Horizon, CPU);
        using var held = task as IDisposable;
        long vocabulary = _network.named_parameters().First(p => p.name == "embedding.weight").parameter.shape[0];
        return task.VocabularySize == vocabulary
            ? null
            : $"Nothing can be read: the network knows {vocabulary} tokens, and the task has {task.VocabularySize}.";
    }

    private void Run()
    {
        Test();
        ReadMemories();
        if (KeyWidth is null)
        {
            _problems.Add(
                "There is no episodic memory (memory is none), so that there is no gate, no read and no fast "
                    + "weight to look at."
            );
        }
        else
        {
            MakeExample();
        }
        ReadGraphs();
        Capacity = Curve(PairCounts(), pairs => _task.WithPairs(pairs, HorizonTrained));
        Distance = Curve(Horizons(), horizon => (_task, horizon));
        if (StateBytesStart is null)
            Note(_configuration.Evaluation.Horizon);
    }

    /// <summary>How many documents a measurement reads: fewer if they are long or the network is large.</summary>
    private int Count(long tokens, int most)
    {
        var model = _configuration.Model;
        double work = (double)model.Layers * model.HiddenSize * model.HiddenSize / (2 * 64 * 64);
        return (int)Math.Clamp(Math.Max(_options.Tokens / Math.Max(1, work), 8192) / tokens, Math.Min(most, 4), most);
    }

    private void Test()
    {
        int horizon = _configuration.Evaluation.Horizon;
        using var scope = NewDisposeScope();
        var task = _task.Create(horizon, CPU);
        using var held = task as IDisposable;
        int count = Count(_configuration.Task.TokensAt(horizon), _options.TestDocuments);
        var score = new AnswerScore();
        if (task is TextCorpus text)
        {
            // All of the test part, as far as the time allows.
            long all = Math.Min(text.DocumentCount(TextPart.Test), 4L * count);
            for (long first = 0; first < all; first += count)
                score.Add(_network, text.Documents(TextPart.Test, first, Math.Min(count, all - first)));
            // Of logits that are not finite nothing can be drawn.
            var (prompt, sample) = score.Loss is null ? ("", "") : Sample(text);
            Text = new(score.Bits(0), score.Bits(1), score.Bits(2), prompt, sample);
        }
        else
        {
            score.Add(_network, Batch(task, count));
        }

        (Accuracy, Loss) = (score.Loss is null ? null : score.Accuracy, score.Loss);
        if (Loss is null)
            _problems.Add("The network's answers are not numbers: its state grew beyond all numbers.");
        Note(score.StateBytesStart, score.StateBytesEnd, score.Tokens);
    }

    private IReadOnlyList<TokenBatch> Batch(ITokenTask task, long count)
    {
        using var generator = new Generator(_options.Seed, CPU);
        return task is TextCorpus text
            ? text.Documents(TextPart.Test, 0, Math.Min(count, text.DocumentCount(TextPart.Test)))
            : task.Batch(count, generator);
    }

    private (string, string) Sample(TextCorpus text)
    {
        const int PromptLength = 100;
        using var scope = NewDisposeScope();
        using var generator = new Generator(_options.Seed, CPU);
        var start = text.Documents(TextPart.Test, 0, 1)[0].Input;
        start = start.narrow(1, 0, Math.Min(PromptLength, start.shape[1]));
        string Readable(Tensor tokens) => ReadableText.Show([.. Numbers(tokens).Select(t => (byte)t)]);
        return (Readable(start), Readable(_network.Generate(start, _options.SampleLength, 0.8, generator)));
    }

    private static TokenDocument Document(Tensor input, Tensor target, Tensor? words) =>
        new(Numbers(input), Numbers(target), words is null ? null : Numbers(words));

    private static long[] Numbers(Tensor tokens) => tokens.contiguous().data<long>().ToArray();

    private void Note(int horizon)
    {
        using var scope = NewDisposeScope();
        var task = _task.Create(horizon, CPU);
        using var held = task as IDisposable;
        var score = new AnswerScore();
        score.Add(_network, Batch(task, 1));
        Note(score.StateBytesStart, score.StateBytesEnd, score.Tokens);
    }

    private void Note(long start, long end, long tokens)
    {
        if (tokens <= StateTokens)
            return;
        (StateBytesStart, StateBytesEnd, StateTokens) = (start, end, tokens);
    }

    /// <summary>Gates, reads and singular values over documents at the evaluation's horizon.</summary>
    private void ReadMemories()
    {
        if (KeyWidth is not { } keyWidth)
            return;
        int horizon = _configuration.Evaluation.Horizon;
        using var scope = NewDisposeScope();
        var task = _task.Create(horizon, CPU);
        using var held = task as IDisposable;
        var document = Batch(task, Count(_configuration.Task.TokensAt(horizon), _options.Documents));
        var (input, target, words) = Joined(document);
        var ends = Ends(document);
        var records = MemoryRecord.Of(_network, input, ends);
        var kinds = Kinds(input, target, words);
        Gates = [.. records.SelectMany((record, block) => OfGates(record, block, kinds))];
        Reads = OfReads(records, input, target);
        FastWeights = [.. records.Select((record, block) => OfStates(record, block, keyWidth, ends))];
        if (records.Any(r => !Matrices.IsFinite(r.States[^1])))
        {
            _problems.Add(
                "Fast weights grew beyond all numbers over a document: what is read of them is not a number."
            );
        }
    }

    private void ReadGraphs()
    {
        if (!_task.AreChained || _network.Find<GraphMemory>().Count == 0)
            return;
        int horizon = _configuration.Evaluation.Horizon;
        using var scope = NewDisposeScope();
        var task = _task.Create(horizon, CPU);
        var (input, target, _) = Joined(Batch(task, Count(_configuration.Task.TokensAt(horizon), _options.Documents)));
        Graphs = GraphEdges.Of(_network, _configuration.Model.Gate, _task, input, target, Kinds(input, target, null));
    }

    private static TokenBatch Joined(IReadOnlyList<TokenBatch> document) =>
        new(
            cat(document.Select(s => s.Input).ToArray(), 1),
            cat(document.Select(s => s.Target).ToArray(), 1),
            document[0].Words is null ? null : cat(document.Select(s => s.Words!).ToArray(), 1)
        );

    /// <summary>
    /// Where to look at the fast weights: at the segments' ends, or, where there is one segment or too many, at places
    /// evenly apart.
    /// </summary>
    private static List<int> Ends(IReadOnlyList<TokenBatch> document)
    {
        int tokens = (int)document.Sum(s => s.Input.shape[1]);
        var ends = new List<int>();
        if (document.Count is > 1 and <= 2 * Places)
        {
            int end = 0;
            foreach (var segment in document)
                ends.Add(end += (int)segment.Input.shape[1]);
        }
        else
        {
            for (int i = 1; i <= Math.Min(Places, tokens); i++)
                ends.Add((int)((long)tokens * i / Math.Min(Places, tokens)));
        }

        return ends;
    }

    /// <summary>The kind of each token (B, T), as a number in <see cref="TokenTaskSettings.Kinds"/>.</summary>
    private int[][] Kinds(Tensor input, Tensor target, Tensor? words) =>
        [
            .. Enumerable
                .Range(0, (int)input.shape[0])
                .Select(b => Document(input[b], target[b], words?[b]))
                .Select(d => d.Input.Select((_, t) => _task.KindOf(d, t)).ToArray()),
        ];

    private IEnumerable<GateReading> OfGates(MemoryRecord record, int block, int[][] kinds)
    {
        var names = _task.Kinds;
        var memory = _network.Memories[block];
        double[] rates = Matrices.Values(memory.Rate),
            decays = Matrices.Values(memory.DecayFactor);
        for (int head = 0; head < rates.Length; head++)
        {
            double[][] strength = Matrices.Rows(record.Strength.select(1, head));
            var gate = record.Gate is null ? null : Matrices.Rows(record.Gate.select(1, head));
            var readings = new List<KindReading>();
            for (int k = 0; k < names.Count; k++)
            {
                var places = kinds
                    .SelectMany((row, b) => row.Select((kind, t) => (kind, b, t)))
                    .Where(p => p.kind == k)
                    .ToList();
                if (places.Count > 0)
                {
                    readings.Add(
                        new(
                            names[k],
                            places.Count,
                            gate is null ? null : places.Average(p => gate[p.b][p.t]),
                            places.Average(p => strength[p.b][p.t])
                        )
                    );
                }
            }
            yield return new(block + 1, head + 1, rates[head], decays[head], readings)
            {
                SpreadNull = gate is null
                    ? null
                    : GateSpread.MeasureNull(kinds.SelectMany(row => row), gate.SelectMany(row => row)),
            };
        }
    }

    private List<ReadReading> OfReads(IReadOnlyList<MemoryRecord> records, Tensor input, Tensor target)
    {
        var documents = Enumerable
            .Range(0, (int)input.shape[0])
            .Select(b => _task.PairsOf(Document(input[b], target[b], null)))
            .ToList();
        var heads = Enumerable
            .Range(0, records.Count)
            .SelectMany(block => Enumerable.Range(0, MemoryHeads).Select(head => (block, head)));
        return [.. heads.Select(h => OfReads(records[h.block], h.block, h.head, documents)).OfType<ReadReading>()];
    }

    private static ReadReading? OfReads(MemoryRecord record, int block, int head, List<BoundPairs?> documents)
    {
        double asked = 0,
            others = 0;
        long questions = 0,
            compared = 0,
            largest = 0;
        double any = 0,
            first = 0;
        for (int b = 0; b < documents.Count; b++)
        {
            if (documents[b] is not { Questions.Count: > 0 } bound)
                continue;
            foreach (var (question, shares) in bound.Questions.Zip(ReadOrigins.Shares(record, b, head, bound)))
            {
                double own = shares[question.Right];
                questions++;
                asked += own;
                others += shares.Sum() - own;
                any += shares.Average();
                if (shares.Length == 1)
                    continue;
                compared++;
                first += 1.0 / shares.Length;
                if (shares.Where((_, i) => i != question.Right).All(share => own > share))
                    largest++;
            }
        }
        return questions == 0
            ? null
            : new(
                block + 1,
                head + 1,
                Mean(asked, questions),
                Mean(others, questions),
                double.IsFinite(asked) ? Mean(largest, compared) : null,
                questions
            )
            {
                AskedNull = Mean(any, questions),
                ShareNull = Mean(first, compared),
            };
    }

    internal static double? Mean(double sum, long count) => count > 0 && double.IsFinite(sum) ? sum / count : null;

    private FastWeightCourse OfStates(MemoryRecord record, int block, int width, List<int> ends)
    {
        // Four documents, fewer where matrices are large: a decomposition takes some ten d_k³.
        double work =
            10.0 * width * width * width * ends.Count * record.States[0].shape[1] * _configuration.Model.Layers;
        long documents = Math.Min(record.States[0].shape[0], (long)Math.Clamp(4e10 / work, 1, 4));
        var values = new double[ends.Count][];
        var ranks = new double[ends.Count];
        for (int i = 0; i < ends.Count; i++)
        {
            using var scope = NewDisposeScope();
            // (documents · heads, d_k, d_v)
            var state = record.States[i].narrow(0, 0, documents).flatten(0, 1).to(ScalarType.Float64);
            if (!Matrices.IsFinite(state))
            {
                (values[i], ranks[i]) = ([.. Enumerable.Repeat(double.NaN, width)], double.NaN);
                continue;
            }
            var sigma = linalg.svdvals(state);
            values[i] = Matrices.Values(sigma.mean([0L]));
            ranks[i] = Matrices.Rows(sigma).Average(EffectiveRank);
        }
        return new(block + 1, width, ends, values, ranks);
    }

    /// <summary>
    /// exp(−Σ p ln p), p = σ²/Σσ² (the effective rank of Roy and Vetterli 2007, of squares); NaN where all are 0.
    /// </summary>
    internal static double EffectiveRank(double[] sigma)
    {
        double largest = sigma.DefaultIfEmpty(0).Max();
        if (!(largest > 0))
            return double.NaN;
        var squares = sigma.Select(s => s / largest * (s / largest)).ToArray();
        double sum = squares.Sum();
        return Math.Exp(-squares.Where(p => p > 0).Sum(p => p / sum * Math.Log(p / sum)));
    }

    private void MakeExample()
    {
        const int Longest = 1200;
        using var scope = NewDisposeScope();
        var task = _task.Create(HorizonTrained, CPU);
        using var held = task as IDisposable;
        var (input, target, words) = Joined(Batch(task, 1));
        if (input.shape[1] > Longest && PairsTrained is null)
        {
            (input, target) = (input.narrow(1, 0, Longest), target.narrow(1, 0, Longest));
            words = words?.narrow(1, 0, Longest);
        }
        int tokens = (int)input.shape[1];
        var records = MemoryRecord.Of(
            _network,
            input,
            [
                .. Enumerable
                    .Range(1, (tokens + AnswerScore.Piece - 1) / AnswerScore.Piece)
                    .Select(i => Math.Min(tokens, i * AnswerScore.Piece)),
            ]
        );
        var (ids, names) = (Numbers(input[0]), _task.Kinds);
        var document = Document(input[0], target[0], words?[0]);
        var bound = _task.PairsOf(document);
        Example = new(
            [.. ids.Select(_task.Label)],
            [.. ids.Select((_, i) => names[_task.KindOf(document, i)])],
            [.. records.Where(r => r.Gate is not null).Select(r => Matrices.Values(r.Gate![0].mean([0L])))],
            [.. bound?.Pairs.Select(p => $"{_task.Label(p.Key)} {_task.Label(p.Value)}") ?? []],
            [.. bound?.Questions.Select(q => _task.Label(ids[q.At])) ?? []],
            [.. bound?.Questions.Select(q => q.Right) ?? []],
            bound is { Questions.Count: > 0 }
                ? [.. Reads.Select(r => ReadOrigins.Shares(records[r.Block - 1], 0, r.Head - 1, bound))]
                : []
        );
    }

    /// <summary>1, 2, 4, … and the number trained on.</summary>
    private IEnumerable<int> PairCounts() =>
        PairsTrained is not { } trained
            ? []
            : Enumerable.Range(0, 13).Select(i => 1 << i).Append(trained).Distinct().Order();

    /// <summary>
    /// 1, 2, 4, … and the longest trained horizon; none of text. The curve leaves out what the task cannot have.
    /// </summary>
    private IEnumerable<int> Horizons()
    {
        if (!_task.HasDistances)
            return [];
        int longest = _task.CountsSegments
            ? _options.LongestDistance
            : Math.Max(_options.LongestDistance, 4 * HorizonTrained);
        return Enumerable
            .Range(0, 20)
            .Select(i => 1 << i)
            .Where(h => h <= longest)
            .Append(HorizonTrained)
            .Append(_configuration.Evaluation.Horizon)
            .Distinct()
            .Order();
    }

    /// <summary>The accuracy at each place that there is a task for, and that is not too long.</summary>
    private List<CurvePoint> Curve(IEnumerable<int> places, Func<int, (TokenTaskSettings Task, int Horizon)> of)
    {
        var points = new List<CurvePoint>();
        foreach (int at in places)
        {
            using var scope = NewDisposeScope();
            var (configuration, horizon) = of(at);
            if (configuration.TokensAt(horizon) > _options.Tokens)
                break;
            ITokenTask task;
            try
            {
                task = configuration.Create(horizon, CPU);
            }
            catch (ArgumentException)
            {
                continue;
            } // more keys than there are, a sequence too short for its pairs
            var score = new AnswerScore();
            score.Add(_network, Batch(task, Count(configuration.TokensAt(horizon), _options.TestDocuments)));
            points.Add(new(at, score.Loss is null ? null : score.Accuracy, score.Answers));
            Note(score.StateBytesStart, score.StateBytesEnd, score.Tokens);
        }
        return points;
    }
}
