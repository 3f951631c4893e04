using EmtTorch.Kernels;
using EmtTorch.Memory;
using EmtTorch.Memory.Retrieval;
using EmtTorch.Models;
using EmtTorch.Tasks;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace EmtTorch.Training;

/// <summary>
/// A transformer on a task of tokens. The loss is the mean cross entropy of all answers in a batch of documents. A
/// document is read from its start, and the state is carried from segment to segment. Gradients go back through
/// `bptt_segments` segments, which are read in one piece: the network's outputs do not depend on how a document is cut.
/// </summary>
/// <remarks>
/// On the CPU the batch is cut into slices by its size alone. Each is taken through the whole document and back by one
/// thread, and the slices' gradients are added in their order: the number of threads changes no bit.
/// </remarks>
internal sealed class TokenLearner : Learner
{
    private readonly EpisodicTransformer _network;
    private readonly Parameter[] _parameters;
    private readonly Device _device;
    private readonly PostgresConnection? _database; // of the network's stores; null if they are in memory
    private readonly Dictionary<int, ITokenTask> _tasks = []; // by horizon
    private readonly ReplayConsolidation? _consolidation;

    public TokenLearner(
        RunConfiguration configuration,
        Device device,
        Serilog.ILogger? log = null,
        CancellationToken stop = default
    )
        : base(configuration)
    {
        _device = device;
        int vocabulary = TaskAt(configuration.Evaluation.Horizon).VocabularySize;
        _network = CreateNetwork(configuration, () => new EpisodicTransformer(vocabulary, configuration.Model))
            .to(device);
        _database = StoredEpisodes.Connect(_network, configuration, log, stop);
        _parameters = [.. _network.parameters()];
        if (configuration.Training.Consolidation is { } consolidation)
            _consolidation = new(_network, consolidation);
        foreach (var parameter in _parameters)
            parameter.grad = zeros_like(parameter).DetachFromDisposeScope();
    }

    public override nn.Module Network => _network;

    private ITokenTask TaskAt(int horizon) =>
        _tasks.TryGetValue(horizon, out var task)
            ? task
            : _tasks[horizon] = Configuration.Task.Tokens!.ForRun(Configuration.Seed).Create(horizon, _device);

    public override IReadOnlyDictionary<string, Tensor> Tensors => _consolidation?.Tensors ?? base.Tensors;

    public override void AfterStep(long step) => _consolidation?.AfterStep(step);

    public override BatchScore ComputeGradients(int horizon, Generator data)
    {
        using var scope = NewDisposeScope();
        BatchScore score = default;
        if (_consolidation is null)
            return LearnBatch(horizon, data);
        _consolidation.Collect(() => score = LearnBatch(horizon, data));
        return score;
    }

    private BatchScore LearnBatch(int horizon, Generator data)
    {
        var document = TaskAt(horizon).Batch(Configuration.Training.BatchSize, data);
        var asked = stack(document.Select(s => s.Target.ne(TokenBatch.Ignored).sum()).ToArray()).sum([0L]);
        int count = Slices(document);
        var slices = new (Tensor Sums, Tensor?[] Gradients)[count];
        long generation = _network.Stores?.Begin() ?? 0;
        RunSlices(
            count,
            i =>
                slices[i] = Learn(
                    Slice(document, i, count),
                    asked,
                    new(generation, First(document, i, count)),
                    alone: count == 1
                )
        );
        _network.Stores?.Close(generation);
        using var quiet = no_grad();
        for (int p = 0; p < _parameters.Length; p++)
        {
            var total = _parameters[p].grad!.zero_();
            foreach (var (_, gradients) in slices)
            {
                if (gradients[p] is not { } part)
                    continue;
                total.add_(part);
                part.Dispose();
            }
        }
        foreach (var (sums, _) in slices.Skip(1))
            slices[0].Sums.add_(sums);
        var numbers = slices[0].Sums.cpu().data<double>().ToArray(); // loss, right answers
        foreach (var (sums, _) in slices)
            sums.Dispose();
        return new(numbers[0], numbers[1] / asked.item<long>());
    }

    /// <summary>
    /// Reads a slice's documents and goes back: its part of the loss with the number of right answers (2), and its
    /// gradients. The tensors are in no dispose scope.
    /// </summary>
    private (Tensor Sums, Tensor?[] Gradients) Learn(
        IReadOnlyList<TokenBatch> document,
        Tensor asked,
        DocumentNumbers documents,
        bool alone
    )
    {
        using var scope = NewDisposeScope();
        var gradients = new Tensor?[_parameters.Length];
        var sums = zeros(2, dtype: ScalarType.Float64, device: _device).DetachFromDisposeScope();
        var state = _network.FirstState(document[0].Input.shape[0], _device, documents);
        foreach (var segments in document.Chunk(Configuration.Training.BpttSegments ?? document.Count))
        {
            using var part = NewDisposeScope();
            var (input, target) = (
                cat(segments.Select(s => s.Input).ToArray(), 1),
                cat(segments.Select(s => s.Target).ToArray(), 1)
            );
            var places = Places(target);
            bool learns = places.shape[0] > 0;
            using var mode = enable_grad(learns);
            var (hidden, after) = _network.Run(input, state);
            if (learns)
            {
                var score = Score(hidden, target, places);
                var loss = score.Loss / asked;
                var found = BackwardCall.Gradients(loss, _parameters, alone);
                using var quiet = no_grad();
                for (int p = 0; p < found.Length; p++)
                {
                    if (found[p] is not { } gradient)
                        continue;
                    if (gradients[p] is { } before)
                        before.add_(gradient);
                    else
                        gradients[p] = gradient.DetachFromDisposeScope();
                }
                sums.add_(stack([loss.detach().to(ScalarType.Float64), score.Right.to(ScalarType.Float64)]));
            }
            state = after.Detach();
            state.MoveToOuterDisposeScope();
        }
        return (sums, gradients);
    }

    public override long ComputeGradientsOfOwnLabels(int horizon, Generator data)
    {
        using var scope = NewDisposeScope();
        using var mode = enable_grad();
        var document = TaskAt(horizon).Batch(1, data);
        var (hidden, state) = _network.Run(cat(document.Select(s => s.Input).ToArray(), 1), null);
        _network.Stores?.Forget(state.Documents.Generation);
        var places = Places(cat(document.Select(s => s.Target).ToArray(), 1));
        var logits = _network.ReadOut(hidden.reshape(-1, hidden.shape[2]).index_select(0, places)); // (asked, V)
        var labels = logits.detach().softmax(-1).cpu().multinomial(1, true, data).squeeze(-1).to(_device);
        var found = BackwardCall.Gradients(nn.functional.cross_entropy(logits, labels), _parameters, alone: true);
        using var quiet = no_grad();
        for (int p = 0; p < _parameters.Length; p++)
        {
            if (found[p] is { } gradient)
                _parameters[p].grad!.copy_(gradient);
            else
                _parameters[p].grad!.zero_();
        }

        return places.shape[0];
    }

    public override TestScore Test(long step)
    {
        using var quiet = no_grad();
        using var everything = NewDisposeScope();
        var settings = Configuration.Evaluation;
        var task = TaskAt(settings.Horizon);
        var text = task as TextCorpus;
        using var generator = TestData(Configuration, step);
        var sums = zeros(7, dtype: ScalarType.Float64, device: _device); // as from Examine
        long batches = text is null
            ? settings.Batches
            : Math.Min(settings.Batches, Math.Max(1, text.DocumentCount(TextPart.Validation) / settings.BatchSize));
        for (long i = 0; i < batches; i++)
        {
            using var scope = NewDisposeScope();
            // Of a text the same documents at every test, from its beginning.
            var document = text is null
                ? task.Batch(settings.BatchSize, generator)
                : text.Documents(
                    TextPart.Validation,
                    i * settings.BatchSize,
                    Math.Min(settings.BatchSize, text.DocumentCount(TextPart.Validation))
                );
            int slices = Slices(document);
            var parts = new Tensor[slices];
            long generation = EpisodicStores.Tests + i;
            RunSlices(
                slices,
                s => parts[s] = Examine(Slice(document, s, slices), new(generation, First(document, s, slices)))
            );
            _network.Stores?.Forget(generation);
            foreach (var part in parts)
            {
                sums.add_(part);
                part.Dispose();
            }
        }
        var n = sums.cpu().data<double>().ToArray();
        static double? Bits(double loss, double count) => count == 0 ? null : TextCorpus.BitsPerCharacter(loss / count);
        return new(n[0] / n[2], n[1] / n[2])
        {
            Measures = task is SegmentRecall { HasFacts: true } recall ? MeasureFacts(recall, generator) : null,
            Text = text is null ? null : new(Bits(n[0], n[2]), Bits(n[3], n[4]), Bits(n[5], n[6])),
        };
    }

    private Dictionary<string, double> MeasureFacts(SegmentRecall task, Generator generator)
    {
        double accuracy = 0;
        SliceWorkers.WithKernelThreads(
            1,
            () =>
                accuracy = PersistentFacts.MeasureAccuracy(
                    _network,
                    task,
                    Configuration.Evaluation.BatchSize,
                    generator,
                    wiped: true
                )
        );
        return new() { ["persistent_accuracy"] = accuracy };
    }

    /// <summary>
    /// Reads a slice's documents, segment by segment, so that no document is too long for the memory. Returns the sum
    /// of cross entropies, the number of right answers and the number of answers; then, for text, the sum and the
    /// number of characters in new words, and the same in words seen before (7). In no dispose scope.
    /// </summary>
    private Tensor Examine(IReadOnlyList<TokenBatch> document, DocumentNumbers documents)
    {
        using var quiet = no_grad();
        using var scope = NewDisposeScope();
        var sums = zeros(7, dtype: ScalarType.Float64, device: _device).DetachFromDisposeScope();
        var state = _network.FirstState(document[0].Input.shape[0], _device, documents);
        foreach (var segment in document)
        {
            using var part = NewDisposeScope();
            var (hidden, after) = _network.Run(segment.Input, state);
            var places = Places(segment.Target);
            if (places.shape[0] > 0)
            {
                var score = Score(hidden, segment.Target, places);
                var count = tensor((double)places.shape[0], dtype: ScalarType.Float64, device: _device);
                List<Tensor> found = [score.Loss.to(ScalarType.Float64), score.Right.to(ScalarType.Float64), count];
                var words = segment.Words?.reshape(-1).index_select(0, places);
                for (int kind = 1; kind <= 2 && words is not null; kind++)
                {
                    var chosen = words.eq(kind).to(ScalarType.Float64);
                    found.AddRange([(score.Each * chosen).sum(), chosen.sum()]);
                }
                sums.narrow(0, 0, found.Count).add_(stack(found));
            }
            state = after;
            state.MoveToOuterDisposeScope();
        }
        return sums;
    }

    /// <summary>The sum of cross entropies, the number of right answers, and each cross entropy (asked).</summary>
    private readonly record struct AnswerScore(Tensor Loss, Tensor Right, Tensor Each);

    /// <summary>Scores the answers at some places of B documents of T tokens, numbered from 0 to B·T − 1.</summary>
    private AnswerScore Score(Tensor hidden, Tensor target, Tensor places)
    {
        // Logits only where an answer is asked for: with a large vocabulary they are most of the work.
        var logits = _network.ReadOut(hidden.reshape(-1, hidden.shape[2]).index_select(0, places)); // (asked, V)
        var answers = target.reshape(-1).index_select(0, places);
        var each = nn.functional.cross_entropy(logits, answers, reduction: nn.Reduction.None);
        return new(each.sum(), logits.detach().argmax(-1).eq(answers).sum(), each);
    }

    private static Tensor Places(Tensor target) => target.reshape(-1).ne(TokenBatch.Ignored).nonzero().squeeze(-1);

    // The numbers of a slice's stream (documents, T, d): with 512 KB in float32 it stays in the second cache.
    private const long SliceSize = 1 << 18;

    /// <summary>
    /// How many slices a batch is cut into: a power of two, so that two or four threads have the same number each, and
    /// at least two. On a GPU one.
    /// </summary>
    internal int Slices(IReadOnlyList<TokenBatch> document)
    {
        long documents = document[0].Input.shape[0],
            tokens = document.Take(Configuration.Training.BpttSegments ?? document.Count).Sum(s => s.Input.shape[1]),
            slices = 2;
        if (_device.type != DeviceType.CPU)
            return 1;
        while (slices * SliceSize < documents * tokens * Configuration.Model.HiddenSize)
            slices *= 2;
        return (int)Math.Min(slices, documents);
    }

    /// <summary>The number of a slice's first document.</summary>
    private static long First(IReadOnlyList<TokenBatch> document, int slice, int slices) =>
        document[0].Input.shape[0] * slice / slices;

    private static IReadOnlyList<TokenBatch> Slice(IReadOnlyList<TokenBatch> document, int slice, int slices)
    {
        if (slices == 1)
            return document;
        long from = First(document, slice, slices),
            count = First(document, slice + 1, slices) - from;
        Tensor Rows(Tensor x) => x.narrow(0, from, count);
        return
        [
            .. document.Select(s => new TokenBatch(
                Rows(s.Input),
                Rows(s.Target),
                s.Words is null ? null : Rows(s.Words)
            )),
        ];
    }

    /// <summary>Works on each slice on one thread; a slice alone is for the kernels to share out.</summary>
    private void RunSlices(int slices, Action<int> work)
    {
        int threads = get_num_threads();
        if (_device.type != DeviceType.CPU)
        {
            work(0);
            return;
        }
        SliceWorkers.WithKernelThreads(
            slices == 1 ? threads : 1,
            () =>
                SliceWorkers.Run(
                    slices,
                    threads,
                    (_, slice) =>
                    {
                        set_num_threads(1);
                        using var scope = NewDisposeScope();
                        work(slice);
                    }
                )
        );
    }

    public override void Dispose()
    {
        _network.Dispose();
        _consolidation?.Dispose();
        _database?.Dispose();
        foreach (var task in _tasks.Values.OfType<IDisposable>())
            task.Dispose();
    }
}
