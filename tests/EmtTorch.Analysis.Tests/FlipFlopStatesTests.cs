using System.Text.Json.Nodes;
using EmtTorch.Analysis.Charts;
using EmtTorch.Configuration;
using EmtTorch.Models;
using EmtTorch.Tasks;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Analysis.Tests;

public sealed class FlipFlopStatesTests : InTemporaryFolder
{
    /// <summary>
    /// One unit for each bit, h = tanh(2h + 4u): it has three fixed points, and a pulse takes it to either of the outer
    /// ones.
    /// </summary>
    private static ElmanRnn UnitForEachBit(int bits)
    {
        using var quiet = no_grad();
        using var scope = NewDisposeScope();
        var network = new ElmanRnn(bits, bits, dtype: ScalarType.Float64);
        network.RecurrentWeights.copy_(eye(bits).mul(2));
        network.InputWeights.copy_(eye(bits).mul(4));
        network.ReadoutWeights.copy_(eye(bits));
        return network;
    }

    [TestCase(1), TestCase(2), TestCase(3)]
    public void ANetworkOfAUnitForEachBitKeepsEveryPattern(int bits)
    {
        using var network = UnitForEachBit(bits);
        var states = FlipFlopStates.Find(network);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(states.FixedPoints.Points, Has.Count.EqualTo((int)Math.Pow(3, bits)));
            Assert.That(states.FixedPoints.Stable.Count(), Is.EqualTo(1 << bits));
            Assert.That(
                states.Patterns.Keys,
                Is.EquivalentTo(
                    Enumerable
                        .Range(0, 1 << bits)
                        .Select(k =>
                            string.Concat(Enumerable.Range(0, bits).Select(i => (k >> i & 1) == 1 ? '+' : '-'))
                        )
                )
            );
            Assert.That(states.Patterns.Values, Is.All.EqualTo(1));
            Assert.That((states.PatternCount, states.IsComplete), Is.EqualTo(((double)(1 << bits), true)));
            Assert.That(states.Variance.Sum(), Is.EqualTo(1).Within(1e-9));
        }
        foreach (var (point, signs) in states.FixedPoints.Points.Zip(states.Signs).Where(p => p.First.IsStable))
            Assert.That(signs, Is.EqualTo(string.Concat(point.State.Select(h => h > 0 ? '+' : '-'))));
    }

    [Test]
    public void PatternsAreComparedWithThoseOfShuffledNumbers()
    {
        using var scope = NewDisposeScope();
        using var network = UnitForEachBit(3);
        var configuration = ConfigurationFile.Parse(
            """{ "name": "hand", "task": { "name": "flip_flop", "d": 3 }, "model": { "hidden_size": 3 } }"""
        );
        var (analysis, json) = WrittenAnalysis.Of(NetworkWeights.Copy(network), configuration, Folder);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(json.GetProperty("patterns_kept").GetDouble(), Is.EqualTo(8));
            // With seed 1 the three 2s do not all come to stand on the diagonal again.
            Assert.That(json.GetProperty("patterns_kept_null").GetDouble(), Is.LessThan(8));
            Assert.That(json.GetProperty("test_accuracy").GetDouble(), Is.EqualTo(1));
            Assert.That(analysis.Lines, Has.Some.Contain("8 patterns").And.Some.Contain("W_hh shuffled"));
        }

        using var quiet = no_grad();
        network.ReadoutWeights.neg_();
        var (wrong, _) = WrittenAnalysis.Of(NetworkWeights.Copy(network), configuration, Folder);
        Assert.That(wrong.Lines, Has.Some.StartWith("It does not do the task: 0.0 %").And.None.Contain("fixed points"));
    }

    [Test]
    public void ABitThatIsNotKeptIsMissed()
    {
        using var network = UnitForEachBit(2);
        using (no_grad())
        {
            network.RecurrentWeights.copy_(
                tensor(
                    new[,]
                    {
                        { 2.0, 0 },
                        { 0, 0.5 },
                    }
                )
            );
        }

        var states = FlipFlopStates.Find(network, starts: 100);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(states.FixedPoints.Stable.Count(), Is.EqualTo(2));
            Assert.That(states.Patterns.Values.Sum(), Is.EqualTo(2));
            Assert.That(states.IsComplete, Is.False);
            Assert.That(FlipFlopFigure.Of(states).Title, Does.StartWith("2 stable and 1 unstable"));
        }
    }

    [Test]
    public void TheProjectionKeepsDistancesWhereAllComponentsAreKept()
    {
        using var network = UnitForEachBit(3);
        var states = FlipFlopStates.Find(network);
        var (points, projected) = (states.FixedPoints.Points, states.Projected);
        for (int i = 0; i < points.Count; i++)
        {
            for (int j = 0; j < i; j++)
            {
                Assert.That(
                    Distance(projected[i], projected[j]),
                    Is.EqualTo(Distance(points[i].State, points[j].State)).Within(1e-9)
                );
            }
        }

        static double Distance(IEnumerable<double> a, IEnumerable<double> b) =>
            Math.Sqrt(a.Zip(b, (x, y) => (x - y) * (x - y)).Sum());
    }

    [Test]
    public void TheSameSeedGivesTheSameFigure()
    {
        using var network = UnitForEachBit(2);
        string Spec(ulong seed) =>
            FlipFlopFigure.Of(FlipFlopStates.Find(network, starts: 50, seed: seed)).Spec.ToJsonString();
        var first = Spec(1);
        Assert.That(Spec(1), Is.EqualTo(first));
        Assert.That(Spec(2), Is.Not.EqualTo(first));
    }

    [Test]
    public void TheFigureHasAMarkForEachPointAndLinesBehind()
    {
        using var network = UnitForEachBit(2);
        Figure figure = FlipFlopFigure.Of(FlipFlopStates.Find(network));
        var panels = figure.Spec["hconcat"]!.AsArray();
        var points = panels[0]!["layer"]![1]!;
        JsonArray values = points["data"]!["values"]!.AsArray();
        using (Assert.EnterMultipleScope())
        {
            Assert.That(figure.Spec["data"]!["values"]!.AsArray(), Has.Count.EqualTo(16 * 64));
            Assert.That(panels, Has.Count.EqualTo(1), "two units have no third component");
            Assert.That(values.Count(v => (string)v!["kind"]! == "stable"), Is.EqualTo(4));
            Assert.That(values.Count(v => (string)v!["kind"]! == "unstable"), Is.EqualTo(5));
            Assert.That(
                points["layer"]!.AsArray().Select(l => (bool?)l!["mark"]!["filled"]),
                Is.EqualTo(new bool?[] { false, true, null, null }),
                "open, filled, and the patterns' bits"
            );
            Assert.That(figure.Title, Is.EqualTo("4 stable and 5 unstable fixed points; 4 of 4 patterns are kept"));
        }
    }

    [Test]
    public void ATrainedNetworkKeepsEveryPatternOfTwoBits()
    {
        using var everything = NewDisposeScope();
        using var seed = manual_seed(1);
        using var generator = new Generator(1);
        var task = new FlipFlop(2, ScalarType.Float32, CPU);
        using var network = new ElmanRnn(2, 32, bias: true);
        using var optimizer = optim.Adam(network.parameters(), lr: 0.003);
        double loss = 1;
        for (int step = 0; step < 800; step++)
        {
            using var scope = NewDisposeScope();
            var (input, target) = task.Batch(64, 32, generator);
            var error = nn.functional.mse_loss(network.forward(input), target);
            optimizer.zero_grad();
            error.backward();
            nn.utils.clip_grad_norm_(network.parameters(), 1);
            optimizer.step();
            loss = error.item<float>();
        }
        var states = FlipFlopStates.Find(network);
        TestContext.Out.WriteLine(
            $"loss {loss:0.0000}: {states.FixedPoints.Points.Count} points, {states.FixedPoints.Unconverged} "
                + "unconverged"
        );
        using (Assert.EnterMultipleScope())
        {
            Assert.That(loss, Is.LessThan(0.02));
            Assert.That(states.Patterns, Has.Count.EqualTo(4));
            Assert.That(states.IsComplete);
            Assert.That(states.FixedPoints.Stable.Count(), Is.EqualTo(4));
        }
        // What the fixed point says is what the network does: left alone in its neighbourhood, it goes on giving these
        // signs.
        foreach (var (point, signs) in states.FixedPoints.Points.Zip(states.Signs).Where(p => p.First.IsStable))
        {
            var input = signs.Select(s => s == '+' ? 1f : -1f).ToArray();
            using var quiet = no_grad();
            var output = network.forward(tensor(input).view(1, 1, 2), steps: 500)[499, 0];
            Assert.That(output.sign().data<float>().ToArray(), Is.EqualTo(input));
        }
    }
}
