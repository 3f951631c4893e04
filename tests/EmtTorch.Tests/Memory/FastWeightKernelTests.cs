using EmtTorch.Kernels;
using EmtTorch.Memory;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

/// <summary>The kernel of the scan against the sequence of steps, on every path that this processor has.</summary>
public sealed class FastWeightKernelTests : OnSimdPaths
{
    /// <summary>B, heads, T, d_k, d_v, chunk, γ: sizes below, at and above the tiles' and the chunks' edges.</summary>
    private static readonly object[][] Shapes =
    [
        [1, 1, 1, 1, 1, 1, 1.0],
        [1, 2, 2, 3, 5, 7, 0.5],
        [2, 1, 63, 16, 16, 64, 1.0],
        [1, 2, 64, 33, 7, 7, 0.5],
        [2, 2, 65, 16, 33, 64, 0.97],
        [1, 1, 200, 64, 64, 64, 0.99],
        [1, 1, 200, 64, 3, 64, 0.0],
        [1, 3, 65, 1, 64, 7, 0.0],
        [2, 1, 63, 3, 16, 1, 1.0],
        [1, 1, 64, 33, 33, 64, 0.9],
        [1, 2, 200, 16, 1, 7, 1.0],
        [1, 1, 2, 64, 16, 64, 0.5],
        [1, 1, 1, 33, 64, 64, 0.5],
        [3, 1, 65, 3, 64, 1, 0.5],
    ];

    private static IEnumerable<TestCaseData> Cases() =>
        from dtype in new[] { ScalarType.Float32, ScalarType.Float64 }
        from rule in Enum.GetValues<WriteRule>()
        from shape in Shapes
        select new TestCaseData([dtype, rule, .. shape]);

    /// <summary>q, k, v, β, γ, F_0. A fifth of the gates is shut.</summary>
    private static Tensor[] Arguments(
        int batch,
        int heads,
        int tokens,
        int keys,
        int values,
        double decay,
        ScalarType dtype
    )
    {
        using var seed = manual_seed(tokens * 1000 + keys * 10 + values);
        var k = randn([batch, heads, tokens, keys], dtype: float64);
        var gates = rand([batch, heads, tokens], dtype: float64);
        Tensor[] arguments =
        [
            randn([batch, heads, tokens, keys], dtype: float64),
            k / k.norm(-1, keepdim: true),
            randn([batch, heads, tokens, values], dtype: float64),
            gates * gates.gt(0.2).to(float64),
            full([heads], decay, dtype: float64),
            randn([batch, heads, keys, values], dtype: float64),
        ];
        return [.. arguments.Select(t => t.to(dtype))];
    }

    private static Func<Tensor[], Tensor[]> Scan(WriteRule rule, long chunk = 64) =>
        t =>
        {
            Assert.That(FastWeightKernel.Fits(t, chunk), Is.True, "not the kernel's");
            var (read, state) = FastWeights.Scan(t[0], t[1], t[2], t[3], t[4], t[5], rule, chunk);
            return [read, state];
        };

    private static Func<Tensor[], Tensor[]> Sequential(WriteRule rule) =>
        t =>
        {
            var (read, state) = FastWeights.Sequential(t[0], t[1], t[2], t[3], t[4], t[5], rule);
            return [read, state];
        };

    [TestCaseSource(nameof(Cases))]
    public void IsTheSequenceOfSteps(
        ScalarType dtype,
        WriteRule rule,
        int batch,
        int heads,
        int tokens,
        int keys,
        int values,
        int chunk,
        double decay
    )
    {
        using var scope = NewDisposeScope();
        var arguments = Arguments(batch, heads, tokens, keys, values, decay, dtype);
        // Of the same, rounded numbers
        var expected = Compared.ResultsAndGradients(Sequential(rule), [.. arguments.Select(t => t.to(float64))]);
        foreach (var path in Enum.GetValues<SimdPath>().Where(Simd.Has))
        {
            Simd.Path = path;
            var found = Compared.ResultsAndGradients(Scan(rule, chunk), arguments);
            TestContext.Out.WriteLine(path);
            Compared.AreEqual(
                [.. found.Select(t => t.to(float64))],
                expected,
                dtype == ScalarType.Float64 ? 1e-9 : 1e-4
            );
        }
    }

    [Test]
    public void GradientsAgreeWithFiniteDifferences([ValueSource(nameof(Paths))] string path, [Values] WriteRule rule)
    {
        Use(path);
        using var scope = NewDisposeScope();
        Compared.AgreeWithFiniteDifferences(Scan(rule, 5), Arguments(2, 2, 7, 3, 5, 0.8, ScalarType.Float64));
    }

    /// <summary>
    /// A loss of the reads or of the last state alone, and gradients wanted in one argument alone or in two.
    /// </summary>
    [Test]
    public void WhatIsNotAskedForIsNotMissed(
        [Values] WriteRule rule,
        [Values(0, 1)] int result,
        [Values("0", "2", "3", "4", "5", "14")] string wanted
    )
    {
        using var scope = NewDisposeScope();
        var arguments = Arguments(2, 2, 40, 5, 3, 0.9, ScalarType.Float64);
        Tensor[] Gradients(Func<Tensor[], Tensor[]> function)
        {
            var leaves = arguments
                .Select((t, i) => t.detach().clone().requires_grad_(wanted.Contains((char)('0' + i))))
                .ToArray();
            var loss = function(leaves)[result].square().sum();
            if (loss.requires_grad)
                loss.backward();
            return [.. leaves.Select(t => t.grad ?? zeros_like(t))];
        }
        Compared.AreEqual(Gradients(Scan(rule)), Gradients(Sequential(rule)), 1e-9);
    }

    /// <summary>
    /// Scratch memory is not cleared: what an earlier call left there, padding too, must count for nothing.
    /// </summary>
    [Test]
    public void NothingIsLeftOfAnEarlierCall(
        [ValueSource(nameof(Paths))] string path,
        [Values] WriteRule rule,
        [Values(33, 70)] int tokens
    )
    {
        Use(path);
        using var scope = NewDisposeScope();
        set_num_threads(1);
        Compared.ResultsAndGradients(
            Scan(rule),
            [.. Arguments(1, 1, 200, 64, 64, 0.9, ScalarType.Float64).Select(t => t * double.NaN)]
        );
        var arguments = Arguments(1, 1, tokens, 5, 11, 0.9, ScalarType.Float64);
        Compared.AreEqual(
            Compared.ResultsAndGradients(Scan(rule), arguments),
            Compared.ResultsAndGradients(Sequential(rule), arguments),
            1e-9
        );
    }

    [Test]
    public void TheNumberOfThreadsChangesNoBit([Values] WriteRule rule, [Values(1, 3)] int batch)
    {
        using var scope = NewDisposeScope();
        var arguments = Arguments(batch, 2, 150, 17, 40, 0.95, ScalarType.Float32);
        byte[][] Results(int threads)
        {
            set_num_threads(threads);
            return [.. Compared.ResultsAndGradients(Scan(rule), arguments).Select(t => t.contiguous().bytes.ToArray())];
        }
        var one = Results(1);
        foreach (int threads in new[] { 2, 3, 1 })
            Assert.That(Results(threads), Is.EqualTo(one), $"{threads} threads");
    }

    /// <summary>Tokens before heads, as projections give them, and one decay for all heads.</summary>
    [Test]
    public void WhatIsNotContiguousHasItsGradientToo([Values] WriteRule rule)
    {
        using var scope = NewDisposeScope();
        var arguments = Arguments(2, 3, 37, 6, 4, 0.9, ScalarType.Float64);
        Tensor[] stored =
        [
            .. arguments[..4].Select(t => t.transpose(1, 2).contiguous()),
            full(1, 0.9, dtype: float64),
            arguments[5].transpose(2, 3).contiguous(),
        ];
        Func<Tensor[], Tensor[]> Viewed(Func<Tensor[], Tensor[]> function) =>
            t => function([.. t[..4].Select(x => x.transpose(1, 2)), t[4].expand(3), t[5].transpose(2, 3)]);
        Compared.AreEqual(
            Compared.ResultsAndGradients(Viewed(Scan(rule, 8)), stored),
            Compared.ResultsAndGradients(Viewed(Sequential(rule)), stored),
            1e-9
        );
    }

    [Test]
    public void TorchsOperatorsGiveTheSame([Values] WriteRule rule)
    {
        using var scope = NewDisposeScope();
        var arguments = Arguments(2, 2, 300, 16, 16, 0.99, ScalarType.Float64);
        var found = Compared.ResultsAndGradients(Scan(rule), arguments);
        Simd.Used = false;
        Assert.That(FastWeightKernel.Fits(arguments, 64), Is.False);
        Compared.AreEqual(
            found,
            Compared.ResultsAndGradients(
                t =>
                {
                    var (read, state) = FastWeights.Scan(t[0], t[1], t[2], t[3], t[4], t[5], rule);
                    return [read, state];
                },
                arguments
            ),
            1e-10
        );
    }

    /// <summary>What is infinite is not made a number by a zero that stands for nothing.</summary>
    [Test]
    public void NotANumberIsNotLost(
        [ValueSource(nameof(Paths))] string path,
        [Values] WriteRule rule,
        [Values(0, 1, 2, 3, 5)] int where
    )
    {
        Use(path);
        using var scope = NewDisposeScope();
        var arguments = Arguments(1, 1, 70, 5, 3, 0.9, ScalarType.Float32);
        arguments[where].view(-1)[1] = float.NaN;
        var (found, expected) = (Scan(rule)(arguments)[0], Sequential(rule)(arguments)[0]);
        Assert.That(found.isnan().logical_or(expected.isnan().logical_not()).all().item<bool>(), Is.True);
    }
}
