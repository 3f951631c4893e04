using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace SystemTorch.Tests;

/// <summary>The numbers are PyTorch 1.13's, in float64, after four steps (amsgrad: six, where the plain form ends at -0.2799780704325067) on the loss of <see cref="Run"/>.</summary>
public sealed class OptimizerTests
{
    private static double[] Run(Func<Parameter[], optim.Optimizer> make, int steps = 4)
    {
        using var scope = NewDisposeScope();
        var p = new Parameter(tensor(new[] { 1.0, -2.0, 0.5 }));
        using var optimizer = make([p]);
        for (int i = 0; i < steps; i++)
        {
            optimizer.zero_grad();
            (p * tensor(new[] { 1.0, 2.0, 3.0 }) + i * 0.1).square().sum().backward();
            optimizer.step();
        }
        return p.data<double>().ToArray();
    }

    private static void AssertNear(double[] found, params double[] expected)
    {
        for (int i = 0; i < expected.Length; i++) Assert.That(found[i], Is.EqualTo(expected[i]).Within(1e-14), $"[{i}]");
    }

    [Test]
    public void Adam() => AssertNear(Run(p => optim.Adam(p, lr: 0.1)), 0.6000000019887493, -1.6025907567731055, 0.10620142256409904);

    [Test]
    public void AdamWithL2() => AssertNear(Run(p => optim.Adam(p, lr: 0.1, weight_decay: 0.3)), 0.6003171889793847, -1.6025470019757608, 0.10628698230041855);

    [Test]
    public void AdamWithAmsgrad() => AssertNear(Run(p => optim.Adam(p, lr: 1, amsgrad: true), 6), -0.2800558182094891, 0.7950872034351851, 0.04482624773662086);

    [Test]
    public void AdamW() => AssertNear(Run(p => optim.AdamW(p, lr: 0.1, weight_decay: 0.3)), 0.5036398580545323, -1.3923146817908338, 0.06851462490117069);

    [Test]
    public void PlainSGD() => AssertNear(Run(p => optim.SGD(p, 0.01)), 0.91052736, -1.45553152, 0.19418648);

    [Test]
    public void SGDWithMomentumAndDecay() => AssertNear(Run(p => optim.SGD(p, 0.01, momentum: 0.9, weight_decay: 0.1)), 0.7972308937809999, -0.744691088042, -0.16267794178950007);

    [Test]
    public void SGDWithNesterov() => AssertNear(Run(p => optim.SGD(p, 0.01, momentum: 0.9, nesterov: true)), 0.7421357715359999, -0.5130399608320001, -0.20549120375200006);

    [Test]
    public void AStateThatIsLoadedGoesOnAsTheFirst()
    {
        using var scope = NewDisposeScope();
        Parameter Fresh() => new(tensor(new[] { 1.0, -2.0 }));
        void Step(Parameter p, optim.Optimizer o, int i)
        {
            o.zero_grad();
            (p * (i + 1)).square().sum().backward();
            o.step();
        }
        Parameter a = Fresh(), b = Fresh();
        using var first = optim.Adam([a], lr: 0.1);
        using var second = optim.Adam([b], lr: 0.7);
        for (int i = 0; i < 3; i++) Step(a, first, i);
        second.load_state_dict(first.state_dict());
        using (no_grad()) b.copy_(a);
        for (int i = 3; i < 6; i++)
        {
            Step(a, first, i);
            Step(b, second, i);
        }
        Assert.That(b.Equals(a), Is.True);
    }

    private static IEnumerable<double> Rates(Func<optim.Optimizer, optim.lr_scheduler.LRScheduler> make, int steps)
    {
        using var p = new Parameter(zeros(1));
        using var optimizer = optim.SGD([p], 1.0);
        var schedule = make(optimizer);
        yield return schedule.get_last_lr().Single();
        for (int i = 0; i < steps; i++)
        {
            schedule.step();
            yield return schedule.get_last_lr().Single();
        }
    }

    [Test]
    public void SchedulesArePyTorchs()
    {
        AssertNear([.. Rates(o => optim.lr_scheduler.CosineAnnealingLR(o, 5, 0.1), 5)], 1.0, 0.9140576474687263, 0.6890576474687263, 0.41094235253127365, 0.1859423525312737, 0.1);
        AssertNear([.. Rates(o => optim.lr_scheduler.LinearLR(o), 6)], 1.0 / 3, 0.4666666666666667, 0.6, 0.7333333333333335, 0.8666666666666669, 1, 1);
        AssertNear([.. Rates(o => optim.lr_scheduler.StepLR(o, 2), 6)], 1, 1, 0.1, 0.1, 0.01, 0.01, 0.001);
        AssertNear([.. Rates(o => optim.lr_scheduler.LambdaLR(o, epoch => 1.0 / (epoch + 1)), 3)], 1, 0.5, 1.0 / 3, 0.25);
    }

    [Test]
    public void ClippingScalesToTheNormAndReturnsTheOneBefore()
    {
        using var scope = NewDisposeScope();
        Parameter a = new(zeros(2)), b = new(zeros(1));
        a.grad = tensor(new[] { 3f, 0f });
        b.grad = tensor(new[] { 4f });
        using (Assert.EnterMultipleScope())
        {
            Assert.That(nn.utils.clip_grad_norm_([a, b], 1.0), Is.EqualTo(5).Within(1e-6));
            Assert.That(a.grad!.data<float>().ToArray()[0], Is.EqualTo(0.6f).Within(1e-6));
            Assert.That(b.grad!.data<float>().ToArray()[0], Is.EqualTo(0.8f).Within(1e-6));
            Assert.That(nn.utils.clip_grad_norm_([a, b], 10), Is.EqualTo(1).Within(1e-6));
            Assert.That(b.grad!.data<float>().ToArray()[0], Is.EqualTo(0.8f).Within(1e-6), "below the norm nothing changes");
        }
    }
}
