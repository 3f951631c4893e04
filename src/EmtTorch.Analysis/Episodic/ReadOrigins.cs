using EmtTorch.Memory;
using EmtTorch.Tasks;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Analysis.Episodic;

/// <summary>
/// Where reads come from. The recurrence of fast weights never mixes the columns of F, so that a read is a weighted sum
/// of the values that were written, r_t = Σ_{s&lt;t} a_ts v_s, by either rule and with any gate
/// and decay; and the weights a_ts are what it reads when the values are unit vectors, v_s = e_s. Nothing is fitted. Of
/// a hypernetwork's writes each of a token's r values has a weight of its own. The source's read, F_t q_t, is a
/// weighted sum of keys, and the token's own is among them: r_t = Σ_{s≤t} a_ts k_s.
/// </summary>
internal static class ReadOrigins
{
    /// <summary>Columns of one scan.</summary>
    private const int Columns = 512;

    /// <summary>
    /// Tokens after a pair's value that still count as the pair's: its context has key and value both.
    /// </summary>
    private const int After = 1;

    /// <summary>a (T, T): row t, column s; 0 where s ≥ t, or s &gt; t for the source's read.</summary>
    /// <param name="record">What a block did.</param>
    /// <param name="document">Which document.</param>
    /// <param name="head">Which head, from 0.</param>
    /// <param name="pair">Which of a token's r pairs, from 0.</param>
    public static Tensor Weights(MemoryRecord record, long document, long head, long pair = 0)
    {
        using var scope = NewDisposeScope();
        Tensor Of(Tensor x, long at) => x.narrow(0, document, 1).narrow(1, at, 1).to(ScalarType.Float64);
        Tensor q = Of(record.Queries, head),
            k = Of(record.ReadsAsSource ? record.Values : record.Keys, head * Rank(record) + pair), // what q meets
            strength = Of(record.Strength, head);
        long tokens = q.shape[2];
        var decay = record.Decay.narrow(0, head, 1).to(ScalarType.Float64);
        var parts = eye(tokens, dtype: ScalarType.Float64)
            .split((long)Columns, 1)
            .Select(values =>
                FastWeights
                    .Scan(
                        q,
                        k,
                        values.view(1, 1, tokens, -1),
                        strength,
                        decay,
                        zeros([1, 1, q.shape[3], values.shape[1]], dtype: ScalarType.Float64),
                        record.Rule
                    )
                    .Read
            );
        var before = cat(parts.ToArray(), 3)[0][0];
        if (!record.ReadsAsSource)
            return before.MoveToOuterDisposeScope();
        var own = strength[0][0] * (q[0][0] * k[0][0]).sum(-1); // (T)
        return (before * decay + own.diag()).MoveToOuterDisposeScope();
    }

    /// <summary>The pairs that a token writes.</summary>
    private static long Rank(MemoryRecord record) => record.Keys.shape[1] / record.Queries.shape[1];

    /// <summary>
    /// Of each question the share of its read that comes from each pair, |a_ts| ‖v_s‖ over the pair's tokens (and each
    /// one's r values) against all tokens; 0 if nothing was read, NaN if it is no number.
    /// </summary>
    public static double[][] Shares(MemoryRecord record, long document, long head, BoundPairs bound)
    {
        using var scope = NewDisposeScope();
        long rank = Rank(record);
        var asked = tensor(bound.Questions.Select(q => (long)q.At).ToArray());
        var given = record.ReadsAsSource ? record.Keys : record.Values; // what a read gives back
        Tensor Sizes(long pair) => given[document][head * rank + pair].to(ScalarType.Float64).norm(-1); // ‖v_s‖ (T)
        var rows = Matrices.Rows(
            Enumerable
                .Range(0, (int)rank)
                .Select(i => Weights(record, document, head, i).index_select(0, asked).abs() * Sizes(i))
                .Aggregate((x, y) => x + y)
        );
        var owner = Owners(bound, rows.Length == 0 ? 0 : rows[0].Length);
        return
        [
            .. rows.Select(row =>
            {
                var shares = new double[bound.Pairs.Count];
                double all = row.Sum();
                for (int s = 0; s < row.Length; s++)
                {
                    if (owner[s] >= 0 && all != 0)
                        shares[owner[s]] += row[s] / all;
                }
                return shares;
            }),
        ];
    }

    /// <summary>Of each token the pair that it belongs to; −1: none.</summary>
    private static int[] Owners(BoundPairs bound, int tokens)
    {
        var owner = new int[tokens];
        Array.Fill(owner, -1);
        // The next pair's key is the next pair's.
        for (int i = 0; i < bound.Pairs.Count; i++)
        {
            for (int s = bound.Pairs[i].At - 1; s <= bound.Pairs[i].At + After && s < tokens; s++)
                owner[s] = i;
        }

        return owner;
    }
}
