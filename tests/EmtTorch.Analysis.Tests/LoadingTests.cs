using EmtTorch.Settings;
using EmtTorch.Tasks;
using static TorchSharp.torch;

namespace EmtTorch.Analysis.Tests;

public class LoadingTests
{
    // The circuit of T2 as a linear network of one phase: what the specification says it can't do.
    [Test]
    public void ALinearNetworkOfOnePhaseAddsTheFeedbackToTheInput()
    {
        using var scope = NewDisposeScope();
        var task = LinearBinding.Named("t2");
        using var circuit = new Circuit(task, BindingTasks.RandomBasis(128, 64, seed: 1));
        var weights = circuit.ToWeights();
        weights = weights with { WeightIh = weights.WeightIh * 1e-4, Readout = weights.Readout / 1e-4 };
        using var memories = VariableMemories.Find(weights, task);
        using var network = weights.ToNetwork();
        var loading = VariableLoading.Measure(network, task, memories, batchSize: 512);

        Assert.That(loading.Steps, Has.Count.EqualTo(8));
        Assert.That(loading.Steps[0].FeedbackWeight, Is.NaN, "nothing is stored at the first step");
        foreach (var step in loading.Steps)
        {
            Assert.That(step.InputWeight, Is.EqualTo(1).Within(1e-4));
            Assert.That(step.Explained, Is.EqualTo(1).Within(1e-4));
            Assert.That(step.Saturated, Is.Zero);
        }
        foreach (var step in loading.Steps.Skip(1))
            Assert.That(step.FeedbackWeight, Is.EqualTo(1).Within(1e-4));
        // At the second step component 8 alone feeds back, u_8(1): 2 or 0, for good.
        Assert.That(loading.Steps[1].Agree, Is.EqualTo(2).Within(1e-3));
        Assert.That(loading.Steps[1].Disagree, Is.EqualTo(0).Within(1e-3));
        // The inputs of other sequences explain nothing of it.
        Assert.That(loading.Null.InputWeight, Is.EqualTo(0).Within(0.1));
        Assert.That(loading.Null.SignRight, Is.EqualTo(0.5).Within(0.05));
    }

    [Test]
    public void WhereTheOldestVariableAloneIsReadNothingFeedsBack()
    {
        using var scope = NewDisposeScope();
        var task = BindingTasks.Rotation(1, d: 4, s: 3);
        using var circuit = new Circuit(task, BindingTasks.RandomBasis(30, 12, seed: 2));
        using var network = circuit.ToElmanRnn();
        using var weights = NetworkWeights.Copy(network);
        using var memories = VariableMemories.Find(weights, task);
        foreach (var step in VariableLoading.Measure(network, task, memories, batchSize: 64).Steps)
        {
            Assert.That(step.InputWeight, Is.EqualTo(1).Within(1e-4));
            Assert.That(step.FeedbackWeight, Is.NaN);
            Assert.That(step.SignRight, Is.EqualTo(1));
        }
    }
}
