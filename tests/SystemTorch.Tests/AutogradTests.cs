using System.Runtime.InteropServices;
using TorchSharp;
using static TorchSharp.torch;

namespace SystemTorch.Tests;

public sealed class AutogradTests
{
    private sealed class Cube : autograd.SingleTensorFunction<Cube>
    {
        public override string Name => nameof(Cube);

        public override Tensor forward(autograd.AutogradContext ctx, params object[] vars)
        {
            var x = (Tensor)vars[0];
            ctx.save_for_backward([x]);
            ctx.save_data("factor", vars[1]);
            return x.pow(3) * (double)vars[1];
        }

        public override List<Tensor> backward(autograd.AutogradContext ctx, Tensor grad_output) =>
            [grad_output * ctx.get_saved_variables()[0].square() * 3 * (double)ctx.get_data("factor"), null!];
    }

    /// <summary>Saves its own output, as tanh does: the case that makes a cycle where a tensor is held by hand.</summary>
    private sealed class SavesItsOutput : autograd.SingleTensorFunction<SavesItsOutput>
    {
        public override string Name => nameof(SavesItsOutput);

        public override Tensor forward(autograd.AutogradContext ctx, params object[] vars)
        {
            var y = ((Tensor)vars[0]).exp();
            ctx.save_for_backward([y]);
            return y;
        }

        public override List<Tensor> backward(autograd.AutogradContext ctx, Tensor grad_output) => [grad_output * ctx.get_saved_variables()[0]];
    }

    private sealed class Split : autograd.MultiTensorFunction<Split>
    {
        public override string Name => nameof(Split);
        public override List<Tensor> forward(autograd.AutogradContext ctx, params object[] vars) => [(Tensor)vars[0] * 2, (Tensor)vars[1] * 3];
        public override List<Tensor> backward(autograd.AutogradContext ctx, List<Tensor> grad_outputs) => [grad_outputs[0] * 2, grad_outputs[1] * 3];
    }

    private sealed class Throws_ : autograd.SingleTensorFunction<Throws_>
    {
        public override string Name => nameof(Throws_);
        public override Tensor forward(autograd.AutogradContext ctx, params object[] vars) => (Tensor)vars[0] * 1;
        public override List<Tensor> backward(autograd.AutogradContext ctx, Tensor grad_output) => throw new InvalidOperationException("not today");
    }

    [Test]
    public void ACustomFunctionsGradientArrives()
    {
        using var scope = NewDisposeScope();
        var x = tensor(new[] { 1.0, -2.0 }).requires_grad_();
        Cube.apply(x * 1, 5.0).sum().backward();
        Assert.That(x.grad!.data<double>().ToArray(), Is.EqualTo(new[] { 15.0, 60.0 }));
    }

    [Test]
    public void WithoutGradientsItIsOnlyItsForward()
    {
        using var scope = NewDisposeScope();
        using (Assert.EnterMultipleScope())
        {
            Assert.That(Cube.apply(tensor(2.0), 1.0).requires_grad, Is.False);
            using (no_grad()) Assert.That(Cube.apply(tensor(2.0).requires_grad_(), 1.0).requires_grad, Is.False);
        }
    }

    [Test]
    public void AnOutputCanBeSaved()
    {
        using var scope = NewDisposeScope();
        var x = tensor(new[] { 0.5 }).requires_grad_();
        var y = SavesItsOutput.apply(x);
        y.sum().backward();
        Assert.That(x.grad!.item<double>(), Is.EqualTo(Math.Exp(0.5)).Within(1e-15));
    }

    [Test]
    public void SeveralOutputsAndAnUnusedOne()
    {
        using var scope = NewDisposeScope();
        Tensor a = ones(2).requires_grad_(), b = ones(2).requires_grad_();
        var outputs = Split.apply(a, b);
        outputs[0].sum().backward();
        using (Assert.EnterMultipleScope())
        {
            Assert.That(a.grad!.data<float>().ToArray(), Is.EqualTo(new[] { 2f, 2f }));
            Assert.That(b.grad!.data<float>().ToArray(), Is.EqualTo(new[] { 0f, 0f }));
        }
    }

    [Test]
    public void AnExceptionInBackwardIsOneOfTheCaller()
    {
        using var scope = NewDisposeScope();
        var x = ones(1).requires_grad_();
        var y = Throws_.apply(x);
        Assert.That(() => y.sum().backward(), Throws.TypeOf<ExternalException>().With.Message.Contains("not today"));
        Assert.That((x * 2).sum().item<float>(), Is.EqualTo(2), "and all goes on");
    }

    [Test]
    public void NothingLeaksOverManyApplications()
    {
        static void Once()
        {
            using var scope = NewDisposeScope();
            var x = ones(100_000).requires_grad_();
            SavesItsOutput.apply(x).sum().backward();
        }
        for (int i = 0; i < 50; i++) Once();
        long before = Environment.WorkingSet;
        for (int i = 0; i < 500; i++) Once();
        // One leaked tensor an application would be 200 MB.
        Assert.That(Environment.WorkingSet - before, Is.LessThan(60_000_000));
    }

    [Test]
    public void ErrorsOfLibtorchAreExceptions()
    {
        using var scope = NewDisposeScope();
        using (Assert.EnterMultipleScope())
        {
            Assert.That(() => ones(2, 3).mm(ones(2, 3)), Throws.TypeOf<ExternalException>().With.Message.Contains("shapes cannot be multiplied"));
            Assert.That(() => ones(2).requires_grad_().add_(1), Throws.TypeOf<ExternalException>().With.Message.Contains("in-place"));
            Assert.That(() => ones(1).backward(), Throws.TypeOf<ExternalException>());
        }
    }

    [Test]
    public void GradOfAFunctionAndOfItsGradient()
    {
        using var scope = NewDisposeScope();
        var x = tensor(3.0).requires_grad_();
        var first = autograd.grad([x.pow(3)], [x], create_graph: true)[0];
        var second = autograd.grad([first], [x])[0];
        using (Assert.EnterMultipleScope())
        {
            Assert.That(first.item<double>(), Is.EqualTo(27));
            Assert.That(second.item<double>(), Is.EqualTo(18));
        }
    }

    [Test]
    public void ScopesOwnWhatIsMadeInThem()
    {
        Tensor kept, outer, gone;
        using (var scope = NewDisposeScope())
        {
            using (var inner = NewDisposeScope())
            {
                gone = ones(1);
                outer = ones(1).MoveToOuterDisposeScope();
                kept = ones(1).DetachFromDisposeScope();
                Assert.That(inner.DisposablesCount, Is.EqualTo(1));
            }
            using (Assert.EnterMultipleScope())
            {
                Assert.That(gone.IsInvalid, Is.True);
                Assert.That(outer.IsInvalid, Is.False);
                Assert.That(scope.DisposablesCount, Is.EqualTo(1));
            }
            for (int i = 0; i < 100; i++) ones(1).Dispose();
            Assert.That(scope.DisposablesCount, Is.EqualTo(1), "what is disposed leaves its scope");
        }
        Assert.That(outer.IsInvalid, Is.True);
        Assert.That(kept.item<float>(), Is.EqualTo(1));
        kept.Dispose();
        Assert.That(() => kept.shape, Throws.TypeOf<ObjectDisposedException>());
    }

    [Test]
    public void AGeneratorsStateIsSavedAndRestored()
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator(7);
        var state = generator.get_state();
        var first = rand([3], generator: generator);
        generator.set_state(state);
        Assert.That(rand([3], generator: generator).Equals(first), Is.True);
        using var same = new Generator(7);
        Assert.That(rand([3], generator: same).Equals(first), Is.True);
    }
}
