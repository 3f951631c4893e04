using EmtTorch.Settings;
using EmtTorch.Tasks;
using static TorchSharp.torch;

namespace EmtTorch.Analysis.Tests;

public class LiveEntriesTests
{
    [TestCase("t1", 64)]
    [TestCase("t2", 36)]
    [TestCase("t3", 36)]
    [TestCase("t4", 36)]
    public void AreAsManyAsTheSpecificationSays(string name, int count)
    {
        using var live = LiveEntries.Find(LinearBinding.Named(name));
        Assert.That(live.Indices, Has.Count.EqualTo(count));
        Assert.That(live.Rank, Is.EqualTo(count));
    }

    // T2 reads component k of variable k (from 0): entries below it have passed their reader for good.
    [Test]
    public void OfT2AreComponentIOfTheVariablesFromIOn()
    {
        using var live = LiveEntries.Find(LinearBinding.Named("t2"));
        var expected = from k in Enumerable.Range(0, 8) from i in Enumerable.Range(0, 8) where k >= i select k * 8 + i;
        Assert.That(live.Indices, Is.EqualTo(expected));
    }

    // Perturb an entry, and see whether the distant future changes.
    [TestCaseSource(typeof(BindingTasks), nameof(BindingTasks.All))]
    public void AreThoseWhosePerturbationIsFeltForEver(LinearBinding task)
    {
        using var live = LiveEntries.Find(task);
        int n = task.S * task.D;
        var felt = new List<int>();
        for (int j = 0; j < n; j++)
        {
            var history = new double[task.S][];
            for (int k = 0; k < task.S; k++)
                history[k] = new double[task.D];
            history[j / task.D][j % task.D] = 1;
            var future = task.Continue(history, 300).TakeLast(task.S);
            if (future.Any(y => y.Any(v => Math.Abs(v) > 1e-6)))
                felt.Add(j);
        }
        Assert.That(live.Indices, Is.EqualTo(felt));
    }

    [Test]
    public void ATaskThatForgetsHasNone()
    {
        var halving = LinearBinding.FromMatrix(
            [
                [0.5],
            ],
            d: 1,
            s: 1
        );
        Assert.That(
            () => LiveEntries.Find(halving),
            Throws.InstanceOf<AnalysisException>().With.Message.Contains("all contents decay")
        );
    }

    [Test]
    public void AnEigenvalueOnTheThresholdIsSaid()
    {
        var onIt = LinearBinding.FromMatrix(
            [
                [0.8],
            ],
            d: 1,
            s: 1
        );
        Assert.That(() => LiveEntries.Find(onIt), Throws.InstanceOf<AnalysisException>().With.Message.Contains("0.8"));
    }
}
