using EmtTorch.Memory;
using EmtTorch.Memory.Retrieval;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace EmtTorch.Models;

/// <summary>
/// A causal transformer (slow, semantic) with episodic memories (fast) in each block. Tokens are embedded, go through
/// the blocks, are normed and read out. A block has a <see cref="DriftingContext"/>, <see cref="CausalAttention"/> and
/// a list of memories, each a <see cref="BlockMemory"/>, such as <see cref="FastWeightMemory"/>,
/// <see cref="GraphMemory"/> and <see cref="RetrievalMemory"/>; <see cref="ModelConfiguration"/> switches each of them:
/// <code>
/// h = LN(x),  h̃ = h + W_c c₋₁,  c = λ c₋₁ + U h            the context of the tokens before
/// x ← x + Attention(h̃) + Σ Memory(h̃, c)                   for fast weights Read(F₋₁), F = γ F₋₁ + g η k vᵀ
/// x ← x + FFN(LN(x))
/// </code>
/// With residual "seed" a block is x ← x + FFN(Attention(x̃) + Σ Memory(x̃, c)), with the one norm before the readout:
/// the source's 1.1, if attention has one head, no positions and no W_O. docs/source-forms.md says where else these
/// equations differ from the source's, and how to get its own.
/// </summary>
/// <remarks>
/// A token depends on the tokens before it through the state alone. A document therefore gives the same logits up to
/// rounding in one piece, in segments, and token by token.
/// </remarks>
/// <example><code>
/// using var network = new EpisodicTransformer(vocabularySize: 145, configuration.Model);
/// var (hidden, state) = network.Read(segment1);                  // (B, T, d)
/// (hidden, state) = network.Read(segment2, state);               // continues where the first segment ended
/// var logits = network.ReadOut(hidden);                          // (B, T, V)
/// var text = network.Generate(prompt, tokens: 100, temperature: 0.8);
/// </code></example>
public sealed class EpisodicTransformer : nn.Module<Tensor, Tensor>
{
    private readonly Embedding embedding;
    private readonly ModuleList<EpisodicBlock> blocks;
    private readonly LayerNorm norm;
    private readonly Projection? readout; // null: the embedding's weights
    private readonly ModelConfiguration _model;
    private readonly int _vocabularySize;

    /// <param name="vocabularySize">V; tokens are 0 … V − 1.</param>
    /// <param name="model">The sizes and switches, which have been checked.</param>
    public EpisodicTransformer(int vocabularySize, ModelConfiguration model)
        : base(nameof(EpisodicTransformer))
    {
        (_vocabularySize, _model) = (vocabularySize, model);
        Dtype = model.ScalarType;
        long d = model.HiddenSize;
        NativeTorch.Load();
        lock (InitialWeights.Drawing)
        {
            embedding = nn.Embedding(vocabularySize, d, dtype: Dtype);
            blocks = nn.ModuleList(Enumerable.Range(0, model.Layers).Select(_ => new EpisodicBlock(model)).ToArray());
            norm = nn.LayerNorm(d, dtype: Dtype);
            readout = model.TieWeights ? null : new Projection(d, vocabularySize, model.Block);
        }
        // The first embeddings have length 1: what the blocks add to them is as large, and with tied weights logits are
        // about 1.
        using (no_grad())
            embedding.weight!.mul_(1 / Math.Sqrt(d));
        RegisterComponents();
        this.KeepParameters();
        if (Find<RetrievalMemory>() is { Count: > 0 } retrievals)
            Stores = new(retrievals);
    }

    /// <summary>What the network stores of documents, or null without retrieval.</summary>
    public EpisodicStores? Stores { get; }

    /// <summary>The type of weights and states.</summary>
    public ScalarType Dtype { get; }

    /// <summary>The fast weights of the blocks, from the first block on. Empty if the network has none.</summary>
    public IReadOnlyList<FastWeightMemory> Memories => Find<FastWeightMemory>();

    internal IReadOnlyList<EpisodicBlock> Blocks => [.. blocks];

    /// <summary>The blocks' memories of one class, from the first block on. Empty if the network has none.</summary>
    /// <typeparam name="T">The class, say <see cref="GraphMemory"/>.</typeparam>
    public IReadOnlyList<T> Find<T>()
        where T : BlockMemory => [.. blocks.SelectMany(b => b.Memories).OfType<T>()];

    /// <summary>A second network with the same weights.</summary>
    internal EpisodicTransformer Copy()
    {
        var copy = new EpisodicTransformer(_vocabularySize, _model);
        using var quiet = no_grad();
        foreach (var (mine, its) in parameters().Zip(copy.parameters()))
            its.copy_(mine);
        return copy.to(embedding.weight!.device);
    }

    /// <summary>Computes the logits of the token after each token, from the start of a document.</summary>
    /// <param name="input">Tokens (B, T), int64.</param>
    /// <returns>(B, T, V).</returns>
    /// <exception cref="ArgumentException">The input is not (B, T) of int64, or a token is not in the
    /// vocabulary.</exception>
    public override Tensor forward(Tensor input)
    {
        using var scope = NewDisposeScope();
        var (hidden, state) = Read(input);
        Stores?.Close(state.Documents.Generation);
        return ReadOut(hidden).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Reads a document, or its next segment. A network that stores documents is told of their end by <see
    /// cref="EpisodicStores.Close"/>.
    /// </summary>
    /// <param name="tokens">(B, T), int64; T ≥ 0.</param>
    /// <param name="state">The state returned for the previous segment, or null to start a new document.</param>
    /// <returns>The hidden vectors (B, T, d), of which <see cref="ReadOut"/> makes logits, and the state after the
    /// segment. Both are in the caller's dispose scope.</returns>
    /// <exception cref="ArgumentException">The tokens are not (B, T) of int64, a token is not in the vocabulary, or the
    /// state belongs to another batch or network.</exception>
    public (Tensor Hidden, EpisodicState State) Read(Tensor tokens, EpisodicState? state = null)
    {
        Require.Shape(tokens, [Require.Any, Require.Any]);
        Require.Type(tokens, ScalarType.Int64);
        using var scope = NewDisposeScope();
        if (tokens.numel() > 0 && (tokens.min().item<long>() < 0 || tokens.max().item<long>() >= _vocabularySize))
        {
            throw new ArgumentException(
                $"has the token {(tokens.min().item<long>() < 0 ? tokens.min() : tokens.max()).item<long>()}: the "
                    + $"vocabulary has 0 to {_vocabularySize - 1}",
                nameof(tokens)
            );
        }

        if (state is not null)
        {
            if (state.BatchSize != tokens.shape[0])
            {
                throw new ArgumentException(
                    $"is of {state.BatchSize} documents, the tokens of {tokens.shape[0]}",
                    nameof(state)
                );
            }

            if (state.Layers.Count != blocks.Count)
                throw new ArgumentException($"is of {state.Layers.Count} blocks, not of {blocks.Count}", nameof(state));
            if (!blocks.Zip(state.Layers).All(b => b.First.Fits(b.Second)))
                throw new ArgumentException("is of a network with other memories", nameof(state));
            foreach (var tensor in state.Tensors)
                Require.Like(tensor, embedding.weight!, nameof(state));
        }
        var (hidden, after) = Run(tokens, state);
        after.MoveToOuterDisposeScope();
        return (hidden.MoveToOuterDisposeScope(), after);
    }

    /// <summary>The same as <see cref="Read"/>, without checks.</summary>
    internal (Tensor Hidden, EpisodicState State) Run(Tensor tokens, EpisodicState? state)
    {
        using var scope = NewDisposeScope();
        long batch = tokens.shape[0],
            length = tokens.shape[1];
        state ??= FirstState(batch, tokens.device, new(Stores?.Begin() ?? 0, 0));
        using var span = _model.Attention ? AttentionSpan.Of(_model, state, length, Dtype, tokens.device) : null;
        var x = embedding.forward(tokens); // (B, T, d)
        var layers = new LayerState[state.Layers.Count];
        for (int i = 0; i < layers.Length; i++)
            (x, layers[i]) = blocks[i].forward(x, state.Layers[i], span, state);
        var after = new EpisodicState(state.Position + length, batch, layers) { Documents = state.Documents };
        after.MoveToOuterDisposeScope();
        return (norm.forward(x).MoveToOuterDisposeScope(), after);
    }

    /// <summary>Creates the state at the beginning of documents.</summary>
    internal EpisodicState FirstState(long batch, Device device, DocumentNumbers documents) =>
        new(0, batch, [.. blocks.Select(b => b.FirstState(batch, device))]) { Documents = documents };

    /// <summary>Computes the logits (…, V) of hidden vectors (…, d) from <see cref="Read"/>.</summary>
    public Tensor ReadOut(Tensor hidden) =>
        readout is null
            ? Projection.Multiply(hidden, embedding.weight!, null, _model.Autocast is not null)
            : readout.forward(hidden);

    protected override void Dispose(bool disposing)
    {
        if (disposing)
            Stores?.Dispose();
        base.Dispose(disposing);
    }

    /// <summary>Continues documents token by token.</summary>
    /// <param name="prompt">The beginnings of the documents (B, T), T ≥ 1.</param>
    /// <param name="tokens">How many tokens to add.</param>
    /// <param name="temperature">Logits are divided by this before a token is drawn. With 0 the likeliest token is
    /// taken.</param>
    /// <param name="generator">The source of random numbers, or null for Torch's own.</param>
    /// <returns>The added tokens (B, tokens).</returns>
    /// <exception cref="ArgumentException">The prompt is empty or wrong, or a number is negative.</exception>
    public Tensor Generate(Tensor prompt, int tokens, double temperature = 1, Generator? generator = null)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(tokens);
        if (temperature is not (>= 0 and < double.PositiveInfinity))
            throw new ArgumentException($"is {temperature}: 0 or more", nameof(temperature));
        if (prompt.dim() == 2 && prompt.shape[1] == 0)
            throw new ArgumentException("is empty: there is nothing to go on from", nameof(prompt));
        using var everything = NewDisposeScope();
        using var quiet = no_grad();
        var added = empty([prompt.shape[0], tokens], dtype: ScalarType.Int64, device: prompt.device);
        var (hidden, state) = Read(prompt);
        for (int i = 0; i < tokens; i++)
        {
            using var scope = NewDisposeScope();
            var logits = ReadOut(hidden.select(1, -1)); // (B, V)
            var token =
                temperature == 0
                    ? logits.argmax(-1, keepdim: true)
                    : Draw.On(
                        logits.device,
                        (logits.to(ScalarType.Float32) / temperature).softmax(-1).cpu().multinomial(1, false, generator)
                    );
            added.narrow(1, i, 1).copy_(token); // (B, 1)
            var before = (hidden, state);
            (hidden, state) = Run(token, state);
            hidden.MoveToOuterDisposeScope();
            state.MoveToOuterDisposeScope();
            before.hidden.Dispose();
            before.state.Dispose();
        }
        Stores?.Close(state.Documents.Generation);
        return added.MoveToOuterDisposeScope();
    }
}
