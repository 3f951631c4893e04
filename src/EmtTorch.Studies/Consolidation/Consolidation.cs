using System.Runtime.InteropServices;
using EmtTorch.Memory;
using EmtTorch.Models;
using EmtTorch.Tasks;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace EmtTorch.Studies;

/// <summary>The results of a night.</summary>
/// <param name="ReplayLoss">The loss of the replay in the last step, or null if nothing was replayed.</param>
/// <param name="RehearsalLoss">The loss of the rehearsal in the last step: the cross entropy to the network's answers
/// before the night. Null if nothing was rehearsed.</param>
/// <param name="Cues">The cues that distilled replay found. Other replays need none.</param>
public sealed record NightResult(double? ReplayLoss, double? RehearsalLoss, IReadOnlyList<Cue> Cues);

/// <summary>A token whose query asks for stored writes.</summary>
/// <param name="Token">The token.</param>
/// <param name="Episode">The document of these writes.</param>
public readonly record struct Cue(long Token, long Episode);

/// <summary>
/// Moves what was written to the fast weights into the slow ones (the source's 1.5). By day a reservoir collects
/// writes; at night they are replayed while Adam moves the slow weights.
/// <code>
/// literal:    Σ ‖W_Q h − k‖² + ‖FFN(h) − v‖²   over stored writes (h, k, v)
/// distilled:  −Σ p log p̂,  p = network(cues | F of a document's stored writes),  p̂ = network(cues | F = 0)
/// rehearsal:  −Σ p log p̂,  p = network before the night,  p̂ = network now,  on documents unrelated to the day
/// </code>
/// </summary>
/// <remarks>
/// The literal loss has the memory's own W_Q and a mean over the writes where the source has attention's W_Q and a sum;
/// <see cref="ComputeReplayLoss"/> computes either, and `training.consolidation` the source's. It asks FFN for v, as it
/// is before W_o, at the place of the write. But the answer is wanted at a question, and no question is stored.
/// Distilled replay finds questions by itself: a token is a cue if the cosine of its query, where the task asks for it,
/// and a stored key exceeds a threshold; the cue belongs to the document of the nearest key. The teacher is the network
/// with this document's writes put back into F, the pupil is the network with F = 0. Distilled replay sees neither the
/// documents of the day again nor their answers.
/// </remarks>
/// <example><code>
/// var consolidation = new Consolidation(network, task, settings, generator);
/// var night = consolidation.RunNight(new NightConfiguration(), reservoirs);   // one WriteReservoir for each block
/// </code></example>
public sealed class Consolidation
{
    // Documents whose questions are searched for cues.
    private const int ProbeBatches = 16,
        ProbeBatchSize = 32;

    private readonly EpisodicTransformer _network;
    private readonly ConsolidationConfiguration _settings;
    private readonly SegmentRecallConfiguration _task;
    private readonly Generator _generator;

    /// <param name="network">The network, on the CPU. Nights change its slow weights.</param>
    /// <param name="task">The task that it was trained on.</param>
    /// <param name="settings">The settings of all nights.</param>
    /// <param name="generator">The source of random numbers.</param>
    /// <exception cref="ArgumentException">A block has no fast weights.</exception>
    public Consolidation(
        EpisodicTransformer network,
        SegmentRecallConfiguration task,
        ConsolidationConfiguration settings,
        Generator generator
    )
    {
        if (network.Memories.Count != network.Blocks.Count)
            throw new ArgumentException("has no fast weights: there is nothing to consolidate", nameof(network));
        (_network, _settings, _generator) = (network, settings, generator);
        int length = Math.Max(settings.SegmentLength, 2 * task.Pairs);
        _task = task with { SegmentLength = length, Distractors = 0, BothWays = false };
    }

    /// <summary>Returns the same state with F = 0. The context and the window of attention stay.</summary>
    public static EpisodicState Wipe(EpisodicState state) =>
        state.WithMemory(FastWeightMemory.SettingsName, (_, memory) => memory.Select(f => f.zeros_like()));

    /// <summary>The literal replay loss: by default the mean over stored writes, summed over blocks.</summary>
    /// <param name="network">The network.</param>
    /// <param name="writes">For each block the writes to replay, maybe none.</param>
    /// <param name="ofAttention">Whether W_Q is attention's, as in the source, and not the memory's own.</param>
    /// <param name="isMean">Whether it is a mean over the writes; the source has their sum.</param>
    /// <returns>A scalar that depends on the network's parameters.</returns>
    /// <remarks>k and v concatenate all heads. Of a hypernetwork's r pairs the first counts.</remarks>
    public static Tensor ComputeReplayLoss(
        EpisodicTransformer network,
        IReadOnlyList<IReadOnlyList<StoredWrite>> writes,
        bool ofAttention = false,
        bool isMean = true
    )
    {
        using var scope = NewDisposeScope();
        return ReplayLoss.Compute(network, [.. writes.Select(Stacked)], ofAttention, isMean).MoveToOuterDisposeScope();

        static ReplayWrites? Stacked(IReadOnlyList<StoredWrite> stored)
        {
            if (stored.Count == 0)
                return null;
            Tensor Stack(Func<StoredWrite, Tensor> part) => stack(stored.Select(part).ToArray()); // (n, d)
            // The first pair of each head.
            Tensor First(Tensor pairs, StoredWrite w) =>
                pairs.view(w.Strength.shape[0], -1, pairs.shape[^1]).select(1, 0).reshape(-1);
            return new(Stack(w => w.Hidden), Stack(w => First(w.Keys, w)), Stack(w => First(w.Values, w)));
        }
    }

    /// <summary>Runs a night: replay and rehearsal for the steps of the settings.</summary>
    /// <param name="night">The kind of night.</param>
    /// <param name="reservoirs">The writes of each block.</param>
    /// <param name="stop">Ends it early.</param>
    /// <exception cref="OperationCanceledException"><paramref name="stop"/> was cancelled.</exception>
    public NightResult RunNight(
        NightConfiguration night,
        IReadOnlyList<WriteReservoir> reservoirs,
        CancellationToken stop = default
    )
    {
        using var everything = NewDisposeScope();
        var writes = reservoirs.Select(r => r.Writes).ToArray();
        using var before = _network.Copy();
        using var adam = optim.Adam(SelectMovedParameters(night), lr: _settings.LearningRate);
        var episodes =
            night.Replay == "distilled"
                ? ReplayEpisode.Find(_network, writes, MeasureQueries(), _settings.Recognized)
                : [];
        double? replayLoss = null,
            rehearsalLoss = null;
        for (int step = 0; step < _settings.Steps; step++)
        {
            stop.ThrowIfCancellationRequested();
            using var scope = NewDisposeScope();
            var replay = night.Replay switch
            {
                "literal" => Replay(writes),
                "distilled" => Distil(before, episodes),
                _ => null,
            };
            var rehearsal = night.Rehearsal == "none" ? null : Rehearse(before, night.Rehearsal == "episodes");
            var loss =
                replay is null ? rehearsal
                : rehearsal is null ? replay
                : replay + rehearsal * _settings.RehearsalWeight;
            if (loss is null)
                break;
            ClearGradients();
            BackwardCall.Run(loss);
            if (night.Moves == "query_and_feed_forward")
                ClearKeyAndValueGradients();
            adam.step();
            (replayLoss, rehearsalLoss) = (replay?.ToDouble(), rehearsal?.ToDouble());
        }
        ClearGradients();
        return new(
            replayLoss,
            rehearsalLoss,
            [.. episodes.SelectMany(e => e.Cues.Select(token => new Cue(token, e.Episode)))]
        );
    }

    private void ClearGradients()
    {
        foreach (var parameter in _network.parameters())
            parameter.grad?.zero_();
    }

    private List<Parameter> SelectMovedParameters(NightConfiguration night)
    {
        var feedForward = _network.Blocks.SelectMany(b => b.FeedForwardWeights);
        return night.Moves switch
        {
            "feed_forward" => [.. feedForward],
            "query_and_feed_forward" => [.. feedForward, .. _network.Memories.Select(m => m.QueriesKeysAndValues)],
            _ => [.. _network.parameters()],
        };
    }

    // W_Q, W_K and W_V are rows of one parameter. Without gradients W_K and W_V stay.
    private void ClearKeyAndValueGradients()
    {
        using var quiet = no_grad();
        foreach (var parameter in _network.Memories.Select(m => m.QueriesKeysAndValues))
            parameter.grad?.narrow(0, parameter.shape[1], 2 * parameter.shape[1]).zero_();
    }

    private ITokenTask Task(int between) =>
        (_task with { Distractors = 0, BothWays = false, Vocabularies = 1, Vocabulary = 1 }).Create(between, CPU);

    private Tensor? Replay(IReadOnlyList<StoredWrite>[] writes) =>
        writes.All(w => w.Count == 0)
            ? null
            : ComputeReplayLoss(
                _network,
                [.. writes.Select(w => w.Count == 0 ? w : [.. Draw(_settings.BatchSize, w.Count).Select(i => w[i])])]
            );

    private int[] Draw(int count, int below) =>
        [.. rand([count], generator: _generator).data<float>().Select(x => Math.Min(below - 1, (int)(x * below)))];

    // The cross entropy of the pupil's answers, from its state, to the teacher's. `places` are flat indices.
    private Tensor CompareAnswers(
        EpisodicTransformer teacher,
        EpisodicState? teacherState,
        EpisodicState? pupilState,
        Tensor input,
        Tensor places
    )
    {
        Tensor Logits(EpisodicTransformer network, EpisodicState? state)
        {
            var hidden = network.Run(input, state).Hidden;
            return network.ReadOut(hidden.reshape(-1, hidden.shape[2]).index_select(0, places));
        }
        Tensor wanted;
        using (no_grad())
            wanted = Logits(teacher, teacherState).softmax(-1);
        return -(wanted * nn.functional.log_softmax(Logits(_network, pupilState), -1)).sum([-1L]).mean();
    }

    // The flat indices of the questions.
    internal static Tensor FindQuestions(Tensor target) =>
        target.reshape(-1).ne(TokenBatch.Ignored).nonzero().squeeze(-1);

    private Tensor? Distil(EpisodicTransformer teacher, IReadOnlyList<ReplayEpisode> episodes)
    {
        if (episodes.Count == 0)
            return null;
        var chosen = Draw(_settings.BatchSize, episodes.Count).Select(i => episodes[i]).ToArray();
        var questions = Task(0).Batch(chosen.Length, _generator)[1];
        var input = AskForCues(questions, chosen);
        var pupil = _network.Run(input.narrow(1, 0, 0), null).State;
        Tensor FastWeights(int block) => stack(chosen.Select(e => e.FastWeights[block]).ToArray());
        var full = pupil.WithMemory(
            FastWeightMemory.SettingsName,
            (block, _) => new() { [FastWeightMemory.StateName] = FastWeights(block) }
        );
        return CompareAnswers(teacher, full, pupil, input, FindQuestions(questions.Target));
    }

    // The input of the questions with cues for their keys: a document for each row, its cues in random order, each once
    // until all were asked.
    private Tensor AskForCues(TokenBatch questions, ReplayEpisode[] episodes)
    {
        var input = questions.Input.clone(); // (B, T)
        var orders = episodes.Select(e => Shuffle(e.Cues)).ToArray();
        var count = new int[episodes.Length];
        var tokens = MemoryMarshal.Cast<byte, long>(input.bytes); // data<T> has no flat index to write to
        long length = input.shape[1];
        foreach (long place in FindQuestions(questions.Target).data<long>())
        {
            long row = place / length;
            tokens[(int)place] = orders[row][count[row]++ % orders[row].Length];
        }
        return input;
    }

    private long[] Shuffle(IReadOnlyList<long> tokens)
    {
        var keys = rand([tokens.Count], generator: _generator).data<float>().ToArray();
        return [.. tokens.Zip(keys).OrderBy(p => p.Second).Select(p => p.First)];
    }

    private Tensor Rehearse(EpisodicTransformer before, bool episodes)
    {
        var document = Task(episodes ? 0 : 1).Batch(_settings.BatchSize, _generator);
        var input = episodes ? cat([document[0].Input, document[1].Input], 1) : document[1].Input;
        var places = episodes
            ? FindQuestions(cat([document[0].Target, document[1].Target], 1))
            : arange(input.numel(), dtype: ScalarType.Int64);
        return CompareAnswers(before, null, null, input, places);
    }

    // For each token that the task asks for, the mean of q (heads, d_k) in each block with F = 0, scaled to length 1.
    private SortedDictionary<long, Tensor[]> MeasureQueries()
    {
        using var quiet = no_grad();
        using var scope = NewDisposeScope();
        var sums = new SortedDictionary<long, Tensor[]>();
        var seen = new Tensor?[_network.Memories.Count]; // q of a batch, (B, heads, T, d_k)
        for (int i = 0; i < seen.Length; i++)
        {
            int block = i;
            _network.Memories[i].Observer = a => seen[block] = a.Queries.clone().MoveToOtherDisposeScope(scope);
        }
        try
        {
            var task = Task(0);
            for (int batch = 0; batch < ProbeBatches; batch++)
            {
                var questions = task.Batch(ProbeBatchSize, _generator)[1];
                _network.Run(questions.Input, null);
                long length = questions.Input.shape[1];
                foreach (long place in FindQuestions(questions.Target).data<long>())
                {
                    var (row, t) = Math.DivRem(place, length);
                    long token = questions.Input[row, t].item<long>();
                    Tensor[] found = [.. seen.Select(q => q![row].select(1, t))];
                    sums[token] = sums.TryGetValue(token, out var sum) ? [.. sum.Zip(found, (x, y) => x + y)] : found;
                }
            }
        }
        finally
        {
            foreach (var memory in _network.Memories)
                memory.Observer = null;
        }
        foreach (long token in sums.Keys.ToArray())
            sums[token] = [.. sums[token].Select(q => nn.functional.normalize(q, dim: -1).MoveToOuterDisposeScope())];
        return sums;
    }
}
