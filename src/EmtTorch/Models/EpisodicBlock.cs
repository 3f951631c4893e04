using EmtTorch.Kernels;
using EmtTorch.Memory;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace EmtTorch.Models;

/// <summary>One block: attention and memories side by side, then the feed-forward network.</summary>
internal sealed class EpisodicBlock : nn.Module
{
    private readonly LayerNorm? norm1,
        norm2; // none in the seed's form
    private readonly DriftingContext? drift;
    private readonly RecurrentContext? recurrence; // in place of the drift
    private readonly CausalAttention? attention;
    private readonly List<NamedMemory> _memories; // in the order of reading
    private readonly (Projection Expand, Projection Contract) _feedForward;
    private readonly bool _readsQueries; // whether a memory reads attention's queries

    private sealed record NamedMemory(MemorySettings Settings, BlockMemory Memory);

    public EpisodicBlock(ModelConfiguration model)
        : base(nameof(EpisodicBlock))
    {
        long d = model.HiddenSize,
            wide = model.FeedForwardSize ?? 4 * d;
        var block = model.Block;
        if (model.Residual == "pre_norm")
            (norm1, norm2) = (nn.LayerNorm(d, dtype: block.Dtype), nn.LayerNorm(d, dtype: block.Dtype));
        if (model.Drift && model.DriftCell == "linear")
            drift = new(block, model.DriftRate == "shared");
        else if (model.Drift)
            recurrence = new(block, model.DriftCell == "gru");
        if (model.Attention)
            attention = new(model);
        _readsQueries = model.Find<FastWeightSettings>()?.ReadsAsSource == true;

        // Seeds depend on the order in which first weights are drawn, and checkpoints on the order of parameters.
        _memories = Create(p => p < MemoryPlace.Third);
        _feedForward = (new(d, wide, block), new(wide, d, block));
        _memories.AddRange(Create(p => p >= MemoryPlace.Third));
        RegisterComponents(); // the fields that are modules: norms, context, attention
        Register(p => p < MemoryPlace.Last);
        register_module("expand", _feedForward.Expand);
        register_module("contract", _feedForward.Contract);
        Register(p => p == MemoryPlace.Last);
        this.KeepParameters();

        List<NamedMemory> Create(Func<MemoryPlace, bool> isNow) =>
            [.. model.BlockMemories.Where(m => isNow(m.Place)).Select(m => new NamedMemory(m, m.Create(block)))];
        void Register(Func<MemoryPlace, bool> isNow)
        {
            foreach (var (settings, memory) in _memories.Where(m => isNow(m.Settings.Place)))
                register_module(settings.ModuleName, memory);
        }
    }

    /// <summary>The block's memories, in the order in which their reads are added.</summary>
    public IEnumerable<BlockMemory> Memories => _memories.Select(m => m.Memory);

    /// <summary>The weights of the feed-forward network.</summary>
    public IEnumerable<Parameter> FeedForwardWeights =>
        _feedForward.Expand.parameters().Concat(_feedForward.Contract.parameters());

    /// <summary>W_Q, W_K and W_V of attention (3 d, d), or null without attention.</summary>
    public Parameter? AttentionWeights => attention?.QueriesKeysAndValues;

    /// <summary>Computes attention's W_Q h̃ (…, d), without rotation.</summary>
    public Tensor AskAttention(Tensor h) => attention!.Ask(h);

    public LayerState FirstState(long batch, Device device) =>
        new(null, null, drift?.FirstState(batch, device) ?? recurrence?.FirstState(batch, device))
        {
            Memories = _memories.ToDictionary(m => m.Settings.Name, m => m.Memory.FirstState(batch, device)),
        };

    /// <summary>Whether a state has what this block carries on.</summary>
    public bool Fits(LayerState state) =>
        state.Context is null == (drift is null && recurrence is null)
        && state.Memories.Count == _memories.Count
        && _memories.All(m => state.Memories.ContainsKey(m.Settings.Name));

    /// <param name="x">The stream (B, T, d).</param>
    /// <param name="state">The block's state after the tokens before.</param>
    /// <param name="span">What attention sees, or null without attention.</param>
    /// <param name="before">The network's state after the tokens before: their position and documents.</param>
    public (Tensor X, LayerState State) forward(Tensor x, LayerState state, AttentionSpan? span, EpisodicState before)
    {
        long tokens = x.shape[1];
        if (recurrence is null || tokens <= 1)
            return Read(x, state, span, before);
        // The context of a token is made of the block's output for the one before.
        using var scope = NewDisposeScope();
        var read = new Tensor[tokens];
        for (int t = 0; t < tokens; t++)
        {
            var given = state;
            using var one = span?.Token(t);
            var place = before with { Position = before.Position + t };
            (read[t], state) = Read(x.narrow(1, t, 1), given, one, place);
            if (t == 0)
                continue;
            foreach (var tensor in given.Tensors)
                tensor.Dispose();
        }
        state.MoveToOuterDisposeScope();
        return (cat(read, 1).MoveToOuterDisposeScope(), state);
    }

    /// <summary>Reads tokens at once; with a recurrent context at most one.</summary>
    private (Tensor X, LayerState State) Read(Tensor x, LayerState state, AttentionSpan? span, EpisodicState before)
    {
        using var scope = NewDisposeScope();
        Tensor plain = norm1 is null ? x : norm1.forward(x),
            h = plain;
        Tensor? contexts = null,
            context = null,
            keys = null,
            values = null,
            added = null;
        if (drift is not null)
        {
            (h, contexts, context) = drift.forward(h, state.Context!);
        }
        else if (recurrence is not null)
        {
            contexts = state.Context!.unsqueeze(1).narrow(1, 0, x.shape[1]);
            h = recurrence.Join(h, contexts);
        }
        var projected = _readsQueries ? attention!.Project(h) : null;
        var input = new BlockInput(h, contexts, before.Position)
        {
            Plain = plain,
            ContextBefore = state.Context,
            Documents = before.Documents,
            Queries = projected?.narrow(-1, 0, plain.shape[2]),
        };
        // A segment without tokens leaves all memories as they are.
        Func<MemoryRead>?[] reads =
            x.shape[1] == 0
                ? new Func<MemoryRead>?[_memories.Count]
                : [.. _memories.Select(m => m.Memory.Begin(input, state.Memories[m.Settings.Name]))];
        MemoryRead?[] found =
        [
            .. _memories.Zip(reads, (m, read) => m.Memory.IsSeenByAttention ? read?.Invoke() : null),
        ];
        if (attention is not null)
        {
            var entries = found.Select(f => f?.Entries).OfType<SeenEntries>();
            projected ??= attention.Project(h);
            var onto = norm2 is null ? null : x;
            (added, keys, values) = attention.Attend(projected, state.Keys, state.Values, span!, [.. entries], onto);
        }
        var memories = ReadMemories(reads, found, state, x.shape, ref added);
        if (norm2 is not null && added is not null)
            x = attention is null ? x + added : added;
        var further = WithMemories(norm2 is null ? added ?? h : norm2.forward(x), found);
        var fed = FeedForward(further, onto: recurrence is null ? x : null);
        if (recurrence is not null)
            context = x.shape[1] == 0 ? state.Context!.alias() : recurrence.Next(fed.squeeze(1), state.Context!);
        var after = recurrence is null ? fed : x + fed; // (B, T, d)
        foreach (var read in found)
            after = read?.Leaving?.Invoke(after) ?? after;
        after.MoveToOuterDisposeScope();
        var next = new LayerState(keys, values, context) { Memories = memories };
        next.MoveToOuterDisposeScope();
        return (after, next);
    }

    /// <summary>
    /// Ends the readings that have not ended, adds what they read, and collects the memories' states.
    /// </summary>
    private Dictionary<string, MemoryState> ReadMemories(
        Func<MemoryRead>?[] reads,
        MemoryRead?[] found,
        LayerState state,
        long[] shape,
        ref Tensor? added
    )
    {
        var memories = new Dictionary<string, MemoryState>();
        for (int i = 0; i < reads.Length; i++)
        {
            var settings = _memories[i].Settings;
            var left = state.Memories[settings.Name];
            if ((found[i] ??= reads[i]?.Invoke()) is { } read)
            {
                left = read.State;
                if (read.Added is { } own)
                {
                    Require.Shape(own, shape, settings.Name);
                    added = added is null ? own : added + own;
                }
            }
            // The state may be the one that was given, which belongs to another dispose scope.
            memories.Add(settings.Name, left.Select(t => t.alias()));
        }
        return memories;
    }

    /// <summary>The input of the feed-forward network, with what memories add to it.</summary>
    private static Tensor WithMemories(Tensor input, IEnumerable<MemoryRead?> found)
    {
        foreach (var further in found.Select(f => f?.FeedForward).OfType<Func<Tensor, Tensor>>())
            input = input + further(input);
        return input;
    }

    /// <summary>W₂ gelu(W₁ x) (…, d), added to what is given.</summary>
    public Tensor FeedForward(Tensor x, Tensor? onto = null)
    {
        var (expand, contract) = _feedForward;
        using var scope = NewDisposeScope();
        var wide = Gelu.Of(expand.forward(x));
        return (onto is null ? contract.forward(wide) : contract.AddTo(onto, wide)).MoveToOuterDisposeScope();
    }
}
