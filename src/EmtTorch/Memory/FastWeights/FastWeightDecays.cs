using static TorchSharp.torch;

namespace EmtTorch.Memory;

/// <summary>
/// The powers of γ for T tokens in n chunks of C. The tokens need not fill the chunks: L_c ≤ C of them are in chunk c,
/// and none in those after the last token. In a chunk the state is there at time 0 and the write of token j at j + 1.
/// What is there at time b has decayed by γ^(i−b) when query i reads it, by γ^(i+1−b) when key i does, and by γ^(L_c−b)
/// at the chunk's end.
/// </summary>
/// <remarks>
/// On a GPU each of these small tensors costs as much time as a large one, so that they are computed once for forward
/// and backward and for all parts of the same length. Exponents are ≥ 0, so that γ may be 0.
/// </remarks>
internal sealed class FastWeightDecays
{
    private readonly Tensor _decay; // γ (h)
    private readonly Tensor _readExponents,
        _writeExponents; // (R / C, C, 1 + C), (n, 1 + C, 1)

    /// <summary>The number of chunks, n, and of tokens in one, C.</summary>
    public long Chunks { get; }
    public long Size { get; }

    /// <summary>
    /// From the times b = 0 … C to each query, and below, for the delta rule, to each key: (h, 1, R, 1 + C), R = C or
    /// 2C. It is 0 for what is written later.
    /// </summary>
    public Tensor Reads { get; }

    /// <summary>From the times b = 0 … C to the end of each chunk: (h, n, 1 + C, 1).</summary>
    public Tensor Writes { get; }

    /// <summary>
    /// Hebbian: from F_0 and the ends of chunks 0 … n−1 to the starts of chunks 0 … n−1 and the end of the last (h, 1 +
    /// n, 1 + n). It is 0 for what is written later.
    /// </summary>
    public Tensor? Carried { get; }

    /// <summary>Computes the powers.</summary>
    /// <param name="decay">γ (h).</param>
    /// <param name="tokens">T.</param>
    /// <param name="size">C.</param>
    /// <param name="delta">The rule.</param>
    public FastWeightDecays(Tensor decay, long tokens, long size, bool delta)
    {
        _decay = decay;
        Size = size;
        Chunks = (tokens + size - 1) / size;
        if (delta)
            Chunks = ChunkTransitions.Rounded(Chunks);
        Tensor Range(long start, long stop, long step) =>
            arange(start, stop, step, dtype: decay.dtype, device: decay.device);

        var times = Range(0, size + 1, 1).unsqueeze(-1); // b, (1 + C, 1)
        var ofQueries = (times.narrow(0, 0, size) - times.t()).tril(); // i−b, and 0 where b > i: (C, 1 + C)
        _readExponents = delta ? stack([ofQueries, (ofQueries + 1).tril()]) : ofQueries.unsqueeze(0);
        Reads = Power(_readExponents).tril().view(-1, 1, _readExponents.shape[0] * size, size + 1);

        var lengths = Range(tokens, tokens - Chunks * size, -size).clamp_max(size); // L, or less than 0: (n)
        _writeExponents = (lengths.view(-1, 1, 1) - times).clamp_min(0);
        Writes = Power(_writeExponents);
        if (delta)
            return;
        var cuts = Range(0, (Chunks + 1) * size, size).clamp_max(tokens); // starts, and the last one's end: (1 + n)
        Carried = decay.view(-1, 1, 1).pow((cuts.unsqueeze(-1) - cuts).tril()).tril();
    }

    /// <summary>Takes <see cref="Saved"/> back.</summary>
    public FastWeightDecays(Tensor decay, IReadOnlyList<Tensor> saved)
    {
        _decay = decay;
        (_readExponents, Reads, _writeExponents, Writes) = (saved[0], saved[1], saved[2], saved[3]);
        Carried = saved.Count > 4 ? saved[4] : null;
        (Chunks, Size) = (_writeExponents.shape[0], _readExponents.shape[1]);
    }

    /// <summary>What backward needs, all but γ.</summary>
    public Tensor[] Saved =>
        [_readExponents, Reads, _writeExponents, Writes, .. Carried is null ? Array.Empty<Tensor>() : [Carried]];

    /// <summary>The number of <see cref="Saved"/>.</summary>
    public static int SavedCount(bool delta) => delta ? 4 : 5;

    /// <summary>The gradient in γ (h), from those in the powers.</summary>
    /// <param name="ofReads">Of <see cref="Reads"/> (1, h, 1, R, 1 + C).</param>
    /// <param name="ofWrites">Of <see cref="Writes"/> (1, h, n, 1 + C, 1). It includes what <see cref="Carried"/>
    /// does.</param>
    public Tensor Gradient(Tensor ofReads, Tensor ofWrites) =>
        Along(ofReads.view(1, -1, _readExponents.shape[0], Size, Size + 1), _readExponents)
            .add_(Along(ofWrites, _writeExponents));

    // dγ^e = e γ^(e−1) dγ
    private Tensor Along(Tensor gradient, Tensor exponents) =>
        (gradient * Power((exponents - 1).clamp_min_(0)).mul_(exponents)).sum([0L, 2L, 3L, 4L]);

    private Tensor Power(Tensor exponents) => _decay.view(-1, 1, 1, 1).pow(exponents);
}
