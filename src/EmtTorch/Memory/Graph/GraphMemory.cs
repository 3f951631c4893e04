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
/// without g; the sum over all relations.</param>
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
            + "softmax(q N') N', as in the source, of nodes and edges of our form; no_edges: softmax(q N) N."
    )]
    [AllowedValues(Addressed, "seed", NoEdges)]
    public string Read { get; init; } = Addressed;

    [Description(
        "The equations. keyed: nodes are keys and values with gates, and edges and reads as in the documents; source: "
            + "the source's, nodes h̃ of the last tokens, E = σ(n W_e n), n' = Σ E W_g n, softmax(Q N') N'."
    )]
    [AllowedValues("keyed", Source)]
    public string Form { get; init; } = "keyed";

    [Description("R, the kinds of edges: n'_i = Σ_r W_g^r Σ_j E^r_ij n_j.")]
    [Range(1, 64)]
    public int Relations { get; init; } = 1;

    [Description("Whether the feed-forward network reads the graph too, with a query of its own.")]
    public bool FeedForward { get; init; }

    internal const string Addressed = "addressed",
        NoEdges = "no_edges",
        Source = "source";

    internal override string ModuleName => "graph";

    internal override MemoryPlace Place => MemoryPlace.Second;

    public override BlockMemory Create(BlockShape block) => new GraphMemory(block, this);

    public override string Summary =>
        $"graph ({Nodes} nodes"
        + (Relations > 1 ? $", {Relations} relations" : "")
        + (Form == Source ? ", the source's form)" : ")");

    public override IEnumerable<ConfigurationProblem> Check(BlockShape block)
    {
        if (Form == Source && Read != Addressed)
            yield return new("read", $"found {Read} beside form source, which has its own read: leave it out");
        if (Relations > 1 && Form != Source && Read == NoEdges)
            yield return new("relations", $"found {Relations} beside read {NoEdges}; allowed: 1, or another read");
    }
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
/// seed:       W_o softmax(τ q K'ᵀ + ln g) N'         as in the source: a node's address is what its edges make
/// no_edges:   W_o softmax(τ q Kᵀ + ln g) N               E = 0: attention to the strongest writes, and no more
/// </code>
/// After every R tokens, counted from the document's start, the nodes are chosen anew: of the old nodes and the tokens
/// of the interval those with the N largest g, of equal ones the later. A token reads the nodes from before its
/// interval.
/// <para>With relations R &gt; 1 there are R kinds of edges, each with its own W_e, b_e and W_g:
/// n'_i = Σ_r W_g^r Σ_j E^r_ij g_j n_j (Schlichtkrull et al. 2018). With feed_forward the feed-forward network, whose
/// input is y, reads the same nodes with a query norm(W_F y) and a map of its own, and the result is added to y.</para>
/// <para>Form "source" has the source's equations, and no b_e, g, τ and W_o:
/// <code>
/// n = h̃,  E_ij = σ(n_iᵀ W_e n_j),  n'_i = Σ_j E_ij W_g n_j,  softmax(Q N'ᵀ) N',  Q = W_Q h̃
/// </code>
/// The source does not say which tokens are nodes: without gates they are the last N. Empty places are in no softmax.
/// </para>
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
    private readonly Projection content; // W_Q, W_K, W_V (3d, 2d), or (3d, d) without a drift; W_Q (d, d) of the source
    private readonly Projection? gate; // w_g, b_g; null: g = 1
    private readonly Parameter? edge,
        edge_bias; // W_e (n, n), b_e () with nodes of n numbers; W_e (R, n, n), b_e (R); without edges none
    private readonly Projection? neighbour; // W_g (n, R n)
    private readonly Projection? output; // W_o (d, 2d); the source has none
    private readonly Parameter? log_sharpness; // ln τ (); the source has none
    private readonly Projection? feed_forward_query, // W_F (d, d)
        feed_forward_output; // (d, 2d); the source has none
    private readonly long _nodes,
        _interval,
        _width, // n
        _relations;
    private readonly bool _addressed,
        _isSource;
    private readonly ScalarType _dtype;

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
        (_dtype, _nodes, _interval, _relations) = (block.Dtype, settings.Nodes, settings.Interval, settings.Relations);
        _isSource = settings.Form == GraphSettings.Source;
        _addressed = !_isSource && settings.Read != "seed";
        _width = _isSource ? d : 2 * d;
        content = _isSource ? new(d, d, block, hasBias: false) : new(inputs, 3 * d, block, hasBias: false);
        if (block.Gate && !_isSource)
            gate = new(inputs, 1, block, hasBias: true);
        if (_isSource || settings.Read != GraphSettings.NoEdges)
        {
            long[] relations = _relations > 1 ? [_relations] : [];
            edge = new(zeros([.. relations, _width, _width], dtype: _dtype));
            if (!_isSource)
                edge_bias = new(full(relations, -0.4 * Sharpness, dtype: _dtype));
            neighbour = new(_relations * _width, _width, block, hasBias: false);
        }
        if (!_isSource)
            output = new(2 * d, d, block);
        if (!_isSource)
            log_sharpness = new(full([], Math.Log(Sharpness), dtype: _dtype));
        if (settings.FeedForward)
        {
            feed_forward_query = new(d, d, block, hasBias: false);
            if (!_isSource)
                feed_forward_output = new(2 * d, d, block);
        }
        SetFirstWeights(d, inputs);
        RegisterComponents();
        this.KeepParameters();
    }

    private void SetFirstWeights(long d, long inputs)
    {
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        double bound = 1 / Math.Sqrt(_width);
        if (_isSource)
        {
            edge!.uniform_(-bound, bound);
            return;
        }
        var identity = eye(d, dtype: _dtype);
        content.weight.zero_();
        for (int part = 0; part < 3; part++)
            content.weight.narrow(0, part * d, d).narrow(1, part == 1 ? inputs - d : 0, d).copy_(identity);
        feed_forward_query?.weight.copy_(identity);
        if (edge is null)
            return;
        if (_relations > 1)
            edge.narrow(0, 1, _relations - 1).uniform_(-bound, bound);
        var first = _relations > 1 ? edge[0] : edge;
        first.narrow(0, d, d).narrow(1, 0, d).copy_(identity * Sharpness);
        if (!_addressed)
        {
            first.narrow(0, 0, d).narrow(1, 0, d).copy_(identity * Sharpness);
            neighbour!.weight.narrow(1, 0, _width).copy_(eye(_width, dtype: _dtype));
        }
    }

    /// <summary>Called for every segment that is read; for analyses.</summary>
    public Action<GraphActivity>? Observer { get; set; }

    /// <returns>No nodes: n = 0 and ln g = −∞.</returns>
    public override MemoryState FirstState(long batch, Device device) =>
        new()
        {
            [Nodes] = zeros(batch, _nodes, _width, dtype: _dtype, device: device),
            [Gates] = full(batch, _nodes, double.NegativeInfinity, dtype: _dtype, device: device),
        };

    public override MemoryRead Read(BlockInput input, MemoryState state)
    {
        using var scope = NewDisposeScope();
        var brought = input.Contexts is null ? null : input.Hidden - input.Plain;
        var read = Run(input.Plain, brought, state[Nodes], state[Gates]);
        var next = new MemoryState
        {
            [Nodes] = read.Nodes.MoveToOuterDisposeScope(),
            [Gates] = read.Gates.MoveToOuterDisposeScope(),
        };
        var added = read.Added.MoveToOuterDisposeScope();
        if (feed_forward_query is null)
            return new(added, next);
        read.Graphs.MoveToOuterDisposeScope();
        return new(added, next) { FeedForward = y => ReadForFeedForward(y, read.Graphs) };
    }

    /// <summary>What the feed-forward network reads, given its input (B, T, d).</summary>
    private Tensor ReadForFeedForward(Tensor y, Graphs graphs)
    {
        using var scope = NewDisposeScope();
        var q = feed_forward_query!.forward(y);
        if (!_isSource)
            q = nn.functional.normalize(q, dim: -1);
        var (_, read) = Attend(q, graphs);
        return (feed_forward_output?.forward(read) ?? read).MoveToOuterDisposeScope();
    }

    /// <summary>The graphs of the M intervals that T tokens lie in.</summary>
    /// <param name="Keys">What queries are compared with (B, M, N, d).</param>
    /// <param name="Bias">ln g of each node (B, M, 1, N); 0 if there is no node yet.</param>
    /// <param name="Values">What is read (B, M, N, n).</param>
    /// <param name="Waiting">How many tokens of the first interval came before these.</param>
    private sealed record Graphs(Tensor Keys, Tensor Bias, Tensor Values, long Waiting)
    {
        public void MoveToOuterDisposeScope()
        {
            foreach (var tensor in new[] { Keys, Bias, Values })
                tensor.MoveToOuterDisposeScope();
        }
    }

    /// <param name="Added">What the reads add to the stream (B, T, d).</param>
    /// <param name="Nodes">The nodes after the last token, and the tokens since (B, N + p, n).</param>
    /// <param name="Gates">ln g of these (B, N + p).</param>
    private sealed record GraphRead(Tensor Added, Tensor Nodes, Tensor Gates, Graphs Graphs);

    /// <param name="h">The tokens (B, T, d).</param>
    /// <param name="brought">b, what the context adds to each (B, T, d), or null without a drifting context.</param>
    /// <param name="nodes">n of the nodes, and of the p tokens since they were chosen (B, N + p, n).</param>
    /// <param name="gates">ln g of these (B, N + p).</param>
    /// <returns>What the reads add to the stream (B, T, d), and nodes and gates after the last token.</returns>
    internal (Tensor Added, Tensor Nodes, Tensor Gates) forward(Tensor h, Tensor? brought, Tensor nodes, Tensor gates)
    {
        using var scope = NewDisposeScope();
        var read = Run(h, brought, nodes, gates);
        return (
            read.Added.MoveToOuterDisposeScope(),
            read.Nodes.MoveToOuterDisposeScope(),
            read.Gates.MoveToOuterDisposeScope()
        );
    }

    private GraphRead Run(Tensor h, Tensor? brought, Tensor nodes, Tensor gates)
    {
        long tokens = h.shape[1],
            waiting = gates.shape[1] - _nodes;
        var own = Write(h, brought);
        nodes = cat([nodes, own.Node], 1); // (B, N + p + T, n): the nodes and what may become one
        gates = cat([gates, own.Gate], 1);

        var chosen = Choose(gates, (waiting + tokens) / _interval);
        long intervals = (waiting + tokens + _interval - 1) / _interval; // M, those that tokens lie in
        // (B, M, N, n), (B, M, N)
        var (n, g) = (Gather(nodes, chosen.Take((int)intervals)), Gather(gates, chosen.Take((int)intervals)));
        var (edges, read) = Convolve(n, g);
        // Before there is any node all n are 0, and any weights give 0.
        var bias = g.masked_fill(g.isneginf().all(-1, true), 0).unsqueeze(-2);
        var graphs = new Graphs((_addressed ? n : read).narrow(-1, 0, h.shape[2]), bias, read, waiting);
        var (weights, found) = Attend(own.Query, graphs);
        Observer?.Invoke(
            new(
                Gathered(chosen.Take((int)intervals)) - (_nodes + waiting),
                g.exp(),
                edges ?? zeros(h.shape[0], intervals, _nodes, _nodes, dtype: h.dtype, device: h.device),
                weights,
                own.Gate.exp(),
                _interval
            )
        );

        long done = (chosen.Count - 1) * _interval; // tokens whose interval is over
        Tensor After(Tensor all) =>
            cat([Gather(all, [chosen[^1]]).squeeze(1), all.narrow(1, _nodes + done, waiting + tokens - done)], 1);
        return new(output?.forward(found) ?? found, After(nodes), After(gates), graphs);
    }

    /// <summary>Tokens as nodes.</summary>
    /// <param name="Query">q (B, T, d).</param>
    /// <param name="Node">n (B, T, n).</param>
    /// <param name="Gate">ln g (B, T).</param>
    private readonly record struct WrittenTokens(Tensor Query, Tensor Node, Tensor Gate);

    private WrittenTokens Write(Tensor h, Tensor? brought)
    {
        long batch = h.shape[0],
            tokens = h.shape[1],
            width = h.shape[2];
        Tensor Open() => zeros(batch, tokens, dtype: h.dtype, device: h.device);
        if (_isSource)
        {
            var token = brought is null ? h : h + brought;
            return new(content.forward(token), token, Open());
        }
        var x = brought is null ? h : cat([h, brought], -1);
        var parts = content.forward(x).unflatten(2, [3, width]);
        Tensor Part(int i) => nn.functional.normalize(parts.select(2, i), dim: -1); // (B, T, d)
        var q = Part(0);
        var written = gate is null ? Open() : -(-gate.forward(x).squeeze(-1)).softplus(); // ln σ
        return new(q, cat([Part(1), Part(2)], -1), written);
    }

    /// <summary>Attends to the nodes of each token's interval.</summary>
    /// <param name="q">(B, T, d).</param>
    /// <returns>The softmax over the nodes (B, T, N), and what is read (B, T, n).</returns>
    private (Tensor Weights, Tensor Read) Attend(Tensor q, Graphs graphs)
    {
        long tokens = q.shape[1],
            intervals = graphs.Keys.shape[1];
        var queries =
            intervals == 1
                ? q.unsqueeze(1)
                : nn
                    .functional.pad(q, [0, 0, graphs.Waiting, intervals * _interval - graphs.Waiting - tokens])
                    .unflatten(1, [intervals, _interval]);
        if (log_sharpness is not null)
            queries = queries * log_sharpness.exp();
        // (B, M, R, N)
        var weights = (matmul(queries, graphs.Keys.transpose(-2, -1)) + graphs.Bias).softmax(-1);
        Tensor Tokens(Tensor padded) =>
            intervals == 1 ? padded.squeeze(1) : padded.flatten(1, 2).narrow(1, graphs.Waiting, tokens);
        return (Tokens(weights), Tokens(matmul(weights, graphs.Values)));
    }

    /// <summary>Follows the edges once.</summary>
    /// <param name="n">The nodes (B, M, N, n).</param>
    /// <param name="g">ln g of these (B, M, N).</param>
    /// <returns>E (B, M, N, N), or null without edges, and what tokens read of each node: n, n', or n + n'.</returns>
    private (Tensor? Edges, Tensor Read) Convolve(Tensor n, Tensor g)
    {
        if (edge is null)
            return (null, n);
        // With several relations (B, M, 1, N, n) against (R, n, n).
        var from = _relations > 1 ? n.unsqueeze(2) : n;
        var scores = matmul(matmul(from, edge), from.transpose(-2, -1));
        if (edge_bias is not null)
            scores = scores + (_relations > 1 ? edge_bias.view(-1, 1, 1) : edge_bias);
        var edges = scores.sigmoid(); // (B, M, N, N), or (B, M, R, N, N)
        // Empty places have n = 0 and need no weight of 0.
        var open = g.exp().unsqueeze(-2);
        var weighed = _isSource ? edges : edges * (_relations > 1 ? open.unsqueeze(2) : open);
        var sums = matmul(weighed, from);
        if (_relations > 1)
            (sums, edges) = (sums.transpose(2, 3).flatten(3), edges.sum(2)); // (B, M, N, R n)
        var joined = neighbour!.forward(sums); // n'
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
