using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace EmtTorch.Memory.Retrieval;

/// <summary>
/// A store of tokens as a block's memory (the source's 2.2). Tokens go to the store in whole chunks, each under the
/// context in which it came, with the key k = W_k c₋₁. Every token asks with the context after it, q = W_q c, for the K
/// entries of earlier chunks whose keys are nearest to it in angle, and attends to them:
/// <code>
/// a = softmax_i(τ q·(W_k c₋₁)_i + ln g_i),   r = Σ a_i h̃_i,   what is added to the stream: W [h̃; r]
/// </code>
/// with q of length 1 (form "context"). The stored value is [h̃; c₋₁]. W_k c₋₁ and the gate g = σ(w [h̃; c₋₁] + b) are
/// computed from it again, so that W_k and w learn from what is read; what is in the store has no gradient. τ is
/// learned. Without a drifting context both c and c₋₁ are h̃: a token asks for tokens like itself. The source has, with
/// h the tokens without context (form "source"),
/// <code>
/// q = W_q h,   a = softmax_i(q·h_i),   r = Σ a_i h_i,   the input of the next layer: [h; r]
/// </code>
/// Either form enters the stream in three ways: added, x + W [h; r]; concatenated (fuse "concatenate"), W [x; r] with x
/// the stream that leaves the block; or with entries as further keys and values of the block's own attention (attention
/// "joint"), whose heads each have a part of the values: softmax([QKᵀ/√d_h; s]) [V; h_i], s the scores above.
/// </summary>
/// <remarks>
/// In the source's form keys have any length and are not rounded: rounding decides near-ties, and two stores may decide
/// them differently. The chunk of a token depends on its position in the document only, so that it finds the same
/// however the document is cut into segments.
/// <para>Keys in the store, and the queries that search for them, are rounded to multiples of 2⁻¹¹. Their products are
/// then multiples of 2⁻²², no partial sum reaches 2, and 24 bits hold each of them: every product is exact in float32,
/// in any order of summation. All stores that search exactly therefore find the same, ties included.</para>
/// <para>With contexts as keys a token finds what followed something like it: the source's binding of items to contexts
/// (Polyn et al.). With h̃ alone a key finds itself and not what it was bound to
/// (experiments/outer-memories/retrieval: without drift recall stays at chance). First weights: W_q = W_k, τ = 3, and
/// W_h of W = [W_h, W_r] is 0; of W [x; r] the first half is I.</para>
/// </remarks>
public sealed class RetrievalMemory : BlockMemory
{
    private const double Grid = 1 << 11;
    private const string Recent = "recent";

    private readonly Projection query; // W_q
    private readonly Projection? key, // W_k, or null in the source's form
        output; // W (d, 2d), or null if attention sees the entries
    private readonly Projection? gate;
    private readonly Parameter? scale; // ln τ
    private readonly RetrievalConfiguration _settings;
    private readonly BlockShape _block;

    internal RetrievalMemory(BlockShape block, RetrievalConfiguration settings)
        : base(nameof(RetrievalMemory))
    {
        long d = block.Width;
        (_block, _settings) = (block, settings);
        query = new(d, d, block, hasBias: false);
        bool isSource = settings.Form == RetrievalConfiguration.Source;
        if (!isSource)
            key = new(d, d, block, hasBias: false);
        if (!IsSeenByAttention)
            output = new(2 * d, d, block);
        if (block.Gate && !isSource)
            gate = new(block.WidthWithContext, 1, block, hasBias: true);
        if (!isSource)
            scale = new(full(1, Math.Log(3), dtype: block.Dtype));
        using (no_grad())
        {
            if (key is not null)
                query.weight.copy_(key.weight);
            if (IsConcatenated)
                output?.weight.narrow(1, 0, d).copy_(eye(d, dtype: block.Dtype));
            else
                output?.weight.narrow(1, 0, d).zero_();
        }
        RegisterComponents();
        this.KeepParameters();
        Store = new MemoryStore(IsShared);
    }

    /// <summary>Where entries are stored: at first in memory. Whoever sets a store disposes of it.</summary>
    public IEpisodicStore Store { get; set; }

    /// <summary>Whether documents of earlier generations are found too.</summary>
    internal bool IsShared => _settings.Scope == "shared";

    internal override bool IsSeenByAttention => _settings.Attention == RetrievalConfiguration.Joint;

    private bool IsConcatenated => _settings.Fuse == RetrievalConfiguration.Concatenate;

    /// <returns>The values of the tokens whose chunk is not complete (B, P, d_v): at first none.</returns>
    public override MemoryState FirstState(long batch, Device device) =>
        new() { [Recent] = zeros([batch, 0, _settings.ValueWidth(_block)], dtype: _block.Dtype, device: device) };

    public override MemoryRead Read(BlockInput input, MemoryState state) => Begin(input, state)();

    /// <summary>Stores the chunks that become complete, and begins to search.</summary>
    public override Func<MemoryRead> Begin(BlockInput input, MemoryState state)
    {
        // What a search returns is in the surrounding dispose scope, and so is everything else here.
        long tokens = input.Hidden.shape[1];
        var h = key is null ? input.Plain : input.Hidden;
        var q = query.forward(key is null ? h : input.Contexts ?? h); // (B, T, d)
        if (key is not null)
            q = nn.functional.normalize(q, dim: -1);
        using var quiet = no_grad();
        var all = h.detach();
        if (key is not null && input.Contexts is { } contexts)
        {
            var before = cat([input.ContextBefore!.unsqueeze(1), contexts], 1).narrow(1, 0, tokens); // c₋₁
            all = cat([all, before], -1);
        }
        if (state[Recent].shape[1] > 0)
            all = cat([state[Recent], all], 1); // (B, P + T, d_v)
        long end = input.Position + tokens,
            from = end - all.shape[1],
            whole = Math.Max(0, end / _settings.Chunk * _settings.Chunk - from);
        if (whole > 0 && all.shape[0] > 0)
            WriteChunks(all.narrow(1, 0, whole), from, input.Documents);
        var found = Search(q, input);
        var recent = all.narrow(1, whole, all.shape[1] - whole).clone();
        return () => Attend(h, q, found, new() { [Recent] = recent });
    }

    /// <summary>Stores chunks: all their tokens, or those with the strongest gates.</summary>
    /// <param name="written">The values (B, n · chunk, d_v).</param>
    /// <param name="from">The position of the first token.</param>
    /// <param name="documents">Which documents these are.</param>
    private void WriteChunks(Tensor written, long from, DocumentNumbers documents)
    {
        long batch = written.shape[0],
            whole = written.shape[1],
            chunk = _settings.Chunk;
        Tensor Places(long first, long count) =>
            arange(first, first + count, dtype: ScalarType.Int64, device: written.device);
        var positions = Places(from, whole).expand(batch, whole);
        if (_settings.Entries is { } count && count < chunk)
        {
            var strength = gate!.forward(written).view(-1, chunk); // (B · n, chunk)
            var chosen = (
                TopEntries.Find(strength, count).Places.sort(-1).Values.view(batch, -1, count)
                + Places(0, whole / chunk).unsqueeze(-1) * chunk
            ).view(batch, -1); // (B, n · count)
            (written, positions) = (
                written.gather(1, chosen.unsqueeze(-1).expand(-1, -1, written.shape[2])),
                positions.gather(1, chosen)
            );
        }
        var keys = key is null
            ? written.to(ScalarType.Float32)
            : OnGrid(nn.functional.normalize(key.forward(FoundBy(written, _block.Width)), dim: -1));
        Store.Write(new(documents.Generation, documents.FirstDocument, from, positions, keys, written));
    }

    /// <summary>Begins the search of each token for the entries of earlier chunks.</summary>
    /// <param name="q">What the tokens ask for (B, T, d).</param>
    /// <param name="input">The tokens.</param>
    /// <returns>What waits for the entries, or null if there can be none.</returns>
    private Func<Neighbours>? Search(Tensor q, BlockInput input)
    {
        long position = input.Position,
            tokens = q.shape[1],
            chunk = _settings.Chunk;
        // The tokens of the first chunk have none before them.
        bool any = Store.IsShared || (position + tokens - 1) / chunk > 0;
        if (!any || q.shape[0] == 0)
            return null;
        // By hand: TorchSharp lets go of an operator's number while libtorch reads it (TorchSharpDefects).
        long[] starts = [.. Enumerable.Range(0, (int)tokens).Select(t => (position + t) / chunk * chunk)];
        var seen = tensor(starts, dtype: ScalarType.Int64, device: q.device);
        var (generation, first) = input.Documents;
        var asked = key is null ? q.detach().to(ScalarType.Float32) : OnGrid(q.detach());
        return Store.Search(new(generation, first, asked, seen, _settings.TopK));
    }

    /// <summary>Waits for what is found, and attends to it, or leaves that to the block's attention.</summary>
    private MemoryRead Attend(Tensor h, Tensor q, Func<Neighbours>? found, MemoryState state)
    {
        using var scope = NewDisposeScope();
        var neighbours = found?.Invoke();
        if (neighbours?.Found.shape[2] == 0)
            neighbours = null;
        var scores = neighbours is null ? null : Score(h, q, neighbours);
        long d = _block.Width;
        if (IsSeenByAttention)
        {
            if (neighbours is null)
                return new(null, state);
            var values = neighbours.Values.narrow(-1, 0, d); // (B, T, K, d)
            return new(null, state)
            {
                Entries = new(scores!.MoveToOuterDisposeScope(), values.MoveToOuterDisposeScope()),
            };
        }
        Tensor read;
        if (neighbours is not null)
        {
            // A token that finds nothing has weights of 0, and no NaN.
            var weights = scores!.softmax(-1) * neighbours.Found.to(scores!.dtype);
            read = matmul(weights.unsqueeze(-2), neighbours.Values.narrow(-1, 0, d)).squeeze(-2); // (B, T, d)
        }
        else
        {
            read = zeros_like(h);
        }
        if (!IsConcatenated)
            return new(output!.forward(cat([h, read], -1)).MoveToOuterDisposeScope(), state);
        read.MoveToOuterDisposeScope();
        return new(null, state) { Leaving = x => output!.forward(cat([x, read], -1)) };
    }

    /// <summary>What stands in the softmax for each entry (B, T, K); −10³⁰ where there is none.</summary>
    private Tensor Score(Tensor h, Tensor q, Neighbours found)
    {
        using var scope = NewDisposeScope();
        var values = found.Values; // (B, T, K, d_v)
        // The store may be the user's own.
        Require.Shape(values, [.. found.Found.shape, _settings.ValueWidth(_block)], nameof(Store));
        Require.Like(values, h, nameof(Store));
        // (W_kᵀ q)·c in place of q·(W_k c): there are K times as many c as q.
        // (B, T, d)
        var asked = key is null ? q : Projection.Multiply(q, key.weight.t(), null, _block.Autocast) * scale!.exp();
        var scores = matmul(FoundBy(values, _block.Width), asked.unsqueeze(-1)).squeeze(-1);
        if (gate is not null)
            scores = scores + gate.forward(values).squeeze(-1).log_sigmoid();
        return scores.masked_fill(found.Found.logical_not(), -1e30).MoveToOuterDisposeScope();
    }

    // The part of values that keys are made of: c₋₁, or h̃ without a drifting context.
    private static Tensor FoundBy(Tensor values, long d) => values.narrow(-1, values.shape[^1] - d, d);

    private static Tensor OnGrid(Tensor x)
    {
        using var scope = NewDisposeScope();
        return (x.to(ScalarType.Float32) * Grid).round().div(Grid).MoveToOuterDisposeScope();
    }
}
