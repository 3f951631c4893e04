using System.Numerics;
using System.Reflection;
using System.Runtime.InteropServices;
using TorchSharp;
using static TorchSharp.torch;

namespace SystemTorch.Tests;

/// <summary>Tensor's own members where they are more than an operator's name: numbers on either side, types, dimensions, in-place forms.</summary>
public sealed class TensorTests
{
    private static Tensor V => new[] { 3f, 1, 2, 1 };
    private static Tensor Integers => new[] { -7L, 7 };
    private static Tensor Cube => ((Tensor)Enumerable.Range(0, 24).Select(i => (float)i).ToArray()).reshape(2, 3, 4);

    private static void Same(Tensor actual, params double[] expected) =>
        Assert.That(actual.to(float64).contiguous().data<double>().ToArray(), Is.EqualTo(expected).Within(1e-4));

    [Test]
    public void EveryOperatorIsInThisLibtorch()
    {
        var find = typeof(Operator).GetMethod("Find", BindingFlags.Instance | BindingFlags.NonPublic)!;
        var operators = typeof(Ops).GetFields(BindingFlags.Static | BindingFlags.NonPublic).Where(f => f.FieldType == typeof(Operator)).ToArray();
        Assert.That(operators, Has.Length.GreaterThan(400));
        Assert.Multiple(() =>
        {
            foreach (var field in operators) Assert.That(() => find.Invoke(field.GetValue(null), null), Throws.Nothing, field.Name);
        });
    }

    [Test]
    public void NumbersOnEitherSide()
    {
        Same(V + 1, 4, 2, 3, 2);
        Same(1L + V, 4, 2, 3, 2);
        Same(10 - V, 7, 9, 8, 9);
        Same(V - 0.5f, 2.5, 0.5, 1.5, 0.5);
        Same(2.0 * V, 6, 2, 4, 2);
        Same(6 / V, 2, 6, 3, 6);
        Same(V / 2, 1.5, 0.5, 1, 0.5);
        Same(V % 2, 1, 1, 0, 1);
        Same(-V, -3, -1, -2, -1);
        Same((Scalar)1 - V, -2, 0, -1, 0);
        Same(V >= 2, 1, 0, 1, 0);
        Same(2 > V, 0, 1, 0, 1);
        Same((V == 1) | (V == 3), 1, 1, 0, 1);
        Same(~(V != 1) & (V < 2) ^ (V > 2), 1, 1, 0, 1);
        Assert.That((Integers + 1).dtype, Is.EqualTo(int64));
        Assert.That((Integers + 0.5).dtype, Is.EqualTo(float32));
        Assert.That((V * 2.5).dtype, Is.EqualTo(float32), "a number never widens a tensor of its kind");
        Assert.That((Integers / 2).dtype, Is.EqualTo(float32));
    }

    [Test]
    public void Quotients()
    {
        Same(Integers.div(2, RoundingMode.floor), -4, 3);
        Same(Integers.div(2, RoundingMode.trunc), -3, 3);
        Same(Integers.floor_divide(2), -4, 3);
        Same(Integers.remainder(3), 2, 1);
        Same(Integers.fmod(3), -1, 1);
        Same(Integers.clone().div_(2, RoundingMode.floor), -4, 3);
    }

    [Test]
    public void InPlaceFormsReturnTheirTensor()
    {
        var x = V.clone();
        Assert.That(x.add_(V, 2).mul_(V).sub_(1).clamp_(min: 0, max: 11), Is.SameAs(x));
        Same(x, 11, 2, 11, 2);
        Assert.That(x.zero_().fill_(4).sqrt_().unsqueeze_(0).transpose_(0, 1).squeeze_(), Is.SameAs(x));
        Same(x, 2, 2, 2, 2);
        Assert.That(x.copy_(V).masked_fill_(V > 1, -1).round_(2), Is.SameAs(x));
        Same(x, -1, 1, -1, 1);
    }

    [Test]
    public void LeavesThatNeedGradientsRefuseInPlaceChanges()
    {
        var leaf = V.clone().requires_grad_();
        Assert.That(() => leaf.add_(1), Throws.InstanceOf<ExternalException>().With.Message.Contains("in-place"));
        using (no_grad()) leaf.add_(1);
        Same(leaf.detach(), 4, 2, 3, 2);
        var y = (leaf * 2).exp_();
        y.sum().backward();
        Same(leaf.grad!, 2 * Math.Exp(8), 2 * Math.Exp(4), 2 * Math.Exp(6), 2 * Math.Exp(4));
    }

    [Test]
    public void Reductions()
    {
        Same(Cube.sum(), 276);
        Same(Cube.sum(0, 2), 60, 92, 124);
        Assert.That(Cube.sum(-1, keepdim: true).shape, Is.EqualTo(new long[] { 2, 3, 1 }));
        Assert.That(Cube.sum(0, type: float64).dtype, Is.EqualTo(float64));
        Same(Cube.mean([0L, 1]), 10, 11, 12, 13);
        Same(Cube.std((0, 1)), 7.4833, 7.4833, 7.4833, 7.4833);
        Same(Cube.var(), 50);
        Same(Integers.var(0, type: float32), 98);
        Same(Cube.std(2, unbiased: false)[0], 1.1180, 1.1180, 1.1180);
        Same(Cube.amax(0, 2), 15, 19, 23);
        Same(Cube.amin([-1], keepdim: true)[1, .., 0], 12, 16, 20);
        Same(V.norm(), 3.8730);
        Same(Cube.norm(0, p: 1)[0], 12, 14, 16, 18);
        Same(V.logsumexp(0), 3.4938);
        Same(V.count_nonzero(), 4);
        Same((V - 1).count_nonzero([0]), 2);
        Same(V.quantile(new[] { 0.25f, 0.5f }), 1, 1.5);
        Same(V.cumsum(0, float64), 3, 4, 6, 7);
        Assert.That((bool)(V > 0).all());
        Assert.That((bool)(V > 3).any(), Is.False);
    }

    [Test]
    public void Order()
    {
        var (largest, places) = V.topk(2);
        Same(largest, 3, 2);
        Same(places, 0, 2);
        (largest, places) = V.max(0);
        Assert.That(((float)largest, (long)places), Is.EqualTo((3f, 0L)));
        Same(V.sort(descending: true, stable: true).Indices, 0, 2, 1, 3);
        Same(V.kthvalue(2, null).values, 1);
        Same(V.median(), 1);
        var (values, inverse, counts) = V.unique(return_inverse: true, return_counts: true);
        Same(values, 1, 2, 3);
        Same(inverse!, 2, 0, 1, 0);
        Same(counts!, 2, 1, 1);
        (values, inverse, counts) = V.unique_consecutive();
        Same(values, 3, 1, 2, 1);
        Assert.That((inverse, counts), Is.EqualTo(((Tensor?)null, (Tensor?)null)));
    }

    [Test]
    public void Shapes()
    {
        Assert.That(Cube.permute(2, 0, 1).shape, Is.EqualTo(new long[] { 4, 2, 3 }));
        Assert.That(Cube.movedim([0L], [-1L]).shape, Is.EqualTo(new long[] { 3, 4, 2 }));
        Assert.That(Cube.flatten(1).unflatten(1, 2, -1).shape, Is.EqualTo(new long[] { 2, 2, 6 }));
        Assert.That(Cube.unsqueeze(1).squeeze().shape, Is.EqualTo(new long[] { 2, 3, 4 }));
        Assert.That(Cube.unsqueeze(1).squeeze(0).shape, Is.EqualTo(new long[] { 2, 1, 3, 4 }));
        Assert.That(V.expand(2, -1).shape, Is.EqualTo(new long[] { 2, 4 }));
        Assert.That(Cube.mT.shape, Is.EqualTo(new long[] { 2, 4, 3 }));
        Assert.That(Cube.split(2, 1).Select(t => t.size(1)), Is.EqualTo(new[] { 2, 1 }));
        Assert.That(Cube.split([1L, 3], 2).Select(t => t.size(2)), Is.EqualTo(new[] { 1, 3 }));
        Assert.That(Cube.tensor_split([1L], 1).Select(t => t.size(1)), Is.EqualTo(new[] { 1, 2 }));
        Assert.That(Cube.unbind(1), Has.Length.EqualTo(3));
        Same(V.roll(1), 1, 3, 1, 2);
        Same(V.roll(-1, 0), 1, 2, 1, 3);
        Same(V.repeat_interleave(2, 0), 3, 3, 1, 1, 2, 2, 1, 1);
        Same(V.repeat_interleave(new[] { 0L, 2, 0, 1 }), 1, 1, 1);
        Same(V.flip(0), 1, 2, 1, 3);
        Same(V.diag().diagonal(), 3, 1, 2, 1);
        Same(V.unfold(0, 2, 2), 3, 1, 2, 1);
        Same(Cube[0].tril(-1), 0, 0, 0, 0, 4, 0, 0, 0, 8, 9, 0, 0);
    }

    [Test]
    public void Matrices()
    {
        var a = ((Tensor)new[] { 2f, 1, 1, 3 }).reshape(2, 2);
        Same(a.inverse(), 0.6, -0.2, -0.2, 0.4);
        Same(a.pinverse(), 0.6, -0.2, -0.2, 0.4);
        Same(a.matrix_exp(), 13.1815, 14.8839, 14.8839, 28.0654);
        Same(a.det(), 5);
        Same(a.addmm(a, a, beta: 2, alpha: 0.5f), 6.5, 4.5, 4.5, 11);
        Same(a.matmul(a), 5, 5, 5, 10);
        Same(Cube.tensordot(Cube, [0L, 1, 2], [0L, 1, 2]), 4324);
        Same(a.tensordot(a), 15);
        Same(a.tensordot(a, 1), 5, 5, 5, 10);
    }

    [Test]
    public void TypesAndValues()
    {
        Assert.That((int)(Tensor)3.7f, Is.EqualTo(3));
        Assert.That((bool)(Tensor)0, Is.False);
        Assert.That(((Tensor)2.5).dtype, Is.EqualTo(float64));
        Assert.That(((Tensor)(byte)2).dtype, Is.EqualTo(uint8));
        Assert.That(V.half().@float().dtype, Is.EqualTo(float32));
        Assert.That(V.to(Integers).dtype, Is.EqualTo(int64));
        Assert.That(V.zeros_like(int32).dtype, Is.EqualTo(int32));
        Assert.That(V.new_full(2, 3, 7).shape, Is.EqualTo(new long[] { 2, 3 }));
        Assert.That(V.ones_like(requires_grad: true).requires_grad);
        Assert.That(V.clamp(max: 2).Equals(V.minimum((Tensor)new[] { 2f, 2, 2, 2 })));
        Tensor z = new Complex[] { new(3, 4) };
        Same(z.abs(), 5);
        Same(z.conj().imag.resolve_neg(), -4);
        Same(z.view_as_real(), 3, 4);
    }

    [Test]
    public void ConvertingToTheSameTypeSharesMemoryUnlessACopyIsAskedFor()
    {
        var x = V.clone();
        using (var same = x.to(float32)) same.add_(1);
        using (var copied = x.to(float32, copy: true)) copied.zero_();
        Same(x, 4, 2, 3, 2);
        var given = V.clone();
        var kept = given.to(float64, disposeAfter: true);
        Assert.That(given.IsInvalid);
        Same(kept, 3, 1, 2, 1);
    }

    [Test]
    public void RandomFillsFollowTheirGenerator()
    {
        Tensor Draw(long seed)
        {
            using var generator = new Generator((ulong)seed);
            return V.new_empty(1000).normal_(2, 3, generator);
        }
        Assert.That(Draw(1).Equals(Draw(1)));
        Assert.That(Draw(1).Equals(Draw(2)), Is.False);
        Assert.That((float)Draw(1).mean(), Is.EqualTo(2).Within(0.4));
        var whole = V.new_empty(1000, int64).random_(-2, 3);
        Assert.That(((long)whole.min(), (long)whole.max()), Is.EqualTo((-2L, 2L)));
        Assert.That((float)V.new_full(1000, 0.25f).bernoulli().mean(), Is.EqualTo(0.25).Within(0.07));
        Same(((Tensor)new[] { 0f, 1, 0 }).multinomial(3, replacement: true), 1, 1, 1);
    }
}
