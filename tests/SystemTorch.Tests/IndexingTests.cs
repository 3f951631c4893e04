using System.Runtime.InteropServices;
using TorchSharp;
using static TorchSharp.torch;

namespace SystemTorch.Tests;

/// <summary>Index expressions, against what NumPy and PyTorch say of the same array: 0 to 23 in 2 x 3 x 4.</summary>
public sealed class IndexingTests
{
    private static Tensor X => Numbers(2, 3, 4);
    private static readonly TensorIndex All = TensorIndex.Colon, Dots = TensorIndex.Ellipsis, New = TensorIndex.None;

    private static Tensor Numbers(params long[] shape)
    {
        Tensor flat = Enumerable.Range(0, (int)shape.Aggregate((a, b) => a * b)).Select(i => (float)i).ToArray();
        return flat.reshape(shape);
    }

    private static TensorIndex At(params long[] indices) => TensorIndex.Tensor(indices);
    private static TensorIndex Where(params bool[] flags) => TensorIndex.Tensor(flags);
    private static TensorIndex Slice(long? start, long? stop, long? step = null) => TensorIndex.Slice(start, stop, step);
    private static Tensor Mask2 => ((Tensor)new[] { true, false, true, false, false, true }).reshape(2, 3);

    private static IEnumerable<TestCaseData> Reads()
    {
        TestCaseData Case(string name, TensorIndex[] index, long[] shape, params float[] values) => new TestCaseData(index, shape, values).SetArgDisplayNames(name);
        yield return Case("1, -1, 0", [1, -1, 0], [], 20);
        yield return Case("..., 1", [Dots, 1], [2, 3], 1, 5, 9, 13, 17, 21);
        yield return Case("0, 1:, ::2", [0, 1.., Slice(null, null, 2)], [2, 2], 4, 6, 8, 10);
        yield return Case("::2, -2:, 1::2", [Slice(null, null, 2), ^2.., Slice(1, null, 2)], [1, 2, 2], 5, 7, 9, 11);
        yield return Case("1, :, -100:1", [1, All, Slice(-100, 1)], [3, 1], 12, 16, 20);
        yield return Case("10:", [10..], [0, 3, 4]);
        yield return Case("0, None, ..., None, 3", [0, New, Dots, New, 3], [1, 3, 1], 3, 7, 11);
        yield return Case("0, :, [0, 2]", [0, All, At(0, 2)], [3, 2], 0, 2, 4, 6, 8, 10);
        yield return Case("0, mask, 1:3", [0, Where(true, false, true), 1..3], [2, 2], 1, 2, 9, 10);
        yield return Case("[0], ..., [0, 2]", [At(0), Dots, At(0, 2)], [2, 3], 0, 4, 8, 2, 6, 10);
        yield return Case("[0, 1], 0, [0, 2]", [At(0, 1), 0, At(0, 2)], [2], 0, 14);
        yield return Case("..., None, [0, -1]", [0, Dots, New, At(0, -1)], [3, 1, 2], 0, 3, 4, 7, 8, 11);
        yield return Case(":, None, mask, -1", [All, New, Where(true, false, true), -1], [2, 1, 2], 3, 11, 15, 23);
        yield return Case("tensor(1), :, [[0], [3]]", [TensorIndex.Tensor(1L), All, TensorIndex.Tensor(((Tensor)new[] { 0L, 3L }).reshape(2, 1))], [3, 2, 1], 12, 15, 16, 19, 20, 23);
        yield return Case("int32 indices", [1, TensorIndex.Tensor(new[] { 2, 0 }), 1], [2], 21, 13);
        yield return Case("mask of two dimensions", [TensorIndex.Tensor(Mask2)], [3, 4], 0, 1, 2, 3, 8, 9, 10, 11, 20, 21, 22, 23);
        // NumPy's meaning; PyTorch 1.13 refuses a slice behind such a mask.
        yield return Case("mask of two dimensions, 1:3", [TensorIndex.Tensor(Mask2), 1..3], [3, 2], 1, 2, 9, 10, 21, 22);
        yield return Case("True, 0, 0", [TensorIndex.Bool(true), 0, 0], [1, 4], 0, 1, 2, 3);
        yield return Case("False", [TensorIndex.Bool(false)], [0, 2, 3, 4]);
        yield return Case("tensor(False)", [TensorIndex.Tensor(false)], [0, 2, 3, 4]);
    }

    [TestCaseSource(nameof(Reads))]
    public void Reading(TensorIndex[] index, long[] shape, float[] values)
    {
        var x = X;
        using var scope = NewDisposeScope();
        var result = x[index];
        Assert.That(scope.DisposablesCount, Is.EqualTo(1), "no tensor is left behind");
        Assert.That(result.shape, Is.EqualTo(shape));
        Assert.That(result.contiguous().data<float>().ToArray(), Is.EqualTo(values));
    }

    [TestCaseSource(nameof(Reads))]
    public void WritingAndAccumulating(TensorIndex[] index, long[] shape, float[] values)
    {
        using var scope = NewDisposeScope();
        var y = X.clone();
        y[index] = (Tensor)(-1f);
        var reached = values.Select(v => (int)v).ToHashSet();
        Assert.That(y.data<float>().ToArray(), Is.EqualTo(Enumerable.Range(0, 24).Select(i => reached.Contains(i) ? -1f : i)));

        y = X.clone();
        y.index_put_(y.new_full(shape, 100), index, accumulate: true);
        Assert.That(y.data<float>().ToArray(), Is.EqualTo(Enumerable.Range(0, 24).Select(i => reached.Contains(i) ? i + 100f : i)));
    }

    [Test]
    public void NumbersOnly()
    {
        Assert.That((float)X[1, 2, 3], Is.EqualTo(23));
        Assert.That(X[-1].shape, Is.EqualTo(new long[] { 3, 4 }));
        Assert.That((float)X[new long[] { 0, 1 }].sum(), Is.EqualTo(22));
        var y = X.clone();
        y[0, 0, 0] = 7f;
        y[1, 2] = new[] { 1f, 2, 3, 4 };
        y[0, 1] = X[1, 0].reshape(1, 1, 4);
        Assert.That((float)y[0, 0, 0], Is.EqualTo(7));
        Assert.That(y[1, 2].data<float>().ToArray(), Is.EqualTo(new[] { 1f, 2, 3, 4 }));
        Assert.That(y[0, 1].data<float>().ToArray(), Is.EqualTo(new[] { 12f, 13, 14, 15 }));
    }

    [Test]
    public void RepeatedIndicesAccumulate()
    {
        Tensor counts = new float[3], ones = new[] { 1f, 1, 1, 1 };
        counts.index_put_(ones, [At(0, 2, 2, 2)], accumulate: true);
        Assert.That(counts.data<float>().ToArray(), Is.EqualTo(new[] { 1f, 0, 3 }));
    }

    [Test]
    public void MaskTakesANumberOfAnotherType()
    {
        var y = X.clone();
        y[y > 3] = 0;
        Assert.That((float)y.sum(), Is.EqualTo(6));
        y.index_put_(2.5, y == 0);
        Assert.That((float)y.sum(), Is.EqualTo(6 + 2.5f * 21));
    }

    [Test]
    public void Refusals()
    {
        Assert.That(() => X[2], Throws.InstanceOf<ExternalException>());
        Assert.That(() => X[0, -4], Throws.InstanceOf<ExternalException>());
        Assert.That(() => X[At(0, 2)], Throws.Exception);
        Assert.That(() => X[Slice(null, null, -1)], Throws.InstanceOf<ExternalException>().With.Message.Contains("step must be positive"));
        Assert.That(() => X[[0, 0, 0, (TensorIndex)0]], Throws.InstanceOf<ArgumentException>());
        Assert.That(() => X[Where(true, false, true)], Throws.InstanceOf<ExternalException>(), "a mask of 3 for 2 rows");
        Assert.That(() => { var y = X.clone(); y[0, 0] = new[] { 1f, 2 }; }, Throws.InstanceOf<ExternalException>());
    }

    [Test]
    public void GradientsReachWhatIsReadAndSkipWhatIsOverwritten()
    {
        var leaf = Numbers(2, 3).requires_grad_();
        leaf[All, At(0, 2, 2)].sum().backward();
        Assert.That(leaf.grad!.data<float>().ToArray(), Is.EqualTo(new[] { 1f, 0, 2, 1, 0, 2 }));

        leaf = Numbers(2, 3).requires_grad_();
        var y = leaf * 3;
        y[0, 1] = 5f;
        y[TensorIndex.Tensor(Mask2)] = 0f;
        y.sum().backward();
        Assert.That(leaf.grad!.data<float>().ToArray(), Is.EqualTo(new[] { 0f, 0, 0, 3, 3, 0 }));
    }
}
