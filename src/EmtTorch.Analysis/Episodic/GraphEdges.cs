using EmtTorch.Memory;
using EmtTorch.Models;
using EmtTorch.Tasks;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Analysis.Episodic;

/// <summary>
/// Whether the graphs of a network join the facts that questions ask to join: is the strongest edge of a → b the one to
/// b → c?
/// </summary>
internal static class GraphEdges
{
    /// <param name="network">With graphs.</param>
    /// <param name="gated">Whether they have a gate.</param>
    /// <param name="task">Of two hops.</param>
    /// <param name="input">Documents (B, T).</param>
    /// <param name="target">What is asked in them.</param>
    /// <param name="kinds">The kind of each token, as a number in <see cref="TokenTaskSettings.Kinds"/>.</param>
    public static IReadOnlyList<GraphReading> Of(
        EpisodicTransformer network,
        bool gated,
        TokenTaskSettings task,
        Tensor input,
        Tensor target,
        int[][] kinds
    )
    {
        using var quiet = no_grad();
        using var scope = NewDisposeScope();
        var graphs = network.Find<GraphMemory>();
        var readings = new GraphReading[graphs.Count];
        for (int i = 0; i < readings.Length; i++)
        {
            int block = i + 1;
            graphs[i].Observer = a =>
                readings[block - 1] = Of(a, block, task, input, target) with
                {
                    Gates = gated ? GatesOf(a, task, kinds) : [],
                    SpreadNull = gated
                        ? GateSpread.MeasureNull(
                            kinds.SelectMany(row => row),
                            Matrices.Rows(a.Written).SelectMany(row => row)
                        )
                        : null,
                };
        }
        try
        {
            // In one piece: who is a node is then said by the token's place in the document.
            network.Read(input);
        }
        finally
        {
            foreach (var graph in graphs)
                graph.Observer = null;
        }
        return readings;
    }

    private static GraphReading Of(
        GraphActivity activity,
        int block,
        TokenTaskSettings task,
        Tensor input,
        Tensor target
    )
    {
        using var scope = NewDisposeScope();
        long questions = 0,
            kept = 0,
            linked = 0;
        double read = 0;
        var chance = new Chance();
        var example = new ExampleGraph([], [], []);
        for (int b = 0; b < input.shape[0]; b++)
        {
            var bound = task.PairsOf(new(Numbers(input[b]), Numbers(target[b])))!;
            foreach (var question in bound.Questions)
            {
                questions++;
                long m = question.At / activity.Interval;
                long[] origins = Numbers(activity.Origins[b][m]);
                double[][] edges = Matrices.Rows(activity.Edges[b][m] * activity.Gates[b][m]); // E_ij g_j
                var first = bound.Pairs[question.Right];
                int next = bound.Pairs.ToList().FindIndex(p => p.Key == first.Value);
                int from = Array.IndexOf(origins, first.At),
                    to = next < 0 ? -1 : Array.IndexOf(origins, bound.Pairs[next].At);
                chance.Add(origins.Count(o => o >= 0), m * activity.Interval, from >= 0 && to >= 0);
                if (from >= 0 && to >= 0)
                {
                    kept++;
                    read += activity.Weights[b][question.At][from].ToDouble();
                    var others = Enumerable.Range(0, origins.Length).Where(j => j != from && j != to);
                    if (others.All(j => edges[from][to] > edges[from][j]))
                        linked++;
                }
                if (b == 0 && question == bound.Questions[^1])
                    example = Show(bound, origins, edges, task);
            }
        }
        double? Share(double sum, long of) => of > 0 && double.IsFinite(sum) ? sum / of : null;
        return new(
            block,
            Share(kept, questions),
            Share(linked, kept),
            Share(read, kept),
            questions,
            [],
            example.Facts,
            example.Edges,
            example.Chains
        )
        {
            KeptNull = Share(chance.Kept, questions),
            LinkedNull = Share(chance.Linked, kept),
            ReadNull = Share(chance.Read, kept),
        };
    }

    /// <summary>Sums of what nodes, edges and reads drawn at random would give.</summary>
    private sealed class Chance
    {
        public double Kept { get; private set; }

        public double Linked { get; private set; }

        public double Read { get; private set; }

        /// <param name="nodes">How many nodes there are.</param>
        /// <param name="tokens">How many tokens they are drawn from.</param>
        /// <param name="kept">Whether both facts are nodes.</param>
        public void Add(double nodes, double tokens, bool kept)
        {
            if (nodes > 1)
                Kept += nodes * (nodes - 1) / (tokens * (tokens - 1));
            if (!kept)
                return;
            Linked += 1 / (nodes - 1);
            Read += 1 / nodes;
        }
    }

    /// <summary>The facts among the nodes at one question, the edges between them, and which of these join a
    /// chain.</summary>
    private sealed record ExampleGraph(List<string> Facts, double[][] Edges, List<(int, int)> Chains);

    private static ExampleGraph Show(BoundPairs bound, long[] origins, double[][] edges, TokenTaskSettings task)
    {
        // Chain by chain, then those that lead nowhere.
        var facts = bound
            .Pairs.Where(p => bound.Pairs.All(other => other.Value != p.Key))
            .OrderBy(p => bound.Pairs.Any(other => other.Key == p.Value) ? 0 : 1)
            .SelectMany(p => Chain(p, bound))
            .Select(p => (Pair: p, Node: Array.IndexOf(origins, p.At)))
            .Where(f => f.Node >= 0)
            .ToList();
        return new(
            [.. facts.Select(f => $"{task.Label(f.Pair.Key)} → {task.Label(f.Pair.Value)}")],
            [.. facts.Select(f => facts.Select(g => edges[f.Node][g.Node]).ToArray())],
            [
                .. facts
                    .SelectMany((f, x) => facts.Select((g, y) => (x, y, Joined: f.Pair.Value == g.Pair.Key)))
                    .Where(e => e.Joined)
                    .Select(e => (e.x, e.y)),
            ]
        );
    }

    private static KindReading[] GatesOf(GraphActivity activity, TokenTaskSettings task, int[][] kinds)
    {
        double[][] gates = Matrices.Rows(activity.Written);
        var of = gates
            .SelectMany((row, b) => row.Select((g, t) => (Kind: kinds[b][t], Gate: g)))
            .GroupBy(p => p.Kind, p => p.Gate)
            .OrderBy(p => p.Key);
        return
        [
            .. of.Select(p => (p.Key, Count: p.Count(), Gate: p.Average()))
                .Select(p => new KindReading(task.Kinds[p.Key], p.Count, p.Gate, p.Gate)),
        ];
    }

    private static IEnumerable<BoundPair> Chain(BoundPair? fact, BoundPairs bound)
    {
        for (; fact is not null; fact = bound.Pairs.FirstOrDefault(p => p.Key == fact.Value))
            yield return fact;
    }

    private static long[] Numbers(Tensor tokens) => tokens.contiguous().data<long>().ToArray();
}
