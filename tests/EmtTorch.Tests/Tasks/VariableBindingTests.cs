using EmtTorch.Settings;
using EmtTorch.Tasks;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

public sealed class VariableBindingTests
{
    [TestCase("t1"), TestCase("t2"), TestCase("t3"), TestCase("t4")]
    public void TargetsFollowTheRuleStepByStep(string name)
    {
        using var scope = NewDisposeScope();
        var rule = LinearBinding.Named(name);
        using var task = new VariableBinding(rule, ScalarType.Float32, CPU);
        using var generator = new Generator(3);
        var (input, target) = task.Batch(5, 60, generator);
        Assert.That(input.shape, Is.EqualTo(new long[] { 8, 5, 8 }));
        Assert.That(target.shape, Is.EqualTo(new long[] { 60, 5, 8 }));
        for (int b = 0; b < 5; b++)
        {
            var history = Enumerable.Range(0, 8).Select(t => Row(input, t, b)).ToArray();
            var expected = rule.Continue(history, 60);
            for (int t = 0; t < 60; t++)
                Assert.That(Row(target, t, b), Is.EqualTo(expected[t]), $"sequence {b}, step {t}");
        }
    }

    [Test]
    public void RepeatCopyRepeats()
    {
        using var scope = NewDisposeScope();
        using var task = new VariableBinding(LinearBinding.RepeatCopy(3, 4), ScalarType.Float32, CPU);
        using var generator = new Generator(1);
        var (input, target) = task.Batch(2, 10, generator);
        for (int t = 0; t < 10; t++)
            Assert.That(target[t].Equals(input[t % 4]), Is.True, $"step {t}");
    }

    [Test]
    public void InputsAreFairSigns()
    {
        using var scope = NewDisposeScope();
        using var task = new VariableBinding(LinearBinding.RepeatCopy(8, 8), ScalarType.Float32, CPU);
        using var generator = new Generator(1);
        var (input, _) = task.Batch(1000, 1, generator);
        Assert.That(input.abs().eq(1).all().item<bool>(), Is.True);
        Assert.That(input.mean().item<float>(), Is.EqualTo(0).Within(4 / Math.Sqrt(64_000)));
    }

    /// <summary>
    /// The batches of a seed stay what they have always been: Torch's random bits, history by history, and the rule's
    /// product.
    /// </summary>
    [Test]
    public void ASeedsBatchesAreTorchsBitsTimesTheRule(
        [Values("t1", "t4", "sum")] string name,
        [Values(ScalarType.Float32, ScalarType.Float64)] ScalarType dtype
    )
    {
        using var scope = NewDisposeScope();
        // The sum has two entries in a column, so that nothing can be copied.
        var rule =
            name == "sum"
                ? LinearBinding.FromMatrix(
                    [
                        [1, 0],
                        [0, 0.5],
                        [-1, 0],
                        [0, 0.25],
                        [0.5, 0],
                        [0, 1],
                    ],
                    2,
                    3
                )
                : LinearBinding.Named(name);
        using var task = new VariableBinding(rule, dtype, CPU);
        using Generator generator = new(5),
            again = new(5);
        foreach (int horizon in new[] { 7, 30, 12 })
        {
            var (input, target) = task.Batch(6, horizon, generator);
            var history = randint(0, 2, new long[] { 6, rule.S * rule.D }, dtype: dtype, generator: again)
                .mul_(2)
                .sub_(1);
            var unrolled = tensor(VariableBinding.Unroll(rule, horizon), dtype);
            Assert.That(input.Equals(history.view(6, rule.S, rule.D).transpose(0, 1).contiguous()), Is.True);
            Assert.That(
                (target - matmul(history, unrolled.t()).view(6, horizon, rule.D).transpose(0, 1))
                    .abs()
                    .max()
                    .to(float64)
                    .item<double>(),
                Is.LessThan(name == "sum" ? 1e-5 : 1e-30)
            );
        }
    }

    [Test]
    public void TheSameGeneratorStateGivesTheSameBatch()
    {
        using var scope = NewDisposeScope();
        using var task = new VariableBinding(LinearBinding.Named("t4"), ScalarType.Float32, CPU);
        using var generator = new Generator(9);
        var state = generator.get_state();
        var first = task.Batch(4, 20, generator).Input;
        var second = task.Batch(4, 20, generator).Input;
        generator.set_state(state);
        var again = task.Batch(4, 20, generator).Input;
        using (Assert.EnterMultipleScope())
        {
            Assert.That(again.Equals(first), Is.True);
            Assert.That(second.Equals(first), Is.False);
        }
    }

    private static double[] Row(Tensor tensor, int t, int b) => tensor[t, b].to(float64).data<double>().ToArray();
}
