using static TorchSharp.torch;

namespace EmtTorch.Memory;

/// <summary>
/// The state through n chunks, S ← A_c S + M_c, and the gradients back through them, with A_cᵀ. A loop is two small
/// operators for each chunk, and on a GPU each of them takes its launch's time. So neighbours are paired,
/// <code>
/// A = A_later A_earlier          M = A_later M_earlier + M_later
/// </code>
/// pairs are paired again, and only the few that remain go through the loop; from the state before a pair follows that
/// before its second chunk (a prefix scan, Blelloch 1990). That is three times the loop's arithmetic, in O(log n)
/// operators.
/// </summary>
/// <remarks>All tensors belong to the surrounding dispose scope. Gradients must not be recorded.</remarks>
internal sealed class ChunkTransitions
{
    // A pairing is about ten operators, the loop two for each chunk.
    private const long MostInLoop = 8;

    // No product of A spans more than 32 chunks. If keys are longer than 1, ‖A‖ may be greater than 1, and the product
    // of all could be infinite although every state is finite.
    private const int MostPairings = 5;

    private readonly (Tensor Earlier, Tensor Later)[] _pairs; // of 1, 2, 4, … chunks: (B h n / 2, d_k, d_k) each
    private readonly Tensor _last; // those that go through the loop
    private readonly long _sequences,
        _inLoop; // B h, and the number of chunks in a sequence that go through the loop

    /// <param name="transitions">A (B, h, n, d_k, d_k); n is <see cref="Rounded"/>.</param>
    public ChunkTransitions(Tensor transitions)
    {
        long[] shape = transitions.shape;
        _sequences = shape[0] * shape[1];
        _last = transitions.flatten(0, 2);
        _pairs = new (Tensor, Tensor)[Pairings(shape[2])];
        for (int i = 0; i < _pairs.Length; i++)
        {
            _pairs[i] = Pairs(_last);
            _last = bmm(_pairs[i].Later, _pairs[i].Earlier);
        }
        _inLoop = shape[2] >> _pairs.Length;
    }

    /// <summary>The number of chunks, rounded up so that they can be paired.</summary>
    public static long Rounded(long chunks)
    {
        long group = 1L << Pairings(chunks);
        return (chunks + group - 1) / group * group;
    }

    /// <summary>Takes the state through all chunks.</summary>
    /// <param name="first">The state before the first chunk, or the gradient in that after the last (B, h, d_k,
    /// d_v).</param>
    /// <param name="added">M (B, h, n, d_k, d_v).</param>
    /// <param name="backwards">From the last chunk to the first, with Aᵀ.</param>
    /// <returns>What each chunk starts from (B, h, n, d_k, d_v), and what the last one leaves (B, h, d_k,
    /// d_v).</returns>
    public (Tensor Each, Tensor Last) Carry(Tensor first, Tensor added, bool backwards)
    {
        var (each, last) = Carry(first.flatten(0, 1), added.flatten(0, 2), backwards, 0);
        return (each.view(added.shape), last.view(first.shape));
    }

    private (Tensor Each, Tensor Last) Carry(Tensor first, Tensor added, bool backwards, int pairing)
    {
        if (pairing == _pairs.Length)
            return Loop(first, added, backwards);
        var (near, far) = _pairs[pairing]; // which comes first, and second
        var (ofNear, ofFar) = Pairs(added);
        if (backwards)
            (near, far, ofNear, ofFar) = (far.mT, near.mT, ofFar, ofNear);
        var ofPairs = bmm(far, ofNear).add_(ofFar);
        var (beforeNear, last) = Carry(first, ofPairs, backwards, pairing + 1);
        var beforeFar = bmm(near, beforeNear).add_(ofNear);
        return (stack(backwards ? [beforeFar, beforeNear] : [beforeNear, beforeFar], 1).flatten(0, 1), last);
    }

    private (Tensor Each, Tensor Last) Loop(Tensor first, Tensor added, bool backwards)
    {
        var transitions = InOrder(backwards ? _last.mT : _last);
        var steps = InOrder(added);
        var each = new Tensor[steps.Length];
        var state = first;
        for (int step = 0; step < each.Length; step++)
        {
            int c = backwards ? each.Length - 1 - step : step;
            each[c] = state;
            state = bmm(transitions[c], state).add_(steps[c]);
        }
        return (stack(each, 1).flatten(0, 1), state);
    }

    /// <summary>n × (B h, …) of (B h n, …).</summary>
    private Tensor[] InOrder(Tensor chunks) => chunks.unflatten(0, _sequences, _inLoop).unbind(1);

    private static (Tensor Earlier, Tensor Later) Pairs(Tensor chunks)
    {
        var halves = chunks.unflatten(0, chunks.shape[0] / 2, 2).unbind(1);
        return (halves[0], halves[1]);
    }

    private static int Pairings(long chunks)
    {
        int pairings = 0;
        while (pairings < MostPairings && chunks > MostInLoop << pairings)
            pairings++;
        return pairings;
    }
}
