using EmtTorch.Memory;
using EmtTorch.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Studies;

/// <summary>A document of the day as distilled replay sees it.</summary>
/// <param name="Episode">The number of the document.</param>
/// <param name="Cues">The tokens that ask for its writes.</param>
/// <param name="FastWeights">For each block its stored writes as F (heads, d_k, d_v).</param>
internal sealed record ReplayEpisode(long Episode, IReadOnlyList<long> Cues, Tensor[] FastWeights)
{
    /// <summary>Finds the documents whose stored keys some query recognises.</summary>
    /// <param name="writes">The stored writes of each block.</param>
    /// <param name="queries">For each token its query in each block, (heads, d_k), of length 1.</param>
    /// <param name="recognized">The smallest cosine at which a token is a cue.</param>
    public static List<ReplayEpisode> Find(
        EpisodicTransformer network,
        IReadOnlyList<StoredWrite>[] writes,
        SortedDictionary<long, Tensor[]> queries,
        double recognized
    )
    {
        using var quiet = no_grad();
        using var scope = NewDisposeScope();
        // The largest cosine of each token's query with a stored key, and the document of that key.
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
            double[] values = [.. cosines.contiguous().data<double>()];
            int n = writes[block].Count;
            foreach (var (t, token) in queries.Keys.Index())
            {
                for (int i = 0; i < n; i++)
                {
                    double cosine = values[t * n + i];
                    if (cosine >= recognized && (!best.TryGetValue(token, out var other) || cosine > other.Cosine))
                        best[token] = (cosine, writes[block][i].Episode);
                }
            }
        }
        return
        [
            .. best.GroupBy(p => p.Value.Episode, p => p.Key)
                .OrderBy(g => g.Key)
                .Select(g => new ReplayEpisode(g.Key, [.. g], Rewrite(network, writes, g.Key))),
        ];
    }

    // F of a document's stored writes, block by block.
    private static Tensor[] Rewrite(EpisodicTransformer network, IReadOnlyList<StoredWrite>[] writes, long episode)
    {
        return [.. network.Memories.Zip(writes, RewriteBlock)];

        Tensor RewriteBlock(FastWeightMemory memory, IReadOnlyList<StoredWrite> all)
        {
            var own = all.Where(w => w.Episode == episode).OrderBy(w => w.Position).ToArray();
            // (1, heads, n, …)
            Tensor Stack(Func<StoredWrite, Tensor> part) => stack(own.Select(part).ToArray(), 1).unsqueeze(0);
            var weights =
                own.Length == 0
                    ? memory.FirstState(1, CPU)[FastWeightMemory.StateName]
                    : memory.Rewritten(Stack(w => w.Keys), Stack(w => w.Values), Stack(w => w.Strength));
            return weights[0].MoveToOuterDisposeScope();
        }
    }
}
