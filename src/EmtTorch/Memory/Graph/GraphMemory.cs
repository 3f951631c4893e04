using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using EmtTorch.Settings;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace EmtTorch.Memory;

/// <summary>
/// What a <see cref="GraphMemory"/> computed for a segment of T tokens in M intervals. The tensors are valid during the
/// observer's call only.
/// </summary>
/// <param name="Origins">For each interval and node the token of the segment that became the node, from 0 (B, M, N).
/// Below 0 the node is older than the segment, or the place is empty.</param>
/// <param name="Gates">g of each node (B, M, N); 0 if the place is empty.</param>
/// <param name="Edges">E of each interval (B, M, N, N): row i, column j says how much of node j is added to node i,
/// without g.</param>
/// <param name="Weights">The softmax of each token's read over the nodes of its interval (B, T, N).</param>
/// <param name="Written">g of each token (B, T).</param>
/// <param name="Interval">Tokens in an interval. The first interval may begin in the segment before.</param>
public sealed record GraphActivity(
    Tensor Origins,
    Tensor Gates,
    Tensor Edges,
    Tensor Weights,
    Tensor Written,
    long Interval
);

/// <summary>The settings of a <see cref="GraphMemory"/>.</summary>
[Named("graph")]
[Description("A graph whose nodes are the tokens that were written most strongly so far, read along its edges.")]
public sealed record GraphSettings : MemorySettings
{
    [Description("Nodes of the graph, the tokens that were written most strongly so far.")]
    [Range(1, 65536)]
    public int Nodes { get; init; } = 64;

    [Description("Tokens after which the graph memory takes in new nodes; tokens read those from before.")]
    [Range(1, 1_048_576)]
    public int Interval { get; init; } = 32;

    [Description(
        "How the graph memory is read. addressed: softmax(q N)(N + N'), N' what edges bring to nodes N; seed: "
            + "softmax(q N') N', the source's form; no_edges: softmax(q N) N."
    )]
    [AllowedValues("addressed", "seed", "no_edges")]
    public string Read { get; init; } = "addressed";

    internal override string ModuleName => "graph";

    internal override MemoryPlace Place => MemoryPlace.Second;

    public override BlockMemory Create(BlockShape block) => new GraphMemory(block, this);

    public override string Summary => $"graph ({Nodes} nodes)";
}

/// <summary>
/// A graph as a block's memory (the source's 2.3). Its N nodes are the tokens that were written most strongly so far,
/// with learned edges between them; one graph convolution follows the edges, and tokens read by attention. From itself,
/// h, and from what its context adds, b = h̃ − h, a token computes
/// <code>
/// k = norm(W_K [h; b]),  v = norm(W_V [h; b]),  n = [k; v],  g = σ(w_gᵀ [h; b] + b_g),  q = norm(W_Q [h; b])
/// E_ij = σ(n_iᵀ W_e n_j + b_e),  n'_i = W_g Σ_j E_ij g_j n_j
/// </code>
/// and reads, with K the nodes' k and τ a learned number,
/// <code>
/// addressed:  W_o softmax(τ q Kᵀ + ln g) (N + N')    a node keeps its own address; what it leads to is added
/// seed:       W_o softmax(τ q K'ᵀ + ln g) N'         the source's form: a node's address is what its edges make
/// no_edges:   W_o softmax(τ q Kᵀ + ln g) N               E = 0: attention to the strongest writes, and no more
/// </code>
/// After every R tokens, counted from the document's start, the nodes are chosen anew: of the old nodes and the tokens
/// of the interval those with the N largest g, of equal ones the later. A token reads the nodes from before its
/// interval.
/// </summary>
/// <remarks>
/// The choice by g passes no gradient; g learns as the weight of a node in reads and sums. Which tokens are nodes
/// depends only on the tokens before an interval, not on how a document is cut into segments. (Between equal tokens in
/// equal contexts rounding may choose, but their nodes are equal too.)
/// <para>First weights: W_Q and W_V copy h and W_K copies b. A node's key is then what stood before the token, and its
/// value the token: asking for a finds the fact a → b. W_e is 8 · (value of i against key of j) and b_e = −3.2, so that
/// edges lead from a → b to b → c and nowhere else. In the seed's form W_e also has 8 · (key against key), which links
/// a node to itself, and W_g = I; otherwise no address would be left. b comes from the drifting context: without it a
/// node is its token alone.</para>
/// </remarks>
public sealed class GraphMemory : BlockMemory
{
    private readonly Projection content; // W_Q, W_K, W_V (3d, 2d), or (3d, d) without a drift
    private readonly Projection? gate; // w_g, b_g; null: g = 1
    private readonly Parameter? edge,
        edge_bias; // W_e (2d, 2d), b_e (); without edges none
    private readonly Projection? neighbour; // W_g (2d, 2d)
    private readonly Projection output; // W_o (d, 2d)
    private readonly Parameter log_sharpness; // ln τ ()
    private readonly long _nodes,
        _interval;
    private readonly bool _addressed;

    /// <summary>The first τ, and the factor of the first edges.</summary>
    private const double Sharpness = 8;

    /// <summary>Names of the state's tensors.</summary>
    internal const string Nodes = "nodes",
        Gates = "gates";

    internal GraphMemory(BlockShape block, GraphSettings settings)
        : base(nameof(GraphMemory))
    {
        long d = block.Width,
            inputs = block.WidthWithContext;
        var dtype = block.Dtype;
        (_nodes, _interval, _addressed) = (settings.Nodes, settings.Interval, settings.Read != "seed");
        content = new(inputs, 3 * d, block, hasBias: false);
        if (block.Gate)
            gate = new(inputs, 1, block, hasBias: true);
        if (settings.Read != "no_edges")
        {
            edge = new(zeros(2 * d, 2 * d, dtype: dtype));
            edge_bias = new(full([], -0.4 * Sharpness, dtype: dtype));
            neighbour = new(2 * d, 2 * d, block, hasBias: false);
        }
        output = new(2 * d, d, block);
        log_sharpness = new(full([], Math.Log(Sharpness), dtype: dtype));
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        var identity = eye(d, dtype: dtype);
        content.weight.zero_();
        for (int part = 0; part < 3; part++)
            content.weight.narrow(0, part * d, d).narrow(1, part == 1 ? inputs - d : 0, d).copy_(identity);
        if (edge is not null)
        {
            edge.narrow(0, d, d).narrow(1, 0, d).copy_(identity * Sharpness);
            if (!_addressed)
            {
                edge.narrow(0, 0, d).narrow(1, 0, d).copy_(identity * Sharpness);
                neighbour!.weight.copy_(eye(2 * d, dtype: dtype));
            }
        }
        RegisterComponents();
        this.KeepParameters();
    }

    /// <summary>Called for every segment that is read; for analyses.</summary>
    public Action<GraphActivity>? Observer { get; set; }

    /// <returns>No nodes: n = 0 and ln g = −∞.</returns>
    public override MemoryState FirstState(long batch, Device device)
    {
        var dtype = log_sharpness.dtype;
        return new()
        {
            [Nodes] = zeros(batch, _nodes, output.weight.shape[1], dtype: dtype, device: device),
            [Gates] = full(batch, _nodes, double.NegativeInfinity, dtype: dtype, device: device),
        };
    }

    public override MemoryRead Read(BlockInput input, MemoryState state)
    {
        using var scope = NewDisposeScope();
        var brought = input.Contexts is null ? null : input.Hidden - input.Plain;
        var (added, nodes, gates) = forward(input.Plain, brought, state[Nodes], state[Gates]);
        return new(
            added.MoveToOuterDisposeScope(),
            new() { [Nodes] = nodes.MoveToOuterDisposeScope(), [Gates] = gates.MoveToOuterDisposeScope() }
        );
    }

    /// <param name="h">The tokens (B, T, d).</param>
    /// <param name="brought">b, what the context adds to each (B, T, d), or null without a drifting context.</param>
    /// <param name="nodes">n of the nodes, and of the p tokens since they were chosen (B, N + p, 2d).</param>
    /// <param name="gates">ln g of these (B, N + p).</param>
    /// <returns>What the reads add to the stream (B, T, d), and nodes and gates after the last token.</returns>
    internal (Tensor Added, Tensor Nodes, Tensor Gates) forward(Tensor h, Tensor? brought, Tensor nodes, Tensor gates)
    {
        using var scope = NewDisposeScope();
        long batch = h.shape[0],
            tokens = h.shape[1],
            width = h.shape[2],
            waiting = gates.shape[1] - _nodes;
        var x = brought is null ? h : cat([h, brought], -1);
        var parts = content.forward(x).unflatten(2, [3, width]);
        Tensor Part(int i) => nn.functional.normalize(parts.select(2, i), dim: -1); // (B, T, d)
        var q = Part(0);
        var written = gate is null
            ? zeros(batch, tokens, dtype: h.dtype, device: h.device)
            : -(-gate.forward(x).squeeze(-1)).softplus(); // ln σ
        nodes = cat([nodes, cat([Part(1), Part(2)], -1)], 1); // (B, N + p + T, 2d): the nodes and what may become one
        gates = cat([gates, written], 1);

        var chosen = Choose(gates, (waiting + tokens) / _interval);
        long intervals = (waiting + tokens + _interval - 1) / _interval; // M, those that tokens lie in
        // (B, M, N, 2d), (B, M, N)
        var (n, g) = (Gather(nodes, chosen.Take((int)intervals)), Gather(gates, chosen.Take((int)intervals)));
        var (edges, read) = Convolve(n, g);
        var keys = (_addressed ? n : read).narrow(-1, 0, width);
        // Before there is any node all n are 0, and any weights give 0.
        var bias = g.masked_fill(g.isneginf().all(-1, true), 0).unsqueeze(-2);
        var queries =
            intervals == 1
                ? q.unsqueeze(1)
                : nn
                    .functional.pad(q, [0, 0, waiting, intervals * _interval - waiting - tokens])
                    .unflatten(1, [intervals, _interval]);
        // (B, M, R, N)
        var weights = (matmul(queries * log_sharpness.exp(), keys.transpose(-2, -1)) + bias).softmax(-1);
        Tensor Tokens(Tensor padded) =>
            intervals == 1 ? padded.squeeze(1) : padded.flatten(1, 2).narrow(1, waiting, tokens);
        Observer?.Invoke(
            new(
                Gathered(chosen.Take((int)intervals)) - (_nodes + waiting),
                g.exp(),
                edges ?? zeros(batch, intervals, _nodes, _nodes, dtype: h.dtype, device: h.device),
                Tokens(weights),
                written.exp(),
                _interval
            )
        );
        var added = output.forward(Tokens(matmul(weights, read))); // (B, T, d)

        long done = (chosen.Count - 1) * _interval; // tokens whose interval is over
        Tensor After(Tensor all) =>
            cat([Gather(all, [chosen[^1]]).squeeze(1), all.narrow(1, _nodes + done, waiting + tokens - done)], 1);
        return (
            added.MoveToOuterDisposeScope(),
            After(nodes).MoveToOuterDisposeScope(),
            After(gates).MoveToOuterDisposeScope()
        );
    }

    /// <summary>Follows the edges once.</summary>
    /// <param name="n">The nodes (B, M, N, 2d).</param>
    /// <param name="g">ln g of these (B, M, N).</param>
    /// <returns>E (B, M, N, N), or null without edges, and what tokens read of each node: n, n', or n + n'.</returns>
    private (Tensor? Edges, Tensor Read) Convolve(Tensor n, Tensor g)
    {
        if (edge is null)
            return (null, n);
        var edges = (matmul(matmul(n, edge), n.transpose(-2, -1)) + edge_bias!).sigmoid();
        var joined = neighbour!.forward(matmul(edges * g.exp().unsqueeze(-2), n)); // n'
        return (edges, _addressed ? n + joined : joined);
    }

    /// <summary>
    /// Chooses the nodes of the first interval and after each of so many more. They are places among the old nodes and
    /// the tokens after them, ascending (B, N).
    /// </summary>
    private List<Tensor> Choose(Tensor gates, long refreshments)
    {
        using var quiet = no_grad();
        long batch = gates.shape[0];
        Tensor Places(long from, long count) =>
            arange(from, from + count, dtype: ScalarType.Int64, device: gates.device).expand(batch, count);
        var chosen = new List<Tensor> { Places(0, _nodes) };
        for (long i = 0; i < refreshments; i++)
        {
            // The latest come first, so that the stable sort puts the later of equal ones before the earlier.
            var candidates = cat([chosen[^1], Places(_nodes + i * _interval, _interval)], 1).flip(1);
            var best = gates.gather(1, candidates).sort(1, descending: true, stable: true).Indices.narrow(1, 0, _nodes);
            chosen.Add(candidates.gather(1, best).sort(1).Values);
        }
        return chosen;
    }

    /// <summary>(B, M, N).</summary>
    private static Tensor Gathered(IEnumerable<Tensor> chosen) => stack(chosen.ToArray(), 1);

    /// <summary>Gathers these places of (B, C) or (B, C, n): (B, M, N) or (B, M, N, n).</summary>
    private static Tensor Gather(Tensor all, IEnumerable<Tensor> chosen)
    {
        var places = Gathered(chosen);
        var flat = places.flatten(1, 2);
        if (all.dim() == 2)
            return all.gather(1, flat).view(places.shape);
        return all.gather(1, flat.unsqueeze(-1).expand(-1, -1, all.shape[2])).view([.. places.shape, all.shape[2]]);
    }
}
