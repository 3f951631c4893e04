using EmtTorch.Models;
using TorchSharp;
using static EmtTorch.Devices.Tests.TestDevice;
using static TorchSharp.torch;

namespace EmtTorch.Devices.Tests;

/// <summary>On CUDA, backward runs on a thread of the engine's own.</summary>
public sealed class AutogradTests
{
    private sealed class Failing : TorchFunction<Failing>
    {
        protected override List<Tensor> Forward(ISavedForBackward ctx, object[] arguments) =>
            [((Tensor)arguments[0]).clone()];

        protected override List<Tensor?> Backward(
            autograd.AutogradContext ctx,
            List<Tensor> saved,
            IReadOnlyList<Tensor?> gradients
        ) => throw new NotSupportedException("not today");
    }

    [Test]
    public void AnExceptionInBackwardIsThrownAsItIs()
    {
        using var scope = NewDisposeScope();
        var x = new TorchSharp.Modules.Parameter(Random(1, float32, 4).to(Tested).clone());
        Assert.That(
            () => BackwardCall.Run(Failing.Apply(x)[0].sum()),
            Throws.InstanceOf<NotSupportedException>().With.Message.EqualTo("not today")
        );
        Assert.That(
            () => BackwardCall.Gradients(Failing.Apply(x)[0].sum(), [x], alone: false),
            Throws.InstanceOf<NotSupportedException>()
        );
        Assert.That(
            () => Failing.Apply(x)[0].sum().backward(),
            Throws.InstanceOf<System.Runtime.InteropServices.ExternalException>()
        );
        BackwardCall.Run(x.square().sum());
        Assert.That((x.grad! - 2 * x).abs().max().ToDouble(), Is.LessThan(1e-6), "all goes on");
    }

    [Test]
    public void StepsLeaveNoTensors()
    {
        using var scope = NewDisposeScope();
        using var network = new EpisodicTransformer(
            11,
            new ModelConfiguration
            {
                Type = "episodic_transformer",
                HiddenSize = 16,
                Heads = 2,
                MemoryHeads = 2,
                Window = 8,
            }
        ).to(Tested);
        void Step()
        {
            using var step = NewDisposeScope();
            var tokens = randint(0, 11, [2, 24], dtype: ScalarType.Int64).to(Tested);
            network.zero_grad();
            var (hidden, state) = network.Read(tokens, null);
            // Every result has a gradient: TorchSharp counts one that is not there as a tensor, for ever.
            BackwardCall.Run(Loss([hidden, .. state.Tensors.Where(t => t.requires_grad)]));
        }
        for (int i = 0; i < 5; i++)
            Step();
        long before = Tensor.TotalCount;
        for (int i = 0; i < 50; i++)
            Step();
        Assert.That(
            Tensor.TotalCount - before,
            Is.LessThan(25),
            "what the last step's functions returned, and nothing of the steps before"
        );
    }
}
