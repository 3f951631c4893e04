using System.Runtime.InteropServices;
using EmtTorch.Analysis.Charts;
using EmtTorch.Memory;
using EmtTorch.Models;
using EmtTorch.Tasks;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace EmtTorch.Studies;

/// <summary>What a night did.</summary>
/// <param name="ReplayLoss">The replay's loss in the last step; null where there was none.</param>
/// <param name="RehearsalLoss">The rehearsal's, the cross entropy to what the network answered before the
/// night.</param>
/// <param name="Cues">The tokens that were found to ask for stored writes, with the documents that these are of; of
/// distilled replay alone.</param>
public sealed record NightResult(
    double? ReplayLoss,
    double? RehearsalLoss,
    IReadOnlyList<(long Token, long Episode)> Cues
);

/// <summary>
/// Moves what was written to the fast weights into the slow ones (the source's 1.5): a reservoir of writes is filled by
/// day, and replayed at night, when Adam moves the slow weights.
/// <code>
/// literal:    Σ ‖W_Q h − k‖² + ‖FFN(h) − v‖²                                         over stored writes (h, k, v)
/// distilled:  −Σ p log p̂,  p = network(cues | F of a document's stored writes),  p̂ = network(cues | F = 0)
/// rehearsal:  −Σ p log p̂,  p = network before the night, p̂ = network now             on documents that have nothing to do with the day
/// </code>
/// </summary>
/// <remarks>
/// Literally the loss has FFN answer at the place of the write, with v as it is before W_o. The answer is wanted at a
/// question, of which nothing is stored. Distilled replay finds questions by itself: tokens whose query, where
/// the task asks for them, has a cosine with a stored key above a threshold, each for the document whose key it is
/// nearest to. The network with that document's writes put back into F is the teacher, itself with F = 0 the pupil.
/// It sees no document of the day again, and no answers.
/// </remarks>
public sealed class Consolidation
{
    // Documents of questions in which tokens' queries are looked up: this many batches of 32
    private const int ProbeBatches = 16;

    private readonly EpisodicTransformer _network;
    private readonly ConsolidationConfiguration _settings;
    private readonly SegmentRecallConfiguration _task;
    private readonly Generator _generator;

    /// <param name="network">The network, on the CPU; its slow weights are changed.</param>
    /// <param name="task">What it was trained on.</param>
    /// <param name="settings">How nights are.</param>
    /// <param name="generator">Where random numbers come from.</param>
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
        (_network, _task, _settings, _generator) = (
            network,
            task with
            {
                SegmentLength = Math.Max(settings.SegmentLength, 2 * task.Pairs),
                Distractors = 0,
                BothWays = false,
            },
            settings,
            generator
        );
    }

    /// <summary>The same state with F = 0. Context and attention's window stay.</summary>
    public static EpisodicState Wipe(EpisodicState state) =>
        state.WithMemory(FastWeightMemory.SettingsName, (_, memory) => memory.Select(f => f.zeros_like()));

    /// <summary>The source's replay loss, the mean over stored writes, summed over blocks.</summary>
    /// <param name="network">The network.</param>
    /// <param name="writes">Of each block those that are replayed; a block may have none.</param>
    /// <remarks>k and v are the heads' side by side; of a hypernetwork's r pairs the first.</remarks>
    public static Tensor ReplayLoss(EpisodicTransformer network, IReadOnlyList<IReadOnlyList<StoredWrite>> writes)
    {
        using var scope = NewDisposeScope();
        var loss = zeros([], dtype: network.Dtype, device: network.parameters().First().device);
        foreach (var (block, memory, stored) in network.Blocks.Zip(network.Memories, writes))
        {
            if (stored.Count == 0)
                continue;
            Tensor Together(Func<StoredWrite, Tensor> of) => stack(stored.Select(w => of(w)).ToArray());
            // A head's first pair of r.
            Tensor First(Tensor pairs, StoredWrite w) =>
                pairs.view(w.Strength.shape[0], -1, pairs.shape[^1]).select(1, 0).reshape(-1);
            var h = Together(w => w.Hidden); // (n, d)
            var ofKeys = (memory.Ask(h) - Together(w => First(w.Keys, w))).pow(2).sum([-1L]);
            var ofValues = (block.FeedForward(h) - Together(w => First(w.Values, w))).pow(2).sum([-1L]);
            loss = loss + (ofKeys + ofValues).mean();
        }
        return loss.MoveToOuterDisposeScope();
    }

    /// <summary>A night: so many steps of replay and rehearsal.</summary>
    /// <param name="night">What kind.</param>
    /// <param name="reservoirs">Each block's writes.</param>
    /// <param name="stop">Ends it early.</param>
    public NightResult Night(
        NightConfiguration night,
        IReadOnlyList<WriteReservoir> reservoirs,
        CancellationToken stop = default
    )
    {
        using var everything = NewDisposeScope();
        var writes = reservoirs.Select(r => r.Writes).ToArray();
        using var before = _network.Copy();
        var moved = Moved(night);
        using var adam = optim.Adam(moved, lr: _settings.LearningRate);
        var replay =
            night.Replay == "distilled" ? Replay.Of(_network, writes, QueriesOfTokens(), _settings.Recognized) : null;
        double? ofReplay = null,
            ofRehearsal = null;
        for (int step = 0; step < _settings.Steps; step++)
        {
            stop.ThrowIfCancellationRequested();
            using var scope = NewDisposeScope();
            var first = night.Replay switch
            {
                "literal" => Literal(writes),
                "distilled" => Distilled(before, replay!),
                _ => null,
            };
            var second = night.Rehearsal == "none" ? null : Rehearsal(before, night.Rehearsal == "episodes");
            var loss =
                first is null ? second
                : second is null ? first
                : first + second * _settings.RehearsalWeight;
            if (loss is null)
                break;
            foreach (var parameter in _network.parameters())
                parameter.grad?.zero_();
            BackwardCall.Run(loss);
            if (night.Moves == "query_and_feed_forward")
            {
                using (no_grad())
                    KeepKeysAndValues();
            }

            adam.step();
            (ofReplay, ofRehearsal) = (first?.ToDouble(), second?.ToDouble());
        }
        foreach (var parameter in _network.parameters())
            parameter.grad?.zero_();
        return new(ofReplay, ofRehearsal, replay?.Cues ?? []);
    }

    private List<Parameter> Moved(NightConfiguration night)
    {
        var feedForward = _network.Blocks.SelectMany(b => b.FeedForwardWeights);
        return night.Moves switch
        {
            "feed_forward" => [.. feedForward],
            "query_and_feed_forward" => [.. feedForward, .. _network.Memories.Select(m => m.QueriesKeysAndValues)],
            _ => [.. _network.parameters()],
        };
    }

    // W_K and W_V are the lower rows of the same parameter: without a gradient, and without Adam's averages, they stay.
    private void KeepKeysAndValues()
    {
        foreach (var parameter in _network.Memories.Select(m => m.QueriesKeysAndValues))
            parameter.grad?.narrow(0, parameter.shape[1], 2 * parameter.shape[1]).zero_();
    }

    private SegmentRecall Task(int between) =>
        new(_task.Pairs, between, _task.SegmentLength, _task.Keys, _task.Values, _task.Noise, CPU);

    private Tensor? Literal(IReadOnlyList<StoredWrite>[] writes)
    {
        if (writes.All(w => w.Count == 0))
            return null;
        return ReplayLoss(
            _network,
            [.. writes.Select(w => w.Count == 0 ? w : [.. Drawn(_settings.BatchSize, w.Count).Select(i => w[i])])]
        );
    }

    private int[] Drawn(int count, int below) =>
        [.. rand([count], generator: _generator).data<float>().Select(x => Math.Min(below - 1, (int)(x * below)))];

    // The cross entropy of the pupil's answers to the teacher's, at the places asked.
    private static Tensor Against(
        EpisodicTransformer teacher,
        EpisodicState? teachersState,
        EpisodicTransformer pupil,
        EpisodicState? pupilsState,
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
            wanted = Logits(teacher, teachersState).softmax(-1);
        return -(wanted * nn.functional.log_softmax(Logits(pupil, pupilsState), -1)).sum([-1L]).mean();
    }

    private static Tensor Asked(Tensor target) => target.reshape(-1).ne(TokenBatch.Ignored).nonzero().squeeze(-1);

    private Tensor? Distilled(EpisodicTransformer teacher, Replay replay)
    {
        if (replay.Episodes.Count == 0)
            return null;
        var chosen = Drawn(_settings.BatchSize, replay.Episodes.Count);
        var questions = Task(0).Batch(chosen.Length, _generator)[1];
        // The cues in place of the questions' keys, in random order, each once until all were asked.
        var input = questions.Input.clone();
        // Row, place, row, place, …
        long[] asked = questions.Target.ne(TokenBatch.Ignored).nonzero().contiguous().data<long>().ToArray();
        var orders = chosen.Select(e => Shuffled(replay.Episodes[e].Cues)).ToArray();
        var count = new int[chosen.Length];
        var tokens = MemoryMarshal.Cast<byte, long>(input.bytes); // data<T> has no flat index to write to
        for (int i = 0; i < asked.Length; i += 2)
        {
            var (row, place) = (asked[i], asked[i + 1]);
            tokens[(int)(row * input.shape[1] + place)] = orders[row][count[row]++ % orders[row].Length];
        }
        var nothing = _network.Run(input.narrow(1, 0, 0), null).State;
        var full = nothing.WithMemory(
            FastWeightMemory.SettingsName,
            (block, _) =>
                new()
                {
                    [FastWeightMemory.StateName] = stack(
                        chosen.Select(e => replay.Episodes[e].FastWeights[block]).ToArray()
                    ),
                }
        );
        return Against(teacher, full, _network, nothing, input, Asked(questions.Target));
    }

    private long[] Shuffled(IReadOnlyList<long> tokens)
    {
        var keys = rand([tokens.Count], generator: _generator).data<float>().ToArray();
        return [.. tokens.Zip(keys).OrderBy(p => p.Second).Select(p => p.First)];
    }

    private Tensor Rehearsal(EpisodicTransformer before, bool episodes)
    {
        var document = Task(episodes ? 0 : 1).Batch(_settings.BatchSize, _generator);
        var input = episodes ? cat([document[0].Input, document[1].Input], 1) : document[1].Input;
        var places = episodes
            ? Asked(cat([document[0].Target, document[1].Target], 1))
            : arange(input.numel(), dtype: ScalarType.Int64);
        return Against(before, null, _network, null, input, places);
    }

    /// <summary>
    /// What each block asks for at tokens that the task asks: by token, the mean of q (heads, d_k) with F = 0, brought
    /// back to length 1.
    /// </summary>
    private SortedDictionary<long, Tensor[]> QueriesOfTokens()
    {
        const int Documents = 32;
        using var quiet = no_grad();
        using var scope = NewDisposeScope();
        var sums = new SortedDictionary<long, Tensor[]>();
        var seen = new Tensor?[_network.Memories.Count]; // q of a batch
        for (int i = 0; i < seen.Length; i++)
        {
            int block = i;
            // (B, heads, T, d_k)
            _network.Memories[i].Observer = a => seen[block] = a.Queries.clone().MoveToOtherDisposeScope(scope);
        }
        try
        {
            var task = Task(0);
            for (int batch = 0; batch < ProbeBatches; batch++)
            {
                var questions = task.Batch(Documents, _generator)[1];
                _network.Run(questions.Input, null);
                long[] asked = questions.Target.ne(TokenBatch.Ignored).nonzero().contiguous().data<long>().ToArray();
                for (int i = 0; i < asked.Length; i += 2)
                {
                    var (row, place) = (asked[i], asked[i + 1]);
                    long token = questions.Input[row, place].item<long>();
                    Tensor[] found = [.. seen.Select(q => q![row].select(1, place))];
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

    /// <summary>
    /// What distilled replay goes by: of each document that was recognised its stored writes as F, block by block
    /// (heads, d_k, d_v), and its cues.
    /// </summary>
    private sealed record Replay(IReadOnlyList<(long Episode, IReadOnlyList<long> Cues, Tensor[] FastWeights)> Episodes)
    {
        public IReadOnlyList<(long Token, long Episode)> Cues =>
            [.. Episodes.SelectMany(e => e.Cues.Select(c => (c, e.Episode)))];

        public static Replay Of(
            EpisodicTransformer network,
            IReadOnlyList<StoredWrite>[] writes,
            SortedDictionary<long, Tensor[]> queries,
            double recognized
        )
        {
            using var quiet = no_grad();
            using var scope = NewDisposeScope();
            // Each token's best cosine with a stored key, and whose it is.
            var best = new SortedDictionary<long, (double Cosine, long Episode)>();
            for (int block = 0; block < writes.Length; block++)
            {
                if (writes[block].Count == 0 || queries.Count == 0)
                    continue;
                long heads = writes[block][0].Strength.shape[0];
                // (n, heads, r, d_k)
                var keys = stack(writes[block].Select(w => w.Keys.view(heads, -1, w.Keys.shape[^1])).ToArray());
                var asks = stack(queries.Values.Select(q => q[block]).ToArray()); // (tokens, heads, d_k)
                // (tokens, n)
                var cosines = einsum("thd,nhrd->tnhr", asks, keys).amax([3L]).mean([2L]).to(ScalarType.Float64);
                double[] values = cosines.contiguous().data<double>().ToArray();
                int n = writes[block].Count,
                    t = 0;
                foreach (long token in queries.Keys)
                {
                    for (int i = 0; i < n; i++)
                    {
                        double cosine = values[t * n + i];
                        if (cosine >= recognized && (!best.TryGetValue(token, out var other) || cosine > other.Cosine))
                            best[token] = (cosine, writes[block][i].Episode);
                    }
                    t++;
                }
            }
            var episodes = best.GroupBy(p => p.Value.Episode, p => p.Key)
                .OrderBy(g => g.Key)
                .Select(g => (g.Key, (IReadOnlyList<long>)[.. g], FastWeightsOf(network, writes, g.Key)));
            return new([.. episodes]);
        }

        private static Tensor[] FastWeightsOf(
            EpisodicTransformer network,
            IReadOnlyList<StoredWrite>[] writes,
            long episode
        ) =>
            [
                .. network.Memories.Zip(
                    writes,
                    (memory, all) =>
                    {
                        var own = all.Where(w => w.Episode == episode).OrderBy(w => w.Position).ToArray();
                        if (own.Length == 0)
                            return memory.FirstState(1, CPU)[FastWeightMemory.StateName][0].MoveToOuterDisposeScope();
                        Tensor Together(Func<StoredWrite, Tensor> of) =>
                            stack(own.Select(of).ToArray(), 1).unsqueeze(0); // (1, heads, n, …)
                        return memory
                            .Rewritten(Together(w => w.Keys), Together(w => w.Values), Together(w => w.Strength))[0]
                            .MoveToOuterDisposeScope();
                    }
                ),
            ];
    }
}
