using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace EmtTorch.Memory.Retrieval;

/// <summary>Which documents tokens are of, and where in them.</summary>
/// <param name="Position">Tokens before these.</param>
/// <param name="Generation">The documents' batch.</param>
/// <param name="FirstDocument">The first one's number in it.</param>
internal readonly record struct DocumentPlace(long Position, long Generation, long FirstDocument);

/// <summary>
/// A block's part that looks things up (the source's 2.2). Tokens go to a store, in whole chunks, each under the
/// context that it came in, with the key k = W_k c₋₁; every token asks with the context that it leaves,
/// q = W_q c, for the K entries of earlier chunks whose keys are nearest to it in angle, and attends to them:
/// <code>
/// a = softmax_i(τ q·(W_k c₋₁)_i + ln g_i),   r = Σ a_i h̃_i,   what is added to the stream: W [h̃; r]
/// </code>
/// with q of length 1. What is stored as a value is [h̃; c₋₁]: W_k c₋₁ and the gate g = σ(w [h̃; c₋₁] + b) are taken
/// anew from it, so that W_k and w are learned from what is read; what is in the store has no gradient.
/// τ is learned. Without a drifting context both c and c₋₁ are h̃: a token asks for those like itself.
/// </summary>
/// <remarks>
/// Which chunk a token is in follows from its place in the document alone, so that it finds the same however the
/// document is cut into segments.
/// <para>Keys in the store and the queries they are searched by are rounded to multiples of 2⁻¹¹. Their products are
/// multiples of 2⁻²² then, no partial sum of one reaches 2, and 24 bits hold each of these: every product is exact in
/// float32, in whatever order it is summed up. So all stores that search exactly find the same, ties included.</para>
/// <para>By contexts, what is found is what followed something like this: the source's binding of items to contexts
/// (Polyn et al.). By h̃ alone a key that is asked for finds itself, where it was bound, and not what it was bound to
/// (experiments/outer-memories/retrieval: without drift recall stays at chance). At first W_q = W_k, τ = 3, and W_h of
/// W = [W_h, W_r] is 0.</para>
/// </remarks>
public sealed class RetrievalMemory : nn.Module
{
    private const double Grid = 1 << 11;

    private readonly Projection query,
        key,
        output; // W_q, W_k, W
    private readonly Projection? gate;
    private readonly Parameter scale; // ln τ
    private readonly RetrievalConfiguration _settings;
    private readonly bool _autocast;

    internal RetrievalMemory(BlockShape block, RetrievalConfiguration settings)
        : base(nameof(RetrievalMemory))
    {
        long d = block.Width;
        (_autocast, _settings) = (block.Autocast, settings);
        query = new(d, d, block, hasBias: false);
        key = new(d, d, block, hasBias: false);
        output = new(2 * d, d, block);
        if (block.Gate)
            gate = new(block.WidthWithContext, 1, block, hasBias: true);
        scale = new(full(1, Math.Log(3), dtype: block.Dtype));
        using (no_grad())
        {
            query.weight.copy_(key.weight);
            output.weight.narrow(1, 0, d).zero_();
        }
        RegisterComponents();
        this.KeepParameters();
        Store = new MemoryStore(_settings.Scope == "shared");
    }

    /// <summary>Where entries are; one in memory at first. It belongs to whoever sets it.</summary>
    public IEpisodicStore Store { get; set; }

    /// <summary>A search that has begun.</summary>
    /// <param name="Query">q (B, T, d), with gradients.</param>
    /// <param name="Found">Gives the entries; null where there can be none.</param>
    /// <param name="Recent">The values of the chunk that isn't whole yet (B, P, d_v).</param>
    internal sealed record Pending(Tensor Query, Func<Neighbours>? Found, Tensor Recent);

    /// <summary>Stores the chunks that become whole, and begins to search.</summary>
    /// <param name="h">h̃ (B, T, d).</param>
    /// <param name="contexts">c (B, T, d), where there is one.</param>
    /// <param name="context">c before the first token (B, d).</param>
    /// <param name="recent">What the tokens before left (B, P, d_v); null: nothing.</param>
    /// <param name="before">Where they were.</param>
    internal Pending Begin(Tensor h, Tensor? contexts, Tensor? context, Tensor? recent, DocumentPlace before)
    {
        // What a search gives is in the dispose scope around, and so is all else.
        long batch = h.shape[0],
            tokens = h.shape[1],
            d = h.shape[2],
            chunk = _settings.Chunk,
            position = before.Position;
        var q = nn.functional.normalize(query.forward(contexts ?? h), dim: -1);
        using var quiet = no_grad();
        var all = h.detach();
        if (contexts is not null)
            all = cat([all, cat([context!.unsqueeze(1), contexts], 1).narrow(1, 0, tokens)], -1); // [h̃; c₋₁]
        if (recent is not null)
            all = cat([recent, all], 1);
        long from = position + tokens - all.shape[1],
            whole = Math.Max(0, (position + tokens) / chunk * chunk - from);
        if (whole > 0 && batch > 0)
        {
            var written = all.narrow(1, 0, whole);
            var positions = arange(from, from + whole, dtype: ScalarType.Int64, device: h.device).expand(batch, whole);
            if (_settings.Entries is { } count && count < chunk)
            {
                var strength = gate!.forward(written).view(batch, whole / chunk, chunk);
                var first = arange(whole / chunk, dtype: ScalarType.Int64, device: h.device).unsqueeze(-1) * chunk;
                var chosen = (
                    TopEntries.Find(strength.view(-1, chunk), count).Places.sort(-1).Values.view(batch, -1, count)
                    + first
                ).view(batch, -1); // (B, n · count)
                (written, positions) = (
                    written.gather(1, chosen.unsqueeze(-1).expand(-1, -1, written.shape[2])),
                    positions.gather(1, chosen)
                );
            }
            Store.Write(
                new(
                    before.Generation,
                    before.FirstDocument,
                    from,
                    positions,
                    OnGrid(nn.functional.normalize(key.forward(FoundBy(written, d)), dim: -1)),
                    written
                )
            );
        }
        // All tokens of the first chunk have none before them.
        bool any = Store.IsShared || (position + tokens - 1) / chunk > 0;
        Func<Neighbours>? found = null;
        if (any && batch > 0 && tokens > 0)
        {
            var seen =
                arange(position, position + tokens, dtype: ScalarType.Int64, device: h.device)
                    .div(chunk, RoundingMode.floor) * chunk;
            found = Store.Search(
                new(before.Generation, before.FirstDocument, OnGrid(q.detach()), seen, _settings.TopK)
            );
        }
        return new(q, found, all.narrow(1, whole, all.shape[1] - whole).clone());
    }

    /// <summary>Waits for what is found, and attends to it.</summary>
    /// <returns>What is added to the stream (B, T, d).</returns>
    internal Tensor End(Tensor h, Pending search)
    {
        using var scope = NewDisposeScope();
        Tensor read;
        if (search.Found?.Invoke() is { } neighbours && neighbours.Found.shape[2] > 0)
        {
            var values = neighbours.Values; // (B, T, K, d_v)
            long d = h.shape[2];
            // A store may be the user's own.
            Require.Shape(values, [.. neighbours.Found.shape, search.Recent.shape[2]], nameof(Store));
            Require.Like(values, h, nameof(Store));
            // By (W_kᵀ q)·c and not q·(W_k c): what is found is K times as much as what asks.
            var asked = Projection.Multiply(search.Query, key.weight.t(), null, _autocast) * scale.exp(); // (B, T, d)
            var scores = matmul(FoundBy(values, d), asked.unsqueeze(-1)).squeeze(-1); // (B, T, K)
            if (gate is not null)
                scores = scores + gate.forward(values).squeeze(-1).log_sigmoid();
            // Where nothing is found: no weight, and no NaN.
            var weights =
                scores.masked_fill(neighbours.Found.logical_not(), -1e30).softmax(-1)
                * neighbours.Found.to(scores.dtype);
            read = matmul(weights.unsqueeze(-2), values.narrow(-1, 0, d)).squeeze(-2); // (B, T, d)
        }
        else
        {
            read = zeros_like(h);
        }

        return output.forward(cat([h, read], -1)).MoveToOuterDisposeScope();
    }

    // Of values: c₋₁, or h̃.
    private static Tensor FoundBy(Tensor values, long d) => values.narrow(-1, values.shape[^1] - d, d);

    private static Tensor OnGrid(Tensor x)
    {
        using var scope = NewDisposeScope();
        return (x.to(ScalarType.Float32) * Grid).round().div(Grid).MoveToOuterDisposeScope();
    }
}
